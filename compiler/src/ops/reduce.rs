//! Reductions over axes: ReduceSum and its kin.
//!
//! Floats accumulate in their computing type, integers wrap; the attribute `wide`, which is not ONNX's, makes sums of bytes i32. An empty set of elements gives the operation's identity.

use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::{LowerCx, wrap};
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, CastKind, Const, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx};
use crate::ops::axes::{fold_in_parts, fold_n};
use crate::ops::columns::Columns;
use crate::ops::cast::to_ty;
use crate::ops::util::*;

/// What is done with the elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

macro_rules! rows {
    ($($id:ident $name:literal $kind:ident $input_from:literal $ok:expr;)*) => {
        /// Operators of this file.
        pub static OPS: &[&OpDef] = &[$(&$id),*];
        $(
            #[doc = concat!($name, " over the axes in the second input, or all of them.")]
            pub static $id: OpDef = OpDef {
                name: $name,
                onnx: &[
                    onnx($name, 1, $input_from - 1, read_attribute),
                    since($name, $input_from, read_input),
                ],
                inputs: (1, 2),
                infer: |cx| infer(cx, Kind::$kind, $ok),
                lower: Lower::Loops(|cx| lower(cx, Kind::$kind)),
                tails: true,
                ..BASE
            };
        )*
    };
}

rows! {
    REDUCE_SUM "ReduceSum" Sum 13 number;
    REDUCE_MEAN "ReduceMean" Mean 18 number;
    REDUCE_MAX "ReduceMax" Max 18 number_or_bool;
    REDUCE_MIN "ReduceMin" Min 18 number_or_bool;
    REDUCE_PROD "ReduceProd" Prod 18 number;
    REDUCE_L1 "ReduceL1" L1 18 number;
    REDUCE_L2 "ReduceL2" L2 18 number;
    REDUCE_LOG_SUM "ReduceLogSum" LogSum 18 number;
    REDUCE_LOG_SUM_EXP "ReduceLogSumExp" LogSumExp 18 number;
    REDUCE_SUM_SQUARE "ReduceSumSquare" SumSquare 18 number;
}

fn read_attribute(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("keepdims", 1)?;
    if let Some(axes) = cx.ints("axes")?
        && !axes.is_empty()
    {
        cx.input(1, Tensor::i64(&[axes.len() as i64], &axes));
    }
    Ok(())
}

fn read_input(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("keepdims", 1)?;
    cx.keep_int("noop_with_empty_axes", 0)
}

/// Which axes are reduced. `given`: the contents of the axes input.
fn reduced(attrs: &Attrs, given: Option<&[i64]>, rank: usize) -> Result<Vec<bool>> {
    let mut out = vec![false; rank];
    match given {
        Some(axes) if !axes.is_empty() => {
            for a in resolve_axes(axes, rank)? {
                out[a] = true;
            }
        }
        _ if attrs.flag("noop_with_empty_axes") => {}
        _ => out.fill(true),
    }
    Ok(out)
}

/// The output's shape.
fn shape_without(shape: &[Dim], gone: &[bool], keep: bool) -> Vec<Dim> {
    shape
        .iter()
        .zip(gone)
        .filter(|&(_, &g)| keep || !g)
        .map(|(d, &g)| if g { Dim::Fixed(1) } else { d.clone() })
        .collect()
}

fn infer(cx: &mut InferCx, kind: Kind, ok: Accept) -> Result<()> {
    let d = accept(cx, 0, ok)?;
    let d = if cx.attrs.flag("wide") { DType::I32 } else { d };
    let shape = cx.shape(0)?;
    let axes = cx.opt(1).map(|_| cx.const_ints(1, "axes")).transpose()?;
    let gone = reduced(cx.attrs, axes.as_deref(), shape.len())?;
    let out = shape_without(&shape, &gone, cx.attrs.int("keepdims", 1) != 0);
    cx.out(0, d, out);
    if shape.len() == 1
        && gone == [true]
        && let Some(v) = contents(cx, 0)
    {
        let v = v.into_iter();
        let r = match kind {
            Kind::Sum => Some(v.sum()),
            Kind::Prod => Some(v.product()),
            Kind::Max => v.reduce(|a, b| dim_max(cx.symbols, &a, &b)),
            Kind::Min => v.reduce(|a, b| dim_min(cx.symbols, &a, &b)),
            _ => None,
        };
        cx.set_dims(0, r.map(|d| vec![d]));
    }
    Ok(())
}

/// One reduction: element type, computing type, and how an element enters.
#[derive(Clone, Copy)]
struct How {
    kind: Kind,
    d: DType,
    ty: Ty,
}

impl How {
    fn of(kind: Kind, d: DType) -> How {
        let own = Ty::of(d);
        let ty = match kind {
            // Their keys are compared: NaN is not a case of its own.
            Kind::Max | Kind::Min if own == Ty::F32 => Ty::I32,
            _ if own.is_float() || own == Ty::Bool => own,
            Kind::L2 | Kind::LogSum | Kind::LogSumExp => Ty::F64,
            Kind::Mean => Ty::I64,
            _ => own,
        };
        How { kind, d, ty }
    }
    /// Whether elements enter as keys.
    fn keyed(self) -> Option<Nan> {
        let floats = Ty::of(self.d) == Ty::F32 && self.ty == Ty::I32;
        match self.kind {
            Kind::Max => floats.then_some(Nan::Largest),
            Kind::Min => floats.then_some(Nan::Smallest),
            _ => None,
        }
    }
    /// What nothing reduces to.
    fn identity(self, cx: &mut LowerCx) -> ExprId {
        let b = &mut cx.b;
        match self.keyed() {
            Some(Nan::Largest) => return b.int(Ty::I32, i64::from(i32::MIN)),
            Some(Nan::Smallest) => return b.int(Ty::I32, i64::from(i32::MAX)),
            None => {}
        }
        let (lo, hi) = self.d.int_range().unwrap_or((0, 0));
        match self.kind {
            Kind::Prod => b.int(self.ty, 1),
            Kind::Max if self.ty.is_float() => b.num(self.ty, f64::NEG_INFINITY),
            Kind::Min if self.ty.is_float() => b.num(self.ty, f64::INFINITY),
            Kind::Max => b.int(self.ty, lo as i64),
            Kind::Min if self.d == DType::U64 => b.konst(Const::I64(-1)),
            Kind::Min => b.int(self.ty, hi as i64),
            _ => b.int(self.ty, 0),
        }
    }
    /// An element as it enters. `max`: the largest element of the set, for LogSumExp.
    fn enter(self, cx: &mut LowerCx, x: ExprId, max: Option<ExprId>) -> ExprId {
        if let Some(nan) = self.keyed() {
            return float_key(&mut cx.b, x, nan);
        }
        let x = to_ty(&mut cx.b, self.d, self.ty, x);
        let b = &mut cx.b;
        match self.kind {
            Kind::L1 if self.d.is_unsigned() => x,
            Kind::L1 => b.un(UnOp::Abs, x),
            Kind::L2 | Kind::SumSquare => b.mul(x, x),
            Kind::LogSumExp => {
                let x = match max {
                    Some(m) => b.sub(x, m),
                    None => x,
                };
                b.un(UnOp::Exp, x)
            }
            _ => x,
        }
    }
    /// Two partial results together.
    fn join(self, b: &mut Builder, a: ExprId, x: ExprId) -> ExprId {
        match self.kind {
            Kind::Max if self.ty == Ty::Bool => b.or(a, x),
            Kind::Min if self.ty == Ty::Bool => b.and(a, x),
            Kind::Max if self.keyed().is_some() => b.max(a, x),
            Kind::Min if self.keyed().is_some() => b.min(a, x),
            Kind::Max => larger(b, self.d, a, x),
            Kind::Min => smaller(b, self.d, a, x),
            Kind::Prod => b.mul(a, x),
            _ => b.add(a, x),
        }
    }
    /// The result, in the computing type of the output.
    fn leave(self, cx: &mut LowerCx, acc: ExprId, count: ExprId, max: Option<ExprId>) -> ExprId {
        let b = &mut cx.b;
        if let Some(nan) = self.keyed() {
            return float_of_key(b, acc, nan);
        }
        let v = match self.kind {
            Kind::Mean if self.ty.is_float() => {
                let n = b.cast(self.ty, count);
                b.div(acc, n)
            }
            Kind::Mean if self.d == DType::U64 => b.bin(BinOp::DivU, acc, count),
            Kind::Mean => b.div(acc, count),
            Kind::L2 => b.un(UnOp::Sqrt, acc),
            Kind::LogSum => b.un(UnOp::Log, acc),
            Kind::LogSumExp => {
                let l = b.un(UnOp::Log, acc);
                match max {
                    Some(m) => b.add(l, m),
                    None => l,
                }
            }
            _ => acc,
        };
        let kind = if self.d == DType::U64 {
            CastKind::Unsigned
        } else {
            CastKind::Signed
        };
        let v = b.cast_as(Ty::of(self.d), kind, v);
        wrap(b, self.d, v)
    }
}

fn lower(cx: &mut LowerCx, kind: Kind) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let axes = match cx.opt(1) {
        None => None,
        Some(o) => match o.konst.as_ref().and_then(Tensor::to_i64s) {
            Some(v) => Some(v),
            None => {
                return Err(Diagnostic::unsupported(
                    "ONNX012",
                    "the axes of a reduction must be constants",
                ));
            }
        },
    };
    let gone = reduced(cx.attrs, axes.as_deref(), shape.len())?;
    let d = match cx.attrs.flag("wide") {
        true => DType::I32,
        false => cx.input(0)?.ty.dtype,
    };
    let how = How::of(kind, d);
    let keep = cx.attrs.int("keepdims", 1) != 0;
    let kept: Vec<Dim> = pick(&shape, &gone, false);
    let inner: Vec<Dim> = pick(&shape, &gone, true);
    let count: Dim = inner.iter().cloned().product();
    let last = gone.iter().rev().take_while(|g| **g).count();
    if last > 0 && kind != Kind::LogSumExp && gone.iter().filter(|g| **g).count() == last {
        let narrow = how.ty != Ty::F64 && how.ty != Ty::I64 && d != DType::Bool;
        if let Some(columns) = Columns::of(cx, last).filter(|_| narrow) {
            return short_rows(cx, how, &columns);
        }
    }
    // Where neighbours in memory are kept apart, several results grow side by side.
    let outer_kind = match gone.last() {
        Some(false) => LoopKind::Lanes,
        _ => LoopKind::Seq,
    };
    let start_at = cx.b.i(0);
    cx.each(&kept, outer_kind, |cx, at| {
        let place = |r: &[ExprId]| -> Vec<ExprId> {
            let (mut k, mut r) = (at.iter(), r.iter());
            gone.iter()
                .filter_map(|&g| if g { r.next() } else { k.next() })
                .copied()
                .collect()
        };
        let max = if kind == Kind::LogSumExp {
            Some(finite_max(cx, how, &inner, &place)?)
        } else {
            None
        };
        let start = how.identity(cx);
        let axes: Vec<usize> = (0..shape.len()).filter(|&a| gone[a]).collect();
        let index = place(&vec![start_at; inner.len()]);
        let step = |cx: &mut LowerCx, at: &[ExprId], a: ExprId| -> Result<ExprId> {
            let x = cx.load(0, at)?;
            let x = how.enter(cx, x, max);
            Ok(how.join(&mut cx.b, a, x))
        };
        let join = |b: &mut Builder, a, x| how.join(b, a, x);
        let acc = fold_in_parts(cx, &shape, &axes, &index, start, &join, &step)?;
        let (a, n) = (acc, cx.b.dim(&count));
        let v = how.leave(cx, a, n, max);
        let mut k = at.iter();
        let zero = cx.b.i(0);
        let to: Vec<ExprId> = gone
            .iter()
            .filter_map(|&g| match g {
                true => keep.then_some(zero),
                false => k.next().copied(),
            })
            .collect();
        cx.store(0, &to, v);
        Ok(())
    })
}

/// Reduces short rows, one in each lane.
fn short_rows(cx: &mut LowerCx, how: How, columns: &Columns) -> Result<()> {
    let Some(out) = cx.output(0).map(|o| o.buf) else {
        return Ok(());
    };
    columns.each(cx, |cx, rows| {
        let n = cx.b.i(columns.n);
        cx.for_(rows.count, LoopKind::Lanes, |cx, r| {
            let start = how.identity(cx);
            let acc = fold_n(cx, n, start, |cx, k, a| {
                let at = rows.place(cx, k, r);
                let x = cx.b.load(rows.columns, at);
                let x = how.enter(cx, x, None);
                Ok(how.join(&mut cx.b, a, x))
            })?;
            let v = how.leave(cx, acc, n, None);
            let to = cx.b.add(rows.first, r);
            cx.b.store(out, to, v);
            Ok(())
        })
    })
}

fn pick(shape: &[Dim], gone: &[bool], which: bool) -> Vec<Dim> {
    shape
        .iter()
        .zip(gone)
        .filter(|&(_, &g)| g == which)
        .map(|(d, _)| d.clone())
        .collect()
}

/// The largest element of the set, or 0 where that is not finite.
fn finite_max(
    cx: &mut LowerCx,
    how: How,
    inner: &[Dim],
    place: &dyn Fn(&[ExprId]) -> Vec<ExprId>,
) -> Result<ExprId> {
    let low = cx.b.num(how.ty, f64::NEG_INFINITY);
    let max = cx.b.var(low);
    cx.each(inner, LoopKind::Seq, |cx, r| {
        let x = cx.load(0, &place(r))?;
        let x = to_ty(&mut cx.b, how.d, how.ty, x);
        let m = cx.b.get(max);
        let m = cx.b.max(x, m);
        cx.b.set(max, m);
        Ok(())
    })?;
    let b = &mut cx.b;
    let m = b.get(max);
    let mag = b.un(UnOp::Abs, m);
    let (inf, zero) = (b.num(how.ty, f64::INFINITY), b.num(how.ty, 0.0));
    let finite = b.lt(mag, inf);
    let m = b.select(finite, m, zero);
    Ok(b.let_(m))
}

#[cfg(test)]
mod tests {
    use crate::base::attr::{Attr, Attrs};
    use crate::base::dtype::DType;
    use crate::base::tensor::Tensor;
    use crate::ops::testing::*;

    #[test]
    fn axes_as_attribute_and_input() {
        let x = || data(f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let old = attrs([("axes", Attr::Ints(vec![-1])), ("keepdims", Attr::Int(0))]);
        assert_eq!(numbers("ReduceSum", 11, &old, vec![x()]), [3.0, 7.0]);
        let axes = konst(i64s(&[1], &[0]));
        let none = Attrs::default();
        assert_eq!(numbers("ReduceMean", 18, &none, vec![x(), axes]), [2.0, 3.0]);
        let noop = attrs([("noop_with_empty_axes", Attr::Int(1))]);
        assert_eq!(numbers("ReduceSumSquare", 18, &noop, vec![x()]), [1.0, 4.0, 9.0, 16.0]);
    }

    #[test]
    fn long_rows_are_folded_in_parts() {
        // Lengths at which parts are full, half full, or fewer.
        for n in [31usize, 32, 33, 47, 127, 128, 131, 200] {
            let v: Vec<f32> = (0..2 * n).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let rows = |f: &dyn Fn(&[f32]) -> f64| v.chunks(n).map(f).collect::<Vec<f64>>();
            let run = |name: &str| {
                let axes = konst(i64s(&[1], &[1]));
                let x = data(f32s(&[2, n as i64], &v));
                numbers(name, 18, &Attrs::default(), vec![x, axes])
            };
            // Whole numbers of this size add without rounding.
            let sum = |r: &[f32]| r.iter().map(|x| f64::from(*x)).sum::<f64>();
            assert_eq!(run("ReduceSum"), rows(&sum), "{n}");
            let most = |r: &[f32]| r.iter().fold(f64::NEG_INFINITY, |a, x| a.max(f64::from(*x)));
            assert_eq!(run("ReduceMax"), rows(&most), "{n}");
            let least = |r: &[f32]| r.iter().fold(f64::INFINITY, |a, x| a.min(f64::from(*x)));
            assert_eq!(run("ReduceMin"), rows(&least), "{n}");
        }
    }

    #[test]
    fn nan_is_the_largest_and_the_smallest() {
        let nan = f32::NAN;
        for n in [1usize, 7, 33, 200] {
            for (at, odd) in (0..n).step_by(5).flat_map(|at| [(at, nan), (at, -nan)]) {
                let mut v: Vec<f32> = (0..n).map(|i| i as f32 - 20.0).collect();
                v[n / 2] = f32::INFINITY;
                v[n / 3] = f32::NEG_INFINITY;
                v[at] = odd;
                let x = || data(f32s(&[n as i64], &v));
                for name in ["ReduceMax", "ReduceMin"] {
                    let r = numbers(name, 13, &Attrs::default(), vec![x()]);
                    assert!(r[0].is_nan(), "{name} of {n}, NaN at {at}: {}", r[0]);
                }
            }
        }
        let x = || data(f32s(&[2], &[f32::NEG_INFINITY, f32::INFINITY]));
        let run = |name| numbers(name, 13, &Attrs::default(), vec![x()]);
        assert_eq!((run("ReduceMax"), run("ReduceMin")), (vec![f64::INFINITY], vec![f64::NEG_INFINITY]));
    }

    #[test]
    fn nothing_gives_the_identity() {
        let empty = |d| data(Tensor::from_f64s(d, &[0], &[]));
        let run = |name: &str, d| numbers(name, 20, &Attrs::default(), vec![empty(d)]);
        assert_eq!(run("ReduceSum", DType::F32), [0.0]);
        assert_eq!(run("ReduceProd", DType::F32), [1.0]);
        assert_eq!(run("ReduceMax", DType::F32), [f64::NEG_INFINITY]);
        assert_eq!(run("ReduceMin", DType::I8), [127.0]);
        assert_eq!(run("ReduceMax", DType::Bool), [0.0]);
        assert_eq!(run("ReduceLogSumExp", DType::F64), [f64::NEG_INFINITY]);
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let x = data(f32s(&[2], &[1000.0, 1000.0]));
        let r = numbers("ReduceLogSumExp", 18, &Attrs::default(), vec![x]);
        assert!((r[0] - 1_000.693_147).abs() < 1e-3);
        // 1..=100: long enough for several partial sums and a rest.
        let v: Vec<f32> = (1..=100).map(|v| v as f32).collect();
        let x = data(f32s(&[100], &v));
        assert_eq!(numbers("ReduceSum", 13, &Attrs::default(), vec![x]), [5050.0]);
    }
}
