//! Lanes of 64 bits: the four iterations of a vector loop in two vectors of two.
//!
//! What is computed in 64 bits exists as two halves ([`Form::Half`]); where it comes from lanes of 32 bits or becomes them, each
//! half is widened, or both are narrowed to one vector.

use super::expr::{Form, HALVES};
use super::func::Cx;
use super::mem::{self, Place};
use super::ops::{Ops, cast_flags};
use super::ty;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, CastKind, Const, Expr, ExprId, Ty};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

impl Ops<'_, '_> {
    /// Two whole numbers as lanes.
    pub fn long_pair(&mut self, lanes: [i64; 2]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|v| v.to_le_bytes()).collect();
        let k = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(types::I64X2, k)
    }
    /// These bits in both lanes.
    pub fn long_const(&mut self, t: Type, bits: u64) -> Value {
        let k = self
            .b
            .func
            .dfg
            .constants
            .insert(bits.to_le_bytes().repeat(2).into());
        self.b.ins().vconst(t, k)
    }
    /// A scalar in both lanes; a truth value as all zeros or all ones.
    pub fn splat_long(&mut self, t: Ty, v: Value) -> Value {
        let v = match t {
            Ty::Bool => self.b.ins().bmask(types::I64, v),
            _ => v,
        };
        self.b.ins().splat(ty::long(t), v)
    }
    /// Two scalars as lanes.
    pub fn pack_long(&mut self, t: Ty, a: Value, b: Value) -> Value {
        let [a, b] = [a, b].map(|v| match t {
            Ty::Bool => self.b.ins().bmask(types::I64, v),
            _ => v,
        });
        let out = self.b.ins().scalar_to_vector(ty::long(t), a);
        self.b.ins().insertlane(out, b, 1)
    }
    /// Two of four lanes as 64 bits, with their sign.
    pub fn widen(&mut self, v: Value, half: u8) -> Value {
        match half {
            0 => self.b.ins().swiden_low(v),
            _ => self.b.ins().swiden_high(v),
        }
    }
    /// Two lanes of 32 bits of one vector, then the same of another.
    pub fn pick(&mut self, a: Value, b: Value, lanes: [u8; 2], to: Type) -> Value {
        let [a, b] = [a, b].map(|v| self.b.ins().bitcast(types::I8X16, cast_flags(), v));
        let bytes = |l: u8, second: u8| (0..4).map(move |i| 16 * second + 4 * l + i);
        let mask: Vec<u8> = [0, 1]
            .into_iter()
            .flat_map(|second| lanes.into_iter().flat_map(move |l| bytes(l, second)))
            .collect();
        let mask = self.b.func.dfg.immediates.push(mask.into());
        let v = self.b.ins().shuffle(a, b, mask);
        self.b.ins().bitcast(to, cast_flags(), v)
    }
    // The upper two of four lanes where the lower ones were.
    fn upper(&mut self, v: Value, half: u8, t: Type) -> Value {
        match half {
            0 => v,
            _ => self.pick(v, v, [2, 3], t),
        }
    }
    // Lanes of 64 bits of a half of such of 32, or of truth values of 64.
    fn cast_long(&mut self, to: Ty, kind: CastKind, from: Ty, v: Value, half: u8) -> Result<Value> {
        Ok(match (from, to) {
            _ if from == to => v,
            (Ty::Bool, _) => {
                let one = match to {
                    Ty::F64 => self.long_const(types::I64X2, 1f64.to_bits()),
                    _ => self.long_const(types::I64X2, 1),
                };
                let v = self.b.ins().band(v, one);
                match to {
                    Ty::F64 => self.b.ins().bitcast(types::F64X2, cast_flags(), v),
                    _ => v,
                }
            }
            (Ty::I32, Ty::I64) => match (kind, half) {
                (CastKind::Signed, h) => self.widen(v, h),
                (_, 0) => self.b.ins().uwiden_low(v),
                _ => self.b.ins().uwiden_high(v),
            },
            (Ty::I32, Ty::F64) => {
                let v = self.upper(v, half, types::I32X4);
                let v = self.b.ins().swiden_low(v);
                self.b.ins().fcvt_from_sint(types::F64X2, v)
            }
            (Ty::F32, Ty::F64) => {
                let v = self.upper(v, half, types::F32X4);
                self.b.ins().fvpromote_low(v)
            }
            _ => return Err(Diagnostic::internal("a conversion that has no lanes")),
        })
    }
    // Both halves, truth values or numbers, as lanes of 32 bits.
    fn narrow(&mut self, to: Ty, from: Ty, [a, b]: [Value; 2]) -> Result<Value> {
        Ok(match (from, to) {
            (Ty::F64, Ty::F32) => {
                let [a, b] = [a, b].map(|v| self.b.ins().fvdemote(v));
                self.pick(a, b, [0, 1], types::F32X4)
            }
            (Ty::F64 | Ty::I64, Ty::Bool) => {
                let zero = match from {
                    Ty::F64 => Const::F64(0),
                    _ => Const::I64(0),
                };
                let zero = self.konst(zero, true);
                let both = [a, b].map(|v| self.bin(BinOp::Ne, from, true, v, zero));
                self.pick(both[0], both[1], [0, 2], types::I32X4)
            }
            (Ty::F64, Ty::I32) => {
                let none = self.konst(Const::I64(0), true);
                let [a, b] = [a, b].map(|v| {
                    let v = self.b.ins().fcvt_to_sint_sat(types::I64X2, v);
                    self.b.ins().snarrow(v, none)
                });
                self.pick(a, b, [0, 1], types::I32X4)
            }
            (Ty::I64, Ty::I32) => self.pick(a, b, [0, 2], types::I32X4),
            _ => return Err(Diagnostic::internal("a conversion that has no lanes")),
        })
    }
}

impl Cx<'_, '_> {
    /// All lanes of an expression of 64 bits.
    pub fn halves(&mut self, e: ExprId) -> Result<[Value; 2]> {
        let [a, b] = HALVES;
        Ok([self.eval(e, a)?, self.eval(e, b)?])
    }
    /// Lanes of 32 bits of a node whose operands have 64, which are there.
    pub fn narrowed(&mut self, e: ExprId) -> Result<Value> {
        let f = self.f;
        let [low, high] = HALVES;
        match f.exprs[e] {
            Expr::Cast(to, _, a) => {
                let both = [self.have(a, low)?, self.have(a, high)?];
                self.o.narrow(to, self.ty(a), both)
            }
            Expr::Bin(op, a, b) => {
                let t = self.ty(a);
                let mut both = [self.syms; 2];
                for (v, h) in both.iter_mut().zip(HALVES) {
                    let (a, b) = (self.have(a, h)?, self.have(b, h)?);
                    *v = self.o.bin(op, t, true, a, b);
                }
                Ok(self.o.pick(both[0], both[1], [0, 2], types::I32X4))
            }
            _ => Err(Diagnostic::internal("no lanes come of 64 bits here")),
        }
    }
    /// One half of a node of 64 bits, whose operands are there.
    pub fn long_node(&mut self, e: ExprId, form: Form) -> Result<Value> {
        let Form::Half(half) = form else {
            return Err(Diagnostic::internal("not a half"));
        };
        let f = self.f;
        match f.exprs[e] {
            Expr::Load { buf, index } => {
                let (rest, constant) = self.split_index(index);
                let index = rest.map(|i| self.have(i, Form::Scalar)).transpose()?;
                let p = self.place(buf, index, constant);
                Ok(self.load_half(f.bufs[buf].dtype, p, half))
            }
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => {
                // Where the condition does not hold, the symbol table is read, as by other loads under a condition.
                let (c, i) = (
                    self.have(cond, Form::Scalar)?,
                    self.have(index, Form::Scalar)?,
                );
                let p = self.place(buf, Some(i), 0);
                let address = self.address(p);
                let syms = self.syms;
                let base = self.o.b.ins().select(c, address, syms);
                let v = self.load_half(f.bufs[buf].dtype, Place { base, offset: 0 }, half);
                let (c, default) = (self.have(cond, form)?, self.have(default, form)?);
                Ok(self.o.select(self.ty(e), true, c, v, default))
            }
            Expr::Cast(to, kind, a) => {
                let from = self.ty(a);
                let at = match from {
                    Ty::F32 | Ty::I32 => Form::Wide,
                    _ => form,
                };
                let a = self.have(a, at)?;
                self.o.cast_long(to, kind, from, a, half)
            }
            _ => self.node(e, form, true),
        }
    }
    // Two of four neighbours.
    fn load_half(&mut self, d: DType, p: Place, half: u8) -> Value {
        let flags = mem::wide_flags();
        if d == DType::U32 {
            let at = p.offset + 8 * i32::from(half);
            return self.o.b.ins().uload32x2(flags, p.base, at);
        }
        let at = p.offset + 16 * i32::from(half);
        self.o.b.ins().load(ty::long(Ty::of(d)), flags, p.base, at)
    }
    /// Writes both halves to four neighbours.
    pub fn store_halves(&mut self, d: DType, p: Place, [a, b]: [Value; 2]) {
        let flags = mem::wide_flags();
        if d == DType::U32 {
            let v = self.o.pick(a, b, [0, 2], types::I32X4);
            self.o.b.ins().store(flags, v, p.base, p.offset);
            return;
        }
        for (v, at) in [(a, p.offset), (b, p.offset + 16)] {
            self.o.b.ins().store(flags, v, p.base, at);
        }
    }
}
