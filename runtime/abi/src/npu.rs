//! Drivers of accelerators: the table of functions that one provides, and the memory that the runtime keeps for a region.
//!
//! Every struct begins with its size and grows at the end only; majors of [`crate::region::NPU_ABI`] must be equal. A driver is named by its table's
//! `name`, and a region names the driver it was compiled for. All functions may be called from any thread, but for one model from
//! one thread at a time. None unwinds.
//!
//! Ownership: a buffer belongs to the device from `submit` until `wait` answers a final status or `cancel` answers [`OK`]. In between nobody
//! else touches it. Buffers are the driver's: the runtime copies inputs in and outputs out, so that what a device does too late can't reach
//! anything that the model computes with.

use crate::offload::OffloadTable;
use crate::region::RawRegion;
use core::ffi::c_void;

/// What functions of a driver answer: 0, [`PENDING`], or an error below 0.
pub type NpuStatus = i32;

/// A row of the table of statuses.
#[derive(Clone, Copy, Debug)]
pub struct NpuStatusInfo {
    /// The number.
    pub code: NpuStatus,
    /// Its name, in C with `ONNXC_NPU_` before it, errors with `ONNXC_NPU_E_`.
    pub name: &'static str,
    /// One line for a person.
    pub text: &'static str,
}

macro_rules! statuses {
    ($($name:ident = $code:literal $text:literal;)*) => {
        $(#[doc = $text] pub const $name: NpuStatus = $code;)*
        /// Every status with its name and text.
        pub const STATUSES: &[NpuStatusInfo] = &[$(NpuStatusInfo { code: $code, name: stringify!($name), text: $text }),*];
    };
}

statuses! {
    OK = 0 "done";
    PENDING = 1 "not yet done";
    ABSENT = -1 "there is no device";
    ABI = -2 "the region or the driver is of another version";
    TARGET = -3 "the region was compiled for another device";
    NOMEM = -4 "there is not enough memory";
    INVAL = -5 "the device or its driver takes the region for malformed";
    BUSY = -6 "the device is busy, or still owns the buffers";
    TIMEOUT = -7 "the device did not answer in time";
    DEVICE = -8 "the device reported an error";
    LOST = -9 "the device is lost";
    UNSUPPORTED = -10 "the driver can't do that";
    SELFTEST = -11 "the device computed the golden vector wrong";
    SILENT = -12 "the device said it was done and wrote nothing";
    DIGEST = -13 "the region's data are damaged";
    MISMATCH = -14 "the device's outputs were not those of the CPU";
}

/// One line for a person.
pub const fn npu_status_text(code: NpuStatus) -> &'static str {
    let mut i = 0;
    while i < STATUSES.len() {
        if STATUSES[i].code == code {
            return STATUSES[i].text;
        }
        i += 1;
    }
    "unknown status of a driver"
}

/// Kinds of buffers: the driver's own, visible to the CPU at `host`.
pub const BUF_DEVICE: u32 = 0;
/// One that was imported by its file descriptor, visible to the CPU at `host`.
pub const BUF_DMABUF: u32 = 1;

/// Capabilities: `cancel` may answer OK.
pub const CAN_CANCEL: u32 = 1;
/// `event_fd` gives a descriptor to wait on.
pub const HAS_EVENT_FD: u32 = 2;

/// `sync`: what the CPU wrote goes to the device.
pub const TO_DEVICE: u32 = 0;
/// What the device wrote becomes visible to the CPU.
pub const FROM_DEVICE: u32 = 1;

c_struct! {
    /// What a driver says about its device.
    NpuCaps = "onnxc_npu_caps", 104 {
        /// `sizeof(onnxc_npu_caps)` of who fills it.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_NPU_ABI` of the driver.
        npu_abi: u32 = "uint32_t npu_abi" @ 4,
        /// Bit k: buffers of kind k.
        buf_kinds: u32 = "uint32_t buf_kinds" @ 8,
        /// `ONNXC_NPU_CAN_CANCEL`, `_HAS_EVENT_FD`.
        caps: u32 = "uint32_t caps" @ 12,
        /// Jobs that may be under way at a time, at least 1.
        max_inflight: u32 = "uint32_t max_inflight" @ 16,
        /// Alignment of buffers.
        align: u32 = "uint32_t align" @ 20,
        /// Bytes of fast memory.
        fast_bytes: u64 = "uint64_t fast_bytes" @ 24,
        /// Multiply-accumulate operations in a second at its best; 0 = not known.
        macs_per_second: u64 = "uint64_t macs_per_second" @ 32,
        /// What regions must be compiled for; a zero byte ends it.
        target: [u8; 64] = "char target[64]" @ 40,
    }
}

c_struct! {
    /// A buffer of a port.
    NpuBuf = "onnxc_npu_buf", 48 {
        /// `sizeof(onnxc_npu_buf)`.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_NPU_BUF_..`.
        kind: u32 = "uint32_t kind" @ 4,
        /// `_DMABUF`: the descriptor; else -1.
        fd: i32 = "int32_t fd" @ 8,
        /// Number of the port.
        port: u32 = "uint32_t port" @ 12,
        /// Where in the device's object it begins.
        offset: u64 = "uint64_t offset" @ 16,
        /// Its bytes: those of the port, set before `buf_get`, which leaves them so.
        bytes: u64 = "uint64_t bytes" @ 24,
        /// Where the CPU sees it.
        host: *mut c_void = "void *host" @ 32,
        /// The driver's own.
        driver: *mut c_void = "void *driver" @ 40,
    }
}

c_struct! {
    /// A driver. Append only: functions that a shorter table lacks are absent. Only `event_fd` may be null.
    NpuBackend = "onnxc_npu_backend", 104 {
        /// Bytes of the table.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_NPU_ABI` it was built for.
        npu_abi: u32 = "uint32_t npu_abi" @ 4,
        /// Its name; regions name it.
        name: *const core::ffi::c_char = "const char *name" @ 8,
        /// First argument of its functions.
        self_: *mut c_void = "void *self_" @ 16,
        /// Looks for the device and says what it can: cheap, and may be repeated. `ABSENT` if there is none.
        query: Option<unsafe extern "C" fn(this: *mut c_void, out: *mut NpuCaps) -> NpuStatus>
            = "onnxc_npu_status (*query)(void *self_, onnxc_npu_caps *out)" @ 24,
        /// Takes a region, which stays where it is until `unload`. May refuse: `ABI`, `TARGET`, `INVAL`, `NOMEM`.
        load: Option<unsafe extern "C" fn(this: *mut c_void, region: *const RawRegion, out: *mut *mut c_void) -> NpuStatus>
            = "onnxc_npu_status (*load)(void *self_, const onnxc_region *region, void **out)" @ 32,
        /// Lets go of it. If the device still owns buffers, their memory stays until the device has let go of them, or for ever.
        unload: Option<unsafe extern "C" fn(this: *mut c_void, model: *mut c_void)>
            = "void (*unload)(void *self_, void *model)" @ 40,
        /// Gives the buffer of a port: `port` and `bytes` are set before, `fd` is -1 and all else zero. It must have a `host` address.
        buf_get: Option<unsafe extern "C" fn(this: *mut c_void, model: *mut c_void, io: *mut NpuBuf) -> NpuStatus>
            = "onnxc_npu_status (*buf_get)(void *self_, void *model, onnxc_npu_buf *io)" @ 48,
        /// Takes it back.
        buf_put: Option<unsafe extern "C" fn(this: *mut c_void, model: *mut c_void, buf: *mut NpuBuf)>
            = "void (*buf_put)(void *self_, void *model, onnxc_npu_buf *buf)" @ 56,
        /// Makes caches coherent: called for every buffer before a submission, and for outputs after it. `direction`: `ONNXC_NPU_TO_DEVICE` or `_FROM_DEVICE`.
        sync: Option<unsafe extern "C" fn(this: *mut c_void, buf: *const NpuBuf, direction: u32) -> NpuStatus>
            = "onnxc_npu_status (*sync)(void *self_, const onnxc_npu_buf *buf, uint32_t direction)" @ 64,
        /// Begins a run over the buffers of all ports, in their order, and returns. `BUSY` if there is no room in its queue.
        submit: Option<unsafe extern "C" fn(
            this: *mut c_void, model: *mut c_void, bufs: *const NpuBuf, n: u32, out: *mut *mut c_void,
        ) -> NpuStatus>
            = "onnxc_npu_status (*submit)(void *self_, void *model, const onnxc_npu_buf *bufs, uint32_t n, void **out)" @ 72,
        /// Waits until the job is done or the clock reaches `deadline_ns` (0: asks and returns). `PENDING` if it is not done. Any other answer
        /// is final: it is given once, the job is gone, and the device has let go of the buffers; except `LOST`, after which it may never let go.
        wait: Option<unsafe extern "C" fn(this: *mut c_void, job: *mut c_void, deadline_ns: i64) -> NpuStatus>
            = "onnxc_npu_status (*wait)(void *self_, void *job, int64_t deadline_ns)" @ 80,
        /// Stops a job. `OK`: the job is gone and the device will not touch the buffers any more. Anything else: it goes on.
        cancel: Option<unsafe extern "C" fn(this: *mut c_void, job: *mut c_void) -> NpuStatus>
            = "onnxc_npu_status (*cancel)(void *self_, void *job)" @ 88,
        /// A file descriptor that becomes readable when `wait` may answer, or -1; may be null.
        event_fd: Option<unsafe extern "C" fn(this: *mut c_void, job: *mut c_void) -> i32>
            = "int32_t (*event_fd)(void *self_, void *job)" @ 96,
    }
}

/// What the health of a region can be.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Not opened.
    New = 0,
    /// The device computes it.
    Ready = 1,
    /// A job overran its time and still owns the buffers: the CPU computes until it is gone.
    Quarantined = 2,
    /// The CPU computes it from now on: the device was absent, refused, failed its self-test or erred too often.
    CpuOnly = 3,
    /// As before, and the device never let go of the buffers.
    Lost = 4,
}

c_struct! {
    /// What happened to a region since it was opened. Every run counts in exactly one of `device` and `cpu`.
    NpuCounters = "onnxc_npu_counters", 72 {
        /// Runs whose outputs are the device's.
        device: u32 = "uint32_t device" @ 0,
        /// Runs that were left to the CPU, whatever the reason; shadow runs too.
        cpu: u32 = "uint32_t cpu" @ 4,
        /// Openings that found no device or no driver.
        absent: u32 = "uint32_t absent" @ 8,
        /// Refusals, at the opening as a rule: ABI, target, digest, malformed, no memory.
        refused: u32 = "uint32_t refused" @ 12,
        /// Jobs that overran their time.
        timeout: u32 = "uint32_t timeout" @ 16,
        /// Jobs that ended with an error.
        error: u32 = "uint32_t error" @ 20,
        /// How often the device was lost.
        lost: u32 = "uint32_t lost" @ 24,
        /// Jobs that ended well and left an output unwritten.
        silent: u32 = "uint32_t silent" @ 28,
        /// Self-tests and shadow runs with other outputs than expected.
        mismatch: u32 = "uint32_t mismatch" @ 32,
        /// Runs that found the device or the buffers busy.
        busy: u32 = "uint32_t busy" @ 36,
        /// Shadow runs: both computed, and were compared.
        shadow: u32 = "uint32_t shadow" @ 40,
        /// Jobs that were cancelled.
        cancelled: u32 = "uint32_t cancelled" @ 44,
        /// Jobs that ended after their time, in quarantine.
        drained: u32 = "uint32_t drained" @ 48,
        /// Jobs given to the device.
        submitted: u32 = "uint32_t submitted" @ 52,
        /// Times the device's runs took, summed, in nanoseconds: from submission to the end.
        device_ns: u64 = "uint64_t device_ns" @ 56,
        /// Zero.
        reserved: u64 = "uint64_t reserved" @ 64,
    }
}

/// The time, in nanoseconds, of the clock that drivers' deadlines mean: CLOCK_MONOTONIC on Linux.
pub type NpuClock = unsafe extern "C" fn(user: *mut c_void) -> i64;

c_struct! {
    /// How the runtime treats a region.
    NpuConfig = "onnxc_npu_config", 64 {
        /// `sizeof(onnxc_npu_config)`.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// Every so many device runs the CPU computes too, and outputs are compared; 0 = never.
        shadow_every: u32 = "uint32_t shadow_every" @ 4,
        /// The clock; never null.
        clock: Option<NpuClock> = "onnxc_npu_clock clock" @ 8,
        /// Its argument.
        clock_user: *mut c_void = "void *clock_user" @ 16,
        /// Time-out of a run where the region has none: 0 there.
        timeout_ns: u64 = "uint64_t timeout_ns" @ 24,
        /// How long an overrun job may go on until the device counts as lost.
        drain_ns: u64 = "uint64_t drain_ns" @ 32,
        /// Time-out of the self-test.
        selftest_ns: u64 = "uint64_t selftest_ns" @ 40,
        /// Errors one after the other that leave the region to the CPU.
        max_errors: u32 = "uint32_t max_errors" @ 48,
        /// `ONNXC_NPU_NO_SELFTEST`, `_NO_DIGEST`, `_OWN_TIMEOUT`.
        flags: u32 = "uint32_t flags" @ 52,
        /// Zero.
        reserved: u64 = "uint64_t reserved" @ 56,
    }
}

impl NpuConfig {
    /// A second for a run where the region has no limit of its own, one for a drain, ten for the self-test; three errors.
    pub const fn new(clock: NpuClock, clock_user: *mut c_void) -> NpuConfig {
        NpuConfig {
            struct_size: size_of::<NpuConfig>() as u32,
            shadow_every: 0,
            clock: Some(clock),
            clock_user,
            timeout_ns: 1_000_000_000,
            drain_ns: 1_000_000_000,
            selftest_ns: 10_000_000_000,
            max_errors: 3,
            flags: 0,
            reserved: 0,
        }
    }
}

/// Flag of [`NpuConfig`]: no golden vector at the opening.
pub const NO_SELFTEST: u32 = 1;
/// Flag of [`NpuConfig`]: the digest is not computed.
pub const NO_DIGEST: u32 = 2;
/// Flag of [`NpuConfig`]: its time-out holds also where the region has one.
pub const OWN_TIMEOUT: u32 = 4;

c_struct! {
    /// All that the runtime keeps for a region, in memory of the caller, who does not move it while it is open, and reads only what is marked so. Zero before it is opened.
    NpuSlot = "onnxc_npu_slot", 320 {
        /// What the context's `offload` refers to. (may be read)
        table: OffloadTable = "onnxc_offload_table table" @ 0,
        /// How it is treated. (may be read)
        config: NpuConfig = "onnxc_npu_config config" @ 32,
        /// What happened. (may be read)
        counters: NpuCounters = "onnxc_npu_counters counters" @ 96,
        /// The region. (may be read)
        region: *const RawRegion = "const onnxc_region *region" @ 168,
        /// Its driver. (may be read)
        backend: *const NpuBackend = "const onnxc_npu_backend *backend" @ 176,
        /// Buffers of the ports, in the caller's memory.
        bufs: *mut NpuBuf = "onnxc_npu_buf *bufs" @ 184,
        /// Length of `bufs`.
        num_bufs: u32 = "uint32_t num_bufs" @ 192,
        /// How many the driver gave.
        held_bufs: u32 = "uint32_t held_bufs" @ 196,
        /// What the driver's `load` gave.
        model: *mut c_void = "void *model" @ 200,
        /// The job under way.
        job: *mut c_void = "void *job" @ 208,
        /// A number of [`Health`]. (may be read)
        health: u32 = "uint32_t health" @ 216,
        /// Last status of the driver that was not `OK`. (may be read)
        last: NpuStatus = "onnxc_npu_status last" @ 220,
        /// Errors one after the other.
        errors: u32 = "uint32_t errors" @ 224,
        /// Device runs since the last shadow run.
        since_shadow: u32 = "uint32_t since_shadow" @ 228,
        /// What marks outputs that nobody wrote.
        mark: u64 = "uint64_t mark" @ 232,
        /// When the job under way was submitted.
        began_ns: i64 = "int64_t began_ns" @ 240,
        /// When it has failed, or in quarantine when the device counts as lost.
        deadline_ns: i64 = "int64_t deadline_ns" @ 248,
        /// Who uses the slot: 0 = nobody; else the address of a context, made odd.
        owner: usize = "uintptr_t owner" @ 256,
        /// 1: a job is under way. 2: outputs wait for the twin's.
        busy: u32 = "uint32_t busy" @ 264,
        /// Whether the driver has loaded the region.
        loaded: u32 = "uint32_t loaded" @ 268,
        /// What generated code was told of `last`.
        code: i32 = "int32_t code" @ 272,
        /// Zero.
        reserved_4: u32 = "uint32_t reserved_4" @ 276,
        /// Zero.
        reserved: [u64; 5] = "uint64_t reserved[5]" @ 280,
    }
}
