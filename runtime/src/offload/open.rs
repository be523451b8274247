//! Opening a slot: checks, loading, buffers, the golden vector. And closing it.

use super::health::note;
use super::job::{
    IDLE, JOB, after, drain, drain_time, end, or, outputs_are, port, submit, timeout,
};
use super::{CLOSED, NO_BUF, at};
use core::ffi::c_char;
use onnxc_abi::npu::{self, Health, NpuBackend, NpuBuf, NpuCaps, NpuConfig, NpuSlot, NpuStatus};
use onnxc_abi::offload::OffloadTable;
use onnxc_abi::region::{self, RawRegion};

/// Takes a region for a slot: asks the driver, loads, and runs the golden vector. Answers OK, or why the CPU computes the region from
/// now on; the slot's table may be given to the model in either case. `backend` may be null: no driver has that name.
///
/// # Safety
/// `slot` is closed and stays where it is until [`close`]; `region` lies in a descriptor; `backend` keeps its contract; `bufs` has `num_bufs`
/// records, which belong to the slot until it is closed.
pub unsafe fn open(
    slot: *mut NpuSlot,
    region: *const RawRegion,
    backend: *const NpuBackend,
    bufs: *mut NpuBuf,
    num_bufs: u32,
    config: *const NpuConfig,
) -> NpuStatus {
    // SAFETY: handed on.
    unsafe {
        *slot = CLOSED;
        (*slot).table = OffloadTable {
            struct_size: size_of::<OffloadTable>() as u32,
            abi_version: onnxc_abi::ABI_VERSION,
            self_: slot.cast(),
            run: Some(super::run),
            twin_done: Some(super::twin_done),
        };
        ((*slot).region, (*slot).backend) = (region, backend);
        ((*slot).bufs, (*slot).num_bufs) = (bufs, num_bufs);
        let status = set_up(slot, config);
        if status == npu::OK {
            (*slot).health = Health::Ready as u32;
        } else {
            note(slot, status);
            release(slot);
            let lost = (*slot).health == Health::Lost as u32 || status == npu::LOST;
            (*slot).health = if lost { Health::Lost } else { Health::CpuOnly } as u32;
        }
        status
    }
}

/// Each step; the first that does not answer OK ends it.
unsafe fn set_up(slot: *mut NpuSlot, config: *const NpuConfig) -> NpuStatus {
    // SAFETY: as for `open`.
    unsafe {
        let (r, b) = ((*slot).region, (*slot).backend);
        if b.is_null() {
            return npu::ABSENT;
        }
        if r.is_null() || !r.is_aligned() || config.is_null() || (*config).clock.is_none() {
            return npu::INVAL;
        }
        (*slot).config = *config;
        let (r, b) = (&*r, &*b);
        let same = |abi: u32| abi >> 16 == region::NPU_ABI_MAJOR;
        if (r.struct_size as usize) < size_of::<RawRegion>()
            || !same(r.npu_abi)
            || r.flags & !region::KNOWN_FLAGS != 0
        {
            return npu::ABI;
        }
        if (b.struct_size as usize) < size_of::<NpuBackend>() || !same(b.npu_abi) {
            return npu::ABI;
        }
        let (Some(query), Some(load), Some(_), Some(buf_get)) =
            (b.query, b.load, b.unload, b.buf_get)
        else {
            return npu::ABI;
        };
        if b.buf_put.is_none() || b.submit.is_none() || b.wait.is_none() || b.cancel.is_none() {
            return npu::ABI;
        }
        if r.num_ports > (*slot).num_bufs || r.num_inputs > r.num_ports || !named(r, b) {
            return npu::INVAL;
        }
        if (*slot).config.flags & npu::NO_DIGEST == 0 {
            let payload =
                core::slice::from_raw_parts(at(&raw const r.payload), r.payload_bytes as usize);
            if crate::sha256::sha256(payload) != r.digest {
                return npu::DIGEST;
            }
        }
        let mut caps: NpuCaps = core::mem::zeroed();
        caps.struct_size = size_of::<NpuCaps>() as u32;
        let s = query(b.self_, &raw mut caps);
        if s != npu::OK {
            return s;
        }
        if !same(caps.npu_abi) || (caps.caps & npu::NEEDS_SYNC != 0 && b.sync.is_none()) {
            return npu::ABI;
        }
        if !same_text(
            at(&raw const r.target),
            caps.target.as_ptr().cast(),
            caps.target.len(),
        ) {
            return npu::TARGET;
        }
        (*slot).caps = caps.caps;
        let s = load(b.self_, r, &raw mut (*slot).model);
        if s != npu::OK {
            return s;
        }
        (*slot).loaded = 1;
        for i in 0..r.num_ports {
            let (buf, bytes) = port(slot, i as usize);
            *buf = NpuBuf {
                struct_size: size_of::<NpuBuf>() as u32,
                port: i,
                ..NO_BUF
            };
            let s = buf_get(b.self_, (*slot).model, buf);
            if s != npu::OK {
                return s;
            }
            (*slot).held_bufs = i + 1;
            if (*buf).host.is_null() || (*buf).bytes < bytes as u64 || (*buf).kind > npu::BUF_DMABUF
            {
                return npu::INVAL;
            }
        }
        self_test(slot)
    }
}

/// Runs the golden vector, if there is one.
unsafe fn self_test(slot: *mut NpuSlot) -> NpuStatus {
    // SAFETY: as for `open`; everything is loaded.
    unsafe {
        let r = &*(*slot).region;
        if r.golden_out == 0 || (*slot).config.flags & npu::NO_SELFTEST != 0 {
            return npu::OK;
        }
        let mut state = r.golden_seed;
        let mut from: *const u8 = if r.golden_in == 0 {
            core::ptr::null()
        } else {
            at(&raw const r.golden_in)
        };
        for i in 0..r.num_inputs as usize {
            let (buf, n) = port(slot, i);
            let host = (*buf).host.cast::<u8>();
            for k in 0..n {
                if from.is_null() {
                    state = region::golden_next(state);
                    *host.add(k) = (state >> 24) as u8;
                } else {
                    *host.add(k) = *from;
                    from = from.add(1);
                }
            }
        }
        let time = or((*slot).config.selftest_ns, timeout(slot).saturating_mul(10));
        (*slot).health = Health::Ready as u32;
        let mut s = submit(slot, time);
        if s == npu::OK {
            s = end(slot);
        }
        if s == npu::OK {
            let mut golden: *const u8 = at(&raw const r.golden_out);
            let right = outputs_are(slot, |_, n| {
                let this = golden;
                golden = golden.add(n);
                this.cast()
            });
            s = if right { npu::OK } else { npu::SELFTEST };
        }
        s
    }
}

/// Lets go of a slot; it may be opened again. Waits for a job under way for `drain_ns` at most.
///
/// # Safety
/// `slot` was opened or is all zero, and no run of it is under way. Its table must not be used afterwards.
pub unsafe fn close(slot: *mut NpuSlot) {
    // SAFETY: handed on.
    unsafe {
        release(slot);
        (*slot).health = Health::New as u32;
        (*slot).table = CLOSED.table;
    }
}

/// Gives everything back to the driver.
unsafe fn release(slot: *mut NpuSlot) {
    // SAFETY: as for `close`.
    unsafe {
        if (*slot).loaded == 0 {
            return;
        }
        let b = &*(*slot).backend;
        if (*slot).busy == JOB && (*slot).health != Health::Lost as u32 {
            let gone = b
                .cancel
                .is_some_and(|cancel| cancel(b.self_, (*slot).job) == npu::OK);
            if !gone {
                (*slot).deadline_ns = after(slot, drain_time(slot));
                drain(slot, (*slot).deadline_ns);
            }
        }
        if let Some(put) = b.buf_put {
            for i in 0..(*slot).held_bufs as usize {
                put(b.self_, (*slot).model, port(slot, i).0);
            }
        }
        if let Some(unload) = b.unload {
            unload(b.self_, (*slot).model);
        }
        (*slot).held_bufs = 0;
        (*slot).loaded = 0;
        (*slot).busy = IDLE;
    }
}

/// Whether a region names this driver.
///
/// # Safety
/// Both are what they say.
pub(super) unsafe fn named(r: *const RawRegion, b: *const NpuBackend) -> bool {
    // SAFETY: handed on; a name is a text.
    unsafe {
        (*r).backend != 0
            && !(*b).name.is_null()
            && same_text(at(&raw const (*r).backend), (*b).name, usize::MAX)
    }
}

/// Whether two texts are the same; the second ends after `most` bytes at the latest.
unsafe fn same_text(a: *const c_char, b: *const c_char, most: usize) -> bool {
    for i in 0..most {
        // SAFETY: neither has ended before.
        let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
        if x != y {
            return false;
        }
        if x == 0 {
            return true;
        }
    }
    false
}
