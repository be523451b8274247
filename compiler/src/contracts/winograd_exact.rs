//! Winograd's algorithm in whole numbers, without any error.
//!
//! Weights are transformed by whole multiples of the usual rows (F(4x4, 3x3): 24 times at 0, 2 and -2, 6 times at -1 and infinity, and at 1, where the
//! input's row has the other sign as well; F(2x2, 3x3): twice), so that transformed weights, transformed inputs and sums of products are whole numbers. Of
//! inputs less their zero point and of weights less theirs, at most 255 from 0 each, transforms are at most 68 * 255 = 17340 and 49 * 255 = 12495 from 0: words. Sums of products may wrap. What comes
//! out of the last transform is, modulo 2^32, a result times 2^a or 9 * 2^a, a being known for each place in a tile: multiplied by the
//! inverse of 9 and shifted right with its sign, it is the result, if that has 32 - a bits. Whether it has is known from the weights ([`fits`]).
//!
//! The rows are those of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015), sections 4.1 and 4.3.

use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, ExprId, Ty};

/// 9 times this is 1 modulo 2^32.
pub const NINTH: i32 = 954_437_177;

/// G times what makes it whole: [m + 2][3].
pub fn weight_rows(m: i64) -> &'static [[i32; 3]] {
    match m {
        2 => &[[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]],
        _ => &[
            [6, 0, 0],
            [1, 1, 1],
            [-1, 1, -1],
            [1, 2, 4],
            [1, -2, 4],
            [0, 0, 6],
        ],
    }
}

/// Powers of two that results carry: one for the row, one for the column of a result in its tile. F(4x4): 9 besides.
pub fn shifts(m: i64) -> &'static [u8] {
    match m {
        2 => &[1, 1],
        _ => &[3, 2, 1, 1],
    }
}

/// What the input transform of ones is at row 1 and column 1; all other elements of it are 0. So the zero point comes off there alone.
pub fn of_ones(m: i64) -> i64 {
    match m {
        2 => 4,
        _ => 36,
    }
}

/// GgG' of one channel's 3 x 3 weights, by rows: words.
pub fn transformed(m: i64, k: &[i32; 9]) -> Vec<i32> {
    let g = weight_rows(m);
    let half: Vec<[i32; 3]> = g
        .iter()
        .map(|g| [0, 1, 2].map(|x| (0..3).map(|r| g[r] * k[r * 3 + x]).sum()))
        .collect();
    let full = half
        .iter()
        .flat_map(|h| g.iter().map(move |g| (0..3).map(|r| h[r] * g[r]).sum()));
    full.collect()
}

/// One line of the transform of weights, three elements to m + 2: those of [`weight_rows`], summed.
pub fn weight_line(b: &mut Builder, m: i64, k: [ExprId; 3]) -> Vec<ExprId> {
    let [x, y, z] = k;
    let times = |b: &mut Builder, v, by| {
        let by = b.int(Ty::I32, by);
        b.mul(v, by)
    };
    let ends = b.add(x, z);
    if m == 2 {
        return vec![b.add(x, x), b.add(ends, y), b.sub(ends, y), b.add(z, z)];
    }
    let (y2, z4) = (b.add(y, y), times(b, z, 4));
    let far = b.add(x, z4);
    vec![
        times(b, x, 6),
        b.add(ends, y),
        b.sub(y, ends),
        b.add(far, y2),
        b.sub(far, y2),
        times(b, z, 6),
    ]
}

/// Whether every result of a layer comes out whole: `weights` less their zero points, `channel` of them for each output channel, inputs less
/// theirs from `least` to `most`, of which one is not below and one not above 0.
pub fn fits(m: i64, weights: &[i32], channel: usize, [least, most]: [i64; 2]) -> bool {
    let bits = 31 - 2 * i64::from(shifts(m).iter().copied().max().unwrap_or(0));
    let limit = 1i64 << bits;
    weights.chunks(channel.max(1)).all(|w| {
        let (mut lo, mut hi) = (0i64, 0i64);
        for w in w.iter().map(|&w| i64::from(w)) {
            let ends = [w * least, w * most];
            lo += ends[0].min(ends[1]).min(0);
            hi += ends[0].max(ends[1]).max(0);
        }
        -limit <= lo && hi < limit
    })
}

/// One line of the input transform, m + 2 elements to as many.
pub fn input_line(b: &mut Builder, d: &[ExprId]) -> Vec<ExprId> {
    if d.len() == 4 {
        return vec![
            b.sub(d[0], d[2]),
            b.add(d[2], d[1]),
            b.sub(d[2], d[1]),
            b.sub(d[3], d[1]),
        ];
    }
    let mut times = |x, by| {
        let by = b.int(Ty::I32, by);
        b.mul(x, by)
    };
    let [a4, b4, c4] = [d[0], d[1], d[2]].map(|x| times(x, 4));
    let [c5, d5] = [times(d[2], 5), times(d[3], 5)];
    let near = (b.sub(c4, d[4]), b.sub(b4, d[3]));
    let far = (b.sub(d[4], d[2]), b.sub(d[3], d[1]));
    let twice = b.add(far.1, far.1);
    let first = b.sub(a4, c5);
    let last = b.sub(b4, d5);
    vec![
        b.add(first, d[4]),
        b.add(near.0, near.1),
        b.sub(near.1, near.0),
        b.add(far.0, twice),
        b.sub(far.0, twice),
        b.add(last, d[5]),
    ]
}

/// One line of the output transform, m + 2 elements to m.
pub fn output_line(b: &mut Builder, v: &[ExprId]) -> Vec<ExprId> {
    let (s, d) = (b.add(v[1], v[2]), b.sub(v[1], v[2]));
    if v.len() == 4 {
        return vec![b.add(v[0], s), b.add(d, v[3])];
    }
    let (s2, d2) = (b.add(v[3], v[4]), b.sub(v[3], v[4]));
    let two = b.int(Ty::I32, 2);
    let four = b.int(Ty::I32, 4);
    let s4 = b.mul(s, four);
    let (twice, twice2) = (b.mul(d, two), b.mul(d2, two));
    let start = b.add(v[0], s4);
    let end = b.add(d, twice2);
    vec![
        b.add(start, s2),
        b.add(twice, d2),
        b.add(s, s2),
        b.add(end, v[5]),
    ]
}

/// What is left of a result in row `i` and column `j` of its tile.
pub fn result(b: &mut Builder, m: i64, v: ExprId, i: usize, j: usize) -> ExprId {
    let v = match m {
        2 => v,
        _ => {
            let ninth = b.int(Ty::I32, i64::from(NINTH));
            b.mul(v, ninth)
        }
    };
    let by = shifts(m)[i] + shifts(m)[j];
    let by = b.int(Ty::I32, i64::from(by));
    b.bin(BinOp::Shr, v, by)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of B', of which [`input_line`] is the sums.
    const INPUT: [[i64; 6]; 6] = [
        [4, 0, -5, 0, 1, 0],
        [0, 4, 4, -1, -1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ];

    #[test]
    fn transforms_are_words() {
        let most = |rows: &[Vec<i64>]| -> i64 {
            let sums = rows.iter().map(|r| r.iter().map(|x| x.abs()).sum::<i64>());
            sums.max().unwrap()
        };
        for m in [2, 4] {
            let g: Vec<Vec<i64>> = weight_rows(m)
                .iter()
                .map(|r| r.map(i64::from).to_vec())
                .collect();
            assert!(most(&g) * most(&g) * 255 <= i64::from(i16::MAX));
        }
        let b: Vec<Vec<i64>> = INPUT.iter().map(|r| r.to_vec()).collect();
        // Inputs span 255 and have 0 among them: positive or negative factors reach no further than if they met all of that.
        let (mut lo, mut hi) = (0i64, 0i64);
        for (x, y) in b.iter().flat_map(|x| b.iter().map(move |y| (x, y))) {
            let all = || x.iter().flat_map(|x| y.iter().map(move |y| x * y));
            lo = lo.min(all().filter(|p| *p < 0).sum());
            hi = hi.max(all().filter(|p| *p > 0).sum());
        }
        assert!(-lo * 255 <= 1 << 15 && hi * 255 < 1 << 15, "{lo} {hi}");
    }

    #[test]
    fn ones_are_seen_in_one_place() {
        let sums = INPUT.map(|r| r.iter().sum::<i64>());
        assert_eq!(sums, [0, 6, 0, 0, 0, 0]);
        assert_eq!(of_ones(4), 36);
    }

    #[test]
    fn nine_times_its_inverse_is_one() {
        assert_eq!(NINTH.wrapping_mul(9), 1);
    }

    #[test]
    fn large_layers_do_not_fit() {
        // 255 * 127 * 9 * channels below 2^25: 115 channels. F(2x2): below 2^29.
        for (m, channels) in [(4, 115), (2, 1841)] {
            for (c, yes) in [(channels, true), (channels + 1, false)] {
                let w = vec![127; c * 9];
                assert_eq!(fits(m, &w, c * 9, [0, 255]), yes, "F({m}) {c}");
                // Which sign the large sums have does not matter much.
                let w = vec![-127; c * 9];
                assert_eq!(fits(m, &w, c * 9, [0, 255]), yes, "F({m}) -{c}");
            }
        }
        // One channel of several.
        let mut w = vec![1; 200 * 9];
        assert!(fits(4, &w, 100 * 9, [-128, 127]));
        w[900..].fill(-255);
        assert!(!fits(4, &w, 200 * 9, [-255, 0]));
    }
}
