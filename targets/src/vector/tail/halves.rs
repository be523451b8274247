//! Long tails in two halves: the first is applied to all sums of a tile, then the second to one after the other.
//!
//! A tail is one chain of operations that wait for each other. Cores that issue out of order look as far ahead as their schedulers reach, which is a few
//! chains of ten operations, but many of five. What the first half computes stays in the registers of the sums.

use crate::vector::ir::*;
use onnxc_compiler::loops::ir::{Ty, UnOp};
use onnxc_compiler::loops::tail::{Node, Tail};

/// Operations of a tail from which on it is done in halves, and of each half.
const LONG: usize = 3;
const LEAST: usize = 1;

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
    if isa.level != Level::Avx2 || all < LONG || types.contains(&Ty::F64) {
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
    let cuts = (0..nodes.len()).filter(|k| size(*k) >= LEAST && parts(*k));
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
