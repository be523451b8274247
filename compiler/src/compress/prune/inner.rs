//! Layers in the bodies of If, Loop and Scan.
//!
//! Their weights can become zeros like those of the graph. Nothing else is done to them: a body runs or does not, once or often, so what its layers read is
//! not known, and its channels go out by ways that are not followed.

use super::layer::Layer;
use super::macs;
use crate::base::diag::Result;
use crate::base::dim::Symbols;
use crate::graph::ir::{Graph, NodeId};

/// A layer of a body.
#[derive(Clone, Debug)]
pub struct Inner {
    /// The layer; its node and values are the body's.
    pub layer: Layer,
    /// Multiply-accumulates of one run of the body.
    pub macs: f64,
    /// The way to the body: nodes from the outermost on, and which of each node's bodies.
    path: Vec<(NodeId, usize)>,
}

impl Inner {
    /// All of a graph's bodies. Those whose weights come from outside are none: they belong to the graph around.
    pub fn all(g: &Graph, symbols: &Symbols) -> Result<Vec<Inner>> {
        let mut out = vec![];
        collect(g, symbols, &mut vec![], &mut out)?;
        Ok(out)
    }
    /// The body in a graph, which may be the one it was found in or a copy.
    pub fn body<'g>(&self, g: &'g Graph) -> Option<&'g Graph> {
        let next = |g: &'g Graph, (n, k): &(NodeId, usize)| g.node(*n).bodies.get(*k);
        self.path.iter().try_fold(g, next)
    }
    /// The same, to be changed.
    pub fn body_mut<'g>(&self, g: &'g mut Graph) -> Option<&'g mut Graph> {
        let next = |g: &'g mut Graph, (n, k): &(NodeId, usize)| g.node_mut(*n).bodies.get_mut(*k);
        self.path.iter().try_fold(g, next)
    }
}

fn collect(
    g: &Graph,
    symbols: &Symbols,
    path: &mut Vec<(NodeId, usize)>,
    out: &mut Vec<Inner>,
) -> Result<()> {
    for &n in g.order() {
        for (k, body) in g.node(n).bodies.iter().enumerate() {
            path.push((n, k));
            let costs = macs::costs(body, symbols);
            for layer in Layer::all(body)? {
                let cost = costs.iter().find(|c| c.node == layer.node);
                if !body.inputs.contains(&layer.value) {
                    out.push(Inner {
                        macs: cost.map_or(0.0, |c| c.base),
                        layer,
                        path: path.clone(),
                    });
                }
            }
            collect(body, symbols, path, out)?;
            path.pop();
        }
    }
    Ok(())
}
