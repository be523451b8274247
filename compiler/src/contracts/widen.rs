//! Numbers of channels that are stored in fewer bytes, and written out when a layer begins.
//!
//! What sums begin with, multipliers and offsets of results are 4 bytes for each channel, and say less. Offsets stand on top of a large number
//! (`RequantizeLarge` and its kin) and differ from it by whole numbers that a byte holds mostly. What sums begin with needs 17 to 20 bits, multipliers of a
//! layer often 24 as they lie close together. Sums whose result is one too large are those of few channels: the others have a number that no sum is. A layer
//! that reads such numbers often enough stores them so, and writes them out once: what kernels read stays as it is.

use super::numbers::Numbers;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, LoopKind, Ty, UnOp};
use std::collections::HashMap;

/// Saving fewer bytes is not worth a loop that others share.
const FEW: usize = 80;
/// The same of a loop that holds numbers of its layer.
const FEW_OF_OWN: usize = 448;
/// Weights that are read for fewer rows are not written out as words.
const ROWS: i64 = 128;
/// A layer with so many results for each number, or more, does not feel that it is written out.
const OFTEN: i64 = 16;
/// One of so many numbers, or fewer, may differ from a common one: they are written one by one.
const RARE: usize = 16;
/// The same of a loop over few of them.
const FEW_OF_RARE: usize = 256;

/// Numbers of 32 bits in fewer.
#[derive(Debug, PartialEq)]
pub struct Narrow {
    /// F32 or I32.
    dtype: DType,
    n: i64,
    form: Form,
}

#[derive(Debug, PartialEq)]
enum Form {
    /// Floats that are whole numbers on top of another one.
    Whole { on: f32, less: Tensor },
    /// Bits that are a number, what `low` holds (a word), and 65536 times what `high` does (a byte), if there is any.
    Parts {
        on: i32,
        low: Tensor,
        high: Option<Tensor>,
    },
    /// The bits of most, where others lie, and theirs.
    Rare {
        most: i32,
        places: Tensor,
        others: Tensor,
    },
}

/// Tables that hold the parts of numbers, as buffers of a layer.
pub struct Parts {
    dtype: DType,
    on: i32,
    low: BufId,
    high: Option<BufId>,
}

/// Whole numbers in the smallest type that has them all; `None`: 16 bits are too few.
fn smallest(values: &[i64]) -> Option<Tensor> {
    let types = [
        (DType::U8, 0, 255),
        (DType::I8, -128, 127),
        (DType::I16, -32768, 32767),
    ];
    let holds = |(_, lo, hi): &(DType, i64, i64)| values.iter().all(|v| (lo..=hi).contains(&v));
    let (dtype, ..) = types.into_iter().find(holds)?;
    let values: Vec<f64> = values.iter().map(|v| *v as f64).collect();
    Some(Tensor::from_f64s(dtype, &[values.len() as i64], &values))
}

impl Form {
    fn tables(&self) -> Vec<&Tensor> {
        match self {
            Form::Whole { less, .. } => vec![less],
            Form::Parts { low, high, .. } => std::iter::once(low).chain(high).collect(),
            Form::Rare { places, others, .. } => vec![places, others],
        }
    }
    fn bytes(&self) -> usize {
        self.tables().iter().map(|t| t.data.len()).sum()
    }
    fn whole(floats: &[f32], on: f32) -> Option<Form> {
        let less: Vec<i64> = floats.iter().map(|v| (v - on) as i64).collect();
        // As bits: a zero with a sign would lose it.
        let mut both = less.iter().zip(floats);
        let same = both.all(|(l, v)| (*l as f32 + on).to_bits() == v.to_bits());
        let less = smallest(&less).filter(|_| same)?;
        Some(Form::Whole { on, less })
    }
    fn parts(bits: &[i32]) -> Option<Form> {
        let ends = [bits.iter().min()?, bits.iter().max()?].map(|b| i64::from(*b));
        let words = [i16::MIN, i16::MAX].map(i64::from);
        if words[0] <= ends[0] && ends[1] <= words[1] {
            let all: Vec<f64> = bits.iter().map(|b| f64::from(*b)).collect();
            return Some(Form::Parts {
                on: 0,
                low: Tensor::from_f64s(DType::I16, &[bits.len() as i64], &all),
                high: None,
            });
        }
        // Layers whose numbers stand on 0 share the loop that writes them out.
        let on = match ends
            .iter()
            .all(|e| (-1 << 23..(1 << 23) - (1 << 15)).contains(e))
        {
            true => 0,
            false => (ends[0] + ends[1]) / 2,
        };
        let more = bits.iter().map(|b| i64::from(*b) - on);
        let low = more.clone().map(|m| m as i16);
        let high = more.zip(low.clone()).map(|(m, l)| (m - i64::from(l)) >> 16);
        let high: Vec<i8> = high.map(|h| i8::try_from(h).ok()).collect::<Option<_>>()?;
        let (n, low) = (bits.len() as i64, low.flat_map(i16::to_le_bytes));
        let high: Vec<u8> = high.iter().map(|h| *h as u8).collect();
        Some(Form::Parts {
            on: on as i32,
            low: Tensor::new(DType::I16, vec![n], low.collect::<Vec<_>>().into()).ok()?,
            high: Some(Tensor::new(DType::I8, vec![n], high.into()).ok()?),
        })
    }
    /// Bytes that its loop takes, about.
    fn loops(&self) -> usize {
        match self {
            Form::Whole { .. } | Form::Parts { on: 0, .. } => FEW,
            Form::Parts { .. } => FEW_OF_OWN,
            Form::Rare { .. } => FEW_OF_RARE,
        }
    }
    fn rare(bits: &[i32]) -> Option<Form> {
        let mut times: HashMap<i32, usize> = HashMap::new();
        for b in bits {
            *times.entry(*b).or_default() += 1;
        }
        let (most, n) = times.into_iter().max_by_key(|(b, n)| (*n, *b))?;
        if (bits.len() - n) * RARE > bits.len() {
            return None;
        }
        let others = bits.iter().enumerate().filter(|(_, b)| **b != most);
        let places: Vec<i64> = others.clone().map(|(i, _)| i as i64).collect();
        let others: Vec<u8> = others.flat_map(|(_, b)| b.to_le_bytes()).collect();
        let n = places.len() as i64;
        let places = smallest(&places)?;
        let others = Tensor::new(DType::I32, vec![n], others.into()).ok()?;
        Some(Form::Rare {
            most,
            places,
            others,
        })
    }
}

impl Narrow {
    /// A constant of a layer with so many results; `None`: it stays as it is. `on`: what whole numbers may stand on.
    pub fn of(t: &Tensor, results: i64, on: &[f32]) -> Option<Narrow> {
        let n = t.len();
        if results < OFTEN * n as i64 {
            return None;
        }
        let floats = match t.dtype {
            DType::F32 => t.to_f32s()?,
            DType::I32 => vec![],
            _ => return None,
        };
        let words = t.data.as_chunks::<4>().0;
        let bits: Vec<i32> = words.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let wholes = on.iter().filter(|_| !floats.is_empty());
        let wholes = wholes.filter_map(|on| Form::whole(&floats, *on));
        let others = [Form::rare(&bits), Form::parts(&bits)];
        let form = wholes.chain(others.into_iter().flatten());
        let cost = |f: &Form| f.bytes() + f.loops();
        let form = form.min_by_key(cost)?;
        (cost(&form) <= 4 * n).then_some(Narrow {
            dtype: t.dtype,
            n: n as i64,
            form,
        })
    }
    /// The same of whole numbers that are loaded one by one, wherever a layer writes them out anyway.
    pub fn parts(t: &Tensor) -> Option<Narrow> {
        let words = t.data.as_chunks::<4>().0;
        let bits: Vec<i32> = words.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let form = Form::parts(&bits).filter(|f| f.bytes() + f.loops() <= t.data.len())?;
        (t.dtype == DType::I32).then_some(Narrow {
            dtype: t.dtype,
            n: t.len() as i64,
            form,
        })
    }
    /// Its tables as constants; `None` where it is not made of parts.
    pub fn tables(self, cx: &mut LowerCx) -> Option<Parts> {
        let Form::Parts { on, low, high } = self.form else {
            return None;
        };
        Some(Parts {
            dtype: self.dtype,
            on,
            low: cx.constant("narrow", low),
            high: high.map(|high| cx.constant("above", high)),
        })
    }
    /// Memory with the numbers, which the layer writes first.
    pub fn wide(self, cx: &mut LowerCx, name: &str) -> Result<BufId> {
        let (dtype, ty) = (self.dtype, Ty::of(self.dtype));
        let wide = cx.scratch_per_thread(name, dtype, Dim::Fixed(self.n));
        let n = cx.b.i(self.n);
        match self.form {
            Form::Whole { on, less } => {
                let less = cx.constant("narrow", less);
                cx.for_(n, LoopKind::Lanes, |cx, i| {
                    let v = cx.b.load(less, i);
                    let v = cx.b.cast(ty, v);
                    let on = cx.b.num(ty, f64::from(on));
                    let v = cx.b.add(v, on);
                    cx.b.store(wide, i, v);
                    Ok(())
                })?;
            }
            Form::Rare {
                most,
                places,
                others,
            } => {
                cx.for_(n, LoopKind::Lanes, |cx, i| {
                    let v = cx.b.int(Ty::I32, i64::from(most));
                    let v = of_bits(&mut cx.b, ty, v);
                    cx.b.store(wide, i, v);
                    Ok(())
                })?;
                if places.is_empty() {
                    return Ok(wide);
                }
                let few = cx.b.i(places.len() as i64);
                let (places, others) =
                    (cx.constant("places", places), cx.constant("others", others));
                cx.for_(few, LoopKind::Seq, |cx, i| {
                    let at = cx.b.load(places, i);
                    let at = cx.b.cast(Ty::I64, at);
                    let v = cx.b.load(others, i);
                    let v = of_bits(&mut cx.b, ty, v);
                    cx.b.store(wide, at, v);
                    Ok(())
                })?;
            }
            Form::Parts { .. } => {
                if let Some(parts) = self.tables(cx) {
                    cx.for_(n, LoopKind::Lanes, |cx, i| {
                        let v = parts.load(&mut cx.b, i);
                        cx.b.store(wide, i, v);
                        Ok(())
                    })?;
                }
            }
        }
        Ok(wide)
    }
}

impl Parts {
    /// A number.
    pub fn load(&self, b: &mut Builder, i: ExprId) -> ExprId {
        let v = b.load(self.low, i);
        let v = b.cast(Ty::I32, v);
        let Some(high) = self.high else {
            return of_bits(b, Ty::of(self.dtype), v);
        };
        let high = b.load(high, i);
        let high = b.cast(Ty::I32, high);
        let by = b.int(Ty::I32, 16);
        let high = b.bin(BinOp::Shl, high, by);
        let on = b.int(Ty::I32, i64::from(self.on));
        let v = ex!(b; (v + high) + on);
        of_bits(b, Ty::of(self.dtype), v)
    }
}

fn of_bits(b: &mut Builder, ty: Ty, v: ExprId) -> ExprId {
    match ty {
        Ty::F32 => b.un(UnOp::FromBits, v),
        _ => v,
    }
}

/// How many results a layer has.
pub fn results(cx: &LowerCx) -> Result<Option<i64>> {
    Ok(cx.out_shape()?.iter().map(Dim::fixed).product())
}

/// A constant of a layer, in fewer bytes where its numbers have such a form and the layer reads them often enough.
pub fn constant(cx: &mut LowerCx, name: &str, t: Tensor) -> Result<BufId> {
    if let Some(numbers) = Numbers::of(cx, &t, None) {
        return numbers.write(cx, name);
    }
    match results(cx)?.and_then(|r| Narrow::of(&t, r, &[])) {
        Some(narrow) => narrow.wide(cx, name),
        None => Ok(cx.constant(name, t)),
    }
}

/// Weights of a layer, each read for so many rows: words that bytes hold are stored as such.
pub fn words(cx: &mut LowerCx, name: &str, t: Tensor, rows: Option<i64>) -> Result<BufId> {
    let n = t.len() as i64;
    let often = t.dtype == DType::I16 && rows.is_some_and(|r| r >= ROWS);
    let words = t.to_i64s().filter(|_| often && t.len() >= FEW_OF_OWN);
    let bytes = words.filter(|w| w.iter().all(|w| (-128..128).contains(w)));
    let Some(bytes) = bytes else {
        return Ok(cx.constant(name, t));
    };
    let bytes: Vec<f64> = bytes.iter().map(|w| *w as f64).collect();
    let bytes = Tensor::from_f64s(DType::I8, &[n], &bytes);
    let bytes = cx.constant("narrow", bytes);
    let wide = cx.scratch_per_thread(name, DType::I16, Dim::Fixed(n));
    let n = cx.b.i(n);
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        let v = cx.b.load(bytes, i);
        cx.b.store(wide, i, v);
        Ok(())
    })?;
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(v: &[f32], results: i64) -> Option<(f32, DType)> {
        let t = Tensor::f32(&[v.len() as i64], v);
        let on = [12_582_912.0, 0.0];
        match Narrow::of(&t, results, &on)?.form {
            Form::Whole { on, less } => Some((on, less.dtype)),
            _ => None,
        }
    }

    #[test]
    fn only_whole_numbers_that_fit_are_narrow() {
        const LARGE: f32 = 12_582_912.0;
        let on = |by: f32| (0..40).map(|i| LARGE + by + i as f32).collect::<Vec<_>>();
        assert_eq!(of(&on(0.0), 640), Some((LARGE, DType::U8)));
        assert_eq!(of(&on(-20.0), 640), Some((LARGE, DType::I8)));
        assert_eq!(of(&on(230.0), 640), Some((LARGE, DType::I16)));
        assert_eq!(of(&on(-LARGE - 7.0), 640), Some((0.0, DType::I8)));
        // Read too seldom, too few, no whole numbers, too large, a zero with a sign.
        assert_eq!(of(&on(0.0), 639), None);
        assert_eq!(of(&on(0.0)[..26], 640), None);
        assert_eq!(of(&[0.5; 40], 640), None);
        assert_eq!(of(&[1e6; 40], 640), None);
        assert_eq!(of(&[-0.0; 40], 640), None);
        assert_eq!(of(&[f32::NAN; 40], 640), None);
    }

    fn form(v: &[i32]) -> Option<Form> {
        let bytes: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()).collect();
        let t = Tensor::new(DType::I32, vec![v.len() as i64], bytes.into()).ok()?;
        Narrow::of(&t, 16 * v.len() as i64, &[]).map(|n| n.form)
    }

    #[test]
    fn parts_add_up_to_what_they_stand_for() {
        for (least, by, own) in [
            (-70_000, 200, 0),
            (i32::MIN, 3, 1),
            (5, 16_000, 0),
            (1 << 28, 33_000, 1),
        ] {
            let numbers: Vec<i32> = (0..500).map(|i| least + by * (i * 77 % 500)).collect();
            let narrow = form(&[&numbers[..], &numbers[..]].concat());
            let Some(Form::Parts { on, low, high }) = narrow else {
                panic!("{least} {by}: other numbers");
            };
            assert_eq!(i32::from(on != 0), own);
            let of = |t: &Tensor| t.to_i64s().unwrap_or_default();
            let high = high.expect("numbers of 17 bits and more");
            for (n, (l, h)) in numbers.iter().zip(of(&low).iter().zip(of(&high))) {
                assert_eq!(
                    *n,
                    on.wrapping_add(*l as i32).wrapping_add((h as i32) << 16)
                );
            }
        }
        assert_eq!(form(&(0..500).map(|i| i << 16).collect::<Vec<_>>()), None);
        let words = form(&(0..500).map(|i| i * 131 - 32768).collect::<Vec<_>>());
        assert!(matches!(words, Some(Form::Parts { high: None, .. })));
    }

    #[test]
    fn what_few_channels_have_is_kept_for_these() {
        let mut numbers = vec![i32::MIN; 200];
        (numbers[3], numbers[150]) = (77, -5);
        let Some(Form::Rare {
            most,
            places,
            others,
        }) = form(&numbers)
        else {
            panic!("other numbers");
        };
        let of = |t: Tensor| t.to_i64s().unwrap_or_default();
        assert_eq!(
            (most, of(places), of(others)),
            (i32::MIN, vec![3, 150], vec![77, -5])
        );
        (0..13).for_each(|i| numbers[i] = i as i32);
        assert_eq!(form(&numbers), None);
    }
}
