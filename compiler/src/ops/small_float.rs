//! Floats of 8 and 4 bits: to and from f32 by integer arithmetic, since no machine here has them.
//!
//! Formats as in the ONNX documents (float8.md, float4.md) and the OCP microscaling specification.

use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, Ty, UnOp};

/// A small float format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Bits of an element.
    pub bits: i64,
    /// Mantissa bits.
    pub mantissa: i64,
    /// Exponent bias.
    pub bias: i64,
    /// The largest finite number.
    pub max: i64,
    /// What stands for numbers that are too large, when they are not brought to the largest.
    pub over: i64,
    /// Not a number; `None` where there is none.
    pub nan: Option<i64>,
    /// Infinity, if there is one.
    pub inf: Option<i64>,
    /// No negative zero: its place is taken by NaN.
    pub unsigned_zero: bool,
    /// Only an exponent.
    pub scale: bool,
}

const E4M3FN: Format = Format {
    bits: 8,
    mantissa: 3,
    bias: 7,
    max: 0x7e,
    over: 0x7f,
    nan: Some(0x7f),
    inf: None,
    unsigned_zero: false,
    scale: false,
};

/// The format of a small float type.
pub fn format(d: DType) -> Option<Format> {
    Some(match d {
        DType::F8E4M3FN => E4M3FN,
        DType::F8E4M3FNUZ => Format {
            bias: 8,
            max: 0x7f,
            over: 0x80,
            nan: Some(0x80),
            unsigned_zero: true,
            ..E4M3FN
        },
        DType::F8E5M2 => Format {
            mantissa: 2,
            bias: 15,
            max: 0x7b,
            over: 0x7c,
            nan: Some(0x7e),
            inf: Some(0x7c),
            ..E4M3FN
        },
        DType::F8E5M2FNUZ => Format {
            mantissa: 2,
            bias: 16,
            max: 0x7f,
            over: 0x80,
            nan: Some(0x80),
            unsigned_zero: true,
            ..E4M3FN
        },
        DType::F4E2M1 => Format {
            bits: 4,
            mantissa: 1,
            bias: 1,
            max: 7,
            over: 7,
            nan: None,
            ..E4M3FN
        },
        DType::F8E8M0 => Format {
            mantissa: 0,
            bias: 127,
            max: 0xfe,
            over: 0xff,
            nan: Some(0xff),
            scale: true,
            ..E4M3FN
        },
        _ => return None,
    })
}

/// How an exponent-only format rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundMode {
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
    /// To the nearest, ties up.
    Nearest,
}

/// The f32 that the raw bits `v` (I32) stand for; exact.
pub fn decode(b: &mut Builder, f: &Format, v: ExprId) -> ExprId {
    let k = |b: &mut Builder, v: i64| b.int(Ty::I32, v);
    if f.scale {
        let s23 = k(b, 23);
        let shifted = b.shl(v, s23);
        let tiny = k(b, 0x0040_0000); // 2^-127, below the normal numbers
        let quiet = k(b, 0x7fc0_0000);
        let (zero, top) = (k(b, 0), k(b, 0xff));
        let is_zero = b.eq(v, zero);
        let is_nan = b.eq(v, top);
        let bits = b.select(is_zero, tiny, shifted);
        let bits = b.select(is_nan, quiet, bits);
        return b.un(UnOp::FromBits, bits);
    }
    let mag_mask = k(b, (1 << (f.bits - 1)) - 1);
    let man_mask = k(b, (1 << f.mantissa) - 1);
    let m = k(b, f.mantissa);
    let mag = b.and(v, mag_mask);
    let e = b.shr(mag, m);
    let man = b.and(mag, man_mask);
    let up = k(b, 23 - f.mantissa);
    let rebias = k(b, (127 - f.bias) << 23);
    let normal = b.shl(mag, up);
    let normal = b.add(normal, rebias);
    let normal = b.un(UnOp::FromBits, normal);
    let step = b.num(Ty::F32, exp2(1 - f.bias - f.mantissa));
    let small = b.cast(Ty::F32, man);
    let small = b.mul(small, step);
    let zero = k(b, 0);
    let is_small = b.eq(e, zero);
    let mut x = b.select(is_small, small, normal);
    if let Some(inf) = f.inf {
        let (inf_bits, inf) = (k(b, inf), b.num(Ty::F32, f64::INFINITY));
        let is_inf = b.eq(mag, inf_bits);
        x = b.select(is_inf, inf, x);
        let above = b.lt(inf_bits, mag);
        let nan = b.num(Ty::F32, f64::NAN);
        x = b.select(above, nan, x);
    } else if let (Some(nan), false) = (f.nan, f.unsigned_zero) {
        let bits = k(b, nan);
        let is_nan = b.eq(mag, bits);
        let nan = b.num(Ty::F32, f64::NAN);
        x = b.select(is_nan, nan, x);
    }
    let sign_bit = k(b, 1 << (f.bits - 1));
    let sign = b.and(v, sign_bit);
    let neg = b.ne(sign, zero);
    let minus = b.un(UnOp::Neg, x);
    let mut y = b.select(neg, minus, x);
    if f.unsigned_zero {
        let byte = k(b, 0xff);
        let raw = b.and(v, byte);
        let is_nan = b.eq(raw, sign_bit);
        let nan = b.num(Ty::F32, f64::NAN);
        y = b.select(is_nan, nan, y);
    }
    y
}

/// The raw bits (I32) of the f32 `x`, rounded to nearest, ties to even. `saturate`: numbers that are too large become
/// the largest, else what the format has for them.
pub fn encode(b: &mut Builder, f: &Format, x: ExprId, saturate: bool, round: RoundMode) -> ExprId {
    if f.scale {
        return encode_scale(b, x, saturate, round);
    }
    let k = |b: &mut Builder, v: i64| b.int(Ty::I32, v);
    let bits = b.un(UnOp::ToBits, x);
    let mag_mask = k(b, 0x7fff_ffff);
    let mag = b.and(bits, mag_mask);
    let a = b.un(UnOp::FromBits, mag);
    let inf = k(b, 0x7f80_0000);
    let is_nan = b.lt(inf, mag);
    let is_inf = b.eq(inf, mag);
    let (s23, bias32) = (k(b, 23), k(b, 127));
    let e = b.shr(mag, s23);
    let e = b.sub(e, bias32);
    let lowest = k(b, 1 - f.bias);
    let e = b.max(e, lowest);
    // n = a / 2^(e - mantissa) rounded: the mantissa with its leading bit, or without one below the normal numbers.
    let c = k(b, 127 + f.mantissa);
    let s = b.sub(c, e);
    let s = b.shl(s, s23);
    let scale = b.un(UnOp::FromBits, s);
    let n = b.mul(a, scale);
    let n = b.un(UnOp::Round, n);
    let n = b.cast(Ty::I32, n);
    let (rebias, m) = (k(b, f.bias - 1), k(b, f.mantissa));
    let top = b.add(e, rebias);
    let top = b.shl(top, m);
    let code = b.add(top, n);
    let max = k(b, f.max);
    let over = b.lt(max, code);
    let over = b.or(over, is_inf);
    let limit = k(b, if saturate { f.max } else { f.over });
    let code = b.select(over, limit, code);
    let s31 = k(b, 31);
    let sign = b.shr_u(bits, s31);
    let place = k(b, f.bits - 1);
    let sign = b.shl(sign, place);
    let mut y = b.or(code, sign);
    if f.unsigned_zero {
        let zero = k(b, 0);
        let is_zero = b.eq(code, zero);
        y = b.select(is_zero, zero, y);
    }
    // Where there is no NaN, -0 is what the reference gives.
    let nan = k(b, f.nan.unwrap_or(1 << (f.bits - 1)));
    b.select(is_nan, nan, y)
}

fn encode_scale(b: &mut Builder, x: ExprId, saturate: bool, round: RoundMode) -> ExprId {
    let k = |b: &mut Builder, v: i64| b.int(Ty::I32, v);
    let bits = b.un(UnOp::ToBits, x);
    let (s23, top) = (k(b, 23), k(b, 0xff));
    let e = b.shr_u(bits, s23);
    let e = b.and(e, top);
    let mask = k(b, 0x7f_ffff);
    let frac = b.and(bits, mask);
    let (zero, one, half) = (k(b, 0), k(b, 1), k(b, 0x40_0000));
    let up = match round {
        RoundMode::Down => b.bool(false),
        RoundMode::Up => b.ne(frac, zero),
        RoundMode::Nearest => {
            let above = b.lt(half, frac);
            let tie = b.eq(half, frac);
            let normal = b.lt(zero, e);
            let tie = b.and(tie, normal);
            b.or(above, tie)
        }
    };
    let next = b.add(e, one);
    let last = k(b, if saturate { 0xfe } else { 0xff });
    let may = b.lt(e, last);
    let up = b.and(up, may);
    b.select(up, next, e)
}

/// 2^e as f64, for exponents of small formats.
fn exp2(e: i64) -> f64 {
    f64::from_bits(((1023 + e) as u64) << 52)
}

/// An f32 that rounds to the same 11- or 8-bit mantissa as the f64 `x` does directly: rounded to odd.
pub fn to_f32_odd(b: &mut Builder, x: ExprId) -> ExprId {
    let near = b.cast(Ty::F32, x);
    let back = b.cast(Ty::F64, near);
    let (mag_x, mag_b) = (b.un(UnOp::Abs, x), b.un(UnOp::Abs, back));
    let high = b.lt(mag_x, mag_b);
    let low = b.lt(mag_b, mag_x);
    let one = b.int(Ty::I32, 1);
    let bits = b.un(UnOp::ToBits, near);
    let down = b.sub(bits, one);
    // Towards zero, then the sticky bit.
    let cut = b.select(high, down, bits);
    let odd = b.or(cut, one);
    let inexact = b.or(high, low);
    let bits = b.select(inexact, odd, bits);
    b.un(UnOp::FromBits, bits)
}

/// Rounds an f32 to f16 or bf16 and back, for steps whose precision is part of the result. Other types pass.
pub fn round_to(b: &mut Builder, d: DType, x: ExprId) -> ExprId {
    let (mantissa, lowest) = match d {
        DType::F16 => (10, -14),
        DType::BF16 => (7, -126),
        _ => return x,
    };
    let k = |b: &mut Builder, v: i64| b.int(Ty::I32, v);
    let bits = b.un(UnOp::ToBits, x);
    let (s23, top, bias) = (k(b, 23), k(b, 0xff), k(b, 127));
    let e = b.shr_u(bits, s23);
    let e = b.and(e, top);
    let e = b.sub(e, bias);
    let lo = k(b, lowest);
    let hi = k(b, 126);
    let e = b.clamp(e, lo, hi);
    let c = k(b, 127 + mantissa);
    let up = b.sub(c, e);
    let up = b.shl(up, s23);
    let up = b.un(UnOp::FromBits, up);
    let c = k(b, 127 - mantissa);
    let down = b.add(c, e);
    let none = k(b, 0);
    let down = b.max(down, none);
    let down = b.shl(down, s23);
    let down = b.un(UnOp::FromBits, down);
    let n = b.mul(x, up);
    let n = b.un(UnOp::Round, n);
    b.mul(n, down)
}

#[cfg(test)]
mod tests {
    use crate::base::attr::Attr;
    use crate::base::dtype::DType::{self, *};
    use crate::base::tensor::Tensor;
    use crate::ops::testing::*;

    fn cast(from: DType, to: DType, saturate: i64, t: Vec<u8>) -> Tensor {
        let n = (t.len() / from.size()) as i64;
        let t = Tensor::new(from, vec![n], t.into()).expect("fits");
        let a = attrs([
            ("to", Attr::Int(to.onnx() as i64)),
            ("saturate", Attr::Int(saturate)),
            // 2^-127 lies below the normal f32 numbers, where the reference rounds up all that is not 0.
            ("round_mode", Attr::Str("down".into())),
        ]);
        run_op("Cast", 25, &a, vec![data(t)], 1)
            .expect("it runs")
            .remove(0)
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for d in [F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1] {
            let codes: Vec<u8> = (0..1u32 << d.packed_bits()).map(|c| c as u8).collect();
            let wide = cast(d, F32, 1, codes.clone());
            let values = wide.to_f32s().expect("floats");
            let back = cast(F32, d, 0, wide.data.to_vec());
            for (c, v) in codes.iter().zip(&values) {
                let got = back.data[*c as usize];
                assert!(got == *c || v.is_nan(), "{d} {c:#x} -> {v} -> {got:#x}");
            }
        }
    }

    #[test]
    fn values_are_those_of_the_standard() {
        let at = |d: DType, c: u8| cast(d, F32, 1, vec![c]).to_f32s().expect("floats")[0];
        assert_eq!(
            (at(F8E4M3FN, 0x7e), at(F8E4M3FN, 0x01)),
            (448.0, 0.001953125)
        );
        assert_eq!(
            (at(F8E5M2, 0x7b), at(F8E5M2, 0x7c)),
            (57344.0, f32::INFINITY)
        );
        assert_eq!(
            (at(F8E4M3FNUZ, 0x7f), at(F8E5M2FNUZ, 0x7f)),
            (240.0, 57344.0)
        );
        assert!(at(F8E4M3FNUZ, 0x80).is_nan() && at(F8E4M3FN, 0xff).is_nan());
        assert_eq!(
            (at(F4E2M1, 7), at(F4E2M1, 1), at(F8E8M0, 127)),
            (6.0, 0.5, 1.0)
        );
    }

    #[test]
    fn rounding_and_saturation_are_the_references() {
        // Made with ml_dtypes 0.5 from these values.
        let v: Vec<u8> = [f32::NAN, f32::INFINITY, 0.25, 2.5, 5.1, 100.0, -500.0, 1e6]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let bits = |d, sat| cast(F32, d, sat, v.clone()).data.to_vec();
        assert_eq!(
            bits(F8E4M3FN, 0),
            [0x7f, 0x7f, 0x28, 0x42, 0x4a, 0x6c, 0xff, 0x7f]
        );
        assert_eq!(
            bits(F8E4M3FN, 1),
            [0x7f, 0x7e, 0x28, 0x42, 0x4a, 0x6c, 0xfe, 0x7e]
        );
        assert_eq!(
            bits(F8E5M2, 0),
            [0x7e, 0x7c, 0x34, 0x41, 0x45, 0x56, 0xe0, 0x7c]
        );
        assert_eq!(bits(F4E2M1, 1), [0x8, 0x7, 0x0, 0x4, 0x7, 0x7, 0xf, 0x7]);
    }
}
