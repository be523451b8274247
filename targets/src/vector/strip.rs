//! The template of contract `gemm_strip`.
//!
//! A tile of m rows and n columns is held in registers. For each k the columns of B are loaded, an element of each row of A is
//! broadcast (or, where a machine multiplies by lanes, four elements of each row are loaded for four k), and all products are
//! added. Rows of A are reached from one base for every two or three rows.

use super::build::Vm;
use super::ir::*;
use super::tail;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::narrow::Zero;
use onnxc_compiler::contracts::picked::Order;
use onnxc_compiler::contracts::strip::{Numbers, Start, Strip};
use onnxc_compiler::loops::ir::Callee;
use onnxc_compiler::loops::tail::Tail;

mod finish;
mod matrices;
mod narrow;
mod picked;
mod rows;

/// Steps of k written out in the main loop.
const UNROLL: usize = 4;

/// Numbers of the call's arguments.
struct Args {
    a: u8,
    b: u8,
    c: u8,
    scales: u8,
    operands: u8,
    a_row: u8,
    c_row: u8,
    k: u8,
    seg: u8,
    b_row: u8,
    tiles: u8,
    ahead: u8,
    operand_rows: u8,
    all: u8,
}

impl Args {
    fn of(s: &Strip) -> Args {
        let operands = s.tail.operands().count() as u8;
        let scales = match s.narrow.map(|n| n.zero) {
            None if s.numbers == Numbers::Picked => 1 + u8::from(s.order.is_some_and(Order::named)),
            None => 0,
            Some(Zero::Each) => 2,
            Some(_) => 1,
        };
        let first = 3 + scales;
        let ints = first + operands;
        Args {
            a: 0,
            b: 1,
            c: 2,
            scales: 3,
            operands: first,
            a_row: ints,
            c_row: ints + 1,
            k: ints + 2,
            seg: ints + 3,
            b_row: ints + 4,
            tiles: ints + 5,
            ahead: ints + 6,
            operand_rows: ints + 7,
            all: ints + 7 + operands,
        }
    }
}

struct Template<'s> {
    vm: Vm,
    s: &'s Strip,
    args: Args,
    /// Vectors of a row.
    cols: usize,
    /// What is done with the sums.
    tail: Tail,
    /// The operand of the whole tail that sums begin with.
    begin: Option<usize>,
    /// Accumulators: chain, row, vector.
    acc: Vec<V>,
    /// How far ahead B is fetched, in bytes.
    ahead: Option<X>,
    /// Registers for rows of A that are taken before all others.
    first: Vec<V>,
    /// Slots of sums over narrow weights.
    totals: Vec<u16>,
}

/// The program of a strip.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Strip::of(callee).ok_or_else(|| {
        Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
    })?;
    let args = Args::of(&s);
    // Floats are added in a fixed order; matrices and narrow weights begin in their own ways.
    let plain = !matches!(s.numbers, Numbers::Floats | Numbers::Matrices) && s.narrow.is_none();
    let begun = match plain && s.start == Start::Zero {
        true => tail::begun(&s.tail),
        false => None,
    };
    let mut t = Template {
        vm: Vm::new(isa, args.all),
        s: &s,
        cols: (s.n as usize).div_ceil(isa.lanes),
        args,
        begin: begun.as_ref().map(|b| b.operand),
        tail: begun.map_or_else(|| s.tail.clone(), |b| b.tail),
        acc: vec![],
        ahead: None,
        first: vec![],
        totals: vec![],
    };
    t.write()?;
    t.vm.finish()
}

/// Vector registers that a tile over narrow weights holds while it sums.
pub fn narrow_registers(isa: &Isa, s: &Strip) -> usize {
    let (m, cols) = (s.m as usize, (s.n as usize).div_ceil(isa.lanes));
    let moved = s.narrow.is_some_and(|n| n.zero != Zero::None);
    let four = usize::from(s.b_type == DType::U4);
    m * cols * s.split as usize + m + 2 + four + if moved { m } else { 0 }
}

pub use matrices::registers as matrix_registers;
pub use picked::registers as picked_registers;

/// Vector registers that a tile of `m` rows and `cols` vectors holds while it sums.
pub fn registers(isa: &Isa, m: usize, cols: usize, split: usize) -> usize {
    let acc = m * cols * split;
    if isa.by_lane {
        // Four k of each row, and the vectors of one k.
        acc + m + cols
    } else if m < cols {
        acc + m + 1
    } else {
        acc + cols + 1
    }
}

impl Template<'_> {
    fn m(&self) -> usize {
        self.s.m as usize
    }
    fn lanes(&self, j: usize) -> Lanes {
        Lanes::of(&self.vm.isa, self.s.n as usize, j * self.vm.isa.lanes)
    }
    /// B in packed panels has whole vectors, zeros behind the last column.
    fn b_lanes(&self, j: usize) -> Lanes {
        match self.s.b_row {
            0 => self.lanes(j),
            _ => Lanes::All,
        }
    }
    fn disp(&self, j: usize) -> i32 {
        (j * self.vm.isa.lanes * 4) as i32
    }
    /// How B is stored.
    fn b_elem(&self) -> Elem {
        match (self.s.numbers, self.s.b_type) {
            (Numbers::Words, DType::I8) => Elem::I8x2,
            (Numbers::Floats, d) => tail::elem(d),
            _ => Elem::W32,
        }
    }
    /// Adds to a sum the products of B (a vector) with what `x` has of A in every lane.
    fn multiply(&mut self, d: V, b: Src, x: V, tmp: Option<V>) {
        let op = match self.dot() {
            None => Op::Fma { d, a: x, b },
            Some(dot) => Op::Dot {
                dot,
                d,
                a: b,
                b: x,
                tmp,
            },
        };
        self.vm.op(op);
    }
    /// The products of whole numbers.
    fn dot(&self) -> Option<Dot> {
        match (self.s.numbers, self.s.a_type) {
            (Numbers::Floats, _) => None,
            (Numbers::Words, _) => Some(Dot::Words),
            (Numbers::Bytes, DType::U8) => Some(Dot::BytesU),
            (Numbers::Bytes, _) => Some(Dot::BytesS),
            // Pairs are words by then; matrices have steps of their own.
            (Numbers::Picked | Numbers::Matrices, _) => Some(Dot::Words),
        }
    }
    fn b_disp(&self, j: usize) -> i32 {
        (j * self.vm.isa.lanes) as i32 * self.b_elem().bytes()
    }
    /// By how much a number of groups of A is shifted to be one of bytes.
    fn group_shift(&self) -> u8 {
        match self.s.numbers {
            Numbers::Picked => 0,
            Numbers::Matrices => 3,
            _ => 2,
        }
    }
    /// The same of elements.
    fn element_shift(&self) -> u8 {
        match self.s.numbers {
            Numbers::Floats => 2,
            Numbers::Words => 1,
            Numbers::Bytes | Numbers::Picked | Numbers::Matrices => 0,
        }
    }
    /// Bytes of a column of B in a row of groups.
    fn b_bytes(&self) -> i32 {
        match self.s.numbers {
            Numbers::Matrices => 8,
            _ => self.b_elem().bytes(),
        }
    }
    fn load_b(&mut self, d: V, at: Mem, lanes: Lanes) {
        let elem = self.b_elem();
        self.vm.op(Op::Load { d, at, elem, lanes });
    }
    fn acc(&self, chain: usize, i: usize, j: usize) -> V {
        self.acc[(chain * self.m() + i) * self.cols + j]
    }

    fn write(&mut self) -> Result<()> {
        let top = self.vm.label();
        let end = self.vm.label();
        let tiles = self.vm.arg(self.args.tiles);
        self.vm.op(Op::Branch {
            x: tiles,
            cond: Cond::Le,
            with: 0,
            to: end,
        });
        self.vm.free_x(tiles);
        self.vm.place(top);
        // Words of A are reached by lane only in the first registers.
        self.first = match (self.vm.isa.by_lane, self.s.numbers) {
            (true, Numbers::Words) => self.vm.vs(self.m()),
            _ => vec![],
        };
        self.acc = {
            let n = self.sums_of_a_chain() * self.s.split as usize;
            self.vm.vs(n)
        };
        match self.s.narrow {
            Some(narrow) => self.narrow_sums(narrow),
            None if self.s.numbers == Numbers::Picked => {
                self.start();
                self.picked_sums();
            }
            None if self.by_matrices() => self.matrix_sums(),
            None => {
                self.start();
                self.sums();
            }
        }
        let first = std::mem::take(&mut self.first);
        self.vm.free_all(&first);
        self.finish()?;
        self.advance();
        let tiles = self.vm.arg(self.args.tiles);
        self.vm.add_i(tiles, -1);
        self.vm.op(Op::SetArg {
            n: self.args.tiles,
            s: tiles,
        });
        self.vm.op(Op::Branch {
            x: tiles,
            cond: Cond::Gt,
            with: 0,
            to: top,
        });
        self.vm.place(end);
        Ok(())
    }

    fn start(&mut self) {
        let first = self.sums_of_a_chain();
        let zeros = match (self.s.start, self.begin) {
            (Start::Zero, None) => 0,
            _ => first,
        };
        for &d in &self.acc[zeros..] {
            self.vm.op(Op::Zero { d });
        }
        if let Some(operand) = self.begin {
            let columns = self.vm.arg(self.args.operands + operand as u8);
            for j in 0..self.cols {
                let (d, lanes) = (self.acc(0, 0, j), self.lanes(j));
                self.vm.load(d, Mem::at(columns, self.disp(j)), lanes);
                for i in 1..self.m() {
                    let copy = self.acc(0, i, j);
                    self.vm.op(Op::Move { d: copy, a: d });
                }
            }
            self.vm.free_x(columns);
        }
        if self.s.start == Start::Sum {
            let (bases, stride) = self.bases(self.args.c, self.args.c_row);
            for i in 0..self.m() {
                for j in 0..self.cols {
                    let at = self.row(&bases, stride, i, self.disp(j));
                    let (d, lanes) = (self.acc(0, i, j), self.lanes(j));
                    self.vm.load(d, at, lanes);
                }
            }
            self.drop_bases(bases, stride);
        }
    }

    fn sums(&mut self) {
        let (bases, stride) = self.bases(self.args.a, self.args.a_row);
        let b = self.vm.arg(self.args.b);
        let b_row = (self.s.b_row == 0).then(|| {
            let x = self.vm.arg(self.args.b_row);
            let by = self.b_elem().bytes().trailing_zeros() as u8;
            self.vm.op(Op::ShlX { d: x, a: x, by });
            x
        });
        self.ahead = self.s.ahead.then(|| {
            let x = self.vm.arg(self.args.ahead);
            let by = self.b_bytes().trailing_zeros() as u8;
            self.vm.op(Op::ShlX { d: x, a: x, by });
            x
        });
        let segs = (self.s.segs > 1).then(|| {
            let d = self.vm.x();
            self.vm.op(Op::SetX {
                d,
                value: self.s.segs,
            });
            d
        });
        let top = self.vm.label();
        self.vm.place(top);
        let k = self.vm.arg(self.args.k);
        let (rest, done) = (self.vm.label(), self.vm.label());
        let u = UNROLL.next_multiple_of(self.s.split as usize);
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Lt,
            with: u as i32,
            to: rest,
        });
        let main = self.vm.label();
        self.vm.place(main);
        self.steps(&bases, stride, b, b_row, u, 0);
        self.vm.add_i(k, -(u as i32));
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Ge,
            with: u as i32,
            to: main,
        });
        self.vm.place(rest);
        for r in 0..u - 1 {
            self.vm.op(Op::Branch {
                x: k,
                cond: Cond::Le,
                with: r as i32,
                to: done,
            });
            self.steps(&bases, stride, b, b_row, 1, r);
        }
        self.vm.place(done);
        self.vm.free_x(k);
        if let Some(segs) = segs {
            // A stands behind the segment: on to the next one.
            let by = self.vm.arg(self.args.seg);
            let k = self.vm.arg(self.args.k);
            for (x, shift) in [(by, self.element_shift()), (k, self.group_shift())] {
                self.vm.op(Op::ShlX {
                    d: x,
                    a: x,
                    by: shift,
                });
            }
            self.vm.op(Op::SubX { d: by, a: by, b: k });
            for x in &bases {
                self.vm.add_x(*x, by, 0);
            }
            self.vm.free_x(by);
            self.vm.free_x(k);
            self.vm.op(Op::Count {
                x: segs,
                by: 1,
                to: top,
            });
            self.vm.free_x(segs);
        }
        self.drop_bases(bases, stride);
        self.vm.free_x(b);
        b_row.into_iter().for_each(|x| self.vm.free_x(x));
        self.ahead
            .take()
            .into_iter()
            .for_each(|x| self.vm.free_x(x));
        self.join_chains();
        let more = self.acc.split_off(self.sums_of_a_chain());
        self.vm.free_all(&more);
    }

    /// Adds up the chains of each sum.
    fn join_chains(&mut self) {
        let own = self.sums_of_a_chain();
        let add = match self.s.numbers {
            Numbers::Floats => Bin::Add,
            _ => Bin::AddI,
        };
        for at in own..self.acc.len() {
            let (d, x) = (self.acc[at % own], self.acc[at]);
            self.vm.bin(add, d, d, x);
        }
    }

    /// `count` steps of k, the first being number `first` modulo the number of chains; then A and B stand behind them.
    fn steps(
        &mut self,
        bases: &[X],
        stride: X,
        b: X,
        b_row: Option<X>,
        count: usize,
        first: usize,
    ) {
        if self.by_matrices() {
            self.matrix_steps(bases, stride, b, count, first);
        } else if self.vm.isa.by_lane {
            self.lane_steps(bases, stride, b, b_row, count, first);
        } else {
            self.splat_steps(bases, stride, b, b_row, count, first);
        }
        for x in bases {
            self.vm.add_i(*x, (count as i32) << self.group_shift());
        }
        if b_row.is_none() {
            self.vm
                .add_i(b, (count as i64 * self.s.b_row) as i32 * self.b_bytes());
        }
    }

    /// Where elements of A are broadcast.
    fn splat_steps(
        &mut self,
        bases: &[X],
        stride: X,
        b: X,
        b_row: Option<X>,
        count: usize,
        first: usize,
    ) {
        let (m, cols) = (self.m(), self.cols);
        // An element that serves one product is broadcast by the product itself: an instruction less.
        let direct = cols == 1 && self.dot().is_none() && self.vm.isa.splat_operand;
        let a = self.vm.vs(if m < cols { m } else { 1 });
        let bs = self.vm.vs(if m >= cols { cols } else { 1 });
        let own = self.s.numbers == Numbers::Words && !self.vm.isa.fused_words;
        let tmp = own.then(|| self.vm.v());
        for step in 0..count {
            let chain = (first + step) % self.s.split as usize;
            let packed = (step as i64 * self.s.b_row) as i32 * self.b_elem().bytes();
            let splat = |t: &mut Self, i: usize, d: V| {
                let at = t.row(bases, stride, i, step as i32 * 4);
                t.vm.op(Op::Splat { d, at });
            };
            if bs.len() == cols {
                for j in 0..cols {
                    let at = Mem::at(b, packed + self.b_disp(j));
                    self.load_b(bs[j], at, self.b_lanes(j));
                }
                for i in 0..m {
                    if direct {
                        let at = self.row(bases, stride, i, step as i32 * 4);
                        let (d, a, b) = (self.acc(chain, i, 0), bs[0], Src::Splat(at));
                        self.vm.op(Op::Fma { d, a, b });
                        continue;
                    }
                    let x = a[i % a.len()];
                    splat(self, i, x);
                    for j in 0..cols {
                        let d = self.acc(chain, i, j);
                        self.multiply(d, Src::Reg(bs[j]), x, tmp);
                    }
                }
            } else {
                for i in 0..m {
                    splat(self, i, a[i]);
                }
                for j in 0..cols {
                    let at = Mem::at(b, packed + self.b_disp(j));
                    let lanes = self.b_lanes(j);
                    let whole = lanes == Lanes::All && m == 1 && self.b_elem() == Elem::W32;
                    if !whole {
                        self.load_b(bs[0], at, lanes);
                    }
                    for i in 0..m {
                        let d = self.acc(chain, i, j);
                        let b = if whole { Src::Mem(at) } else { Src::Reg(bs[0]) };
                        self.multiply(d, b, a[i], tmp);
                    }
                }
            }
            if let Some(x) = self.ahead {
                for line in (0..self.b_disp(cols)).step_by(64) {
                    self.vm.op(Op::Prefetch {
                        at: Mem {
                            base: b,
                            index: Some((x, 0)),
                            disp: packed + line,
                        },
                    });
                }
            }
            if let Some(x) = b_row {
                self.vm.add_x(b, x, 0);
            }
        }
        self.vm.free_all(&a);
        self.vm.free_all(&bs);
        tmp.into_iter().for_each(|t| self.vm.free(t));
    }

    /// Where elements of A are lanes: four k of a row are one load, and vectors of B take turns in all registers that are left, so
    /// that a core which issues in order finds them loaded. All products of a vector of B come one after another: then its
    /// register is free.
    fn lane_steps(
        &mut self,
        bases: &[X],
        stride: X,
        b: X,
        b_row: Option<X>,
        count: usize,
        first: usize,
    ) {
        let (m, cols) = (self.m(), self.cols);
        let a = match self.first.is_empty() {
            true => self.vm.vs(m),
            false => self.first.clone(),
        };
        let turns = self.vm.spare().clamp(1, 2 * cols);
        let bs = self.vm.vs(turns);
        for step in 0..count {
            let chain = (first + step) % self.s.split as usize;
            let packed = (step as i64 * self.s.b_row) as i32 * self.b_elem().bytes();
            // Four k at once, or as many as are left.
            let lanes = match count - step {
                left @ 0..4 => Lanes::First(left as u8),
                _ => Lanes::All,
            };
            let fresh = step % 4 == 0;
            for j in 0..cols {
                let v = bs[(step * cols + j) % turns];
                let at = Mem::at(b, packed + self.b_disp(j));
                self.load_b(v, at, self.b_lanes(j));
                for i in 0..m {
                    if fresh && j == 0 {
                        let at = self.row(bases, stride, i, step as i32 * 4);
                        self.vm.load(a[i], at, lanes);
                    }
                    let d = self.acc(chain, i, j);
                    let (b, lane) = (a[i], (step % 4) as u8);
                    self.vm.op(match self.dot() {
                        None => Op::FmaLane { d, a: v, b, lane },
                        Some(dot) => Op::DotLane {
                            dot,
                            d,
                            a: v,
                            b,
                            lane,
                        },
                    });
                }
            }
            if let Some(x) = b_row {
                self.vm.add_x(b, x, 0);
            }
        }
        if self.first.is_empty() {
            self.vm.free_all(&a);
        }
        self.vm.free_all(&bs);
    }
}
