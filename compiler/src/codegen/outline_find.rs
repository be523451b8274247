//! Reads a loop nest and writes it down as a [`LaneLoop`], or finds that it can't be one.

use super::func::Cx;
use super::outline_merge::merge;
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, BufId, Const, Expr, ExprId, LoopKind, Stmt, Ty, UnOp, VarId};
use crate::loops::lane_loop::{Inst, LaneLoop, Loop, Num, Spot, Stream, Value, ValueNo};
use std::collections::{BTreeSet, HashMap, HashSet};

// An index is followed so deep.
const DEEP: usize = 48;
// Arguments of a call at most.
const ARGS: usize = 40;

/// What an argument is. Expressions are evaluated with all loop variables 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The address of an element.
    Pointer { buf: BufId, index: Option<ExprId> },
    /// A whole number.
    Whole(ExprId),
    /// A condition, as 0 or 1.
    Flag(ExprId),
    /// A scalar of 32 bits, or a condition as all zeros or all ones.
    Lane(ExprId),
    /// By how many bytes an index moves from the first iteration of a loop to the second.
    Step {
        index: ExprId,
        var: VarId,
        size: i64,
    },
}

/// A loop that can leave its function.
pub struct Found {
    /// What the target is asked to make.
    pub code: LaneLoop,
    /// The arguments of the call.
    pub args: Vec<Source>,
    /// Extents that must be positive for the call to be made.
    pub guards: Vec<ExprId>,
    /// Variables of the loops.
    pub vars: Vec<VarId>,
    /// Whole-number variables set inside, in order.
    pub lets: Vec<(VarId, ExprId)>,
}

struct Find<'c, 'a, 'b> {
    cx: &'c Cx<'a, 'b>,
    /// By expression: whether it differs between iterations of some loop; whether it reads memory; whether it reads what the
    /// loops write.
    varies: Vec<bool>,
    reads: Vec<bool>,
    reads_written: Vec<bool>,
    found: Found,
    /// Immutable lanes, and the numbers of mutable ones with how often they were set.
    values: HashMap<VarId, ValueNo>,
    mutable: HashMap<VarId, (u16, u32)>,
    /// Variables of the kernel so far.
    vars: u16,
    /// Depth of the open block that seldom runs; nothing in it is defined further out.
    seldom_at: usize,
    /// Values known in each open block, and the block each was defined in.
    blocks: Vec<(Vec<Inst>, HashMap<(Value, u32), ValueNo>)>,
    depth: Vec<usize>,
    /// Depth of the body of the `Lanes` loop, once it is open.
    lanes_at: Option<usize>,
    /// Grows with each store.
    epoch: u32,
    /// An open loop may run 0 times.
    may_skip: bool,
    buffers: Vec<BufId>,
    written: HashSet<BufId>,
}

impl Found {
    /// The nest that begins with this loop.
    pub fn find(
        cx: &Cx,
        var: VarId,
        extent: ExprId,
        kind: LoopKind,
        body: &[Stmt],
    ) -> Option<Found> {
        if kind == LoopKind::Parallel || !has_lanes(kind, body) {
            return None;
        }
        let mut inside = HashSet::from([var]);
        let mut lets = HashMap::new();
        let mut written = HashSet::new();
        collect(body, &mut inside, &mut lets, &mut written)?;
        // A variable that lives outside can't be set in a kernel.
        let own = |(v, n): (&VarId, &u32)| cx.lets.get(v.0 as usize) == Some(n);
        if !lets.iter().all(own) {
            return None;
        }
        let mut f = Find {
            cx,
            varies: vec![],
            reads: vec![],
            reads_written: vec![],
            found: Found {
                code: LaneLoop::default(),
                args: vec![],
                guards: vec![],
                vars: vec![],
                lets: vec![],
            },
            values: HashMap::new(),
            mutable: HashMap::new(),
            vars: 0,
            seldom_at: 1,
            blocks: vec![(vec![], HashMap::new())],
            depth: vec![],
            lanes_at: None,
            epoch: 0,
            may_skip: false,
            buffers: vec![],
            written,
        };
        for (_, e) in cx.f.exprs.iter() {
            let any = |of: &[bool]| e.operands().any(|o| of.get(o.0 as usize) == Some(&true));
            let (varies, reads, bad) = (any(&f.varies), any(&f.reads), any(&f.reads_written));
            let own = matches!(e, Expr::Var(v) if inside.contains(v));
            let clobbered = match e {
                Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } => f.written.contains(buf),
                _ => false,
            };
            f.varies.push(varies || own);
            f.reads.push(reads || e.is_load());
            f.reads_written.push(bad || clobbered);
        }
        f.loop_(var, extent, kind, body)?;
        f.finish()
    }
    /// Operations on one lane in all, where the number of iterations is known.
    pub fn work(&self) -> Option<i64> {
        fn go(l: &LaneLoop, body: &[Inst]) -> Option<i64> {
            let mut n = 0i64;
            for i in body {
                n = n.saturating_add(match i {
                    Inst::Loop(no, body) => match l.loops.get(usize::from(*no))?.extent {
                        Num::Known(k) => k.max(0).saturating_mul(go(l, body)?),
                        Num::Arg(_) => return None,
                    },
                    _ => 1,
                });
            }
            Some(n)
        }
        go(&self.code, &self.code.body)
    }
}

// Whether a `Lanes` loop is reached through loops that hold nothing but the next one and variables.
fn has_lanes(kind: LoopKind, body: &[Stmt]) -> bool {
    if kind == LoopKind::Lanes {
        return true;
    }
    let mut inner = body.iter().filter(|s| !matches!(s, Stmt::Let { .. }));
    match (inner.next(), inner.next()) {
        (Some(Stmt::For { kind, body, .. }), None) => {
            *kind != LoopKind::Parallel && has_lanes(*kind, body)
        }
        _ => false,
    }
}

// Variables set inside with how often, and buffers written. `None`: a statement that can't be in a kernel.
fn collect(
    body: &[Stmt],
    inside: &mut HashSet<VarId>,
    lets: &mut HashMap<VarId, u32>,
    written: &mut HashSet<BufId>,
) -> Option<()> {
    for s in body {
        match s {
            Stmt::For { var, body, .. } => {
                inside.insert(*var);
                collect(body, inside, lets, written)?;
            }
            Stmt::Let { var, .. } => {
                inside.insert(*var);
                *lets.entry(*var).or_insert(0) += 1;
            }
            Stmt::Store { buf, .. } => {
                written.insert(*buf);
            }
            _ => return None,
        }
    }
    Some(())
}

fn sets(body: &[Stmt], out: &mut Vec<VarId>, stores: &mut bool) {
    for s in body {
        match s {
            Stmt::For { body, .. } => sets(body, out, stores),
            Stmt::Let { var, .. } => out.push(*var),
            Stmt::Store { .. } => *stores = true,
            _ => {}
        }
    }
}

impl Find<'_, '_, '_> {
    fn varies(&self, e: ExprId) -> bool {
        self.varies.get(e.0 as usize).copied().unwrap_or(true)
    }
    // Whether an expression that all iterations share may be evaluated before the loops.
    fn shared(&self, e: ExprId) -> Option<()> {
        let i = e.0 as usize;
        let reads = self.reads[i] && self.may_skip;
        (!self.varies(e) && !reads && !self.reads_written[i]).then_some(())
    }
    fn arg(&mut self, source: Source) -> Option<u8> {
        let args = &mut self.found.args;
        let at = match args.iter().position(|a| *a == source) {
            Some(i) => i,
            None => {
                args.push(source);
                args.len() - 1
            }
        };
        (at < ARGS).then_some(at as u8)
    }

    // Statements

    fn block(&mut self, body: &[Stmt]) -> Option<()> {
        for s in body {
            match s {
                Stmt::For {
                    var,
                    extent,
                    kind,
                    body,
                } => self.loop_(*var, *extent, *kind, body)?,
                Stmt::Let { var, value } => self.let_(*var, *value)?,
                Stmt::Store { buf, index, value } => {
                    let v = self.value(*value)?;
                    let (spot, moves) = self.spot(*buf, *index)?;
                    (moves && self.lanes_at.is_some()).then_some(())?;
                    self.push(Inst::Store(spot, v));
                    self.epoch += 1;
                }
                _ => return None,
            }
        }
        Some(())
    }
    fn push(&mut self, i: Inst) {
        if let Some((b, _)) = self.blocks.last_mut() {
            b.push(i);
        }
    }
    fn loop_(&mut self, var: VarId, extent: ExprId, kind: LoopKind, body: &[Stmt]) -> Option<()> {
        if kind == LoopKind::Parallel {
            return None;
        }
        let lanes = kind == LoopKind::Lanes && self.lanes_at.is_none();
        let outer = lanes || self.lanes_at.is_none();
        let number = match self.cx.f.exprs[extent] {
            Expr::Const(Const::I64(n)) => {
                (n > 0).then_some(())?;
                Num::Known(n)
            }
            _ => {
                self.shared(extent)?;
                if outer {
                    self.found.guards.push(extent);
                }
                Num::Arg(self.arg(Source::Whole(extent))?)
            }
        };
        let skipped = self.may_skip;
        self.may_skip |= !outer && matches!(number, Num::Arg(_));
        let no = u8::try_from(self.found.vars.len()).ok()?;
        self.found.vars.push(var);
        self.found.code.loops.push(Loop {
            extent: number,
            lanes,
        });
        // What an iteration changes is not what the next one finds.
        let (mut set, mut stores) = (vec![], false);
        sets(body, &mut set, &mut stores);
        self.forget(&set, stores);
        self.blocks.push((vec![], HashMap::new()));
        if lanes {
            self.lanes_at = Some(self.blocks.len());
        }
        self.block(body)?;
        let (insts, _) = self.blocks.pop()?;
        self.forget(&set, stores);
        self.may_skip = skipped;
        self.push(Inst::Loop(no, insts));
        Some(())
    }
    fn forget(&mut self, set: &[VarId], stores: bool) {
        self.epoch += u32::from(stores);
        for v in set {
            if let Some((_, n)) = self.mutable.get_mut(v) {
                *n += 1;
            }
        }
    }
    fn let_(&mut self, var: VarId, value: ExprId) -> Option<()> {
        let v = self.cx.f.vars[var];
        match v.ty {
            Ty::F64 => None,
            Ty::I64 => {
                // It must be affine, and is evaluated before the loops.
                (!v.mutable).then_some(())?;
                self.affine(value, 0)?;
                self.found.lets.push((var, value));
                Some(())
            }
            _ => {
                let mut x = self.value(value)?;
                if !v.mutable {
                    if matches!(self.found.code.values[x as usize], Value::Var(_)) {
                        x = self.define(Value::Copy(x), self.epoch, self.blocks.len())?;
                    }
                    self.values.insert(var, x);
                    return Some(());
                }
                let next = self.vars;
                let (no, version) = self.mutable.entry(var).or_insert((next, 0));
                *version += 1;
                let no = *no;
                self.vars = self.vars.checked_add(u16::from(no == next))?;
                self.push(Inst::Set(no, x));
                Some(())
            }
        }
    }

    // Addresses

    // How an index grows with the loops: by known numbers, or by others (`None`). Not affine: `None` as a whole.
    fn affine(&self, e: ExprId, deep: usize) -> Option<Vec<(u8, Option<i64>)>> {
        if !self.varies(e) {
            self.shared(e)?;
            return Some(vec![]);
        }
        if deep > DEEP {
            return None;
        }
        let konst = |e: ExprId| match self.cx.f.exprs[e] {
            Expr::Const(Const::I64(k)) => Some(k),
            _ => None,
        };
        match &self.cx.f.exprs[e] {
            Expr::Var(v) => {
                if let Some(l) = self.found.vars.iter().position(|x| x == v) {
                    return Some(vec![(l as u8, Some(1))]);
                }
                let (_, value) = self.found.lets.iter().find(|(x, _)| x == v)?;
                self.affine(*value, deep + 1)
            }
            Expr::Bin(op @ (BinOp::Add | BinOp::Sub), a, b) => {
                let mut out = self.affine(*a, deep + 1)?;
                for (l, k) in self.affine(*b, deep + 1)? {
                    let k = match op {
                        BinOp::Sub => k.and_then(i64::checked_neg),
                        _ => k,
                    };
                    match out.iter_mut().find(|(m, _)| *m == l) {
                        Some((_, was)) => *was = was.zip(k).and_then(|(a, b)| a.checked_add(b)),
                        None => out.push((l, k)),
                    }
                }
                out.sort_unstable();
                Some(out)
            }
            Expr::Bin(BinOp::Mul, a, b) => {
                let (a, b) = if self.varies(*a) { (*a, *b) } else { (*b, *a) };
                self.shared(b)?;
                let by = konst(b);
                let mut out = self.affine(a, deep + 1)?;
                for (_, k) in &mut out {
                    *k = k.zip(by).and_then(|(k, by)| k.checked_mul(by));
                }
                Some(out)
            }
            _ => None,
        }
    }
    // Where an element lies, and whether neighbouring iterations of the `Lanes` loop find neighbours.
    fn spot(&mut self, buf: BufId, index: ExprId) -> Option<(Spot, bool)> {
        let dtype: DType = self.cx.f.bufs[buf].dtype;
        let size = dtype.size() as i64;
        (size > 0).then_some(())?;
        let (rest, constant) = self.cx.split_index(index);
        let disp = i32::try_from(constant.checked_mul(size)?).ok()?;
        let mut steps = vec![];
        let mut moves = false;
        if let Some(rest) = rest {
            for (l, k) in self.affine(rest, 0)? {
                if self.found.code.loops[usize::from(l)].lanes {
                    match k {
                        Some(0) => continue,
                        Some(1) => moves = true,
                        _ => return None,
                    }
                }
                let step = match k {
                    Some(0) => continue,
                    Some(k) => Num::Known(k.checked_mul(size)?),
                    None => {
                        let var = self.found.vars[usize::from(l)];
                        let index = rest;
                        Num::Arg(self.arg(Source::Step { index, var, size })?)
                    }
                };
                steps.push((l, step));
            }
        }
        let base = self.arg(Source::Pointer { buf, index: rest })?;
        let stream = Stream { base, steps };
        let streams = &mut self.found.code.streams;
        let at = match streams.iter().position(|s| *s == stream) {
            Some(i) => i,
            None => {
                streams.push(stream);
                self.buffers.push(buf);
                streams.len() - 1
            }
        };
        let stream = u16::try_from(at).ok()?;
        Some((
            Spot {
                stream,
                disp,
                dtype,
            },
            moves,
        ))
    }

    // Values

    // A value, defined in the outermost block where it can be, but no further out than `least`.
    fn define(&mut self, v: Value, version: u32, least: usize) -> Option<ValueNo> {
        let depth = v.operands().map(|o| self.depth[o as usize]).max();
        let least = match v {
            Value::Bits(_) => least,
            _ => least.max(self.seldom_at),
        };
        let depth = depth.unwrap_or(1).max(least);
        for (_, known) in &self.blocks {
            if let Some(no) = known.get(&(v, version)) {
                return Some(*no);
            }
        }
        let no = ValueNo::try_from(self.found.code.values.len()).ok()?;
        self.found.code.values.push(v);
        self.depth.push(depth);
        let (block, known) = self.blocks.get_mut(depth.checked_sub(1)?)?;
        block.push(Inst::Define(no));
        known.insert((v, version), no);
        Some(no)
    }
    fn value(&mut self, root: ExprId) -> Option<ValueNo> {
        let mut wanted = BTreeSet::new();
        let mut open = vec![root];
        while let Some(e) = open.pop() {
            if !wanted.insert(e) || !self.varies(e) {
                continue;
            }
            match &self.cx.f.exprs[e] {
                Expr::Load { .. } => {}
                Expr::LoadIf { default, .. } => open.push(*default),
                Expr::Select(c, _, b) if self.is_seldom(*c) => open.extend([*c, *b]),
                Expr::Bin(BinOp::Shl | BinOp::Shr | BinOp::ShrU, a, _) => open.push(*a),
                x => open.extend(x.operands()),
            }
        }
        let mut have = HashMap::new();
        let mut last = None;
        for e in wanted {
            let v = self.node(e, &have)?;
            have.insert(e, v);
            last = Some(v);
        }
        last
    }
    fn is_seldom(&self, c: ExprId) -> bool {
        matches!(self.cx.f.exprs[c], Expr::Un(UnOp::Seldom, _)) && self.varies(c)
    }
    // `c ? a : b` where `a` is computed only if a lane asks for it.
    fn seldom(&mut self, c: ValueNo, a: ExprId, b: ValueNo) -> Option<ValueNo> {
        let var = self.vars;
        self.vars = var.checked_add(1)?;
        self.push(Inst::Set(var, b));
        self.blocks.push((vec![], HashMap::new()));
        let outer = std::mem::replace(&mut self.seldom_at, self.blocks.len());
        let a = self.value(a)?;
        let chosen = self.define(Value::Select(c, a, b), 0, 1)?;
        self.push(Inst::Set(var, chosen));
        self.seldom_at = outer;
        let (insts, _) = self.blocks.pop()?;
        self.push(Inst::Seldom(var, c, insts));
        self.define(Value::Var(var), 0, self.blocks.len())
    }
    // The bits of a constant of 32.
    fn constant(&self, e: ExprId) -> Option<u32> {
        match self.cx.f.exprs[e] {
            Expr::Const(Const::F32(b)) => Some(b),
            Expr::Const(Const::I32(b)) => Some(b as u32),
            _ => None,
        }
    }
    fn node(&mut self, e: ExprId, have: &HashMap<ExprId, ValueNo>) -> Option<ValueNo> {
        let ty = self.cx.ty(e);
        if matches!(ty, Ty::I64 | Ty::F64) {
            return None;
        }
        let expr = self.cx.f.exprs[e].clone();
        if !self.varies(e) {
            let v = match expr {
                Expr::Const(Const::F32(b)) => Value::Bits(b),
                Expr::Const(Const::I32(b)) => Value::Bits(b as u32),
                Expr::Const(Const::Bool(b)) => Value::Bits(0u32.wrapping_sub(u32::from(b))),
                Expr::Un(UnOp::ToBits | UnOp::FromBits, a) if self.constant(a).is_some() => {
                    Value::Bits(self.constant(a)?)
                }
                _ => {
                    self.shared(e)?;
                    Value::Scalar(self.arg(Source::Lane(e))?)
                }
            };
            return self.define(v, 0, 1);
        }
        let here = self.blocks.len();
        let of = |e: &ExprId| have.get(e).copied();
        let ty_of = |e: ExprId| Some(self.cx.ty(e)).filter(|t| !matches!(t, Ty::I64 | Ty::F64));
        let v = match &expr {
            Expr::Var(v) => match self.mutable.get(v) {
                Some((no, version)) => return self.define(Value::Var(*no), *version, here),
                None => return self.values.get(v).copied(),
            },
            Expr::Load { buf, index } => {
                let (spot, moves) = self.spot(*buf, *index)?;
                if moves {
                    return self.define(Value::Load(spot), self.epoch, here);
                }
                matches!(spot.dtype, DType::F32 | DType::I32).then_some(())?;
                // Iterations are independent: what they share can be read before them.
                let least = here - usize::from(self.lanes_at == Some(here));
                return self.define(Value::Splat(spot), self.epoch, least);
            }
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => {
                self.shared(*cond)?;
                let flag = self.arg(Source::Flag(*cond))?;
                let default = of(default)?;
                let (spot, moves) = self.spot(*buf, *index)?;
                moves.then_some(())?;
                return self.define(Value::LoadIf(spot, flag, default), self.epoch, here);
            }
            Expr::Un(UnOp::ToBits | UnOp::FromBits, a) => return of(a),
            Expr::Un(UnOp::Popcnt, _) => return None,
            Expr::Un(UnOp::Seldom, a) => return of(a),
            Expr::Un(op, a) if *op < UnOp::Exp => Value::Un(*op, ty_of(*a)?, of(a)?),
            Expr::Bin(op @ (BinOp::Shl | BinOp::Shr | BinOp::ShrU), a, by) => {
                let Expr::Const(Const::I32(by)) = self.cx.f.exprs[*by] else {
                    return None;
                };
                Value::Shift(*op, of(a)?, (by & 31) as u8)
            }
            Expr::Bin(op, a, b) => Value::Bin(*op, ty_of(*a)?, of(a)?, of(b)?),
            Expr::Fma(a, b, c) if ty == Ty::F32 => Value::Fma(of(a)?, of(b)?, of(c)?),
            Expr::Select(c, a, b) if self.is_seldom(*c) => {
                return self.seldom(of(c)?, *a, of(b)?);
            }
            Expr::Select(c, a, b) => Value::Select(of(c)?, of(a)?, of(b)?),
            Expr::Cast(to, kind, a) => Value::Cast(*to, *kind, ty_of(*a)?, of(a)?),
            _ => return None,
        };
        self.define(v, 0, 1)
    }

    // The whole

    fn finish(mut self) -> Option<Found> {
        let (insts, _) = self.blocks.pop()?;
        let code = &mut self.found.code;
        code.body = insts;
        code.vars = self.vars;
        code.args = self.found.args.len() as u8;
        merge(code, &self.buffers, &self.written);
        Some(self.found)
    }
}
