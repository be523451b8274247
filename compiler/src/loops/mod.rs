//! Floor 2: the lower IR. See [`ir`] for what it is.
pub mod build;
pub mod compact;
mod ex;
pub mod interp;
pub mod ir;
pub mod lane_loop;
pub mod legalize;
pub mod math;
mod names;
pub mod parse;
pub mod print;
pub mod random;
pub mod tail;
pub mod uses;
pub mod verify;
pub mod walk;

#[cfg(test)]
mod tests;
