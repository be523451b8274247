//! Pruning: fewer weights. Zeros where weights were ([`mask`]), or channels and heads that are gone ([`cut`]).
//!
//! What must go together follows from the operators: [`relations`] says what each ties, [`units`] joins it to what can be removed, and names what can't and
//! why. [`choose`] picks what costs least, [`cut::apply`] rewrites the graph. What is left can make up for what went: [`fit`] solves for the
//! remaining weights of a layer, given what it reads now and what it gave before (He et al. 2017, "Channel pruning for accelerating very deep neural
//! networks", section 3.1). Nothing here runs a model: whoever does hands in what was seen.

pub mod bias;
pub mod choose;
pub mod cluster;
pub mod costs;
pub mod cut;
pub mod fit;
mod gathered;
pub mod inner;
pub mod layer;
pub mod macs;
pub mod mask;
mod plain;
pub mod ratios;
mod regroup;
pub mod relations;
mod rules;
pub mod seen;
pub mod segment;
mod solve;
pub mod stored;
#[cfg(test)]
mod tests;
pub mod units;

pub use inner::Inner;
pub use layer::Layer;
pub use plain::plain;

/// What is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Single weights.
    Unstructured,
    /// All but `keep` of each `of` weights that follow each other along the input channels.
    Some {
        /// Weights that stay.
        keep: usize,
        /// Weights of a run.
        of: usize,
    },
    /// Blocks of so many output channels that read the same inputs, so many of which follow each other.
    Block {
        /// Output channels.
        out: usize,
        /// Inputs.
        into: usize,
    },
    /// Whole channels.
    Channels,
    /// Heads of attention.
    Heads,
}

impl Pattern {
    /// By its name: `unstructured`, `2:4`, `4x1`, `8x1`, `1x4`, `4x4`, `channels`, `heads`.
    pub fn parse(text: &str) -> Option<Pattern> {
        Some(match text {
            "unstructured" => Pattern::Unstructured,
            "4x1" => Pattern::Block { out: 4, into: 1 },
            "8x1" => Pattern::Block { out: 8, into: 1 },
            "1x4" => Pattern::Block { out: 1, into: 4 },
            "4x4" => Pattern::Block { out: 4, into: 4 },
            "channels" => Pattern::Channels,
            "heads" => Pattern::Heads,
            other => {
                let (keep, of) = other.split_once(':')?;
                let (keep, of) = (keep.parse().ok()?, of.parse().ok()?);
                let sound = keep >= 1 && keep < of && of <= 64;
                return sound.then_some(Pattern::Some { keep, of });
            }
        })
    }
    /// Whether the tensors become smaller.
    pub fn cuts(self) -> bool {
        matches!(self, Pattern::Channels | Pattern::Heads)
    }
}

/// By what weights are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Criterion {
    /// Magnitudes.
    Magnitude,
    /// Squares.
    L2,
    /// Squares times those of what they are multiplied by (Sun et al. 2023, "A simple and effective pruning approach for large language models").
    Activation,
}

#[cfg(test)]
mod names {
    use super::Pattern;

    #[test]
    fn names() {
        assert_eq!(
            Pattern::parse("2:4"),
            Some(Pattern::Some { keep: 2, of: 4 })
        );
        for (name, out, into) in [("8x1", 8, 1), ("1x4", 1, 4), ("4x4", 4, 4)] {
            assert_eq!(Pattern::parse(name), Some(Pattern::Block { out, into }));
        }
        for wrong in ["4:2", "0:4", "4:4", "3x1", "", "1:1000", "a:b"] {
            assert_eq!(Pattern::parse(wrong), None, "{wrong}");
        }
    }
}
