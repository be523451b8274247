//! Random functions, for tests that compare printer and parser, interpreter and generated code.
//!
//! What [`random`] makes passes the verifier, ends, and stays inside its buffers; the same seed gives the same function.

use super::build::Builder;
use super::ir::*;
use super::verify::{takes_one, takes_two};
use crate::base::dim::{Dim, SymId, Symbols};
use crate::base::dtype::DType;
use crate::base::id::Id;

/// What a random function may be made of.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements at most, roughly.
    pub statements: usize,
    /// Operations that `legalize` writes out, too.
    pub mathematics: bool,
    /// Elements of each buffer.
    pub len: i64,
}

/// A sequence of numbers from a seed (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n` (0 for 0).
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n.max(1)
    }
    /// One of a list.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const DTYPES: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::Bool,
    DType::I4,
    DType::U4,
    DType::I2,
    DType::U2,
    DType::F8E5M2,
    DType::F4E2M1,
];
const TYS: &[Ty] = &[Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool];
const UNARY: &[UnOp] = &[
    UnOp::Neg,
    UnOp::Abs,
    UnOp::Sqrt,
    UnOp::Floor,
    UnOp::Ceil,
    UnOp::Trunc,
    UnOp::Round,
    UnOp::Not,
    UnOp::Popcnt,
    UnOp::Seldom,
];
const MATHEMATICS: &[UnOp] = &[
    UnOp::Exp,
    UnOp::Expm1,
    UnOp::Log,
    UnOp::Log1p,
    UnOp::Sin,
    UnOp::Cos,
    UnOp::Tanh,
    UnOp::Erf,
    UnOp::Sigmoid,
];
const BINARY: &[BinOp] = &[
    BinOp::Add,
    BinOp::Sub,
    BinOp::Mul,
    BinOp::Div,
    BinOp::Rem,
    BinOp::DivU,
    BinOp::RemU,
    BinOp::Min,
    BinOp::Max,
    BinOp::MinU,
    BinOp::MaxU,
    BinOp::And,
    BinOp::Or,
    BinOp::Xor,
    BinOp::Shl,
    BinOp::Shr,
    BinOp::ShrU,
    BinOp::MulHiU,
];
const COMPARE: &[BinOp] = &[
    BinOp::Eq,
    BinOp::Ne,
    BinOp::Lt,
    BinOp::Le,
    BinOp::LtU,
    BinOp::LeU,
];

/// A random function; it may use the symbols of `symbols`, which it takes to be set.
pub fn random(seed: u64, limits: Limits, symbols: &Symbols) -> Func {
    let mut g = Gen {
        rng: Rng(seed),
        limits,
        symbols: symbols.len(),
        b: Builder::new("random"),
        readable: vec![],
        writable: vec![],
        values: vec![],
        mutable: vec![],
        lane: None,
        left: limits.statements,
    };
    for n in 0..1 + g.rng.below(3) {
        let d = g.rng.pick(DTYPES);
        let len = Dim::Fixed(limits.len);
        let id = g.b.buffer(&format!("x{n}"), d, len, Access::Read);
        g.readable.push(id);
    }
    for n in 0..1 + g.rng.below(2) {
        let d = g.rng.pick(DTYPES);
        let len = Dim::Fixed(limits.len);
        let id = g.b.buffer(&format!("y{n}"), d, len, Access::ReadWrite);
        g.readable.push(id);
        g.writable.push(id);
    }
    while g.left > 0 {
        g.stmt(0);
    }
    g.b.finish()
}

struct Gen {
    rng: Rng,
    limits: Limits,
    symbols: usize,
    b: Builder,
    readable: Vec<BufId>,
    writable: Vec<BufId>,
    /// Values that may be read here.
    values: Vec<ExprId>,
    /// Variables that may be set here.
    mutable: Vec<VarId>,
    /// The index that stores must use: inside of loops whose iterations are independent.
    lane: Option<ExprId>,
    left: usize,
}

impl Gen {
    fn stmt(&mut self, depth: usize) {
        self.left = self.left.saturating_sub(1);
        match self.rng.below(if depth < 3 { 10 } else { 6 }) {
            0 => {
                let ty = self.rng.pick(TYS);
                let e = self.value(ty, 3);
                let v = self.b.let_(e);
                self.values.push(v);
            }
            1 => {
                let ty = self.rng.pick(TYS);
                let e = self.value(ty, 3);
                let v = self.b.var(e);
                self.mutable.push(v);
                let v = self.b.get(v);
                self.values.push(v);
            }
            2 if !self.mutable.is_empty() => {
                let v = self.rng.pick(&self.mutable);
                let ty = self.b.func().vars[v].ty;
                let e = self.value(ty, 4);
                self.b.set(v, e);
            }
            3 if self.lane.is_none() && self.rng.below(4) == 0 => {
                let cond = self.value(Ty::Bool, 2);
                let status = 1 + self.rng.below(50) as i32;
                self.b.stmt(Stmt::FailIf { cond, status });
            }
            6 | 7 => self.for_(depth),
            8 => {
                let cond = self.value(Ty::Bool, 3);
                let mut b = std::mem::take(&mut self.b);
                // Both branches get at least the chance of a statement.
                let gen_ = std::cell::RefCell::new(&mut *self);
                b.if_(
                    cond,
                    |b| gen_.borrow_mut().block(b, depth),
                    |b| gen_.borrow_mut().block(b, depth),
                );
                self.b = b;
            }
            _ => self.store(),
        }
    }
    fn for_(&mut self, depth: usize) {
        use LoopKind::*;
        let kind = self.rng.pick(&[Seq, Parallel, Lanes, Unroll]);
        let n = self.rng.below(6).min(self.limits.len.max(0) as usize);
        let extent = self.b.i(n as i64);
        let mut b = std::mem::take(&mut self.b);
        b.for_(extent, kind, |b, i| {
            let (readable, mutable) = (self.readable.clone(), self.mutable.clone());
            let (lane, values) = (self.lane, self.values.len());
            if matches!(kind, Parallel | Lanes) && lane.is_none() {
                // Iterations must not depend on each other: each writes its own element, none reads what is written.
                self.lane = Some(i);
                self.readable.retain(|r| !self.writable.contains(r));
                self.mutable.clear();
            }
            self.values.push(i);
            self.block(b, depth);
            self.values.truncate(values);
            (self.readable, self.mutable, self.lane) = (readable, mutable, lane);
        });
        self.b = b;
    }
    /// Some statements for the open block of `b`.
    fn block(&mut self, b: &mut Builder, depth: usize) {
        std::mem::swap(b, &mut self.b);
        let (values, mutable) = (self.values.len(), self.mutable.len());
        for _ in 0..self.rng.below(4) {
            if self.left > 0 {
                self.stmt(depth + 1);
            }
        }
        self.values.truncate(values);
        self.mutable.truncate(mutable);
        std::mem::swap(b, &mut self.b);
    }
    fn store(&mut self) {
        let to = self.rng.pick(&self.writable);
        let ty = Ty::of(self.b.func().bufs[to].dtype);
        let index = match self.lane {
            Some(i) => i,
            None => self.index(),
        };
        let value = self.value(ty, 5);
        self.b.store(to, index, value);
    }
    fn index(&mut self) -> ExprId {
        let e = self.value(Ty::I64, 2);
        let n = self.b.i(self.limits.len);
        self.b.bin(BinOp::RemU, e, n)
    }
    fn value(&mut self, ty: Ty, depth: usize) -> ExprId {
        if depth == 0 || self.rng.below(5) == 0 {
            return self.leaf(ty);
        }
        match self.rng.below(9) {
            0 => {
                let from = self.rng.pick(TYS);
                let e = self.value(from, depth - 1);
                let kind = self.rng.pick(&[CastKind::Signed, CastKind::Unsigned]);
                self.b.cast_as(ty, kind, e)
            }
            1 => {
                let c = self.value(Ty::Bool, depth - 1);
                let (x, y) = (self.value(ty, depth - 1), self.value(ty, depth - 1));
                self.b.select(c, x, y)
            }
            2 => self.load(ty, depth).unwrap_or_else(|| self.leaf(ty)),
            3 if ty.is_float() => {
                let [x, y, z] = [0; 3].map(|_| self.value(ty, depth - 1));
                self.b.fma(x, y, z)
            }
            4 | 5 => {
                let all = match self.limits.mathematics && ty.is_float() {
                    true => [UNARY, MATHEMATICS].concat(),
                    false => UNARY.to_vec(),
                };
                let op = self.rng.pick(&all);
                let x = self.value(ty, depth - 1);
                match takes_one(op, ty) {
                    true => self.b.un(op, x),
                    false => x,
                }
            }
            6 if ty == Ty::Bool => {
                let of = self.rng.pick(TYS);
                let op = self.rng.pick(COMPARE);
                let (x, y) = (self.value(of, depth - 1), self.value(of, depth - 1));
                let op = if takes_two(op, of) { op } else { BinOp::Eq };
                self.b.bin(op, x, y)
            }
            _ => {
                let op = self.rng.pick(BINARY);
                let (x, y) = (self.value(ty, depth - 1), self.value(ty, depth - 1));
                match takes_two(op, ty) {
                    true => self.b.bin(op, x, y),
                    false => x,
                }
            }
        }
    }
    fn load(&mut self, ty: Ty, depth: usize) -> Option<ExprId> {
        let of = |b: &&BufId| Ty::of(self.b.func().bufs[**b].dtype) == ty;
        let fit: Vec<BufId> = self.readable.iter().filter(of).copied().collect();
        let buf = *fit.get(self.rng.below(fit.len()))?;
        if self.rng.below(3) > 0 {
            let index = self.index();
            return Some(self.b.load(buf, index));
        }
        // Any index, under a guard.
        let index = self.value(Ty::I64, 1);
        let n = self.b.i(self.limits.len);
        let cond = self.b.bin(BinOp::LtU, index, n);
        let default = self.value(ty, depth - 1);
        Some(self.b.load_if(buf, cond, index, default))
    }
    fn leaf(&mut self, ty: Ty) -> ExprId {
        let fit: Vec<ExprId> = self
            .values
            .iter()
            .filter(|v| self.b.ty(**v) == ty)
            .copied()
            .collect();
        if !fit.is_empty() && self.rng.below(3) > 0 {
            return self.rng.pick(&fit);
        }
        if ty == Ty::I64 && self.symbols > 0 && self.rng.below(4) == 0 {
            let s = SymId::new(self.rng.below(self.symbols));
            return self.b.expr(Expr::Sym(s));
        }
        let bits = match self.rng.below(3) {
            0 => self.rng.bits(),
            1 => self.rng.below(20) as u64,
            _ => (self.rng.below(20) as u64).wrapping_neg(),
        };
        let small = self.rng.below(64) as f64 / 4.0 - 8.0;
        let exotic = self.rng.below(4) == 0;
        self.b.konst(match ty {
            Ty::F32 if exotic => Const::F32(bits as u32),
            Ty::F32 => Const::F32((small as f32).to_bits()),
            Ty::F64 if exotic => Const::F64(bits),
            Ty::F64 => Const::F64(small.to_bits()),
            Ty::I32 => Const::I32(bits as i32),
            Ty::I64 => Const::I64(bits as i64),
            Ty::Bool => Const::Bool(bits & 1 == 1),
        })
    }
}
