//! Loops over pieces: their bodies become functions of their own, which the caller's threads are asked to run.
//!
//! A region is `fn(arg: *const u64, begin: i64, end: i64) -> i32`, as the ABI's `parallel_for` takes it. `arg` points into the frame of the
//! function that the loop stands in: the symbol table, the buffers, and the variables that the body reads. Nothing is allocated. Where
//! the caller has no threads the function calls its region itself. A region sets the floating-point mode, since another thread's may be
//! different, and puts it back.

use super::func::{ADDRESSES, Called, Cx, MODE, REGIONS, VarSlot, build, import, signature};
use super::isa::Isa;
use super::{func, mem, own, ty};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Symbols;
use crate::contracts::References;
use crate::loops::ir::{Access, BufId, Const, Expr, ExprId, Func, LoopKind, Stmt, VarId};
use crate::loops::uses::{Uses, statements};
use crate::loops::walk::{reachable, visit};
use crate::plan::program::copy_bytes;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value, types};

/// How regions are run.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Where the caller's function and its first argument lie, in bytes from the symbol table.
    pub at: i32,
    /// The floating-point mode of the program.
    pub mode: i64,
}

/// A region to be compiled.
pub struct Region {
    var: VarId,
    body: Vec<Stmt>,
    /// Buffers that it uses, and variables that it reads, in the order in which they are handed over.
    bufs: Vec<BufId>,
    vars: Vec<VarId>,
    /// Of each of `bufs`: bytes from one piece's copy to the next; 0 where all use one.
    steps: Vec<i64>,
}

/// Which buffers each loop over pieces uses, and which of them it writes; in the order of the text.
#[derive(Default)]
pub struct Pieces(Vec<(Vec<BufId>, Vec<BufId>)>);

impl Pieces {
    /// Of a function.
    pub fn of(f: &Func) -> Pieces {
        let uses = Uses::of(f, &References::default());
        let (mut at, mut out) = (0, vec![]);
        visit(&f.body, &mut |s| {
            if let Stmt::For {
                kind: LoopKind::Parallel,
                body,
                ..
            } = s
            {
                let range = at..at + 1 + statements(body);
                let mut all: Vec<BufId> =
                    uses.within(range.clone()).iter().map(|u| u.buf).collect();
                all.sort_unstable();
                all.dedup();
                out.push((all, uses.written(range)));
            }
            at += 1;
        });
        Pieces(out)
    }
}

impl Cx<'_, '_> {
    /// Writes the call of a loop over pieces. `false`: it must be written as a loop.
    pub fn pieces(&mut self, var: VarId, extent: ExprId, body: &[Stmt]) -> Result<bool> {
        let (Some(hook), Expr::Const(Const::I64(n))) = (self.hook, &self.f.exprs[extent]) else {
            return Ok(false);
        };
        let number = self.regions.len();
        let (used, written) = match &self.pieces.0.get(number) {
            Some((a, b)) => (a.clone(), b.clone()),
            None => return Err(Diagnostic::internal("a parallel loop inside of another")),
        };
        let steps = used.iter().map(|b| {
            let buffer = &self.f.bufs[*b];
            match buffer.access == Access::Private && written.contains(b) {
                true => copy_bytes(buffer, self.symbols) as i64,
                false => 0,
            }
        });
        let region = Region {
            var,
            body: body.to_vec(),
            steps: steps.collect(),
            bufs: used,
            vars: self.captured(var, body),
        };
        let words = 1 + region.bufs.len() + region.vars.len();
        let bytes = u32::try_from(words * 8)
            .map_err(|_| Diagnostic::limit("ONNX006", "a layer with too many buffers"))?;
        let slot = self.o.b.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            bytes,
            3,
        ));
        let mut values = vec![self.syms];
        values.extend(region.bufs.iter().map(|b| self.bufs[b.0 as usize]));
        for v in &region.vars {
            if let VarSlot::One(x) = self.vars[v.0 as usize] {
                values.push(self.o.b.use_var(x));
            }
        }
        let args = self.o.b.ins().stack_addr(types::I64, slot, 0);
        for (i, v) in values.into_iter().enumerate() {
            self.o.b.ins().store(mem::flags(), v, args, (i * 8) as i32);
        }
        let count = self.o.b.ins().iconst(types::I64, *n);
        let status = self.call_region(hook, number as u32, args, count);
        self.regions.push(region);
        let (bad, good) = (self.o.b.create_block(), self.o.b.create_block());
        self.o.b.set_cold_block(bad);
        self.o.b.ins().brif(status, bad, &[], good, &[]);
        self.o.b.seal_block(bad);
        self.o.b.seal_block(good);
        self.o.b.switch_to_block(bad);
        self.o.b.ins().return_(&[status]);
        self.o.b.switch_to_block(good);
        Ok(true)
    }
    // By the caller's threads, or else here.
    fn call_region(&mut self, hook: Hook, index: u32, args: Value, count: Value) -> Value {
        let (syms, b) = (self.syms, &mut *self.o.b);
        let f = b.ins().load(types::I64, mem::flags(), syms, hook.at);
        let (with, without, after) = (b.create_block(), b.create_block(), b.create_block());
        b.append_block_param(after, types::I32);
        b.ins().brif(f, with, &[], without, &[]);
        b.seal_block(with);
        b.seal_block(without);
        b.switch_to_block(with);
        let user = b.ins().load(types::I64, mem::flags(), syms, hook.at + 8);
        let space = ADDRESSES;
        let address = import(b, Called { space, index }, &[], &[types::I64]);
        let call = b.ins().call(address, &[]);
        let region = b.inst_results(call)[0];
        let four = signature(&[types::I64; 4], &[types::I32]);
        let four = b.import_signature(four);
        let call = b.ins().call_indirect(four, f, &[user, region, args, count]);
        let status = b.inst_results(call)[0];
        b.ins().jump(after, &[status.into()]);
        b.switch_to_block(without);
        let space = REGIONS;
        let three = [types::I64; 3];
        let region = import(b, Called { space, index }, &three, &[types::I32]);
        let zero = b.ins().iconst(types::I64, 0);
        let call = b.ins().call(region, &[args, zero, count]);
        let status = b.inst_results(call)[0];
        b.ins().jump(after, &[status.into()]);
        b.seal_block(after);
        b.switch_to_block(after);
        b.block_params(after)[0]
    }
    // Variables that the body reads and that are set where the loop stands.
    fn captured(&self, own: VarId, body: &[Stmt]) -> Vec<VarId> {
        let mut roots: Vec<ExprId> = vec![];
        visit(body, &mut |s| roots.extend(s.exprs()));
        let mut out: Vec<VarId> = reachable(self.f, &roots)
            .into_iter()
            .filter_map(|e| match self.f.exprs[e] {
                Expr::Var(v) => Some(v),
                _ => None,
            })
            .filter(|v| *v != own && matches!(self.vars[v.0 as usize], VarSlot::One(_)))
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Compiles a region of a function that is written out already.
pub fn compile(
    f: &Func,
    region: &Region,
    symbols: &Symbols,
    isa: &Isa,
    hook: Hook,
    text: bool,
) -> Result<func::Machine> {
    let three = [types::I64; 3];
    let mut loops = vec![];
    build(isa, &signature(&three, &[types::I32]), text, |e| {
        let p = e.block_params_of_entry();
        let (arg, begin, end) = (p[0], p[1], p[2]);
        let b = &mut e.0;
        let syms = b.ins().load(types::I64, mem::flags(), arg, 0);
        let mut at = 8;
        let mut next = |b: &mut cranelift_frontend::FunctionBuilder, t| {
            at += 8;
            b.ins().load(t, mem::flags(), arg, at - 8)
        };
        // What is not handed over is not used.
        let mut bufs = vec![syms; f.bufs.len()];
        for id in &region.bufs {
            bufs[id.0 as usize] = next(b, types::I64);
        }
        let mode = import(
            b,
            Called {
                space: MODE,
                index: 0,
            },
            &[types::I64],
            &[types::I64],
        );
        let ours = b.ins().iconst(types::I64, hook.mode);
        let call = b.ins().call(mode, &[ours]);
        let theirs = b.inst_results(call)[0];
        let leave = b.create_block();
        b.append_block_param(leave, types::I32);
        let firsts = bufs.clone();
        let mut cx = Cx::new(f, symbols, isa, b, syms, bufs);
        cx.leave = Some(leave);
        for v in &region.vars {
            let t = ty::scalar(f.vars[*v].ty);
            let value = next(cx.o.b, t);
            let slot = cx.o.b.declare_var(t);
            cx.o.b.def_var(slot, value);
            cx.vars[v.0 as usize] = VarSlot::One(slot);
        }
        let piece = cx.o.b.declare_var(types::I64);
        cx.o.b.def_var(piece, begin);
        cx.vars[region.var.0 as usize] = VarSlot::One(piece);
        let (inside, done) = (cx.o.b.create_block(), cx.o.b.create_block());
        let some = cx.o.b.ins().icmp(IntCC::SignedLessThan, begin, end);
        cx.o.b.ins().brif(some, inside, &[], done, &[]);
        cx.o.b.switch_to_block(inside);
        let number = cx.o.b.use_var(piece);
        for (id, step) in region.bufs.iter().zip(&region.steps) {
            if *step != 0 {
                let by = cx.o.b.ins().imul_imm_s(number, *step);
                let first = firsts[id.0 as usize];
                cx.bufs[id.0 as usize] = cx.o.b.ins().iadd(first, by);
            }
        }
        cx.block(&region.body)?;
        loops = std::mem::take(&mut cx.loops);
        let b = cx.o.b;
        let number = b.use_var(piece);
        let next = b.ins().iadd_imm_s(number, 1);
        b.def_var(piece, next);
        let again = b.ins().icmp(IntCC::SignedLessThan, next, end);
        b.ins().brif(again, inside, &[], done, &[]);
        b.seal_block(inside);
        b.seal_block(done);
        b.switch_to_block(done);
        let zero = b.ins().iconst(types::I32, 0);
        b.ins().jump(leave, &[zero.into()]);
        b.seal_block(leave);
        b.switch_to_block(leave);
        let status = b.block_params(leave)[0];
        b.ins().call(mode, &[theirs]);
        b.ins().return_(&[status]);
        Ok(())
    })
    .map(|mut m| {
        m.loops = loops;
        // It is called through a pointer.
        if isa.landing_pads && isa.arch == crate::target::Arch::X86_64 {
            own::with_endbr(&mut m);
        }
        m
    })
    .map_err(|e| e.at(format!("function {}", f.name)))
}
