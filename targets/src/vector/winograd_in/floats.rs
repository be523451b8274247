//! The input transform of floats. It makes one row of results, or the two of a pair of points, at a time, so that nothing is spilled: elements
//! are loaded up to three times.

use super::{Bases, Template, WORK};
use crate::vector::ir::*;
use onnxc_compiler::contracts::winograd_tiles::FACTORS;

/// What is multiplied by, the ends' first.
pub(super) fn numbers() -> [f32; 6] {
    let f = &FACTORS;
    [
        f.product,
        -f.sum,
        -f.squares[1],
        -f.squares[0],
        f.p[0],
        f.p[1],
    ]
}

impl Template<'_> {
    pub(super) fn vector_of_two(&mut self, b: &Bases) {
        // Rows of results as a combination of two rows of elements.
        for (x, y, op) in [
            (0, 2, Bin::Sub),
            (2, 1, Bin::Add),
            (2, 1, Bin::Sub),
            (3, 1, Bin::Sub),
        ] {
            let v = self.vm.vs(4);
            for (j, d) in v.iter().enumerate() {
                let (x, y) = (self.at(b, x, j), self.at(b, y, j));
                self.vm.load(*d, x, Lanes::All);
                self.vm.bin(op, *d, *d, Src::Mem(y));
            }
            let vm = &mut self.vm;
            let t = vm.v();
            vm.bin(Bin::Sub, v[0], v[0], v[2]);
            vm.bin(Bin::Add, t, v[2], v[1]);
            vm.bin(Bin::Sub, v[2], v[2], v[1]);
            vm.bin(Bin::Sub, v[3], v[3], v[1]);
            for (k, v) in [v[0], t, v[2]].into_iter().enumerate() {
                self.put(b, v, k);
            }
            self.vm.add_x(b.q, b.planes[1], 0);
            self.put(b, v[3], 0);
            self.vm.add_x(b.q, b.planes[0], 0);
            self.vm.free_all(&v);
            self.vm.free(t);
        }
    }

    pub(super) fn vector_of_four(&mut self, b: &Bases) {
        let f = &FACTORS;
        self.end(b, [0, 2, 4]);
        for (point, other) in [(f.p[0], f.squares[1]), (f.p[1], f.squares[0])] {
            self.pair(b, point, other);
        }
        self.end(b, [1, 3, 5]);
    }

    /// The row of the point 0 or infinity, from three rows of elements.
    fn end(&mut self, b: &Bases, [x, y, z]: [usize; 3]) {
        let f = &FACTORS;
        self.k.hold(&mut self.vm, &numbers(), 6 + WORK);
        let v = self.vm.vs(6);
        for (j, d) in v.iter().enumerate() {
            let [x, y, z] = [x, y, z].map(|i| self.at(b, i, j));
            self.vm.load(*d, z, Lanes::All);
            self.k.fma_mem(&mut self.vm, *d, -f.sum, y);
            self.k.fma_mem(&mut self.vm, *d, f.product, x);
        }
        self.row(b, v);
        self.k.release(&mut self.vm);
    }

    /// The rows of a point and its negative.
    fn pair(&mut self, b: &Bases, point: f32, other: f32) {
        self.k.hold(&mut self.vm, &[-other, point], 12 + WORK - 3);
        let (mut plus, mut minus) = (vec![], vec![]);
        for j in 0..6 {
            let [one, two, three, four] = [1, 2, 3, 4].map(|i| self.at(b, i, j));
            let (even, odd) = (self.vm.v(), self.vm.v());
            self.vm.load(even, four, Lanes::All);
            self.k.fma_mem(&mut self.vm, even, -other, two);
            self.vm.load(odd, three, Lanes::All);
            self.k.fma_mem(&mut self.vm, odd, -other, one);
            self.vm.bin(Bin::Mul, odd, odd, self.k.src(point));
            let d = self.vm.v();
            self.vm.bin(Bin::Add, d, even, odd);
            self.vm.bin(Bin::Sub, even, even, odd);
            self.vm.free(odd);
            plus.push(d);
            minus.push(even);
        }
        self.k.release(&mut self.vm);
        self.row(b, plus);
        self.k.hold(&mut self.vm, &numbers(), WORK);
        self.row(b, minus);
        self.k.release(&mut self.vm);
    }

    /// A row of six becomes six results, which are stored. Takes the registers.
    fn row(&mut self, b: &Bases, v: Vec<V>) {
        let f = &FACTORS;
        let n = numbers();
        let [product, sum] = [n[0], n[1]].map(|x| self.k.src(x));
        let vm = &mut self.vm;
        let x = vm.v();
        vm.op(Op::Move { d: x, a: v[4] });
        vm.fma(x, v[2], sum);
        vm.fma(x, v[0], product);
        vm.free(v[0]);
        self.put(b, x, 0);
        let vm = &mut self.vm;
        vm.free(x);
        let (even, odd) = (vm.v(), vm.v());
        vm.op(Op::Move { d: even, a: v[4] });
        vm.op(Op::Move { d: odd, a: v[3] });
        self.points(even, odd, [v[2], v[1]], f.p[0], f.squares[1]);
        self.both(b, even, odd, 1);
        self.vm.add_x(b.q, b.planes[1], 0);
        let vm = &mut self.vm;
        vm.free(even);
        vm.free(odd);
        vm.fma(v[5], v[3], sum);
        vm.fma(v[5], v[1], product);
        self.put(b, v[5], 2);
        self.vm.free(v[5]);
        self.points(v[4], v[3], [v[2], v[1]], f.p[1], f.squares[0]);
        self.vm.free(v[2]);
        self.vm.free(v[1]);
        self.both(b, v[4], v[3], 0);
        self.vm.free(v[4]);
        self.vm.free(v[3]);
        self.vm.add_x(b.q, b.planes[1], 0);
    }

    /// Even and odd parts at a point.
    fn points(&mut self, even: V, odd: V, v: [V; 2], point: f32, other: f32) {
        let other = self.k.src(-other);
        self.vm.fma(even, v[0], other);
        self.vm.fma(odd, v[1], other);
        let point = self.k.src(point);
        self.vm.bin(Bin::Mul, odd, odd, point);
    }

    /// Stores sum and difference.
    fn both(&mut self, b: &Bases, even: V, odd: V, k: usize) {
        let x = self.vm.v();
        self.vm.bin(Bin::Add, x, even, odd);
        self.put(b, x, k);
        self.vm.bin(Bin::Sub, even, even, odd);
        self.put(b, even, k + 1);
        self.vm.free(x);
    }
}
