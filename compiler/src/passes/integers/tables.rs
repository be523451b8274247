//! Rows of a table are looked up in the numbers that the file stores, and only those become floats: the table stays as small as it is.
//!
//! `Gather(DequantizeLinear(table), rows)` becomes `(Gather(table, rows) - Gather(zeros, rows)) * Gather(scales, rows)`: the same floats, since
//! whole numbers of a byte less another are exact ones.

use super::{Integers, Spot};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{NodeId, ValueId};
use crate::op::resolve_axis;

/// Numbers of a table below which it is not worth a look-up of scales.
const FEW: usize = 4096;

impl Integers<'_, '_, '_> {
    /// Looks rows up in the numbers of a table. `false`: it is none, or its scales are not those of rows.
    pub(super) fn looked_up(&mut self, n: NodeId) -> Result<bool> {
        let g = &self.g;
        let node = g.node(n);
        let input = |n: NodeId, i: usize| g.node(n).ins.get(i).copied().flatten();
        let (Some(x), Some(rows)) = (input(n, 0), input(n, 1)) else {
            return Ok(false);
        };
        let Some((real, 0)) = g.maker(x) else {
            return Ok(false);
        };
        let attrs = &g.node(real).attrs;
        let known = |i: usize| input(real, i).and_then(|v| g.konst(v));
        let (Some(table), Some(scale)) = (known(0), known(1)) else {
            return Ok(false);
        };
        let (rank, axis) = (table.shape.len(), node.attrs.int("axis", 0));
        let of_rows = resolve_axis(attrs.int("axis", 1), rank).is_ok_and(|a| a == 0);
        let count = table.shape.first().map_or(0, |r| *r as usize);
        let whole = matches!(table.dtype, DType::I8 | DType::U8 | DType::I4 | DType::U4);
        let fits = g.node(real).op.name == "DequantizeLinear"
            && attrs.int("block_size", 0) == 0
            && whole
            && rank >= 2
            && table.len() >= FEW
            && axis == 0
            && scale.dtype == DType::F32
            && g.ty(x).is_some_and(|t| t.dtype == DType::F32)
            && match scale.len() {
                // Bytes of one scale are moved by others, and may stay whole numbers.
                1 => matches!(table.dtype, DType::I4 | DType::U4),
                n => of_rows && n == count,
            }
            && g.konst(rows).is_none();
        let zero = known(2).map(|z| z.to_f64s());
        let (Some(scales), true, true) = (
            scale.to_f64s(),
            fits,
            input(real, 2).is_none() || matches!(&zero, Some(Some(z)) if z.len() == scale.len()),
        ) else {
            return Ok(false);
        };
        let (q, out, loc) = (input(real, 0), node.outs[0], node.loc.clone());
        let zeros = zero.flatten().filter(|z| z.iter().any(|z| *z != 0.0));
        let spot = Spot { before: n, loc };
        let by_rows = Attrs::default().with("axis", Attr::Int(0));
        let numbers = self.make("Gather", by_rows, &[q, Some(rows)], &spot)?;
        let to = Attrs::default().with("to", Attr::Type(DType::F32));
        let mut y = self.make("Cast", to, &[Some(numbers)], &spot)?;
        if let Some(zeros) = zeros {
            let z = self.by_row(&zeros, rank, rows, &spot)?;
            y = self.make("Sub", Attrs::default(), &[Some(y), Some(z)], &spot)?;
        }
        let s = self.by_row(&scales, rank, rows, &spot)?;
        let y = self.make("Mul", Attrs::default(), &[Some(y), Some(s)], &spot)?;
        self.g.replace_uses(out, y);
        Ok(true)
    }

    /// One float for all, or one for each row that is looked up.
    fn by_row(
        &mut self,
        values: &[f64],
        rank: usize,
        rows: ValueId,
        spot: &Spot,
    ) -> Result<ValueId> {
        if let [one] = values {
            let t = Tensor::from_f64s(DType::F32, &[], &[*one]);
            return Ok(self.g.add_const("", t));
        }
        let mut shape = vec![1; rank];
        shape[0] = values.len() as i64;
        let t = Tensor::from_f64s(DType::F32, &shape, values);
        let all = self.g.add_const("", t);
        let by_rows = Attrs::default().with("axis", Attr::Int(0));
        self.make("Gather", by_rows, &[Some(all), Some(rows)], spot)
    }
}
