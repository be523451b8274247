//! Putting the nodes of a body into the graph around it.

use super::ir::{Def, Graph, NodeId, ValueId};
use std::collections::HashMap;

impl Graph {
    /// Moves a body's nodes before `before`, its inputs replaced by `inputs`; returns what its outputs became.
    pub fn splice(
        &mut self,
        before: NodeId,
        body: Graph,
        inputs: &[Option<ValueId>],
    ) -> Vec<ValueId> {
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        for (&inner, outer) in body.inputs.iter().zip(inputs) {
            if let Some(v) = outer {
                map.insert(inner, *v);
            }
        }
        for &n in body.order() {
            let node = body.node(n);
            let ins = node
                .ins
                .iter()
                .map(|v| v.map(|v| self.bring(&body, v, &mut map)))
                .collect();
            let new = self.add_before(
                before,
                node.op,
                node.attrs.clone(),
                ins,
                node.outs.len(),
                node.loc.clone(),
            );
            self.node_mut(new).bodies = node.bodies.clone();
            self.node_mut(new).syms = node.syms.clone();
            for (k, &v) in node.outs.iter().enumerate() {
                let out = self.node(new).outs[k];
                let value = body.value(v);
                {
                    let to = self.value_mut(out);
                    to.name = value.name.clone();
                    to.ty = value.ty.clone();
                    to.dims = value.dims.clone();
                }
                if let Def::Const(t) = &value.def {
                    self.make_const(out, t.clone());
                }
                map.insert(v, out);
            }
        }
        body.outputs()
            .iter()
            .map(|&v| self.bring(&body, v, &mut map))
            .collect()
    }

    fn bring(&mut self, body: &Graph, v: ValueId, map: &mut HashMap<ValueId, ValueId>) -> ValueId {
        if let Some(&to) = map.get(&v) {
            return to;
        }
        let value = body.value(v);
        let to = match &value.def {
            Def::Const(t) => self.add_const(&value.name, t.clone()),
            // Bodies see nothing from outside but their inputs, and those are mapped.
            _ => self.add_const(&value.name, crate::base::tensor::Tensor::f32(&[0], &[])),
        };
        map.insert(v, to);
        to
    }
}
