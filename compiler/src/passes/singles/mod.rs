//! Requantizing by single precision, where that is proved to give the same numbers.
//!
//! What follows an exact sum is defined in f64 (`ops/requantize.rs`), which vector machines have half the lanes for. The sums that a layer can
//! reach are known from its weights, so the forms in f32 (`ops/requantize_single.rs`) can be compared with it at every number that matters
//! before the program exists. A layer with a channel for which no f32 numbers do stays as it is. Only for machines that round
//! a product and a sum once.

mod bend;
mod bent;
mod curve;
mod large;
mod lines;
mod pair;
mod parts;
mod short;
mod step;
mod sums;

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::ops::quantized::{byte, rounding};
use crate::ops::requantize_single::LARGE;
use crate::pass::{Pass, PassCx};
use bent::leaning;
use lines::{drawn, sloped, straight};
use pair::Pair;
use parts::Parts;
use short::short;
use step::{Reals, Single};
use sums::{domain, domains};

/// The pass.
pub static PASS: Pass = Pass {
    name: "singles",
    doc: "requantizing by single precision where that gives the same numbers",
    run,
};

/// Sums of one channel at which the f32 form may be wrong: each costs two instructions.
const WRONG: usize = 2;
/// An operand used so many times is made a float on its own.
const OFTEN: i64 = 4;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        if cx.edits >= cx.max_edits {
            break;
        }
        let made = match g.node(n).op.name {
            "Requantize" => requantized(g, cx, n)?,
            "RescaledSum" => summed(g, cx, n)?,
            "RescaledProduct" => multiplied(g, cx, n)?,
            "Lookup" => drawn(g, cx, n)?,
            "RescaledPRelu" => match leaning(g, cx, n)? {
                None => sloped(g, cx, n)?,
                made => made,
            },
            _ => None,
        };
        if let Some(v) = made {
            cx.edit();
            let old = g.node(n).outs[0];
            g.replace_uses(old, v);
        }
    }
    super::dead::left_behind(g);
    Ok(())
}

/// Bounds and zero point of a node's result, if it rounds halves to even.
fn ends(g: &Graph, n: NodeId) -> Option<(i64, i64, i64)> {
    let node = g.node(n);
    let to = g.ty(node.outs[0])?.dtype;
    let (least, most) = to.int_range()?;
    let (lo, hi) = (
        node.attrs.int("lo", least as i64),
        node.attrs.int("hi", most as i64),
    );
    (byte(to) && rounding(&node.attrs) == Rounding::Even).then_some((
        node.attrs.int("zero", 0),
        lo,
        hi,
    ))
}

/// Attributes of the f32 form of a node.
fn attrs(g: &Graph, n: NodeId, (lo, hi): (i64, i64)) -> Attrs {
    let to = g.ty(g.node(n).outs[0]).map_or(DType::I8, |t| t.dtype);
    let own = Attrs::default().with("to", Attr::Type(to));
    own.with("lo", Attr::Int(lo)).with("hi", Attr::Int(hi))
}

fn requantized(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let Some((shape, channels)) = channels(g, n) else {
        return Ok(None);
    };
    if channels.len() > 1
        && let Some(v) = straight(g, cx, n, &shape, &channels)?
    {
        return Ok(Some(v));
    }
    let zero_x = g.node(n).attrs.int("zero_x", 0);
    let less = |shift: i64| i32::try_from(shift - zero_x).ok().map(i64::from);
    type Find = fn(&Reals, (i64, i64), usize) -> Option<Single>;
    let all = |find: Find, bound: usize| {
        let of = |(reals, domain): &(Reals, (i64, i64))| {
            let mut s = find(reals, *domain, bound)?;
            s.shift = less(s.shift)?;
            Some(s)
        };
        channels.iter().map(of).collect::<Option<Vec<_>>>()
    };
    // Both take as many instructions where they are right everywhere.
    let most = |numbers: &[Single]| numbers.iter().map(|s| s.wrong.len()).max().unwrap_or(0);
    let large = all(Reals::large, WRONG);
    let large = large.map(|large| match zero_x {
        0 => short(g, n, &channels, large),
        _ => large,
    });
    let bound = match large.as_deref().map(most) {
        Some(0) => None,
        Some(wrong) => Some(wrong - 1),
        None => Some(WRONG),
    };
    if let Some(numbers) = bound.and_then(|bound| all(Reals::single, bound)) {
        return requantized_single(g, cx, n, "RequantizeSingle", &shape, &numbers);
    }
    if let Some(numbers) = large {
        return requantized_single(g, cx, n, "RequantizeLarge", &shape, &numbers);
    }
    let of = |reals: &Reals, domain| {
        let mut p = reals.parts(domain)?;
        p.shift = less(p.shift)?;
        Some(p)
    };
    let parts = channels.iter().map(|(reals, domain)| of(reals, *domain));
    match parts.collect::<Option<Vec<_>>>() {
        Some(numbers) => requantized_parts(g, cx, n, &shape, &numbers),
        None => Ok(None),
    }
}

fn requantized_single(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    op: &str,
    shape: &[i64],
    numbers: &[Single],
) -> Result<Option<ValueId>> {
    let Some((_, lo, hi)) = ends(g, n) else {
        return Ok(None);
    };
    let shifts: Vec<i64> = numbers.iter().map(|s| s.shift).collect();
    let (x, own) = shifted(g, cx, n, shape, &shifts, attrs(g, n, (lo, hi)))?;
    let mut constant = |dtype: DType, of: &dyn Fn(&Single) -> f64| {
        let all: Vec<f64> = numbers.iter().map(of).collect();
        Some(g.add_const("", Tensor::from_f64s(dtype, shape, &all)))
    };
    let mut ins = vec![
        x,
        constant(DType::F32, &|s| f64::from(s.m)),
        constant(DType::F32, &|s| f64::from(s.o)),
    ];
    let wrong: Vec<&[i32]> = numbers.iter().map(|s| s.wrong.as_slice()).collect();
    ins.extend(missed(g, shape, &wrong));
    let loc = g.node(n).loc.clone();
    make(g, cx, n, op, own, &ins, loc).map(Some)
}

/// The sums of each channel at which its form is wrong: as many constants as one channel has at most.
fn missed(g: &mut Graph, shape: &[i64], wrong: &[&[i32]]) -> Vec<Option<ValueId>> {
    let most = wrong.iter().map(|w| w.len()).max().unwrap_or(0);
    let one = |k: usize| {
        // No sum is as small as this.
        let of = |w: &&[i32]| f64::from(w.get(k).copied().unwrap_or(i32::MIN));
        let all: Vec<f64> = wrong.iter().map(of).collect();
        Some(g.add_const("", Tensor::from_f64s(DType::I32, shape, &all)))
    };
    (0..most).map(one).collect()
}

fn requantized_parts(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    shape: &[i64],
    numbers: &[Parts],
) -> Result<Option<ValueId>> {
    let Some((zero, lo, hi)) = ends(g, n) else {
        return Ok(None);
    };
    let shifts: Vec<i64> = numbers.iter().map(|p| p.shift).collect();
    let own = attrs(g, n, (lo, hi));
    let (x, own) = shifted(g, cx, n, shape, &shifts, own)?;
    let zero = zero - i64::from(LARGE.to_bits());
    let zero = g.add_const("", Tensor::from_f64s(DType::I32, &[], &[zero as f64]));
    let mut constant = |of: fn(&Parts) -> f32| {
        let all: Vec<f32> = numbers.iter().map(of).collect();
        Some(g.add_const("", Tensor::f32(shape, &all)))
    };
    let ins = [
        x,
        constant(|p| p.high),
        constant(|p| p.low),
        constant(|p| p.rest),
        Some(zero),
    ];
    let loc = g.node(n).loc.clone();
    make(g, cx, n, "RequantizeParts", own, &ins, loc).map(Some)
}

/// What a Requantize reads with `shifts` added, in the product before it if that can be, else by the attribute `shift` or an operator of its own.
fn shifted(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    shape: &[i64],
    shifts: &[i64],
    mut own: Attrs,
) -> Result<(Option<ValueId>, Attrs)> {
    let x = g.node(n).ins[0];
    if x.is_some_and(|x| begun(g, x, shifts)) {
        return Ok((x, own));
    }
    if shifts.iter().all(|s| *s == shifts[0]) {
        own.set("shift", Attr::Int(shifts[0]));
        return Ok((x, own));
    }
    let shifts: Vec<f64> = shifts.iter().map(|s| *s as f64).collect();
    let shift = g.add_const("", Tensor::from_f64s(DType::I32, shape, &shifts));
    let loc = g.node(n).loc.clone();
    let bytes = x.is_some_and(|x| g.ty(x).is_some_and(|t| byte(t.dtype)));
    let x = match bytes {
        true => {
            let whole = Attrs::default().with("to", Attr::Type(DType::I32));
            Some(make(g, cx, n, "Cast", whole, &[x], loc.clone())?)
        }
        false => x,
    };
    let sum = make(g, cx, n, "Add", Attrs::default(), &[x, Some(shift)], loc)?;
    Ok((Some(sum), own))
}

/// Lets the sums of a product begin with `shifts`, one for each channel or one for all, if nothing else reads them.
fn begun(g: &mut Graph, x: ValueId, shifts: &[i64]) -> bool {
    let Some((n, _)) = g.maker(x) else {
        return false;
    };
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let Some(w) = input(1).and_then(|w| g.konst(w)) else {
        return false;
    };
    let channels = match node.op.name {
        "ConvInteger" => w.shape.first(),
        "MatMulInteger" if w.shape.len() == 2 => w.shape.last(),
        _ => None,
    };
    let Some(count) = channels.and_then(|c| usize::try_from(*c).ok()) else {
        return false;
    };
    let alone = g.users(x).len() == 1 && !g.is_output(x);
    if !alone || input(4).is_some() || ![1, count].contains(&shifts.len()) {
        return false;
    }
    let all: Vec<f64> = (0..count)
        .map(|c| shifts[c % shifts.len()] as f64)
        .collect();
    let start = Tensor::from_f64s(DType::I32, &[count as i64], &all);
    let start = g.add_const("", start);
    g.set_input(n, 4, Some(start));
    true
}

/// How a Requantize computes each channel, or all, and between which sums less `zero_x`; with the shape of their constants.
#[allow(clippy::type_complexity)]
fn channels(g: &Graph, n: NodeId) -> Option<(Vec<i64>, Vec<(Reals, (i64, i64))>)> {
    let node = g.node(n);
    let (zero, lo, hi) = ends(g, n)?;
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let (x, m) = (input(0)?, g.konst(input(1)?)?);
    let offset = match input(2) {
        None => None,
        Some(o) => Some(g.konst(o)?),
    };
    let (ms, os) = (
        m.to_f64s()?,
        offset.map_or(Some(vec![0.0]), Tensor::to_f64s)?,
    );
    let zero_x = node.attrs.int("zero_x", 0);
    let domains = domains(g, x)?;
    let count = ms.len().max(os.len());
    let fits = |len: usize| len == 1 || len == count;
    if !fits(ms.len()) || !fits(os.len()) || !fits(domains.len().min(count)) {
        return None;
    }
    let shape = match ms.len() == count {
        true => m.shape.clone(),
        false => offset?.shape.clone(),
    };
    let of = |list: &[f64], c: usize| list[c % list.len()];
    let channel = |c: usize| {
        let reals = Reals {
            m: of(&ms, c),
            o: of(&os, c),
            zero,
            lo,
            hi,
        };
        let (least, most) = domain(&domains, count, c);
        (reals, (least - zero_x, most - zero_x))
    };
    Some((shape, (0..count).map(channel).collect()))
}

fn summed(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let (Some(pair), Some((_, lo, hi))) = (pair(g, n), ends(g, n)) else {
        return Ok(None);
    };
    let (op, numbers) = match (pair.single(), pair.parts()) {
        (Some(numbers), _) => ("RescaledSumSingle", numbers.to_vec()),
        (None, Some(parts)) => ("RescaledSumParts", parts.as_flattened().to_vec()),
        _ => return Ok(None),
    };
    let own = attrs(g, n, (lo, hi));
    let node = g.node(n);
    let (a, b, loc) = (node.ins[0], node.ins[2], node.loc.clone());
    let mut numbers = numbers.into_iter();
    let per = numbers.len() / 3;
    let mut ins = vec![];
    for bytes in [Some(a), Some(b), None] {
        ins.extend(bytes);
        for v in numbers.by_ref().take(per) {
            ins.push(Some(g.add_const("", Tensor::f32(&[], &[v]))));
        }
    }
    make(g, cx, n, op, own, &ins, loc).map(Some)
}

fn multiplied(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let node = g.node(n);
    let [Some(a), Some(b), Some(m)] = node.ins[..] else {
        return Ok(None);
    };
    let (za, zb) = (node.attrs.int("zero_a", 0), node.attrs.int("zero_b", 0));
    let range = |v: ValueId, zero: i64| {
        let d = g.ty(v).map(|t| t.dtype).filter(|d| byte(*d))?;
        let (lo, hi) = d.int_range()?;
        Some([lo as i64 - zero, hi as i64 - zero])
    };
    let m = g
        .konst(m)
        .and_then(Tensor::to_f64s)
        .filter(|m| m.len() == 1);
    let (Some(m), Some(a_range), Some(b_range), Some((zero, lo, hi))) =
        (m, range(a, za), range(b, zb), ends(g, n))
    else {
        return Ok(None);
    };
    let products = a_range.iter().flat_map(|x| b_range.map(|y| x * y));
    let domain = products.fold((0, 0), |d, p| (d.0.min(p), d.1.max(p)));
    let reals = Reals {
        m: m[0],
        o: 0.0,
        zero,
        lo,
        hi,
    };
    let Some(single) = reals.single(domain, WRONG) else {
        return Ok(None);
    };
    let own = attrs(g, n, (lo, hi))
        .with("zero_a", Attr::Int(za))
        .with("zero_b", Attr::Int(zb))
        .with("shift", Attr::Int(single.shift));
    let loc = g.node(n).loc.clone();
    let mut ins = vec![];
    for (v, zero, other) in [(a, za, b), (b, zb, a)] {
        ins.push(match repeated(g, v, other) {
            true => Some(centred(g, cx, n, v, zero)?),
            false => Some(v),
        });
    }
    let wrong = single.wrong.iter().map(|w| *w as f32);
    for v in [single.m, single.o].into_iter().chain(wrong) {
        ins.push(Some(g.add_const("", Tensor::f32(&[], &[v]))));
    }
    make(g, cx, n, "RescaledProductSingle", own, &ins, loc).map(Some)
}

/// Whether a value has one element where another has many, as the gates of squeeze-and-excitation have for the pixels of an image.
fn repeated(g: &Graph, v: ValueId, other: ValueId) -> bool {
    let shape = |v| g.ty(v).and_then(|t| t.fixed_shape());
    let (Some(own), Some(all)) = (shape(v), shape(other)) else {
        return false;
    };
    let count = |s: &[i64]| s.iter().product::<i64>();
    count(&own) * OFTEN <= count(&all)
}

/// Bytes less their zero point as floats, by operators before node `n`: done once for each, and not for each use.
fn centred(g: &mut Graph, cx: &mut PassCx, n: NodeId, v: ValueId, zero: i64) -> Result<ValueId> {
    let loc = g.node(n).loc.clone();
    let to = Attrs::default().with("to", Attr::Type(DType::F32));
    let real = make(g, cx, n, "Cast", to, &[Some(v)], loc.clone())?;
    let zero = g.add_const("", Tensor::f32(&[], &[zero as f32]));
    let ins = [Some(real), Some(zero)];
    make(g, cx, n, "Sub", Attrs::default(), &ins, loc)
}

/// A RescaledSum of bytes by two constants.
fn pair(g: &Graph, n: NodeId) -> Option<Pair> {
    let node = g.node(n);
    let (zero, lo, hi) = ends(g, n)?;
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let bytes = |i: usize| -> Option<(i64, i64)> {
        let d = g.ty(input(i)?)?.dtype;
        let (lo, hi) = d.int_range().filter(|_| byte(d))?;
        Some((lo as i64, hi as i64))
    };
    let number = |i: usize| g.konst(input(i)?)?.to_f64s().filter(|m| m.len() == 1);
    Some(Pair {
        a: bytes(0)?,
        b: bytes(2)?,
        za: node.attrs.int("zero_a", 0),
        zb: node.attrs.int("zero_b", 0),
        ma: number(1)?[0],
        mb: number(3)?[0],
        zero,
        lo,
        hi,
    })
}
