//! If, Loop and Scan: bodies become graphs whose captures are explicit.
//!
//! The orders of inputs and outputs are those of [`crate::op::Control`].

use super::attrs::NodeAttrs;
use super::import::{Importer, hint};
use super::node::{Call, check_arity, read, results};
use super::proto::{GraphProto, TypeValue, ValueInfoProto};
use super::scope::{Binding, Body, Scope};
use super::stacked::{Lists, appended};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Graph, Loc, ValueId};
use crate::op::{Control, LATEST, OnnxRow, OpDef};
use std::collections::{BTreeMap, BTreeSet};

/// A body: its graph and, for every capture, the value outside and the input inside.
type Made = (Graph, Vec<(ValueId, ValueId)>);

impl<'m> Importer<'m> {
    /// Imports an operator with bodies.
    pub fn control(
        &mut self,
        op: &'static OpDef,
        row: &OnnxRow,
        kind: Control,
        mut call: Call<'_, 'm>,
    ) -> Result<Option<Vec<Binding>>> {
        self.check_depth()?;
        let names: &[&str] = match kind {
            Control::If => &["then_branch", "else_branch"],
            Control::Loop | Control::Scan | Control::Offload => &["body"],
        };
        if let Some(g) = call.attrs.graphs.iter().find(|g| !names.contains(&g.0)) {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("{} takes no body `{}`", call.op, g.0),
            ));
        }
        let lists = match kind {
            Control::Loop => Lists::of(&mut call)?,
            _ => Lists::default(),
        };
        let mut ins = if call.broken() {
            vec![]
        } else {
            call.tensors()?
        };
        let mut made: Vec<Made> = vec![];
        for name in names {
            let g = call.attrs.graph(name)?;
            let path = hint(&format!("{}/{name}/", call.loc));
            match self.child(g, kind, &ins, &lists, path) {
                Some(m) => made.push(m),
                // Its problems were told.
                None => return Ok(None),
            }
        }
        if call.broken() {
            return Ok(None);
        }
        let body_outs = made[0].0.outputs().len();
        let outs = match kind {
            Control::If | Control::Scan | Control::Offload => body_outs,
            Control::Loop => body_outs.saturating_sub(1),
        };
        if made.iter().any(|m| m.0.outputs().len() != body_outs) {
            return Err(Diagnostic::model(
                "ONNX009",
                "the branches have different numbers of outputs",
            ));
        }
        if call.outs > outs {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("{} outputs are used, but the body gives {outs}", call.outs),
            ));
        }
        let (mut attrs, _) = read(row, &call, outs)?;
        check_arity(op, call.op, &ins, outs)?;
        let own = &made[0].0;
        let declared = own.inputs.len() - made[0].1.len();
        match kind {
            // Files have no regions.
            Control::If | Control::Offload => {}
            Control::Loop => {
                ins.resize(ins.len().max(2), None);
                let states = ins.len() - 2;
                check_body(declared, states + 2, body_outs, states + 1)?;
            }
            Control::Scan => {
                let slices = attrs.int("num_scan_inputs", 0);
                let states = ins.len() as i64 - slices;
                if slices < 1 || states < 0 {
                    return Err(Diagnostic::model(
                        "ONNX009",
                        format!("{} inputs, of which {slices} are to be scanned", ins.len()),
                    ));
                }
                check_body(declared, ins.len(), body_outs, states as usize)?;
            }
        }
        if kind != Control::If && ins[first_state(kind)..].iter().any(Option::is_none) {
            return Err(Diagnostic::model(
                "ONNX009",
                "a carried value or scan input is absent",
            ));
        }
        let captures = union(&mut made);
        if kind == Control::Scan {
            attrs.set("captures", Attr::Int(captures.len() as i64));
        }
        ins.extend(captures.into_iter().map(Some));
        let graph = self.scopes.graph();
        let n = graph.add_node(op, attrs, ins, outs, call.loc);
        graph.node_mut(n).bodies = made.into_iter().map(|m| m.0).collect();
        Ok(Some(match lists.at.is_empty() {
            true => results(graph, n),
            false => lists.results(graph, n),
        }))
    }

    /// Imports a body; `None` if something is wrong in it, which then was told.
    fn child(
        &mut self,
        g: &'m GraphProto,
        kind: Control,
        ins: &[Option<ValueId>],
        lists: &Lists,
        path: String,
    ) -> Option<Made> {
        let before = self.errors();
        if self.spend_or_halt(g.input.len() + g.output.len() + g.initializer.len()) {
            return None;
        }
        let opsets = self.scopes.top().opsets.clone();
        let place = path.trim_end_matches('/').to_string();
        self.scopes.0.push(Scope {
            names: BTreeMap::new(),
            body: Some(Body::new(&hint(&g.name))),
            opsets,
            attrs: BTreeMap::new(),
            path,
            function: None,
        });
        // An input with an initializer keeps its place: the node gives its value.
        let inputs: BTreeSet<&str> = g.input.iter().map(|i| i.name.as_str()).collect();
        if kind == Control::If && !g.input.is_empty() {
            self.diags
                .push(Diagnostic::model("ONNX009", "the body of an If has no inputs").at(&place));
        }
        let plain = g.input.iter().enumerate().filter(|&(k, _)| !lists.takes(k));
        for (k, (_, i)) in plain.enumerate() {
            let ty = match (kind, k) {
                (Control::Loop, 0) => Some(TensorType::fixed(DType::I64, &[])),
                (Control::Loop, 1) => Some(TensorType::fixed(DType::Bool, &[])),
                _ => None,
            };
            let typed = ty.is_some();
            let v = self.scopes.graph().add_input(&hint(&i.name), ty);
            // Slices of Scan have a type of their own, which only inference gives.
            if let Some(Some(outside)) = ins.get(k)
                && !typed
                && kind == Control::Loop
            {
                self.scopes.body().feeds.push((*outside, v));
            }
            let named = if typed && one_axis(i) {
                self.as_list(v, &place)
            } else {
                v
            };
            self.define(&i.name, Binding::Tensor(named), "an input of a body");
        }
        for (_, i) in g.input.iter().enumerate().filter(|&(k, _)| lists.takes(k)) {
            self.define(&i.name, Binding::Growing(vec![]), "an input of a body");
        }
        self.constants(g, &inputs);
        self.nodes(&g.node);
        let mut grown = vec![];
        for (k, o) in g.output.iter().enumerate() {
            match self.scopes.resolve(&o.name) {
                Some(b) if lists.gives(k) && !matches!(b, Binding::Broken) => match appended(&b) {
                    Ok(v) => grown.push(v),
                    Err(d) => self.diags.push(d.at(&place)),
                },
                Some(Binding::Tensor(v)) => self.scopes.graph().add_output(v),
                Some(Binding::Broken) => {}
                Some(_) => self.diags.push(
                    Diagnostic::unsupported(
                        "ONNX008",
                        format!(
                            "output `{}` of a body is a sequence or optional value",
                            hint(&o.name)
                        ),
                    )
                    .at(&place),
                ),
                None if self.halted => {}
                None => self.diags.push(
                    Diagnostic::model(
                        "ONNX003",
                        format!("output `{}` is never made", hint(&o.name)),
                    )
                    .at(&place),
                ),
            }
        }
        for v in grown {
            self.scopes.graph().add_output(v);
        }
        let body = self.scopes.0.pop()?.body?;
        let whole = body.graph.outputs().len() == g.output.len();
        (whole && self.errors() == before).then_some((body.graph, body.captures))
    }

    /// A scalar as a list of one: what writers of loops declare now and then, and then rely on.
    fn as_list(&mut self, v: ValueId, place: &str) -> ValueId {
        let shape = self.scopes.graph().add_const("", Tensor::i64(&[1], &[1]));
        let none = NodeAttrs::default();
        let call = Call {
            domain: "",
            op: "Reshape",
            opset: LATEST,
            attrs: &none,
            ins: vec![Some(Binding::Tensor(v)), Some(Binding::Tensor(shape))],
            outs: 1,
            loc: Loc::one(place),
        };
        match self.call(call) {
            Ok(Some(made)) => match made.first() {
                Some(Binding::Tensor(list)) => *list,
                _ => v,
            },
            Ok(None) => v,
            Err(d) => {
                self.diags.push(d.at(place));
                v
            }
        }
    }

    fn errors(&self) -> usize {
        self.diags.list.iter().filter(|d| d.is_error()).count()
    }
}

/// Whether a value is declared to have one axis.
fn one_axis(v: &ValueInfoProto) -> bool {
    let Some(TypeValue::Tensor(t)) = v.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return false;
    };
    t.shape.as_ref().is_some_and(|s| s.dim.len() == 1)
}

fn first_state(kind: Control) -> usize {
    match kind {
        Control::Loop => 2,
        Control::If | Control::Scan | Control::Offload => 0,
    }
}

fn check_body(ins: usize, want_ins: usize, outs: usize, min_outs: usize) -> Result<()> {
    if ins != want_ins {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("the body takes {ins} inputs, but the node gives {want_ins}"),
        ));
    }
    if outs < min_outs {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("the body gives {outs} outputs, but at least {min_outs} are needed"),
        ));
    }
    Ok(())
}

/// Makes all bodies take the same captures in the same order, and gives the values outside.
fn union(made: &mut [Made]) -> Vec<ValueId> {
    let mut all: Vec<ValueId> = vec![];
    for &(outside, _) in made.iter().flat_map(|m| &m.1) {
        if !all.contains(&outside) {
            all.push(outside);
        }
    }
    for (graph, captures) in made {
        let inside: Vec<ValueId> = captures.iter().map(|c| c.1).collect();
        let names: BTreeMap<ValueId, ValueId> = captures.iter().copied().collect();
        let mut inputs: Vec<ValueId> = graph
            .inputs
            .iter()
            .copied()
            .filter(|v| !inside.contains(v))
            .collect();
        for outside in &all {
            inputs.push(match names.get(outside) {
                Some(&v) => v,
                None => graph.add_input("", None),
            });
        }
        graph.inputs = inputs;
    }
    all
}
