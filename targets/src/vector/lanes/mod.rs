//! `Lanes` loops of the loops IR as programs of the vector machine.
//!
//! [`make`] answers `None` for what the machine lacks: the compiler then writes the loop itself. Results are those of the loops
//! IR bit for bit. The main loop takes several vectors at once: side by side where inner loops carry sums, so that their chains
//! overlap, else one after the other. What is left over is done with part of a vector, so that nothing outside of the buffers
//! is touched.

mod bytes;
mod registers;
mod values;
mod words;

use super::assemble;
use super::build::Vm;
use super::ir::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::Code;
use onnxc_compiler::loops::lane_loop::{Inst, LaneLoop, Num, Spot, Value, ValueNo};
use registers::Registers;
use std::collections::{BTreeMap, BTreeSet};

/// Operations up to which a body is repeated within the main loop, and how often.
const REPEATED: i64 = 10;
const REPEATS: i64 = 4;
/// Vectors side by side at most: where loops inside carry sums, and where long chains are computed.
const SUMS: i64 = 4;
const CHAINS: i64 = 2;
/// Operations up to which an inner loop is written out.
const WRITTEN_OUT: i64 = 96;

/// The kernel of a loop, where the machine can do it. `landing_pad`: begin with `endbr64` or `bti c`.
pub fn make(l: &LaneLoop, isa: Isa, landing_pad: bool) -> Option<Result<Code>> {
    let p = program(l, isa)?;
    p.ops
        .iter()
        .all(|op| isa.has(op))
        .then(|| assemble(&p, landing_pad))
}

/// The program of a loop.
pub fn program(l: &LaneLoop, isa: Isa) -> Option<Program> {
    let copy = words::words(l, isa.lanes);
    let unit = copy.as_ref().map_or(1, |c| c.1);
    let (l, left) = bytes::without(copy.as_ref().map_or(l, |c| &c.0), &isa);
    let l = &l;
    let mut k = Kernel {
        l,
        left,
        vm: Vm::new(isa, l.args),
        streams: vec![None; l.streams.len()],
        lanes_loop: l.loops.iter().position(|x| x.lanes)? as u8,
        unit,
        wide: wide(l),
        part: Lanes::All,
        regs: Registers::default(),
        us: vec![0],
        loud: vec![],
    };
    k.block(&l.body, &[0])?;
    k.vm.finish().ok()
}

struct Kernel<'l> {
    l: &'l LaneLoop,
    left: bytes::Left,
    vm: Vm,
    /// Where each stream is at the moment.
    streams: Vec<Option<(X, i32)>>,
    lanes_loop: u8,
    /// Iterations of the `Lanes` loop for each lane; more than one: what is left over fills no lanes, and is done as a vector that overlaps the last.
    unit: i64,
    /// By value, then by variable: whether neighbouring vectors hold different ones.
    wide: Vec<bool>,
    /// Which lanes of memory are touched.
    part: Lanes,
    regs: Registers,
    /// The vectors that are worked on side by side.
    us: Vec<u8>,
    /// Where the open block writes memory, and whether it is a loop that may.
    loud: Vec<(usize, bool)>,
}

// What is defined within the `Lanes` loop differs between vectors, but for an element that all lanes share.
fn wide(l: &LaneLoop) -> Vec<bool> {
    fn go(l: &LaneLoop, body: &[Inst], inside: bool, out: &mut [bool]) {
        for i in body {
            match i {
                Inst::Define(v) => {
                    let shared = matches!(l.values[*v as usize], Value::Splat(_));
                    out[*v as usize] |= inside && !shared;
                }
                Inst::Set(v, _) => out[l.values.len() + usize::from(*v)] |= inside,
                Inst::Store(..) => {}
                Inst::Loop(n, body) => {
                    let inside = inside || l.loops[usize::from(*n)].lanes;
                    go(l, body, inside, out);
                }
                Inst::Seldom(_, _, body) => go(l, body, inside, out),
            }
        }
    }
    let mut out = vec![false; l.values.len() + usize::from(l.vars)];
    go(l, &l.body, false, &mut out);
    out
}

/// Operations of a body, those of inner loops as often as they are known to run, up to 8 times.
fn weight(l: &LaneLoop, body: &[Inst]) -> i64 {
    let of = |i: &Inst| match i {
        Inst::Define(v) => match l.values[*v as usize] {
            Value::Bits(_) | Value::Scalar(_) | Value::Var(_) => 0,
            _ => 1,
        },
        Inst::Set(..) => 0,
        Inst::Store(..) | Inst::Seldom(..) => 1,
        Inst::Loop(n, body) => {
            let times = match l.loops[usize::from(*n)].extent {
                Num::Known(k) => k.clamp(0, 8),
                Num::Arg(_) => 8,
            };
            weight(l, body).saturating_mul(times)
        }
    };
    body.iter().map(of).fold(0i64, i64::saturating_add)
}

/// Streams that a body uses, and those that it uses outside of its loops.
fn used_streams(l: &LaneLoop, body: &[Inst], deep: bool, out: &mut BTreeSet<u16>) {
    for i in body {
        match i {
            Inst::Define(v) => out.extend(l.values[*v as usize].spot().map(|s| s.stream)),
            Inst::Store(s, _) => {
                out.insert(s.stream);
            }
            Inst::Loop(_, body) if deep => used_streams(l, body, deep, out),
            Inst::Seldom(_, _, body) => used_streams(l, body, deep, out),
            _ => {}
        }
    }
}

impl Kernel<'_> {
    /// One pass over a block, for the vectors `us`.
    fn block(&mut self, body: &[Inst], us: &[u8]) -> Option<()> {
        // Streams that no loop brought along.
        let mut direct = BTreeSet::new();
        used_streams(self.l, body, false, &mut direct);
        let mut own = vec![];
        for s in direct {
            let s = usize::from(s);
            if self.streams[s].is_none() {
                let x = self.vm.arg(self.l.streams[s].base);
                self.streams[s] = Some((x, 0));
                own.push(s);
            }
        }
        let us_before = std::mem::replace(&mut self.us, us.to_vec());
        let loud = std::mem::replace(&mut self.loud, values::loud(body));
        let outer = self.begin_block(body);
        for (at, i) in body.iter().enumerate() {
            self.regs.at = at;
            match i {
                Inst::Define(v) => {
                    let into = match body.get(at + 1) {
                        Some(Inst::Set(var, w)) if w == v => Some(*var),
                        _ => None,
                    };
                    self.define(*v, into)?;
                }
                Inst::Set(var, v) => self.set(*var, *v)?,
                Inst::Store(spot, v) => self.store(*spot, *v)?,
                Inst::Loop(n, inner) => self.loop_(*n, inner)?,
                Inst::Seldom(_, cond, inner) => self.seldom(*cond, inner)?,
            }
            self.release_dead();
        }
        self.end_block(outer);
        self.loud = loud;
        self.us = us_before;
        for s in own {
            if let Some((x, _)) = self.streams[s].take() {
                self.vm.free_x(x);
            }
        }
        Some(())
    }

    /// Registers of their own for the streams that move in a loop; gives back what was there.
    fn bring(&mut self, n: u8, body: &[Inst]) -> Vec<(usize, Option<(X, i32)>)> {
        let mut used = BTreeSet::new();
        used_streams(self.l, body, true, &mut used);
        let mut was = vec![];
        for s in used {
            let s = usize::from(s);
            if self.l.streams[s].step(n).is_none() {
                continue;
            }
            was.push((s, self.streams[s]));
            self.streams[s] = Some(match self.streams[s] {
                None => (self.vm.arg(self.l.streams[s].base), 0),
                Some((x, disp)) => {
                    let d = self.vm.x();
                    self.vm.op(Op::MoveX { d, a: x });
                    (d, disp)
                }
            });
        }
        was
    }
    fn take_back(&mut self, was: Vec<(usize, Option<(X, i32)>)>) {
        for (s, before) in was {
            if let Some((x, _)) = std::mem::replace(&mut self.streams[s], before) {
                self.vm.free_x(x);
            }
        }
    }
    /// Moves streams by so many iterations of a loop.
    fn advance(&mut self, n: u8, moved: &[(usize, Option<(X, i32)>)], by: i64) -> Option<()> {
        for (s, _) in moved {
            let (x, _) = self.streams[*s]?;
            match self.l.streams[*s].step(n)? {
                Num::Known(k) => {
                    let bytes = i32::try_from(k.checked_mul(by)?).ok()?;
                    self.vm.add_i(x, bytes);
                }
                Num::Arg(a) if by == 1 => self.vm.add_arg(x, a, 0),
                Num::Arg(_) => return None,
            }
        }
        Some(())
    }
    /// The same in the displacement, for steps that are known.
    fn shift(&mut self, n: u8, moved: &[(usize, Option<(X, i32)>)], by: i64) -> Option<()> {
        for (s, _) in moved {
            let Num::Known(k) = self.l.streams[*s].step(n)? else {
                return None;
            };
            let bytes = i32::try_from(k.checked_mul(by)?).ok()?;
            let (_, disp) = self.streams[*s].as_mut()?;
            *disp = disp.checked_add(bytes)?;
        }
        Some(())
    }

    fn loop_(&mut self, n: u8, body: &[Inst]) -> Option<()> {
        if n == self.lanes_loop {
            return self.lanes(body);
        }
        let extent = self.l.loops[usize::from(n)].extent;
        let us = self.us.clone();
        let inside = self.enter(body, us.len())?;
        if let Num::Known(k) = extent
            && k.saturating_mul(weight(self.l, body))
                .saturating_mul(us.len() as i64)
                <= WRITTEN_OUT
            && self.steps_known(n, body)
        {
            let was = self.bring(n, body);
            for _ in 0..k {
                self.block(body, &us)?;
                self.shift(n, &was, 1)?;
            }
            self.take_back(was);
            self.leave(inside);
            return Some(());
        }
        let end = self.vm.label();
        let x = match extent {
            Num::Known(k) => {
                let d = self.vm.x();
                self.vm.op(Op::SetX { d, value: k });
                d
            }
            Num::Arg(a) => {
                let x = self.vm.arg(a);
                self.vm.op(Op::Branch {
                    x,
                    cond: Cond::Le,
                    with: 0,
                    to: end,
                });
                x
            }
        };
        let was = self.bring(n, body);
        let top = self.vm.label();
        self.vm.place(top);
        self.block(body, &us)?;
        self.advance(n, &was, 1)?;
        self.vm.op(Op::Count { x, by: 1, to: top });
        self.take_back(was);
        self.vm.free_x(x);
        self.vm.place(end);
        self.leave(inside);
        Some(())
    }
    /// Runs a body, vector by vector, where a lane of the condition holds.
    fn seldom(&mut self, cond: ValueNo, body: &[Inst]) -> Option<()> {
        for u in self.us.clone() {
            let x = self.vm.x();
            let a = self.reg(cond, u)?;
            self.vm.op(Op::AnyX { d: x, a });
            self.unlock();
            let inside = self.enter(body, 1)?;
            let end = self.vm.label();
            self.vm.op(Op::Branch {
                x,
                cond: Cond::Eq,
                with: 0,
                to: end,
            });
            self.vm.free_x(x);
            self.block(body, &[u])?;
            self.vm.place(end);
            self.leave(inside);
        }
        Some(())
    }
    fn steps_known(&self, n: u8, body: &[Inst]) -> bool {
        let mut used = BTreeSet::new();
        used_streams(self.l, body, true, &mut used);
        used.iter()
            .all(|s| !matches!(self.l.streams[usize::from(*s)].step(n), Some(Num::Arg(_))))
    }

    /// The `Lanes` loop: whole groups of vectors, whole vectors, part of one.
    fn lanes(&mut self, body: &[Inst]) -> Option<()> {
        let n = self.lanes_loop;
        let width = self.vm.isa.lanes as i64 * self.unit;
        let extent = self.l.loops[usize::from(n)].extent;
        let has_loops = body.iter().any(|i| matches!(i, Inst::Loop(..)));
        let vectors = match extent {
            Num::Known(k) => (k / width).max(1),
            Num::Arg(_) => i64::MAX,
        };
        let most = match weight(self.l, body) {
            _ if has_loops => self.side_by_side(body).min(SUMS),
            ops if ops > REPEATED => self.side_by_side(body).min(CHAINS),
            _ if self.pairs() => self.side_by_side(body).min(REPEATS),
            _ => REPEATS,
        };
        let inner = has_loops || weight(self.l, body) > REPEATED || self.pairs();
        // Groups of one size, as far as they can be.
        let rounds = (vectors - 1) / most + 1;
        let group = match extent {
            Num::Known(_) => (vectors - 1) / rounds + 1,
            Num::Arg(_) => most,
        };
        let side = if inner { group as usize } else { 1 };
        let inside = self.enter(body, side)?;
        let was = self.bring(n, body);
        match extent {
            Num::Known(k) => {
                let mut left = k / width;
                let rounds = left / group;
                if rounds > 1 {
                    let x = self.vm.x();
                    self.vm.op(Op::SetX {
                        d: x,
                        value: rounds,
                    });
                    let top = self.vm.label();
                    self.vm.place(top);
                    self.group(body, group, inner)?;
                    self.advance(n, &was, group * width)?;
                    self.vm.op(Op::Count { x, by: 1, to: top });
                    self.vm.free_x(x);
                    left -= rounds * group;
                }
                while left > 0 {
                    let now = left.min(group);
                    self.group(body, now, inner)?;
                    self.shift(n, &was, now * width)?;
                    left -= now;
                }
                let rest = k % width;
                if rest > 0 && self.unit > 1 {
                    self.shift(n, &was, rest - width)?;
                    self.group(body, 1, inner)?;
                } else if rest > 0 {
                    self.part = Lanes::First(rest as u8);
                    self.group(body, 1, inner)?;
                    self.part = Lanes::All;
                }
            }
            Num::Arg(a) => {
                let x = self.vm.arg(a);
                let mut sizes = vec![(group * width, Lanes::All), (width, Lanes::All)];
                sizes.dedup();
                if width > 4 {
                    sizes.push((4, Lanes::First(4)));
                }
                sizes.push((1, Lanes::First(1)));
                for (size, part) in sizes {
                    let (top, end) = (self.vm.label(), self.vm.label());
                    let with = size as i32;
                    self.vm.op(Op::Branch {
                        x,
                        cond: Cond::Lt,
                        with,
                        to: end,
                    });
                    self.vm.place(top);
                    self.part = part;
                    self.group(body, (size / width).max(1), inner)?;
                    self.part = Lanes::All;
                    self.advance(n, &was, size)?;
                    self.vm.add_i(x, -with);
                    self.vm.op(Op::Branch {
                        x,
                        cond: Cond::Ge,
                        with,
                        to: top,
                    });
                    self.vm.place(end);
                }
                self.vm.free_x(x);
            }
        }
        self.take_back(was);
        self.leave(inside);
        Some(())
    }
    fn group(&mut self, body: &[Inst], vectors: i64, side_by_side: bool) -> Option<()> {
        let all: Vec<u8> = (0..vectors as u8).collect();
        if side_by_side {
            return self.block(body, &all);
        }
        all.iter().try_for_each(|u| self.block(body, &[*u]))
    }
    /// How many vectors a body with inner loops can keep in registers.
    fn side_by_side(&self, body: &[Inst]) -> i64 {
        let each = usize::from(self.l.vars).saturating_sub(1) + self.pressure(body).max(2);
        ((self.vm.isa.vregs - 1) / each).max(1) as i64
    }

    /// Where an element lies for vector `u`.
    fn mem(&mut self, spot: Spot, u: u8) -> Option<Mem> {
        let s = usize::from(spot.stream);
        let (x, disp) = self.streams[s]?;
        let mut disp = i64::from(disp) + i64::from(spot.disp);
        if self.l.streams[s].step(self.lanes_loop).is_some() {
            let vector = self.vm.isa.lanes as i64 * spot.dtype.size() as i64;
            disp += i64::from(u) * vector;
        }
        Some(Mem::at(x, i32::try_from(disp).ok()?))
    }
}

/// Numbers of uses by value or variable (variables after the values), in a body.
fn count_uses(l: &LaneLoop, body: &[Inst], each: i64, out: &mut BTreeMap<u32, i64>) {
    let mut one = |v: ValueNo| *out.entry(number(l, v)).or_insert(0) += each;
    for i in body {
        match i {
            Inst::Define(v) => l.values[*v as usize].operands().for_each(&mut one),
            Inst::Set(_, v) | Inst::Store(_, v) => one(*v),
            Inst::Seldom(_, c, _) => one(*c),
            Inst::Loop(..) => {}
        }
    }
    for i in body {
        match i {
            Inst::Loop(_, inner) => count_uses(l, inner, each.saturating_mul(8), out),
            Inst::Seldom(_, _, inner) => count_uses(l, inner, 0, out),
            _ => {}
        }
    }
}

/// Variables that a body sets.
fn sets(l: &LaneLoop, body: &[Inst], out: &mut BTreeSet<u32>) {
    for i in body {
        match i {
            Inst::Set(v, _) => {
                out.insert(l.values.len() as u32 + u32::from(*v));
            }
            Inst::Loop(_, inner) | Inst::Seldom(_, _, inner) => sets(l, inner, out),
            _ => {}
        }
    }
}

/// A value's number, or that of the variable it is.
fn number(l: &LaneLoop, v: ValueNo) -> u32 {
    match l.values[v as usize] {
        Value::Var(n) => l.values.len() as u32 + u32::from(n),
        _ => v,
    }
}
