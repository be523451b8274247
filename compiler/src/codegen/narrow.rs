//! Elements of 64 bits that are at once converted to 32, or come from 32: four of them are two vectors in memory, and lanes between.

use super::expr::Form;
use super::func::Cx;
use super::lanes::Class;
use super::mem::{self, Place};
use super::ops::cast_flags;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, BufId, CastKind, Const, Expr, ExprId, Func, Ty};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

/// A load of 64 bits whose conversion to 32 (or a question whether it is 0) has lanes: its buffer and index.
pub fn narrowed(f: &Func, e: ExprId) -> Option<(BufId, ExprId)> {
    let Expr::Cast(to, _, a) = f.exprs[e] else {
        return None;
    };
    let Expr::Load { buf, index } = f.exprs[a] else {
        return None;
    };
    let has = match f.bufs[buf].dtype {
        DType::I64 | DType::U64 => matches!(to, Ty::I32 | Ty::Bool),
        DType::F64 => to == Ty::F32,
        _ => false,
    };
    has.then_some((buf, index))
}

impl Cx<'_, '_> {
    /// The lanes that such a conversion gives. Its index is there as a scalar.
    pub fn load_narrowed(&mut self, e: ExprId, (buf, index): (BufId, ExprId)) -> Result<Value> {
        let (rest, constant) = self.split_index(index);
        let rest = rest.map(|i| self.eval(i, Form::Scalar)).transpose()?;
        let p = self.place(buf, rest, constant);
        let real = self.f.bufs[buf].dtype == DType::F64;
        let whole = if real { types::F64X2 } else { types::I64X2 };
        let at = |k: i32| p.offset + 16 * k;
        let [a, b] = [0, 1].map(|k| self.o.b.ins().load(whole, mem::wide_flags(), p.base, at(k)));
        if real {
            let [a, b] = [a, b].map(|v| self.o.b.ins().fvdemote(v));
            return Ok(self.halves(a, b, [0, 1], types::F32X4));
        }
        let low = self.halves(a, b, [0, 2], types::I32X4);
        if self.ty(e) != Ty::Bool {
            return Ok(low);
        }
        let high = self.halves(a, b, [1, 3], types::I32X4);
        let any = self.o.b.ins().bor(low, high);
        let zero = self.o.konst(Const::I32(0), true);
        Ok(self.o.bin(BinOp::Ne, Ty::I32, true, any, zero))
    }
    // Two lanes of 32 bits of one vector, then the same of another.
    fn halves(&mut self, a: Value, b: Value, lanes: [u8; 2], to: Type) -> Value {
        let [a, b] = [a, b].map(|v| self.o.b.ins().bitcast(types::I8X16, cast_flags(), v));
        let bytes = |l: u8, second: u8| (0..4).map(move |i| 16 * second + 4 * l + i);
        let mask: Vec<u8> = [0, 1]
            .into_iter()
            .flat_map(|second| lanes.into_iter().flat_map(move |l| bytes(l, second)))
            .collect();
        let mask = self.o.b.func.dfg.immediates.push(mask.into());
        let v = self.o.b.ins().shuffle(a, b, mask);
        self.o.b.ins().bitcast(to, cast_flags(), v)
    }
    /// What is stored as 64 bits, where it is lanes of 32 that were converted.
    pub fn widened(&self, d: DType, index: ExprId, value: ExprId) -> Option<ExprId> {
        let Expr::Cast(_, kind, a) = self.f.exprs[value] else {
            return None;
        };
        let has = match (d, self.ty(a)) {
            (DType::I64 | DType::U64, Ty::I32) => kind == CastKind::Signed,
            (DType::I64 | DType::U64, Ty::Bool) | (DType::F64, Ty::F32) => true,
            _ => false,
        };
        let side_by_side = self.class(index) == Class::Linear(1) && self.class(a) == Class::Wide;
        (has && side_by_side).then_some(a)
    }
    /// Writes lanes of 32 bits (truth values as 0 and 1) to four elements of 64.
    pub fn store_widened(&mut self, t: Ty, p: Place, v: Value) {
        let parts = if t == Ty::F32 {
            let bits = self.o.b.ins().bitcast(types::I32X4, cast_flags(), v);
            let high = self.halves(bits, bits, [2, 3], types::F32X4);
            [v, high].map(|v| self.o.b.ins().fvpromote_low(v))
        } else {
            let v = match t {
                Ty::Bool => {
                    let one = self.o.konst(Const::I32(1), true);
                    self.o.b.ins().band(v, one)
                }
                _ => v,
            };
            [self.o.b.ins().swiden_low(v), self.o.b.ins().swiden_high(v)]
        };
        for (k, v) in parts.into_iter().enumerate() {
            let at = p.offset + 16 * k as i32;
            self.o.b.ins().store(mem::wide_flags(), v, p.base, at);
        }
    }
}
