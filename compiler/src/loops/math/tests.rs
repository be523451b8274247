//! Accuracy against the `libm` crate in f64, over all exponents, and special values by C99.

use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::interp::run_simple;
use crate::loops::ir::*;
use crate::loops::legalize::legalize;

/// y[i] = op(x[i])
fn map1(op: UnOp, t: DType, n: usize) -> Func {
    let mut b = Builder::new("f");
    let x = b.buffer("x", t, (n as i64).into(), Access::Read);
    let y = b.buffer("y", t, (n as i64).into(), Access::Write);
    let n = b.i(n as i64);
    b.for_(n, LoopKind::Lanes, |b, i| {
        let v = b.load(x, i);
        let v = b.un(op, v);
        b.store(y, i, v);
    });
    b.finish()
}

fn bytes32(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}
fn bytes64(v: &[f64]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}
fn floats32(b: &[u8]) -> Vec<f32> {
    b.chunks(4)
        .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
        .collect()
}
fn floats64(b: &[u8]) -> Vec<f64> {
    b.chunks(8)
        .map(|c| f64::from_le_bytes(c.try_into().unwrap()))
        .collect()
}

fn run32(f: &Func, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0; x.len() * 4];
    run_simple(f, vec![&mut bytes32(x), &mut y], &[]).unwrap();
    floats32(&y)
}
fn run64(f: &Func, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0; x.len() * 8];
    run_simple(f, vec![&mut bytes64(x), &mut y], &[]).unwrap();
    floats64(&y)
}

/// What a target without FMA computes.
fn unfused(f: &Func) -> Func {
    let f = legalize(f);
    let mut out = Func {
        exprs: Default::default(),
        ..f.clone()
    };
    let mut to = vec![];
    for (_, e) in f.exprs.iter() {
        let e = match e.map_operands(|o| to[o.0 as usize]) {
            Expr::Fma(a, b, c) => {
                Expr::Bin(BinOp::Add, out.exprs.push(Expr::Bin(BinOp::Mul, a, b)), c)
            }
            e => e,
        };
        to.push(out.exprs.push(e));
    }
    out.body = f
        .body
        .iter()
        .map(|s| s.map_exprs(&mut |e| to[e.0 as usize]))
        .collect();
    out
}

const FUNCTIONS: &[(UnOp, fn(f64) -> f64)] = &[
    (UnOp::Exp, libm::exp),
    (UnOp::Expm1, libm::expm1),
    (UnOp::Log, libm::log),
    (UnOp::Log1p, libm::log1p),
    (UnOp::Log2, libm::log2),
    (UnOp::Sin, libm::sin),
    (UnOp::Cos, libm::cos),
    (UnOp::Tan, libm::tan),
    (UnOp::Asin, libm::asin),
    (UnOp::Acos, libm::acos),
    (UnOp::Atan, libm::atan),
    (UnOp::Sinh, libm::sinh),
    (UnOp::Cosh, libm::cosh),
    (UnOp::Tanh, libm::tanh),
    (UnOp::Asinh, libm::asinh),
    // (libm's own answers below -1.)
    (
        UnOp::Acosh,
        |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
    ),
    (UnOp::Atanh, libm::atanh),
    (UnOp::Erf, libm::erf),
    (UnOp::Sigmoid, |x| {
        if x < 0.0 {
            libm::exp(x) / (1.0 + libm::exp(x))
        } else {
            1.0 / (1.0 + libm::exp(-x))
        }
    }),
];

/// All exponents and signs, `n` mantissas each and the ends of each binade.
fn all_f32(n: u32) -> Vec<f32> {
    let mut x = vec![];
    let mut seed = 12345u32;
    for top in 0..512u32 {
        let mut push = |m: u32| x.push(f32::from_bits(top << 23 | m));
        push(0);
        push(1);
        push(0x7f_ffff);
        for _ in 0..n {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            push(seed >> 9);
        }
    }
    x
}

/// Distance in units of the last place of the correct result.
fn ulps32(got: f32, want: f64) -> f64 {
    let w = want as f32;
    if w.is_nan() || got.is_nan() {
        return if w.is_nan() && got.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if got == w {
        return if got.is_sign_negative() == w.is_sign_negative() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if w.is_infinite() || got.is_infinite() {
        return f64::INFINITY;
    }
    let e = (want.abs().to_bits() >> 52) as i64 - 1023;
    let ulp = libm::scalbn(1.0, (e.max(-126) - 23) as i32);
    (got as f64 - want).abs() / ulp
}
fn ulps64(got: f64, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() || got == want || want.is_infinite() || got.is_infinite() {
        let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
        return if same { 0.0 } else { f64::INFINITY };
    }
    let e = (want.abs().to_bits() >> 52) as i64 - 1023;
    (got - want).abs() / libm::scalbn(1.0, (e.max(-1022) - 52) as i32)
}

fn mantissas() -> u32 {
    std::env::var("ONNXC_MANTISSAS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(100)
}

#[test]
fn f32_within_2_ulp_with_fma_and_without() {
    let x = all_f32(mantissas());
    let mut bad = vec![];
    for (op, reference) in FUNCTIONS {
        let f = map1(*op, DType::F32, x.len());
        for (fused, f) in [(true, f.clone()), (false, unfused(&f))] {
            let y = run32(&f, &x);
            let worst = x
                .iter()
                .zip(&y)
                .map(|(x, y)| (ulps32(*y, reference(*x as f64)), *x, *y));
            let (ulp, x, y) = worst.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            println!(
                "{op:?} fused {fused}: {ulp:.3} ulp at {x:e} ({:#x}): {y:e}",
                x.to_bits()
            );
            if ulp > 2.0 {
                bad.push((*op, fused, ulp, x, y, reference(x as f64)));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn exponentials_of_what_is_not_positive() {
    let x: Vec<f32> = all_f32(mantissas())
        .into_iter()
        .filter(|x| *x <= 0.0 || x.is_nan())
        .collect();
    let mut b = Builder::new("f");
    let n = x.len() as i64;
    let from = b.buffer("x", DType::F32, n.into(), Access::Read);
    let to = b.buffer("y", DType::F32, n.into(), Access::Write);
    let n = b.i(n);
    b.for_(n, LoopKind::Lanes, |b, i| {
        let v = b.load(from, i);
        let v = super::exp_down(b, v);
        b.store(to, i, v);
    });
    let f = b.finish();
    for f in [f.clone(), unfused(&f)] {
        for (x, y) in x.iter().zip(run32(&f, &x)) {
            let want = libm::exp(f64::from(*x));
            // What is no normal number may be 0.
            let gone = y == 0.0 && want < f64::from(f32::MIN_POSITIVE);
            assert!(
                gone || ulps32(y, want) <= 2.0,
                "exp {x:e} = {y:e}, not {want:e}"
            );
        }
    }
}

#[test]
fn f64_within_4_ulp() {
    // Exponents from 2^-1074 to 2^1023, more of them around 1.
    let mut x = vec![
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1.0,
        -1.0,
    ];
    let mut seed = 99u64;
    for e in (0..2047u64).chain((1000..1040).cycle().take(3000)) {
        for sign in [0u64, 1 << 63] {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            x.push(f64::from_bits(sign | e << 52 | seed >> 12));
        }
    }
    let mut bad = vec![];
    for (op, reference) in FUNCTIONS {
        let y = run64(&map1(*op, DType::F64, x.len()), &x);
        let worst = x
            .iter()
            .zip(&y)
            .map(|(x, y)| (ulps64(*y, reference(*x)), *x, *y));
        let (ulp, x, y) = worst.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{op:?}: {ulp:.3} ulp at {x:e}: {y:e}");
        if ulp > 4.0 {
            bad.push((*op, ulp, x, y, reference(x)));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

fn pow_func(t: DType, n: usize) -> Func {
    let mut b = Builder::new("pow");
    let [x, y] = ["x", "y"].map(|s| b.buffer(s, t, (n as i64).into(), Access::Read));
    let z = b.buffer("z", t, (n as i64).into(), Access::Write);
    let n = b.i(n as i64);
    b.for_(n, LoopKind::Lanes, |b, i| {
        let (u, v) = (b.load(x, i), b.load(y, i));
        let v = b.bin(BinOp::Pow, u, v);
        b.store(z, i, v);
    });
    b.finish()
}
fn pow32(x: &[f32], y: &[f32]) -> Vec<f32> {
    let mut z = vec![0; x.len() * 4];
    let f = pow_func(DType::F32, x.len());
    run_simple(&f, vec![&mut bytes32(x), &mut bytes32(y), &mut z], &[]).unwrap();
    floats32(&z)
}
fn pow64(x: &[f64], y: &[f64]) -> Vec<f64> {
    let mut z = vec![0; x.len() * 8];
    let f = pow_func(DType::F64, x.len());
    run_simple(&f, vec![&mut bytes64(x), &mut bytes64(y), &mut z], &[]).unwrap();
    floats64(&z)
}

#[test]
fn pow_special_values() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let rows: &[(f64, f64, f64)] = &[
        (1.0, nan, 1.0),
        (nan, 0.0, 1.0),
        (nan, -0.0, 1.0),
        (nan, 1.0, nan),
        (2.0, nan, nan),
        (0.0, nan, nan),
        (-1.0, nan, nan),
        (-8.0, 1.0 / 3.0, nan),
        (-2.0, 3.0, -8.0),
        (-2.0, 2.0, 4.0),
        (-2.0, -1.0, -0.5),
        (0.0, 0.0, 1.0),
        (0.0, 2.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (0.0, -1.0, inf),
        (-0.0, -1.0, -inf),
        (-0.0, -2.0, inf),
        (-0.0, 0.5, 0.0),
        (-0.0, -0.5, inf),
        (inf, 2.0, inf),
        (inf, -2.0, 0.0),
        (inf, 0.0, 1.0),
        (-inf, 3.0, -inf),
        (-inf, 2.5, inf),
        (-inf, -3.0, -0.0),
        (0.5, inf, 0.0),
        (0.5, -inf, inf),
        (2.0, inf, inf),
        (-2.0, inf, inf),
        (-1.0, inf, 1.0),
        (-1.0, -inf, 1.0),
        (1.0, -inf, 1.0),
        (0.0, inf, 0.0),
        (0.0, -inf, inf),
        (3.0, 4.0, 81.0),
        (10.0, -2.0, 0.01),
        (2.0, 0.5, std::f64::consts::SQRT_2),
        (2.0, 2000.0, inf),
        (2.0, -2000.0, 0.0),
        (-2.0, 2001.0, -inf),
    ];
    let (x, y): (Vec<f64>, Vec<f64>) = rows.iter().map(|r| (r.0, r.1)).unzip();
    let (x32, y32): (Vec<f32>, Vec<f32>) = rows.iter().map(|r| (r.0 as f32, r.1 as f32)).unzip();
    for ((row, z), z32) in rows.iter().zip(pow64(&x, &y)).zip(pow32(&x32, &y32)) {
        assert!(ulps64(z, row.2) <= 1.0, "{row:?}: {z:?} in f64");
        assert!(ulps32(z32, row.2) <= 1.0, "{row:?}: {z32:?} in f32");
    }
}

#[test]
fn pow_is_accurate() {
    let mut seed = 7u64;
    let mut next = || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    let (mut x, mut y) = (vec![], vec![]);
    for _ in 0..20000 {
        let a = libm::exp2((next() - 0.5) * 200.0);
        x.push(a);
        // Results over the whole range of f32 and a little beyond.
        y.push((next() - 0.5) * 210.0 / libm::log(a));
    }
    let z = pow64(&x, &y);
    let worst = (0..x.len())
        .map(|i| ulps64(z[i], libm::pow(x[i], y[i])))
        .fold(0.0, f64::max);
    println!("f64 {worst} ulp");
    assert!(worst <= 4.0);
    let (x, y): (Vec<f32>, Vec<f32>) = x
        .iter()
        .zip(&y)
        .map(|(x, y)| (*x as f32, *y as f32))
        .unzip();
    let z = pow32(&x, &y);
    let worst = (0..x.len())
        .map(|i| ulps32(z[i], libm::pow(x[i] as f64, y[i] as f64)))
        .fold(0.0, f64::max);
    println!("f32 {worst} ulp");
    assert!(worst <= 1.0);
}
