//! `gemm_f32_sparse4`, `gemm_f32_sparse1`: matrix products whose B is known and sparse.

use super::conv::{bytes, sparse_weights};
use super::numbers::Numbers;
use super::pattern::{self, Rows, blocks};
use super::product::{Cut, Kind, Product, tiles, work};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::gemm::View;
use crate::contracts::tail::Element;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::ExprId;

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
    FOUR "gemm_f32_sparse4" 4 false "Blocks of four columns.";
    ONE "gemm_f32_sparse1" 1 false "Single weights.";
}

/// The sizes of a product of all rows with one matrix: k, n, rows.
pub fn sizes(v: &View) -> Option<[i64; 3]> {
    let size = |d: &Dim, most: i64| d.fixed().filter(|n| (1..=most).contains(n));
    let rank = v.batch.len() + 2;
    let flat = v.b.len() == 2 && v.a.len() == rank && v.a[..rank - 2] == v.batch[..] && !v.ta;
    let rows = v.batch.iter().cloned().product::<Dim>() * v.m.clone();
    let all = [
        size(&v.k, 1 << 15)?,
        size(&v.n, 1 << 15)?,
        size(&rows, 1 << 24)?,
    ];
    flat.then_some(all)
}

/// Rows are numbered through all batches.
pub fn run_on(cx: &mut LowerCx, shape: &[Dim], element: &mut Element) {
    let mut step = Dim::Fixed(1);
    for axis in (0..shape.len().saturating_sub(2)).rev() {
        step = step * shape[axis + 1].clone();
        let rows = cx.b.dim(&step);
        element.over.insert(0, (axis, rows));
    }
}

fn view(q: &Query) -> Option<View> {
    let shape = |i: usize| Some(&q.inputs.get(i)?.as_ref()?.0.shape);
    let out = &q.outputs.first()?.as_ref()?.shape;
    View::of(&q.attrs, shape(0)?, shape(1)?, out).ok()
}

fn accepts(q: &Query) -> bool {
    let float = matches!(q.inputs.first(), Some(Some((t, _))) if t.dtype == DType::F32);
    float
        && sparse_weights(q).is_some()
        && view(q).as_ref().and_then(sizes).is_some()
        && tiles(q.machine, Numbers::Floats).is_some()
        && q.machine.vector.is_some()
}

fn work_of(q: &Query, kind: Kind) -> Option<Work> {
    let (v, w) = (view(q)?, sparse_weights(q)?.to_f32s()?);
    let [k, n, rows] = sizes(&v)?;
    let zero = |p: i64, c: i64| w[place(&v, k, n, p, c)] == 0.0;
    let kept = blocks(k, n, kind.block, zero);
    let sizes = [k, n, rows];
    work(q.machine, Numbers::Floats, kind, &kept, sizes, 1.0)
}

/// Where an element of B stands.
fn place(v: &View, k: i64, n: i64, p: i64, c: i64) -> usize {
    match v.tb {
        true => (c * k + p) as usize,
        false => (p * n + c) as usize,
    }
}

fn emit(cx: &mut LowerCx, q: &Query, kind: Kind) -> Result<()> {
    let block = kind.block;
    let missing = || Diagnostic::internal("sparse weights that are none");
    let v = view(q).ok_or_else(missing)?;
    let [k, n, rows] = sizes(&v).ok_or_else(missing)?;
    let w = sparse_weights(q).and_then(Tensor::to_f32s);
    let w = w.ok_or_else(missing)?;
    let vector = cx.machine.vector.ok_or_else(missing)?;
    let at = |p: i64, c: i64| w[place(&v, k, n, p, c)];
    let cut = Cut::of(cx.machine, &vector, Numbers::Floats, block, k, rows);
    let kept = blocks(k, n, block, |p, c| at(p, c) == 0.0);
    let encoded = pattern::encode(&kept, Rows::Even, n, block, Numbers::Floats, cut.chains);
    let values = encoded.values(n, 1, 0.0, at);
    let values = cx.constant("values", Tensor::f32(&[values.len() as i64], &values));
    let stream = match kind.line {
        true => None,
        false => Some(bytes(cx, &encoded.stream)?),
    };
    let shape = cx.out_shape()?;
    let fixed: Vec<Option<i64>> = shape.iter().map(Dim::fixed).collect();
    let rank = v.batch.len() + 2;
    let mut element = Element::new(&mut cx.b, &fixed, rank - 2);
    run_on(cx, &shape, &mut element);
    let found = element.probe(cx, |cx, index, sum| {
        let (batch, rest) = index.split_at(rank - 2);
        v.store(cx, batch, rest[0], rest[1], sum)
    })?;
    let a = cx.input(0)?.buf;
    let index = |cx: &mut LowerCx, row: ExprId, column: ExprId| {
        let mut index: Vec<ExprId> = (0..rank - 2).map(|_| cx.b.i(0)).collect();
        index.extend([row, column]);
        index
    };
    let store = |cx: &mut LowerCx, row: ExprId, column: ExprId, sum: ExprId| {
        let mut axes = v.batch.clone();
        axes.push(v.m.clone());
        let all = cx.b.unoffset(&axes, row);
        match all.split_last() {
            Some((row, batch)) => v.store(cx, batch, *row, column, sum),
            None => Err(missing()),
        }
    };
    let base = cx.b.i(0);
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
    .emit(cx, a, base)
}
