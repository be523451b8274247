//! A run of a region, whole or in two halves, and the comparison of a shadow run.

use super::health::{Count, count, failed};
use super::job::{Across, IDLE, SHADOW, across, drain, end, now, submit};
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};
use onnxc_abi::context::Context;
use onnxc_abi::npu::{self, Health, NpuSlot, NpuStatus};
use onnxc_abi::offload::OffloadTable;
use onnxc_abi::region::REQUIRED;
use onnxc_abi::status;

/// Who holds a slot.
unsafe fn owner<'a>(slot: *mut NpuSlot) -> &'a AtomicUsize {
    // SAFETY: a word of the slot that is only used so.
    unsafe { AtomicUsize::from_ptr(&raw mut (*slot).owner) }
}

/// What stands for a context, whose address is even; two runs of one context don't happen at once.
fn token(ctx: *const Context) -> usize {
    ctx.addr() | 1
}

/// Lets go of a slot; the CPU computes. Answers why: the last failure.
#[inline(never)]
unsafe fn left(slot: *mut NpuSlot) -> i32 {
    // SAFETY: the slot is in the caller's hand.
    unsafe {
        count(slot, Count::Cpu);
        let code = (*slot).code;
        owner(slot).store(0, Ordering::Release);
        code
    }
}

/// The same after a job failed, or did not begin.
#[inline(never)]
unsafe fn fallen(slot: *mut NpuSlot, why: NpuStatus) -> i32 {
    // SAFETY: the slot is in the caller's hand.
    unsafe {
        failed(slot, why);
        left(slot)
    }
}

/// Begins a run: copies the inputs and submits. OK: [`finish`] must follow. Any other status: the CPU computes the region.
///
/// # Safety
/// `slot` is open; `inputs` are the region's, each as large as its port. `ctx` tells runs apart and may be null where there is only one at a time.
pub unsafe fn start(slot: *mut NpuSlot, ctx: *const Context, inputs: *const *const c_void) -> i32 {
    // SAFETY: handed on.
    unsafe {
        let me = token(ctx);
        // A shadow run that its context gave up is over when the context begins another run.
        if let Err(other) =
            owner(slot).compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
        {
            if other != me || (*slot).busy != SHADOW {
                count(slot, Count::Busy);
                count(slot, Count::Cpu);
                return status::OFFLOAD_BUSY;
            }
            (*slot).busy = IDLE;
        }
        let quarantined = Health::Quarantined as u32;
        // Draining changes health: what is asked behind it is asked anew.
        if (*slot).health == quarantined {
            drain(slot, 0);
        }
        if (*slot).health == quarantined {
            count(slot, Count::Busy);
            left(slot);
            return status::OFFLOAD_BUSY;
        }
        if (*slot).health != Health::Ready as u32 {
            return left(slot);
        }
        across(slot, Across::In, inputs.cast());
        match submit(slot, (*slot).config.timeout_ns) {
            npu::OK => status::OK,
            why => fallen(slot, why),
        }
    }
}

/// Ends a run: waits and copies the outputs. OK: they are written. `OFFLOAD_SHADOW`: the CPU computes the region, then [`twin_done`]. Any other
/// status: the CPU computes it.
///
/// # Safety
/// [`start`] answered OK; `outputs` are the region's.
pub unsafe fn finish(slot: *mut NpuSlot, outputs: *const *mut c_void) -> i32 {
    // SAFETY: handed on.
    unsafe {
        let why: NpuStatus = end(slot);
        if why != npu::OK {
            return fallen(slot, why);
        }
        (*slot).errors = 0;
        let took = now(slot).wrapping_sub((*slot).began_ns).cast_unsigned();
        let sum = &raw mut (*slot).counters.device_ns;
        *sum = (*sum).wrapping_add(took);
        (*slot).since_shadow = (*slot).since_shadow.wrapping_add(1);
        let every = (*slot).config.shadow_every;
        if every != 0 && (*slot).since_shadow >= every && (*(*slot).region).flags & REQUIRED == 0 {
            ((*slot).since_shadow, (*slot).busy) = (0, SHADOW);
            count(slot, Count::Shadow);
            count(slot, Count::Cpu);
            return status::OFFLOAD_SHADOW;
        }
        across(slot, Across::Out, outputs);
        count(slot, Count::Device);
        owner(slot).store(0, Ordering::Release);
        status::OK
    }
}

/// `run` of a slot's table.
///
/// # Safety
/// As [`onnxc_abi::offload::RunRegion`] says; `table` is an open slot's.
pub unsafe extern "C" fn run(
    table: *const OffloadTable,
    ctx: *const Context,
    _region: u32,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
) -> i32 {
    // SAFETY: handed on.
    unsafe {
        let slot = (*table).self_.cast::<NpuSlot>();
        match start(slot, ctx, inputs) {
            status::OK => finish(slot, outputs),
            why => why,
        }
    }
}

/// `twin_done` of a slot's table: compares, if the last run of this context was a shadow run.
///
/// # Safety
/// As [`onnxc_abi::offload::TwinDone`] says; `table` is an open slot's.
pub unsafe extern "C" fn twin_done(
    table: *const OffloadTable,
    ctx: *const Context,
    _region: u32,
    outputs: *const *mut c_void,
) {
    // SAFETY: handed on.
    unsafe {
        let slot = (*table).self_.cast::<NpuSlot>();
        if owner(slot).load(Ordering::Relaxed) != token(ctx) || (*slot).busy != SHADOW {
            return;
        }
        (*slot).busy = IDLE;
        if !across(slot, Across::Compare, outputs) {
            failed(slot, npu::MISMATCH);
        }
        owner(slot).store(0, Ordering::Release);
    }
}
