//! What operator files share: which element types an operator takes, broadcasting, and the contents of shape-like values.
//!
//! Nothing here knows a particular operator.

use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, Symbols};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, ExprId, LoopKind};
use crate::op::{InferCx, OnnxRow, PointCx, ReadCx, broadcast, onnx, same_as_first};

/// Status of a run whose data holds an index outside its tensor.
pub const DATA_OUT_OF_RANGE: i32 = onnxc_abi::status::DATA_OUT_OF_RANGE;

/// Largest number of elements whose contents are followed symbolically.
const MAX_DIMS: i64 = 1024;

// Element types

/// A set of element types.
pub type Accept = fn(DType) -> bool;

/// f16, bf16, f32, f64.
pub fn float(d: DType) -> bool {
    d.is_float()
}
/// Whole numbers of 8 bits and more.
pub fn integer(d: DType) -> bool {
    d.is_int() && d.packed_bits() >= 8
}
/// Floats and whole numbers of 8 bits and more.
pub fn number(d: DType) -> bool {
    float(d) || integer(d)
}
/// Truth values.
pub fn boolean(d: DType) -> bool {
    d == DType::Bool
}
/// Numbers and truth values.
pub fn number_or_bool(d: DType) -> bool {
    number(d) || boolean(d)
}
/// Index types.
pub fn index(d: DType) -> bool {
    matches!(d, DType::I32 | DType::I64)
}
/// Everything that lies in memory as numbers.
pub fn any(d: DType) -> bool {
    !matches!(d, DType::String | DType::Complex64 | DType::Complex128)
}

/// The element type of input `i`, which must be one of `ok`.
pub fn accept(cx: &InferCx, i: usize, ok: Accept) -> Result<DType> {
    let d = cx.dtype(i)?;
    if !any(d) || !ok(d) {
        return Err(Diagnostic::unsupported(
            "ONNX014",
            format!("element type {d} of input {i} is not supported here"),
        ));
    }
    Ok(d)
}

/// The common element type of all given inputs from `from` on, which must be one of `ok`.
pub fn accept_same(cx: &InferCx, from: usize, ok: Accept) -> Result<DType> {
    let first = accept(cx, from, ok)?;
    for i in from + 1..cx.inputs.len() {
        if cx.opt(i).is_some() && cx.dtype(i)? != first {
            return Err(mismatch(first, cx.dtype(i)?));
        }
    }
    Ok(first)
}

/// The type of a product: all inputs have one, but for a constant second input that is stored in half precision (attribute
/// `half_weights`, which only the compiler's own passes set).
pub fn accept_product(cx: &InferCx, ok: Accept) -> Result<DType> {
    let first = accept(cx, 0, ok)?;
    for i in 1..cx.inputs.len() {
        let Some(v) = cx.opt(i) else { continue };
        let half = i == 1
            && cx.attrs.flag("half_weights")
            && v.konst.is_some()
            && matches!(v.ty.dtype, DType::F16 | DType::BF16);
        if v.ty.dtype != first && !half {
            return Err(mismatch(first, v.ty.dtype));
        }
    }
    Ok(first)
}

/// Two inputs that must have one type have two.
pub fn mismatch(a: DType, b: DType) -> Box<Diagnostic> {
    Diagnostic::model(
        "ONNX010",
        format!("inputs of types {a} and {b} where one type is needed"),
    )
}

// Rows

/// A row that keeps one whole-number attribute is frequent enough: reads `axis`, default 0.
pub fn read_axis0(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", 0)
}
/// Reads `axis`, default -1.
pub fn read_axis_last(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", -1)
}
/// A row for all opsets from `since` on.
pub const fn since(name: &'static str, since: i64, read: fn(&mut ReadCx) -> Result<()>) -> OnnxRow {
    onnx(name, since, crate::op::LATEST, read)
}

// Inference

/// Output 0 is like input 0, whose elements are floats.
pub fn float_unary(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, float)?;
    same_as_first(cx)
}
/// Output 0 is like input 0, whose elements are numbers.
pub fn number_unary(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    same_as_first(cx)
}
/// Output 0 is like input 0, of any type.
pub fn any_unary(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, any)?;
    same_as_first(cx)
}
/// The shape to which all given inputs broadcast.
pub fn broadcast_inputs(cx: &InferCx) -> Result<Vec<Dim>> {
    let shapes: Vec<&[Dim]> = cx
        .inputs
        .iter()
        .flatten()
        .map(|v| v.ty.shape.as_slice())
        .collect();
    broadcast(&shapes)
}
/// All inputs have one type of `ok` and broadcast; output 0 has that type.
pub fn elementwise(cx: &mut InferCx, ok: Accept) -> Result<DType> {
    let d = accept_same(cx, 0, ok)?;
    let shape = broadcast_inputs(cx)?;
    cx.out(0, d, shape);
    Ok(d)
}
/// The same, and the output holds truth values.
pub fn predicate(cx: &mut InferCx, ok: Accept) -> Result<()> {
    accept_same(cx, 0, ok)?;
    let shape = broadcast_inputs(cx)?;
    cx.out(0, DType::Bool, shape);
    Ok(())
}
/// Contents of a small integer input, element by element, if known.
pub fn contents(cx: &InferCx, i: usize) -> Option<Vec<Dim>> {
    let v = cx.opt(i)?;
    if !(v.ty.dtype.is_int() || v.ty.dtype == DType::Bool) {
        return None;
    }
    let n = v.ty.elements().fixed()?;
    let dims = if n <= MAX_DIMS { cx.dims(i) } else { None }?;
    (dims.len() as i64 == n).then_some(dims)
}
/// Contents of output 0 from the contents of the inputs, element by element with broadcasting. The output's type is set.
pub fn propagate(cx: &mut InferCx, f: impl Fn(&[Dim]) -> Option<Dim>) {
    let r = propagated(cx, f);
    cx.set_dims(0, r);
}
fn propagated(cx: &InferCx, f: impl Fn(&[Dim]) -> Option<Dim>) -> Option<Vec<Dim>> {
    let out = cx.outputs.first()?.as_ref()?.fixed_shape()?;
    let n: i64 = out.iter().try_fold(1i64, |a, &d| a.checked_mul(d))?;
    if n > MAX_DIMS {
        return None;
    }
    let mut ins = vec![];
    for (i, v) in cx.inputs.iter().enumerate() {
        if let Some(v) = v {
            ins.push((contents(cx, i)?, v.ty.fixed_shape()?));
        }
    }
    let mut result = Vec::with_capacity(n as usize);
    for at in 0..n {
        let index = unravel(&out, at);
        let mut row = Vec::with_capacity(ins.len());
        for (dims, shape) in &ins {
            let skip = index.len().checked_sub(shape.len())?;
            let own = shape
                .iter()
                .zip(&index[skip..])
                .fold(0, |a, (&d, &i)| a * d + if d == 1 { 0 } else { i });
            row.push(dims.get(own as usize)?.clone());
        }
        result.push(f(&row)?);
    }
    Some(result)
}
/// The index of every axis of element number `at`.
pub fn unravel(shape: &[i64], mut at: i64) -> Vec<i64> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in shape.iter().enumerate().rev() {
        let d = d.max(1);
        index[i] = at % d;
        at /= d;
    }
    index
}
/// The quotient of two sizes as integer division (towards 0) gives it, if that can be said.
pub fn dim_div(cx: &InferCx, a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (_, Dim::Fixed(0)) => None,
        (Dim::Fixed(a), Dim::Fixed(b)) => Some(Dim::Fixed(a.checked_div(*b)?)),
        _ if a.bounds(cx.symbols).0 >= 0 && b.bounds(cx.symbols).0 > 0 => a.floor_div(b),
        _ => None,
    }
}
/// Whether two sizes are equal, if that can be said.
pub fn dim_eq(cx: &InferCx, a: &Dim, b: &Dim) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    dim_lt(cx, a, b)?
        .then_some(false)
        .or_else(|| dim_lt(cx, b, a)?.then_some(false))
}
/// Whether one size is smaller than another, if that can be said.
pub fn dim_lt(cx: &InferCx, a: &Dim, b: &Dim) -> Option<bool> {
    let (lo, hi) = (a.clone() - b.clone()).bounds(cx.symbols);
    if hi < 0 {
        Some(true)
    } else if lo >= 0 {
        Some(false)
    } else {
        None
    }
}
/// The smaller of two sizes; simplified where their bounds decide.
pub fn dim_min(symbols: &Symbols, a: &Dim, b: &Dim) -> Dim {
    let (lo, hi) = (a.clone() - b.clone()).bounds(symbols);
    if hi <= 0 {
        a.clone()
    } else if lo >= 0 {
        b.clone()
    } else {
        a.smaller(b)
    }
}
/// The larger of two sizes; simplified where their bounds decide.
pub fn dim_max(symbols: &Symbols, a: &Dim, b: &Dim) -> Dim {
    let (lo, hi) = (a.clone() - b.clone()).bounds(symbols);
    if lo >= 0 {
        a.clone()
    } else if hi <= 0 {
        b.clone()
    } else {
        a.larger(b)
    }
}
/// Of two sizes that must be equal, the one that says more; an error where they can't be.
pub fn unify(cx: &InferCx, a: &Dim, b: &Dim) -> Result<Dim> {
    match dim_eq(cx, a, b) {
        Some(false) => Err(Diagnostic::model(
            "ONNX010",
            format!(
                "sizes {} and {} where one size is needed",
                a.text(cx.symbols),
                b.text(cx.symbols)
            ),
        )),
        _ if a.fixed().is_some() => Ok(a.clone()),
        _ => Ok(b.clone()),
    }
}
/// The contents of input `i`, a list of sizes; an error that says what to do where they are not known.
pub fn known_dims(cx: &InferCx, i: usize, what: &str) -> Result<Vec<Dim>> {
    if cx.input(i)?.ty.rank() > 1 {
        return bad(format!("`{what}` (input {i}) must be a list"));
    }
    match contents(cx, i) {
        Some(d) => Ok(d),
        None => Ok(cx
            .const_ints(i, what)?
            .into_iter()
            .map(Dim::Fixed)
            .collect()),
    }
}
/// A size that must not be negative.
pub fn check_size(cx: &InferCx, d: &Dim, what: &str) -> Result<()> {
    if d.bounds(cx.symbols).1 < 0 {
        return bad(format!("{what} is negative: {}", d.text(cx.symbols)));
    }
    Ok(())
}
/// The constant element of a one-element input.
pub fn const_scalar(t: Option<&Tensor>) -> Option<f64> {
    t.filter(|t| t.len() == 1)?.get_f64(0)
}
/// Resolves a list of axes; an axis named twice is an error.
pub fn resolve_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = Vec::with_capacity(axes.len());
    for &a in axes {
        let a = crate::op::resolve_axis(a, rank)?;
        if out.contains(&a) {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("axis {a} is named twice"),
            ));
        }
        out.push(a);
    }
    Ok(out)
}
/// An operator has an input too many or a wrong rank, or some other contradiction.
pub fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Diagnostic::model("ONNX009", message))
}
/// A scalar or one-element constant input that must be known.
pub fn const_int(cx: &InferCx, i: usize, what: &str) -> Result<i64> {
    match cx.const_ints(i, what)?.as_slice() {
        [v] => Ok(*v),
        v => bad(format!("`{what}` must be one number, not {}", v.len())),
    }
}

// Lowering

/// Whether the operands are unsigned 64-bit numbers, which need the unsigned operations.
pub fn is_u64(cx: &PointCx) -> bool {
    cx.in_types.iter().flatten().next() == Some(&DType::U64)
}
/// `a < b` for elements of type `d`.
pub fn less(b: &mut Builder, d: DType, x: ExprId, y: ExprId) -> ExprId {
    let op = if d == DType::U64 {
        BinOp::LtU
    } else {
        BinOp::Lt
    };
    b.bin(op, x, y)
}
/// The larger for elements of type `d`; NaN where one is NaN.
pub fn larger(b: &mut Builder, d: DType, x: ExprId, y: ExprId) -> ExprId {
    extreme(b, d, BinOp::Max, BinOp::MaxU, x, y)
}
/// The smaller for elements of type `d`; NaN where one is NaN.
pub fn smaller(b: &mut Builder, d: DType, x: ExprId, y: ExprId) -> ExprId {
    extreme(b, d, BinOp::Min, BinOp::MinU, x, y)
}
fn extreme(b: &mut Builder, d: DType, op: BinOp, op_u: BinOp, x: ExprId, y: ExprId) -> ExprId {
    if d == DType::U64 {
        return b.bin(op_u, x, y);
    }
    let m = b.bin(op, x, y);
    if !b.ty(x).is_float() {
        return m;
    }
    // The operation gives y where either is NaN, which is wrong only where x is.
    let nan = b.ne(x, x);
    b.select(nan, x, m)
}
/// Where NaN stands among keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nan {
    /// Above infinity, of either sign.
    Largest,
    /// Below minus infinity, of either sign.
    Smallest,
}
/// By how much keys are moved so that NaN of both signs are beside each other.
const NAN_KEYS: i64 = 0x7f_ffff;
/// A whole number (I32) for an F32, larger for larger ones: `i32::MIN` is that of minus infinity where NaN is the largest, `i32::MAX` that of infinity where
/// it is the smallest. -0 stands before 0.
pub fn float_key(b: &mut Builder, x: ExprId, nan: Nan) -> ExprId {
    let bits = b.un(crate::loops::ir::UnOp::ToBits, x);
    let key = flip_negative(b, bits);
    let by = b.int(crate::loops::ir::Ty::I32, NAN_KEYS);
    match nan {
        Nan::Largest => b.sub(key, by),
        Nan::Smallest => b.add(key, by),
    }
}
/// The F32 of a key.
pub fn float_of_key(b: &mut Builder, key: ExprId, nan: Nan) -> ExprId {
    let by = b.int(crate::loops::ir::Ty::I32, NAN_KEYS);
    let key = match nan {
        Nan::Largest => b.add(key, by),
        Nan::Smallest => b.sub(key, by),
    };
    let key = b.let_(key);
    let bits = flip_negative(b, key);
    b.un(crate::loops::ir::UnOp::FromBits, bits)
}
// Negative floats fall with their bits.
fn flip_negative(b: &mut Builder, bits: ExprId) -> ExprId {
    let (sign, rest) = (b.int(b.ty(bits), 31), b.int(b.ty(bits), 1));
    let sign = b.bin(BinOp::Shr, bits, sign);
    let low = b.bin(BinOp::ShrU, sign, rest);
    b.xor(bits, low)
}
/// Brings an index from data into `0..size` (negative ones count from the end). Returns the index and whether it was
/// outside; the index is then 0.
pub fn wrap_index(b: &mut Builder, i: ExprId, size: ExprId) -> (ExprId, ExprId) {
    let zero = b.i(0);
    let neg = b.lt(i, zero);
    let end = b.add(i, size);
    let i = b.select(neg, end, i);
    let inside = b.in_range(i, zero, size);
    let outside = b.un(crate::loops::ir::UnOp::Not, inside);
    let i = b.select(inside, i, zero);
    (i, outside)
}
/// An index from data brought into `0..size`; the run ends with a status where it is outside.
pub fn checked_index(cx: &mut LowerCx, i: ExprId, size: &Dim) -> ExprId {
    let (n, zero) = (cx.b.dim(size), cx.b.i(0));
    let i = cx.b.let_(i);
    let neg = cx.b.lt(i, zero);
    let end = cx.b.add(i, n);
    let i = cx.b.select(neg, end, i);
    let i = cx.b.let_(i);
    // What is still negative is a very large unsigned number.
    let outside = cx.b.bin(BinOp::LeU, n, i);
    cx.b.fail_if(outside, DATA_OUT_OF_RANGE);
    i
}
/// Reads an index input as I64 element `at`.
pub fn load_index(cx: &mut LowerCx, i: usize, at: &[ExprId]) -> Result<ExprId> {
    let v = cx.load(i, at)?;
    Ok(cx.b.cast(crate::loops::ir::Ty::I64, v))
}
/// Copies: output 0 at every index is what `f` gives. Takes tails.
pub fn map_output(
    cx: &mut LowerCx,
    f: impl FnOnce(&mut LowerCx, &[ExprId]) -> Result<ExprId>,
) -> Result<()> {
    let shape = cx.out_shape()?;
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let v = f(cx, at)?;
        cx.store(0, at, v);
        Ok(())
    })
}

/// Calls of a tile over things that are independent of each other, `piece` at a time: `f` gets the first of a piece and how many it has, and threads
/// may share the pieces. Where the number is not known it is one piece.
pub fn in_pieces(
    cx: &mut LowerCx,
    all: &Dim,
    piece: i64,
    mut f: impl FnMut(&mut LowerCx, ExprId, ExprId),
) -> Result<()> {
    let Some(fixed) = all.fixed().filter(|n| *n > piece) else {
        let (zero, n) = (cx.b.i(0), cx.b.dim(all));
        f(cx, zero, n);
        return Ok(());
    };
    let pieces = cx.b.i(fixed / piece);
    cx.parallel(pieces, |cx, t| {
        let size = cx.b.i(piece);
        let first = cx.b.mul(t, size);
        f(cx, first, size);
        Ok(())
    })?;
    if fixed % piece > 0 {
        let (first, rest) = (cx.b.i(fixed / piece * piece), cx.b.i(fixed % piece));
        f(cx, first, rest);
    }
    Ok(())
}
