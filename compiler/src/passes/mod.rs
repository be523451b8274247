//! Passes, one per file. `pipeline` says in which order they run, and why.
pub mod dead;
pub mod fold;
pub mod half;
pub mod inline_if;
pub mod integers;
pub mod layout;
pub mod merge;
pub mod multiplier;
pub mod no_op;
pub mod offload;
pub mod ports;
pub mod resolve;
pub mod signs;
pub mod singles;
pub mod taps;
