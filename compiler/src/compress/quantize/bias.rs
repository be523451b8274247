//! Biases of products: where they stand, what rounding the weights takes from them, and their form in whole numbers.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::PassCx;

/// Where a product's bias stands, or could.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Nowhere.
    None,
    /// Input 2 of the product, which may be absent.
    Own,
    /// This input of an Add right behind it.
    Behind(NodeId, usize),
}

impl Place {
    /// That of a Conv, Gemm or MatMul. `scaled`: values that are quantized, behind which an Add is no bias any more.
    pub fn of(g: &Graph, n: NodeId, scaled: impl Fn(ValueId) -> bool) -> Place {
        let node = g.node(n);
        let out = node.outs[0];
        let plain = |name: &str| node.attrs.float(name, 1.0) == 1.0;
        match node.op.name {
            "Conv" => Place::Own,
            "ConvTranspose" if node.attrs.int("group", 1) == 1 => Place::Own,
            "Gemm" if plain("alpha") && plain("beta") => {
                let old = node.ins.get(2).copied().flatten();
                let columns = g.ty(out).and_then(|t| t.shape.last()?.fixed());
                let fits = |b: ValueId| g.konst(b).is_some_and(|t| row(t, columns));
                if old.is_none_or(fits) {
                    Place::Own
                } else {
                    Place::None
                }
            }
            "MatMul" => behind(g, out, scaled).unwrap_or(Place::None),
            _ => Place::None,
        }
    }
}

/// Whether a tensor is one number, or one for each column.
fn row(t: &Tensor, columns: Option<i64>) -> bool {
    t.dtype == DType::F32
        && (t.len() == 1 || (t.shape.len() == 1 && Some(t.len() as i64) == columns))
}

fn behind(g: &Graph, v: ValueId, scaled: impl Fn(ValueId) -> bool) -> Option<Place> {
    let &[add] = g.users(v) else { return None };
    let node = g.node(add);
    if node.op.name != "Add" || scaled(v) || g.is_output(v) {
        return None;
    }
    let k = node.ins.iter().position(|i| *i != Some(v))?;
    let b = g.konst(node.ins[k]?)?;
    let columns = g.ty(v)?.shape.last()?.fixed();
    (b.shape.len() == 1 && Some(b.len() as i64) == columns && row(b, columns))
        .then_some(Place::Behind(add, k))
}

/// Takes `shift` (one for each of `count` output channels) off a bias. `steps`: what its whole numbers are worth, for each channel or for all; without
/// any it stays in floats. Gives the largest that was taken off.
pub fn correct(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    place: Place,
    count: usize,
    steps: &[f32],
    shift: Option<&[f64]>,
) -> Result<f64> {
    let (node, k) = match place {
        Place::None => return Ok(0.0),
        Place::Own => (n, 2),
        Place::Behind(add, k) => (add, k),
    };
    let old = g.node(node).ins.get(k).copied().flatten();
    let known = old.and_then(|b| g.konst(b)?.to_f64s());
    let shift = shift.filter(|s| s.iter().any(|s| *s != 0.0));
    if (known.is_none() && (old.is_some() || shift.is_none()))
        || shift.is_some_and(|s| s.len() != count)
    {
        return Ok(0.0);
    }
    let at = |l: &[f64], c: usize| l.get(c % l.len().max(1)).copied().unwrap_or(0.0);
    let bias: Vec<f64> = (0..count)
        .map(|c| known.as_deref().map_or(0.0, |b| at(b, c)) - shift.map_or(0.0, |s| at(s, c)))
        .collect();
    let largest = shift
        .unwrap_or(&[])
        .iter()
        .fold(0.0f64, |a, s| a.max(s.abs()));
    let loc = g.node(n).loc.clone();
    let name = match old.map(|b| g.value(b).name.clone()) {
        Some(name) if !name.is_empty() => name,
        _ => format!("{loc}_bias"),
    };
    let numbers: Vec<f64> = (bias.iter().enumerate())
        .map(|(c, b)| {
            libm::rint(b / f64::from(steps.get(c % steps.len().max(1)).copied().unwrap_or(1.0)))
        })
        .collect();
    let whole = place == Place::Own
        && !steps.is_empty()
        && steps.iter().all(|s| *s >= f32::MIN_POSITIVE)
        && numbers.iter().all(|q| q.abs() <= f64::from(i32::MAX));
    let new = if whole {
        let q = Tensor::from_f64s(DType::I32, &[count as i64], &numbers);
        let q = g.add_const(&format!("{name}_quantized"), q);
        let shape: &[i64] = match steps.len() {
            1 => &[],
            n => &[n as i64],
        };
        let scale = g.add_const("", Tensor::f32(shape, steps));
        let attrs = Attrs::default()
            .with("axis", Attr::Int(0))
            .with("block_size", Attr::Int(0));
        make(
            g,
            cx,
            n,
            "DequantizeLinear",
            attrs,
            &[Some(q), Some(scale)],
            loc,
        )?
    } else {
        // Behind a MatMul it is a number of its own; or so large beside the weights that no i32 holds it.
        if shift.is_none() {
            return Ok(0.0);
        }
        let values: Vec<f32> = bias.iter().map(|b| *b as f32).collect();
        g.add_const(&name, Tensor::f32(&[count as i64], &values))
    };
    g.set_input(node, k, Some(new));
    Ok(largest)
}
