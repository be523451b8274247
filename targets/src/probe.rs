//! Probes of a machine: what its multiply-adds and its caches can do, measured by code of our own for the declared features.
//!
//! A probe is a tile that computes nothing of use. Arguments of all: `x`, `y`, `bytes`, `turns`; as C:
//! `void probe(const float *x, float *y, int64_t bytes, int64_t turns)`, `bytes` a multiple of [`STEP`], both numbers above 0.
//!
//! - [`FMA`], [`PRODUCTS`]: each turn does so many multiply-adds of so many lanes as [`work`] says, none waiting for another; x, y untouched.
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
/// Products of whole numbers, added to sums of 32 bits.
pub const PRODUCTS: &str = "probe_products";
/// Loads.
pub const READ: &str = "probe_read";
/// Loads and stores.
pub const COPY: &str = "probe_copy";
/// What `bytes` is a multiple of.
pub const STEP: i64 = 512;

/// Contracts whose tiles multiply floats.
pub(crate) const FLOATS: Multiplied = Multiplied {
    numbers: "f32",
    contracts: &[
        "gemm_tile",
        "gemm_strip",
        "depthwise_tile",
        "sparse_strip",
        "sparse_line",
    ],
};
/// Those that multiply bytes four by four.
pub(crate) const DOTS: Multiplied = Multiplied {
    numbers: "i8",
    contracts: &["gemm_strip_bytes", "depthwise_bytes", "sparse_strip_quads"],
};
/// Bytes two by two, paired so that no sum of 16 bits overflows.
pub(crate) const PICKED: Multiplied = Multiplied {
    numbers: "i8",
    contracts: &["gemm_strip_picked"],
};
/// Matrices of bytes.
pub(crate) const MATRICES: Multiplied = Multiplied {
    numbers: "i8",
    contracts: &["gemm_strip_matrices"],
};
/// Bytes added to words for a while.
pub(crate) const LONG: Multiplied = Multiplied {
    numbers: "i8",
    contracts: &["depthwise_long"],
};
/// Words.
pub(crate) const WORDS: Multiplied = Multiplied {
    numbers: "i16",
    contracts: &[
        "gemm_strip_words",
        "depthwise_words",
        "sparse_strip_words",
        "sparse_strip_pairs",
    ],
};

/// What a family of tiles multiplies.
#[derive(Clone, Copy)]
pub(crate) struct Multiplied {
    numbers: &'static str,
    contracts: &'static [&'static str],
}

/// Instructions that multiply and add, and the probe of them.
pub struct Products {
    /// Their names, and the registers.
    pub instruction: &'static str,
    /// What is multiplied: `f32`, `i8`, `i16`.
    pub numbers: &'static str,
    /// The probe.
    pub tile: &'static Tile,
    contracts: &'static [&'static str],
    /// Only of tiles at half the width that their features allow.
    half: bool,
}

impl Products {
    pub(crate) const fn new(
        instruction: &'static str,
        tile: &'static Tile,
        of: Multiplied,
    ) -> Products {
        Products {
            instruction,
            numbers: of.numbers,
            tile,
            contracts: of.contracts,
            half: false,
        }
    }
    /// Of tiles at half the width that their features allow: their names say `_256`.
    pub(crate) const fn of_half_vectors(self) -> Products {
        Products { half: true, ..self }
    }
}

/// All instructions that kernels of an architecture multiply with, those of one kind of numbers best first.
pub fn multipliers(arch: Arch) -> &'static [Products] {
    match arch {
        Arch::X86_64 => x86_64::kernels::probe::MULTIPLIERS,
        Arch::Aarch64 => aarch64::kernels::probe::MULTIPLIERS,
    }
}

/// The instructions that a tile multiplies with; `None`: it does not multiply to add up.
pub fn products(arch: Arch, tile: &Tile) -> Option<&'static Products> {
    let half = tile.name.ends_with("_256");
    multipliers(arch).iter().find(|p| {
        let has = |f| tile.needs.contains(f);
        p.half == half && p.contracts.contains(&tile.contract) && p.tile.needs.iter().all(has)
    })
}

/// The probes of memory of an architecture, best first.
pub fn rows(arch: Arch) -> &'static [&'static Tile] {
    match arch {
        Arch::X86_64 => x86_64::kernels::probe::PROBES,
        Arch::Aarch64 => aarch64::kernels::probe::PROBES,
    }
}

/// Multiply-accumulates of one turn of a probe of them.
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
