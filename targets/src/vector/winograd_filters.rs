//! The template of contract `winograd_filters_words`: one vector of words after the other, the nine weights of its windows in registers.

use super::build::Vm;
use super::ir::*;
use super::winograd::times;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::winograd_filters::{Filters, TAPS};
use onnxc_compiler::loops::ir::Callee;

const FILTERS: u8 = 0;
const PLANES: u8 = 1;
const COUNT: u8 = 2;
const PLANE: u8 = 3;
const ARGS: u8 = 4;

/// The program of a transform of weights.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Filters::of(callee)
        .filter(|s| s.lanes == 2 * isa.lanes as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut vm = Vm::new(isa, ARGS);
    let count = vm.arg(COUNT);
    vm.when(count, Cond::Gt, 0, |vm| vectors(vm, &s, count));
    vm.finish()
}

fn vectors(vm: &mut Vm, s: &Filters, count: X) {
    let (filters, planes) = (vm.arg(FILTERS), vm.arg(PLANES));
    let one = vm.arg(PLANE);
    vm.op(Op::ShlX {
        d: one,
        a: one,
        by: 1,
    });
    let three = times(vm, one, 3);
    let q = vm.x();
    let (elem, size) = match s.stored {
        DType::I8 => (Elem::I8x2, s.lanes as i32),
        _ => (Elem::W32, 2 * s.lanes as i32),
    };
    vm.repeat(count, 1, |vm| {
        let window: [[V; 3]; 3] = [0, 1, 2].map(|row| {
            [0, 1, 2].map(|column| {
                let d = vm.v();
                vm.op(Op::Load {
                    d,
                    at: Mem::at(filters, (3 * row + column) * size),
                    elem,
                    lanes: Lanes::All,
                });
                d
            })
        });
        vm.add_i(filters, TAPS as i32 * size);
        vm.op(Op::MoveX { d: q, a: planes });
        vm.add_i(planes, 2 * s.lanes as i32);
        let row = [(); 3].map(|()| vm.v());
        let t = s.m as usize + 2;
        let mut to = To {
            q,
            planes: [one, three],
            ahead: 0,
            tmp: vm.v(),
        };
        for i in 0..t {
            for (j, d) in row.iter().enumerate() {
                element(vm, t, i, window.map(|row| row[j]), *d);
            }
            match t {
                6 => row_of_six(vm, row, &mut to),
                _ => row_of_four(vm, row, &mut to),
            }
        }
        window.iter().for_each(|row| vm.free_all(row));
        vm.free_all(&row);
        vm.free(to.tmp);
    });
    for x in [filters, planes, one, three, q] {
        vm.free_x(x);
    }
}

/// Where words go: one plane after the other.
struct To {
    /// The plane that is written next, less those that are `ahead`.
    q: X,
    /// One plane and three.
    planes: [X; 2],
    ahead: u8,
    tmp: V,
}

impl To {
    fn put(&mut self, vm: &mut Vm, v: V) {
        let [one, three] = self.planes;
        let at = Mem {
            base: self.q,
            index: (self.ahead > 0).then(|| (one, self.ahead - 1)),
            disp: 0,
        };
        vm.store(v, at, Lanes::All, self.tmp);
        self.ahead += 1;
        if self.ahead == 3 {
            vm.add_x(self.q, three, 0);
            self.ahead = 0;
        }
    }
}

fn words(vm: &mut Vm, op: WordBin, d: V, a: V, b: V) {
    vm.op(Op::Words { op, d, a, b });
}

fn row_of_four(vm: &mut Vm, row: [V; 3], to: &mut To) {
    let v = vm.v();
    for j in 0..4 {
        element(vm, 4, j, row, v);
        to.put(vm, v);
    }
    vm.free(v);
}

/// The same as six times [`element`], with sums that two of them have in common.
fn row_of_six(vm: &mut Vm, [x, y, z]: [V; 3], to: &mut To) {
    use WordBin::{Add, Sub};
    let [v, t] = [vm.v(), vm.v()];
    element(vm, 6, 0, [x, y, z], v);
    to.put(vm, v);
    words(vm, Add, t, x, z);
    words(vm, Add, v, t, y);
    to.put(vm, v);
    words(vm, Sub, v, y, t);
    to.put(vm, v);
    words(vm, Add, t, z, z);
    for op in [Add, Sub] {
        words(vm, op, v, t, y);
        words(vm, Add, v, v, v);
        words(vm, Add, v, v, x);
        to.put(vm, v);
    }
    words(vm, Add, v, t, z);
    words(vm, Add, v, v, v);
    to.put(vm, v);
    vm.free_all(&[v, t]);
}

/// Element `n` of the `t` that a line of three becomes.
fn element(vm: &mut Vm, t: usize, n: usize, [x, y, z]: [V; 3], d: V) {
    use WordBin::{Add, Sub};
    let end = if n == 0 { x } else { z };
    match (t, n) {
        (4, 0 | 3) => words(vm, Add, d, end, end),
        (4, _) => {
            words(vm, Add, d, x, z);
            words(vm, if n == 1 { Add } else { Sub }, d, d, y);
        }
        // Six times.
        (_, 0 | 5) => {
            words(vm, Add, d, end, end);
            words(vm, Add, d, d, end);
            words(vm, Add, d, d, d);
        }
        (_, 1) => {
            words(vm, Add, d, x, z);
            words(vm, Add, d, d, y);
        }
        (_, 2) => {
            words(vm, Add, d, x, z);
            words(vm, Sub, d, y, d);
        }
        // Twice (2 z + y) or (2 z - y), and x.
        _ => {
            words(vm, Add, d, z, z);
            words(vm, if n == 3 { Add } else { Sub }, d, d, y);
            words(vm, Add, d, d, d);
            words(vm, Add, d, d, x);
        }
    }
}
