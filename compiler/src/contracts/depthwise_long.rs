//! `depthwise_long`: tiles of a depthwise convolution of bytes for machines whose products are longer than their factors.
//!
//! NEON without extensions multiplies eight bytes by eight bytes, which gives eight words, or four words by four, which are added to four 32-bit
//! lanes. Products of bytes are half the work where several fit a word together: `flush` says after which elements of the window a word's sum is
//! added to its lane. Whoever packs weights has proved that none overflows.
//!
//! A tile is one row of what it is in [`super::depthwise_tile`], and so are the arguments of a call. Elements outside of the image count as what the number
//! `outside` of a call says, whose products what sums begin with makes up for. Channels are done in blocks of `vectors` vectors; the last block of a call ends with the last channel,
//! and so overlaps the one before where channels are no whole blocks. A call has a block at least.
//!
//! W is i32: for each block the numbers that sums begin with, then for each element of the window the weights of the block's channels in order, as
//! bytes or as words.

use super::depthwise_tile::{Call, Geometry};
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, Callee, ExprId, Func, Ty};
use crate::loops::tail::Tail;

/// The contract.
pub static DEPTHWISE_LONG: Contract = Contract {
    name: "depthwise_long",
    doc: "Tiles of a depthwise convolution of bytes by products longer than their factors, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// What a tile is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Pixels, window and border; one row of pixels.
    pub at: Geometry,
    /// What is done with a sum.
    pub tail: Tail,
    /// Lanes of a vector.
    pub lanes: i64,
    /// Vectors of a block of channels: 2 or 4.
    pub vectors: i64,
    /// How weights are stored: I8, or I16 where bytes do not hold them.
    pub w_type: DType,
    /// Bit `t`: what words hold after element `t` of the window is added to lanes. The last element's bit is set. Of bytes only.
    pub flush: i64,
    /// How X is stored: U8 or I8.
    pub x_type: DType,
    /// Whether elements outside of the image count: with `more`, they are not 0.
    pub outside: bool,
    /// What is added to every element before it is multiplied: -128 makes bytes without a sign such with one.
    pub more: i64,
    /// How results are stored.
    pub out_type: DType,
}

impl Shape {
    /// Channels of a block.
    pub fn block(&self) -> i64 {
        self.vectors * self.lanes
    }
    /// Parts of a lane of `outside`.
    pub fn parts(&self) -> i64 {
        4 / self.w_type.size() as i64
    }
    /// Elements of a window.
    pub fn taps(&self) -> i64 {
        self.at.kernel[0] * self.at.kernel[1]
    }
    /// i32 of the weights of a block for one element of the window.
    pub fn each(&self) -> i64 {
        self.block() * self.w_type.size() as i64 / 4
    }
    /// i32 of a block's weights and beginnings.
    pub fn packed(&self) -> i64 {
        self.block() + self.taps() * self.each()
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let own = [
            ("lanes", self.lanes),
            ("vectors", self.vectors),
            ("w_type", i64::from(self.w_type.onnx())),
            ("flush", self.flush),
            ("x_type", i64::from(self.x_type.onnx())),
            ("outside", i64::from(self.outside)),
            ("more", self.more),
            ("out_type", i64::from(self.out_type.onnx())),
        ];
        tile.callee(self.at.to_shape(&own, &self.tail))
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Shape> {
        let find = |name: &str| callee.get(name);
        let dtype = |name: &str| DType::from_onnx(i32::try_from(find(name)?).ok()?);
        let s = Shape {
            at: Geometry::of(callee)?,
            tail: Tail::of_shape(&callee.shape)?,
            lanes: find("lanes")?,
            vectors: find("vectors")?,
            w_type: dtype("w_type")?,
            flush: find("flush")?,
            x_type: dtype("x_type")?,
            outside: find("outside")? != 0,
            more: find("more")?,
            out_type: dtype("out_type")?,
        };
        let sane = s.lanes == 4
            && matches!(s.vectors, 2 | 4)
            && s.at.rows == 1
            && (1..=MOST_TAPS).contains(&s.taps())
            && s.flush >> (s.taps() - 1) == 1
            && matches!(s.w_type, DType::I8 | DType::I16)
            && matches!(s.x_type, DType::U8 | DType::I8)
            && matches!(s.out_type, DType::F32 | DType::I32 | DType::U8 | DType::I8);
        sane.then_some(s)
    }
}

/// Elements of a window at most: bits of `flush`.
pub const MOST_TAPS: i64 = 62;

/// After which elements of a window words must be added to lanes, factors being bytes with signs: as late as no word can overflow before, for none of
/// the channels. `weights`: bytes, `[channels][taps]`. The last element's bit is always set.
pub fn flush(weights: &[i64], taps: usize) -> i64 {
    let channels = weights.len() / taps.max(1);
    let mut sums = vec![(0i64, 0i64); channels];
    let mut out = 0;
    for t in 0..taps {
        let of = |c: usize| {
            let w = weights[c * taps + t];
            (w * -128).min(w * 127)..=(w * -128).max(w * 127)
        };
        let fits = |(c, (least, most)): (usize, &(i64, i64))| {
            least + of(c).start() >= i64::from(i16::MIN)
                && most + of(c).end() <= i64::from(i16::MAX)
        };
        if t > 0 && !sums.iter().enumerate().all(fits) {
            out |= 1 << (t - 1);
            sums.fill((0, 0));
        }
        for (c, s) in sums.iter_mut().enumerate() {
            *s = (s.0 + of(c).start(), s.1 + of(c).end());
        }
    }
    out | 1 << (taps.max(1) - 1)
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Shape::of(callee)?;
    let mut b = Builder::new("depthwise_long");
    let call = Call::of(&mut b, &s.at, &s.tail, [s.x_type, DType::I32, s.out_type]);
    call.each(&mut b, |b, of| {
        let (first, within) = block_of(b, &s, of.channel, call.channels);
        let start = b.add(first, within);
        let start = b.load(call.w, start);
        let sum = b.var(start);
        for (ky, kx) in (0..s.at.kernel[0]).flat_map(|y| (0..s.at.kernel[1]).map(move |x| (y, x))) {
            let w = weight(b, &s, call.w, first, within, ky * s.at.kernel[1] + kx);
            let x = call.element(b, of, ky, kx);
            let x = match x {
                None if !s.outside => continue,
                None => call.zero(b, s.parts(), s.x_type),
                Some(x) => x,
            };
            let more = b.int(Ty::I32, s.more);
            let x = b.add(x, more);
            let product = b.mul(x, w);
            let old = b.get(sum);
            let new = b.add(old, product);
            b.set(sum, new);
        }
        b.get(sum)
    });
    Some(b.finish())
}

/// Where the block of channel `c` begins in W, and which of its channels that is.
fn block_of(b: &mut Builder, s: &Shape, c: ExprId, channels: ExprId) -> (ExprId, ExprId) {
    let size = b.i(s.block());
    let block = b.div(c, size);
    // The last block begins so that it ends with the last channel.
    let last = b.sub(channels, size);
    let first = b.mul(block, size);
    let first = b.bin(BinOp::Min, first, last);
    let within = b.sub(c, first);
    let packed = b.i(s.packed());
    (b.mul(block, packed), within)
}

/// The weight of element `tap` of the window for channel `within` of the block that begins at `first`.
fn weight(
    b: &mut Builder,
    s: &Shape,
    w: crate::loops::ir::BufId,
    first: ExprId,
    within: ExprId,
    tap: i64,
) -> ExprId {
    let bits = 8 * s.w_type.size() as i64;
    let per = b.i(32 / bits);
    let before = b.i(s.block() + tap * s.each());
    let at = b.add(first, before);
    let lane = b.div(within, per);
    let at = b.add(at, lane);
    let lane = b.load(w, at);
    let part = b.rem(within, per);
    let part = b.cast(Ty::I32, part);
    let (size, most) = (b.int(Ty::I32, bits), b.int(Ty::I32, 32 - bits));
    let right = b.mul(part, size);
    let left = b.sub(most, right);
    let up = b.bin(BinOp::Shl, lane, left);
    b.bin(BinOp::Shr, up, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest and the least sum of words that inputs can make before each flush.
    fn fits(weights: &[i64], taps: usize, flush: i64) -> bool {
        weights.chunks(taps).all(|w| {
            let (mut least, mut most) = (0i64, 0i64);
            w.iter().enumerate().all(|(t, &w)| {
                least += (w * 127).min(w * -128);
                most += (w * 127).max(w * -128);
                let good = least >= -0x8000 && most <= 0x7fff;
                if flush >> t & 1 == 1 {
                    (least, most) = (0, 0);
                }
                good
            })
        })
    }

    #[test]
    fn words_never_overflow() {
        // Pairs of the largest weights fit, but not two of -128.
        assert_eq!(flush(&[127; 9], 9), 0b1_1010_1010);
        assert_eq!(flush(&[-128; 9], 9), 0b1_1111_1111);
        assert_eq!(flush(&[20; 9], 9), 0b1_0000_0000);
        // Another channel's weights count as well.
        assert_eq!(flush(&[1, 1, 1, 127, 127, 127], 3), 0b110);
        let mut r = 7u32;
        let mut next = || {
            r = r.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            i64::from((r >> 16) as u8 as i8) >> (r >> 29)
        };
        for taps in [1, 3, 9, 25, 49] {
            for channels in [1, 5, 40] {
                let weights: Vec<i64> = (0..channels * taps).map(|_| next()).collect();
                let found = flush(&weights, taps);
                assert!(fits(&weights, taps, found), "{weights:?} {found:b}");
                // Without a flush but the last, sums fit only where it has no other.
                assert_eq!(
                    fits(&weights, taps, 1 << (taps - 1)),
                    found == 1 << (taps - 1)
                );
            }
        }
    }
}
