//! Rows of bytes brought together, as they are written down; and whether any lane holds.

use super::*;

impl Machine<'_> {
    /// Whether any lane holds.
    pub(super) fn any(&mut self, d: X, a: V) -> Result<Option<Label>> {
        let any = self.v(a)?.iter().take(self.isa.lanes).any(|l| *l != 0);
        self.set_x(d, i64::from(any))
    }
    /// Does one of these operations.
    pub(super) fn mixing(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::LoadWords { d, at, signed } => {
                let elem = if signed { Elem::I8x2 } else { Elem::U8x2 };
                self.set(d, self.load(&at, elem, Lanes::All)?)
            }
            Op::MixBytes { lo, a, b } => {
                if lo == a || lo == b || a == b {
                    return wrong("the registers of bytes that are paired are not three");
                }
                let (x, y) = (self.v(a)?, self.v(b)?);
                let n = self.isa.lanes;
                let byte = |v: &Vector, i: usize| v[i / 4] >> (8 * (i % 4)) & 0xff;
                let half = |second: usize| -> Vector {
                    std::array::from_fn(|i| {
                        if i >= n {
                            return UNDEFINED;
                        }
                        let at = i / 4 * 16 + second * 8 + i % 4 * 2;
                        byte(&x, at)
                            | byte(&y, at) << 8
                            | byte(&x, at + 1) << 16
                            | byte(&y, at + 1) << 24
                    })
                };
                let (low, high) = (half(0), half(1));
                self.set(lo, low)?;
                self.set(a, high)
            }
            Op::PairRows {
                lo,
                a,
                b,
                signed,
                second,
            } => {
                if lo == a || lo == b || a == b {
                    return wrong("the registers of rows that are paired are not three");
                }
                let (x, y) = (self.v(a)?, self.v(b)?);
                let n = self.isa.lanes;
                let word = |v: &Vector, i: usize| {
                    let byte = v[i / 4].to_le_bytes()[i % 4];
                    let word = match signed {
                        true => byte as i8 as u16,
                        false => u16::from(byte),
                    };
                    u32::from(word)
                };
                let half = |first: usize| -> Vector {
                    std::array::from_fn(|i| match i < n {
                        true => word(&x, first + i) | word(&y, first + i) << 16,
                        false => UNDEFINED,
                    })
                };
                let (low, high) = (half(0), half(n));
                self.set(lo, low)?;
                match second {
                    true => self.set(a, high),
                    false => Ok(()),
                }
            }
            Op::InOrder { v, n, tmp } => {
                let all = [v[0], v[1], v[2], v[3], tmp[0], tmp[1]];
                let own = |i: usize| i < usize::from(n) || i >= 4;
                let twice = |i: usize| (0..i).any(|k| own(k) && own(i) && all[k] == all[i]);
                if !matches!(n, 2 | 4) || (0..6).any(twice) {
                    return wrong("the registers that are brought into order are not distinct");
                }
                let (n, lanes) = (usize::from(n), self.isa.lanes);
                let mut old = [[UNDEFINED; MAX_LANES]; 4];
                for (to, v) in old.iter_mut().zip(v).take(n) {
                    *to = self.v(v)?;
                }
                for (k, d) in v.into_iter().enumerate().take(n) {
                    let of = |l: usize| {
                        let e = k * lanes + l;
                        let (quarter, rest) = (e / (4 * n), e % (4 * n));
                        old[rest / 4][4 * quarter + rest % 4]
                    };
                    let new = |l| if l < lanes { of(l) } else { UNDEFINED };
                    self.set(d, std::array::from_fn(new))?;
                }
                for t in tmp {
                    self.set(t, [UNDEFINED; MAX_LANES])?;
                }
                Ok(())
            }
            _ => wrong("no operation that mixes"),
        }
    }
}
