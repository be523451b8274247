//! Writing what was chosen: loops over pieces.

use super::{Cuts, Part, TOGETHER, serial};
use crate::loops::build::Builder;
use crate::loops::ir::*;
use crate::loops::uses::statements;

pub(super) struct Cutter {
    pub b: Builder,
    pub plan: Cuts,
    pub threads: i64,
}

/// Loops that are taken as one.
struct Nest {
    loops: Vec<(VarId, ExprId)>,
    /// `Lanes` where the innermost is.
    kind: LoopKind,
    body: Vec<Stmt>,
}

impl Cutter {
    /// `at` counts the statements of the function as it was.
    pub fn block(&mut self, block: Vec<Stmt>, at: &mut usize) -> Vec<Stmt> {
        let (mut out, mut rest) = (vec![], block.into_iter());
        while let Some(s) = rest.next() {
            match self.plan.runs.remove(at) {
                Some(parts) => {
                    let more = rest.by_ref().take(parts.len().saturating_sub(1));
                    let run: Vec<Stmt> = std::iter::once(s).chain(more).collect();
                    *at += statements(&run);
                    out.extend(self.run(run, parts));
                }
                None => out.push(self.stmt(s, at)),
            }
        }
        out
    }
    fn stmt(&mut self, s: Stmt, at: &mut usize) -> Stmt {
        let here = *at;
        if let Some(&depth) = self.plan.loops.get(&here) {
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
    fn cut(&mut self, s: Stmt, depth: usize) -> Stmt {
        let nest = match take(s, depth) {
            Ok(nest) => nest,
            Err(s) => return s,
        };
        let pieces = match self.units(&nest) {
            (_, Some(n)) => n.min(self.threads),
            (_, None) => self.threads,
        };
        let (piece, p) = self.b.loop_var();
        self.b.open_block();
        self.shared(nest, p, pieces, None);
        self.over(piece, pieces)
    }
    // One loop over pieces for several statements, behind the variables among them.
    fn run(&mut self, run: Vec<Stmt>, parts: Vec<Part>) -> Vec<Stmt> {
        let mut out = vec![];
        let (piece, p) = self.b.loop_var();
        self.b.open_block();
        for (s, part) in run.into_iter().zip(parts) {
            match part {
                Part::Before => out.push(s),
                part => self.part(s, part, p),
            }
        }
        out.push(self.over(piece, self.threads));
        out
    }
    // What piece `p` does of a statement.
    fn part(&mut self, s: Stmt, part: Part, p: ExprId) {
        match part {
            Part::Before => self.b.stmt(s),
            Part::Whole(one) => {
                let one = self.b.i(one);
                let cond = self.b.eq(p, one);
                let (then, els) = (serial(vec![s]), vec![]);
                self.b.stmt(Stmt::If { cond, then, els });
            }
            Part::Shared(depth, counts) => match take(s, depth) {
                Ok(nest) => self.shared(nest, p, self.threads, counts.as_deref()),
                Err(s) => self.b.stmt(s),
            },
            Part::Within(parts) => match take(s, 1) {
                Ok(nest) => self.within(nest, parts, p),
                Err(s) => self.b.stmt(s),
            },
        }
    }
    fn within(&mut self, nest: Nest, parts: Vec<Part>, p: ExprId) {
        self.b.open_block();
        for (s, part) in nest.body.into_iter().zip(parts) {
            self.part(s, part, p);
        }
        let body = self.b.close_block();
        for (var, extent) in nest.loops {
            let (kind, body) = (LoopKind::Seq, body.clone());
            self.b.stmt(Stmt::For {
                var,
                extent,
                kind,
                body,
            });
        }
    }
    // The loop over pieces around the open block.
    fn over(&mut self, piece: VarId, pieces: i64) -> Stmt {
        let body = self.b.close_block();
        Stmt::For {
            var: piece,
            extent: self.b.i(pieces),
            kind: LoopKind::Parallel,
            body,
        }
    }
    // Iterations of a nest, and what is dealt out of it, if that is known.
    fn units(&mut self, nest: &Nest) -> (ExprId, Option<i64>) {
        let b = &mut self.b;
        let mut all = b.i(1);
        for (_, n) in &nest.loops {
            all = b.mul(all, *n);
        }
        let zero = b.i(0);
        match b.as_i64(all) {
            Some(n) => {
                let unit = unit(nest);
                (all, Some((n + unit - 1) / unit))
            }
            // A negative extent is none.
            None => (b.max(all, zero), None),
        }
    }
    // What piece `p` of so many has of a nest: as many units as `counts` says, or else about as many as each other piece.
    fn shared(&mut self, nest: Nest, p: ExprId, pieces: i64, counts: Option<&[i64]>) {
        let unit = unit(&nest);
        let (all, _) = self.units(&nest);
        let b = &mut self.b;
        let (unit_e, more) = (b.i(unit), b.i(unit - 1));
        let (mut from, mut count) = match counts {
            Some(counts) => dealt(b, p, counts),
            None => {
                let units = b.add(all, more);
                let units = b.div(units, unit_e);
                evenly(b, p, units, pieces)
            }
        };
        from = b.mul(from, unit_e);
        count = b.mul(count, unit_e);
        if unit > 1 && b.as_i64(all).is_none_or(|n| n % unit != 0) {
            let rest = b.sub(all, from);
            count = b.min(rest, count);
        }
        let from = b.let_(from);
        let count = b.let_(count);
        let (var, i) = b.loop_var();
        b.open_block();
        let mut index = b.add(from, i);
        for (k, (v, n)) in nest.loops.iter().enumerate().rev() {
            let value = match k {
                0 => index,
                _ => b.rem(index, *n),
            };
            b.stmt(Stmt::Let { var: *v, value });
            if k > 0 {
                index = b.div(index, *n);
            }
        }
        serial(nest.body).into_iter().for_each(|s| b.stmt(s));
        let body = b.close_block();
        b.stmt(Stmt::For {
            var,
            extent: count,
            kind: nest.kind,
            body,
        });
    }
}

// Iterations that stay together.
fn unit(nest: &Nest) -> i64 {
    match nest.kind {
        LoopKind::Lanes => TOGETHER,
        _ => 1,
    }
}

// First unit and units of a piece. The first pieces have one more where it does not come out even.
fn evenly(b: &mut Builder, p: ExprId, units: ExprId, pieces: i64) -> (ExprId, ExprId) {
    let (pieces, zero, one) = (b.i(pieces), b.i(0), b.i(1));
    let (each, left) = (b.div(units, pieces), b.rem(units, pieces));
    let (mut from, mut count) = (b.mul(p, each), each);
    if b.as_i64(left) != Some(0) {
        let longer = b.min(p, left);
        from = b.add(from, longer);
        let is_longer = b.lt(p, left);
        let extra = b.select(is_longer, one, zero);
        count = b.add(count, extra);
    }
    (from, count)
}

// The same, of pieces that have different numbers.
fn dealt(b: &mut Builder, p: ExprId, counts: &[i64]) -> (ExprId, ExprId) {
    let (mut from, mut count) = (b.i(0), b.i(counts[0]));
    let mut at = 0;
    for (k, pair) in counts.windows(2).enumerate() {
        at += pair[0];
        let (number, start, n) = (b.i(k as i64 + 1), b.i(at), b.i(pair[1]));
        let earlier = b.lt(p, number);
        from = b.select(earlier, from, start);
        count = b.select(earlier, count, n);
    }
    (from, count)
}

// Takes `depth` nested loops off, or gives the statement back.
fn take(mut s: Stmt, depth: usize) -> Result<Nest, Stmt> {
    let mut nest = Nest {
        loops: vec![],
        kind: LoopKind::Seq,
        body: vec![],
    };
    loop {
        let Stmt::For {
            var,
            extent,
            kind,
            mut body,
        } = s
        else {
            return Err(s);
        };
        nest.loops.push((var, extent));
        if kind == LoopKind::Lanes {
            nest.kind = kind;
        }
        if nest.loops.len() == depth || body.len() != 1 {
            nest.body = body;
            return Ok(nest);
        }
        s = body.remove(0);
    }
}
