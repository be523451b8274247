//! `Lanes` loops that leave their function: found here, turned into machine code by the target, called from here.
//!
//! A loop leaves where all it does is affine and known in kind: neighbours are read and written side by side, inner loops and
//! perfectly nested outer ones have extents that do not change, and scalars are shared by all iterations or computed as lanes.
//! What is shared is evaluated before the call; addresses are those of the first iteration, and how they move is evaluated
//! as a difference between the first two. Whatever does not fit, and loops of few iterations, stay with Cranelift: nothing
//! here changes what is computed.

use super::func::{Called, Cx, LOOPS, import};
use super::outline_find::{Found, Source};
use crate::base::diag::{Diagnostic, Result};
use crate::kernel::Code;
use crate::loops::ir::{ExprId, LoopKind, Stmt, Ty, VarId};
use crate::loops::lane_loop::LaneLoop;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

// Operations on one lane from which on a call is worth making: as many as the compiler's own vectors do in the time of a call.
const WORTH: i64 = 96;

impl Cx<'_, '_> {
    /// Calls a kernel in place of a loop; `false`: nothing was written, the loop must be.
    pub fn outline(
        &mut self,
        var: VarId,
        extent: ExprId,
        kind: LoopKind,
        body: &[Stmt],
    ) -> Result<bool> {
        let Some(make) = self.o.isa.lane_loop else {
            return Ok(false);
        };
        if self.loop_lanes.is_some() {
            return Ok(false);
        }
        let Some(found) = Found::find(self, var, extent, kind, body) else {
            return Ok(false);
        };
        if found.work().is_some_and(|n| n < WORTH) {
            return Ok(false);
        }
        let known = self.loops.iter().position(|(l, _)| *l == found.code);
        let index = match known {
            Some(i) => i,
            None => {
                let Some(code) = make(&found.code, self.o.isa.landing_pads) else {
                    return Ok(false);
                };
                self.loops.push((found.code.clone(), code?));
                self.loops.len() - 1
            }
        };
        self.call_loop(&found, index as u32)?;
        Ok(true)
    }

    fn call_loop(&mut self, found: &Found, index: u32) -> Result<()> {
        self.next_statement();
        // Shared values may only be read where the loops run at all.
        let after = self.o.b.create_block();
        for &n in &found.guards {
            let n = self.scalar(n)?;
            let some = self.o.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, 0);
            let on = self.o.b.create_block();
            self.o.b.ins().brif(some, on, &[], after, &[]);
            self.o.b.seal_block(on);
            self.o.b.switch_to_block(on);
        }
        let zero = self.o.b.ins().iconst(types::I64, 0);
        for &v in &found.vars {
            let slot = self.slot(v, types::I64);
            self.o.b.def_var(slot, zero);
        }
        self.again(found)?;
        let mut args: Vec<Value> = Vec::with_capacity(found.args.len());
        for source in &found.args {
            args.push(match *source {
                Source::Pointer { buf, index } => {
                    let index = index.map(|i| self.scalar(i)).transpose()?;
                    let p = self.place(buf, index, 0);
                    self.address(p)
                }
                Source::Whole(e) => self.scalar(e)?,
                Source::Flag(e) => {
                    let v = self.scalar(e)?;
                    self.o.b.ins().uextend(types::I64, v)
                }
                Source::Lane(e) => {
                    let v = self.scalar(e)?;
                    let v = match self.ty(e) {
                        Ty::F32 => self
                            .o
                            .b
                            .ins()
                            .bitcast(types::I32, super::ops::cast_flags(), v),
                        Ty::Bool => self.o.b.ins().bmask(types::I32, v),
                        Ty::I32 => v,
                        t => {
                            return Err(Diagnostic::internal(format!("{t:?} as a lane")));
                        }
                    };
                    self.o.b.ins().uextend(types::I64, v)
                }
                Source::Step { index, var, size } => {
                    let first = self.scalar(index)?;
                    let slot = self.slot(var, types::I64);
                    let one = self.o.b.ins().iconst(types::I64, 1);
                    self.o.b.def_var(slot, one);
                    self.again(found)?;
                    let second = self.scalar(index)?;
                    self.o.b.def_var(slot, zero);
                    self.again(found)?;
                    let step = self.o.b.ins().isub(second, first);
                    self.o.b.ins().imul_imm_s(step, size)
                }
            });
        }
        let to = Called {
            space: LOOPS,
            index,
        };
        let f = import(self.o.b, to, &vec![types::I64; args.len()], &[]);
        self.o.b.ins().call(f, &args);
        self.o.b.ins().jump(after, &[]);
        self.o.b.seal_block(after);
        self.o.b.switch_to_block(after);
        self.next_statement();
        Ok(())
    }
    // Sets the whole-number variables of the loops anew, for other values of the loop variables.
    fn again(&mut self, found: &Found) -> Result<()> {
        for &(v, value) in &found.lets {
            self.next_statement();
            self.assign(v, value)?;
        }
        self.next_statement();
        Ok(())
    }
}

/// The kernels of a function with their code.
pub type Loops = Vec<(LaneLoop, Code)>;
