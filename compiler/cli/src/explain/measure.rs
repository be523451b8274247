//! What is measured of a value or of weights in both models: errors, shapes of distributions, channels out of line, numbers out of range.

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::compress::quantize::{Method, Observer};

use super::pairs::{Pair, Weights};
use crate::data::topk::top;
use crate::quantize::compare::decibels;

/// Bins of a histogram that is shown.
pub const BINS: usize = 64;
/// A channel is out of line where its largest magnitude is so many times the median channel's.
pub const FAR: f64 = 5.0;

/// How far one list of numbers is from another.
#[derive(Clone, Default, Debug)]
pub struct Error {
    signal: f64,
    noise: f64,
    dot: f64,
    other: f64,
    /// The largest difference.
    pub max: f64,
}

impl Error {
    /// Takes numbers, the true ones first. Where one is not finite, it counts for nothing.
    pub fn take(&mut self, want: &[f64], got: &[f64]) {
        for (a, b) in want.iter().zip(got) {
            if !a.is_finite() || !b.is_finite() {
                continue;
            }
            let e = (a - b).abs();
            self.signal += a * a;
            self.noise += e * e;
            self.dot += a * b;
            self.other += b * b;
            self.max = self.max.max(e);
        }
    }
    /// Decibels; infinite without a difference.
    pub fn sqnr(&self) -> f64 {
        decibels(self.signal, self.noise)
    }
    /// The cosine of the angle between both; 1 where both are zero.
    pub fn cosine(&self) -> f64 {
        let long = libm::sqrt(self.signal) * libm::sqrt(self.other);
        match long > 0.0 {
            true => self.dot / long,
            false if self.signal == self.other => 1.0,
            false => 0.0,
        }
    }
}

/// How often numbers lie where.
#[derive(Clone, Default, Debug)]
pub struct Histogram {
    /// Where the first bin begins.
    pub from: f64,
    /// Where the last one ends.
    pub to: f64,
    /// Numbers in each bin, all of one width.
    pub counts: Vec<u64>,
}

impl Histogram {
    fn over(from: f64, to: f64) -> Histogram {
        Histogram {
            from,
            to: if to > from { to } else { from + 1.0 },
            counts: vec![0; BINS],
        }
    }
    fn add(&mut self, v: f64, times: u64) {
        let at = (v - self.from) / (self.to - self.from) * BINS as f64;
        if v.is_finite() {
            let at = (at.max(0.0) as usize).min(BINS - 1);
            self.counts[at] += times;
        }
    }
    fn of(values: &[f64]) -> Histogram {
        let finite = values.iter().filter(|v| v.is_finite());
        let (lo, hi) = finite.fold((0.0f64, 0.0f64), |(l, h), v| (l.min(*v), h.max(*v)));
        let mut h = Histogram::over(lo, hi);
        values.iter().for_each(|v| h.add(*v, 1));
        h
    }
}

/// The largest magnitude of each channel.
#[derive(Clone, Default, Debug)]
pub struct Channels(Vec<f64>);

impl Channels {
    /// Takes numbers of so many channels, so many of one side by side.
    fn take(&mut self, values: &[f64], (count, run): (usize, usize)) {
        self.0.resize(count.max(1), 0.0);
        for (k, part) in values.chunks(run.max(1)).enumerate() {
            let l = &mut self.0[k % count.max(1)];
            let finite = part.iter().filter(|v| v.is_finite());
            *l = finite.fold(*l, |l, v| l.max(v.abs()));
        }
    }
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
    /// Channels far above the median, the largest first, each with how many times the median it has.
    pub fn outliers(&self) -> Vec<(usize, f64)> {
        let median = self.median();
        if median <= 0.0 {
            return vec![];
        }
        let all = self.0.iter().enumerate().map(|(k, l)| (k, l / median));
        let mut far: Vec<(usize, f64)> = all.filter(|c| c.1 > FAR).collect();
        far.sort_by(|a, b| b.1.total_cmp(&a.1));
        far
    }
}

/// What was measured of a value.
pub struct Measured {
    /// Which.
    pub pair: Pair,
    /// Of the quantized model, all that comes before included.
    pub error: Error,
    /// Of the float value put into this value's whole numbers, and nothing else.
    pub alone: Error,
    /// Numbers that lie outside the range by more than half a step.
    pub clipped: u64,
    /// Numbers.
    pub count: u64,
    /// Channels of the float value.
    pub channels: Channels,
    seen: Observer,
}

impl Measured {
    /// Nothing yet.
    pub fn new(pair: Pair) -> Measured {
        Measured {
            pair,
            error: Error::default(),
            alone: Error::default(),
            clipped: 0,
            count: 0,
            channels: Channels::default(),
            // The method that keeps a histogram.
            seen: Observer::new(Method::Percentile(100.0)),
        }
    }

    /// Takes one case; whether both have the same shape, without which it is not taken.
    pub fn take(&mut self, float: &Tensor, codes: &Tensor) -> Result<bool> {
        let (Some(want), Some(q)) = (float.to_f64s(), codes.to_f64s()) else {
            return Ok(false);
        };
        if float.shape != codes.shape {
            return Ok(false);
        }
        let p = &self.pair;
        let real = |q: f64| (q - p.zero) * p.scale;
        let got: Vec<f64> = q.iter().map(|q| real(*q)).collect();
        let (lo, hi) = (p.range.0.min(p.range.1), p.range.0.max(p.range.1));
        let rounded = |v: &f64| (libm::rint(v / p.scale) * p.scale).clamp(lo, hi);
        let alone: Vec<f64> = want.iter().map(rounded).collect();
        self.error.take(&want, &got);
        self.alone.take(&want, &alone);
        let half = p.scale.abs() / 2.0;
        let out = want.iter().filter(|v| **v < lo - half || **v > hi + half);
        self.clipped += out.count() as u64;
        self.count += want.len() as u64;
        self.channels.take(&want, channels(&float.shape));
        self.seen.take(&float.to_f32s().unwrap_or_default(), None)?;
        Ok(true)
    }

    /// The share of numbers out of range.
    pub fn clipped_share(&self) -> f64 {
        self.clipped as f64 / self.count.max(1) as f64
    }

    /// The share of the error's power that the value's own rounding makes, from 0 to 1.
    pub fn own_share(&self) -> f64 {
        match self.error.noise > 0.0 {
            true => (self.alone.noise / self.error.noise).min(1.0),
            false => 0.0,
        }
    }

    /// The float value's distribution, as wide as it and the range together.
    pub fn histogram(&self) -> Histogram {
        let (bins, reach) = self.seen.histogram();
        let seen = self.seen.range(Method::MinMax);
        let (lo, hi) = self.pair.range;
        let mut h = Histogram::over(lo.min(seen.lo), hi.max(seen.hi));
        let width = 2.0 * reach / bins.len().max(1) as f64;
        for (i, n) in bins.iter().enumerate() {
            h.add((i as f64 + 0.5) * width - reach, *n);
        }
        h
    }
}

/// Channels of a value, and how many numbers of one lie side by side: the second axis of pictures, the last of all else.
fn channels(shape: &[i64]) -> (usize, usize) {
    let axis = if shape.len() >= 4 {
        1
    } else {
        shape.len().max(1) - 1
    };
    let count = shape.get(axis).copied().unwrap_or(1).max(1) as usize;
    let run: i64 = shape.iter().skip(axis + 1).product();
    (count, run.max(1) as usize)
}

/// What was measured of weights.
pub struct MeasuredWeights {
    /// The layer's name.
    pub layer: String,
    /// Its operator.
    pub op: &'static str,
    /// Of the quantized ones.
    pub error: Error,
    /// Output channels.
    pub channels: Channels,
    /// The float ones.
    pub histogram: Histogram,
    /// The smallest and the largest quantized one.
    pub range: (f64, f64),
}

impl MeasuredWeights {
    /// Measures.
    pub fn of(w: &Weights) -> MeasuredWeights {
        let mut error = Error::default();
        error.take(&w.float, &w.real);
        let mut channels = Channels::default();
        channels.take(&w.float, w.channels);
        let ends = |(l, h): (f64, f64), v: &f64| (l.min(*v), h.max(*v));
        MeasuredWeights {
            layer: w.layer.clone(),
            op: w.op,
            error,
            channels,
            histogram: Histogram::of(&w.float),
            range: w.real.iter().fold((0.0, 0.0), ends),
        }
    }
}

/// What was measured of an output.
pub struct MeasuredOutput {
    /// Its name.
    pub name: String,
    /// Of the quantized model.
    pub error: Error,
    /// Rows whose largest is the same, and rows, where it looks like scores of classes.
    pub top: (usize, usize),
}

impl MeasuredOutput {
    /// Nothing yet.
    pub fn new(name: &str) -> MeasuredOutput {
        MeasuredOutput {
            name: name.to_string(),
            error: Error::default(),
            top: (0, 0),
        }
    }
    /// Takes one case; whether both have the same shape.
    pub fn take(&mut self, want: &Tensor, got: &Tensor) -> bool {
        let (Some(a), Some(b)) = (want.to_f64s(), got.to_f64s()) else {
            return false;
        };
        if want.shape != got.shape {
            return false;
        }
        self.error.take(&a, &b);
        let classes = want.shape.last().copied().unwrap_or(0) as usize;
        if want.shape.len() == 2 && classes > 1 {
            for (a, b) in a.chunks_exact(classes).zip(b.chunks_exact(classes)) {
                self.top.0 += usize::from(top(a, 1) == top(b, 1));
                self.top.1 += 1;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_numbers() {
        let mut e = Error::default();
        e.take(&[3.0, 4.0, f64::NAN], &[3.0, 3.5, 0.0]);
        assert!((e.sqnr() - 20.0).abs() < 1e-9 && e.max == 0.5);
        assert!((e.cosine() - 23.0 / (5.0 * libm::sqrt(21.25))).abs() < 1e-12);
        assert_eq!(Error::default().cosine(), 1.0);
        assert_eq!(Error::default().sqnr(), f64::INFINITY);
    }

    #[test]
    fn channels_out_of_line() {
        let mut c = Channels::default();
        c.take(&[1.0, -1.0, 2.0, 0.0, -9.0, 1.0, 0.5, 0.5], (4, 2));
        assert_eq!(c.outliers(), []);
        c.take(&[0.0, 0.0, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0], (4, 2));
        // Largest of each: 1, 2, 12, 0.5; the median is the upper middle one.
        assert_eq!(c.outliers(), [(2, 6.0)]);
        assert_eq!(channels(&[1, 3, 4, 5]), (3, 20));
        assert_eq!(channels(&[2, 7, 8]), (8, 1));
        assert_eq!(channels(&[]), (1, 1));
    }
}
