//! Types of the graph's inputs, and what decides their free dimensions.
//!
//! A dimension is known by the name that the file gives it, or by `INPUT:AXIS`. What decides it, in this order: the
//! file; `--input`; `--dim`; 1 for the first axis of an input (the batch), with a remark. What then is still free is a
//! diagnostic with the flag to give.

use super::import::Importer;
use super::options::DimSpec;
use super::proto::{
    DimensionValue, GraphProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, Origin, Symbol};
use crate::base::dtype::DType;
use crate::base::types::TensorType;
use std::collections::{BTreeMap, BTreeSet};

/// An axis in the file.
enum Axis<'a> {
    Known(i64),
    Named(&'a str),
    Unnamed,
}

struct Binder<'a> {
    bound: BTreeMap<String, DimSpec>,
    used: BTreeSet<String>,
    seen: BTreeSet<String>,
    symbols: BTreeMap<String, Dim>,
    reported: BTreeSet<String>,
    inputs: BTreeMap<&'a str, &'a [i64]>,
}

/// The kind of a type that is no tensor.
pub fn kind_name(t: Option<&TypeProto>) -> &'static str {
    match t.and_then(|t| t.value.as_ref()) {
        Some(TypeValue::Tensor(_)) => "a tensor",
        Some(TypeValue::Sequence(_)) => "a sequence",
        Some(TypeValue::Map(_)) => "a map",
        Some(TypeValue::Optional(_)) => "an optional value",
        Some(TypeValue::SparseTensor(_)) => "a sparse tensor",
        Some(TypeValue::Opaque(_)) => "an opaque value",
        None => "a value without a type",
    }
}

/// The element type of a tensor that enters or leaves.
fn element_type(t: &TensorTypeProto) -> Result<DType> {
    match DType::from_onnx(t.elem_type) {
        Some(d @ (DType::String | DType::Complex64 | DType::Complex128)) => Err(
            Diagnostic::unsupported("ONNX014", format!("elements of type {d} are not supported")),
        ),
        Some(d) => Ok(d),
        None => Err(Diagnostic::model(
            "ONNX004",
            format!("element type {} is unknown", t.elem_type),
        )),
    }
}

fn axes(t: &TensorTypeProto) -> Option<Vec<Axis<'_>>> {
    Some(
        t.shape
            .as_ref()?
            .dim
            .iter()
            .map(|d| match &d.value {
                Some(DimensionValue::DimValue(n)) if *n >= 0 => Axis::Known(*n),
                Some(DimensionValue::DimParam(p)) if !p.is_empty() && p != "?" && p != "-1" => {
                    Axis::Named(p)
                }
                // Negative sizes are how some exporters say "free".
                _ => Axis::Unnamed,
            })
            .collect(),
    )
}

fn key(input: &str, axis: usize, a: &Axis) -> String {
    match a {
        Axis::Named(p) => (*p).to_string(),
        _ => format!("{input}:{axis}"),
    }
}

impl<'m> Importer<'m> {
    /// Adds the inputs of the main graph; `frozen` are the names that initializers give.
    pub fn declare_inputs(&mut self, g: &'m GraphProto, frozen: &BTreeSet<&str>) {
        let options = self.options;
        let wanted: BTreeMap<&str, &[i64]> = options
            .inputs
            .iter()
            .map(|(n, s)| (n.as_str(), s.as_slice()))
            .collect();
        let inputs: Vec<&ValueInfoProto> = g
            .input
            .iter()
            .filter(|i| !frozen.contains(i.name.as_str()))
            .collect();
        let mut b = Binder {
            bound: options.dims.iter().cloned().collect(),
            used: BTreeSet::new(),
            seen: BTreeSet::new(),
            symbols: BTreeMap::new(),
            reported: BTreeSet::new(),
            inputs: wanted,
        };
        self.check_ranges();
        for i in &inputs {
            if let Some(TypeValue::Tensor(t)) = i.r#type.as_ref().and_then(|t| t.value.as_ref()) {
                self.bind_input(&mut b, &i.name, t);
            }
        }
        for i in &inputs {
            if let Some(TypeValue::Tensor(t)) = i.r#type.as_ref().and_then(|t| t.value.as_ref()) {
                self.bind_batch(&mut b, &i.name, t);
            }
        }
        for i in &inputs {
            self.spend_or_halt(1);
            let loc = format!("input \"{}\"", i.name);
            let ty = self
                .input_type(&mut b, i)
                .map_err(|d| self.diags.push(d.at(loc)))
                .ok();
            self.define_input(&i.name, ty);
        }
        for (name, _) in options.dims.iter().filter(|d| !b.used.contains(&d.0)) {
            let known: Vec<&str> = b.seen.iter().map(String::as_str).collect();
            self.diags.push(
                Diagnostic::usage(
                    "USE001",
                    format!("--dim: no free dimension `{name}` in this model"),
                )
                .help(match known.is_empty() {
                    true => "all dimensions are fixed by the file".to_string(),
                    false => format!("free dimensions: {}", known.join(", ")),
                }),
            );
        }
        for (name, _) in &options.inputs {
            if !inputs.iter().any(|i| i.name == *name) {
                self.diags.push(
                    Diagnostic::usage(
                        "USE001",
                        format!("--input: no input `{name}` in this model"),
                    )
                    .help(format!(
                        "inputs: {}",
                        inputs
                            .iter()
                            .map(|i| i.name.as_str())
                            .collect::<Vec<_>>()
                            .join(", ")
                    )),
                );
            }
        }
    }

    fn check_ranges(&mut self) {
        for (name, spec) in &self.options.dims {
            let (lo, hi) = match *spec {
                DimSpec::Fixed(n) => (n, n),
                DimSpec::Range(lo, hi) => (lo, hi),
            };
            if lo < 0 || hi < lo {
                self.diags.push(Diagnostic::usage(
                    "USE001",
                    format!("--dim {name}: {lo}..{hi} is no range of sizes"),
                ));
            }
        }
    }

    /// What `--input` and `--dim INPUT:AXIS` say of one input.
    fn bind_input(&mut self, b: &mut Binder, name: &str, t: &TensorTypeProto) {
        let Some(axes) = axes(t) else { return };
        let given = b.inputs.get(name).copied();
        if let Some(s) = given.filter(|s| s.len() != axes.len()) {
            self.diags.push(Diagnostic::usage(
                "USE001",
                format!("--input {name}: {} sizes for {} axes", s.len(), axes.len()),
            ));
        }
        for (k, a) in axes.iter().enumerate() {
            let id = key(name, k, a);
            if !matches!(a, Axis::Known(_)) {
                b.seen.insert(id.clone());
            }
            let place = format!("{name}:{k}");
            if id != place
                && let Some(spec) = b.bound.get(&place).copied()
            {
                b.used.insert(place.clone());
                self.bind(b, &id, spec);
            }
            match (a, given.and_then(|s| s.get(k)).copied()) {
                (_, None | Some(-1)) => {}
                (Axis::Known(n), Some(g)) if *n == g => {}
                (Axis::Known(n), Some(g)) => self.diags.push(Diagnostic::usage(
                    "USE001",
                    format!("--input {name}: axis {k} is {n} in the file, not {g}"),
                )),
                (_, Some(g)) if g < 0 => self.diags.push(Diagnostic::usage(
                    "USE001",
                    format!("--input {name}: {g} is no size"),
                )),
                (_, Some(g)) => self.bind(b, &id, DimSpec::Fixed(g)),
            }
        }
    }

    fn bind(&mut self, b: &mut Binder, id: &str, spec: DimSpec) {
        match b.bound.insert(id.to_string(), spec) {
            Some(old) if old != spec => self.diags.push(Diagnostic::usage(
                "USE001",
                format!("dimension `{id}` is given two sizes, {old:?} and {spec:?}"),
            )),
            _ => {}
        }
    }

    /// A free first axis is the batch: 1.
    fn bind_batch(&mut self, b: &mut Binder, name: &str, t: &TensorTypeProto) {
        let Some(axes) = axes(t) else { return };
        let Some(a) = axes.first().filter(|a| !matches!(a, Axis::Known(_))) else {
            return;
        };
        let id = key(name, 0, a);
        if b.bound.contains_key(&id) {
            return;
        }
        self.diags.push(
            Diagnostic::remark(
                "ONNX013",
                format!("the first dimension `{id}` of input `{name}` is free and was taken as 1"),
            )
            .help(format!("--dim {id}=N or --dim {id}=1..N chooses otherwise")),
        );
        b.bound.insert(id, DimSpec::Fixed(1));
    }

    fn input_type(&mut self, b: &mut Binder, i: &ValueInfoProto) -> Result<TensorType> {
        let Some(TypeValue::Tensor(t)) = i.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Err(Diagnostic::unsupported(
                "ONNX014",
                format!(
                    "{} can't be an input; only tensors can",
                    kind_name(i.r#type.as_ref())
                ),
            ));
        };
        let dtype = element_type(t)?;
        let number = self.scopes.graph().inputs.len();
        let Some(axes) = axes(t) else {
            let given = b.inputs.get(i.name.as_str()).copied();
            return match given {
                Some(s) if s.iter().all(|d| *d >= 0) => Ok(TensorType::fixed(dtype, s)),
                _ => Err(Diagnostic::usage("ONNX011", "the file gives no shape")
                    .help(format!("give it with --input {}:1,3,224,224", i.name))),
            };
        };
        let mut shape = vec![];
        for (k, a) in axes.iter().enumerate() {
            shape.push(match a {
                Axis::Known(n) => Dim::Fixed(*n),
                a => self.free_dim(b, &key(&i.name, k, a), &i.name, number, k),
            });
        }
        let max = shape
            .iter()
            .map(|d| d.bounds(&self.symbols).1)
            .try_fold(1i64, |a, d| a.checked_mul(d));
        if max.is_none_or(|n| n > self.options.limits.max_tensor_elements) {
            return Err(Diagnostic::limit(
                "ONNX006",
                "the shape has too many elements",
            ));
        }
        Ok(TensorType::new(dtype, shape))
    }

    fn free_dim(
        &mut self,
        b: &mut Binder,
        id: &str,
        input: &str,
        number: usize,
        axis: usize,
    ) -> Dim {
        b.used.insert(id.to_string());
        match b.bound.get(id).copied() {
            Some(DimSpec::Fixed(n)) => Dim::Fixed(n),
            Some(DimSpec::Range(lo, hi)) if lo == hi => Dim::Fixed(lo),
            Some(DimSpec::Range(lo, hi)) => {
                if let Some(d) = b.symbols.get(id) {
                    return d.clone();
                }
                let name = id
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                let s = self.symbols.push(Symbol {
                    name,
                    lo,
                    hi,
                    origin: Origin::Input {
                        input: number,
                        axis,
                    },
                });
                b.symbols.insert(id.to_string(), Dim::sym(s));
                Dim::sym(s)
            }
            None => {
                if b.reported.insert(id.to_string()) {
                    self.diags.push(
                        Diagnostic::usage("ONNX011", format!("axis {axis} (`{id}`) is not fixed by the file"))
                            .at(format!("input \"{input}\""))
                            .help(format!("give it with --dim {id}=N, or --dim {id}=LO..HI for any size in a range")),
                    );
                }
                Dim::Fixed(1)
            }
        }
    }
}
