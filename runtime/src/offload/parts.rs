//! What a driver reads of a region: its parts as slices and texts.

use super::at;
use core::ffi::{CStr, c_char};
use core::slice::from_raw_parts;
use onnxc_abi::region::{RawRegion, RawRegionPort, RawReloc};

/// The parts of a region.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Name of the driver; empty if it is not UTF-8.
    pub backend: &'a str,
    /// What its commands are for.
    pub target: &'a str,
    /// All ports, inputs first.
    pub ports: &'a [RawRegionPort],
    /// How many of them are inputs.
    pub num_inputs: usize,
    /// Relocations.
    pub relocs: &'a [RawReloc],
    /// Commands.
    pub cmd: &'a [u8],
    /// Constants.
    pub cst: &'a [u8],
}

/// Reads a region where it lies.
///
/// # Safety
/// It lies in a descriptor, as those that `load` of a driver is given do, for as long as the parts are used.
pub unsafe fn parts<'a>(region: *const RawRegion) -> Parts<'a> {
    // SAFETY: handed on; distances and counts of a descriptor are right.
    unsafe {
        let r = &*region;
        Parts {
            backend: text(&raw const (*region).backend),
            target: text(&raw const (*region).target),
            ports: from_raw_parts(
                at::<RawRegionPort>(&raw const (*region).ports),
                r.num_ports as usize,
            ),
            num_inputs: r.num_inputs as usize,
            relocs: from_raw_parts(
                at::<RawReloc>(&raw const (*region).relocs),
                r.num_relocs as usize,
            ),
            cmd: from_raw_parts(at::<u8>(&raw const (*region).cmd), r.cmd_bytes as usize),
            cst: from_raw_parts(at::<u8>(&raw const (*region).cst), r.cst_bytes as usize),
        }
    }
}

unsafe fn text<'a>(field: *const i32) -> &'a str {
    // SAFETY: handed on. Distance 0 is a text of no letters: the zero byte that the distance begins with.
    unsafe { CStr::from_ptr(at::<c_char>(field)) }
        .to_str()
        .unwrap_or("")
}
