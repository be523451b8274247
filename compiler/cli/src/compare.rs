//! When outputs are equal enough: the default rules of `verify`, numpy's rule, and the rule of ONNX's own tests.
//!
//! NaN is a class of its own, and so is each infinity: they agree only with their like. Shapes and element types must
//! always agree.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

/// How one output is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The largest error is at most this part of the reference's largest magnitude.
    OfLargest(f64),
    /// Each element: `|a - b| <= atol + rtol * |b|`, b being the reference.
    Each {
        /// Relative tolerance.
        rtol: f64,
        /// Absolute tolerance.
        atol: f64,
    },
    /// Integers that stand for quantized numbers: no element is further off than this many steps.
    Steps(u32),
    /// At most this part of the elements differs.
    Part(f64),
}

/// The part of the elements of an integer, bool or text output that may differ.
pub const LABELS: f64 = 1e-5;

/// The default rule for an element type. `half` says that the model computes in 16-bit floats inside.
pub fn default_rule(dtype: DType, quantized: bool, half: bool, steps: u32) -> Rule {
    match dtype {
        _ if quantized && dtype.is_int() => Rule::Steps(steps),
        DType::F16 => Rule::OfLargest(5e-3),
        DType::F32 | DType::F64 if half => Rule::OfLargest(5e-3),
        // Eight times coarser than f16.
        DType::BF16 => Rule::OfLargest(4e-2),
        DType::F32 | DType::F64 => Rule::OfLargest(1e-4),
        _ => Rule::Part(LABELS),
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Whether the rule holds.
    pub pass: bool,
    /// The largest difference of finite elements.
    pub max_error: f64,
    /// The largest finite magnitude of the reference.
    pub largest: f64,
    /// Root of the mean square of the differences of finite elements.
    pub rms: f64,
    /// Elements that differ at all.
    pub differ: usize,
    /// Number of elements.
    pub count: usize,
    /// Place of the worst element: one whose class differs, else the one furthest beyond its tolerance.
    pub worst: usize,
    /// Why it can't be compared, if so.
    pub mismatch: Option<String>,
}

/// Compares an output with its reference.
pub fn compare(got: &Tensor, want: &Tensor, rule: Rule) -> Finding {
    let mut f = Finding {
        pass: false,
        max_error: 0.0,
        largest: 0.0,
        rms: 0.0,
        differ: 0,
        count: want.len(),
        worst: 0,
        mismatch: None,
    };
    if got.dtype != want.dtype || got.shape != want.shape {
        f.mismatch = Some(format!(
            "it is {}{:?}, the reference is {}{:?}",
            got.dtype, got.shape, want.dtype, want.shape
        ));
        return f;
    }
    if got.dtype == DType::String {
        let differs = |(a, b): (&String, &String)| a != b;
        let bad: Vec<bool> = got.strings.iter().zip(&want.strings).map(differs).collect();
        f.differ = bad.iter().filter(|b| **b).count();
        f.worst = bad.iter().position(|b| *b).unwrap_or(0);
        f.pass = f.differ == 0;
        return f;
    }
    let float = got.get_f64(0).is_some() && got.get_i64(0).is_none() || got.dtype.is_float();
    if float {
        floats(got, want, rule, &mut f);
    } else if got.dtype.is_int() || got.dtype == DType::Bool {
        integers(got, want, rule, &mut f);
    } else {
        // Small floats and complex numbers: the same bytes, or different.
        let size = got.dtype.size().max(1);
        for (i, (a, b)) in got
            .data
            .chunks(size)
            .zip(want.data.chunks(size))
            .enumerate()
        {
            if a != b {
                if f.differ == 0 {
                    f.worst = i;
                }
                f.differ += 1;
            }
        }
        f.pass = f.differ as f64 <= allowed_part(rule) * f.count as f64;
    }
    f
}

fn allowed_part(rule: Rule) -> f64 {
    match rule {
        Rule::Part(p) => p,
        _ => 0.0,
    }
}

fn class(v: f64) -> u8 {
    match v {
        v if v.is_nan() => 1,
        f64::INFINITY => 2,
        f64::NEG_INFINITY => 3,
        _ => 0,
    }
}

fn floats(got: &Tensor, want: &Tensor, rule: Rule, f: &mut Finding) {
    let value = |t: &Tensor, i| t.get_f64(i).unwrap_or(f64::NAN);
    f.largest = (0..f.count)
        .map(|i| value(want, i))
        .filter(|v| v.is_finite())
        .fold(0.0, |m, v| v.abs().max(m));
    let tolerance = |reference: f64| match rule {
        Rule::OfLargest(part) => part * f.largest,
        Rule::Each { rtol, atol } => atol + rtol * reference.abs(),
        Rule::Steps(n) => f64::from(n),
        Rule::Part(_) => 0.0,
    };
    let (mut squares, mut finite, mut excess, mut bad) = (0.0, 0usize, f64::NEG_INFINITY, 0usize);
    for i in 0..f.count {
        let (a, b) = (value(got, i), value(want, i));
        let (beyond, error) = if class(a) != class(b) {
            (f64::INFINITY, 0.0)
        } else if class(b) != 0 {
            (f64::NEG_INFINITY, 0.0)
        } else {
            finite += 1;
            let e = (a - b).abs();
            squares += e * e;
            (e - tolerance(b), e)
        };
        f.max_error = f.max_error.max(error);
        f.differ += usize::from(error > 0.0 || beyond == f64::INFINITY);
        bad += usize::from(beyond > 0.0);
        if beyond > excess {
            (excess, f.worst) = (beyond, i);
        }
    }
    f.rms = (squares / finite.max(1) as f64).sqrt();
    f.pass = match rule {
        Rule::Part(p) => f.differ as f64 <= p * f.count as f64,
        _ => bad == 0,
    };
}

fn integers(got: &Tensor, want: &Tensor, rule: Rule, f: &mut Finding) {
    let value = |t: &Tensor, i: usize| {
        let v = t.get_i64(i).unwrap_or(0);
        // `get_i64` wraps u64.
        if t.dtype == DType::U64 {
            i128::from(v as u64)
        } else {
            i128::from(v)
        }
    };
    let (mut squares, mut far) = (0.0, 0usize);
    for i in 0..f.count {
        let (a, b) = (value(got, i), value(want, i));
        let e = (a - b).unsigned_abs() as f64;
        f.largest = f.largest.max(b.unsigned_abs() as f64);
        squares += e * e;
        if e > 0.0 {
            f.differ += 1;
            if e > f.max_error {
                (f.max_error, f.worst) = (e, i);
            }
        }
        far += usize::from(match rule {
            Rule::Steps(n) => e > f64::from(n),
            Rule::Each { rtol, atol } => e > atol + rtol * b.unsigned_abs() as f64,
            _ => false,
        });
    }
    f.rms = (squares / f.count.max(1) as f64).sqrt();
    f.pass = match rule {
        Rule::Steps(_) | Rule::Each { .. } => far == 0,
        Rule::Part(p) => f.differ as f64 <= p * f.count as f64,
        Rule::OfLargest(_) => f.differ == 0,
    };
}

/// The place of element `i` along each axis.
pub fn place(i: usize, shape: &[i64]) -> Vec<i64> {
    let mut rest = i as i64;
    let mut out: Vec<i64> = shape
        .iter()
        .rev()
        .map(|d| {
            let d = (*d).max(1);
            let k = rest % d;
            rest /= d;
            k
        })
        .collect();
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_by_the_largest_magnitude() {
        let want = Tensor::f32(&[3], &[100.0, 0.0, -1.0]);
        let rule = default_rule(DType::F32, false, false, 1);
        assert!(compare(&Tensor::f32(&[3], &[100.0, 0.009, -1.0]), &want, rule).pass);
        let f = compare(&Tensor::f32(&[3], &[100.0, 0.02, -1.0]), &want, rule);
        assert!(!f.pass && f.worst == 1 && f.differ == 1);
        assert!(!compare(&Tensor::f32(&[1, 3], &[100.0, 0.0, -1.0]), &want, rule).pass);
    }

    #[test]
    fn classes_must_agree() {
        let want = Tensor::f32(&[3], &[f32::NAN, f32::INFINITY, 1.0]);
        let rule = Rule::OfLargest(1e-4);
        assert!(compare(&want, &want, rule).pass);
        for bad in [
            [0.0, f32::INFINITY, 1.0],
            [f32::NAN, f32::NEG_INFINITY, 1.0],
            [f32::NAN, f32::INFINITY, f32::NAN],
        ] {
            assert!(
                !compare(&Tensor::f32(&[3], &bad), &want, rule).pass,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn steps_and_labels() {
        let t = |v: &[f64]| Tensor::from_f64s(DType::U8, &[v.len() as i64], v);
        let want = t(&[3.0, 255.0]);
        assert!(compare(&t(&[4.0, 254.0]), &want, Rule::Steps(1)).pass);
        assert!(!compare(&t(&[5.0, 255.0]), &want, Rule::Steps(1)).pass);
        assert!(
            !compare(
                &t(&[4.0, 255.0]),
                &want,
                default_rule(DType::U8, false, false, 1)
            )
            .pass
        );
        let many = Tensor::i64(&[200_000], &vec![5; 200_000]);
        let mut off = vec![5; 200_000];
        off[7] = 9;
        off[9] = 9;
        assert!(compare(&Tensor::i64(&[200_000], &off), &many, Rule::Part(LABELS)).pass);
        off[10] = 9;
        assert!(!compare(&Tensor::i64(&[200_000], &off), &many, Rule::Part(LABELS)).pass);
    }

    #[test]
    fn places() {
        assert_eq!(place(7, &[2, 3, 2]), [1, 0, 1]);
        assert_eq!(place(0, &[]), Vec::<i64>::new());
    }
}
