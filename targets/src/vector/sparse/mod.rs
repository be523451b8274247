//! The templates of contracts `sparse_in`, `sparse_strip` and `sparse_out`, and of the same over words.

pub mod across;
pub mod rows_in;
pub mod rows_out;
pub mod strip;

use super::build::Vm;
use super::ir::*;

/// The place of row `i` of a matrix: `base + i * stride` bytes. A row far away needs a sum in `tmp`.
fn row(vm: &mut Vm, base: X, stride: X, i: usize, tmp: X) -> Mem {
    // The address takes one power of two itself, up to 8.
    let (mut from, mut rest) = (base, i);
    loop {
        let bit = match rest {
            0 => return Mem::at(from, 0),
            1 => 0,
            2 | 3 => 1,
            4..8 => 2,
            _ => 3,
        };
        rest -= 1 << bit;
        if rest == 0 {
            return Mem {
                base: from,
                index: Some((stride, bit)),
                disp: 0,
            };
        }
        vm.op(Op::AddX {
            d: tmp,
            a: from,
            b: stride,
            shift: bit,
        });
        from = tmp;
    }
}
