//! The estimate of Winograd's error against what is measured.

use super::*;

/// Winograd's errors against sums in f64 are those that are estimated, and selection goes by the bound.
#[test]
fn winograd_errors_are_estimated() {
    let mut rng = crate::loops::random::Rng(3);
    let mut numbers = |shape: &[i64]| {
        let n: i64 = shape.iter().product();
        let v: Vec<f32> = (0..n)
            .map(|_| (rng.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0)
            .collect();
        Tensor::f32(shape, &v)
    };
    for (cin, cout) in [(8, 8), (32, 6)] {
        let (x, w) = (numbers(&[1, 12, 12, cin]), numbers(&[cout, cin, 3, 3]));
        let attrs = Attrs::default()
            .with("strides", Attr::Ints(vec![1; 2]))
            .with("dilations", Attr::Ints(vec![1; 2]))
            .with("pads", Attr::Ints(vec![0; 4]))
            .with("channels_last", Attr::Int(1));
        let (xv, wv) = (x.to_f32s().unwrap(), w.to_f32s().unwrap());
        let inputs = [Some((x, false)), Some((w, true)), None, None];
        let out = [1, 10, 10, cout];
        let mut bound = [0.0; 2];
        for (k, (m, row)) in [(4, &conv_winograd::F4), (2, &conv_winograd::F2)]
            .into_iter()
            .enumerate()
        {
            let got = run_row(&conv::CONV, row, &attrs, &inputs, &out).expect("it accepts");
            let (mut error, mut largest) = (0.0f64, 0.0f64);
            for (at, g) in got.iter().enumerate() {
                let (pixel, o) = (at as i64 / cout, at as i64 % cout);
                let mut sum = 0.0;
                for (ky, kx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
                    for c in 0..cin {
                        let x = ((pixel / 10 + ky) * 12 + pixel % 10 + kx) * cin + c;
                        let w = ((o * cin + c) * 3 + ky) * 3 + kx;
                        sum += f64::from(xv[x as usize]) * f64::from(wv[w as usize]);
                    }
                }
                error = error.max((f64::from(*g) - sum).abs());
                largest = largest.max(sum.abs());
            }
            let (found, expected) = (error / largest, estimate(m, &wv, cin));
            assert!(
                (0.4..2.0).contains(&(found / expected)),
                "F({m}) of {cin}: {found:e}, estimated {expected:e}"
            );
            bound[k] = expected;
        }
        // A bound between the two estimates leaves F(2x2) alone.
        let mut machine = machine();
        machine.winograd.error = (bound[0] * bound[1]).sqrt();
        let q = Query {
            contract: &conv::CONV,
            attrs,
            inputs: inputs
                .iter()
                .enumerate()
                .map(|(k, i)| {
                    let (t, _) = i.as_ref()?;
                    Some((TensorType::of(t), (k > 0).then(|| t.clone())))
                })
                .collect(),
            outputs: vec![Some(TensorType::fixed(
                crate::base::dtype::DType::F32,
                &out,
            ))],
            machine: &machine,
            effort: Default::default(),
        };
        assert!(!(conv_winograd::F4.accepts)(&q) && (conv_winograd::F2.accepts)(&q));
    }
}
