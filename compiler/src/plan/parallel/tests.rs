//! Runs of statements: what is shared in one call, and what must not be.

use super::{Facts, spread, written_in_parallel};
use crate::base::dim::Symbols;
use crate::contracts::References;
use crate::loops::ir::*;
use crate::loops::parse::parse;
use crate::loops::walk::visit;

fn cut(text: &str, threads: i64) -> Func {
    let symbols = Symbols::default();
    let func = parse(text, &symbols).unwrap_or_else(|d| panic!("{d}"));
    let facts = Facts {
        symbols: &symbols,
        callees: &References::default(),
        once: true,
        threads,
    };
    spread(func, &facts)
}

// Statements of each loop over pieces.
fn regions(func: &Func) -> Vec<usize> {
    let mut out = vec![];
    visit(&func.body, &mut |s| {
        if let Stmt::For { kind, body, .. } = s
            && *kind == LoopKind::Parallel
        {
            out.push(
                body.iter()
                    .filter(|s| !matches!(s, Stmt::Let { .. }))
                    .count(),
            );
        }
    });
    out
}

#[test]
fn rows_and_what_is_left_of_them_are_one_call() {
    let text = "func f(x: f32[6760] read, y: f32[6760] write) {
  for v0 < 23 {
    for v1 < 290 lanes {
      y[v0 * 290 + v1] = exp(x[v0 * 290 + v1])
    }
  }
  for v2 < 90 lanes {
    y[v2 + 6670] = exp(x[v2 + 6670])
  }
}
";
    for threads in [2, 3, 5] {
        assert_eq!(regions(&cut(text, threads)), [2], "{threads} threads");
    }
}

#[test]
fn what_reads_waits() {
    let text = "func f(x: f32[4096] read, y: f32[4096] write, t: f32[4096] readwrite) {
  for v0 < 4096 lanes {
    t[v0] = exp(x[v0])
  }
  for v1 < 4096 lanes {
    y[v1] = exp(t[4095 - v1])
  }
}
";
    assert!(regions(&cut(text, 2)).iter().all(|n| *n == 1));
}

#[test]
fn scratch_that_two_loops_fill_is_whole_for_the_third() {
    let text = "func f(x: f32[8192] read, y: f32[8192] write, t: f32[8192] private) {
  for v0 < 12 {
    for v1 < 512 lanes {
      t[v0 * 512 + v1] = exp(x[v0 * 512 + v1])
    }
  }
  for v2 < 2048 lanes {
    t[v2 + 6144] = exp(x[v2 + 6144])
  }
  for v3 < 16 {
    for v4 < 512 lanes {
      y[v3 * 512 + v4] = exp(t[v4 * 16 + v3])
    }
  }
}
";
    let func = cut(text, 2);
    let written = written_in_parallel(&func, &References::default());
    assert!(written.iter().all(|b| func.bufs[*b].name != "t"));
    // The third is shared, and reads what all have filled.
    assert_eq!(regions(&func).len(), 1);
}

#[test]
fn a_run_behind_a_block_is_not_inside_of_it() {
    let text = "func f(x: f32[8192] read, y: f32[8192] write, t: f32[64] readwrite) {
  for v0 < 1 {
    for v1 < 64 lanes {
      t[v1] = exp(x[v1])
    }
  }
  for v2 < 4000 lanes {
    y[v2] = exp(x[v2])
  }
  for v3 < 4192 lanes {
    y[v3 + 4000] = exp(x[v3 + 4000])
  }
}
";
    assert_eq!(regions(&cut(text, 2)).iter().min(), Some(&3));
}
