//! The vector machine on aarch64: NEON, without extensions.
//!
//! Obeys the Arm 64-bit calling convention (AAPCS64): arguments that a program asks for again go to the frame at entry, d8-d15
//! are saved where a program uses them, nothing lies below SP, x18 is never touched. Address registers are x0-x13; x14-x17, v30
//! and v31 are the assembler's own. Constants stand behind the code and are reached relative to it: no relocations. Blocks
//! between labels and branches are ordered by [`super::list_schedule`].

mod args;
mod lanes;
mod memory;
mod quads;

use std::collections::BTreeMap;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::Code;

use self::args::Arguments;
use super::asm::{self, Assembler};
use super::effects::effects;
use super::inst::{self, Inst, SP};
use super::list_schedule::schedule;
use crate::vector::ir::*;

/// Own registers for addresses that several instructions share.
const SHARED: [inst::X; 3] = [inst::X(14), inst::X(15), inst::X(16)];
/// Own register for a number that the next instruction needs.
const NUMBER: inst::X = inst::X(17);
/// Own vector registers.
const OWN: [inst::V; 2] = [inst::V(30), inst::V(31)];
/// Registers for templates, by number: those whose low halves a caller owns come last.
const VS: u8 = 30;

/// An address that a register of [`SHARED`] holds: base, index, bytes on top.
type Sum = (inst::X, Option<(inst::X, u8)>, i64);

/// In which order a block's instructions stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As the program says it.
    Written,
    /// As [`super::list_schedule`] puts them.
    Scheduled,
}

/// The code of a program. `landing_pad`: begin with `bti c`.
pub fn assemble(p: &Program, landing_pad: bool) -> Result<Code> {
    assemble_in(p, landing_pad, Order::Scheduled)
}

/// The same in an order of choice, for who compares them.
pub fn assemble_in(p: &Program, landing_pad: bool, order: Order) -> Result<Code> {
    if p.isa.level != Level::Neon {
        return Err(Diagnostic::internal(format!(
            "a program for {:?} is no aarch64 code",
            p.isa.level
        )));
    }
    if let Some(op) = p.ops.iter().find(|op| !p.isa.has(op)) {
        return Err(Diagnostic::internal(format!("NEON has no {op:?}")));
    }
    let arguments = Arguments::of(p)?;
    // The first round finds which registers of the caller's are used.
    let mut dry = Emit::new(p, &arguments, vec![]);
    dry.dry = true;
    dry.ops();
    let saved = (0..4u8)
        .filter(|pair| dry.written >> (8 + 2 * pair) & 3 != 0)
        .collect();
    let mut e = Emit::new(p, &arguments, saved);
    e.order = order;
    if landing_pad {
        e.asm.put(Inst::BtiC);
    }
    e.entry();
    e.ops();
    e.exit();
    if let Some(error) = e.error {
        return Err(Diagnostic::internal(error));
    }
    Ok(Code {
        bytes: e.asm.finish()?,
        align: 64,
        stack: e.frame,
    })
}

struct Emit<'p> {
    p: &'p Program,
    arguments: &'p Arguments,
    asm: Assembler,
    /// Instructions since the last label or branch; a literal's distance is its constant's number.
    block: Vec<Inst>,
    labels: BTreeMap<Label, asm::Label>,
    /// Pairs of caller's registers, from d8 on, that the frame keeps.
    saved: Vec<u8>,
    /// Bytes of stack: saved registers, arguments, vectors.
    frame: u32,
    /// Finds out what is used and keeps nothing.
    dry: bool,
    order: Order,
    /// Vector registers that were written, by bit.
    written: u32,
    /// What [`SHARED`] hold, and which is taken next.
    sums: [Option<Sum>; 3],
    next_sum: usize,
    /// Which number in all lanes [`OWN`] hold, and which is taken next.
    known: [Option<u32>; 2],
    next_own: usize,
    /// What went wrong first.
    error: Option<&'static str>,
}

impl<'p> Emit<'p> {
    fn new(p: &'p Program, arguments: &'p Arguments, saved: Vec<u8>) -> Emit<'p> {
        let low = saved.len() as u32 * 16 + arguments.homes() * 8;
        Emit {
            p,
            arguments,
            asm: Assembler::default(),
            block: vec![],
            labels: BTreeMap::new(),
            saved,
            frame: low.next_multiple_of(16) + u32::from(p.slots) * 16,
            dry: false,
            order: Order::Scheduled,
            written: 0,
            sums: [None; 3],
            next_sum: 0,
            known: [None; 2],
            next_own: 0,
            error: None,
        }
    }
    fn wrong(&mut self, what: &'static str) {
        self.error = self.error.or(Some(what));
    }

    // Registers; what does not exist is refused by the encoder.

    fn v(&self, v: V) -> inst::V {
        inst::V(match v.0 {
            n @ 0..8 => n,
            n @ 8..22 => n + 8,
            n @ 22..VS => n - 14,
            _ => u8::MAX,
        })
    }
    fn x(&self, x: X) -> inst::X {
        inst::X(if x.0 < XREGS { x.0 } else { u8::MAX })
    }
    /// An own vector register, not the one asked for before.
    fn own(&mut self) -> inst::V {
        let r = OWN[self.next_own];
        self.next_own = 1 - self.next_own;
        r
    }

    // Instructions

    /// Appends an instruction and forgets what it overwrites.
    fn put(&mut self, i: Inst) {
        for r in effects(&i).writes.numbers() {
            match r {
                0..32 => {
                    let r = inst::X(r as u8);
                    for (n, sum) in self.sums.iter_mut().enumerate() {
                        let uses = |s: &Sum| s.0 == r || s.1.is_some_and(|(x, _)| x == r);
                        if SHARED[n] == r || sum.as_ref().is_some_and(uses) {
                            *sum = None;
                        }
                    }
                }
                32..64 => {
                    self.written |= 1 << (r - 32);
                    if let Some(n) = OWN.iter().position(|o| usize::from(o.0) + 32 == r) {
                        self.known[n] = None;
                    }
                }
                _ => {}
            }
        }
        self.block.push(i);
    }
    fn v3(&mut self, op: super::simd::V3, d: inst::V, n: inst::V, m: inst::V) {
        self.put(Inst::V3 { op, d, n, m });
    }
    fn v2(&mut self, op: super::simd::V2, d: inst::V, n: inst::V) {
        self.put(Inst::V2 { op, d, n });
    }
    /// Ends a block: its instructions get their order.
    fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        if self.dry {
            return;
        }
        let block = match self.order {
            Order::Written => block,
            Order::Scheduled => schedule(&block),
        };
        for i in block {
            match i {
                Inst::LdrLit { t, by } => self.asm.load(t, by as usize),
                other => self.asm.put(other),
            }
        }
    }
    fn label(&mut self, label: Label) -> asm::Label {
        let asm = &mut self.asm;
        *self.labels.entry(label).or_insert_with(|| asm.label())
    }
    fn branch(&mut self, i: Inst, to: Label) {
        self.flush();
        let to = self.label(to);
        self.asm.put_to(i, to);
    }

    // The whole

    fn entry(&mut self) {
        if self.frame > 0 {
            self.add_imm(SP, SP, -i64::from(self.frame));
        }
        for (t, u, offset) in self.pairs() {
            self.put(Inst::StpD {
                t,
                u,
                n: SP,
                offset,
            });
        }
        for n in 0..8 {
            if let Some(home) = self.arguments.home(n) {
                let offset = self.home(home);
                self.put(Inst::StrX {
                    t: inst::X(n),
                    n: SP,
                    offset,
                });
            }
        }
    }
    fn exit(&mut self) {
        for (t, u, offset) in self.pairs() {
            self.put(Inst::LdpD {
                t,
                u,
                n: SP,
                offset,
            });
        }
        if self.frame > 0 {
            self.add_imm(SP, SP, i64::from(self.frame));
        }
        self.flush();
        self.asm.put(Inst::Ret);
    }
    /// Saved registers and where.
    fn pairs(&self) -> Vec<(inst::V, inst::V, i32)> {
        let place = |(at, pair): (usize, &u8)| {
            (inst::V(8 + 2 * pair), inst::V(9 + 2 * pair), at as i32 * 16)
        };
        self.saved.iter().enumerate().map(place).collect()
    }
    /// Where the frame keeps an argument.
    fn home(&self, home: u32) -> u32 {
        self.saved.len() as u32 * 16 + home * 8
    }
    /// Where argument `n` lies, from SP.
    fn argument(&self, n: u8) -> u32 {
        match self.arguments.home(n) {
            Some(home) => self.home(home),
            None => self.frame + u32::from(n.saturating_sub(8)) * 8,
        }
    }
    fn slot(&mut self, slot: u16) -> i64 {
        if slot >= self.p.slots {
            self.wrong("a kernel uses a slot that its frame does not have");
        }
        let vectors = self.frame - u32::from(self.p.slots) * 16;
        i64::from(vectors + u32::from(slot) * 16)
    }

    fn ops(&mut self) {
        for (at, op) in self.p.ops.iter().enumerate() {
            match *op {
                Op::Arg { d, n } if self.arguments.in_register(at) => {
                    let (d, n) = (self.x(d), inst::X(n));
                    if d != n {
                        self.put(Inst::Mov { d, n });
                    }
                }
                op => self.op(op),
            }
        }
    }
    fn op(&mut self, op: Op) {
        match op {
            Op::Load { d, at, elem, lanes } => self.load(d, at, elem, lanes),
            Op::Store {
                s,
                at,
                elem,
                lanes,
                tmp,
            } => self.store(s, at, elem, lanes, tmp),
            Op::StorePair {
                a, b, at, signed, ..
            } => self.store_pair([a, b], at, signed),
            Op::Splat { d, at } => self.splat(d, at),
            Op::LoadQuad { .. }
            | Op::StoreQuad { .. }
            | Op::Transpose { .. }
            | Op::PairWords { .. } => self.quads(op),
            Op::Prefetch { at } => self.prefetch(at),
            Op::Spill { s, slot } => {
                let (s, at) = (self.v(s), self.slot(slot));
                self.store_at(inst::Width::Q, s, (SP, None, at));
            }
            Op::Fill { d, slot } => {
                let (d, at) = (self.v(d), self.slot(slot));
                self.load_at(inst::Width::Q, d, (SP, None, at));
            }
            Op::Arg { .. }
            | Op::SetArg { .. }
            | Op::SetX { .. }
            | Op::MoveX { .. }
            | Op::AddX { .. }
            | Op::SubX { .. }
            | Op::AddI { .. }
            | Op::ShlX { .. }
            | Op::MulX { .. }
            | Op::LoadX { .. }
            | Op::LoadSmallX { .. } => self.address_op(op),
            Op::Label { .. }
            | Op::Jump { .. }
            | Op::Branch { .. }
            | Op::BranchX { .. }
            | Op::Count { .. } => self.control(op),
            other => self.vector_op(other),
        }
    }
    fn address_op(&mut self, op: Op) {
        match op {
            Op::Arg { d, n } => {
                let (t, offset) = (self.x(d), self.argument(n));
                self.put(Inst::LdrX { t, n: SP, offset });
            }
            Op::SetArg { n, s } => {
                let (t, offset) = (self.x(s), self.argument(n));
                self.put(Inst::StrX { t, n: SP, offset });
            }
            Op::SetX { d, value } => {
                let d = self.x(d);
                self.set(d, value);
            }
            Op::MoveX { d, a } if d == a => {}
            Op::MoveX { d, a } => {
                let (d, n) = (self.x(d), self.x(a));
                self.put(Inst::Mov { d, n });
            }
            Op::AddX { d, a, b, shift } => {
                let (d, n, m) = (self.x(d), self.x(a), self.x(b));
                self.put(Inst::Add {
                    d,
                    n,
                    m,
                    lsl: shift,
                });
            }
            Op::SubX { d, a, b } => {
                let (d, n, m) = (self.x(d), self.x(a), self.x(b));
                self.put(Inst::Sub { d, n, m });
            }
            Op::AddI { d, a, by } => {
                let (d, n) = (self.x(d), self.x(a));
                self.add_imm(d, n, by.into());
            }
            Op::ShlX { d, a, by: 0 } => self.address_op(Op::MoveX { d, a }),
            Op::ShlX { d, a, by } => {
                let (d, n) = (self.x(d), self.x(a));
                self.put(Inst::LslImm { d, n, by });
            }
            Op::MulX { d, a, b } => {
                let (d, n, m) = (self.x(d), self.x(a), self.x(b));
                self.put(Inst::Mul { d, n, m });
            }
            Op::LoadX { d, at } => self.load_x(d, at),
            Op::LoadSmallX { d, at, bytes } => self.load_small(d, at, bytes),
            _ => {}
        }
    }
    fn control(&mut self, op: Op) {
        match op {
            Op::Label { label } => {
                self.flush();
                // Whoever jumps here brings something else.
                self.sums = [None; 3];
                self.known = [None; 2];
                let label = self.label(label);
                if self.asm.is_placed(label) {
                    self.wrong("a kernel places a label twice");
                }
                self.asm.place(label);
            }
            Op::Jump { to } => self.branch(Inst::B { by: 0 }, to),
            Op::Branch {
                x,
                cond: Cond::Eq,
                with: 0,
                to,
            } => self.branch(
                Inst::Cbz {
                    n: self.x(x),
                    by: 0,
                },
                to,
            ),
            Op::Branch {
                x,
                cond: Cond::Ne,
                with: 0,
                to,
            } => self.branch(
                Inst::Cbnz {
                    n: self.x(x),
                    by: 0,
                },
                to,
            ),
            Op::Branch { x, cond, with, to } => {
                let n = self.x(x);
                match with {
                    0..4096 => self.put(Inst::CmpImm {
                        n,
                        imm: with as u32,
                    }),
                    -4095..0 => self.put(Inst::CmnImm {
                        n,
                        imm: with.unsigned_abs(),
                    }),
                    _ => {
                        self.set(NUMBER, with.into());
                        self.put(Inst::Cmp { n, m: NUMBER });
                    }
                }
                self.branch(condition(cond), to);
            }
            Op::BranchX { a, cond, b, to } => {
                let (n, m) = (self.x(a), self.x(b));
                self.put(Inst::Cmp { n, m });
                self.branch(condition(cond), to);
            }
            Op::Count { x, by, to } => {
                let d = self.x(x);
                if (0..4096).contains(&by) {
                    let imm = by as u32;
                    self.put(Inst::SubsImm { d, n: d, imm });
                } else {
                    self.set(NUMBER, by.into());
                    self.put(Inst::Subs { d, n: d, m: NUMBER });
                }
                self.branch(condition(Cond::Gt), to);
            }
            _ => {}
        }
    }
    /// `d = value`.
    fn set(&mut self, d: inst::X, value: i64) {
        let part = |n: u8| (value >> (16 * n)) as u16;
        self.put(Inst::MovImm { d, imm: part(0) });
        for n in 1..4 {
            if part(n) != 0 {
                self.put(Inst::MovK {
                    d,
                    imm: part(n),
                    part: n,
                });
            }
        }
    }
    /// `d = n + by`, SP allowed where `by` is below 16 MiB.
    fn add_imm(&mut self, d: inst::X, n: inst::X, by: i64) {
        let size = by.unsigned_abs();
        if size >= 1 << 24 {
            self.set(NUMBER, by);
            return self.put(Inst::Add {
                d,
                n,
                m: NUMBER,
                lsl: 0,
            });
        }
        let (high, low) = ((size >> 12) as u32, (size & 0xfff) as u32);
        let mut from = n;
        if high != 0 {
            self.put(match by < 0 {
                true => Inst::SubImm12 { d, n, imm: high },
                false => Inst::AddImm12 { d, n, imm: high },
            });
            from = d;
        }
        if low != 0 || high == 0 && d != n {
            self.put(match by < 0 {
                true => Inst::SubImm {
                    d,
                    n: from,
                    imm: low,
                },
                false => Inst::AddImm {
                    d,
                    n: from,
                    imm: low,
                },
            });
        }
    }
}

fn condition(cond: Cond) -> Inst {
    let cond = match cond {
        Cond::Eq => inst::Cond::Eq,
        Cond::Ne => inst::Cond::Ne,
        Cond::Lt => inst::Cond::Lt,
        Cond::Le => inst::Cond::Le,
        Cond::Gt => inst::Cond::Gt,
        Cond::Ge => inst::Cond::Ge,
    };
    Inst::BCond { cond, by: 0 }
}
