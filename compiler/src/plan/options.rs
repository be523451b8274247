//! Choices of planning.

use crate::base::effort::Effort;
use crate::base::goal::Goal;

/// Choices of planning.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fold pointwise work into the layer before it.
    pub group: bool,
    /// Let an output take over the memory of an operand that dies with it.
    pub in_place: bool,
    /// How much is done for speed.
    pub effort: Effort,
    /// Let the inputs of a Concat along an inner axis be made where they belong in its output.
    pub scatter: bool,
    /// Choose the order in which layers run; otherwise it is the graph's.
    pub order: bool,
    /// What the plan is to be best at.
    pub goal: Goal,
    /// Replay the finished plan with the independent checker.
    pub check: bool,
    /// Threads that loops are cut for; 1: none is.
    pub threads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            group: true,
            in_place: true,
            effort: Effort::default(),
            scatter: true,
            order: true,
            goal: Goal::default(),
            check: true,
            threads: 1,
        }
    }
}

impl Options {
    /// How much kernels do for speed: where weights and code are to be small, no more than that allows.
    pub fn kernels(&self) -> Effort {
        match (self.goal, self.effort) {
            (Goal::Size, Effort::Quick | Effort::Normal | Effort::Most) => Effort::Size,
            (_, effort) => effort,
        }
    }
}
