//! One job: buffers in, marks on outputs, submission, the wait with its deadline, and what happens when it passes.

use super::health::{Count, count, failed, settle};
use core::ffi::c_void;
use core::{ptr, slice};
use onnxc_abi::npu::{self, Health, NpuBackend, NpuSlot, NpuStatus};
use onnxc_abi::region;

/// `busy` of a slot: nothing is under way.
pub(super) const IDLE: u32 = 0;
/// A job is.
pub(super) const JOB: u32 = 1;
/// The twin computes what outputs in the buffers will be compared with.
pub(super) const SHADOW: u32 = 2;

/// Bytes at either end of an output that show whether it was written.
const ENDS: usize = 32;
/// A function of a table that `open` found complete.
///
/// # Safety
/// It did.
pub(super) unsafe fn there<T>(f: Option<T>) -> T {
    // SAFETY: handed on.
    unsafe { f.unwrap_unchecked() }
}

/// The time.
///
/// # Safety
/// The slot has a clock.
pub(super) unsafe fn now(slot: *const NpuSlot) -> i64 {
    // SAFETY: handed on.
    unsafe { there((*slot).config.clock)((*slot).config.clock_user) }
}

/// Sets the deadline to so many nanoseconds from now, and answers what is now.
///
/// # Safety
/// As for [`now`].
#[inline(never)]
pub(super) unsafe fn limit(slot: *mut NpuSlot, ns: u64) -> i64 {
    // SAFETY: handed on.
    unsafe {
        let begin = now(slot);
        // No clock counts so far that the sum overflows.
        (*slot).deadline_ns = begin.wrapping_add(ns.min(1 << 62).cast_signed());
        begin
    }
}

/// The buffer of port `i`, its memory and its bytes.
///
/// # Safety
/// The slot is open and has so many ports.
#[inline(always)]
pub(super) unsafe fn port(slot: *const NpuSlot, i: usize) -> (*mut u8, usize) {
    // SAFETY: handed on.
    unsafe {
        let buf = (*slot).bufs.add(i);
        ((*buf).host.cast(), (*buf).bytes as usize)
    }
}

/// Number of inputs and of ports.
///
/// # Safety
/// The slot has a region.
pub(super) unsafe fn counts(slot: *const NpuSlot) -> (usize, usize) {
    // SAFETY: handed on.
    let r = unsafe { &*(*slot).region };
    (r.num_inputs as usize, r.num_ports as usize)
}

/// Marks both ends of an output, or says whether one still has its mark.
#[inline(never)]
unsafe fn ends(slot: *const NpuSlot, i: usize, write: bool) -> bool {
    // SAFETY: the slot is open; the device does not own the buffer.
    unsafe {
        let (head, n) = port(slot, i);
        let k = n.min(ENDS);
        let tail = head.add(n - k);
        let mut mark = (*slot).mark;
        let (mut first, mut last) = (0, 0);
        for j in 0..k {
            let (h, t, byte) = (head.add(j), tail.add(j), mark as u8);
            if write {
                // Where both ends are in the same bytes the head stands: one of them whole is enough.
                *t = byte;
                *h = byte;
            } else {
                first += usize::from(*h == byte);
                last += usize::from(*t == byte);
            }
            mark = mark.rotate_right(8);
        }
        first == k || last == k
    }
}

/// Hands ports to the device, outputs marked, or outputs back, which must have been written.
unsafe fn hand(slot: *const NpuSlot, direction: u32) -> NpuStatus {
    // SAFETY: the slot is open; the device does not own the buffers.
    unsafe {
        let (inputs, all) = counts(slot);
        let back = direction == npu::FROM_DEVICE;
        let b: &NpuBackend = &*(*slot).backend;
        for i in (if back { inputs } else { 0 })..all {
            if !back && i >= inputs {
                ends(slot, i, true);
            }
            let s = there(b.sync)(b.self_, (*slot).bufs.add(i), direction);
            if s != npu::OK {
                return s;
            }
            if back && ends(slot, i, false) {
                return npu::SILENT;
            }
        }
        npu::OK
    }
}

/// Submits a job whose inputs are in their buffers.
///
/// # Safety
/// The slot is open, in the caller's hand, and without a job.
pub(super) unsafe fn submit(slot: *mut NpuSlot, time: u64) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        // Another mark for each run, so that no answer can be like it twice: x -> -p * x - 1 comes back after 2^64 steps (Hull and Dobell 1962), as
        // -p is 1 more than a multiple of 4.
        (*slot).mark = !(*slot).mark.wrapping_mul(region::GOLDEN_PRIME);
        let s = hand(slot, npu::TO_DEVICE);
        if s != npu::OK {
            return s;
        }
        let b: &NpuBackend = &*(*slot).backend;
        (*slot).began_ns = limit(slot, time);
        (*slot).job = ptr::null_mut();
        let s = there(b.submit)(
            b.self_,
            (*slot).model,
            (*slot).bufs,
            (*slot).held_bufs,
            &raw mut (*slot).job,
        );
        if s == npu::OK {
            (*slot).busy = JOB;
            count(slot, Count::Submitted);
        }
        s
    }
}

/// Waits for the job until `deadline` (0, before all times: only asks).
///
/// # Safety
/// The slot has a job.
pub(super) unsafe fn wait(slot: *mut NpuSlot, deadline: i64) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        loop {
            let b: &NpuBackend = &*(*slot).backend;
            let s = there(b.wait)(b.self_, (*slot).job, deadline);
            if s != npu::PENDING {
                (*slot).busy = IDLE;
                return s;
            }
            // A driver that can only poll may answer early.
            if now(slot) >= deadline {
                return npu::PENDING;
            }
            core::hint::spin_loop();
        }
    }
}

/// What overran its time is cancelled, or goes into quarantine for `drain_ns`.
///
/// # Safety
/// The slot has a job.
#[inline(never)]
pub(super) unsafe fn overrun(slot: *mut NpuSlot) {
    // SAFETY: handed on.
    unsafe {
        let b: &NpuBackend = &*(*slot).backend;
        if there(b.cancel)(b.self_, (*slot).job) == npu::OK {
            (*slot).busy = IDLE;
            count(slot, Count::Cancelled);
        } else {
            (*slot).health = Health::Quarantined as u32;
            limit(slot, (*slot).config.drain_ns);
        }
    }
}

/// The job's end: OK, or why it failed.
///
/// # Safety
/// The slot has a job.
pub(super) unsafe fn end(slot: *mut NpuSlot) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        match wait(slot, (*slot).deadline_ns) {
            npu::OK => hand(slot, npu::FROM_DEVICE),
            npu::PENDING => {
                overrun(slot);
                npu::TIMEOUT
            }
            s => s,
        }
    }
}

/// Looks after a job in quarantine: `deadline` as for [`wait`]. Health says what came of it.
///
/// # Safety
/// The slot has a job in quarantine.
pub(super) unsafe fn drain(slot: *mut NpuSlot, deadline: i64) {
    // SAFETY: handed on.
    unsafe {
        let s = wait(slot, deadline);
        let waits = s == npu::PENDING;
        if s == npu::LOST || (waits && now(slot) >= (*slot).deadline_ns) {
            // Nobody waits for it any more.
            (*slot).busy = IDLE;
            failed(slot, npu::LOST);
        } else if !waits {
            count(slot, Count::Drained);
            settle(slot);
        }
    }
}

/// What [`across`] does with a port's buffer and the memory of the model.
#[derive(Clone, Copy, PartialEq)]
#[repr(u32)]
pub(super) enum Across {
    /// Inputs are copied to the buffers.
    In,
    /// Outputs are copied from them.
    Out,
    /// Outputs are compared.
    Compare,
}

/// Goes through the inputs or the outputs; answers false at the first that differs.
///
/// # Safety
/// The slot is open, the device does not own the buffers, and `list` has memory as large as each of those ports.
#[inline(never)]
pub(super) unsafe fn across(slot: *const NpuSlot, what: Across, list: *const *mut c_void) -> bool {
    // SAFETY: handed on.
    unsafe {
        let (inputs, all) = counts(slot);
        let (first, end) = if what == Across::In {
            (0, inputs)
        } else {
            (inputs, all)
        };
        for i in first..end {
            let (host, n) = port(slot, i);
            let theirs: *mut u8 = (*list.add(i - first)).cast();
            if what == Across::Compare {
                if slice::from_raw_parts(host, n) != slice::from_raw_parts(theirs, n) {
                    return false;
                }
                continue;
            }
            let (from, to) = if what == Across::In {
                (theirs, host)
            } else {
                (host, theirs)
            };
            // An input that the caller made in the buffer is there: memory may be the same.
            ptr::copy(from, to, n);
        }
        true
    }
}
