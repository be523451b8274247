//! Lists and optional values whose structure is known while importing: they dissolve into their tensors.
//!
//! What depends on data (lists that grow in a loop, an optional that may or may not be there) is refused where the list
//! or optional meets an operator that takes tensors.

use super::import::Importer;
use super::node::Call;
use super::scope::Binding;
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators that are gone after import, and since which opset.
pub const OPERATORS: &[(&str, i64)] = &[
    ("ConcatFromSequence", 11),
    ("Optional", 15),
    ("OptionalGetElement", 15),
    ("OptionalHasElement", 15),
    ("SequenceAt", 11),
    ("SequenceConstruct", 11),
    ("SequenceEmpty", 11),
    ("SequenceErase", 11),
    ("SequenceInsert", 11),
    ("SequenceLength", 11),
    ("SplitToSequence", 11),
];

fn bad<T>(what: &str) -> Result<T> {
    Err(Diagnostic::model("ONNX009", what.to_string()))
}

impl<'m> Importer<'m> {
    /// The result, if this is an operator over lists or optional values; `None` for every other operator.
    pub fn sequence(&mut self, call: &Call<'_, 'm>) -> Result<Option<Vec<Binding>>> {
        let first = call.ins.first().and_then(Option::as_ref);
        let known = OPERATORS.iter().any(|o| o.0 == call.op);
        let passes = call.op == "Identity"
            && !matches!(first, None | Some(Binding::Tensor(_) | Binding::Broken));
        if passes {
            return Ok(Some(vec![first.cloned().unwrap_or(Binding::Nothing)]));
        }
        if !known {
            return Ok(None);
        }
        if let Some((name, _)) = call.attrs.plain.0.iter().find(|a| !known_attr(a.0, a.1)) {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                format!("attribute `{name}` is not known here"),
            ));
        }
        if call.broken() {
            return Ok(Some(vec![Binding::Broken]));
        }
        match first {
            Some(&Binding::Stacked(stack)) if !call.op.starts_with("Optional") => {
                return self.of_stacked(call, stack).map(|b| Some(vec![b]));
            }
            Some(Binding::Growing(elements)) => {
                let (false, "SequenceInsert", Some(v), None) = (
                    elements.len() > 1,
                    call.op,
                    call.tensor(1)?,
                    call.tensor(2)?,
                ) else {
                    return Err(Diagnostic::unsupported(
                        "ONNX008",
                        "a list that a loop carries may only be appended to, one element a round",
                    ));
                };
                let grown = elements.iter().copied().chain([v]).collect();
                return Ok(Some(vec![Binding::Growing(grown)]));
            }
            _ => {}
        }
        self.spend(first.map_or(0, |b| {
            if let Binding::Sequence(s) = b {
                s.len()
            } else {
                0
            }
        }))?;
        let out = match call.op {
            "SequenceConstruct" => {
                let all: Option<Vec<ValueId>> = call.tensors()?.into_iter().collect();
                match all {
                    Some(all) => Binding::Sequence(all),
                    None => return bad("an element is absent"),
                }
            }
            "SequenceEmpty" => Binding::Sequence(vec![]),
            "SequenceAt" => {
                let s = list(call)?;
                match call.tensor(1)? {
                    Some(at) if self.ints_of(at).is_none() => self.picked(call, s, at)?,
                    _ => Binding::Tensor(s[self.position(call, 1, s.len(), false)?]),
                }
            }
            "SequenceErase" => {
                let mut s = list(call)?.to_vec();
                let i = match call.tensor(1)? {
                    Some(_) => self.position(call, 1, s.len(), false)?,
                    None if s.is_empty() => return bad("the list is empty"),
                    None => s.len() - 1,
                };
                s.remove(i);
                Binding::Sequence(s)
            }
            "SequenceInsert" => {
                let mut s = list(call)?.to_vec();
                let Some(v) = call.tensor(1)? else {
                    return bad("no tensor is given");
                };
                let i = match call.tensor(2)? {
                    Some(_) => self.position(call, 2, s.len(), true)?,
                    None => s.len(),
                };
                s.insert(i, v);
                Binding::Sequence(s)
            }
            "SequenceLength" => {
                let n = list(call)?.len() as i64;
                Binding::Tensor(self.scopes.graph().add_const("", Tensor::i64(&[], &[n])))
            }
            "ConcatFromSequence" => self.concat_list(call)?,
            "SplitToSequence" => self.split_list(call)?,
            "Optional" => first.cloned().unwrap_or(Binding::Nothing),
            "OptionalHasElement" => {
                let has = !matches!(first, None | Some(Binding::Nothing));
                let t = Tensor::from_f64s(
                    crate::base::dtype::DType::Bool,
                    &[],
                    &[f64::from(u8::from(has))],
                );
                Binding::Tensor(self.scopes.graph().add_const("", t))
            }
            _ => match first {
                Some(Binding::Nothing) | None => return bad("the optional value is empty"),
                Some(b) => b.clone(),
            },
        };
        Ok(Some(vec![out]))
    }

    /// A position in a list of `n`, which must be known.
    fn position(&mut self, call: &Call, input: usize, n: usize, end: bool) -> Result<usize> {
        let v = call.tensor(input)?;
        let known = v.and_then(|v| self.ints_of(v)).filter(|p| p.len() == 1);
        let Some(p) = known.map(|p| p[0]) else {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                "the position in a list must be known at compile time",
            ));
        };
        let n = n as i64;
        let at = if p < 0 { p.saturating_add(n) } else { p };
        if at < 0 || at > n || (at == n && !end) {
            return bad(&format!("position {p} is outside a list of {n}"));
        }
        Ok(at as usize)
    }

    fn concat_list(&mut self, call: &Call<'_, 'm>) -> Result<Binding> {
        let s = list(call)?.to_vec();
        let attrs = &call.attrs.plain;
        let Some(axis) = attrs.opt_int("axis") else {
            return bad("attribute `axis` is missing");
        };
        let mut cx = super::expand::ExpandCx::new(self, call, vec![]);
        let mut parts = s;
        if attrs.flag("new_axis") {
            for p in &mut parts {
                let a = cx.list(&[axis]);
                *p = cx.plain("Unsqueeze", &[*p, a])?;
            }
        }
        if parts.is_empty() {
            return bad("the list is empty");
        }
        cx.concat(&parts, axis).map(Binding::Tensor)
    }

    fn split_list(&mut self, call: &Call<'_, 'm>) -> Result<Binding> {
        let Some(x) = call.tensor(0)? else {
            return bad("input 0 is missing");
        };
        let attrs = &call.attrs.plain;
        let ty = self.type_of(x)?;
        let axis = crate::op::resolve_axis(attrs.int("axis", 0), ty.rank())?;
        let single = match call.tensor(1)? {
            None => true,
            Some(v) => self.type_of(v)?.rank() == 0 && self.ints_of(v).is_some_and(|l| l == [1]),
        };
        let Some(n) = ty.shape.get(axis).and_then(Dim::fixed) else {
            if single {
                let keep = call.tensor(1)?.is_some() || attrs.int("keepdims", 1) != 0;
                return self.cut(call, x, axis, keep);
            }
            return Err(Diagnostic::unsupported(
                "ONNX012",
                "the axis that is split must be fixed at compile time",
            ));
        };
        let mut keep = true;
        let mut sizes: Vec<i64> = vec![];
        let split = call.tensor(1)?;
        let given = match split {
            Some(v) => {
                let scalar = self.type_of(v)?.rank() == 0;
                let Some(l) = self.ints_of(v) else {
                    return Err(Diagnostic::unsupported(
                        "ONNX008",
                        "`split` must be known at compile time",
                    ));
                };
                if scalar {
                    l.first().map(|&s| (s, true))
                } else {
                    sizes = l;
                    None
                }
            }
            None => {
                keep = attrs.int("keepdims", 1) != 0;
                Some((1, true))
            }
        };
        if let Some((size, _)) = given {
            if size < 1 {
                return bad("parts must have at least one element");
            }
            self.spend(usize::try_from(n / size).unwrap_or(usize::MAX))?;
            let mut at = 0;
            while at < n {
                sizes.push(size.min(n - at));
                at += size.min(n - at);
            }
        }
        if sizes
            .iter()
            .try_fold(0i64, |a, &s| if s < 0 { None } else { a.checked_add(s) })
            != Some(n)
        {
            return bad("the parts do not add up to the axis");
        }
        let mut cx = super::expand::ExpandCx::new(self, call, vec![]);
        let mut parts = vec![];
        let mut at = 0;
        for s in sizes {
            let mut p = cx.slice(x, axis as i64, at, at + s)?;
            if !keep {
                let a = cx.list(&[axis as i64]);
                p = cx.plain("Squeeze", &[p, a])?;
            }
            parts.push(p);
            at += s;
        }
        Ok(Binding::Sequence(parts))
    }
}

fn list<'c>(call: &'c Call) -> Result<&'c [ValueId]> {
    match call.ins.first().and_then(Option::as_ref) {
        Some(Binding::Sequence(s)) => Ok(s),
        _ => bad("input 0 must be a list"),
    }
}

/// Attributes that these operators have.
fn known_attr(name: &str, value: &Attr) -> bool {
    matches!(
        (name, value),
        ("axis" | "new_axis" | "keepdims" | "dtype", Attr::Int(_))
    )
}
