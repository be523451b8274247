//! Models with answers that a script of the tests makes, verified at every level of this machine and on AArch64 in an emulator.

use crate::generate::root;
use crate::tools::{done, have, python, tool};
use std::path::PathBuf;
use std::process::Command;

/// Models NAME.onnx with NAME.npz beside them, in a folder of their own.
pub struct Models {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Models {
    /// Those that `tests/SCRIPT` makes, at least so many. `None`: there is no Python with onnx and onnxruntime.
    pub fn of(script: &str, least: usize) -> Option<Models> {
        let dir = tempfile::tempdir().expect("a folder");
        let script = root().join("tests").join(script);
        done(Command::new(python()?).arg(script).arg(dir.path()));
        let mut files: Vec<_> = std::fs::read_dir(dir.path())
            .expect("a folder")
            .filter_map(|f| Some(f.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
            .collect();
        files.sort();
        assert!(files.len() >= least, "{files:?}");
        Some(Models { dir, files })
    }

    /// Verifies each with more words of `onnxc verify`.
    pub fn verified(&self, words: &[&str]) {
        for file in &self.files {
            let reference = file.with_extension("npz");
            let mut verify = tool(self.dir.path(), &["verify", "--reference"]);
            // Words of one model alone, such as bounds of its free sizes.
            let own = std::fs::read_to_string(file.with_extension("words")).unwrap_or_default();
            verify.arg(reference).arg(file).args(words);
            done(verify.args(own.split_whitespace()));
        }
    }

    /// The same at every level of this machine.
    pub fn verified_here(&self, words: &[&str]) {
        #[cfg(target_arch = "x86_64")]
        {
            self.verified(&[words, &["--target-cpu", "x86-64-v2"]].concat());
            if std::arch::is_x86_feature_detected!("avx2") {
                self.verified(&[words, &["--target-cpu", "x86-64-v3"]].concat());
            }
        }
        self.verified(&[words, &["--target-cpu", "native"]].concat());
    }

    /// The same in an emulator of AArch64, where there is one.
    pub fn verified_on_aarch64(&self, words: &[&str]) {
        if have("qemu-aarch64-static") {
            let target = ["--target", "aarch64-unknown-linux-gnu"];
            let exec = ["--exec", "qemu-aarch64-static"];
            self.verified(&[words, &target, &exec].concat());
        }
    }
}
