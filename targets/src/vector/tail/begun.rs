//! What sums can begin with, instead of having it added by their tail.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{BinOp, Ty};
use onnxc_compiler::loops::tail::{Node, Tail};

/// A tail over sums that began with one of its operands.
pub struct Begun {
    /// The number of that operand, which has an i32 for each column.
    pub operand: usize,
    /// What is left to do.
    pub tail: Tail,
}

/// Takes the sum of the result and a column of whole numbers, which may be added in any order, out of a tail; `None` if it doesn't begin with one.
pub fn begun(tail: &Tail) -> Option<Begun> {
    let uses = |n: usize| {
        let reads = tail.nodes.iter().flat_map(|node| node.operands());
        reads.filter(|o| usize::from(*o) == n).count()
    };
    let at = |wanted: Node| {
        let mut places = (0..tail.nodes.len()).filter(|n| tail.nodes[*n] == wanted);
        places
            .next()
            .filter(|n| places.next().is_none() && uses(*n) == 1)
    };
    let result = at(Node::Result(Ty::I32))?;
    let (sum, column) = tail.nodes.iter().enumerate().find_map(|(sum, n)| {
        let Node::Bin(BinOp::Add, a, b) = *n else {
            return None;
        };
        let other = match (usize::from(a), usize::from(b)) {
            (a, b) if a == result => b,
            (a, b) if b == result => a,
            _ => return None,
        };
        let column = tail.nodes[other] == Node::Column(DType::I32) && uses(other) == 1;
        column.then_some((sum, other))
    })?;
    let operand = tail.nodes[..column]
        .iter()
        .filter(|n| n.is_operand())
        .count();
    // Whoever reads the sum reads the result.
    let (mut nodes, mut number) = (vec![], vec![0u8; tail.nodes.len()]);
    for (at, n) in tail.nodes.iter().enumerate() {
        if at == column {
            continue;
        }
        if at == sum {
            number[at] = number[result];
            continue;
        }
        number[at] = nodes.len() as u8;
        nodes.push(n.with_operands(|a| number[usize::from(a)]));
    }
    // The last node is what is stored.
    (sum + 1 < tail.nodes.len()).then_some(Begun {
        operand,
        tail: Tail { nodes },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_added_goes() {
        let nodes = vec![
            Node::Column(DType::F32),
            Node::Column(DType::I32),
            Node::Result(Ty::I32),
            Node::Bin(BinOp::Add, 1, 2),
            Node::Cast(Ty::F32, 3),
            Node::Bin(BinOp::Mul, 4, 0),
        ];
        let b = begun(&Tail { nodes }).unwrap();
        assert_eq!(b.operand, 1);
        let left = vec![
            Node::Column(DType::F32),
            Node::Result(Ty::I32),
            Node::Cast(Ty::F32, 1),
            Node::Bin(BinOp::Mul, 2, 0),
        ];
        assert_eq!(b.tail.nodes, left);
    }

    #[test]
    fn what_is_read_twice_stays() {
        let nodes = vec![
            Node::Result(Ty::I32),
            Node::Column(DType::I32),
            Node::Bin(BinOp::Add, 0, 1),
            Node::Bin(BinOp::Mul, 2, 0),
        ];
        assert!(begun(&Tail { nodes }).is_none());
        // Another operand than a column of whole numbers.
        for kind in [Node::Tile(DType::I32), Node::Column(DType::U8)] {
            let nodes = vec![
                Node::Result(Ty::I32),
                kind,
                Node::Bin(BinOp::Add, 0, 1),
                Node::Cast(Ty::F32, 2),
            ];
            assert!(begun(&Tail { nodes }).is_none());
        }
    }
}
