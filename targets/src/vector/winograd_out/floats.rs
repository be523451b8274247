//! The output transform of floats.

use super::{Bases, Template};
use crate::vector::ir::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::contracts::winograd_tiles::FACTORS;

/// Numbers that are multiplied by.
pub(super) fn numbers() -> [f32; 6] {
    let f = &FACTORS;
    let [a, b] = [0, 1].map(|i| [f.p[i], f.squares[i], f.cubes[i]]);
    [a[0], b[0], a[1], b[1], a[2], b[2]]
}

impl Template<'_> {
    /// One vector of columns.
    pub(super) fn vector_of_floats(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        if self.s.m == 2 {
            let (x, y) = self.down(b, 4, &|t, p, x, y| {
                let [m0, m1, m2, m3] = [0, 1, 2, 3].map(|i| t.at(b, p, i));
                let vm = &mut t.vm;
                vm.load(x, m1, Lanes::All);
                let two = vm.v();
                vm.load(two, m2, Lanes::All);
                vm.bin(Bin::Sub, y, x, two);
                vm.bin(Bin::Add, x, x, two);
                vm.bin(Bin::Add, x, x, Src::Mem(m0));
                vm.bin(Bin::Add, y, y, Src::Mem(m3));
                vm.free(two);
            });
            return self.two_rows(b, [(0, x), (1, y)], lanes);
        }
        let f = &FACTORS;
        self.k.hold(&mut self.vm, &[f.squares[0], f.squares[1]], 14);
        let (x, y) = self.down(b, 6, &|t, p, x, y| {
            let [m0, m1, m2, m3, m4] = [0, 1, 2, 3, 4].map(|i| t.at(b, p, i));
            let vm = &mut t.vm;
            let s = vm.v();
            vm.load(x, m1, Lanes::All);
            vm.bin(Bin::Add, x, x, Src::Mem(m2));
            vm.load(s, m3, Lanes::All);
            vm.bin(Bin::Add, s, s, Src::Mem(m4));
            vm.bin(Bin::Mul, y, x, t.k.src(f.squares[0]));
            vm.fma(y, s, t.k.src(f.squares[1]));
            vm.bin(Bin::Add, x, x, Src::Mem(m0));
            vm.bin(Bin::Add, x, x, s);
            vm.free(s);
        });
        self.k.release(&mut self.vm);
        self.two_rows(b, [(0, x), (2, y)], lanes)?;
        let (x, y) = self.down(b, 6, &|t, p, x, y| {
            let [m1, m2, m3, m4, m5] = [1, 2, 3, 4, 5].map(|i| t.at(b, p, i));
            let vm = &mut t.vm;
            let (d1, d2) = (vm.v(), vm.v());
            vm.load(d1, m1, Lanes::All);
            vm.bin(Bin::Sub, d1, d1, Src::Mem(m2));
            vm.load(d2, m3, Lanes::All);
            vm.bin(Bin::Sub, d2, d2, Src::Mem(m4));
            vm.load(y, m5, Lanes::All);
            vm.bin(Bin::Mul, x, d1, t.k.src(f.p[0]));
            vm.fma(x, d2, t.k.src(f.p[1]));
            vm.fma(y, d1, t.k.src(f.cubes[0]));
            vm.fma(y, d2, t.k.src(f.cubes[1]));
            vm.free(d1);
            vm.free(d2);
        });
        self.two_rows(b, [(1, x), (3, y)], lanes)
    }

    /// A row of values to results. Takes the registers.
    pub(super) fn row_of_floats(&mut self, v: Vec<V>) -> Vec<V> {
        let k = |t: &Self, i: usize| t.k.src(numbers()[i]);
        if self.s.m == 2 {
            let vm = &mut self.vm;
            let d = vm.v();
            vm.bin(Bin::Sub, d, v[1], v[2]);
            vm.bin(Bin::Add, v[1], v[1], v[2]);
            vm.bin(Bin::Add, v[0], v[0], v[1]);
            vm.bin(Bin::Add, d, d, v[3]);
            vm.free_all(&v[1..]);
            vec![v[0], d]
        } else {
            let [p, q, p2, q2, p3, q3] = [0, 1, 2, 3, 4, 5].map(|i| k(self, i));
            let vm = &mut self.vm;
            let d = vm.v();
            vm.bin(Bin::Sub, d, v[1], v[2]);
            vm.bin(Bin::Add, v[1], v[1], v[2]);
            vm.bin(Bin::Sub, v[2], v[3], v[4]);
            vm.bin(Bin::Add, v[3], v[3], v[4]);
            vm.bin(Bin::Add, v[0], v[0], v[1]);
            vm.bin(Bin::Add, v[0], v[0], v[3]);
            vm.bin(Bin::Mul, v[4], d, p);
            vm.fma(v[4], v[2], q);
            vm.bin(Bin::Mul, v[1], v[1], p2);
            vm.fma(v[1], v[3], q2);
            vm.fma(v[5], d, p3);
            vm.fma(v[5], v[2], q3);
            vm.free(d);
            vm.free(v[2]);
            vm.free(v[3]);
            vec![v[0], v[4], v[1], v[5]]
        }
    }
}
