//! Every operation on edge values: machine code at each level of this machine, and for aarch64 in an emulator, gives the bits of the
//! interpreter, as scalars and as lanes.

use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp;
use onnxc_compiler::loops::ir::*;
use onnxc_compiler::loops::verify::{takes_one, takes_two};
use onnxc_compiler::target::Arch;
use onnxc_tests::run::{first_difference, native_targets, run, run_executable, target};
use onnxc_tests::tools::have;

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

fn storage(t: Ty) -> DType {
    match t {
        Ty::F32 => DType::F32,
        Ty::F64 => DType::F64,
        Ty::I32 => DType::I32,
        Ty::I64 => DType::I64,
        Ty::Bool => DType::Bool,
    }
}

type Formula = Box<dyn Fn(&mut Builder, &[ExprId]) -> ExprId>;

/// Formulas over the same operands: name, type of the result, and what it is.
#[derive(Default)]
struct Table(Vec<(String, DType, Formula)>);

impl Table {
    fn add(
        &mut self,
        name: String,
        out: DType,
        f: impl Fn(&mut Builder, &[ExprId]) -> ExprId + 'static,
    ) {
        self.0.push((name, out, Box::new(f)));
    }
}

/// Applies every formula to all combinations of edge values, each in a loop of its own, as scalars and as lanes, on every
/// machine there is.
fn check(ins: &[DType], table: &Table) {
    let values: Vec<Vec<u8>> = ins.iter().map(|d| edges(*d)).collect();
    let counts = ins.iter().zip(&values);
    let counts: Vec<usize> = counts.map(|(d, v)| v.len() / d.size()).collect();
    let total: usize = counts.iter().product();
    let mut stride = 1;
    let mut data: Vec<Vec<u8>> = vec![];
    for ((d, v), n) in ins.iter().zip(&values).zip(&counts) {
        let size = d.size();
        let at = (0..total).map(|i| i / stride % n * size);
        data.push(at.flat_map(|k| v[k..k + size].to_vec()).collect());
        stride *= n;
    }
    for kind in [LoopKind::Seq, LoopKind::Lanes] {
        let len = Dim::Fixed(total as i64);
        let mut b = Builder::new("edges");
        let from: Vec<BufId> = ins
            .iter()
            .map(|d| b.buffer("in", *d, len.clone(), Access::Read))
            .collect();
        let mut bufs = data.clone();
        for (name, out, formula) in &table.0 {
            let to = b.buffer(name, *out, len.clone(), Access::Write);
            bufs.push(vec![0xee; total * out.size()]);
            b.for_dim(&len, kind, |b, i| {
                let args: Vec<ExprId> = from.iter().map(|x| b.load(*x, i)).collect();
                let v = formula(b, &args);
                b.store(to, i, v);
            });
        }
        compare(&b.finish(), kind, ins.len(), &bufs);
    }
}

fn compare(f: &Func, kind: LoopKind, ins: usize, data: &[Vec<u8>]) {
    let mut want = data.to_vec();
    let slices = want.iter_mut().map(|b| b.as_mut_slice()).collect();
    interp::run_simple(f, slices, &[]).expect("interprets");
    let none = Symbols::default();
    let mut results = vec![];
    for t in native_targets() {
        let mut got = data.to_vec();
        let status = run(f, &none, &[], &t, &mut got);
        results.push((t, status, got));
    }
    if have("qemu-aarch64-static") {
        let t = target(Arch::Aarch64, "");
        let mut got = data.to_vec();
        let emulator = Some("qemu-aarch64-static");
        let status = run_executable(f, &none, &[], &t, emulator, &mut got);
        results.push((t, status, got));
    }
    for (t, status, got) in results {
        assert_eq!(status.expect("compiles"), 0);
        for (((_, b), w), g) in f.bufs.iter().zip(&want).zip(&got).skip(ins) {
            let Some(i) = first_difference(b.dtype, w, g) else {
                continue;
            };
            let part = |d: &[u8], n: usize| format!("{:02x?}", &d[i * n..i * n + n]);
            let args = f.bufs.iter().zip(data).take(ins);
            let args: Vec<String> = args.map(|((_, b), d)| part(d, b.dtype.size())).collect();
            panic!(
                "{} {kind:?} on {} {}: of {args:?} the interpreter makes {}, code {}",
                b.name,
                t.arch.name(),
                t.cpu,
                part(w, b.dtype.size()),
                part(g, b.dtype.size())
            );
        }
    }
}

#[test]
fn unary() {
    for t in [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool] {
        use UnOp::*;
        let mut table = Table::default();
        for op in [
            Neg, Abs, Sqrt, Floor, Ceil, Trunc, Round, Not, Popcnt, ToBits, FromBits, Seldom,
        ] {
            if !takes_one(op, t) {
                continue;
            }
            let out = match (op, t) {
                (ToBits, Ty::F32) => Ty::I32,
                (ToBits, _) => Ty::I64,
                (FromBits, Ty::I32) => Ty::F32,
                (FromBits, _) => Ty::F64,
                _ => t,
            };
            table.add(format!("{op:?} {t:?}"), storage(out), move |b, a| {
                b.un(op, a[0])
            });
        }
        check(&[storage(t)], &table);
    }
}

#[test]
fn binary() {
    for t in [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool] {
        use BinOp::*;
        let mut table = Table::default();
        for op in [
            Add, Sub, Mul, Div, Rem, DivU, RemU, Min, Max, MinU, MaxU, And, Or, Xor, Shl, Shr,
            ShrU, Eq, Ne, Lt, Le, LtU, LeU, MulHiU,
        ] {
            if !takes_two(op, t) {
                continue;
            }
            let out = match op {
                Eq | Ne | Lt | Le | LtU | LeU => Ty::Bool,
                _ => t,
            };
            table.add(format!("{op:?} {t:?}"), storage(out), move |b, a| {
                b.bin(op, a[0], a[1])
            });
        }
        check(&[storage(t), storage(t)], &table);
    }
}

#[test]
fn division_by_constants() {
    let by = [
        0,
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
        0x7fff_ffff,
        -0x8000_0000,
        i64::MIN,
        i64::MAX,
    ];
    for t in [Ty::I32, Ty::I64] {
        let mut table = Table::default();
        for op in [BinOp::Div, BinOp::Rem, BinOp::DivU, BinOp::RemU] {
            for k in by {
                table.add(format!("{op:?} {t:?} by {k}"), storage(t), move |b, a| {
                    let c = match t {
                        Ty::I32 => Const::I32(k as i32),
                        _ => Const::I64(k),
                    };
                    let c = b.konst(c);
                    b.bin(op, a[0], c)
                });
            }
        }
        check(&[storage(t)], &table);
    }
}

#[test]
fn casts() {
    let all = [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool];
    for from in all {
        let mut table = Table::default();
        for to in all {
            for kind in [CastKind::Signed, CastKind::Unsigned] {
                let name = format!("{from:?} to {to:?} {kind:?}");
                table.add(name, storage(to), move |b, a| b.cast_as(to, kind, a[0]));
            }
        }
        check(&[storage(from)], &table);
    }
}

#[test]
fn storage_types() {
    use DType::*;
    let all = [
        F32, F16, BF16, F64, I8, U8, I16, U16, I32, U32, I64, U64, Bool, I4, U4, I2, U2, F8E4M3FN,
        F4E2M1,
    ];
    for from in [F32, F64, I32, I64, F16, BF16, U8, I8, I16, U16, U32, Bool] {
        let mut table = Table::default();
        // All halves as f32; the edges of the others as everything.
        let to: &[DType] = if matches!(from, F16 | BF16) {
            &[F32, F16, BF16]
        } else {
            &all
        };
        for &to in to {
            table.add(format!("{from} as {to}"), to, move |b, a| {
                b.cast(Ty::of(to), a[0])
            });
        }
        check(&[from], &table);
    }
}

#[test]
fn select() {
    for t in [Ty::F32, Ty::F64, Ty::I32, Ty::I64] {
        let mut table = Table::default();
        table.add(format!("select {t:?}"), storage(t), move |b, a| {
            let k = b.num(t, 3.0);
            b.select(a[0], a[1], k)
        });
        check(&[DType::Bool, storage(t)], &table);
    }
}

/// Logic on truth values in memory, which kernels do four at a time: whatever is not 0 counts as 1.
#[test]
fn logic_on_bytes() {
    let bytes: Vec<u8> = (0..=255).chain([0, 1, 0, 255, 128, 127, 2, 0]).collect();
    let n = bytes.len() as i64;
    let other: Vec<u8> = bytes.iter().map(|b| b.wrapping_mul(37) & 3).collect();
    for kind in [LoopKind::Seq, LoopKind::Lanes] {
        let len = Dim::Fixed(n);
        let mut b = Builder::new("logic");
        let x = b.buffer("x", DType::Bool, len.clone(), Access::Read);
        let y = b.buffer("y", DType::Bool, len.clone(), Access::Read);
        let mut data = vec![bytes.clone(), other.clone()];
        for op in [BinOp::And, BinOp::Or, BinOp::Xor, BinOp::Eq, BinOp::Ne] {
            for not in [false, true] {
                let to = b.buffer(
                    &format!("{op:?} {not}"),
                    DType::Bool,
                    len.clone(),
                    Access::Write,
                );
                data.push(vec![0xee; n as usize]);
                b.for_dim(&len, kind, |b, i| {
                    let (p, q) = (b.load(x, i), b.load(y, i));
                    let q = if not { b.un(UnOp::Not, q) } else { q };
                    let v = b.bin(op, p, q);
                    b.store(to, i, v);
                });
            }
        }
        compare(&b.finish(), kind, 2, &data);
    }
}
