//! The file that holds a model's weights when they are not in the object (`--weights file`).
//!
//! A header page of 64 KiB, then the weights exactly as the code reads them: a file can be mapped and used as it is, also
//! on kernels with pages of 64 KiB. A model takes any file whose layout digest is its own, so that a retrained model ships
//! as weights alone. All numbers are little-endian.

/// First eight bytes of the file.
pub const MAGIC: [u8; 8] = *b"ONNXCWTS";

/// Where the weights begin: one page of any kernel.
pub const DATA_OFFSET: usize = 65536;

c_struct! {
    /// How a weights file begins; the rest of its first 65536 bytes is zero.
    WeightsHeader = "onnxc_weights_header", 104 {
        /// `"ONNXCWTS"`.
        magic: [u8; 8] = "uint8_t magic[8]" @ 0,
        /// `ONNXC_ABI_VERSION`.
        abi_version: u32 = "uint32_t abi_version" @ 8,
        /// Where the weights begin: 65536.
        data_offset: u32 = "uint32_t data_offset" @ 12,
        /// Bytes of the weights.
        data_size: u64 = "uint64_t data_size" @ 16,
        /// Alignment the weights need in memory.
        data_align: u32 = "uint32_t data_align" @ 24,
        /// Zero.
        reserved: [u32; 3] = "uint32_t reserved[3]" @ 28,
        /// SHA-256 of how the weights are laid out: the one in the model's descriptor.
        layout_digest: [u8; 32] = "uint8_t layout_digest[32]" @ 40,
        /// SHA-256 of the weights.
        content_digest: [u8; 32] = "uint8_t content_digest[32]" @ 72,
    }
}

impl WeightsHeader {
    /// The header of a file of this version.
    pub fn new(
        data_size: u64,
        data_align: u32,
        layout_digest: [u8; 32],
        content_digest: [u8; 32],
    ) -> Self {
        WeightsHeader {
            magic: MAGIC,
            abi_version: crate::ABI_VERSION,
            data_offset: DATA_OFFSET as u32,
            data_size,
            data_align,
            reserved: [0; 3],
            layout_digest,
            content_digest,
        }
    }

    /// The bytes at the beginning of the file; zeros fill it up to [`DATA_OFFSET`].
    pub fn to_bytes(&self) -> [u8; size_of::<WeightsHeader>()] {
        let mut out = [0; size_of::<WeightsHeader>()];
        let parts: [&[u8]; 7] = [
            &self.magic,
            &self.abi_version.to_le_bytes(),
            &self.data_offset.to_le_bytes(),
            &self.data_size.to_le_bytes(),
            &self.data_align.to_le_bytes(),
            &[0; 12],
            &self.layout_digest,
        ];
        let bytes = parts
            .into_iter()
            .chain([&self.content_digest[..]])
            .flatten();
        out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b);
        out
    }

    /// Reads the beginning of a file; `None` if it is too short or not a weights file. Versions and sizes are the reader's
    /// to judge.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(b: &[u8], at: usize) -> Option<[u8; N]> {
            b.get(at..at.checked_add(N)?)?.try_into().ok()
        }
        let magic = take(bytes, 0)?;
        (magic == MAGIC).then_some(())?;
        Some(WeightsHeader {
            magic,
            abi_version: u32::from_le_bytes(take(bytes, 8)?),
            data_offset: u32::from_le_bytes(take(bytes, 12)?),
            data_size: u64::from_le_bytes(take(bytes, 16)?),
            data_align: u32::from_le_bytes(take(bytes, 24)?),
            reserved: [0; 3],
            layout_digest: take(bytes, 40)?,
            content_digest: take(bytes, 72)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip() {
        let h = WeightsHeader::new(1234, 64, [7; 32], [9; 32]);
        let b = h.to_bytes();
        let r = WeightsHeader::from_bytes(&b).unwrap();
        assert_eq!(
            (r.data_size, r.data_align, r.layout_digest, r.content_digest),
            (1234, 64, [7; 32], [9; 32])
        );
        assert!(WeightsHeader::from_bytes(&b[..103]).is_none());
        assert!(WeightsHeader::from_bytes(&[0; 104]).is_none());
    }
}
