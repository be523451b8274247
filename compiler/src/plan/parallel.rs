//! Which loops are spread over threads, and how they are cut.
//!
//! A loop may be spread if its iterations are independent: by its kind, or because the lowering stores each element of its
//! outputs once and never reads it, no variable is carried, and scratch that is written inside is private; what is shared is written at
//! places of its own ([`super::apart`]). Of the loops of a nest those
//! are taken with which the layer ends first, counting what it costs to call the threads; layers too small for that stay as they are.
//!
//! Loops one behind the other that need not wait for each other are shared in one call ([`together`]), and cut at one place of the output
//! ([`place`]).
//!
//! A loop that is taken becomes a loop over pieces, as many as there are threads, around the iterations of a piece. Where
//! pieces begin depends on the sizes and the number of threads that was compiled for, not on who runs: no sum is cut, so results
//! are the same bits for any number of threads. After this pass the remaining `Parallel` loops are those over pieces, and the
//! remaining private buffers have a copy for each piece.

mod choose;
mod cut;
mod deal;
mod place;
#[cfg(test)]
mod tests;
mod together;

use crate::base::dim::Symbols;
use crate::contracts::References;
use crate::loops::build::Builder;
use crate::loops::ir::*;
use crate::loops::uses::{Uses, statements};
use std::collections::HashMap;

/// Cycles that it takes to call the threads and to wait for them. A spinning pool of two takes half a microsecond to one where the
/// cores share a cache; but what the layer before made lies with the threads that made it, and one alone has to fetch it.
const CALL: f64 = 2000.0;
/// Elements of a `Lanes` loop that stay together: whole cache lines, so that threads do not write into one.
const TOGETHER: i64 = 64;
/// Share of the threads that work on average from which on a split is even enough.
const EVEN: f64 = 0.95;

/// What is cut of a function: positions are those of [`crate::loops::walk::visit`].
#[derive(Clone, Default)]
struct Cuts {
    /// Loops by themselves, with how many loops of the nest are taken as one.
    loops: HashMap<usize, usize>,
    /// Statements of a block that are shared in one call, by the first of them.
    runs: HashMap<usize, Vec<Part>>,
}

/// What becomes of a statement of a run.
#[derive(Clone, Debug)]
enum Part {
    /// A variable, which is set before the call.
    Before,
    /// The piece of that number does it.
    Whole(i64),
    /// So many loops of the nest are taken as one, and each piece has that many of its iterations; `None`: equally many.
    Shared(usize, Option<Vec<i64>>),
    /// A loop of which each piece does all iterations, and of each of its statements a part.
    Within(Vec<Part>),
}

/// What is known of a function.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Sizes.
    pub symbols: &'a Symbols,
    /// References of what it calls.
    pub callees: &'a References,
    /// The lowering stores each element of an output once and never reads it.
    pub once: bool,
    /// Threads to compile for.
    pub threads: i64,
}

/// The function with loops over pieces where that pays.
pub fn spread(mut func: Func, facts: &Facts) -> Func {
    let body = std::mem::take(&mut func.body);
    if facts.threads < 2 {
        func.body = serial(body);
        for id in func.bufs.ids().collect::<Vec<_>>() {
            shared(&mut func, id);
        }
        return func;
    }
    func.body = body;
    let plan = choose::cuts(&func, facts);
    let body = std::mem::take(&mut func.body);
    let mut cutter = cut::Cutter {
        b: Builder::resume(func),
        plan,
        threads: facts.threads,
    };
    let body = cutter.block(body, &mut 0);
    let mut func = cutter.b.finish();
    func.body = body;
    let written = written_in_parallel(&func, facts.callees);
    for id in func.bufs.ids().collect::<Vec<_>>() {
        if !written.contains(&id) {
            shared(&mut func, id);
        }
    }
    func
}

/// Whether some loop is spread over threads.
pub fn is_spread(func: &Func) -> bool {
    let mut found = false;
    crate::loops::walk::visit(&func.body, &mut |s| {
        let kind = LoopKind::Parallel;
        found |= matches!(s, Stmt::For { kind: k, .. } if *k == kind);
    });
    found
}

/// Buffers that some parallel loop writes.
pub fn written_in_parallel(func: &Func, callees: &References) -> Vec<BufId> {
    let uses = Uses::of(func, callees);
    let (mut at, mut out) = (0, vec![]);
    crate::loops::walk::visit(&func.body, &mut |s| {
        if let Stmt::For {
            kind: LoopKind::Parallel,
            body,
            ..
        } = s
        {
            out.extend(uses.written(at..at + 1 + statements(body)));
        }
        at += 1;
    });
    out
}

// A private buffer that needs no copies.
fn shared(func: &mut Func, id: BufId) {
    let b = &mut func.bufs[id];
    if b.access == Access::Private {
        b.access = Access::ReadWrite;
    }
}

fn serial(block: Vec<Stmt>) -> Vec<Stmt> {
    let each = |s| match s {
        Stmt::For {
            var,
            extent,
            kind,
            body,
        } => Stmt::For {
            var,
            extent,
            kind: kind.serial(),
            body: serial(body),
        },
        Stmt::While { cond, body } => Stmt::While {
            cond,
            body: serial(body),
        },
        Stmt::If { cond, then, els } => Stmt::If {
            cond,
            then: serial(then),
            els: serial(els),
        },
        s => s,
    };
    block.into_iter().map(each).collect()
}
