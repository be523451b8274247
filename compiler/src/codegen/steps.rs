//! Layer stubs and the steps of a program: small functions that hand buffers to bodies and follow the control flow.
//!
//! All take one argument, the [state](super::state::State), and answer a status. Long lists of steps are cut into several functions, so that
//! compile time grows linearly.

use super::func::{Called, Machine, PARTS, build, import, signature};
use super::isa::Isa;
use super::mem;
use super::offload::{self, Region};
use super::state::{Bases, State, call, pointer};
use crate::base::diag::Result;
use crate::plan::program::{Layer, Place};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// One thing to do; functions are numbers of parts.
pub enum Item {
    Call(u32),
    If {
        cond: Place,
        then: u32,
        els: Option<u32>,
    },
    Loop {
        trips: Option<Place>,
        max_trips: i64,
        cond: Option<Place>,
        iter: Place,
        body: u32,
    },
    Fail(i32),
    /// A region: asks its table, and else calls the twin.
    Offload(Region),
    /// Sets the floating-point mode by the part of that number.
    Mode(u32, i64),
}

/// The stub of a layer: traces, and calls the body with the addresses of its buffers.
pub fn stub(isa: &Isa, number: u32, layer: &Layer, body: u32) -> Result<Machine> {
    build(isa, &signature(&[types::I64], &[types::I32]), false, |e| {
        let state = e.block_params_of_entry()[0];
        trace(&mut e.0, state, number, 1);
        let mut bases = Bases {
            b: &mut e.0,
            state,
            known: vec![],
        };
        let mut args = vec![bases.base(State::ARENA)];
        for p in &layer.args {
            args.push(bases.address(*p));
        }
        let to = Called {
            space: PARTS,
            index: body,
        };
        let f = import(&mut e.0, to, &vec![types::I64; args.len()], &[types::I32]);
        let call = e.0.ins().call(f, &args);
        let status = e.0.inst_results(call)[0];
        trace(&mut e.0, state, number, 0);
        e.0.ins().return_(&[status]);
        Ok(())
    })
}

// Calls the hook, if there is one.
fn trace(b: &mut FunctionBuilder, state: Value, layer: u32, begin: i64) {
    let hook = pointer(b, state, State::TRACE);
    let (call, after) = (b.create_block(), b.create_block());
    b.set_cold_block(call);
    b.ins().brif(hook, call, &[], after, &[]);
    b.seal_block(call);
    b.switch_to_block(call);
    let user = pointer(b, state, State::TRACE_USER);
    let layer = b.ins().iconst(types::I32, i64::from(layer));
    let begin = b.ins().iconst(types::I32, begin);
    let sig = b.import_signature(signature(&[types::I64, types::I32, types::I32], &[]));
    b.ins().call_indirect(sig, hook, &[user, layer, begin]);
    b.ins().jump(after, &[]);
    b.seal_block(after);
    b.switch_to_block(after);
}

/// A function that does `items` in order, until one answers a status.
pub fn list(isa: &Isa, items: &[Item]) -> Result<Machine> {
    build(isa, &signature(&[types::I64], &[types::I32]), false, |e| {
        let state = e.block_params_of_entry()[0];
        let b = &mut e.0;
        let failed = b.create_block();
        b.append_block_param(failed, types::I32);
        for item in items {
            match item {
                Item::Call(part) => call(b, state, *part, failed),
                Item::If { cond, then, els } => {
                    let c = byte(b, state, *cond);
                    let (yes, no, after) = (b.create_block(), b.create_block(), b.create_block());
                    b.ins().brif(c, yes, &[], no, &[]);
                    b.seal_block(yes);
                    b.seal_block(no);
                    b.switch_to_block(yes);
                    call(b, state, *then, failed);
                    b.ins().jump(after, &[]);
                    b.switch_to_block(no);
                    if let Some(els) = els {
                        call(b, state, *els, failed);
                    }
                    b.ins().jump(after, &[]);
                    b.seal_block(after);
                    b.switch_to_block(after);
                }
                Item::Loop { .. } => loop_(b, state, item, failed),
                Item::Offload(region) => offload::ask(b, state, region, failed),
                Item::Mode(part, bits) => {
                    let to = Called {
                        space: PARTS,
                        index: *part,
                    };
                    let f = import(b, to, &[types::I64], &[types::I64]);
                    let bits = b.ins().iconst(types::I64, *bits);
                    b.ins().call(f, &[bits]);
                }
                Item::Fail(status) => {
                    let s = b.ins().iconst(types::I32, i64::from(*status as u32));
                    b.ins().jump(failed, &[s.into()]);
                    // Whatever follows is never reached.
                    let rest = b.create_block();
                    b.seal_block(rest);
                    b.switch_to_block(rest);
                }
            }
        }
        let zero = b.ins().iconst(types::I32, 0);
        b.ins().return_(&[zero]);
        b.seal_block(failed);
        b.switch_to_block(failed);
        let status = b.block_params(failed)[0];
        b.ins().return_(&[status]);
        Ok(())
    })
}

fn place(b: &mut FunctionBuilder, state: Value, p: Place) -> Value {
    let mut bases = Bases {
        b,
        state,
        known: vec![],
    };
    bases.address(p)
}

fn byte(b: &mut FunctionBuilder, state: Value, p: Place) -> Value {
    let at = place(b, state, p);
    b.ins().load(types::I8, mem::flags(), at, 0)
}

// The number of the round lives in memory: the body may read it, and it is final when the loop ends.
fn loop_(b: &mut FunctionBuilder, state: Value, item: &Item, failed: cranelift_codegen::ir::Block) {
    let Item::Loop {
        trips,
        max_trips,
        cond,
        iter,
        body,
    } = item
    else {
        return;
    };
    let round = b.declare_var(types::I64);
    let zero = b.ins().iconst(types::I64, 0);
    b.def_var(round, zero);
    let want = trips.map(|p| {
        let at = place(b, state, p);
        pointer(b, at, 0)
    });
    let (head, inside, after) = (b.create_block(), b.create_block(), b.create_block());
    b.ins().jump(head, &[]);
    b.switch_to_block(head);
    let n = b.use_var(round);
    let at = place(b, state, *iter);
    b.ins().store(mem::flags(), n, at, 0);
    if let Some(want) = want {
        let done = b.ins().icmp(IntCC::SignedGreaterThanOrEqual, n, want);
        leave(b, done, after);
    }
    if let Some(p) = cond {
        let c = byte(b, state, *p);
        let done = b.ins().icmp_imm_s(IntCC::Equal, c, 0);
        leave(b, done, after);
    }
    let over = b
        .ins()
        .icmp_imm_s(IntCC::SignedGreaterThanOrEqual, n, *max_trips);
    let limit = b
        .ins()
        .iconst(types::I32, i64::from(onnxc_abi::status::LIMIT));
    b.ins().brif(over, failed, &[limit.into()], inside, &[]);
    b.seal_block(inside);
    b.switch_to_block(inside);
    call(b, state, *body, failed);
    let n = b.use_var(round);
    let n = b.ins().iadd_imm_s(n, 1);
    b.def_var(round, n);
    b.ins().jump(head, &[]);
    b.seal_block(head);
    b.seal_block(after);
    b.switch_to_block(after);
}

fn leave(b: &mut FunctionBuilder, done: Value, after: cranelift_codegen::ir::Block) {
    let on = b.create_block();
    b.ins().brif(done, after, &[], on, &[]);
    b.seal_block(on);
    b.switch_to_block(on);
}
