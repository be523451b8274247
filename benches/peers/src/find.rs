//! Where the library of onnxruntime is: named by `--lib`, by `ONNXRUNTIME_LIB`, or beside the package of a Python.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds it by the words behind the program's name and the environment.
pub fn library(words: &[String]) -> Result<PathBuf, String> {
    match words {
        [] => std::env::var_os("ONNXRUNTIME_LIB")
            .map(PathBuf::from)
            .ok_or_else(|| {
                "no library is named: --lib FILE, --python FILE or ONNXRUNTIME_LIB=FILE".into()
            }),
        [word, file] if word == "--lib" => Ok(file.into()),
        [word, file] if word == "--python" => beside(Path::new(file)),
        _ => Err("expected --lib FILE or --python FILE".into()),
    }
}

/// The library in the package `onnxruntime` of a Python, which is not loaded.
fn beside(python: &Path) -> Result<PathBuf, String> {
    let ask = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";
    let out = Command::new(python)
        .args(["-c", ask])
        .output()
        .map_err(|e| format!("can't run {}: {e}", python.display()))?;
    if !out.status.success() {
        return Err(format!("{} has no package onnxruntime", python.display()));
    }
    let folder = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()).join("capi");
    in_folder(&folder).ok_or_else(|| format!("{} holds no libonnxruntime.so", folder.display()))
}

fn in_folder(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            [
                "libonnxruntime.so",
                "libonnxruntime.dylib",
                "onnxruntime.dll",
            ]
            .iter()
            .any(|n| name.starts_with(n))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_library() {
        let words = |w: &[&str]| w.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(library(&words(&["--lib", "a.so"])), Ok("a.so".into()));
        assert!(library(&words(&["--lib"])).is_err());
        assert!(library(&words(&["--liv", "a.so"])).is_err());
        assert!(library(&words(&["--python", "/no/such/python"])).is_err());
    }
}
