//! Layers whose queries have no text, whole numbers and free sizes: one is made from the node.
//!
//! What whole numbers cost follows from the rates of the rows. Free sizes are taken at their largest.

use onnxc_compiler::artifact::LayerInfo;
use onnxc_compiler::base::costs::Costs;
use onnxc_compiler::base::dim::Dim;
use onnxc_compiler::graph::ir::{Model, Node};

use super::query::Query;
use crate::bench::kernel;

/// The query of a layer's convolution or product of matrices, channels first as all texts are; and whether free sizes stand in it at their largest.
pub fn query(m: &Model, info: &LayerInfo) -> Option<(Query, bool)> {
    let g = &m.graph;
    let first = info.ops.first()?;
    let mut nodes = g.order().iter().map(|n| g.node(*n));
    let node = nodes.find(|n| {
        n.op.name == first.as_str()
            && !n.loc.0.is_empty()
            && (n.loc.0.iter()).all(|l| info.nodes.iter().any(|own| **own == **l))
    })?;
    let mut free = false;
    let mut shape = |k: usize| -> Option<Vec<i64>> {
        let v = (*node.ins.get(k)?)?;
        let sizes = g.ty(v)?.shape.iter().map(|d: &Dim| {
            free |= d.fixed().is_none();
            d.bounds(&m.symbols).1
        });
        Some(sizes.collect())
    };
    let (x, w) = (shape(0)?, shape(1)?);
    // A size without a bound is none.
    if x.iter().chain(&w).any(|n| *n < 1 || *n > 1 << 24) {
        return None;
    }
    let text = match first.as_str() {
        "ConvInteger" | "Conv" => conv(node, x, &w)?,
        "MatMulInteger" | "MatMul" => gemm(&x, &w)?,
        "Gemm" if node.attrs.int("transA", 0) == 0 => match node.attrs.int("transB", 0) {
            0 => gemm(&x, &w)?,
            _ => gemm(&x, &[*w.get(1)?, *w.first()?])?,
        },
        _ => return None,
    };
    Some((Query::parse(&text)?, free))
}

fn join(list: &[i64], by: &str) -> String {
    let list: Vec<String> = list.iter().map(i64::to_string).collect();
    list.join(by)
}

fn conv(node: &Node, mut x: Vec<i64>, w: &[i64]) -> Option<String> {
    let attrs = &node.attrs;
    let last = attrs.int("channels_last", 0) != 0;
    if last && x.len() > 2 {
        let c = x.pop()?;
        x.insert(1, c);
    }
    let groups = attrs.int("group", 1);
    let window = w.get(2..)?;
    if attrs.ints("kernel_shape").is_some_and(|k| k != window)
        || x.len() != w.len()
        || x[1] != w[1] * groups
        || attrs.str("auto_pad", "NOTSET") != "NOTSET"
    {
        return None;
    }
    let mut text = format!("conv {} {}", join(&x, "x"), join(w, "x"));
    for (name, attr, plain) in [
        ("stride", "strides", 1),
        ("pad", "pads", 0),
        ("dilation", "dilations", 1),
    ] {
        let Some(list) = attrs.ints(attr) else {
            continue;
        };
        match list.iter().all(|n| n == list.first().unwrap_or(&plain)) {
            true if list.first().is_none_or(|n| *n == plain) => {}
            true => text += &format!(" {name}={}", list[0]),
            false => text += &format!(" {name}={}", join(list, ",")),
        }
    }
    if groups != 1 {
        text += &format!(" group={groups}");
    }
    Some(text + if last { " last=1" } else { "" })
}

fn gemm(x: &[i64], w: &[i64]) -> Option<String> {
    let (k, rows) = x.split_last()?;
    if w.len() != 2 || w[0] != *k {
        return None;
    }
    let rows: i64 = rows.iter().product();
    Some(format!("gemm {rows}x{k} {}x{}", w[0], w[1]))
}

/// What a query costs in whole numbers, where `row` computes what is not depthwise; `strips`, the row of plain products, stands for one whose cost is not by
/// products alone (Winograd): what is asked for has another shape, and may not be for it.
pub fn cost(costs: &Costs, row: &str, strips: Option<&str>, q: &Query) -> Option<f64> {
    let row = match q.depthwise() {
        true => "conv_i8_depthwise_last",
        // A layer that is depthwise now is strips of products then.
        false if row.contains("depthwise") => return None,
        false if transforms(costs, row) => strips?,
        false => row,
    };
    let [call, mac, ..] = costs.rates_of(row);
    (!transforms(costs, row)).then_some(call + mac * kernel::amounts(&q.text())?.0)
}

/// Whether more than products makes the cost of a row.
pub fn transforms(costs: &Costs, row: &str) -> bool {
    costs.rates_of(row)[2] != 0.0
}
