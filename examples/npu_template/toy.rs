//! A toy accelerator, and all that its driver needs. Copy it and put a device in the place of `Toy::compute`.
//!
//! Its commands are one byte k, and it computes `y = x xor k` for one input and one output. Run it:
//! `cargo run -p onnxc-runtime --features std --example npu_template` (`main.rs`).

use onnxc_runtime::abi::npu::{self, NpuBackend, NpuBuf, NpuCaps, NpuStatus};
use onnxc_runtime::abi::region::{NPU_ABI, RawRegion};
use onnxc_runtime::offload::{Driver, parts};
use std::ffi::c_void;

/// What regions must be compiled for. The compiler's side writes the same text.
const TARGET: &str = "toy-1";

/// The device: here one that answers at once.
struct Toy;

impl Toy {
    fn compute(key: u8, x: &[u8], y: &mut [u8]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x ^ key);
    }
}

/// A region in the device, with its buffers.
struct Model {
    key: u8,
    x: Box<[u8]>,
    y: Box<[u8]>,
}

unsafe extern "C" fn query(_: *mut c_void, out: *mut NpuCaps) -> NpuStatus {
    // SAFETY: the core gives memory for it.
    let out = unsafe { &mut *out };
    (out.npu_abi, out.max_inflight, out.align) = (NPU_ABI, 1, 1);
    out.target
        .iter_mut()
        .zip(TARGET.bytes())
        .for_each(|(t, b)| *t = b);
    npu::OK
}

// Looks at everything that the device does not check itself: what is refused here runs on the CPU.
unsafe extern "C" fn load(
    _: *mut c_void,
    region: *const RawRegion,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: the core gives a region that stays until `unload`.
    let p = unsafe { parts(region) };
    let ([key], [x, y]) = (p.cmd, p.ports) else {
        return npu::INVAL;
    };
    if p.num_inputs != 1 || x.bytes != y.bytes {
        return npu::INVAL;
    }
    let memory = |n: u64| vec![0u8; n as usize].into_boxed_slice();
    let model = Model {
        key: *key,
        x: memory(x.bytes),
        y: memory(y.bytes),
    };
    // SAFETY: where the core wants it.
    unsafe { *out = Box::into_raw(Box::new(model)).cast() };
    npu::OK
}

unsafe extern "C" fn unload(_: *mut c_void, model: *mut c_void) {
    // SAFETY: what `load` gave, for the last time. A device that never let go of its buffers would have to keep them.
    drop(unsafe { Box::from_raw(model.cast::<Model>()) });
}

unsafe extern "C" fn buf_get(_: *mut c_void, model: *mut c_void, io: *mut NpuBuf) -> NpuStatus {
    // SAFETY: what `load` gave; the core's record.
    let (model, io) = unsafe { (&mut *model.cast::<Model>(), &mut *io) };
    let buffer = if io.port == 0 {
        &mut model.x
    } else {
        &mut model.y
    };
    io.host = buffer.as_mut_ptr().cast();
    npu::OK
}

unsafe extern "C" fn buf_put(_: *mut c_void, _: *mut c_void, _: *mut NpuBuf) {}

// Where caches are not coherent: clean towards the device, invalidate from it.
unsafe extern "C" fn sync(_: *mut c_void, _: *const NpuBuf, _: u32) -> NpuStatus {
    npu::OK
}

// A real device starts here and answers at once; the job says what `wait` asks for.
unsafe extern "C" fn submit(
    _: *mut c_void,
    model: *mut c_void,
    _: *const NpuBuf,
    _: u32,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: the model is the job: there is one at a time.
    unsafe { *out = model };
    npu::OK
}

// A real device waits until it is done or the clock reaches the deadline, and answers PENDING then.
unsafe extern "C" fn wait(_: *mut c_void, job: *mut c_void, _deadline_ns: i64) -> NpuStatus {
    // SAFETY: what `submit` gave.
    let m = unsafe { &mut *job.cast::<Model>() };
    Toy::compute(m.key, &m.x, &mut m.y);
    npu::OK
}

// OK only if the device will not touch the buffers any more.
unsafe extern "C" fn cancel(_: *mut c_void, _: *mut c_void) -> NpuStatus {
    npu::UNSUPPORTED
}

/// The driver.
pub fn driver() -> Driver {
    let table = NpuBackend {
        struct_size: size_of::<NpuBackend>() as u32,
        npu_abi: NPU_ABI,
        name: c"toy".as_ptr(),
        self_: std::ptr::null_mut(),
        query: Some(query),
        load: Some(load),
        unload: Some(unload),
        buf_get: Some(buf_get),
        buf_put: Some(buf_put),
        sync: Some(sync),
        submit: Some(submit),
        wait: Some(wait),
        cancel: Some(cancel),
        event_fd: None,
    };
    // SAFETY: the functions above keep the contract of `onnxc_abi::npu`.
    unsafe { Driver::new(table) }
}
