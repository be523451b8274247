//! `conv`: convolution over 1 to N spatial axes, channels first.
//!
//! Inputs X `[N, C, spatial..]`, W `[M, C/group, kernel..]`, optional B `[M]`, optional Z of the output's shape; output
//! `activation(conv(X, W) + B + Z)`. Sums run over channels, then the window, row-major.
//!
//! Attributes: `strides`, `dilations`, `pads` (explicit), `group`, `activation`, `activation_params`.

use super::finish::Activation;
use super::window::Window;
use super::{
    conv_depthwise, conv_depthwise_last, conv_depthwise_wide, conv_gemm, conv_planes, conv_strip,
    conv_winograd, sparse,
};
use crate::base::attr::Attrs;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::ex;
use crate::kernel::{Contract, Kernel, LowerCx, Query};
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Stmt, Ty};

/// The contract.
pub static CONV: Contract = Contract {
    name: "conv",
    doc: "Convolution over any number of spatial axes, with bias, residual and activation",
    reference: None,
    rows: &[
        conv_depthwise_last::ROW,
        conv_winograd::F4,
        conv_winograd::F2,
        conv_strip::ROW,
        sparse::conv::FOUR,
        sparse::conv::ONE,
        sparse::conv::FOUR_LINE,
        sparse::conv::ONE_LINE,
        sparse::window::FOUR,
        sparse::window::ONE,
        conv_depthwise::ROW,
        conv_depthwise_wide::ROW,
        conv_planes::ROW,
        conv_gemm::ROW,
        LOOPS,
    ],
};

/// Plain loops, for every type, rank and group.
pub const LOOPS: Kernel = Kernel {
    name: "conv_loops",
    needs: &[],
    accepts: |_| true,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit: emit_loops,
};

/// Multiply-accumulates of a query; symbolic sizes count as 64.
pub fn macs(q: &Query) -> f64 {
    let size = |s: &[Dim]| -> f64 { s.iter().map(|d| d.fixed().unwrap_or(64) as f64).product() };
    let out = match q.outputs.first() {
        Some(Some(t)) => size(&t.shape),
        _ => 1.0,
    };
    match q.inputs.get(1) {
        Some(Some((w, _))) if !w.shape.is_empty() => out * size(&w.shape[1..]),
        _ => out,
    }
}

/// A convolution's sizes.
pub struct View {
    /// Batch.
    pub n: Dim,
    /// Input channels of a group.
    pub cin: i64,
    /// Output channels of a group.
    pub cout: i64,
    /// Groups.
    pub group: i64,
    /// Spatial sizes of the input.
    pub input: Vec<Dim>,
    /// The window, with the output's sizes.
    pub window: Window,
    /// What follows.
    pub activation: Option<Activation>,
    /// Input and output are `[N, spatial.., C]`.
    pub channels_last: bool,
}

impl View {
    /// From attributes and shapes.
    pub fn of(q: &Query) -> Result<View> {
        let shape = |i: usize| -> Result<&[Dim]> {
            match q.inputs.get(i) {
                Some(Some((t, _))) if t.rank() >= 2 => Ok(&t.shape),
                _ => Err(Diagnostic::internal("a convolution without its inputs")),
            }
        };
        View::of_shapes(&q.attrs, shape(0)?, shape(1)?)
    }
    /// From attributes and shapes of two axes and more.
    pub fn of_shapes(attrs: &Attrs, x: &[Dim], w: &[Dim]) -> Result<View> {
        let w = fixed_shape(w).ok_or_else(|| {
            Diagnostic::unsupported("ONNX012", "weights of unknown size are not done")
        })?;
        let group = attrs.int("group", 1).max(1);
        let channels_last = attrs.flag("channels_last");
        let spatial = match channels_last {
            true => &x[1..x.len() - 1],
            false => &x[2..],
        };
        Ok(View {
            n: x[0].clone(),
            cin: w[1],
            cout: w[0] / group,
            group,
            input: spatial.to_vec(),
            window: Window::of(attrs, &w[2..], spatial)?,
            activation: Activation::of_attrs(attrs)?,
            channels_last,
        })
    }
    /// Window elements per channel.
    pub fn taps(&self) -> i64 {
        self.window.kernel.iter().product()
    }
    /// Adds bias and Z, activates and stores a sum at the full output index.
    pub fn store(&self, cx: &mut LowerCx, index: &[ExprId], sum: ExprId) -> Result<()> {
        let mut v = sum;
        if cx.opt(2).is_some() {
            let channel = if self.channels_last {
                index.len() - 1
            } else {
                1
            };
            let bias = cx.load(2, &index[channel..=channel])?;
            v = cx.b.add(v, bias);
        }
        if cx.opt(3).is_some() {
            let z = cx.load(3, index)?;
            v = cx.b.add(v, z);
        }
        if let Some(a) = &self.activation {
            v = a.apply(&mut cx.b, v);
        }
        cx.store(0, index, v);
        Ok(())
    }
}

/// Input position of window element `k` of output position `o` along axis `i`: `o * stride + k * dilation - begin`.
pub fn tap(b: &mut Builder, w: &Window, i: usize, o: ExprId, k: ExprId) -> ExprId {
    let (s, d, p) = (b.i(w.stride[i]), b.i(w.dilation[i]), b.i(-w.begin[i]));
    ex!(b; ((o * s) + (k * d)) + p)
}

/// Whether window element `k` of some output along axis `i` can lie outside the input.
pub fn can_leave(w: &Window, i: usize, input: &Dim) -> bool {
    let reach = (w.out[i].clone() - Dim::Fixed(1)) * Dim::Fixed(w.stride[i])
        + Dim::Fixed(w.extent(i) - w.begin[i]);
    w.begin[i] > 0 || (input.clone() - reach).fixed().is_none_or(|room| room < 0)
}

/// `0 <= at < input` for the axes where a window can leave the input.
pub fn inside(b: &mut Builder, w: &Window, input: &[Dim], at: &[ExprId]) -> ExprId {
    let mut all = b.bool(true);
    for (i, (d, &x)) in input.iter().zip(at).enumerate() {
        if can_leave(w, i, d) {
            let (zero, n) = (b.i(0), b.dim(d));
            let c = b.in_range(x, zero, n);
            all = b.and(all, c);
        }
    }
    all
}

/// What of the window at output position `o` lies inside the input, along each axis: its first element, and how many.
pub fn cut(cx: &mut LowerCx, w: &Window, input: &[Dim], o: &[ExprId]) -> Vec<(ExprId, ExprId)> {
    let mut cuts = vec![];
    for i in 0..w.rank() {
        let (zero, k) = (cx.b.i(0), cx.b.i(w.kernel[i]));
        if !can_leave(w, i, &input[i]) {
            cuts.push((zero, k));
            continue;
        }
        let none = cx.b.i(0);
        let at = tap(&mut cx.b, w, i, o[i], none);
        let at = cx.b.let_(at);
        let (d, n) = (cx.b.i(w.dilation[i]), cx.b.dim(&input[i]));
        let up = cx.b.i(w.dilation[i] - 1);
        let before = ex!(cx.b; (up - at) / d);
        let before = cx.b.clamp(before, zero, k);
        let before = cx.b.let_(before);
        let until = ex!(cx.b; ((n - at) + up) / d);
        let until = cx.b.clamp(until, before, k);
        let count = cx.b.sub(until, before);
        cuts.push((before, cx.b.let_(count)));
    }
    cuts
}

/// Nested sequential loops over `sizes`.
pub fn seq(
    cx: &mut LowerCx,
    sizes: &[i64],
    f: impl FnOnce(&mut LowerCx, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let dims: Vec<Dim> = sizes.iter().map(|&k| Dim::Fixed(k)).collect();
    cx.each(&dims, LoopKind::Seq, f)
}

/// The same over sizes that are computed.
pub fn seq_of(
    cx: &mut LowerCx,
    sizes: &[ExprId],
    f: impl FnOnce(&mut LowerCx, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let mut vars = vec![];
    let mut index = vec![];
    for _ in sizes {
        let (var, i) = cx.b.loop_var();
        cx.b.open_block();
        vars.push(var);
        index.push(i);
    }
    let done = f(cx, &index);
    for (&var, &extent) in vars.iter().zip(sizes).rev() {
        let body = cx.b.close_block();
        cx.b.stmt(Stmt::For {
            var,
            extent,
            kind: LoopKind::Seq,
            body,
        });
    }
    done
}

fn emit_loops(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let ty = Ty::of(cx.input(0)?.ty.dtype);
    let zero = cx.b.num(ty, 0.0);
    sums(
        cx,
        &v,
        ty,
        &|cx, at, ok| cx.load_if(0, ok, at, zero),
        &|cx, at| cx.load(1, at),
        &|cx, at, sum| v.store(cx, at, sum),
    )
}

/// Reads an element of X at an index, where a condition holds.
pub type LoadX<'f> = &'f dyn Fn(&mut LowerCx, &[ExprId], ExprId) -> Result<ExprId>;
/// Reads an element of W.
pub type LoadW<'f> = &'f dyn Fn(&mut LowerCx, &[ExprId]) -> Result<ExprId>;
/// Takes a finished sum at an index of the output.
pub type Done<'f> = &'f dyn Fn(&mut LowerCx, &[ExprId], ExprId) -> Result<()>;

/// The plain nest: every output's sum of products, lanes along the innermost axis.
pub fn sums(cx: &mut LowerCx, v: &View, ty: Ty, x: LoadX, w: LoadW, done: Done) -> Result<()> {
    let channels = vec![Dim::Fixed(v.group), Dim::Fixed(v.cout)];
    let spatial = v.window.out.clone();
    let rank = spatial.len();
    let mut shape = vec![v.n.clone()];
    match v.channels_last {
        true => shape.extend([spatial, channels].concat()),
        false => shape.extend([channels, spatial].concat()),
    }
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let (n, rest) = (at[0], &at[1..]);
        let (g, m, o) = match v.channels_last {
            true => (rest[rank], rest[rank + 1], &rest[..rank]),
            false => (rest[0], rest[1], &rest[2..]),
        };
        let oc = ex!(cx.b; (g * {cx.b.i(v.cout)}) + m);
        let place = |channel: ExprId, spatial: &[ExprId]| -> Vec<ExprId> {
            match v.channels_last {
                true => [&[n], spatial, &[channel]].concat(),
                false => [&[n, channel], spatial].concat(),
            }
        };
        let zero = cx.b.num(ty, 0.0);
        let sum = cx.b.var(zero);
        let mut taps = vec![v.cin];
        taps.extend(&v.window.kernel);
        seq(cx, &taps, |cx, k| {
            let mut at = vec![];
            for (i, (&o, &k)) in o.iter().zip(&k[1..]).enumerate() {
                at.push(tap(&mut cx.b, &v.window, i, o, k));
            }
            let ok = inside(&mut cx.b, &v.window, &v.input, &at);
            let channel = ex!(cx.b; (g * {cx.b.i(v.cin)}) + {k[0]});
            let x = x(cx, &place(channel, &at), ok)?;
            let mut wi = vec![oc];
            wi.extend(k);
            let w = w(cx, &wi)?;
            let old = cx.b.get(sum);
            let new = if ty.is_float() {
                cx.b.fma(x, w, old)
            } else {
                ex!(cx.b; old + (x * w))
            };
            cx.b.set(sum, new);
            Ok(())
        })?;
        let s = cx.b.get(sum);
        done(cx, &place(oc, o), s)
    })
}
