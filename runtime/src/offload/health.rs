//! What a slot remembers: counts, the last status, and what becomes of its health.
//!
//! A slot is never borrowed as a whole: while one thread runs it, others may be turned away and count that.

use core::sync::atomic::{AtomicU32, Ordering};
use onnxc_abi::npu::{self, Health, NpuSlot, NpuStatus};
use onnxc_abi::status;

/// Counters by their place in `NpuCounters`.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Count {
    Device = 0,
    Cpu = 1,
    Absent = 2,
    Refused = 3,
    Timeout = 4,
    Error = 5,
    Lost = 6,
    Silent = 7,
    Mismatch = 8,
    Busy = 9,
    Shadow = 10,
    Cancelled = 11,
    Drained = 12,
    Submitted = 13,
}

/// Counts one. Another thread may be turned away meanwhile, and count that.
///
/// # Safety
/// `slot` is a slot.
// Where an atomic addition is a loop, it stands once.
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) unsafe fn count(slot: *mut NpuSlot, what: Count) {
    // SAFETY: the counters are as many words, and all who write them while the slot is open do so here.
    let word = unsafe {
        AtomicU32::from_ptr((&raw mut (*slot).counters).cast::<u32>().add(what as usize))
    };
    word.fetch_add(1, Ordering::Relaxed);
}

/// Remembers and counts why a run, or the opening, failed.
///
/// # Safety
/// `slot` is a slot in the caller's hand.
pub(super) unsafe fn note(slot: *mut NpuSlot, why: NpuStatus) {
    let what = match why {
        npu::ABSENT => Count::Absent,
        npu::ABI | npu::TARGET | npu::NOMEM | npu::INVAL | npu::UNSUPPORTED | npu::DIGEST => {
            Count::Refused
        }
        npu::BUSY => Count::Busy,
        npu::TIMEOUT => Count::Timeout,
        npu::LOST => Count::Lost,
        npu::SILENT => Count::Silent,
        npu::SELFTEST | npu::MISMATCH => Count::Mismatch,
        _ => Count::Error,
    };
    // SAFETY: handed on.
    unsafe {
        count(slot, what);
        (*slot).last = why;
    }
}

/// Health after a job failed: busy is no fault; a lost device and a wrong answer end it at once; other errors when there
/// were enough of them one after the other.
///
/// # Safety
/// As for [`note`].
pub(super) unsafe fn failed(slot: *mut NpuSlot, why: NpuStatus) {
    // SAFETY: handed on.
    unsafe {
        note(slot, why);
        match why {
            npu::BUSY => {}
            npu::LOST | npu::ABSENT => (*slot).health = Health::Lost as u32,
            npu::MISMATCH => (*slot).health = Health::CpuOnly as u32,
            _ => {
                (*slot).errors = (*slot).errors.saturating_add(1);
                if (*slot).health == Health::Ready as u32 {
                    settle(slot);
                }
            }
        }
    }
}

/// Health of a slot without a job: ready, unless there were too many errors.
///
/// # Safety
/// As for [`note`].
pub(super) unsafe fn settle(slot: *mut NpuSlot) {
    // SAFETY: handed on.
    unsafe {
        let enough = (*slot).errors >= (*slot).config.max_errors;
        (*slot).health = if enough {
            Health::CpuOnly
        } else {
            Health::Ready
        } as u32;
    }
}

/// What generated code is told.
pub(super) fn code(why: NpuStatus) -> i32 {
    match why {
        npu::OK => status::OK,
        npu::ABSENT => status::OFFLOAD_ABSENT,
        npu::ABI | npu::TARGET | npu::NOMEM | npu::INVAL | npu::UNSUPPORTED | npu::DIGEST => {
            status::OFFLOAD_REFUSED
        }
        npu::TIMEOUT => status::OFFLOAD_TIMEOUT,
        npu::LOST => status::OFFLOAD_LOST,
        npu::BUSY => status::OFFLOAD_BUSY,
        _ => status::OFFLOAD_DEVICE,
    }
}
