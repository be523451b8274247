//! QuantizedSoftmax: a softmax of 8-bit numbers. Not an operator of ONNX: the pass `integers` makes it.

use super::quantized::{byte, rounded, rounding};
use super::util::accept;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::base::tensor::Tensor;
use crate::contracts::softmax_table;
use crate::ex;
use crate::kernel::{LowerCx, Tile};
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SOFTMAX];

/// Inputs: x (8 bits); powers (i64, 256): `exp(-d * scale)` in units of 2^-40 for the distance d to the largest; multiplier m (f64, one): 1 / scale of
/// the result; its zero point. Attributes: `axis`, `to`, `rounding`. Sums are whole numbers, so their order does not matter; each result is
/// `power * (m / sum)` in f64, rounded once.
pub static SOFTMAX: OpDef = OpDef {
    name: "QuantizedSoftmax",
    inputs: (4, 4),
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

/// Rows of so many numbers have a table of their results: 256 of them are made side by side, and looked up as fast as numbers are copied.
const LONG: i64 = 64;

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, byte)?;
    accept(cx, 1, |d| d == DType::I64)?;
    accept(cx, 2, |d| d == DType::F64)?;
    let to = accept(cx, 3, byte)?;
    let shape = cx.shape(0)?;
    cx.axis(cx.attrs.int("axis", -1), shape.len())?;
    cx.out(0, to, shape);
    Ok(())
}

/// One row: its first element, and how far they are apart.
#[derive(Clone, Copy)]
struct Row {
    first: ExprId,
    apart: ExprId,
}

impl Row {
    fn place(&self, cx: &mut LowerCx, i: ExprId) -> ExprId {
        ex!(cx.b; {self.first} + (i * {self.apart}))
    }
    fn at(&self, cx: &mut LowerCx, i: ExprId) -> Result<ExprId> {
        let at = self.place(cx, i);
        cx.load_flat(0, at)
    }
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
        return Ok(());
    };
    let shape = cx.in_shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), shape.len())?;
    let rounding = rounding(cx.attrs);
    let outer: Dim = shape[..axis].iter().cloned().product();
    let inner: Dim = shape[axis + 1..].iter().cloned().product();
    let tabled = match inner.is(1) {
        true => Tabled::new(cx, &shape[axis])?,
        false => None,
    };
    let (n, apart) = (cx.b.dim(&shape[axis]), cx.b.dim(&inner));
    cx.each(&[outer, inner], LoopKind::Parallel, |cx, at| {
        let first = ex!(cx.b; (({at[0]} * n) * apart) + {at[1]});
        let first = cx.b.let_(first);
        if let Some(t) = &tabled {
            t.row(cx, first, n);
            return Ok(());
        }
        let row = Row { first, apart };
        let least = cx.b.int(Ty::I32, -128);
        let most = super::axes::fold_n(cx, n, least, |cx, i, most| {
            let x = row.at(cx, i)?;
            Ok(cx.b.max(most, x))
        })?;
        let most = cx.b.let_(most);
        let power = |cx: &mut LowerCx, i| -> Result<ExprId> {
            let x = row.at(cx, i)?;
            let d = cx.b.sub(most, x);
            let d = cx.b.cast(Ty::I64, d);
            cx.load_flat(1, d)
        };
        let zero = cx.b.int(Ty::I64, 0);
        let sum = super::axes::fold_n(cx, n, zero, |cx, i, sum| {
            let p = power(cx, i)?;
            Ok(cx.b.add(sum, p))
        })?;
        let sum = cx.b.cast(Ty::F64, sum);
        let none = cx.b.i(0);
        let m = cx.load_flat(2, none)?;
        let by = cx.b.div(m, sum);
        let z = cx.load_flat(3, none)?;
        let share = Share {
            by: cx.b.let_(by),
            zero: cx.b.let_(z),
            to,
            rounding,
        };
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let p = power(cx, i)?;
            let p = cx.b.cast(Ty::F64, p);
            let v = share.of(cx, p);
            let at = row.place(cx, i);
            cx.store_flat(0, at, v);
            Ok(())
        })
    })
}

/// What makes a power of e a result.
struct Share {
    /// The multiplier over the row's sum.
    by: ExprId,
    zero: ExprId,
    to: DType,
    rounding: Rounding,
}

impl Share {
    fn of(&self, cx: &mut LowerCx, power: ExprId) -> ExprId {
        let b = &mut cx.b;
        let v = b.mul(power, self.by);
        let v = rounded(b, self.rounding, v);
        let zero = b.cast(Ty::F64, self.zero);
        let v = b.add(v, zero);
        let (lo, hi) = self.to.int_range().unwrap_or((0, 255));
        let (lo, hi) = (b.num(Ty::F64, lo as f64), b.num(Ty::F64, hi as f64));
        let v = b.clamp(v, lo, hi);
        b.cast(Ty::I32, v)
    }
}

/// A table of 256 results for each row, by which all of it is looked up.
struct Tabled {
    tiles: [&'static Tile; 2],
    /// Powers of e (f64), the smallest first, then as many zeros: that of distance d is number 255 - d.
    rising: BufId,
    /// The multiplier and the zero point (f64).
    numbers: BufId,
    table: BufId,
    x: BufId,
    out: BufId,
    signs: [bool; 2],
}

impl Tabled {
    /// `None`: rows are short, or the machine has no such tiles.
    fn new(cx: &mut LowerCx, n: &Dim) -> Result<Option<Tabled>> {
        let tiles = [cx.machine.tile("softmax_table"), cx.machine.tile("byte_table")];
        let long = n.fixed().is_some_and(|n| n >= LONG) && rounding(cx.attrs) == Rounding::Even;
        let known = |i: usize| cx.input(i).ok()?.konst.as_ref()?.to_f64s();
        let (true, [Some(share), Some(table)], [Some(powers), Some(m), Some(zero)], Some(out)) =
            (long, tiles, [1, 2, 3].map(known), cx.output(0))
        else {
            return Ok(None);
        };
        let x = cx.input(0)?;
        let signs = [x, out].map(|o| o.ty.dtype == DType::I8);
        let (x, out) = (x.buf, out.buf);
        let rising: Vec<f64> = powers.into_iter().rev().chain([0.0; 256]).collect();
        let numbers = [m[0], zero[0]];
        Ok(Some(Tabled {
            tiles: [share, table],
            rising: cx.constant("rising", Tensor::from_f64s(DType::F64, &[512], &rising)),
            numbers: cx.constant("numbers", Tensor::from_f64s(DType::F64, &[2], &numbers)),
            table: cx.scratch_per_thread("results", DType::U8, Dim::Fixed(256)),
            x,
            out,
            signs,
        }))
    }

    fn row(&self, cx: &mut LowerCx, first: ExprId, n: ExprId) {
        let none = cx.b.i(0);
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let own = |buf| ptr(buf, none);
        let [share, table] = self.tiles;
        let (x, out) = (ptr(self.x, first), ptr(self.out, first));
        let args = vec![x.clone(), own(self.rising), own(self.numbers), own(self.table), Arg::Int(n)];
        let [signed, to_signed] = self.signs;
        cx.b.call(softmax_table::callee(share, signed, to_signed), args);
        cx.b.call(table.callee(vec![]), vec![x, own(self.table), out, Arg::Int(n)]);
    }
}
