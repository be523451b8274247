//! What to cut: the loops, and runs of statements, with which the layer ends first.

use super::super::apart::apart;
use super::super::work::Work;
use super::place::{self, Values};
use super::{CALL, Cuts, EVEN, Facts, TOGETHER};
use crate::loops::ir::*;
use crate::loops::uses::{Uses, statements};
use std::collections::HashMap;
use std::ops::Range;

/// What is best cut of a function.
pub(super) fn cuts(func: &Func, facts: &Facts) -> Cuts {
    let uses = Uses::of(func, facts.callees);
    let (mut set_at, mut values) = (HashMap::new(), Values::new());
    let mut at = 0;
    crate::loops::walk::visit(&func.body, &mut |s| {
        if let Stmt::Let { var, .. } | Stmt::For { var, .. } = s {
            set_at.entry(*var).or_insert(at);
        }
        at += 1;
    });
    for s in &func.body {
        place::note(func, s, &mut values);
    }
    let mut p = Planner {
        func,
        facts,
        uses: &uses,
        set_at,
        values,
        work: Work::new(func, facts.symbols, facts.callees),
        around: vec![],
        cuts: Cuts::default(),
    };
    p.block(&func.body, 0);
    p.cuts
}

pub(super) struct Planner<'a> {
    pub func: &'a Func,
    pub facts: &'a Facts<'a>,
    pub uses: &'a Uses,
    /// Where a variable is set first.
    set_at: HashMap<VarId, usize>,
    /// Variables in the first iteration of all loops.
    pub values: Values,
    pub work: Work<'a>,
    /// Ranges of the loops around.
    around: Vec<Range<usize>>,
    pub cuts: Cuts,
}

/// Loops of a nest that are taken as one.
pub(super) struct Nest {
    /// How many loops.
    pub depth: usize,
    /// What is dealt out: iterations, or so many elements as stay together; `None`: not known.
    pub units: Option<i64>,
    /// Share of the threads that works on average if all get equally many.
    even: f64,
}

impl<'a> Planner<'a> {
    /// Cycles of a block that begins at a position, with the cuts that make it shortest.
    fn block(&mut self, block: &'a [Stmt], mut at: usize) -> f64 {
        let (mut places, mut costs) = (vec![at], vec![]);
        for s in block {
            costs.push(self.stmt(s, at));
            at += 1 + s.blocks().map(|b| statements(b)).sum::<usize>();
            places.push(at);
        }
        self.runs(block, &places, &costs)
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
        let before = self.cuts.clone();
        if matches!(kind, LoopKind::Seq | LoopKind::Parallel) {
            let n = self.work.enter(var, extent);
            self.around.push(at..at + 1 + statements(body));
            inside = n * self.block(body, at + 1);
            self.around.pop();
        }
        if let Some(nest) = self.nest(s, at) {
            let split = serial / self.facts.threads as f64 / nest.even + CALL;
            if split < serial && split <= inside {
                self.cuts = before;
                self.cuts.loops.insert(at, nest.depth);
                return split;
            }
        }
        if inside < serial {
            return inside;
        }
        self.cuts = before;
        serial
    }
    /// The loops from here on that are best taken as one.
    pub fn nest(&self, s: &Stmt, at: usize) -> Option<Nest> {
        let mut best: Option<Nest> = None;
        let (mut total, mut depth, mut at, mut s) = (1i64, 0, at, s);
        while let Stmt::For {
            var,
            extent,
            kind,
            body,
        } = s
        {
            let end = at + 1 + statements(body);
            if !self.independent(*kind, *var, *extent, at..end)
                || (depth > 0 && *kind == LoopKind::Lanes)
            {
                break;
            }
            depth += 1;
            let Some(n) = self.constant(*extent) else {
                // As many as there are at most: a size that is not known is taken to be large.
                let (units, even) = (None, 1.0);
                let first = (depth == 1).then_some(Nest { depth, units, even });
                return best.or(first);
            };
            total = total.saturating_mul(n.max(1));
            let units = match kind {
                LoopKind::Lanes => (total + TOGETHER - 1) / TOGETHER,
                _ => total,
            };
            let t = self.facts.threads;
            let each = (units + t - 1) / t;
            let even = units as f64 / (each * t) as f64;
            if best.as_ref().is_none_or(|b| even > b.even) {
                let units = Some(units);
                best = Some(Nest { depth, units, even });
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
    pub fn constant(&self, e: ExprId) -> Option<i64> {
        match self.func.exprs[e] {
            Expr::Const(Const::I64(n)) => Some(n),
            _ => None,
        }
    }
    /// Whether the iterations of the loop at these positions are independent.
    pub fn independent(
        &self,
        kind: LoopKind,
        var: VarId,
        extent: ExprId,
        range: Range<usize>,
    ) -> bool {
        if kind == LoopKind::Unroll {
            return false;
        }
        self.variables(&range)
            && self.private(&range)
            && (matches!(kind, LoopKind::Parallel | LoopKind::Lanes) || self.outputs(&range))
            && (self.constant(extent) == Some(1) || apart(self.func, self.uses, var, range))
    }
    /// No variable is carried, and no size defined.
    pub fn variables(&self, range: &Range<usize>) -> bool {
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
    /// What is written inside and private has nothing to give before or after.
    pub fn private(&self, range: &Range<usize>) -> bool {
        let mut written = self.uses.written(range.clone()).into_iter();
        written.all(|b| {
            let writes_first = |r: Range<usize>| self.uses.first(r, b) != Some(false);
            // What is read elsewhere only is for those that come after, even if others add to it first.
            let read = |r: Range<usize>| self.uses.within(r).iter().any(|u| u.buf == b && !u.write);
            let kept = !read(range.clone()) && read(0..usize::MAX);
            self.func.bufs[b].access != Access::Private
                || (!kept
                    && writes_first(range.clone())
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
