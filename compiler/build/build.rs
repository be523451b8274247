//! Tells the crate which compiler is inside, so that editing a user's build script, which links the two anew, compiles no model again.
//!
//! Of a compiler that comes as packages, names and versions say all, and cargo gives another `OUT_DIR` for others. In a checkout files change
//! under one version: there this is a digest of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders of a checkout whose files become part of the compiler.
const SOURCES: [&str; 7] = [
    "compiler/src",
    "compiler/cli/src",
    "compiler/build/src",
    "runtime/src",
    "runtime/abi/src",
    "runtime/sim/src",
    "targets/src",
];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let mut sum = DefaultHasher::new();
    if let (Some(_), Some(root)) = (env::var_os("CARGO_FEATURE_COMPILER"), checkout()) {
        for folder in SOURCES.map(|f| root.join(f)) {
            println!("cargo:rerun-if-changed={}", folder.display());
            add(&mut sum, &folder)?;
        }
    }
    println!("cargo:rustc-env=ONNXC_BUILD_SOURCES={:016x}", sum.finish());
    Ok(())
}

/// The root of the checkout that this package lies in, if it does.
fn checkout() -> Option<PathBuf> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let root = here.parent()?.parent()?;
    let whole = here.ends_with("compiler/build") && SOURCES.iter().all(|f| root.join(f).is_dir());
    whole.then(|| root.to_path_buf())
}

fn add(sum: &mut DefaultHasher, folder: &Path) -> io::Result<()> {
    let entries: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect();
    let mut entries = entries?;
    entries.sort();
    for path in &entries {
        path.file_name().hash(sum);
        match path.is_dir() {
            true => add(sum, path)?,
            false => fs::read(path)?.hash(sum),
        }
    }
    entries.len().hash(sum);
    Ok(())
}
