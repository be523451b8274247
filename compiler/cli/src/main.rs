//! The program `onnxc`. All of it is in the library beside this file, so that tests reach it too.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    onnxc::main()
}
