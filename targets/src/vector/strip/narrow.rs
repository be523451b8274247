//! Sums over narrow weights: bytes or halves of bytes become floats in registers, blocks end with their scales.
//!
//! Of eight numbers in 32 bits each is made a float where it stands, times a power of 16, which comes off the element of A that it is multiplied
//! by: masking and converting are all that it takes. Products stay the same but for elements of A below 2^-100. Where A is multiplied by lanes,
//! numbers are moved to the lowest bits instead.
//!
//! Where there are several blocks, sums so far wait in the frame: a block is long enough for that not to matter, and registers are for chains.

use super::{Template, UNROLL};
use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::narrow::{Narrow, Zero};
use onnxc_compiler::contracts::strip::Start;

/// What the sums of one tile are made with.
struct Weights {
    narrow: Narrow,
    bases: Vec<X>,
    stride: X,
    b: X,
    scales: X,
    zeros: Option<X>,
    /// The bits of a number, where weights have four.
    mask: Option<V>,
    /// For each row what A adds up to, where something else than 0 stands for 0.
    of_a: Vec<V>,
    /// What comes up between sums.
    tmp: V,
}

impl Template<'_> {
    /// From the start of a tile's sums to their end, scaled.
    pub(super) fn narrow_sums(&mut self, narrow: Narrow) {
        let slots: Vec<u16> = match narrow.block {
            0 => vec![],
            _ => (0..self.m() * self.cols)
                .map(|n| self.narrow_slot(n))
                .collect(),
        };
        if !slots.is_empty() {
            self.start();
            for (n, &slot) in slots.iter().enumerate() {
                self.vm.op(Op::Spill {
                    s: self.acc[n],
                    slot,
                });
            }
        }
        let (bases, stride) = self.bases(self.args.a, self.args.a_row);
        let each = narrow.zero == Zero::Each;
        let moved = narrow.zero != Zero::None;
        let w = Weights {
            narrow,
            bases,
            stride,
            b: self.vm.arg(self.args.b),
            scales: self.vm.arg(self.args.scales),
            zeros: each.then(|| self.vm.arg(self.args.scales + 1)),
            mask: (self.s.b_type == DType::U4).then(|| self.vm.v()),
            of_a: if moved { self.vm.vs(self.m()) } else { vec![] },
            tmp: self.vm.v(),
        };
        let left = self.vm.arg(self.args.k);
        match narrow.block {
            0 => {
                self.block(&w, left);
                self.scale(&w, &slots);
            }
            block => {
                let top = self.vm.label();
                self.vm.place(top);
                let k = self.vm.x();
                let whole = self.vm.label();
                self.vm.op(Op::SetX { d: k, value: block });
                self.vm.op(Op::BranchX {
                    a: left,
                    cond: Cond::Ge,
                    b: k,
                    to: whole,
                });
                self.vm.op(Op::MoveX { d: k, a: left });
                self.vm.place(whole);
                self.block(&w, k);
                self.vm.free_x(k);
                self.scale(&w, &slots);
                self.vm.op(Op::Count {
                    x: left,
                    by: block as i32,
                    to: top,
                });
                for (n, &slot) in slots.iter().enumerate() {
                    self.vm.op(Op::Fill {
                        d: self.acc[n],
                        slot,
                    });
                }
            }
        }
        self.vm.free_x(left);
        self.vm.free_all(&w.of_a);
        w.mask.into_iter().for_each(|v| self.vm.free(v));
        self.vm.free(w.tmp);
        self.drop_bases(w.bases, w.stride);
        for x in [Some(w.b), Some(w.scales), w.zeros].into_iter().flatten() {
            self.vm.free_x(x);
        }
        let more = self.acc.split_off(self.m() * self.cols);
        self.vm.free_all(&more);
    }

    /// Slot `n` of those that hold sums: the same in every tile.
    fn narrow_slot(&mut self, n: usize) -> u16 {
        while self.totals.len() <= n {
            let slot = self.vm.slot();
            self.totals.push(slot);
        }
        self.totals[n]
    }

    /// The sums of a block of `k`, which is counted down, from 0. A and B stand behind it in the end.
    fn block(&mut self, w: &Weights, k: X) {
        for &d in self.acc.iter().chain(&w.of_a) {
            self.vm.op(Op::Zero { d });
        }
        if let Some(d) = w.mask.filter(|_| self.vm.isa.by_lane) {
            self.vm.op(Op::Const { d, bits: 15 });
        }
        let (rest, done) = (self.vm.label(), self.vm.label());
        let u = match self.s.b_type {
            DType::U4 => 8,
            _ => UNROLL.next_multiple_of(self.s.split as usize),
        };
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Lt,
            with: u as i32,
            to: rest,
        });
        let main = self.vm.label();
        self.vm.place(main);
        self.narrow_steps(w, u, 0);
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
            self.narrow_steps(w, 1, r);
        }
        self.vm.place(done);
        self.join_chains();
    }

    /// `count` steps of k, the first being number `first` in its block modulo those of the main loop.
    fn narrow_steps(&mut self, w: &Weights, count: usize, first: usize) {
        let (m, cols) = (self.m(), self.cols);
        let by_lane = self.vm.isa.by_lane;
        let a = self.vm.vs(m);
        let turns = match by_lane {
            true => self.vm.spare().clamp(1, cols.min(4)),
            false => 1,
        };
        let vs = self.vm.vs(turns);
        let lanes = match count {
            4.. if self.vm.isa.lanes == 4 => Lanes::All,
            _ => Lanes::First(count.min(4) as u8),
        };
        let mut at_b = 0;
        for step in 0..count {
            let chain = (first + step) % self.s.split as usize;
            // Which of eight numbers in 32 bits.
            let nibble = w.mask.map(|_| (first + step) % 8);
            for i in 0..m {
                let at = self.row(&w.bases, w.stride, i, step as i32 * 4);
                let fresh = step % 4 == 0;
                if by_lane && fresh {
                    self.vm.load(a[i], at, lanes);
                }
                if let Some(&d) = w.of_a.get(i).filter(|_| fresh) {
                    let x = if by_lane { a[i] } else { w.tmp };
                    if !by_lane {
                        self.vm.load(x, at, lanes);
                    }
                    self.vm.bin(Bin::Add, d, d, x);
                }
                if !by_lane {
                    self.vm.op(Op::Splat { d: a[i], at });
                    self.lower(a[i], nibble);
                }
            }
            if let (Some(d), Some(at @ 0..7), false) = (w.mask, nibble, by_lane) {
                let bits = 15 << (4 * at);
                self.vm.op(Op::Const { d, bits });
            }
            for j in 0..cols {
                let v = vs[(step * cols + j) % turns];
                self.unpack(w, v, at_b, j, nibble);
                for i in 0..m {
                    let d = self.acc(chain, i, j);
                    self.vm.op(match by_lane {
                        true => Op::FmaLane {
                            d,
                            a: v,
                            b: a[i],
                            lane: (step % 4) as u8,
                        },
                        false => Op::Fma {
                            d,
                            a: a[i],
                            b: v.into(),
                        },
                    });
                }
            }
            at_b += match nibble {
                None => self.s.b_row as i32,
                Some(7) => self.s.b_row as i32 * 4,
                Some(_) => 0,
            };
        }
        for x in &w.bases {
            self.vm.add_i(*x, count as i32 * 4);
        }
        self.vm.add_i(w.b, at_b);
        self.vm.free_all(&a);
        self.vm.free_all(&vs);
    }

    /// Takes the power of 16 that a number of four bits has too many off what it is multiplied by.
    fn lower(&mut self, a: V, nibble: Option<usize>) {
        if let Some(at @ 1..7) = nibble {
            let bits = (127 - 4 * at as u32) << 23;
            self.vm.bin(Bin::Mul, a, a, Src::Const(bits));
        }
    }

    /// Column vector `j` of a row of B as floats.
    fn unpack(&mut self, w: &Weights, v: V, at_b: i32, j: usize, nibble: Option<usize>) {
        let at = at_b + (j * self.vm.isa.lanes) as i32;
        let wide = Mem::at(w.b, at_b + self.disp(j));
        match (nibble, w.mask) {
            (Some(nibble), Some(mask)) if self.vm.isa.by_lane || nibble == 7 => {
                self.vm.load(v, wide, Lanes::All);
                if nibble > 0 {
                    let by = 4 * nibble as u8;
                    self.vm.op(Op::Shift {
                        op: Shift::RightU,
                        d: v,
                        a: v,
                        by,
                    });
                }
                if nibble < 7 {
                    self.vm.bin(Bin::And, v, v, mask);
                }
            }
            (Some(_), Some(mask)) => self.vm.bin(Bin::And, v, mask, Src::Mem(wide)),
            _ => {
                let elem = match self.s.b_type {
                    DType::I8 => Elem::I8,
                    _ => Elem::U8,
                };
                self.vm.op(Op::Load {
                    d: v,
                    at: Mem::at(w.b, at),
                    elem,
                    lanes: Lanes::All,
                });
            }
        }
        self.vm.op(Op::Un {
            op: Un::FromInt,
            d: v,
            a: v,
        });
    }

    /// Takes off what stands for 0, and scales a block's sums: into the frame, or where they are if there is but one block. The scales then stand
    /// behind the block's.
    fn scale(&mut self, w: &Weights, slots: &[u16]) {
        let (m, cols, lanes) = (self.m(), self.cols, self.vm.isa.lanes);
        for &d in &w.of_a {
            self.vm.op(Op::Fold {
                op: Fold::Add,
                d,
                a: d,
                tmp: w.tmp,
            });
            self.vm.op(Op::SplatLane { d, a: d });
            self.vm.op(Op::Zero { d: w.tmp });
            self.vm.bin(Bin::Sub, d, w.tmp, d);
        }
        let v = self.vm.v();
        if let Zero::All(z) = w.narrow.zero {
            self.vm.op(Op::Const {
                d: v,
                bits: (z as f32).to_bits(),
            });
        }
        for j in 0..cols {
            if w.of_a.is_empty() {
                break;
            }
            if let Some(zeros) = w.zeros {
                self.vm.op(Op::Load {
                    d: v,
                    at: Mem::at(zeros, (j * lanes) as i32),
                    elem: Elem::U8,
                    lanes: Lanes::All,
                });
                self.vm.op(Op::Un {
                    op: Un::FromInt,
                    d: v,
                    a: v,
                });
            }
            for i in 0..m {
                let d = self.acc(0, i, j);
                self.vm.fma(d, v, w.of_a[i]);
            }
        }
        // One block begins with what C holds only now.
        let start = match (slots.is_empty(), self.s.start) {
            (true, Start::Sum) => Some(self.bases(self.args.c, self.args.c_row)),
            _ => None,
        };
        for j in 0..cols {
            self.vm.load(v, Mem::at(w.scales, self.disp(j)), Lanes::All);
            for i in 0..m {
                let d = self.acc(0, i, j);
                match (slots.get(i * cols + j), &start) {
                    (Some(&slot), _) => {
                        self.vm.op(Op::Fill { d: w.tmp, slot });
                        self.vm.fma(w.tmp, d, v);
                        self.vm.op(Op::Spill { s: w.tmp, slot });
                    }
                    (_, Some((bases, stride))) => {
                        let at = self.row(bases, *stride, i, self.disp(j));
                        let lanes = self.lanes(j);
                        self.vm.load(w.tmp, at, lanes);
                        self.vm.fma(w.tmp, d, v);
                        self.vm.op(Op::Move { d, a: w.tmp });
                    }
                    _ => self.vm.bin(Bin::Mul, d, d, v),
                }
            }
        }
        if let Some((bases, stride)) = start {
            self.drop_bases(bases, stride);
        }
        self.vm.free(v);
        self.vm.add_i(w.scales, self.s.b_row as i32 * 4);
        if let Some(zeros) = w.zeros {
            self.vm.add_i(zeros, self.s.b_row as i32);
        }
    }
}
