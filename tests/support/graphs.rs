//! Graphs for tests: read from text, made from a seed, run by the oracle and as planned.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::graph::literal::random as numbers;
use onnxc_compiler::graph::parse::parse;
use onnxc_compiler::kernel::{Machine, Vector};
use onnxc_compiler::passes::resolve;
use onnxc_compiler::plan::build::{Options, build};
use onnxc_compiler::plan::run::{self, Outcome};
use onnxc_compiler::{ops, passes_for, pipeline};
use std::fmt::Write;

/// Reads a text and infers its types.
pub fn read(text: &str) -> Result<Model> {
    let mut model = parse(text, ops::find)?;
    let mut diags = Diagnostics::default();
    pipeline::single(&mut model, &resolve::PASS, &mut diags)?;
    errors(diags).map(|()| model)
}

/// The first error.
pub fn errors(diags: Diagnostics) -> Result<()> {
    let first = diags.list.into_iter().find(Diagnostic::is_error);
    first.map_or(Ok(()), |d| Err(Box::new(d)))
}

/// The model after the whole pipeline.
pub fn optimised(model: &Model) -> Result<Model> {
    piped(model, &pipeline::Options::default())
}

/// The model as the compiler has it for a machine.
pub fn optimised_for(model: &Model, machine: &Machine) -> Result<Model> {
    piped(model, &passes_for(machine, pipeline::Options::default()))
}

fn piped(model: &Model, options: &pipeline::Options) -> Result<Model> {
    let mut model = model.clone();
    let mut diags = Diagnostics::default();
    pipeline::run(&mut model, options, &mut diags)?;
    errors(diags).map(|()| model)
}

/// A machine with vectors and tiles, or a plain one.
pub fn machine(plain: bool) -> Machine {
    if plain {
        return Machine {
            lanes: 1,
            ..Machine::default()
        };
    }
    Machine {
        lanes: 8,
        features: ["avx", "avx2", "fma"].map(String::from).to_vec(),
        tiles: onnxc_targets::x86_64::kernels::TILES.to_vec(),
        l1d: 32 << 10,
        l2: 512 << 10,
        vector: Some(Vector {
            lanes: 8,
            registers: 16,
            by_lane: false,
            rounds: true,
            fused: true,
            halves: true,
            bytes: true,
            rows: 16,
        }),
        ..Machine::default()
    }
}

/// Plans and interprets a model.
pub fn planned(
    model: &Model,
    machine: &Machine,
    options: &Options,
    inputs: &[Tensor],
) -> Result<Outcome> {
    match build(model, machine, options) {
        Ok(p) => run::run(&p, inputs, &mut |_, _| {}),
        Err(diags) => errors(diags).and(Err(Diagnostic::internal("no plan"))),
    }
}

/// Inputs from a seed; free sizes get their values from `sizes`, in the order of the symbols.
pub fn inputs(model: &Model, sizes: &[i64], seed: u64) -> Vec<Tensor> {
    let g = &model.graph;
    let types = g.inputs.iter().enumerate();
    types
        .map(|(k, &v)| {
            let ty = g.ty(v).expect("inputs have types");
            let shape: Vec<i64> = ty.shape.iter().map(|d| d.eval(sizes)).collect();
            let count = shape.iter().product::<i64>() as usize;
            let data = numbers(ty.dtype, count, seed.wrapping_mul(31) + k as u64);
            Tensor::new(ty.dtype, shape, data.into()).expect("as many as the shape says")
        })
        .collect()
}

/// Sizes for the symbols of a model: their largest values.
pub fn largest(model: &Model) -> Vec<i64> {
    model.symbols.iter().map(|(_, s)| s.hi).collect()
}

/// The outputs of a run that ended well.
pub fn done(outcome: Result<Outcome>) -> std::result::Result<Vec<Tensor>, String> {
    match outcome {
        Ok(Outcome::Done(list)) => Ok(list),
        Ok(Outcome::Status(code)) => Err(format!("it ended with status {code}")),
        Err(d) => Err(d.to_string()),
    }
}

/// Where two lists of tensors differ: by more than `tolerance` times the largest number of the tensor.
pub fn difference(a: &[Tensor], b: &[Tensor], tolerance: f64) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} tensors", a.len(), b.len()));
    }
    for (k, (x, y)) in a.iter().zip(b).enumerate() {
        if (x.dtype, &x.shape) != (y.dtype, &y.shape) {
            return Some(format!(
                "output {k} is {}{:?} and {}{:?}",
                x.dtype, x.shape, y.dtype, y.shape
            ));
        }
        if x.data == y.data {
            continue;
        }
        let (Some(v), Some(w)) = (x.to_f64s(), y.to_f64s()) else {
            return Some(format!("output {k} has other bytes"));
        };
        let exact = tolerance == 0.0 || !x.dtype.is_float();
        let scale = v
            .iter()
            .filter(|v| v.is_finite())
            .fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, (p, q)) in v.iter().zip(&w).enumerate() {
            let same = p == q || (p.is_nan() && q.is_nan());
            if !same && (exact || (p - q).abs() > tolerance * scale || p.is_nan() != q.is_nan()) {
                return Some(format!("element {i} of output {k} is {p} and {q}"));
            }
        }
    }
    None
}

/// Numbers from a seed for choices.
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    /// Any number.
    pub fn any(&mut self) -> u64 {
        let data = numbers(DType::F64, 1, self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The upper half of the mantissa is well mixed.
        let bits = u64::from_le_bytes(data[..8].try_into().expect("8 bytes"));
        (bits >> 4) ^ (bits << 40)
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.any() >> 8) % n.max(1) as u64) as usize
    }
    /// One of them.
    pub fn one<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// The free first size of a random graph.
const FREE: i64 = -1;

/// The text of a random graph over f32: pointwise work, MatMul, Conv, Reshape, Transpose, Concat, Slice, Split,
/// reductions, If and Loop. The first axis of the input is free (`sym N = 1..4`) in every third graph.
pub fn random(seed: u64) -> String {
    let mut r = Rng::new(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let free = seed.is_multiple_of(3);
    let first = if free { FREE } else { 1 + r.below(2) as i64 };
    let shape = match r.below(3) {
        0 => vec![first, 4, 5, 6],
        1 => vec![first, 6, 8],
        _ => vec![first, 12],
    };
    let mut m = Maker {
        values: vec![("x".to_string(), shape.clone())],
        ..Maker::default()
    };
    for _ in 0..3 + r.below(10) {
        m.step(&mut r);
    }
    let mut text = String::new();
    if free {
        text.push_str("sym N = 1..4 input 0 axis 0\n");
    }
    // Whatever nobody reads is a result.
    let mut outs: Vec<String> = m.values[1..]
        .iter()
        .filter(|(n, _)| {
            !m.text.contains(&format!("(%{n},"))
                && !m.text.contains(&format!("(%{n})"))
                && !m.text.contains(&format!(", %{n})"))
        })
        .map(|(n, _)| format!("%{n}"))
        .collect();
    if outs.is_empty() {
        outs.push("%x".into());
    }
    let _ = writeln!(
        text,
        "graph @random(%x: f32[{}]) -> ({}) {{\n{}}}",
        dims(&shape),
        outs.join(", "),
        m.text
    );
    text
}

fn dims(shape: &[i64]) -> String {
    let list: Vec<String> = shape
        .iter()
        .map(|&d| match d {
            FREE => "$N".into(),
            d => d.to_string(),
        })
        .collect();
    list.join(",")
}

#[derive(Default)]
struct Maker {
    text: String,
    values: Vec<(String, Vec<i64>)>,
    next: usize,
}

impl Maker {
    fn name(&mut self) -> String {
        self.next += 1;
        format!("t{}", self.next)
    }
    fn line(&mut self, name: &str, code: &str) {
        let _ = writeln!(self.text, "  %{name} = {code}");
    }
    fn lit(&mut self, code: &str) -> String {
        let name = self.name();
        self.line(&name, &format!("lit {code}"));
        name
    }
    fn ints(&mut self, list: &[i64]) -> String {
        self.lit(&format!("i64[{}] {list:?}", list.len()))
    }
    fn weights(&mut self, shape: &[i64], r: &mut Rng) -> String {
        let seed = r.below(1000);
        self.lit(&format!("f32[{}] rand({seed})", dims(shape)))
    }
    fn make(&mut self, code: &str, shape: Vec<i64>) -> String {
        let name = self.name();
        self.line(&name, code);
        self.values.push((name.clone(), shape));
        name
    }
    fn unary(&mut self, op: &str, x: &str, shape: &[i64]) -> String {
        self.make(&format!("{op}(%{x})"), shape.to_vec())
    }

    fn step(&mut self, r: &mut Rng) {
        let recent = self.values.len().saturating_sub(1 + r.below(3));
        let (x, s) = self.values[recent].clone();
        let rank = s.len();
        let last = s[rank - 1];
        match r.below(16) {
            0..=2 => {
                let op = *r.one(&[
                    "Relu",
                    "Sigmoid",
                    "Tanh",
                    "Abs",
                    "Neg",
                    "HardSwish",
                    "Softplus",
                ]);
                self.unary(op, &x, &s);
            }
            3 | 4 => {
                let op = *r.one(&["Add", "Mul", "Sub", "Max"]);
                let same: Vec<String> = self
                    .values
                    .iter()
                    .filter(|v| v.1 == s)
                    .map(|v| v.0.clone())
                    .collect();
                let y = r.one(&same).clone();
                self.make(&format!("{op}(%{x}, %{y})"), s);
            }
            5 => {
                let op = *r.one(&["Add", "Mul", "Sub"]);
                let shape: Vec<i64> = s
                    .iter()
                    .map(|&d| if d == FREE || r.below(2) == 0 { 1 } else { d })
                    .collect();
                let w = self.weights(&shape[r.below(rank)..], r);
                self.make(&format!("{op}(%{x}, %{w})"), s);
            }
            6 if rank >= 2 && last != FREE => {
                let n = 1 + r.below(9) as i64;
                let w = self.weights(&[last, n], r);
                let mut out = s;
                out[rank - 1] = n;
                let y = self.make(&format!("MatMul(%{x}, %{w})"), out.clone());
                self.unary("Tanh", &y, &out);
            }
            7 | 8 if rank == 4 && !s[1..].contains(&FREE) && s[2] >= 3 && s[3] >= 3 => {
                let (o, k) = (1 + r.below(5) as i64, *r.one(&[1, 3]));
                let (w, pad) = (self.weights(&[o, s[1], k, k], r), k / 2);
                let conv = format!(
                    "Conv(%{x}, %{w}) {{ group = 1, pads = [{pad}, {pad}, {pad}, {pad}] }}"
                );
                let out = vec![s[0], o, s[2], s[3]];
                let y = self.make(&conv, out.clone());
                if r.below(2) == 0 {
                    let f = self.weights(&[o, 1, 1], r);
                    let op = *r.one(&["Mul", "Add"]);
                    self.make(&format!("{op}(%{y}, %{f})"), out);
                } else {
                    self.unary("Tanh", &y, &out);
                }
            }
            9 if rank >= 3 => {
                let out = vec![s[0], s[1..].iter().product()];
                if !s[1..].contains(&FREE) {
                    let to = self.ints(&[0, out[1]]);
                    self.make(&format!("Reshape(%{x}, %{to}) {{ allowzero = 0 }}"), out);
                }
            }
            10 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, r.below(i + 1));
                }
                let out = perm.iter().map(|&p| s[p]).collect();
                self.make(&format!("Transpose(%{x}) {{ perm = {perm:?} }}"), out);
            }
            11 => {
                let axis = r.below(rank);
                if s[axis] != FREE && s[axis] < 40 {
                    let y = self.unary("Abs", &x, &s);
                    let mut out = s.clone();
                    out[axis] *= 2;
                    self.make(&format!("Concat(%{x}, %{y}) {{ axis = {axis} }}"), out);
                }
            }
            12 => {
                let axis = r.below(rank);
                if s[axis] >= 2 {
                    let to = 2 + r.below(s[axis] as usize - 1) as i64;
                    let (a, b, d) = (self.ints(&[1]), self.ints(&[to]), self.ints(&[axis as i64]));
                    let mut out = s.clone();
                    out[axis] = to - 1;
                    self.make(&format!("Slice(%{x}, %{a}, %{b}, %{d})"), out);
                }
            }
            13 => {
                let axis = r.below(rank);
                let op = *r.one(&["ReduceMean", "ReduceMax", "ReduceSum"]);
                let a = self.ints(&[axis as i64]);
                let mut out = s.clone();
                out[axis] = 1;
                self.make(&format!("{op}(%{x}, %{a}) {{ keepdims = 1 }}"), out);
            }
            14 => {
                let axis = r.below(rank);
                self.make(&format!("Softmax(%{x}) {{ axis = {axis} }}"), s);
            }
            _ => self.control(&x, &s, r),
        }
    }

    fn control(&mut self, x: &str, s: &[i64], r: &mut Rng) {
        let d = dims(s);
        if r.below(2) == 0 {
            let axes: Vec<i64> = (0..s.len() as i64).collect();
            let (a, zero) = (self.ints(&axes), self.lit("f32[] [0.125]"));
            let (sum, cond) = (self.name(), self.name());
            self.line(&sum, &format!("ReduceSum(%{x}, %{a}) {{ keepdims = 0 }}"));
            self.line(&cond, &format!("Greater(%{sum}, %{zero})"));
            self.make(
                &format!(
                    "If(%{cond}, %{x}) [graph @then(%0: f32[{d}]) -> (%1) {{\n    %1 = Tanh(%0)\n  }}, \
                     graph @else(%0: f32[{d}]) -> (%0) {{\n  }}]"
                ),
                s.to_vec(),
            );
            return;
        }
        // Two states that change places each round, and a captured value.
        let n = r.below(4) as i64;
        let (trips, y) = (self.lit(&format!("i64[] [{n}]")), self.unary("Abs", x, s));
        let (p, q) = (self.name(), self.name());
        let _ = writeln!(
            self.text,
            "  %{p}, %{q} = Loop(%{trips}, _, %{x}, %{y}, %{x}) {{ states = 2 }} \
             [graph @round(%i: i64[], %c: bool[], %a: f32[{d}], %b: f32[{d}], %w: f32[{d}]) -> (%c, %b, %e) {{\n    \
             %d = Sigmoid(%a)\n    %e = Sub(%d, %w)\n  }}]"
        );
        self.values.push((p, s.to_vec()));
        self.values.push((q, s.to_vec()));
    }
}
