//! Einsum: sums of products over labelled axes, by loops.

use super::axes::{fold, origin};
use super::util::{accept_same, bad, number, since};
use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&EINSUM];

/// Any equation.
pub static EINSUM: OpDef = OpDef {
    name: "Einsum",
    onnx: &[since("Einsum", 12, |cx| cx.keep_str("equation", ""))],
    inputs: (1, usize::MAX),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

/// An axis of the iteration space: a letter, or an axis of the ellipsis counted from its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Label {
    /// An axis of the ellipsis.
    Rest(usize),
    /// An axis with a name.
    Letter(char),
}

/// What an equation says.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Labels of every operand's axes.
    pub operands: Vec<Vec<Label>>,
    /// Labels of the output's axes.
    pub output: Vec<Label>,
    /// Labels that are summed over.
    pub summed: Vec<Label>,
}

/// The labels of one term; an ellipsis stands for `rank` minus the letters.
fn term(text: &str, rank: usize) -> Result<Vec<Label>> {
    let letters = text.chars().filter(|c| c.is_ascii_alphabetic()).count();
    let dots = text.contains("...");
    if text
        .replace("...", "")
        .chars()
        .any(|c| !c.is_ascii_alphabetic())
        || letters > rank
        || (!dots && letters != rank)
    {
        return bad(format!("the term `{text}` does not fit {rank} axes"));
    }
    let mut out = vec![];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            out.extend((0..rank - letters).rev().map(Label::Rest));
            rest = after;
        } else {
            out.push(Label::Letter(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

/// Reads an equation for operands of so many axes.
pub fn plan(equation: &str, ranks: &[usize]) -> Result<Plan> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l.to_string(), Some(r.to_string())),
        None => (text, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return bad(format!(
            "an equation of {} terms for {} inputs",
            terms.len(),
            ranks.len()
        ));
    }
    let operands: Vec<Vec<Label>> = terms
        .iter()
        .zip(ranks)
        .map(|(t, &r)| term(t, r))
        .collect::<Result<_>>()?;
    let mut all: Vec<Label> = operands.iter().flatten().copied().collect();
    let rest = all
        .iter()
        .filter_map(|l| {
            if let Label::Rest(i) = l {
                Some(i + 1)
            } else {
                None
            }
        })
        .max()
        .unwrap_or(0);
    let output = match right {
        Some(r) => {
            let letters = r.chars().filter(|c| c.is_ascii_alphabetic()).count();
            let dots = if r.contains("...") { rest } else { 0 };
            term(&r, letters + dots)?
        }
        // Unsaid: the ellipsis, then the letters that occur once.
        None => {
            let mut out: Vec<Label> = (0..rest).rev().map(Label::Rest).collect();
            let mut once: Vec<Label> = all
                .iter()
                .filter(|l| {
                    matches!(l, Label::Letter(_)) && all.iter().filter(|x| x == l).count() == 1
                })
                .copied()
                .collect();
            once.sort_unstable();
            out.extend(once);
            out
        }
    };
    for (i, l) in output.iter().enumerate() {
        if !all.contains(l) || output[..i].contains(l) {
            return bad("the output of an equation has a label twice, or one that no input has");
        }
    }
    all.sort_unstable();
    all.dedup();
    let summed = all.into_iter().filter(|l| !output.contains(l)).collect();
    Ok(Plan {
        operands,
        output,
        summed,
    })
}

/// The size of a label: that of the axes that have it, of which some may be 1.
fn size(p: &Plan, shapes: &[Vec<Dim>], label: Label) -> Result<Dim> {
    let mut found = Dim::Fixed(1);
    for (labels, shape) in p.operands.iter().zip(shapes) {
        for (l, d) in labels.iter().zip(shape) {
            if *l != label || d.is(1) {
                continue;
            }
            match (&found, d) {
                (Dim::Fixed(1), _) => found = d.clone(),
                (Dim::Fixed(a), Dim::Fixed(b)) if a != b => {
                    return Err(Diagnostic::model(
                        "ONNX010",
                        format!("a label of sizes {a} and {b}"),
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn of(attrs: &Attrs, shapes: &[Vec<Dim>]) -> Result<Plan> {
    let ranks: Vec<usize> = shapes.iter().map(Vec::len).collect();
    plan(attrs.str("equation", ""), &ranks)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, number)?;
    let shapes: Vec<Vec<Dim>> = (0..cx.inputs.len())
        .map(|i| cx.shape(i))
        .collect::<Result<_>>()?;
    let p = of(cx.attrs, &shapes)?;
    let out = p
        .output
        .iter()
        .map(|&l| size(&p, &shapes, l))
        .collect::<Result<_>>()?;
    for &l in &p.summed {
        size(&p, &shapes, l)?;
    }
    cx.out(0, d, out);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let shapes: Vec<Vec<Dim>> = (0..cx.inputs.len())
        .map(|i| cx.in_shape(i))
        .collect::<Result<_>>()?;
    let p = of(cx.attrs, &shapes)?;
    let out = cx.out_shape()?;
    let inner: Vec<Dim> = p
        .summed
        .iter()
        .map(|&l| size(&p, &shapes, l))
        .collect::<Result<_>>()?;
    let ty = cx.in_ty(0)?;
    cx.each(&out, LoopKind::Lanes, |cx, o| {
        let axes: Vec<usize> = (0..inner.len()).collect();
        let start = origin(cx, inner.len());
        let zero = cx.b.num(ty, 0.0);
        let sum = fold(cx, &inner, &axes, &start, zero, |cx, s, sum| {
            let place = |l: &Label| -> Option<ExprId> {
                let at = p.output.iter().position(|x| x == l).map(|i| o[i]);
                at.or_else(|| p.summed.iter().position(|x| x == l).map(|i| s[i]))
            };
            let mut product: Option<ExprId> = None;
            for (i, labels) in p.operands.iter().enumerate() {
                let mut index = vec![];
                for (l, d) in labels.iter().zip(&shapes[i]) {
                    let x =
                        place(l).ok_or_else(|| Diagnostic::internal("a label without a loop"))?;
                    index.push(if d.is(1) { cx.b.i(0) } else { x });
                }
                let v = cx.load(i, &index)?;
                product = Some(match product {
                    Some(q) => cx.b.mul(q, v),
                    None => v,
                });
            }
            Ok(match product {
                Some(q) => cx.b.add(sum, q),
                None => sum,
            })
        })?;
        cx.store(0, o, sum);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Label::*;

    #[test]
    fn equations_are_read() {
        let p = plan("bij, bjk -> bik", &[3, 3]).ok();
        assert_eq!(p.map(|p| p.summed), Some(vec![Letter('j')]));
        let p = plan("...ii->...i", &[3]).ok();
        assert_eq!(p.map(|p| p.output), Some(vec![Rest(0), Letter('i')]));
        let p = plan("ba,ac", &[2, 2]).ok();
        assert_eq!(p.map(|p| p.output), Some(vec![Letter('b'), Letter('c')]));
        assert!(plan("ij->k", &[2]).is_err());
        assert!(plan("i,j->ij", &[1]).is_err());
    }
}
