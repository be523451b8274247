//! From graph to program: group, lower, select, place in memory, check.
pub mod program;
