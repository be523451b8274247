//! What belongs together: for each operator, which index of which axis goes with which of another. Removing one index then means removing all that
//! go with it.

use crate::base::dim::Dim;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::op::Lower;

/// An axis of a value.
pub type Axis = (ValueId, usize);

/// What an operator ties.
#[derive(Clone, PartialEq, Debug)]
pub enum Relation {
    /// Index `i` of `long` goes with `(i / inner) % size` of `short`.
    Same {
        /// The longer axis, or one as long.
        long: Axis,
        /// The other.
        short: Axis,
        /// Indices side by side that go with one.
        inner: usize,
    },
    /// Index `i` of `part` is `at + i` of `whole`.
    Part {
        /// The part.
        part: Axis,
        /// The whole.
        whole: Axis,
        /// Where the part begins.
        at: usize,
    },
    /// Index `j` of `to` is `indices[j]` of `from`.
    Picked {
        /// What is picked from.
        from: Axis,
        /// What was picked.
        to: Axis,
        /// One for each index of `to`.
        indices: Vec<usize>,
    },
    /// Indices that are equal modulo `by` go together.
    Modular {
        /// The axis.
        axis: Axis,
        /// The size of a group.
        by: usize,
    },
    /// One axis holds several, the last running fastest: along one of them it can be cut.
    Regroup {
        /// The one.
        one: Axis,
        /// The several.
        many: Vec<Axis>,
    },
    /// Nothing can be removed.
    Fixed {
        /// The axis.
        axis: Axis,
        /// Number of the reason.
        why: usize,
    },
}

/// All of a graph.
#[derive(Clone, Default, Debug)]
pub struct Relations {
    /// In the graph's order.
    pub list: Vec<Relation>,
    /// Why axes are fixed.
    pub reasons: Vec<String>,
}

/// The size of an axis, where it is a number.
pub fn size(g: &Graph, (v, a): Axis) -> Option<usize> {
    usize::try_from(g.ty(v)?.shape.get(a)?.fixed()?).ok()
}

/// What a rule writes to.
pub(super) struct Cx<'g> {
    pub g: &'g Graph,
    pub out: Relations,
}

impl Cx<'_> {
    pub fn shape(&self, v: ValueId) -> &[Dim] {
        self.g.ty(v).map_or(&[], |t| &t.shape)
    }
    pub fn reason(&mut self, text: String) -> usize {
        match self.out.reasons.iter().position(|r| *r == text) {
            Some(k) => k,
            None => {
                self.out.reasons.push(text);
                self.out.reasons.len() - 1
            }
        }
    }
    pub fn fix(&mut self, axis: Axis, text: &str) {
        if size(self.g, axis).is_some_and(|n| n > 1) {
            let why = self.reason(text.to_string());
            self.out.list.push(Relation::Fixed { axis, why });
        }
    }
    pub fn fix_all(&mut self, v: ValueId, text: &str) {
        for a in 0..self.shape(v).len() {
            self.fix((v, a), text);
        }
    }
    /// Everything that a node reads and makes.
    pub fn fix_node(&mut self, n: NodeId, text: &str) {
        let node = self.g.node(n);
        let ports: Vec<ValueId> = (node.ins.iter().flatten().chain(&node.outs))
            .copied()
            .collect();
        for v in ports {
            self.fix_all(v, text);
        }
    }
    /// Two axes of one size; an axis of size 1 that is spread over another is tied to nothing.
    pub fn same(&mut self, a: Axis, b: Axis) {
        match (size(self.g, a), size(self.g, b)) {
            (Some(n), Some(m)) if n == m && n > 1 => self.map(a, b, 1),
            (Some(1), _) | (_, Some(1)) | (None, None) => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => {
                let text = "its size is not known to be that of what it meets";
                self.fix(a, text);
                self.fix(b, text);
            }
        }
    }
    pub fn map(&mut self, long: Axis, short: Axis, inner: usize) {
        if size(self.g, long).is_some_and(|n| n > 1) && size(self.g, short).is_some_and(|n| n > 1) {
            self.out.list.push(Relation::Same { long, short, inner });
        } else if size(self.g, short) == Some(1) {
            // All of the longer one hangs on a single index.
            self.fix(long, "it belongs to a single channel");
        }
    }
    /// Values that are spread over a result, their last axes below each other.
    pub fn spread(&mut self, v: ValueId, out: ValueId) {
        let (rank, own) = (self.shape(out).len(), self.shape(v).len());
        for a in 0..own.min(rank) {
            self.same((v, own - 1 - a), (out, rank - 1 - a));
        }
    }
    /// The literal of an input as whole numbers.
    pub fn ints(&self, n: NodeId, k: usize) -> Option<Vec<i64>> {
        let v = self.g.node(n).ins.get(k).copied().flatten()?;
        self.g.konst(v)?.to_i64s()
    }
}

/// The relations of a graph. `keep`: nodes whose output channels stay.
pub fn relations(g: &Graph, keep: &dyn Fn(&str) -> bool) -> Relations {
    let mut cx = Cx {
        g,
        out: Relations::default(),
    };
    for &v in &g.inputs {
        cx.fix_all(v, "it is an input of the model");
    }
    for &v in g.outputs() {
        cx.fix_all(v, "it is an output of the model");
    }
    for &n in g.order() {
        super::rules::rule(&mut cx, n);
        let node = g.node(n);
        if keep(&node.loc.to_string()) {
            let weights = ["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(&node.op.name);
            let axis = match node.op.name {
                "Conv" | "ConvTranspose" => 1,
                _ => cx.shape(node.outs[0]).len().saturating_sub(1),
            };
            if weights {
                cx.fix((node.outs[0], axis), "it is to be kept");
            }
        }
    }
    cx.out
}

/// Whether each element of the result is made of the elements at its place.
pub(super) fn pointwise(g: &Graph, n: NodeId) -> bool {
    let op = g.node(n).op;
    const MORE: [&str; 5] = ["Identity", "Dropout", "PRelu", "Cast", "CastLike"];
    matches!(op.lower, Lower::Pointwise(_)) || MORE.contains(&op.name)
}
