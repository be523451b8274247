//! Which kernel answers a contract's query: the cheapest row that accepts it and whose features the target declares.

use crate::base::diag::{Diagnostic, Result};
use crate::contracts::text;
use crate::kernel::{Kernel, Query};

/// Rates are no better than this: of rows whose costs are so near each other, the first of the contract is taken, where they stand with the
/// best first.
const MARGIN: f64 = 1.1;

/// What could have been taken, and what was.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// The query in one line ([`text::of`]); empty where it has none.
    pub query: String,
    /// Every row that could answer, with its cost by the target's table, in the contract's order.
    pub rows: Vec<(&'static str, f64)>,
}

/// The chosen row, and among what it was chosen.
pub fn choose(q: &Query) -> Result<(&'static Kernel, Choice)> {
    let query = text::of(q);
    let rows = candidates(q, query.as_deref());
    let costs = &q.machine.costs;
    let exact = query
        .as_deref()
        .is_some_and(|t| costs.measured.contains_key(t));
    let margin = if exact { 1.0 } else { MARGIN };
    let least = rows.iter().map(|r| r.1).fold(f64::INFINITY, f64::min);
    let best = rows
        .iter()
        .find(|r| r.1 <= least * margin)
        .or(rows.first())
        .map(|(k, _)| *k)
        .ok_or_else(|| {
            Diagnostic::unsupported(
                "ONNX008",
                format!("no `{}` kernel takes these operands", q.contract.name),
            )
        })?;
    let rows = rows.iter().map(|(k, c)| (k.name, *c)).collect();
    let query = query.unwrap_or_default();
    Ok((best, Choice { query, rows }))
}

/// Every row that can answer, with its cost, in the contract's order.
pub fn candidates(q: &Query, query: Option<&str>) -> Vec<(&'static Kernel, f64)> {
    let rows = q.contract.rows.iter();
    rows.filter(|k| k.needs.iter().all(|f| q.machine.has(f)) && (k.accepts)(q))
        .map(|k| (k, q.machine.costs.cost(k.name, &(k.work)(q), query)))
        .collect()
}
