//! What is kept of a value while the float model runs on calibration data.

use super::moments::Moments;
use super::range::{Method, Range};
use super::scan::{BINS, Number, count, picked, scan};
use super::seen::{Channels, Seen};
use super::sites::Site;
use crate::base::diag::{Diagnostic, Result};
use crate::graph::ir::NodeId;

/// Levels of 8 bits.
const LEVELS: usize = 256;

/// A value's smallest and largest, the means of its channels, and its histogram where the method needs one.
#[derive(Clone, Debug)]
pub struct Observer {
    range: Option<Range>,
    /// Sums over the cases of each one's range.
    ends: (f64, f64),
    cases: u64,
    /// Sum of each channel, and how many numbers each has.
    sums: Vec<f64>,
    /// The largest magnitude of each channel.
    largest: Vec<f32>,
    /// Whether these are wanted.
    peaks: bool,
    each: u64,
    /// Bins from `-reach` to `reach`; their width doubles when something lies outside.
    bins: Vec<u64>,
    reach: f64,
    unbounded: bool,
    /// For each layer that reads the value, where they are asked for.
    moments: Vec<(NodeId, Moments)>,
}

impl Observer {
    /// Nothing yet of a site, with the moments that its layers need.
    pub fn of(site: &Site, method: Method) -> Observer {
        // Results keep all that was seen; ranges that are known need no histogram.
        let method = match site.result || site.known.is_some() {
            true => Method::MinMax,
            false => method,
        };
        let one = |(n, reads, depth): &(NodeId, _, usize)| {
            Some((*n, Moments::new(Clone::clone(reads), *depth)?))
        };
        Observer {
            moments: site.layers.iter().filter_map(one).collect(),
            peaks: site.peaks,
            ..Observer::new(method)
        }
    }
    /// The same moments with other numbers.
    pub fn with_numbers_of(self, other: Observer) -> Observer {
        Observer {
            moments: self.moments,
            ..other
        }
    }
    /// Takes the moments of one case: all of the value, and its shape.
    pub fn learn(&mut self, values: &[f32], shape: &[i64]) {
        if !self.unbounded {
            for (_, m) in &mut self.moments {
                m.take(values, shape);
            }
        }
    }
    /// What was learned for each layer.
    pub fn moments(&self) -> impl Iterator<Item = (NodeId, &Moments)> {
        self.moments.iter().map(|(n, m)| (*n, m))
    }
    /// Nothing yet; a histogram is kept where the method needs one.
    pub fn new(method: Method) -> Observer {
        let needs = !matches!(method, Method::MinMax | Method::MovingAverage);
        Observer {
            range: None,
            ends: (0.0, 0.0),
            cases: 0,
            sums: vec![],
            largest: vec![],
            peaks: true,
            each: 0,
            bins: if needs { vec![0; BINS] } else { vec![] },
            reach: 0.0,
            unbounded: false,
            moments: vec![],
        }
    }
    /// Takes the values of one case. `channels`: their number and how many values of one lie side by side, where means are wanted.
    pub fn take(&mut self, values: &[f32], channels: Option<(usize, usize)>) -> Result<()> {
        let channels = channels.map(|(count, run)| Channels {
            count,
            run: run.max(1),
            last: false,
        });
        self.numbers(values, channels)
    }
    /// Takes a value where it lies in a run's memory, with the moments that are asked for. `axis`: that of the channels, where means are wanted.
    pub fn look(&mut self, seen: &Seen, axis: Option<usize>) -> Result<()> {
        let channels = axis.and_then(|a| seen.channels(a));
        let apart = axis.is_some() && channels.is_none() && !seen.is_plain();
        // Moments are those of the model's order; so are channels that lie in no usual way.
        let peaks = self.peaks && channels.is_some_and(|c| c.last);
        if !(apart || peaks) && self.moments.is_empty() {
            return self.numbers(seen.values, channels);
        }
        let (values, shape) = (seen.plain(), seen.plain_shape());
        let order: Vec<usize> = (0..shape.len()).collect();
        let plain = Seen {
            values: &[],
            shape: &shape,
            order: &order,
        };
        self.numbers(&values, axis.and_then(|a| plain.channels(a)))?;
        self.learn(&values, &shape);
        Ok(())
    }
    fn numbers<T: Number>(&mut self, values: &[T], channels: Option<Channels>) -> Result<()> {
        let found = scan(values, channels, &self.sums);
        if found.odd {
            let text = "a value that calibration observes is not a number";
            return Err(Diagnostic::usage("USE004", text));
        }
        if values.is_empty() || self.unbounded {
            return Ok(());
        }
        let (lo, hi) = found.ends;
        self.unbounded = lo == f32::NEG_INFINITY || hi == f32::INFINITY;
        if self.unbounded {
            return Ok(());
        }
        let own = Range::of(lo.into(), hi.into());
        self.range = Some(self.range.map_or(own, |r| r.and(own)));
        self.ends = (self.ends.0 + own.lo, self.ends.1 + own.hi);
        self.cases += 1;
        if let Some(c) = channels {
            self.sums = found.sums;
            self.each += (values.len() / c.count.max(1)) as u64;
            if self.peaks {
                self.largest.resize(c.count, 0.0);
                for (at, part) in values.chunks_exact(c.run.max(1)).enumerate() {
                    let l = &mut self.largest[at % c.count];
                    *l = part.iter().fold(*l, |a, v| a.max(v.real().abs()));
                }
            }
        }
        if !self.bins.is_empty() {
            self.count(values, own);
        }
        Ok(())
    }
    fn count<T: Number>(&mut self, values: &[T], own: Range) {
        let reach = own.hi.max(-own.lo);
        if self.reach == 0.0 {
            self.reach = if reach > 0.0 { reach } else { 1.0 };
        }
        while self.reach < reach {
            // Two bins become one, nearer to the middle.
            let mut wider = vec![0; BINS];
            for (i, n) in self.bins.iter().enumerate() {
                wider[BINS / 4 + i / 2] += n;
            }
            self.bins = wider;
            self.reach *= 2.0;
        }
        let values = picked(values);
        if let Ok(bins) = self.bins.as_mut_slice().try_into() {
            count(&values, self.reach, bins);
        }
    }
    /// How often values were seen: bins of one width from `-reach` to `reach`, and `reach`. No bins where the method needs none.
    pub fn histogram(&self) -> (&[u64], f64) {
        (&self.bins, self.reach)
    }
    /// Whether an infinity was seen, as masks of attention hold: no scale covers it.
    pub fn is_unbounded(&self) -> bool {
        self.unbounded
    }
    /// Whether anything was seen.
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }
    /// The mean of each channel; empty where none were taken.
    pub fn means(&self) -> Vec<f64> {
        let each = self.each.max(1) as f64;
        self.sums.iter().map(|s| s / each).collect()
    }
    /// The largest magnitude of each channel; empty where it was not asked for.
    pub fn largest(&self) -> Vec<f64> {
        self.largest.iter().map(|v| f64::from(*v)).collect()
    }
    /// The range by a method.
    pub fn range(&self, method: Method) -> Range {
        let seen = self.range.unwrap_or(Range::of(0.0, 0.0));
        match method {
            Method::MinMax => seen,
            Method::MovingAverage => {
                let n = self.cases.max(1) as f64;
                Range::of(self.ends.0 / n, self.ends.1 / n)
            }
            Method::Percentile(p) => self.percentile(p, seen),
            Method::Mse => self.best(seen, |o, r| o.squares(r)),
            Method::Entropy => self.best(seen, |o, r| o.divergence(r)),
        }
    }
    fn width(&self) -> f64 {
        2.0 * self.reach / BINS as f64
    }
    /// The middle of a bin.
    fn middle(&self, i: usize) -> f64 {
        (i as f64 + 0.5) * self.width() - self.reach
    }
    fn percentile(&self, p: f64, seen: Range) -> Range {
        let all: u64 = self.bins.iter().sum();
        let out = ((1.0 - p / 100.0).clamp(0.0, 1.0) / 2.0 * all as f64) as u64;
        let edge = |mut list: Box<dyn Iterator<Item = (usize, &u64)> + '_>| {
            let mut left = out;
            list.find_map(|(i, &n)| match left.checked_sub(n) {
                Some(rest) => {
                    left = rest;
                    None
                }
                None => Some(i),
            })
        };
        let lo = edge(Box::new(self.bins.iter().enumerate()));
        let hi = edge(Box::new(self.bins.iter().enumerate().rev()));
        let (Some(lo), Some(hi)) = (lo, hi) else {
            return seen;
        };
        let half = self.width() / 2.0;
        let r = Range::of(self.middle(lo) - half, self.middle(hi) + half);
        Range::of(r.lo.max(seen.lo), r.hi.min(seen.hi))
    }
    /// The range that costs least, of those whose ends are shrunk towards 0: both alike, then each by itself.
    fn best(&self, seen: Range, cost: impl Fn(&Self, Range) -> f64) -> Range {
        let mut best = (cost(self, seen), seen);
        for (lo, hi) in [(true, true), (false, true), (true, false)] {
            let from = best.1;
            for k in 1..64 {
                let by = f64::from(k) / 64.0;
                let shrunk = |end: f64, wanted: bool| if wanted { end * by } else { end };
                let r = Range::of(shrunk(from.lo, lo), shrunk(from.hi, hi));
                let c = cost(self, r);
                if c < best.0 {
                    best = (c, r);
                }
            }
        }
        best.1
    }
    /// The mean square of what limits and rounding change; inside a step the error is even. Numbers that are 0 count as others do, though they are exact: what is
    /// cut off is rare, and costs a network less than its square says.
    fn squares(&self, r: Range) -> f64 {
        let step = (r.hi - r.lo) / (LEVELS - 1) as f64;
        let one = |(i, &n): (usize, &u64)| {
            let v = self.middle(i);
            let over = v - v.clamp(r.lo, r.hi);
            n as f64 * (over * over + step * step / 12.0)
        };
        self.bins.iter().enumerate().map(one).sum()
    }
    /// The divergence of the distribution from that of the numbers it becomes (Migacz 2017, "8-bit inference with TensorRT").
    fn divergence(&self, r: Range) -> f64 {
        let step = (r.hi - r.lo) / LEVELS as f64;
        if step <= 0.0 {
            return f64::INFINITY;
        }
        let level = |v: f64| (((v - r.lo) / step) as usize).min(LEVELS - 1);
        let mut sums = [(0u64, 0u64); LEVELS];
        let mut kept = vec![];
        for (i, &n) in self.bins.iter().enumerate() {
            if n > 0 {
                // What lies outside ends up at an end.
                let l = level(self.middle(i).clamp(r.lo, r.hi));
                let inside = (r.lo..=r.hi).contains(&self.middle(i));
                sums[l].0 += n;
                sums[l].1 += u64::from(inside);
                kept.push((n, l, inside));
            }
        }
        let all: f64 = kept.iter().map(|k| k.0 as f64).sum();
        let one = |&(n, l, inside): &(u64, usize, bool)| {
            let p = n as f64 / all;
            let (total, bins) = sums[l];
            let q = match inside {
                true => total as f64 / bins.max(1) as f64 / all,
                // Nothing stands there any more.
                false => 1e-6 / all,
            };
            p * libm::log(p / q)
        };
        kept.iter().map(one).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(method: Method, cases: &[&[f32]]) -> Range {
        let mut o = Observer::new(method);
        for c in cases {
            o.take(c, None).unwrap();
        }
        o.range(method)
    }

    #[test]
    fn methods_differ_by_outliers() {
        // More of them near 0, as in networks.
        let value = |i: i32| {
            let x = (i % 200) as f32 / 100.0 - 1.0;
            x * x * x
        };
        let mut many: Vec<f32> = (0..10_000).map(value).collect();
        many.push(50.0);
        let of = |m| observed(m, &[&many, &[0.5, -0.5]]);
        assert_eq!(of(Method::MinMax), Range { lo: -1.0, hi: 50.0 });
        assert_eq!(
            of(Method::MovingAverage),
            Range {
                lo: -0.75,
                hi: 25.25
            }
        );
        let p = of(Method::Percentile(99.9));
        assert!(p.hi < 1.2 && p.lo > -1.1, "{p:?}");
        for m in [Method::Mse, Method::Entropy] {
            let r = of(m);
            assert!(r.hi < 50.0 && r.hi > 1.0, "{m:?} {r:?}");
        }
    }

    #[test]
    fn histograms_grow() {
        let mut o = Observer::new(Method::Percentile(100.0));
        o.take(&[0.1, -0.1], None).unwrap();
        o.take(&[7.0], None).unwrap();
        assert_eq!(o.bins.iter().sum::<u64>(), 3);
        assert!(o.reach >= 7.0);
    }

    #[test]
    fn means_are_those_of_channels() {
        let mut o = Observer::new(Method::MinMax);
        // Two cases in a batch, three channels of two.
        let x = [
            1.0, 3.0, 0.0, 0.0, -1.0, -2.0, 5.0, 7.0, 2.0, 2.0, 0.0, -1.0,
        ];
        o.take(&x, Some((3, 2))).unwrap();
        assert_eq!(o.means(), [4.0, 1.0, -1.0]);
        assert_eq!(o.largest(), [7.0, 2.0, 2.0]);
        assert!(o.take(&[f32::NAN], None).is_err());
        o.take(&[0.0, f32::NEG_INFINITY], None).unwrap();
        assert!(o.is_unbounded());
    }
}
