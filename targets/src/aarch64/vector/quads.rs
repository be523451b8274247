//! Quarters of vectors, of which a NEON register is one.

use super::Emit;
use crate::aarch64::simd::V3;
use crate::vector::ir::*;

impl Emit<'_> {
    /// An operation on quarters.
    pub(super) fn quads(&mut self, op: Op) {
        match op {
            Op::LoadQuad { d, at, elem, .. } => self.load(d, at, elem, Lanes::All),
            Op::StoreQuad { s, at, .. } => self.store(s, at, Elem::W32, Lanes::All, s),
            Op::Transpose { v, tmp } => {
                let [a, b, c, d] = v.map(|v| self.v(v));
                let [t, u] = tmp.map(|v| self.v(v));
                self.v3(V3::Zip1S, t, a, b);
                self.v3(V3::Zip2S, u, a, b);
                self.v3(V3::Zip1S, a, c, d);
                self.v3(V3::Zip2S, c, c, d);
                self.v3(V3::Zip2D, b, t, a);
                self.v3(V3::Zip1D, a, t, a);
                self.v3(V3::Zip2D, d, u, c);
                self.v3(V3::Zip1D, c, u, c);
            }
            Op::PairWords { lo, a, b } => {
                let (lo, a, b) = (self.v(lo), self.v(a), self.v(b));
                self.v3(V3::Zip1D, lo, a, b);
                self.v3(V3::Zip2D, a, a, b);
            }
            _ => {}
        }
    }
}
