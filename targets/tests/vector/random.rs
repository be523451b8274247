//! Random programs of the vector machine: straight lines, a loop, a branch that skips some of it; the same ones each time.
//!
//! A register is undefined, or a number of which any NaN may stand for every other, or exact bits, or a mask; operations only get
//! what they may. So whatever differs between interpreter and machine code is a mistake.

use onnxc_targets::vector::build::Vm;
use onnxc_targets::vector::interp::NAN;
use onnxc_targets::vector::ir::*;

use crate::each::{BINS, VALUES, is_arithmetic};
use crate::harness::{Arg, Case, MEMORY};

const PROGRAMS: u64 = 200;
const POINTERS: u8 = 3;
const SLOTS: usize = 5;

/// What may be known of a register, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Undefined,
    Number,
    Exact,
    Mask,
}

struct Random {
    state: u64,
    vm: Vm,
    isa: Isa,
    v: Vec<Kind>,
    slots: [Kind; SLOTS],
}

/// Registers with whole numbers small enough for an index, and with any.
const INDEX: std::ops::Range<u8> = POINTERS..POINTERS + 3;
const NUMBERS: std::ops::Range<u8> = POINTERS + 3..XREGS - 1;
const COUNTER: X = X(XREGS - 1);

impl Random {
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    fn x(&mut self, range: std::ops::Range<u8>) -> X {
        X(range.start + self.below(range.len()) as u8)
    }
    fn any(&mut self) -> V {
        V(self.below(self.v.len()) as u8)
    }
    /// A register other than these.
    fn other(&mut self, than: &[V]) -> V {
        loop {
            let v = self.any();
            if !than.contains(&v) {
                return v;
            }
        }
    }
    fn kind(&mut self, v: V) -> &mut Kind {
        &mut self.v[usize::from(v.0)]
    }
    /// A register that is at least this; one is made if none is.
    fn at_least(&mut self, kind: Kind) -> V {
        let fit: Vec<V> = (0..self.v.len() as u8)
            .map(V)
            .filter(|v| self.v[usize::from(v.0)] >= kind)
            .collect();
        if !fit.is_empty() {
            return self.of(&fit);
        }
        let d = self.any();
        self.make(d, kind);
        d
    }
    /// Gives a register some value of a kind.
    fn make(&mut self, d: V, kind: Kind) {
        let bits = match kind {
            Kind::Mask => self.of(&[0, u32::MAX]),
            _ => self.of(&VALUES),
        };
        self.vm.op(Op::Const { d, bits });
        *self.kind(d) = kind.max(Kind::Exact);
    }
    /// Makes all NaN of a register one.
    fn settle(&mut self, v: V) {
        if *self.kind(v) == Kind::Undefined {
            return self.make(v, Kind::Exact);
        }
        if *self.kind(v) == Kind::Number {
            let m = self.other(&[v]);
            let nan = self.other(&[v, m]);
            self.vm.bin(Bin::Eq, m, v, v);
            self.vm.op(Op::Const { d: nan, bits: NAN });
            self.vm.op(Op::Select {
                d: v,
                m,
                a: v,
                b: nan,
            });
            *self.kind(m) = Kind::Mask;
            *self.kind(nan) = Kind::Exact;
            *self.kind(v) = Kind::Exact;
        }
    }
    fn place(&mut self) -> Mem {
        let base = self.x(0..POINTERS);
        let index = (self.below(3) == 0).then(|| (self.x(INDEX), self.below(4) as u8));
        let disp = match self.below(4) {
            0 => self.below(64) as i32 - 32,
            1 => 16 * (self.below(8) as i32 - 4),
            2 => 4 * (self.below(600) as i32 - 300),
            _ => self.below(2600) as i32 - 1300,
        };
        Mem { base, index, disp }
    }
    fn lanes(&mut self) -> Lanes {
        match self.below(2) {
            0 => Lanes::All,
            _ => Lanes::First(1 + self.below(self.isa.lanes) as u8),
        }
    }
    fn elem(&mut self) -> Elem {
        self.of(&[
            Elem::W32,
            Elem::W32,
            Elem::W32,
            Elem::F16,
            Elem::BF16,
            Elem::U8,
            Elem::I8,
            Elem::U16,
            Elem::I16,
        ])
    }
    fn src(&mut self, kind: Kind) -> (Src, Kind) {
        match self.below(6) {
            0 => (Src::Mem(self.place()), Kind::Exact),
            1 if self.isa.splat_operand => (Src::Splat(self.place()), Kind::Exact),
            2 => (Src::Const(self.of(&VALUES)), Kind::Exact),
            _ => {
                let b = self.at_least(kind);
                (Src::Reg(b), *self.kind(b))
            }
        }
    }
    /// Appends an operation if the machine has it; `d` becomes `kind`.
    fn put(&mut self, op: Op, d: V, kind: Kind) {
        if self.isa.has(&op) {
            self.vm.op(op);
            *self.kind(d) = kind;
        }
    }
    fn bin(&mut self) {
        use Bin::*;
        let op = self.of(&BINS);
        let compares = matches!(op, Eq | Ne | Lt | Le | EqI | GtI);
        let floats = is_arithmetic(op) || matches!(op, Eq | Ne | Lt | Le | Min | Max);
        let needs = if floats { Kind::Number } else { Kind::Exact };
        let a = self.at_least(needs);
        let (b, second) = self.src(needs);
        let kind = match op {
            _ if compares => Kind::Mask,
            _ if is_arithmetic(op) => Kind::Number,
            _ => second.min(*self.kind(a)).min(Kind::Exact),
        };
        let d = self.any();
        self.put(Op::Bin { op, d, a, b }, d, kind);
    }
    fn vector(&mut self) {
        let d = self.any();
        match self.below(15) {
            0..=2 => {
                let (at, elem, lanes) = (self.place(), self.elem(), self.lanes());
                self.put(Op::Load { d, at, elem, lanes }, d, Kind::Exact);
            }
            3 | 4 => {
                let s = self.at_least(Kind::Number);
                self.settle(s);
                let (at, elem, lanes) = (self.place(), self.elem(), self.lanes());
                let tmp = self.other(&[s]);
                let op = Op::Store {
                    s,
                    at,
                    elem,
                    lanes,
                    tmp,
                };
                self.put(op, tmp, Kind::Undefined);
            }
            5..=7 => self.bin(),
            8 => {
                let float = [Un::Sqrt, Un::Round, Un::Floor, Un::Ceil, Un::Trunc];
                if self.below(4) == 0 {
                    let (op, a) = (Un::FromInt, self.at_least(Kind::Exact));
                    self.put(Op::Un { op, d, a }, d, Kind::Exact);
                } else {
                    let (op, a) = (self.of(&float), self.at_least(Kind::Number));
                    self.put(Op::Un { op, d, a }, d, Kind::Number);
                }
            }
            9 => {
                let a = self.at_least(Kind::Exact);
                let op = self.of(&[Shift::Left, Shift::Right, Shift::RightU]);
                let by = self.below(32) as u8;
                self.put(Op::Shift { op, d, a, by }, d, Kind::Exact);
            }
            10 | 11 => {
                let (d, a) = (self.at_least(Kind::Number), self.at_least(Kind::Number));
                if self.isa.by_lane && self.below(2) == 0 {
                    let (b, lane) = (self.at_least(Kind::Number), self.below(4) as u8);
                    self.put(Op::FmaLane { d, a, b, lane }, d, Kind::Number);
                } else {
                    let (b, _) = self.src(Kind::Number);
                    self.put(Op::Fma { d, a, b }, d, Kind::Number);
                }
            }
            12 => {
                let m = self.at_least(Kind::Mask);
                let (a, b) = (self.at_least(Kind::Number), self.at_least(Kind::Number));
                // One of them may have been made where the mask was.
                if *self.kind(m) == Kind::Mask {
                    let kind = (*self.kind(a)).min(*self.kind(b)).min(Kind::Exact);
                    self.put(Op::Select { d, m, a, b }, d, kind);
                }
            }
            13 => {
                let a = self.at_least(Kind::Number);
                let tmp = self.other(&[a, d]);
                match self.below(4) {
                    0 if a != d => {
                        self.put(Op::ToInt { d, a, tmp }, d, Kind::Exact);
                        *self.kind(tmp) = Kind::Undefined;
                    }
                    0 => {}
                    n => {
                        let op = [Fold::Add, Fold::Min, Fold::Max][n - 1];
                        let kind = match op {
                            Fold::Add => Kind::Number,
                            _ => (*self.kind(a)).min(Kind::Exact),
                        };
                        self.put(Op::Fold { op, d, a, tmp }, d, kind);
                        self.vm.op(Op::SplatLane { d, a: d });
                        *self.kind(tmp) = Kind::Undefined;
                    }
                }
            }
            _ => match self.below(6) {
                0 => self.put(Op::Zero { d }, d, Kind::Mask),
                1 => {
                    let at = self.place();
                    self.put(Op::Splat { d, at }, d, Kind::Exact);
                }
                2 => {
                    let x = self.x(INDEX.start..NUMBERS.end);
                    self.put(Op::SplatX { d, x }, d, Kind::Exact);
                }
                3 => {
                    let a = self.at_least(Kind::Number);
                    let kind = *self.kind(a);
                    self.put(Op::Move { d, a }, d, kind);
                }
                4 => {
                    let s = self.at_least(Kind::Number);
                    let slot = self.below(SLOTS);
                    self.slots[slot] = *self.kind(s);
                    self.vm.op(Op::Spill {
                        s,
                        slot: slot as u16,
                    });
                }
                _ => {
                    let slot = self.below(SLOTS);
                    let kind = self.slots[slot];
                    self.put(
                        Op::Fill {
                            d,
                            slot: slot as u16,
                        },
                        d,
                        kind,
                    );
                }
            },
        }
    }
    fn address(&mut self) {
        let (d, a, b) = (
            self.x(NUMBERS),
            self.x(NUMBERS),
            self.x(INDEX.start..NUMBERS.end),
        );
        let op = match self.below(11) {
            0 => {
                let d = self.x(0..POINTERS);
                let by = self.below(33) as i32 - 16;
                Op::AddI { d, a: d, by }
            }
            1 => {
                let d = self.x(INDEX);
                let by = self.below(5) as i32 - 2;
                Op::AddI { d, a: d, by }
            }
            2 => Op::AddX {
                d,
                a,
                b,
                shift: self.below(4) as u8,
            },
            3 => Op::SubX { d, a, b },
            4 => Op::MulX { d, a, b },
            5 => Op::ShlX {
                d,
                a,
                by: self.below(20) as u8,
            },
            6 => Op::SetX {
                d,
                value: (self.next() as i64).wrapping_mul(0x1234_5677),
            },
            7 => Op::LoadX {
                d,
                at: self.place(),
            },
            8 => Op::Arg {
                d,
                n: POINTERS + self.below(10 - usize::from(POINTERS)) as u8,
            },
            9 => Op::SetArg {
                n: POINTERS + self.below(10 - usize::from(POINTERS)) as u8,
                s: a,
            },
            _ => Op::Prefetch { at: self.place() },
        };
        self.vm.op(op);
    }
    /// Accesses close to each other through the same registers, which change meanwhile: what a scheduler may get wrong.
    fn close(&mut self) {
        let spot = self.place();
        for _ in 0..4 + self.below(8) {
            let disp = spot.disp + self.below(33) as i32 - 16;
            let at = Mem { disp, ..spot };
            let (elem, lanes) = (
                self.of(&[Elem::W32, Elem::W32, Elem::I16, Elem::U8]),
                self.lanes(),
            );
            match self.below(8) {
                0 => {
                    let by = self.below(9) as i32 - 4;
                    let d = spot.base;
                    self.vm.op(Op::AddI { d, a: d, by });
                }
                1 => {
                    let d = spot.index.map_or(X(INDEX.start), |(x, _)| x);
                    let by = self.below(3) as i32 - 1;
                    self.vm.op(Op::AddI { d, a: d, by });
                }
                2..=4 => {
                    let s = self.at_least(Kind::Number);
                    self.settle(s);
                    let tmp = self.other(&[s]);
                    let op = Op::Store {
                        s,
                        at,
                        elem,
                        lanes,
                        tmp,
                    };
                    self.put(op, tmp, Kind::Undefined);
                }
                _ => {
                    let d = self.any();
                    self.put(Op::Load { d, at, elem, lanes }, d, Kind::Exact);
                }
            }
        }
    }
    fn line(&mut self, n: usize) {
        for _ in 0..n {
            if self.below(16) == 0 {
                self.close();
            } else if self.below(6) == 0 {
                self.address();
            } else {
                self.vector();
            }
        }
    }
    /// Operations that may be skipped: afterwards only what holds both ways is known.
    fn skip(&mut self, n: usize) {
        let end = self.vm.label();
        let cond = self.of(&[Cond::Eq, Cond::Ne, Cond::Lt, Cond::Le, Cond::Gt, Cond::Ge]);
        let (x, b) = (self.x(INDEX), self.x(INDEX));
        let with = self.below(40) as i32;
        let branch = match self.below(2) {
            0 => Op::Branch {
                x,
                cond,
                with,
                to: end,
            },
            _ => Op::BranchX {
                a: x,
                cond,
                b,
                to: end,
            },
        };
        self.vm.op(branch);
        let (v, slots) = (self.v.clone(), self.slots);
        self.line(n);
        self.vm.place(end);
        for (k, before) in self.v.iter_mut().zip(v) {
            *k = before.min(*k);
        }
        for (k, before) in self.slots.iter_mut().zip(slots) {
            *k = before.min(*k);
        }
    }
    fn program(&mut self) {
        for n in 0..POINTERS {
            self.vm.op(Op::Arg { d: X(n), n });
        }
        for n in INDEX.chain(NUMBERS) {
            let value = self.below(60) as i64;
            self.vm.op(Op::SetX { d: X(n), value });
        }
        for v in 0..self.v.len() / 2 {
            let at = self.place();
            self.vm.load(V(v as u8), at, Lanes::All);
            self.v[v] = Kind::Exact;
        }
        let size = 1 + self.below(60);
        self.line(size);
        let times = 1 + self.below(4) as i64;
        self.vm.op(Op::SetX {
            d: COUNTER,
            value: times,
        });
        let top = self.vm.label();
        self.vm.place(top);
        let (v, slots) = (self.v.clone(), self.slots);
        let size = 1 + self.below(50);
        self.line(size);
        if self.below(2) == 0 {
            let size = 1 + self.below(8);
            self.skip(size);
            self.line(5);
        }
        // What the beginning counts on must hold again.
        for (slot, before) in slots.into_iter().enumerate() {
            if self.slots[slot] < before {
                let s = self.at_least(before);
                self.vm.op(Op::Spill {
                    s,
                    slot: slot as u16,
                });
                self.slots[slot] = before;
            }
        }
        for (n, before) in v.into_iter().enumerate() {
            if self.v[n] < before {
                self.make(V(n as u8), before);
            }
        }
        let by = 1 + self.below(2) as i32;
        self.vm.op(Op::Count {
            x: COUNTER,
            by,
            to: top,
        });
        self.line(10);
        // All that is left goes to memory.
        let out = X(0);
        self.vm.op(Op::Arg { d: out, n: 0 });
        for n in 0..self.v.len() {
            let s = V(n as u8);
            self.settle(s);
            let tmp = self.other(&[s]);
            let at = Mem::at(out, -4096 + 64 * n as i32);
            self.vm.store(s, at, Lanes::All, tmp);
            *self.kind(tmp) = Kind::Undefined;
        }
        for n in NUMBERS {
            self.vm.op(Op::SplatX { d: V(0), x: X(n) });
            let at = Mem::at(out, 3800 - 64 * i32::from(n));
            self.vm.store(V(0), at, Lanes::First(1), V(1));
        }
    }
}

/// All programs of a machine.
pub fn cases(isa: Isa) -> Vec<Case> {
    (0..PROGRAMS)
        .map(|seed| {
            let mut r = Random {
                state: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                vm: Vm::new(isa, 10),
                isa,
                v: vec![Kind::Undefined; isa.vregs],
                slots: [Kind::Undefined; SLOTS],
            };
            (0..SLOTS).for_each(|_| {
                r.vm.slot();
            });
            r.program();
            let args = (0..10)
                .map(|n| match n {
                    0..3 => Arg::Pointer(4096 + 32 * n),
                    n => Arg::Number(n * 77),
                })
                .collect();
            let mut memory: Vec<u8> = vec![];
            while memory.len() < MEMORY {
                // Moderate floats, whole numbers, and values at edges.
                let word = match r.below(4) {
                    0 => r.of(&VALUES),
                    1 => r.next() as u32,
                    _ => ((r.next() & 0xffff) as f32 / 4096.0 - 8.0).to_bits(),
                };
                memory.extend(word.to_le_bytes());
            }
            Case {
                name: format!("random {seed}"),
                program: r.vm.finish().unwrap(),
                args,
                memory,
            }
        })
        .collect()
}
