//! softmax(Q K * scale + mask) V becomes one operator that keeps one row of scores instead of all.
//!
//! Off unless asked for: it saves memory and costs time, see `docs/decisions/002-attention.md`.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::graph::ir::{Graph, ValueId};
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "attention",
    doc: "softmax(Q K * scale + mask) V becomes one operator; saves memory, costs time",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let product = |k: Pat| op("MatMul", [any("q"), k]);
    let turned = || op("Transpose", [any("k")]).named("turn");
    let mut patterns = vec![];
    // The longer patterns first.
    for k in [turned(), any("k")] {
        for scaled in [
            product(k.clone()) * konst("factor"),
            product(k.clone()) / konst("divisor"),
            product(k),
        ] {
            for scores in [scaled.clone() + any("mask"), scaled] {
                let soft = op("Softmax", [scores]).named("soft");
                patterns.push(op("MatMul", [soft, any("v")]));
            }
        }
    }
    rewrite(g, cx, &patterns, |g, cx, m| {
        let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
        let (q, mut k, v) = (m.value("q")?, m.value("k")?, m.value("v")?);
        let rank = g.ty(q).map_or(0, |t| t.rank());
        let mut attrs = Attrs::default();
        if let Ok(turn) = m.node("turn") {
            // The last two axes exchanged: rows of K are read as they are. Another order stays a node of its own.
            let mut want: Vec<i64> = (0..rank as i64).collect();
            if rank >= 2 {
                want.swap(rank - 1, rank - 2);
            }
            match g.node(turn).attrs.ints("perm") == Some(&want) {
                true => attrs.set("rows", Attr::Int(1)),
                false => {
                    k = g.node(turn).outs[0];
                    &mut attrs
                }
            };
        }
        let soft = g.node(m.node("soft")?);
        let axis = soft.attrs.int("axis", -1);
        if (axis != -1 && axis != rank as i64 - 1) || soft.attrs.flag("flat") {
            return skip("the softmax is not along rows");
        }
        let number = |name| match m.value(name) {
            Err(_) => Some(1.0),
            Ok(v) => g
                .konst(v)
                .filter(|t| t.len() == 1)
                .and_then(|t| t.get_f64(0)),
        };
        let (Some(factor), Some(divisor)) = (number("factor"), number("divisor")) else {
            return skip("the scale is not one number");
        };
        attrs.set("scale", Attr::Float((factor / divisor) as f32));
        // What inference would refuse is left as it is.
        let types: Option<Vec<_>> = [q, k, v].iter().map(|&v| g.ty(v)).collect();
        let fits = types.is_some_and(|t| {
            let lead = |i: usize| t[i].shape.get(..rank - 2);
            t.iter().all(|t| t.dtype == DType::F32 && t.rank() == rank)
                && rank >= 2
                && lead(0) == lead(1)
                && lead(0) == lead(2)
        });
        if !fits {
            return skip("Q, K and V have different leading axes, or are not f32");
        }
        let mut ins = vec![Some(q), Some(k), Some(v)];
        let same = |a: ValueId, i: usize, b: ValueId, j: usize| {
            g.ty(a).map(|t| &t.shape[i]) == g.ty(b).map(|t| &t.shape[j])
        };
        let (row, column) = match attrs.flag("rows") {
            true => (rank - 1, rank - 2),
            false => (rank - 2, rank - 1),
        };
        if !same(q, rank - 1, k, row) || !same(v, rank - 2, k, column) {
            return skip("the sizes of Q, K and V are not known to fit");
        }
        if let Ok(mask) = m.value("mask") {
            let scores = g.node(m.node("soft")?).ins[0].and_then(|v| g.ty(v));
            let (Some(scores), Some(ty), Some(of_q), Some(of_k)) =
                (scores, g.ty(mask), g.ty(q), g.ty(k))
            else {
                return skip("a type is not known");
            };
            let grown = scores.shape[..]
                != [&of_q.shape[..rank - 1], &[of_k.shape[column].clone()]].concat();
            if grown || ty.dtype != DType::F32 {
                return skip("the mask makes the scores larger, or is not f32");
            }
            ins.push(Some(mask));
        }
        let loc = place(g, m);
        let name = "ScaledDotProductAttention";
        Ok(Outcome::Replace(make(
            g,
            cx,
            m.root(),
            name,
            attrs,
            &ins,
            loc,
        )?))
    })
}
