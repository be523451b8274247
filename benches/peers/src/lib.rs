//! Runners of other runtimes: processes that `onnxc bench --against` takes turns with.
//!
//! A runner reads one JSON object a line from standard input and answers each with one line; `README.md` says which. It holds
//! one model at a time, its inputs bound before any run is timed, and times runs itself, so that no pipe and no interpreter is
//! part of a time. What goes wrong is an answer, never a panic.
#![deny(unsafe_code)]

pub mod find;
pub mod onnxruntime;
pub mod protocol;
