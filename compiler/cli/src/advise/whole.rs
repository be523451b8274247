//! Layers of whole numbers: their queries have no text, so one is made from the node, and costs follow from the rates of the rows.

use onnxc_compiler::artifact::LayerInfo;
use onnxc_compiler::base::costs::Costs;
use onnxc_compiler::base::dim::fixed_shape;
use onnxc_compiler::graph::ir::{Graph, Model, Node};

use super::query::Query;
use crate::bench::kernel;

/// The query of a layer's ConvInteger or MatMulInteger, channels first as all texts are.
pub fn query(m: &Model, info: &LayerInfo) -> Option<Query> {
    let g = &m.graph;
    let first = info.ops.first()?;
    let mut nodes = g.order().iter().map(|n| g.node(*n));
    let node = nodes.find(|n| {
        n.op.name == first.as_str()
            && !n.loc.0.is_empty()
            && (n.loc.0.iter()).all(|l| info.nodes.iter().any(|own| **own == **l))
    })?;
    Query::parse(&match first.as_str() {
        "ConvInteger" => conv(g, node)?,
        "MatMulInteger" => gemm(g, node)?,
        _ => return None,
    })
}

fn shape(g: &Graph, node: &Node, k: usize) -> Option<Vec<i64>> {
    let v = (*node.ins.get(k)?)?;
    fixed_shape(&g.ty(v)?.shape)
}

fn join(list: &[i64], by: &str) -> String {
    let list: Vec<String> = list.iter().map(i64::to_string).collect();
    list.join(by)
}

fn conv(g: &Graph, node: &Node) -> Option<String> {
    let (mut x, w) = (shape(g, node, 0)?, shape(g, node, 1)?);
    let attrs = &node.attrs;
    let last = attrs.int("channels_last", 0) != 0;
    if last && x.len() > 2 {
        let c = x.pop()?;
        x.insert(1, c);
    }
    if w.get(2..)? != attrs.ints("kernel_shape")? || x.len() != w.len() {
        return None;
    }
    let mut text = format!("conv {} {}", join(&x, "x"), join(&w, "x"));
    for (name, attr, plain) in [
        ("stride", "strides", 1),
        ("pad", "pads", 0),
        ("dilation", "dilations", 1),
    ] {
        let list = attrs.ints(attr)?;
        match list.iter().all(|n| n == list.first().unwrap_or(&plain)) {
            true if list.first().is_none_or(|n| *n == plain) => {}
            true => text += &format!(" {name}={}", list[0]),
            false => text += &format!(" {name}={}", join(list, ",")),
        }
    }
    let groups = attrs.int("group", 1);
    if groups != 1 {
        text += &format!(" group={groups}");
    }
    Some(text + if last { " last=1" } else { "" })
}

fn gemm(g: &Graph, node: &Node) -> Option<String> {
    let (x, w) = (shape(g, node, 0)?, shape(g, node, 1)?);
    let (k, rows) = x.split_last()?;
    if w.len() != 2 || w[0] != *k {
        return None;
    }
    let rows: i64 = rows.iter().product();
    Some(format!("gemm {rows}x{k} {}x{}", w[0], w[1]))
}

/// What a query costs in whole numbers, where `row` computes what is not depthwise; `None` if the row's cost is not by products alone.
pub fn cost(costs: &Costs, row: &str, q: &Query) -> Option<f64> {
    let row = match q.depthwise() {
        true => "conv_i8_depthwise_last",
        // A layer that is depthwise now is strips of products then.
        false if row.contains("depthwise") => return None,
        false => row,
    };
    let [call, mac, transform, ..] = costs.rates_of(row);
    (transform == 0.0).then_some(call + mac * kernel::amounts(&q.text())?.0)
}
