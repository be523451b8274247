//! x * gate(Conv(middle(Conv(mean of x)))), the convolutions being 1x1, becomes one operator.
//!
//! Taken apart it is four layers of very little work each, and the layout of the tensor between them matters to nobody.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::finish::Activation;
use crate::graph::ir::{Graph, NodeId};
use crate::op::resolve_axis;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "squeeze_excite",
    doc: "mean of channels, two 1x1 Convs, a gate and the product with the channels become one operator",
    run,
};

/// Activations of one operand that the operator knows, with the attributes which hold their numbers.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("Relu", &[]),
    ("Sigmoid", &[]),
    ("HardSigmoid", &["alpha", "beta"]),
    ("LeakyRelu", &["alpha"]),
    ("HardSwish", &[]),
    ("Swish", &["alpha"]),
    ("Tanh", &[]),
];

/// A function with its numbers.
type Function = (String, Vec<f32>);

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let pool = either([
        op("GlobalAveragePool", [any("x")]),
        op("ReduceMean", [any("x"), konst("axes")]).named("mean"),
    ]);
    let squeeze = op("Conv", [pool]).named("squeeze");
    let excite = op("Conv", [function(&squeeze, "middle", "low1", "high1")]).named("excite");
    let clip = || op("Clip", [excite.clone(), num(0.0), konst("high2")]);
    let gate = either([
        clip() / konst("divisor"),
        clip() * konst("factor"),
        function(&excite, "gate", "low2", "high2"),
    ]);
    rewrite(g, cx, &[any("x") * gate], |g, cx, m| {
        let parts = match parts(g, m)? {
            Ok(parts) => parts,
            Err(why) => return Ok(Outcome::Skip(why.into())),
        };
        let [first, second] = parts.convs;
        let mut ins = vec![Some(m.value("x")?)];
        for (weights, bias) in [first, second] {
            ins.push(Some(g.add_const("", weights)));
            ins.push(Some(g.add_const("", bias)));
        }
        let mut attrs = Attrs::default();
        for (name, (f, numbers)) in [("middle", parts.middle), ("gate", parts.gate)] {
            attrs.set(name, Attr::Str(f));
            attrs.set(&format!("{name}_params"), Attr::Floats(numbers));
        }
        let loc = place(g, m);
        let made = make(g, cx, m.root(), "SqueezeExcite", attrs, &ins, loc)?;
        Ok(Outcome::Replace(made))
    })
}

/// A value through a function with the label `name`, or the value itself.
fn function(x: &Pat, name: &'static str, low: &'static str, high: &'static str) -> Pat {
    let known = FUNCTIONS.iter().map(|f| op(f.0, [x.clone()]).named(name));
    let clip = op("Clip", [x.clone(), konst(low), konst(high)]).named(name);
    Pat::Either(known.chain([clip, x.clone()]).collect())
}

struct Parts {
    /// Of each Conv the matrix, results side by side, and the bias.
    convs: [(Tensor, Tensor); 2],
    middle: Function,
    gate: Function,
}

/// What the operator is made of, or why it can't be.
fn parts(g: &Graph, m: &Match) -> Result<std::result::Result<Parts, &'static str>> {
    let x = m.value("x")?;
    let Some(ty) = g.ty(x).filter(|t| t.dtype == DType::F32 && t.rank() >= 3) else {
        return Ok(Err("the input is not f32, or has no spatial axes"));
    };
    if let Ok(mean) = m.node("mean") {
        let list = g.konst(m.value("axes")?).and_then(|t| t.to_i64s());
        let axes: Result<Vec<usize>> = (list.unwrap_or_default().into_iter())
            .map(|a| resolve_axis(a, ty.rank()))
            .collect();
        let mut axes = axes?;
        axes.sort_unstable();
        let keeps = g.node(mean).attrs.int("keepdims", 1) != 0;
        if !keeps || axes != (2..ty.rank()).collect::<Vec<_>>() {
            return Ok(Err("the mean is not over the spatial axes, kept"));
        }
    }
    let (first, second) = (m.node("squeeze")?, m.node("excite")?);
    let (Some(a), Some(b)) = (matrix(g, first), matrix(g, second)) else {
        return Ok(Err("a Conv is not a matrix product of constants"));
    };
    let fits = ty.shape[1].is(a.0.shape[0])
        && a.0.shape[1] == b.0.shape[0]
        && b.0.shape[1] == a.0.shape[0];
    if !fits {
        return Ok(Err("the Convs do not lead back to the channels"));
    }
    let middle = function_of(g, m, "middle", first, ["low1", "high1"]);
    let gate = match hard_gate(g, m, second) {
        Some(gate) => gate,
        None => function_of(g, m, "gate", second, ["low2", "high2"]),
    };
    let (Some(middle), Some(gate)) = (middle, gate) else {
        return Ok(Err("an activation is not known, or there are two"));
    };
    Ok(Ok(Parts {
        convs: [a, b],
        middle,
        gate,
    }))
}

/// The transposed weights and the bias of a 1x1 Conv of one group that adds nothing else.
fn matrix(g: &Graph, conv: NodeId) -> Option<(Tensor, Tensor)> {
    let node = g.node(conv);
    let w = g.konst((*node.ins.get(1)?)?)?;
    let one = w.shape.get(2..)?.iter().all(|&k| k == 1);
    let padded = node
        .attrs
        .ints("pads")
        .is_some_and(|p| p.iter().any(|&p| p != 0));
    let adds = node.ins.get(3).is_some_and(Option::is_some);
    if !one || padded || adds || node.attrs.int("group", 1) != 1 || w.dtype != DType::F32 {
        return None;
    }
    let (n, k) = (w.shape[0] as usize, w.shape[1] as usize);
    let values = w.to_f32s()?;
    let turned: Vec<f32> = (0..k * n).map(|i| values[i % n * k + i / n]).collect();
    let bias = match node.ins.get(2).copied().flatten() {
        Some(b) => g.konst(b)?.to_f32s()?,
        None => vec![0.0; n],
    };
    let fits = bias.len() == n && turned.len() == values.len();
    fits.then(|| {
        (
            Tensor::f32(&[k as i64, n as i64], &turned),
            Tensor::f32(&[n as i64], &bias),
        )
    })
}

/// The activation inside a Conv, if it has one; `None` where it is not known.
fn inside(g: &Graph, conv: NodeId) -> Option<Function> {
    let attrs = &g.node(conv).attrs;
    Some(match Activation::of_attrs(attrs).ok()? {
        None => (String::new(), vec![]),
        Some(a) => (a.name.into(), vec![a.alpha, a.beta]),
    })
}

/// What is applied behind a Conv: the matched node's function, or the Conv's own.
fn function_of(
    g: &Graph,
    m: &Match,
    name: &'static str,
    conv: NodeId,
    bounds: [&'static str; 2],
) -> Option<Function> {
    let own = inside(g, conv)?;
    let Ok(n) = m.node(name) else {
        return Some(own);
    };
    let node = g.node(n);
    if !own.0.is_empty() {
        return None;
    }
    if node.op.name == "Clip" {
        let [low, high] = bounds.map(|b| number(g, m, b));
        return Some(("Clip".into(), vec![low?, high?]));
    }
    let (f, names) = FUNCTIONS.iter().find(|f| f.0 == node.op.name)?;
    // Importing an operator fills its attributes in.
    let numbers: Option<Vec<f32>> = names.iter().map(|n| node.attrs.opt_float(n)).collect();
    Some(((*f).into(), numbers?))
}

/// clip(v, 0, 1 / k) * k is a HardSigmoid without a shift. `None`: the pattern is another; `Some(None)`: no such function.
fn hard_gate(g: &Graph, m: &Match, conv: NodeId) -> Option<Option<Function>> {
    let factor = match (m.value("factor"), m.value("divisor")) {
        (Err(_), Err(_)) => return None,
        (Ok(_), _) => number(g, m, "factor"),
        _ => number(g, m, "divisor").map(|d| 1.0 / d),
    };
    let high = number(g, m, "high2");
    let plain = inside(g, conv).is_some_and(|f| f.0.is_empty());
    let (Some(factor), Some(high), true) = (factor, high, plain) else {
        return Some(None);
    };
    let fits = (factor * high - 1.0).abs() < 1e-6;
    Some(fits.then(|| ("HardSigmoid".into(), vec![factor, 0.0])))
}

/// The number of a constant with one element.
fn number(g: &Graph, m: &Match, name: &'static str) -> Option<f32> {
    let t = g.konst(m.value(name).ok()?)?;
    (t.len() == 1)
        .then(|| t.get_f64(0))
        .flatten()
        .map(|v| v as f32)
}
