//! Tables and weights of few bits that others write (com.microsoft): GatherBlockQuantized and MatMulBnb4.

use super::integer_products::{known, unpacked};
use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;
use crate::op::resolve_axis;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    Expansion::microsoft("GatherBlockQuantized", gathered),
    Expansion::microsoft("MatMulBnb4", normal_floats),
];

/// Inputs: table, indices, scales of its blocks, their zero points. Rows are taken as they are stored, then dequantized.
fn gathered(cx: &mut ExpandCx) -> Result<()> {
    let rank = {
        let data = cx.input(0)?;
        cx.ty(data)?.rank()
    };
    let along = resolve_axis(cx.attrs.int("gather_axis", 0)?, rank)?;
    let blocks = resolve_axis(cx.attrs.int("quantize_axis", 1)?, rank)?;
    let size = cx.attrs.int("block_size", 128)?;
    let bits = cx.attrs.int("bits", 4)?;
    if size < 1 || along == blocks {
        return cx.attrs.unsupported("rows that are blocks, or parts of them");
    }
    let scales = cx.input(2)?;
    let (data, zeros) = stored(cx, bits, scales)?;
    let indices = cx.input(1)?;
    let turns = cx.ty(indices)?.rank();
    let mut parts = vec![];
    for v in [Some(data), Some(scales), zeros].into_iter().flatten() {
        let at = Attrs::default().with("axis", Attr::Int(along as i64));
        parts.push(cx.op("Gather", &[v, indices], at)?);
    }
    // The axes of the indices stand in the place of the one.
    let axis = if blocks > along { blocks + turns - 1 } else { blocks };
    let attrs = Attrs::default()
        .with("axis", Attr::Int(axis as i64))
        .with("block_size", Attr::Int(size));
    let y = cx.op("DequantizeLinear", &parts, attrs)?;
    cx.set(0, y);
    Ok(())
}

/// The table and its zero points, one number an element: bytes hold several along the last axis, and a zero point in the middle where none is given.
fn stored(cx: &mut ExpandCx, bits: i64, scales: ValueId) -> Result<(ValueId, Option<ValueId>)> {
    let data = cx.input(0)?;
    if cx.ty(data)?.dtype != DType::U8 {
        return Ok((data, cx.opt(3)));
    }
    let dtype = match bits {
        2 => DType::U2,
        4 => DType::U4,
        8 => DType::U8,
        _ => return cx.attrs.unsupported(format!("tables of {bits} bits")),
    };
    let t = known(cx, 0, "data")?;
    let wide = apart(&t, bits, dtype, None)?;
    let grid: Vec<i64> = {
        let rank = cx.ty(scales)?.rank();
        (0..rank).map(|a| cx.fixed(scales, a)).collect::<Result<_>>()?
    };
    let zeros = match cx.opt(3) {
        Some(_) => {
            let z = known(cx, 3, "zero_points")?;
            apart(&z, bits, dtype, grid.last().copied())?
        }
        None => {
            let n = grid.iter().try_fold(1i64, |a, &d| a.checked_mul(d)).unwrap_or(0);
            let middle = f64::from(1u8 << (bits - 1));
            Tensor::from_f64s(dtype, &grid, &vec![middle; usize::try_from(n).unwrap_or(0)])
        }
    };
    Ok((cx.konst(wide), Some(cx.konst(zeros))))
}

/// Numbers that stand side by side in bytes of the last axis, of which the first `last` are meant.
fn apart(t: &Tensor, bits: i64, dtype: DType, last: Option<i64>) -> Result<Tensor> {
    let bad = || Diagnostic::model("ONNX010", "a table of bytes without axes, or too large");
    let (&bytes, before) = t.shape.split_last().ok_or_else(bad)?;
    let row = bytes.checked_mul(8 / bits).ok_or_else(bad)?;
    let last = last.unwrap_or(row).clamp(0, row);
    let rows = before.iter().try_fold(1i64, |a, &d| a.checked_mul(d)).ok_or_else(bad)?;
    let (rows, row) = (usize::try_from(rows), usize::try_from(row));
    let (Ok(rows), Ok(row)) = (rows, row) else { return Err(bad()) };
    let all = unpacked(t, bits as usize, rows, row, "data")?;
    let kept: Vec<f64> = all
        .chunks(row.max(1))
        .flat_map(|r| &r[..last as usize])
        .copied()
        .collect();
    let mut shape = before.to_vec();
    shape.push(last);
    Ok(Tensor::from_f64s(dtype, &shape, &kept))
}

/// What the numbers of FP4 stand for (bitsandbytes).
const FP4: [f32; 8] =
    [0.0, 0.005_208_333_3, 0.666_666_7, 1.0, 0.333_333_34, 0.5, 0.166_666_67, 0.25];
/// What the numbers of NF4 stand for: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", appendix E.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Inputs: A `[.., K]`, B `[N, K]` as 4-bit numbers of a table, flat, the first in the high bits of a byte; the largest value of each block.
fn normal_floats(cx: &mut ExpandCx) -> Result<()> {
    let (n, k) = (cx.attrs.int("N", 0)?, cx.attrs.int("K", 0)?);
    let block = cx.attrs.int("block_size", 0)?;
    let table: Vec<f32> = match cx.attrs.int("quant_type", 1)? {
        0 => FP4.iter().copied().chain(FP4.iter().map(|v| -v)).collect(),
        1 => NF4.to_vec(),
        t => return cx.attrs.unsupported(format!("weights of type {t}")),
    };
    cx.attrs.ignore("training_mode");
    if cx.attrs.int("transB", 1)? != 1 {
        return cx.attrs.unsupported("weights that are not transposed");
    }
    let (b, largest) = (known(cx, 1, "B")?, known(cx, 2, "absmax")?);
    let count = n.checked_mul(k).filter(|&c| n > 0 && k > 0 && block > 0 && c < 1 << 40);
    let fits = count.is_some_and(|c| {
        b.dtype == DType::U8
            && b.data.len() as i64 == (c + 1) / 2
            && largest.len() as i64 == (c + block - 1) / block
    });
    let (true, Some(count)) = (fits, count) else {
        return Err(Diagnostic::model(
            "ONNX010",
            format!("`B` and `absmax` do not hold {n} x {k} numbers in blocks of {block}"),
        ));
    };
    let scales = largest.to_f64s().ok_or_else(|| Diagnostic::model("ONNX010", "`absmax` holds no numbers"))?;
    let values: Vec<f64> = (0..count as usize)
        .map(|i| {
            let byte = b.data[i / 2];
            let number = if i % 2 == 0 { byte >> 4 } else { byte & 15 };
            f64::from(table[usize::from(number)]) * scales[i / block as usize]
        })
        .collect();
    let w = cx.konst(Tensor::from_f64s(largest.dtype, &[n, k], &values));
    let w = cx.transpose(w, &[1, 0])?;
    let a = cx.input(0)?;
    let y = cx.plain("MatMul", &[a, w])?;
    cx.set(0, y);
    Ok(())
}
