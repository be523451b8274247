//! Products with narrow weights against sums in f64: zero points, blocks, rests, both ways to lie.

use super::*;
use crate::base::dtype::DType;
use crate::contracts::gemm_strip;
use crate::contracts::narrow::Zero;
use crate::contracts::narrow_weights::{Grid, may_be, worth};
use crate::loops::random::Rng;

/// A matrix of whole numbers from `lo` to `hi`, less `zero` (columns take turns), with scales for each column or for blocks of `block`.
struct Made {
    weights: Tensor,
    quant: Quant,
}

fn made(k: i64, n: i64, block: i64, tb: bool, (lo, hi): (i64, i64), zero: &[i64]) -> Made {
    let mut rng = Rng(11);
    let blocks = match block {
        0 => 1,
        b => (k + b - 1) / b,
    };
    let scales: Vec<f32> = (0..blocks * n)
        .map(|_| 0.01 + (rng.bits() >> 44) as f32 * 1e-7)
        .collect();
    let mut values = vec![0.0; (k * n) as usize];
    for p in 0..k {
        for j in 0..n {
            let q =
                lo + (rng.bits() >> 33) as i64 % (hi - lo + 1) - zero[(j as usize) % zero.len()];
            let g = if block == 0 { 0 } else { p / block };
            let at = if tb { j * k + p } else { p * n + j };
            values[at as usize] = q as f32 * scales[(g * n + j) as usize];
        }
    }
    let turned = |s: &[f32]| -> Vec<f32> {
        let at = |e: i64| (e % blocks * n + e / blocks) as usize;
        (0..blocks * n).map(|e| s[at(e)]).collect()
    };
    let scale = match (block, tb) {
        (0, _) => Tensor::f32(&[n], &scales),
        (_, false) => Tensor::f32(&[blocks, n], &scales),
        (_, true) => Tensor::f32(&[n, blocks], &turned(&scales)),
    };
    Made {
        weights: Tensor::f32(&if tb { [n, k] } else { [k, n] }, &values),
        quant: Quant {
            scale,
            zero_point: None,
            axis: Some(match (block, tb) {
                (0, tb) => usize::from(!tb),
                (_, tb) => usize::from(tb),
            }),
            block,
        },
    }
}

#[test]
fn narrow_rows_multiply() {
    let mut rng = Rng(5);
    let zeros: [&[i64]; 4] = [&[0], &[8], &[3, 15, 0], &[1, 14]];
    for (turn, (m, n, k)) in [
        (1, 67, 70),
        (1, 130, 33),
        (2, 64, 72),
        (3, 90, 61),
        (1, 1, 4200),
    ]
    .into_iter()
    .enumerate()
    {
        for (range, block) in [
            ((-127, 127), 0),
            ((0, 255), 0),
            ((-100, 300), 16),
            ((0, 15), 0),
            ((0, 15), 16),
            ((0, 15), 12),
            ((-8, 7), 24),
        ] {
            let zero: &[i64] = match range {
                (0, 15) => zeros[(turn + block as usize) % 4],
                (0, 255) => [&[0][..], &[128], &[7, 255, 130]][turn % 3],
                (-100, 300) => &[100],
                _ => &[0],
            };
            let range = if range.1 == 300 { (0, 250) } else { range };
            for tb in [false, true] {
                let w = made(k, n, block, tb, range, zero);
                let x: Vec<f32> = (0..m * k)
                    .map(|_| (rng.bits() >> 40) as f32 / 8_388_608.0 - 1.0)
                    .collect();
                let (a, c) = (Tensor::f32(&[m, k], &x), values(&[n], 3));
                let (wv, cv) = (w.weights.to_f32s().unwrap(), c.to_f32s().unwrap());
                let attrs = Attrs::default()
                    .with("trans_b", Attr::Int(i64::from(tb)))
                    .with("activation", Attr::Str("Relu".into()));
                let inputs = [
                    Some((a, false)),
                    Some((w.weights.clone(), true)),
                    Some((c, true)),
                ];
                let out = TensorType::fixed(DType::F32, &[m, n]);
                let row = &gemm_strip::NARROW;
                let got = run_noted(
                    &machine(),
                    &gemm::GEMM,
                    row,
                    &attrs,
                    &inputs,
                    out,
                    Some(w.quant.clone()),
                );
                let got = got.unwrap_or_else(|| panic!("{m}x{n}x{k} is not taken"));
                for (e, got) in got.chunks(4).enumerate() {
                    let got = f32::from_le_bytes(got.try_into().unwrap());
                    let (i, j) = (e as i64 / n, e as i64 % n);
                    let (mut sum, mut size) = (f64::from(cv[j as usize]), 1.0f64);
                    for p in 0..k {
                        let y = wv[if tb { j * k + p } else { p * n + j } as usize];
                        let term = f64::from(x[(i * k + p) as usize]) * f64::from(y);
                        sum += term;
                        size += term.abs();
                    }
                    let want = sum.max(0.0);
                    assert!(
                        (f64::from(got) - want).abs() <= 4e-6 * size,
                        "{m}x{n}x{k} block {block} {range:?} {zero:?} {tb}: element {e} is {got}, not {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn numbers_are_found_again() {
    let grid = |w: &Made, k: i64, n: i64| {
        let ty = TensorType {
            quant: Some(w.quant.clone()),
            ..TensorType::of(&w.weights)
        };
        assert!(may_be(&ty));
        Grid::of(&ty, &w.weights, (k, n), |p, j| p * n + j)
    };
    // (range, zero points, block) -> (stored as, what stands for 0)
    type Row<'a> = ((i64, i64), &'a [i64], i64, DType, Zero);
    let rows: [Row; 7] = [
        ((-128, 127), &[0], 0, DType::I8, Zero::None),
        ((0, 255), &[0], 0, DType::U8, Zero::None),
        ((-8, 7), &[0], 32, DType::U4, Zero::All(8)),
        ((0, 15), &[0], 0, DType::U4, Zero::None),
        ((0, 15), &[2, 12], 16, DType::U4, Zero::Each),
        ((0, 255), &[20, 250], 0, DType::U8, Zero::Each),
        // Blocks of twelve are no whole groups of eight.
        ((-8, 7), &[0], 12, DType::I8, Zero::None),
    ];
    for (range, zero, block, stored, want) in rows {
        let w = made(300, 40, block, false, range, zero);
        let g = grid(&w, 300, 40).expect("it is narrow");
        assert_eq!(
            (g.stored, g.narrow.zero),
            (stored, want),
            "{range:?} {zero:?}"
        );
        assert_eq!(g.narrow.block, block);
    }
    // A float that no number stands for, a scale of 0, scales along the sum.
    let mut w = made(30, 40, 0, false, (-8, 7), &[0]);
    let mut values = w.weights.to_f32s().expect("floats");
    values[77] += 0.001;
    w.weights = Tensor::f32(&[30, 40], &values);
    assert!(grid(&w, 30, 40).is_none());
    let mut w = made(40, 40, 0, false, (-8, 7), &[0]);
    w.quant.axis = Some(0);
    assert!(grid(&w, 40, 40).is_none());
    w.quant.axis = Some(1);
    w.quant.scale = Tensor::f32(&[40], &[0.0; 40]);
    assert!(grid(&w, 40, 40).is_none());
    w.quant.scale = Tensor::f32(&[0], &[]);
    assert!(grid(&w, 40, 40).is_none());
}

/// Few rows take narrow weights, and all do where size counts.
#[test]
fn narrow_weights_are_for_few_rows() {
    let machine = machine();
    let at = |effort, rows| worth(&machine, effort, rows, 512, 512);
    use crate::base::effort::Effort::{Normal, Size};
    assert!(at(Normal, Some(1)) && at(Normal, Some(4)) && at(Normal, None));
    assert!(!at(Normal, Some(64)) && at(Size, Some(64)));
    assert!(!worth(&machine, Normal, Some(1), 8, 8));
}
