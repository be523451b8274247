//! What the integers of a model's inputs and outputs stand for, as the descriptor says it.

use super::info::PortQuant;
use crate::base::types::Quant;

/// Of a port whose scales the pass `ports` found.
pub fn of(quant: Option<&Option<Quant>>) -> Option<PortQuant> {
    let q = quant?.as_ref()?;
    let scales: Vec<f32> = q.scale.to_f64s()?.into_iter().map(|s| s as f32).collect();
    let zero_points = match &q.zero_point {
        None => vec![0; scales.len()],
        Some(z) => {
            let list = z.to_i64s()?;
            list.into_iter()
                .map(|z| i32::try_from(z).ok())
                .collect::<Option<Vec<_>>>()?
        }
    };
    Some(PortQuant {
        scales,
        zero_points,
        axis: q.axis,
    })
}
