//! When a convolution may be done by Winograd's algorithm, and what that costs.

use super::conv::View;
use super::winograd_error::estimate;
use crate::base::costs::Work;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::kernel::Query;

/// Padding up to this; a tile at the border then has at least one element of the image.
const MOST_PADDING: i64 = 2;

/// Whether the row for tiles of `m` x `m` results can answer.
pub fn accepts(q: &Query, m: i64) -> bool {
    let f32s = |i: usize| match q.inputs.get(i) {
        // Weights may be halves: they are known, and packed as f32.
        Some(Some((t, _))) if i == 1 => {
            matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16)
        }
        Some(Some((t, _))) => t.dtype == DType::F32,
        _ => true,
    };
    let Some(Some((_, Some(weights)))) = q.inputs.get(1) else {
        return false;
    };
    let Ok(v) = View::of(q) else { return false };
    let fits = suits(q, &v, m, ["gemm_strip", "winograd_in", "winograd_out"]) && (0..4).all(f32s);
    fits && weights
        .to_f32s()
        .is_some_and(|x| estimate(m, &x, v.cin) <= q.machine.winograd.error)
}

/// Whether a convolution is one that tiles of `m` x `m` results can do, and the machine has what that takes.
pub fn suits(q: &Query, v: &View, m: i64, tiles: [&str; 3]) -> bool {
    let w = &v.window;
    tiles.iter().all(|t| q.machine.tile(t).is_some())
        && q.machine.vector.is_some()
        && m <= q.machine.winograd.tile
        // Weights of floats grow by four; those of whole numbers take code and memory to be transformed.
        && !q.effort.optimize_for_size()
        && v.channels_last
        && w.kernel == [3, 3]
        && w.stride == [1, 1]
        && w.dilation == [1, 1]
        && w.begin.iter().chain(&w.end).all(|p| (0..=MOST_PADDING).contains(p))
        && fixed_shape(&v.input).is_some_and(|s| s.iter().all(|&d| d > 0))
        && fixed_shape(&w.out).is_some_and(|s| s.iter().all(|&d| d > 0))
        // Thinner ones are all transforms.
        && v.cin >= 4
        && v.cout >= 4
}

/// Rows and columns of tiles.
pub fn grid(v: &View, m: i64) -> Option<[i64; 2]> {
    let out = fixed_shape(&v.window.out)?;
    Some([0, 1].map(|i| (out[i] + m - 1) / m))
}

/// Channels that a vector with lanes to spare costs beside its own: all of its tiles are copied.
const REST: f64 = 48.0;

/// Transforms of weights count for so much: they read nothing but vectors, one behind the other.
const OF_WEIGHTS: f64 = 0.55;

/// How a row holds its numbers.
pub enum Held {
    /// Floats, their weights transformed while compiling, or by the layer.
    Floats,
    /// Words, two channels in a lane, whose weights are bytes that the layer transforms.
    Words,
}

/// Products of the transformed tiles, elements that are transformed, and weights, which grow by the transform.
pub fn work(q: &Query, m: i64, held: Held) -> Work {
    let never = Work::of(f64::INFINITY);
    let (Ok(v), Some(vector)) = (View::of(q), q.machine.vector) else {
        return never;
    };
    let Some([rows, cols]) = grid(&v, m) else {
        return never;
    };
    let tiles = (v.n.fixed().unwrap_or(1) * rows * cols) as f64;
    let planes = ((m + 2) * (m + 2)) as f64;
    let (cin, cout, group) = (v.cin as f64, v.cout as f64, v.group as f64);
    let lanes = vector.lanes as f64;
    let whole = |c: f64| libm::ceil(c / lanes) * lanes;
    let per_lane = match held {
        Held::Floats => 1,
        Held::Words => 2,
    };
    let wide = per_lane * vector.lanes;
    let rest = if v.cin % wide == 0 { 0.0 } else { REST };
    // Other rows are not asked what columns cost that fill no vector.
    let share = group * cout / whole(cout);
    let windows = group * cin * cout;
    let (bytes, late) = match held {
        Held::Floats => (4.0 * planes * windows, 0.0),
        Held::Words => (9.0 * windows, OF_WEIGHTS * planes * windows / 2.0),
    };
    let of_tiles = share * tiles * planes * ((whole(cin) + rest) / per_lane as f64 + whole(cout));
    let work = Work {
        macs: share * tiles * planes * cin * whole(cout),
        transforms: of_tiles + late,
        ..Work::default()
    };
    work.with_weights(bytes, q.machine.l2)
}
