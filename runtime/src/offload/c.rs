//! The core as C calls it: `runtime/include/onnxc_npu.h`.

use core::ffi::c_void;
use onnxc_abi::context::Context;
use onnxc_abi::npu::{NpuBackend, NpuBuf, NpuConfig, NpuSlot, NpuStatus};
use onnxc_abi::region::RawRegion;

/// [`super::open`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxc_npu_open(
    slot: *mut NpuSlot,
    region: *const RawRegion,
    backend: *const NpuBackend,
    bufs: *mut NpuBuf,
    num_bufs: u32,
    config: *const NpuConfig,
) -> NpuStatus {
    // SAFETY: handed on.
    unsafe { super::open(slot, region, backend, bufs, num_bufs, config) }
}

/// [`super::close`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxc_npu_close(slot: *mut NpuSlot) {
    // SAFETY: handed on.
    unsafe { super::close(slot) }
}

/// [`super::start`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxc_npu_start(
    slot: *mut NpuSlot,
    ctx: *const Context,
    inputs: *const *const c_void,
) -> i32 {
    // SAFETY: handed on.
    unsafe { super::start(slot, ctx, inputs) }
}

/// [`super::finish`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onnxc_npu_finish(slot: *mut NpuSlot, outputs: *const *mut c_void) -> i32 {
    // SAFETY: handed on.
    unsafe { super::finish(slot, outputs) }
}
