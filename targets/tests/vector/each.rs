//! One program for every operation in every form, over values where machines tend to differ.

mod access;
mod longer;
mod pairs;
mod quads;

use onnxc_targets::vector::build::Vm;
use onnxc_targets::vector::interp::NAN;
use onnxc_targets::vector::ir::*;

use crate::harness::{Arg, Case, MEMORY};

/// Floats and whole numbers at the edges of something.
pub const VALUES: [u32; 32] = [
    0x0000_0000, // 0
    0x8000_0000, // -0, the smallest i32
    0x3f80_0000, // 1
    0xbf80_0000, // -1
    0x7f80_0000, // inf
    0xff80_0000, // -inf
    0x7fc0_0000, // NaN
    0xffc0_0001, // -NaN with a payload
    0x7f80_0001, // signalling NaN
    0xff92_3456, // another
    0x0000_0001, // the smallest denormal
    0x807f_ffff, // the largest negative one
    0x0080_0000, // the smallest normal number
    0x7f7f_ffff, // the largest
    0x3f00_0000, // 0.5
    0x3fc0_0000, // 1.5
    0x4020_0000, // 2.5
    0xc020_0000, // -2.5
    0x4f00_0000, // 2^31
    0xcf00_0000, // -2^31
    0x4eff_ffff, // just below 2^31
    0xcf00_0001, // just below -2^31
    0x4b00_0001, // 2^23 + 1
    0xcaff_ffff, // -(2^23 - 0.5)
    0x3dcc_cccd, // 0.1
    0x477f_efff, // just below the largest half
    0x477f_f000, // which rounds to infinity
    0x3380_0000, // half of the smallest half's neighbour distance
    0x3f80_8000, // a tie for bfloat16
    0x3f81_8000, // the other one
    0x0000_ffff,
    0x1234_5678,
];

/// Where results lie; the values twice at the start, so that any rotation is one run.
const OUT: i32 = 4096;

fn memory() -> Vec<u8> {
    let mut m: Vec<u8> = VALUES
        .iter()
        .chain(&VALUES)
        .flat_map(|v| v.to_le_bytes())
        .collect();
    m.extend((m.len()..MEMORY).map(|i| (i * 37 + i / 256) as u8));
    m
}

/// A program under construction, that stores one vector after another.
struct Writer {
    vm: Vm,
    isa: Isa,
    base: X,
    at: i32,
}

impl Writer {
    fn new(isa: Isa) -> Writer {
        let mut vm = Vm::new(isa, 2);
        let base = vm.arg(0);
        Writer {
            vm,
            isa,
            base,
            at: OUT,
        }
    }
    fn bytes(&self) -> i32 {
        self.isa.lanes as i32 * 4
    }
    fn load(&mut self, at: i32) -> V {
        let d = self.vm.v();
        self.vm.load(d, Mem::at(self.base, at), Lanes::All);
        d
    }
    /// Stores a register as it is.
    fn keep(&mut self, v: V) {
        let tmp = self.vm.v();
        self.vm
            .store(v, Mem::at(self.base, self.at), Lanes::All, tmp);
        self.vm.free(tmp);
        self.at += self.bytes();
    }
    /// Stores a result of arithmetic, all NaN as one.
    fn keep_number(&mut self, v: V) {
        let (m, nan) = (self.vm.v(), self.vm.v());
        self.vm.bin(Bin::Eq, m, v, v);
        self.vm.op(Op::Const { d: nan, bits: NAN });
        self.vm.op(Op::Select {
            d: m,
            m,
            a: v,
            b: nan,
        });
        self.keep(m);
        self.vm.free_all(&[m, nan]);
    }
    fn keep_if(&mut self, number: bool, v: V) {
        if number {
            self.keep_number(v)
        } else {
            self.keep(v)
        }
    }
    fn full(&self) -> bool {
        self.at + 8 * self.bytes() > MEMORY as i32
    }
    fn case(self, name: String) -> Case {
        Case {
            name,
            program: self.vm.finish().unwrap(),
            args: vec![Arg::Pointer(0), Arg::Number(7)],
            memory: memory(),
        }
    }
}

pub const BINS: [Bin; 21] = [
    Bin::Add,
    Bin::Sub,
    Bin::Mul,
    Bin::Div,
    Bin::Min,
    Bin::Max,
    Bin::Eq,
    Bin::Ne,
    Bin::Lt,
    Bin::Le,
    Bin::And,
    Bin::AndNot,
    Bin::Or,
    Bin::Xor,
    Bin::AddI,
    Bin::SubI,
    Bin::MulI,
    Bin::MinI,
    Bin::MaxI,
    Bin::EqI,
    Bin::GtI,
];

/// Whether a result may be any NaN.
pub fn is_arithmetic(op: Bin) -> bool {
    matches!(op, Bin::Add | Bin::Sub | Bin::Mul | Bin::Div)
}

/// Every pair of values, by rotating one list; the second operand and aliases vary with the rotation.
fn bins(isa: Isa, cases: &mut Vec<Case>) {
    for op in BINS {
        let has = |b: Src| {
            isa.has(&Op::Bin {
                op,
                d: V(0),
                a: V(0),
                b,
            })
        };
        if !has(Src::Reg(V(0))) {
            continue;
        }
        let mut w = Writer::new(isa);
        let mut part = 0;
        for (n, rotation) in (0..VALUES.len() as i32)
            .flat_map(|r| (0..VALUES.len() / isa.lanes).map(move |c| (c as i32, r)))
        {
            if w.full() {
                cases.push(
                    std::mem::replace(&mut w, Writer::new(isa)).case(format!("{op:?} {part}")),
                );
                part += 1;
            }
            let at = n * w.bytes();
            let a = w.load(at);
            let second = Mem::at(w.base, at + rotation * 4);
            let form = match (rotation + n) % 8 {
                // Not every operation takes one from memory.
                0 | 1 if !has(Src::Mem(second)) => 7,
                form => form,
            };
            let (d, b) = match form {
                // From memory, into either register.
                0 => (a, Src::Mem(second)),
                1 => (w.vm.v(), Src::Mem(second)),
                2 if isa.splat_operand => (w.vm.v(), Src::Splat(second)),
                3 => (w.vm.v(), Src::Const(VALUES[rotation as usize])),
                4 => (a, Src::Const(VALUES[rotation as usize])),
                _ => {
                    let b = w.load(at + rotation * 4);
                    let d = match form {
                        5 => a,
                        6 => b,
                        _ => w.vm.v(),
                    };
                    if d != b {
                        w.vm.free(b);
                    }
                    (d, Src::Reg(b))
                }
            };
            w.vm.bin(op, d, a, b);
            // Registers given back may only be taken after the result is kept.
            w.keep_if(is_arithmetic(op), d);
            w.vm.free_all(&[a, d]);
        }
        let a = w.load(0);
        w.vm.bin(op, a, a, a);
        w.keep_if(is_arithmetic(op), a);
        cases.push(w.case(format!("{op:?} {part}")));
    }
}

/// Operations on one operand, shifts, conversions, constants.
fn uns(isa: Isa, cases: &mut Vec<Case>) {
    let mut w = Writer::new(isa);
    let mut part = 0;
    for c in 0..VALUES.len() as i32 / isa.lanes as i32 {
        let at = c * w.bytes();
        for op in [
            Un::Sqrt,
            Un::Round,
            Un::Floor,
            Un::Ceil,
            Un::Trunc,
            Un::FromInt,
        ] {
            let (d, a) = (w.vm.v(), w.load(at));
            let one = Op::Un { op, d, a };
            if isa.has(&one) {
                w.vm.op(one);
                w.keep_number(d);
                w.vm.op(Op::Un { op, d: a, a });
                w.keep_number(a);
            }
            w.vm.free_all(&[a, d]);
        }
        for by in [0, 1, 7, 16, 31] {
            for op in [Shift::Left, Shift::Right, Shift::RightU] {
                let (d, a) = (w.vm.v(), w.load(at));
                w.vm.op(Op::Shift { op, d, a, by });
                w.keep(d);
                w.vm.op(Op::Shift { op, d: a, a, by });
                w.keep(a);
                w.vm.free_all(&[a, d]);
            }
        }
        let (d, a, tmp) = (w.vm.v(), w.load(at), w.vm.v());
        w.vm.op(Op::ToInt { d, a, tmp });
        w.keep(d);
        w.vm.op(Op::SplatLane { d, a });
        w.keep(d);
        w.vm.op(Op::SplatLane { d: a, a });
        w.keep(a);
        w.vm.free_all(&[a, d, tmp]);
        cases.push(std::mem::replace(&mut w, Writer::new(isa)).case(format!("one operand {part}")));
        part += 1;
    }
    let all = VALUES.iter().copied();
    for bits in all.chain([
        0xff,
        0xff00,
        0xffff_00ff,
        0x00ff_ffff,
        0x7f_ffff,
        0x80ff,
        0xff80_0000,
    ]) {
        let d = w.vm.v();
        for bits in [bits, !bits] {
            w.vm.op(Op::Const { d, bits });
            w.keep(d);
        }
        w.vm.free(d);
        if w.full() {
            cases.push(
                std::mem::replace(&mut w, Writer::new(isa)).case(format!("constants {part}")),
            );
            part += 1;
        }
    }
    cases.push(w.case("constants".into()));
}

/// Multiply-adds in every form, selections, folds.
fn threes(isa: Isa, cases: &mut Vec<Case>) {
    for rotation in 0..VALUES.len() as i32 {
        let mut w = Writer::new(isa);
        let second = Mem::at(w.base, rotation * 4);
        for form in 0..6 {
            let (d, a, b) = (w.load(rotation * 8 % 128), w.load(16), w.load(rotation * 4));
            let src = match form {
                0 => Src::Reg(b),
                1 => Src::Mem(second),
                2 if isa.splat_operand => Src::Splat(second),
                3 => Src::Const(VALUES[rotation as usize]),
                4 => Src::Reg(a),
                _ => Src::Reg(d),
            };
            w.vm.fma(d, if form == 5 { d } else { a }, src);
            w.keep_number(d);
            w.vm.free_all(&[d, a, b]);
        }
        if isa.by_lane {
            for lane in 0..isa.lanes as u8 {
                let (d, a, b) = (w.load(rotation * 8 % 128), w.load(16), w.load(rotation * 4));
                w.vm.op(Op::FmaLane { d, a, b, lane });
                w.keep_number(d);
                w.vm.free_all(&[d, a, b]);
            }
        }
        for form in 0..8 {
            let (a, b) = (w.load(rotation * 4), w.load(64));
            let (m, d) = (w.vm.v(), w.vm.v());
            w.vm.bin(Bin::Lt, m, a, b);
            let (d, x, y) = match form {
                0 => (d, a, b),
                1 => (m, a, b),
                2 => (a, a, b),
                3 => (b, a, b),
                4 => (d, m, b),
                5 => (d, a, m),
                6 => (m, m, b),
                _ => (d, a, a),
            };
            w.vm.op(Op::Select { d, m, a: x, b: y });
            w.keep(d);
            let all = [a, b, m, d, x, y];
            w.vm.free_all(&all);
            // The one that the selection did not go to.
            w.vm.free(V(m.0 + 1));
        }
        cases.push(w.case(format!("three operands {rotation}")));

        let mut w = Writer::new(isa);
        for op in [Fold::Add, Fold::Min, Fold::Max] {
            for same in [false, true] {
                let (a, tmp) = (w.load(rotation * 4), w.vm.v());
                let d = if same { a } else { w.vm.v() };
                w.vm.op(Op::Fold { op, d, a, tmp });
                w.vm.op(Op::SplatLane { d, a: d });
                w.keep_if(op == Fold::Add, d);
                w.vm.free_all(&[a, d, tmp]);
            }
        }
        cases.push(w.case(format!("folds {rotation}")));
    }
}

/// What requantizing is made of: between i32 and f64, and to bytes.
fn reals(isa: Isa, cases: &mut Vec<Case>) {
    const NUMBERS: [f64; 8] = [0.5, -0.5, 1.5, 0.001953125, -3.75, 1e-9, 300.25, 2.0];
    for rotation in 0..8 {
        let mut w = Writer::new(isa);
        // Whole numbers of every size: their products with the numbers fit an i32.
        let (a, lo, hi) = (w.load(rotation * 12), w.vm.v(), w.vm.v());
        w.vm.op(Op::Shift {
            op: Shift::Right,
            d: a,
            a,
            by: 10,
        });
        for op in [
            RealBin::Add,
            RealBin::Sub,
            RealBin::Mul,
            RealBin::Min,
            RealBin::Max,
        ] {
            let bits = NUMBERS[rotation as usize].to_bits();
            for form in 0..4 {
                w.vm.op(Op::ToReals { lo, hi, a });
                let other = w.vm.v();
                // A vector of f64 in a register and in memory.
                w.vm.op(Op::Zero { d: other });
                let b = RealSrc::Const(bits);
                w.vm.op(Op::RealBin {
                    op: RealBin::Add,
                    d: other,
                    a: other,
                    b,
                });
                let b = match form {
                    0 => RealSrc::Const(bits),
                    1 => RealSrc::Reg(other),
                    2 => RealSrc::Reg(lo),
                    _ => {
                        let tmp = w.vm.v();
                        let at = Mem::at(w.base, 3900);
                        w.vm.store(other, at, Lanes::All, tmp);
                        w.vm.free(tmp);
                        RealSrc::Mem(at)
                    }
                };
                // Two numbers multiplied with themselves would be too large.
                let d = if form == 1 { other } else { lo };
                if !(form == 2 && op == RealBin::Mul) {
                    w.vm.op(Op::RealBin { op, d, a: lo, b });
                    w.keep(d);
                    w.vm.op(Op::RealBin {
                        op,
                        d: hi,
                        a: hi,
                        b,
                    });
                }
                w.keep(hi);
                w.vm.free(other);
                if w.full() {
                    w.at = OUT;
                }
            }
        }
        w.vm.op(Op::ToReals { lo, hi, a });
        for half in [lo, hi] {
            let b = RealSrc::Const(NUMBERS[rotation as usize].to_bits());
            w.vm.op(Op::RealBin {
                op: RealBin::Mul,
                d: half,
                a: half,
                b,
            });
        }
        let (d, floor) = (w.vm.v(), w.vm.v());
        let op = Op::RealFloor { d: floor, a: lo };
        if isa.has(&op) {
            w.vm.op(op);
            w.keep(floor);
        }
        w.vm.op(Op::FromReals { d, lo, hi });
        w.keep(d);
        let slot = w.vm.slot();
        let through = Op::SlotToReals { lo, hi, slot };
        if isa.has(&through) {
            w.vm.op(Op::Spill { s: a, slot });
            w.vm.op(through);
            w.keep(lo);
            w.keep(hi);
            w.vm.op(Op::FromRealsMixed { d: floor, lo, hi });
            w.keep(floor);
        }
        w.vm.op(Op::SplatPair { d: floor, a: d });
        w.keep(floor);
        w.vm.op(Op::SplatPair { d, a: d });
        w.keep(d);
        // Floats without places behind the point.
        w.vm.op(Op::Un {
            op: Un::FromInt,
            d,
            a,
        });
        w.vm.op(Op::WholeInt { d: floor, a: d });
        w.keep(floor);
        w.vm.op(Op::WholeInt { d, a: d });
        w.keep(d);
        // The nearest of floats with places, those in the middle among them.
        let quarter = w.vm.v();
        w.vm.op(Op::Const {
            d: quarter,
            bits: 0.25f32.to_bits(),
        });
        w.vm.op(Op::Un {
            op: Un::FromInt,
            d,
            a,
        });
        w.vm.bin(Bin::Mul, d, d, quarter);
        w.vm.op(Op::NearInt { d: floor, a: d });
        w.keep(floor);
        w.vm.op(Op::NearInt { d, a: d });
        w.keep(d);
        w.vm.free(quarter);
        cases.push(w.case(format!("reals {rotation}")));
    }
}

/// Products of parts of lanes.
pub fn dots(isa: Isa, dot: Dot) -> Vec<Case> {
    let mut cases = vec![];
    for rotation in 0..8 {
        let mut w = Writer::new(isa);
        let second = Mem::at(w.base, 68 + rotation);
        for form in 0..4u8 {
            let (d, a, b) = (
                w.load(rotation * 8 % 128),
                w.load(1030 + 3 * rotation),
                w.load(rotation * 4),
            );
            if isa.by_lane {
                let lane = form % isa.lanes as u8;
                w.vm.op(Op::DotLane { dot, d, a, b, lane });
            } else {
                let tmp = (dot == Dot::Words && !isa.fused_words).then(|| w.vm.v());
                let a = match form {
                    0 => Src::Mem(second),
                    1 => Src::Reg(b),
                    _ => Src::Reg(a),
                };
                w.vm.op(Op::Dot { dot, d, a, b, tmp });
                tmp.into_iter().for_each(|t| w.vm.free(t));
            }
            w.keep(d);
            w.vm.free_all(&[d, a, b]);
        }
        cases.push(w.case(format!("{dot:?} {rotation}")));
    }
    cases
}

/// Operations on words.
fn words(isa: Isa, cases: &mut Vec<Case>) {
    let mut w = Writer::new(isa);
    for (rotation, op) in (0..8).flat_map(|r| [WordBin::Add, WordBin::Sub].map(|op| (r, op))) {
        // Into a register of its own, either operand's, and of one operand alone.
        for form in 0..5 {
            let (a, b) = (w.load(rotation * 4), w.load(64 - rotation * 4));
            let spare = w.vm.v();
            let (d, x, y) = match form {
                0 => (spare, a, b),
                1 => (a, a, b),
                2 => (b, a, b),
                3 => (spare, a, a),
                _ => (a, a, a),
            };
            w.vm.op(Op::Words { op, d, a: x, b: y });
            w.keep(d);
            w.vm.free_all(&[a, b, d, spare]);
        }
        if w.full() {
            w.at = OUT;
        }
    }
    cases.push(w.case("words".into()));
}

pub use longer::{long, matrices, zips};
pub use quads::{mixing, picked, quads_of_words};

/// All cases of a machine.
pub fn cases(isa: Isa) -> Vec<Case> {
    let mut all = vec![];
    pairs::pairs(isa, &mut all);
    pairs::each(isa, &mut all);
    pairs::any(isa, &mut all);
    bins(isa, &mut all);
    uns(isa, &mut all);
    threes(isa, &mut all);
    reals(isa, &mut all);
    words(isa, &mut all);
    quads::quads(isa, &mut all);
    access::accesses(isa, &mut all);
    access::addresses(isa, &mut all);
    all
}
