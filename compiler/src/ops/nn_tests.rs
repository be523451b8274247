//! Operators of networks against values of the ONNX reference and onnxruntime.

use super::testing::{attrs, data, f32s, i64s, konst, list, numbers, refused, run_op, status};
use crate::base::attr::{Attr, Attrs};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}
fn text(v: &str) -> Attr {
    Attr::Str(v.into())
}
fn ramp(shape: &[i64]) -> Tensor {
    let n: i64 = shape.iter().product();
    let v: Vec<f32> = (0..n).map(|i| i as f32).collect();
    f32s(shape, &v)
}
fn near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!(
            (g - w).abs() <= 1e-5 * w.abs().max(1.0),
            "{got:?} is not {want:?}"
        );
    }
}

#[test]
fn softmax_before_13_takes_all_axes_behind() {
    let x = || vec![data(f32s(&[1, 2, 2], &[0.0, 0.0, 0.0, 0.0]))];
    let flat = numbers("Softmax", 11, &Attrs::default(), x());
    assert_eq!(flat, [0.25; 4]);
    let last = numbers("Softmax", 13, &Attrs::default(), x());
    assert_eq!(last, [0.5; 4]);
    let x = vec![data(f32s(&[1, 3], &[-1.0, 0.0, 1.0]))];
    near(
        &numbers("Softmax", 13, &Attrs::default(), x),
        &[0.09003058, 0.24472848, 0.66524094],
    );
}

/// A pool of a plane by its definition: for each output the elements of its window, and how many positions it has with the padding.
fn windows_of(
    size: [i64; 2],
    [kernel, stride, dilation]: [[i64; 2]; 3],
    pads: [i64; 4],
    mut each: impl FnMut(Vec<i64>, i64),
) {
    let out = [0, 1].map(|i| {
        let room = size[i] + pads[i] + pads[2 + i] - (kernel[i] - 1) * dilation[i] - 1;
        room / stride[i] + 1
    });
    for o in (0..out[0] * out[1]).map(|o| [o / out[1], o % out[1]]) {
        let mut inside = vec![];
        for k in (0..kernel[0] * kernel[1]).map(|k| [k / kernel[1], k % kernel[1]]) {
            let at = [0, 1].map(|i| o[i] * stride[i] + k[i] * dilation[i] - pads[i]);
            if (0..2).all(|i| (0..size[i]).contains(&at[i])) {
                inside.push(at[0] * size[1] + at[1]);
            }
        }
        each(inside, kernel[0] * kernel[1]);
    }
}

#[test]
fn planes_are_pooled_axis_by_axis() {
    // Size, window, steps, dilation, pads.
    type Case = ([i64; 2], [[i64; 2]; 3], [i64; 4]);
    let cases: [Case; 7] = [
        ([8, 8], [[2, 2], [2, 2], [1, 1]], [0; 4]),
        ([7, 9], [[3, 3], [2, 2], [1, 1]], [1; 4]),
        ([5, 6], [[2, 2], [1, 1], [1, 1]], [0, 0, 1, 1]),
        ([9, 30], [[3, 5], [1, 3], [2, 2]], [2, 4, 1, 3]),
        ([13, 11], [[13, 13], [1, 1], [1, 1]], [6; 4]),
        ([4, 40], [[1, 9], [4, 8], [1, 1]], [0, 8, 0, 7]),
        ([6, 1], [[3, 2], [2, 9], [1, 1]], [2, 1, 2, 1]),
    ];
    for (size, window, pads) in cases {
        // Small whole numbers: their sums are exact in any order.
        let n = 2 * 3 * size[0] * size[1];
        let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 23 - 11) as f32).collect();
        let plane = (size[0] * size[1]) as usize;
        let (mut largest, mut mean, mut counted) = (vec![], vec![], vec![]);
        for x in x.chunks(plane) {
            windows_of(size, window, pads, |inside, taps| {
                let all: Vec<f32> = inside.iter().map(|&i| x[i as usize]).collect();
                let sum: f32 = all.iter().sum();
                largest.push(f64::from(
                    all.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                ));
                mean.push(f64::from(sum / all.len() as f32));
                counted.push(f64::from(sum / taps as f32));
            });
        }
        let [kernel, steps, dilation] = window;
        let a = attrs([
            ("kernel_shape", ints(&kernel)),
            ("strides", ints(&steps)),
            ("dilations", ints(&dilation)),
            ("pads", ints(&pads)),
        ]);
        let x = || vec![data(f32s(&[2, 3, size[0], size[1]], &x))];
        assert_eq!(
            numbers("MaxPool", 12, &a, x()),
            largest,
            "{size:?} {window:?}"
        );
        assert_eq!(
            numbers("AveragePool", 19, &a, x()),
            mean,
            "{size:?} {window:?}"
        );
        let a = a.with("count_include_pad", Attr::Int(1));
        assert_eq!(
            numbers("AveragePool", 19, &a, x()),
            counted,
            "{size:?} {window:?}"
        );
    }
}

#[test]
fn statistics_of_several_axes_take_them_as_one_row() {
    // Two channels of 6 x 7 elements: none of the axes is long, both together are.
    let x: Vec<f32> = (0..84).map(|i| ((i * i) % 17) as f32).collect();
    let of = |x: &[f32]| {
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / x.len() as f32;
        (mean, (var + 1e-5).sqrt())
    };
    let scaled = |groups: usize| -> Vec<f64> {
        let each = x.len() / groups;
        let norm = |(i, v): (usize, &f32)| {
            let (mean, sd) = of(&x[i / each * each..][..each]);
            let (scale, bias) = [(2.0, 1.0), (3.0, -1.0)][i / 42];
            f64::from((v - mean) / sd * scale + bias)
        };
        x.iter().enumerate().map(norm).collect()
    };
    let inputs = || {
        let lists = [[2.0, 3.0], [1.0, -1.0]].map(|v| data(f32s(&[2], &v)));
        [vec![data(f32s(&[1, 2, 6, 7], &x))], lists.to_vec()].concat()
    };
    let none = Attrs::default();
    near(
        &numbers("InstanceNormalization", 6, &none, inputs()),
        &scaled(2),
    );
    let one = attrs([("num_groups", Attr::Int(1))]);
    near(
        &numbers("GroupNormalization", 21, &one, inputs()),
        &scaled(1),
    );
    let means: Vec<f64> = x.chunks(42).map(|x| f64::from(of(x).0)).collect();
    near(
        &numbers("GlobalAveragePool", 1, &none, vec![inputs()[0].clone()]),
        &means,
    );
}

#[test]
fn pooling_with_ceil_mode() {
    // test_maxpool_2d_ceil and test_averagepool_2d_ceil of ONNX.
    let x = || {
        vec![data(f32s(
            &[1, 1, 4, 4],
            &(1..=16).map(|v| v as f32).collect::<Vec<_>>(),
        ))]
    };
    let a = attrs([
        ("kernel_shape", ints(&[3, 3])),
        ("strides", ints(&[2, 2])),
        ("ceil_mode", Attr::Int(1)),
    ]);
    assert_eq!(numbers("MaxPool", 12, &a, x()), [11.0, 12.0, 15.0, 16.0]);
    assert_eq!(numbers("AveragePool", 19, &a, x()), [6.0, 7.5, 12.0, 13.5]);
}

#[test]
fn max_pool_gives_positions() {
    // test_maxpool_with_argmax_2d_precomputed_strides: column-major positions.
    let x = vec![data(f32s(
        &[1, 1, 5, 5],
        &(1..=25).map(|v| v as f32).collect::<Vec<_>>(),
    ))];
    let a = attrs([
        ("kernel_shape", ints(&[2, 2])),
        ("strides", ints(&[2, 2])),
        ("storage_order", Attr::Int(1)),
    ]);
    let out = run_op("MaxPool", 12, &a, x, 2).expect("it runs");
    assert_eq!(out[0].to_f64s(), Some(vec![7.0, 9.0, 17.0, 19.0]));
    assert_eq!(out[1].to_i64s(), Some(vec![6, 16, 8, 18]));
}

#[test]
fn unpooling_refuses_positions_outside() {
    let a = attrs([("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))]);
    let x = || data(f32s(&[1, 1, 1, 1], &[3.0]));
    let good = vec![x(), data(i64s(&[1, 1, 1, 1], &[2]))];
    assert_eq!(numbers("MaxUnpool", 11, &a, good), [0.0, 0.0, 3.0, 0.0]);
    for p in [-1, 4] {
        let bad = vec![x(), data(i64s(&[1, 1, 1, 1], &[p]))];
        assert!(status("MaxUnpool", 11, &a, bad).is_some());
    }
}

#[test]
fn conv_transpose_as_in_the_reference() {
    // test_convtranspose_1d and test_convtranspose_pads (first row).
    let x = vec![data(ramp(&[1, 1, 3])), data(f32s(&[1, 2, 3], &[1.0; 6]))];
    let y = numbers("ConvTranspose", 11, &Attrs::default(), x);
    assert_eq!(y, [0.0, 1.0, 3.0, 3.0, 2.0, 0.0, 1.0, 3.0, 3.0, 2.0]);
    let a = attrs([("strides", ints(&[3, 2])), ("pads", ints(&[1, 2, 1, 2]))]);
    let x = vec![
        data(ramp(&[1, 1, 3, 3])),
        data(f32s(&[1, 1, 3, 3], &[1.0; 9])),
    ];
    let y = numbers("ConvTranspose", 11, &a, x);
    assert_eq!(y.len(), 7 * 3);
    assert_eq!(y[..6], [1.0, 1.0, 3.0, 1.0, 1.0, 3.0]);
}

#[test]
fn resize_in_its_modes() {
    let x = || data(f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let scales = |v: [f64; 4]| konst(list(DType::F32, &v));
    let a = attrs([("mode", text("linear"))]);
    // test_resize_upsample_scales_linear, first row.
    let y = numbers(
        "Resize",
        19,
        &a,
        vec![x(), None, scales([1.0, 1.0, 2.0, 2.0])],
    );
    near(&y[..4], &[1.0, 1.25, 1.75, 2.0]);
    let a = attrs([
        ("mode", text("linear")),
        ("coordinate_transformation_mode", text("align_corners")),
    ]);
    let y = numbers(
        "Resize",
        19,
        &a,
        vec![x(), None, scales([1.0, 1.0, 2.0, 2.0])],
    );
    near(&y[..4], &[1.0, 1.33333333, 1.66666667, 2.0]);
    let y = numbers(
        "Upsample",
        9,
        &Attrs::default(),
        vec![x(), scales([1.0, 1.0, 2.0, 3.0])],
    );
    assert_eq!(y[..6], [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    let unknown = vec![x(), None, data(list(DType::F32, &[1.0, 1.0, 2.0, 2.0]))];
    assert_eq!(
        refused("Resize", 19, &Attrs::default(), unknown),
        Some("ONNX012")
    );
}

#[test]
fn recurrent_operators_with_equal_weights() {
    // test_simple_rnn_defaults, test_gru_defaults, test_lstm_defaults: weights 0.1, inputs 1 to 6, three samples.
    let x = || data(f32s(&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let full = |s: &[i64]| konst(f32s(s, &vec![0.1; s.iter().product::<i64>() as usize]));
    let a = |h: i64| attrs([("hidden_size", Attr::Int(h))]);
    let last = |name: &str, h: i64, gates: i64| {
        let ins = vec![x(), full(&[1, gates * h, 2]), full(&[1, gates * h, h])];
        run_op(name, 14, &a(h), ins, 2).expect("it runs")[1]
            .to_f64s()
            .expect("numbers")
    };
    let first = |v: Vec<f64>, h: usize| [v[0], v[h], v[2 * h]];
    near(
        &first(last("RNN", 4, 1), 4),
        &[0.29131261, 0.60436778, 0.80049902],
    );
    near(
        &first(last("GRU", 5, 3), 5),
        &[0.12397026, 0.20053661, 0.19991653],
    );
    near(
        &first(last("LSTM", 3, 4), 3),
        &[0.09524119, 0.25606444, 0.40323776],
    );
}

#[test]
fn normalisations() {
    let x = || data(f32s(&[1, 2, 2], &[1.0, 3.0, 2.0, 2.0]));
    let ones = || data(f32s(&[2], &[1.0, 1.0]));
    let zeros = || data(f32s(&[2], &[0.0, 0.0]));
    let y = numbers(
        "LayerNormalization",
        17,
        &Attrs::default(),
        vec![x(), ones(), zeros()],
    );
    near(&y, &[-0.999995, 0.999995, 0.0, 0.0]);
    let y = numbers(
        "InstanceNormalization",
        6,
        &Attrs::default(),
        vec![x(), ones(), zeros()],
    );
    near(&y, &[-0.999995, 0.999995, 0.0, 0.0]);
    let stats = vec![x(), ones(), zeros(), data(f32s(&[2], &[1.0, 2.0])), ones()];
    let y = numbers("BatchNormalization", 15, &Attrs::default(), stats);
    near(&y, &[0.0, 1.99999, 0.0, 0.0]);
}

#[test]
fn suppression_keeps_the_best_boxes() {
    // test_nonmaxsuppression_suppress_by_IOU.
    let boxes = f32s(
        &[1, 6, 4],
        &[
            0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0,
            10.1, 1.0, 11.1, 0.0, 100.0, 1.0, 101.0,
        ],
    );
    let scores = f32s(&[1, 1, 6], &[0.9, 0.75, 0.6, 0.95, 0.5, 0.3]);
    let one = |v: f32| data(f32s(&[1], &[v]));
    let ins = vec![
        data(boxes),
        data(scores),
        data(i64s(&[1], &[3])),
        one(0.5),
        one(0.0),
    ];
    let y = run_op("NonMaxSuppression", 11, &Attrs::default(), ins, 1).expect("it runs");
    let v = y[0].to_i64s().expect("numbers");
    assert_eq!(v[..9], [0, 0, 3, 0, 0, 0, 0, 0, 5]);
}

#[test]
fn einsum_and_det() {
    let a = attrs([("equation", text("...ii->...i"))]);
    assert_eq!(
        numbers("Einsum", 12, &a, vec![data(ramp(&[2, 2, 2]))]),
        [0.0, 3.0, 4.0, 7.0]
    );
    let m = f32s(&[3, 3], &[0.0, 2.0, 1.0, 1.0, 1.0, 0.0, 4.0, 0.0, 3.0]);
    near(
        &numbers("Det", 11, &Attrs::default(), vec![data(m)]),
        &[-10.0],
    );
    let singular = f32s(&[2, 2], &[1.0, 2.0, 2.0, 4.0]);
    assert_eq!(
        numbers("Det", 11, &Attrs::default(), vec![data(singular)]),
        [0.0]
    );
}

#[test]
fn quantized_convolution_rounds_half_to_even() {
    let u8s = |s: &[i64], v: &[f64]| Tensor::from_f64s(DType::U8, s, v);
    let f = |v: f32| konst(f32s(&[], &[v]));
    let z = |v: f64| konst(u8s(&[], &[v]));
    // Sums 1, 3, 5 at half a step: 0.5, 1.5, 2.5 become 0, 2, 2.
    let ins = vec![
        data(u8s(&[1, 1, 3], &[1.0, 3.0, 5.0])),
        f(1.0),
        z(0.0),
        konst(u8s(&[1, 1, 1], &[1.0])),
        f(1.0),
        z(0.0),
        f(2.0),
        z(10.0),
    ];
    assert_eq!(
        numbers("QLinearConv", 10, &Attrs::default(), ins),
        [10.0, 12.0, 12.0]
    );
}

#[test]
fn empty_inputs_run() {
    let y = run_op(
        "Softmax",
        13,
        &Attrs::default(),
        vec![data(f32s(&[0, 3], &[]))],
        1,
    );
    assert_eq!(y.map(|y| y[0].shape.clone()).ok(), Some(vec![0, 3]));
    let y = run_op(
        "GlobalAveragePool",
        1,
        &Attrs::default(),
        vec![data(f32s(&[0, 3, 2], &[]))],
        1,
    );
    assert_eq!(y.map(|y| y[0].shape.clone()).ok(), Some(vec![0, 3, 1]));
}
