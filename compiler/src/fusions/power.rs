//! Powers with small whole exponents become products: the same numbers, or closer ones, in an instruction or two.

use super::engine::*;
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::graph::ir::Graph;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "power",
    doc: "Pow with the exponent 2 or 3 becomes products",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let pattern = op("Pow", [any("x"), konst("exponent")]);
    rewrite(g, cx, &[pattern], |g, cx, m| {
        let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
        let x = m.value("x")?;
        let float = g
            .ty(x)
            .is_some_and(|t| matches!(t.dtype, DType::F32 | DType::F64));
        let exponent = g.konst(m.value("exponent")?).and_then(|t| t.to_f64s());
        let exponent = exponent.filter(|e| float && !e.is_empty() && e.iter().all(|v| *v == e[0]));
        let times = match exponent.map(|e| e[0]) {
            Some(2.0) => 1,
            Some(3.0) => 2,
            _ => return skip("the exponent is not 2 or 3"),
        };
        let (root, loc) = (m.root(), place(g, m));
        let mut y = x;
        for _ in 0..times {
            y = make(
                g,
                cx,
                root,
                "Mul",
                Attrs::default(),
                &[Some(y), Some(x)],
                loc.clone(),
            )?;
        }
        Ok(Outcome::Replace(y))
    })
}
