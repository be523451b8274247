//! Writing formulas: expressions as values with operators.
//!
//! `x * 2.0 + y` on a [`V`] appends nodes to the function being written. A number takes the type of the value it meets.

use crate::loops::build::Builder;
use crate::loops::ir::*;
use std::cell::RefCell;
use std::ops;

/// An expression of the function being written.
#[derive(Clone, Copy)]
pub(crate) struct V<'b> {
    pub b: &'b RefCell<Builder>,
    pub id: ExprId,
}

impl<'b> V<'b> {
    fn with(self, f: impl FnOnce(&mut Builder, ExprId) -> ExprId) -> V<'b> {
        let id = f(&mut self.b.borrow_mut(), self.id);
        V { b: self.b, id }
    }
    pub fn ty(self) -> Ty {
        self.b.borrow().ty(self.id)
    }
    /// A number in this value's type.
    pub fn num(self, v: f64) -> V<'b> {
        let ty = self.ty();
        self.with(|b, _| b.num(ty, v))
    }
    /// A whole number in this value's type.
    pub fn int(self, v: i64) -> V<'b> {
        let ty = self.ty();
        self.with(|b, _| b.int(ty, v))
    }
    pub fn un(self, op: UnOp) -> V<'b> {
        self.with(|b, x| b.un(op, x))
    }
    pub fn bin(self, op: BinOp, o: V<'b>) -> V<'b> {
        self.with(|b, x| b.bin(op, x, o.id))
    }
    /// `self * a + c`, rounded once where the target can.
    pub fn fma(self, a: V<'b>, c: V<'b>) -> V<'b> {
        self.with(|b, x| b.fma(x, a.id, c.id))
    }
    /// `self ? x : y`
    pub fn select(self, x: V<'b>, y: V<'b>) -> V<'b> {
        self.with(|b, c| b.select(c, x.id, y.id))
    }
    pub fn cast(self, ty: Ty) -> V<'b> {
        self.with(|b, x| b.cast(ty, x))
    }
    pub fn cast_unsigned(self, ty: Ty) -> V<'b> {
        self.with(|b, x| b.cast_as(ty, CastKind::Unsigned, x))
    }
    pub fn bits(self) -> V<'b> {
        self.un(UnOp::ToBits)
    }
    pub fn float(self) -> V<'b> {
        self.un(UnOp::FromBits)
    }
    pub fn abs(self) -> V<'b> {
        self.un(UnOp::Abs)
    }
    pub fn sqrt(self) -> V<'b> {
        self.un(UnOp::Sqrt)
    }
    pub fn floor(self) -> V<'b> {
        self.un(UnOp::Floor)
    }
    /// A condition that seldom holds: a selection by it computes its first value only then.
    pub fn seldom(self) -> V<'b> {
        self.un(UnOp::Seldom)
    }
    pub fn lt(self, o: V<'b>) -> V<'b> {
        self.bin(BinOp::Lt, o)
    }
    pub fn le(self, o: V<'b>) -> V<'b> {
        self.bin(BinOp::Le, o)
    }
    pub fn below(self, v: f64) -> V<'b> {
        self.lt(self.num(v))
    }
    pub fn above(self, v: f64) -> V<'b> {
        self.num(v).lt(self)
    }
    pub fn is(self, v: f64) -> V<'b> {
        self.bin(BinOp::Eq, self.num(v))
    }
    pub fn is_nan(self) -> V<'b> {
        self.bin(BinOp::Ne, self)
    }
    pub fn is_int(self, v: i64) -> V<'b> {
        self.bin(BinOp::Eq, self.int(v))
    }
    /// Limits to `lo..=hi` and leaves NaN as it is.
    pub fn clamp(self, lo: f64, hi: f64) -> V<'b> {
        let x = self.num(lo).bin(BinOp::Max, self);
        self.num(hi).bin(BinOp::Min, x)
    }
    /// `self & o`, `self | o`, of whole numbers or conditions.
    pub fn and(self, o: V<'b>) -> V<'b> {
        self.bin(BinOp::And, o)
    }
    pub fn or(self, o: V<'b>) -> V<'b> {
        self.bin(BinOp::Or, o)
    }
    pub fn shl(self, n: i64) -> V<'b> {
        self.bin(BinOp::Shl, self.int(n))
    }
    /// Keeps the sign.
    pub fn shr(self, n: i64) -> V<'b> {
        self.bin(BinOp::Shr, self.int(n))
    }
    /// Shifts in zeros.
    pub fn shr_u(self, n: i64) -> V<'b> {
        self.bin(BinOp::ShrU, self.int(n))
    }
    /// The sign bit of a float, as whole number of its width.
    pub fn sign_bit(self) -> V<'b> {
        let bits = self.bits();
        let top = if bits.ty() == Ty::I32 {
            i32::MIN as i64
        } else {
            i64::MIN
        };
        bits.and(bits.int(top))
    }
    /// This magnitude (not negative) under the sign of `o`.
    pub fn sign_of(self, o: V<'b>) -> V<'b> {
        self.bits().or(o.sign_bit()).float()
    }
    /// 2^n of a whole number, for n in the range of normal numbers.
    pub fn exp2(self) -> V<'b> {
        if self.ty() == Ty::I32 {
            (self + self.int(127)).shl(23).float()
        } else {
            (self + self.int(1023)).shl(52).float()
        }
    }
    /// A polynomial in this value, the lowest coefficient first. F32 fuses each step.
    pub fn poly(self, c: &[f64]) -> V<'b> {
        let (last, rest) = c.split_last().unwrap_or((&0.0, &[]));
        rest.iter().rev().fold(self.num(*last), |p, c| {
            if self.ty() == Ty::F32 {
                p.fma(self, self.num(*c))
            } else {
                p * self + *c
            }
        })
    }
}

macro_rules! operators {
    ($($trait:ident $name:ident;)*) => {$(
        impl<'b> ops::$trait for V<'b> {
            type Output = V<'b>;
            fn $name(self, o: V<'b>) -> V<'b> { self.bin(BinOp::$trait, o) }
        }
        impl<'b> ops::$trait<f64> for V<'b> {
            type Output = V<'b>;
            fn $name(self, o: f64) -> V<'b> { self.bin(BinOp::$trait, self.num(o)) }
        }
        impl<'b> ops::$trait<V<'b>> for f64 {
            type Output = V<'b>;
            fn $name(self, o: V<'b>) -> V<'b> { o.num(self).bin(BinOp::$trait, o) }
        }
    )*};
}
operators! { Add add; Sub sub; Mul mul; Div div; }

impl<'b> ops::Neg for V<'b> {
    type Output = V<'b>;
    fn neg(self) -> V<'b> {
        self.un(UnOp::Neg)
    }
}
