//! Values of flags that stand for the compiler's own choices.

use clap::{ValueEnum, builder::PossibleValue};
use onnxc_compiler::base::effort::Effort;
use onnxc_compiler::base::goal::Goal;

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

/// What a run does with denormal numbers.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denormals {
    /// Takes them as zero: recurrent models stay fast.
    Flush,
    /// Computes with them.
    Keep,
}
