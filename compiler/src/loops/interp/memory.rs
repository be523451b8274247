//! The memory that an interpreted function sees: regions of bytes, and buffers that lie in them.
//!
//! Two buffers may lie in one region and overlap (an operation in place), so a buffer is a place and not a slice.
//! Every access is checked; nothing outside a buffer is ever read or written.

use super::alu::Op;
use crate::base::dtype::DType;
use half::{bf16, f16};

/// Where a buffer lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index of the region.
    pub region: usize,
    /// First byte.
    pub offset: usize,
    /// Number of bytes.
    pub bytes: usize,
}

/// Regions of bytes, and where each buffer parameter lies, in the order of the function's buffers.
#[derive(Default)]
pub struct Memory<'a> {
    regions: Vec<&'a mut [u8]>,
    places: Vec<Place>,
}

impl<'a> Memory<'a> {
    /// No regions and no buffers.
    pub fn new() -> Memory<'a> {
        Memory::default()
    }
    /// Every buffer is a region of its own.
    pub fn of(buffers: Vec<&'a mut [u8]>) -> Memory<'a> {
        let mut m = Memory::new();
        for b in buffers {
            let (region, bytes) = (m.regions.len(), b.len());
            m.regions.push(b);
            m.places.push(Place {
                region,
                offset: 0,
                bytes,
            });
        }
        m
    }
    /// Adds a region and returns its index.
    pub fn region(&mut self, bytes: &'a mut [u8]) -> usize {
        self.regions.push(bytes);
        self.regions.len() - 1
    }
    /// Adds the next buffer. A place that leaves its region is cut down to what is there.
    pub fn buffer(&mut self, place: Place) {
        let size = self.regions.get(place.region).map_or(0, |r| r.len());
        let offset = place.offset.min(size);
        let bytes = place.bytes.min(size - offset);
        self.places.push(Place {
            offset,
            bytes,
            ..place
        });
    }
    /// Forgets the buffers and keeps the regions, for the next function over the same memory.
    pub fn clear_buffers(&mut self) {
        self.places.clear();
    }
    /// The bytes of a region.
    pub fn bytes(&self, region: usize) -> &[u8] {
        self.regions.get(region).map_or(&[], |r| r)
    }
    /// The bytes of a region, to be changed.
    pub fn bytes_mut(&mut self, region: usize) -> &mut [u8] {
        match self.regions.get_mut(region) {
            Some(r) => r,
            None => &mut [],
        }
    }
    /// The buffers.
    pub fn places(&self) -> &[Place] {
        &self.places
    }
    pub(super) fn regions(&mut self) -> &mut [&'a mut [u8]] {
        &mut self.regions
    }
}

/// How an element type is read and written; `None` for types without arithmetic.
pub(super) fn access_ops(d: DType) -> Option<(Op, Op)> {
    Some(match d {
        DType::F32 | DType::I32 | DType::U32 => (Op::Load32, Op::Store32),
        DType::F64 | DType::I64 | DType::U64 => (Op::Load64, Op::Store64),
        DType::F16 => (Op::LoadF16, Op::StoreF16),
        DType::BF16 => (Op::LoadBf16, Op::StoreBf16),
        DType::I16 => (Op::Load16S, Op::Store16),
        DType::U16 => (Op::Load16, Op::Store16),
        DType::I8 => (Op::Load8S, Op::Store8),
        DType::I4 => (Op::Load8S, Op::StoreI4),
        DType::I2 => (Op::Load8S, Op::StoreI2),
        DType::U8
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0 => (Op::Load8, Op::Store8),
        DType::U4 | DType::F4E2M1 => (Op::Load8, Op::StoreU4),
        DType::U2 => (Op::Load8, Op::StoreU2),
        DType::Bool => (Op::LoadBool, Op::Store8),
        DType::String | DType::Complex64 | DType::Complex128 => return None,
    })
}

#[inline(always)]
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[inline(always)]
fn give<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut::<N>()? = value;
    Some(())
}

/// Reads what lies at byte `at`, as its register holds it.
#[inline(always)]
pub(super) fn read(op: Op, bytes: &[u8], at: usize) -> Option<u64> {
    Some(match op {
        Op::Load32 => u32::from_le_bytes(take(bytes, at)?) as u64,
        Op::Load64 => u64::from_le_bytes(take(bytes, at)?),
        Op::Load8 => *bytes.get(at)? as u64,
        Op::Load8S => *bytes.get(at)? as i8 as i32 as u32 as u64,
        Op::LoadBool => (*bytes.get(at)? != 0) as u64,
        Op::Load16 => u16::from_le_bytes(take(bytes, at)?) as u64,
        Op::Load16S => i16::from_le_bytes(take(bytes, at)?) as i32 as u32 as u64,
        // The conversions in plain integer code: those that use the host's instructions treat NaN each in its own way.
        Op::LoadF16 => f16::from_le_bytes(take(bytes, at)?)
            .to_f32_const()
            .to_bits() as u64,
        Op::LoadBf16 => (u16::from_le_bytes(take(bytes, at)?) as u64) << 16,
        _ => return None,
    })
}

/// Writes a register at byte `at`.
#[inline(always)]
pub(super) fn write(op: Op, bytes: &mut [u8], at: usize, v: u64) -> Option<()> {
    match op {
        Op::Store32 => give(bytes, at, (v as u32).to_le_bytes()),
        Op::Store64 => give(bytes, at, v.to_le_bytes()),
        Op::Store8 => give(bytes, at, [v as u8]),
        Op::Store16 => give(bytes, at, (v as u16).to_le_bytes()),
        Op::StoreF16 => give(
            bytes,
            at,
            f16::from_f32_const(f32::from_bits(v as u32)).to_le_bytes(),
        ),
        Op::StoreBf16 => give(
            bytes,
            at,
            bf16::from_f32_const(f32::from_bits(v as u32)).to_le_bytes(),
        ),
        Op::StoreU4 => give(bytes, at, [v as u8 & 15]),
        Op::StoreI4 => give(bytes, at, [((v as i8) << 4 >> 4) as u8]),
        Op::StoreU2 => give(bytes, at, [v as u8 & 3]),
        Op::StoreI2 => give(bytes, at, [((v as i8) << 6 >> 6) as u8]),
        _ => None,
    }
}
