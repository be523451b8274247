//! `sim`: a complete accelerator for tests. It has what a real one has and nothing that only a simulator would have: commands of
//! its own ([`format`]), a blob encoded at compile time, memory of its own, asynchronous jobs in another process, latency, and faults.
//!
//! [`execute`] says what commands mean: whole numbers, summed exactly and rounded once, as everywhere in onnxc (`docs/quantization.md`), so its bits
//! are those of the CPU. [`cycles`] says how long they take, so that plans can be compared. With the feature `device` there is the process that computes
//! and the driver that talks to it; the compiler needs neither.
//!
//! Nothing here trusts a blob: what is malformed is refused, and nothing panics.
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod check;
pub mod constants;
pub mod cycles;
pub mod execute;
pub mod format;
mod wire;

#[cfg(all(feature = "device", target_os = "linux"))]
pub mod device;
#[cfg(all(feature = "device", target_os = "linux"))]
pub mod driver;
pub mod faults;
#[cfg(all(feature = "device", target_os = "linux"))]
mod link;
#[cfg(all(feature = "device", target_os = "linux"))]
mod shared;

pub use constants::Constants;
pub use format::{Command, Program};
