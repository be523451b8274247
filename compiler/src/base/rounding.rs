//! Which way a real number goes that lies in the middle of two whole ones, where whole numbers are requantized.

/// The choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rounding {
    /// To the even one, as ONNX says.
    #[default]
    Even,
    /// Up, as TOSA's SINGLE_ROUND.
    Up,
}

impl Rounding {
    /// The word that chooses it, also as an attribute.
    pub fn name(self) -> &'static str {
        match self {
            Rounding::Even => "even",
            Rounding::Up => "up",
        }
    }
    /// The whole number.
    pub fn whole(self, v: f64) -> f64 {
        match self {
            Rounding::Even => libm::rint(v),
            Rounding::Up => libm::floor(v + 0.5),
        }
    }
}
