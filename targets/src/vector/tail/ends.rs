//! How a tail ends: what may be left to the store.

use super::elem;
use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::Ty;
use onnxc_compiler::loops::tail::{Node, Tail};

/// The last node that makes whole numbers of f64, if the order of lanes makes no difference from there on: only constants meet them.
pub fn mixes(tail: &Tail, isa: Isa) -> Option<u8> {
    let types = tail.types();
    let single = |n: u8| matches!(tail.nodes[usize::from(n)], Node::Const(_));
    let mut at = tail.nodes.len().wrapping_sub(1) as u8;
    let any = V(0);
    let machine = isa.has(&Op::FromRealsMixed {
        d: any,
        lo: any,
        hi: any,
    });
    loop {
        at = match tail.nodes.get(usize::from(at)) {
            Some(Node::Bin(_, a, b)) if single(*b) => *a,
            Some(Node::Bin(_, a, b)) if single(*a) => *b,
            Some(Node::Un(_, a)) => *a,
            Some(Node::Cast(Ty::I32, a)) => {
                return (machine && types[usize::from(*a)] == Ty::F64).then_some(at);
            }
            _ => return None,
        };
    }
}

/// Whether tails of several vectors are woven: where they are long enough that their operations wait for one another more than for the machine,
/// and cores may issue in order. Those of x86_64 look ahead far enough by themselves; registers are worth more there.
pub fn weaves(tail: &Tail, isa: &Isa) -> bool {
    /// Operations that any core overlaps.
    const SHORT: usize = 3;
    let computes = |n: &&Node| !matches!(n, Node::Result(_) | Node::Const(_)) && !n.is_operand();
    isa.level == Level::Neon && tail.nodes.iter().filter(computes).count() > SHORT
}

/// The tail without limits that are those of the bytes which it ends in, and how these are stored then; as it is where it has none.
pub fn without_limits(tail: &Tail, d: DType) -> (Tail, Elem) {
    let limited = match d {
        DType::U8 => Elem::U8Limited,
        _ => Elem::I8Limited,
    };
    match tail.without_limits(d) {
        Some(tail) => (tail, limited),
        None => (tail.clone(), elem(d)),
    }
}

/// The tail over sums that are whole numbers held as floats, if it makes floats of them first and nothing else.
pub fn over_floats(tail: &Tail) -> Option<Tail> {
    let result = |n: u8| tail.nodes.get(usize::from(n)) == Some(&Node::Result(Ty::I32));
    let cast = |n: &Node| matches!(n, Node::Cast(Ty::F32, a) if result(*a));
    let others = tail.nodes.iter().filter(|n| !cast(n));
    if !tail.nodes.iter().any(cast) || others.flat_map(|n| n.operands()).any(result) {
        return None;
    }
    // Casts go; what read them reads the result.
    let (mut nodes, mut number) = (vec![], vec![]);
    for n in &tail.nodes {
        let new = |a: u8| number[usize::from(a)];
        number.push(match n {
            n if cast(n) => new(n.operands().next()?),
            Node::Result(Ty::I32) => {
                nodes.push(Node::Result(Ty::F32));
                nodes.len() as u8 - 1
            }
            n => {
                nodes.push(n.with_operands(new));
                nodes.len() as u8 - 1
            }
        });
    }
    Some(Tail { nodes })
}
