//! Operations on quarters of vectors, as they are written down.

use super::*;

impl Machine<'_> {
    /// Does one of them.
    pub(super) fn quads(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::LoadQuad {
                d,
                at,
                part,
                elem,
                tmp,
            } => {
                if d == tmp {
                    return wrong("a load's second register is its first");
                }
                let four = self.load(&at, elem, Lanes::First(4))?;
                let mut to = match part {
                    0 => [UNDEFINED; MAX_LANES],
                    _ => self.v(d)?,
                };
                let first = usize::from(part) * 4;
                to[first..first + 4].copy_from_slice(&four[..4]);
                self.set(tmp, [UNDEFINED; MAX_LANES])?;
                self.set(d, to)
            }
            Op::SplatReal { d, at } => {
                let pair = [self.word(&at, 0)?, self.word(&at, 4)?];
                self.set(d, std::array::from_fn(|i| pair[i % 2]))
            }
            Op::StoreQuad { s, at, part } => {
                let from = self.v(s)?;
                let mut four = [UNDEFINED; MAX_LANES];
                let first = usize::from(part) * 4;
                four[..4].copy_from_slice(&from[first..first + 4]);
                self.store(four, &at, Elem::W32, Lanes::First(4))
            }
            Op::PackBytes { v, signed } => {
                if (0..4).any(|i| v[..i].contains(&v[i])) {
                    return wrong("the registers of bytes that are packed are not four");
                }
                let all = [self.v(v[0])?, self.v(v[1])?, self.v(v[2])?, self.v(v[3])?];
                let byte = |x: u32| match signed {
                    true => (x as i32).clamp(-128, 127) as u8,
                    false => (x as i32).clamp(0, 255) as u8,
                };
                for d in v {
                    self.set(d, [UNDEFINED; MAX_LANES])?;
                }
                let lane = |i: usize| u32::from_le_bytes(all.map(|x| byte(x[i])));
                self.set(v[0], std::array::from_fn(lane))
            }
            Op::Transpose { v, tmp } => {
                let all = [v[0], v[1], v[2], v[3], tmp[0], tmp[1]];
                if (0..6).any(|i| all[..i].contains(&all[i])) {
                    return wrong("the registers of a transposition are not six");
                }
                let old = [self.v(v[0])?, self.v(v[1])?, self.v(v[2])?, self.v(v[3])?];
                for t in tmp {
                    self.set(t, [UNDEFINED; MAX_LANES])?;
                }
                for (c, d) in v.into_iter().enumerate() {
                    self.set(d, std::array::from_fn(|i| old[i % 4][i / 4 * 4 + c]))?;
                }
                Ok(())
            }
            Op::PairWords { lo, a, b } => {
                if lo == a || lo == b || a == b {
                    return wrong("the registers of words that are paired are not three");
                }
                let (x, y) = (self.v(a)?, self.v(b)?);
                let n = self.isa.lanes;
                // The words of a lane, and those of the other vector.
                let word = |v: &Vector, i: usize| v[i / 2] >> (16 * (i % 2)) & 0xffff;
                let half = |second: usize| -> Vector {
                    std::array::from_fn(|i| {
                        if i >= n {
                            return UNDEFINED;
                        }
                        if self.isa.by_lane {
                            // Words of one in the first half, of the other in the second.
                            let from = if i < n / 2 { &x } else { &y };
                            return from[i % (n / 2) + second * (n / 2)];
                        }
                        let at = i / 4 * 8 + second * 4 + i % 4;
                        word(&x, at) | word(&y, at) << 16
                    })
                };
                let (low, high) = (half(0), half(1));
                self.set(lo, low)?;
                self.set(a, high)
            }
            Op::PickBytes { d, at, order } => {
                if d == order {
                    return wrong("bytes are picked in place of their order");
                }
                let (bytes, order) = (self.bytes::<16>(&at, 0)?, self.v(order)?);
                let pick = |o: u8| match o {
                    128.. => 0,
                    o => bytes[usize::from(o % 16)],
                };
                self.set(
                    d,
                    order.map(|o| u32::from_le_bytes(o.to_le_bytes().map(pick))),
                )
            }
            Op::PairBytes { d, ref a, b } => {
                let (w, x) = (self.src(a)?, self.v(b)?);
                let limited = |w: [u8; 2], x: [u8; 2]| {
                    let product = |i: usize| i32::from(w[i] as i8) * i32::from(x[i]);
                    (product(0) + product(1)).clamp(-0x8000, 0x7fff) as i16
                };
                let words = |w: u32, x: u32| {
                    let ([a, b, c, d], [e, f, g, h]) = (w.to_le_bytes(), x.to_le_bytes());
                    let [low, high] = [limited([a, b], [e, f]), limited([c, d], [g, h])];
                    u32::from(low as u16) | u32::from(high as u16) << 16
                };
                self.set(d, std::array::from_fn(|i| words(w[i], x[i])))
            }
            _ => wrong("no operation on quarters"),
        }
    }
}
