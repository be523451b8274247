//! Values that are looked at while the program runs: who traces it finds each where it was made, as soon as the layer that completes it has ended.
//!
//! To the passes before they are outputs, so that nothing is fused over them; but no memory is kept for them, and what only turned their axes around for
//! a caller is not computed.

use super::build::{Planner, Scope};
use super::lower::type_of;
use super::program::{LayerId, Step};
use super::storage::{Home, Spot};
use crate::base::diag::Result;
use crate::base::types::TensorType;
use crate::graph::ir::{Def, Graph, Model, ValueId};
use crate::op::Lower;

/// A value under way: the layer that completes it (`None`: it has no elements), its type and its place.
pub(super) type Seen = (Option<LayerId>, TensorType, Spot);

/// Makes the last `count` outputs of a model values that are looked at. Where a Transpose makes one, it is what the Transpose reads.
pub fn watch(model: &mut Model, count: usize) {
    let g = &mut model.graph;
    let own = g.outputs().len().saturating_sub(count);
    model.watched = (own..g.outputs().len()).map(|k| before(g, k)).collect();
}

/// Moves output `k` in front of the Transposes that make it. Gives the order of its axes.
fn before(g: &mut Graph, k: usize) -> Vec<usize> {
    let mut v = g.outputs()[k];
    let mut order: Vec<usize> = (0..g.ty(v).map_or(0, |t| t.rank())).collect();
    while let Some((n, _)) = g.maker(v) {
        let node = g.node(n);
        let (Some(perm), Some(Some(x))) = (node.attrs.ints("perm"), node.ins.first()) else {
            break;
        };
        if node.op.name != "Transpose" || perm.len() != order.len() {
            break;
        }
        let mut inner = order.clone();
        for (&to, &axis) in perm.iter().zip(&order) {
            if let Some(place) = usize::try_from(to).ok().and_then(|p| inner.get_mut(p)) {
                *place = axis;
            }
        }
        (v, order) = (*x, inner);
    }
    g.set_output(k, v);
    order
}

impl Planner<'_> {
    /// The caller's outputs of a graph.
    pub(super) fn kept<'g>(&self, s: &Scope<'g>) -> &'g [ValueId] {
        let all = s.g.outputs();
        match s.id == self.main {
            true => &all[..all.len().saturating_sub(self.orders.len())],
            false => all,
        }
    }

    /// Values whose memory is needed until the end of a graph: what the caller gets, and what is copied at the end.
    pub(super) fn lasting<'g>(&self, s: &Scope<'g>) -> impl Iterator<Item = ValueId> {
        let all = s.g.outputs();
        let (kept, watched) = all.split_at(self.kept(s).len());
        let late = watched.iter().filter(|v| !made_by_layers(s, **v));
        kept.iter().chain(late).copied()
    }

    /// Finds the watched values of the main graph, all of whose steps are planned. What no layer of it makes is copied now.
    pub(super) fn find_watched(&mut self, s: &Scope, steps: &mut Vec<Step<Spot>>) -> Result<()> {
        for &v in &s.g.outputs()[self.kept(s).len()..] {
            let ty = type_of(s.g, v)?;
            let (root, offset) = s.views.root(v);
            let own = self.storages.get((s.id, root));
            let seen = match self.made.get(&root).zip(own) {
                // Without a touch: nobody needs it now.
                Some((&layer, own)) if made_by_layers(s, v) => {
                    let spot = Spot {
                        offset: own.offset + offset,
                        ..own
                    };
                    (Some(layer), ty, spot)
                }
                _ => {
                    let to = self.storages.add(self.bytes(s.g, v)?, Home::Arena);
                    let from = self.spot(s, v)?;
                    let copy = self.copy(ty.clone(), from, to)?;
                    self.storages.touch(to, self.now);
                    let layer = match &copy {
                        Some(Step::Layer(l)) => Some(*l),
                        _ => None,
                    };
                    steps.extend(copy);
                    (layer, ty, to)
                }
            };
            self.seen.push(seen);
        }
        Ok(())
    }
}

/// Whether layers of this graph, and not those of a body, make the memory that a value lies in.
fn made_by_layers(s: &Scope, v: ValueId) -> bool {
    match s.g.value(s.views.root(v).0).def {
        Def::Node(n, _) => !matches!(s.g.node(n).op.lower, Lower::Control(_)),
        _ => false,
    }
}
