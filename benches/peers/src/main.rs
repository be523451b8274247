//! Runs models with onnxruntime for `onnxc bench --against onnxruntime`: `onnxc-peer-onnxruntime [--lib FILE | --python FILE]`.
#![forbid(unsafe_code)]

use onnxc_peers::onnxruntime::Runtime;
use onnxc_peers::{find, protocol};

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = find::library(&words)
        .and_then(|path| Runtime::open(&path))
        .and_then(|runtime| {
            let version = runtime.version();
            protocol::serve("onnxruntime", &version, &mut |model, threads, inputs| {
                Ok(Box::new(runtime.load(model, threads, inputs)?))
            })
            .map_err(|e| e.to_string())
        });
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            // The answer to whatever is asked first.
            println!("{}", serde_json::json!({ "error": e }));
            std::process::ExitCode::FAILURE
        }
    }
}
