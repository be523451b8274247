//! Putting the nodes of a body into the graph around it.

use super::ir::{Def, Graph, NodeId, ValueId};
use crate::base::diag::{Diagnostic, Result};
use std::collections::HashMap;

impl Graph {
    /// Moves a body's nodes before `before`, its inputs replaced by `inputs`; returns what its outputs became.
    pub fn splice(
        &mut self,
        before: NodeId,
        body: Graph,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        for (&inner, outer) in body.inputs.iter().zip(inputs) {
            if let Some(v) = outer {
                map.insert(inner, *v);
            }
        }
        for &n in body.order() {
            let node = body.node(n);
            let mut ins = vec![];
            for v in &node.ins {
                ins.push(match v {
                    Some(v) => Some(self.bring(&body, *v, &mut map)?),
                    None => None,
                });
            }
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

    fn bring(
        &mut self,
        body: &Graph,
        v: ValueId,
        map: &mut HashMap<ValueId, ValueId>,
    ) -> Result<ValueId> {
        if let Some(&to) = map.get(&v) {
            return Ok(to);
        }
        // Bodies see nothing from outside but their inputs, and those are mapped: only literals are left.
        let value = body.value(v);
        let Def::Const(t) = &value.def else {
            return Err(Diagnostic::internal(format!(
                "value \"{}\" of a body comes from nowhere",
                value.name
            )));
        };
        let to = self.add_const(&value.name, t.clone());
        map.insert(v, to);
        Ok(to)
    }
}
