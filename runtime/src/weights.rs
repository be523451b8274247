//! Weights that are not in the object: checking a weights file, and with `std` reading one.
//!
//! The format is in `onnxc_abi::weights`. A file can be mapped and used where it lies; this crate maps nothing itself.

use crate::{Error, session::aligned, sha256::sha256};
use onnxc_abi::reader::Descriptor;
use onnxc_abi::status;
use onnxc_abi::weights::{DATA_OFFSET, WeightsHeader};

/// A whole weights file in memory, its header checked.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    header: WeightsHeader,
    data: &'a [u8],
}

impl<'a> Weights<'a> {
    /// Takes the bytes of a whole file and checks its header, not its contents: cheap, nothing is read in.
    ///
    /// # Safety
    /// The file was written by onnxc and is undamaged, which [`Weights::verify`] can show: generated code trusts indices
    /// and offsets that it finds in its weights. If the file is mapped, nobody changes it.
    pub unsafe fn new(file: &'a [u8]) -> Result<Weights<'a>, Error> {
        let header = WeightsHeader::from_bytes(file).ok_or(Error::NotWeights)?;
        if header.abi_version != onnxc_abi::ABI_VERSION
            || header.data_offset as usize != DATA_OFFSET
        {
            return Err(Error::NotWeights);
        }
        let size = usize::try_from(header.data_size).map_err(|_| Error::NotWeights)?;
        let end = DATA_OFFSET.checked_add(size).ok_or(Error::NotWeights)?;
        let data = file.get(DATA_OFFSET..end).ok_or(Error::NotWeights)?;
        Ok(Weights { header, data })
    }

    /// Compares the contents with the digest in the header; reads all of them.
    pub fn verify(&self) -> Result<(), Error> {
        if sha256(self.data) == self.header.content_digest {
            Ok(())
        } else {
            Err(Error::Damaged)
        }
    }

    /// Whether a model can use them: layout, size, and alignment in memory.
    pub fn fits(&self, model: &Descriptor<'_>) -> Result<(), Error> {
        let same = self.header.layout_digest == model.layout_digest()
            && self.header.data_size == model.weights_size();
        if !same {
            return Err(Error::OtherLayout);
        }
        if !aligned(self.data.as_ptr().cast(), model.weights_align() as usize) {
            return Err(Error::Status(status::MISALIGNED));
        }
        Ok(())
    }

    /// The weights.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
    /// What the file says about itself.
    pub fn header(&self) -> &WeightsHeader {
        &self.header
    }
}

/// A weights file that was read into memory of its own.
#[cfg(feature = "std")]
pub struct WeightsFile {
    pages: Vec<Line>,
    len: usize,
}

// What the alignment of read files is made of; generated code asks for 64 bytes at most.
#[cfg(feature = "std")]
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[cfg(feature = "std")]
impl WeightsFile {
    /// Reads a file, checks that its weights are undamaged and that the model can use them.
    pub fn open(
        path: impl AsRef<std::path::Path>,
        model: &Descriptor<'_>,
    ) -> Result<WeightsFile, Error> {
        use std::io::Read;
        let io = |e: std::io::Error| Error::Io(e.kind());
        let mut file = std::fs::File::open(path).map_err(io)?;
        // No larger than a file of this model: a wrong file must not fill the memory.
        let expected = model.weights_size().saturating_add(DATA_OFFSET as u64);
        let len = file.metadata().map_err(io)?.len();
        if len != expected {
            return Err(Error::OtherLayout);
        }
        let len = usize::try_from(len).map_err(|_| Error::NotWeights)?;
        let mut pages = vec![Line([0; 64]); len.div_ceil(64)];
        // SAFETY: lines are bytes without padding, and there are enough of them.
        let bytes =
            unsafe { core::slice::from_raw_parts_mut(pages.as_mut_ptr().cast::<u8>(), len) };
        file.read_exact(bytes).map_err(io)?;
        let file = WeightsFile { pages, len };
        file.weights()?.verify()?;
        file.weights()?.fits(model)?;
        Ok(file)
    }

    /// What it holds.
    pub fn weights(&self) -> Result<Weights<'_>, Error> {
        // SAFETY: lines are bytes without padding, and there are enough of them.
        let bytes =
            unsafe { core::slice::from_raw_parts(self.pages.as_ptr().cast::<u8>(), self.len) };
        // SAFETY: the digest is checked before anybody gets the file.
        unsafe { Weights::new(bytes) }
    }
}
