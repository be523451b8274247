//! Pointwise QLinear operators, spelled out: dequantize, operator, quantize. Those whose scales are not constants stay as they are: they compute in
//! whole numbers by themselves.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::pass::PassCx;

/// An operator of two operands or one: its name, the operator, inputs of values (scale and zero point stand behind each), and the place of the
/// output's scale.
struct Row {
    name: &'static str,
    op: &'static str,
    values: &'static [usize],
    to: usize,
}

const ROWS: &[Row] = &[
    row("QLinearAdd", "Add", &[0, 3], 6),
    row("QLinearMul", "Mul", &[0, 3], 6),
    row("QLinearSigmoid", "Sigmoid", &[0], 3),
    row("QLinearLeakyRelu", "LeakyRelu", &[0], 3),
];

const fn row(name: &'static str, op: &'static str, values: &'static [usize], to: usize) -> Row {
    Row {
        name,
        op,
        values,
        to,
    }
}

/// Spells all of them.
pub fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        let name = g.node(n).op.name;
        let Some(row) = ROWS.iter().find(|r| r.name == name) else {
            continue;
        };
        let ins = g.node(n).ins.clone();
        let scales = row.values.iter().map(|v| v + 1).chain([row.to]);
        let known = scales.flat_map(|s| [s, s + 1]).all(|i| {
            let v = ins.get(i).copied().flatten();
            v.is_none_or(|v| g.konst(v).is_some())
        });
        if known && cx.edit() {
            let v = spell(g, cx, n, row, &ins)?;
            let out = g.node(n).outs[0];
            g.replace_uses(out, v);
        }
    }
    super::super::dead::left_behind(g);
    Ok(())
}

fn spell(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    row: &Row,
    ins: &[Option<ValueId>],
) -> Result<ValueId> {
    let (attrs, loc) = (g.node(n).attrs.clone(), g.node(n).loc.clone());
    let input = |i: usize| ins.get(i).copied().flatten();
    let mut operands = vec![];
    for &v in row.values {
        let of = [input(v), input(v + 1), input(v + 2)];
        operands.push(Some(linear(g, cx, n, "DequantizeLinear", of, &loc)?));
    }
    let real = make(g, cx, n, row.op, attrs, &operands, loc.clone())?;
    let to = [Some(real), input(row.to), input(row.to + 1)];
    linear(g, cx, n, "QuantizeLinear", to, &loc)
}

fn linear(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    name: &str,
    ins: [Option<ValueId>; 3],
    loc: &Loc,
) -> Result<ValueId> {
    let attrs = Attrs::default().with("axis", Attr::Int(0));
    let ins = match ins[2] {
        Some(_) => &ins[..],
        None => &ins[..2],
    };
    make(g, cx, n, name, attrs, ins, loc.clone())
}
