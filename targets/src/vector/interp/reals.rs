//! Between i32 lanes and f64 lanes.

use super::*;

impl Machine<'_> {
    /// The i32 lanes of a vector as f64.
    pub(super) fn widen(&mut self, lo: V, hi: V, x: Vector) -> Result<()> {
        if lo == hi {
            return wrong("both halves in one register");
        }
        let half = self.isa.lanes / 2;
        let real = |i: usize| f64::from(x[i] as i32);
        self.set(lo, reals(|i| if i < half { real(i) } else { 0.0 }))?;
        self.set(hi, reals(|i| if i < half { real(half + i) } else { 0.0 }))
    }
    /// The nearest whole numbers of f64 lanes, as i32 lanes.
    pub(super) fn round(&mut self, d: V, lo: V, hi: V) -> Result<()> {
        if lo == hi || lo == d || hi == d {
            return wrong("the registers of a conversion are not three");
        }
        let (l, h, half) = (self.v(lo)?, self.v(hi)?, self.isa.lanes / 2);
        let mut to = [UNDEFINED; MAX_LANES];
        for i in 0..2 * half {
            let x = match i < half {
                true => real(&l, i),
                false => real(&h, i - half),
            };
            let whole = x.round_ties_even();
            if !(-2147483648.0..=2147483647.0).contains(&whole) {
                return wrong(format!("{x} is no i32"));
            }
            to[i] = whole as i32 as u32;
        }
        self.set(lo, [UNDEFINED; MAX_LANES])?;
        self.set(hi, [UNDEFINED; MAX_LANES])?;
        self.set(d, to)
    }
}
