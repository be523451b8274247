//! Operators with bodies: If, Loop and Scan.
//!
//! In a graph a body sees nothing from outside; in a file it sees all names around it. So what it captures is no input there, but the name of
//! the value outside. All other names of a body are like no other of the file.

use super::super::proto::*;
use super::{Writer, attributes, port};
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::graph::ir::{Def, Graph, NodeId, ValueId};
use crate::op::{Control, Lower};
use std::collections::{HashMap, HashSet};

impl<'g> Writer<'g> {
    /// Writes a node that has bodies; what is wrong inside of them goes to `diags`.
    pub(super) fn control(&mut self, n: NodeId, diags: &mut Diagnostics) -> Result<()> {
        let node = self.g.node(n);
        let mut attrs = node.attrs.clone();
        let (own, bodies): (usize, &[&str]) = match node.op.lower {
            Lower::Control(Control::If) => (1, &["then_branch", "else_branch"]),
            Lower::Control(Control::Loop) => {
                let states = usize::try_from(node.attrs.int("states", 0)).unwrap_or(0);
                attrs.0.remove("states");
                (2 + states, &["body"])
            }
            Lower::Control(Control::Scan) => {
                let captures = usize::try_from(node.attrs.int("captures", 0)).unwrap_or(0);
                attrs.0.remove("captures");
                (node.ins.len().saturating_sub(captures), &["body"])
            }
            _ => {
                let text = format!("{} is not written to a file", node.op.name);
                return Err(Diagnostic::unsupported("ONNX008", text));
            }
        };
        let wrong = || Diagnostic::internal("a body takes other inputs than its node gives");
        let (given, captured) = node.ins.split_at_checked(own).ok_or_else(wrong)?;
        let mut input: Vec<String> = (given.iter())
            .map(|v| v.map_or_else(String::new, |v| self.name(v)))
            .collect();
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        let runs = |body: &&Graph| body.outputs().iter().all(|&v| body.ty(v).is_some());
        if !node.bodies.iter().all(|b| runs(&b)) {
            let text = "a branch that can't run with the given shapes is not written to a file";
            let help = "`--const NAME=VALUE` for what the condition asks takes the other branch, and the If is gone";
            return Err(Diagnostic::unsupported("ONNX008", text).help(help));
        }
        let mut attribute = attributes(&attrs);
        for (name, body) in bodies.iter().zip(&node.bodies) {
            let graph = self.body(body, captured, diags).ok_or_else(wrong)?;
            attribute.push(AttributeProto {
                name: name.to_string(),
                r#type: attribute_type::GRAPH,
                g: Some(Box::new(graph)),
                ..AttributeProto::default()
            });
        }
        let output = node.outs.iter().map(|v| self.name(*v)).collect();
        let loc = node.loc.to_string();
        let name = self.fresh(if loc.is_empty() { node.op.name } else { &loc });
        self.out.node.push(NodeProto {
            op_type: node.op.name.into(),
            name,
            input,
            output,
            attribute,
            ..NodeProto::default()
        });
        Ok(())
    }

    /// A body as a graph of the file. `captured`: the values outside that its last inputs stand for. None if it has fewer inputs.
    fn body(
        &mut self,
        body: &'g Graph,
        captured: &[Option<ValueId>],
        diags: &mut Diagnostics,
    ) -> Option<GraphProto> {
        let declared = body.inputs.len().checked_sub(captured.len())?;
        let (declared, inside) = body.inputs.split_at(declared);
        let mut names = HashMap::new();
        for (&inner, outer) in inside.iter().zip(captured) {
            names.extend(outer.map(|v| (inner, self.name(v))));
        }
        let mut w = Writer {
            g: body,
            symbols: self.symbols,
            // What is captured is in the file already, if it is a constant.
            written: names.keys().copied().collect(),
            names,
            taken: std::mem::take(&mut self.taken),
            out: GraphProto::default(),
            domains: std::mem::take(&mut self.domains),
        };
        for &v in declared {
            let hint = body.value(v).name.clone();
            let name = w.fresh(&hint);
            w.names.insert(v, name);
        }
        w.nodes(diags);
        let mut out = HashSet::new();
        for &v in body.outputs() {
            let own = w.name(v);
            // What the body does not make itself goes out through an Identity, and so does what goes out twice.
            let name = match body.value(v).def {
                Def::Node(..) if out.insert(v) => own,
                _ => {
                    let name = w.fresh(&format!("{own}_out"));
                    w.identity(own, name.clone());
                    name
                }
            };
            w.out.output.push(port(name, body.ty(v), w.symbols));
        }
        for &v in declared {
            let port = port(w.name(v), body.ty(v), w.symbols);
            w.out.input.push(port);
        }
        w.out.name = match body.name.as_str() {
            "" => "body".into(),
            name => name.into(),
        };
        (self.taken, self.domains) = (w.taken, w.domains);
        Some(w.out)
    }
}
