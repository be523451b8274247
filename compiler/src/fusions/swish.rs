//! x * sigmoid(x) is Swish (SiLU).

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "swish",
    doc: "x * sigmoid(x) becomes Swish",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let pattern = any("x") * op("Sigmoid", [any("x")]);
    rewrite(g, cx, &[pattern], |g, cx, m| {
        let attrs = Attrs::default().with("alpha", Attr::Float(1.0));
        let loc = place(g, m);
        let v = make(g, cx, m.root(), "Swish", attrs, &[Some(m.value("x")?)], loc)?;
        Ok(Outcome::Replace(v))
    })
}
