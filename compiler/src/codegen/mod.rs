//! Floor 7: programs become machine code in relocatable ELF objects.
//!
//! The only folder that names Cranelift. Layer bodies, stubs and the entry are Cranelift functions; tiles and a few
//! instructions that Cranelift does not know are bytes of our own. What is written out is total: no trap instruction, no call
//! that leaves the object, no writable data. Same program, target and options give the same bytes.
//!
//! First [`generate`] makes the functions, whose stack and sizes go into the descriptor; then [`object::write`] makes the object.

pub mod code;
mod entry;
pub mod exec;
pub mod exec_time;
mod expr;
pub mod func;
mod half;
mod halves;
pub mod isa;
mod lanes;
pub mod levels;
pub mod link;
mod mem;
mod modes;
pub mod object;
mod offload;
mod ops;
mod outline;
mod outline_find;
mod outline_merge;
mod own;
mod parallel;
mod round;
pub mod shared;
mod state;
mod steps;
mod stmt;
mod ty;

use crate::base::denormals::Denormals;
use crate::base::diag::{Diagnostic, Result};
use crate::base::effort::Effort;
pub use code::{Code, generate};

/// Where weights go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// Into read-only data of the object.
    #[default]
    Embed,
    /// Into a section of this name.
    Section(String),
    /// Not into the object: the caller gives them in the context.
    File,
}

/// How code is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What all symbols begin with: a C identifier.
    pub prefix: String,
    /// Where weights go.
    pub weights: Weights,
    /// What a run does with denormal numbers.
    pub denormals: Denormals,
    /// How much is done for speed.
    pub effort: Effort,
    /// Threads that compile.
    pub jobs: usize,
    /// Number of the first layer, as the trace hook is told it.
    pub first_layer: u32,
    /// Keep Cranelift's IR of the layers' bodies as text.
    pub text: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            prefix: "model".to_string(),
            weights: Weights::Embed,
            denormals: Denormals::default(),
            effort: Effort::default(),
            jobs: 1,
            first_layer: 0,
            text: false,
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let prefix = &self.prefix;
        if !prefix.chars().all(word) || !prefix.starts_with(|c: char| !c.is_ascii_digit()) {
            return Err(Diagnostic::usage(
                "USE001",
                format!("'{prefix}' can't begin the name of a symbol"),
            )
            .help("a prefix is letters, digits and underscores, and does not begin with a digit"));
        }
        if let Weights::Section(name) = &self.weights
            && (name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_ascii_control()))
        {
            return Err(Diagnostic::usage(
                "USE001",
                format!("{name:?} can't be the name of a section"),
            ));
        }
        Ok(())
    }
}
