//! Reading and writing elements: addresses, and conversion between storage and computing types.
//!
//! Addresses are base + constant displacement + index * size, so that they fold into addressing modes. No access is marked
//! read-only: a plan may place an output on an input.

use super::func::Cx;
use super::half;
use super::ops::cast_flags;
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, BufId, Const, Expr, ExprId, Ty};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

/// An address: a pointer and a displacement.
#[derive(Clone, Copy)]
pub struct Place {
    pub base: Value,
    pub offset: i32,
}

/// Flags of an access to one element. It cannot fault: whoever writes loops stays inside buffers.
pub fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_aligned()
}

/// Four elements at once are aligned to one.
pub fn wide_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// How an element is held in memory.
pub fn storage(d: DType) -> Type {
    match d {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => types::I16,
        DType::I32 | DType::U32 => types::I32,
        DType::I64 | DType::U64 => types::I64,
        _ => types::I8,
    }
}

/// Whether four neighbours of this type can be read and written at once.
pub fn has_lanes(d: DType) -> bool {
    !matches!(d, DType::F64 | DType::I64 | DType::U64 | DType::U32)
}

impl Cx<'_, '_> {
    /// Splits an index into one without its constant term, and that term.
    pub fn split_index(&self, index: ExprId) -> (Option<ExprId>, i64) {
        match &self.f.exprs[index] {
            Expr::Const(Const::I64(c)) => (None, *c),
            Expr::Bin(BinOp::Add, a, b) => match self.f.exprs[*b] {
                Expr::Const(Const::I64(c)) => (Some(*a), c),
                _ => (Some(index), 0),
            },
            Expr::Bin(BinOp::Sub, a, b) => match self.f.exprs[*b] {
                Expr::Const(Const::I64(c)) => (Some(*a), c.wrapping_neg()),
                _ => (Some(index), 0),
            },
            _ => (Some(index), 0),
        }
    }
    /// The place of element `index + constant`.
    pub fn place(&mut self, buf: BufId, index: Option<Value>, constant: i64) -> Place {
        let size = self.f.bufs[buf].dtype.size().max(1) as i64;
        let mut base = self.bufs[buf.0 as usize];
        if let Some(i) = index {
            let i = match size {
                1 => i,
                _ => self
                    .o
                    .b
                    .ins()
                    .ishl_imm_u(i, i64::from(size.trailing_zeros())),
            };
            base = self.o.b.ins().iadd(base, i);
        }
        let bytes = constant.wrapping_mul(size);
        match i32::try_from(bytes) {
            Ok(offset) => Place { base, offset },
            Err(_) => Place {
                base: self.o.b.ins().iadd_imm_s(base, bytes),
                offset: 0,
            },
        }
    }
    /// The address as one value.
    pub fn address(&mut self, p: Place) -> Value {
        match p.offset {
            0 => p.base,
            n => self.o.b.ins().iadd_imm_s(p.base, i64::from(n)),
        }
    }
    /// One element in its computing type.
    pub fn load(&mut self, d: DType, p: Place) -> Value {
        let (o, at) = (&mut self.o, p.offset);
        match d {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U64 => {
                o.b.ins().load(storage(d), flags(), p.base, at)
            }
            DType::U32 => o.b.ins().uload32(flags(), p.base, at),
            DType::I16 => o.b.ins().sload16(types::I32, flags(), p.base, at),
            DType::U16 => o.b.ins().uload16(types::I32, flags(), p.base, at),
            DType::F16 => {
                let h = o.b.ins().uload16(types::I32, flags(), p.base, at);
                half::f16_to_f32(o, false, h)
            }
            DType::BF16 => {
                let h = o.b.ins().uload16(types::I32, flags(), p.base, at);
                half::bf16_to_f32(o, false, h)
            }
            DType::I8 | DType::I4 | DType::I2 => o.b.ins().sload8(types::I32, flags(), p.base, at),
            DType::Bool => {
                let v = o.b.ins().load(types::I8, flags(), p.base, at);
                let zero = o.b.ins().iconst(types::I8, 0);
                o.bin(BinOp::Ne, Ty::Bool, false, v, zero)
            }
            _ => o.b.ins().uload8(types::I32, flags(), p.base, at),
        }
    }
    /// Writes one element.
    pub fn store(&mut self, d: DType, p: Place, v: Value) {
        let (o, at) = (&mut self.o, p.offset);
        let v = match d {
            DType::F16 => half::f32_to_f16(o, false, v),
            DType::BF16 => half::f32_to_bf16(o, false, v),
            DType::I4 | DType::I2 => {
                let n = if d == DType::I4 { 28 } else { 30 };
                let v = o.b.ins().ishl_imm_u(v, n);
                o.b.ins().sshr_imm_u(v, n)
            }
            DType::U4 | DType::F4E2M1 => o.b.ins().band_imm_u(v, 15),
            DType::U2 => o.b.ins().band_imm_u(v, 3),
            _ => v,
        };
        match (storage(d), Ty::of(d)) {
            (types::I8, Ty::Bool) => o.b.ins().store(flags(), v, p.base, at),
            (types::I8, _) => o.b.ins().istore8(flags(), v, p.base, at),
            (types::I16, _) => o.b.ins().istore16(flags(), v, p.base, at),
            (types::I32, Ty::I64) => o.b.ins().istore32(flags(), v, p.base, at),
            _ => o.b.ins().store(flags(), v, p.base, at),
        };
    }
    /// Four neighbours as lanes.
    pub fn load_wide(&mut self, d: DType, p: Place) -> Value {
        let (o, at) = (&mut self.o, p.offset);
        let f = wide_flags();
        let bytes = |o: &mut super::ops::Ops, signed: bool| {
            let v = o.b.ins().load(types::I32, f, p.base, at);
            let v = o.b.ins().scalar_to_vector(types::I32X4, v);
            let v = o.b.ins().bitcast(types::I8X16, cast_flags(), v);
            if signed {
                let v = o.b.ins().swiden_low(v);
                o.b.ins().swiden_low(v)
            } else {
                let v = o.b.ins().uwiden_low(v);
                o.b.ins().uwiden_low(v)
            }
        };
        match d {
            DType::F32 => o.b.ins().load(types::F32X4, f, p.base, at),
            DType::I32 => o.b.ins().load(types::I32X4, f, p.base, at),
            DType::I16 => o.b.ins().sload16x4(f, p.base, at),
            DType::U16 => o.b.ins().uload16x4(f, p.base, at),
            DType::F16 => {
                let h = o.b.ins().uload16x4(f, p.base, at);
                half::f16_to_f32(o, true, h)
            }
            DType::BF16 => {
                let h = o.b.ins().uload16x4(f, p.base, at);
                half::bf16_to_f32(o, true, h)
            }
            DType::I8 | DType::I4 | DType::I2 => bytes(o, true),
            DType::Bool => {
                let v = bytes(o, false);
                let zero = o.konst(Const::I32(0), true);
                o.bin(BinOp::Ne, Ty::I32, true, v, zero)
            }
            _ => bytes(o, false),
        }
    }
    /// Writes lanes to four neighbours.
    pub fn store_wide(&mut self, d: DType, p: Place, v: Value) {
        let (o, at) = (&mut self.o, p.offset);
        let f = wide_flags();
        let and = |o: &mut super::ops::Ops, v, m| {
            let m = o.konst(Const::I32(m), true);
            o.b.ins().band(v, m)
        };
        let v = match d {
            DType::F16 => half::f32_to_f16(o, true, v),
            DType::BF16 => half::f32_to_bf16(o, true, v),
            DType::I4 | DType::I2 => {
                let n = if d == DType::I4 { 28 } else { 30 };
                let v = o.b.ins().ishl_imm_u(v, n);
                let v = o.b.ins().sshr_imm_u(v, n);
                and(o, v, 0xff)
            }
            DType::U4 | DType::F4E2M1 => and(o, v, 15),
            DType::U2 => and(o, v, 3),
            DType::Bool => and(o, v, 1),
            DType::F32 | DType::I32 | DType::I16 | DType::U16 => v,
            _ => and(o, v, 0xff),
        };
        match storage(d) {
            types::I16 => {
                // The saturating narrowing changes nothing in what was sign-extended from 16 bits.
                let v = o.b.ins().ishl_imm_u(v, 16);
                let v = o.b.ins().sshr_imm_u(v, 16);
                let v = o.b.ins().snarrow(v, v);
                let v = o.b.ins().bitcast(types::I64X2, cast_flags(), v);
                let v = o.b.ins().extractlane(v, 0);
                o.b.ins().store(f, v, p.base, at);
            }
            types::I8 => {
                let v = o.b.ins().snarrow(v, v);
                let v = o.b.ins().unarrow(v, v);
                let v = o.b.ins().bitcast(types::I32X4, cast_flags(), v);
                let v = o.b.ins().extractlane(v, 0);
                o.b.ins().store(f, v, p.base, at);
            }
            _ => {
                o.b.ins().store(f, v, p.base, at);
            }
        }
    }
}
