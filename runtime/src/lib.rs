//! The optional runtime of models that onnxc compiled: a safe way to run them, threads, tracing and weights files.
//!
//! A model needs none of it: its object and its header suffice. What is here spares a Rust program the unsafe parts
//! ([`Model`], [`Session`]), checks weights files ([`weights`]), and with the feature `std` reads them and spreads work over
//! threads ([`pool`]). Without `std` it needs no operating system and no allocator. It never panics: everything that can go
//! wrong is an [`Error`].
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod cpu;
pub mod element;
pub mod error;
pub mod model;
pub mod offload;
#[cfg(feature = "std")]
pub mod pool;
pub mod prefault;
pub mod session;
mod sha256;
pub mod weights;

pub use element::Element;
pub use error::Error;
pub use model::Model;
pub use onnxc_abi as abi;
#[cfg(feature = "std")]
pub use pool::Pool;
pub use session::{Parallel, Session, Tracer};
pub use weights::Weights;
