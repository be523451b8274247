//! The state that layer stubs and lists of steps take: where it holds what, and how that is read.

use super::func::{Called, PARTS, import};
use super::mem;
use crate::plan::program::Place;
use cranelift_codegen::ir::{Block, InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Byte offsets in the state, which lies on the stack of `PREFIX_run`.
pub struct State;

impl State {
    pub const ARENA: i32 = 0;
    pub const WEIGHTS: i32 = 8;
    pub const INPUTS: i32 = 16;
    pub const OUTPUTS: i32 = 24;
    pub const TRACE: i32 = 32;
    pub const TRACE_USER: i32 = 40;
    pub const CONTEXT: i32 = 48;
    pub const SIZE: u32 = 56;
}

/// Reads pointers out of the state, each once.
pub(super) struct Bases<'x, 'b> {
    pub(super) b: &'x mut FunctionBuilder<'b>,
    pub(super) state: Value,
    pub(super) known: Vec<(i32, Value)>,
}

impl Bases<'_, '_> {
    pub(super) fn base(&mut self, at: i32) -> Value {
        if let Some((_, v)) = self.known.iter().find(|(k, _)| *k == at) {
            return *v;
        }
        let v = pointer(self.b, self.state, at);
        self.known.push((at, v));
        v
    }
    pub(super) fn address(&mut self, p: Place) -> Value {
        let (base, offset) = match p {
            Place::Arena(o) => (self.base(State::ARENA), o),
            Place::Weights(o) => (self.base(State::WEIGHTS), o),
            Place::Input(i, o) => (self.port(State::INPUTS, i), o),
            Place::Output(i, o) => (self.port(State::OUTPUTS, i), o),
        };
        match offset {
            0 => base,
            o => self.b.ins().iadd_imm_s(base, o as i64),
        }
    }
    fn port(&mut self, at: i32, i: u32) -> Value {
        let list = self.base(at);
        let list = match i32::try_from(u64::from(i) * 8) {
            Ok(offset) => return pointer(self.b, list, offset),
            Err(_) => self.b.ins().iadd_imm_s(list, i64::from(i) * 8),
        };
        pointer(self.b, list, 0)
    }
}

/// Reads a pointer or whole number of 64 bits.
pub(super) fn pointer(b: &mut FunctionBuilder, base: Value, at: i32) -> Value {
    b.ins().load(types::I64, mem::flags(), base, at)
}

/// Calls a part and leaves if it answers a status.
pub(super) fn call(b: &mut FunctionBuilder, state: Value, part: u32, failed: Block) {
    let to = Called {
        space: PARTS,
        index: part,
    };
    let f = import(b, to, &[types::I64], &[types::I32]);
    let call = b.ins().call(f, &[state]);
    let status = b.inst_results(call)[0];
    let good = b.create_block();
    b.ins().brif(status, failed, &[status.into()], good, &[]);
    b.seal_block(good);
    b.switch_to_block(good);
}
