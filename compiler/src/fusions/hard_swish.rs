//! clip(x + 3, 0, 6) / 6 is HardSigmoid with alpha 1/6 and beta 1/2, and x times that is HardSwish.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "hard_swish",
    doc: "x * clip(x + 3, 0, 6) / 6 becomes HardSwish, without the x HardSigmoid",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let x = || any("x");
    let clip = || op("Clip", [x() + num(3.0), num(0.0), num(6.0)]);
    let sixth = 1.0 / 6.0;
    let whole = [
        x() * clip() / num(6.0),
        x() * clip() * num(sixth),
        x() * (clip() / num(6.0)),
        x() * (clip() * num(sixth)),
        (x() * num(sixth)) * clip(),
        x() * op("HardSigmoid", [x()]).named("sigmoid"),
    ];
    rewrite(g, cx, &whole, |g, cx, m| {
        if let Ok(n) = m.node("sigmoid") {
            let a = &g.node(n).attrs;
            let near = |v: f32, want: f32| (v - want).abs() < 1e-4;
            if !near(a.float("alpha", 0.2), 1.0 / 6.0) || !near(a.float("beta", 0.5), 0.5) {
                return Ok(Outcome::Skip(
                    "alpha and beta of the HardSigmoid are not 1/6 and 1/2".into(),
                ));
            }
        }
        let loc = place(g, m);
        let v = make(
            g,
            cx,
            m.root(),
            "HardSwish",
            Attrs::default(),
            &[Some(m.value("x")?)],
            loc,
        )?;
        Ok(Outcome::Replace(v))
    })?;
    let gate = [clip() / num(6.0), clip() * num(sixth)];
    rewrite(g, cx, &gate, |g, cx, m| {
        let attrs = Attrs::default()
            .with("alpha", Attr::Float(1.0 / 6.0))
            .with("beta", Attr::Float(0.5));
        let loc = place(g, m);
        let v = make(
            g,
            cx,
            m.root(),
            "HardSigmoid",
            attrs,
            &[Some(m.value("x")?)],
            loc,
        )?;
        Ok(Outcome::Replace(v))
    })
}
