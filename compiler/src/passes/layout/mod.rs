//! Channels-last: spatial operators compute on `[N, spatial.., C]`, and what surrounds them goes along.
//!
//! Values keep their meaning; what changes is how they are stored. The pass walks the graph once and notes for a value that it
//! is *laid out*: another value holds its elements with the axes in another order. An operator that can work in that order is
//! made anew over stored values; a Transpose only renames axes and needs no node at all. Where an operator needs the plain order, or the
//! model hands a value out, a Transpose is put in, once for each value. So what is transposed lies at the model's edges, and
//! where shapes are taken apart.

mod meet;
mod reshape;

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::pass::{Pass, PassCx};
use std::collections::HashMap;

/// The pass.
pub static PASS: Pass = Pass {
    name: "layout",
    doc: "spatial operators and what surrounds them work channels-last",
    run,
};

/// How a value is stored: axis `i` of `stored` is axis `perm[i]` of the value.
#[derive(Clone, Debug)]
pub struct Laid {
    stored: ValueId,
    perm: Vec<usize>,
}

impl Laid {
    /// Where an axis of the value lies.
    fn at(&self, axis: usize) -> usize {
        self.perm.iter().position(|&p| p == axis).unwrap_or(axis)
    }
}

/// The pass under way.
pub struct Layout<'g, 'c, 'd> {
    g: &'g mut Graph,
    cx: &'c mut PassCx<'d>,
    laid: HashMap<ValueId, Laid>,
    /// Values that were brought into some order: (value, order), order `None`: as it is.
    orders: HashMap<(ValueId, Vec<usize>), ValueId>,
    /// The node that is looked at: what is made goes before it.
    now: NodeId,
    loc: Loc,
}

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let order = g.order().to_vec();
    let Some(&first) = order.first() else {
        return Ok(());
    };
    let mut l = Layout {
        g,
        cx,
        laid: HashMap::new(),
        orders: HashMap::new(),
        now: first,
        loc: Loc::default(),
    };
    for n in order {
        // What nobody asks for stays as it is, until it is removed.
        if !l.g.node(n).outs.iter().any(|&v| l.g.is_used(v)) {
            continue;
        }
        l.now = n;
        l.loc = l.g.node(n).loc.clone();
        if l.cx.edits >= l.cx.max_edits || !l.node(n)? {
            l.stay(n)?;
        } else {
            l.cx.edit();
        }
    }
    // Values that the model hands out keep their order.
    for (k, v) in l.g.outputs().to_vec().into_iter().enumerate() {
        if l.laid.contains_key(&v) {
            let plain = l.plain_at_end(v)?;
            l.g.set_output(k, plain);
        }
    }
    crate::passes::dead::left_behind(g);
    Ok(())
}

/// The order in which channels are last.
fn channels_last(rank: usize) -> Vec<usize> {
    let mut p = vec![0];
    p.extend(2..rank);
    p.push(1);
    p
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

impl Layout<'_, '_, '_> {
    /// The node works on plain values.
    fn stay(&mut self, n: NodeId) -> Result<()> {
        for (k, v) in self.g.node(n).ins.clone().into_iter().enumerate() {
            if let Some(v) = v
                && self.laid.contains_key(&v)
            {
                let plain = self.plain(v)?;
                self.g.set_input(n, k, Some(plain));
            }
        }
        Ok(())
    }
    fn rank(&self, v: ValueId) -> Option<usize> {
        self.g.ty(v).map(|t| t.rank())
    }
    fn shape(&self, v: ValueId) -> Option<Vec<Dim>> {
        self.g.ty(v).map(|t| t.shape.clone())
    }
    /// A value in its own order.
    fn plain(&mut self, v: ValueId) -> Result<ValueId> {
        let rank = self.rank(v).unwrap_or(0);
        self.ordered(v, &(0..rank).collect::<Vec<_>>())
    }
    /// The same behind all nodes.
    fn plain_at_end(&mut self, v: ValueId) -> Result<ValueId> {
        let rank = self.rank(v).unwrap_or(0);
        let key = (v, (0..rank).collect::<Vec<_>>());
        if let Some(&done) = self.orders.get(&key) {
            return Ok(done);
        }
        let Some(&last) = self.g.order().last() else {
            return Ok(v);
        };
        self.now = last;
        let before: Vec<NodeId> = self.g.order().to_vec();
        let made = self.ordered(v, &key.1)?;
        // It was put before the last node, whose result it may use: it goes behind.
        if let Some((m, _)) = self.g.maker(made)
            && !before.contains(&m)
        {
            let mut order = before;
            order.push(m);
            self.g.set_order(order);
        }
        Ok(made)
    }
    /// A value stored in an order: as it is, or by a Transpose.
    fn ordered(&mut self, v: ValueId, perm: &[usize]) -> Result<ValueId> {
        let (stored, own) = match self.laid.get(&v) {
            Some(l) => (l.stored, l.perm.clone()),
            None => (v, (0..perm.len()).collect()),
        };
        if own == perm {
            return Ok(stored);
        }
        let key = (v, perm.to_vec());
        if let Some(&done) = self.orders.get(&key) {
            return Ok(done);
        }
        // Axis i of what is wanted is axis perm[i] of the value, which lies at own^-1 of it.
        let back: Vec<usize> = perm
            .iter()
            .map(|p| own.iter().position(|o| o == p).unwrap_or(0))
            .collect();
        let made = self.transposed(stored, &back)?;
        self.orders.insert(key, made);
        Ok(made)
    }
    /// The axes of a stored value in another order. Where only axes of size 1 move it is a Reshape, which costs nothing.
    fn transposed(&mut self, v: ValueId, perm: &[usize]) -> Result<ValueId> {
        if is_identity(perm) {
            return Ok(v);
        }
        let shape = self.shape(v).unwrap_or_default();
        let moving: Vec<usize> = perm.iter().copied().filter(|&p| !shape[p].is(1)).collect();
        let fixed: Option<Vec<i64>> = perm.iter().map(|&p| shape[p].fixed()).collect();
        if moving.is_sorted()
            && let Some(shape) = fixed
        {
            return self.reshaped(v, &shape);
        }
        let perm = perm.iter().map(|&p| p as i64).collect();
        let attrs = Attrs::default().with("perm", Attr::Ints(perm));
        self.make("Transpose", attrs, &[Some(v)])
    }
    fn reshaped(&mut self, v: ValueId, shape: &[i64]) -> Result<ValueId> {
        let t = self.list(shape);
        let attrs = Attrs::default().with("allowzero", Attr::Int(1));
        self.make("Reshape", attrs, &[Some(v), Some(t)])
    }
    fn list(&mut self, values: &[i64]) -> ValueId {
        self.g
            .add_const("", Tensor::i64(&[values.len() as i64], values))
    }
    fn make(&mut self, op: &str, attrs: Attrs, ins: &[Option<ValueId>]) -> Result<ValueId> {
        let loc = self.loc.clone();
        make(self.g, self.cx, self.now, op, attrs, ins, loc)
    }
    /// The same operator over other inputs; its outputs.
    fn again(
        &mut self,
        n: NodeId,
        attrs: Attrs,
        ins: Vec<Option<ValueId>>,
    ) -> Result<Vec<ValueId>> {
        let node = self.g.node(n);
        let (op, count, loc) = (node.op, node.outs.len(), node.loc.clone());
        let made = self.g.add_before(n, op, attrs, ins, count, loc);
        crate::fusions::engine::infer(self.g, self.cx, made)?;
        let (old, new) = (self.g.node(n).outs.clone(), self.g.node(made).outs.clone());
        for (old, new) in old.into_iter().zip(&new) {
            let name = std::mem::take(&mut self.g.value_mut(old).name);
            self.g.value_mut(*new).name = name;
        }
        Ok(new)
    }
    /// Output `k` of the node is from now on stored like that.
    fn lay(&mut self, n: NodeId, k: usize, stored: ValueId, perm: Vec<usize>) -> Result<()> {
        let out = self.g.node(n).outs[k];
        let logical = self.shape(out);
        if logical.as_ref().map(Vec::len) != Some(perm.len()) {
            return Err(Diagnostic::internal("a layout of another rank"));
        }
        self.laid.insert(out, Laid { stored, perm });
        Ok(())
    }
}
