//! Compiles the model for whatever cargo builds.

fn main() -> Result<(), onnxc_build::Error> {
    onnxc_build::compile("../digits/digits.onnx")?;
    Ok(())
}
