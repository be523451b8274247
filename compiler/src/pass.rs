//! Floor 6: what a pass is, and what it is given.

use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::Symbols;
use crate::base::dtype::DType;
use crate::base::offload::Offload;
use crate::base::rounding::Rounding;
use crate::graph::ir::Graph;
use crate::npu::{CpuRates, Request};
use std::collections::BTreeSet;

/// A rewrite of a graph. It is run on the main graph and on every body.
pub struct Pass {
    /// Name: of the file, the switch and the test.
    pub name: &'static str,
    /// What it does, in a sentence for `--print pipeline`.
    pub doc: &'static str,
    /// Does it, counting each edit by [`PassCx::edit`].
    pub run: fn(&mut Graph, &mut PassCx) -> Result<()>,
}

/// What passes share during one compilation.
pub struct PassCx<'a> {
    /// Bounded sizes.
    pub symbols: &'a mut Symbols,
    /// Remarks, warnings and errors.
    pub diags: &'a mut Diagnostics,
    /// Passes and fusions that are switched off.
    pub off: &'a BTreeSet<String>,
    /// Which way halves go where whole numbers are requantized.
    pub rounding: Rounding,
    /// Whether an operator that the file quantizes and that stays a float one is an error.
    pub require_integers: bool,
    /// The kind of bytes that the machine multiplies by weights with a sign; none: it multiplies words.
    pub bytes: Option<DType>,
    /// Lanes of f32 of the vectors that kernels use; 0: not known.
    pub lanes: i64,
    /// What is asked of accelerators.
    pub npu: Request,
    /// What our own kernels take, for the comparison.
    pub cpu_rates: CpuRates,
    /// What accelerators compute.
    pub offload: Offload,
    /// The pass that runs.
    pub name: &'static str,
    /// Edits so far, over all passes.
    pub edits: usize,
    /// Edits after which nothing more is changed, for finding the edit that breaks a model by bisection.
    pub max_edits: usize,
}

impl PassCx<'_> {
    /// Counts an edit; `false` where no more are allowed.
    pub fn edit(&mut self) -> bool {
        if self.edits >= self.max_edits {
            return false;
        }
        self.edits += 1;
        true
    }
    /// Whether a pass or fusion is wanted.
    pub fn wants(&self, name: &str) -> bool {
        !self.off.contains(name)
    }
    /// Leaves a remark of the running pass about a place.
    pub fn remark(&mut self, loc: impl std::fmt::Display, text: impl std::fmt::Display) {
        let d = Diagnostic::remark("PASS001", format!("{}: {text}", self.name)).at(loc);
        // Passes that run in rounds come to the same place again.
        if !self.diags.list.contains(&d) {
            self.diags.push(d);
        }
    }
}

impl<'a> PassCx<'a> {
    /// What rewriting a graph needs outside of the pipeline: by someone of that name, with no limits and no machine in mind.
    pub fn outside(
        name: &'static str,
        symbols: &'a mut Symbols,
        diags: &'a mut Diagnostics,
        off: &'a BTreeSet<String>,
    ) -> PassCx<'a> {
        PassCx {
            symbols,
            diags,
            off,
            rounding: Default::default(),
            require_integers: false,
            bytes: None,
            lanes: 0,
            npu: Default::default(),
            cpu_rates: Default::default(),
            offload: Default::default(),
            name,
            edits: 0,
            max_edits: usize::MAX,
        }
    }
}
