//! Tails: pointwise work that a kernel does on each of its results while it is in a register.
//!
//! A tail is a straight list of scalar nodes over the result and over operands that lie as the results do. It travels in
//! the shape of a [`Callee`](super::ir::Callee), so it prints, parses, compares and hashes with it. The last node is what is stored.

use super::build::Builder;
use super::ir::*;
use super::names::{BINARY, INFIX, TYPES, UNARY, read, spell};
use crate::base::dtype::DType;

/// A node; numbers are those of earlier nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// The kernel's result: F32, or the I32 of sums of whole numbers.
    Result(Ty),
    /// The next operand: an element for each result, at a row distance of its own.
    Tile(DType),
    /// The next operand: an element for each column.
    Column(DType),
    /// The next operand: one element.
    Single(DType),
    /// A constant: F32, F64, I32 or Bool.
    Const(Const),
    /// As in expressions.
    Un(UnOp, u8),
    /// As in expressions.
    Bin(BinOp, u8, u8),
    /// As in expressions.
    Fma(u8, u8, u8),
    /// As in expressions.
    Select(u8, u8, u8),
    /// A signed conversion, as in expressions.
    Cast(Ty, u8),
}

impl Node {
    /// The nodes that it reads.
    pub fn operands(self) -> impl Iterator<Item = u8> {
        let all = match self {
            Node::Un(_, a) | Node::Cast(_, a) => [Some(a), None, None],
            Node::Bin(_, a, b) => [Some(a), Some(b), None],
            Node::Fma(a, b, c) | Node::Select(a, b, c) => [Some(a), Some(b), Some(c)],
            _ => [None; 3],
        };
        all.into_iter().flatten()
    }
    /// The same over other nodes.
    pub fn with_operands(self, to: impl Fn(u8) -> u8) -> Node {
        match self {
            Node::Un(op, a) => Node::Un(op, to(a)),
            Node::Cast(ty, a) => Node::Cast(ty, to(a)),
            Node::Bin(op, a, b) => Node::Bin(op, to(a), to(b)),
            Node::Fma(a, b, c) => Node::Fma(to(a), to(b), to(c)),
            Node::Select(a, b, c) => Node::Select(to(a), to(b), to(c)),
            leaf => leaf,
        }
    }
    /// Whether it takes an operand of the call.
    pub fn is_operand(self) -> bool {
        self.element().is_some()
    }
    /// The type of an operand's elements.
    pub fn element(self) -> Option<DType> {
        match self {
            Node::Tile(d) | Node::Column(d) | Node::Single(d) => Some(d),
            _ => None,
        }
    }
}

/// What is done with a result. An empty tail stores it as it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tail {
    /// Operands before users.
    pub nodes: Vec<Node>,
}

/// Marks where a tail begins in a shape; its value is the number of nodes.
const MARK: &str = "tail";

impl Tail {
    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    /// The kinds of its operands in order.
    pub fn operands(&self) -> impl Iterator<Item = Node> + '_ {
        self.nodes.iter().copied().filter(|n| n.is_operand())
    }
    /// The tail without limits that are those of the bytes which it ends in; `None`: it has none.
    pub fn without_limits(&self, d: DType) -> Option<Tail> {
        if !matches!(d, DType::U8 | DType::I8) {
            return None;
        }
        let (lo, hi) = d.int_range()?;
        let limits = [(BinOp::Max, lo), (BinOp::Min, hi)];
        let number = |n: u8| match self.nodes.get(usize::from(n)) {
            Some(Node::Const(Const::I32(v))) => Some(i128::from(*v)),
            _ => None,
        };
        // Down from the last node, as long as that is one of both limits.
        let mut at = self.nodes.len().wrapping_sub(1) as u8;
        for _ in 0..2 {
            let Some(Node::Bin(op, a, b)) = self.nodes.get(usize::from(at)).copied() else {
                return None;
            };
            at = match (number(a), number(b)) {
                (Some(v), None) if limits.contains(&(op, v)) => b,
                (None, Some(v)) if limits.contains(&(op, v)) => a,
                _ => return None,
            };
        }
        // What remains ends in the last node that is neither limit nor its number.
        let nodes = self.nodes[..=usize::from(at)].to_vec();
        let operands = nodes.iter().filter(|n| n.is_operand()).count();
        (operands == self.operands().count()).then_some(Tail { nodes })
    }
    /// Loads what each operand, in order, has for the result at a row and a column; `strides` are the operands' row
    /// distances in elements.
    pub fn load(
        &self,
        b: &mut Builder,
        operands: &[BufId],
        strides: &[ExprId],
        row: ExprId,
        column: ExprId,
    ) -> Vec<ExprId> {
        self.operands()
            .zip(operands.iter().zip(strides))
            .map(|(kind, (&buf, &stride))| {
                let at = match kind {
                    Node::Tile(_) => {
                        let at = b.mul(row, stride);
                        b.add(at, column)
                    }
                    Node::Column(_) => column,
                    _ => b.i(0),
                };
                b.load(buf, at)
            })
            .collect()
    }
    /// The type of every node.
    pub fn types(&self) -> Vec<Ty> {
        let mut out: Vec<Ty> = vec![];
        for n in &self.nodes {
            let of = |i: u8| out.get(i as usize).copied().unwrap_or(Ty::F32);
            out.push(match *n {
                Node::Const(c) => c.ty(),
                Node::Cast(ty, _) | Node::Result(ty) => ty,
                Node::Tile(d) | Node::Column(d) | Node::Single(d) => Ty::of(d),
                Node::Un(UnOp::ToBits, _) => Ty::I32,
                Node::Un(UnOp::FromBits, _) => Ty::F32,
                Node::Bin(op, ..) if is_comparison(op) => Ty::Bool,
                Node::Un(_, a) | Node::Bin(_, a, _) | Node::Fma(a, ..) => of(a),
                Node::Select(_, a, _) => of(a),
            });
        }
        out
    }
    /// As part of a shape.
    pub fn to_shape(&self) -> Vec<(String, i64)> {
        if self.is_empty() {
            return vec![];
        }
        let pack = |list: &[u8]| list.iter().rev().fold(0i64, |v, &n| v << 8 | i64::from(n));
        let mut out = vec![(MARK.to_string(), self.nodes.len() as i64)];
        out.extend(self.nodes.iter().map(|n| {
            let (word, value) = match *n {
                Node::Result(Ty::F32) => ("result".to_string(), 0),
                Node::Result(ty) => (format!("result.{}", spell(TYPES, &ty)), 0),
                Node::Tile(d) => (of_type("tile", d), 0),
                Node::Column(d) => (of_type("column", d), 0),
                Node::Single(d) => (of_type("single", d), 0),
                Node::Const(c) => {
                    let bits = match c {
                        Const::F32(b) => i64::from(b),
                        Const::I32(v) => i64::from(v),
                        Const::Bool(v) => i64::from(v),
                        Const::I64(v) => v,
                        Const::F64(b) => b as i64,
                    };
                    (format!("const.{}", spell(TYPES, &c.ty())), bits)
                }
                Node::Un(op, a) => (spell(UNARY, &op).to_string(), pack(&[a])),
                Node::Bin(op, a, b) => {
                    let infix = INFIX.iter().find(|r| r.0 == op).map(|r| r.1);
                    (
                        infix.unwrap_or_else(|| spell(BINARY, &op)).to_string(),
                        pack(&[a, b]),
                    )
                }
                Node::Fma(a, b, c) => ("fma".to_string(), pack(&[a, b, c])),
                Node::Select(a, b, c) => ("select".to_string(), pack(&[a, b, c])),
                Node::Cast(ty, a) => (format!("to.{}", spell(TYPES, &ty)), pack(&[a])),
            };
            (word, value)
        }));
        out
    }
    /// Reads the tail of a shape; `None` where what is said there makes no tail.
    pub fn of_shape(shape: &[(String, i64)]) -> Option<Tail> {
        let Some(at) = shape.iter().position(|(k, _)| k == MARK) else {
            return Some(Tail::default());
        };
        let n = usize::try_from(shape[at].1).ok()?;
        let mut nodes = vec![];
        for (word, value) in shape.get(at + 1..at.checked_add(1)?.checked_add(n)?)? {
            let part = |i: u32| (*value >> (8 * i) & 0xff) as u8;
            let (a, b, c) = (part(0), part(1), part(2));
            let node = match word.as_str() {
                "result" => Node::Result(Ty::F32),
                "fma" => Node::Fma(a, b, c),
                "select" => Node::Select(a, b, c),
                "const.f32" => Node::Const(Const::F32(*value as u32)),
                "const.f64" => Node::Const(Const::F64(*value as u64)),
                "const.i32" => Node::Const(Const::I32(*value as i32)),
                "const.bool" => Node::Const(Const::Bool(*value != 0)),
                w => {
                    if let Some(ty) = w.strip_prefix("result.") {
                        Node::Result(read(TYPES, ty)?)
                    } else if let Some(d) = type_of(w, "tile") {
                        Node::Tile(d)
                    } else if let Some(d) = type_of(w, "column") {
                        Node::Column(d)
                    } else if let Some(d) = type_of(w, "single") {
                        Node::Single(d)
                    } else if let Some(ty) = w.strip_prefix("to.") {
                        Node::Cast(read(TYPES, ty)?, a)
                    } else if let Some(op) = read(UNARY, w) {
                        Node::Un(op, a)
                    } else {
                        let infix = INFIX.iter().find(|r| r.1 == w).map(|r| r.0);
                        Node::Bin(infix.or_else(|| read(BINARY, w))?, a, b)
                    }
                }
            };
            if node.operands().any(|o| usize::from(o) >= nodes.len()) {
                return None;
            }
            nodes.push(node);
        }
        Some(Tail { nodes })
    }
    /// The value that is stored, written out: for references. `operands` are loaded values, in order.
    pub fn apply(&self, b: &mut Builder, result: ExprId, operands: &[ExprId]) -> ExprId {
        let mut values: Vec<ExprId> = vec![];
        let mut next = operands.iter().copied();
        for n in &self.nodes {
            let v = |i: u8| values.get(i as usize).copied().unwrap_or(result);
            let value = match *n {
                Node::Result(_) => result,
                Node::Tile(_) | Node::Column(_) | Node::Single(_) => next.next().unwrap_or(result),
                Node::Const(c) => b.konst(c),
                Node::Un(op, a) => b.un(op, v(a)),
                Node::Bin(op, x, y) => b.bin(op, v(x), v(y)),
                Node::Fma(x, y, z) => b.fma(v(x), v(y), v(z)),
                Node::Select(x, y, z) => b.select(v(x), v(y), v(z)),
                Node::Cast(ty, a) => b.cast(ty, v(a)),
            };
            values.push(value);
        }
        values.last().copied().unwrap_or(result)
    }
}

/// An operand's word: floats need no type.
fn of_type(word: &str, d: DType) -> String {
    match d {
        DType::F32 => word.to_string(),
        d => format!("{word}.{d}"),
    }
}

fn type_of(text: &str, word: &str) -> Option<DType> {
    match text.strip_prefix(word)? {
        "" => Some(DType::F32),
        rest => DType::parse(rest.strip_prefix('.')?),
    }
}

/// Whether an operation gives Bool.
pub fn is_comparison(op: BinOp) -> bool {
    use BinOp::*;
    matches!(op, Eq | Ne | Lt | Le | LtU | LeU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_survives_its_shape() {
        let tail = Tail {
            nodes: vec![
                Node::Result(Ty::F32),
                Node::Column(DType::F64),
                Node::Bin(BinOp::Add, 0, 1),
                Node::Const(Const::F32(0.5f32.to_bits())),
                Node::Bin(BinOp::Lt, 2, 3),
                Node::Select(4, 2, 3),
                Node::Un(UnOp::Abs, 5),
                Node::Fma(6, 3, 2),
                Node::Cast(Ty::I32, 7),
                Node::Const(Const::I32(-7)),
                Node::Bin(BinOp::MinU, 8, 9),
                Node::Tile(DType::U8),
                Node::Single(DType::F32),
            ],
        };
        assert_eq!(Tail::of_shape(&tail.to_shape()), Some(tail.clone()));
        assert_eq!(tail.operands().count(), 3);
        let mut shape = tail.to_shape();
        shape[3].1 = 200;
        assert_eq!(Tail::of_shape(&shape), None, "a node of the future");
        assert_eq!(Tail::of_shape(&[]), Some(Tail::default()));
    }
}
