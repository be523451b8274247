//! Writes the regions of a descriptor, as [`onnxc_abi::region`] lays them out: records, and for each a payload with ports, commands and constants in
//! one piece, its digest, and the golden vector.

use super::blob::{Blob, count};
use super::info::ModelInfo;
use crate::base::diag::{Diagnostic, Result};
use crate::base::offload::{Layout, Port, Region};
use onnxc_abi::descriptor::RawDescriptor;
use onnxc_abi::region::*;
use sha2::{Digest, Sha256};
use std::mem::offset_of;

/// Alignment of a payload and its parts.
const ALIGN: usize = 16;

macro_rules! put {
    ($b:ident, $at:ident: $t:ident, $field:ident = $value:expr) => {
        $b.put($at + offset_of!($t, $field), &$value.to_le_bytes())
    };
}

/// Writes all regions behind the descriptor's head.
pub fn write(b: &mut Blob, head: usize, info: &ModelInfo) -> Result<()> {
    let regions = &info.offload.regions;
    put!(b, head: RawDescriptor, num_offloads = count(regions.len())?);
    let size = size_of::<RawRegion>();
    let array = b.array(
        head + offset_of!(RawDescriptor, offloads),
        regions.len(),
        size,
    )?;
    for (k, r) in regions.iter().enumerate() {
        let layers = info.region_layers.get(k).copied().unwrap_or_default();
        record(b, array + k * size, r, layers)?;
    }
    Ok(())
}

fn record(b: &mut Blob, at: usize, r: &Region, layers: (u32, u32)) -> Result<()> {
    put!(b, at: RawRegion, struct_size = count(size_of::<RawRegion>())?);
    put!(b, at: RawRegion, npu_abi = NPU_ABI);
    b.text(at + offset_of!(RawRegion, backend), &r.accelerator)?;
    b.text(at + offset_of!(RawRegion, target), &r.target)?;
    let name = match r.nodes.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{first} .. {last}"),
    };
    b.text(at + offset_of!(RawRegion, name), &name)?;
    let flags = if r.required { REQUIRED } else { 0 };
    put!(b, at: RawRegion, flags = flags);
    put!(b, at: RawRegion, num_ports = count(r.ins.len() + r.outs.len())?);
    put!(b, at: RawRegion, num_inputs = count(r.ins.len())?);
    put!(b, at: RawRegion, cmd_bytes = (r.blob.len() as u64));
    put!(b, at: RawRegion, cst_bytes = (r.constants.len() as u64));
    put!(b, at: RawRegion, arena_bytes = r.device_bytes);
    put!(b, at: RawRegion, first_layer = layers.0);
    put!(b, at: RawRegion, end_layer = layers.1);
    put!(b, at: RawRegion, macs = r.macs);
    put!(b, at: RawRegion, est_ns = r.cost.npu_ns());
    put!(b, at: RawRegion, timeout_ns = r.timeout_ns);

    let start = b.reserve_at(0, ALIGN)?;
    let ports = b.reserve_at(
        (r.ins.len() + r.outs.len()) * size_of::<RawRegionPort>(),
        ALIGN,
    )?;
    let all = r
        .ins
        .iter()
        .map(|p| (IN, p))
        .chain(r.outs.iter().map(|p| (OUT, p)));
    for (k, (dir, p)) in all.enumerate() {
        port(b, ports + k * size_of::<RawRegionPort>(), dir, p)?;
    }
    if !r.ins.is_empty() || !r.outs.is_empty() {
        b.rel(at + offset_of!(RawRegion, ports), ports)?;
    }
    for (field, bytes) in [
        (offset_of!(RawRegion, cmd), &r.blob),
        (offset_of!(RawRegion, cst), &r.constants),
    ] {
        if !bytes.is_empty() {
            let to = b.reserve_at(bytes.len(), ALIGN)?;
            b.put(to, bytes);
            b.rel(at + field, to)?;
        }
    }
    let end = b.bytes.len();
    let digest: [u8; 32] = Sha256::digest(&b.bytes[start..end]).into();
    b.put(at + offset_of!(RawRegion, digest), &digest);
    if end > start {
        b.rel(at + offset_of!(RawRegion, payload), start)?;
    }
    put!(b, at: RawRegion, payload_bytes = ((end - start) as u64));
    if let Some((seed, outs)) = &r.golden {
        put!(b, at: RawRegion, golden_seed = *seed);
        let hash = golden_hash(outs.iter().flatten().copied());
        put!(b, at: RawRegion, golden_hash = hash);
    }
    Ok(())
}

fn port(b: &mut Blob, at: usize, dir: u8, p: &Port) -> Result<()> {
    let wrong = || Diagnostic::internal("a port of a region has sizes that don't fit");
    let mut dims = p.ty.fixed_shape().ok_or_else(wrong)?;
    if dims.len() > 6 {
        return Err(wrong());
    }
    let layout = match p.layout {
        Layout::Plain => ROW_MAJOR,
        Layout::ChannelsLast => CHANNELS_LAST,
    };
    // The record has the sizes as ONNX orders them.
    if p.layout == Layout::ChannelsLast && dims.len() > 1 {
        let channels = dims.pop().ok_or_else(wrong)?;
        dims.insert(1, channels);
    }
    put!(b, at: RawRegionPort, struct_size = count(size_of::<RawRegionPort>())?);
    put!(b, at: RawRegionPort, dir = dir);
    put!(b, at: RawRegionPort, dtype = (p.ty.dtype.onnx() as u8));
    put!(b, at: RawRegionPort, layout = layout);
    put!(b, at: RawRegionPort, memory = MEM_PORT);
    put!(b, at: RawRegionPort, bytes = p.bytes());
    put!(b, at: RawRegionPort, rank = count(dims.len())?);
    for k in 0..6 {
        let size = dims.get(k).copied().unwrap_or(1);
        let size = u32::try_from(size).map_err(|_| wrong())?;
        b.put(
            at + offset_of!(RawRegionPort, dims) + 4 * k,
            &size.to_le_bytes(),
        );
    }
    if let Some((scale, zero)) = p.quant {
        put!(b, at: RawRegionPort, scale = scale);
        put!(b, at: RawRegionPort, zero_point = zero);
    }
    Ok(())
}
