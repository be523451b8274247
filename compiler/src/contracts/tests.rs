//! Every kernel row against the definition, over sizes at the edges of tiles, strips and pads.

use super::window::Window;
use super::{References, conv, gemm};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Diagnostic;
use crate::base::dim::{Dim, Symbols};
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::kernel::{Contract, Extra, Kernel, LowerCx, Machine, Operand, Query, Tile, Vector};
use crate::loops::build::Builder;
use crate::loops::interp::{Env, Memory, run};
use crate::loops::ir::Access;

/// A tile whose meaning is its contract's reference: the interpreter needs no machine code.
static TILE: Tile = Tile {
    name: "gemm_tile_f32_4x8_test",
    contract: "gemm_tile",
    needs: &[],
    tile: (4, 8),
    make: |_, _| Err(Diagnostic::internal("only interpreted")),
};

/// The same for strips.
static STRIP: Tile = Tile {
    name: "gemm_strip_f32_test",
    contract: "gemm_strip",
    needs: &[],
    tile: (1, 1),
    make: |_, _| Err(Diagnostic::internal("only interpreted")),
};

/// The same for depthwise tiles.
static DEPTHWISE: Tile = Tile {
    name: "depthwise_tile_f32_test",
    contract: "depthwise_tile",
    ..STRIP
};

fn machine() -> Machine {
    Machine {
        tiles: vec![&TILE, &STRIP, &DEPTHWISE],
        vector: Some(Vector {
            lanes: 4,
            registers: 16,
            by_lane: false,
            rounds: true,
            halves: true,
        }),
        lanes: 4,
        l1d: 1 << 10,
        l2: 1 << 12,
        ..Machine::default()
    }
}

/// Small whole numbers: sums are exact in f32 in any order.
fn values(shape: &[i64], seed: i64) -> Tensor {
    let n: i64 = shape.iter().product();
    let v: Vec<f32> = (0..n)
        .map(|i| ((i * 7 + seed * 5) % 11 - 5) as f32)
        .collect();
    Tensor::f32(shape, &v)
}

/// Runs a row; `None` where it does not accept. `konst` says which inputs are known while compiling.
fn run_row(
    contract: &'static Contract,
    row: &Kernel,
    attrs: &Attrs,
    inputs: &[Option<(Tensor, bool)>],
    out: &[i64],
) -> Option<Vec<f32>> {
    let machine = machine();
    let ty = |t: &Tensor| TensorType::of(t);
    let known = |t: &(Tensor, bool)| t.1.then(|| t.0.clone());
    let q = Query {
        contract,
        attrs: attrs.clone(),
        inputs: inputs
            .iter()
            .map(|i| i.as_ref().map(|i| (ty(&i.0), known(i))))
            .collect(),
        outputs: vec![Some(TensorType::fixed(crate::base::dtype::DType::F32, out))],
        machine: &machine,
        effort: Default::default(),
    };
    if !(row.accepts)(&q) {
        return None;
    }
    let symbols = Symbols::default();
    let mut b = Builder::new(row.name);
    let mut bytes = vec![];
    let ins = inputs
        .iter()
        .map(|i| {
            let i = i.as_ref()?;
            bytes.push(i.0.data.to_vec());
            let ty = ty(&i.0);
            Some(Operand {
                buf: b.buffer("in", ty.dtype, ty.elements(), Access::Read),
                konst: known(i),
                ty,
            })
        })
        .collect();
    let out_ty = TensorType::fixed(crate::base::dtype::DType::F32, out);
    let at = bytes.len();
    bytes.push(vec![0xff; out_ty.max_bytes(&symbols) as usize]);
    let buf = b.buffer("out", out_ty.dtype, out_ty.elements(), Access::Write);
    let mut cx = LowerCx {
        b,
        attrs,
        inputs: ins,
        outputs: vec![Some(Operand {
            ty: out_ty,
            buf,
            konst: None,
        })],
        symbols: &symbols,
        syms: &[],
        machine: &machine,
        effort: Default::default(),
        extras: vec![],
        store_hook: None,
    };
    (row.emit)(&mut cx, &q).expect("it can be written");
    for (buf, e) in &cx.extras {
        let d = &cx.b.func().bufs[*buf];
        bytes.push(match e {
            Extra::Scratch => vec![0x7f; d.len.fixed().unwrap_or(0) as usize * d.dtype.size()],
            Extra::Const(t) => t.data.to_vec(),
        });
    }
    let func = cx.b.finish();
    let env = Env {
        symbols: &symbols,
        callees: &References::default(),
        budget: None,
    };
    let slices = bytes.iter_mut().map(Vec::as_mut_slice).collect();
    run(&func, &mut Memory::of(slices), &[], &mut vec![], &env).expect("it runs");
    Some(
        bytes[at]
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect(),
    )
}

#[test]
fn gemm_rows_multiply() {
    for (m, n, k) in [
        (1, 1, 1),
        (4, 8, 3),
        (5, 9, 2),
        (3, 300, 4),
        (9, 17, 0),
        (0, 3, 2),
        (13, 7, 5),
    ] {
        for (ta, tb, konst) in [(0, 0, true), (0, 1, true), (1, 0, false), (0, 1, false)] {
            let a = values(&if ta == 1 { [k, m] } else { [m, k] }, 1);
            let b = values(&if tb == 1 { [n, k] } else { [k, n] }, 2);
            let c = values(&[n], 3);
            let (x, y, z) = (
                a.to_f32s().unwrap(),
                b.to_f32s().unwrap(),
                c.to_f32s().unwrap(),
            );
            let want: Vec<f32> = (0..m * n)
                .map(|e| {
                    let (i, j) = (e / n, e % n);
                    let sum: f32 = (0..k)
                        .map(|p| {
                            let u = x[if ta == 1 { p * m + i } else { i * k + p } as usize];
                            let v = y[if tb == 1 { j * k + p } else { p * n + j } as usize];
                            u * v
                        })
                        .sum();
                    2.0 * sum + z[j as usize]
                })
                .collect();
            let attrs = Attrs::default()
                .with("trans_a", Attr::Int(ta))
                .with("trans_b", Attr::Int(tb))
                .with("alpha", Attr::Float(2.0));
            let inputs = [Some((a, false)), Some((b, konst)), Some((c, true))];
            let mut answered = 0;
            for row in gemm::GEMM.rows {
                if let Some(got) = run_row(&gemm::GEMM, row, &attrs, &inputs, &[m, n]) {
                    answered += 1;
                    assert_eq!(got, want, "{} {m}x{n}x{k} {ta}{tb}{konst}", row.name);
                }
            }
            // Tiles take no empty product, strips no transposed A.
            let least = if m * n * k == 0 { 1 } else { 2 };
            assert!(answered >= least + usize::from(least == 2 && ta == 0));
        }
    }
}

/// A convolution by its definition, two spatial axes.
fn convolve(
    x: &Tensor,
    w: &Tensor,
    bias: &Tensor,
    group: i64,
    win: &Window,
    out: &[i64],
) -> Vec<f32> {
    let (xs, ws) = (&x.shape, &w.shape);
    let (xv, wv, bv) = (
        x.to_f32s().unwrap(),
        w.to_f32s().unwrap(),
        bias.to_f32s().unwrap(),
    );
    let mut r = vec![];
    for n in 0..out[0] {
        for m in 0..out[1] {
            for oy in 0..out[2] {
                for ox in 0..out[3] {
                    let mut sum = bv[m as usize];
                    for c in 0..ws[1] {
                        for ky in 0..ws[2] {
                            for kx in 0..ws[3] {
                                let y = oy * win.stride[0] + ky * win.dilation[0] - win.begin[0];
                                let x = ox * win.stride[1] + kx * win.dilation[1] - win.begin[1];
                                if y < 0 || x < 0 || y >= xs[2] || x >= xs[3] {
                                    continue;
                                }
                                let ci = m / (out[1] / group) * ws[1] + c;
                                let at = ((n * xs[1] + ci) * xs[2] + y) * xs[3] + x;
                                let wat = ((m * ws[1] + c) * ws[2] + ky) * ws[3] + kx;
                                sum += xv[at as usize] * wv[wat as usize];
                            }
                        }
                    }
                    r.push(sum);
                }
            }
        }
    }
    r
}

/// A tensor with its axes in another order.
fn permuted(t: &Tensor, perm: &[usize]) -> Tensor {
    let v = t.to_f32s().unwrap();
    let shape: Vec<i64> = perm.iter().map(|&p| t.shape[p]).collect();
    let n: i64 = shape.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|e| {
            let mut rest = e;
            let mut index = vec![0; perm.len()];
            for (axis, &p) in perm.iter().enumerate().rev() {
                index[p] = rest % shape[axis];
                rest /= shape[axis];
            }
            let at = index.iter().zip(&t.shape).fold(0, |at, (i, d)| at * d + i);
            v[at as usize]
        })
        .collect();
    Tensor::f32(&shape, &values)
}

#[test]
fn conv_rows_convolve() {
    // (channels, height, width), (output channels, group, kernel), stride, dilation, pads
    type Case = ((i64, i64, i64), (i64, i64, i64, i64), i64, i64, [i64; 4]);
    let cases: [Case; 8] = [
        ((3, 5, 6), (5, 1, 1, 1), 1, 1, [0; 4]),
        ((2, 7, 9), (6, 1, 3, 3), 1, 1, [1; 4]),
        ((2, 7, 9), (6, 2, 3, 3), 2, 1, [1, 0, 1, 2]),
        ((1, 3, 70), (2, 1, 2, 5), 1, 2, [0, 3, 1, 0]),
        ((4, 6, 6), (4, 4, 3, 3), 1, 1, [1; 4]),
        ((4, 6, 7), (8, 4, 3, 2), 2, 1, [0, 1, 2, 0]),
        ((3, 9, 9), (3, 3, 7, 7), 2, 1, [3; 4]),
        ((2, 4, 4), (3, 1, 3, 3), 1, 1, [4, 4, 4, 4]),
    ];
    for ((c, h, wd), (m, group, kh, kw), stride, dilation, pads) in cases {
        let (x, w, b) = (
            values(&[2, c, h, wd], 1),
            values(&[m, c / group, kh, kw], 2),
            values(&[m], 3),
        );
        let attrs = Attrs::default()
            .with("strides", Attr::Ints(vec![stride; 2]))
            .with("dilations", Attr::Ints(vec![dilation; 2]))
            .with("pads", Attr::Ints(pads.to_vec()))
            .with("group", Attr::Int(group));
        let win =
            Window::of(&attrs, &[kh, kw], &[Dim::Fixed(h), Dim::Fixed(wd)]).expect("a window");
        let mut out = vec![2, m];
        out.extend(win.out.iter().filter_map(Dim::fixed));
        let want = convolve(&x, &w, &b, group, &win, &out);
        for konst in [true, false] {
            let inputs = [
                Some((x.clone(), false)),
                Some((w.clone(), konst)),
                Some((b.clone(), true)),
                None,
            ];
            let mut answered = 0;
            for row in conv::CONV.rows {
                if let Some(got) = run_row(&conv::CONV, row, &attrs, &inputs, &out) {
                    answered += 1;
                    assert_eq!(got, want, "{} {:?} group {group}", row.name, w.shape);
                }
            }
            assert!(answered >= 2, "a row is never tried");
            // The same, channels last.
            let last = |t: &Tensor| permuted(t, &[0, 2, 3, 1]);
            let (x, want) = (last(&x), last(&Tensor::f32(&out, &want)));
            let attrs = attrs.clone().with("channels_last", Attr::Int(1));
            let inputs = [
                Some((x, false)),
                Some((w.clone(), konst)),
                Some((b.clone(), true)),
                None,
            ];
            let mut answered = 0;
            for row in conv::CONV.rows {
                if let Some(got) = run_row(&conv::CONV, row, &attrs, &inputs, &want.shape) {
                    answered += 1;
                    let want = want.to_f32s().unwrap();
                    assert_eq!(
                        got, want,
                        "{} {:?} group {group} channels last",
                        row.name, w.shape
                    );
                }
            }
            assert!(answered >= 1, "a row is never tried");
        }
    }
}
