//! The interpreter of loops: what a function means, by running it.
//!
//! It is the oracle that generated code is compared with, and it folds constants. Its results are the same on every
//! host. A function is first compiled to flat register code ([`Program`]), then run over a [`Memory`].
//!
//! Every access is checked: one that leaves its buffer is a [`Stop::Fault`], a bug of whoever wrote the loops, and never
//! touches anything else. A call of a kernel tile runs the reference of its contract.

mod alu;
mod code;
mod exec;
mod memory;
#[cfg(test)]
mod tests;

pub use code::Program;
pub use memory::{Memory, Place};

use super::ir::{Callee, Func};
use crate::base::diag::Diagnostic;
use crate::base::dim::{SymId, Symbols};
use std::fmt;
use std::sync::Arc;

/// Why a run ended early.
#[derive(Clone, PartialEq, Debug)]
pub enum Stop {
    /// A [`super::ir::Stmt::FailIf`] held.
    Status(i32),
    /// A data-dependent size left the bounds of its symbol.
    Size {
        /// Which.
        sym: SymId,
        /// What it would have become.
        value: i64,
    },
    /// The function is wrong: an access outside a buffer, a missing reference, too many steps.
    Fault(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Status(s) => write!(f, "the run ended with status {s}"),
            Stop::Size { sym, value } => {
                write!(f, "size {sym:?} became {value}, outside its bounds")
            }
            Stop::Fault(what) => f.write_str(what),
        }
    }
}

impl From<Stop> for Box<Diagnostic> {
    fn from(s: Stop) -> Box<Diagnostic> {
        Diagnostic::internal(format!("interpreting loops: {s}"))
    }
}

/// Gives the reference of a contract, specialised to a callee's shape.
///
/// The reference takes the pointers of a call as its buffers, in order, each from the given element to the end of the
/// caller's buffer, and the whole numbers of the call as its `ints`, in order.
pub trait CalleeResolver {
    /// The reference; `None` where the contract is not known.
    fn reference(&self, callee: &Callee) -> Option<Arc<Func>>;
}

/// For functions that call nothing.
pub struct NoCallees;

impl CalleeResolver for NoCallees {
    fn reference(&self, _: &Callee) -> Option<Arc<Func>> {
        None
    }
}

/// What a run needs besides memory.
pub struct Env<'a> {
    /// Bounds of symbols; a symbol that is not listed has none.
    pub symbols: &'a Symbols,
    /// References of what is called.
    pub callees: &'a dyn CalleeResolver,
    /// Most rounds of loops, all loops together; `None` for no limit.
    pub budget: Option<u64>,
}

/// Runs a function once: `memory` has its buffers, `ints` its whole numbers, `syms` the value of every symbol.
pub fn run(
    func: &Func,
    memory: &mut Memory,
    ints: &[i64],
    syms: &mut Vec<i64>,
    env: &Env,
) -> Result<(), Stop> {
    let program = Program::new(func).map_err(|e| Stop::Fault(format!("{}: {e}", func.name)))?;
    program.run(memory, ints, syms, env)
}

/// Runs a function without symbols and calls over one slice per buffer.
pub fn run_simple(func: &Func, buffers: Vec<&mut [u8]>, ints: &[i64]) -> Result<(), Stop> {
    let env = Env {
        symbols: &Symbols::default(),
        callees: &NoCallees,
        budget: None,
    };
    run(func, &mut Memory::of(buffers), ints, &mut vec![], &env)
}

impl Program {
    /// Runs it, see [`run`].
    pub fn run(
        &self,
        memory: &mut Memory,
        ints: &[i64],
        syms: &mut Vec<i64>,
        env: &Env,
    ) -> Result<(), Stop> {
        let places = memory.places().to_vec();
        let mut run = exec::Run {
            regions: memory.regions(),
            syms,
            env,
            budget: env.budget.unwrap_or(u64::MAX).max(1),
            cache: vec![],
        };
        run.call(self, &places, ints, 0)
    }
}
