//! The input transform of bytes, exact in words. Columns go to the frame, from where rows are taken; a line takes additions alone.

use super::{Bases, Template};
use crate::vector::build::Vm;
use crate::vector::ir::*;
use onnxc_compiler::contracts::winograd_exact::of_ones;

impl Template<'_> {
    /// One vector of channels, two in each lane.
    pub(super) fn vector_of_words(&mut self, b: &Bases, signed: bool, zero: i64) {
        let t = self.t();
        let elem = if signed { Elem::I8x2 } else { Elem::U8x2 };
        if self.slots.is_empty() {
            self.slots = (0..t * t).map(|_| self.vm.slot()).collect();
        }
        for j in 0..t {
            let v = self.vm.vs(t);
            for (i, &d) in v.iter().enumerate() {
                let at = self.at(b, i, j);
                let lanes = Lanes::All;
                self.vm.op(Op::Load { d, at, elem, lanes });
            }
            let done = line(&mut self.vm, v);
            for (i, s) in done.iter().enumerate() {
                let slot = self.slots[i * t + j];
                self.vm.op(Op::Spill { s: *s, slot });
            }
            self.vm.free_all(&done);
        }
        for i in 0..t {
            let v = self.vm.vs(t);
            for (j, &d) in v.iter().enumerate() {
                let slot = self.slots[i * t + j];
                self.vm.op(Op::Fill { d, slot });
            }
            let done = line(&mut self.vm, v);
            let off = (zero * of_ones(self.s.m)) as u16;
            if i == 1 && off != 0 {
                let c = self.vm.v();
                let bits = u32::from(off) * 0x0001_0001;
                self.vm.op(Op::Const { d: c, bits });
                take(&mut self.vm, done[1], done[1], c);
                self.vm.free(c);
            }
            // From the current plane two are in reach.
            for (j, &v) in done.iter().enumerate() {
                self.put(b, v, j % 3);
                if j % 3 == 2 {
                    self.vm.add_x(b.q, b.planes[1], 0);
                }
            }
            if t % 3 == 1 {
                self.vm.add_x(b.q, b.planes[0], 0);
            }
            self.vm.free_all(&done);
        }
    }
}

fn add(vm: &mut Vm, d: V, a: V, b: V) {
    let op = WordBin::Add;
    vm.op(Op::Words { op, d, a, b });
}

/// `d = a - b`.
fn take(vm: &mut Vm, d: V, a: V, b: V) {
    let op = WordBin::Sub;
    vm.op(Op::Words { op, d, a, b });
}

/// A line of elements becomes a line of as many. Takes the registers, and gives others.
fn line(vm: &mut Vm, d: Vec<V>) -> Vec<V> {
    if d.len() == 4 {
        take(vm, d[0], d[0], d[2]);
        let sum = vm.v();
        add(vm, sum, d[2], d[1]);
        take(vm, d[2], d[2], d[1]);
        take(vm, d[3], d[3], d[1]);
        vm.free(d[1]);
        return vec![d[0], sum, d[2], d[3]];
    }
    // Four times an element is added up to.
    let four = |vm: &mut Vm, to: V, x: V| {
        add(vm, to, x, x);
        add(vm, to, to, to);
    };
    let [even, odd] = [vm.v(), vm.v()];
    four(vm, even, d[2]);
    four(vm, odd, d[1]);
    // 4 d2 - d4 and 4 d1 - d3; d4 - d2 and twice d3 - d1.
    take(vm, even, even, d[4]);
    take(vm, odd, odd, d[3]);
    take(vm, d[4], d[4], d[2]);
    take(vm, d[1], d[3], d[1]);
    add(vm, d[1], d[1], d[1]);
    // 4 (d0 - d2) + (d4 - d2), and (d5 - d3) - 4 (d3 - d1).
    take(vm, d[0], d[0], d[2]);
    four(vm, d[0], d[0]);
    add(vm, d[0], d[0], d[4]);
    take(vm, d[5], d[5], d[3]);
    take(vm, d[5], d[5], d[1]);
    take(vm, d[5], d[5], d[1]);
    // Sums and differences.
    add(vm, d[2], even, odd);
    take(vm, even, odd, even);
    add(vm, d[3], d[4], d[1]);
    take(vm, d[4], d[4], d[1]);
    vm.free(odd);
    vm.free(d[1]);
    vec![d[0], d[2], even, d[3], d[4], d[5]]
}
