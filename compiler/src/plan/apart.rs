//! Whether iterations of a loop write to places of their own.
//!
//! What threads share must not be written at one place by several of them: the place of a store, or some argument of a tile, has to depend on
//! the loop's variable. Scratch that each iteration fills anew does not, so it must be private to a thread; scratch that was asked for
//! otherwise keeps its loop from being cut. That a dependent place is another one for each iteration is what the lowering promises.

use crate::loops::ir::*;
use crate::loops::uses::Uses;
use crate::loops::walk::{reachable, visit};
use std::collections::HashSet;
use std::ops::Range;

/// Of the loop over `var` at these positions.
pub fn apart(func: &Func, uses: &Uses, var: VarId, range: Range<usize>) -> bool {
    // The loop's variable, and those that are made of it.
    let mut own = HashSet::from([var]);
    let (mut at, mut good) = (0, true);
    visit(&func.body, &mut |s| {
        let here = at;
        at += 1;
        if !range.contains(&here) || !good {
            return;
        }
        let depends = |e: ExprId| {
            let of = |e: &ExprId| matches!(func.exprs[*e], Expr::Var(v) if own.contains(&v));
            reachable(func, &[e]).iter().any(of)
        };
        let shared = |b: BufId| func.bufs[b].access != Access::Private;
        match s {
            Stmt::Let { var, value } if depends(*value) => {
                own.insert(*var);
            }
            Stmt::Store { buf, index, .. } => good = !shared(*buf) || depends(*index),
            Stmt::Call { args, .. } => {
                let depends = args.iter().any(|a| match a {
                    Arg::Ptr { offset, .. } => depends(*offset),
                    Arg::Int(e) => depends(*e),
                });
                let written = uses.written(here..here + 1);
                good = depends || !written.into_iter().any(shared);
            }
            _ => {}
        }
    });
    good
}

#[cfg(test)]
mod tests {
    use crate::base::dim::Symbols;
    use crate::contracts::References;
    use crate::loops::parse::parse;
    use crate::plan::parallel::{Facts, is_spread, spread};

    // Rows whose exponentials stand in scratch before they are added up.
    fn is_cut(access: &str, index: &str) -> bool {
        let symbols = Symbols::default();
        let text = format!(
            "func f(x: f32[8192] read, y: f32[64] write, t: f32[8192] {access}) {{
  for v0 < 64 parallel {{
    let v1 = v0 * 128
    for v2 < 128 lanes {{
      t[{index}] = exp(x[v1 + v2])
    }}
    var v3 = 0.0
    for v4 < 128 {{
      set v3 = v3 + t[v4]
    }}
    y[v0] = v3
  }}
}}
"
        );
        let func = parse(&text, &symbols).unwrap_or_else(|d| panic!("{d}"));
        let facts = Facts {
            symbols: &symbols,
            callees: &References::default(),
            once: true,
            threads: 2,
        };
        is_spread(&spread(func, &facts))
    }

    #[test]
    fn scratch_that_threads_would_share_keeps_them_away() {
        // Its own memory for each thread, a row of its own for each iteration, and the fault.
        assert!(is_cut("private", "v2"));
        assert!(is_cut("readwrite", "v1 + v2"));
        assert!(!is_cut("readwrite", "v2"));
    }
}
