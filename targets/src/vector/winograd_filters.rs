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
        let (row, [v, tmp]) = ([(); 3].map(|()| vm.v()), [(); 2].map(|()| vm.v()));
        let (t, mut ahead) = (s.m as usize + 2, 0);
        for i in 0..t {
            for (j, d) in row.iter().enumerate() {
                element(vm, t, i, window.map(|row| row[j]), *d, tmp);
            }
            for j in 0..t {
                element(vm, t, j, row, v, tmp);
                let index = match ahead {
                    0 => None,
                    n => Some((one, n - 1)),
                };
                let at = Mem {
                    base: q,
                    index,
                    disp: 0,
                };
                vm.store(v, at, Lanes::All, tmp);
                ahead += 1;
                if ahead == 3 {
                    vm.add_x(q, three, 0);
                    ahead = 0;
                }
            }
        }
        window.iter().for_each(|row| vm.free_all(row));
        vm.free_all(&row);
        vm.free_all(&[v, tmp]);
    });
    for x in [filters, planes, one, three, q] {
        vm.free_x(x);
    }
}

/// Element `n` of the `t` that a line of three becomes. `tmp` is clobbered.
fn element(vm: &mut Vm, t: usize, n: usize, [x, y, z]: [V; 3], d: V, tmp: V) {
    let add = |vm: &mut Vm, d, a, b| {
        let op = WordBin::Add;
        vm.op(Op::Words { op, d, a, b });
    };
    let take = |vm: &mut Vm, d, a, b| {
        let op = WordBin::Sub;
        vm.op(Op::Words { op, d, a, b });
    };
    match (t, n) {
        (4, 0 | 3) => {
            let end = if n == 0 { x } else { z };
            add(vm, d, end, end);
        }
        (4, _) => {
            add(vm, d, x, z);
            match n {
                1 => add(vm, d, d, y),
                _ => take(vm, d, d, y),
            }
        }
        // Six times.
        (_, 0 | 5) => {
            let end = if n == 0 { x } else { z };
            add(vm, d, end, end);
            add(vm, d, d, end);
            add(vm, d, d, d);
        }
        (_, 1) => {
            add(vm, d, x, z);
            add(vm, d, d, y);
            vm.op(Op::Zero { d: tmp });
            take(vm, d, tmp, d);
        }
        (_, 2) => {
            add(vm, d, x, z);
            take(vm, d, y, d);
        }
        // Twice (2 z + y) or (2 z - y), and x.
        _ => {
            add(vm, d, z, z);
            match n {
                3 => add(vm, d, d, y),
                _ => take(vm, d, d, y),
            }
            add(vm, d, d, d);
            add(vm, d, d, x);
        }
    }
}
