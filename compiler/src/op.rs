//! Floor 4: what one operator must answer.
//!
//! An operator is a static [`OpDef`]: facts and three functions (read attributes as of an opset, infer types, lower to
//! loops). It sees its attributes and the types and constant values of its inputs, and never the graph, its
//! neighbours, or a target.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, Origin, SymId, Symbol, Symbols};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::kernel::{Contract, LowerCx};
use crate::loops::build::Builder;
use crate::loops::ir::ExprId;
use std::collections::BTreeSet;

/// One operator.
pub struct OpDef {
    /// The name in our text: ONNX's own.
    pub name: &'static str,
    /// Which ONNX operators, of which opsets, it stands for, and how their attributes are read.
    pub onnx: &'static [OnnxRow],
    /// Fewest and most inputs; `usize::MAX` for variadic ones.
    pub inputs: (usize, usize),
    /// Fewest and most outputs.
    pub outputs: (usize, usize),
    /// Types in, types out. Also propagates the contents of shape-like values.
    pub infer: fn(&mut InferCx) -> Result<()>,
    /// How it becomes loops.
    pub lower: Lower,
    /// Whether its stores go through [`LowerCx::store`], each element of output 0 once and finished, in any order, and
    /// never read back: then a chain of pointwise work can ride along.
    pub tails: bool,
    /// Whether it adds up products, so that a denormal is lost beside its neighbours ([`crate::base::denormals`]).
    pub sums: bool,
    /// Whether its results lie in the range of the output's type as they are computed, so that they need not be wrapped before they are
    /// stored.
    pub in_range: bool,
    /// Whether equal inputs give equal outputs (random generators without a seed do not).
    pub pure: bool,
}

/// What most operators share: `OpDef { name: .., ..BASE }`.
pub const BASE: OpDef = OpDef {
    name: "",
    onnx: &[],
    inputs: (1, 1),
    outputs: (1, 1),
    infer: same_as_first,
    lower: Lower::View,
    tails: false,
    sums: false,
    in_range: false,
    pure: true,
};

impl OpDef {
    /// The contract that the operator lowers to, and the function that gives the contract's attributes.
    pub fn lower_contract(&self) -> Result<(&'static Contract, fn(&LowerCx) -> Result<Attrs>)> {
        match &self.lower {
            Lower::Contract(c, f) => Ok((*c, *f)),
            _ => Err(Diagnostic::internal("an operator without a contract")),
        }
    }
}

/// How an operator becomes loops.
pub enum Lower {
    /// Output element = formula of the broadcast input elements. It arrives fused everywhere.
    Pointwise(fn(&mut PointCx, &[ExprId]) -> Result<ExprId>),
    /// The output is the first input's bytes under another type.
    View,
    /// Loops of its own.
    Loops(fn(&mut LowerCx) -> Result<()>),
    /// A contract that selection resolves to a kernel. The function gives the contract's attributes.
    Contract(&'static Contract, fn(&LowerCx) -> Result<Attrs>),
    /// Bodies: the plan lowers it.
    Control(Control),
}

/// Operators with bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Inputs: condition, captures. Bodies: then, else; their inputs are the captures.
    If,
    /// Inputs: trip count (or absent), condition (or absent), `states` carried values, captures.
    /// Body inputs: iteration number, condition, carried values, captures; outputs: condition, carried values, scan outputs.
    Loop,
    /// Attributes as in ONNX (canonical: opset 9 and later), and `captures`, the number of captured inputs.
    /// Inputs: carried values, scan inputs, captures.
    /// Body inputs: carried values, slices, captures; outputs: carried values, slices.
    Scan,
    /// A region that an accelerator may compute. Attribute `slot`: its number. Inputs: what crosses the border; the one body is the CPU
    /// twin, whose inputs and outputs are the node's.
    Offload,
}

/// One ONNX spelling: opsets `since..=until` of `domain`::`name`.
pub struct OnnxRow {
    /// Empty for ai.onnx.
    pub domain: &'static str,
    /// Operator type in the file.
    pub name: &'static str,
    /// First opset version with this meaning.
    pub since: i64,
    /// Last opset version with this meaning; `LATEST` for the newest.
    pub until: i64,
    /// Reads the attributes and brings them to the canonical form.
    pub read: fn(&mut ReadCx) -> Result<()>,
}

/// Newest ai.onnx opset that rows speak of.
pub const LATEST: i64 = 27;

/// A row of the default domain.
pub const fn onnx(
    name: &'static str,
    since: i64,
    until: i64,
    read: fn(&mut ReadCx) -> Result<()>,
) -> OnnxRow {
    OnnxRow {
        domain: "",
        name,
        since,
        until,
        read,
    }
}

/// A row of another domain.
pub const fn onnx_in(
    domain: &'static str,
    name: &'static str,
    since: i64,
    until: i64,
    read: fn(&mut ReadCx) -> Result<()>,
) -> OnnxRow {
    OnnxRow {
        domain,
        name,
        since,
        until,
        read,
    }
}

/// Reads the attributes of one ONNX node. An attribute that nobody asked for is an error: nothing is silent.
pub struct ReadCx<'a> {
    /// The opset of the node's domain that the model imports.
    pub opset: i64,
    /// Operator type in the file.
    pub name: &'a str,
    /// Which inputs are given.
    pub given: Vec<bool>,
    /// Number of outputs in the file (trailing unnamed ones left out).
    pub num_outputs: usize,
    /// Canonical attributes: the result.
    pub out: Attrs,
    /// Constant inputs to add where an older opset had an attribute: (position, value).
    pub inputs: Vec<(usize, Tensor)>,
    raw: &'a Attrs,
    used: BTreeSet<String>,
}

impl<'a> ReadCx<'a> {
    /// Over the attributes as the file has them.
    pub fn new(
        name: &'a str,
        opset: i64,
        raw: &'a Attrs,
        given: Vec<bool>,
        num_outputs: usize,
    ) -> Self {
        ReadCx {
            opset,
            name,
            given,
            num_outputs,
            out: Attrs::default(),
            inputs: vec![],
            raw,
            used: BTreeSet::new(),
        }
    }
    /// The attribute as it is; marks it as known.
    pub fn raw(&mut self, name: &str) -> Option<&'a Attr> {
        self.used.insert(name.to_string());
        self.raw.get(name)
    }
    fn kind<T>(
        &mut self,
        name: &str,
        what: &str,
        f: impl Fn(&'a Attr) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.raw(name) {
            None => Ok(None),
            Some(a) => f(a).map(Some).ok_or_else(|| {
                Diagnostic::model("ONNX009", format!("attribute `{name}` must be {what}"))
            }),
        }
    }
    /// A whole number, if there.
    pub fn opt_int(&mut self, name: &str) -> Result<Option<i64>> {
        self.kind(name, "a whole number", |a| {
            if let Attr::Int(v) = a { Some(*v) } else { None }
        })
    }
    /// A whole number or its default.
    pub fn int(&mut self, name: &str, default: i64) -> Result<i64> {
        Ok(self.opt_int(name)?.unwrap_or(default))
    }
    /// A float, if there.
    pub fn opt_float(&mut self, name: &str) -> Result<Option<f32>> {
        self.kind(name, "a float", |a| {
            if let Attr::Float(v) = a {
                Some(*v)
            } else {
                None
            }
        })
    }
    /// A float or its default.
    pub fn float(&mut self, name: &str, default: f32) -> Result<f32> {
        Ok(self.opt_float(name)?.unwrap_or(default))
    }
    /// Whole numbers, if there.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        self.kind(name, "a list of whole numbers", |a| match a {
            Attr::Ints(v) => Some(v.clone()),
            _ => None,
        })
    }
    /// Floats, if there.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        self.kind(name, "a list of floats", |a| match a {
            Attr::Floats(v) => Some(v.clone()),
            // An empty list has no kind of its own in some files.
            Attr::Ints(v) if v.is_empty() => Some(vec![]),
            _ => None,
        })
    }
    /// Text, if there.
    pub fn opt_str(&mut self, name: &str) -> Result<Option<String>> {
        self.kind(name, "a text", |a| {
            if let Attr::Str(v) = a {
                Some(v.clone())
            } else {
                None
            }
        })
    }
    /// Text or its default.
    pub fn str(&mut self, name: &str, default: &str) -> Result<String> {
        Ok(self.opt_str(name)?.unwrap_or_else(|| default.to_string()))
    }
    /// Texts, if there.
    pub fn strs(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        self.kind(name, "a list of texts", |a| match a {
            Attr::Strs(v) => Some(v.clone()),
            Attr::Ints(v) if v.is_empty() => Some(vec![]),
            _ => None,
        })
    }
    /// A tensor, if there.
    pub fn tensor(&mut self, name: &str) -> Result<Option<Tensor>> {
        self.kind(name, "a tensor", |a| {
            if let Attr::Tensor(v) = a {
                Some(v.clone())
            } else {
                None
            }
        })
    }
    /// An element type (a `TensorProto.DataType` number), if there.
    pub fn dtype(&mut self, name: &str) -> Result<Option<DType>> {
        match self.opt_int(name)? {
            None => Ok(None),
            Some(n) => i32::try_from(n)
                .ok()
                .and_then(DType::from_onnx)
                .map(Some)
                .ok_or_else(|| {
                    Diagnostic::model(
                        "ONNX009",
                        format!("attribute `{name}` = {n} is no element type"),
                    )
                }),
        }
    }
    /// Sets a canonical attribute.
    pub fn set(&mut self, name: &str, value: Attr) {
        self.out.set(name, value);
    }
    /// Reads a whole number and keeps it under its name.
    pub fn keep_int(&mut self, name: &str, default: i64) -> Result<()> {
        let v = self.int(name, default)?;
        self.set(name, Attr::Int(v));
        Ok(())
    }
    /// Reads a float and keeps it under its name.
    pub fn keep_float(&mut self, name: &str, default: f32) -> Result<()> {
        let v = self.float(name, default)?;
        self.set(name, Attr::Float(v));
        Ok(())
    }
    /// Reads a text and keeps it under its name.
    pub fn keep_str(&mut self, name: &str, default: &str) -> Result<()> {
        let v = self.str(name, default)?;
        self.set(name, Attr::Str(v));
        Ok(())
    }
    /// Keeps a list of whole numbers, if there.
    pub fn keep_ints(&mut self, name: &str) -> Result<()> {
        if let Some(v) = self.ints(name)? {
            self.set(name, Attr::Ints(v));
        }
        Ok(())
    }
    /// Whether input `i` is given.
    pub fn has_input(&self, i: usize) -> bool {
        self.given.get(i).copied().unwrap_or(false)
    }
    /// Turns an attribute of an older opset into the constant input of the newest.
    pub fn input(&mut self, position: usize, value: Tensor) {
        self.inputs.push((position, value));
    }
    /// Accepts an attribute without meaning for inference (`consumed_inputs` of opset 1, training hints).
    pub fn ignore(&mut self, name: &str) {
        self.used.insert(name.to_string());
    }
    /// Error for a form that is not done.
    pub fn unsupported<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Diagnostic::unsupported("ONNX008", what))
    }
    /// Ends reading: attributes that nobody asked for are an error.
    pub fn finish(self) -> Result<(Attrs, Vec<(usize, Tensor)>)> {
        match self.raw.0.keys().find(|k| !self.used.contains(*k)) {
            Some(k) => Err(Diagnostic::unsupported(
                "ONNX008",
                format!("attribute `{k}` is not known for opset {}", self.opset),
            )),
            None => Ok((self.out, self.inputs)),
        }
    }
}

/// Reads an operator without attributes.
pub fn read_none(_: &mut ReadCx) -> Result<()> {
    Ok(())
}

/// What inference knows of an input.
#[derive(Clone, Debug)]
pub struct InValue {
    /// Its type.
    pub ty: TensorType,
    /// Its value, where it is a constant.
    pub konst: Option<Tensor>,
    /// The elements of a small integer value as dimensions, row-major, where they are known.
    pub dims: Option<Vec<Dim>>,
}

/// Infers the types of one node's outputs.
pub struct InferCx<'a> {
    /// The node's attributes.
    pub attrs: &'a Attrs,
    /// Inputs; `None` where an optional one is absent.
    pub inputs: Vec<Option<InValue>>,
    /// How many outputs the node has.
    pub num_outputs: usize,
    /// Results: types.
    pub outputs: Vec<Option<TensorType>>,
    /// Results: contents of shape-like outputs.
    pub out_dims: Vec<Option<Vec<Dim>>>,
    /// All symbols.
    pub symbols: &'a mut Symbols,
    /// Data-dependent sizes that this node defines; kept from one inference to the next.
    pub syms: &'a mut Vec<SymId>,
    next_sym: usize,
}

impl<'a> InferCx<'a> {
    /// For one node.
    pub fn new(
        attrs: &'a Attrs,
        inputs: Vec<Option<InValue>>,
        num_outputs: usize,
        symbols: &'a mut Symbols,
        syms: &'a mut Vec<SymId>,
    ) -> Self {
        InferCx {
            attrs,
            inputs,
            num_outputs,
            outputs: vec![None; num_outputs],
            out_dims: vec![None; num_outputs],
            symbols,
            syms,
            next_sym: 0,
        }
    }
    /// Input `i`, which must be given.
    pub fn input(&self, i: usize) -> Result<&InValue> {
        self.inputs
            .get(i)
            .and_then(Option::as_ref)
            .ok_or_else(|| Diagnostic::model("ONNX009", format!("input {i} is missing")))
    }
    /// Input `i`, if given.
    pub fn opt(&self, i: usize) -> Option<&InValue> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// Shape of input `i`.
    pub fn shape(&self, i: usize) -> Result<Vec<Dim>> {
        Ok(self.input(i)?.ty.shape.clone())
    }
    /// Element type of input `i`.
    pub fn dtype(&self, i: usize) -> Result<DType> {
        Ok(self.input(i)?.ty.dtype)
    }
    /// The constant whole numbers of input `i`: axes, pads, sizes. An error that names the input where they are not known.
    pub fn const_ints(&self, i: usize, what: &str) -> Result<Vec<i64>> {
        let v = self.input(i)?;
        let known = v.konst.as_ref().and_then(Tensor::to_i64s).or_else(|| {
            v.dims
                .as_ref()
                .and_then(|d| d.iter().map(Dim::fixed).collect())
        });
        known.ok_or_else(|| {
            Diagnostic::unsupported("ONNX012", format!("`{what}` (input {i}) is not a constant, so the output's shape is not known at compile time"))
                .help("fix the dimensions it is computed from with --dim or --input")
        })
    }
    /// The elements of input `i` as dimensions, constant or not, if known.
    pub fn dims(&self, i: usize) -> Option<Vec<Dim>> {
        let v = self.opt(i)?;
        match &v.konst {
            Some(t) => Some(t.to_i64s()?.into_iter().map(Dim::Fixed).collect()),
            None => v.dims.clone(),
        }
    }
    /// Sets the type of output `o`.
    pub fn set(&mut self, o: usize, ty: TensorType) {
        if o < self.outputs.len() {
            self.outputs[o] = Some(ty);
        }
    }
    /// Sets the type of output `o` from element type and shape.
    pub fn out(&mut self, o: usize, dtype: DType, shape: Vec<Dim>) {
        self.set(o, TensorType::new(dtype, shape));
    }
    /// Sets the contents of a shape-like output.
    pub fn set_dims(&mut self, o: usize, dims: Option<Vec<Dim>>) {
        if o < self.out_dims.len() {
            self.out_dims[o] = dims;
        }
    }
    /// The next data-dependent size of this node, bounded by `lo..=hi`. Its layer must define it with `set_sym`
    /// (`LowerCx::syms` has them in the order of these calls).
    pub fn data_size(&mut self, name: &str, lo: i64, hi: i64) -> Dim {
        let k = self.next_sym;
        self.next_sym += 1;
        if let Some(&s) = self.syms.get(k) {
            self.symbols[s].lo = lo;
            self.symbols[s].hi = hi;
            return Dim::sym(s);
        }
        let name = format!("{name}{}", self.symbols.len());
        let s = self.symbols.push(Symbol {
            name,
            lo,
            hi,
            origin: Origin::Data,
        });
        self.syms.push(s);
        Dim::sym(s)
    }
    /// Largest value that a dimension can take.
    pub fn max(&self, d: &Dim) -> i64 {
        d.bounds(self.symbols).1
    }
    /// Brings an axis of a tensor of `rank` axes into `0..rank`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        resolve_axis(axis, rank)
    }
}

/// Brings a possibly negative axis into `0..rank`.
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    if axis < -r || axis >= r {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("axis {axis} is outside a tensor of {rank} axes"),
        ));
    }
    Ok(if axis < 0 { axis + r } else { axis } as usize)
}

/// The shape to which shapes broadcast (numpy rules). Two different symbolic sizes are taken as equal only if they are
/// the same expression; else the answer is an error, since either could be 1.
pub fn broadcast(shapes: &[&[Dim]]) -> Result<Vec<Dim>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::Fixed(1); rank];
    for s in shapes {
        for (o, d) in out[rank - s.len()..].iter_mut().zip(s.iter()) {
            if d.is(1) || *o == *d {
                continue;
            }
            match (&*o, d) {
                (Dim::Fixed(1), _) => *o = d.clone(),
                (Dim::Fixed(a), Dim::Fixed(b)) => {
                    return Err(Diagnostic::model(
                        "ONNX010",
                        format!("sizes {a} and {b} do not broadcast"),
                    ));
                }
                // A fixed size above 1 decides; the symbolic one must be equal or 1 at run time.
                (Dim::Fixed(_), _) => {}
                (_, Dim::Fixed(_)) => *o = d.clone(),
                (a, b) => *o = a.larger(b),
            }
        }
    }
    Ok(out)
}

/// Output 0 has the type of input 0.
pub fn same_as_first(cx: &mut InferCx) -> Result<()> {
    let ty = TensorType {
        quant: None,
        ..cx.input(0)?.ty.clone()
    };
    cx.set(0, ty);
    Ok(())
}

/// Context of a pointwise formula.
pub struct PointCx<'a> {
    /// Where expressions are made.
    pub b: &'a mut Builder,
    /// The node's attributes.
    pub attrs: &'a Attrs,
    /// Element types of the inputs (absent ones `None`); the operands handed to the formula are the given ones in order.
    pub in_types: Vec<Option<DType>>,
    /// Element type of the output.
    pub out_type: DType,
}
