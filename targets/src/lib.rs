//! What onnxc knows of machines: triples, CPUs, features, and kernel generators.
//!
//! The compiler names no machine; a caller takes what it needs from here and hands it in. Nothing here touches files or
//! the network, and no name that a user gives can make it panic.
#![forbid(unsafe_code)]

pub mod aarch64;
pub mod cpu;
pub mod features;
pub mod flags;
pub mod native;
pub mod suggest;
pub mod triple;
pub mod x86_64;

use std::fmt;

/// An architecture that code can be made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86, System V calling convention.
    X86_64,
    /// 64-bit Arm, little-endian, AAPCS64.
    Aarch64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        })
    }
}
