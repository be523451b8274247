//! Bytes that refer to each other by distances, written piece by piece.

use crate::base::diag::{Diagnostic, Result};
use std::collections::BTreeMap;

/// The descriptor under way.
#[derive(Default)]
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    texts: BTreeMap<String, usize>,
}

impl Blob {
    // Space for `size` bytes of zeros, aligned to 8.
    pub(super) fn reserve(&mut self, size: usize) -> usize {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at + size, 0);
        at
    }
    // The same at a multiple of `align`; fails past 2 GiB.
    pub(super) fn reserve_at(&mut self, size: usize, align: usize) -> Result<usize> {
        let at = self.bytes.len().next_multiple_of(align);
        let end = at.checked_add(size).filter(|e| *e < i32::MAX as usize);
        self.bytes.resize(end.ok_or_else(too_large)?, 0);
        Ok(at)
    }
    // Overwrites what was reserved.
    pub(super) fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }
    pub(super) fn rel(&mut self, field: usize, to: usize) -> Result<()> {
        let distance = i32::try_from(to as i64 - field as i64).map_err(|_| too_large())?;
        self.put(field, &distance.to_le_bytes());
        Ok(())
    }
    // Space for `n` items that the field refers to; nothing at all for none.
    pub(super) fn array(&mut self, field: usize, n: usize, size: usize) -> Result<usize> {
        if n == 0 {
            return Ok(0);
        }
        let bytes = n.checked_mul(size).filter(|b| *b < i32::MAX as usize);
        let at = self.reserve(bytes.ok_or_else(too_large)?);
        self.rel(field, at)?;
        Ok(at)
    }
    // Text that the field refers to. A zero byte would end it early, so one in a name is shown as a replacement character.
    pub(super) fn text(&mut self, field: usize, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let text = text.replace('\0', "\u{fffd}");
        let at = match self.texts.get(&text) {
            Some(at) => *at,
            None => {
                let at = self.bytes.len();
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.push(0);
                self.texts.insert(text, at);
                at
            }
        };
        self.rel(field, at)
    }
}

pub(super) fn count(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| too_large())
}

fn too_large() -> Box<Diagnostic> {
    Diagnostic::limit(
        "ONNX006",
        "the model's descriptor would be larger than 2 GiB",
    )
}
