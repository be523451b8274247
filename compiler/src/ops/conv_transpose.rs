//! ConvTranspose: every output position gathers the input positions whose windows touch it.
//!
//! Without dilation the outputs are taken phase by phase (position modulo stride), so that only the window elements which
//! meet an input position are visited.

use super::axes::fold;
use super::conv_transpose_planes::Planes;
use super::spatial::{kernel_shape, spatial};
use super::util::{accept_same, bad, float, since};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::contracts::window::Window;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CONV_TRANSPOSE];

/// The transpose of a convolution over 1 to N axes.
pub static CONV_TRANSPOSE: OpDef = OpDef {
    name: "ConvTranspose",
    onnx: &[since("ConvTranspose", 1, read)],
    inputs: (2, 3),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    super::spatial::read_window(cx)?;
    cx.keep_ints("output_padding")?;
    cx.keep_ints("output_shape")?;
    cx.keep_int("group", 1)
}

/// The window of the convolution whose transpose this is; `out` are the sizes of this operator's output.
pub fn window(attrs: &Attrs, x: &[Dim], w: &[Dim]) -> Result<Window> {
    let input = spatial(x)?;
    let kernel = kernel_shape(attrs, x, w)?;
    let n = kernel.len();
    let auto = attrs.str("auto_pad", "NOTSET").to_string();
    // The list checks and defaults are those of any window.
    let plain = attrs.clone().with(
        "auto_pad",
        Attr::Str(if auto == "NOTSET" {
            auto.clone()
        } else {
            "VALID".into()
        }),
    );
    let big: Vec<Dim> = kernel.iter().map(|_| Dim::Fixed(1 << 40)).collect();
    let mut win = Window::of(&plain, &kernel, &big)?;
    win.out.clear();
    let extra = attrs.ints("output_padding").filter(|v| !v.is_empty());
    if extra.is_some_and(|v| v.len() != n || v.iter().any(|&p| !(0..1 << 31).contains(&p))) {
        return bad("`output_padding` does not fit the spatial axes");
    }
    let shape = attrs.ints("output_shape").filter(|v| !v.is_empty());
    let shape = match shape {
        Some(v) if v.len() == n => Some(v),
        Some(v) if v.len() == n + 2 => Some(&v[2..]),
        Some(_) => return bad("`output_shape` does not fit the spatial axes"),
        None => None,
    };
    for i in 0..n {
        let more = extra.map_or(0, |v| v[i]);
        let full = (input[i].clone() - Dim::Fixed(1)) * Dim::Fixed(win.stride[i])
            + Dim::Fixed(more + win.extent(i));
        let wanted = match shape {
            Some(s) => Some(Dim::Fixed(s[i])),
            None if auto.starts_with("SAME") => Some(input[i].clone() * Dim::Fixed(win.stride[i])),
            None => None,
        };
        let Some(wanted) = wanted else {
            win.out
                .push(full - Dim::Fixed(win.begin[i].saturating_add(win.end[i])));
            continue;
        };
        let total = (full - wanted.clone()).fixed().ok_or_else(|| {
            Diagnostic::unsupported("ONNX008", "`output_shape` over an axis of unknown size")
                .help("fix the dimension with --dim or --input")
        })?;
        let total = total.max(0);
        (win.begin[i], win.end[i]) = if auto == "SAME_UPPER" {
            (total / 2, total - total / 2)
        } else {
            (total - total / 2, total / 2)
        };
        win.out.push(wanted);
    }
    if win.out.iter().any(|o| o.fixed().is_some_and(|o| o < 0)) {
        return bad("the output would have a negative size");
    }
    Ok(win)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, float)?;
    let (x, w) = (cx.shape(0)?, cx.shape(1)?);
    let win = window(cx.attrs, &x, &w)?;
    let group = cx.attrs.int("group", 1);
    let (c, m) = (w[0].fixed().unwrap_or(0), w[1].fixed().unwrap_or(0));
    if group < 1 || c % group != 0 || x[1].fixed().is_some_and(|x| x != c) {
        return bad(format!(
            "weights for {c} channels in {group} groups do not fit the input"
        ));
    }
    let m = m.saturating_mul(group);
    if let Some(b) = cx.opt(2)
        && (b.ty.rank() != 1 || b.ty.shape[0].fixed().is_some_and(|b| b != m))
    {
        return bad(format!("a bias that does not fit {m} channels"));
    }
    let mut out = vec![x[0].clone(), Dim::Fixed(m)];
    out.extend(win.out);
    cx.out(0, d, out);
    Ok(())
}

/// One spatial axis of the gathering.
struct Axis {
    /// Output position.
    o: ExprId,
    /// Window elements to visit.
    taps: Dim,
    /// Element `j` of them is window element `first + j * step`.
    first: ExprId,
    step: i64,
    /// It meets input position `at - j * back` (or that over the stride where `exact` is false).
    at: ExprId,
    back: i64,
    exact: bool,
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, w) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let lanes = cx.machine.vector.map_or(0, |v| v.lanes);
    if let Some(planes) = Planes::of(cx.attrs, &x, &w, &cx.out_shape()?, lanes) {
        return planes.lower(cx);
    }
    let win = window(cx.attrs, &x, &w)?;
    let group = cx.attrs.int("group", 1).max(1);
    let c = w[0].fixed().unwrap_or(0) / group;
    let m = w[1].fixed().unwrap_or(0);
    let n = win.rank();
    let phased = |i: usize| win.dilation[i] == 1 && win.stride[i] > 1;
    let mut outer = vec![x[0].clone(), Dim::Fixed(group), Dim::Fixed(m)];
    outer.extend((0..n).map(|i| Dim::Fixed(if phased(i) { win.stride[i] } else { 1 })));
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (batch, g, oc, phases) = (at[0], at[1], at[2], &at[3..]);
        let mut extents = vec![];
        for (i, &r) in phases.iter().enumerate() {
            let (out, s) = (cx.b.dim(&win.out[i]), cx.b.i(win.stride[i]));
            extents.push(if phased(i) {
                let e = ex!(cx.b; ((out - r) + (s - 1)) / s);
                cx.b.let_(e)
            } else {
                out
            });
        }
        nest(cx, &extents, vec![], &mut |cx, q| {
            let axes: Vec<Axis> = (0..n)
                .map(|i| axis(cx, &win, i, phased(i), phases[i], q[i]))
                .collect();
            element(cx, &win, &x, (batch, g, oc), (c, m), &axes)
        })
    })
}

/// Nested loops over run-time extents, lanes innermost.
fn nest(
    cx: &mut LowerCx,
    extents: &[ExprId],
    at: Vec<ExprId>,
    f: &mut dyn FnMut(&mut LowerCx, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let depth = at.len();
    if depth == extents.len() {
        return f(cx, &at);
    }
    let kind = if depth + 1 == extents.len() {
        LoopKind::Lanes
    } else {
        LoopKind::Seq
    };
    cx.for_(extents[depth], kind, |cx, i| {
        let mut at = at.clone();
        at.push(i);
        nest(cx, extents, at, f)
    })
}

fn axis(cx: &mut LowerCx, w: &Window, i: usize, phased: bool, r: ExprId, q: ExprId) -> Axis {
    let (s, k, begin) = (w.stride[i], w.kernel[i], w.begin[i]);
    let b = &mut cx.b;
    let (se, be) = (b.i(s), b.i(begin));
    if phased {
        // Output q * s + r meets window element k at input (q * s + r + begin - k) / s.
        let shifted = ex!(b; r + be);
        let first = b.floor_mod(shifted, se);
        let at = ex!(b; q + ((shifted - first) / se));
        return Axis {
            o: ex!(b; (q * se) + r),
            taps: Dim::Fixed((k + s - 1) / s),
            first,
            step: s,
            at,
            back: 1,
            exact: true,
        };
    }
    Axis {
        o: q,
        taps: Dim::Fixed(k),
        first: b.i(0),
        step: 1,
        at: ex!(b; q + be),
        back: w.dilation[i],
        exact: s == 1,
    }
}

fn element(
    cx: &mut LowerCx,
    w: &Window,
    x: &[Dim],
    (batch, g, oc): (ExprId, ExprId, ExprId),
    (c, m): (i64, i64),
    axes: &[Axis],
) -> Result<()> {
    let ty = Ty::of(cx.input(0)?.ty.dtype);
    let zero = cx.b.num(ty, 0.0);
    let mut sizes = vec![Dim::Fixed(c)];
    sizes.extend(axes.iter().map(|a| a.taps.clone()));
    let all: Vec<usize> = (0..sizes.len()).collect();
    let start = super::axes::origin(cx, sizes.len());
    let sum = fold(cx, &sizes, &all, &start, zero, |cx, at, old| {
        let ci = ex!(cx.b; (g * {cx.b.i(c)}) + {at[0]});
        let (mut xi, mut wi) = (vec![batch, ci], vec![ci, oc]);
        let mut ok = cx.b.bool(true);
        for (i, (a, &j)) in axes.iter().zip(&at[1..]).enumerate() {
            let b = &mut cx.b;
            let k = ex!(b; {a.first} + (j * {b.i(a.step)}));
            let mut pos = ex!(b; {a.at} - (j * {b.i(a.back)}));
            let zero = b.i(0);
            if !a.exact {
                let s = b.i(w.stride[i]);
                let whole = ex!(b; ((pos % s) == 0) & (zero <= pos));
                ok = b.and(ok, whole);
                pos = b.div(pos, s);
            }
            let size = b.dim(&x[2 + i]);
            let inside = b.in_range(pos, zero, size);
            ok = b.and(ok, inside);
            let kn = b.i(w.kernel[i]);
            if a.step > 1 {
                let inside = b.lt(k, kn);
                ok = b.and(ok, inside);
            }
            xi.push(pos);
            wi.push(k);
        }
        let v = cx.load_if(0, ok, &xi, zero)?;
        let weight = cx.load_if(1, ok, &wi, zero)?;
        Ok(cx.b.fma(v, weight, old))
    })?;
    let oc = ex!(cx.b; (g * {cx.b.i(m)}) + oc);
    let mut v = sum;
    if cx.opt(2).is_some() {
        let bias = cx.load(2, &[oc])?;
        v = cx.b.add(v, bias);
    }
    let mut index = vec![batch, oc];
    index.extend(axes.iter().map(|a| a.o));
    cx.store(0, &index, v);
    Ok(())
}
