//! What is made of lines becomes Bend, and gated numbers Curve, which are drawn where their bytes are made: tables, and PRelu channel by channel.

use super::bend::Bend;
use super::curve::Curve;
use super::step::Reals;
use super::{attrs, ends};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::ops::quantized::byte;
use crate::pass::PassCx;

/// A table that is made of lines or of a curve becomes them, so that they are drawn where its bytes are made.
pub fn drawn(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let node = g.node(n);
    let out = node.outs[0];
    let (Some(x), Some(table)) = (node.ins[0], node.ins[1].and_then(|t| g.konst(t))) else {
        return Ok(None);
    };
    let types = g.ty(x).map(|t| t.dtype).zip(g.ty(out).map(|t| t.dtype));
    let Some((from, to)) = types.filter(|(from, to)| byte(*from) && byte(*to)) else {
        return Ok(None);
    };
    let (Some((first, _)), Some((lo, hi))) = (from.int_range(), to.int_range()) else {
        return Ok(None);
    };
    let Some(entries) = table.to_i64s().filter(|t| t.len() == 256) else {
        return Ok(None);
    };
    let (first, range) = (first as i64, (lo as i64, hi as i64));
    let loc = g.node(n).loc.clone();
    if let Some(bend) = Bend::of(&entries, first, range) {
        let ends = bend.open(&entries, first);
        let lines = bend.lines.into_iter().flatten().collect();
        let own = attrs(g, n, (bend.lo, bend.hi))
            .with("lines", Attr::Floats(lines))
            .with("least", Attr::Int(i64::from(bend.least)));
        let own = opened(own, ends);
        return make(g, cx, n, "Bend", own, &[Some(x)], loc).map(Some);
    }
    let Some(c) = Curve::of(&entries, first, range) else {
        return Ok(None);
    };
    let numbers = vec![c.zero, c.slope, c.middle, c.top, c.offset];
    let own = attrs(g, n, range).with("numbers", Attr::Floats(numbers));
    let own = opened(own, c.open(&entries, first, range.1));
    make(g, cx, n, "Curve", own, &[Some(x)], loc).map(Some)
}

/// Attributes that say which limits of its numbers an operator can do without.
fn opened(mut own: Attrs, open: [bool; 2]) -> Attrs {
    for (name, open) in ["open_below", "open_above"].into_iter().zip(open) {
        if open {
            own.set(name, Attr::Int(1));
        }
    }
    own
}

/// What two forms can both do without.
fn both(a: [bool; 2], b: [bool; 2]) -> [bool; 2] {
    [a[0] && b[0], a[1] && b[1]]
}

/// A Requantize of bytes with numbers for each channel: a line for each.
pub fn straight(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    shape: &[i64],
    channels: &[(Reals, (i64, i64))],
) -> Result<Option<ValueId>> {
    let node = g.node(n);
    let (Some(x), zero_x) = (node.ins[0], node.attrs.int("zero_x", 0)) else {
        return Ok(None);
    };
    if !g.ty(x).is_some_and(|t| byte(t.dtype)) {
        return Ok(None);
    }
    let (mut lines, mut open) = (vec![], [true; 2]);
    for (r, (least, most)) in channels {
        let entry = |x: i64| {
            let v = libm::rint(x as f64 * r.m + r.o) + r.zero as f64;
            v.clamp(r.lo as f64, r.hi as f64) as i64
        };
        let table: Vec<i64> = (*least..=*most).map(entry).collect();
        let first = least + zero_x;
        let found = Bend::known(&table, first, (r.lo, r.hi), first, [r.m; 2]);
        let Some(bend) = found.filter(|b| b.lines.len() == 1) else {
            return Ok(None);
        };
        lines.push(bend.lines[0]);
        open = both(open, bend.open(&table, first));
    }
    let Some((r, _)) = channels.first() else {
        return Ok(None);
    };
    let own = opened(attrs(g, n, (r.lo, r.hi)), open);
    let mut part = |k: usize| {
        let all: Vec<f32> = lines.iter().map(|l| l[k]).collect();
        Some(g.add_const("", Tensor::f32(shape, &all)))
    };
    let ins = [Some(x), part(0), part(1)];
    let loc = g.node(n).loc.clone();
    make(g, cx, n, "Bend", own, &ins, loc).map(Some)
}

/// A RescaledPRelu of bytes, whose channels are tables.
pub fn sloped(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let node = g.node(n);
    let constant = |i: usize| node.ins.get(i).copied().flatten().and_then(|v| g.konst(v));
    let (Some(x), Some(m), Some(below)) = (node.ins[0], constant(1), constant(2)) else {
        return Ok(None);
    };
    let shape = below.shape.clone();
    let from = g.ty(x).map(|t| t.dtype).filter(|d| byte(*d));
    let range = from.and_then(|d| d.int_range());
    let numbers = m.to_f64s().zip(below.to_f64s());
    let (Some((least, most)), Some((m, slopes)), Some((zero, lo, hi))) =
        (range, numbers, ends(g, n))
    else {
        return Ok(None);
    };
    let (zero_x, first) = (node.attrs.int("zero_x", 0), least as i64);
    let m = m.first().copied().unwrap_or(f64::NAN);
    let (mut found, mut open): (Vec<Bend>, _) = (vec![], [true; 2]);
    for s in slopes {
        let entry = |x: i64| {
            let x = x - zero_x;
            let v = libm::rint(x as f64 * if x < 0 { s } else { m }) + zero as f64;
            v.clamp(lo as f64, hi as f64) as i64
        };
        let table: Vec<i64> = (first..=most as i64).map(entry).collect();
        let Some(bend) = Bend::known(&table, first, (lo, hi), zero_x, [s, m]) else {
            return Ok(None);
        };
        open = both(open, bend.open(&table, first));
        found.push(bend);
    }
    // One line may be taken for the smaller or the larger of two.
    let two = |b: &&Bend| b.lines.len() > 1;
    let least = found.iter().find(two).is_some_and(|b| b.least);
    if found.iter().filter(two).any(|b| b.least != least) {
        return Ok(None);
    }
    let mut ins = vec![Some(x)];
    for (line, part) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let of = |b: &Bend| b.lines.get(line).unwrap_or(&b.lines[0])[part];
        let all: Vec<f32> = found.iter().map(of).collect();
        ins.push(Some(g.add_const("", Tensor::f32(&shape, &all))));
    }
    let own = attrs(g, n, (lo, hi)).with("least", Attr::Int(i64::from(least)));
    let own = opened(own, open);
    let loc = g.node(n).loc.clone();
    make(g, cx, n, "Bend", own, &ins, loc).map(Some)
}
