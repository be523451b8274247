//! Regions of a model that an accelerator computes, as the descriptor's read-only data has them.
//!
//! The descriptor's `offloads` refers to `RawRegion[num_offloads]`, in the order in which they run. As everywhere in the blob, distances are
//! self-relative, nothing needs a relocation, and numbers are little-endian. What a device needs lies in one span, the payload:
//!
//! | part | aligned to |
//! |---|---|
//! | `RawRegionPort[num_ports]`, inputs first | 16 |
//! | `RawReloc[num_relocs]` | 16 |
//! | commands | 16 |
//! | constants | 16 |
//!
//! Gaps are zero, and the digest is SHA-256 of the payload from its first to its last byte. `ports`, `relocs`, `cmd` and `cst` refer into it; a
//! part of no bytes has distance 0.
//!
//! A golden vector is two numbers, however large a region is: the inputs are what [`golden_byte`] says from `golden_seed` on, counted over all inputs in
//! the order of the ports; the outputs, one behind the other, have the digest `golden_hash` ([`golden_hash`]).

use crate::descriptor::Rel;

/// Version of what accelerators see: regions, and the tables of [`crate::npu`]. Majors must be equal; of minors any will do.
pub const NPU_ABI: u32 = NPU_ABI_MAJOR << 16;
/// Changes when a field changes its place or meaning.
pub const NPU_ABI_MAJOR: u32 = 2;

/// Flag: the region has no twin; the run ends with a status where the device can't compute it.
pub const REQUIRED: u32 = 1;
/// All flags of this version: a region with others is refused.
pub const KNOWN_FLAGS: u32 = REQUIRED;

/// Port directions: what the region reads.
pub const IN: u8 = 0;
/// What it writes.
pub const OUT: u8 = 1;

/// How a port lies in memory. Dense, in the order of `dims`.
pub const ROW_MAJOR: u8 = 0;
/// `dims` are batch, channels, then space, as ONNX has them; in memory channels are the last axis. Dense.
pub const CHANNELS_LAST: u8 = 1;

/// Memories of a device, for relocations and ports: constants.
pub const MEM_CONST: u8 = 0;
/// Working memory.
pub const MEM_ARENA: u8 = 1;
/// Fast working memory.
pub const MEM_FAST: u8 = 2;
/// A buffer of the port's own.
pub const MEM_PORT: u8 = 3;

c_struct! {
    /// A tensor that crosses the border of a region.
    RawRegionPort = "onnxc_region_port", 64 {
        /// `sizeof(onnxc_region_port)`.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_REGION_IN` or `_OUT`.
        dir: u8 = "uint8_t dir" @ 4,
        /// Element type: the number in ONNX's `TensorProto.DataType`.
        dtype: u8 = "uint8_t dtype" @ 5,
        /// `ONNXC_REGION_ROW_MAJOR` or `_CHANNELS_LAST`.
        layout: u8 = "uint8_t layout" @ 6,
        /// Memory of the device: `ONNXC_REGION_MEM_PORT`, or another one in which it lies at `offset`.
        memory: u8 = "uint8_t memory" @ 7,
        /// Where in that memory.
        offset: u64 = "uint64_t offset" @ 8,
        /// Its bytes: the product of `dims` times the size of an element.
        bytes: u64 = "uint64_t bytes" @ 16,
        /// Number of dimensions, at most 6.
        rank: u32 = "uint32_t rank" @ 24,
        /// Dimensions as ONNX orders them; those behind `rank` are 1.
        dims: [u32; 6] = "uint32_t dims[6]" @ 28,
        /// Real number = scale * (integer - zero_point); 0 where it is not known.
        scale: f32 = "float scale" @ 52,
        /// The integer that stands for 0.
        zero_point: i32 = "int32_t zero_point" @ 56,
        /// Zero.
        reserved: u32 = "uint32_t reserved" @ 60,
    }
}

c_struct! {
    /// For commands that hold addresses: 64 bits at `at` of the commands become the address of the memory plus `addend`.
    RawReloc = "onnxc_reloc", 16 {
        /// Bytes from the beginning of the commands.
        at: u32 = "uint32_t at" @ 0,
        /// `ONNXC_REGION_MEM_..`; for `_MEM_PORT` plus 256 times the number of the port.
        memory: u32 = "uint32_t memory" @ 4,
        /// What is added.
        addend: i64 = "int64_t addend" @ 8,
    }
}

c_struct! {
    /// A region. Structs of later versions of the same major are longer; the next one lies `struct_size` bytes behind.
    RawRegion = "onnxc_region", 208 {
        /// `sizeof(onnxc_region)`.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_NPU_ABI` it was compiled for.
        npu_abi: u32 = "uint32_t npu_abi" @ 4,
        /// Name of the backend, such as `sim`.
        backend: Rel = "onnxc_rel backend" @ 8,
        /// What the commands are for, such as `sim-256;format-1`: the device must say the same text.
        target: Rel = "onnxc_rel target" @ 12,
        /// SHA-256 of the payload.
        digest: [u8; 32] = "uint8_t digest[32]" @ 16,
        /// Ports, relocations, commands and constants, in one piece.
        payload: Rel = "onnxc_rel payload" @ 48,
        /// `ONNXC_REGION_REQUIRED`.
        flags: u32 = "uint32_t flags" @ 52,
        /// Bytes of the payload.
        payload_bytes: u64 = "uint64_t payload_bytes" @ 56,
        /// `onnxc_region_port[num_ports]`.
        ports: Rel = "onnxc_rel ports" @ 64,
        /// Number of ports: inputs, then outputs.
        num_ports: u32 = "uint32_t num_ports" @ 68,
        /// How many of them are inputs.
        num_inputs: u32 = "uint32_t num_inputs" @ 72,
        /// Number of relocations.
        num_relocs: u32 = "uint32_t num_relocs" @ 76,
        /// `onnxc_reloc[num_relocs]`.
        relocs: Rel = "onnxc_rel relocs" @ 80,
        /// Commands.
        cmd: Rel = "onnxc_rel cmd" @ 84,
        /// Bytes of the commands.
        cmd_bytes: u64 = "uint64_t cmd_bytes" @ 88,
        /// Constants.
        cst: Rel = "onnxc_rel cst" @ 96,
        /// Its name, for people.
        name: Rel = "onnxc_rel name" @ 100,
        /// Bytes of the constants.
        cst_bytes: u64 = "uint64_t cst_bytes" @ 104,
        /// Bytes of working memory that the device needs.
        arena_bytes: u64 = "uint64_t arena_bytes" @ 112,
        /// Bytes of fast working memory.
        fast_bytes: u64 = "uint64_t fast_bytes" @ 120,
        /// What the device's outputs for the golden inputs must have as their digest; 0 = no self-test.
        golden_hash: u64 = "uint64_t golden_hash" @ 128,
        /// Beginning of the golden inputs.
        golden_seed: u32 = "uint32_t golden_seed" @ 136,
        /// First layer of the twin, a number of the descriptor's (of the first level, where there are several).
        first_layer: u32 = "uint32_t first_layer" @ 140,
        /// The layer behind the twin's last.
        end_layer: u32 = "uint32_t end_layer" @ 144,
        /// Zero.
        reserved: u32 = "uint32_t reserved" @ 148,
        /// Multiply-accumulate operations.
        macs: u64 = "uint64_t macs" @ 152,
        /// What the compiler thinks a run takes, in nanoseconds.
        est_ns: u64 = "uint64_t est_ns" @ 160,
        /// When a run has failed, in nanoseconds from its submission; 0 = the runtime's own limit.
        timeout_ns: u64 = "uint64_t timeout_ns" @ 168,
        /// Zero.
        reserved_8: [u64; 4] = "uint64_t reserved_8[4]" @ 176,
    }
}

/// Digest of no bytes.
pub const GOLDEN_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// What digests are multiplied by for each byte.
pub const GOLDEN_PRIME: u64 = 0x100_0000_01b3;

/// The digest of golden outputs, one byte further: FNV-1a of 64 bits (draft-eastlake-fnv, section 2), which begins with [`GOLDEN_BEGIN`].
#[inline]
pub const fn golden_add(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(GOLDEN_PRIME)
}

/// The digest of golden outputs.
pub fn golden_hash(outputs: impl IntoIterator<Item = u8>) -> u64 {
    outputs.into_iter().fold(GOLDEN_BEGIN, golden_add)
}

/// Byte `i` of golden inputs: the highest byte of state `i + 1` of `s -> s * 1664525 + 1013904223` (32 bits), the seed being state 0.
/// This is the meaning; who needs many bytes steps the state ([`golden_next`]).
pub fn golden_byte(seed: u32, i: u64) -> u8 {
    // Steps are affine maps: the i-th power by squaring.
    let (mut mul, mut add, mut n) = (1664525u32, 1013904223u32, i.wrapping_add(1));
    let (mut m, mut a) = (1u32, 0u32);
    while n > 0 {
        if n & 1 == 1 {
            a = mul.wrapping_mul(a).wrapping_add(add);
            m = m.wrapping_mul(mul);
        }
        add = mul.wrapping_mul(add).wrapping_add(add);
        mul = mul.wrapping_mul(mul);
        n >>= 1;
    }
    (seed.wrapping_mul(m).wrapping_add(a) >> 24) as u8
}

/// The next state, whose highest byte is the next one.
#[inline]
pub fn golden_next(state: u32) -> u32 {
    state.wrapping_mul(1664525).wrapping_add(1013904223)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of the draft, appendix C.
    #[test]
    fn digests_are_fnv_1a() {
        let of = |text: &str| golden_hash(text.bytes());
        assert_eq!(of(""), 0xcbf29ce484222325);
        assert_eq!(of("a"), 0xaf63dc4c8601ec8c);
        assert_eq!(of("foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn golden_bytes_are_those_of_the_steps() {
        let mut state = 77;
        for i in 0..300 {
            state = golden_next(state);
            assert_eq!(golden_byte(77, i), (state >> 24) as u8);
        }
    }
}
