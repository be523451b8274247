//! The tool, as a binary that tests of this package find: `CARGO_BIN_EXE_onnxc-in-tests`.

fn main() -> std::process::ExitCode {
    onnxc::main()
}
