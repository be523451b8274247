//! Flags of `delta` and `patch`.

use std::path::PathBuf;

use clap::Args;

/// Flags of `delta`.
#[derive(Args, Debug)]
pub struct Delta {
    /// The file that the other side has
    pub old: PathBuf,
    /// The file that it is to have
    pub new: PathBuf,
    /// Where the patch goes
    #[arg(short, value_name = "PATCH")]
    pub output: PathBuf,
}

/// Flags of `patch`.
#[derive(Args, Debug)]
pub struct Patch {
    /// The file that is there
    pub old: PathBuf,
    /// The patch, as `delta` wrote it
    pub patch: PathBuf,
    /// Where the new file goes; it may be the old one
    #[arg(short, value_name = "NEW")]
    pub output: PathBuf,
}
