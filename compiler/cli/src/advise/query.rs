//! Queries of kernels as text, taken apart so that another layer can be asked for: fewer channels, a smaller window, a larger stride.

use std::fmt::Write;

/// A query: `conv 1x24x56x56 144x24x3x3 stride=2 pad=1 last=1` or `gemm 128x384 384x1536`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// `conv` or `gemm`.
    pub kind: String,
    /// Sizes of the input.
    pub input: Vec<i64>,
    /// Sizes of the weights.
    pub weights: Vec<i64>,
    options: Vec<(String, String)>,
}

fn sizes(text: &str) -> Option<Vec<i64>> {
    text.split('x').map(|n| n.parse().ok()).collect()
}

impl Query {
    /// Reads one; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Query> {
        let mut words = text.split_whitespace();
        let kind = words.next()?.to_string();
        let (input, weights) = (sizes(words.next()?)?, sizes(words.next()?)?);
        let options = words.map(|w| w.split_once('=').map(|(n, v)| (n.into(), v.into())));
        Some(Query {
            kind,
            input,
            weights,
            options: options.collect::<Option<_>>()?,
        })
    }

    /// The text.
    pub fn text(&self) -> String {
        let join = |l: &[i64]| l.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
        let mut out = format!(
            "{} {} {}",
            self.kind,
            join(&self.input),
            join(&self.weights)
        );
        for (name, value) in &self.options {
            // Writing to a String can't fail.
            let _ = write!(out, " {name}={value}");
        }
        out
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|o| o.0 == name)?;
        Some(&found.1)
    }

    /// The same with another value of an option; an empty one takes it away.
    pub fn with(mut self, name: &str, value: &str) -> Query {
        self.options.retain(|o| o.0 != name);
        if !value.is_empty() {
            self.options.push((name.into(), value.into()));
        }
        self
    }

    /// Groups of channels.
    pub fn groups(&self) -> i64 {
        self.option("group")
            .and_then(|g| g.parse().ok())
            .unwrap_or(1)
    }

    /// Whether each channel is convolved alone.
    pub fn depthwise(&self) -> bool {
        self.kind == "conv" && self.groups() > 1 && self.weights.get(1) == Some(&1)
    }

    /// Sizes of the window, of convolutions.
    pub fn window(&self) -> &[i64] {
        match self.kind.as_str() {
            "conv" => self.weights.get(2..).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Whether it moves one step at a time.
    pub fn unit_stride(&self) -> bool {
        self.option("stride").is_none_or(|s| s == "1")
    }

    /// Channels of the output.
    pub fn channels(&self) -> Option<i64> {
        match self.kind.as_str() {
            "conv" => self.weights.first().copied(),
            _ if self.option("tb").is_some_and(|t| t != "0") => self.weights.first().copied(),
            _ => self.weights.last().copied(),
        }
    }

    /// The same with so many output channels; for depthwise ones input channels follow.
    pub fn with_channels(mut self, n: i64) -> Query {
        let transposed = self.option("tb").is_some_and(|t| t != "0");
        let depthwise = self.depthwise();
        let at = match self.kind.as_str() {
            "conv" => 0,
            _ if transposed => 0,
            _ => self.weights.len().saturating_sub(1),
        };
        if let Some(w) = self.weights.get_mut(at) {
            *w = n;
        }
        if depthwise {
            if let Some(c) = self.input.get_mut(1) {
                *c = n;
            }
            self = self.with("group", &n.to_string());
        }
        self
    }

    /// A depthwise convolution with this one's window, and the 1x1 convolution behind it that mixes channels.
    pub fn separated(&self) -> Option<(Query, Query)> {
        let inputs = *self.input.get(1)?;
        if self.kind != "conv" || self.groups() != 1 || self.window().iter().product::<i64>() < 4 {
            return None;
        }
        let mut alone = self.clone();
        *alone.weights.get_mut(0)? = inputs;
        *alone.weights.get_mut(1)? = 1;
        let alone = alone.with("group", &inputs.to_string());
        let mut mix = self.clone();
        mix.weights.get_mut(2..)?.fill(1);
        let step = self.strides()?;
        for (k, s) in step.iter().enumerate() {
            let n = mix.input.get_mut(k + 2)?;
            // Windows are padded so that sizes halve, or nearly so.
            *n = (*n + s - 1) / s;
        }
        let mix = mix.with("stride", "").with("pad", "").with("dilation", "");
        Some((alone, mix))
    }

    fn strides(&self) -> Option<Vec<i64>> {
        let n = self.window().len();
        let Some(text) = self.option("stride") else {
            return Some(vec![1; n]);
        };
        let list: Option<Vec<i64>> = text.split(',').map(|t| t.parse().ok()).collect();
        match list?.as_slice() {
            [one] => Some(vec![*one; n]),
            many if many.len() == n => Some(many.to_vec()),
            _ => None,
        }
        .filter(|l| l.iter().all(|s| *s > 0))
    }

    /// The same with windows of 3, padded so that sizes stay.
    pub fn narrowed(&self) -> Option<Query> {
        if self.window().iter().all(|k| *k <= 3) || self.option("dilation").is_some() {
            return None;
        }
        let mut q = self.clone();
        let window = q.weights.get_mut(2..)?;
        window.iter_mut().for_each(|k| *k = (*k).min(3));
        let pads: Vec<String> = window.iter().map(|k| (k / 2).to_string()).collect();
        let pads = [&pads[..], &pads[..]].concat();
        Some(q.with("pad", &pads.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let q = Query::parse("conv 1x16x104x104 32x16x5x5 stride=2 pad=2 last=1").unwrap();
        assert_eq!(Query::parse(&q.text()), Some(q.clone()));
        let (alone, mix) = q.separated().unwrap();
        assert_eq!(
            alone.text(),
            "conv 1x16x104x104 16x1x5x5 stride=2 pad=2 last=1 group=16"
        );
        assert_eq!(mix.text(), "conv 1x16x52x52 32x16x1x1 last=1");
        assert!(alone.depthwise() && alone.separated().is_none());
        let small = q.narrowed().unwrap();
        assert_eq!(
            small.text(),
            "conv 1x16x104x104 32x16x3x3 stride=2 last=1 pad=1,1,1,1"
        );
        assert_eq!(
            alone.with_channels(8).text(),
            "conv 1x8x104x104 8x1x5x5 stride=2 pad=2 last=1 group=8"
        );
        let g = Query::parse("gemm 1x64 256x64 tb=1").unwrap();
        assert_eq!(g.channels(), Some(256));
        assert_eq!(g.with_channels(128).text(), "gemm 1x64 128x64 tb=1");
        assert_eq!(Query::parse("conv 1x2"), None);
    }
}
