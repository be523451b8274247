//! The template of `sparse_in`: four channels of a vector of pixels at a time, by quarters.

use super::row;
use crate::vector::build::Vm;
use crate::vector::ir::*;
use crate::vector::tail;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::sparse::numbers::{Near, Numbers};
use onnxc_compiler::contracts::sparse::tiles::In;
use onnxc_compiler::loops::ir::Callee;

/// The program.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = In::of(callee).ok_or_else(|| {
        Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
    })?;
    // Arguments: a, t, a_row, quads.
    let mut vm = Vm::new(isa, 4);
    let elem = match s.numbers {
        Numbers::Near(Near::Pairs) if s.a_type == DType::I8 => Elem::I8x2,
        Numbers::Near(Near::Pairs) => Elem::U8x2,
        Numbers::Near(_) => Elem::W32,
        _ => tail::elem(s.a_type),
    };
    // Bytes of an element of A, and of what becomes a lane.
    let bytes = s.a_type.size() as i32;
    let lane = bytes * s.numbers.width() as i32;
    let shifted = match s.numbers {
        Numbers::Near(near) => near.shift(s.a_type) != 0,
        _ => false,
    };
    let (to, to_bytes) = match s.numbers {
        Numbers::Floats => (Elem::W32, 4),
        Numbers::Words(_) => (Elem::I16, 2),
        Numbers::Near(_) => (Elem::W32, 4),
    };
    let pitch = s.pitch as i32 * to_bytes;
    let end = vm.label();
    let quads = vm.arg(3);
    vm.op(Op::Branch {
        x: quads,
        cond: Cond::Le,
        with: 0,
        to: end,
    });
    vm.free_x(quads);
    let stride = vm.arg(2);
    if bytes > 1 {
        vm.op(Op::ShlX {
            d: stride,
            a: stride,
            by: 2,
        });
    }
    let base = vm.arg(0);
    for v in 0..(s.pixels as usize).div_ceil(isa.lanes) {
        let here = (s.pixels as usize - v * isa.lanes).min(isa.lanes);
        let a = vm.x();
        vm.op(Op::MoveX { d: a, a: base });
        let t = vm.arg(1);
        vm.add_i(t, (v * isa.lanes) as i32 * to_bytes);
        let quads = vm.arg(3);
        // A base for every three rows.
        let mut bases = vec![a];
        for _ in (3..here).step_by(3) {
            let d = vm.x();
            let last = bases[bases.len() - 1];
            vm.op(Op::AddX {
                d,
                a: last,
                b: stride,
                shift: 1,
            });
            vm.add_x(d, stride, 0);
            bases.push(d);
        }
        // As many lines as the channels of as many pixels take.
        let ahead = s.ahead.then(|| {
            let d = vm.x();
            let count = s.pixels + (v * isa.lanes) as i64;
            vm.op(Op::SetX { d, value: count });
            vm.op(Op::MulX { d, a: d, b: stride });
            vm.add_arg(d, 0, 0);
            d
        });
        vm.repeat(quads, 1, |vm| {
            if let Some(x) = ahead {
                let bytes = here as i32 * 4 * lane;
                for line in (0..bytes).step_by(64) {
                    vm.op(Op::Prefetch {
                        at: Mem::at(x, line),
                    });
                }
                vm.add_i(x, bytes);
            }
            let four = [vm.v(), vm.v(), vm.v(), vm.v()];
            let tmp = [vm.v(), vm.v()];
            for (r, &d) in four.iter().enumerate() {
                if r >= here {
                    vm.op(Op::Zero { d });
                }
                for part in 0..isa.lanes / 4 {
                    let i = part * 4 + r;
                    if i >= here {
                        continue;
                    }
                    let at = row(vm, bases[i / 3], stride, i % 3, a);
                    vm.op(Op::LoadQuad {
                        d,
                        at,
                        part: part as u8,
                        elem,
                        tmp: tmp[0],
                    });
                }
            }
            if shifted {
                // 128 more or less, in each byte.
                for &d in &four {
                    vm.bin(Bin::Xor, d, d, Src::Const(0x8080_8080));
                }
            }
            vm.op(Op::Transpose { v: four, tmp });
            for (c, &s) in four.iter().enumerate() {
                vm.op(Op::Store {
                    s,
                    at: Mem::at(t, c as i32 * pitch),
                    elem: to,
                    lanes: Lanes::All,
                    tmp: tmp[0],
                });
            }
            vm.free_all(&four);
            vm.free_all(&tmp);
            for &x in &bases {
                vm.add_i(x, 4 * lane);
            }
            vm.add_i(t, 4 * pitch);
        });
        for x in bases.into_iter().chain([t, quads]).chain(ahead) {
            vm.free_x(x);
        }
        if (v + 1) * isa.lanes < s.pixels as usize {
            let by = vm.x();
            vm.op(Op::ShlX {
                d: by,
                a: stride,
                by: isa.lanes.trailing_zeros() as u8,
            });
            vm.add_x(base, by, 0);
            vm.free_x(by);
        }
    }
    vm.place(end);
    vm.finish()
}
