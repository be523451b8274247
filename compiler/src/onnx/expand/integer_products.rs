//! Matrix products of com.microsoft with whole numbers on one side at least: DynamicQuantizeMatMul, MatMulIntegerToFloat, MatMulNBits.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    Expansion::microsoft("DynamicQuantizeMatMul", dynamic),
    Expansion::microsoft("MatMulIntegerToFloat", to_float),
    Expansion::microsoft("MatMulNBits", packed),
];

/// Inputs: A, B, scale of B, its zero point, bias.
fn dynamic(cx: &mut ExpandCx) -> Result<()> {
    let a = cx.input(0)?;
    let made = cx.many("DynamicQuantizeLinear", &[Some(a)], Attrs::default(), 3)?;
    let b = [Some(cx.input(1)?), Some(cx.input(2)?), cx.opt(3)];
    let y = product(cx, [Some(made[0]), Some(made[1]), Some(made[2])], b)?;
    biased(cx, y, 4)
}

/// Inputs: A, B, scales of both, zero points of both, bias.
fn to_float(cx: &mut ExpandCx) -> Result<()> {
    let a = [Some(cx.input(0)?), Some(cx.input(2)?), cx.opt(4)];
    let b = [Some(cx.input(1)?), Some(cx.input(3)?), cx.opt(5)];
    let y = product(cx, a, b)?;
    biased(cx, y, 6)
}

/// The product of whole numbers (value, scale, zero point of either side), scaled.
pub(super) fn product(cx: &mut ExpandCx, a: [Option<ValueId>; 3], b: [Option<ValueId>; 3]) -> Result<ValueId> {
    let ins = [a[0], b[0], a[2], b[2]];
    let y = cx.many("MatMulInteger", &ins, Attrs::default(), 1)?[0];
    let y = cx.cast(y, DType::F32)?;
    let scale = cx.many("Mul", &[a[1], b[1]], Attrs::default(), 1)?[0];
    cx.plain("Mul", &[y, scale])
}

fn biased(cx: &mut ExpandCx, y: ValueId, bias: usize) -> Result<()> {
    let y = match cx.opt(bias) {
        Some(c) => cx.plain("Add", &[y, c])?,
        None => y,
    };
    cx.set(0, y);
    Ok(())
}

/// Weights of 2, 4 or 8 bits in blocks along K, the first in the lowest bits of a byte. Inputs: A `[.., K]`, B `[N, blocks, bytes of a block]`, scales
/// `[N, blocks]`, zero points packed as B or of the type of the scales, group indices, bias.
fn packed(cx: &mut ExpandCx) -> Result<()> {
    cx.attrs.ignore("accuracy_level");
    let size = |v: Option<i64>, name: &str| match v.and_then(|v| usize::try_from(v).ok()) {
        Some(v) if v > 0 => Ok(v),
        _ => Err(Diagnostic::model("ONNX009", format!("`{name}` must be given, and above 0"))),
    };
    let k = size(cx.attrs.opt_int("K")?, "K")?;
    let n = size(cx.attrs.opt_int("N")?, "N")?;
    let block = size(cx.attrs.opt_int("block_size")?, "block_size")?;
    let bits = cx.attrs.int("bits", 4)?;
    let dtype = match bits {
        2 => DType::U2,
        4 => DType::U4,
        8 => DType::U8,
        _ => return cx.attrs.unsupported(format!("weights of {bits} bits")),
    };
    if cx.opt(4).is_some() {
        return cx.attrs.unsupported("group indices");
    }
    let blocks = k.div_ceil(block);
    let b = known(cx, 1, "B")?;
    let numbers = unpacked(&b, bits as usize, n, blocks * block, "B")?;
    let rows = numbers.chunks_exact(blocks * block).flat_map(|r| &r[..k]);
    let w = Tensor::from_f64s(dtype, &[n as i64, k as i64], &rows.copied().collect::<Vec<f64>>());
    let w = cx.konst(w);
    let grid = [n as i64, blocks as i64];
    let scales = cx.input(2)?;
    let scales = cx.reshape(scales, &grid)?;
    let zeros = match cx.opt(3) {
        None => vec![f64::from(1 << (bits - 1)); n * blocks],
        Some(_) => {
            let z = known(cx, 3, "zero_points")?;
            if z.dtype != DType::U8 {
                return cx.attrs.unsupported("zero points that are not packed");
            }
            let per_byte = 8 / bits as usize;
            let row = blocks.div_ceil(per_byte) * per_byte;
            let all = unpacked(&z, bits as usize, n, row, "zero_points")?;
            all.chunks_exact(row).flat_map(|r| &r[..blocks]).copied().collect()
        }
    };
    let zeros = cx.konst(Tensor::from_f64s(dtype, &grid, &zeros));
    let attrs = Attrs::default()
        .with("axis", Attr::Int(1))
        .with("block_size", Attr::Int(block as i64));
    let w = cx.op("DequantizeLinear", &[w, scales, zeros], attrs)?;
    let w = cx.transpose(w, &[1, 0])?;
    let a = cx.input(0)?;
    let y = cx.plain("MatMul", &[a, w])?;
    biased(cx, y, 5)
}

/// A constant input.
pub(super) fn known(cx: &mut ExpandCx, i: usize, name: &str) -> Result<Tensor> {
    let v = cx.input(i)?;
    cx.constant(v, name)
}

/// `n` rows of so many numbers, one after the other in bytes.
pub(super) fn unpacked(t: &Tensor, bits: usize, n: usize, row: usize, name: &str) -> Result<Vec<f64>> {
    let bytes: &[u8] = &t.data;
    let per_byte = 8 / bits;
    if t.dtype != DType::U8 || bytes.len().checked_mul(per_byte) != n.checked_mul(row) {
        return Err(Diagnostic::model(
            "ONNX010",
            format!("`{name}` does not hold {n} rows of {row} numbers of {bits} bits"),
        ));
    }
    let mask = (1u16 << bits) - 1;
    let number = |i: usize| f64::from(u16::from(bytes[i / per_byte]) >> (i % per_byte * bits) & mask);
    Ok((0..n * row).map(number).collect())
}
