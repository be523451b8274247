//! A region as one node: what crosses its border, and its nodes as a body.
//!
//! Where the device wants channels last, the port has that order: a Transpose stands before the node and its inverse begins the body, so that the pass
//! `layout`, which comes later, lets both vanish wherever their neighbours are channels-last too.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::offload::{Layout, Port};
use crate::base::types::TensorType;
use crate::fusions::engine;
use crate::graph::ir::{Def, Graph, Loc, NodeId, ValueId};
use crate::npu::Accelerator;
use crate::op::Lower;
use crate::pass::PassCx;
use std::collections::{BTreeMap, BTreeSet};

/// A region, not yet taken out of its graph.
pub struct Cut {
    nodes: Vec<NodeId>,
    /// Values outside, and how each lies at the border.
    ins: Vec<(ValueId, Layout)>,
    /// For each of them a node and the number of its input that reads it: another region may come to make it.
    read_by: Vec<(NodeId, usize)>,
    outs: Vec<(ValueId, Layout)>,
    /// The region as a graph of its own.
    pub body: Graph,
    /// Nodes of the body, and where each comes from.
    from: BTreeMap<NodeId, NodeId>,
}

impl Cut {
    /// The region of these nodes, which stand in the graph's order.
    pub fn of(g: &Graph, cx: &mut PassCx, a: &dyn Accelerator, nodes: &[NodeId]) -> Result<Cut> {
        let inside: BTreeSet<NodeId> = nodes.iter().copied().collect();
        let mut cut = Cut {
            nodes: nodes.to_vec(),
            ins: vec![],
            read_by: vec![],
            outs: vec![],
            body: Graph::new(a.name()),
            from: BTreeMap::new(),
        };
        let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for &n in nodes {
            for (k, v) in g.node(n).ins.iter().enumerate() {
                let Some(v) = *v else { continue };
                let own = g.maker(v).is_some_and(|(m, _)| inside.contains(&m));
                if own || g.konst(v).is_some() || cut.ins.iter().any(|(w, _)| *w == v) {
                    continue;
                }
                cut.ins.push((v, layout(g, a, v)));
                cut.read_by.push((n, k));
            }
        }
        let mut plain = vec![];
        for &(v, layout) in &cut.ins {
            let ty = laid(g, v, layout)?;
            let port = cut.body.add_input(&g.value(v).name, Some(ty));
            plain.push((v, port, layout));
        }
        for (v, port, layout) in plain {
            let inner = match layout {
                Layout::Plain => port,
                Layout::ChannelsLast => cut.transposed(cx, port, channels_first(g, v))?,
            };
            map.insert(v, inner);
        }
        for &n in nodes {
            cut.bring(g, n, &mut map)?;
        }
        for &n in nodes {
            for &v in &g.node(n).outs {
                let leaves = g.is_output(v) || g.users(v).iter().any(|u| !inside.contains(u));
                if g.konst(v).is_some() || !leaves {
                    continue;
                }
                let inner = map.get(&v).copied();
                let inner = inner.ok_or_else(|| Diagnostic::internal("a result was not made"))?;
                let layout = layout(g, a, v);
                let port = match layout {
                    Layout::Plain => inner,
                    Layout::ChannelsLast => cut.transposed(cx, inner, channels_last(g, v))?,
                };
                cut.outs.push((v, layout));
                cut.body.add_output(port);
            }
        }
        Ok(cut)
    }

    fn transposed(&mut self, cx: &mut PassCx, v: ValueId, perm: Vec<i64>) -> Result<ValueId> {
        let op = crate::ops::find("Transpose")
            .ok_or_else(|| Diagnostic::internal("no operator Transpose"))?;
        let attrs = Attrs::default().with("perm", Attr::Ints(perm));
        let n = self
            .body
            .add_node(op, attrs, vec![Some(v)], 1, Loc::default());
        engine::infer(&mut self.body, cx, n)?;
        Ok(self.body.node(n).outs[0])
    }

    /// A node of the graph as one of the body.
    fn bring(&mut self, g: &Graph, n: NodeId, map: &mut BTreeMap<ValueId, ValueId>) -> Result<()> {
        let node = g.node(n);
        let mut ins = vec![];
        for v in &node.ins {
            let Some(v) = *v else {
                ins.push(None);
                continue;
            };
            let inner = match (map.get(&v), g.konst(v)) {
                (Some(&w), _) => w,
                (None, Some(t)) => {
                    let w = self.body.add_const(&g.value(v).name, t.clone());
                    map.insert(v, w);
                    w
                }
                (None, None) => return Err(Diagnostic::internal("an operand comes from nowhere")),
            };
            ins.push(Some(inner));
        }
        let (op, attrs, loc) = (node.op, node.attrs.clone(), node.loc.clone());
        let new = self.body.add_node(op, attrs, ins, node.outs.len(), loc);
        self.from.insert(new, n);
        for (k, &v) in node.outs.iter().enumerate() {
            let w = self.body.node(new).outs[k];
            let (from, to) = (g.value(v), self.body.value_mut(w));
            to.name = from.name.clone();
            to.ty = from.ty.clone();
            to.dims = from.dims.clone();
            if let Def::Const(t) = &from.def {
                self.body.make_const(w, t.clone());
            }
            map.insert(v, w);
        }
        Ok(())
    }

    /// The node of the graph that a node of the body stands for.
    pub fn outer(&self, n: NodeId) -> Option<NodeId> {
        self.from.get(&n).copied()
    }

    /// Ports, as the descriptor has them.
    pub fn ports(&self, ins: bool) -> Vec<Port> {
        let (list, values) = match ins {
            true => (&self.ins, self.body.inputs.clone()),
            false => (&self.outs, self.body.outputs().to_vec()),
        };
        let port = |(&(_, layout), v): (&(ValueId, Layout), ValueId)| {
            let value = self.body.value(v);
            Some(Port {
                name: value.name.clone(),
                ty: value.ty.clone()?,
                layout,
                quant: None,
            })
        };
        list.iter().zip(values).filter_map(port).collect()
    }

    /// Bytes that cross the border.
    pub fn border_bytes(&self) -> u64 {
        let ports = self.ports(true).into_iter().chain(self.ports(false));
        ports.map(|p| p.bytes()).sum()
    }

    /// Puts the region into the graph as one node.
    pub fn put(self, g: &mut Graph, cx: &mut PassCx, slot: u32, required: bool) -> Result<()> {
        let Some(&last) = self.nodes.last() else {
            return Ok(());
        };
        let loc = Loc::join(self.nodes.iter().map(|&n| &g.node(n).loc));
        let perm = |p: Vec<i64>| Attrs::default().with("perm", Attr::Ints(p));
        let mut ins = vec![];
        for (&(_, layout), &(n, k)) in self.ins.iter().zip(&self.read_by) {
            let now = g.node(n).ins.get(k).copied().flatten();
            let v = now.ok_or_else(|| Diagnostic::internal("an input of a region is gone"))?;
            ins.push(Some(match layout {
                Layout::Plain => v,
                Layout::ChannelsLast => {
                    let attrs = perm(channels_last(g, v));
                    engine::make(g, cx, last, "Transpose", attrs, &[Some(v)], Loc::default())?
                }
            }));
        }
        let op = crate::ops::find("Offload")
            .ok_or_else(|| Diagnostic::internal("no operator Offload"))?;
        let mut attrs = Attrs::default().with("slot", Attr::Int(i64::from(slot)));
        if required {
            attrs.set("required", Attr::Int(1));
        }
        let node = g.add_before(last, op, attrs, ins, self.outs.len(), loc);
        g.node_mut(node).bodies = vec![self.body];
        engine::infer(g, cx, node)?;
        for (k, &(v, layout)) in self.outs.iter().enumerate() {
            let out = g.node(node).outs[k];
            let outside = match layout {
                Layout::Plain => out,
                Layout::ChannelsLast => {
                    let attrs = perm(channels_first(g, v));
                    engine::make(
                        g,
                        cx,
                        last,
                        "Transpose",
                        attrs,
                        &[Some(out)],
                        Loc::default(),
                    )?
                }
            };
            g.replace_uses(v, outside);
        }
        g.remove_nodes(&self.nodes);
        settle(g);
        Ok(())
    }
}

/// Brings nodes behind what they need, and else leaves the order as it is.
fn settle(g: &mut Graph) {
    let mut done: BTreeSet<NodeId> = BTreeSet::new();
    let mut order = vec![];
    let mut waiting = g.order().to_vec();
    while !waiting.is_empty() {
        let before = order.len();
        let mut rest = vec![];
        for n in waiting {
            let mut makers = g.node(n).ins.iter().flatten().filter_map(|&v| g.maker(v));
            match makers.all(|(m, _)| done.contains(&m)) {
                true => {
                    done.insert(n);
                    order.push(n);
                }
                false => rest.push(n),
            }
        }
        // A graph without an order is what `verify` reports.
        if order.len() == before {
            order.append(&mut rest);
        }
        waiting = rest;
    }
    g.set_order(order);
}

/// How a value lies at the border: as the device wants it where it is an image, else as the model has it.
fn layout(g: &Graph, a: &dyn Accelerator, v: ValueId) -> Layout {
    match g.ty(v).filter(|_| is_image(g, v)) {
        Some(ty) => a.layout(ty),
        None => Layout::Plain,
    }
}

/// Whether channels lie on axis 1: what makes it, or what uses it, by way of pointwise work only, has them there.
fn is_image(g: &Graph, v: ValueId) -> bool {
    let spatial = |n: NodeId| {
        let name = g.node(n).op.name;
        [
            "Conv",
            "ConvInteger",
            "ConvTranspose",
            "MaxPool",
            "AveragePool",
            "GlobalAveragePool",
            "Resize",
        ]
        .contains(&name)
    };
    let pointwise = |n: NodeId| matches!(g.node(n).op.lower, Lower::Pointwise(_));
    let same = |w: ValueId| g.ty(w).map(|t| &t.shape) == g.ty(v).map(|t| &t.shape);
    let mut seen = BTreeSet::from([v]);
    let mut todo = vec![v];
    while let Some(w) = todo.pop() {
        for (n, forward) in g
            .users(w)
            .iter()
            .map(|&n| (n, true))
            .chain(g.maker(w).map(|(n, _)| (n, false)))
        {
            if spatial(n) && (!forward || g.node(n).ins.first() == Some(&Some(w))) {
                return true;
            }
            if pointwise(n) {
                let near = g.node(n).ins.iter().flatten().chain(&g.node(n).outs);
                todo.extend(
                    near.copied()
                        .filter(|&w| same(w) && g.konst(w).is_none() && seen.insert(w)),
                );
            }
        }
    }
    false
}

fn laid(g: &Graph, v: ValueId, layout: Layout) -> Result<TensorType> {
    let ty = g
        .ty(v)
        .ok_or_else(|| Diagnostic::internal("a border value without a type"))?;
    let shape = match layout {
        Layout::Plain => ty.shape.clone(),
        Layout::ChannelsLast => {
            let perm = channels_last(g, v);
            perm.iter().map(|&p| ty.shape[p as usize].clone()).collect()
        }
    };
    Ok(TensorType::new(ty.dtype, shape))
}

/// The axes of a value with the channels last.
fn channels_last(g: &Graph, v: ValueId) -> Vec<i64> {
    let rank = g.ty(v).map_or(0, TensorType::rank) as i64;
    let mut p = vec![0];
    p.extend(2..rank);
    p.push(1);
    p
}

/// The way back.
fn channels_first(g: &Graph, v: ValueId) -> Vec<i64> {
    let rank = g.ty(v).map_or(0, TensorType::rank) as i64;
    let mut p = vec![0, rank - 1];
    p.extend(1..rank - 1);
    p
}
