//! What quantizers make of optimized BERT-like models (com.microsoft): QAttention and QEmbedLayerNormalization, in the words of their float forms.

use super::embedding::{of_products, summed};
use super::integer_products::product;
use super::{Expansion, ExpandCx};
use crate::base::diag::Result;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    Expansion::microsoft("QAttention", attention),
    Expansion::microsoft("QEmbedLayerNormalization", embed),
];

/// Inputs: x, weights, bias, scales of x and weights, mask, zero points of x and weights, past. Outputs: y, present.
fn attention(cx: &mut ExpandCx) -> Result<()> {
    let x = [Some(cx.input(0)?), Some(cx.input(3)?), cx.opt(6)];
    let w = [Some(cx.input(1)?), Some(cx.input(4)?), cx.opt(7)];
    let y = product(cx, x, w)?;
    let bias = cx.input(2)?;
    let y = cx.plain("Add", &[y, bias])?;
    let (mask, past) = (cx.opt(5), cx.opt(8));
    of_products(cx, y, mask, past, None)
}

/// Inputs: words, segments, tables of words, positions and segments, gamma, beta, mask, then scales of the tables, gamma and beta, then their zero
/// points.
fn embed(cx: &mut ExpandCx) -> Result<()> {
    summed(cx, None, dequantized)
}

/// What stands in input `i`, its scale 6 inputs behind it and its zero point 11.
fn dequantized(cx: &mut ExpandCx, i: usize, v: ValueId) -> Result<ValueId> {
    let mut numbers = vec![v];
    let scale = cx.input(i + 6)?;
    numbers.push(cx.reshape(scale, &[])?);
    if let Some(zero) = cx.opt(i + 11) {
        numbers.push(cx.reshape(zero, &[])?);
    }
    cx.plain("DequantizeLinear", &numbers)
}
