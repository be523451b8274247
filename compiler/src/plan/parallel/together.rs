//! Runs of statements that threads share in one call.
//!
//! A layer is often a few loops, one behind the other: the tiles of most rows, those of the last rows, those of the last channels. Where none reads
//! what another writes they need not wait for each other. One call is made for all, and what does not come out even in one loop is made up for
//! by the next.

use super::choose::{Nest, Planner};
use super::deal::{Leaf, NEAR, deal};
use super::place::place;
use super::{CALL, Part, TOGETHER};
use crate::loops::ir::*;
use crate::loops::uses::statements;
use std::collections::HashMap;
use std::ops::Range;

/// Iterations of a nest that are looked at to see where it writes.
const LOOKS: i64 = 256;
/// Share of an output from which on a nest goes over it.
const HALF: f64 = 0.5;

/// How statements use a buffer.
#[derive(Clone, Copy)]
struct Use {
    reads: bool,
    writes: bool,
    /// Every statement that uses it begins by writing it.
    fresh: bool,
}

/// Buffers that the statements of a run use.
type Used = HashMap<BufId, Use>;

impl<'a> Planner<'a> {
    /// Cycles of a block whose statements stand at `places` and take `costs` by themselves, with the runs that make it shortest.
    pub fn runs(&mut self, block: &'a [Stmt], places: &[usize], costs: &[f64]) -> f64 {
        let (mut total, mut i) = (0.0, 0);
        while i < block.len() {
            let end = self.run_from(block, places, i).max(i + 1);
            let apart: f64 = costs[i..end].iter().sum();
            let together = match apart < 2.0 * CALL {
                true => None,
                false => self.together(&block[i..end], &places[i..=end]),
            };
            total += match together {
                Some((parts, cost)) if cost <= apart * NEAR => {
                    let within = places[i]..places[end];
                    self.cuts.loops.retain(|at, _| !within.contains(at));
                    self.cuts.runs.retain(|at, _| !within.contains(at));
                    self.cuts.runs.insert(within.start, parts);
                    cost
                }
                _ => apart,
            };
            i = end;
        }
        total
    }

    // Where the run that begins with statement `first` ends.
    fn run_from(&self, block: &[Stmt], places: &[usize], first: usize) -> usize {
        let (mut used, mut end) = (Used::new(), first);
        while end < block.len() {
            let range = places[end]..places[end + 1];
            let fits = self.may_run(&block[end], &range) && self.join(&mut used, &range);
            if !fits || !self.private(&(places[first]..range.end)) {
                break;
            }
            end += 1;
        }
        end
    }

    // Whether a statement can be done by threads, or before them.
    fn may_run(&self, s: &Stmt, range: &Range<usize>) -> bool {
        match s {
            Stmt::Let { var, .. } => !self.func.vars[*var].mutable,
            Stmt::SetSym { .. } | Stmt::FailIf { .. } => false,
            _ => {
                self.variables(range) && (self.nest(s, range.start).is_some() || !self.keeps(range))
            }
        }
    }

    // Whether private scratch is written: what one iteration of a loop leaves there no other reads, but the next statement may.
    fn keeps(&self, range: &Range<usize>) -> bool {
        let written = self.uses.written(range.clone());
        let private = |b: &BufId| self.func.bufs[*b].access == Access::Private;
        written.iter().any(private)
    }

    // Adds what a statement uses, unless it has to wait for one that is in already or the other way round.
    fn join(&self, used: &mut Used, range: &Range<usize>) -> bool {
        let mut own = Used::new();
        for u in self.uses.within(range.clone()) {
            let entry = own.entry(u.buf).or_insert(Use {
                reads: false,
                writes: false,
                fresh: u.write,
            });
            entry.reads |= !u.write;
            entry.writes |= u.write;
        }
        let agree = own.iter().all(|(buf, b)| {
            let Some(a) = used.get(buf) else {
                return true;
            };
            if !a.writes && !b.writes {
                return true;
            }
            match self.func.bufs[*buf].access {
                // Each piece has its own.
                Access::Private => a.fresh && b.fresh,
                // Its elements are stored once.
                Access::Write => self.facts.once && !a.reads && !b.reads,
                _ => false,
            }
        });
        if agree {
            for (buf, b) in own {
                let a = used.entry(buf).or_insert(b);
                a.reads |= b.reads;
                a.writes |= b.writes;
                a.fresh &= b.fresh;
            }
        }
        agree
    }

    // Deals the statements of a run out so that all threads end about together; with the cycles until then.
    fn together(&mut self, run: &'a [Stmt], places: &[usize]) -> Option<(Vec<Part>, f64)> {
        let (mut before, mut leaves) = (0.0, vec![]);
        let mut parts = vec![Part::Before; run.len()];
        for (k, s) in run.iter().enumerate() {
            if matches!(s, Stmt::Let { .. }) {
                before += self.work.stmt(s);
                continue;
            }
            let whole = self.leaf(s, places[k], 1.0);
            match self.within(s, places[k], &whole) {
                Some((count, inner)) => {
                    parts[k] = Part::Within(vec![Part::Before; count]);
                    leaves.extend(inner.into_iter().map(|(at, leaf)| ((k, Some(at)), leaf)));
                }
                None => leaves.push(((k, None), whole)),
            }
        }
        let inside = parts.iter().any(|p| matches!(p, Part::Within(_)));
        if leaves.len() < 2 && !inside {
            return None;
        }
        let (paths, leaves): (Vec<_>, Vec<Leaf>) = leaves.into_iter().unzip();
        let (dealt, cycles) = deal(&leaves, self.facts.threads as usize);
        for ((at, inner), part) in paths.into_iter().zip(dealt) {
            match (inner, &mut parts[at]) {
                (Some(inner), Part::Within(parts)) => parts[inner] = part,
                (_, whole) => *whole = part,
            }
        }
        Some((parts, before + CALL + cycles))
    }

    // What is to be dealt out of a statement that is done so many times.
    fn leaf(&mut self, s: &Stmt, at: usize, times: f64) -> Leaf {
        let cycles = self.work.stmt(s) * times;
        let nest = self.nest(s, at);
        let places = match &nest {
            Some(n) => self.places(s, n),
            None => place(self.func, s, &mut self.values.clone()).map(|p| vec![p]),
        };
        Leaf {
            cycles,
            depth: nest.as_ref().map(|n| n.depth),
            units: nest.map_or(Some(1), |n| n.units),
            places,
        }
    }

    // Where the iterations of a nest begin to write, some of them if they are many; `None`: not known, or not one behind the other.
    fn places(&self, s: &Stmt, nest: &Nest) -> Option<Vec<f64>> {
        let (mut loops, mut unit, mut body) = (vec![], 1, std::slice::from_ref(s));
        for _ in 0..nest.depth {
            let Some(Stmt::For {
                var,
                extent,
                kind,
                body: inner,
            }) = body.first()
            else {
                return None;
            };
            loops.push((*var, self.constant(*extent)?));
            if *kind == LoopKind::Lanes {
                unit = TOGETHER;
            }
            body = inner;
        }
        let units = nest.units?;
        let looks = units.min(LOOKS);
        let at = |i: i64| {
            let mut index = i * units / looks * unit;
            let mut values = self.values.clone();
            for (var, n) in loops.iter().rev() {
                values.insert(*var, index % n.max(&1));
                index /= n.max(&1);
            }
            body.iter().find_map(|s| place(self.func, s, &mut values))
        };
        let found: Vec<f64> = (0..looks).map(at).collect::<Option<_>>()?;
        found.is_sorted().then_some(found)
    }

    // The statements inside of a loop, to be dealt out in every one of its iterations: where that cuts the output, and cutting the loop would
    // cut each row of it. With how many statements there are.
    fn within(
        &mut self,
        s: &'a Stmt,
        at: usize,
        whole: &Leaf,
    ) -> Option<(usize, Vec<(usize, Leaf)>)> {
        let Stmt::For {
            var,
            extent,
            kind,
            body,
        } = s
        else {
            return None;
        };
        let range = at..at + 1 + statements(body);
        if self.constant(*extent)? < 2
            || whole.span() > HALF
            || !self.independent(*kind, *var, *extent, range)
        {
            return None;
        }
        let mut places = vec![at + 1];
        for s in body {
            let next = 1 + s.blocks().map(|b| statements(b)).sum::<usize>();
            places.push(places[places.len() - 1] + next);
        }
        if self.run_from(body, &places, 0) < body.len() {
            return None;
        }
        let times = self.work.enter(*var, *extent);
        let mut leaves = vec![];
        for (k, s) in body.iter().enumerate() {
            if !matches!(s, Stmt::Let { .. }) {
                leaves.push((k, self.leaf(s, places[k], times)));
            }
        }
        let ends = leaves.iter().map(|(_, l)| l.ends());
        let (least, most) = (ends.clone().map(|e| e.0), ends.map(|e| e.1));
        let span = most.fold(0.0, f64::max) - least.fold(1.0, f64::min);
        (span > HALF).then_some((body.len(), leaves))
    }
}
