//! Shape and type inference over a graph, bodies included.
//!
//! One forward walk: each node's `infer` gets the types, constants and shape-like contents of its inputs. A hook runs
//! after each node, so that a caller can fold constants as the walk goes and later shapes see the results. A node that
//! fails leaves a diagnostic and untyped outputs; what hangs on them is passed over, so that every independent problem is
//! listed in one go.

use super::ir::{Def, Graph, NodeId, ValueId};
use crate::base::diag::{Diagnostic, Diagnostics, Kind, Result};
use crate::base::dim::{Dim, Origin, Symbol, Symbols};
use crate::base::dtype::DType;
use crate::base::types::TensorType;
use crate::op::{Control, InValue, InferCx, Lower};

/// Called after a node was inferred: may turn its outputs into constants.
pub type AfterNode<'a> = &'a mut dyn FnMut(&mut Graph, NodeId, &Symbols) -> Result<()>;

/// Bodies may be nested this deep.
const MAX_DEPTH: usize = 100;
/// Bound of a loop whose trip count is not a constant.
pub const DEFAULT_MAX_TRIPS: i64 = 4096;

/// The walk.
pub struct Infer<'a> {
    /// All symbols; data-dependent ones are added.
    pub symbols: &'a mut Symbols,
    /// Runs after each node.
    pub after: AfterNode<'a>,
    /// Where problems go.
    pub diags: &'a mut Diagnostics,
    /// Current nesting of bodies.
    pub depth: usize,
}

impl Infer<'_> {
    /// Infers every node in order.
    pub fn graph(&mut self, g: &mut Graph) {
        for n in g.order().to_vec() {
            let untyped = g.node(n).ins.iter().flatten().any(|&v| g.ty(v).is_none());
            if untyped {
                continue;
            }
            let before = self.diags.list.len();
            let r = self.node(g, n);
            let r = r.and_then(|()| (self.after)(g, n, self.symbols));
            if let Err(d) = r {
                self.diags.push(d.at(g.describe(n)));
            }
            // Messages from inside a body keep their place and learn whose body it was.
            for d in &mut self.diags.list[before..] {
                if d.loc.is_empty() {
                    d.loc = g.describe(n);
                }
            }
        }
    }

    /// Infers one node.
    pub fn node(&mut self, g: &mut Graph, n: NodeId) -> Result<()> {
        if let Lower::Control(kind) = g.node(n).op.lower {
            if self.depth >= MAX_DEPTH {
                return Err(Diagnostic::limit(
                    "ONNX006",
                    format!("bodies are nested more than {MAX_DEPTH} deep"),
                ));
            }
            self.depth += 1;
            let r = match kind {
                Control::If => self.if_(g, n),
                Control::Loop => self.loop_(g, n),
                Control::Scan => self.scan(g, n),
                Control::Offload => self.offload(g, n),
            };
            self.depth -= 1;
            return r;
        }
        let node = g.node(n);
        let op = node.op;
        let given = node
            .ins
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |i| i + 1);
        if given < op.inputs.0 || given > op.inputs.1 {
            return Err(Diagnostic::model(
                "ONNX009",
                format!(
                    "{} inputs are given, the operator takes {}",
                    given,
                    range(op.inputs)
                ),
            ));
        }
        let ins = node.ins.iter().map(|v| v.map(|v| in_value(g, v))).collect();
        let attrs = node.attrs.clone();
        let mut syms = node.syms.clone();
        let outs = node.outs.clone();
        let mut cx = InferCx::new(&attrs, ins, outs.len(), self.symbols, &mut syms);
        (op.infer)(&mut cx)?;
        let (types, dims) = (cx.outputs, cx.out_dims);
        g.node_mut(n).syms = syms;
        for (k, (ty, dims)) in types.into_iter().zip(dims).enumerate() {
            match ty {
                Some(ty) => self.set(g, outs[k], ty, dims)?,
                None if g.is_used(outs[k]) => {
                    return Err(Diagnostic::unsupported(
                        "ONNX008",
                        format!("output {k} is not supported"),
                    ));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        g: &mut Graph,
        v: ValueId,
        ty: TensorType,
        dims: Option<Vec<Dim>>,
    ) -> Result<()> {
        if let Some(d) = ty.shape.iter().find(|d| d.bounds(self.symbols).1 < 0) {
            return Err(Diagnostic::model(
                "ONNX010",
                format!("an output has a dimension of {d:?}"),
            ));
        }
        if ty.max_bytes(self.symbols) >= 1 << 46 {
            return Err(Diagnostic::limit(
                "ONNX006",
                format!("an output {} is too large", ty.text(self.symbols)),
            ));
        }
        let value = g.value_mut(v);
        if !matches!(value.def, Def::Const(_)) {
            value.ty = Some(ty);
            value.dims = dims.filter(|d| d.len() <= 4096);
        }
        Ok(())
    }

    /// Hands captures and other values to the inputs of a body: types, and constants unless they change from round to round.
    fn enter(
        &mut self,
        g: &Graph,
        body: &mut Graph,
        at: usize,
        v: Option<ValueId>,
        may_change: bool,
    ) -> Result<()> {
        let (Some(v), Some(&inner)) = (v, body.inputs.get(at)) else {
            return Err(Diagnostic::model(
                "ONNX009",
                "a body has another number of inputs than the node gives it",
            ));
        };
        match g.konst(v) {
            Some(t) if !may_change => body.make_const(inner, t.clone()),
            _ => {
                let value = body.value_mut(inner);
                value.ty = g.ty(v).cloned();
                value.dims = if may_change {
                    None
                } else {
                    g.value(v).dims.clone()
                };
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &mut Graph) -> Result<Vec<TensorType>> {
        let before = self.diags.list.len();
        self.graph(body);
        let mut errors = self.diags.list[before..].iter().filter(|d| d.is_error());
        if let Some(first) = errors.next() {
            // The node is no worse than what its body holds: a legal model stays legal.
            let refused = |d: &Diagnostic| d.kind == Kind::Unsupported;
            return Err(if refused(first) && errors.all(refused) {
                Diagnostic::unsupported("ONNX008", "a body holds what is not supported")
            } else {
                Diagnostic::model("ONNX009", "a body has errors")
            });
        }
        body.outputs()
            .iter()
            .map(|&v| {
                body.ty(v)
                    .cloned()
                    .ok_or_else(|| Diagnostic::internal("an untyped body output"))
            })
            .collect()
    }

    fn if_(&mut self, g: &mut Graph, n: NodeId) -> Result<()> {
        let mut bodies = std::mem::take(&mut g.node_mut(n).bodies);
        let r = self.if_bodies(g, n, &mut bodies);
        g.node_mut(n).bodies = bodies;
        r
    }

    fn if_bodies(&mut self, g: &mut Graph, n: NodeId, bodies: &mut [Graph]) -> Result<()> {
        let node = g.node(n);
        let (ins, outs) = (node.ins.clone(), node.outs.clone());
        let cond = ins
            .first()
            .copied()
            .flatten()
            .ok_or_else(|| Diagnostic::model("ONNX009", "no condition"))?;
        check_scalar(g, cond, DType::Bool, "the condition")?;
        let known = g.konst(cond).and_then(|t| t.get_i64(0));
        let mut types: Vec<Option<Vec<TensorType>>> = vec![];
        for (which, body) in bodies.iter_mut().enumerate() {
            if known.is_some_and(|c| (c == 0) != (which == 1)) {
                types.push(None);
                continue;
            }
            for (k, v) in ins[1..].iter().enumerate() {
                self.enter(g, body, k, *v, false)?;
            }
            let before = self.diags.list.len();
            match self.body(body) {
                Ok(t) if t.len() == outs.len() => types.push(Some(t)),
                Ok(_) => {
                    return Err(Diagnostic::model(
                        "ONNX009",
                        "a branch has another number of outputs than the node",
                    ));
                }
                Err(e) if known.is_some() => return Err(e),
                // A branch that can't work with these shapes is left out; taking it at run time is a status.
                Err(_) => {
                    for d in &mut self.diags.list[before..] {
                        if matches!(d.kind, Kind::Model) {
                            d.kind = Kind::Remark;
                            d.message = format!(
                                "this branch can't run with the given shapes and was left out: {}",
                                d.message
                            );
                        }
                    }
                    types.push(None);
                }
            }
        }
        let mut syms = g.node(n).syms.clone();
        let mut next = 0;
        for (k, &out) in outs.iter().enumerate() {
            let branch = |w: usize| types.get(w).and_then(Option::as_ref).map(|t| t[k].clone());
            let ty = match (branch(0), branch(1)) {
                (Some(a), Some(b)) if a == b => a,
                (Some(a), Some(b)) => {
                    if a.dtype != b.dtype || a.rank() != b.rank() {
                        return Err(Diagnostic::unsupported(
                            "ONNX008",
                            format!(
                                "output {k} is {} in one branch and {} in the other",
                                a.text(self.symbols),
                                b.text(self.symbols)
                            ),
                        )
                        .help("both branches must give the same element type and number of axes"));
                    }
                    let mut shape = vec![];
                    for (x, y) in a.shape.iter().zip(&b.shape) {
                        if x == y {
                            shape.push(x.clone());
                            continue;
                        }
                        let ((xl, xh), (yl, yh)) = (x.bounds(self.symbols), y.bounds(self.symbols));
                        shape.push(self.data_symbol(&mut syms, &mut next, xl.min(yl), xh.max(yh)));
                    }
                    TensorType::new(a.dtype, shape)
                }
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => {
                    return Err(Diagnostic::model(
                        "ONNX009",
                        "no branch can run with the given shapes",
                    ));
                }
            };
            // The contents of the one branch that runs are the node's.
            let only = (0..2).find(|&w| {
                types.get(w).is_some_and(Option::is_some)
                    && (known.is_some() || types[1 - w].is_none())
            });
            let (konst, dims) = match only {
                Some(w) if known.is_some() => {
                    let inner = bodies[w].outputs()[k];
                    (
                        bodies[w].konst(inner).cloned(),
                        bodies[w].value(inner).dims.clone(),
                    )
                }
                _ => (None, None),
            };
            match konst {
                Some(t) => g.make_const(out, t),
                None => self.set(g, out, ty, dims)?,
            }
        }
        g.node_mut(n).syms = syms;
        Ok(())
    }

    fn data_symbol(
        &mut self,
        syms: &mut Vec<crate::base::dim::SymId>,
        next: &mut usize,
        lo: i64,
        hi: i64,
    ) -> Dim {
        let k = *next;
        *next += 1;
        if let Some(&s) = syms.get(k) {
            self.symbols[s].lo = lo;
            self.symbols[s].hi = hi;
            return Dim::sym(s);
        }
        let s = self.symbols.push(Symbol {
            name: format!("d{}", self.symbols.len()),
            lo,
            hi,
            origin: Origin::Data,
        });
        syms.push(s);
        Dim::sym(s)
    }

    fn offload(&mut self, g: &mut Graph, n: NodeId) -> Result<()> {
        let mut bodies = std::mem::take(&mut g.node_mut(n).bodies);
        let r = match bodies.as_mut_slice() {
            [body] => self.offload_body(g, n, body),
            _ => Err(Diagnostic::model("ONNX009", "a region has one body")),
        };
        g.node_mut(n).bodies = bodies;
        r
    }

    // What crosses the border is data: neither constants nor sizes are known from outside.
    fn offload_body(&mut self, g: &mut Graph, n: NodeId, body: &mut Graph) -> Result<()> {
        let (ins, outs) = (g.node(n).ins.clone(), g.node(n).outs.clone());
        if body.inputs.len() != ins.len() || body.outputs().len() != outs.len() {
            let why = "the body has another number of inputs or outputs than the node";
            return Err(Diagnostic::model("ONNX009", why));
        }
        for (k, v) in ins.iter().enumerate() {
            self.enter(g, body, k, *v, true)?;
        }
        let types = self.body(body)?;
        for (&out, ty) in outs.iter().zip(types) {
            self.set(g, out, ty, None)?;
        }
        Ok(())
    }

    fn loop_(&mut self, g: &mut Graph, n: NodeId) -> Result<()> {
        let mut bodies = std::mem::take(&mut g.node_mut(n).bodies);
        let r = match bodies.first_mut() {
            Some(body) => self.loop_body(g, n, body),
            None => Err(Diagnostic::model("ONNX009", "no body")),
        };
        g.node_mut(n).bodies = bodies;
        r
    }

    fn loop_body(&mut self, g: &mut Graph, n: NodeId, body: &mut Graph) -> Result<()> {
        let node = g.node(n);
        let (ins, outs) = (node.ins.clone(), node.outs.clone());
        let states = usize::try_from(node.attrs.int("states", 0)).unwrap_or(0);
        if ins.len() < 2 + states || body.inputs.len() != ins.len() {
            return Err(Diagnostic::model(
                "ONNX009",
                "the body has another number of inputs than the node gives it",
            ));
        }
        let scalar = |d: DType| Some(TensorType::fixed(d, &[]));
        body.value_mut(body.inputs[0]).ty = scalar(DType::I64);
        body.value_mut(body.inputs[1]).ty = scalar(DType::Bool);
        for (k, v) in ins.iter().enumerate().skip(2) {
            self.enter(g, body, k, *v, k < 2 + states)?;
        }
        let types = self.body(body)?;
        if types.len() != outs.len() + 1 || types.len() < 1 + states {
            return Err(Diagnostic::model(
                "ONNX009",
                "the body has another number of outputs than the node",
            ));
        }
        let mut syms = g.node(n).syms.clone();
        for k in 0..states {
            let init = ins[2 + k]
                .ok_or_else(|| Diagnostic::model("ONNX009", "a carried value is missing"))?;
            let init = g.ty(init).cloned();
            if init.as_ref().map(|t| (t.dtype, &t.shape))
                != Some((types[1 + k].dtype, &types[1 + k].shape))
            {
                return Err(Diagnostic::unsupported(
                    "ONNX012",
                    format!("carried value {k} changes its type or shape from round to round"),
                ));
            }
            self.set(g, outs[k], types[1 + k].clone(), None)?;
        }
        let trips = ins[0].and_then(|v| g.konst(v)).and_then(|t| t.get_i64(0));
        let cond_known = ins[1].is_none_or(|v| g.konst(v).and_then(|t| t.get_i64(0)) == Some(1));
        let cond_stays = body.konst(body.outputs()[0]).and_then(|t| t.get_i64(0)) == Some(1)
            || body.outputs()[0] == body.inputs[1];
        let count = match trips {
            Some(m) if cond_known && cond_stays => Dim::Fixed(m.max(0)),
            _ if outs.len() == states => Dim::Fixed(0),
            m => self.data_symbol(&mut syms, &mut 0, 0, m.unwrap_or(DEFAULT_MAX_TRIPS).max(0)),
        };
        for k in states..outs.len() {
            let t = &types[1 + k];
            let shape = [vec![count.clone()], t.shape.clone()].concat();
            self.set(g, outs[k], TensorType::new(t.dtype, shape), None)?;
        }
        g.node_mut(n).syms = syms;
        Ok(())
    }

    fn scan(&mut self, g: &mut Graph, n: NodeId) -> Result<()> {
        let mut bodies = std::mem::take(&mut g.node_mut(n).bodies);
        let r = match bodies.first_mut() {
            Some(body) => self.scan_body(g, n, body),
            None => Err(Diagnostic::model("ONNX009", "no body")),
        };
        g.node_mut(n).bodies = bodies;
        r
    }

    fn scan_body(&mut self, g: &mut Graph, n: NodeId, body: &mut Graph) -> Result<()> {
        let shape = ScanShape::of(g, n, body)?;
        let node = g.node(n);
        let (ins, outs) = (node.ins.clone(), node.outs.clone());
        let mut length = None;
        for (k, v) in ins.iter().enumerate() {
            if (shape.states..shape.states + shape.scans).contains(&k) {
                let v = v.ok_or_else(|| Diagnostic::model("ONNX009", "a scan input is missing"))?;
                let ty = g
                    .ty(v)
                    .cloned()
                    .ok_or_else(|| Diagnostic::internal("untyped"))?;
                let axis = crate::op::resolve_axis(shape.in_axis(k - shape.states), ty.rank())?;
                let mut s = ty.shape.clone();
                let d = s.remove(axis);
                if length.as_ref().is_some_and(|l| *l != d) {
                    return Err(Diagnostic::model(
                        "ONNX010",
                        "scan inputs have different lengths",
                    ));
                }
                length = Some(d);
                body.value_mut(body.inputs[k]).ty = Some(TensorType::new(ty.dtype, s));
            } else {
                self.enter(g, body, k, *v, k < shape.states)?;
            }
        }
        let length = length.ok_or_else(|| Diagnostic::model("ONNX009", "no scan input"))?;
        let types = self.body(body)?;
        if types.len() != outs.len() {
            return Err(Diagnostic::model(
                "ONNX009",
                "the body has another number of outputs than the node",
            ));
        }
        for (k, t) in types.into_iter().enumerate() {
            if k < shape.states {
                let init = ins[k]
                    .and_then(|v| g.ty(v))
                    .map(|t| (t.dtype, t.shape.clone()));
                if init != Some((t.dtype, t.shape.clone())) {
                    return Err(Diagnostic::unsupported(
                        "ONNX012",
                        format!("carried value {k} changes its type or shape from round to round"),
                    ));
                }
                self.set(g, outs[k], t, None)?;
            } else {
                let axis = crate::op::resolve_axis(shape.out_axis(k - shape.states), t.rank() + 1)?;
                let mut s = t.shape.clone();
                s.insert(axis, length.clone());
                self.set(g, outs[k], TensorType::new(t.dtype, s), None)?;
            }
        }
        Ok(())
    }
}

/// How the inputs and outputs of a Scan node divide, and its axes and directions.
pub struct ScanShape {
    /// Carried values.
    pub states: usize,
    /// Scan inputs.
    pub scans: usize,
    ints: [Vec<i64>; 4],
}

impl ScanShape {
    /// Reads the node's attributes.
    pub fn of(g: &Graph, n: NodeId, body: &Graph) -> Result<ScanShape> {
        let node = g.node(n);
        let scans = usize::try_from(node.attrs.int("num_scan_inputs", 0)).unwrap_or(0);
        let captures = usize::try_from(node.attrs.int("captures", 0)).unwrap_or(0);
        let total = node.ins.len();
        if body.inputs.len() != total || scans + captures > total || scans == 0 {
            return Err(Diagnostic::model(
                "ONNX009",
                "the body has another number of inputs than the node gives it",
            ));
        }
        let list = |name: &str| node.attrs.ints(name).unwrap_or(&[]).to_vec();
        Ok(ScanShape {
            states: total - scans - captures,
            scans,
            ints: [
                list("scan_input_axes"),
                list("scan_output_axes"),
                list("scan_input_directions"),
                list("scan_output_directions"),
            ],
        })
    }
    fn get(&self, which: usize, k: usize) -> i64 {
        self.ints[which].get(k).copied().unwrap_or(0)
    }
    /// Axis along which scan input `k` is read.
    pub fn in_axis(&self, k: usize) -> i64 {
        self.get(0, k)
    }
    /// Axis along which scan output `k` is written.
    pub fn out_axis(&self, k: usize) -> i64 {
        self.get(1, k)
    }
    /// Whether scan input `k` is read backwards.
    pub fn in_reversed(&self, k: usize) -> bool {
        self.get(2, k) != 0
    }
    /// Whether scan output `k` is written backwards.
    pub fn out_reversed(&self, k: usize) -> bool {
        self.get(3, k) != 0
    }
}

fn in_value(g: &Graph, v: ValueId) -> InValue {
    let value = g.value(v);
    let ty = value
        .ty
        .clone()
        .unwrap_or_else(|| TensorType::fixed(DType::F32, &[]));
    InValue {
        ty,
        konst: g.konst(v).cloned(),
        dims: value.dims.clone(),
    }
}

fn check_scalar(g: &Graph, v: ValueId, dtype: DType, what: &str) -> Result<()> {
    match g.ty(v) {
        Some(t) if t.dtype == dtype && t.elements().is(1) => Ok(()),
        _ => Err(Diagnostic::model(
            "ONNX010",
            format!("{what} must be one {dtype}"),
        )),
    }
}

fn range((lo, hi): (usize, usize)) -> String {
    match hi {
        usize::MAX => format!("{lo} or more"),
        _ if lo == hi => lo.to_string(),
        _ => format!("{lo} to {hi}"),
    }
}
