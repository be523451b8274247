//! Pointwise QLinear operators, spelled out: dequantize, operator, quantize. Those whose scales are not constants stay as they are: they compute in
//! whole numbers by themselves.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
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
    stored(g, cx)?;
    widen(g, cx);
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

/// Constants that the file holds in floats and quantizes are whole numbers from the start, as weights of other files are.
fn stored(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        let node = g.node(n);
        let known = node.ins.iter().flatten().all(|&v| g.konst(v).is_some());
        let wanted = g.is_used(node.outs[0]) && g.konst(node.outs[0]).is_none();
        if node.op.name != "QuantizeLinear" || !known || !wanted {
            continue;
        }
        let out = node.outs[0];
        let made = crate::plan::eval::eval(g, n, cx.symbols).map_err(|d| d.at(g.describe(n)))?;
        let Some(t) = made.and_then(|mut l| l.pop().flatten()) else {
            continue;
        };
        if cx.edit() {
            g.make_const(out, t);
        }
    }
    super::super::dead::left_behind(g);
    Ok(())
}

/// Constants below 8 bits with one step for each channel become bytes of the same numbers, which kernels multiply. Blocked ones stay: their sums would have
/// several scales.
fn widen(g: &mut Graph, cx: &mut PassCx) {
    for n in g.order().to_vec() {
        let node = g.node(n);
        if node.op.name != "DequantizeLinear" || node.attrs.int("block_size", 0) != 0 {
            continue;
        }
        let ins = node.ins.clone();
        let byte = |v: Option<ValueId>| {
            let t = g.konst(v?)?;
            let dtype = match t.dtype {
                DType::I4 | DType::I2 => DType::I8,
                DType::U4 | DType::U2 => DType::U8,
                _ => return None,
            };
            Some(Tensor { dtype, ..t.clone() })
        };
        let zero = ins.get(2).copied().flatten();
        let (Some(q), z) = (byte(ins[0]), byte(zero)) else {
            continue;
        };
        if (zero.is_some() && z.is_none()) || !cx.edit() {
            continue;
        }
        for (k, t) in [(0, Some(q)), (2, z)] {
            let (Some(t), Some(old)) = (t, ins.get(k).copied().flatten()) else {
                continue;
            };
            let name = g.value(old).name.clone();
            let v = g.add_const(&name, t);
            g.set_input(n, k, Some(v));
        }
    }
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
