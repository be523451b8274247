//! A Pad with zeros before a Conv becomes the Conv's own padding.

use super::engine::*;
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "pad_conv",
    doc: "a Pad with zeros becomes the padding of the Conv behind it",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let pattern = op("Conv", [op("Pad", [any("x")]).named("pad")]);
    rewrite(g, cx, &[pattern], |g, cx, m| {
        let (conv, pad) = (m.root(), m.node("pad")?);
        let node = g.node(pad);
        let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
        if node.attrs.str("mode", "constant") != "constant"
            || node.ins.get(3).is_some_and(Option::is_some)
        {
            return skip("not a plain constant padding");
        }
        let zero = node
            .ins
            .get(2)
            .copied()
            .flatten()
            .map_or(node.attrs.float("value", 0.0) == 0.0, |v| {
                g.konst(v).and_then(|t| t.get_f64(0)) == Some(0.0)
            });
        let pads = node
            .ins
            .get(1)
            .copied()
            .flatten()
            .and_then(|v| g.konst(v))
            .and_then(|t| t.to_i64s());
        let (true, Some(pads)) = (zero, pads) else {
            return skip("the padding is not a constant zero");
        };
        let rank = pads.len() / 2;
        let outer = |i: usize| pads[i] != 0 || pads[rank + i] != 0;
        if rank < 3 || outer(0) || outer(1) || pads.iter().any(|&p| p < 0) {
            return skip("the padding is not spatial");
        }
        if g.node(conv).attrs.str("auto_pad", "NOTSET") != "NOTSET" {
            return skip("the Conv pads automatically");
        }
        let own = g
            .node(conv)
            .attrs
            .ints("pads")
            .filter(|own| own.len() == 2 * (rank - 2))
            .map(<[i64]>::to_vec)
            .unwrap_or_else(|| vec![0; 2 * (rank - 2)]);
        let all: Vec<i64> = (0..2 * (rank - 2))
            .map(|i| {
                own[i].saturating_add(if i < rank - 2 {
                    pads[2 + i]
                } else {
                    pads[4 + i]
                })
            })
            .collect();
        let attrs = g.node(conv).attrs.clone().with("pads", Attr::Ints(all));
        let mut ins = g.node(conv).ins.clone();
        ins[0] = Some(m.value("x")?);
        let loc = place(g, m);
        Ok(Outcome::Replace(make(
            g, cx, conv, "Conv", attrs, &ins, loc,
        )?))
    })
}
