//! `conv_f32_sparse4`, `conv_f32_sparse1`, the same with `_line`: 1x1 convolutions over channels-last data with sparse weights.

use super::numbers::Numbers;
use super::pattern::{self, Rows, blocks};
use super::product::{Cut, Kind, Product, tiles, work};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::conv::View;
use crate::contracts::tail::Element;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{ExprId, LoopKind};

macro_rules! rows {
    ($($name:ident $text:literal $block:literal $line:literal $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $name: Kernel = Kernel {
                name: $text,
                needs: &[],
                accepts: |q| accepts(q) && work_of(q, Kind { block: $block, line: $line }).is_some(),
                work: |q| {
                    let work = work_of(q, Kind { block: $block, line: $line });
                    work.unwrap_or(Work::of(f64::INFINITY))
                },
                tails: true,
                emit: |cx, q| emit(cx, q, Kind { block: $block, line: $line }),
            };
        )*
    };
}

rows! {
    FOUR "conv_f32_sparse4" 4 false "Blocks of four output channels.";
    ONE "conv_f32_sparse1" 1 false "Single weights.";
    FOUR_LINE "conv_f32_sparse4_line" 4 true "Blocks of four output channels, places being part of the code.";
    ONE_LINE "conv_f32_sparse1_line" 1 true "Single weights, places being part of the code.";
}

/// Denser weights are multiplied as they are.
pub const DENSEST: f64 = 0.7;
/// Input channels that a stream can count.
const MOST: i64 = 1 << 15;

/// Weights that are worth looking at: known floats, enough of them zero.
pub fn sparse_weights<'q>(q: &'q Query<'_>) -> Option<&'q Tensor> {
    match q.inputs.get(1) {
        Some(Some((t, Some(w)))) if t.dtype == DType::F32 && q.machine.sparse.used => {
            (density(w) <= DENSEST).then_some(w)
        }
        _ => None,
    }
}

/// The share of elements that are not zero.
pub fn density(w: &Tensor) -> f64 {
    let kept = match w.dtype {
        DType::F32 => {
            let all = w.data.as_chunks::<4>().0.iter();
            all.filter(|b| f32::from_le_bytes(**b) != 0.0).count()
        }
        _ => (0..w.len()).filter(|&i| w.get_f64(i) != Some(0.0)).count(),
    };
    kept as f64 / w.len().max(1) as f64
}

/// A convolution of windows of one element, one after another.
pub fn plain(q: &Query) -> Option<View> {
    let v = View::of(q).ok()?;
    let w = &v.window;
    let one = w.is_unpadded()
        && w.kernel.iter().all(|&k| k == 1)
        && w.stride.iter().all(|&s| s == 1)
        && (1..=3).contains(&w.rank());
    let size = |n: i64| (1..=MOST).contains(&n);
    let good = one && v.channels_last && v.group == 1 && size(v.cin) && size(v.cout);
    pixels(&v).filter(|_| good)?;
    Some(v)
}

/// Pixels of an image.
pub fn pixels(v: &View) -> Option<i64> {
    let all: Dim = v.window.out.iter().cloned().product();
    all.fixed().filter(|p| (1..1 << 24).contains(p))
}

fn accepts(q: &Query) -> bool {
    let float = |i: usize| match q.inputs.get(i) {
        Some(Some((t, _))) => t.dtype == DType::F32,
        _ => true,
    };
    (0..4).all(float)
        && sparse_weights(q).is_some()
        && plain(q).is_some()
        && tiles(q.machine, Numbers::Floats).is_some()
        && q.machine.vector.is_some()
}

fn work_of(q: &Query, kind: Kind) -> Option<Work> {
    let (v, w) = (plain(q)?, sparse_weights(q)?.to_f32s()?);
    let (k, n, rows) = (v.cin, v.cout, pixels(&v)?);
    let kept = blocks(k, n, kind.block, |p, c| w[(c * k + p) as usize] == 0.0);
    let images = v.n.fixed().unwrap_or(1) as f64;
    let sizes = [k, n, rows];
    work(q.machine, Numbers::Floats, kind, &kept, sizes, images)
}

fn emit(cx: &mut LowerCx, q: &Query, kind: Kind) -> Result<()> {
    let block = kind.block;
    let missing = || Diagnostic::internal("sparse weights that are none");
    let v = plain(q).ok_or_else(missing)?;
    let w = sparse_weights(q).and_then(Tensor::to_f32s);
    let w = w.ok_or_else(missing)?;
    let vector = cx.machine.vector.ok_or_else(missing)?;
    let (k, n, rows) = (v.cin, v.cout, pixels(&v).ok_or_else(missing)?);
    let at = |p: i64, c: i64| w[(c * k + p) as usize];
    let cut = Cut::of(cx.machine, &vector, Numbers::Floats, block, k, rows);
    let kept = blocks(k, n, block, |p, c| at(p, c) == 0.0);
    let encoded = pattern::encode(
        &kept,
        Rows::Even,
        n,
        block,
        Numbers::Floats,
        kind.whole(&cut),
    );
    let values = encoded.values(n, 1, 0.0, at);
    let values = cx.constant("values", Tensor::f32(&[values.len() as i64], &values));
    let stream = match kind.line {
        true => None,
        false => Some(bytes(cx, &encoded.stream)?),
    };
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let rank = v.window.rank();
    let mut element = Element::new(&mut cx.b, &sizes, rank);
    run_on(cx, &v, &mut element);
    let found = element.probe(cx, |cx, index, sum| v.store(cx, index, sum))?;
    let images = cx.b.dim(&v.n);
    let x = cx.input(0)?.buf;
    cx.for_(images, LoopKind::Seq, |cx, image| {
        let base = cx.b.i(rows * k);
        let base = cx.b.mul(image, base);
        let base = cx.b.let_(base);
        let index = |cx: &mut LowerCx, pixel: ExprId, channel: ExprId| {
            flat(cx, image, rank, pixel, channel)
        };
        let store = |cx: &mut LowerCx, pixel: ExprId, channel: ExprId, sum: ExprId| {
            let full = apart(cx, &v, image, pixel, channel);
            v.store(cx, &full, sum)
        };
        Product {
            k,
            n,
            rows,
            a_row: k,
            numbers: Numbers::Floats,
            a_type: DType::F32,
            cut,
            encoded: &encoded,
            values,
            stream,
            found: found.as_ref(),
            index: &index,
            store: &store,
        }
        .emit(cx, x, base)
    })
}

/// A stream as a constant.
pub fn bytes(cx: &mut LowerCx, stream: &[u8]) -> Result<crate::loops::ir::BufId> {
    let n = stream.len() as i64;
    let t = Tensor::new(DType::U8, vec![n], stream.to_vec().into())?;
    Ok(cx.constant("stream", t))
}

/// Pixels of an image are numbered along its last axis: rows run on over the axes before it.
pub fn run_on(cx: &mut LowerCx, v: &View, element: &mut Element) {
    let mut rows = Dim::Fixed(1);
    for axis in (1..v.window.rank()).rev() {
        rows = rows * v.window.out[axis].clone();
        let rows = cx.b.dim(&rows);
        element.over.insert(0, (axis, rows));
    }
}

/// The index of a pixel that is numbered along the last axis.
pub fn flat(
    cx: &mut LowerCx,
    image: ExprId,
    rank: usize,
    pixel: ExprId,
    channel: ExprId,
) -> Vec<ExprId> {
    let mut index = vec![image];
    index.extend((1..rank).map(|_| cx.b.i(0)));
    index.extend([pixel, channel]);
    index
}

/// The index of a pixel along each axis.
pub fn apart(
    cx: &mut LowerCx,
    v: &View,
    image: ExprId,
    pixel: ExprId,
    channel: ExprId,
) -> Vec<ExprId> {
    let mut index = vec![image];
    index.extend(cx.b.unoffset(&v.window.out, pixel));
    index.push(channel);
    index
}
