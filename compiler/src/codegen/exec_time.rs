//! The timing part of executables: takes samples of runs, each between two looks at the clock.

use super::func::call_at;
use super::mem;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Samples of one request, at most.
pub const MOST_SAMPLES: u64 = 1 << 15;

/// Addresses of what it needs.
pub struct Timing {
    /// Two numbers asked for: samples, and runs in each.
    pub request: u64,
    /// Seconds and nanoseconds.
    pub clock: u64,
    /// The samples.
    pub samples: u64,
}

/// The number of samples asked for, as far as there is room.
pub(super) fn least(b: &mut FunctionBuilder, n: Value) -> Value {
    let most = b.ins().iconst(types::I64, MOST_SAMPLES as i64);
    b.ins().umin(n, most)
}

impl Timing {
    /// Takes the samples asked for; the answer is the status of the last run, 0 if there was none. A run that fails ends them.
    /// Given: addresses of the system call, of the model's entry and of its context, and the number of clock_gettime.
    pub fn take(
        &self,
        b: &mut FunctionBuilder,
        [system, run_at, context_at]: [u64; 3],
        clock: i64,
    ) -> Value {
        let t = self;
        let zero = b.ins().iconst(types::I64, 0);
        let word = |b: &mut FunctionBuilder, at: u64, offset: i32| {
            let at = b.ins().iconst(types::I64, at as i64);
            b.ins().load(types::I64, mem::flags(), at, offset)
        };
        let now = |b: &mut FunctionBuilder| {
            let number = b.ins().iconst(types::I64, clock);
            // CLOCK_MONOTONIC.
            let one = b.ins().iconst(types::I64, 1);
            let at = b.ins().iconst(types::I64, t.clock as i64);
            call_at(b, system, &[number, one, at, at], types::I64);
            let seconds = word(b, t.clock, 0);
            let nanos = word(b, t.clock, 8);
            let seconds = b.ins().imul_imm_s(seconds, 1_000_000_000);
            b.ins().iadd(seconds, nanos)
        };
        let [sample, left, result] =
            [types::I64, types::I64, types::I32].map(|ty| b.declare_var(ty));
        let start = b.declare_var(types::I64);
        let [outer, begin, inner, run, on, stop, done] = [(); 7].map(|()| b.create_block());
        let good = b.ins().iconst(types::I32, 0);
        b.def_var(sample, zero);
        b.def_var(result, good);
        b.ins().jump(outer, &[]);

        b.switch_to_block(outer);
        let asked = word(b, t.request, 0);
        let asked = least(b, asked);
        let number = b.use_var(sample);
        let more = b.ins().icmp(IntCC::UnsignedLessThan, number, asked);
        b.ins().brif(more, begin, &[], done, &[]);
        b.seal_block(begin);
        b.switch_to_block(begin);
        let runs = word(b, t.request, 8);
        b.def_var(left, runs);
        let from = now(b);
        b.def_var(start, from);
        b.ins().jump(inner, &[]);

        b.switch_to_block(inner);
        let n = b.use_var(left);
        let more = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, 0);
        b.ins().brif(more, run, &[], stop, &[]);
        b.seal_block(run);
        b.switch_to_block(run);
        let n = b.use_var(left);
        let n = b.ins().iadd_imm_s(n, -1);
        b.def_var(left, n);
        let context = b.ins().iconst(types::I64, context_at as i64);
        let status = call_at(b, run_at, &[context], types::I32);
        b.def_var(result, status);
        b.ins().brif(status, done, &[], on, &[]);
        b.seal_block(on);
        b.switch_to_block(on);
        b.ins().jump(inner, &[]);
        b.seal_block(inner);

        b.seal_block(stop);
        b.switch_to_block(stop);
        let to = now(b);
        let from = b.use_var(start);
        let took = b.ins().isub(to, from);
        let number = b.use_var(sample);
        let at = b.ins().imul_imm_s(number, 8);
        let base = b.ins().iconst(types::I64, t.samples as i64);
        let at = b.ins().iadd(base, at);
        b.ins().store(mem::flags(), took, at, 0);
        let next = b.ins().iadd_imm_s(number, 1);
        b.def_var(sample, next);
        b.ins().jump(outer, &[]);
        b.seal_block(outer);
        b.seal_block(done);
        b.switch_to_block(done);
        b.use_var(result)
    }
}
