//! Regions made by hand, as the compiler would write them into a descriptor: for tests of drivers.

use std::vec;
use std::vec::Vec;

use onnxc_abi::Region;
use onnxc_abi::region::{MEM_PORT, NPU_ABI, RawRegion, RawRegionPort, golden_hash};

/// What a region is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pack<'a> {
    /// Name of the driver.
    pub backend: &'a str,
    /// What the commands are for.
    pub target: &'a str,
    /// Ports, inputs first.
    pub ports: &'a [RawRegionPort],
    /// How many of them are inputs.
    pub num_inputs: u32,
    /// Commands.
    pub cmd: &'a [u8],
    /// Constants.
    pub cst: &'a [u8],
    /// What the device must answer to the golden inputs; none: no self-test.
    pub golden_out: Option<&'a [u8]>,
    /// Beginning of the golden inputs.
    pub golden_seed: u32,
    /// Time-out, in nanoseconds.
    pub timeout_ns: u64,
    /// Flags of a region.
    pub flags: u32,
}

/// A region in memory of its own, aligned as in a descriptor.
pub struct Packed {
    words: Vec<u128>,
}

/// A port of bytes that lies row-major in a buffer of its own.
pub fn port(dir: u8, dtype: u8, dims: &[u32]) -> RawRegionPort {
    let mut all = [1; 6];
    all.iter_mut().zip(dims).for_each(|(a, d)| *a = *d);
    RawRegionPort {
        struct_size: size_of::<RawRegionPort>() as u32,
        dir,
        dtype,
        layout: 0,
        memory: MEM_PORT,
        offset: 0,
        bytes: dims.iter().map(|&d| u64::from(d)).product(),
        rank: dims.len().min(6) as u32,
        dims: all,
        scale: 0.0,
        zero_point: 0,
        reserved: 0,
    }
}

impl Packed {
    /// Lays a region out. Parts are far below 2 GB.
    pub fn new(p: &Pack) -> Packed {
        let mut out = vec![0u8; size_of::<RawRegion>()];
        let part = |out: &mut Vec<u8>, bytes: &[u8]| -> i32 {
            out.resize(out.len().next_multiple_of(16), 0);
            let at = out.len() as i32;
            out.extend(bytes);
            if bytes.is_empty() { 0 } else { at }
        };
        let text = |out: &mut Vec<u8>, t: &str| part(out, &[t.as_bytes(), &[0]].concat());
        let (backend, target) = (text(&mut out, p.backend), text(&mut out, p.target));
        out.resize(out.len().next_multiple_of(16), 0);
        let begin = out.len();
        let ports: Vec<u8> = p.ports.iter().flat_map(port_bytes).collect();
        let (ports, cmd, cst) = (
            part(&mut out, &ports),
            part(&mut out, p.cmd),
            part(&mut out, p.cst),
        );
        let digest = crate::sha256::sha256(out.get(begin..).unwrap_or_default());
        // Distances count from their own fields.
        let rel = |field: usize, at: i32| if at == 0 { 0 } else { at - field as i32 };
        macro_rules! at {
            ($field:ident, $at:expr) => {
                rel(core::mem::offset_of!(RawRegion, $field), $at)
            };
        }
        let r = RawRegion {
            struct_size: size_of::<RawRegion>() as u32,
            npu_abi: NPU_ABI,
            backend: at!(backend, backend),
            target: at!(target, target),
            digest,
            payload: at!(payload, begin as i32),
            flags: p.flags,
            payload_bytes: (out.len() - begin) as u64,
            ports: at!(ports, ports),
            num_ports: p.ports.len() as u32,
            num_inputs: p.num_inputs,
            num_relocs: 0,
            relocs: 0,
            cmd: at!(cmd, cmd),
            cmd_bytes: p.cmd.len() as u64,
            cst: at!(cst, cst),
            name: 0,
            cst_bytes: p.cst.len() as u64,
            arena_bytes: 0,
            fast_bytes: 0,
            golden_hash: (p.golden_out).map_or(0, |o| golden_hash(o.iter().copied())),
            golden_seed: p.golden_seed,
            first_layer: 0,
            end_layer: 0,
            reserved: 0,
            macs: 0,
            est_ns: 0,
            timeout_ns: p.timeout_ns,
            reserved_8: [0; 4],
        };
        let mut words = vec![0u128; out.len().div_ceil(16)];
        let base = words.as_mut_ptr().cast::<u8>();
        // SAFETY: as many bytes, and room for a region at the beginning, which has no padding that matters.
        unsafe {
            core::ptr::copy_nonoverlapping(out.as_ptr(), base, out.len());
            base.cast::<RawRegion>().write(r);
        }
        Packed { words }
    }

    /// All of it; to damage it, in tests.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: any memory is bytes.
        unsafe {
            core::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.words.len() * 16)
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as before.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().cast(), self.words.len() * 16) }
    }

    /// The region; `None` once it is damaged.
    pub fn region(&self) -> Option<Region<'_>> {
        Region::parse(self.bytes(), 0)
    }
}

fn port_bytes(p: &RawRegionPort) -> [u8; size_of::<RawRegionPort>()] {
    // SAFETY: the struct has no padding.
    unsafe { core::mem::transmute(*p) }
}
