//! From graph to program: group, lower, select, place in memory, check.
pub mod build;
pub mod check;
mod control;
pub mod eval;
pub mod group;
mod helpers;
pub mod lower;
mod macs;
pub mod memory;
pub mod oracle;
pub mod order;
pub mod print;
pub mod program;
pub mod run;
mod schedule;
pub mod select;
mod storage;
pub mod views;
