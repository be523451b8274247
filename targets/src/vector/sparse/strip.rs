//! The templates of `sparse_strip` and `sparse_line`: vectors of pixels of a block of output channels are held in registers while the
//! block's entries pass.

use crate::vector::build::Vm;
use crate::vector::ir::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::sparse::line::Line;
use onnxc_compiler::contracts::sparse::numbers::{Near, Numbers};
use onnxc_compiler::contracts::sparse::tiles::Strip;
use onnxc_compiler::loops::ir::Callee;

struct Template {
    vm: Vm,
    s: Strip,
    /// Vectors of a row of sums.
    cols: usize,
    /// Sums: chain, channel, vector.
    acc: Vec<V>,
    /// Taken before all others: what is reached by lane.
    weights: Option<V>,
}

/// Bytes that a distance counts.
fn row_bytes(s: &Strip) -> i64 {
    s.step * s.numbers.rows().size() as i64
}

/// The program. Arguments: t, values, stream, s, blocks, entries.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let wrong = || Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel));
    let s = Strip::of(callee).ok_or_else(wrong)?;
    let cols = s.pitch as usize / isa.lanes;
    let vector = isa.lanes as i64 * s.numbers.group();
    if s.pitch % vector != 0 {
        return Err(wrong());
    }
    let mut t = Template {
        vm: Vm::new(isa, 6),
        s,
        cols,
        acc: vec![],
        weights: None,
    };
    t.write();
    t.vm.finish()
}

/// The program of a `sparse_line`. Arguments: t, values, s.
pub fn line(callee: &Callee, isa: Isa) -> Result<Program> {
    let wrong = || Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel));
    let line = Line::of(callee).ok_or_else(wrong)?;
    let (s, blocks) = (line.strip, line.blocks().ok_or_else(wrong)?);
    let mut t = Template {
        vm: Vm::new(isa, 3),
        s,
        cols: s.pitch as usize / isa.lanes,
        acc: vec![],
        weights: None,
    };
    let [channels, values, sums] = [0, 1, 2].map(|n| t.vm.arg(n));
    if isa.by_lane {
        t.weights = Some(t.vm.v());
    }
    let n = s.chains as usize * t.block() * t.cols;
    t.acc = t.vm.vs(n);
    let mut w = Mem::at(values, 0);
    for (number, rows) in blocks {
        for &d in &t.acc {
            t.vm.op(Op::Zero { d });
        }
        for (e, row) in rows.into_iter().enumerate() {
            let at = i32::try_from(row * row_bytes(&s)).map_err(|_| wrong())?;
            t.floats(e % s.chains as usize, Mem::at(channels, at), w);
            w = w.plus(4 * s.block as i32);
        }
        let at = i32::try_from(number * s.block * s.pitch * 4).map_err(|_| wrong())?;
        t.store(Mem::at(sums, at));
    }
    t.vm.finish()
}

impl Template {
    fn block(&self) -> usize {
        self.s.block as usize
    }
    fn acc(&self, chain: usize, c: usize, v: usize) -> V {
        self.acc[(chain * self.block() + c) * self.cols + v]
    }

    fn write(&mut self) {
        let end = self.vm.label();
        let blocks = self.vm.arg(4);
        self.vm.op(Op::Branch {
            x: blocks,
            cond: Cond::Le,
            with: 0,
            to: end,
        });
        let [t, values, stream, sums] = [0, 1, 2, 3].map(|n| self.vm.arg(n));
        if self.vm.isa.by_lane {
            self.weights = Some(self.vm.v());
        }
        let n = self.s.chains as usize * self.block() * self.cols;
        self.acc = self.vm.vs(n);
        let bytes = row_bytes(&self.s);
        let by = (bytes.count_ones() > 1).then(|| {
            let d = self.vm.x();
            self.vm.op(Op::SetX { d, value: bytes });
            d
        });
        let step = {
            let d = self.vm.x();
            let value = self.s.block * self.s.pitch * 4;
            self.vm.op(Op::SetX { d, value });
            d
        };
        let top = self.vm.label();
        self.vm.place(top);
        let count = self.vm.x();
        self.vm.op(Op::LoadSmallX {
            d: count,
            at: Mem::at(stream, 0),
            bytes: 2,
        });
        let to = self.vm.x();
        self.vm.op(Op::LoadSmallX {
            d: to,
            at: Mem::at(stream, 2),
            bytes: 2,
        });
        self.vm.op(Op::MulX {
            d: to,
            a: to,
            b: step,
        });
        self.vm.add_x(to, sums, 0);
        self.vm.add_i(stream, 4);
        for &d in &self.acc {
            self.vm.op(Op::Zero { d });
        }
        let row = self.vm.x();
        self.vm.op(Op::MoveX { d: row, a: t });
        let done = self.vm.label();
        self.vm.op(Op::Branch {
            x: count,
            cond: Cond::Le,
            with: 0,
            to: done,
        });
        let main = self.vm.label();
        self.vm.place(main);
        let chains = self.s.chains as usize;
        let distance = self.s.distance() as i32;
        let group = self.s.numbers.group() as i32 * distance;
        let value_bytes = 4 * self.s.block as i32;
        for chain in 0..chains {
            let at = Mem::at(stream, chain as i32 * group);
            let w = Mem::at(values, chain as i32 * value_bytes);
            match self.s.numbers {
                Numbers::Floats => {
                    self.advance(row, at, by);
                    self.floats(chain, Mem::at(row, 0), w);
                }
                Numbers::Near(near) => {
                    self.advance(row, at, by);
                    self.near(near, chain, Mem::at(row, 0), w);
                }
                Numbers::Words(_) => {
                    self.advance(row, at, by);
                    let first = self.vm.x();
                    self.vm.op(Op::MoveX { d: first, a: row });
                    self.advance(row, at.plus(distance), by);
                    self.words(chain, first, row, w);
                    self.vm.free_x(first);
                }
            }
        }
        self.vm.add_i(values, chains as i32 * value_bytes);
        self.vm.add_i(stream, chains as i32 * group);
        self.vm.op(Op::Count {
            x: count,
            by: chains as i32,
            to: main,
        });
        self.vm.place(done);
        self.store(Mem::at(to, 0));
        for x in [count, to, row] {
            self.vm.free_x(x);
        }
        self.vm.op(Op::Count {
            x: blocks,
            by: 1,
            to: top,
        });
        self.vm.place(end);
    }

    /// On to the row that a byte of the stream names.
    fn advance(&mut self, row: X, at: Mem, by: Option<X>) {
        let d = self.vm.x();
        let bytes = self.s.distance() as u8;
        self.vm.op(Op::LoadSmallX { d, at, bytes });
        match by {
            Some(b) => self.vm.op(Op::MulX { d, a: d, b }),
            None => {
                let by = row_bytes(&self.s).trailing_zeros() as u8;
                self.vm.op(Op::ShlX { d, a: d, by });
            }
        }
        self.vm.add_x(row, d, 0);
        self.vm.free_x(d);
    }

    /// The products of a row of floats.
    fn floats(&mut self, chain: usize, row: Mem, w: Mem) {
        let lanes = self.vm.isa.lanes;
        let at = |v: usize| row.plus((v * lanes) as i32 * 4);
        if self.block() == 1 {
            let a = self.vm.v();
            self.vm.op(Op::Splat { d: a, at: w });
            for v in 0..self.cols {
                let d = self.acc(chain, 0, v);
                self.vm.fma(d, a, Src::Mem(at(v)));
            }
            return self.vm.free(a);
        }
        let pixels = self.vm.vs(self.cols);
        for (v, &d) in pixels.iter().enumerate() {
            self.vm.load(d, at(v), Lanes::All);
        }
        if let Some(b) = self.weights {
            self.vm.load(b, w, Lanes::All);
            for c in 0..4 {
                for (v, &a) in pixels.iter().enumerate() {
                    let (d, lane) = (self.acc(chain, c, v), c as u8);
                    self.vm.op(Op::FmaLane { d, a, b, lane });
                }
            }
        } else {
            let a = self.vm.v();
            for c in 0..4 {
                let w = w.plus(c as i32 * 4);
                self.vm.op(Op::Splat { d: a, at: w });
                for (v, &x) in pixels.iter().enumerate() {
                    let d = self.acc(chain, c, v);
                    self.vm.fma(d, a, x);
                }
            }
            self.vm.free(a);
        }
        self.vm.free_all(&pixels);
    }

    /// The products of a row of neighbours.
    fn near(&mut self, near: Near, chain: usize, row: Mem, w: Mem) {
        let lanes = self.vm.isa.lanes;
        let dot = match near {
            Near::Pairs => Dot::Words,
            Near::Bytes => Dot::BytesU,
            Near::SignedBytes => Dot::BytesS,
        };
        let between = near == Near::Pairs && !self.vm.isa.fused_words;
        let pixels = match self.block() {
            1 => vec![self.vm.v()],
            _ => self.vm.vs(self.cols),
        };
        let of = |v: usize| pixels[v % pixels.len()];
        let load = |vm: &mut Vm, v: usize| {
            let at = row.plus((v * lanes) as i32 * 4);
            vm.load(of(v), at, Lanes::All);
        };
        if self.block() > 1 {
            (0..self.cols).for_each(|v| load(&mut self.vm, v));
        }
        if let Some(b) = self.weights.filter(|_| self.block() > 1) {
            self.vm.load(b, w, Lanes::All);
            for c in 0..4 {
                for v in 0..self.cols {
                    let (d, a, lane) = (self.acc(chain, c, v), of(v), c as u8);
                    self.vm.op(Op::DotLane { dot, d, a, b, lane });
                }
            }
            return self.vm.free_all(&pixels);
        }
        let a = self.vm.v();
        let tmp = (between && self.block() > 1).then(|| self.vm.v());
        for c in 0..self.block() {
            let at = w.plus(c as i32 * 4);
            self.vm.op(Op::Splat { d: a, at });
            for v in 0..self.cols {
                if self.block() == 1 {
                    load(&mut self.vm, v);
                }
                let b = of(v);
                // What is read for one product alone may be overwritten.
                let tmp = between.then(|| tmp.unwrap_or(b));
                let d = self.acc(chain, c, v);
                let a = Src::Reg(a);
                self.vm.op(Op::Dot { dot, d, a, b, tmp });
            }
        }
        self.vm.free_all(&pixels);
        self.vm.free(a);
        tmp.into_iter().for_each(|t| self.vm.free(t));
    }

    /// The products of two rows of words.
    fn words(&mut self, chain: usize, first: X, second: X, w: Mem) {
        let lanes = self.vm.isa.lanes;
        let block = self.block();
        if let Some(d) = self.weights {
            let lanes = match block {
                1 => Lanes::First(1),
                _ => Lanes::All,
            };
            self.vm.load(d, w, lanes);
        }
        for u in 0..self.cols / 2 {
            let disp = (u * lanes) as i32 * 4;
            let [lo, hi, other] = [self.vm.v(), self.vm.v(), self.vm.v()];
            self.vm.load(hi, Mem::at(first, disp), Lanes::All);
            self.vm.load(other, Mem::at(second, disp), Lanes::All);
            self.vm.op(Op::PairWords {
                lo,
                a: hi,
                b: other,
            });
            for c in 0..block {
                let acc = [0, 1].map(|half| self.acc(chain, c, 2 * u + half));
                if let Some(b) = self.weights {
                    for (d, a) in acc.into_iter().zip([lo, hi]) {
                        self.vm.op(Op::DotLane {
                            dot: Dot::Words,
                            d,
                            a,
                            b,
                            lane: c as u8,
                        });
                    }
                    continue;
                }
                let weight = self.vm.v();
                let at = w.plus(c as i32 * 4);
                self.vm.op(Op::Splat { d: weight, at });
                let tmp = (!self.vm.isa.fused_words).then_some(other);
                for (d, b) in acc.into_iter().zip([lo, hi]) {
                    self.vm.op(Op::Dot {
                        dot: Dot::Words,
                        d,
                        a: Src::Reg(weight),
                        b,
                        tmp,
                    });
                }
                self.vm.free(weight);
            }
            self.vm.free_all(&[lo, hi, other]);
        }
    }

    /// Brings chains together and stores a block.
    fn store(&mut self, to: Mem) {
        let (block, cols, lanes) = (self.block(), self.cols, self.vm.isa.lanes);
        let add = match self.s.numbers {
            Numbers::Floats => Bin::Add,
            Numbers::Words(_) | Numbers::Near(_) => Bin::AddI,
        };
        let tmp = self.vm.v();
        for c in 0..block {
            for v in 0..cols {
                let d = self.acc(0, c, v);
                for chain in 1..self.s.chains as usize {
                    let x = self.acc(chain, c, v);
                    self.vm.bin(add, d, d, x);
                }
                let at = to.plus(((c * cols + v) * lanes) as i32 * 4);
                self.vm.store(d, at, Lanes::All, tmp);
            }
        }
        self.vm.free(tmp);
    }
}
