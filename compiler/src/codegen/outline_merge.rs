//! Loops around a `Lanes` loop that only continue it: rows that lie behind one another in memory become one loop.

use crate::loops::ir::BufId;
use crate::loops::lane_loop::{Inst, LaneLoop, Num, Spot, Stream, Value};
use std::collections::HashSet;

/// Makes one loop of the `Lanes` loop and the one around it, as often as rows lie behind one another in memory. `buffers`: to
/// which buffer each stream belongs; `written`: those that the loop writes.
pub fn merge(code: &mut LaneLoop, buffers: &[BufId], written: &HashSet<BufId>) {
    loop {
        let Some(lanes) = code.loops.iter().position(|l| l.lanes) else {
            return;
        };
        let Some(outer) = lanes.checked_sub(1) else {
            return;
        };
        let (Num::Known(n), Num::Known(m)) = (code.loops[lanes].extent, code.loops[outer].extent)
        else {
            return;
        };
        let Some(all) = n.checked_mul(m) else {
            return;
        };
        let step = |s: &Stream, l: usize| match s.step(l as u8) {
            None => Some(0),
            Some(Num::Known(k)) => Some(k),
            Some(Num::Arg(_)) => None,
        };
        let rows = |s: &Stream| match (step(s, lanes), step(s, outer)) {
            (Some(a), Some(b)) => a.checked_mul(n) == Some(b),
            _ => false,
        };
        // Rows that find what others wrote must stay in order: what is written must be touched in one place only.
        let mut touched = vec![];
        stores(&code.body, &mut touched);
        touched.extend(code.values.iter().filter_map(Value::spot));
        let place = |b: &BufId| {
            let of = |s: &Spot| buffers.get(usize::from(s.stream)) == Some(b);
            let mut spots = touched.iter().filter(|s| of(s));
            let first = spots.next();
            spots.all(|s| Some(s) == first)
        };
        if !code.streams.iter().all(rows) || !written.iter().all(place) {
            return;
        }
        if !flatten(&mut code.body, outer as u8) {
            return;
        }
        code.loops[lanes].extent = Num::Known(all);
        code.loops[outer].extent = Num::Known(1);
        for s in &mut code.streams {
            s.steps.retain(|(l, _)| usize::from(*l) != outer);
        }
        // The numbers of loops close ranks.
        code.loops.remove(outer);
        renumber(&mut code.body, outer as u8);
        for s in &mut code.streams {
            for (l, _) in &mut s.steps {
                *l -= u8::from(usize::from(*l) > outer);
            }
        }
    }
}

// Where is written.
fn stores(body: &[Inst], out: &mut Vec<Spot>) {
    for i in body {
        match i {
            Inst::Store(s, _) => out.push(*s),
            Inst::Loop(_, body) => stores(body, out),
            _ => {}
        }
    }
}

// Puts the body of a loop that sets no variable where the loop is.
fn flatten(body: &mut Vec<Inst>, no: u8) -> bool {
    for at in 0..body.len() {
        let Inst::Loop(l, inner) = &mut body[at] else {
            continue;
        };
        if *l != no {
            return flatten(inner, no);
        }
        // What a selection sets is read in the same iteration only.
        let selected = |v: &u16| {
            let of = |i: &Inst| matches!(i, Inst::Seldom(w, ..) if w == v);
            inner.iter().any(of)
        };
        if (inner.iter()).any(|i| matches!(i, Inst::Set(v, _) if !selected(v))) {
            return false;
        }
        let inner = std::mem::take(inner);
        body.splice(at..=at, inner);
        return true;
    }
    false
}

fn renumber(body: &mut [Inst], gone: u8) {
    for i in body {
        if let Inst::Loop(l, inner) = i {
            *l -= u8::from(*l > gone);
            renumber(inner, gone);
        }
    }
}
