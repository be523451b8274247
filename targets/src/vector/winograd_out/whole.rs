//! The output transform of i32 sums, exact modulo 2^32 up to the last step.

use super::{Bases, Template};
use crate::vector::build::Vm;
use crate::vector::ir::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::contracts::winograd_exact::{NINTH, shifts};

impl Template<'_> {
    /// One vector of columns.
    pub(super) fn vector_of_whole(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        if self.s.m == 2 {
            let (x, y) = self.down(b, 4, &|t, p, x, y| {
                let [m0, m1, m2, m3] = [0, 1, 2, 3].map(|i| t.at(b, p, i));
                let vm = &mut t.vm;
                vm.load(x, m1, Lanes::All);
                let two = vm.v();
                vm.load(two, m2, Lanes::All);
                vm.bin(Bin::SubI, y, x, two);
                vm.bin(Bin::AddI, x, x, two);
                vm.bin(Bin::AddI, x, x, Src::Mem(m0));
                vm.bin(Bin::AddI, y, y, Src::Mem(m3));
                vm.free(two);
            });
            return self.two_rows(b, [(0, x), (1, y)], lanes);
        }
        let (x, y) = self.down(b, 6, &|t, p, x, y| {
            let [m0, m1, m2, m3, m4] = [0, 1, 2, 3, 4].map(|i| t.at(b, p, i));
            let vm = &mut t.vm;
            let s = vm.v();
            vm.load(x, m1, Lanes::All);
            vm.bin(Bin::AddI, x, x, Src::Mem(m2));
            vm.load(s, m3, Lanes::All);
            vm.bin(Bin::AddI, s, s, Src::Mem(m4));
            vm.bin(Bin::AddI, y, x, s);
            left(vm, x, x, 2);
            vm.bin(Bin::AddI, s, s, Src::Mem(m0));
            vm.bin(Bin::AddI, x, x, s);
            vm.free(s);
        });
        self.two_rows(b, [(0, x), (2, y)], lanes)?;
        let (x, y) = self.down(b, 6, &|t, p, x, y| {
            let [m1, m2, m3, m4, m5] = [1, 2, 3, 4, 5].map(|i| t.at(b, p, i));
            let vm = &mut t.vm;
            let (d1, d2) = (vm.v(), vm.v());
            vm.load(d1, m1, Lanes::All);
            vm.bin(Bin::SubI, d1, d1, Src::Mem(m2));
            vm.load(d2, m3, Lanes::All);
            vm.bin(Bin::SubI, d2, d2, Src::Mem(m4));
            vm.bin(Bin::AddI, y, d1, Src::Mem(m5));
            vm.bin(Bin::AddI, x, d1, d1);
            vm.bin(Bin::AddI, x, x, d2);
            vm.bin(Bin::AddI, d2, d2, d2);
            vm.bin(Bin::AddI, y, y, d2);
            vm.free(d1);
            vm.free(d2);
        });
        self.two_rows(b, [(1, x), (3, y)], lanes)
    }

    /// A row of values to the results of row `r` of the tile. Takes the registers.
    pub(super) fn row_of_whole(&mut self, r: i32, v: Vec<V>) -> Vec<V> {
        let vm = &mut self.vm;
        let d = vm.v();
        vm.bin(Bin::SubI, d, v[1], v[2]);
        vm.bin(Bin::AddI, v[1], v[1], v[2]);
        let results = if self.s.m == 2 {
            vm.bin(Bin::AddI, v[0], v[0], v[1]);
            vm.bin(Bin::AddI, d, d, v[3]);
            vm.free_all(&v[1..]);
            vec![v[0], d]
        } else {
            vm.bin(Bin::SubI, v[2], v[3], v[4]);
            vm.bin(Bin::AddI, v[3], v[3], v[4]);
            // Twice the first difference and the second; the first, twice the second and the last.
            vm.bin(Bin::AddI, v[4], d, d);
            vm.bin(Bin::AddI, v[4], v[4], v[2]);
            vm.bin(Bin::AddI, v[5], v[5], d);
            vm.bin(Bin::AddI, v[2], v[2], v[2]);
            vm.bin(Bin::AddI, v[5], v[5], v[2]);
            // Four times the first sum, the second, and what stands before; both sums.
            left(vm, d, v[1], 2);
            vm.bin(Bin::AddI, v[0], v[0], v[3]);
            vm.bin(Bin::AddI, v[0], v[0], d);
            vm.bin(Bin::AddI, v[1], v[1], v[3]);
            vm.free(d);
            vm.free(v[2]);
            vm.free(v[3]);
            vec![v[0], v[4], v[1], v[5]]
        };
        let by = shifts(self.s.m);
        for (column, &x) in results.iter().enumerate() {
            if self.s.m == 4 {
                ninth(vm, x);
            }
            vm.op(Op::Shift {
                op: Shift::Right,
                d: x,
                a: x,
                by: by[r as usize] + by[column],
            });
        }
        results
    }
}

fn left(vm: &mut Vm, d: V, a: V, by: u8) {
    let op = Shift::Left;
    vm.op(Op::Shift { op, d, a, by });
}

/// `x / 9`, where that is whole modulo 2^32.
fn ninth(vm: &mut Vm, x: V) {
    let product = Op::Bin {
        op: Bin::MulI,
        d: x,
        a: x,
        b: Src::Const(NINTH as u32),
    };
    if vm.isa.has(&product) {
        return vm.op(product);
    }
    // 1 / (1 + 8) is (1 - 8) (1 + 8^2) (1 + 8^4) (1 + 8^8), as 8^16 is 0.
    let t = vm.v();
    for (op, by) in [
        (Bin::SubI, 3),
        (Bin::AddI, 6),
        (Bin::AddI, 12),
        (Bin::AddI, 24),
    ] {
        left(vm, t, x, by);
        vm.bin(op, x, x, t);
    }
    vm.free(t);
}
