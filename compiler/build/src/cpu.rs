//! Which CPU: what the user says, else the build script, else rustc.

use std::ffi::OsString;

use crate::environment::{Environment, Target};

/// The words that choose a CPU. `cpu` and `features` are what the build script asks for.
pub fn words(
    env: &Environment,
    target: &Target,
    cpu: Option<&str>,
    features: &[String],
) -> Vec<OsString> {
    let override_cpu = env.look_up("ONNXC_TARGET_CPU", target);
    let override_features = env.look_up("ONNXC_TARGET_FEATURES", target);
    if target.stands_in {
        return vec![];
    }
    let mut out = vec![];
    let chosen = override_cpu.as_deref().or(cpu);
    match chosen {
        Some(cpu) => out.push(format!("--target-cpu={cpu}")),
        None => out.extend(program(env)),
    }
    // Features that the build script adds belong to its CPU.
    if override_cpu.is_none() {
        out.extend(features.iter().map(|f| format!("--target-feature={f}")));
    }
    out.extend(override_features.map(|f| format!("--target-feature={f}")));
    out.into_iter().map(OsString::from).collect()
}

// What rustc was told, as words that may name what the compiler does not know.
fn program(env: &Environment) -> Vec<String> {
    let flags = env.cargo("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let told = codegen(&flags);
    let last = |name: &str| told.iter().rev().find(|t| t.0 == name).map(|t| t.1);
    let mut out = vec![];
    out.extend(last("target-cpu").map(|cpu| format!("--program-cpu={cpu}")));
    // All that rustc knows the CPU to have, which is more than the flags say.
    out.extend(
        env.cargo("CARGO_CFG_TARGET_FEATURE")
            .map(|list| format!("--program-feature={list}")),
    );
    let switches = told.iter().filter(|t| t.0 == "target-feature");
    out.extend(switches.map(|t| format!("--program-feature={}", t.1)));
    out
}

// The values of `-C NAME=VALUE` among flags that the character 0x1f parts.
fn codegen(flags: &str) -> Vec<(&str, &str)> {
    let mut words = flags.split('\x1f');
    let mut out = vec![];
    while let Some(word) = words.next() {
        let setting = match word {
            "-C" | "--codegen" => words.next(),
            _ => word.strip_prefix("-C").or(word.strip_prefix("--codegen=")),
        };
        out.extend(setting.and_then(|s| s.split_once('=')));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(list: &[(&str, &str)], cpu: Option<&str>, features: &[&str]) -> Vec<String> {
        let base = [
            ("TARGET", "x86_64-pc-linux-gnu"),
            ("HOST", "x86_64-pc-linux-gnu"),
        ];
        let env = Environment::of(base.iter().chain(list).copied());
        let target = env.target().unwrap();
        let features: Vec<String> = features.iter().map(|f| f.to_string()).collect();
        let words = words(&env, &target, cpu, &features);
        words
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn user_then_script_then_rustc() {
        let rustc = [
            (
                "CARGO_ENCODED_RUSTFLAGS",
                "-Ctarget-cpu=znver2\x1f-C\x1ftarget-cpu=znver3\x1f--cfg\x1fx\x1f--codegen=target-feature=-fma",
            ),
            ("CARGO_CFG_TARGET_FEATURE", "avx2,sse,x87"),
        ];
        assert_eq!(
            asked(&rustc, None, &["+f16c"]),
            [
                "--program-cpu=znver3",
                "--program-feature=avx2,sse,x87",
                "--program-feature=-fma",
                "--target-feature=+f16c"
            ]
        );
        assert_eq!(
            asked(&rustc, Some("x86-64-v3"), &["+avx512f"]),
            ["--target-cpu=x86-64-v3", "--target-feature=+avx512f"]
        );
        let user = [
            ("HOST_ONNXC_TARGET_CPU", "x86-64"),
            ("ONNXC_TARGET_FEATURES_x86_64_pc_linux_gnu", "+avx"),
        ];
        assert_eq!(
            asked(&user, Some("x86-64-v3"), &["+avx512f"]),
            ["--target-cpu=x86-64", "--target-feature=+avx"]
        );
        assert!(asked(&[], None, &[]).is_empty());
    }
}
