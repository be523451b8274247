//! Measuring compiled models against what they promise.

use crate::generate::root;
use crate::tools::{have, run, text};
use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::header;
use onnxc_compiler::codegen::Code;
use onnxc_compiler::codegen::object::audit;
use std::fs;
use std::path::Path;

/// The chain of calls that needs the stack which is promised: each function's frame, the entry's first.
pub fn deepest(code: &Code) -> Vec<u64> {
    let mut frames = vec![];
    let mut at = code.parts.last();
    while let Some(part) = at {
        frames.push(u64::from(part.machine.frame));
        let called = part.targets.iter().map(|t| &code.parts[*t as usize]);
        at = called.max_by_key(|p| p.stack);
    }
    assert_eq!(frames.iter().sum::<u64>(), code.stack_bytes);
    frames
}

/// The least stack that a run uses which goes the whole chain: the last function's return address and registers are
/// stored at the upper end of its frame, the lower end may stay as it was.
pub fn least(code: &Code) -> u64 {
    let frames = deepest(code);
    let last = frames.iter().rev().find(|f| **f > 0);
    code.stack_bytes - last.copied().unwrap_or(0) + 1
}

/// Audits a model and builds it with `tests/c/contract.c`, which runs it between guard pages on a painted stack; what that
/// printed, or `None` where the tools are missing. `emulator` runs programs of another machine.
pub fn measure(dir: &Path, made: &Artifact, gcc: &str, emulator: &[&str]) -> Option<String> {
    let prefix = &made.info.prefix;
    assert_eq!(
        audit(&made.object, prefix),
        Vec::<String>::new(),
        "{prefix}"
    );
    fs::write(dir.join(format!("{prefix}.o")), &made.object).unwrap();
    let header = header::header(&made.info);
    fs::write(dir.join(format!("{prefix}.h")), header).unwrap();
    let mut needed = [gcc].into_iter().chain(emulator.first().copied());
    if !needed.all(have) {
        return None;
    }
    let source = root().join("tests/c/contract.c");
    run(
        dir,
        gcc,
        &[
            "-O1",
            "-static",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I.",
            &format!("-DHEADER=\"{prefix}.h\""),
            &format!("-DP(x)={prefix}_##x"),
            &format!("-DUP(x)={}_##x", prefix.to_uppercase()),
            &format!("-DSTACK_LEAST={}", least(&made.code)),
            source.to_str().unwrap(),
            &format!("{prefix}.o"),
            "-o",
            "program",
        ],
    );
    let program = dir.join("program");
    let words: Vec<&str> = emulator.iter().copied().chain(program.to_str()).collect();
    Some(text(&run(dir, words[0], &words[1..])))
}
