//! x * 0.5 * (1 + erf(x / sqrt 2)) is Gelu.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::pass::{Pass, PassCx};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "gelu",
    doc: "x * 0.5 * (1 + erf(x / sqrt 2)) becomes Gelu",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let x = || any("x");
    let mut patterns = vec![];
    for inner in [x() / num(SQRT_2), x() * num(FRAC_1_SQRT_2)] {
        let erf = || op("Erf", [inner.clone()]) + num(1.0);
        patterns.push(x() * erf() * num(0.5));
        patterns.push(x() * num(0.5) * erf());
        patterns.push(x() * (erf() * num(0.5)));
    }
    rewrite(g, cx, &patterns, |g, cx, m| {
        let attrs = Attrs::default().with("approximate", Attr::Str("none".into()));
        let loc = place(g, m);
        let v = make(g, cx, m.root(), "Gelu", attrs, &[Some(m.value("x")?)], loc)?;
        Ok(Outcome::Replace(v))
    })
}
