//! One job: buffers in, marks on outputs, submission, the wait with its deadline, and what happens when it passes.

use super::at;
use super::health::{Count, count, failed, note, settle};
use core::ffi::c_void;
use core::ptr;
use onnxc_abi::npu::{self, Health, NpuBackend, NpuBuf, NpuSlot, NpuStatus};
use onnxc_abi::region::RawRegionPort;

/// `busy` of a slot: nothing is under way.
pub(super) const IDLE: u32 = 0;
/// A job is.
pub(super) const JOB: u32 = 1;
/// The twin computes what outputs in the buffers will be compared with.
pub(super) const SHADOW: u32 = 2;

/// Bytes at either end of an output that show whether it was written.
const ENDS: usize = 32;
/// A job's and a drain's time where nobody says another.
const SECOND: u64 = 1_000_000_000;

/// The time.
///
/// # Safety
/// The slot has a clock.
pub(super) unsafe fn now(slot: *const NpuSlot) -> i64 {
    // SAFETY: handed on; `open` refuses a slot without a clock.
    match unsafe { (*slot).config.clock } {
        Some(clock) => unsafe { clock((*slot).config.clock_user) },
        None => i64::MAX,
    }
}

/// So many nanoseconds from now.
///
/// # Safety
/// As for [`now`].
pub(super) unsafe fn after(slot: *const NpuSlot, ns: u64) -> i64 {
    // SAFETY: handed on.
    unsafe { now(slot) }.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX))
}

/// The first of these that is not 0.
pub(super) fn or(given: u64, other: u64) -> u64 {
    if given == 0 { other } else { given }
}

/// Time of a run.
///
/// # Safety
/// The slot has a region.
pub(super) unsafe fn timeout(slot: *const NpuSlot) -> u64 {
    // SAFETY: handed on.
    unsafe {
        or(
            (*slot).config.timeout_ns,
            or((*(*slot).region).timeout_ns, SECOND),
        )
    }
}

/// Time that an overrun job has until the device is lost.
///
/// # Safety
/// `slot` is a slot.
pub(super) unsafe fn drain_time(slot: *const NpuSlot) -> u64 {
    // SAFETY: handed on.
    or(unsafe { (*slot).config.drain_ns }, SECOND)
}

/// Port `i`, its buffer, and its bytes.
///
/// # Safety
/// The slot is open and has so many ports.
pub(super) unsafe fn port(slot: *const NpuSlot, i: usize) -> (*mut NpuBuf, usize) {
    // SAFETY: handed on.
    unsafe {
        let ports: *const RawRegionPort = at(&raw const (*(*slot).region).ports);
        ((*slot).bufs.add(i), (*ports.add(i)).bytes as usize)
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

/// Coherent caches, where they need help.
unsafe fn sync(slot: *const NpuSlot, buf: *const NpuBuf, direction: u32) -> NpuStatus {
    // SAFETY: the slot is open; its table was found complete.
    unsafe {
        let b: &NpuBackend = &*(*slot).backend;
        match b.sync {
            Some(sync) if (*slot).caps & npu::NEEDS_SYNC != 0 => sync(b.self_, buf, direction),
            _ => npu::OK,
        }
    }
}

/// Byte `i` of a mark.
fn mark(mark: u64, i: usize) -> u8 {
    mark.to_le_bytes()[i % 8]
}

/// Whether the bytes from `begin` to `end` are all still the mark's; `write`: makes them so.
unsafe fn marked(host: *mut u8, begin: usize, end: usize, m: u64, write: bool) -> bool {
    let mut same = end > begin;
    for i in begin..end {
        // SAFETY: the buffer has as many bytes as its port.
        unsafe {
            if write {
                *host.add(i) = mark(m, i);
            }
            same &= *host.add(i) == mark(m, i);
        }
    }
    same
}

/// Marks both ends of an output, or says whether one still has its mark.
unsafe fn ends(slot: *const NpuSlot, i: usize, write: bool) -> bool {
    // SAFETY: the slot is open; the device does not own the buffer.
    unsafe {
        let (buf, n) = port(slot, i);
        let (host, m) = ((*buf).host.cast(), (*slot).mark);
        let head = marked(host, 0, n.min(ENDS), m, write);
        let tail = marked(host, n.saturating_sub(ENDS), n, m, write);
        head | tail
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
        // Another mark for each run (Steele, Lea, Flood 2014: SplitMix), so that no answer can be like it twice.
        (*slot).mark = (*slot).mark.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let m = (*slot).mark;
        (*slot).mark = (m ^ m >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) | 1;
        for i in 0..all {
            if i >= inputs {
                ends(slot, i, true);
            }
            let s = sync(slot, port(slot, i).0, npu::TO_DEVICE);
            if s != npu::OK {
                return s;
            }
        }
        let b: &NpuBackend = &*(*slot).backend;
        let Some(submit) = b.submit else {
            return npu::ABI;
        };
        (*slot).began_ns = now(slot);
        (*slot).deadline_ns = after(slot, time);
        let mut job = ptr::null_mut();
        let s = submit(
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
        let Some(wait) = b.wait else {
            return npu::ABI;
        };
        loop {
            let s = wait(b.self_, (*slot).job, deadline);
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
                let b: &NpuBackend = &*(*slot).backend;
                let gone = b
                    .cancel
                    .is_some_and(|cancel| cancel(b.self_, (*slot).job) == npu::OK);
                if gone {
                    (*slot).busy = IDLE;
                    count(slot, Count::Cancelled);
                } else {
                    (*slot).health = Health::Quarantined as u32;
                    (*slot).deadline_ns = after(slot, drain_time(slot));
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
            let s = sync(slot, port(slot, i).0, npu::FROM_DEVICE);
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

/// Whether outputs in the buffers are these: `expected(i)` gives those of output `i`.
///
/// # Safety
/// The slot is open, the device does not own the buffers, and each pointer has as many bytes as its port.
pub(super) unsafe fn outputs_are(
    slot: *const NpuSlot,
    mut expected: impl FnMut(usize, usize) -> *const c_void,
) -> bool {
    // SAFETY: handed on.
    unsafe {
        let (inputs, all) = counts(slot);
        for i in inputs..all {
            let (buf, n) = port(slot, i);
            let (a, b) = (
                (*buf).host.cast::<u8>(),
                expected(i - inputs, n).cast::<u8>(),
            );
            if (0..n).any(|k| *a.add(k) != *b.add(k)) {
                return false;
            }
        }
        true
    }
}
