//! Which floating-point mode each layer runs in.
//!
//! Lists of steps begin and end in the usual mode, so that they may be cut, repeated and left out; a layer that needs another has it set
//! before, and where the next does not need it too, set back.

use super::own::mode_bits;
use super::parallel::Hook;
use crate::base::denormals::Denormals;
use crate::plan::program::{FuncId, Program, Step};
use crate::target::Arch;

/// The modes of a program.
pub struct Modes {
    /// Of each body; layers that share one run alike.
    of: Vec<i64>,
    /// Of each layer.
    layers: Vec<i64>,
    usual: i64,
}

impl Modes {
    /// As `denormals` asks.
    pub fn new(program: &Program, arch: Arch, denormals: Denormals) -> Modes {
        let mut sums = vec![false; program.funcs.len()];
        for (_, l) in program.layers.iter() {
            if let Some(s) = sums.get_mut(l.func.0 as usize) {
                *s |= l.sums;
            }
        }
        let bits = |sums| mode_bits(arch, denormals.flushes(sums));
        let of: Vec<i64> = sums.iter().map(|s| bits(*s)).collect();
        let of_layer = |l: &crate::plan::program::Layer| of.get(l.func.0 as usize).copied();
        let layers = program.layers.iter();
        let usual = bits(sums.iter().any(|s| *s));
        Modes {
            layers: layers.map(|(_, l)| of_layer(l).unwrap_or(usual)).collect(),
            usual,
            of,
        }
    }

    /// What lists of steps begin and end in.
    pub fn usual(&self) -> i64 {
        self.usual
    }

    /// What a step has to begin in.
    pub fn of_step(&self, step: &Step) -> i64 {
        match step {
            Step::Layer(l) => self.layers.get(l.0 as usize).copied(),
            _ => None,
        }
        .unwrap_or(self.usual)
    }

    /// How the regions of a body are run.
    pub fn hook(&self, program: &Program, f: FuncId) -> Option<Hook> {
        let mode = self.of.get(f.0 as usize).copied().unwrap_or(self.usual);
        program.hook_at().map(|at| Hook { at, mode })
    }
}
