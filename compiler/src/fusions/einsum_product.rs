//! An Einsum of two tensors that sums over what both have becomes MatMul between transpositions: products of matrices have kernels, sums over labelled axes
//! have loops.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, ValueId};
use crate::ops::einsum::{Label, plan};
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "einsum_product",
    doc: "an Einsum that is a product of matrices becomes MatMul between transpositions",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    rewrite(g, cx, &[op("Einsum", [any("a"), any("b")])], product)
}

/// The axes that `order` names, as places among `labels`.
fn places(labels: &[Label], order: &[Label]) -> Option<Vec<i64>> {
    let at = |l: &Label| labels.iter().position(|x| x == l).map(|i| i as i64);
    order.iter().map(at).collect()
}

fn product(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let root = m.root();
    let ins = [m.value("a")?, m.value("b")?];
    let shape = |v: ValueId| {
        let t = g
            .ty(v)
            .filter(|t| t.dtype.is_float() && t.dtype != DType::F64)?;
        fixed_shape(&t.shape)
    };
    let (Some(sa), Some(sb)) = (shape(ins[0]), shape(ins[1])) else {
        return skip("sizes are not fixed, or its numbers have no such kernel");
    };
    if sa.iter().chain(&sb).any(|n| *n == 0) {
        return skip("there is nothing to multiply");
    }
    let equation = g.node(root).attrs.str("equation", "").to_string();
    let p = plan(&equation, &[sa.len(), sb.len()])?;
    let [a, b] = [&p.operands[0], &p.operands[1]];
    let twice = |l: &[Label]| l.iter().enumerate().any(|(i, x)| l[..i].contains(x));
    if twice(a) || twice(b) {
        return skip("it reads a diagonal");
    }
    let of = |l: &Label| {
        let at = |labels: &[Label], sizes: &[i64]| {
            let i = labels.iter().position(|x| x == l)?;
            sizes.get(i).copied()
        };
        (at(a, &sa), at(b, &sb))
    };
    // By where they stand: in both and the result, in one and the result, in both alone.
    let (mut batch, mut rows, mut columns, mut inner) = (vec![], vec![], vec![], vec![]);
    for l in &p.output {
        match of(l) {
            (Some(x), Some(y)) if x == y => batch.push(*l),
            (Some(_), None) => rows.push(*l),
            (None, Some(_)) => columns.push(*l),
            _ => return skip("an axis is repeated along a larger one"),
        }
    }
    for l in &p.summed {
        match of(l) {
            (Some(x), Some(y)) if x == y => inner.push(*l),
            _ => return skip("it sums over what one input has"),
        }
    }
    if inner.is_empty() || rows.is_empty() && columns.is_empty() {
        return skip("it is no product of matrices");
    }
    // In the order of the first, which then need not be transposed for them.
    inner.sort_by_key(|l| a.iter().position(|x| x == l));
    let size = |l: &Label| of(l).0.or(of(l).1).unwrap_or(1);
    let sizes = |l: &[Label]| l.iter().map(size).collect::<Vec<i64>>();
    let all = |l: &[Label]| l.iter().map(size).product::<i64>();
    let loc = place(g, m);
    let mut made = vec![];
    for (v, labels, [first, second]) in [
        (ins[0], a, [&rows, &inner]),
        (ins[1], b, [&inner, &columns]),
    ] {
        let order: Vec<Label> = [&batch, first, second]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let Some(perm) = places(labels, &order) else {
            return skip("an axis has no place");
        };
        let v = turned(g, cx, m, v, perm)?;
        let mut to = sizes(&batch);
        to.extend([all(first), all(second)]);
        made.push(shaped(g, cx, m, v, to)?);
    }
    let both = [Some(made[0]), Some(made[1])];
    let y = make(g, cx, root, "MatMul", Attrs::default(), &both, loc.clone())?;
    let order: Vec<Label> = [&batch, &rows, &columns]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let y = shaped(g, cx, m, y, sizes(&order))?;
    let Some(perm) = places(&order, &p.output) else {
        return skip("an axis has no place");
    };
    Ok(Outcome::Replace(turned(g, cx, m, y, perm)?))
}

/// A transposition, where it does anything.
fn turned(
    g: &mut Graph,
    cx: &mut PassCx,
    m: &Match,
    v: ValueId,
    perm: Vec<i64>,
) -> Result<ValueId> {
    if perm.iter().enumerate().all(|(i, p)| *p == i as i64) {
        return Ok(v);
    }
    let attrs = Attrs::default().with("perm", Attr::Ints(perm));
    let loc = place(g, m);
    make(g, cx, m.root(), "Transpose", attrs, &[Some(v)], loc)
}

/// Another shape, where it is one.
fn shaped(g: &mut Graph, cx: &mut PassCx, m: &Match, v: ValueId, to: Vec<i64>) -> Result<ValueId> {
    if g.ty(v).and_then(|t| fixed_shape(&t.shape)).as_ref() == Some(&to) {
        return Ok(v);
    }
    let list = g.add_const("", Tensor::i64(&[to.len() as i64], &to));
    let loc = place(g, m);
    let ins = [Some(v), Some(list)];
    make(g, cx, m.root(), "Reshape", Attrs::default(), &ins, loc)
}
