//! The text of a program, for people and tests. It is not read back.
//!
//! ```text
//! arena 256, peak 192, weights 64
//! 000_conv_relu: Conv Relu by conv_gemm (x <- in 0, w <- weights 0, y -> arena 64)
//! if arena 192 {
//! } else {
//!   fail 5
//! }
//! loop arena 64 times of at most 8 while arena 128, counted in arena 0 {
//! }
//! ```

use super::program::{Place, Program, Step};
use crate::loops::ir::Access;
use std::fmt::Write;

/// The text of a program.
pub fn print(p: &Program) -> String {
    let mut out = format!(
        "arena {}, peak {}, weights {}\n",
        p.arena_bytes, p.peak_bytes, p.weights_bytes
    );
    steps(p, &p.steps, 0, &mut out);
    out
}

fn steps(p: &Program, list: &[Step], depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    for s in list {
        match s {
            Step::Layer(l) => {
                let layer = &p.layers[*l];
                let func = &p.funcs[layer.func];
                let args: Vec<String> = func
                    .bufs
                    .iter()
                    .zip(&layer.args)
                    .map(|((_, b), a)| {
                        let arrow = match b.access {
                            Access::Read => "<-",
                            Access::Write => "->",
                            _ => "<>",
                        };
                        format!("{} {arrow} {}", b.name, place(*a))
                    })
                    .collect();
                let by = match layer.kernel.as_str() {
                    "" => String::new(),
                    k => format!(" by {k}"),
                };
                let ops = layer.ops.join(" ");
                let _ = writeln!(out, "{pad}{}: {ops}{by} ({})", layer.name, args.join(", "));
            }
            Step::If { cond, then, els } => {
                let _ = writeln!(out, "{pad}if {} {{", place(*cond));
                steps(p, then, depth + 1, out);
                let _ = writeln!(out, "{pad}}} else {{");
                steps(p, els, depth + 1, out);
                let _ = writeln!(out, "{pad}}}");
            }
            Step::Loop {
                trips,
                max_trips,
                cond,
                iter,
                body,
            } => {
                let _ = write!(out, "{pad}loop");
                if let Some(t) = trips {
                    let _ = write!(out, " {} times", place(*t));
                }
                let _ = write!(out, " of at most {max_trips}");
                if let Some(c) = cond {
                    let _ = write!(out, " while {}", place(*c));
                }
                let _ = writeln!(out, ", counted in {} {{", place(*iter));
                steps(p, body, depth + 1, out);
                let _ = writeln!(out, "{pad}}}");
            }
            Step::Offload {
                slot,
                required,
                ins,
                outs,
                twin,
            } => {
                let list = |l: &[Place]| l.iter().map(|&p| place(p)).collect::<Vec<_>>().join(", ");
                let must = if *required { " required" } else { "" };
                let (ins, outs) = (list(ins), list(outs));
                let _ = writeln!(out, "{pad}offload {slot}{must} ({ins}) -> ({outs}), or {{");
                steps(p, twin, depth + 1, out);
                let _ = writeln!(out, "{pad}}}");
            }
            Step::Fail(code) => {
                let _ = writeln!(out, "{pad}fail {code}");
            }
        }
    }
}

fn place(p: Place) -> String {
    let at = |offset: u64| match offset {
        0 => String::new(),
        o => format!("+{o}"),
    };
    match p {
        Place::Input(k, o) => format!("in {k}{}", at(o)),
        Place::Output(k, o) => format!("out {k}{}", at(o)),
        Place::Weights(o) => format!("weights {o}"),
        Place::Arena(o) => format!("arena {o}"),
    }
}
