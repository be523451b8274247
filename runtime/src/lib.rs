//! The optional runtime of models that onnxc compiled: a safe way to run them, threads, tracing and weights files.
//!
//! A model needs none of it: its object and its header suffice. What is here spares a Rust program the unsafe parts
//! ([`Model`], [`Session`]), checks weights files ([`weights`]), and with the feature `std` reads them and spreads work over
//! threads ([`pool`]). Without `std` it needs no operating system and no allocator. It never panics: everything that can go
//! wrong is an [`Error`].
//!
//! Features: `alloc` for a model that owns its memory ([`OwnedModel`]), `std` for threads and files (and `alloc`), `ndarray` for arrays in and
//! out, `image` for pictures as inputs ([`picture`]).
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

pub mod cpu;
pub mod element;
pub mod error;
mod include;
pub mod model;
pub mod offload;
#[cfg(feature = "alloc")]
pub mod owned;
#[cfg(feature = "image")]
pub mod picture;
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
#[cfg(feature = "alloc")]
pub use owned::{Input, Outputs, OwnedModel, SharedDriver};
#[cfg(feature = "std")]
pub use pool::Pool;
pub use session::{Parallel, Session, Tracer};
pub use weights::Weights;
