//! Removing indices from a graph: constants are gathered, sizes that operators state are written anew, and all types are inferred again. What inference
//! finds must be what was meant to be left; else nothing is changed, and the error names the node.

use super::gathered::gathered;
use super::regroup::target;
use super::relations::{Axis, Cx, Relations};
use super::rules::{cuts, place};
use super::units::Units;
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, Model, NodeId, ValueId};
use crate::op::resolve_axis;
use crate::pass::PassCx;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// For each axis that loses something the indices that stay.
pub type Kept = BTreeMap<Axis, Vec<usize>>;

/// What stays where some units go.
pub fn kept(units: &Units, gone: &[usize]) -> Kept {
    let mut lost: BTreeMap<Axis, BTreeSet<usize>> = BTreeMap::new();
    for u in gone.iter().filter_map(|k| units.list.get(*k)) {
        for (a, list) in &u.places {
            lost.entry(units.axes[*a]).or_default().extend(list);
        }
    }
    let sizes: HashMap<Axis, usize> = (units.axes.iter().copied())
        .zip(units.sizes.iter().copied())
        .collect();
    (lost.into_iter())
        .map(|(a, gone)| {
            let all = 0..sizes.get(&a).copied().unwrap_or(0);
            (a, all.filter(|i| !gone.contains(i)).collect())
        })
        .collect()
}

/// Removes everything but what is kept.
pub fn apply(model: &mut Model, kept: &Kept, diags: &mut Diagnostics) -> Result<()> {
    let mut new = model.clone();
    let g = &mut new.graph;
    let mut constants: BTreeMap<ValueId, Vec<(usize, &[usize])>> = BTreeMap::new();
    for ((v, a), left) in kept {
        if left.is_empty() {
            return Err(Diagnostic::internal("an axis that loses everything"));
        }
        if g.konst(*v).is_some() {
            constants.entry(*v).or_default().push((*a, left));
        }
    }
    for n in g.order().to_vec() {
        attributes(g, n, kept)?;
    }
    for (v, axes) in constants {
        let Some(mut t) = g.konst(v).cloned() else {
            continue;
        };
        for (a, left) in axes {
            t = gathered(&t, a, left)?;
        }
        g.make_const(v, t);
    }
    let mut meant: HashMap<ValueId, Vec<(usize, usize)>> = HashMap::new();
    for ((v, a), left) in kept {
        if g.konst(*v).is_none() {
            meant.entry(*v).or_default().push((*a, left.len()));
            if let Some(t) = &mut g.value_mut(*v).ty {
                t.shape[*a] = Dim::Fixed(left.len() as i64);
            }
        }
    }
    shapes(g, kept)?;
    let expected: Vec<(ValueId, Vec<Dim>)> = (g.order().iter())
        .flat_map(|&n| g.node(n).outs.clone())
        .filter_map(|v| Some((v, g.ty(v)?.shape.to_vec())))
        .collect();
    infer(&mut new, diags)?;
    let g = &new.graph;
    for (v, want) in expected {
        let got = g.ty(v).map(|t| t.shape.to_vec());
        if got.as_ref() != Some(&want) {
            let at = g.maker(v).map(|m| g.describe(m.0)).unwrap_or_default();
            let text = "what is left of a value has another shape than it must have";
            return Err(Diagnostic::unsupported("ONNX008", text).at(at));
        }
    }
    *model = new;
    Ok(())
}

/// Types of everything that nodes make, found anew.
fn infer(model: &mut Model, diags: &mut Diagnostics) -> Result<()> {
    let g = &mut model.graph;
    for n in g.order().to_vec() {
        for v in g.node(n).outs.clone() {
            if g.konst(v).is_none() {
                g.value_mut(v).ty = None;
                g.value_mut(v).dims = None;
            }
        }
    }
    let off = BTreeSet::new();
    let before = diags.list.len();
    let cx = &mut PassCx::outside("prune", &mut model.symbols, diags, &off);
    (crate::passes::resolve::PASS.run)(&mut model.graph, cx)?;
    let wrong = diags.list[before..].iter().position(|d| d.is_error());
    match wrong {
        Some(k) => Err(Box::new(diags.list.remove(before + k))),
        None => Ok(()),
    }
}

/// Constants that say where and how much; the weights are still whole.
fn attributes(g: &mut Graph, n: NodeId, kept: &Kept) -> Result<()> {
    let node = g.node(n);
    let Some(x) = node.ins.first().copied().flatten() else {
        return Ok(());
    };
    let out = node.outs[0];
    let rank = g.ty(x).map_or(0, |t| t.rank());
    let list = |l: &[i64]| Tensor::i64(&[l.len() as i64], l);
    match node.op.name {
        "Conv" | "ConvTranspose" if node.attrs.int("group", 1) > 1 => {
            let w = node.ins.get(1).copied().flatten();
            let each = w.and_then(|w| Some(g.ty(w)?.shape.get(1)?.is(1)));
            if let (Some(true), Some(left)) = (each, kept.get(&(x, 1))) {
                let group = Attr::Int(left.len() as i64);
                g.node_mut(n).attrs.set("group", group);
            }
        }
        "Split" => {
            let Ok(axis) = resolve_axis(node.attrs.int("axis", 0), rank.max(1)) else {
                return Ok(());
            };
            if !kept.contains_key(&(x, axis)) {
                return Ok(());
            }
            let sizes: Option<Vec<i64>> = (node.outs.iter())
                .map(|v| match kept.get(&(*v, axis)) {
                    Some(left) => Some(left.len() as i64),
                    None => g.ty(*v)?.shape.get(axis)?.fixed(),
                })
                .collect();
            let sizes = sizes.ok_or_else(|| Diagnostic::internal("a part without a size"))?;
            let c = g.add_const("split_sizes", list(&sizes));
            g.set_input(n, 1, Some(c));
        }
        "Slice" => {
            let cx = Cx {
                g,
                out: Relations::default(),
            };
            let Some(all) = cuts(&cx, n, rank) else {
                return Ok(());
            };
            let (mut starts, mut ends) = (vec![], vec![]);
            for (axis, start, end, step) in all {
                match kept.get(&(x, axis)) {
                    Some(left) if step == 1 => {
                        let size = g.ty(x).and_then(|t| t.shape[axis].fixed()).unwrap_or(0);
                        let from = place(start, size as usize);
                        let to = place(end, size as usize);
                        let before = |p: usize| left.iter().filter(|i| **i < p).count() as i64;
                        starts.push(before(from));
                        ends.push(before(to));
                    }
                    _ => {
                        starts.push(start);
                        ends.push(end);
                    }
                }
            }
            let s = g.add_const("starts", list(&starts));
            let e = g.add_const("ends", list(&ends));
            g.set_input(n, 1, Some(s));
            g.set_input(n, 2, Some(e));
        }
        "Pad" => pads(g, n, x, out, rank, kept),
        "Gather" => {
            let Ok(axis) = resolve_axis(node.attrs.int("axis", 0), rank.max(1)) else {
                return Ok(());
            };
            let at = node.ins.get(1).copied().flatten();
            let indices = at.and_then(|i| g.konst(i)).and_then(Tensor::to_i64s);
            let size = g.ty(x).and_then(|t| t.shape[axis].fixed());
            if let (Some(left), Some(indices), Some(size)) = (kept.get(&(x, axis)), indices, size) {
                let stays = kept.get(&(out, axis));
                let new: Vec<i64> = (indices.iter().enumerate())
                    .filter(|(j, _)| stays.is_none_or(|s| s.contains(j)))
                    .map(|(_, i)| {
                        let i = if *i < 0 { i + size } else { *i };
                        left.iter().filter(|k| (**k as i64) < i).count() as i64
                    })
                    .collect();
                let c = g.add_const("indices", list(&new));
                g.set_input(n, 1, Some(c));
            }
        }
        _ => {}
    }
    Ok(())
}

fn pads(g: &mut Graph, n: NodeId, x: ValueId, out: ValueId, rank: usize, kept: &Kept) {
    let node = g.node(n);
    let konst = |k: usize| {
        let v = node.ins.get(k).copied().flatten()?;
        g.konst(v)?.to_i64s()
    };
    let all: Vec<i64> = (0..rank as i64).collect();
    let axes = konst(3).unwrap_or(all);
    let Some(mut pads) = konst(1).filter(|p| p.len() == 2 * axes.len()) else {
        return;
    };
    let mut changed = false;
    for (k, a) in axes.iter().enumerate() {
        let Ok(a) = resolve_axis(*a, rank) else {
            continue;
        };
        let (Some(left), Some(size)) = (
            kept.get(&(out, a)),
            g.ty(x).and_then(|t| t.shape[a].fixed()),
        ) else {
            continue;
        };
        let before = pads[k].max(0) as usize;
        let from = left.iter().filter(|i| **i < before).count();
        let behind = left
            .iter()
            .filter(|i| **i >= before + size as usize)
            .count();
        pads[k] = from as i64;
        pads[k + axes.len()] = behind as i64;
        changed = true;
    }
    if changed {
        let c = g.add_const("pads", Tensor::i64(&[pads.len() as i64], &pads));
        g.set_input(n, 1, Some(c));
    }
}

/// Constants that say sizes, by the types as they are now.
fn shapes(g: &mut Graph, kept: &Kept) -> Result<()> {
    for n in g.order().to_vec() {
        let node = g.node(n);
        let name = node.op.name;
        let k = match name {
            "Reshape" | "Expand" => 1,
            "Resize" if node.attrs.ints("axes").is_none_or(<[i64]>::is_empty) => 3,
            _ => continue,
        };
        let touched = |v: ValueId| kept.range((v, 0)..=(v, usize::MAX)).next().is_some();
        let first = node.ins.first().copied().flatten();
        if !touched(node.outs[0]) && !first.is_some_and(touched) {
            continue;
        }
        let Some(old) = node.ins.get(k).copied().flatten() else {
            continue;
        };
        let sizes = g.konst(old).and_then(Tensor::to_i64s);
        let new = match (name, sizes) {
            ("Reshape", sizes) => {
                let new = target(g, n);
                if sizes.is_some() && sizes == new {
                    continue;
                }
                new
            }
            (_, Some(mut sizes)) if !sizes.is_empty() => {
                let ty = g.ty(node.outs[0]).map(|t| t.shape.to_vec());
                let ty = ty.unwrap_or_default();
                let skip = ty.len().saturating_sub(sizes.len());
                for (s, d) in sizes.iter_mut().zip(&ty[skip..]) {
                    if let Some(n) = d.fixed()
                        && *s > 1
                    {
                        *s = n;
                    }
                }
                Some(sizes)
            }
            _ => continue,
        };
        // What can't be written anew was not to be cut, and stays.
        let Some(new) = new else { continue };
        let c = g.add_const("shape", Tensor::i64(&[new.len() as i64], &new));
        g.set_input(n, k, Some(c));
    }
    Ok(())
}
