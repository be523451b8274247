//! Probes of a machine: what its multiply-adds and its caches can do, measured by code of our own for the declared features.
//!
//! A probe is a tile that computes nothing of use. Arguments of all: `x`, `y`, `bytes`, `turns`; as C:
//! `void probe(const float *x, float *y, int64_t bytes, int64_t turns)`, `bytes` a multiple of [`STEP`], both numbers above 0.
//!
//! - [`FMA`]: each turn does so many multiply-adds of so many lanes as [`work`] says, none waiting for another; x, y untouched.
//! - [`READ`]: each turn loads `bytes` of x.
//! - [`COPY`]: each turn copies `bytes` of x to y.

use onnxc_compiler::base::dim::Dim;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::ir::{Access, Arg, Callee, Func};

use crate::{Arch, aarch64, x86_64};

/// Multiply-adds.
pub const FMA: &str = "probe_fma";
/// Loads.
pub const READ: &str = "probe_read";
/// Loads and stores.
pub const COPY: &str = "probe_copy";
/// What `bytes` is a multiple of.
pub const STEP: i64 = 512;

/// The probes of an architecture, best first.
pub fn rows(arch: Arch) -> &'static [&'static Tile] {
    match arch {
        Arch::X86_64 => x86_64::kernels::probe::PROBES,
        Arch::Aarch64 => aarch64::kernels::probe::PROBES,
    }
}

/// Multiply-accumulates of one turn of an [`FMA`] probe.
pub fn work(tile: &Tile) -> i64 {
    tile.tile.0 * tile.tile.1
}

/// A function that runs a probe once: buffers x and y of `bytes` each.
pub fn func(tile: &Tile, bytes: i64, turns: i64) -> Func {
    let mut b = Builder::new(tile.name);
    let len = Dim::Fixed(bytes / 4);
    let x = b.buffer("x", DType::F32, len.clone(), Access::Read);
    let y = b.buffer("y", DType::F32, len, Access::Write);
    let (zero, bytes, turns) = (b.i(0), b.i(bytes), b.i(turns));
    let callee = Callee {
        kernel: tile.name.to_string(),
        contract: tile.contract.to_string(),
        shape: vec![],
    };
    let at = |buf| Arg::Ptr { buf, offset: zero };
    b.call(callee, vec![at(x), at(y), Arg::Int(bytes), Arg::Int(turns)]);
    b.finish()
}
