//! Reading regions of a descriptor safely. [`Descriptor::parse`] has checked all distances before.

use crate::descriptor::RawDescriptor;
use crate::reader::{At, Descriptor};
use crate::region::*;
use core::mem::offset_of;

/// A region that an accelerator computes.
#[derive(Clone, Copy)]
pub struct Region<'a>(At<'a>);

/// A port of a region.
#[derive(Clone, Copy)]
pub struct RegionPort<'a>(At<'a>);

impl<'a> Descriptor<'a> {
    /// Region `k`, in the order in which they run.
    pub fn region(&self, k: u32) -> Option<Region<'a>> {
        let first = self.0.rel(offset_of!(RawDescriptor, offloads))?;
        let step = first.u32(offset_of!(RawRegion, struct_size)) as usize;
        let at = first.at.checked_add((k as usize).checked_mul(step)?)?;
        (k < self.num_regions()).then_some(Region(At {
            blob: first.blob,
            at,
        }))
    }

    /// All regions in order.
    pub fn regions(&self) -> impl Iterator<Item = Region<'a>> + use<'a> {
        let d = *self;
        (0..self.num_regions()).filter_map(move |k| d.region(k))
    }

    pub(crate) fn regions_fit(&self) -> bool {
        (0..self.num_regions()).all(|k| {
            self.region(k)
                .is_some_and(|r| r.check() && r.end_layer() <= self.num_layers())
        })
    }
}

impl<'a> Region<'a> {
    /// The region whose record begins at `at` of a blob. `None` if it is damaged or of another major.
    pub fn parse(blob: &'a [u8], at: usize) -> Option<Region<'a>> {
        let r = Region(At { blob, at });
        r.check().then_some(r)
    }

    fn check(&self) -> bool {
        let size = self.u32_at(offset_of!(RawRegion, struct_size)) as usize;
        let inside = (self.0.at.checked_add(size)).is_some_and(|end| end <= self.0.blob.len());
        let texts = [
            offset_of!(RawRegion, backend),
            offset_of!(RawRegion, target),
            offset_of!(RawRegion, name),
        ];
        size >= size_of::<RawRegion>()
            && inside
            && self.npu_abi() >> 16 == NPU_ABI_MAJOR
            && texts.iter().all(|o| self.0.checked_text(*o).is_some())
            && self.num_inputs() <= self.num_ports()
            && self.first_layer() <= self.end_layer()
            && self.spans_fit()
            && self.ports().all(|p| p.check())
    }

    fn spans_fit(&self) -> bool {
        let Some(payload) = self.span(
            offset_of!(RawRegion, payload),
            self.u64_at(offset_of!(RawRegion, payload_bytes)),
        ) else {
            return false;
        };
        let inside = |offset, bytes: u64| {
            let Some(part) = self.span(offset, bytes) else {
                return false;
            };
            part.is_empty()
                || payload.as_ptr_range().start <= part.as_ptr_range().start
                    && part.as_ptr_range().end <= payload.as_ptr_range().end
        };
        let ports = u64::from(self.num_ports()) * size_of::<RawRegionPort>() as u64;
        let relocs = u64::from(self.num_relocs()) * size_of::<RawReloc>() as u64;
        inside(offset_of!(RawRegion, ports), ports)
            && inside(offset_of!(RawRegion, relocs), relocs)
            && inside(offset_of!(RawRegion, cmd), self.cmd_bytes())
            && inside(offset_of!(RawRegion, cst), self.cst_bytes())
    }

    fn u32_at(&self, offset: usize) -> u32 {
        self.0.u32(offset)
    }
    fn u64_at(&self, offset: usize) -> u64 {
        self.0.u64(offset)
    }

    // `bytes` bytes from where the distance refers to.
    fn span(&self, offset: usize, bytes: u64) -> Option<&'a [u8]> {
        if bytes == 0 {
            return Some(&[]);
        }
        let at = self.0.rel(offset)?.at;
        self.0
            .blob
            .get(at..at.checked_add(usize::try_from(bytes).ok()?)?)
    }

    /// Its record where it lies: what drivers are given. It is aligned if the blob is.
    pub fn as_raw(&self) -> *const RawRegion {
        self.0.blob.as_ptr().wrapping_add(self.0.at).cast()
    }
    /// Version of the accelerators' side of the ABI it was compiled for.
    pub fn npu_abi(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, npu_abi))
    }
    /// Name of the driver.
    pub fn backend(&self) -> &'a str {
        self.0.text(offset_of!(RawRegion, backend))
    }
    /// What its commands are for.
    pub fn target(&self) -> &'a str {
        self.0.text(offset_of!(RawRegion, target))
    }
    /// Its name, for people.
    pub fn name(&self) -> &'a str {
        self.0.text(offset_of!(RawRegion, name))
    }
    /// SHA-256 of [`Region::payload`].
    pub fn digest(&self) -> [u8; 32] {
        self.0
            .bytes(offset_of!(RawRegion, digest))
            .unwrap_or_default()
    }
    /// Ports, relocations, commands and constants.
    pub fn payload(&self) -> &'a [u8] {
        self.span(
            offset_of!(RawRegion, payload),
            self.u64_at(offset_of!(RawRegion, payload_bytes)),
        )
        .unwrap_or_default()
    }
    /// [`REQUIRED`].
    pub fn flags(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, flags))
    }
    /// Number of ports.
    pub fn num_ports(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, num_ports))
    }
    /// How many of them are inputs; inputs stand first.
    pub fn num_inputs(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, num_inputs))
    }
    /// Number of relocations.
    pub fn num_relocs(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, num_relocs))
    }
    fn cmd_bytes(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, cmd_bytes))
    }
    fn cst_bytes(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, cst_bytes))
    }
    /// Commands.
    pub fn cmd(&self) -> &'a [u8] {
        self.span(offset_of!(RawRegion, cmd), self.cmd_bytes())
            .unwrap_or_default()
    }
    /// Constants.
    pub fn cst(&self) -> &'a [u8] {
        self.span(offset_of!(RawRegion, cst), self.cst_bytes())
            .unwrap_or_default()
    }
    /// Bytes of working memory.
    pub fn arena_bytes(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, arena_bytes))
    }
    /// Bytes of fast working memory.
    pub fn fast_bytes(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, fast_bytes))
    }
    /// Beginning of the golden inputs.
    pub fn golden_seed(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, golden_seed))
    }
    /// Digest of the golden outputs; none: no self-test.
    pub fn golden_hash(&self) -> Option<u64> {
        Some(self.u64_at(offset_of!(RawRegion, golden_hash))).filter(|&h| h != 0)
    }
    /// First layer of the twin.
    pub fn first_layer(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, first_layer))
    }
    /// The layer behind the twin's last.
    pub fn end_layer(&self) -> u32 {
        self.u32_at(offset_of!(RawRegion, end_layer))
    }
    /// Multiply-accumulate operations.
    pub fn macs(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, macs))
    }
    /// What the compiler thinks a run takes, in nanoseconds.
    pub fn est_ns(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, est_ns))
    }
    /// When a run has failed, in nanoseconds; 0 = the runtime's own limit.
    pub fn timeout_ns(&self) -> u64 {
        self.u64_at(offset_of!(RawRegion, timeout_ns))
    }
    /// Port `i`.
    pub fn port(&self, i: u32) -> Option<RegionPort<'a>> {
        let at = self
            .0
            .item(offset_of!(RawRegion, ports), i, size_of::<RawRegionPort>())?;
        (i < self.num_ports()).then_some(RegionPort(at))
    }
    /// All ports, inputs first.
    pub fn ports(&self) -> impl Iterator<Item = RegionPort<'a>> + use<'a> {
        let r = *self;
        (0..self.num_ports()).filter_map(move |i| r.port(i))
    }
}

impl RegionPort<'_> {
    fn check(&self) -> bool {
        self.0.u32(offset_of!(RawRegionPort, struct_size)) as usize == size_of::<RawRegionPort>()
            && self.dir() <= OUT
            && self.rank() <= 6
            && usize::try_from(self.bytes()).is_ok()
    }
    fn byte(&self, offset: usize) -> u8 {
        self.0.bytes::<1>(offset).unwrap_or_default()[0]
    }
    /// [`IN`] or [`OUT`].
    pub fn dir(&self) -> u8 {
        self.byte(offset_of!(RawRegionPort, dir))
    }
    /// Element type, ONNX's number.
    pub fn dtype(&self) -> u8 {
        self.byte(offset_of!(RawRegionPort, dtype))
    }
    /// [`ROW_MAJOR`] or [`CHANNELS_LAST`].
    pub fn layout(&self) -> u8 {
        self.byte(offset_of!(RawRegionPort, layout))
    }
    /// Memory of the device it lies in.
    pub fn memory(&self) -> u8 {
        self.byte(offset_of!(RawRegionPort, memory))
    }
    /// Where in that memory.
    pub fn offset(&self) -> u64 {
        self.0.u64(offset_of!(RawRegionPort, offset))
    }
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.0.u64(offset_of!(RawRegionPort, bytes))
    }
    /// Number of dimensions.
    pub fn rank(&self) -> u32 {
        self.0.u32(offset_of!(RawRegionPort, rank))
    }
    /// Dimension `i`; 1 behind the rank.
    pub fn dim(&self, i: u32) -> u32 {
        match i < self.rank() && i < 6 {
            true => self.0.u32(offset_of!(RawRegionPort, dims) + 4 * i as usize),
            false => 1,
        }
    }
    /// Real number = scale * (integer - zero point); a scale of 0 is not known.
    pub fn quant(&self) -> (f32, i32) {
        (
            f32::from_bits(self.0.u32(offset_of!(RawRegionPort, scale))),
            self.0.i32(offset_of!(RawRegionPort, zero_point)),
        )
    }
}
