//! Every kernel row against the definition, over sizes at the edges of tiles, strips and pads.

mod narrow;
mod products;
mod sparse;
mod whole;
mod winograd_error;

use super::window::Window;
use super::winograd_error::estimate;
use super::{References, conv, conv_winograd, gemm};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Diagnostic;
use crate::base::dim::{Dim, Symbols};
use crate::base::tensor::Tensor;
use crate::base::types::{Quant, TensorType};
use crate::kernel::{
    Contract, Extra, Kernel, LowerCx, Machine, Operand, Query, Tile, Vector, Weights,
};
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

/// The same of bytes, several rows in a lane.
static DEPTHWISE_WORDS: Tile = Tile {
    name: "depthwise_i16_test",
    contract: "depthwise_words",
    ..STRIP
};
static DEPTHWISE_BYTES: Tile = Tile {
    name: "depthwise_u8_test",
    contract: "depthwise_bytes",
    ..STRIP
};

/// The same for Winograd's transforms.
static WINOGRAD_IN: Tile = Tile {
    name: "winograd_in_f32_test",
    contract: "winograd_in",
    ..STRIP
};
static WINOGRAD_OUT: Tile = Tile {
    name: "winograd_out_f32_test",
    contract: "winograd_out",
    ..STRIP
};

/// The same for whole numbers.
static STRIP_WORDS: Tile = Tile {
    name: "gemm_strip_i16_test",
    contract: "gemm_strip_words",
    ..STRIP
};
static WINOGRAD_IN_WORDS: Tile = Tile {
    name: "winograd_in_u8_test",
    contract: "winograd_in_words",
    ..STRIP
};
static WINOGRAD_OUT_WORDS: Tile = Tile {
    name: "winograd_out_i32_test",
    contract: "winograd_out_words",
    ..STRIP
};

static WINOGRAD_FILTERS: Tile = Tile {
    name: "winograd_filters_f32_test",
    contract: "winograd_filters",
    ..STRIP
};

static WINOGRAD_FILTERS_WORDS: Tile = Tile {
    name: "winograd_filters_i8_test",
    contract: "winograd_filters_words",
    ..STRIP
};

/// Tiles of sparse products.
macro_rules! sparse_tiles {
    ($($name:ident $contract:literal;)*) => {
        $(static $name: Tile = Tile {
            name: concat!($contract, "_test"),
            contract: $contract,
            ..STRIP
        };)*
    };
}
sparse_tiles! {
    SPARSE_IN "sparse_in";
    SPARSE_STRIP "sparse_strip";
    SPARSE_LINE "sparse_line";
    SPARSE_OUT "sparse_out";
    SPARSE_IN_WORDS "sparse_in_words";
    SPARSE_STRIP_WORDS "sparse_strip_words";
    SPARSE_OUT_WORDS "sparse_out_words";
    SPARSE_IN_NEAR "sparse_in_near";
    SPARSE_STRIP_PAIRS "sparse_strip_pairs";
    SPARSE_STRIP_QUADS "sparse_strip_quads";
    SPARSE_OUT_ACROSS "sparse_out_across";
}

fn machine() -> Machine {
    Machine {
        tiles: vec![
            &SPARSE_IN,
            &SPARSE_STRIP,
            &SPARSE_LINE,
            &SPARSE_OUT,
            &SPARSE_IN_WORDS,
            &SPARSE_STRIP_WORDS,
            &SPARSE_OUT_WORDS,
            &SPARSE_IN_NEAR,
            &SPARSE_STRIP_PAIRS,
            &SPARSE_OUT_ACROSS,
            &TILE,
            &STRIP,
            &DEPTHWISE,
            &DEPTHWISE_WORDS,
            &DEPTHWISE_BYTES,
            &WINOGRAD_IN,
            &WINOGRAD_OUT,
            &STRIP_WORDS,
            &WINOGRAD_IN_WORDS,
            &WINOGRAD_OUT_WORDS,
            &WINOGRAD_FILTERS,
            &WINOGRAD_FILTERS_WORDS,
        ],
        vector: Some(Vector {
            lanes: 4,
            registers: 16,
            by_lane: false,
            rounds: true,
            fused: true,
            halves: true,
            bytes: true,
            rows: 16,
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
    let out = TensorType::fixed(crate::base::dtype::DType::F32, out);
    let bytes = run_bytes(contract, row, attrs, inputs, out)?;
    let floats = bytes.as_chunks::<4>().0;
    Some(floats.iter().map(|c| f32::from_le_bytes(*c)).collect())
}

/// The same for an output of any type.
fn run_bytes(
    contract: &'static Contract,
    row: &Kernel,
    attrs: &Attrs,
    inputs: &[Option<(Tensor, bool)>],
    out_ty: TensorType,
) -> Option<Vec<u8>> {
    run_noted(&machine(), contract, row, attrs, inputs, out_ty, None)
}

/// The same on a machine, where input 1 was made of whole numbers.
fn run_noted(
    machine: &Machine,
    contract: &'static Contract,
    row: &Kernel,
    attrs: &Attrs,
    inputs: &[Option<(Tensor, bool)>],
    out_ty: TensorType,
    quant: Option<Quant>,
) -> Option<Vec<u8>> {
    let second = inputs[1].as_ref().map(|i| i.0.clone());
    let ty = |t: &Tensor| TensorType {
        quant: quant.clone().filter(|_| Some(t) == second.as_ref()),
        ..TensorType::of(t)
    };
    let known = |t: &(Tensor, bool)| t.1.then(|| t.0.clone());
    let q = Query {
        contract,
        attrs: attrs.clone(),
        inputs: inputs
            .iter()
            .map(|i| i.as_ref().map(|i| (ty(&i.0), known(i))))
            .collect(),
        outputs: vec![Some(out_ty.clone())],
        machine,
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
        machine,
        effort: Default::default(),
        threads: 1,
        weights: Weights {
            whole: 0,
            transformed: 1,
        },
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
    Some(bytes.swap_remove(at))
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
    let cases: [Case; 20] = [
        ((3, 5, 6), (5, 1, 1, 1), 1, 1, [0; 4]),
        ((2, 7, 9), (6, 1, 3, 3), 1, 1, [1; 4]),
        ((2, 7, 9), (6, 2, 3, 3), 2, 1, [1, 0, 1, 2]),
        ((1, 3, 70), (2, 1, 2, 5), 1, 2, [0, 3, 1, 0]),
        ((4, 6, 6), (4, 4, 3, 3), 1, 1, [1; 4]),
        ((4, 6, 7), (8, 4, 3, 2), 2, 1, [0, 1, 2, 0]),
        ((3, 9, 9), (3, 3, 7, 7), 2, 1, [3; 4]),
        ((2, 4, 4), (3, 1, 3, 3), 1, 1, [4, 4, 4, 4]),
        // Sequences written as images.
        ((3, 19, 1), (5, 1, 4, 1), 1, 1, [1, 0, 2, 0]),
        ((3, 13, 1), (9, 1, 1, 1), 2, 1, [0; 4]),
        // Windows larger than images, and padding larger than windows.
        ((3, 6, 5), (3, 3, 11, 13), 1, 1, [5, 6, 5, 6]),
        ((2, 5, 4), (2, 2, 3, 2), 1, 2, [7, 4, 6, 5]),
        // Few output channels.
        ((3, 5, 9), (1, 1, 3, 3), 1, 1, [1; 4]),
        ((4, 9, 7), (2, 2, 2, 3), 1, 2, [3, 0, 0, 5]),
        ((2, 1, 40), (1, 1, 1, 7), 1, 1, [0, 3, 0, 3]),
        // Most windows stay inside.
        ((3, 24, 25), (5, 1, 3, 3), 2, 1, [1; 4]),
        ((2, 20, 29), (4, 1, 3, 2), 1, 1, [2, 1, 0, 3]),
        ((4, 26, 22), (10, 2, 3, 3), 1, 2, [2, 2, 1, 2]),
        ((1, 31, 24), (6, 1, 5, 1), 3, 1, [2, 0, 4, 0]),
        ((2, 23, 26), (4, 1, 2, 2), 3, 1, [3, 2, 2, 3]),
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

#[test]
fn winograd_rows_convolve() {
    let pads = [
        [1; 4],
        [0; 4],
        [1, 0, 0, 1],
        [0, 1, 2, 0],
        [2; 4],
        [0, 0, 1, 1],
    ];
    for h in 1..=13i64 {
        for (turn, w) in [(0, h), (1, 14 - h), (2, 5), (3, 12)] {
            let p = pads[(h as usize + turn) % pads.len()];
            if h + p[0] + p[2] < 3 || w + p[1] + p[3] < 3 {
                continue;
            }
            let (n, cin, cout, group) = match turn {
                0 => (2, 5, 6, 1),
                1 => (1, 4, 16, 1),
                2 => (3, 4, 5, 2),
                _ => (1, 9, 4, 1),
            };
            let x = values(&[n, cin * group, h, w], h + 1);
            let k = values(&[cout * group, cin, 3, 3], w + 2);
            let b = values(&[cout * group], 3);
            let attrs = Attrs::default()
                .with("strides", Attr::Ints(vec![1; 2]))
                .with("dilations", Attr::Ints(vec![1; 2]))
                .with("pads", Attr::Ints(p.to_vec()))
                .with("group", Attr::Int(group));
            let win = Window::of(&attrs, &[3, 3], &[Dim::Fixed(h), Dim::Fixed(w)]).unwrap();
            let mut out = vec![n, cout * group];
            out.extend(win.out.iter().filter_map(Dim::fixed));
            let want = convolve(&x, &k, &b, group, &win, &out);
            let want = permuted(&Tensor::f32(&out, &want), &[0, 2, 3, 1]);
            let attrs = attrs.with("channels_last", Attr::Int(1));
            let inputs = [
                Some((permuted(&x, &[0, 2, 3, 1]), false)),
                Some((k, true)),
                Some((b, true)),
                None,
            ];
            for row in [&conv_winograd::F4, &conv_winograd::F2] {
                let got = run_row(&conv::CONV, row, &attrs, &inputs, &want.shape);
                let got = got.unwrap_or_else(|| panic!("{} takes no {h}x{w}", row.name));
                let want = want.to_f32s().unwrap();
                let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                for (at, (x, y)) in got.iter().zip(&want).enumerate() {
                    assert!(
                        (x - y).abs() <= 1e-5 * largest,
                        "{} {h}x{w} pads {p:?} group {group}, element {at}: {x}, should be {y}",
                        row.name
                    );
                }
            }
        }
    }
}
