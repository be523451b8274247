//! Sums where a machine multiplies matrices: two rows of eight bytes by two columns of them.
//!
//! Rows of A are brought together in pairs as they are loaded, eight elements of each; B lies in pairs of columns. A register then holds the sums of two
//! rows and two columns, and those of two registers become four columns of each row before the tail.

use super::Template;
use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::strip::{Numbers, Start};

/// Bytes that are multiplied in one step.
const STEP: i32 = 8;

/// Vector registers that a tile of `m` rows and `cols` vectors holds while it sums.
pub fn registers(m: usize, cols: usize, split: usize) -> usize {
    let pairs = m.div_ceil(2);
    2 * pairs * cols * split + pairs + 2
}

impl Template<'_> {
    /// Whether matrices are multiplied.
    pub(super) fn by_matrices(&self) -> bool {
        self.s.numbers == Numbers::Matrices
    }
    /// Pairs of rows; the last may be one row.
    fn pairs(&self) -> usize {
        self.m().div_ceil(2)
    }
    /// Registers of sums of a chain.
    pub(super) fn sums_of_a_chain(&self) -> usize {
        match self.by_matrices() {
            true => 2 * self.pairs() * self.cols,
            false => self.m() * self.cols,
        }
    }

    /// The sums of all products, row by row as other templates have them.
    pub(super) fn matrix_sums(&mut self) {
        if self.s.start == Start::Sum {
            self.matrix_start();
        } else {
            self.start();
        }
        self.sums();
        let sums = std::mem::take(&mut self.acc);
        let cols = self.cols;
        let mut rows = vec![vec![]; 2 * self.pairs()];
        for (p, pair) in sums.chunks(2 * cols).enumerate() {
            for two in pair.chunks(2) {
                let [a, b] = [two[0], two[1]];
                let lo = self.vm.v();
                self.vm.op(Op::PairWords { lo, a, b });
                self.vm.free(b);
                rows[2 * p].push(lo);
                rows[2 * p + 1].push(a);
            }
        }
        // A row that is none.
        let none = rows.split_off(self.m());
        none.iter().for_each(|row| self.vm.free_all(row));
        self.acc = rows.concat();
    }

    /// Sums that start with what C holds.
    fn matrix_start(&mut self) {
        let (m, cols) = (self.m(), self.cols);
        let own = self.sums_of_a_chain();
        for &d in &self.acc[own..] {
            self.vm.op(Op::Zero { d });
        }
        let (bases, stride) = self.bases(self.args.c, self.args.c_row);
        let tmp = [self.vm.v(), self.vm.v()];
        for (p, j) in (0..self.pairs()).flat_map(|p| (0..cols).map(move |j| (p, j))) {
            let (lanes, first) = (self.lanes(j), 2 * (p * cols + j));
            let [d, high] = [self.acc[first], self.acc[first + 1]];
            for (r, to) in [(2 * p, tmp[0]), (2 * p + 1, tmp[1])] {
                match r < m {
                    true => {
                        let at = self.row(&bases, stride, r, self.disp(j));
                        self.vm.load(to, at, lanes);
                    }
                    false => self.vm.op(Op::Zero { d: to }),
                }
            }
            let [a, b] = tmp;
            self.vm.op(Op::PairWords { lo: d, a, b });
            self.vm.op(Op::Move { d: high, a });
        }
        self.vm.free_all(&tmp);
        self.drop_bases(bases, stride);
    }

    /// `count` steps of eight elements, the first being number `first` modulo the number of chains.
    pub(super) fn matrix_steps(
        &mut self,
        bases: &[X],
        stride: X,
        b: X,
        count: usize,
        first: usize,
    ) {
        let (m, cols, pairs) = (self.m(), self.cols, self.pairs());
        let own = self.sums_of_a_chain();
        let a = self.vm.vs(pairs);
        let second = self.vm.v();
        let turns = self.vm.spare().clamp(1, 4 * cols);
        let bs = self.vm.vs(turns);
        let signed = self.s.a_type == DType::I8;
        for step in 0..count {
            let chain = (first + step) % self.s.split as usize;
            let at = step as i32 * STEP;
            for (p, &d) in a.iter().enumerate() {
                let half = Lanes::First(2);
                let upper = self.row(bases, stride, 2 * p, at);
                self.vm.load(d, upper, half);
                // A row without another has zeros beside it, as a load leaves them.
                if 2 * p + 1 < m {
                    let lower = self.row(bases, stride, 2 * p + 1, at);
                    self.vm.load(second, lower, half);
                    self.vm.op(Op::Halves { d, a: d, b: second });
                }
            }
            let packed = step as i32 * self.s.b_row as i32 * STEP;
            for j in 0..2 * cols {
                let v = bs[(step * 2 * cols + j) % turns];
                self.vm
                    .load(v, Mem::at(b, packed + 16 * j as i32), Lanes::All);
                for (p, &x) in a.iter().enumerate() {
                    let d = self.acc[chain * own + 2 * p * cols + j];
                    self.vm.op(Op::Matrix {
                        d,
                        a: x,
                        b: v,
                        signed,
                    });
                }
            }
            if let Some(x) = self.ahead {
                for line in (0..2 * 16 * cols as i32).step_by(64) {
                    self.vm.op(Op::Prefetch {
                        at: Mem {
                            base: b,
                            index: Some((x, 0)),
                            disp: packed + line,
                        },
                    });
                }
            }
        }
        self.vm.free_all(&a);
        self.vm.free(second);
        self.vm.free_all(&bs);
    }
}
