//! Replaces nodes whose inputs are constants by their values.
//!
//! A value that would make the object larger than its parts (an Expand of a scalar to a megabyte) is left to run time. Floats that come from
//! whole numbers remember them (`scales`), so that kernels can store what the file stores.

mod scales;

use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::op::Lower;
use crate::pass::{Pass, PassCx};

/// Growth in bytes that folding one node may cost.
const MAX_GROWTH: i64 = 1 << 20;

/// The pass.
pub static PASS: Pass = Pass {
    name: "fold",
    doc: "computes what hangs on constants alone, by interpreting its loops",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        let node = g.node(n);
        if matches!(node.op.lower, Lower::Control(_)) || !node.op.pure {
            continue;
        }
        if !node
            .outs
            .iter()
            .any(|&v| g.is_used(v) && g.konst(v).is_none())
        {
            continue;
        }
        if !node.ins.iter().flatten().all(|&v| g.konst(v).is_some()) {
            continue;
        }
        let bytes_in: i64 = node
            .ins
            .iter()
            .flatten()
            .filter_map(|&v| g.konst(v))
            .map(|t| t.data.len() as i64)
            .sum();
        let bytes_out: i64 = node
            .outs
            .iter()
            .filter_map(|&v| g.ty(v))
            .map(|t| t.max_bytes(cx.symbols))
            .sum();
        if bytes_out > bytes_in.saturating_mul(4).saturating_add(MAX_GROWTH) {
            continue;
        }
        let outs = node.outs.clone();
        let quant = scales::of(g, n);
        let results = crate::plan::eval::eval(g, n, cx.symbols).map_err(|d| d.at(g.describe(n)))?;
        let Some(results) = results else { continue };
        if !cx.edit() {
            return Ok(());
        }
        for (&v, t) in outs.iter().zip(results) {
            if let Some(t) = t {
                g.make_const(v, t);
            }
        }
        if let (Some(&v), Some(quant)) = (outs.first(), quant)
            && let Some(ty) = &mut g.value_mut(v).ty
        {
            ty.quant = Some(quant);
        }
    }
    Ok(())
}
