//! What each value of a loop takes: operations of the vector machine.

use super::registers::Key;
use super::{Kernel, bytes};
use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{BinOp, CastKind, Ty, UnOp};
use onnxc_compiler::loops::lane_loop::{Inst, Num, Spot, Value, ValueNo};

const ONES: u32 = u32::MAX;
const SIGN: u32 = 1 << 31;

/// How a type is stored, where the machine knows of it; whether lanes are compared with 0 after a load.
pub fn elem(d: DType) -> Option<(Elem, bool)> {
    Some(match d {
        DType::F32 | DType::I32 => (Elem::W32, false),
        DType::F16 => (Elem::F16, false),
        DType::BF16 => (Elem::BF16, false),
        DType::U8 => (Elem::U8, false),
        DType::I8 => (Elem::I8, false),
        DType::U16 => (Elem::U16, false),
        DType::I16 => (Elem::I16, false),
        DType::Bool => (Elem::U8, true),
        _ => return None,
    })
}

impl Kernel<'_> {
    /// Defines a value for every vector at hand. `into`: it is set into this variable right after.
    pub(super) fn define(&mut self, v: ValueNo, into: Option<u16>) -> Option<()> {
        let value = self.l.values[v as usize];
        if matches!(value, Value::Bits(_) | Value::Var(_)) {
            return Some(());
        }
        let into = into.filter(|_| self.uses_in_block(v) == 1);
        let us = match self.wide[v as usize] {
            true => self.us.clone(),
            false => vec![0],
        };
        for u in us {
            match value {
                Value::Load(s) if self.stays(v) => {
                    elem(s.dtype)?;
                    self.define_in_memory(v, u);
                }
                _ => {
                    let target = into.and_then(|var| self.pinned_var(var, u));
                    let d = self.compute(value, u, target)?;
                    if Some(d) == target {
                        self.regs.fused.insert((v, u));
                    } else {
                        self.define_in(v, u, d);
                    }
                }
            }
            self.unlock();
        }
        Some(())
    }
    // Whether a load may be done when it is wanted: nothing is written before its last use.
    fn stays(&self, v: ValueNo) -> bool {
        let (at, end) = (self.regs.at, self.last_use(v));
        self.part == Lanes::All && self.body_is_quiet(at, end)
    }
    /// The place of a value that can be an operand where it lies.
    pub(super) fn memory_operand(&mut self, v: ValueNo, u: u8) -> Option<Option<Mem>> {
        match self.l.values[v as usize] {
            Value::Load(s) if elem(s.dtype)? == (Elem::W32, false) => Some(Some(self.mem(s, u)?)),
            _ => Some(None),
        }
    }
    /// Loads a value that was left in memory.
    pub(super) fn load_now(&mut self, k: Key, d: V) -> Option<()> {
        match self.l.values.get(k.0 as usize)? {
            Value::Load(s) => self.load(*s, k.1, d),
            _ => None,
        }
    }
    fn load(&mut self, s: Spot, u: u8, d: V) -> Option<()> {
        let (elem, is_bool) = elem(s.dtype)?;
        let (at, lanes) = (self.mem(s, u)?, self.part);
        self.vm.op(Op::Load { d, at, elem, lanes });
        if is_bool {
            self.vm.bin(Bin::GtI, d, d, Src::Const(0));
        }
        Some(())
    }
    pub(super) fn store(&mut self, s: Spot, v: ValueNo) -> Option<()> {
        let (mut elem, is_bool) = elem(s.dtype)?;
        let mut us = self.us.clone();
        if self.left.limiting.contains(&(s, v)) {
            elem = bytes::limited(s.dtype)?;
            us = self.store_pairs(s, v)?;
        }
        for u in us {
            let mut r = self.reg(v, u)?;
            let mut mine = None;
            if is_bool {
                let d = self.fresh()?;
                self.lock(d);
                self.vm.bin(Bin::And, d, r, Src::Const(1));
                r = d;
                mine = Some(d);
            }
            let plain = elem == Elem::W32 && self.part == Lanes::All;
            let tmp = if plain { r } else { self.fresh()? };
            let (at, lanes) = (self.mem(s, u)?, self.part);
            self.vm.op(Op::Store {
                s: r,
                at,
                elem,
                lanes,
                tmp,
            });
            if !plain {
                self.give_back(tmp);
            }
            if let Some(d) = mine {
                self.give_back(d);
            }
            self.unlock();
        }
        Some(())
    }

    /// Whether two vectors of bytes that stores limit can be stored at once.
    pub(super) fn pairs(&self) -> bool {
        !self.left.limiting.is_empty() && self.vm.isa.stores_pairs()
    }
    /// Stores neighbouring vectors of bytes in pairs, as far as they can be, with limits; the vectors that are left.
    fn store_pairs(&mut self, s: Spot, v: ValueNo) -> Option<Vec<u8>> {
        let us = self.us.clone();
        let step = self.l.streams[usize::from(s.stream)].step(self.lanes_loop);
        if !self.pairs() || self.part != Lanes::All || step != Some(Num::Known(1)) {
            return Some(us);
        }
        let mut left = vec![];
        for two in us.chunks(2) {
            // Their registers are not what they were afterwards.
            let &[a, b] = two else {
                left.extend(two);
                continue;
            };
            let spent = self.wide[v as usize] && self.dies(v, a) && self.dies(v, b);
            if !spent || b != a + 1 {
                left.extend(two);
                continue;
            }
            let op = Op::StorePair {
                a: self.reg(v, a)?,
                b: self.reg(v, b)?,
                at: self.mem(s, a)?,
                signed: s.dtype == DType::I8,
                mixed: false,
            };
            self.vm.op(op);
            self.unlock();
        }
        Some(left)
    }

    // The register of the result: one of a value that dies, or a fresh one.
    fn result(&mut self, dying: &[ValueNo], u: u8) -> Option<V> {
        for &v in dying {
            if self.dies(v, u) {
                return self.take(v, u);
            }
        }
        self.fresh()
    }
    // Where a binary operation goes: a variable's register if it is given.
    fn goes(&mut self, target: Option<V>, dying: &[ValueNo], u: u8) -> Option<V> {
        match target {
            Some(d) => Some(d),
            None => self.result(dying, u),
        }
    }
    fn simple(&mut self, op: Bin, a: ValueNo, b: ValueNo, u: u8, target: Option<V>) -> Option<V> {
        let (ra, sb) = (self.reg(a, u)?, self.src(b, u)?);
        let d = self.goes(target, &[a, b], u)?;
        self.vm.bin(op, d, ra, sb);
        Some(d)
    }
    fn with(&mut self, op: Bin, a: ValueNo, bits: u32, u: u8) -> Option<V> {
        let ra = self.reg(a, u)?;
        let d = self.result(&[a], u)?;
        self.vm.bin(op, d, ra, Src::Const(bits));
        Some(d)
    }
    fn not(&mut self, d: V) {
        self.vm.bin(Bin::Xor, d, d, Src::Const(ONES));
    }

    // Computes a value; the result is in nobody's register, or in `target`.
    fn compute(&mut self, value: Value, u: u8, target: Option<V>) -> Option<V> {
        match value {
            Value::Bits(_) | Value::Var(_) => None,
            Value::Scalar(n) => {
                let d = self.fresh()?;
                let x = self.vm.arg(n);
                self.vm.op(Op::SplatX { d, x });
                self.vm.free_x(x);
                Some(d)
            }
            Value::Copy(a) => {
                let ra = self.reg(a, u)?;
                let d = self.result(&[a], u)?;
                self.vm.op(Op::Move { d, a: ra });
                Some(d)
            }
            Value::Load(s) => {
                let d = self.fresh()?;
                self.load(s, u, d)?;
                Some(d)
            }
            Value::LoadIf(s, flag, default) => {
                let rd = self.reg(default, u)?;
                let d = self.result(&[default], u)?;
                self.vm.op(Op::Move { d, a: rd });
                let x = self.vm.arg(flag);
                let end = self.vm.label();
                self.vm.op(Op::Branch {
                    x,
                    cond: Cond::Eq,
                    with: 0,
                    to: end,
                });
                self.load(s, u, d)?;
                self.vm.place(end);
                self.vm.free_x(x);
                Some(d)
            }
            Value::Splat(s) => {
                let d = self.fresh()?;
                let at = self.mem(s, u)?;
                self.vm.op(Op::Splat { d, at });
                Some(d)
            }
            Value::Un(op, ty, a) => self.un(op, ty, a, u),
            Value::Bin(op, ty, a, b) => self.binary(op, ty, a, b, u, target),
            Value::Shift(op, a, by) => {
                let op = match op {
                    BinOp::Shl => Shift::Left,
                    BinOp::Shr => Shift::Right,
                    _ => Shift::RightU,
                };
                let ra = self.reg(a, u)?;
                let d = self.result(&[a], u)?;
                match by {
                    0 => self.vm.op(Op::Move { d, a: ra }),
                    by => self.vm.op(Op::Shift { op, d, a: ra, by }),
                }
                Some(d)
            }
            Value::Fma(a, b, c) => self.fma(a, b, c, u, target),
            Value::Select(m, a, b) => {
                let (rm, ra, rb) = (self.reg(m, u)?, self.reg(a, u)?, self.reg(b, u)?);
                let d = self.result(&[m, a, b], u)?;
                self.vm.op(Op::Select {
                    d,
                    m: rm,
                    a: ra,
                    b: rb,
                });
                Some(d)
            }
            Value::Cast(to, kind, from, a) => self.cast(to, kind, from, a, u),
        }
    }
    fn fma(&mut self, a: ValueNo, b: ValueNo, c: ValueNo, u: u8, target: Option<V>) -> Option<V> {
        // A factor that need not be in a register is the second.
        let (a, b) = if self.in_register(a, u) || !self.in_register(b, u) {
            (a, b)
        } else {
            (b, a)
        };
        let ra = self.reg(a, u)?;
        let sb = self.src(b, u)?;
        let used = |r: V| ra == r || sb == Src::Reg(r);
        let konst = match self.l.values[c as usize] {
            Value::Bits(bits) if !self.in_register(c, u) => Some(bits),
            _ => None,
        };
        if let Some(bits) = konst {
            let d = match target.filter(|t| !used(*t)) {
                Some(t) => t,
                None => self.fresh()?,
            };
            match bits {
                0 => self.vm.op(Op::Zero { d }),
                bits => self.vm.op(Op::Const { d, bits }),
            }
            self.vm.fma(d, ra, sb);
            return Some(d);
        }
        let rc = self.reg(c, u)?;
        let d = match target {
            Some(t) if t == rc => t,
            _ if self.dies(c, u) => self.take(c, u)?,
            Some(t) if !used(t) => t,
            _ => self.fresh()?,
        };
        self.vm.op(Op::Move { d, a: rc });
        self.vm.fma(d, ra, sb);
        Some(d)
    }
    fn un(&mut self, op: UnOp, ty: Ty, a: ValueNo, u: u8) -> Option<V> {
        let float = ty == Ty::F32;
        let one = |op| match float {
            true => Some(op),
            false => None,
        };
        let op = match op {
            UnOp::Neg if float => return self.with(Bin::Xor, a, SIGN, u),
            UnOp::Abs if float => return self.with(Bin::And, a, !SIGN, u),
            UnOp::Not if !float => return self.with(Bin::Xor, a, ONES, u),
            UnOp::Neg | UnOp::Abs if ty == Ty::I32 => {
                let ra = self.reg(a, u)?;
                let d = self.fresh()?;
                self.lock(d);
                self.vm.op(Op::Zero { d });
                self.vm.bin(Bin::SubI, d, d, ra);
                if op == UnOp::Abs {
                    // The negative where that is positive; the smallest number stays.
                    let m = self.fresh()?;
                    self.vm.op(Op::Zero { d: m });
                    self.vm.bin(Bin::GtI, m, m, ra);
                    self.vm.op(Op::Select { d, m, a: d, b: ra });
                    self.give_back(m);
                }
                return Some(d);
            }
            UnOp::Sqrt => one(Un::Sqrt)?,
            UnOp::Floor => one(Un::Floor)?,
            UnOp::Ceil => one(Un::Ceil)?,
            UnOp::Trunc => one(Un::Trunc)?,
            UnOp::Round | UnOp::Near => one(Un::Round)?,
            _ => return None,
        };
        let ra = self.reg(a, u)?;
        let d = self.result(&[a], u)?;
        self.vm.op(Op::Un { op, d, a: ra });
        Some(d)
    }
    fn binary(
        &mut self,
        op: BinOp,
        ty: Ty,
        a: ValueNo,
        b: ValueNo,
        u: u8,
        target: Option<V>,
    ) -> Option<V> {
        use BinOp::*;
        let commutes = matches!(op, Add | Mul | And | Or | Xor | Eq | Ne);
        // Second operands need no register.
        let (a, b) = if commutes && !self.in_register(a, u) && self.in_register(b, u) {
            (b, a)
        } else {
            (a, b)
        };
        let direct = match (ty, op) {
            (Ty::F32, Add) => Bin::Add,
            (Ty::F32, Sub) => Bin::Sub,
            (Ty::F32, Mul) => Bin::Mul,
            (Ty::F32, Div) => Bin::Div,
            (Ty::F32, Min) => Bin::Min,
            (Ty::F32, Max) => Bin::Max,
            (Ty::F32, Eq) => Bin::Eq,
            (Ty::F32, Ne) => Bin::Ne,
            (Ty::F32, Lt) => Bin::Lt,
            (Ty::F32, Le) => Bin::Le,
            (Ty::I32, Add) => Bin::AddI,
            (Ty::I32, Sub) => Bin::SubI,
            (Ty::I32, Mul) => Bin::MulI,
            (Ty::I32 | Ty::Bool, And) => Bin::And,
            (Ty::I32 | Ty::Bool, Or) => Bin::Or,
            (Ty::I32 | Ty::Bool, Xor) => Bin::Xor,
            (Ty::Bool, Ne) => Bin::Xor,
            (Ty::I32 | Ty::Bool, Eq) => Bin::EqI,
            (Ty::I32, Min) if self.has_bin(Bin::MinI) => Bin::MinI,
            (Ty::I32, Max) if self.has_bin(Bin::MaxI) => Bin::MaxI,
            (Ty::I32, Ne) => {
                let d = self.simple(Bin::EqI, a, b, u, None)?;
                self.not(d);
                return Some(d);
            }
            (Ty::I32, Lt | Le) => {
                // b > a, and the contrary of a > b.
                let (x, y) = if op == Lt { (b, a) } else { (a, b) };
                let d = self.simple(Bin::GtI, x, y, u, None)?;
                if op == Le {
                    self.not(d);
                }
                return Some(d);
            }
            (Ty::I32, LtU | LeU | MinU | MaxU | Min | Max) => {
                let (ra, rb) = (self.reg(a, u)?, self.reg(b, u)?);
                let (m, t) = (self.fresh()?, self.fresh()?);
                let flip = if matches!(op, Min | Max) { 0 } else { SIGN };
                // What is greater, where the sign bit is flipped for unsigned numbers.
                let (x, y) = match op {
                    LtU | MinU | Min => (rb, ra),
                    _ => (ra, rb),
                };
                self.vm.bin(Bin::Xor, m, x, Src::Const(flip));
                self.vm.bin(Bin::Xor, t, y, Src::Const(flip));
                self.vm.bin(Bin::GtI, m, m, t);
                match op {
                    LtU => {}
                    LeU => self.not(m),
                    _ => self.vm.op(Op::Select {
                        d: m,
                        m,
                        a: ra,
                        b: rb,
                    }),
                }
                self.give_back(t);
                return Some(m);
            }
            _ => return None,
        };
        self.simple(direct, a, b, u, target)
    }
    fn has_bin(&self, op: Bin) -> bool {
        self.vm.isa.has(&Op::Bin {
            op,
            d: V(0),
            a: V(0),
            b: Src::Reg(V(0)),
        })
    }
    fn cast(&mut self, to: Ty, kind: CastKind, from: Ty, a: ValueNo, u: u8) -> Option<V> {
        match (from, to) {
            (Ty::Bool, Ty::F32) => self.with(Bin::And, a, 1f32.to_bits(), u),
            (Ty::Bool, Ty::I32) => self.with(Bin::And, a, 1, u),
            (Ty::F32, Ty::Bool) => self.with(Bin::Ne, a, 0, u),
            (Ty::I32, Ty::Bool) => {
                let d = self.with(Bin::EqI, a, 0, u)?;
                self.not(d);
                Some(d)
            }
            (Ty::I32, Ty::F32) if kind == CastKind::Signed => {
                let ra = self.reg(a, u)?;
                let d = self.result(&[a], u)?;
                self.vm.op(Op::Un {
                    op: Un::FromInt,
                    d,
                    a: ra,
                });
                Some(d)
            }
            // What is near to a whole number of an i32 becomes it as it is rounded.
            (Ty::F32, Ty::I32)
                if self.left.rounding.contains(&Value::Cast(to, kind, from, a))
                    || matches!(self.l.values[a as usize], Value::Un(UnOp::Near, ..)) =>
            {
                let ra = self.reg(a, u)?;
                let d = self.result(&[a], u)?;
                self.vm.op(Op::NearInt { d, a: ra });
                Some(d)
            }
            (Ty::F32, Ty::I32) if kind == CastKind::Signed => {
                let ra = self.reg(a, u)?;
                let d = self.fresh()?;
                let tmp = self.fresh()?;
                self.vm.op(Op::ToInt { d, a: ra, tmp });
                self.give_back(tmp);
                Some(d)
            }
            _ => None,
        }
    }
    /// Whether there is no store between two places of the open block, and no loop up to the second.
    fn body_is_quiet(&self, from: usize, to: usize) -> bool {
        let mut loud = self.loud.iter();
        !loud.any(|&(at, is_loop)| at > from && (at < to || at == to && is_loop))
    }
}

/// Where in a block memory is written, and whether by a loop, or at least perhaps.
pub fn loud(body: &[Inst]) -> Vec<(usize, bool)> {
    let is = |i: &Inst| match i {
        Inst::Store(..) => Some(false),
        Inst::Loop(..) => Some(true),
        _ => None,
    };
    let all = body.iter().enumerate();
    all.filter_map(|(at, i)| Some((at, is(i)?))).collect()
}
