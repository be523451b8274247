//! Tests of import, over models made in memory.

mod build;
mod control;
mod functions;
mod inputs;
mod robust;
mod tensors;

use super::proto::ModelProto;
use super::{ImportOptions, NoFiles, import};
use crate::base::diag::Diagnostics;
use crate::graph::ir::Model;
use prost::Message;

/// Imports with default options.
pub fn run(m: &ModelProto) -> (Option<Model>, Diagnostics) {
    run_with(m, &ImportOptions::default())
}

/// Imports.
pub fn run_with(m: &ModelProto, o: &ImportOptions) -> (Option<Model>, Diagnostics) {
    let mut d = Diagnostics::default();
    let model = import(m.encode_to_vec().into(), &NoFiles, o, &mut d);
    assert_eq!(model.is_none(), d.has_errors());
    (model, d)
}

/// The model, which must be fine.
pub fn good(m: &ModelProto) -> Model {
    let (model, d) = run(m);
    model.unwrap_or_else(|| panic!("{:#?}", d.list))
}

/// Codes of the errors.
pub fn errors(d: &Diagnostics) -> Vec<&str> {
    d.list
        .iter()
        .filter(|d| d.is_error())
        .map(|d| d.code)
        .collect()
}

/// Operators of a graph in order.
pub fn ops(g: &crate::graph::ir::Graph) -> Vec<&'static str> {
    g.order().iter().map(|&n| g.node(n).op.name).collect()
}
