//! What a compilation is to be best at, where one thing costs another.

/// The aim. It chooses among right answers; it never changes what is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Goal {
    /// Least time of a run: the order of layers keeps data in the caches.
    #[default]
    Latency,
    /// Smallest arena: the order of layers with the lowest peak, and rewrites that trade time for memory.
    Memory,
    /// Smallest code and weights; of what is left, the smallest arena.
    Size,
}

impl Goal {
    /// Every goal, the default first.
    pub const ALL: [Goal; 3] = [Goal::Latency, Goal::Memory, Goal::Size];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Goal::Latency => "latency",
            Goal::Memory => "memory",
            Goal::Size => "size",
        }
    }
}
