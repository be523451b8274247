//! One job: buffers in, marks on outputs, submission, the wait with its deadline, and what happens when it passes.

use super::health::{Count, count, failed, note, settle};
use core::ffi::c_void;
use core::{ptr, slice};
use onnxc_abi::npu::{self, Health, NpuBackend, NpuSlot, NpuStatus};

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

/// So many nanoseconds from now.
///
/// # Safety
/// As for [`now`].
#[inline(never)]
pub(super) unsafe fn after(slot: *const NpuSlot, ns: u64) -> i64 {
    // SAFETY: handed on.
    unsafe { now(slot) }.saturating_add(ns.min(1 << 62).cast_signed())
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

/// Hands the buffer of port `i` to the device or back.
unsafe fn sync(slot: *const NpuSlot, i: usize, direction: u32) -> NpuStatus {
    // SAFETY: the slot is open.
    unsafe {
        let b: &NpuBackend = &*(*slot).backend;
        there(b.sync)(b.self_, (*slot).bufs.add(i), direction)
    }
}

/// Marks both ends of an output, or says whether one still has its mark.
#[inline(never)]
unsafe fn ends(slot: *const NpuSlot, i: usize, write: bool) -> bool {
    // SAFETY: the slot is open; the device does not own the buffer.
    unsafe {
        let (head, n) = port(slot, i);
        let mark = (&raw const (*slot).mark).cast::<u8>();
        let k = n.min(ENDS);
        let tail = head.add(n - k);
        if write {
            ptr::copy_nonoverlapping(mark, head, k);
            ptr::copy_nonoverlapping(mark, tail, k);
        }
        let mark = slice::from_raw_parts(mark, k);
        slice::from_raw_parts(head, k) == mark || slice::from_raw_parts(tail, k) == mark
    }
}

/// Submits a job whose inputs are in their buffers.
///
/// # Safety
/// The slot is open, in the caller's hand, and without a job.
pub(super) unsafe fn submit(slot: *mut NpuSlot, time: u64) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        let (inputs, all) = counts(slot);
        // Another mark for each run (Knuth's MMIX generator), so that no answer can be like it twice.
        let next = ((*slot).mark[0])
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*slot).mark = [next; ENDS / 8];
        for i in 0..all {
            if i >= inputs {
                ends(slot, i, true);
            }
            let s = sync(slot, i, npu::TO_DEVICE);
            if s != npu::OK {
                return s;
            }
        }
        let b: &NpuBackend = &*(*slot).backend;
        (*slot).began_ns = now(slot);
        (*slot).deadline_ns = after(slot, time);
        let mut job = ptr::null_mut();
        let s = there(b.submit)(
            b.self_,
            (*slot).model,
            (*slot).bufs,
            all as u32,
            &raw mut job,
        );
        if s == npu::OK {
            (*slot).job = job;
            (*slot).busy = JOB;
            count(slot, Count::Submitted);
        }
        s
    }
}

/// Waits for the job until `deadline` (0: only asks).
///
/// # Safety
/// The slot has a job.
pub(super) unsafe fn wait(slot: *mut NpuSlot, deadline: i64) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        let b: &NpuBackend = &*(*slot).backend;
        loop {
            let s = there(b.wait)(b.self_, (*slot).job, deadline);
            if s != npu::PENDING {
                (*slot).busy = IDLE;
                return s;
            }
            // A driver that can only poll may answer early.
            if deadline == 0 || now(slot) >= deadline {
                return s;
            }
            core::hint::spin_loop();
        }
    }
}

/// Stops the job. Answers whether that was possible.
///
/// # Safety
/// The slot has a job.
#[inline(never)]
pub(super) unsafe fn cancel(slot: *mut NpuSlot) -> bool {
    // SAFETY: handed on.
    unsafe {
        let b: &NpuBackend = &*(*slot).backend;
        let gone = there(b.cancel)(b.self_, (*slot).job) == npu::OK;
        if gone {
            (*slot).busy = IDLE;
            count(slot, Count::Cancelled);
        }
        gone
    }
}

/// The job's end: OK, or why it failed. What overran its time is cancelled or goes into quarantine.
///
/// # Safety
/// The slot has a job.
pub(super) unsafe fn end(slot: *mut NpuSlot) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        match wait(slot, (*slot).deadline_ns) {
            npu::OK => written(slot),
            npu::PENDING => {
                if !cancel(slot) {
                    (*slot).health = Health::Quarantined as u32;
                    (*slot).deadline_ns = after(slot, (*slot).config.drain_ns);
                }
                npu::TIMEOUT
            }
            s => s,
        }
    }
}

/// Whether the outputs of a job that ended well were written.
unsafe fn written(slot: *const NpuSlot) -> NpuStatus {
    // SAFETY: the device has let go of the buffers.
    unsafe {
        let (inputs, all) = counts(slot);
        for i in inputs..all {
            let s = sync(slot, i, npu::FROM_DEVICE);
            if s != npu::OK {
                return s;
            }
            if ends(slot, i, false) {
                return npu::SILENT;
            }
        }
        npu::OK
    }
}

/// Looks after a job in quarantine: `deadline` as for [`wait`]. Answers whether the buffers are free again.
///
/// # Safety
/// The slot has a job in quarantine.
pub(super) unsafe fn drain(slot: *mut NpuSlot, deadline: i64) -> bool {
    // SAFETY: handed on.
    unsafe {
        match wait(slot, deadline) {
            npu::PENDING => {
                if now(slot) >= (*slot).deadline_ns {
                    note(slot, npu::LOST);
                    (*slot).health = Health::Lost as u32;
                }
                false
            }
            npu::LOST => {
                failed(slot, npu::LOST);
                false
            }
            _ => {
                count(slot, Count::Drained);
                settle(slot);
                true
            }
        }
    }
}

/// Whether outputs in the buffers are these: one behind the other, or where `each` says. One of both is null.
///
/// # Safety
/// The slot is open, the device does not own the buffers, and each output has as many bytes as its port.
#[inline(never)]
pub(super) unsafe fn outputs_are(
    slot: *const NpuSlot,
    mut all: *const u8,
    each: *const *mut c_void,
) -> bool {
    // SAFETY: handed on.
    unsafe {
        let (inputs, ports) = counts(slot);
        for i in inputs..ports {
            let (host, n) = port(slot, i);
            let expected = if each.is_null() {
                all
            } else {
                (*each.add(i - inputs)).cast_const().cast()
            };
            if slice::from_raw_parts(host, n) != slice::from_raw_parts(expected, n) {
                return false;
            }
            all = all.wrapping_add(n);
        }
        true
    }
}
