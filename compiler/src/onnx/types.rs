//! Types while importing: most of import needs none, but operators spelled with others and static lists do.

use super::import::Importer;
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::Dim;
use crate::base::types::TensorType;
use crate::graph::infer::Infer;
use crate::graph::ir::ValueId;

impl Importer<'_> {
    /// Infers what was added since the last time, from the outermost graph to the innermost. Problems are left to the
    /// inference of the whole graph, which tells them once.
    fn infer_new(&mut self) {
        let mut quiet = Diagnostics::default();
        for level in 0..self.scopes.0.len() {
            let (outer, inner) = self.scopes.0.split_at_mut(level);
            let Some(body) = &mut inner[0].body else {
                continue;
            };
            if let Some(around) = outer.iter().rev().find_map(|s| s.body.as_ref()) {
                let graph = &around.graph;
                for &(o, i) in body.captures.iter().chain(&body.feeds) {
                    if body.graph.ty(i).is_none() {
                        body.graph.value_mut(i).ty = graph.ty(o).cloned();
                    }
                }
                for &(o, i) in &body.captures {
                    if body.graph.value(i).dims.is_none() {
                        body.graph.value_mut(i).dims = graph.value(o).dims.clone();
                    }
                }
            }
            let new = body.graph.order()[body.inferred..].to_vec();
            body.inferred += new.len();
            let mut infer = Infer {
                symbols: &mut self.symbols,
                after: &mut |_, _, _| Ok(()),
                diags: &mut quiet,
                depth: level,
            };
            for n in new {
                let node = body.graph.node(n);
                if node
                    .ins
                    .iter()
                    .flatten()
                    .all(|&v| body.graph.ty(v).is_some())
                {
                    // What fails here fails again later, and is told then.
                    let _ = infer.node(&mut body.graph, n);
                }
            }
        }
    }

    /// The type of a value of the innermost graph.
    pub fn type_of(&mut self, v: ValueId) -> Result<TensorType> {
        if self.scopes.graph().ty(v).is_none() {
            self.infer_new();
        }
        self.scopes.graph().ty(v).cloned().ok_or_else(|| {
            Diagnostic::unsupported(
                "ONNX008",
                "the type of an input is not known while importing",
            )
        })
    }

    /// The elements of a small integer value as dimensions.
    pub fn dims_of(&mut self, v: ValueId) -> Option<Vec<Dim>> {
        if let Some(t) = self.scopes.graph().konst(v) {
            return Some(t.to_i64s()?.into_iter().map(Dim::Fixed).collect());
        }
        self.infer_new();
        self.scopes.graph().value(v).dims.clone()
    }

    /// The elements of a small integer value, if they are all known.
    pub fn ints_of(&mut self, v: ValueId) -> Option<Vec<i64>> {
        self.dims_of(v)?.iter().map(Dim::fixed).collect()
    }
}
