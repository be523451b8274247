//! The oracle of graphs: runs a model node by node, without grouping and without sharing memory in place.
//!
//! It is what passes, fusions and planning are compared with. Each node is lowered by itself for a machine without any
//! features and interpreted, so the result is the same on every host.

use super::build::{Options, build};
use super::run::{Outcome, run};
use crate::base::diag::{Diagnostic, Result};
use crate::base::tensor::Tensor;
use crate::graph::ir::Model;
use crate::kernel::Machine;

/// Runs a model whose types are inferred. Symbolic sizes are read off the inputs' shapes.
pub fn evaluate(model: &Model, inputs: &[Tensor]) -> Result<Outcome> {
    let machine = Machine {
        lanes: 1,
        ..Machine::default()
    };
    let options = Options {
        group: false,
        in_place: false,
        scatter: false,
        order: false,
        ..Options::default()
    };
    let program = build(model, &machine, &options).map_err(|diags| {
        let first = diags.list.into_iter().find(Diagnostic::is_error);
        first.map_or_else(|| Diagnostic::internal("no plan"), Box::new)
    })?;
    run(&program, inputs, &mut |_, _| {})
}
