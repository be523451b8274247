//! The vector machine ([`ir`]), the writer of its programs ([`build`]), and the kernel templates over it. What turns a program
//! into machine code lies beside this folder, one file per architecture.

pub mod build;
pub mod depthwise;
pub mod interp;
pub mod ir;
pub mod lanes;
pub mod rows;
pub mod sparse;
pub mod strip;
pub mod tail;
mod weave;
pub mod winograd;
pub mod winograd_filters;
pub mod winograd_in;
pub mod winograd_out;

use crate::{aarch64, x86_64};
use ir::{Level, Program};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::Code;

/// The machine code of a program, its constants behind it. `landing_pad`: begin with `endbr64` or `bti c`.
pub fn assemble(program: &Program, landing_pad: bool) -> Result<Code> {
    match program.isa.level {
        Level::Neon => aarch64::vector::assemble(program, landing_pad),
        _ => x86_64::vector::assemble(program, landing_pad),
    }
}
