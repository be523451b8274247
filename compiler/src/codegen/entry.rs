//! `PREFIX_run`: checks the context, sets sizes, runs the steps, answers a status.
//!
//! Nothing of the caller's is touched before all is checked, and whatever is wrong with the context is a status. The
//! floating-point mode is set for the steps and put back.

use super::func::{Called, Machine, PARTS, build, import, signature};
use super::isa::Isa;
use super::mem;
use super::state::{State, pointer};
use crate::base::diag::Result;
use crate::base::dim::Origin;
use crate::plan::program::{ALIGN, Program};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use onnxc_abi::{Context, status};
use std::mem::offset_of;

/// The parts that the entry calls.
pub struct Parts {
    /// The steps.
    pub steps: u32,
    /// Sets the floating-point mode, and what the steps begin and end in.
    pub mode: (u32, i64),
    /// Where embedded weights are; `None`: the caller must give them.
    pub weights: Option<u32>,
    /// Writes the sizes of the outputs.
    pub out_dims: u32,
}

macro_rules! at {
    ($field:ident) => {
        offset_of!(Context, $field) as i32
    };
}

struct Entry<'x, 'b> {
    b: &'x mut FunctionBuilder<'b>,
    ctx: Value,
}

impl Entry<'_, '_> {
    fn field(&mut self, at: i32) -> Value {
        let ctx = self.ctx;
        pointer(self.b, ctx, at)
    }
    fn field32(&mut self, at: i32) -> Value {
        let ctx = self.ctx;
        self.b.ins().load(types::I32, mem::flags(), ctx, at)
    }
    // Answers `status` where `bad` holds.
    fn refuse(&mut self, bad: Value, status: i32) {
        let (no, yes) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(no);
        self.b.ins().brif(bad, no, &[], yes, &[]);
        self.b.seal_block(no);
        self.b.seal_block(yes);
        self.b.switch_to_block(no);
        let s = self.b.ins().iconst(types::I32, i64::from(status));
        self.b.ins().return_(&[s]);
        self.b.switch_to_block(yes);
    }
    fn refuse_if(&mut self, cc: IntCC, v: Value, k: i64, status: i32) {
        let bad = self.b.ins().icmp_imm_s(cc, v, k);
        self.refuse(bad, status);
    }
    fn refuse_null(&mut self, v: Value) {
        self.refuse_if(IntCC::Equal, v, 0, status::NULL_POINTER);
    }
    fn refuse_misaligned(&mut self, v: Value, align: u64) {
        if align > 1 {
            let low = self.b.ins().band_imm_u(v, align as i64 - 1);
            self.refuse(low, status::MISALIGNED);
        }
    }
    fn call(&mut self, index: u32, args: &[Value], params: &[Type], returns: Type) -> Value {
        let to = Called {
            space: PARTS,
            index,
        };
        let f = import(self.b, to, params, &[returns]);
        let call = self.b.ins().call(f, args);
        self.b.inst_results(call)[0]
    }
    fn ports(&mut self, list: i32, count: i32, ports: &[crate::plan::program::Port]) -> Value {
        let n = self.field32(count);
        self.refuse_if(IntCC::NotEqual, n, ports.len() as i64, status::BAD_COUNT);
        let list = self.field(list);
        if !ports.is_empty() {
            self.refuse_null(list);
            self.refuse_misaligned(list, 8);
        }
        for (i, p) in ports.iter().enumerate() {
            let v = pointer(self.b, list, (i * 8) as i32);
            self.refuse_null(v);
            self.refuse_misaligned(v, p.ty.dtype.size().clamp(1, 8) as u64);
        }
        list
    }
}

/// Writes `PREFIX_run`.
pub fn run(isa: &Isa, program: &Program, parts: &Parts) -> Result<Machine> {
    build(isa, &signature(&[types::I64], &[types::I32]), false, |e| {
        let ctx = e.block_params_of_entry()[0];
        let state = e.0.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            State::SIZE,
            4,
        ));
        let mut e = Entry { b: &mut e.0, ctx };
        e.refuse_null(ctx);
        e.refuse_misaligned(ctx, 8);
        let version = e.field32(at!(abi_version));
        let expected = i64::from(onnxc_abi::ABI_VERSION);
        e.refuse_if(IntCC::NotEqual, version, expected, status::BAD_VERSION);
        let size = e.field32(at!(struct_size));
        let least = size_of::<Context>() as i64;
        e.refuse_if(IntCC::UnsignedLessThan, size, least, status::BAD_VERSION);

        let arena = e.field(at!(arena));
        e.refuse_null(arena);
        let size = e.field(at!(arena_size));
        let need = e.b.ins().iconst(types::I64, program.arena_bytes as i64);
        let small = e.b.ins().icmp(IntCC::UnsignedLessThan, size, need);
        e.refuse(small, status::ARENA_TOO_SMALL);
        e.refuse_misaligned(arena, ALIGN);
        let weights = weights(&mut e, program, parts.weights);
        let inputs = e.ports(at!(inputs), at!(num_inputs), &program.inputs);
        let outputs = e.ports(at!(outputs), at!(num_outputs), &program.outputs);
        let sizes = sizes(&mut e, program);
        let out_dims = out_dims(&mut e, program);

        // All is well: from here on things are written.
        for (i, v) in sizes.into_iter().enumerate() {
            e.b.ins().store(mem::flags(), v, arena, (i * 8) as i32);
        }
        if let Some(hook) = program.hook_at() {
            for (i, v) in [at!(parallel_for), at!(parallel_user)]
                .into_iter()
                .enumerate()
            {
                let v = e.field(v);
                e.b.ins().store(mem::flags(), v, arena, hook + 8 * i as i32);
            }
        }
        let trace = e.field(at!(trace));
        let user = e.field(at!(trace_user));
        for (at, v) in [
            (State::ARENA, arena),
            (State::WEIGHTS, weights),
            (State::INPUTS, inputs),
            (State::OUTPUTS, outputs),
            (State::TRACE, trace),
            (State::TRACE_USER, user),
            (State::CONTEXT, ctx),
        ] {
            e.b.ins().stack_store(types::I64, v, state, at);
        }
        let mode = e.b.ins().iconst(types::I64, parts.mode.1);
        let i64s = &[types::I64];
        let before = e.call(parts.mode.0, &[mode], i64s, types::I64);
        let state = e.b.ins().stack_addr(types::I64, state, 0);
        let result = e.call(parts.steps, &[state], i64s, types::I32);
        e.call(parts.mode.0, &[before], i64s, types::I64);
        let (write, end) = (e.b.create_block(), e.b.create_block());
        let good = e.b.ins().icmp_imm_s(IntCC::Equal, result, 0);
        let wanted = e.b.ins().icmp_imm_s(IntCC::NotEqual, out_dims, 0);
        let both = e.b.ins().band(good, wanted);
        e.b.ins().brif(both, write, &[], end, &[]);
        e.b.seal_block(write);
        e.b.switch_to_block(write);
        let two = &[types::I64, types::I64];
        e.call(parts.out_dims, &[arena, out_dims], two, types::I32);
        e.b.ins().jump(end, &[]);
        e.b.seal_block(end);
        e.b.switch_to_block(end);
        e.b.ins().return_(&[result]);
        Ok(())
    })
}

// The caller's weights, or those in the object.
fn weights(e: &mut Entry, program: &Program, embedded: Option<u32>) -> Value {
    let given = e.field(at!(weights));
    if program.weights_bytes == 0 {
        return given;
    }
    let (theirs, own, after) = (e.b.create_block(), e.b.create_block(), e.b.create_block());
    e.b.append_block_param(after, types::I64);
    e.b.ins().brif(given, theirs, &[], own, &[]);
    e.b.seal_block(theirs);
    e.b.seal_block(own);
    e.b.switch_to_block(theirs);
    let size = e.field(at!(weights_size));
    let need = e.b.ins().iconst(types::I64, program.weights_bytes as i64);
    let other = e.b.ins().icmp(IntCC::NotEqual, size, need);
    e.refuse(other, status::WEIGHTS_MISMATCH);
    e.refuse_misaligned(given, ALIGN);
    e.b.ins().jump(after, &[given.into()]);
    e.b.switch_to_block(own);
    match embedded {
        Some(part) => {
            let w = e.call(part, &[], &[], types::I64);
            e.b.ins().jump(after, &[w.into()]);
        }
        None => {
            let s =
                e.b.ins()
                    .iconst(types::I32, i64::from(status::NULL_POINTER));
            e.b.ins().return_(&[s]);
        }
    }
    e.b.seal_block(after);
    e.b.switch_to_block(after);
    e.b.block_params(after)[0]
}

// The initial value of every symbol: what the caller states, checked; the lower bound for those that layers set.
fn sizes(e: &mut Entry, program: &Program) -> Vec<Value> {
    let stated = program.input_symbols().count();
    let n = e.field32(at!(num_dims));
    e.refuse_if(IntCC::NotEqual, n, stated as i64, status::BAD_COUNT);
    let dims = e.field(at!(dims));
    if stated > 0 {
        e.refuse_null(dims);
        e.refuse_misaligned(dims, 8);
    }
    let mut out = vec![];
    let mut next = 0;
    for (_, s) in program.symbols.iter() {
        if !matches!(s.origin, Origin::Input { .. }) {
            out.push(e.b.ins().iconst(types::I64, s.lo));
            continue;
        }
        let v = pointer(e.b, dims, next * 8);
        next += 1;
        for (cc, bound) in [
            (IntCC::SignedLessThan, s.lo),
            (IntCC::SignedGreaterThan, s.hi),
        ] {
            let bound = e.b.ins().iconst(types::I64, bound);
            let bad = e.b.ins().icmp(cc, v, bound);
            e.refuse(bad, status::BAD_DIM);
        }
        out.push(v);
    }
    out
}

// Where the outputs' sizes go; null where the caller does not ask.
fn out_dims(e: &mut Entry, program: &Program) -> Value {
    let ranks: usize = program.outputs.iter().map(|p| p.ty.shape.len()).sum();
    let list = e.field(at!(out_dims));
    let n = e.field32(at!(num_out_dims));
    let ranks = e.b.ins().iconst(types::I32, ranks as i64);
    let zero = e.b.ins().iconst(types::I32, 0);
    let want = e.b.ins().select(list, ranks, zero);
    let bad = e.b.ins().icmp(IntCC::NotEqual, n, want);
    e.refuse(bad, status::BAD_COUNT);
    e.refuse_misaligned(list, 8);
    list
}
