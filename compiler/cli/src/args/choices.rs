//! Values of flags that stand for the compiler's own choices.

use clap::{ValueEnum, builder::PossibleValue};
use onnxc_compiler::base::denormals as base;
use onnxc_compiler::base::effort::Effort;
use onnxc_compiler::base::goal::Goal;
use onnxc_compiler::base::rounding;

/// Optimization level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum OptLevel {
    O0,
    O1,
    O2,
    O3,
    Size,
}

impl OptLevel {
    /// What the compiler is told.
    pub fn effort(self) -> Effort {
        match self {
            Self::O0 => Effort::None,
            Self::O1 => Effort::Quick,
            Self::O2 => Effort::Normal,
            Self::O3 => Effort::Most,
            Self::Size => Effort::Size,
        }
    }
}

impl ValueEnum for OptLevel {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::O0, Self::O1, Self::O2, Self::O3, Self::Size]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::O0 => "0",
            Self::O1 => "1",
            Self::O2 => "2",
            Self::O3 => "3",
            Self::Size => "s",
        }))
    }
}

/// What to be best at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptimizeFor(pub Goal);

impl ValueEnum for OptimizeFor {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Goal::Latency), Self(Goal::Memory), Self(Goal::Size)]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self.0 {
            Goal::Latency => "Least time of a run",
            Goal::Memory => "Smallest arena, where it costs time too",
            Goal::Size => "Smallest code and weights, then the smallest arena",
        };
        Some(PossibleValue::new(self.0.name()).help(help))
    }
}

/// Which way halves go where whole numbers are requantized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rounding(pub rounding::Rounding);

impl ValueEnum for Rounding {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Rounding(rounding::Rounding::Even),
            Rounding(rounding::Rounding::Up),
        ]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self.0 {
            rounding::Rounding::Even => "To the even number, as ONNX says",
            rounding::Rounding::Up => "Up, as many accelerators do (TOSA SINGLE_ROUND)",
        };
        Some(PossibleValue::new(self.0.name()).help(help))
    }
}

/// What a run does with denormal numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denormals(pub base::Denormals);

impl ValueEnum for Denormals {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Denormals; 3] = {
            let [a, b, c] = base::Denormals::ALL;
            [Denormals(a), Denormals(b), Denormals(c)]
        };
        &ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self.0 {
            base::Denormals::Auto => {
                "Takes them as zero in layers that add up products: no data makes a layer slow"
            }
            base::Denormals::Flush => "Takes them as zero everywhere",
            base::Denormals::Keep => "Computes with them",
        };
        Some(PossibleValue::new(self.0.name()).help(help))
    }
}

/// When weights of few values are stored as numbers into a table.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Palettes {
    /// With --optimize-for size, and with --cluster
    #[default]
    Auto,
    /// Wherever weights have few values
    On,
    /// Nowhere
    Off,
}

/// When sparse kernels are used.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sparse {
    /// Where they are faster.
    #[default]
    Auto,
    /// Nowhere.
    Off,
}
