//! Constants of a tail that wait in registers: every vector of a tile has the same tail, and what each reads from memory adds up to more than a core loads.

use super::weaves;
use crate::vector::build::Vm;
use onnxc_compiler::loops::ir::{BinOp, Const};
use onnxc_compiler::loops::tail::{Node, Tail};

/// Has as many constants of a tail in registers as leave `need` and `more` for the tail of the next vector, those that are used most first. To be called
/// before each vector or several: the registers of sums that are done serve those that follow.
pub fn hold(vm: &mut Vm, tail: &Tail, need: usize, more: usize) {
    // Tails that are woven want registers of their own more.
    let others = match weaves(tail, &vm.isa) {
        true => super::ABREAST,
        false => 1,
    };
    let keep = others * need + more;
    for bits in constants(tail) {
        if vm.spare() <= keep {
            break;
        }
        vm.hold(bits);
    }
}

/// How many constants a tail could have in registers.
pub fn constants_of(tail: &Tail) -> usize {
    constants(tail).len()
}

/// The constants that lanes are computed with, those that are used most first.
fn constants(tail: &Tail) -> Vec<u32> {
    let mut found: Vec<(u32, usize)> = vec![];
    for n in &tail.nodes {
        // How far bits are shifted is part of the instruction.
        if matches!(n, Node::Bin(BinOp::Shl | BinOp::Shr | BinOp::ShrU, ..)) {
            continue;
        }
        for o in n.operands() {
            let bits = match tail.nodes[usize::from(o)] {
                Node::Const(Const::F32(bits)) => bits,
                Node::Const(Const::I32(v)) => v as u32,
                _ => continue,
            };
            match found.iter_mut().find(|f| f.0 == bits) {
                Some(f) => f.1 += 1,
                None => found.push((bits, 1)),
            }
        }
    }
    found.sort_by_key(|f| std::cmp::Reverse(f.1));
    found.into_iter().map(|f| f.0).collect()
}
