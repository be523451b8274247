//! Tails in two halves: the first is applied to all sums of a tile, then the second to one after the other.
//!
//! A tail is one chain of operations that wait for each other. Cores that issue out of order look as far ahead as their schedulers reach: a few
//! chains of ten operations, but many of five. What the first half makes stays in the registers of the sums.

use crate::vector::ir::*;
use onnxc_compiler::loops::ir::{Ty, UnOp};
use onnxc_compiler::loops::tail::{Node, Tail};

/// Operations of a tail from which on it is done in halves.
const LONG: usize = 3;

/// A tail as one behind the other.
pub struct Halves {
    /// Over the sums. Its operands lie along columns, or are single.
    pub first: Tail,
    /// Over what the first makes.
    pub rest: Tail,
    /// Numbers of their operands, counted over those of the whole tail.
    pub operands: [Vec<usize>; 2],
}

/// The halves of a tail, if it is long and has a place where one value is all that is left.
pub fn halves(tail: &Tail, isa: &Isa) -> Option<Halves> {
    let types = tail.types();
    let nodes = &tail.nodes;
    let leaf = |n: &Node| matches!(n, Node::Const(_)) || n.is_operand();
    let computes = |n: &Node| !leaf(n) && !matches!(n, Node::Result(_));
    let all = nodes.iter().filter(|n| computes(n)).count();
    if !matches!(isa.level, Level::Avx2 | Level::Avx512) || all < LONG || types.contains(&Ty::F64) {
        return None;
    }
    if !nodes.last().is_some_and(computes) {
        return None;
    }
    let reads = |some: &[Node], leaf: usize| {
        let all = some.iter().flat_map(|n| n.operands());
        all.into_iter().any(|o| usize::from(o) == leaf)
    };
    // Whether everything behind node `k` reads that and leaves alone, and nothing that both halves read has to be fetched.
    let parts = |k: usize| {
        let (before, behind) = nodes.split_at(k + 1);
        let alone = behind.iter().flat_map(|n| n.operands()).all(|o| {
            let o = usize::from(o);
            o >= k || leaf(&nodes[o])
        });
        let apart = |(at, n): (usize, &Node)| {
            !n.is_operand()
                || !reads(before, at)
                || !reads(behind, at) && !matches!(n, Node::Tile(_))
        };
        // What is rounded is a whole number in a lane that is called a float.
        let rounded = matches!(nodes[k], Node::Un(UnOp::Near | UnOp::Round, _));
        let word = matches!(types[k], Ty::F32 | Ty::I32);
        computes(&nodes[k]) && word && !rounded && alone && nodes.iter().enumerate().all(apart)
    };
    let size = |k: usize| {
        let before = nodes[..=k].iter().filter(|n| computes(n)).count();
        before.min(all - before)
    };
    let cuts = (0..nodes.len()).filter(|k| size(*k) > 0 && parts(*k));
    // The first of those that are best.
    let k = cuts.max_by_key(|k| (size(*k), std::cmp::Reverse(*k)))?;
    let (first, first_operands) = part(
        tail,
        |at| match &nodes[at] {
            n if leaf(n) => reads(&nodes[..=k], at),
            _ => at <= k,
        },
        None,
    );
    let (rest, rest_operands) = part(
        tail,
        |at| match &nodes[at] {
            n if leaf(n) => reads(&nodes[k + 1..], at),
            _ => at > k,
        },
        Some((k, types[k])),
    );
    Some(Halves {
        first,
        rest,
        operands: [first_operands, rest_operands],
    })
}

/// The nodes of a tail that are wanted, over `from` if that is not the sum itself; and the numbers of their operands.
fn part(
    tail: &Tail,
    wanted: impl Fn(usize) -> bool,
    from: Option<(usize, Ty)>,
) -> (Tail, Vec<usize>) {
    let mut nodes: Vec<Node> = from.iter().map(|(_, ty)| Node::Result(*ty)).collect();
    let mut number = vec![0u8; tail.nodes.len()];
    let (mut operands, mut operand) = (vec![], 0);
    for (at, n) in tail.nodes.iter().enumerate() {
        if wanted(at) {
            number[at] = nodes.len() as u8;
            nodes.push(n.with_operands(|o| number[usize::from(o)]));
            if n.is_operand() {
                operands.push(operand);
            }
        }
        operand += usize::from(n.is_operand());
    }
    (Tail { nodes }, operands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_compiler::base::dtype::DType;
    use onnxc_compiler::loops::ir::{BinOp, Const};

    /// `gated(min(float(sum) * scale + offset, top))`, as whole numbers.
    fn gated() -> Vec<Node> {
        let number = |v: f32| Node::Const(Const::F32(v.to_bits()));
        vec![
            Node::Result(Ty::I32),
            Node::Cast(Ty::F32, 0),
            Node::Column(DType::F32),
            Node::Column(DType::F32),
            Node::Fma(1, 2, 3),
            number(255.0),
            Node::Bin(BinOp::Min, 4, 5),
            number(0.25),
            Node::Fma(6, 7, 5),
            Node::Bin(BinOp::Mul, 8, 6),
            Node::Un(UnOp::Near, 9),
            Node::Cast(Ty::I32, 10),
        ]
    }

    #[test]
    fn the_second_half_reads_what_the_first_made() {
        let h = halves(&Tail { nodes: gated() }, &Level::Avx2.isa()).unwrap();
        assert_eq!(h.operands, [vec![0, 1], vec![]]);
        assert_eq!(h.first.nodes, gated()[..7]);
        let number = |v: f32| Node::Const(Const::F32(v.to_bits()));
        let rest = [
            Node::Result(Ty::F32),
            number(255.0),
            number(0.25),
            Node::Fma(0, 2, 1),
            Node::Bin(BinOp::Mul, 3, 0),
            Node::Un(UnOp::Near, 4),
            Node::Cast(Ty::I32, 5),
        ];
        assert_eq!(h.rest.nodes, rest);
    }

    #[test]
    fn a_value_that_is_read_later_keeps_a_tail_whole_there() {
        // The product reads the cast as well: nothing between them parts the tail.
        let mut nodes = gated();
        nodes[9] = Node::Bin(BinOp::Mul, 8, 1);
        let h = halves(&Tail { nodes }, &Level::Avx2.isa()).unwrap();
        assert_eq!(h.first.nodes.len(), 10);
        // What has rows of its own is fetched with a sum's row: not ahead of it.
        let mut nodes = gated();
        nodes[2] = Node::Tile(DType::F32);
        let h = halves(&Tail { nodes }, &Level::Avx2.isa()).unwrap();
        assert_eq!(h.operands, [vec![], vec![0, 1]]);
    }

    #[test]
    fn short_tails_and_double_precision_stay_whole() {
        let short = gated()[..5].to_vec();
        assert!(halves(&Tail { nodes: short }, &Level::Avx2.isa()).is_none());
        let mut nodes = gated();
        nodes[2] = Node::Column(DType::F64);
        assert!(halves(&Tail { nodes }, &Level::Avx2.isa()).is_none());
    }
}
