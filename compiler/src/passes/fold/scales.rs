//! Which whole numbers a folded float stands for: the scales of a DequantizeLinear, followed through what only moves numbers.
//!
//! A note, never a promise: kernels find the numbers again from the floats and their scales, and take the floats where that does not work.

use crate::base::types::Quant;
use crate::contracts::gemm::transposed;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::op::resolve_axis;

/// What the first output of a node of constants stands for.
pub fn of(g: &Graph, n: NodeId) -> Option<Quant> {
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    match node.op.name {
        "DequantizeLinear" => {
            let scale = g.konst(input(1)?)?.clone();
            let rank = g.ty(input(0)?)?.rank();
            let zero_point = match input(2) {
                None => None,
                Some(z) => Some(g.konst(z)?.clone()),
            };
            let axis = match scale.len() {
                1 => None,
                _ => Some(resolve_axis(node.attrs.int("axis", 1), rank).ok()?),
            };
            Some(Quant {
                scale,
                zero_point,
                axis,
                block: node.attrs.int("block_size", 0),
            })
        }
        "Transpose" => {
            let quant = noted(g, input(0)?)?;
            let axis = match quant.axis {
                None => return Some(quant),
                Some(axis) => axis as i64,
            };
            let rank = g.ty(input(0)?)?.rank() as i64;
            let perm = match node.attrs.ints("perm") {
                Some(perm) => perm.to_vec(),
                None => (0..rank).rev().collect(),
            };
            let mut flipped: Vec<i64> = (0..rank).collect();
            flipped.swap((rank - 1).max(0) as usize, (rank - 2).max(0) as usize);
            let (scale, zero_point) = match (quant.block, &quant.zero_point) {
                (0, _) => (quant.scale, quant.zero_point),
                _ if perm != flipped => return None,
                // Blocked scales have the axes of the data.
                (_, None) => (transposed(&quant.scale)?, None),
                (_, Some(z)) => (transposed(&quant.scale)?, Some(transposed(z)?)),
            };
            Some(Quant {
                scale,
                zero_point,
                axis: Some(perm.iter().position(|p| *p == axis)?),
                block: quant.block,
            })
        }
        // One scale fits any shape.
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" => {
            let same = g.ty(input(0)?)?.shape == g.ty(*node.outs.first()?)?.shape;
            noted(g, input(0)?).filter(|q| same || q.axis.is_none())
        }
        _ => None,
    }
}

fn noted(g: &Graph, v: ValueId) -> Option<Quant> {
    g.ty(v)?.quant.clone()
}
