//! Rows of a matrix: which address registers reach them.

use super::Template;
use crate::vector::ir::*;

impl Template<'_> {
    /// Base registers for all rows of a matrix, and the row distance in bytes.
    pub(super) fn bases(&mut self, pointer: u8, row: u8) -> (Vec<X>, X) {
        let stride = self.vm.arg(row);
        let by = if pointer == self.args.a {
            self.element_shift()
        } else {
            2
        };
        self.vm.op(Op::ShlX {
            d: stride,
            a: stride,
            by,
        });
        let mut bases = vec![self.vm.arg(pointer)];
        let per = self.rows_per_base();
        for _ in 1..self.m().div_ceil(per) {
            let last = bases[bases.len() - 1];
            let d = self.vm.x();
            self.vm.op(Op::AddX {
                d,
                a: last,
                b: stride,
                shift: u8::from(per > 1),
            });
            if per == 3 {
                self.vm.add_x(d, stride, 0);
            }
            bases.push(d);
        }
        (bases, stride)
    }
    /// Rows that are reached from one register: what a load can add to it of its own.
    fn rows_per_base(&self) -> usize {
        match (self.by_matrices(), self.vm.isa.by_lane) {
            (true, _) => 1,
            (_, by_lane) => 3 - usize::from(by_lane),
        }
    }
    /// Where row `i` lies, `disp` bytes on.
    pub(super) fn row(&self, bases: &[X], stride: X, i: usize, disp: i32) -> Mem {
        let per = self.rows_per_base();
        Mem {
            base: bases[i / per],
            index: match i % per {
                0 => None,
                r => Some((stride, r as u8 - 1)),
            },
            disp,
        }
    }
    /// Gives the registers back.
    pub(super) fn drop_bases(&mut self, bases: Vec<X>, stride: X) {
        bases.into_iter().for_each(|x| self.vm.free_x(x));
        self.vm.free_x(stride);
    }
}
