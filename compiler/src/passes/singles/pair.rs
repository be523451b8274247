//! The same for the sum of two rescaled bytes: all 65,536 pairs are looked at.

/// An f64 form: `clamp(round((a - za) * ma + (b - zb) * mb) + zero, lo, hi)`, halves to even; `a` and `b` from their least to their largest.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Pair {
    pub a: (i64, i64),
    pub b: (i64, i64),
    pub za: i64,
    pub zb: i64,
    pub ma: f64,
    pub mb: f64,
    pub zero: i64,
    pub lo: i64,
    pub hi: i64,
}

impl Pair {
    /// Multipliers and offset of `near(fma(a, ma, fma(b, mb, offset)))` that gives the same within the bounds.
    pub fn single(&self) -> Option<[f32; 3]> {
        let numbers = [self.ma, self.mb];
        if numbers
            .iter()
            .any(|m| !m.is_finite() || libm::fabs(*m) > 1e6)
        {
            return None;
        }
        let ulps = |v: f32, by: i32| f32::from_bits(v.to_bits().wrapping_add_signed(by));
        let near = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)];
        near.into_iter().find_map(|(a, b)| {
            let (ma, mb) = (ulps(self.ma as f32, a), ulps(self.mb as f32, b));
            self.offset(ma, mb).map(|o| [ma, mb, o])
        })
    }
    /// The same in two parts, high and low: multipliers of `a` and `b` and offset, whose high parts are so short that their sums are exact. What is near a tie
    /// is told apart by the low parts, so nearly all pairs of scales have this form.
    pub fn parts(&self) -> Option<[[f32; 2]; 3]> {
        let offset = self.zero as f64 - self.za as f64 * self.ma - self.zb as f64 * self.mb;
        let all = [self.ma, self.mb, offset];
        if all.iter().any(|m| !m.is_finite()) {
            return None;
        }
        let largest = |(lo, hi): (i64, i64)| lo.abs().max(hi.abs()) as f64;
        let most = largest(self.a) * libm::fabs(self.ma)
            + largest(self.b) * libm::fabs(self.mb)
            + libm::fabs(offset)
            + 1.0;
        // Sums of high parts stay below 2^23 of these units; results are whole numbers of no more.
        let unit = libm::exp2(libm::ceil(libm::log2(most)) - 23.0);
        if !(1e-9..=1.0).contains(&unit) {
            return None;
        }
        let parts = all.map(|m| {
            let high = libm::rint(m / unit) * unit;
            [high as f32, (m - high) as f32]
        });
        let exact = |v: f32| f64::from(v) / unit == libm::rint(f64::from(v) / unit);
        (parts.iter().all(|p| exact(p[0])) && self.holds_in(&parts)).then_some(parts)
    }
    /// Whether the form in parts gives the same for every pair: as `RescaledSumParts` computes it.
    fn holds_in(&self, &[ma, mb, o]: &[[f32; 2]; 3]) -> bool {
        (self.b.0..=self.b.1).all(|b| {
            let high = libm::fmaf(b as f32, mb[0], o[0]);
            let low = libm::fmaf(b as f32, mb[1], o[1]);
            let rb = (b - self.zb) as f64 * self.mb;
            (self.a.0..=self.a.1).all(|a| {
                let high = libm::fmaf(a as f32, ma[0], high);
                let low = libm::fmaf(a as f32, ma[1], low);
                let whole = libm::rintf(high);
                let single = whole + libm::rintf((high - whole) + low);
                let real = libm::rint((a - self.za) as f64 * self.ma + rb) + self.zero as f64;
                let (lo, hi) = (self.lo as f64, self.hi as f64);
                f64::from(single).clamp(lo, hi) == real.clamp(lo, hi)
            })
        })
    }
    /// The offset that goes with multipliers.
    fn offset(&self, ma: f32, mb: f32) -> Option<f32> {
        let offset = self.zero as f64 - self.za as f64 * self.ma - self.zb as f64 * self.mb;
        // What rounding the multipliers moves in the middle of the bytes, the offset takes back.
        let middle = |(lo, hi): (i64, i64)| (lo + hi) as f64 / 2.0;
        let moved =
            middle(self.a) * (f64::from(ma) - self.ma) + middle(self.b) * (f64::from(mb) - self.mb);
        let near = (offset - moved) as f32;
        let ulps = [0, 1, -1, 2, -2, 3, -3];
        let offsets = ulps.map(|u| match near == 0.0 {
            true => u as f32 * 1e-6,
            false => f32::from_bits(near.to_bits().wrapping_add_signed(u)),
        });
        offsets.into_iter().find(|&o| self.holds(ma, mb, o))
    }
    fn holds(&self, ma: f32, mb: f32, o: f32) -> bool {
        (self.b.0..=self.b.1).all(|b| {
            let inner = libm::fmaf(b as f32, mb, o);
            let rb = (b - self.zb) as f64 * self.mb;
            (self.a.0..=self.a.1).all(|a| {
                let single = libm::rintf(libm::fmaf(a as f32, ma, inner));
                let real = libm::rint((a - self.za) as f64 * self.ma + rb) + self.zero as f64;
                let (lo, hi) = (self.lo as f64, self.hi as f64);
                f64::from(single).clamp(lo, hi) == real.clamp(lo, hi)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_pairs_have_a_form() {
        let mut found = 0;
        for i in 0..20 {
            let p = Pair {
                a: (0, 255),
                b: (-128, 127),
                za: 3,
                zb: -5,
                // Scales of real layers are no short fractions, which have ties.
                ma: 0.2 * libm::sqrt(f64::from(i) + 2.0),
                mb: 0.3 * libm::cbrt(f64::from(i) + 3.0),
                zero: 120,
                lo: 0,
                hi: 255,
            };
            found += usize::from(p.single().is_some());
        }
        assert!(found >= 14, "{found}");
    }

    #[test]
    fn all_pairs_have_a_form_in_parts() {
        for i in 0..20 {
            let p = Pair {
                a: (0, 255),
                b: (-128, 127),
                za: 3,
                zb: -5,
                ma: 0.2 * libm::sqrt(f64::from(i) + 2.0),
                mb: -0.3 * libm::cbrt(f64::from(i) + 3.0),
                zero: 120,
                lo: 0,
                hi: 255,
            };
            assert!(p.parts().is_some(), "{p:?}");
        }
    }

    #[test]
    fn what_differs_is_refused() {
        // Ties on every second sum, and an odd zero point.
        let p = Pair {
            a: (0, 255),
            b: (0, 255),
            za: 0,
            zb: 0,
            ma: 0.5,
            mb: 0.5,
            zero: 1,
            lo: 0,
            hi: 255,
        };
        assert_eq!(p.single(), None);
    }
}
