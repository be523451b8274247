//! One less where two whole numbers are equal: what requantizing by single precision takes back at single sums.

use super::{Value, Writer};
use crate::vector::ir::*;
use onnxc_compiler::loops::ir::{BinOp, Const, Ty};
use onnxc_compiler::loops::tail::{Node, Tail};

/// Sums `v + select(a == b, -1, 0)` of whole numbers: for the node of each sum its `v`, `a` and `b`, and which nodes are parts of one and of nothing else.
pub fn sums(tail: &Tail, types: &[Ty], uses: &[u32]) -> (Vec<Option<[u8; 3]>>, Vec<bool>) {
    let count = tail.nodes.len();
    let (mut less, mut skipped) = (vec![None; count], vec![false; count]);
    let node = |n: u8| tail.nodes[usize::from(n)];
    let number = |n: u8, v: i32| node(n) == Node::Const(Const::I32(v));
    for (at, n) in tail.nodes.iter().enumerate() {
        let Node::Bin(BinOp::Add, v, m) = *n else {
            continue;
        };
        let Node::Select(e, yes, no) = node(m) else {
            continue;
        };
        let Node::Bin(BinOp::Eq, a, b) = node(e) else {
            continue;
        };
        let once = uses[usize::from(m)] == 1 && uses[usize::from(e)] == 1;
        let whole = types[usize::from(a)] == Ty::I32 && types[usize::from(v)] == Ty::I32;
        if once && whole && v != m && number(yes, -1) && number(no, 0) {
            less[at] = Some([v, a, b]);
            skipped[usize::from(m)] = true;
            skipped[usize::from(e)] = true;
        }
    }
    (less, skipped)
}

impl Writer<'_> {
    /// A node's value, less one where two others are equal.
    pub(super) fn less_where(&mut self, v: u8, a: u8, b: u8) -> Value {
        let taken = self.taken(v);
        let Value::Reg { v: d, .. } = taken else {
            return taken;
        };
        let (a_reg, fresh) = self.reg(a);
        let (b_src, tmp) = (self.src(b), self.vm.v());
        self.vm.op(Op::LessWhereEq {
            d,
            a: a_reg,
            b: b_src,
            tmp,
        });
        self.vm.free(tmp);
        if fresh {
            self.vm.free(a_reg);
        }
        self.done(a);
        self.done(b);
        taken
    }
}
