//! What a slot remembers: counts, the last status, and what becomes of its health.
//!
//! A slot is never borrowed as a whole: while one thread runs it, others may be turned away and count that.

use core::sync::atomic::{AtomicU32, Ordering};
use onnxc_abi::npu::{self, Health, NpuSlot, NpuStatus};
use onnxc_abi::status;

/// Counters by their place in `NpuCounters`.
#[derive(Clone, Copy)]
#[repr(u8)]
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

/// What follows from a status of a driver.
struct Kind {
    /// What is counted.
    count: Count,
    /// What generated code is told.
    code: u8,
    /// The slot's health after it: one of those that stay; `Ready` where only its errors are counted; `New` where it is no fault.
    health: Health,
}

const fn kind(why: NpuStatus) -> Kind {
    let (count, code, health) = match why {
        npu::ABSENT => (Count::Absent, status::OFFLOAD_ABSENT, Health::Lost),
        npu::ABI | npu::TARGET | npu::NOMEM | npu::INVAL | npu::UNSUPPORTED | npu::DIGEST => {
            (Count::Refused, status::OFFLOAD_REFUSED, Health::Ready)
        }
        npu::BUSY => (Count::Busy, status::OFFLOAD_BUSY, Health::New),
        npu::TIMEOUT => (Count::Timeout, status::OFFLOAD_TIMEOUT, Health::Ready),
        npu::LOST => (Count::Lost, status::OFFLOAD_LOST, Health::Lost),
        npu::SILENT => (Count::Silent, status::OFFLOAD_DEVICE, Health::Ready),
        npu::SELFTEST | npu::MISMATCH => (Count::Mismatch, status::OFFLOAD_DEVICE, Health::CpuOnly),
        // Errors of devices, and what no status means.
        _ => (Count::Error, status::OFFLOAD_DEVICE, Health::Ready),
    };
    Kind {
        count,
        code: code as u8,
        health,
    }
}

/// Kinds by the negated status; the first is that of all others.
const KINDS: usize = 15;
static KIND: [Kind; KINDS] = [
    kind(0),
    kind(-1),
    kind(-2),
    kind(-3),
    kind(-4),
    kind(-5),
    kind(-6),
    kind(-7),
    kind(-8),
    kind(-9),
    kind(-10),
    kind(-11),
    kind(-12),
    kind(-13),
    kind(-14),
];

/// Remembers and counts why a run, or the opening, failed; answers the health that follows.
///
/// # Safety
/// `slot` is a slot in the caller's hand.
#[inline(never)]
pub(super) unsafe fn note(slot: *mut NpuSlot, why: NpuStatus) -> Health {
    // Statuses above 0 are unknown, and errors too.
    let place = why.wrapping_neg().cast_unsigned() as usize;
    let place = if place < KINDS { place } else { 0 };
    // SAFETY: the place was just made one of the table's; the slot: handed on.
    unsafe {
        let kind = KIND.get_unchecked(place);
        count(slot, kind.count);
        (*slot).last = why;
        (*slot).code = i32::from(kind.code);
        kind.health
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
        match note(slot, why) {
            Health::New => {}
            Health::Ready => {
                (*slot).errors = (*slot).errors.wrapping_add(1);
                if (*slot).health == Health::Ready as u32 {
                    settle(slot);
                }
            }
            after => (*slot).health = after as u32,
        }
    }
}

/// Health of a slot without a job: ready, unless there were too many errors.
///
/// # Safety
/// As for [`note`].
#[inline(never)]
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
