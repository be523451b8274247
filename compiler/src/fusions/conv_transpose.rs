//! A ConvTranspose becomes a Conv over its input, with a channel for each position modulo the stride, and a Transpose that
//! brings these positions together: so it runs on the kernels of convolutions.
//!
//! Along one axis output `q * stride + r - begin` sums input `q - j` times window element `j * stride + r`: a convolution with
//! `ceil(kernel / stride)` elements for each r.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, ValueId};
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "conv_transpose",
    doc: "a ConvTranspose becomes a Conv with channels for each position modulo the stride",
    run,
};

/// Products that are added for elements which the window lacks, at most: this many times the window's own.
const MOST_WASTE: i64 = 2;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let patterns = [op("ConvTranspose", [any("x"), konst("w")])];
    rewrite(g, cx, &patterns, split)?;
    let patterns = [op("ConvTranspose", [any("x"), konst("w"), konst("b")])];
    rewrite(g, cx, &patterns, split)
}

/// One spatial axis.
struct Axis {
    input: i64,
    kernel: i64,
    stride: i64,
    begin: i64,
    out: i64,
    /// Elements of the convolution's window.
    taps: i64,
}

impl Axis {
    /// Positions of the convolution's output.
    fn positions(&self) -> i64 {
        self.input + self.taps - 1
    }
}

fn split(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let (root, x) = (m.root(), m.value("x")?);
    let out = g.node(root).outs[0];
    let shape = |v: ValueId| g.ty(v).and_then(|t| fixed_shape(&t.shape));
    let (Some(xs), Some(os)) = (shape(x), shape(out)) else {
        return skip("sizes are not fixed");
    };
    let Some(w) = g
        .konst(m.value("w")?)
        .cloned()
        .filter(|w| w.dtype == DType::F32 && w.shape.len() == xs.len())
    else {
        return skip("the weights are not f32");
    };
    let attrs = g.node(root).attrs.clone();
    let n = xs.len() - 2;
    let list = |name: &str, default: i64| match attrs.ints(name) {
        Some(v) if v.len() >= n => v.to_vec(),
        _ => vec![default; 2 * n],
    };
    let (strides, dilations, pads) = (list("strides", 1), list("dilations", 1), list("pads", 0));
    if attrs.int("group", 1) != 1 || dilations[..n].iter().any(|&d| d != 1) {
        return skip("it has groups or dilations");
    }
    let padded = !matches!(attrs.str("auto_pad", "NOTSET"), "NOTSET" | "")
        || attrs.ints("output_shape").is_some_and(|v| !v.is_empty());
    if padded {
        return skip("its pads follow from the output's shape");
    }
    let axes: Vec<Axis> = (0..n)
        .map(|i| Axis {
            input: xs[2 + i],
            kernel: w.shape[2 + i],
            stride: strides[i],
            begin: pads[i],
            out: os[2 + i],
            taps: (w.shape[2 + i] + strides[i] - 1) / strides[i].max(1),
        })
        .collect();
    let done: i64 = axes.iter().map(|a| a.taps * a.stride).product();
    let own: i64 = axes.iter().map(|a| a.kernel).product();
    let beyond = axes
        .iter()
        .any(|a| a.begin < 0 || a.out < 1 || a.begin + a.out > a.positions() * a.stride);
    if beyond || done > MOST_WASTE * own {
        return skip("its window and stride do not go together");
    }
    let (cin, cout) = (w.shape[0], w.shape[1]);
    let phases: i64 = axes.iter().map(|a| a.stride).product();
    let weights = weights(&w, &axes, cin, cout);
    let mut ws = vec![phases * cout, cin];
    ws.extend(axes.iter().map(|a| a.taps));
    let name = g.value(m.value("w")?).name.clone();
    let weights = g.add_const(&name, Tensor::f32(&ws, &weights));
    let mut ins = vec![Some(x), Some(weights)];
    if let Ok(b) = m.value("b") {
        let Some(bias) = g.konst(b).and_then(|t| t.to_f32s()) else {
            return skip("the bias is not a constant");
        };
        let all = bias.repeat(phases as usize);
        ins.push(Some(
            g.add_const("", Tensor::f32(&[all.len() as i64], &all)),
        ));
    }
    let around: Vec<i64> = axes.iter().map(|a| a.taps - 1).collect();
    let conv = Attrs::default()
        .with("group", Attr::Int(1))
        .with("pads", Attr::Ints([around.clone(), around].concat()));
    let loc = place(g, m);
    let y = make(g, cx, root, "Conv", conv, &ins, loc.clone())?;
    let mut step = |g: &mut Graph, op: &str, attrs: Attrs, ins: &[ValueId]| {
        let ins: Vec<_> = ins.iter().map(|v| Some(*v)).collect();
        make(g, cx, root, op, attrs, &ins, loc.clone())
    };
    let numbers = |g: &mut Graph, v: &[i64]| g.add_const("", Tensor::i64(&[v.len() as i64], v));
    // [N, r.., C, q..] to [N, C, q, r ..].
    let mut apart = vec![xs[0]];
    apart.extend(axes.iter().map(|a| a.stride));
    apart.push(cout);
    apart.extend(axes.iter().map(|a| a.positions()));
    let apart = numbers(g, &apart);
    let y = step(g, "Reshape", Attrs::default(), &[y, apart])?;
    let mut perm = vec![0, n as i64 + 1];
    for i in 0..n as i64 {
        perm.extend([n as i64 + 2 + i, 1 + i]);
    }
    let attrs = Attrs::default().with("perm", Attr::Ints(perm));
    let y = step(g, "Transpose", attrs, &[y])?;
    let mut whole = vec![xs[0], cout];
    whole.extend(axes.iter().map(|a| a.positions() * a.stride));
    let whole = numbers(g, &whole);
    let y = step(g, "Reshape", Attrs::default(), &[y, whole])?;
    let cut = |a: &Axis| a.begin > 0 || a.out < a.positions() * a.stride;
    if !axes.iter().any(cut) {
        return Ok(Outcome::Replace(y));
    }
    let starts: Vec<i64> = axes.iter().map(|a| a.begin).collect();
    let ends: Vec<i64> = axes.iter().map(|a| a.begin + a.out).collect();
    let names: Vec<i64> = (2..2 + n as i64).collect();
    let lists = [starts, ends, names].map(|l| numbers(g, &l));
    let y = step(
        g,
        "Slice",
        Attrs::default(),
        &[y, lists[0], lists[1], lists[2]],
    )?;
    Ok(Outcome::Replace(y))
}

/// `[cin, cout, kernel..]` as `[r.., cout, cin, taps..]`, zeros where the window has no such element.
fn weights(w: &Tensor, axes: &[Axis], cin: i64, cout: i64) -> Vec<f32> {
    let values = w.to_f32s().unwrap_or_default();
    let phases: i64 = axes.iter().map(|a| a.stride).product();
    let taps: i64 = axes.iter().map(|a| a.taps).product();
    let mut out = Vec::with_capacity((phases * cout * cin * taps) as usize);
    for p in 0..phases {
        for m in 0..cout {
            for c in 0..cin {
                for t in 0..taps {
                    // Element number in the kernel, axis by axis.
                    let (mut p, mut t) = (p, t);
                    let mut k = vec![0; axes.len()];
                    for (i, a) in axes.iter().enumerate().rev() {
                        let (r, tap) = (p % a.stride, t % a.taps);
                        k[i] = (a.taps - 1 - tap) * a.stride + r;
                        p /= a.stride;
                        t /= a.taps;
                    }
                    let inside = axes.iter().zip(&k).all(|(a, &k)| k < a.kernel);
                    let mut at = c * cout + m;
                    for (a, &k) in axes.iter().zip(&k) {
                        at = at * a.kernel + k;
                    }
                    out.push(if inside { values[at as usize] } else { 0.0 });
                }
            }
        }
    }
    out
}
