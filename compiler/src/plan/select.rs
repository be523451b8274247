//! Which kernel answers a contract's query: the cheapest row that accepts it and whose features the target declares.

use crate::base::diag::{Diagnostic, Result};
use crate::kernel::{Kernel, Query};

/// The chosen row.
pub fn select(q: &Query) -> Result<&'static Kernel> {
    candidates(q)
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(k, _)| k)
        .ok_or_else(|| {
            Diagnostic::unsupported(
                "ONNX008",
                format!("no `{}` kernel takes these operands", q.contract.name),
            )
        })
}

/// Every row that can answer, with its cost in cycles, in the contract's order.
pub fn candidates<'q>(q: &'q Query) -> impl Iterator<Item = (&'static Kernel, f64)> + use<'q> {
    q.contract
        .rows
        .iter()
        .filter(|k| k.needs.iter().all(|f| q.machine.has(f)) && (k.accepts)(q))
        .map(|k| (k, (k.cost)(q)))
}
