//! Ranges without data: what batch normalization says of the values that it makes. Over the data that the model was trained on, channel c of its result has
//! mean `bias[c]` and standard deviation `|scale[c]|`, and is about normal (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
//! correction", sections 4.2.1 and 5). Limits behind it and sums of such values are followed.

use super::{Method, Observer};
use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::passes::integers::limits;
use std::collections::{BTreeMap, HashMap};

/// Numbers that stand for the distribution of a channel.
const QUANTILES: usize = 1024;
/// The ends of a distribution, in standard deviations: those of the paper, where the range is all that was seen.
const ENDS: f64 = 6.0;
/// The same where a method weighs what it cuts off.
const WEIGHED_ENDS: f64 = 4.5;
/// Values that are followed from one, at most: each is a node further back.
const MOST_DEPTH: usize = 64;

/// The distributions of a value's channels along axis 1: normal ones, limited at both ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Normal {
    /// The mean of each channel.
    pub means: Vec<f64>,
    /// The standard deviation of each.
    pub deviations: Vec<f64>,
    /// What the numbers are limited to.
    pub limits: (f64, f64),
}

impl Normal {
    /// The number of a channel that lies so many deviations from its mean.
    fn at(&self, channel: usize, z: f64) -> f64 {
        let free = self.means[channel] + z * self.deviations[channel];
        free.clamp(self.limits.0, self.limits.1)
    }
}

/// By their names, the values that the batch normalizations of a model make, which is not yet optimized.
pub fn statistics(g: &Graph) -> BTreeMap<String, Normal> {
    let one = |&n: &NodeId| {
        let node = g.node(n);
        let list = |k: usize| g.konst(node.ins.get(k).copied().flatten()?)?.to_f64s();
        if node.op.name != "BatchNormalization" || node.attrs.flag("training_mode") {
            return None;
        }
        let (scale, means, variances) = (list(1)?, list(2)?, list(4)?);
        let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
        let share = |v: &f64| libm::sqrt(v.max(0.0) / (v.max(0.0) + epsilon));
        let deviation = |(s, v): (&f64, &f64)| s.abs() * share(v);
        let deviations: Vec<f64> = scale.iter().zip(&variances).map(deviation).collect();
        let all = means.iter().chain(&deviations);
        let usable = means.len() == deviations.len() && all.clone().all(|v| v.is_finite());
        // One that was never trained says nothing: all channels are alike.
        let trained = means.iter().any(|m| *m != 0.0) || scale.iter().any(|s| *s != 1.0);
        (usable && trained).then(|| {
            let limits = (f64::NEG_INFINITY, f64::INFINITY);
            let normal = Normal {
                means,
                deviations,
                limits,
            };
            (g.value(node.outs[0]).name.clone(), normal)
        })
    };
    let named = g.order().iter().filter_map(one);
    named.filter(|(name, _)| !name.is_empty()).collect()
}

/// What is known of the values of an optimized graph.
pub struct Known<'g> {
    g: &'g Graph,
    named: &'g BTreeMap<String, Normal>,
    found: HashMap<ValueId, Option<Normal>>,
    unit: Vec<f64>,
}

impl<'g> Known<'g> {
    /// `named`: what [`statistics`] found before the graph was optimized.
    pub fn new(g: &'g Graph, named: &'g BTreeMap<String, Normal>) -> Known<'g> {
        Known {
            g,
            named,
            found: HashMap::new(),
            unit: quantiles().collect(),
        }
    }

    /// The distribution of a value, if it is known.
    pub fn of(&mut self, v: ValueId) -> Option<Normal> {
        self.followed(v, MOST_DEPTH)
    }

    fn followed(&mut self, v: ValueId, depth: usize) -> Option<Normal> {
        if let Some(known) = self.found.get(&v) {
            return known.clone();
        }
        let own = match self.named.get(&self.g.value(v).name) {
            Some(n) => Some(n.clone()),
            None => self.made(v, depth.checked_sub(1)?),
        };
        let channels = self.g.ty(v).and_then(|t| t.shape.get(1)?.fixed());
        let own = own.filter(|n| channels == Some(n.means.len() as i64));
        self.found.insert(v, own.clone());
        own
    }

    /// That of what a node makes of values that are known.
    fn made(&mut self, v: ValueId, depth: usize) -> Option<Normal> {
        let (m, _) = self.g.maker(v)?;
        let node = self.g.node(m);
        let ins: Vec<ValueId> = node.ins.iter().flatten().copied().collect();
        match node.op.name {
            "Add" if ins.len() == 2 => {
                let (a, b) = (self.followed(ins[0], depth)?, self.followed(ins[1], depth)?);
                let same = a.means.len() == b.means.len();
                let sum = same.then(|| self.sum(&a, &b))?;
                (sum.limits.0 <= sum.limits.1).then_some(sum)
            }
            "Identity" => self.followed(*ins.first()?, depth),
            _ => {
                let (lo, hi) = limits(self.g, m)?;
                let known = |v: &&ValueId| self.g.konst(**v).is_none();
                let mut n = self.followed(*ins.iter().find(known)?, depth)?;
                n.limits = (n.limits.0.clamp(lo, hi), n.limits.1.clamp(lo, hi));
                Some(n)
            }
        }
    }

    /// A sum of values that do not depend on each other.
    fn sum(&self, a: &Normal, b: &Normal) -> Normal {
        let both = |(x, y): ((f64, f64), (f64, f64))| (x.0 + y.0, libm::sqrt(x.1 + y.1));
        let moments = self.moments(a).into_iter().zip(self.moments(b));
        let (means, deviations) = moments.map(both).unzip();
        Normal {
            means,
            deviations,
            limits: (a.limits.0 + b.limits.0, a.limits.1 + b.limits.1),
        }
    }

    /// Mean and variance of each channel with its limits.
    fn moments(&self, n: &Normal) -> Vec<(f64, f64)> {
        let one = |c: usize| {
            let x = self.channel(n, c);
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let square = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
            (mean, square / x.len() as f64)
        };
        (0..n.means.len()).map(one).collect()
    }

    fn channel(&self, n: &Normal, c: usize) -> Vec<f64> {
        self.unit.iter().map(|z| n.at(c, *z)).collect()
    }

    /// An observer that has seen these distributions.
    pub fn observer(&self, n: &Normal, method: Method) -> Result<Observer> {
        let ends = match method {
            Method::MinMax | Method::MovingAverage => ENDS,
            _ => WEIGHED_ENDS,
        };
        let channel = |c: usize| {
            let ends = [-ends, ends].map(|z| n.at(c, z));
            self.channel(n, c).into_iter().chain(ends)
        };
        let all = (0..n.means.len()).flat_map(channel);
        let values: Vec<f32> = all.map(|v| v as f32).collect();
        let mut o = Observer::new(method);
        o.take(&values, Some((n.means.len(), self.unit.len() + 2)))?;
        Ok(o)
    }
}

/// Numbers of the standard normal distribution, each of which stands for as many of it.
fn quantiles() -> impl Iterator<Item = f64> {
    let below = move |z: f64| 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    let one = move |k: usize| {
        let wanted = (k as f64 + 0.5) / QUANTILES as f64;
        let (mut lo, mut hi) = (-ENDS, ENDS);
        for _ in 0..60 {
            let middle = (lo + hi) / 2.0;
            match below(middle) < wanted {
                true => lo = middle,
                false => hi = middle,
            }
        }
        (lo + hi) / 2.0
    };
    (0..QUANTILES).map(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse::parse;

    const TEXT: &str = "graph @g(%x: f32[1,2,4,4]) -> (%y) {
  %s = lit f32[2] [2.0, -0.5]
  %b = lit f32[2] [1.0, -3.0]
  %m = lit f32[2] [0.25, 7.0]
  %v = lit f32[2] [4.0, 9.0]
  %n = BatchNormalization(%x, %s, %b, %m, %v) { epsilon = 0.0, momentum = 0.9, training_mode = 0 } : f32[1,2,4,4]
  %r = Relu(%n) : f32[1,2,4,4]
  %y = Add(%r, %n) : f32[1,2,4,4]
}";

    #[test]
    fn means_and_ranges_are_those_of_the_normalization() {
        let m = parse(TEXT, crate::ops::find).unwrap();
        let g = &m.graph;
        let named = statistics(g);
        let mut known = Known::new(g, &named);
        let out = |at: usize| g.node(g.order()[at]).outs[0];
        let n = known.of(out(0)).unwrap();
        assert_eq!(
            (&n.means[..], &n.deviations[..]),
            (&[1.0, -3.0][..], &[2.0, 0.5][..])
        );
        let range = |o: Observer| o.range(Method::MinMax);
        let r = range(known.observer(&n, Method::MinMax).unwrap());
        assert_eq!((r.lo, r.hi), (-11.0, 13.0));
        // scipy: the mean of max(x, 0) for mean 1 and deviation 2 is 1 * cdf(.5) + 2 * pdf(.5) = 1.39559.
        let relu = known.of(out(1)).unwrap();
        let o = known.observer(&relu, Method::MinMax).unwrap();
        assert!((o.means()[0] - 1.39559).abs() < 0.01, "{:?}", o.means());
        assert!(o.means()[1] < 1e-6 && range(o).lo == 0.0);
        // The sum has the sum of both means.
        let sum = known.of(out(2)).unwrap();
        assert!((sum.means[0] - 2.39559).abs() < 0.01 && sum.limits.0 == f64::NEG_INFINITY);
    }

    #[test]
    fn what_was_never_trained_says_nothing() {
        let text = TEXT
            .replace("[2.0, -0.5]", "[1.0, 1.0]")
            .replace("[1.0, -3.0]", "[0.0, 0.0]");
        let m = parse(&text, crate::ops::find).unwrap();
        assert!(statistics(&m.graph).is_empty());
    }
}
