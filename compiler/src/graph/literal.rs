//! Tensors in the text form.
//!
//! ```text
//! f32[2,3] [1.0, -0.5, 0.25, 1e-5, inf, nan]     every element
//! f32[64,3] splat 0.5                            one value everywhere
//! i64[8] iota                                    0, 1, 2, ... (only read)
//! f32[64,3] rand(7)                              from a seed, see `random` (only read)
//! string[2] ["a", "b"]
//! f8e4m3fn[2] hex "3c40"                         bytes, where elements have no decimal form
//! f32[64,3] sha256 0123456789abcdef              a digest: it identifies and can't be read back
//! ```
//! What is printed and is no digest is read back as the same tensor, the bits of NaNs apart.

use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::text::{Cursor, Result, Token};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Literals with more elements are not written out.
const SMALL: usize = 16;
/// A text can't ask for a larger literal.
const MAX_ELEMENTS: i64 = 1 << 26;

/// A float so that it is read back exactly: always with a point, an exponent, or as a word.
pub fn float_text(v: f64, d: DType) -> String {
    let s = match d {
        DType::F64 => format!("{v:?}"),
        _ => format!("{:?}", v as f32),
    };
    s.replace("NaN", "nan")
}

/// Whether elements of the type are read and written as numbers.
fn is_plain(d: DType) -> bool {
    d.is_float() || d.int_range().is_some()
}

/// A tensor, in full where it is small.
pub fn tensor_text(t: &Tensor) -> String {
    let shape: Vec<String> = t.shape.iter().map(i64::to_string).collect();
    let ty = format!("{}[{}]", t.dtype, shape.join(","));
    if t.dtype == DType::String {
        return format!("{ty} {:?}", t.strings);
    }
    let element = |i: usize| match t.dtype {
        d if d.is_float() => t.get_f64(i).map(|v| float_text(v, d)),
        DType::U64 => t.get_i64(i).map(|v| (v as u64).to_string()),
        _ => t.get_i64(i).map(|v| v.to_string()),
    };
    let size = t.dtype.size().max(1);
    let same = t.len() > 1 && t.data.chunks_exact(size).all(|c| c == &t.data[..size]);
    if same
        && is_plain(t.dtype)
        && let Some(v) = element(0)
    {
        return format!("{ty} splat {v}");
    }
    if t.len() <= SMALL && is_plain(t.dtype) {
        let list: Option<Vec<String>> = (0..t.len()).map(element).collect();
        return format!("{ty} [{}]", list.unwrap_or_default().join(", "));
    }
    if t.len() <= SMALL {
        return format!("{ty} hex \"{}\"", hex(&t.data));
    }
    format!("{ty} sha256 {}", hex(&Sha256::digest(&t.data)[..8]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Reads an element type.
pub fn dtype(c: &mut Cursor) -> Result<DType> {
    let start = c.clone();
    let word = c.word()?;
    DType::parse(&word).map_or_else(|| start.error(format!("`{word}` is no element type")), Ok)
}

/// Reads a float with its sign, or `inf`, `nan`.
pub fn float(c: &mut Cursor) -> Result<f64> {
    let start = c.clone();
    let minus = c.eat("-");
    let text = match c.take() {
        Token::Number(s) => s,
        Token::Word(s) if s == "inf" || s == "nan" => s,
        t => return start.error(format!("expected a number, found {t}")),
    };
    match text.parse::<f64>() {
        Ok(v) => Ok(if minus { -v } else { v }),
        Err(_) => start.error(format!("`{text}` is no number")),
    }
}

/// Reads what [`tensor_text`] writes.
pub fn tensor(c: &mut Cursor) -> Result<Tensor> {
    let start = c.clone();
    let d = dtype(c)?;
    c.expect("[")?;
    let shape = c.list("]", |c| c.int())?;
    let count = shape
        .iter()
        .try_fold(1i64, |n, &s| n.checked_mul(s).filter(|_| s >= 0));
    let Some(count) = count.filter(|&n| n <= MAX_ELEMENTS) else {
        return start.error("no literal has this shape");
    };
    let count = count as usize;
    if d == DType::String {
        c.expect("[")?;
        let strings = c.list("]", |c| c.string())?;
        if strings.len() != count {
            return start.error(format!("{} elements for {count} places", strings.len()));
        }
        return Ok(Tensor::strings(shape, strings));
    }
    let numbers = is_plain(d);
    let mut data: Vec<u8> = Vec::with_capacity(count * d.size());
    if c.eat("sha256") {
        return start.error("a digest identifies a tensor but does not hold its elements");
    } else if c.eat("hex") {
        let text = c.string()?;
        let bytes: Option<Vec<u8>> = (0..text.len() / 2)
            .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
            .collect();
        data = bytes.unwrap_or_default();
        if text.len() != 2 * count * d.size() {
            data.clear();
        }
    } else if !numbers {
        return c.error(format!("elements of {d} are written as `hex \"..\"`"));
    } else if c.eat("iota") {
        for i in 0..count {
            data.extend(number(d, i as f64, i as i128));
        }
    } else if c.eat("rand") {
        c.expect("(")?;
        let seed = c.int()?;
        c.expect(")")?;
        data = random(d, count, seed as u64);
    } else if c.eat("splat") {
        let one = element(c, d)?;
        data = one.repeat(count);
    } else {
        c.expect("[")?;
        for list in c.list("]", |c| element(c, d))? {
            data.extend(list);
        }
    }
    let bytes = data.len() / d.size().max(1);
    match Tensor::new(d, shape, data.into()) {
        Ok(t) => Ok(t),
        Err(_) => start.error(format!("{bytes} elements for {count} places")),
    }
}

/// The bytes of one number.
fn number(d: DType, float: f64, int: i128) -> Vec<u8> {
    match d.is_float() {
        true => Tensor::from_f64s(d, &[1], &[float]).data.to_vec(),
        false => int.to_le_bytes()[..d.size()].to_vec(),
    }
}

fn element(c: &mut Cursor, d: DType) -> Result<Vec<u8>> {
    if d.is_float() {
        let v = float(c)?;
        return Ok(number(d, v, 0));
    }
    let start = c.clone();
    if d == DType::Bool && (c.is("true") || c.is("false")) {
        return Ok(vec![u8::from(c.take() == Token::Word("true".into()))]);
    }
    let text = c.number()?;
    let fits = |v: &i128| d.int_range().is_some_and(|(lo, hi)| (lo..=hi).contains(v));
    match text.parse::<i128>().ok().filter(fits) {
        Some(v) => Ok(number(d, 0.0, v)),
        None => start.error(format!("`{text}` is no {d}")),
    }
}

/// Elements from a seed, the same everywhere: SplitMix64, whose state begins at the seed. A float is its top 53 bits as a
/// number in [-1, 1), rounded to the type; a bool its top bit; another whole number its top 4 bits (2 for types of 2
/// bits), less half the range where the type has a sign.
pub fn random(d: DType, count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut data = Vec::with_capacity(count * d.size());
    for _ in 0..count {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let float = (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        let bits = match d {
            DType::Bool => 1,
            _ => d.packed_bits().min(4) as u32,
        };
        let half = if d.is_signed_int() {
            1 << (bits - 1)
        } else {
            0
        };
        data.extend(number(d, float, (z >> (64 - bits)) as i128 - half));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tensor> {
        tensor(&mut Cursor::new(text)?)
    }

    #[test]
    fn literals_round_trip() {
        for text in [
            "f32[3] [1.0, -0.0, 1e-5]",
            "f32[] [inf]",
            "f64[2] [0.1, -inf]",
            "f16[2] [0.5, nan]",
            "bf16[2,2] splat 1.5",
            "u64[1] [18446744073709551615]",
            "i64[1] [-9223372036854775808]",
            "i4[2] [-8, 7]",
            "bool[2] [1, 0]",
            "f32[0] []",
            "string[2] [\"a\\n\", \"\\\"\"]",
            "f8e4m3fn[2] hex \"3c40\"",
        ] {
            assert_eq!(tensor_text(&read(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_literal() {
        for (text, why) in [
            ("f32[2] [1.0]", "1 elements for 2 places"),
            ("f32[4] sha256 00", "does not hold its elements"),
            ("i8[1] [128]", "`128` is no i8"),
            ("f32[-1] iota", "no literal has this shape"),
            ("f32[1000000,1000000] splat 0", "no literal has this shape"),
            ("q[2] iota", "no element type"),
            ("complex64[1] [1]", "hex"),
            ("f8e5m2[2] hex \"3cé\"", "0 elements"),
        ] {
            let e = read(text).unwrap_err();
            assert!(e.message.contains(why), "{text}: {e}");
        }
    }

    #[test]
    fn numbers_from_a_seed() {
        // The first results of SplitMix64 from 0 are e220a8397b1dcdaf, 6e789e6aa1b965f4.
        let t = read("f64[2] rand(0)").unwrap();
        let of = |z: u64| (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        assert_eq!(
            t.to_f64s().unwrap(),
            [of(0xe220_a839_7b1d_cdaf), of(0x6e78_9e6a_a1b9_65f4)]
        );
        assert_eq!(read("u8[2] rand(0)").unwrap().to_i64s().unwrap(), [14, 6]);
        assert_eq!(read("i32[2] rand(0)").unwrap().to_i64s().unwrap(), [6, -2]);
    }
}
