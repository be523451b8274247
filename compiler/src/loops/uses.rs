//! Which buffers a function's statements read and write, in the order of its text.
//!
//! Positions are those of [`super::walk::visit`]: a statement stands before those inside it, so a loop and all that it does is a range.
//! A call reads and writes what the reference of its contract does; of a contract that is not known, all that it may.

use super::interp::CalleeResolver;
use super::ir::*;
use super::walk::reachable;
use std::ops::Range;

/// One use of a buffer by a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Position of the statement.
    pub at: usize,
    /// Which buffer.
    pub buf: BufId,
    /// Whether it is written; else it is read.
    pub write: bool,
}

/// All uses, by position; what a statement reads stands before what it writes.
pub struct Uses(Vec<Use>);

impl Uses {
    /// Of a function.
    pub fn of(func: &Func, callees: &dyn CalleeResolver) -> Uses {
        let mut out = vec![];
        let mut at = 0;
        super::walk::visit(&func.body, &mut |s| {
            statement(func, callees, s, at, &mut out);
            at += 1;
        });
        Uses(out)
    }
    /// The uses in a range of positions.
    pub fn within(&self, range: Range<usize>) -> &[Use] {
        let from = self.0.partition_point(|u| u.at < range.start);
        let to = self.0.partition_point(|u| u.at < range.end);
        self.0.get(from..to).unwrap_or(&[])
    }
    /// The first use of a buffer in a range of positions: whether it is a write.
    pub fn first(&self, range: Range<usize>, buf: BufId) -> Option<bool> {
        let found = self.within(range).iter().find(|u| u.buf == buf);
        found.map(|u| u.write)
    }
    /// Buffers that are written in a range of positions.
    pub fn written(&self, range: Range<usize>) -> Vec<BufId> {
        let mut out: Vec<BufId> = (self.within(range).iter().filter(|u| u.write))
            .map(|u| u.buf)
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Statements of a block, inner ones included.
pub fn statements(block: &[Stmt]) -> usize {
    let mut n = 0;
    super::walk::visit(block, &mut |_| n += 1);
    n
}

fn statement(func: &Func, callees: &dyn CalleeResolver, s: &Stmt, at: usize, out: &mut Vec<Use>) {
    for e in reachable(func, &s.exprs()) {
        if let Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } = func.exprs[e] {
            let write = false;
            out.push(Use { at, buf, write });
        }
    }
    match s {
        Stmt::Store { buf, .. } => out.push(Use {
            at,
            buf: *buf,
            write: true,
        }),
        Stmt::Call { callee, args } => {
            let reference = func.callees.get(*callee).and_then(|c| callees.reference(c));
            let pointers = args.iter().filter_map(|a| match a {
                Arg::Ptr { buf, .. } => Some(*buf),
                Arg::Int(_) => None,
            });
            let access = |n: usize, buf: BufId| {
                let own = func.bufs.get(buf).map_or(Access::ReadWrite, |b| b.access);
                let theirs = reference.as_ref().and_then(|r| r.bufs.iter().nth(n));
                match (own, theirs) {
                    (Access::Read, _) => Access::Read,
                    (_, Some((_, b))) => b.access,
                    _ => Access::ReadWrite,
                }
            };
            let all: Vec<(BufId, Access)> = (pointers.enumerate())
                .map(|(n, buf)| (buf, access(n, buf)))
                .collect();
            for write in [false, true] {
                let skip = if write { Access::Read } else { Access::Write };
                let uses = all.iter().filter(|(_, a)| *a != skip);
                out.extend(uses.map(|&(buf, _)| Use { at, buf, write }));
            }
        }
        _ => {}
    }
}
