//! The runtime core of accelerators: takes regions to drivers, and keeps a model right whatever a device does.
//!
//! What it holds to (`docs/npu.md` says why):
//! - all state is in the caller's memory: an [`NpuSlot`] and a buffer record for each port; nothing is allocated, nothing is global;
//! - inputs are copied to buffers of the driver and outputs from them, so no device can touch what a model computes with;
//! - a job that overruns its time is cancelled, or else left in quarantine: the CPU computes until the device has let go of the
//!   buffers, and for ever if it does not within `drain_ns`;
//! - outputs that a device did not write, wrong answers to the golden vector and to shadow runs are found and counted;
//! - after `max_errors` errors one after the other, and after one wrong answer, the CPU computes until the slot is opened again.
//!
//! It never blocks longer than the region's time-out (`open`, `close`: plus `drain_ns`), never panics, and trusts drivers no further than their table's contract.
//! [`open`], [`close`], [`start`], [`finish`] are also what C calls (`runtime/include/onnxc_npu.h`, feature `c`).

#[cfg(feature = "c")]
mod c;
mod health;
mod job;
mod open;
#[cfg(feature = "std")]
pub mod pack;
mod parts;
#[cfg(feature = "alloc")]
mod regions;
mod run;

pub use onnxc_abi::npu::{
    self, Health, NpuBackend, NpuBuf, NpuConfig, NpuCounters, NpuSlot, NpuStatus,
};
pub use open::{close, open};
pub use parts::{Parts, parts};
#[cfg(feature = "std")]
pub use regions::monotonic;
#[cfg(feature = "alloc")]
pub use regions::{Clock, Regions, Settings};
pub use run::{finish, run, start, twin_done};

use core::ffi::CStr;
use onnxc_abi::offload::OffloadTable;

/// A driver's table that may be a static.
#[repr(transparent)]
pub struct Driver(NpuBackend);

// SAFETY: `Driver::new` demands it.
unsafe impl Sync for Driver {}
// SAFETY: as before.
unsafe impl Send for Driver {}

impl Driver {
    /// # Safety
    /// The functions keep the contract of [`onnxc_abi::npu`], with `self_`, from any thread, for as long as the driver is used; `name` is a
    /// text that a zero byte ends.
    pub const unsafe fn new(table: NpuBackend) -> Driver {
        Driver(table)
    }
    /// The table.
    pub fn table(&self) -> &NpuBackend {
        &self.0
    }
    /// Its name; empty if it is not UTF-8.
    #[inline]
    pub fn name(&self) -> &str {
        if self.0.name.is_null() {
            return "";
        }
        // SAFETY: the maker vouched for it.
        unsafe { CStr::from_ptr(self.0.name) }
            .to_str()
            .unwrap_or("")
    }
}

impl AsRef<Driver> for Driver {
    fn as_ref(&self) -> &Driver {
        self
    }
}

/// A slot before it is opened: all zero.
pub const CLOSED: NpuSlot = NpuSlot {
    table: OffloadTable {
        struct_size: 0,
        abi_version: 0,
        self_: core::ptr::null_mut(),
        run: None,
        twin_done: None,
    },
    config: NpuConfig {
        struct_size: 0,
        shadow_every: 0,
        clock: None,
        clock_user: core::ptr::null_mut(),
        timeout_ns: 0,
        drain_ns: 0,
        selftest_ns: 0,
        max_errors: 0,
        flags: 0,
        reserved: 0,
    },
    counters: NO_COUNTS,
    region: core::ptr::null(),
    backend: core::ptr::null(),
    bufs: core::ptr::null_mut(),
    num_bufs: 0,
    held_bufs: 0,
    model: core::ptr::null_mut(),
    job: core::ptr::null_mut(),
    health: 0,
    last: 0,
    errors: 0,
    since_shadow: 0,
    mark: 0,
    began_ns: 0,
    deadline_ns: 0,
    owner: 0,
    busy: 0,
    loaded: 0,
    code: 0,
    reserved_4: 0,
    reserved: [0; 5],
};

const NO_COUNTS: NpuCounters = NpuCounters {
    device: 0,
    cpu: 0,
    absent: 0,
    refused: 0,
    timeout: 0,
    error: 0,
    lost: 0,
    silent: 0,
    mismatch: 0,
    busy: 0,
    shadow: 0,
    cancelled: 0,
    drained: 0,
    submitted: 0,
    device_ns: 0,
    reserved: 0,
};

/// A buffer record before a driver fills it.
pub const NO_BUF: NpuBuf = NpuBuf {
    struct_size: 0,
    kind: 0,
    fd: -1,
    port: 0,
    offset: 0,
    bytes: 0,
    host: core::ptr::null_mut(),
    driver: core::ptr::null_mut(),
};

/// What a self-relative distance refers to.
///
/// # Safety
/// It lies in a descriptor, and is not 0.
pub(crate) unsafe fn at<T>(field: *const i32) -> *const T {
    // SAFETY: handed on.
    unsafe { field.cast::<u8>().offset(*field as isize).cast() }
}
