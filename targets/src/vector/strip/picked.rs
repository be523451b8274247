//! Sums over bytes that are picked.
//!
//! For each step a row's sixteen bytes are loaded and four of them brought to every lane; one instruction makes words of two products each, a second one adds
//! words up, a third one adds to the sum. Weights are operands in memory, so that twelve sums leave registers enough.

use super::Template;
use crate::vector::ir::*;
use onnxc_compiler::contracts::picked::Order;
use onnxc_compiler::contracts::picked_masks::BITS;

/// Rows that are reached from one register.
const PER_BASE: usize = 3;

/// Vector registers that a tile holds while it sums.
pub fn registers(m: usize, cols: usize) -> usize {
    m * cols + 4
}

/// What steps read and write.
struct Loop {
    /// What a step picks from in the first row of A, the distance of rows, and three times it.
    a: X,
    row: X,
    rows: Option<X>,
    b: X,
    order: X,
    /// How its steps are stored, and the list of masks that they may name.
    each: Order,
    masks: Option<X>,
    ahead: Option<X>,
    /// What lies in all lanes: ones in words.
    ones: V,
}

impl Template<'_> {
    /// Adds up all steps.
    pub(super) fn picked_sums(&mut self) {
        let a = self.vm.arg(self.args.a);
        let row = self.vm.arg(self.args.a_row);
        let rows = (self.m() > PER_BASE).then(|| {
            let d = self.vm.x();
            self.vm.op(Op::AddX {
                d,
                a: row,
                b: row,
                shift: 1,
            });
            d
        });
        let b = self.vm.arg(self.args.b);
        let order = self.vm.arg(self.args.scales);
        let each = self.s.order.unwrap_or_default();
        let masks = each.named().then(|| self.vm.arg(self.args.scales + 1));
        let ahead = self.s.ahead.then(|| {
            let x = self.vm.arg(self.args.ahead);
            self.vm.op(Op::ShlX { d: x, a: x, by: 2 });
            x
        });
        let ones = self.vm.v();
        self.vm.op(Op::Const {
            d: ones,
            bits: 0x0001_0001,
        });
        let l = Loop {
            a,
            row,
            rows,
            b,
            order,
            each,
            masks,
            ahead,
            ones,
        };
        let k = self.vm.arg(self.args.k);
        let (main, rest, done) = (self.vm.label(), self.vm.label(), self.vm.label());
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Lt,
            with: 2,
            to: rest,
        });
        self.vm.place(main);
        self.picked_steps(&l, 2);
        self.vm.add_i(k, -2);
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Ge,
            with: 2,
            to: main,
        });
        self.vm.place(rest);
        self.vm.op(Op::Branch {
            x: k,
            cond: Cond::Le,
            with: 0,
            to: done,
        });
        self.picked_steps(&l, 1);
        self.vm.place(done);
        self.vm.free(ones);
        let more = rows.into_iter().chain(ahead).chain(masks);
        for x in [a, row, b, order, k].into_iter().chain(more) {
            self.vm.free_x(x);
        }
    }

    fn picked_steps(&mut self, l: &Loop, count: usize) {
        let (m, cols) = (self.m(), self.cols);
        let [order, a, pairs] = [(); 3].map(|()| self.vm.v());
        let each = l.each.bytes() as i32;
        let distance = self.vm.x();
        let name = l.masks.map(|_| self.vm.x());
        let others = m.div_ceil(PER_BASE) - 1;
        let bases: Vec<X> = std::iter::once(l.a)
            .chain((0..others).map(|_| self.vm.x()))
            .collect();
        for step in 0..count {
            let at = Mem::at(l.order, step as i32 * each);
            let (mask, far) = match (l.masks, name) {
                (Some(masks), Some(name)) => {
                    self.mask_name(name, at, l.each);
                    let mask = Mem {
                        base: masks,
                        index: Some((name, 2)),
                        disp: 0,
                    };
                    (mask, at.plus(2))
                }
                _ => (at, at.plus(4)),
            };
            self.vm.op(Op::Splat { d: order, at: mask });
            match l.each {
                Order::Named => {
                    let (d, at) = (distance, at.plus(1));
                    self.vm.op(Op::LoadSmallX { d, at, bytes: 1 });
                    let by = BITS as u8 - 8;
                    self.vm.op(Op::ShrX { d, a: d, by });
                }
                each => {
                    let bytes = if each == Order::Bytes { 1 } else { 2 };
                    let (d, at) = (distance, far);
                    self.vm.op(Op::LoadSmallX { d, at, bytes });
                }
            }
            self.vm.add_x(l.a, distance, 0);
            if let Some(b) = l.rows {
                for pair in bases.windows(2) {
                    let (a, d) = (pair[0], pair[1]);
                    self.vm.op(Op::AddX { d, a, b, shift: 0 });
                }
            }
            let packed = (step as i64 * self.s.b_row) as i32 * 4;
            for i in 0..m {
                let index = match i % PER_BASE {
                    0 => None,
                    r => Some((l.row, r as u8 - 1)),
                };
                let base = bases[i / PER_BASE];
                let at = Mem {
                    base,
                    index,
                    disp: 0,
                };
                self.vm.op(Op::PickBytes { d: a, at, order });
                for j in 0..cols {
                    let weights = Src::Mem(Mem::at(l.b, packed + self.b_disp(j)));
                    self.vm.op(Op::PairBytes {
                        d: pairs,
                        a: weights,
                        b: a,
                    });
                    let d = self.acc(0, i, j);
                    self.multiply(d, Src::Reg(l.ones), pairs, Some(pairs));
                }
            }
            if let Some(x) = l.ahead {
                for line in (0..self.b_disp(cols)).step_by(64) {
                    self.vm.op(Op::Prefetch {
                        at: Mem {
                            base: l.b,
                            index: Some((x, 0)),
                            disp: packed + line,
                        },
                    });
                }
            }
        }
        self.vm.add_i(l.b, (count as i64 * self.s.b_row) as i32 * 4);
        self.vm.add_i(l.order, count as i32 * each);
        self.vm.free_all(&[order, a, pairs]);
        for x in bases.into_iter().skip(1).chain([distance]).chain(name) {
            self.vm.free_x(x);
        }
    }

    /// The number of a step's mask.
    fn mask_name(&mut self, d: X, at: Mem, each: Order) {
        self.vm.op(Op::LoadSmallX { d, at, bytes: 2 });
        if each == Order::Named {
            let mask = (1 << BITS) - 1;
            self.vm.op(Op::AndX { d, a: d, mask });
        }
    }
}
