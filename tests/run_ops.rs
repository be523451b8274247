//! Every operation on edge values: machine code at each level of this machine gives the bits of the interpreter, as scalars
//! and as lanes.

use onnxc_compiler::base::dim::Dim;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp;
use onnxc_compiler::loops::ir::*;
use onnxc_tests::run::{native_targets, run};

/// Values at which things go wrong, as bytes of a type.
fn edges(d: DType) -> Vec<u8> {
    let f32s = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        0.49999997,
        8388607.5,
        -8388607.5,
        8388608.0,
        16777217.0,
        1e10,
        -1e10,
        2147483520.0,
        2147483648.0,
        -2147483648.0,
        4294967040.0,
        4294967296.0,
        9.2233715e18,
        9.223372e18,
        -9.223372e18,
        1.8446744e19,
        3.4e38,
        -3.4e38,
        1e-38,
        1e-45,
        -1e-40,
        65504.0,
        65519.996,
        65520.0,
        6.1e-5,
        5.9604645e-8,
        2.9802322e-8,
        2.980233e-8,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        3.7,
        -3.7,
        7.0,
    ];
    let ints = [
        0i64,
        1,
        -1,
        2,
        -2,
        3,
        7,
        -7,
        31,
        32,
        33,
        63,
        64,
        127,
        128,
        -128,
        255,
        256,
        32767,
        32768,
        -32768,
        65535,
        65536,
        i32::MAX as i64,
        i32::MIN as i64,
        u32::MAX as i64,
        1 << 32,
        i64::MAX,
        i64::MIN,
        0x1234_5678_9abc_def0,
        1 << 53,
        (1 << 53) + 1,
        -(1 << 53) - 1,
        i64::MAX - 511,
        0x8000_0080_0000_0001u64 as i64,
    ];
    match d {
        DType::F32 => f32s.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => f32s
            .iter()
            .map(|v| *v as f64)
            .chain([
                4503599627370495.5,
                1e300,
                5e-324,
                0.49999999999999994,
                9007199254740993.0,
            ])
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        DType::Bool => vec![0, 1, 1, 0, 1],
        DType::F16 | DType::BF16 => (0..=u16::MAX).flat_map(|v| v.to_le_bytes()).collect(),
        _ => ints
            .iter()
            .flat_map(|v| v.to_le_bytes()[..d.size()].to_vec())
            .collect(),
    }
}

/// Compares, NaN being NaN.
fn same(d: DType, a: &[u8], b: &[u8]) -> Option<usize> {
    let n = d.size();
    (0..a.len() / n).find(|&i| {
        let (x, y) = (&a[i * n..i * n + n], &b[i * n..i * n + n]);
        let nan = |v: &[u8]| match d {
            DType::F32 => f32::from_le_bytes(v.try_into().unwrap()).is_nan(),
            DType::F64 => f64::from_le_bytes(v.try_into().unwrap()).is_nan(),
            DType::F16 => u16::from_le_bytes(v.try_into().unwrap()) & 0x7fff > 0x7c00,
            DType::BF16 => u16::from_le_bytes(v.try_into().unwrap()) & 0x7fff > 0x7f80,
            _ => false,
        };
        x != y && !(nan(x) && nan(y))
    })
}

fn storage(t: Ty) -> DType {
    match t {
        Ty::F32 => DType::F32,
        Ty::F64 => DType::F64,
        Ty::I32 => DType::I32,
        Ty::I64 => DType::I64,
        Ty::Bool => DType::Bool,
    }
}

/// A function that applies `op` to all pairs (or all values), and its buffers.
fn apply(
    name: &str,
    kind: LoopKind,
    ins: &[DType],
    out: DType,
    op: impl Fn(&mut Builder, &[ExprId]) -> ExprId,
) -> (Func, Vec<Vec<u8>>) {
    let values: Vec<Vec<u8>> = ins.iter().map(|d| edges(*d)).collect();
    let counts: Vec<i64> = ins
        .iter()
        .zip(&values)
        .map(|(d, v)| (v.len() / d.size()) as i64)
        .collect();
    // All combinations, written out, so that lanes load contiguously.
    let total: i64 = counts.iter().product();
    let mut b = Builder::new(name);
    let mut bufs = vec![];
    let mut data = vec![];
    let mut stride = 1;
    for ((d, v), n) in ins.iter().zip(&values).zip(&counts) {
        bufs.push(b.buffer("in", *d, Dim::Fixed(total), Access::Read));
        let size = d.size();
        data.push(
            (0..total)
                .flat_map(|i| {
                    let k = ((i / stride) % n) as usize;
                    v[k * size..k * size + size].to_vec()
                })
                .collect(),
        );
        stride *= n;
    }
    let o = b.buffer("out", out, Dim::Fixed(total), Access::Write);
    data.push(vec![0xee; total as usize * out.size()]);
    let n = b.i(total);
    b.for_(n, kind, |b, i| {
        let args: Vec<ExprId> = bufs.iter().map(|x| b.load(*x, i)).collect();
        let v = op(b, &args);
        b.store(o, i, v);
    });
    (b.finish(), data)
}

fn check(f: &Func, data: &[Vec<u8>], out: DType) {
    let mut want = data.to_vec();
    interp::run_simple(f, want.iter_mut().map(|b| b.as_mut_slice()).collect(), &[])
        .expect("interprets");
    for t in native_targets() {
        let mut got = data.to_vec();
        let status =
            run(f, &t, &mut got).unwrap_or_else(|e| panic!("{} on {}: {e}", f.name, t.cpu));
        assert_eq!(status, 0);
        let (w, g) = (want.last().unwrap(), got.last().unwrap());
        if let Some(i) = same(out, w, g) {
            let n = out.size();
            let ins: Vec<String> = f
                .bufs
                .iter()
                .zip(data)
                .map(|((_, b), d)| {
                    format!("{:02x?}", &d[i * b.dtype.size()..(i + 1) * b.dtype.size()])
                })
                .collect();
            panic!(
                "{} on {}: element {i} of {ins:?}: interpreter {:02x?}, code {:02x?}",
                f.name,
                t.cpu,
                &w[i * n..i * n + n],
                &g[i * n..i * n + n]
            );
        }
    }
}

const KINDS: [LoopKind; 2] = [LoopKind::Seq, LoopKind::Lanes];

#[test]
fn unary() {
    use UnOp::*;
    for kind in KINDS {
        for (ops, types) in [
            (&[Neg, Abs][..], &[Ty::F32, Ty::F64, Ty::I32, Ty::I64][..]),
            (
                &[Sqrt, Floor, Ceil, Trunc, Round, ToBits],
                &[Ty::F32, Ty::F64],
            ),
            (&[Not, Popcnt, FromBits], &[Ty::I32, Ty::I64]),
            (&[Not], &[Ty::Bool]),
        ] {
            for (op, t) in ops.iter().flat_map(|o| types.iter().map(move |t| (*o, *t))) {
                let out = match (op, t) {
                    (ToBits, Ty::F32) => Ty::I32,
                    (ToBits, _) => Ty::I64,
                    (FromBits, Ty::I32) => Ty::F32,
                    (FromBits, _) => Ty::F64,
                    _ => t,
                };
                let (f, data) = apply(
                    &format!("{op:?} {t:?} {kind:?}"),
                    kind,
                    &[storage(t)],
                    storage(out),
                    |b, a| b.un(op, a[0]),
                );
                check(&f, &data, storage(out));
            }
        }
    }
}

#[test]
fn binary() {
    use BinOp::*;
    let all = [
        Add, Sub, Mul, Div, Rem, DivU, RemU, Min, Max, MinU, MaxU, And, Or, Xor, Shl, Shr, ShrU,
        Eq, Ne, Lt, Le, LtU, LeU, MulHiU,
    ];
    for kind in KINDS {
        for t in [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool] {
            for op in all {
                let fits = match t {
                    Ty::F32 | Ty::F64 => {
                        matches!(op, Add | Sub | Mul | Div | Min | Max | Eq | Ne | Lt | Le)
                    }
                    Ty::I32 => op != MulHiU,
                    Ty::I64 => true,
                    Ty::Bool => matches!(op, And | Or | Xor | Eq | Ne),
                };
                if !fits {
                    continue;
                }
                let out = match op {
                    Eq | Ne | Lt | Le | LtU | LeU => Ty::Bool,
                    _ => t,
                };
                let name = format!("{op:?} {t:?} {kind:?}");
                let (f, data) = apply(
                    &name,
                    kind,
                    &[storage(t), storage(t)],
                    storage(out),
                    |b, a| b.bin(op, a[0], a[1]),
                );
                check(&f, &data, storage(out));
            }
        }
    }
}

#[test]
fn division_by_constants() {
    for kind in KINDS {
        for op in [BinOp::Div, BinOp::Rem, BinOp::DivU, BinOp::RemU] {
            for k in [
                0i64,
                1,
                -1,
                2,
                -2,
                3,
                -3,
                7,
                10,
                64,
                -64,
                1000003,
                i32::MAX as i64,
                i32::MIN as i64,
                i64::MIN,
                i64::MAX,
            ] {
                for t in [Ty::I32, Ty::I64] {
                    let name = format!("{op:?} {t:?} by {k} {kind:?}");
                    let (f, data) = apply(&name, kind, &[storage(t)], storage(t), |b, a| {
                        let c = if t == Ty::I32 {
                            Const::I32(k as i32)
                        } else {
                            Const::I64(k)
                        };
                        let c = b.konst(c);
                        b.bin(op, a[0], c)
                    });
                    check(&f, &data, storage(t));
                }
            }
        }
    }
}

#[test]
fn casts() {
    let all = [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool];
    for kind in KINDS {
        for (from, to) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
            for signs in [CastKind::Signed, CastKind::Unsigned] {
                let name = format!("cast {from:?} to {to:?} {signs:?} {kind:?}");
                let (f, data) = apply(&name, kind, &[storage(from)], storage(to), |b, a| {
                    b.cast_as(to, signs, a[0])
                });
                check(&f, &data, storage(to));
            }
        }
    }
}

#[test]
fn storage_types() {
    use DType::*;
    let all = [
        F32, F16, BF16, F64, I8, U8, I16, U16, I32, U32, I64, U64, Bool, I4, U4, I2, U2, F8E4M3FN,
        F4E2M1,
    ];
    for kind in KINDS {
        for from in [F32, F64, I32, I64, F16, BF16, U8, I8, I16, U16, U32, Bool] {
            for to in all {
                let (tf, tt) = (Ty::of(from), Ty::of(to));
                let name = format!("store {from} as {to} {kind:?}");
                let (f, data) = apply(&name, kind, &[from], to, |b, a| {
                    if tf == tt { a[0] } else { b.cast(tt, a[0]) }
                });
                check(&f, &data, to);
            }
        }
    }
}

#[test]
fn three_operands() {
    for kind in KINDS {
        let (f, data) = apply(
            &format!("select {kind:?}"),
            kind,
            &[DType::Bool, DType::F32],
            DType::F32,
            |b, a| {
                let k = b.f(3.0);
                b.select(a[0], a[1], k)
            },
        );
        check(&f, &data, DType::F32);
        let (f, data) = apply(
            &format!("select i64 {kind:?}"),
            kind,
            &[DType::Bool, DType::I64],
            DType::I64,
            |b, a| {
                let k = b.i(3);
                b.select(a[0], a[1], k)
            },
        );
        check(&f, &data, DType::I64);
    }
}
