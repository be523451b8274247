//! Constants of a layer's tail that are stored in fewer bytes than its kernel reads.

use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::numbers::Numbers;
use crate::contracts::widen::Narrow;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::kernel::LowerCx;
use crate::loops::ir::BufId;
use crate::ops::requantize_single::LARGE;
use std::collections::HashMap;

/// Memory with a constant of a node of a tail, which the layer writes first; `None`: it is stored as it is. `out`: what the layer's anchor makes; `bufs`:
/// what was declared.
pub(super) fn written_out(
    cx: &mut LowerCx,
    g: &Graph,
    (n, v): (NodeId, ValueId),
    out: ValueId,
    bufs: &HashMap<ValueId, BufId>,
) -> Result<Option<BufId>> {
    let Some(t) = g.konst(v) else {
        return Ok(None);
    };
    if let Some(numbers) = Numbers::of(cx, t, other(g, n, v, bufs)) {
        return numbers.write(cx, "wide").map(Some);
    }
    let results = g.ty(out).and_then(|t| t.elements().fixed());
    let narrow = results.and_then(|r| Narrow::of(t, r, &[LARGE, 0.0]));
    narrow.map(|narrow| narrow.wide(cx, "wide")).transpose()
}

/// The same of a constant that loops over a large output read: each number for many elements.
pub(super) fn written_rarely(
    cx: &mut LowerCx,
    g: &Graph,
    v: ValueId,
    out: ValueId,
) -> Result<Option<BufId>> {
    const MANY: i64 = 64;
    let results = g.ty(out).and_then(|t| t.elements().fixed());
    let often = |t: &&Tensor| results.is_some_and(|r| r >= MANY * t.len() as i64);
    let numbers = g
        .konst(v)
        .filter(often)
        .and_then(|t| Numbers::of(cx, t, None));
    numbers.map(|numbers| numbers.write(cx, "wide")).transpose()
}

/// The first multipliers of a node, which those of a second line may be multiples of.
fn other<'a>(
    g: &'a Graph,
    n: NodeId,
    v: ValueId,
    bufs: &HashMap<ValueId, BufId>,
) -> Option<(&'a Tensor, BufId)> {
    let mut before = g.node(n).ins.iter().flatten().take_while(|of| **of != v);
    let first = before.find(|of| {
        g.konst(**of)
            .is_some_and(|t| t.dtype == DType::F32 && t.len() > 1)
    })?;
    Some((g.konst(*first)?, *bufs.get(first)?))
}
