//! Which input elements, by what weights, make an output element along one axis of Resize: tables computed at compile
//! time in f64, after the definition (coordinate, neighbours, weights).

use crate::base::diag::{Diagnostic, Result};

/// How a resized axis is computed.
#[derive(Clone, Debug)]
pub struct How {
    /// `nearest`, `linear`, `cubic`.
    pub mode: String,
    /// How an output position maps to an input coordinate.
    pub coordinates: String,
    /// How a coordinate is rounded for `nearest`.
    pub nearest: String,
    /// Parameter of the cubic.
    pub cubic_a: f64,
    /// Elements outside get weight 0, the others are scaled up.
    pub exclude_outside: bool,
    /// Wider windows where the axis shrinks.
    pub antialias: bool,
}

/// The table of one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taps {
    /// Input elements per output element.
    pub n: usize,
    /// Their positions, `n` per output element.
    pub index: Vec<i64>,
    /// Their weights.
    pub weight: Vec<f64>,
    /// Where the coordinate lies outside (`tf_crop_and_resize` only).
    pub outside: Vec<bool>,
}

impl Taps {
    /// The largest sum of sizes of an element's weights.
    pub fn largest(&self) -> f64 {
        let own = self.weight.chunks(self.n.max(1));
        let sums = own.map(|w| w.iter().map(|w| w.abs()).sum::<f64>());
        sums.fold(1.0, f64::max)
    }
}

/// The table for `out` elements from `size`, with the scale as given and the axis' region of interest.
pub fn taps(how: &How, size: i64, out: i64, scale: f64, roi: (f64, f64)) -> Result<Taps> {
    let mut t = Taps::default();
    for y in 0..out {
        let x = coordinate(how, size, out, scale, roi, y)?;
        if how.coordinates == "tf_crop_and_resize" {
            t.outside.push(!(x >= 0.0 && x <= (size - 1) as f64));
        }
        let whole = libm::floor(x);
        let exact = x == whole;
        let ratio = if exact { 1.0 } else { x - whole };
        let weights = match how.mode.as_str() {
            "nearest" => {
                let at = nearest(how, x, whole, scale)?;
                t.n = 1;
                t.index.push(at.clamp(0, (size - 1).max(0)));
                t.weight.push(1.0);
                continue;
            }
            "linear" if how.antialias => linear_wide(ratio, scale),
            "linear" => vec![1.0 - ratio, ratio],
            "cubic" if how.antialias => cubic_wide(ratio, scale, how.cubic_a),
            "cubic" => cubic(ratio, how.cubic_a),
            m => return unknown("mode", m),
        };
        t.n = weights.len();
        let half = (t.n / 2) as i64;
        let first = whole as i64 - half + i64::from(!exact);
        let mut weights = weights;
        if how.exclude_outside {
            for (k, w) in weights.iter_mut().enumerate() {
                if !(0..size).contains(&(first + k as i64)) {
                    *w = 0.0;
                }
            }
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            }
        }
        for (k, w) in weights.into_iter().enumerate() {
            t.index.push((first + k as i64).clamp(0, (size - 1).max(0)));
            t.weight.push(w);
        }
    }
    t.n = t.n.max(1);
    Ok(t)
}

/// What a file asks for that no version of the operator has.
pub fn unknown<T>(what: &str, value: &str) -> Result<T> {
    Err(Diagnostic::unsupported(
        "ONNX008",
        format!("`{what}` = {value} is not known"),
    ))
}

fn coordinate(how: &How, size: i64, out: i64, scale: f64, roi: (f64, f64), y: i64) -> Result<f64> {
    let (y, last) = (y as f64, (size - 1) as f64);
    let width = scale * size as f64;
    let half = (y + 0.5) / scale - 0.5;
    Ok(match how.coordinates.as_str() {
        "half_pixel" => half,
        "pytorch_half_pixel" if width == 1.0 => 0.0,
        "pytorch_half_pixel" => half,
        "half_pixel_symmetric" => {
            let adjustment = out as f64 / width;
            size as f64 / 2.0 * (1.0 - adjustment) + half
        }
        "align_corners" if width == 1.0 => 0.0,
        "align_corners" => y * last / (width - 1.0),
        // What opset 10 and Upsample mean.
        "asymmetric" | "simple" => y / scale,
        "tf_half_pixel_for_nn" => (y + 0.5) / scale,
        "tf_crop_and_resize" if out <= 1 || width == 1.0 => {
            roi.0 * last + (roi.1 - roi.0) * last / 2.0
        }
        "tf_crop_and_resize" => roi.0 * last + y * (roi.1 - roi.0) * last / (width - 1.0),
        m => return unknown("coordinate_transformation_mode", m),
    })
}

fn nearest(how: &How, x: f64, whole: f64, scale: f64) -> Result<i64> {
    let (low, ratio) = (whole as i64, x - whole);
    Ok(match how.nearest.as_str() {
        _ if ratio == 0.0 => low,
        "round_prefer_floor" => low + i64::from(ratio > 0.5),
        "round_prefer_ceil" => low + i64::from(ratio >= 0.5),
        "floor" => low,
        "ceil" => low + 1,
        // Before opset 11: the next above where the axis shrinks.
        "simple" => low + i64::from(scale < 1.0),
        m => return unknown("nearest_mode", m),
    })
}

/// Weights of four neighbours.
pub fn cubic(r: f64, a: f64) -> Vec<f64> {
    let far = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
    let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    vec![far(r + 1.0), near(r), near(1.0 - r), far(2.0 - r)]
}

/// Weights of a window that is as much wider as the axis shrinks.
fn wide(reach: f64, ratio: f64, scale: f64, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let scale = scale.min(1.0);
    // A scale near 0 makes the window as wide as the axis; the bound keeps hostile files small.
    let start = (libm::floor(-reach / scale) as i64 + 1).max(-(1 << 16));
    let count = 2 - 2 * start;
    let w: Vec<f64> = (0..count)
        .map(|k| f((((start + k) as f64) - ratio) * scale))
        .collect();
    let sum: f64 = w.iter().sum();
    w.into_iter().map(|v| v / sum).collect()
}

fn linear_wide(ratio: f64, scale: f64) -> Vec<f64> {
    wide(1.0, ratio, scale, |x| (1.0 - x.abs()).clamp(0.0, 1.0))
}

fn cubic_wide(ratio: f64, scale: f64, a: f64) -> Vec<f64> {
    wide(2.0, ratio, scale, |x| {
        let x = x.abs();
        if x <= 1.0 {
            (a + 2.0) * x * x * x - (a + 3.0) * x * x + 1.0
        } else if x < 2.0 {
            a * x * x * x - 5.0 * a * x * x + 8.0 * a * x - 4.0 * a
        } else {
            0.0
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(mode: &str, coordinates: &str, nearest: &str) -> How {
        How {
            mode: mode.into(),
            coordinates: coordinates.into(),
            nearest: nearest.into(),
            cubic_a: -0.75,
            exclude_outside: false,
            antialias: false,
        }
    }
    #[test]
    fn nearest_upsampling_doubles() {
        let t = taps(
            &how("nearest", "half_pixel", "round_prefer_floor"),
            2,
            4,
            2.0,
            (0.0, 1.0),
        );
        assert_eq!(t.map(|t| t.index).ok(), Some(vec![0, 0, 1, 1]));
        let t = taps(
            &how("nearest", "asymmetric", "floor"),
            2,
            6,
            3.0,
            (0.0, 1.0),
        );
        assert_eq!(t.map(|t| t.index).ok(), Some(vec![0, 0, 0, 1, 1, 1]));
    }
    #[test]
    fn linear_half_pixel_as_in_the_reference() {
        let t = taps(&how("linear", "half_pixel", ""), 2, 4, 2.0, (0.0, 1.0)).ok();
        let v: Option<Vec<f64>> = t.map(|t| {
            (0..4)
                .map(|o| {
                    (0..2)
                        .map(|k| [1.0, 2.0][t.index[o * 2 + k] as usize] * t.weight[o * 2 + k])
                        .sum()
                })
                .collect()
        });
        assert_eq!(v, Some(vec![1.0, 1.25, 1.75, 2.0]));
    }
}
