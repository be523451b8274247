//! The side file for weights (`--weights file`); its format is in `onnxc_abi::weights`.

use super::info::ModelInfo;
use crate::plan::program::Program;
use onnxc_abi::weights::{DATA_OFFSET, WeightsHeader};

/// Hands out the weights blob piece by piece, gaps filled with zeros.
pub fn each(p: &Program, mut f: impl FnMut(&[u8])) {
    let zeros = [0u8; crate::plan::program::ALIGN as usize];
    let mut at = 0u64;
    for (offset, bytes) in &p.weights {
        f(&zeros[..(*offset - at) as usize]);
        f(bytes);
        at = offset + bytes.len() as u64;
    }
}

/// The whole file.
pub fn file(info: &ModelInfo, p: &Program) -> Vec<u8> {
    let header = WeightsHeader::new(
        info.weights_bytes,
        info.weights_align,
        info.layout_digest,
        info.content_digest,
    );
    let mut out = Vec::with_capacity(DATA_OFFSET + info.weights_bytes as usize);
    out.extend(header.to_bytes());
    out.resize(DATA_OFFSET, 0);
    each(p, |bytes| out.extend_from_slice(bytes));
    out
}
