//! The value of a node whose inputs are constants, by interpreting its loops.
//!
//! The machine it lowers for has no features, so the result is the same on every host and for every target.

use super::lower::{Place, Source};
use super::views::Rooms;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Symbols, fixed_shape};
use crate::base::effort::Effort;
use crate::base::tensor::Tensor;
use crate::contracts::References;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::kernel::Machine;
use crate::loops::interp::{Env, Memory, Stop, run};
use crate::op::Lower;
use std::collections::HashMap;

/// Rounds of loops after which folding gives up on a node.
const BUDGET: u64 = 1 << 33;

/// The outputs of a node, in order; unused ones are `None`. `None` in all where it can't be told at compile time (a status,
/// a size that depends on data).
pub fn eval(g: &Graph, n: NodeId, symbols: &Symbols) -> Result<Option<Vec<Option<Tensor>>>> {
    let node = g.node(n);
    let mut known: HashMap<ValueId, Tensor> = HashMap::new();
    for &v in node.ins.iter().flatten() {
        match g.konst(v) {
            Some(t) if t.dtype.size() > 0 => {
                known.insert(v, t.clone());
            }
            _ => return Ok(None),
        }
    }
    let mut shapes = vec![];
    for &v in &node.outs {
        let ty = g.ty(v);
        match ty.and_then(|t| fixed_shape(&t.shape)) {
            Some(s) => shapes.push(s),
            None if !g.is_used(v) => shapes.push(vec![]),
            None => return Ok(None),
        }
    }
    if let (Lower::View, Some(Some(x))) = (&node.op.lower, node.ins.first()) {
        return Ok(Some(vec![
            known.get(x).map(|t| t.reshaped(shapes[0].clone())),
        ]));
    }
    let machine = Machine {
        lanes: 1,
        ..Machine::default()
    };
    let lowered = Place {
        graph: g,
        symbols,
        machine: &machine,
        effort: Effort::default(),
        threads: 1,
        weights: Default::default(),
        rooms: &Rooms::new(),
    }
    .lower_node(n)?;
    let mut results: HashMap<ValueId, Vec<u8>> = HashMap::new();
    let mut buffers: Vec<Vec<u8>> = vec![];
    let mut made: Vec<Option<ValueId>> = vec![];
    for a in &lowered.args {
        let (bytes, out) = match a {
            Source::Value(v) if node.outs.contains(v) => {
                let ty = g.ty(*v).ok_or_else(|| Diagnostic::internal("untyped"))?;
                (vec![0u8; ty.max_bytes(symbols) as usize], Some(*v))
            }
            Source::Value(v) => (
                known.get(v).map(|t| t.data.to_vec()).unwrap_or_default(),
                None,
            ),
            Source::Scratch(n) => (vec![0u8; *n as usize], None),
            Source::Const(t) => (t.data.to_vec(), None),
        };
        buffers.push(bytes);
        made.push(out);
    }
    let references = References::default();
    let env = Env {
        symbols,
        callees: &references,
        budget: Some(BUDGET),
    };
    let mut syms = vec![0; symbols.len()];
    let mut memory = Memory::of(buffers.iter_mut().map(Vec::as_mut_slice).collect());
    match run(&lowered.func, &mut memory, &[], &mut syms, &env) {
        Ok(()) => {}
        Err(Stop::Fault(what)) => {
            return Err(Diagnostic::internal(format!(
                "folding {}: {what}",
                g.describe(n)
            )));
        }
        // What fails at run time is left to fail at run time.
        Err(_) => return Ok(None),
    }
    for (bytes, v) in buffers.into_iter().zip(made) {
        if let Some(v) = v {
            results.insert(v, bytes);
        }
    }
    let mut out = vec![];
    for (&v, shape) in node.outs.iter().zip(shapes) {
        let t = match (g.is_used(v), g.ty(v)) {
            (true, Some(ty)) => {
                let bytes = results.remove(&v).unwrap_or_default();
                Some(Tensor::new(ty.dtype, shape, bytes.into())?)
            }
            _ => None,
        };
        out.push(t);
    }
    Ok(Some(out))
}
