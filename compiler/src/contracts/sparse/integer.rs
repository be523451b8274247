//! `conv_i8_sparse4`, `conv_i8_sparse1`, `gemm_i8_sparse4`, `gemm_i8_sparse1`: products of bytes with sparse weights, exact. Activations are
//! multiplied as they are; what their zero point adds comes off each sum. `.._near`: neighbouring inputs at once, where a machine multiplies what
//! fills 32 bits.

use super::conv::{DENSEST, apart, bytes, flat, pixels, plain, run_on};
use super::numbers::{Near, Numbers};
use super::pattern::{self, Rows, blocks};
use super::product::{ADDRESSES, Cut, Kind, Product, addresses, rows_of, tiles, work};
use crate::base::attr::Attrs;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::form::Form;
use crate::contracts::gemm;
use crate::contracts::strip;
use crate::contracts::tail::{Element, Found};
use crate::kernel::{Contract, Kernel, LowerCx, Machine, Query};
use crate::loops::ir::{BufId, ExprId, LoopKind};
use crate::loops::tail::Node;

/// How a row multiplies.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    /// Output channels of a block.
    block: i64,
    /// Whether an entry is of inputs that are neighbours ([`Near`]), those of which the weights are not all zero; else of any two.
    near: bool,
}

macro_rules! rows {
    ($($name:ident $text:literal $block:literal $near:literal $emit:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $name: Kernel = Kernel {
                name: $text,
                needs: &[],
                accepts: |q| accepts(q, Way { block: $block, near: $near }),
                work: |q| work_of(q, Way { block: $block, near: $near }),
                tails: true,
                emit: |cx, q| $emit(cx, q, Way { block: $block, near: $near }),
            };
        )*
    };
}

rows! {
    CONV_FOUR "conv_i8_sparse4" 4 false conv "Convolutions, blocks of four output channels.";
    CONV_ONE "conv_i8_sparse1" 1 false conv "Convolutions, single weights.";
    CONV_FOUR_NEAR "conv_i8_sparse4_near" 4 true conv "Convolutions, four output channels by neighbouring inputs.";
    CONV_ONE_NEAR "conv_i8_sparse1_near" 1 true conv "Convolutions, weights of neighbouring inputs.";
    GEMM_FOUR "gemm_i8_sparse4" 4 false product "Matrix products, blocks of four columns.";
    GEMM_ONE "gemm_i8_sparse1" 1 false product "Matrix products, single weights.";
    GEMM_FOUR_NEAR "gemm_i8_sparse4_near" 4 true product "Matrix products, four columns by neighbouring inputs.";
    GEMM_ONE_NEAR "gemm_i8_sparse1_near" 1 true product "Matrix products, weights of neighbouring inputs.";
}

/// A product of whole numbers whose weights are known.
struct Whole {
    k: i64,
    n: i64,
    rows: i64,
    images: f64,
    /// Less their zero points: `[n][k]`.
    weights: Vec<i32>,
    /// Zero point of A.
    zero: i64,
    /// What sums begin with.
    start: Vec<i64>,
}

impl Whole {
    fn of(q: &Query) -> Option<Whole> {
        let given = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
        let known = |i: usize| -> Option<Vec<i64>> {
            match given(i) {
                None => Some(vec![]),
                Some((_, t)) => t.as_ref()?.to_i64s().filter(|z| !z.is_empty()),
            }
        };
        let (x, (w_type, w)) = (given(0)?.0.dtype, given(1)?);
        let byte = |d: DType| matches!(d, DType::U8 | DType::I8);
        if !q.machine.sparse.used || !byte(x) || !byte(w_type.dtype) {
            return None;
        }
        let w = w.as_ref()?;
        let (xz, wz, start) = (known(2)?, known(3)?, known(4)?);
        let (k, n, rows, images, columns) = match q.contract.name {
            "conv_integer" => {
                let v = plain(q)?;
                let images = v.n.fixed().unwrap_or(1) as f64;
                (v.cin, v.cout, pixels(&v)?, images, false)
            }
            _ => {
                let [k, n, rows] = super::gemm::sizes(&view(q)?)?;
                (k, n, rows, 1.0, true)
            }
        };
        if w.len() as i64 != k * n || xz.len() > 1 || ![0, 1, n as usize].contains(&wz.len()) {
            return None;
        }
        let at = |i: i64| {
            let (c, p) = (i / k, i % k);
            let place = if columns { p * n + c } else { i };
            let z = match wz.len() {
                0 => 0,
                len => wz[c as usize % len],
            };
            Some((w.get_i64(place as usize)? - z) as i32)
        };
        let weights: Vec<i32> = (0..k * n).map(at).collect::<Option<_>>()?;
        let kept = weights.iter().filter(|w| **w != 0).count();
        (kept as f64 <= DENSEST * weights.len() as f64).then_some(Whole {
            k,
            n,
            rows,
            images,
            weights,
            zero: xz.first().copied().unwrap_or(0),
            start,
        })
    }
    fn at(&self, p: i64, c: i64) -> i32 {
        self.weights[(c * self.k + p) as usize]
    }
    /// Entries of each block: rows of channels.
    fn kept(&self, numbers: Numbers, block: i64) -> Vec<Vec<i64>> {
        let width = numbers.width();
        let rows = rows_of(numbers, self.k);
        blocks(rows, self.n, block, |row, c| {
            (row * width..((row + 1) * width).min(self.k)).all(|p| self.at(p, c) == 0)
        })
    }
    /// What stands for the inputs of a row at an output channel.
    fn value(&self, numbers: Numbers, row: i64, c: i64) -> i32 {
        let width = numbers.width();
        match numbers {
            Numbers::Near(_) => (0..width).fold(0, |all, part| {
                let p = row * width + part;
                let bits = 32 / width as u32;
                let w = if p < self.k { self.at(p, c) as u32 } else { 0 };
                all | (w & (u32::MAX >> (32 - bits))) << (bits * part as u32)
            }) as i32,
            _ => self.at(row, c),
        }
    }
}

fn view(q: &Query) -> Option<gemm::View> {
    let shape = |i: usize| Some(&q.inputs.get(i)?.as_ref()?.0.shape);
    let out = &q.outputs.first()?.as_ref()?.shape;
    gemm::View::of(&Attrs::default(), shape(0)?, shape(1)?, out).ok()
}

fn numbers(q: &Query, way: Way) -> Option<Numbers> {
    let v = q.machine.vector?;
    let all = match (way.near, v.by_lane) {
        (false, _) => vec![Numbers::Words(v.lanes)],
        (true, true) => vec![Numbers::Near(Near::SignedBytes)],
        (true, false) => vec![Numbers::Near(Near::Bytes), Numbers::Near(Near::Pairs)],
    };
    all.into_iter().find(|n| tiles(q.machine, *n).is_some())
}

fn accepts(q: &Query, way: Way) -> bool {
    let (Some(numbers), Some(w)) = (numbers(q, way), Whole::of(q)) else {
        return false;
    };
    let bytes = matches!(numbers, Numbers::Near(n) if n != Near::Pairs);
    !bytes || w.weights.iter().all(|w| i8::try_from(*w).is_ok())
}

fn work_of(q: &Query, way: Way) -> Work {
    let whole = || {
        let (numbers, w) = (numbers(q, way)?, Whole::of(q)?);
        let sizes = [w.k, w.n, w.rows];
        let block = way.block;
        let kept = w.kept(numbers, block);
        let kind = Kind { block, line: false };
        let all = work(q.machine, numbers, kind, &kept, sizes, w.images)?;
        let [product, into, out] = shares(q.machine, numbers);
        let turned = w.rows as f64 * (w.k as f64 * into + w.n as f64 * out);
        Some(Work {
            macs: all.macs * product,
            transforms: w.images * turned,
            ..all
        })
    };
    whole().unwrap_or(Work::of(f64::INFINITY))
}

/// What a product, turning an input around, and the way of a sum to its place cost on a machine, in parts of the table's rates for products and for elements.
/// Rates count in products of a dense kernel, and what dense kernels spend on results they spend too, so the parts depend on the best of these. Measured on one
/// machine at each level: dense products 0.0031, 0.0065, 0.014 ns, an input 0.27, 0.15, 0.15 ns, a result 0.21, 0.27, 0.02 ns more than a dense one.
fn shares(m: &Machine, numbers: Numbers) -> [f64; 3] {
    let has = |contract: &Contract| m.tile(contract.name).is_some();
    let wide = m.vector.is_some_and(|v| v.lanes >= 16);
    if let Numbers::Near(near) = numbers {
        return match (near, wide) {
            (Near::Bytes, true) => [0.34, 3.0, 2.0],
            (Near::Bytes, false) => [0.3, 2.0, 2.0],
            (Near::Pairs, _) => [0.74, 3.2, 1.8],
            // As against dense products of the same instruction.
            (Near::SignedBytes, _) => [0.4, 2.0, 4.0],
        };
    }
    match wide {
        true if has(&strip::GEMM_STRIP_BYTES) => [0.8, 21.6, 17.0],
        false if has(&strip::GEMM_STRIP_BYTES) => [0.8, 6.2, 10.8],
        _ if has(&strip::GEMM_STRIP_PICKED) => [0.7, 5.5, 2.2],
        _ => [1.0, 1.0, 2.0],
    }
}

/// What both need.
struct Ready {
    w: Whole,
    numbers: Numbers,
    cut: Cut,
    encoded: pattern::Encoded,
    values: BufId,
    stream: BufId,
    correction: Option<BufId>,
}

fn ready(cx: &mut LowerCx, q: &Query, way: Way) -> Result<Ready> {
    let block = way.block;
    let missing = || Diagnostic::internal("sparse weights that are none");
    let w = Whole::of(q).ok_or_else(missing)?;
    let numbers = numbers(q, way).ok_or_else(missing)?;
    let vector = cx.machine.vector.ok_or_else(missing)?;
    let cut = Cut::of(
        cx.machine,
        &vector,
        numbers,
        block,
        rows_of(numbers, w.k),
        w.rows,
    );
    let kept = w.kept(numbers, block);
    let encoded = pattern::encode(&kept, Rows::Even, w.n, block, numbers, cut.chains);
    let values = encoded.values(w.n, numbers.group(), 0, |p, c| w.value(numbers, p, c));
    let size = numbers.rows().size();
    let data: Vec<u8> = values
        .iter()
        .flat_map(|v| v.to_le_bytes()[..size].to_vec())
        .collect();
    let values = Tensor::new(numbers.rows(), vec![values.len() as i64], data.into())?;
    let values = cx.constant("values", values);
    let stream = bytes(cx, &encoded.stream)?;
    let sums: Vec<i64> = (0..w.n)
        .map(|c| (0..w.k).map(|p| i64::from(w.at(p, c))).sum())
        .collect();
    let shift = match numbers {
        Numbers::Near(near) => near.shift(cx.input(0)?.ty.dtype),
        _ => 0,
    };
    let form = Form {
        numbers: strip::Numbers::Bytes,
        // Inputs are multiplied as they lie in rows of channels.
        zero: w.zero + shift,
        start: w.start.clone(),
        ..Form::floats(DType::I8)
    };
    let correction = form.correction(cx, &sums)?;
    Ok(Ready {
        w,
        numbers,
        cut,
        encoded,
        values,
        stream,
        correction,
    })
}

impl Ready {
    /// A sum without what the zero point added.
    fn corrected(&self, cx: &mut LowerCx, channel: ExprId, sum: ExprId) -> ExprId {
        let Some(buf) = self.correction else {
            return sum;
        };
        let c = cx.b.load(buf, channel);
        cx.b.add(sum, c)
    }
}

/// Whether a tail, which is not seen when kernels are compared, costs more than zeros save: one that reads by pixels where rows of channels
/// stay what they are, and one with more operands than the tile behind the products has registers for, which loops would apply. The
/// corrections of sums are an operand too; dense kernels begin with theirs.
fn costs_more(found: &Found, way: Way) -> bool {
    let by_pixels = || found.tail.operands().any(|n| matches!(n, Node::Tile(_)));
    way.near && by_pixels() || addresses(found) + 1 > ADDRESSES
}

/// The dense row that costs least, where the tail that was found costs more than zeros save.
fn dense<'q>(q: &Query<'q>, found: Option<Found>, way: Way) -> Option<&'q Kernel> {
    found.filter(|f| costs_more(f, way))?;
    let rows = q
        .contract
        .rows
        .iter()
        .filter(|r| !r.name.contains("sparse"));
    let cost = |r: &Kernel| q.machine.costs.cost(r.name, &(r.work)(q), None);
    rows.filter(|r| (r.accepts)(q))
        .map(|r| (cost(r), r))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|r| r.1)
}

fn conv(cx: &mut LowerCx, q: &Query, way: Way) -> Result<()> {
    let missing = || Diagnostic::internal("sparse weights that are none");
    let v = plain(q).ok_or_else(missing)?;
    let fixed: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let element = Element::whole(&mut cx.b, &fixed, v.window.rank());
    let found = element.probe(cx, |cx, index, sum| {
        cx.store(0, index, sum);
        Ok(())
    })?;
    if let Some(row) = dense(q, found, way) {
        return (row.emit)(cx, q);
    }
    let r = ready(cx, q, way)?;
    let fixed: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let rank = v.window.rank();
    let mut element = Element::whole(&mut cx.b, &fixed, rank);
    run_on(cx, &v, &mut element);
    let found = element.probe(cx, |cx, index, sum| {
        let sum = r.corrected(cx, index[rank + 1], sum);
        cx.store(0, index, sum);
        Ok(())
    })?;
    let images = cx.b.dim(&v.n);
    let (x, a_type) = (cx.input(0)?.buf, cx.input(0)?.ty.dtype);
    cx.for_(images, LoopKind::Seq, |cx, image| {
        let base = cx.b.i(r.w.rows * r.w.k);
        let base = cx.b.mul(image, base);
        let base = cx.b.let_(base);
        let index = |cx: &mut LowerCx, pixel: ExprId, channel: ExprId| {
            flat(cx, image, rank, pixel, channel)
        };
        let store = |cx: &mut LowerCx, pixel: ExprId, channel: ExprId, sum: ExprId| {
            let sum = r.corrected(cx, channel, sum);
            let full = apart(cx, &v, image, pixel, channel);
            cx.store(0, &full, sum);
            Ok(())
        };
        Product {
            k: r.w.k,
            n: r.w.n,
            rows: r.w.rows,
            a_row: r.w.k,
            numbers: r.numbers,
            a_type,
            cut: r.cut,
            encoded: &r.encoded,
            values: r.values,
            stream: Some(r.stream),
            found: found.as_ref(),
            index: &index,
            store: &store,
        }
        .emit(cx, x, base)
    })
}

fn product(cx: &mut LowerCx, q: &Query, way: Way) -> Result<()> {
    let missing = || Diagnostic::internal("sparse weights that are none");
    let v = view(q).ok_or_else(missing)?;
    let shape = cx.out_shape()?;
    let fixed: Vec<Option<i64>> = shape.iter().map(Dim::fixed).collect();
    let rank = v.batch.len() + 2;
    let element = Element::whole(&mut cx.b, &fixed, rank - 2);
    let found = element.probe(cx, |cx, index, sum| {
        let index = v.index(&index[..rank - 2], index[rank - 2], index[rank - 1]);
        cx.store(0, &index, sum);
        Ok(())
    })?;
    if let Some(row) = dense(q, found, way) {
        return (row.emit)(cx, q);
    }
    let r = ready(cx, q, way)?;
    let mut element = Element::whole(&mut cx.b, &fixed, rank - 2);
    super::gemm::run_on(cx, &shape, &mut element);
    let found = element.probe(cx, |cx, index, sum| {
        let sum = r.corrected(cx, index[rank - 1], sum);
        let index = v.index(&index[..rank - 2], index[rank - 2], index[rank - 1]);
        cx.store(0, &index, sum);
        Ok(())
    })?;
    let (a, a_type) = (cx.input(0)?.buf, cx.input(0)?.ty.dtype);
    let index = |cx: &mut LowerCx, row: ExprId, column: ExprId| {
        let mut index: Vec<ExprId> = (0..rank - 2).map(|_| cx.b.i(0)).collect();
        index.extend([row, column]);
        index
    };
    let store = |cx: &mut LowerCx, row: ExprId, column: ExprId, sum: ExprId| {
        let sum = r.corrected(cx, column, sum);
        let mut axes = v.batch.clone();
        axes.push(v.m.clone());
        let all = cx.b.unoffset(&axes, row);
        let (row, batch) = all.split_last().ok_or_else(missing)?;
        cx.store(0, &v.index(batch, *row, column), sum);
        Ok(())
    };
    let base = cx.b.i(0);
    Product {
        k: r.w.k,
        n: r.w.n,
        rows: r.w.rows,
        a_row: r.w.k,
        numbers: r.numbers,
        a_type,
        cut: r.cut,
        encoded: &r.encoded,
        values: r.values,
        stream: Some(r.stream),
        found: found.as_ref(),
        index: &index,
        store: &store,
    }
    .emit(cx, a, base)
}
