//! How generated code asks an accelerator: through the table of the region's slot in the context ([`onnxc_abi::offload`]).
//!
//! ```text
//! table = ctx.offload && slot < ctx.num_offload ? ctx.offload[slot] : 0
//! if table is there and of this version:
//!     status = table.run(table, ctx, slot, ins, outs)
//!     if status == OK: done
//! twin
//! if table is there and table.twin_done: table.twin_done(table, ctx, slot, outs)
//! ```
//! A region without a twin ends the run with the status. Nothing here waits or looks at a device: that is the runtime's.

use super::func::signature;
use super::mem;
use super::state::{Bases, State, call, pointer};
use crate::plan::program::Place;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, StackSlotData, StackSlotKind, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use onnxc_abi::offload::OffloadTable;
use onnxc_abi::{Context, status};
use std::mem::offset_of;

macro_rules! of_context {
    ($field:ident) => {
        offset_of!(Context, $field) as i32
    };
}
macro_rules! of_table {
    ($field:ident) => {
        offset_of!(OffloadTable, $field) as i32
    };
}

/// A region in a list of things to do.
pub struct Region {
    pub slot: u32,
    pub ins: Vec<Place>,
    pub outs: Vec<Place>,
    /// The part that computes it here; none where that is not wanted.
    pub twin: Option<u32>,
}

/// Writes the question and the twin behind it.
pub fn ask(b: &mut FunctionBuilder, state: Value, region: &Region, failed: Block) {
    let ctx = pointer(b, state, State::CONTEXT);
    let (twin, done) = (b.create_block(), b.create_block());
    // What the twin's block is told: the table, or 0, and why the device did not do it.
    let table_in = b.append_block_param(twin, types::I64);
    let status_in = b.append_block_param(twin, types::I32);
    let zero = b.ins().iconst(types::I64, 0);
    let absent = number(b, types::I32, i64::from(status::OFFLOAD_ABSENT));
    let leave = |b: &mut FunctionBuilder, bad: Value| {
        let on = b.create_block();
        let args = [zero.into(), absent.into()];
        b.ins().brif(bad, twin, &args, on, &[]);
        b.seal_block(on);
        b.switch_to_block(on);
    };
    let list = pointer(b, ctx, of_context!(offload));
    let bad = b.ins().icmp_imm_s(IntCC::Equal, list, 0);
    leave(b, bad);
    let count = b
        .ins()
        .load(types::I32, mem::flags(), ctx, of_context!(num_offload));
    let slot = number(b, types::I32, i64::from(region.slot));
    let bad = b.ins().icmp(IntCC::UnsignedLessThanOrEqual, count, slot);
    leave(b, bad);
    let at = b.ins().iadd_imm_s(list, i64::from(region.slot) * 8);
    let table = pointer(b, at, 0);
    let bad = b.ins().icmp_imm_s(IntCC::Equal, table, 0);
    leave(b, bad);
    let size = b
        .ins()
        .load(types::I32, mem::flags(), table, of_table!(struct_size));
    let least = size_of::<OffloadTable>() as i64;
    let bad = b.ins().icmp_imm_s(IntCC::UnsignedLessThan, size, least);
    leave(b, bad);
    let version = b
        .ins()
        .load(types::I32, mem::flags(), table, of_table!(abi_version));
    let own = i64::from(onnxc_abi::ABI_VERSION);
    let bad = b.ins().icmp_imm_s(IntCC::NotEqual, version, own);
    leave(b, bad);
    let run = pointer(b, table, of_table!(run));
    let bad = b.ins().icmp_imm_s(IntCC::Equal, run, 0);
    leave(b, bad);

    let ins = addresses(b, state, &region.ins);
    let outs = addresses(b, state, &region.outs);
    let params = [types::I64, types::I64, types::I32, types::I64, types::I64];
    let sig = b.import_signature(signature(&params, &[types::I32]));
    let answer = b
        .ins()
        .call_indirect(sig, run, &[table, ctx, slot, ins, outs]);
    let answer = b.inst_results(answer)[0];
    let args = [table.into(), answer.into()];
    b.ins().brif(answer, twin, &args, done, &[]);
    b.seal_block(twin);
    b.switch_to_block(twin);
    match region.twin {
        None => {
            b.ins().jump(failed, &[status_in.into()]);
        }
        Some(part) => {
            call(b, state, part, failed);
            let tell = b.create_block();
            b.ins().brif(table_in, tell, &[], done, &[]);
            b.seal_block(tell);
            b.switch_to_block(tell);
            let hook = pointer(b, table_in, of_table!(twin_done));
            let told = b.create_block();
            b.ins().brif(hook, told, &[], done, &[]);
            b.seal_block(told);
            b.switch_to_block(told);
            let outs = addresses(b, state, &region.outs);
            let params = [types::I64, types::I64, types::I32, types::I64];
            let sig = b.import_signature(signature(&params, &[]));
            let slot = number(b, types::I32, i64::from(region.slot));
            b.ins()
                .call_indirect(sig, hook, &[table_in, ctx, slot, outs]);
            b.ins().jump(done, &[]);
        }
    }
    b.seal_block(done);
    b.switch_to_block(done);
}

fn number(b: &mut FunctionBuilder, ty: Type, v: i64) -> Value {
    b.ins().iconst(ty, v)
}

/// A list of addresses on the stack.
fn addresses(b: &mut FunctionBuilder, state: Value, places: &[Place]) -> Value {
    let bytes = 8 * places.len().max(1) as u32;
    let kind = StackSlotKind::ExplicitSlot;
    let slot = b.create_sized_stack_slot(StackSlotData::new(kind, bytes, 3));
    for (k, p) in places.iter().enumerate() {
        let mut bases = Bases {
            b,
            state,
            known: vec![],
        };
        let at = bases.address(*p);
        b.ins().stack_store(types::I64, at, slot, 8 * k as i32);
    }
    b.ins().stack_addr(types::I64, slot, 0)
}
