//! Which loops are spread over threads, and how they are cut.
//!
//! A loop may be spread if its iterations are independent: by its kind, or because the lowering stores each element of its
//! outputs once and never reads it, no variable is carried, and scratch that is written inside is private; what is shared is written at
//! places of its own ([`super::apart`]). Of the loops of a nest those
//! are taken with which the layer ends first, counting what it costs to call the threads; layers too small for that stay as they are.
//!
//! A loop that is taken becomes a loop over pieces, as many as there are threads, around the iterations of a piece. Where
//! pieces begin depends on the sizes and the number of threads that was compiled for, not on who runs: no sum is cut, so results
//! are the same bits for any number of threads. After this pass the remaining `Parallel` loops are those over pieces, and the
//! remaining private buffers have a copy for each piece.

use super::apart::apart;
use super::work::Work;
use crate::base::dim::Symbols;
use crate::contracts::References;
use crate::loops::build::Builder;
use crate::loops::ir::*;
use crate::loops::uses::{Uses, statements};
use std::collections::HashMap;
use std::ops::Range;

/// Cycles that it takes to call the threads and to wait for them. A spinning pool of two takes about one microsecond where the
/// cores share a cache; loops that would save less than this are better left alone.
const CALL: f64 = 4000.0;
/// Elements of a `Lanes` loop that stay together: whole cache lines, so that threads do not write into one.
const TOGETHER: i64 = 64;
/// Share of the threads that work on average from which on a split is even enough.
const EVEN: f64 = 0.95;

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
    let uses = Uses::of(&func, facts.callees);
    let mut set_at = HashMap::new();
    let mut at = 0;
    crate::loops::walk::visit(&func.body, &mut |s| {
        if let Stmt::Let { var, .. } | Stmt::For { var, .. } = s {
            set_at.entry(*var).or_insert(at);
        }
        at += 1;
    });
    let plan = {
        let mut p = Planner {
            func: &func,
            facts,
            uses: &uses,
            set_at,
            work: Work::new(&func, facts.symbols, facts.callees),
            around: vec![],
            splits: HashMap::new(),
        };
        p.block(&func.body, 0);
        p.splits
    };
    let body = std::mem::take(&mut func.body);
    let mut cutter = Cutter {
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

struct Planner<'a> {
    func: &'a Func,
    facts: &'a Facts<'a>,
    uses: &'a Uses,
    /// Where a variable is set first.
    set_at: HashMap<VarId, usize>,
    work: Work<'a>,
    /// Ranges of the loops around.
    around: Vec<Range<usize>>,
    /// Loops that are cut, by position, with how many loops of the nest are taken as one.
    splits: HashMap<usize, usize>,
}

impl<'a> Planner<'a> {
    /// Cycles of a block that begins at a position, with the splits that make it shortest.
    fn block(&mut self, block: &'a [Stmt], mut at: usize) -> f64 {
        let mut total = 0.0;
        for s in block {
            total += self.stmt(s, at);
            at += 1 + s.blocks().map(|b| statements(b)).sum::<usize>();
        }
        total
    }
    fn stmt(&mut self, s: &'a Stmt, at: usize) -> f64 {
        match s {
            Stmt::For {
                var,
                extent,
                body,
                kind,
            } => self.loop_(s, *var, *extent, *kind, body, at),
            Stmt::If { then, els, .. } => {
                let n = statements(then);
                let a = self.block(then, at + 1);
                a.max(self.block(els, at + 1 + n))
            }
            _ => self.work.stmt(s),
        }
    }
    fn loop_(
        &mut self,
        s: &'a Stmt,
        var: VarId,
        extent: ExprId,
        kind: LoopKind,
        body: &'a [Stmt],
        at: usize,
    ) -> f64 {
        let serial = self.work.stmt(s);
        if serial < 2.0 * CALL {
            return serial;
        }
        // Inside: for each iteration anew.
        let mut inside = serial;
        let before = self.splits.clone();
        if matches!(kind, LoopKind::Seq | LoopKind::Parallel) {
            let n = self.work.enter(var, extent);
            self.around.push(at..at + 1 + statements(body));
            inside = n * self.block(body, at + 1);
            self.around.pop();
        }
        if let Some((depth, even)) = self.nest(s, at) {
            let split = serial / self.facts.threads as f64 / even + CALL;
            if split < serial && split <= inside {
                self.splits = before;
                self.splits.insert(at, depth);
                return split;
            }
        }
        if inside < serial {
            return inside;
        }
        self.splits = before;
        serial
    }
    // How many loops from here on are best taken as one, and the share of the threads that then works.
    fn nest(&self, s: &Stmt, at: usize) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        let (mut total, mut depth, mut at, mut s) = (1i64, 0, at, s);
        while let Stmt::For {
            var,
            extent,
            kind,
            body,
        } = s
        {
            let end = at + 1 + statements(body);
            if !self.independent(*kind, *var, at..end) || (depth > 0 && *kind == LoopKind::Lanes) {
                break;
            }
            depth += 1;
            let Some(n) = self.constant(*extent) else {
                // As many as there are at most: a size that is not known is taken to be large.
                return best.or((depth == 1).then_some((1, 1.0)));
            };
            total = total.saturating_mul(n.max(1));
            let units = match kind {
                LoopKind::Lanes => (total + TOGETHER - 1) / TOGETHER,
                _ => total,
            };
            let t = self.facts.threads;
            let each = (units + t - 1) / t;
            let even = units as f64 / (each * t) as f64;
            if best.is_none_or(|(_, e)| even > e) {
                best = Some((depth, even));
            }
            if even >= EVEN || *kind == LoopKind::Lanes {
                break;
            }
            match body.as_slice() {
                [one] => (s, at) = (one, at + 1),
                _ => break,
            }
        }
        best
    }
    fn constant(&self, e: ExprId) -> Option<i64> {
        match self.func.exprs[e] {
            Expr::Const(Const::I64(n)) => Some(n),
            _ => None,
        }
    }
    // Whether the iterations of the loop at these positions are independent.
    fn independent(&self, kind: LoopKind, var: VarId, range: Range<usize>) -> bool {
        if kind == LoopKind::Unroll {
            return false;
        }
        self.variables(&range)
            && self.private(&range)
            && (matches!(kind, LoopKind::Parallel | LoopKind::Lanes) || self.outputs(&range))
            && apart(self.func, self.uses, var, range)
    }
    // No variable is carried, and no size defined.
    fn variables(&self, range: &Range<usize>) -> bool {
        let (mut at, mut good) = (0, true);
        crate::loops::walk::visit(&self.func.body, &mut |s| {
            if range.contains(&at) {
                good &= match s {
                    Stmt::Let { var, .. } => self
                        .set_at
                        .get(var)
                        .is_none_or(|first| *first >= range.start),
                    Stmt::SetSym { .. } => false,
                    _ => true,
                };
            }
            at += 1;
        });
        good
    }
    // What is written inside and private has nothing to give before or after.
    fn private(&self, range: &Range<usize>) -> bool {
        let mut written = self.uses.written(range.clone()).into_iter();
        written.all(|b| {
            let writes_first = |r: Range<usize>| self.uses.first(r, b) != Some(false);
            self.func.bufs[b].access != Access::Private
                || (writes_first(range.clone())
                    && writes_first(range.end..usize::MAX)
                    && self.around.iter().all(|a| writes_first(a.clone())))
        })
    }
    // What is written is private, or outputs that are stored once and not read.
    fn outputs(&self, range: &Range<usize>) -> bool {
        let written = self.uses.written(range.clone());
        written.iter().all(|b| match self.func.bufs[*b].access {
            Access::Private => true,
            Access::Write => {
                let inside = self.uses.within(range.clone());
                self.facts.once && !inside.iter().any(|u| u.buf == *b && !u.write)
            }
            _ => false,
        })
    }
}

struct Cutter {
    b: Builder,
    plan: HashMap<usize, usize>,
    threads: i64,
}

impl Cutter {
    // `at` counts the statements of the function as it was.
    fn block(&mut self, block: Vec<Stmt>, at: &mut usize) -> Vec<Stmt> {
        block.into_iter().map(|s| self.stmt(s, at)).collect()
    }
    fn stmt(&mut self, s: Stmt, at: &mut usize) -> Stmt {
        let here = *at;
        if let Some(&depth) = self.plan.get(&here) {
            *at += statements(std::slice::from_ref(&s));
            return self.cut(s, depth);
        }
        *at += 1;
        match s {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => Stmt::For {
                var,
                extent,
                kind: kind.serial(),
                body: self.block(body, at),
            },
            Stmt::While { cond, body } => Stmt::While {
                cond,
                body: self.block(body, at),
            },
            Stmt::If { cond, then, els } => {
                let then = self.block(then, at);
                let els = self.block(els, at);
                Stmt::If { cond, then, els }
            }
            s => s,
        }
    }
    // A loop over pieces in place of `depth` nested loops.
    fn cut(&mut self, mut s: Stmt, depth: usize) -> Stmt {
        let (mut loops, mut lanes) = (vec![], LoopKind::Seq);
        let mut inner = vec![];
        for _ in 0..depth {
            let Stmt::For {
                var,
                extent,
                kind,
                mut body,
            } = s
            else {
                return s;
            };
            loops.push((var, extent));
            if kind == LoopKind::Lanes {
                lanes = kind;
            }
            s = match (loops.len() < depth, body.len()) {
                (true, 1) => body.remove(0),
                _ => {
                    inner = serial(body);
                    break;
                }
            };
        }
        let b = &mut self.b;
        let mut all = b.i(1);
        for (_, n) in &loops {
            all = b.mul(all, *n);
        }
        let (zero, one) = (b.i(0), b.i(1));
        // A negative extent is none.
        let all = match b.as_i64(all) {
            Some(_) => all,
            None => b.max(all, zero),
        };
        let unit = match lanes {
            LoopKind::Lanes => TOGETHER,
            _ => 1,
        };
        let (unit_e, more) = (b.i(unit), b.i(unit - 1));
        let units = b.add(all, more);
        let units = b.div(units, unit_e);
        let pieces = match b.as_i64(units) {
            Some(n) => n.min(self.threads),
            None => self.threads,
        };
        let pieces_e = b.i(pieces);
        let (piece, p) = b.loop_var();
        let (each, left) = (b.div(units, pieces_e), b.rem(units, pieces_e));
        // The first pieces are one longer where it does not come out even.
        let mut from = b.mul(p, each);
        let mut count = each;
        if b.as_i64(left) != Some(0) {
            let longer = b.min(p, left);
            from = b.add(from, longer);
            let is_longer = b.lt(p, left);
            let extra = b.select(is_longer, one, zero);
            count = b.add(count, extra);
        }
        from = b.mul(from, unit_e);
        count = b.mul(count, unit_e);
        if unit > 1 && b.as_i64(all).is_none_or(|n| n % unit != 0) {
            let rest = b.sub(all, from);
            count = b.min(rest, count);
        }
        b.open_block();
        let from = b.let_(from);
        let count = b.let_(count);
        let (var, i) = b.loop_var();
        b.open_block();
        let mut index = b.add(from, i);
        for (k, (v, n)) in loops.iter().enumerate().rev() {
            let value = match k {
                0 => index,
                _ => b.rem(index, *n),
            };
            b.stmt(Stmt::Let { var: *v, value });
            if k > 0 {
                index = b.div(index, *n);
            }
        }
        inner.into_iter().for_each(|s| b.stmt(s));
        let body = b.close_block();
        b.stmt(Stmt::For {
            var,
            extent: count,
            kind: lanes,
            body,
        });
        let body = b.close_block();
        Stmt::For {
            var: piece,
            extent: pieces_e,
            kind: LoopKind::Parallel,
            body,
        }
    }
}
