//! Numbers of channels in fewer bytes; and `numbers`, the tile that writes them out.
//!
//! Multipliers and offsets of results, what sums begin with, and sums whose result is one too large are 4 bytes for each channel, and say less. Offsets stand on
//! top of a large number (`RequantizeLarge` and its kin) and differ from it by whole numbers that a byte holds. Multipliers are one number over whole numbers
//! of 24 bits, or those of another line times one number: the pass `singles` looked for such. Sums that begin anywhere need two or three bytes, those that are
//! looked at are those of few channels. What does not fit is listed. How it is stored stands in front, so that layers that differ in this alone share
//! their code.

use super::quotients;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::{Contract, Extra, LowerCx, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Arg, BinOp, BufId, Callee, ExprId, Func, LoopKind, Ty, UnOp};
use std::collections::HashMap;

/// The tile's contract. Its shape says what is written (`to`, f32 or i32) and whether that is multiples of other numbers (`of`). Arguments: pointers to what is
/// stored, to the other numbers if there are, and to memory for as many; then how many, at least [`LEAST`].
///
/// Stored is, without any gap: a float; a whole number; how many numbers are listed (two bytes); how many bytes each number has, 0 to 3; what is done with it,
/// [`AS_IT_IS`] to [`TIMES`]; words, or bytes where numbers have one; for numbers of three a byte each; nothing, where the bytes before
/// are odd; the list, a place (two bytes) and a number each. Whole numbers have no sign, and the one in front is added to each.
pub static NUMBERS: Contract = Contract {
    name: "numbers",
    doc: "Numbers of 32 bits from fewer.",
    reference: Some(reference),
    rows: &[],
};

/// Fewer numbers are not stored so.
pub const LEAST: usize = 16;
/// Bytes in front of the numbers.
pub const HEAD: i64 = 12;
/// Bytes of a listed number.
pub const LISTED: i64 = 6;
/// The whole number is what is written, bit by bit.
pub const AS_IT_IS: u8 = 0;
/// It is made a float.
pub const FLOAT: u8 = 1;
/// The float in front is divided by it.
pub const DIVIDES: u8 = 2;
/// It is made a float and multiplied by that.
pub const TIMES: u8 = 3;

/// What a call takes of code, about: so much has to be saved.
const CALL: usize = 32;
/// One of so many numbers may be listed, or fewer.
const FEW: usize = 5;

/// Numbers of a constant as they are stored.
struct Stored {
    by: f32,
    on: i64,
    size: usize,
    how: u8,
    /// Whole numbers above `on`, one for each; none where the size is 0.
    more: Vec<u32>,
    listed: Vec<usize>,
    multiple: bool,
}

impl Stored {
    fn bytes(&self) -> usize {
        HEAD as usize + self.more.len() * self.size + LISTED as usize * self.listed.len()
    }
    /// Whole numbers, where there is one, in so many bytes each, on top of whichever leaves the fewest out.
    fn whole(numbers: &[Option<i64>], size: usize, how: u8, by: f32) -> Option<Stored> {
        let room = 1i64 << (8 * size);
        let mut sorted: Vec<i64> = numbers.iter().flatten().copied().collect();
        sorted.sort_unstable();
        let within = |on: i64| {
            sorted.partition_point(|v| *v < on + room) - sorted.partition_point(|v| *v < on)
        };
        let skipped = [0, sorted.len() / 64, sorted.len() / 16, sorted.len() / FEW];
        let starts = skipped.into_iter().filter_map(|n| sorted.get(n).copied());
        let ends = skipped
            .into_iter()
            .filter_map(|n| sorted.iter().rev().nth(n));
        let on = starts
            .chain(ends.map(|e| e - room + 1))
            .max_by_key(|on| within(*on))?;
        i32::try_from(on).ok()?;
        let more = numbers
            .iter()
            .map(|v| v.map(|v| v - on).filter(|m| (0..room).contains(m)));
        let listed = more.clone().enumerate().filter(|m| m.1.is_none());
        Some(Stored {
            by,
            on,
            size,
            how,
            listed: listed.map(|m| m.0).collect(),
            more: more.map(|m| m.unwrap_or(1) as u32).collect(),
            multiple: false,
        })
    }
    /// The same in one, two or three bytes.
    fn wholes(numbers: &[Option<i64>], how: u8, by: f32) -> impl Iterator<Item = Stored> {
        (1..4)
            .filter_map(move |size| Stored::whole(numbers, size, how, by))
            .collect::<Vec<_>>()
            .into_iter()
    }
    /// Numbers of which most are one.
    fn rare(bits: &[i32]) -> Option<Stored> {
        let mut times: HashMap<i32, usize> = HashMap::new();
        for b in bits {
            *times.entry(*b).or_default() += 1;
        }
        let (most, _) = times.into_iter().max_by_key(|(b, n)| (*n, *b))?;
        let listed = bits.iter().enumerate().filter(|(_, b)| **b != most);
        Some(Stored {
            by: 0.0,
            on: i64::from(most),
            size: 0,
            how: AS_IT_IS,
            more: vec![],
            listed: listed.map(|b| b.0).collect(),
            multiple: false,
        })
    }
    /// Floats that are others times one number.
    fn multiple(floats: &[f32], of: &[f32]) -> Option<Stored> {
        let pairs = || of.iter().zip(floats);
        let ratio = |(m, t): (&f32, &f32)| (f64::from(*t) / f64::from(*m)) as f32;
        let mut ratios: Vec<f32> = pairs().map(ratio).filter(|r| r.is_normal()).collect();
        ratios.sort_by(f32::total_cmp);
        let middle = *ratios
            .get(ratios.len() / 2)
            .filter(|_| of.len() == floats.len())?;
        let near = [0, 1, -1, 2, -2].map(|ulps| {
            let by = f32::from_bits(middle.to_bits().wrapping_add_signed(ulps));
            let others = pairs().enumerate().filter(|(_, (m, t))| {
                !t.is_normal() || !m.is_normal() || (*m * by).to_bits() != t.to_bits()
            });
            (by, others.map(|p| p.0).collect::<Vec<usize>>())
        });
        let (by, listed) = near.into_iter().min_by_key(|n| n.1.len())?;
        Some(Stored {
            by,
            on: 0,
            size: 0,
            how: AS_IT_IS,
            more: vec![],
            listed,
            multiple: true,
        })
    }
    /// The constant.
    fn pack(&self, words: &[[u8; 4]]) -> Vec<u8> {
        let mut out = vec![];
        out.extend(self.by.to_le_bytes());
        out.extend((self.on as i32).to_le_bytes());
        out.extend((self.listed.len() as u16).to_le_bytes());
        out.extend([self.size as u8, self.how]);
        match self.size {
            1 => out.extend(self.more.iter().map(|m| *m as u8)),
            _ => out.extend(self.more.iter().flat_map(|m| (*m as u16).to_le_bytes())),
        }
        if self.size == 3 {
            out.extend(self.more.iter().map(|m| (m >> 16) as u8));
        }
        out.resize(out.len().next_multiple_of(2), 0);
        for at in &self.listed {
            out.extend((*at as u16).to_le_bytes());
            out.extend(words[*at]);
        }
        out
    }
}

/// Floats as multiples of one power of two, and that; `None`: they have too many bits for one.
fn units(floats: &[f32]) -> Option<(f32, Vec<Option<i64>>)> {
    let unit = (1..24).map(|bits| 1.0 / (1u32 << bits) as f32);
    // A zero with a sign would lose it.
    let of = |v: &f32, unit: f32| {
        let whole = f64::from(*v) / f64::from(unit);
        let known = whole.abs() < (1 << 24) as f64 && (whole != 0.0 || v.is_sign_positive());
        (known && libm::rint(whole) == whole).then_some(Some(whole as i64))
    };
    let mut all = unit.filter_map(|unit| {
        let numbers = floats.iter().map(|v| of(v, unit)).collect::<Option<_>>()?;
        Some((unit, numbers))
    });
    all.next()
}

/// A constant of a layer as it is stored, and how it is written out.
pub struct Numbers {
    tile: &'static Tile,
    dtype: DType,
    n: i64,
    packed: Vec<u8>,
    of: Option<BufId>,
}

impl Numbers {
    /// A constant in fewer bytes, in models where these count; `None`: it stays as it is. `other`: numbers of which it may be multiples, and where they are.
    pub fn of(cx: &LowerCx, t: &Tensor, other: Option<(&Tensor, BufId)>) -> Option<Numbers> {
        let tile = cx
            .machine
            .tile(NUMBERS.name)
            .filter(|_| cx.counts_bytes())?;
        let sizes = LEAST..1 << 16;
        let words = t.data.as_chunks::<4>().0;
        if !matches!(t.dtype, DType::F32 | DType::I32) || !sizes.contains(&t.len()) {
            return None;
        }
        let best = Numbers::best(t, other.map(|o| o.0))?;
        Some(Numbers {
            tile,
            dtype: t.dtype,
            n: t.len() as i64,
            packed: best.pack(words),
            of: other.map(|o| o.1).filter(|_| best.multiple),
        })
    }
    fn best(t: &Tensor, other: Option<&Tensor>) -> Option<Stored> {
        let words = t.data.as_chunks::<4>().0;
        let bits: Vec<i32> = words.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let mut all: Vec<Stored> = Stored::rare(&bits).into_iter().collect();
        if t.dtype == DType::I32 {
            let whole: Vec<_> = bits.iter().map(|b| Some(i64::from(*b))).collect();
            all.extend(Stored::wholes(&whole, AS_IT_IS, 0.0));
        } else {
            let floats = t.to_f32s()?;
            // As bits: a zero with a sign would lose it.
            let whole = |v: &f32| {
                let whole = *v as i64;
                ((whole as f32).to_bits() == v.to_bits() && whole.abs() <= 1 << 24).then_some(whole)
            };
            let whole: Vec<_> = floats.iter().map(whole).collect();
            all.extend(Stored::wholes(&whole, FLOAT, 0.0));
            if let Some((unit, numbers)) = units(&floats) {
                all.extend(Stored::wholes(&numbers, TIMES, unit));
            }
            if let Some((over, numbers)) = quotients::of(&floats) {
                all.extend(Stored::wholes(&numbers, DIVIDES, over));
            }
            let other = other.and_then(|o| o.to_f32s());
            all.extend(other.and_then(|o| Stored::multiple(&floats, &o)));
        }
        let few = |s: &Stored| s.listed.len() * FEW <= t.len();
        let best = all.into_iter().filter(few).min_by_key(Stored::bytes)?;
        (best.bytes() + CALL <= t.data.len()).then_some(best)
    }
    /// Memory with the numbers, which the layer writes first.
    pub fn write(self, cx: &mut LowerCx, name: &str) -> Result<BufId> {
        let count = self.packed.len() as i64;
        let stored = Tensor::new(DType::U8, vec![count], self.packed.into())?;
        // As long as it is at most: layers that differ in this alone share their code.
        let most = Dim::Fixed(HEAD + 4 * self.n);
        let buf = cx.b.buffer("numbers", DType::U8, most, Access::Read);
        cx.extras.push((buf, Extra::Const(stored)));
        let stored = buf;
        let wide = cx.scratch_per_thread(name, self.dtype, Dim::Fixed(self.n));
        let of = i64::from(self.of.is_some());
        let shape = [("to", i64::from(self.dtype.onnx())), ("of", of)];
        let callee = self
            .tile
            .callee(shape.map(|(n, v)| (n.to_string(), v)).to_vec());
        let offset = cx.b.i(0);
        let bufs = [Some(stored), self.of, Some(wide)].into_iter().flatten();
        let mut args: Vec<Arg> = bufs.map(|buf| Arg::Ptr { buf, offset }).collect();
        args.push(Arg::Int(cx.b.i(self.n)));
        cx.b.call(callee, args);
        Ok(wide)
    }
}

/// A whole number of so many bytes from one on.
fn bytes(b: &mut Builder, x: BufId, at: ExprId, count: i64) -> ExprId {
    let mut all = b.int(Ty::I32, 0);
    for k in 0..count {
        let place = ex!(b; at + {b.i(k)});
        let v = b.load(x, place);
        let by = b.int(Ty::I32, 8 * k);
        let v = b.bin(BinOp::Shl, v, by);
        all = b.bin(BinOp::Or, all, v);
    }
    all
}

fn reference(callee: &Callee) -> Option<Func> {
    let to = DType::from_onnx(i32::try_from(callee.get("to")?).ok()?)?;
    let of = callee.get("of")? != 0;
    let mut b = Builder::new(NUMBERS.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", DType::U8, unknown.clone(), Access::Read);
    let of = of.then(|| b.buffer("of", DType::F32, unknown.clone(), Access::Read));
    let out = b.buffer("out", to, unknown, Access::Write);
    let n = b.int_param();
    let b = &mut b;
    let own = |b: &mut Builder, bits: ExprId| match to {
        DType::F32 => b.un(UnOp::FromBits, bits),
        _ => bits,
    };
    let head = [(0, 4), (4, 4), (8, 2), (10, 1), (11, 1)];
    let [by, on, listed, size, how] = head.map(|(at, count)| {
        let at = b.i(at);
        let v = bytes(b, x, at, count);
        b.let_(v)
    });
    let by = b.un(UnOp::FromBits, by);
    let size = b.cast(Ty::I64, size);
    b.for_(n, LoopKind::Seq, |b, i| {
        if let Some(of) = of {
            let v = b.load(of, i);
            let v = b.mul(v, by);
            return b.store(out, i, v);
        }
        let head = b.i(HEAD);
        let (one, two, three) = (b.i(1), b.i(2), b.i(3));
        // The bytes of each: whether there are, and where.
        let words = b.min(size, two);
        let low = ex!(b; head + (i * words));
        let second = ex!(b; low + one);
        let high = ex!(b; (head + (n * two)) + i);
        let mut v = on;
        let parts = [(one, low, 0), (two, second, 8), (three, high, 16)];
        for (least, at, shift) in parts {
            let there = b.le(least, size);
            let none = b.int(Ty::I32, 0);
            let part = b.load_if(x, there, at, none);
            let by = b.int(Ty::I32, shift);
            let part = b.bin(BinOp::Shl, part, by);
            v = b.add(v, part);
        }
        let bits = own(b, v);
        let v = match to {
            DType::F32 => {
                let float = b.cast(Ty::F32, v);
                let quotient = b.div(by, float);
                let product = b.mul(by, float);
                let [divides, floats, times] = [DIVIDES, FLOAT, TIMES].map(|h| {
                    let h = b.int(Ty::I32, i64::from(h));
                    b.eq(how, h)
                });
                let v = b.select(floats, float, bits);
                let v = b.select(times, product, v);
                b.select(divides, quotient, v)
            }
            _ => bits,
        };
        b.store(out, i, v);
    });
    let (two, one) = (b.i(2), b.i(1));
    let all = ex!(b; n * size);
    let whole = ex!(b; (all + one) / two);
    let list = ex!(b; {b.i(HEAD)} + (whole * two));
    let list = b.let_(list);
    let listed = b.cast(Ty::I64, listed);
    b.for_(listed, LoopKind::Seq, |b, i| {
        let at = ex!(b; list + (i * {b.i(LISTED)}));
        let place = bytes(b, x, at, 2);
        let place = b.cast(Ty::I64, place);
        let at = b.add(at, two);
        let bits = bytes(b, x, at, 4);
        let v = own(b, bits);
        b.store(out, place, v);
    });
    let done = std::mem::replace(b, Builder::new(""));
    Some(done.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a constant is stored: bytes of a number, what is done with it, how many are listed.
    fn of(t: &Tensor, other: Option<&Tensor>) -> Option<(usize, u8, usize)> {
        let s = Numbers::best(t, other)?;
        let words = t.data.as_chunks::<4>().0;
        assert_eq!(s.pack(words).len(), s.bytes().next_multiple_of(2));
        Some((s.size, s.how, s.listed.len()))
    }
    fn floats(f: impl Fn(i32) -> f32) -> Tensor {
        let all: Vec<f32> = (0..100).map(f).collect();
        Tensor::f32(&[100], &all)
    }
    fn whole(f: impl Fn(i32) -> i32) -> Tensor {
        let all: Vec<f64> = (0..100).map(|i| f64::from(f(i))).collect();
        Tensor::from_f64s(DType::I32, &[100], &all)
    }

    #[test]
    fn constants_take_the_fewest_bytes() {
        const LARGE: f32 = 12_582_912.0;
        assert_eq!(
            of(&floats(|i| LARGE - 40.0 + i as f32), None),
            Some((1, FLOAT, 0))
        );
        let one = floats(|i| LARGE + i as f32 + if i == 9 { 700.0 } else { 0.0 });
        assert_eq!(of(&one, None), Some((1, FLOAT, 1)));
        assert_eq!(
            of(&floats(|i| i as f32 * 0.875 + 3.0), None),
            Some((2, TIMES, 0))
        );
        let quotient = |i: i32| quotients::quotient(1.0, 9_000_001 + i64::from(i * 70_001));
        assert_eq!(of(&floats(quotient), None), Some((3, DIVIDES, 0)));
        let others = floats(|i| if i == 50 { -7.3 } else { quotient(i) * 0.01 });
        let multiple = Numbers::best(&others, Some(&floats(quotient))).expect("multiples");
        assert!(multiple.multiple && multiple.listed == [50]);
        assert_eq!(
            of(&whole(|i| i * 300 - 70_000), None),
            Some((2, AS_IT_IS, 0))
        );
        assert_eq!(of(&whole(|i| i * 30_000), None), Some((3, AS_IT_IS, 0)));
        let few = whole(|i| if i % 50 == 3 { i } else { i32::MIN });
        assert_eq!(of(&few, None), Some((0, AS_IT_IS, 2)));
    }

    #[test]
    fn what_needs_its_bits_stays() {
        let wild = floats(|i| {
            f32::from_bits(0x3f80_0001 + (i as u32).wrapping_mul(77_777_777) % (1 << 30))
        });
        assert_eq!(of(&wild, None), None);
        assert_eq!(of(&whole(|i| i.wrapping_mul(77_777_777)), None), None);
        // Zeros with a sign, and what is no number, are listed.
        let zeros = floats(|i| if i == 3 { -0.0 } else { i as f32 });
        assert_eq!(of(&zeros, None), Some((1, FLOAT, 1)));
        let none = floats(|i| if i == 3 { f32::NAN } else { i as f32 });
        assert_eq!(of(&none, None), Some((1, FLOAT, 1)));
    }
}
