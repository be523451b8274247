//! Axes of Resize whose sizes are known only when the model runs: their tables are made then, in f64, by the formulas of the tables that are made
//! at compile time.

use super::resize_table::How;
use super::util::DATA_OUT_OF_RANGE;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};

/// Input elements of an output element: `n` positions, and weights unless the nearest is taken.
pub struct Made {
    /// Input elements per output element.
    pub n: i64,
    /// Positions, i64.
    pub index: BufId,
    /// Weights.
    pub weight: Option<BufId>,
    /// The largest sum of sizes of an element's weights.
    pub largest: f64,
}

/// The size that a constant scale makes of a free one: exact where a scale is a number of 64ths.
pub fn scaled(size: &Dim, scale: f64) -> Result<Dim> {
    let parts = scale * 64.0;
    if parts != libm::floor(parts) || parts >= f64::from(1 << 20) {
        return Err(refused(
            "an axis of unknown size is scaled by a number that is no multiple of 1/64",
        ));
    }
    let size = size.clone() * Dim::Fixed(parts as i64);
    let made = size.floor_div(&Dim::Fixed(64));
    made.ok_or_else(|| refused("an axis of unknown size can't be scaled"))
}

/// What an axis of unknown size can't do.
pub fn refused(what: &str) -> Box<Diagnostic> {
    Diagnostic::unsupported("ONNX012", what).help("fix the dimension with --dim or --input")
}

/// Statements that fill the tables of an axis of `size` elements of which `out` are made. `scale`: where it is given.
pub fn tables(
    cx: &mut LowerCx,
    how: &How,
    size: &Dim,
    out: &Dim,
    scale: Option<f64>,
    weights: Ty,
) -> Result<Made> {
    if how.antialias || how.exclude_outside || how.coordinates == "tf_crop_and_resize" {
        return Err(refused(
            "an axis of unknown size is resized with `antialias`, `exclude_outside` or `tf_crop_and_resize`",
        ));
    }
    let n = match how.mode.as_str() {
        "nearest" => 1,
        "linear" => 2,
        "cubic" => 4,
        m => return super::resize_table::unknown("mode", m),
    };
    let floats = match weights {
        Ty::F64 => DType::F64,
        _ => DType::F32,
    };
    let len = out.clone() * Dim::Fixed(n);
    let index = cx.scratch_per_thread("positions", DType::I64, len.clone());
    let weight = (n > 1).then(|| cx.scratch_per_thread("weights", floats, len));
    let (length, count) = (cx.b.dim(size), cx.b.dim(out));
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    // Nothing can't become something.
    let nothing = ex!(cx.b; (length < one) & (zero < count));
    cx.b.fail_if(nothing, DATA_OUT_OF_RANGE);
    let last = cx.b.sub(length, one);
    let axis = Axis {
        size: cx.b.cast(Ty::F64, length),
        out: cx.b.cast(Ty::F64, count),
        scale,
    };
    let scale = axis.scale(cx);
    let scale = cx.b.let_(scale);
    cx.for_(count, LoopKind::Seq, |cx, o| {
        let y = cx.b.cast(Ty::F64, o);
        let x = axis.coordinate(cx, how, scale, y)?;
        let x = cx.b.let_(x);
        let whole = cx.b.un(UnOp::Floor, x);
        let ratio = cx.b.sub(x, whole);
        let ratio = cx.b.let_(ratio);
        let low = cx.b.cast(Ty::I64, whole);
        let low = cx.b.let_(low);
        let (first, parts) = match n {
            1 => (nearest(cx, how, scale, low, ratio)?, vec![]),
            2 => {
                let above = ex!(cx.b; {num(cx, 1.0)} - ratio);
                (low, vec![above, ratio])
            }
            _ => (cx.b.sub(low, one), cubic(cx, ratio, how.cubic_a)),
        };
        for k in 0..n {
            let at = ex!(cx.b; (o * {cx.b.i(n)}) + {cx.b.i(k)});
            let from = ex!(cx.b; first + {cx.b.i(k)});
            let from = cx.b.clamp(from, zero, last);
            cx.b.store(index, at, from);
            if let (Some(buf), Some(&w)) = (weight, parts.get(k as usize)) {
                let w = cx.b.cast(weights, w);
                cx.b.store(buf, at, w);
            }
        }
        Ok(())
    })?;
    Ok(Made {
        n,
        index,
        weight,
        largest: if n == 4 { largest(how.cubic_a) } else { 1.0 },
    })
}

fn num(cx: &mut LowerCx, v: f64) -> ExprId {
    cx.b.num(Ty::F64, v)
}

/// Sizes as f64.
struct Axis {
    size: ExprId,
    out: ExprId,
    scale: Option<f64>,
}

impl Axis {
    fn scale(&self, cx: &mut LowerCx) -> ExprId {
        match self.scale {
            Some(s) => num(cx, s),
            None => cx.b.div(self.out, self.size),
        }
    }
    /// The input coordinate of position `y`: as `resize_table::coordinate`.
    fn coordinate(&self, cx: &mut LowerCx, how: &How, scale: ExprId, y: ExprId) -> Result<ExprId> {
        let (none, one, half) = (num(cx, 0.0), num(cx, 1.0), num(cx, 0.5));
        let width = cx.b.mul(scale, self.size);
        let single = cx.b.eq(width, one);
        let middle = ex!(cx.b; ((y + half) / scale) - half);
        Ok(match how.coordinates.as_str() {
            "half_pixel" => middle,
            "pytorch_half_pixel" => cx.b.select(single, none, middle),
            "half_pixel_symmetric" => {
                let adjusted = ex!(cx.b; one - {cx.b.div(self.out, width)});
                ex!(cx.b; (({self.size} * half) * adjusted) + middle)
            }
            "align_corners" => {
                let last = cx.b.sub(self.size, one);
                let at = ex!(cx.b; (y * last) / (width - one));
                cx.b.select(single, none, at)
            }
            "asymmetric" | "simple" => cx.b.div(y, scale),
            "tf_half_pixel_for_nn" => ex!(cx.b; (y + half) / scale),
            m => return super::resize_table::unknown("coordinate_transformation_mode", m),
        })
    }
}

/// As `resize_table::nearest`.
fn nearest(
    cx: &mut LowerCx,
    how: &How,
    scale: ExprId,
    low: ExprId,
    ratio: ExprId,
) -> Result<ExprId> {
    let (none, half, one) = (num(cx, 0.0), num(cx, 0.5), num(cx, 1.0));
    let up = match how.nearest.as_str() {
        "round_prefer_floor" => cx.b.lt(half, ratio),
        "round_prefer_ceil" => cx.b.le(half, ratio),
        "floor" => return Ok(low),
        "ceil" => cx.b.lt(none, ratio),
        "simple" => ex!(cx.b; (none < ratio) & (scale < one)),
        m => return super::resize_table::unknown("nearest_mode", m),
    };
    let above = ex!(cx.b; low + {cx.b.i(1)});
    Ok(cx.b.select(up, above, low))
}

/// Weights of four neighbours.
fn cubic(cx: &mut LowerCx, r: ExprId, a: f64) -> Vec<ExprId> {
    let (one, two) = (num(cx, 1.0), num(cx, 2.0));
    let (before, beyond, above) = (cx.b.add(r, one), cx.b.sub(two, r), cx.b.sub(one, r));
    vec![
        far(cx, before, a),
        near(cx, r, a),
        near(cx, above, a),
        far(cx, beyond, a),
    ]
}

/// A weight at a distance from 1 to 2.
fn far(cx: &mut LowerCx, t: ExprId, a: f64) -> ExprId {
    let k = [a, 5.0 * a, 8.0 * a, 4.0 * a].map(|v| num(cx, v));
    ex!(cx.b; (((((({k[0]} * t) - {k[1]}) * t) + {k[2]}) * t) - {k[3]}))
}

/// A weight at a distance from 0 to 1.
fn near(cx: &mut LowerCx, t: ExprId, a: f64) -> ExprId {
    let k = [a + 2.0, a + 3.0, 1.0].map(|v| num(cx, v));
    ex!(cx.b; ((((({k[0]} * t) - {k[1]}) * t) * t) + {k[2]}))
}

/// The largest sum of sizes of weights of a cubic.
fn largest(a: f64) -> f64 {
    let sums = (0..=64).map(|k| {
        let w = super::resize_table::cubic(f64::from(k) / 64.0, a);
        w.iter().map(|w| w.abs()).sum::<f64>()
    });
    // Between the points that are looked at, a little more.
    sums.fold(1.0, f64::max) * 1.01
}
