//! Runs one operator in a test: reads attributes as an importer does, infers, lowers, and interprets the loops.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Diagnostic;
use crate::base::dim::{Dim, Symbols};
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::kernel::{Extra, LowerCx, Machine, Operand, broadcast_load, wrap};
use crate::loops::build::Builder;
use crate::loops::interp::{Env, Memory, NoCallees, Stop, run};
use crate::loops::ir::{Access, LoopKind};
use crate::loops::print::print;
use crate::loops::verify::verify;
use crate::op::{InValue, InferCx, Lower, PointCx, ReadCx};
use crate::ops::{Found, find_onnx};

/// An input: its value, and whether the operator may know it while compiling.
#[derive(Clone)]
pub struct In {
    /// The value.
    pub value: Tensor,
    /// Whether it is a constant.
    pub konst: bool,
}

/// Known only when the model runs.
pub fn data(value: Tensor) -> Option<In> {
    Some(In {
        value,
        konst: false,
    })
}
/// Known while compiling.
pub fn konst(value: Tensor) -> Option<In> {
    Some(In { value, konst: true })
}

/// Why there is no result.
#[derive(Debug)]
pub enum Failure {
    /// A diagnostic.
    Refused(Box<Diagnostic>),
    /// The run ended early.
    Stopped(Stop),
}
impl From<Box<Diagnostic>> for Failure {
    fn from(d: Box<Diagnostic>) -> Self {
        Failure::Refused(d)
    }
}

/// Attributes.
pub fn attrs<const N: usize>(list: [(&str, Attr); N]) -> Attrs {
    let mut a = Attrs::default();
    for (k, v) in list {
        a.set(k, v);
    }
    a
}

/// The operator of the default domain, else of ai.onnx.ml.
fn find(name: &str, opset: i64) -> Found {
    match find_onnx("", name, opset) {
        Found::Unknown => find_onnx("ai.onnx.ml", name, opset),
        found => found,
    }
}

/// Runs `name` of the default domain, or of ai.onnx.ml, at `opset`.
pub fn run_op(
    name: &str,
    opset: i64,
    raw: &Attrs,
    mut inputs: Vec<Option<In>>,
    num_outputs: usize,
) -> Result<Vec<Tensor>, Failure> {
    let Found::Row(op, row) = find(name, opset) else {
        return Err(
            Diagnostic::unsupported("ONNX007", format!("no {name} at opset {opset}")).into(),
        );
    };
    let given = inputs.iter().map(Option::is_some).collect();
    let mut read = ReadCx::new(name, opset, raw, given, num_outputs);
    (row.read)(&mut read)?;
    let (attrs, more) = read.finish()?;
    for (at, t) in more {
        while inputs.len() <= at {
            inputs.push(None);
        }
        inputs[at] = konst(t);
    }
    let mut symbols = Symbols::default();
    let mut syms = vec![];
    let values = inputs
        .iter()
        .map(|i| {
            i.as_ref().map(|i| InValue {
                ty: TensorType::of(&i.value),
                konst: i.konst.then(|| i.value.clone()),
                dims: None,
            })
        })
        .collect();
    let mut infer = InferCx::new(&attrs, values, num_outputs, &mut symbols, &mut syms);
    (op.infer)(&mut infer)?;
    let types = infer.outputs;
    let machine = Machine::default();
    let mut b = Builder::new(name);
    let mut bytes: Vec<Vec<u8>> = vec![];
    let ins: Vec<Option<Operand>> = inputs
        .iter()
        .map(|i| {
            let i = i.as_ref()?;
            let ty = TensorType::of(&i.value);
            bytes.push(i.value.data.to_vec());
            Some(Operand {
                buf: b.buffer("in", ty.dtype, ty.elements(), Access::Read),
                ty,
                konst: i.konst.then(|| i.value.clone()),
            })
        })
        .collect();
    let first_out = bytes.len();
    let mut outs = vec![];
    for t in &types {
        let ty = t
            .clone()
            .ok_or_else(|| Diagnostic::internal("an output without a type"))?;
        bytes.push(vec![0xa5; ty.max_bytes(&symbols) as usize]);
        outs.push(Some(Operand {
            buf: b.buffer("out", ty.dtype, ty.elements(), Access::Write),
            ty,
            konst: None,
        }));
    }
    let out_types: Vec<TensorType> = outs.iter().flatten().map(|o| o.ty.clone()).collect();
    let mut cx = LowerCx {
        b,
        attrs: &attrs,
        inputs: ins,
        outputs: outs,
        symbols: &symbols,
        syms: &syms,
        machine: &machine,
        effort: Default::default(),
        threads: 1,
        weights: Default::default(),
        extras: vec![],
        store_hook: None,
    };
    match &op.lower {
        Lower::Loops(f) => f(&mut cx)?,
        Lower::View => {
            let n = cx.input(0)?.ty.elements();
            let n = cx.b.dim(&n);
            cx.for_(n, LoopKind::Seq, |cx, i| {
                let v = cx.load_flat(0, i)?;
                cx.store_flat(0, i, v);
                Ok(())
            })?;
        }
        Lower::Pointwise(f) => pointwise(&mut cx, *f)?,
        _ => return Err(Diagnostic::internal("not for this harness").into()),
    }
    for (buf, e) in &cx.extras {
        let d = cx.b.func().bufs[*buf].clone();
        bytes.push(match e {
            Extra::Scratch => {
                vec![0x5a; d.len.bounds(&symbols).1.max(0) as usize * d.dtype.size()]
            }
            Extra::Const(t) => t.data.to_vec(),
        });
    }
    let func = cx.b.finish();
    let problems = verify(&func, &symbols);
    assert!(
        problems.is_empty(),
        "{name}: {problems:?}\n{}",
        print(&func, &symbols)
    );
    let mut values = vec![0i64; symbols.len()];
    let env = Env {
        symbols: &symbols,
        callees: &NoCallees,
        budget: Some(100_000_000),
    };
    let mut memory = Memory::of(bytes.iter_mut().map(Vec::as_mut_slice).collect());
    run(&func, &mut memory, &[], &mut values, &env).map_err(Failure::Stopped)?;
    Ok(out_types
        .iter()
        .enumerate()
        .map(|(o, ty)| {
            let shape: Vec<i64> = ty.shape.iter().map(|d| d.eval(&values)).collect();
            let n = shape.iter().product::<i64>() as usize * ty.dtype.size();
            Tensor::new(ty.dtype, shape, bytes[first_out + o][..n].to_vec().into())
                .expect("the size was computed from the shape")
        })
        .collect())
}

fn pointwise(
    cx: &mut LowerCx,
    f: fn(
        &mut PointCx,
        &[crate::loops::ir::ExprId],
    ) -> crate::base::diag::Result<crate::loops::ir::ExprId>,
) -> crate::base::diag::Result<()> {
    let shape: Vec<Dim> = cx.out_shape()?;
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let given: Vec<Operand> = cx.inputs.iter().flatten().cloned().collect();
        let args: Vec<_> = given
            .iter()
            .map(|o| broadcast_load(&mut cx.b, o.buf, &o.ty.shape, at))
            .collect();
        let in_types = cx
            .inputs
            .iter()
            .map(|o| o.as_ref().map(|o| o.ty.dtype))
            .collect();
        let out_type = cx
            .output(0)
            .map_or(crate::base::dtype::DType::F32, |o| o.ty.dtype);
        let mut point = PointCx {
            b: &mut cx.b,
            attrs: cx.attrs,
            in_types,
            out_type,
        };
        let v = f(&mut point, &args)?;
        let v = wrap(&mut cx.b, out_type, v);
        cx.store(0, at, v);
        Ok(())
    })
}

/// An f32 tensor.
pub fn f32s(shape: &[i64], v: &[f32]) -> Tensor {
    Tensor::f32(shape, v)
}
/// An i64 tensor.
pub fn i64s(shape: &[i64], v: &[i64]) -> Tensor {
    Tensor::i64(shape, v)
}
/// A list of numbers of any type.
pub fn list(d: crate::base::dtype::DType, v: &[f64]) -> Tensor {
    Tensor::from_f64s(d, &[v.len() as i64], v)
}
/// The elements of output 0 as numbers.
pub fn numbers(name: &str, opset: i64, raw: &Attrs, inputs: Vec<Option<In>>) -> Vec<f64> {
    let out = run_op(name, opset, raw, inputs, 1).expect("it runs");
    out[0].to_f64s().expect("numbers")
}
/// The status with which a run ends.
pub fn status(name: &str, opset: i64, raw: &Attrs, inputs: Vec<Option<In>>) -> Option<i32> {
    match run_op(name, opset, raw, inputs, 1) {
        Err(Failure::Stopped(Stop::Status(s))) => Some(s),
        _ => None,
    }
}
/// The code of the diagnostic with which an operator is refused.
pub fn refused(
    name: &str,
    opset: i64,
    raw: &Attrs,
    inputs: Vec<Option<In>>,
) -> Option<&'static str> {
    match run_op(name, opset, raw, inputs, 1) {
        Err(Failure::Refused(d)) => Some(d.code),
        _ => None,
    }
}
/// The shape of output 0, with symbols `N` (1..=10) and `M` (2..=8) as first and second.
pub fn symbolic_shape(
    name: &str,
    opset: i64,
    raw: &Attrs,
    f: impl FnOnce(Dim, Dim) -> Vec<InValue>,
) -> Result<String, Failure> {
    use crate::base::dim::{Origin, Symbol};
    let mut symbols = Symbols::default();
    let mut sym = |name: &str, lo, hi| {
        Dim::sym(symbols.push(Symbol {
            name: name.into(),
            lo,
            hi,
            origin: Origin::Data,
        }))
    };
    let (n, m) = (sym("N", 1, 10), sym("M", 2, 8));
    let Found::Row(op, row) = find(name, opset) else {
        return Err(Diagnostic::unsupported("ONNX007", name).into());
    };
    let values = f(n, m);
    let mut read = ReadCx::new(name, opset, raw, vec![true; values.len()], 1);
    (row.read)(&mut read)?;
    let (attrs, _) = read.finish()?;
    let mut syms = vec![];
    let mut cx = InferCx::new(
        &attrs,
        values.into_iter().map(Some).collect(),
        1,
        &mut symbols,
        &mut syms,
    );
    (op.infer)(&mut cx)?;
    let ty = cx.outputs[0].clone().expect("a type");
    Ok(ty.text(&symbols))
}
/// A value of which only the type is known.
pub fn typed(d: crate::base::dtype::DType, shape: Vec<Dim>) -> InValue {
    InValue {
        ty: TensorType::new(d, shape),
        konst: None,
        dims: None,
    }
}
/// A list of sizes.
pub fn sizes(dims: Vec<Dim>) -> InValue {
    InValue {
        ty: TensorType::new(
            crate::base::dtype::DType::I64,
            vec![Dim::Fixed(dims.len() as i64)],
        ),
        konst: None,
        dims: Some(dims),
    }
}
