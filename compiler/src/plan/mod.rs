//! From graph to program: group, lower, select, place in memory, check.
pub mod group;
pub mod lower;
pub mod program;
pub mod select;
