use super::*;
use crate::base::dim::{Dim, Origin, Symbol};
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::*;

fn bytes<T: Copy, const N: usize>(v: &[T], f: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    v.iter().flat_map(|x| f(*x)).collect()
}
fn f32s(b: &[u8]) -> Vec<f32> {
    b.chunks(4)
        .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
        .collect()
}

/// out[i] = f(in[i])
fn map(from: DType, to: DType, n: i64, f: impl FnOnce(&mut Builder, ExprId) -> ExprId) -> Func {
    let mut b = Builder::new("map");
    let x = b.buffer("x", from, n.into(), Access::Read);
    let y = b.buffer("y", to, n.into(), Access::Write);
    let n = b.i(n);
    b.for_(n, LoopKind::Lanes, |b, i| {
        let v = b.load(x, i);
        let v = f(b, v);
        b.store(y, i, v);
    });
    b.finish()
}

#[test]
fn adds_elements() {
    let f = map(DType::F32, DType::F32, 3, |b, v| b.add(v, v));
    let mut x = bytes(&[1f32, 2.5, -4.0], f32::to_le_bytes);
    let mut y = vec![0; 12];
    run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
    assert_eq!(f32s(&y), [2.0, 5.0, -8.0]);
}

#[test]
fn in_place_and_overlapping() {
    let f = map(DType::F32, DType::F32, 3, |b, v| {
        let two = b.f(2.0);
        b.mul(v, two)
    });
    let mut x = bytes(&[1f32, 2.0, 3.0, 0.0], f32::to_le_bytes);
    let mut m = Memory::new();
    let r = m.region(&mut x);
    m.buffer(Place {
        region: r,
        offset: 0,
        bytes: 12,
    });
    m.buffer(Place {
        region: r,
        offset: 4,
        bytes: 12,
    });
    let env = Env {
        symbols: &Default::default(),
        callees: &NoCallees,
        budget: Some(10),
    };
    run(&f, &mut m, &[], &mut vec![], &env).unwrap();
    // Written one element behind: each value is twice the one before.
    assert_eq!(f32s(m.bytes(0)), [1.0, 2.0, 4.0, 8.0]);
}

#[test]
fn an_access_outside_is_a_fault_and_touches_nothing() {
    let mut b = Builder::new("layer");
    let x = b.buffer("x", DType::I32, 2.into(), Access::Write);
    let at = b.int_param();
    let one = b.int(Ty::I32, 1);
    b.store(x, at, one);
    let f = b.finish();
    for at in [2, -1, i64::MIN, i64::MAX] {
        let mut mem = vec![0; 8];
        let stop = run_simple(&f, vec![&mut mem], &[at]).unwrap_err();
        let Stop::Fault(what) = stop else { panic!() };
        assert!(
            what.contains("layer") && what.contains("buffer x"),
            "{what}"
        );
        assert_eq!(mem, [0; 8]);
    }
}

#[test]
fn declared_lengths_are_held() {
    let f = map(DType::U8, DType::U8, 3, |_, v| v);
    let mut b = Builder::resume(f);
    let x = BufId(0);
    let (i, z) = (b.i(3), b.int(Ty::I32, 0));
    let _ = b.load(x, i);
    b.store(BufId(1), i, z);
    let f = b.finish();
    assert!(run_simple(&f, vec![&mut [0; 8], &mut [0; 8]], &[]).is_err());
}

#[test]
fn total_division_shifts_and_casts() {
    let mut b = Builder::new("t");
    let out = b.buffer("out", DType::I64, 32.into(), Access::Write);
    let (x, y) = (b.int_param(), b.int_param());
    let fx = b.cast(Ty::F32, x);
    let (x32, y32) = (b.cast(Ty::I32, x), b.cast(Ty::I32, y));
    let narrow: Vec<ExprId> = [BinOp::Div, BinOp::Rem, BinOp::DivU, BinOp::RemU, BinOp::Shl]
        .into_iter()
        .map(|op| b.bin(op, x32, y32))
        .collect();
    let mut all: Vec<ExprId> = [
        BinOp::Div,
        BinOp::Rem,
        BinOp::DivU,
        BinOp::Shr,
        BinOp::ShrU,
        BinOp::MulHiU,
    ]
    .into_iter()
    .map(|op| b.bin(op, x, y))
    .collect();
    for e in narrow {
        all.push(b.cast(Ty::I64, e));
    }
    all.push(b.cast(Ty::I64, fx));
    all.push(b.cast_as(Ty::I64, CastKind::Unsigned, fx));
    let f32to32 = b.cast(Ty::I32, fx);
    all.push(b.cast(Ty::I64, f32to32));
    all.push(b.cast_as(Ty::I64, CastKind::Unsigned, x32));
    for (k, e) in all.into_iter().enumerate() {
        let k = b.i(k as i64);
        b.store(out, k, e);
    }
    let f = b.finish();
    let eval = |x: i64, y: i64| {
        let mut mem = vec![0; 32 * 8];
        run_simple(&f, vec![&mut mem], &[x, y]).unwrap();
        let v: Vec<i64> = mem
            .chunks(8)
            .map(|c| i64::from_le_bytes(c.try_into().unwrap()))
            .collect();
        v[..15].to_vec()
    };
    assert_eq!(
        eval(-7, 2),
        [
            -3,
            -1,
            i64::MAX - 3,
            -2,
            (1 << 62) - 2,
            1,
            -3,
            -1,
            (u32::MAX / 2 - 3) as i64,
            1,
            -28,
            -7,
            0,
            -7,
            u32::MAX as i64 - 6
        ]
    );
    let min = i64::MIN;
    assert_eq!(eval(min, -1)[..6], [min, 0, 0, -1, 1, i64::MAX]);
    assert_eq!(eval(min, 0)[..5], [0, 0, 0, min, min]);
    assert_eq!(eval(min, 0)[11..14], [min, 0, i32::MIN as i64]);
    assert_eq!(eval(5, 33)[10], 10);
}

#[test]
fn storage_types() {
    // f16 rounds half to even, overflows to infinity; small integers wrap.
    let f = map(DType::F32, DType::F16, 4, |_, v| v);
    let mut x = bytes(
        &[1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65520.0, 1e-8f32],
        f32::to_le_bytes,
    );
    let mut y = vec![0; 8];
    run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
    assert_eq!(y, [0x00, 0x3c, 0x02, 0x3c, 0x00, 0x7c, 0x00, 0x00]);
    let f = map(DType::F32, DType::BF16, 2, |_, v| v);
    let mut x = bytes(&[0x3f80_8000u32, 0x3f81_8000], u32::to_le_bytes);
    let mut y = vec![0; 4];
    run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
    assert_eq!(y, [0x80, 0x3f, 0x82, 0x3f]);
    for (to, want) in [
        (DType::I4, [0xf9u8, 7]),
        (DType::U4, [9, 7]),
        (DType::I2, [1, 0xff]),
        (DType::U8, [9, 7]),
    ] {
        let f = map(DType::I32, to, 2, |_, v| v);
        let mut x = bytes(&[9i32, 7], i32::to_le_bytes);
        let mut y = vec![0; 2];
        run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
        assert_eq!(y, want, "{to}");
    }
    let f = map(DType::U32, DType::I64, 1, |_, v| v);
    let mut y = vec![0; 8];
    run_simple(&f, vec![&mut [0xff; 4], &mut y], &[]).unwrap();
    assert_eq!(y, (u32::MAX as i64).to_le_bytes());
    let f = map(DType::Bool, DType::Bool, 2, |b, v| b.un(UnOp::Not, v));
    let mut y = vec![7; 2];
    run_simple(&f, vec![&mut [0, 5], &mut y], &[]).unwrap();
    assert_eq!(y, [1, 0]);
}

#[test]
fn nan_rules() {
    let nan = f32::NAN;
    let f = map(DType::F32, DType::F32, 3, |b, v| {
        let one = b.f(1.0);
        b.min(v, one)
    });
    let mut x = bytes(&[nan, 0.5, 2.0], f32::to_le_bytes);
    let mut y = vec![0; 12];
    run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
    assert_eq!(f32s(&y), [1.0, 0.5, 1.0]);
    // What arithmetic makes is the positive quiet NaN on every host.
    let f = map(DType::F32, DType::F32, 3, |b, v| b.sub(v, v));
    let mut x = bytes(&[f32::INFINITY, -nan, 1.0], f32::to_le_bytes);
    run_simple(&f, vec![&mut x, &mut y], &[]).unwrap();
    assert_eq!(y[..8], [0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f]);
}

#[test]
fn loops_branches_and_variables() {
    // Collatz steps of n, with a nested loop whose bound is hoisted.
    let mut b = Builder::new("collatz");
    let out = b.buffer("out", DType::I64, 2.into(), Access::Write);
    let n = b.int_param();
    let (zero, one, two) = (b.i(0), b.i(1), b.i(2));
    let (v, steps) = (b.var(n), b.var(zero));
    let x = b.get(v);
    let more = b.lt(one, x);
    b.while_(more, |b| {
        let x = b.get(v);
        let odd = b.and(x, one);
        let odd = b.eq(odd, one);
        b.if_(
            odd,
            |b| {
                let three = b.i(3);
                let y = b.mul(x, three);
                let y = b.add(y, one);
                b.set(v, y);
            },
            |b| {
                let y = b.div(x, two);
                b.set(v, y);
            },
        );
        let s = b.get(steps);
        let s = b.add(s, one);
        b.set(steps, s);
    });
    let s = b.get(steps);
    b.store(out, zero, s);
    let sum = b.var(zero);
    b.for_(n, LoopKind::Seq, |b, i| {
        let bound = b.add(i, n);
        b.for_(bound, LoopKind::Unroll, |b, j| {
            let k = b.mul(n, n);
            let t = b.add(k, j);
            let s = b.get(sum);
            let s = b.add(s, t);
            b.set(sum, s);
        });
    });
    let s = b.get(sum);
    b.store(out, one, s);
    let f = b.finish();
    let mut mem = vec![0; 16];
    run_simple(&f, vec![&mut mem], &[27]).unwrap();
    assert_eq!(mem[..8], 111i64.to_le_bytes());
    let want: i64 = (0..27).flat_map(|i| (0..i + 27).map(|j| 27 * 27 + j)).sum();
    assert_eq!(mem[8..], want.to_le_bytes());
}

#[test]
fn symbols_statuses_and_steps() {
    let symbols: Symbols = {
        let mut s = Symbols::default();
        s.push(Symbol {
            name: "N".into(),
            lo: 0,
            hi: 8,
            origin: Origin::Data,
        });
        s
    };
    let env = Env {
        symbols: &symbols,
        callees: &NoCallees,
        budget: Some(1000),
    };
    let mut b = Builder::new("set");
    let s = SymId(0);
    let out = b.buffer("out", DType::I64, Dim::sym(s), Access::Write);
    let n = b.dim(&Dim::sym(s));
    let three = b.i(3);
    let m = b.add(n, three);
    b.set_sym(s, m);
    let n = b.dim(&Dim::sym(s));
    let big = b.lt(three, n);
    let at = b.i(4);
    b.store(out, at, n);
    b.fail_if(big, 7);
    let f = b.finish();
    let (mut mem, mut syms) = (vec![0; 64], vec![2]);
    let stop = run(&f, &mut Memory::of(vec![&mut mem]), &[], &mut syms, &env);
    assert_eq!(stop, Err(Stop::Status(7)));
    assert_eq!((syms[0], &mem[32..40]), (5, &5i64.to_le_bytes()[..]));
    let stop = run(&f, &mut Memory::of(vec![&mut mem]), &[], &mut vec![6], &env);
    assert_eq!(stop, Err(Stop::Size { sym: s, value: 9 }));

    let mut b = Builder::new("forever");
    let t = b.bool(true);
    b.while_(t, |_| ());
    let stop = run(&b.finish(), &mut Memory::new(), &[], &mut vec![], &env);
    assert!(matches!(stop, Err(Stop::Fault(_))));
}

struct Scale;
impl CalleeResolver for Scale {
    fn reference(&self, c: &Callee) -> Option<Arc<Func>> {
        let by = c.shape.first().filter(|_| c.contract == "scale")?.1;
        let mut b = Builder::new("scale");
        let y = b.buffer("y", DType::F32, 0.into(), Access::ReadWrite);
        let n = b.int_param();
        let by = b.f(by as f32);
        b.for_(n, LoopKind::Seq, |b, i| {
            let v = b.load(y, i);
            let v = b.mul(v, by);
            b.store(y, i, v);
        });
        Some(Arc::new(b.finish()))
    }
}

#[test]
fn calls_run_the_reference() {
    let symbols = Symbols::default();
    let env = Env {
        symbols: &symbols,
        callees: &Scale,
        budget: None,
    };
    let call = |contract: &str, n: i64, access: Access| {
        let mut b = Builder::new("caller");
        let x = b.buffer("x", DType::F32, 4.into(), access);
        let (at, n) = (b.i(1), b.i(n));
        let callee = Callee {
            kernel: "scale_sse2".into(),
            contract: contract.into(),
            shape: vec![("by".into(), 10)],
        };
        b.call(callee, vec![Arg::Int(n), Arg::Ptr { buf: x, offset: at }]);
        let mut mem = bytes(&[1f32, 2.0, 3.0, 4.0], f32::to_le_bytes);
        let r = run(
            &b.finish(),
            &mut Memory::of(vec![&mut mem]),
            &[],
            &mut vec![],
            &env,
        );
        r.map(|_| f32s(&mem))
    };
    assert_eq!(
        call("scale", 2, Access::ReadWrite).unwrap(),
        [1.0, 20.0, 30.0, 4.0]
    );
    for (contract, n, access) in [
        ("scale", 4, Access::ReadWrite),
        ("unknown", 1, Access::ReadWrite),
        ("scale", 1, Access::Read),
    ] {
        assert!(matches!(call(contract, n, access), Err(Stop::Fault(_))));
    }
}
