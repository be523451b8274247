//! What a GEMM tile is specialised to, read from a call and checked against what a generator can do.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::loops::ir::Callee;

/// Rows, columns, and whether C's contents are added to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GemmShape {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Start from C's contents, not from zero.
    pub accumulate: bool,
}

impl GemmShape {
    /// Reads `m`, `n` and `accumulate`, the first two from 1 to `limits`.
    pub fn of(callee: &Callee, limits: (i64, i64)) -> Result<GemmShape> {
        let get = |name: &str, lo: i64, hi: i64| {
            let found = callee.get(name);
            match found {
                Some(v) if (lo..=hi).contains(&v) => Ok(v as usize),
                _ => Err(Diagnostic::internal(format!(
                    "`{}` was asked for {name} = {found:?}, not in {lo}..={hi}",
                    callee.kernel
                ))),
            }
        };
        Ok(GemmShape {
            m: get("m", 1, limits.0)?,
            n: get("n", 1, limits.1)?,
            accumulate: get("accumulate", 0, 1)? == 1,
        })
    }
}
