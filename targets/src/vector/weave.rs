//! Strands: pieces of a program that know nothing of each other, written one after another and then woven.
//!
//! A tail is a chain of operations each of which waits for the one before. A core that issues in order stands still for most of it, and one that
//! doesn't sees no further than some hundred operations ahead; so the tails of several vectors take turns, operation by operation.
//!
//! While strands are open, registers that one gives back are taken again by it alone. So no order of the strands' operations
//! mixes up their values.

use super::build::Vm;
use super::ir::*;

/// Strands of a program under construction.
#[derive(Default)]
pub(super) struct Strands {
    /// Where each begins, by the number of its first operation.
    starts: Vec<usize>,
    /// What the open one gave back.
    pub own_v: Vec<V>,
    pub own_x: Vec<X>,
    /// What those before it gave back.
    held_v: Vec<V>,
    held_x: Vec<X>,
}

impl Strands {
    /// The number of the open one.
    pub fn number(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
}

impl Vm {
    /// Ends a strand, if one is open, and begins the next.
    pub fn strand(&mut self) {
        let at = self.len();
        let s = self.strands.get_or_insert_default();
        s.held_v.append(&mut s.own_v);
        s.held_x.append(&mut s.own_x);
        s.starts.push(at);
    }
    /// Ends the last strand and weaves all of them. Strands must not write memory that another one reads.
    pub fn weave(&mut self) {
        let Some(mut s) = self.strands.take() else {
            return;
        };
        s.held_v.append(&mut s.own_v);
        s.held_x.append(&mut s.own_x);
        self.free_all(&s.held_v);
        s.held_x.into_iter().for_each(|x| self.free_x(x));
        self.interleave(&s.starts);
    }
}

/// The operations in turns: the first ones of all strands, then the second ones ...
pub(super) fn in_turns(ops: Vec<Op>, starts: &[usize]) -> Vec<Op> {
    let first = starts.first().copied().unwrap_or(ops.len());
    if ops[first..].iter().any(steers) {
        return ops;
    }
    let ends = starts.iter().skip(1).copied().chain([ops.len()]);
    let strands: Vec<&[Op]> = starts.iter().zip(ends).map(|(a, b)| &ops[*a..b]).collect();
    let longest = strands.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = ops[..first].to_vec();
    for at in 0..longest {
        out.extend(strands.iter().filter_map(|s| s.get(at)));
    }
    out
}

/// Whether an operation decides what comes next.
fn steers(op: &Op) -> bool {
    matches!(
        op,
        Op::Label { .. }
            | Op::Jump { .. }
            | Op::Branch { .. }
            | Op::BranchX { .. }
            | Op::Count { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strands_take_turns_and_share_no_register() {
        let isa = Level::Avx2.isa();
        let mut vm = Vm::new(isa, 0);
        let results = vm.vs(2);
        let mut seen = vec![];
        for r in &results {
            vm.strand();
            let (a, x) = (vm.v(), vm.x());
            vm.bin(Bin::Add, a, *r, *r);
            vm.free(a);
            vm.free_x(x);
            // The same again, for its own strand alone.
            assert_eq!((vm.v(), vm.x()), (a, x));
            vm.bin(Bin::Mul, a, a, *r);
            vm.free(a);
            vm.free_x(x);
            seen.push((a, x));
        }
        let before = vm.spare();
        vm.weave();
        assert_ne!(seen[0].0, seen[1].0);
        assert_ne!(seen[0].1, seen[1].1);
        assert_eq!(vm.spare(), before + 2);
        let order: Vec<Bin> = vm
            .finish()
            .unwrap()
            .ops
            .iter()
            .map(|op| match op {
                Op::Bin { op, .. } => *op,
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(order, [Bin::Add, Bin::Add, Bin::Mul, Bin::Mul]);
    }
}
