//! Lists whose elements stand along the first axis of one tensor: what a loop appends to, round by round, and what is cut along a free axis.

use super::expand::ExpandCx;
use super::import::Importer;
use super::node::Call;
use super::scope::Binding;
use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Graph, NodeId, ValueId};

/// What a loop carries that is a list: it may only be appended to.
#[derive(Default)]
pub struct Lists {
    /// Which of the carried values.
    pub at: Vec<usize>,
    /// How many are carried, lists and others.
    carried: usize,
}

impl Lists {
    /// Takes the lists out of the inputs of a loop: at first they must be empty.
    pub fn of(call: &mut Call) -> Result<Lists> {
        let carried = call.ins.get(2..).unwrap_or(&[]);
        let mut at = vec![];
        for (k, i) in carried.iter().enumerate() {
            match i {
                Some(Binding::Sequence(s)) if s.is_empty() => at.push(k),
                Some(Binding::Sequence(_) | Binding::Stacked(_) | Binding::Growing(_)) => {
                    return Err(Diagnostic::unsupported(
                        "ONNX008",
                        format!("carried value {k} is a list that is not empty at first"),
                    ));
                }
                _ => {}
            }
        }
        let carried = carried.len();
        for k in at.iter().rev() {
            call.ins.remove(k + 2);
        }
        Ok(Lists { at, carried })
    }

    /// Whether input `k` of the body is a list.
    pub fn takes(&self, k: usize) -> bool {
        k >= 2 && self.at.contains(&(k - 2))
    }
    /// Whether output `k` of the body is a list.
    pub fn gives(&self, k: usize) -> bool {
        k >= 1 && self.at.contains(&(k - 1))
    }

    /// The outputs of a loop node in the order of the file: the lists stand last in the graph, as what rounds give.
    pub fn results(&self, graph: &Graph, n: NodeId) -> Vec<Binding> {
        let outs = &graph.node(n).outs;
        let (plain, lists) = outs.split_at(outs.len().saturating_sub(self.at.len()));
        let (mut plain, mut lists) = (plain.iter().copied(), lists.iter().copied());
        let mut all = vec![];
        for k in 0..self.carried {
            all.extend(match self.at.contains(&k) {
                true => lists.next().map(Binding::Stacked),
                false => plain.next().map(Binding::Tensor),
            });
        }
        all.extend(plain.map(Binding::Tensor));
        all
    }
}

/// The one element that a round appends.
pub fn appended(b: &Binding) -> Result<ValueId> {
    match b {
        Binding::Growing(elements) => match elements.as_slice() {
            [one] => Ok(*one),
            e => Err(Diagnostic::unsupported(
                "ONNX008",
                format!("a round appends {} elements to a list, not 1", e.len()),
            )),
        },
        _ => Err(Diagnostic::unsupported(
            "ONNX008",
            "a list that is carried by a loop is replaced, not appended to",
        )),
    }
}

impl<'m> Importer<'m> {
    /// An operator over a list that stands in one tensor.
    pub fn of_stacked(&mut self, call: &Call<'_, 'm>, stack: ValueId) -> Result<Binding> {
        let ty = self.type_of(stack)?;
        let at = match call.op {
            "SequenceAt" => call.tensor(1)?,
            _ => None,
        };
        let mut cx = ExpandCx::new(self, call, vec![]);
        let made = match (call.op, at) {
            ("SequenceAt", Some(i)) => {
                let i = cx.reshape(i, &[])?;
                cx.plain("Gather", &[stack, i])?
            }
            ("SequenceLength", _) => {
                let n = cx.size_of(stack, 0)?;
                cx.reshape(n, &[])?
            }
            ("ConcatFromSequence", _) => concatenated(&mut cx, &call.attrs.plain, stack, &ty)?,
            _ => {
                return Err(Diagnostic::unsupported(
                    "ONNX008",
                    format!("{} of a list whose length is not known", call.op),
                ));
            }
        };
        Ok(Binding::Tensor(made))
    }

    /// Slices of one element along an axis of unknown size, as a list. `keep`: their own axis is kept.
    pub fn cut(
        &mut self,
        call: &Call<'_, 'm>,
        x: ValueId,
        axis: usize,
        keep: bool,
    ) -> Result<Binding> {
        let rank = self.type_of(x)?.rank();
        let mut cx = ExpandCx::new(self, call, vec![]);
        let mut perm: Vec<i64> = (0..rank as i64).filter(|&a| a != axis as i64).collect();
        perm.insert(0, axis as i64);
        let mut made = cx.transpose(x, &perm)?;
        if keep {
            let axes = cx.list(&[axis as i64 + 1]);
            made = cx.plain("Unsqueeze", &[made, axes])?;
        }
        Ok(Binding::Stacked(made))
    }

    /// An element of a list of equal tensors whose place is known at run time alone.
    pub fn picked(
        &mut self,
        call: &Call<'_, 'm>,
        list: &[ValueId],
        at: ValueId,
    ) -> Result<Binding> {
        let first: Option<TensorType> = match list.first() {
            Some(&v) => Some(self.type_of(v)?),
            None => None,
        };
        for &v in list {
            if Some(self.type_of(v)?) != first {
                return Err(Diagnostic::unsupported(
                    "ONNX008",
                    "the position in a list of different tensors must be known at compile time",
                ));
            }
        }
        let mut cx = ExpandCx::new(self, call, vec![]);
        let zero = cx.list(&[0]);
        let mut rows = vec![];
        for &v in list {
            rows.push(cx.plain("Unsqueeze", &[v, zero])?);
        }
        let stack = cx.concat(&rows, 0)?;
        let at = cx.reshape(at, &[])?;
        cx.plain("Gather", &[stack, at]).map(Binding::Tensor)
    }
}

/// ConcatFromSequence of a stack of type `ty`.
fn concatenated(
    cx: &mut ExpandCx,
    attrs: &Attrs,
    stack: ValueId,
    ty: &TensorType,
) -> Result<ValueId> {
    let Some(axis) = attrs.opt_int("axis") else {
        return Err(Diagnostic::model("ONNX009", "attribute `axis` is missing"));
    };
    let new = attrs.flag("new_axis");
    // Of the result with an axis for the elements, in front of the one along which they are joined.
    let rank = ty.rank();
    let at = crate::op::resolve_axis(axis, if new { rank } else { rank - 1 })?;
    let mut perm: Vec<i64> = (1..rank as i64).collect();
    perm.insert(at, 0);
    let moved = cx.transpose(stack, &perm)?;
    if new {
        return Ok(moved);
    }
    let sizes = cx.shape_of(moved)?;
    let before = cx.slice(sizes, 0, 0, at as i64)?;
    let behind = cx.slice(sizes, 0, at as i64 + 2, i64::MAX)?;
    let joined = cx.konst(Tensor::from_f64s(DType::I64, &[1], &[-1.0]));
    let shape = cx.concat(&[before, joined, behind], 0)?;
    cx.plain("Reshape", &[moved, shape])
}
