//! Runs programs of the vector machine as they are written down: slow, plain, and the judge of both architectures' code.
//!
//! Shares nothing with what makes machine code. Memory is one run of bytes; an access outside of it is an error, as are labels,
//! registers and slots that do not exist. What an operation leaves undefined (`tmp`, the lanes beside a fold) becomes a
//! pattern that no program should let through. Which NaN an arithmetic operation gives is not said; here it is always [`NAN`].

use std::collections::HashMap;

use onnxc_compiler::base::diag::{Diagnostic, Result};

use super::ir::*;
use lane::*;
pub use lane::{from_half, to_bf16, to_half};

mod address;
mod lane;
mod long;
mod mixing;
mod quads;
mod reals;

/// The NaN that arithmetic gives here. Machines may give others.
pub const NAN: u32 = 0x7fc0_0000;
/// What undefined lanes hold: a NaN, and no usual one.
const UNDEFINED: u32 = 0xffa5_5a5a;
/// Lanes of the widest machine.
const MAX_LANES: usize = 16;

type Vector = [u32; MAX_LANES];

struct Machine<'a> {
    isa: Isa,
    v: Vec<Vector>,
    x: [i64; XREGS as usize],
    slots: Vec<Vector>,
    args: Vec<i64>,
    base: i64,
    memory: &'a mut [u8],
}

/// Runs a program over `memory`, whose first byte has the address `base`; at most `steps` operations.
pub fn run(p: &Program, args: &[i64], base: i64, memory: &mut [u8], steps: u64) -> Result<()> {
    let mut labels = HashMap::new();
    for (at, op) in p.ops.iter().enumerate() {
        if !p.isa.has(op) {
            return wrong(format!("{:?} has no {op:?}", p.isa.level));
        }
        if let Op::Label { label } = op
            && labels.insert(*label, at).is_some()
        {
            return wrong(format!("{label:?} is placed twice"));
        }
    }
    if args.len() != usize::from(p.args) {
        return wrong("a wrong number of arguments");
    }
    let mut m = Machine {
        isa: p.isa,
        v: vec![[UNDEFINED; MAX_LANES]; p.isa.vregs],
        x: [i64::MIN / 3; XREGS as usize],
        slots: vec![[UNDEFINED; MAX_LANES]; p.slots.into()],
        args: args.to_vec(),
        base,
        memory,
    };
    let (mut at, mut left) = (0, steps);
    while let Some(op) = p.ops.get(at) {
        if left == 0 {
            return wrong("it does not end");
        }
        left -= 1;
        at = match m.step(op)? {
            None => at + 1,
            Some(to) => match labels.get(&to) {
                Some(to) => *to,
                None => return wrong(format!("{to:?} is nowhere")),
            },
        };
    }
    Ok(())
}

fn wrong<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Diagnostic::internal(format!("a kernel is wrong: {what}")))
}

impl Machine<'_> {
    fn v(&self, v: V) -> Result<Vector> {
        match self.v.get(usize::from(v.0)) {
            Some(lanes) => Ok(*lanes),
            None => wrong(format!("there is no {v:?}")),
        }
    }
    fn set(&mut self, d: V, lanes: Vector) -> Result<()> {
        match self.v.get_mut(usize::from(d.0)) {
            Some(to) => *to = lanes,
            None => return wrong(format!("there is no {d:?}")),
        }
        Ok(())
    }
    fn x(&self, x: X) -> Result<i64> {
        match self.x.get(usize::from(x.0)) {
            Some(value) => Ok(*value),
            None => wrong(format!("there is no {x:?}")),
        }
    }
    fn set_x(&mut self, d: X, value: i64) -> Result<Option<Label>> {
        match self.x.get_mut(usize::from(d.0)) {
            Some(to) => *to = value,
            None => return wrong(format!("there is no {d:?}")),
        }
        Ok(None)
    }
    /// Where an address lies in memory, if so many bytes do.
    fn place(&self, at: &Mem, plus: i64, bytes: usize) -> Result<std::ops::Range<usize>> {
        let index = match at.index {
            Some((_, 4..)) => return wrong(format!("{at:?} shifts by more than 3")),
            Some((i, shift)) => self.x(i)?.wrapping_shl(shift.into()),
            None => 0,
        };
        let address = self.x(at.base)?.wrapping_add(index);
        let address = address.wrapping_add(i64::from(at.disp) + plus);
        let start = usize::try_from(address.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        match start.checked_add(bytes) {
            Some(end) if end <= self.memory.len() => Ok(start..end),
            _ => wrong(format!("{at:?} is outside of memory ({start:#x})")),
        }
    }
    fn bytes<const N: usize>(&self, at: &Mem, plus: i64) -> Result<[u8; N]> {
        let mut to = [0; N];
        to.copy_from_slice(&self.memory[self.place(at, plus, N)?]);
        Ok(to)
    }
    fn word(&self, at: &Mem, plus: i64) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(at, plus)?))
    }
    fn count(&self, lanes: Lanes) -> Result<usize> {
        match lanes {
            Lanes::All => Ok(self.isa.lanes),
            Lanes::First(n) if (1..=self.isa.lanes).contains(&n.into()) => Ok(n.into()),
            Lanes::First(n) => wrong(format!("{n} lanes")),
        }
    }
    fn load(&self, at: &Mem, elem: Elem, lanes: Lanes) -> Result<Vector> {
        let mut to = [0; MAX_LANES];
        for i in 0..self.count(lanes)? {
            let plus = i as i64 * i64::from(elem.bytes());
            to[i] = match elem {
                Elem::W32 => self.word(at, plus)?,
                Elem::I8x2 => {
                    let [a, b] = self.bytes(at, plus)?.map(|b: u8| i16::from(b as i8) as u16);
                    u32::from(a) | u32::from(b) << 16
                }
                Elem::U8x2 => {
                    let [a, b] = self.bytes(at, plus)?;
                    u32::from(a) | u32::from(b) << 16
                }
                Elem::U8Limited | Elem::I8Limited => return wrong("a load that limits"),
                Elem::U8 | Elem::I8 => {
                    let [b] = self.bytes(at, plus)?;
                    if elem == Elem::U8 {
                        b.into()
                    } else {
                        b as i8 as u32
                    }
                }
                _ => {
                    let h = u16::from_le_bytes(self.bytes(at, plus)?);
                    match elem {
                        Elem::F16 => from_half(h),
                        Elem::BF16 => u32::from(h) << 16,
                        Elem::I16 => h as i16 as u32,
                        _ => h.into(),
                    }
                }
            };
        }
        Ok(to)
    }
    fn store(&mut self, s: Vector, at: &Mem, elem: Elem, lanes: Lanes) -> Result<()> {
        for i in 0..self.count(lanes)? {
            let plus = i as i64 * i64::from(elem.bytes());
            let bytes = match elem {
                Elem::F16 => u32::from(to_half(s[i])),
                Elem::BF16 => u32::from(to_bf16(s[i])),
                Elem::U8Limited => (s[i] as i32).clamp(0, 255) as u32,
                Elem::I8Limited => (s[i] as i32).clamp(-128, 127) as u32,
                _ => s[i],
            }
            .to_le_bytes();
            let size = elem.bytes() as usize;
            let place = self.place(at, plus, size)?;
            self.memory[place].copy_from_slice(&bytes[..size]);
        }
        Ok(())
    }
    /// Two vectors as limited bytes, the second first.
    fn store_two(
        &mut self,
        a: V,
        b: V,
        places: [Mem; 2],
        signed: bool,
        is_mixed: bool,
    ) -> Result<()> {
        if a == b {
            return wrong("a pair of one register");
        }
        let elem = match signed {
            true => Elem::I8Limited,
            false => Elem::U8Limited,
        };
        for (v, at) in [(b, places[1]), (a, places[0])] {
            let lanes = self.v(v)?;
            let lanes = if is_mixed { mixed(&lanes) } else { lanes };
            self.store(lanes, &at, elem, Lanes::All)?;
            self.set(v, [UNDEFINED; MAX_LANES])?;
        }
        Ok(())
    }
    fn store_each(&mut self, v: [V; 4], n: u8, at: [Mem; 4], signed: bool) -> Result<()> {
        let v = &v[..usize::from(n)];
        if (0..v.len()).any(|i| v[..i].contains(&v[i])) || v.len() < 2 {
            return wrong("the registers of vectors that are stored are not two to four");
        }
        let elem = match signed {
            true => Elem::I8Limited,
            false => Elem::U8Limited,
        };
        for (v, at) in v.iter().zip(&at) {
            let lanes = self.v(*v)?;
            self.store(lanes, at, elem, Lanes::All)?;
        }
        let mut all = v.iter();
        all.try_for_each(|v| self.set(*v, [UNDEFINED; MAX_LANES]))
    }
    fn src(&self, b: &Src) -> Result<Vector> {
        match b {
            Src::Reg(v) => self.v(*v),
            Src::Mem(m) => self.load(m, Elem::W32, Lanes::All),
            Src::Splat(m) => Ok([self.word(m, 0)?; MAX_LANES]),
            Src::Const(bits) => Ok([*bits; MAX_LANES]),
        }
    }
    fn fma(&mut self, d: V, a: V, b: Vector) -> Result<()> {
        let (c, a) = (self.v(d)?, self.v(a)?);
        let fused = self.isa.fma;
        let one = |i: usize| {
            let [a, b, c] = [a[i], b[i], c[i]].map(f32::from_bits);
            number(if fused { a.mul_add(b, c) } else { a * b + c })
        };
        self.set(d, std::array::from_fn(one))
    }
    fn fma_over(&mut self, d: V, a: V, c: Vector) -> Result<()> {
        let (x, a) = (self.v(d)?, self.v(a)?);
        let one = |i: usize| {
            let [x, a, c] = [x[i], a[i], c[i]].map(f32::from_bits);
            number(x.mul_add(a, c))
        };
        self.set(d, std::array::from_fn(one))
    }
    fn dot(&mut self, d: V, pairs: [([i32; 4], [i32; 4]); MAX_LANES]) -> Result<()> {
        let c = self.v(d)?;
        let one = |i: usize| {
            let (x, y) = pairs[i];
            let products = x.into_iter().zip(y).map(|(x, y)| (x * y) as u32);
            products.fold(c[i], u32::wrapping_add)
        };
        self.set(d, std::array::from_fn(one))
    }
    fn dot_lane(&mut self, dot: Dot, d: V, a: V, b: V, lane: u8) -> Result<()> {
        let (w, x) = (self.v(a)?, self.v(b)?);
        if usize::from(lane) >= self.isa.lanes {
            return wrong(format!("there is no lane {lane}"));
        }
        let x = parts(x[usize::from(lane)], dot, false);
        if dot != Dot::Words {
            return self.dot(d, std::array::from_fn(|i| (parts(w[i], dot, true), x)));
        }
        // Word i of the first half meets the first of the two, of the second half the second.
        let words: Vec<i32> = w
            .iter()
            .flat_map(|&l| parts(l, dot, true)[..2].to_vec())
            .collect();
        let n = self.isa.lanes;
        let pair = |i: usize| match i < n {
            true => ([words[i], words[n + i], 0, 0], x),
            false => ([0; 4], x),
        };
        self.dot(d, std::array::from_fn(pair))
    }
    fn fold(&mut self, op: Fold, d: V, a: V, tmp: V) -> Result<()> {
        if tmp == a || tmp == d {
            return wrong("a fold's second register is one of its others");
        }
        let op = match op {
            Fold::Add => Bin::Add,
            Fold::Min => Bin::Min,
            Fold::Max => Bin::Max,
        };
        let mut x = self.v(a)?;
        let mut half = self.isa.lanes / 2;
        while half > 0 {
            for i in 0..half {
                x[i] = bin(op, x[i], x[i + half]);
            }
            half /= 2;
        }
        x[1..].fill(UNDEFINED);
        self.set(tmp, [UNDEFINED; MAX_LANES])?;
        self.set(d, x)
    }
    fn arg(&mut self, n: u8) -> Result<&mut i64> {
        match self.args.get_mut(usize::from(n)) {
            Some(a) => Ok(a),
            None => wrong(format!("there is no argument {n}")),
        }
    }
    fn slot(&mut self, slot: u16) -> Result<&mut Vector> {
        match self.slots.get_mut(usize::from(slot)) {
            Some(s) => Ok(s),
            None => wrong(format!("there is no slot {slot}")),
        }
    }
    /// Does one operation; where it jumps to.
    fn step(&mut self, op: &Op) -> Result<Option<Label>> {
        match *op {
            Op::Zero { d } => self.set(d, [0; MAX_LANES])?,
            Op::Const { d, bits } => self.set(d, [bits; MAX_LANES])?,
            Op::Move { d, a } => self.set(d, self.v(a)?)?,
            Op::Load { d, at, elem, lanes } => self.set(d, self.load(&at, elem, lanes)?)?,
            Op::Store {
                s,
                at,
                elem,
                lanes,
                tmp,
            } => {
                if s == tmp {
                    return wrong("a store's second register is its first");
                }
                self.store(self.v(s)?, &at, elem, lanes)?;
                self.set(tmp, [UNDEFINED; MAX_LANES])?;
            }
            Op::StorePair {
                a,
                b,
                at,
                signed,
                mixed,
            } => self.store_two(a, b, [at, at.plus(self.isa.lanes as i32)], signed, mixed)?,
            Op::StoreEach { v, n, at, signed } => self.store_each(v, n, at, signed)?,
            Op::StoreApart {
                a,
                b,
                at,
                second,
                signed,
                mixed,
            } => self.store_two(a, b, [at, second], signed, mixed)?,
            Op::Splat { d, at } => self.set(d, [self.word(&at, 0)?; MAX_LANES])?,
            Op::SplatX { d, x } => self.set(d, [self.x(x)? as u32; MAX_LANES])?,
            Op::AnyX { d, a } => return self.any(d, a),
            Op::Bin { op, d, a, ref b } => {
                let (a, b) = (self.v(a)?, self.src(b)?);
                self.set(d, std::array::from_fn(|i| bin(op, a[i], b[i])))?;
            }
            Op::Un { op, d, a } => self.set(d, self.v(a)?.map(|a| un(op, a)))?,
            Op::Words { op, d, a, b } => {
                let (a, b) = (self.v(a)?, self.v(b)?);
                self.set(d, std::array::from_fn(|i| words(op, a[i], b[i])))?;
            }
            Op::ToInt { d, a, tmp } => {
                if d == a || d == tmp || a == tmp {
                    return wrong("the registers of a conversion are not three");
                }
                let lanes = self.v(a)?.map(|a| f32::from_bits(a) as i32 as u32);
                self.set(tmp, [UNDEFINED; MAX_LANES])?;
                self.set(d, lanes)?;
            }
            Op::WholeInt { d, a } => {
                let x = self.v(a)?;
                let real = |i: usize| f32::from_bits(x[i]);
                if (0..self.isa.lanes).any(|i| real(i) as i32 as f32 != real(i)) {
                    return wrong("a float that is no i32");
                }
                self.set(d, std::array::from_fn(|i| real(i) as i32 as u32))?;
            }
            Op::LessWhereEq { d, a, ref b, tmp } => {
                if tmp == d || tmp == a {
                    return wrong("the register of a comparison is not its own");
                }
                let (x, y, old) = (self.v(a)?, self.src(b)?, self.v(d)?);
                let less = |i: usize| old[i].wrapping_sub(u32::from(x[i] == y[i]));
                self.set(tmp, [UNDEFINED; MAX_LANES])?;
                self.set(d, std::array::from_fn(less))?;
            }
            Op::NearInt { d, a } => {
                let x = self.v(a)?;
                let near = |i: usize| f32::from_bits(x[i]).round_ties_even();
                if (0..self.isa.lanes).any(|i| near(i) as i32 as f32 != near(i)) {
                    return wrong("a float that no i32 is near to");
                }
                self.set(d, std::array::from_fn(|i| near(i) as i32 as u32))?;
            }
            Op::Shift { op, d, a, by } => self.set(d, self.v(a)?.map(|a| shift(op, a, by)))?,
            Op::Fma { d, a, ref b } => self.fma(d, a, self.src(b)?)?,
            Op::FmaOver { d, a, ref c } => {
                let c = self.src(c)?;
                self.fma_over(d, a, c)?
            }
            Op::FmaLane { d, a, b, lane } => match self.v(b)?.get(usize::from(lane)) {
                Some(b) if usize::from(lane) < self.isa.lanes => {
                    self.fma(d, a, [*b; MAX_LANES])?;
                }
                _ => return wrong(format!("there is no lane {lane}")),
            },
            Op::Dot {
                dot,
                d,
                ref a,
                b,
                tmp,
            } => {
                match tmp {
                    None if dot == Dot::Words && !self.isa.fused_words => {
                        return wrong("a product of words lacks a register");
                    }
                    Some(t) if t == d || *a == Src::Reg(t) => {
                        return wrong("a register of a product of parts is another of its own");
                    }
                    _ => {}
                }
                let (w, x) = (self.src(a)?, self.v(b)?);
                let pairs =
                    std::array::from_fn(|i| (parts(w[i], dot, true), parts(x[i], dot, false)));
                if let Some(tmp) = tmp {
                    self.set(tmp, [UNDEFINED; MAX_LANES])?;
                }
                self.dot(d, pairs)?;
            }
            Op::DotLane { dot, d, a, b, lane } => self.dot_lane(dot, d, a, b, lane)?,
            Op::ToReals { lo, hi, a } => {
                if lo == a || hi == a {
                    return wrong("the registers of a conversion are not three");
                }
                self.widen(lo, hi, self.v(a)?)?;
            }
            Op::SlotToReals { lo, hi, slot } => {
                let x = *self.slot(slot)?;
                self.widen(lo, hi, x)?;
            }
            Op::FromReals { d, lo, hi } => self.round(d, lo, hi)?,
            Op::FromRealsMixed { d, lo, hi } => {
                self.round(d, lo, hi)?;
                self.set(d, mixed(&self.v(d)?))?;
            }
            Op::RealBin { op, d, a, ref b } => {
                let x = self.v(a)?;
                let y = match b {
                    RealSrc::Reg(v) => self.v(*v)?,
                    RealSrc::Mem(m) => self.load(m, Elem::W32, Lanes::All)?,
                    RealSrc::Const(bits) => reals(|_| f64::from_bits(*bits)),
                };
                self.set(d, reals(|i| real_bin(op, real(&x, i), real(&y, i))))?;
            }
            Op::RealFloor { d, a } => {
                let x = self.v(a)?;
                self.set(d, reals(|i| real(&x, i).floor()))?;
            }
            Op::Select { d, m, a, b } => {
                let (m, a, b) = (self.v(m)?, self.v(a)?, self.v(b)?);
                if m[..self.isa.lanes]
                    .iter()
                    .any(|m| *m != 0 && *m != u32::MAX)
                {
                    return wrong("a mask is neither ones nor zeros");
                }
                self.set(d, std::array::from_fn(|i| a[i] & m[i] | b[i] & !m[i]))?;
            }
            Op::Fold { op, d, a, tmp } => self.fold(op, d, a, tmp)?,
            Op::SplatLane { d, a } => self.set(d, [self.v(a)?[0]; MAX_LANES])?,
            Op::SplatPair { d, a } => {
                let pair = self.v(a)?;
                self.set(d, std::array::from_fn(|i| pair[i % 2]))?;
            }
            Op::LoadWords { .. }
            | Op::MixBytes { .. }
            | Op::PairRows { .. }
            | Op::InOrder { .. } => self.mixing(op)?,
            Op::Long { .. } | Op::Halves { .. } | Op::Zip { .. } | Op::Matrix { .. } => {
                self.long(op)?
            }
            Op::LoadQuad { .. }
            | Op::StoreQuad { .. }
            | Op::SplatReal { .. }
            | Op::PackBytes { .. }
            | Op::Transpose { .. }
            | Op::PairWords { .. }
            | Op::PickBytes { .. }
            | Op::PairBytes { .. } => self.quads(op)?,
            // Touches nothing, wherever it points.
            Op::Prefetch { at } => {
                self.x(at.base)?;
            }
            Op::Spill { s, slot } => *self.slot(slot)? = self.v(s)?,
            Op::Fill { d, slot } => {
                let lanes = *self.slot(slot)?;
                self.set(d, lanes)?;
            }
            ref other => return self.address_step(other),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even() {
        for (value, half) in [
            (0.0f32, 0u16),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (-f32::INFINITY, 0xfc00),
            // The smallest, and half of it: a tie to even.
            (1.0 / 16_777_216.0, 1),
            (0.5 / 16_777_216.0, 0),
            (1.5 / 16_777_216.0, 2),
            (1.0 / 16384.0, 0x400),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
        ] {
            assert_eq!(to_half(value.to_bits()), half, "{value}");
        }
        // Back and forth gives the same, but for NaN, which becomes quiet.
        for h in 0..=u16::MAX {
            let nan = h & 0x7fff > 0x7c00;
            assert_eq!(to_half(from_half(h)), if nan { h | 0x200 } else { h });
        }
    }

    #[test]
    fn mistakes_are_errors() {
        let isa = Level::Neon.isa();
        let p = |ops: Vec<Op>| Program {
            isa,
            args: 1,
            slots: 1,
            ops,
        };
        let go = |ops| run(&p(ops), &[100], 100, &mut [0; 16], 1000);
        let load = |disp| {
            let at = Mem::at(X(0), disp);
            vec![Op::Arg { d: X(0), n: 0 }, Op::Splat { d: V(0), at }]
        };
        assert!(go(load(12)).is_ok());
        assert!(go(load(13)).is_err());
        assert!(go(load(-1)).is_err());
        assert!(go(vec![Op::Zero { d: V(30) }]).is_err());
        assert!(go(vec![Op::Arg { d: X(0), n: 1 }]).is_err());
        assert!(go(vec![Op::Fill { d: V(0), slot: 1 }]).is_err());
        assert!(go(vec![Op::Jump { to: Label(0) }]).is_err());
        let label = Label(3);
        let end = go(vec![Op::Label { label }, Op::Jump { to: label }]);
        assert!(end.is_err_and(|e| e.message.contains("does not end")));
    }
}
