//! Finding out what follows a kernel's result: the stores of a row are written once for an element of unknown place, and
//! what comes out is read as a [`Tail`] with its operands.
//!
//! A row that gets a tail hands it to its kernel and stores nothing itself. Where none can be made (several values are
//! stored, types other than f32, operands that do not lie as the results do) the row stores results through loops.

use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::*;
use crate::loops::legalize::legalize_expr;
use crate::loops::tail::{Node, Tail};
use crate::loops::walk::reachable;
use std::collections::HashMap;

/// Longer tails are loops of their own.
const MAX_NODES: usize = 96;

/// An element of a block of results whose place is not known yet.
pub struct Element {
    /// The index of every axis of the output: variables, or constants where an axis has size 1.
    pub index: Vec<ExprId>,
    /// The axis along which rows of the block lie.
    pub row_axis: usize,
    /// Axes before it that rows may run on over, outermost first: (axis, rows from one index to the next).
    pub over: Vec<(usize, ExprId)>,
    vars: Vec<Option<VarId>>,
    result: VarId,
    /// Element types that the kernel's tails read, and those it stores.
    reads: &'static [DType],
    stores: &'static [DType],
    /// Whether the machine rounds floats to whole ones.
    rounds: bool,
}

/// An operand of a tail, or the output.
pub struct Place {
    /// Where it lies.
    pub buf: BufId,
    /// Its element for the element in question, over the variables of [`Element`].
    at: ExprId,
    /// Elements from one row to the next.
    pub row: ExprId,
}

/// A tail with what it reads and writes.
pub struct Found {
    /// What is done.
    pub tail: Tail,
    /// For each operand of the tail its place.
    pub operands: Vec<Place>,
    /// Where results go.
    pub out: Place,
    element: Element,
}

impl Element {
    /// An element of the output of shape `sizes` (`None`: not known); columns lie along the last axis. Results, operands and what is
    /// stored are f32.
    pub fn new(b: &mut Builder, sizes: &[Option<i64>], row_axis: usize) -> Element {
        const FLOAT: &[DType] = &[DType::F32];
        Element::of(b, sizes, row_axis, Ty::F32, FLOAT, FLOAT)
    }
    /// The same where results are whole numbers: operands and what is stored may have the types that go with them.
    pub fn whole(b: &mut Builder, sizes: &[Option<i64>], row_axis: usize) -> Element {
        use DType::*;
        Element::of(
            b,
            sizes,
            row_axis,
            Ty::I32,
            &[F32, F64, I32, U8, I8],
            &[F32, I32, U8, I8],
        )
    }
    fn of(
        b: &mut Builder,
        sizes: &[Option<i64>],
        row_axis: usize,
        ty: Ty,
        reads: &'static [DType],
        stores: &'static [DType],
    ) -> Element {
        let var = |b: &mut Builder, ty| {
            let zero = b.num(ty, 0.0);
            // Mutable, so that its value is not taken for a constant.
            b.open_block();
            let v = b.var(zero);
            b.close_block();
            v
        };
        let vars: Vec<Option<VarId>> = sizes
            .iter()
            .enumerate()
            .map(|(axis, s)| {
                let open = *s != Some(1) || axis == row_axis || axis + 1 == sizes.len();
                open.then(|| var(b, Ty::I64))
            })
            .collect();
        let result = var(b, ty);
        let index = vars
            .iter()
            .map(|v| match v {
                Some(v) => b.get(*v),
                None => b.i(0),
            })
            .collect();
        Element {
            index,
            row_axis,
            over: vec![],
            vars,
            result,
            reads,
            stores,
            rounds: false,
        }
    }
    /// Reads what `store` does with the result at that element. `None`: it has to be written out in loops.
    pub fn probe(
        mut self,
        cx: &mut LowerCx,
        store: impl FnOnce(&mut LowerCx, &[ExprId], ExprId) -> Result<()>,
    ) -> Result<Option<Found>> {
        self.rounds = cx.machine.vector.is_some_and(|v| v.rounds);
        let result = cx.b.get(self.result);
        cx.b.open_block();
        let index = self.index.clone();
        let done = store(cx, &index, result);
        let block = cx.b.close_block();
        done?;
        Ok(self.read(&mut cx.b, block))
    }

    fn read(self, b: &mut Builder, block: Vec<Stmt>) -> Option<Found> {
        let mut names: HashMap<ExprId, ExprId> = HashMap::new();
        let mut stored = None;
        for s in block {
            match s {
                Stmt::Let { var, value } if !b.func().vars[var].mutable => {
                    let value = replace(b, value, &names);
                    let name = b.get(var);
                    names.insert(name, value);
                }
                Stmt::Store { buf, index, value } if stored.is_none() => {
                    let (index, value) = (replace(b, index, &names), replace(b, value, &names));
                    stored = Some((buf, index, value));
                }
                _ => return None,
            }
        }
        let (buf, at, value) = stored?;
        let (out, reach) = self.place(b, buf, at)?;
        if !matches!(reach, Node::Tile(d) if self.stores.contains(&d)) {
            return None;
        }
        let value = legalize_expr(b, value);
        let (tail, operands) = self.nodes(b, value)?;
        Some(Found {
            tail,
            operands,
            out,
            element: self,
        })
    }

    fn nodes(&self, b: &mut Builder, value: ExprId) -> Option<(Tail, Vec<Place>)> {
        let result = b.get(self.result);
        if value == result {
            return Some((Tail::default(), vec![]));
        }
        let (mut nodes, mut operands) = (vec![], vec![]);
        let mut number: HashMap<ExprId, u8> = HashMap::new();
        // Indices of loads are no nodes of the tail.
        for e in values_under(b.func(), value) {
            let expr = b.func().exprs[e].clone();
            let of = |e: ExprId| number.get(&e).copied();
            let node = match expr {
                Expr::Var(v) if v == self.result => Node::Result(b.ty(e)),
                Expr::Const(c) if c.ty() != Ty::I64 => Node::Const(c),
                Expr::Load { buf, index } if self.reads.contains(&b.func().bufs[buf].dtype) => {
                    let (place, node) = self.place(b, buf, index)?;
                    operands.push(place);
                    node
                }
                Expr::Un(op, x) => Node::Un(op, of(x)?),
                Expr::Bin(op, x, y) => Node::Bin(op, of(x)?, of(y)?),
                Expr::Fma(x, y, z) => Node::Fma(of(x)?, of(y)?, of(z)?),
                Expr::Select(x, y, z) => Node::Select(of(x)?, of(y)?, of(z)?),
                Expr::Cast(ty, CastKind::Signed, x) => Node::Cast(ty, of(x)?),
                _ => return None,
            };
            if !possible(node, b, e, self.rounds) || nodes.len() >= MAX_NODES {
                return None;
            }
            number.insert(e, nodes.len() as u8);
            nodes.push(node);
        }
        Some((Tail { nodes }, operands))
    }

    /// How an element number moves with rows and columns.
    fn place(&self, b: &mut Builder, buf: BufId, at: ExprId) -> Option<(Place, Node)> {
        let last = self.vars.len() - 1;
        let column = step(b, at, self.vars[last]?)?;
        let row = step(b, at, self.vars[self.row_axis]?)?;
        for (axis, rows) in &self.over {
            let Some(var) = self.vars[*axis] else {
                continue;
            };
            let own = step(b, at, var)?;
            if own != b.mul(row, *rows) {
                return None;
            }
        }
        let d = b.func().bufs[buf].dtype;
        let node = match (b.as_i64(column)?, b.as_i64(row)) {
            (1, Some(0)) => Node::Column(d),
            (1, _) => Node::Tile(d),
            (0, Some(0)) => Node::Single(d),
            _ => return None,
        };
        Some((Place { buf, at, row }, node))
    }
}

impl Found {
    /// The element number of a place at an index of the output.
    pub fn at(&self, b: &mut Builder, place: &Place, index: &[ExprId]) -> ExprId {
        let mut to = HashMap::new();
        for (v, i) in self.element.vars.iter().zip(index) {
            if let Some(v) = v {
                let name = b.get(*v);
                to.insert(name, *i);
            }
        }
        replace(b, place.at, &to)
    }
}

/// Operations that vector machines have: on 32-bit lanes, and what requantizing needs of f64.
fn possible(node: Node, b: &Builder, e: ExprId, rounds: bool) -> bool {
    let constant = |e: ExprId| matches!(b.func().exprs[e], Expr::Const(_));
    let nearest =
        |e: ExprId| b.ty(e) == Ty::F32 && matches!(b.func().exprs[e], Expr::Un(UnOp::Near, _));
    let whole = matches!(node, Node::Cast(Ty::I32, _));
    if !whole && b.func().exprs[e].operands().any(nearest) {
        return false;
    }
    b.ty(e) != Ty::I64
        && match (node, &b.func().exprs[e]) {
            (Node::Un(op, _), Expr::Un(_, x)) => {
                use UnOp::*;
                match (op, b.ty(*x)) {
                    (Near, Ty::F64 | Ty::F32) => true,
                    (Near, _) => false,
                    (Round | Floor, Ty::F64) => in_reach(b, *x),
                    (_, Ty::F64 | Ty::I64) => false,
                    (Neg | Abs | Not | ToBits | FromBits, _) => true,
                    (Sqrt, ty) => ty.is_float(),
                    (Floor | Ceil | Trunc | Round, ty) => ty.is_float() && rounds,
                    _ => false,
                }
            }
            (Node::Bin(op, ..), Expr::Bin(_, x, y)) => {
                use BinOp::*;
                match (op, b.ty(*x)) {
                    (Add | Sub | Mul | Div | Min | Max | Eq | Ne | Lt | Le, Ty::F32) => true,
                    // What was rounded only becomes a whole number.
                    (Add | Sub | Mul | Min | Max, Ty::F64) => {
                        let rounded = |e: ExprId| {
                            matches!(b.func().exprs[e], Expr::Un(UnOp::Round | UnOp::Near, _))
                        };
                        !rounded(*x) && !rounded(*y)
                    }
                    (Add | Sub | And | Or | Xor | Min | Max | Eq | Lt, Ty::I32) => true,
                    (Mul, Ty::I32) => rounds,
                    (Shl | Shr | ShrU, Ty::I32) => constant(*y),
                    (And | Or | Xor, Ty::Bool) => true,
                    _ => false,
                }
            }
            (Node::Fma(..) | Node::Select(..), _) => b.ty(e) != Ty::F64,
            (Node::Cast(to, _), Expr::Cast(_, _, x)) => match (b.ty(*x), to) {
                (Ty::I32, Ty::F32 | Ty::F64) | (Ty::F32, Ty::I32) => true,
                // Only what is whole already.
                (Ty::F64, Ty::I32) => {
                    let node = &b.func().exprs[*x];
                    matches!(node, Expr::Un(UnOp::Round | UnOp::Near | UnOp::Floor, _))
                }
                _ => false,
            },
            _ => true,
        }
}

/// Whether a real number lies between constants that an i32 holds: `min(hi, max(lo, x))` in any order, a half added or not.
fn in_reach(b: &Builder, x: ExprId) -> bool {
    let mut bounds = [false; 2];
    let mut at = x;
    while let Expr::Bin(op, x, y) = b.func().exprs[at] {
        let number = |e: ExprId| match b.func().exprs[e] {
            Expr::Const(Const::F64(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        };
        let (value, inner) = match (number(x), number(y)) {
            (Some(v), None) => (v, y),
            (None, Some(v)) => (v, x),
            _ => break,
        };
        match op {
            BinOp::Min if value.abs() < REACH => bounds[1] = true,
            BinOp::Max if value.abs() < REACH => bounds[0] = true,
            BinOp::Add if value.abs() < 1.0 => {}
            _ => break,
        }
        at = inner;
    }
    bounds == [true; 2]
}

/// Real numbers below this are whole numbers of an i32 after rounding.
const REACH: f64 = 2147483646.0;

/// The nodes under a value, down to loads and no further.
fn values_under(f: &Func, value: ExprId) -> Vec<ExprId> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open = vec![value];
    while let Some(e) = open.pop() {
        if seen.insert(e) && !f.exprs[e].is_load() {
            open.extend(f.exprs[e].operands());
        }
    }
    seen.into_iter().collect()
}

/// The same expression with some nodes replaced.
fn replace(b: &mut Builder, e: ExprId, to: &HashMap<ExprId, ExprId>) -> ExprId {
    let mut done: HashMap<ExprId, ExprId> = HashMap::new();
    for id in reachable(b.func(), &[e]) {
        let new = match to.get(&id) {
            Some(new) => *new,
            None => {
                let node = b.func().exprs[id].clone();
                let map = |o: ExprId| done.get(&o).copied().unwrap_or(o);
                match node {
                    // Through the builder, so that constants fold.
                    Expr::Bin(op, x, y) => b.bin(op, map(x), map(y)),
                    Expr::Un(op, x) => b.un(op, map(x)),
                    Expr::Select(c, x, y) => b.select(map(c), map(x), map(y)),
                    node => {
                        let node = node.map_operands(map);
                        b.expr(node)
                    }
                }
            }
        };
        done.insert(id, new);
    }
    done.get(&e).copied().unwrap_or(e)
}

/// By how much an element number grows with a variable; `None` where it does not grow evenly.
fn step(b: &mut Builder, at: ExprId, var: VarId) -> Option<ExprId> {
    let zero = b.i(0);
    let mut steps: HashMap<ExprId, Option<ExprId>> = HashMap::new();
    for e in reachable(b.func(), &[at]) {
        let node = b.func().exprs[e].clone();
        let of = |e: &ExprId| steps.get(e).copied().flatten();
        let s = match node {
            Expr::Var(v) if v == var => Some(b.i(1)),
            Expr::Bin(op @ (BinOp::Add | BinOp::Sub), x, y) => match (of(&x), of(&y)) {
                (Some(x), Some(y)) => Some(b.bin(op, x, y)),
                _ => None,
            },
            Expr::Bin(BinOp::Mul, x, y) => match (of(&x), of(&y)) {
                (Some(s), Some(z)) if z == zero => Some(b.mul(s, y)),
                (Some(z), Some(s)) if z == zero => Some(b.mul(s, x)),
                _ => None,
            },
            node => {
                let still = node.operands().all(|o| of(&o) == Some(zero));
                still.then_some(zero)
            }
        };
        steps.insert(e, s);
    }
    steps.get(&at).copied().flatten()
}
