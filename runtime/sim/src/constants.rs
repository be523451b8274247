//! Gathering the constants of a program: each part aligned, equal parts once.

use crate::format::{Elem, Ints, Place, Reals, Space};
use std::collections::HashMap;

/// Alignment of a part, in bytes.
pub const ALIGN: usize = 16;

/// Constants under way. Offsets are final; [`Constants::finish`] gives the bytes.
#[derive(Default, Debug)]
pub struct Constants {
    bytes: Vec<u8>,
    known: HashMap<Vec<u8>, u32>,
}

impl Constants {
    /// No constants yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Offset of these bytes.
    pub fn bytes(&mut self, part: &[u8]) -> u32 {
        if let Some(&at) = self.known.get(part) {
            return at;
        }
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let at = self.bytes.len() as u32;
        self.bytes.extend(part);
        self.known.insert(part.to_vec(), at);
        at
    }
    /// Weights, or anything else in bytes, as a place.
    pub fn place(&mut self, elem: Elem, part: &[u8]) -> Place {
        Place {
            space: Space::Const,
            elem,
            offset: self.bytes(part),
        }
    }
    /// Real numbers.
    pub fn reals(&mut self, all: &[f64]) -> Reals {
        let part: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        Reals {
            offset: self.bytes(&part),
            count: all.len() as u32,
        }
    }
    /// Whole numbers of 32 bits.
    pub fn ints(&mut self, all: &[i32]) -> Ints {
        let part: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ints {
            offset: self.bytes(&part),
            count: all.len() as u32,
        }
    }
    /// Whole numbers of 64 bits: an offset.
    pub fn longs(&mut self, all: &[i64]) -> u32 {
        let part: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(&part)
    }
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
