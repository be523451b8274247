//! All regions of a model with memory of their own, for programs with an allocator.

use super::{CLOSED, Driver, NO_BUF, close, open};
use crate::Model;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use onnxc_abi::Region;
use onnxc_abi::npu::{self, Health, NpuBuf, NpuConfig, NpuCounters, NpuSlot, NpuStatus};
use onnxc_abi::offload::OffloadTable;

/// Nanoseconds of the clock that deadlines of this runtime mean: `monotonic` (feature `std`), a board's, or one of a test.
pub type Clock = npu::NpuClock;

/// How regions are treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Every so many device runs the CPU computes too, and outputs are compared; 0 = never.
    pub shadow_every: u32,
    /// Time-out of a run; none: the region's own.
    pub timeout: Option<Duration>,
    /// How long an overrun job may go on until the device counts as lost; none: a second.
    pub drain: Option<Duration>,
    /// Errors one after the other that leave a region to the CPU; 0 = 3.
    pub max_errors: u32,
    /// Whether the golden vectors are left out.
    pub no_selftest: bool,
    /// The clock; none: `monotonic`. Without `std` there is none, and without a clock the CPU computes.
    pub clock: Option<Clock>,
}

#[cfg(feature = "std")]
/// CLOCK_MONOTONIC of this process: what `std` measures time with on Linux, counted from its own zero.
pub extern "C" fn monotonic(_user: *mut c_void) -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        #[repr(C)]
        struct Timespec {
            seconds: i64,
            nanoseconds: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, out: *mut Timespec) -> i32;
        }
        let mut t = Timespec {
            seconds: 0,
            nanoseconds: 0,
        };
        // SAFETY: number 1 is CLOCK_MONOTONIC; the structure is that of 64-bit systems.
        unsafe { clock_gettime(1, &raw mut t) };
        t.seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(t.nanoseconds)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static ZERO: OnceLock<Instant> = OnceLock::new();
        i64::try_from(ZERO.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(feature = "std")]
const CLOCK: Option<Clock> = Some(monotonic);
#[cfg(not(feature = "std"))]
const CLOCK: Option<Clock> = None;

// Stands where there is no clock, until that is said.
extern "C" fn stopped(_user: *mut c_void) -> i64 {
    0
}

struct Slot(UnsafeCell<NpuSlot>);

/// The regions of a model, opened. One run of a model at a time uses them; others that come meanwhile run on the CPU.
pub struct Regions<'a> {
    // Vectors, not boxes: moving a box would end what was made of its address. They never grow.
    slots: Vec<Slot>,
    _bufs: Vec<Vec<UnsafeCell<NpuBuf>>>,
    tables: Vec<*const OffloadTable>,
    statuses: Vec<NpuStatus>,
    drivers: PhantomData<&'a Driver>,
}

// SAFETY: a run takes a slot by an atomic word; counters are read as atomic words.
unsafe impl Sync for Regions<'_> {}
// SAFETY: slots stay where they are in their vector; drivers may be called from any thread.
unsafe impl Send for Regions<'_> {}

impl<'a> Regions<'a> {
    /// Opens every region of a model with the driver it names. What can't be opened runs on the CPU: [`Regions::status`] says why.
    pub fn open(model: &Model, drivers: &[&'a Driver], settings: Settings) -> Regions<'a> {
        // SAFETY: a model's descriptor lives and stays where it is as long as the program may use the model.
        unsafe { Regions::of(model.descriptor().regions(), drivers, settings) }
    }

    /// The same for any regions.
    ///
    /// # Safety
    /// The memory they lie in outlives what is returned, and is aligned to 16.
    pub unsafe fn of<'r>(
        regions: impl Iterator<Item = Region<'r>>,
        drivers: &[&'a Driver],
        settings: Settings,
    ) -> Regions<'a> {
        let list: Vec<Region<'r>> = regions.collect();
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let clock = settings.clock.or(CLOCK);
        let mut config = NpuConfig::new(clock.unwrap_or(stopped), core::ptr::null_mut());
        config.clock = clock;
        config.shadow_every = settings.shadow_every;
        if let Some(d) = settings.timeout {
            config.timeout_ns = nanos(d);
            config.selftest_ns = nanos(d).saturating_mul(10);
            config.flags |= npu::OWN_TIMEOUT;
        }
        config.drain_ns = settings.drain.map_or(config.drain_ns, nanos);
        if settings.max_errors != 0 {
            config.max_errors = settings.max_errors;
        }
        if settings.no_selftest {
            config.flags |= npu::NO_SELFTEST;
        }
        let mut all = Regions {
            slots: list.iter().map(|_| Slot(UnsafeCell::new(CLOSED))).collect(),
            _bufs: list
                .iter()
                .map(|r| {
                    (0..r.num_ports())
                        .map(|_| UnsafeCell::new(NO_BUF))
                        .collect()
                })
                .collect(),
            tables: Vec::new(),
            statuses: Vec::new(),
            drivers: PhantomData,
        };
        for ((slot, bufs), r) in all.slots.iter().zip(&all._bufs).zip(&list) {
            let raw = r.as_raw();
            // SAFETY: slot and buffers are in vectors that live as long as this; the caller vouches for the region.
            let status = unsafe {
                let driver = (drivers.iter().find(|d| d.name() == r.backend()))
                    .map_or(core::ptr::null(), |d| core::ptr::from_ref(d.table()));
                open(
                    slot.0.get(),
                    raw,
                    driver,
                    UnsafeCell::raw_get(bufs.as_ptr()),
                    r.num_ports(),
                    &raw const config,
                )
            };
            all.statuses.push(status);
            // SAFETY: a place inside of the slot.
            all.tables.push(unsafe { &raw const (*slot.0.get()).table });
        }
        all
    }

    /// What a context's `offload` refers to.
    pub fn tables(&self) -> &[*const OffloadTable] {
        &self.tables
    }

    /// What the opening of region `k` answered.
    pub fn status(&self, k: usize) -> NpuStatus {
        self.statuses.get(k).copied().unwrap_or(npu::INVAL)
    }

    /// Health of region `k`.
    pub fn health(&self, k: usize) -> Health {
        let word = self.slots.get(k).map_or(0, |s| {
            // SAFETY: a word of the slot.
            unsafe { AtomicU32::from_ptr(&raw mut (*s.0.get()).health) }.load(Ordering::Relaxed)
        });
        let all = [
            Health::New,
            Health::Ready,
            Health::Quarantined,
            Health::CpuOnly,
            Health::Lost,
        ];
        all.get(word as usize).copied().unwrap_or(Health::New)
    }

    /// Last status of region `k`'s driver that was not OK; OK if there was none.
    pub fn last(&self, k: usize) -> NpuStatus {
        // SAFETY: a word of the slot.
        self.slots.get(k).map_or(npu::OK, |s| unsafe {
            (&raw const (*s.0.get()).last).read_volatile()
        })
    }

    /// What happened to region `k`. Exact while no run is under way.
    pub fn counters(&self, k: usize) -> NpuCounters {
        // SAFETY: words of the slot, copied one at a time.
        self.slots.get(k).map_or(CLOSED.counters, |s| unsafe {
            (&raw const (*s.0.get()).counters).read_volatile()
        })
    }

    /// The slot of region `k`, for [`super::start`] and [`super::finish`].
    pub fn slot(&self, k: usize) -> Option<*mut NpuSlot> {
        self.slots.get(k).map(|s| s.0.get())
    }
}

impl Drop for Regions<'_> {
    fn drop(&mut self) {
        for s in &self.slots {
            // SAFETY: opened above, and no run borrows it any more.
            unsafe { close(s.0.get()) }
        }
    }
}
