//! The device as a program of its own, for programs that are not the tool: `onnxc-sim-device OPTIONS`, with its socket as standard input.

fn main() -> std::process::ExitCode {
    let options = std::env::args().nth(1).unwrap_or_default();
    #[cfg(target_os = "linux")]
    return onnxc_sim::device::main(&options);
    #[cfg(not(target_os = "linux"))]
    std::process::ExitCode::FAILURE
}
