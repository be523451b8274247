//! Rows that leave zeros out against plain loops, over sizes at the edges of blocks, quads and runs of pixels.

use super::*;
use crate::base::dtype::DType;
use crate::contracts::conv_integer::CONV_INTEGER;
use crate::contracts::gemm_integer::GEMM_INTEGER;
use crate::loops::random::Rng;

/// Channels in, out, height, width, images.
const SIZES: [[i64; 5]; 9] = [
    [1, 1, 1, 1, 1],
    [4, 4, 1, 5, 2],
    [5, 6, 7, 1, 1],
    [8, 9, 3, 3, 2],
    [16, 12, 5, 7, 1],
    [3, 130, 1, 2, 1],
    [30, 17, 1, 1, 1],
    [600, 8, 2, 3, 1],
    [12, 132, 9, 9, 1],
];

/// Which weights are kept: none, one, every second block of four, one in ten.
fn kept(kind: usize, k: i64, n: i64, r: &mut Rng) -> Vec<bool> {
    let one = (r.bits() % (k * n) as u64) as i64;
    let blocks: Vec<bool> = (0..k * n).map(|_| r.bits() & 3 == 0).collect();
    (0..k * n)
        .map(|i| {
            let (c, p) = (i / k, i % k);
            match kind {
                0 => false,
                1 => i == one,
                2 => blocks[(c / 4 * k + p) as usize],
                _ => r.bits().is_multiple_of(10),
            }
        })
        .collect()
}

/// Whether weights so masked are sparse enough to be taken.
fn taken(kept: &[bool]) -> bool {
    kept.iter().filter(|k| **k).count() as f64 <= 0.7 * kept.len() as f64
}

/// A permutation of `[n][k]` to `[k][n]`.
fn turned<T: Copy>(w: &[T], k: i64, n: i64) -> Vec<T> {
    (0..k * n)
        .map(|i| w[(i % n * k + i / n) as usize])
        .collect()
}

#[test]
fn floats() {
    let mut r = Rng(5);
    for (case, [k, n, h, w, images]) in SIZES.into_iter().enumerate() {
        for kind in 0..4 {
            let mask = kept(kind, k, n, &mut r);
            let all = values(&[n * k], 3).to_f32s().unwrap();
            let weights: Vec<f32> = (all.iter().zip(&mask))
                .map(|(v, k)| if *k { v + 0.5 } else { 0.0 })
                .collect();
            let x = values(&[images, h, w, k], 1);
            let (bias, z) = (values(&[n], 2), values(&[images, h, w, n], 4));
            let what = |row: &Kernel| format!("{} case {case} kind {kind}", row.name);
            let attrs = Attrs::default()
                .with("strides", Attr::Ints(vec![1, 1]))
                .with("dilations", Attr::Ints(vec![1, 1]))
                .with("pads", Attr::Ints(vec![0; 4]))
                .with("group", Attr::Int(1))
                .with("activation", Attr::Str("Relu".into()))
                .with("channels_last", Attr::Int(1));
            let filter = Tensor::f32(&[n, k, 1, 1], &weights);
            let inputs = [
                Some((x.clone(), false)),
                Some((filter, true)),
                Some((bias.clone(), true)),
                (case % 2 == 0).then_some((z, false)),
            ];
            let out = [images, h, w, n];
            let want = run_row(&conv::CONV, &conv::LOOPS, &attrs, &inputs, &out).unwrap();
            let sparse = |r: &&Kernel| r.name.contains("sparse");
            let mut answered = 0;
            for row in conv::CONV.rows.iter().filter(sparse) {
                if let Some(got) = run_row(&conv::CONV, row, &attrs, &inputs, &out) {
                    answered += 1;
                    assert_eq!(got, want, "{}", what(row));
                }
            }
            assert_eq!(answered >= 2, taken(&mask), "case {case} kind {kind}");
            for tb in [0, 1] {
                let attrs = Attrs::default().with("trans_b", Attr::Int(tb));
                let b = match tb {
                    1 => Tensor::f32(&[n, k], &weights),
                    _ => Tensor::f32(&[k, n], &turned(&weights, k, n)),
                };
                let a = x.reshaped(vec![images, h * w, k]);
                let inputs = [
                    Some((a, false)),
                    Some((b, true)),
                    Some((bias.clone(), true)),
                ];
                let out = [images, h * w, n];
                let want = run_row(&gemm::GEMM, &gemm::LOOPS, &attrs, &inputs, &out).unwrap();
                for row in gemm::GEMM.rows.iter().filter(sparse) {
                    let got = run_row(&gemm::GEMM, row, &attrs, &inputs, &out);
                    assert_eq!(got.is_some(), taken(&mask), "{}", what(row));
                    if let Some(got) = got {
                        assert_eq!(got, want, "{} {tb}", what(row));
                    }
                }
            }
        }
    }
}

#[test]
fn windows() {
    // Channels in, out, height, width; kernel, dilation, pads.
    let cases: [([i64; 4], [i64; 2], [i64; 2], [i64; 4]); 6] = [
        ([4, 4, 5, 6], [3, 3], [1, 1], [1; 4]),
        ([5, 6, 7, 9], [3, 3], [1, 1], [0; 4]),
        ([3, 9, 1, 20], [1, 5], [1, 2], [0, 3, 0, 2]),
        ([8, 130, 4, 3], [2, 2], [2, 1], [1, 0, 2, 1]),
        ([1, 2, 9, 2], [3, 1], [1, 1], [0; 4]),
        ([40, 8, 3, 70], [3, 3], [1, 1], [1; 4]),
    ];
    let mut r = Rng(11);
    for (case, ([k, n, h, w], kernel, dilation, pads)) in cases.into_iter().enumerate() {
        for kind in 0..4 {
            let taps = k * kernel[0] * kernel[1];
            let mask = kept(kind, taps, n, &mut r);
            let all = values(&[n * taps], 3).to_f32s().unwrap();
            let weights: Vec<f32> = (all.iter().zip(&mask))
                .map(|(v, k)| if *k { v + 0.5 } else { 0.0 })
                .collect();
            let attrs = Attrs::default()
                .with("strides", Attr::Ints(vec![1, 1]))
                .with("dilations", Attr::Ints(dilation.to_vec()))
                .with("pads", Attr::Ints(pads.to_vec()))
                .with("group", Attr::Int(1))
                .with("channels_last", Attr::Int(1));
            let reach = |i: usize| (kernel[i] - 1) * dilation[i];
            let out = [
                2,
                h + pads[0] + pads[2] - reach(0),
                w + pads[1] + pads[3] - reach(1),
                n,
            ];
            let inputs = [
                Some((values(&[2, h, w, k], 1), false)),
                Some((Tensor::f32(&[n, k, kernel[0], kernel[1]], &weights), true)),
                Some((values(&[n], 2), true)),
                (case % 2 == 0).then(|| (values(&out, 4), false)),
            ];
            let want = run_row(&conv::CONV, &conv::LOOPS, &attrs, &inputs, &out).unwrap();
            let mut answered = 0;
            for row in conv::CONV.rows.iter().filter(|r| r.name.contains("sparse")) {
                if let Some(got) = run_row(&conv::CONV, row, &attrs, &inputs, &out) {
                    answered += 1;
                    assert_eq!(got, want, "{} case {case} kind {kind}", row.name);
                }
            }
            assert_eq!(answered == 2, taken(&mask), "case {case} kind {kind}");
        }
    }
}

#[test]
fn bytes() {
    let mut narrow = false;
    let mut r = Rng(9);
    for (case, [k, n, h, w, images]) in SIZES.into_iter().enumerate() {
        for kind in 0..4 {
            let mask = kept(kind, k, n, &mut r);
            let types = [DType::U8, DType::I8];
            let (xd, wd) = (types[case % 2], types[(case + kind) / 2 % 2]);
            let mut byte = |d: DType| {
                let least = if d == DType::I8 { -128 } else { 0 };
                (least + (r.bits() >> 13 & 255) as i64) as f64
            };
            let zeros: Vec<f64> = (0..n).map(|_| byte(wd)).collect();
            let weights: Vec<f64> = (0..n * k)
                .map(|i| match mask[i as usize] {
                    // In half of the cases what is left of a weight fits a byte.
                    true if kind % 2 == 1 => {
                        let (lo, hi) = wd.int_range().unwrap();
                        let near = zeros[(i / k) as usize] + byte(DType::I8);
                        near.clamp(lo as f64, hi as f64)
                    }
                    true => byte(wd),
                    false => zeros[(i / k) as usize],
                })
                .collect();
            let x: Vec<f64> = (0..images * h * w * k).map(|_| byte(xd)).collect();
            let xz = Tensor::from_f64s(xd, &[], &[byte(xd)]);
            let wz = Tensor::from_f64s(wd, &[n], &zeros);
            let start: Vec<f64> = (0..n).map(|i| (i * 1000 - 3) as f64).collect();
            let start = Tensor::from_f64s(DType::I32, &[n], &start);
            let more = [
                Some((xz, true)),
                Some((wz, true)),
                (case % 3 == 0).then_some((start, true)),
            ];
            let sparse = |r: &&Kernel| r.name.contains("sparse");
            let attrs = Attrs::default()
                .with("strides", Attr::Ints(vec![1, 1]))
                .with("dilations", Attr::Ints(vec![1, 1]))
                .with("pads", Attr::Ints(vec![0; 4]))
                .with("group", Attr::Int(1))
                .with("channels_last", Attr::Int(1));
            for contract in [&CONV_INTEGER, &GEMM_INTEGER] {
                let product = contract.name == "gemm_integer";
                let (shape, wide, ws) = match product {
                    true => (vec![images, h * w], vec![k, n], turned(&weights, k, n)),
                    false => (vec![images, h, w], vec![n, k, 1, 1], weights.clone()),
                };
                let with = |c: i64| [shape.clone(), vec![c]].concat();
                let mut inputs = vec![
                    Some((Tensor::from_f64s(xd, &with(k), &x), false)),
                    Some((Tensor::from_f64s(wd, &wide, &ws), true)),
                ];
                inputs.extend(more.iter().cloned());
                let out = TensorType::fixed(DType::I32, &with(n));
                let loops = contract.rows.iter().find(|r| r.name.ends_with("_loops"));
                let want = run_bytes(contract, loops.unwrap(), &attrs, &inputs, out.clone());
                let want = want.unwrap();
                // One machine multiplies pairs of neighbouring words, the others four bytes, which weights must fit.
                for (quads, by_lane) in [(false, false), (true, false), (true, true)] {
                    let mut machine = machine();
                    if quads {
                        machine.tiles.retain(|t| t.contract != "sparse_strip_pairs");
                        machine.tiles.push(&SPARSE_STRIP_QUADS);
                    }
                    machine.vector = machine.vector.map(|v| Vector { by_lane, ..v });
                    let (mut answered, mut near) = (0, 0);
                    for row in contract.rows.iter().filter(sparse) {
                        let (inputs, out) = (&inputs, out.clone());
                        let got = run_noted(&machine, contract, row, &attrs, inputs, out, None);
                        let Some(got) = got else {
                            continue;
                        };
                        match row.name.ends_with("_near") {
                            true => near += 1,
                            false => answered += 1,
                        }
                        let differ = got.iter().zip(&want).position(|(g, w)| g != w);
                        let name = row.name;
                        assert!(
                            differ.is_none(),
                            "{name} case {case} kind {kind} {quads} {by_lane}: {differ:?}"
                        );
                    }
                    let none = mask.iter().all(|m| !m);
                    assert!(answered == 2 || !none);
                    assert!(near == answered || quads && !none);
                    narrow |= quads && near > 0 && !none;
                }
            }
        }
    }
    assert!(narrow, "weights that bytes hold");
}
