//! Opening a slot: checks, loading, buffers, the golden vector. And closing it.

use super::at;
use super::health::note;
use super::job::{IDLE, JOB, counts, drain, end, overrun, port, submit, there};
use core::ffi::c_char;
use onnxc_abi::npu::{self, Health, NpuBackend, NpuBuf, NpuCaps, NpuConfig, NpuSlot, NpuStatus};
use onnxc_abi::offload::OffloadTable;
use onnxc_abi::region::{self, RawRegion, RawRegionPort};

/// Functions of a driver that must be there: all but `event_fd`.
const FUNCTIONS: usize =
    (core::mem::offset_of!(NpuBackend, event_fd) - core::mem::offset_of!(NpuBackend, query)) / 8;

/// Takes a region for a slot: asks the driver, loads, and runs the golden vector. Answers OK, or why the CPU computes the region from
/// now on; the slot's table may be given to the model in either case. `backend` is the driver that the region names, or null.
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
        // All of it is zero when closed.
        slot.write_bytes(0, 1);
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
        let (r, table) = ((*slot).region, (*slot).backend);
        if table.is_null() {
            return npu::ABSENT;
        }
        if r.is_null() || config.is_null() || (*config).clock.is_none() {
            return npu::INVAL;
        }
        (*slot).config = *config;
        if (*r).timeout_ns != 0 && (*slot).config.flags & npu::OWN_TIMEOUT == 0 {
            (*slot).config.timeout_ns = (*r).timeout_ns;
        }
        // Distances are followed from the record itself, not from a reference to it.
        let (raw, r, b) = (r, &*r, &*table);
        let same = |abi: u32| abi >> 16 == region::NPU_ABI_MAJOR;
        if (r.struct_size as usize) < size_of::<RawRegion>()
            || !same(r.npu_abi)
            || r.flags & !region::KNOWN_FLAGS != 0
            || (b.struct_size as usize) < size_of::<NpuBackend>()
            || !same(b.npu_abi)
        {
            return npu::ABI;
        }
        // Functions are words, one behind the other.
        let first: *const usize = (&raw const (*table).query).cast();
        if (0..FUNCTIONS).any(|i| *first.add(i) == 0) {
            return npu::ABI;
        }
        if r.num_ports > (*slot).num_bufs {
            return npu::INVAL;
        }
        if (*slot).config.flags & npu::NO_DIGEST == 0 {
            let payload = core::slice::from_raw_parts(
                at(&raw const (*raw).payload),
                r.payload_bytes as usize,
            );
            if crate::sha256::sha256(payload) != r.digest {
                return npu::DIGEST;
            }
        }
        let mut caps: NpuCaps = core::mem::zeroed();
        caps.struct_size = size_of::<NpuCaps>() as u32;
        let s = there(b.query)(b.self_, &raw mut caps);
        if s != npu::OK {
            return s;
        }
        if !same(caps.npu_abi) {
            return npu::ABI;
        }
        if !same_text(
            at(&raw const (*raw).target),
            caps.target.as_ptr().cast(),
            caps.target.len(),
        ) {
            return npu::TARGET;
        }
        let s = there(b.load)(b.self_, raw, &raw mut (*slot).model);
        if s != npu::OK {
            return s;
        }
        (*slot).loaded = 1;
        let (bufs, ports): (_, *const RawRegionPort) = ((*slot).bufs, at(&raw const (*raw).ports));
        for i in 0..r.num_ports {
            let buf = bufs.add(i as usize);
            buf.write_bytes(0, 1);
            (*buf).struct_size = size_of::<NpuBuf>() as u32;
            ((*buf).fd, (*buf).port) = (-1, i);
            (*buf).bytes = (*ports.add(i as usize)).bytes;
            let s = there(b.buf_get)(b.self_, (*slot).model, buf);
            if s != npu::OK {
                return s;
            }
            (*slot).held_bufs = i + 1;
            if (*buf).host.is_null() {
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
        if r.golden_hash == 0 || (*slot).config.flags & npu::NO_SELFTEST != 0 {
            return npu::OK;
        }
        let (inputs, all) = counts(slot);
        let mut state = r.golden_seed;
        for i in 0..inputs {
            let (host, n) = port(slot, i);
            for k in 0..n {
                state = region::golden_next(state);
                *host.add(k) = (state >> 24) as u8;
            }
        }
        let mut s = submit(slot, (*slot).config.selftest_ns);
        if s == npu::OK {
            s = end(slot);
        }
        if s != npu::OK {
            return s;
        }
        let mut hash = region::GOLDEN_BEGIN;
        for i in inputs..all {
            let (host, n) = port(slot, i);
            for k in 0..n {
                hash = region::golden_add(hash, *host.add(k));
            }
        }
        if hash == r.golden_hash {
            npu::OK
        } else {
            npu::SELFTEST
        }
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
        (&raw mut (*slot).table).write_bytes(0, 1);
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
        if (*slot).busy == JOB {
            overrun(slot);
            if (*slot).busy == JOB {
                drain(slot, (*slot).deadline_ns);
            }
        }
        for i in 0..(*slot).held_bufs as usize {
            there(b.buf_put)(b.self_, (*slot).model, (*slot).bufs.add(i));
        }
        there(b.unload)(b.self_, (*slot).model);
        (*slot).loaded = 0;
        (*slot).busy = IDLE;
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
