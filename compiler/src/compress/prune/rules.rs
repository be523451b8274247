//! The rule of each operator: what it ties. What is not listed ties everything down, by name.

use super::regroup::regroup;
use super::relations::{Cx, Relation, pointwise, size};
use crate::graph::ir::{NodeId, ValueId};
use crate::op::resolve_axis;

/// Writes down what a node ties.
pub(super) fn rule(cx: &mut Cx, n: NodeId) {
    let g = cx.g;
    let node = g.node(n);
    let out = node.outs[0];
    let input = |k: usize| node.ins.get(k).copied().flatten();
    if pointwise(g, n) {
        for v in node.ins.iter().flatten() {
            cx.spread(*v, out);
        }
        return;
    }
    let name = node.op.name;
    let Some(x) = input(0) else {
        return cx.fix_node(n, &format!("{} makes it", g.describe(n)));
    };
    match name {
        "Conv" => conv(cx, n, x),
        "ConvTranspose" => conv_transpose(cx, n, x),
        "Gemm" => gemm(cx, n, x),
        "MatMul" => matmul(cx, n, x),
        "BatchNormalization" | "InstanceNormalization" => {
            cx.spread(x, out);
            for v in node.ins[1..].iter().flatten() {
                cx.same((*v, 0), (x, 1));
            }
        }
        "GroupNormalization" => {
            cx.spread(x, out);
            let groups = node.attrs.int("num_groups", 1).max(1) as usize;
            for v in node.ins[1..].iter().flatten() {
                cx.same((*v, 0), (x, 1));
            }
            if let Some(c) = size(g, (x, 1)) {
                let by = c / groups;
                cx.out.list.push(Relation::Modular { axis: (x, 1), by });
            }
        }
        "LayerNormalization" => {
            for v in node.ins.iter().flatten() {
                cx.spread(*v, out);
            }
            let rank = cx.shape(x).len();
            let axis = resolve_axis(node.attrs.int("axis", -1), rank).unwrap_or(0);
            if axis + 1 < rank {
                for a in axis..rank {
                    cx.fix((x, a), &format!("{} normalizes it", g.describe(n)));
                }
            }
            for &more in &node.outs[1..] {
                cx.fix_all(more, "it holds statistics");
            }
        }
        "AveragePool" | "MaxPool" | "LpPool" | "GlobalAveragePool" | "GlobalMaxPool"
        | "GlobalLpPool" => {
            planes(cx, n, x, out);
            for &more in node.outs[1..].iter().filter(|v| g.is_used(**v)) {
                cx.fix_all(x, &format!("{} gives places in it", g.describe(n)));
                cx.fix_all(more, "it holds places");
            }
        }
        "GridSample" => {
            planes(cx, n, x, out);
            for v in node.ins[1..].iter().flatten() {
                cx.fix_all(*v, "it holds coordinates");
            }
        }
        "Resize" => {
            for a in 0..cx.shape(x).len() {
                match size(g, (x, a)).is_some() && size(g, (x, a)) == size(g, (out, a)) {
                    true => cx.same((x, a), (out, a)),
                    false => fix_pair(cx, n, (x, a), (out, a), "resizes"),
                }
            }
        }
        "Concat" => concat(cx, n),
        "Split" => split(cx, n, x),
        "Slice" => slice(cx, n, x),
        "Pad" => pad(cx, n, x),
        "Transpose" => {
            let rank = cx.shape(x).len();
            let back: Vec<i64> = (0..rank as i64).rev().collect();
            let perm = node.attrs.ints("perm").unwrap_or(&back).to_vec();
            for (a, p) in perm.iter().enumerate() {
                cx.same((out, a), (x, *p as usize));
            }
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => regroup(cx, n, x),
        "Expand" => {
            cx.spread(x, out);
            let (rank, own) = (cx.shape(out).len(), cx.shape(x).len());
            for a in 0..rank {
                let from = (a + own).checked_sub(rank).map(|b| (x, b));
                let spread = from.is_none_or(|f| size(g, f) == Some(1));
                if spread {
                    cx.fix((out, a), &format!("{} repeats it", g.describe(n)));
                }
            }
        }
        "Tile" => {
            for a in 0..cx.shape(x).len() {
                match size(g, (x, a)) == size(g, (out, a)) {
                    true => cx.same((x, a), (out, a)),
                    false => fix_pair(cx, n, (x, a), (out, a), "repeats"),
                }
            }
        }
        "Gather" => gather(cx, n, x),
        "DepthToSpace" => {
            cx.same((x, 0), (out, 0));
            let b = node.attrs.int("blocksize", 1).max(1) as usize;
            let inner = match node.attrs.str("mode", "DCR") {
                "CRD" => b * b,
                _ => 1,
            };
            cx.map((x, 1), (out, 1), inner);
            space(cx, n, x, out);
        }
        "SpaceToDepth" => {
            cx.same((x, 0), (out, 0));
            cx.map((out, 1), (x, 1), 1);
            space(cx, n, x, out);
        }
        "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" | "CumSum" | "LRN" => {
            cx.spread(x, out);
            let rank = cx.shape(x).len();
            let flat = node.attrs.flag("flat");
            let default = if name == "LRN" { 1 } else { -1 };
            let axis = resolve_axis(node.attrs.int("axis", default), rank);
            for a in 0..rank {
                let hit = axis.as_ref().is_ok_and(|k| a == *k || (flat && a >= *k));
                if hit || axis.is_err() || name == "CumSum" {
                    cx.fix((x, a), &format!("{} compares along it", g.describe(n)));
                }
            }
        }
        "Trilu" => {
            cx.spread(x, out);
            let rank = cx.shape(x).len();
            for a in rank.saturating_sub(2)..rank {
                cx.fix((x, a), &format!("{} cuts along it", g.describe(n)));
            }
        }
        "QuantizeLinear" | "DequantizeLinear" => {
            cx.spread(x, out);
            let rank = cx.shape(x).len();
            let axis = resolve_axis(node.attrs.int("axis", 1), rank.max(1)).unwrap_or(0);
            for v in node.ins[1..].iter().flatten() {
                match cx.shape(*v).len() {
                    0 => {}
                    1 => cx.same((*v, 0), (x, axis)),
                    _ => cx.fix_node(n, &format!("{} has steps of blocks", g.describe(n))),
                }
            }
        }
        "LSTM" | "GRU" | "RNN" => {
            if let Some(w) = input(1) {
                cx.same((x, 2), (w, 2));
                cx.fix((w, 1), &format!("{} keeps a state", g.describe(n)));
            }
            let text = format!("{} keeps a state", g.describe(n));
            for a in [0, 1] {
                cx.fix((x, a), &text);
            }
            for v in node.ins.iter().skip(2).flatten().chain(&node.outs) {
                cx.fix_all(*v, &text);
            }
        }
        "Shape" | "Size" => cx.fix_all(out, "it holds sizes"),
        _ if name.starts_with("Reduce") || name.starts_with("Arg") => reduce(cx, n, x),
        _ => cx.fix_node(n, &format!("{} is not known to pruning", g.describe(n))),
    }
}

fn fix_pair(cx: &mut Cx, n: NodeId, a: (ValueId, usize), b: (ValueId, usize), does: &str) {
    let text = format!("{} {does} it", cx.g.describe(n));
    cx.fix(a, &text);
    cx.fix(b, &text);
}

/// Batch and channels pass through; space does not.
fn planes(cx: &mut Cx, n: NodeId, x: ValueId, out: ValueId) {
    cx.same((x, 0), (out, 0));
    cx.same((x, 1), (out, 1));
    space(cx, n, x, out);
}

fn space(cx: &mut Cx, n: NodeId, x: ValueId, out: ValueId) {
    let text = format!("{} slides over it", cx.g.describe(n));
    for v in [x, out] {
        for a in 2..cx.shape(v).len() {
            cx.fix((v, a), &text);
        }
    }
}

fn conv(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let Some(w) = node.ins.get(1).copied().flatten() else {
        return;
    };
    let group = node.attrs.int("group", 1).max(1) as usize;
    cx.same((x, 0), (out, 0));
    space(cx, n, x, out);
    for a in 2..cx.shape(w).len() {
        cx.fix((w, a), "it is the window of a convolution");
    }
    cx.same((w, 0), (out, 1));
    if let Some(b) = node.ins.get(2).copied().flatten() {
        cx.same((b, 0), (out, 1));
    }
    if let Some(z) = node.ins.get(3).copied().flatten() {
        cx.spread(z, out);
    }
    let (Some(rows), Some(each)) = (size(cx.g, (w, 0)), size(cx.g, (w, 1))) else {
        return cx.fix_node(n, "its channels are not known");
    };
    if group == 1 {
        cx.same((x, 1), (w, 1));
    } else if each == 1 {
        // Depthwise: a group goes with its channel.
        cx.map((w, 0), (x, 1), (rows / group).max(1));
    } else {
        // Every group loses the same channels, so that all stay of one size.
        cx.map((x, 1), (w, 1), 1);
        let by = (rows / group).max(1);
        cx.out.list.push(Relation::Modular { axis: (w, 0), by });
        if by == 1 {
            cx.fix((w, 0), "a group has one output channel");
        }
    }
}

fn conv_transpose(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let Some(w) = node.ins.get(1).copied().flatten() else {
        return;
    };
    let group = node.attrs.int("group", 1).max(1) as usize;
    cx.same((x, 0), (out, 0));
    space(cx, n, x, out);
    for a in 2..cx.shape(w).len() {
        cx.fix((w, a), "it is the window of a convolution");
    }
    if let Some(b) = node.ins.get(2).copied().flatten() {
        cx.same((b, 0), (out, 1));
    }
    cx.same((w, 0), (x, 1));
    if group == 1 {
        return cx.same((w, 1), (out, 1));
    }
    let (Some(c), Some(each)) = (size(cx.g, (w, 0)), size(cx.g, (w, 1))) else {
        return cx.fix_node(n, "its channels are not known");
    };
    if each == 1 && c == group {
        cx.same((w, 0), (out, 1));
    } else {
        cx.map((out, 1), (w, 1), 1);
        let by = (c / group).max(1);
        cx.out.list.push(Relation::Modular { axis: (w, 0), by });
    }
}

fn gemm(cx: &mut Cx, n: NodeId, a: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let Some(b) = node.ins.get(1).copied().flatten() else {
        return;
    };
    let (ta, tb) = (node.attrs.flag("trans_a"), node.attrs.flag("trans_b"));
    let axis = |turned: bool, k: usize| if turned { 1 - k } else { k };
    cx.same((a, axis(ta, 0)), (out, 0));
    cx.same((a, axis(ta, 1)), (b, axis(tb, 0)));
    cx.same((b, axis(tb, 1)), (out, 1));
    if let Some(c) = node.ins.get(2).copied().flatten() {
        cx.spread(c, out);
    }
}

fn matmul(cx: &mut Cx, n: NodeId, a: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let Some(b) = node.ins.get(1).copied().flatten() else {
        return;
    };
    let (ra, rb, ro) = (cx.shape(a).len(), cx.shape(b).len(), cx.shape(out).len());
    if ra < 2 || rb < 2 || ro < 2 {
        return cx.fix_node(n, &format!("{} multiplies a vector", cx.g.describe(n)));
    }
    let (ta, tb) = (node.attrs.flag("trans_a"), node.attrs.flag("trans_b"));
    let (am, ak) = if ta {
        (ra - 1, ra - 2)
    } else {
        (ra - 2, ra - 1)
    };
    let (bk, bn) = if tb {
        (rb - 1, rb - 2)
    } else {
        (rb - 2, rb - 1)
    };
    cx.same((a, am), (out, ro - 2));
    cx.same((a, ak), (b, bk));
    cx.same((b, bn), (out, ro - 1));
    for k in 0..ro - 2 {
        for (v, r) in [(a, ra), (b, rb)] {
            if let Some(own) = (k + r).checked_sub(ro) {
                cx.same((v, own), (out, k));
            }
        }
    }
}

fn concat(cx: &mut Cx, n: NodeId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let rank = cx.shape(out).len();
    let Ok(axis) = resolve_axis(node.attrs.int("axis", 0), rank.max(1)) else {
        return cx.fix_node(n, "its axis is not known");
    };
    let mut at = Some(0);
    for &v in node.ins.iter().flatten() {
        for a in (0..rank).filter(|a| *a != axis) {
            cx.same((v, a), (out, a));
        }
        let own = size(cx.g, (v, axis));
        match (at, own, size(cx.g, (out, axis))) {
            (Some(at), Some(1..), Some(_)) => cx.out.list.push(Relation::Part {
                part: (v, axis),
                whole: (out, axis),
                at,
            }),
            _ => cx.fix((v, axis), "what it is put behind has no fixed size"),
        }
        at = at.zip(own).map(|(a, b)| a + b);
    }
}

fn split(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let rank = cx.shape(x).len();
    let known = node.ins.get(1).copied().flatten();
    let known = known.is_none_or(|v| cx.g.konst(v).is_some());
    let Ok(axis) = resolve_axis(node.attrs.int("axis", 0), rank.max(1)) else {
        return cx.fix_node(n, "its axis is not known");
    };
    let mut at = Some(0);
    for &v in &node.outs {
        for a in (0..rank).filter(|a| *a != axis) {
            cx.same((v, a), (x, a));
        }
        let own = size(cx.g, (v, axis));
        match (at, own, size(cx.g, (x, axis))) {
            (Some(at), Some(1..), Some(_)) if known => cx.out.list.push(Relation::Part {
                part: (v, axis),
                whole: (x, axis),
                at,
            }),
            _ => fix_pair(cx, n, (v, axis), (x, axis), "splits"),
        }
        at = at.zip(own).map(|(a, b)| a + b);
    }
}

/// Start, end and step of each axis that a Slice cuts, as it says them; `None` where that is computed.
pub(super) fn cuts(cx: &Cx, n: NodeId, rank: usize) -> Option<Vec<(usize, i64, i64, i64)>> {
    let node = cx.g.node(n);
    let given = |k: usize| node.ins.get(k).copied().flatten().is_some();
    let (starts, ends) = (cx.ints(n, 1)?, cx.ints(n, 2)?);
    let axes = match given(3) {
        true => cx.ints(n, 3)?,
        false => (0..starts.len() as i64).collect(),
    };
    let steps = match given(4) {
        true => cx.ints(n, 4)?,
        false => vec![1; starts.len()],
    };
    let mut out = vec![];
    for (k, a) in axes.iter().enumerate() {
        let axis = resolve_axis(*a, rank).ok()?;
        out.push((axis, *starts.get(k)?, *ends.get(k)?, *steps.get(k)?));
    }
    Some(out)
}

/// A start or end as a place on an axis.
pub(super) fn place(v: i64, size: usize) -> usize {
    let n = size as i64;
    let v = if v < 0 { v.saturating_add(n) } else { v };
    v.clamp(0, n) as usize
}

fn slice(cx: &mut Cx, n: NodeId, x: ValueId) {
    let out = cx.g.node(n).outs[0];
    let rank = cx.shape(x).len();
    let Some(cuts) = cuts(cx, n, rank) else {
        return cx.fix_node(n, &format!("{} cuts at computed places", cx.g.describe(n)));
    };
    for a in 0..rank {
        let cut = cuts.iter().find(|c| c.0 == a);
        match (cut, size(cx.g, (x, a))) {
            (None, _) => cx.same((x, a), (out, a)),
            (Some((_, start, _, 1)), Some(size)) => {
                let at = place(*start, size);
                cx.out.list.push(Relation::Part {
                    part: (out, a),
                    whole: (x, a),
                    at,
                });
            }
            _ => fix_pair(cx, n, (x, a), (out, a), "takes some of"),
        }
    }
}

fn pad(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let rank = cx.shape(x).len();
    let axes = match node.ins.get(3).copied().flatten().is_some() {
        true => cx.ints(n, 3),
        false => Some((0..rank as i64).collect()),
    };
    let (Some(axes), Some(pads)) = (axes, cx.ints(n, 1)) else {
        return cx.fix_node(n, &format!("{} pads by computed numbers", cx.g.describe(n)));
    };
    let zeros = node.attrs.str("mode", "constant") == "constant";
    for a in 0..rank {
        let k = (axes.iter()).position(|v| resolve_axis(*v, rank).is_ok_and(|v| v == a));
        let ends = k.map(|k| (pads.get(k), pads.get(k + axes.len())));
        match ends {
            None | Some((Some(0), Some(0))) => cx.same((x, a), (out, a)),
            Some((Some(&before @ 0..), Some(0..)))
                if zeros && size(cx.g, (x, a)).is_some_and(|n| n > 0) =>
            {
                cx.out.list.push(Relation::Part {
                    part: (x, a),
                    whole: (out, a),
                    at: before as usize,
                });
            }
            _ => fix_pair(cx, n, (x, a), (out, a), "pads"),
        }
    }
}

fn gather(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let rank = cx.shape(x).len();
    let Some(i) = node.ins.get(1).copied().flatten() else {
        return;
    };
    let Ok(axis) = resolve_axis(node.attrs.int("axis", 0), rank.max(1)) else {
        return cx.fix_node(n, "its axis is not known");
    };
    let many = cx.shape(i).len();
    for a in 0..rank {
        match a {
            a if a < axis => cx.same((x, a), (out, a)),
            a if a > axis => cx.same((x, a), (out, a + many - 1)),
            _ => {}
        }
    }
    let picked = cx.ints(n, 1).zip(size(cx.g, (x, axis)));
    match picked {
        Some((at, size)) if many == 1 && at.len() > 1 => {
            let indices: Vec<usize> = at
                .iter()
                .map(|v| if *v < 0 { v + size as i64 } else { *v } as usize)
                .collect();
            cx.out.list.push(Relation::Picked {
                from: (x, axis),
                to: (out, axis),
                indices,
            });
            cx.fix_all(i, "it holds places");
        }
        _ => {
            cx.fix((x, axis), &format!("{} picks from it", cx.g.describe(n)));
            for k in 0..many {
                cx.same((i, k), (out, axis + k));
            }
        }
    }
}

fn reduce(cx: &mut Cx, n: NodeId, x: ValueId) {
    let node = cx.g.node(n);
    let out = node.outs[0];
    let rank = cx.shape(x).len();
    let single = node.op.name.starts_with("Arg");
    let axes: Option<Vec<i64>> = match node.ins.get(1).copied().flatten() {
        Some(_) => cx.ints(n, 1),
        None if single => Some(vec![node.attrs.int("axis", 0)]),
        None => node.attrs.ints("axes").map(<[i64]>::to_vec),
    };
    let Some(axes) = axes.filter(|a| !a.is_empty()) else {
        return cx.fix_node(n, &format!("{} reduces all of it", cx.g.describe(n)));
    };
    let gone = |a: usize| {
        axes.iter()
            .any(|v| resolve_axis(*v, rank).is_ok_and(|v| v == a))
    };
    let keep = node.attrs.int("keepdims", 1) != 0;
    let mut at = 0;
    for a in 0..rank {
        if gone(a) {
            // A mean of fewer channels is a mean still.
            if node.op.name != "ReduceMean" {
                cx.fix((x, a), &format!("{} reduces it", cx.g.describe(n)));
            }
            at += usize::from(keep);
        } else {
            cx.same((x, a), (out, at));
            at += 1;
        }
    }
}
