//! How types of the loops IR are represented in Cranelift: scalars in registers, four lanes of 32 bits in vectors.
//!
//! A truth value is an I8 that is 0 or 1, or a lane of 32 bits that are all zero or all one.

use crate::loops::ir::Ty;
use cranelift_codegen::ir::{Type, types};

/// Iterations that a vector loop computes at once.
pub const LANES: usize = 4;

/// The type of a scalar.
pub fn scalar(ty: Ty) -> Type {
    match ty {
        Ty::F32 => types::F32,
        Ty::F64 => types::F64,
        Ty::I32 => types::I32,
        Ty::I64 => types::I64,
        Ty::Bool => types::I8,
    }
}

/// The type of two lanes of 64 bits.
pub fn long(ty: Ty) -> Type {
    match ty {
        Ty::F64 => types::F64X2,
        _ => types::I64X2,
    }
}

/// The type of four lanes in one vector; 64-bit types have none.
pub fn wide(ty: Ty) -> Option<Type> {
    match ty {
        Ty::F32 => Some(types::F32X4),
        Ty::I32 | Ty::Bool => Some(types::I32X4),
        Ty::F64 | Ty::I64 => None,
    }
}
