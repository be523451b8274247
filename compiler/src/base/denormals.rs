//! What a run does with denormal numbers (below 2^-126 in f32).
//!
//! Some cores take a hundred cycles and more for a product that is denormal or has a denormal factor, so that a few of them in a
//! layer's data or weights make it several times slower. In a sum of products they are lost in the last bit of their neighbours;
//! alone, as the result of an operator of one element, they are as right as any other number.

/// The choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Denormals {
    /// Flushed where products are added up (an operator says so), kept elsewhere: no layer depends on its data in speed.
    #[default]
    Auto,
    /// Kept everywhere, as ONNX's arithmetic says to the letter.
    Keep,
    /// Flushed everywhere.
    Flush,
}

impl Denormals {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Denormals; 3] = [Denormals::Auto, Denormals::Flush, Denormals::Keep];

    /// The word that chooses it.
    pub fn name(self) -> &'static str {
        match self {
            Denormals::Auto => "auto",
            Denormals::Keep => "keep",
            Denormals::Flush => "flush",
        }
    }

    /// Whether a layer flushes them that adds up products, or does not.
    pub fn flushes(self, sums: bool) -> bool {
        match self {
            Denormals::Auto => sums,
            Denormals::Keep => false,
            Denormals::Flush => true,
        }
    }
}
