//! Floor 2: the lower IR. See [`ir`] for what it is.
pub mod build;
pub mod compact;
pub mod interp;
mod ex;
pub mod ir;
pub mod legalize;
pub mod walk;
