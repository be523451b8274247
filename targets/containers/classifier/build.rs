//! Compiles the quantized model: its integers are the same bits on every machine, so its answer has a known hash.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // The weights leave the program: replicas on a node map one file, and share its pages. Beside cargo's outputs, where images take it from.
    let folder = out.ancestors().nth(3).ok_or("OUT_DIR is too short")?;
    onnxc_build::Build::new("../../../tests/data/digits_qdq.onnx")
        .name("digits")
        .weights(onnxc_build::Weights::FileAt(folder.join("digits.weights")))
        .report(folder.join("digits.json"))
        .compile()?;
    Ok(())
}
