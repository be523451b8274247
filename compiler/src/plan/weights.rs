//! What the weights of all layers of a model take: layers of large models are stored short, those of small ones ready for use.

use crate::base::dtype::DType;
use crate::graph::ir::Graph;
use crate::kernel::Weights;

/// What all constants that are read take.
pub fn weights(g: &Graph) -> Weights {
    let read = g.values().filter(|(v, _)| g.is_used(*v));
    let mut all = Weights::default();
    for t in read.filter_map(|(v, _)| g.konst(v)) {
        let whole = matches!(t.dtype, DType::I8 | DType::U8);
        if whole {
            all.whole += t.data.len() as i64;
        }
        // Windows over several channels: 36 numbers for nine, words or floats.
        if matches!(t.shape[..], [_, c, 3, 3] if c > 1) {
            all.transformed += 4 * t.len() as i64 * if whole { 2 } else { 4 };
        }
    }
    all
}
