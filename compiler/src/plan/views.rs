//! Values that need no memory of their own: they are a part of another value's bytes.
//!
//! Reshapes always are. Slice and Split are where the part lies in one piece, and the inputs of a Concat are where they
//! lie one behind the other in its output; their makers then write straight into it. Where they don't lie in one piece (a
//! Concat along an inner axis) a maker that stores element by element writes them with the distances of the output: the
//! value has a *room*, the sizes from which its distances follow, larger than its own along that axis.

use crate::base::dim::Dim;
use crate::graph::ir::{Def, Graph, NodeId, ValueId};
use crate::op::Lower;
use std::collections::{HashMap, HashSet};

/// Where a value lies: which value's memory, at which byte.
pub type Alias = (ValueId, u64);

/// The sizes from which distances between elements follow, for values that do not lie in one piece.
pub type Rooms = HashMap<ValueId, Vec<Dim>>;

/// An input of a Concat that is copied.
pub struct Part {
    /// The input.
    pub value: ValueId,
    /// First byte in the output.
    pub offset: u64,
    /// The room it gets there, where it does not lie in one piece.
    pub room: Option<Vec<Dim>>,
}

/// What needs no memory and what needs no layer.
#[derive(Default)]
pub struct Views {
    alias: HashMap<ValueId, Alias>,
    /// Values in whose memory others lie.
    shared: HashSet<ValueId>,
    /// Inputs of Concat nodes that are copied.
    copied: HashSet<ValueId>,
    /// Concat nodes that the plan does by placement: what remains is to copy these inputs to these bytes of the output.
    pub concats: HashMap<NodeId, Vec<Part>>,
    /// Values that do not lie in one piece. Each is read by one Concat only, which is done by placement.
    pub rooms: Rooms,
    /// Nodes that need no layer.
    pub free: HashSet<NodeId>,
}

impl Views {
    /// The memory that a value lies in, through all views.
    pub fn root(&self, v: ValueId) -> Alias {
        let (mut at, mut offset) = (v, 0);
        while let Some(&(next, o)) = self.alias.get(&at) {
            at = next;
            offset += o;
        }
        (at, offset)
    }
    /// Whether the value is a view.
    pub fn is_view(&self, v: ValueId) -> bool {
        self.alias.contains_key(&v)
    }
    /// Whether another value lies in this one's memory.
    pub fn is_shared(&self, v: ValueId) -> bool {
        self.shared.contains(&v)
    }
    fn put(&mut self, v: ValueId, root: ValueId, offset: u64) {
        self.alias.insert(v, (root, offset));
        self.shared.insert(root);
    }

    /// The views of a graph. `scatters` says whether a node stores its only output element by element.
    pub fn of(g: &Graph, scatters: &dyn Fn(NodeId) -> bool) -> Views {
        let mut views = Views::default();
        for &n in g.order() {
            let node = g.node(n);
            match (&node.op.lower, node.op.name) {
                (Lower::View, _) => {
                    if let (Some(Some(from)), &[out]) = (node.ins.first(), node.outs.as_slice()) {
                        views.put(out, *from, 0);
                        views.free.insert(n);
                    }
                }
                (_, "Slice") => views.slice(g, n),
                (_, "Split") => views.split(g, n),
                (_, "Concat") => views.concat(g, n, scatters),
                _ => {}
            }
        }
        views
    }

    fn slice(&mut self, g: &Graph, n: NodeId) {
        let node = g.node(n);
        let (Some(Some(x)), &[out]) = (node.ins.first(), node.outs.as_slice()) else {
            return;
        };
        let (Some(from), Some(to)) = (fixed(g, *x), fixed(g, out)) else {
            return;
        };
        let list = |i: usize| {
            node.ins
                .get(i)
                .copied()
                .flatten()
                .and_then(|v| g.konst(v))
                .and_then(|t| t.to_i64s())
        };
        let (Some(starts), Some(_)) = (list(1), list(2)) else {
            return;
        };
        let axes = match node.ins.get(3).copied().flatten() {
            Some(_) => match list(3) {
                Some(a) => a,
                None => return,
            },
            None => (0..starts.len() as i64).collect(),
        };
        let steps = match node.ins.get(4).copied().flatten() {
            Some(_) => match list(4) {
                Some(s) => s,
                None => return,
            },
            None => vec![1; starts.len()],
        };
        // In one piece: one axis is cut, and the axes before it have size 1.
        let cut: Vec<usize> = (0..from.len()).filter(|&d| from[d] != to[d]).collect();
        if steps.iter().any(|&s| s != 1) || cut.len() > 1 || to.contains(&0) {
            return;
        }
        let mut offset = 0;
        if let Some(&axis) = cut.first() {
            if to[..axis].iter().any(|&d| d != 1) {
                return;
            }
            let rank = from.len() as i64;
            let Some(k) = axes
                .iter()
                .position(|&a| (if a < 0 { a + rank } else { a }) == axis as i64)
            else {
                return;
            };
            let Some(&start) = starts.get(k) else { return };
            let start = if start < 0 {
                (start + from[axis]).max(0)
            } else {
                start.min(from[axis])
            };
            offset = start * from[axis + 1..].iter().product::<i64>();
        }
        self.part(g, *x, out, offset);
        self.free.insert(n);
    }

    fn part(&mut self, g: &Graph, x: ValueId, out: ValueId, offset: i64) {
        let size = g.ty(out).map_or(1, |t| t.dtype.size()) as i64;
        self.put(out, x, (offset * size) as u64);
    }

    fn split(&mut self, g: &Graph, n: NodeId) {
        let node = g.node(n);
        let Some(Some(x)) = node.ins.first() else {
            return;
        };
        let Some(from) = fixed(g, *x) else { return };
        let Some(parts) = node
            .outs
            .iter()
            .map(|&o| fixed(g, o))
            .collect::<Option<Vec<_>>>()
        else {
            return;
        };
        let Ok(axis) = crate::op::resolve_axis(node.attrs.int("axis", 0), from.len()) else {
            return;
        };
        if from[..axis].iter().any(|&d| d != 1) || from.contains(&0) {
            return;
        }
        let mut offset = 0;
        for (&out, shape) in node.outs.iter().zip(&parts) {
            self.part(g, *x, out, offset);
            offset += shape.iter().product::<i64>();
        }
        self.free.insert(n);
    }

    fn concat(&mut self, g: &Graph, n: NodeId, scatters: &dyn Fn(NodeId) -> bool) {
        let node = g.node(n);
        let &[out] = node.outs.as_slice() else { return };
        let Some(shape) = fixed(g, out) else { return };
        let Ok(axis) = crate::op::resolve_axis(node.attrs.int("axis", 0), shape.len()) else {
            return;
        };
        let apart = shape[..axis].iter().any(|&d| d != 1);
        let size = g.ty(out).map_or(1, |t| t.dtype.size()) as u64;
        let inner: i64 = shape[axis + 1..].iter().product();
        let ins: Vec<ValueId> = node.ins.iter().flatten().copied().collect();
        let Some(sizes) = ins.iter().map(|&v| fixed(g, v)).collect::<Option<Vec<_>>>() else {
            return;
        };
        let goes_there = |views: &Views, v: ValueId| {
            let made_here = match g.value(v).def {
                // A Concat that is done by placement has parts that lie as if it were in one piece.
                Def::Node(m, _) if apart => {
                    g.users(v).len() == 1 && scatters(m) && !views.concats.contains_key(&m)
                }
                Def::Node(m, _) => !matches!(g.node(m).op.lower, Lower::Control(_) | Lower::View),
                _ => false,
            };
            made_here && !views.is_view(v) && !g.is_output(v) && !views.copied.contains(&v)
        };
        // Copies alone are what the operator does itself.
        if apart && (shape.contains(&0) || !ins.iter().any(|&v| goes_there(self, v))) {
            return;
        }
        let (mut at, mut copies) = (0, vec![]);
        for (&v, s) in ins.iter().zip(&sizes) {
            let offset = (at * inner) as u64 * size;
            let room = apart.then(|| {
                let mut room = s.clone();
                room[axis] = shape[axis];
                room.into_iter().map(Dim::Fixed).collect::<Vec<_>>()
            });
            if goes_there(self, v) {
                self.put(v, out, offset);
                if let Some(room) = room {
                    self.rooms.insert(v, room);
                }
            } else {
                self.copied.insert(v);
                copies.push(Part {
                    value: v,
                    offset,
                    room,
                });
            }
            at += s[axis];
        }
        self.concats.insert(n, copies);
    }
}

fn fixed(g: &Graph, v: ValueId) -> Option<Vec<i64>> {
    g.ty(v)?.shape.iter().map(Dim::fixed).collect()
}
