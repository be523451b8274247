//! How much is done for speed, and how much code may be spent on it: what `-O0` to `-O3` and `-Os` mean.
//!
//! Every stage asks the same value, so that a level is described in one place. Kernels ask it through their context. Results
//! of integer work don't depend on it; floats may differ in their last bits, where fusions change the order of sums.

/// A level of optimization.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Effort {
    /// `-O0`: the model as it stands, each node a layer of its own: for finding faults.
    None,
    /// `-O1`: compiles quickly. Passes, fusions and kernels, but no search for the smallest arena and no optimiser behind the
    /// code generator.
    Quick,
    /// `-O2`: fast code of moderate size.
    #[default]
    Normal,
    /// `-O3`: loops are written out further, at the price of size.
    Most,
    /// `-Os`: the smallest code. Nothing is written out twice for speed.
    Size,
}

impl Effort {
    /// Whether the graph is rewritten at all: passes beyond inference, fusions, groups, memory in place.
    pub fn rewrites(self) -> bool {
        self != Effort::None
    }
    /// Whether small code is worth more than fast code. A kernel that has forms of its own for edges and rests takes one form.
    pub fn optimize_for_size(self) -> bool {
        self == Effort::Size
    }
    /// Whether code may be written out several times where that is faster.
    pub fn duplicates(self) -> bool {
        self == Effort::Most
    }
    /// Whether several ways are tried where one gives a right answer.
    pub fn searches(self) -> bool {
        !matches!(self, Effort::None | Effort::Quick)
    }
    /// Statements that a loop may become when it is written out.
    pub fn unrolled(self) -> i64 {
        match self {
            Effort::None | Effort::Size => 0,
            Effort::Quick | Effort::Normal => 64,
            Effort::Most => 256,
        }
    }
}
