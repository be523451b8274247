//! Generated code of every operation, for every level of both architectures: no instruction outside the declared features, no trap.

use onnxc_compiler::base::dim::Dim;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::codegen::{self, Options};
use onnxc_compiler::contracts::gemm_blocked::callee;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::ir::{Access, Arg, BinOp, CastKind, Func, LoopKind, Ty, UnOp};
use onnxc_compiler::plan::program::{Layer, Place, Program, Step};
use onnxc_compiler::target::{Arch, Target};
use onnxc_targets::features::FeatureSet;
use onnxc_targets::flags::Selection;
use onnxc_targets::{machine, triple};
use onnxc_tests::instructions::outside;

const LEN: i64 = 37;

fn target(arch: Arch, cpu: &str, landing_pads: bool) -> Target {
    let name = format!("{arch}-unknown-linux-gnu");
    let triple = triple::Target::parse(&name).unwrap();
    let mut selection = Selection::base(arch);
    selection.set_cpu(cpu).unwrap();
    selection.protection.landing = landing_pads;
    machine::target(&triple, &selection)
}

/// A function that stores `f(x, y)` for every element of two buffers.
fn each(
    name: &str,
    from: DType,
    to: DType,
    kind: LoopKind,
    f: impl FnOnce(
        &mut Builder,
        [onnxc_compiler::loops::ir::ExprId; 2],
    ) -> onnxc_compiler::loops::ir::ExprId,
) -> Func {
    let mut b = Builder::new(name);
    let len = Dim::Fixed(LEN);
    let x = b.buffer("x", from, len.clone(), Access::Read);
    let y = b.buffer("y", from, len.clone(), Access::Read);
    let z = b.buffer("z", to, len.clone(), Access::Write);
    b.for_dim(&len, kind, |b, i| {
        let (p, q) = (b.load(x, i), b.load(y, i));
        let value = f(b, [p, q]);
        b.store(z, i, value);
    });
    b.finish()
}

/// The storage type to test a computing type with.
fn storage(ty: Ty) -> DType {
    match ty {
        Ty::F32 => DType::F32,
        Ty::F64 => DType::F64,
        Ty::I32 => DType::I32,
        Ty::I64 => DType::I64,
        Ty::Bool => DType::Bool,
    }
}

const NUMBERS: [Ty; 4] = [Ty::F32, Ty::F64, Ty::I32, Ty::I64];

fn unary() -> Vec<Func> {
    use UnOp::*;
    let any = [Neg, Abs];
    let float = [
        Sqrt, Floor, Ceil, Trunc, Round, Exp, Expm1, Log, Log1p, Log2, Sin, Cos, Tan, Asin, Acos,
        Atan, Sinh, Cosh, Tanh, Asinh, Acosh, Atanh, Erf, Sigmoid,
    ];
    let int = [Not, Popcnt];
    let mut out = vec![];
    for kind in [LoopKind::Seq, LoopKind::Lanes] {
        for ty in NUMBERS {
            let more: &[UnOp] = if ty.is_float() { &float } else { &int };
            for &op in any.iter().chain(more) {
                let d = storage(ty);
                out.push(each("un", d, d, kind, |b, [x, _]| b.un(op, x)));
            }
        }
    }
    out
}

fn binary() -> Vec<Func> {
    use BinOp::*;
    let any = [Add, Sub, Mul, Div, Min, Max];
    let int = [
        Rem, DivU, RemU, MinU, MaxU, And, Or, Xor, Shl, Shr, ShrU, LtU, LeU,
    ];
    let compare = [Eq, Ne, Lt, Le];
    let mut out = vec![];
    for kind in [LoopKind::Seq, LoopKind::Lanes] {
        for ty in NUMBERS {
            let more: &[BinOp] = match ty {
                Ty::I32 | Ty::I64 => &int,
                _ => &[Pow],
            };
            for &op in any.iter().chain(&compare).chain(more) {
                let bool = matches!(op, Eq | Ne | Lt | Le | LtU | LeU);
                let to = if bool { DType::Bool } else { storage(ty) };
                out.push(each("bin", storage(ty), to, kind, |b, [x, y]| {
                    b.bin(op, x, y)
                }));
            }
            out.push(each("fma", storage(ty), storage(ty), kind, |b, [x, y]| {
                if ty.is_float() {
                    return b.fma(x, y, x);
                }
                let c = b.lt(x, y);
                b.select(c, x, y)
            }));
        }
        out.push(each("mulhi", DType::I64, DType::I64, kind, |b, [x, y]| {
            b.bin(MulHiU, x, y)
        }));
    }
    out
}

fn casts() -> Vec<Func> {
    let mut out = vec![];
    for kind in [LoopKind::Seq, LoopKind::Lanes] {
        for from in [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool] {
            for to in [Ty::F32, Ty::F64, Ty::I32, Ty::I64, Ty::Bool] {
                for how in [CastKind::Signed, CastKind::Unsigned] {
                    out.push(each(
                        "cast",
                        storage(from),
                        storage(to),
                        kind,
                        |b, [x, _]| b.cast_as(to, how, x),
                    ));
                }
            }
        }
        for d in [
            DType::F16,
            DType::BF16,
            DType::I8,
            DType::U8,
            DType::I16,
            DType::U16,
            DType::U32,
        ] {
            out.push(each("store", d, d, kind, |b, [x, y]| {
                b.bin(BinOp::Add, x, y)
            }));
        }
    }
    out
}

/// A call of each tile that the target has.
fn tiles(target: &Target) -> Vec<Func> {
    let mut out = vec![];
    for tile in &target.machine.tiles {
        let there = tile.needs.iter().all(|f| target.machine.has(f));
        if tile.contract != "gemm_tile" || !there {
            continue;
        }
        let mut b = Builder::new("tile");
        let bufs = [Access::Read, Access::Read, Access::ReadWrite]
            .map(|access| b.buffer("m", DType::F32, Dim::Fixed(4096), access));
        let (zero, one, k) = (b.i(0), b.i(1), b.i(9));
        let [a, x, c] = bufs.map(|buf| Arg::Ptr { buf, offset: zero });
        let int = Arg::Int;
        let args = vec![a, int(k), int(one), x, int(k), c, int(k), int(k)];
        b.call(callee(tile, tile.tile.0, tile.tile.1 - 1, true), args);
        out.push(b.finish());
    }
    out
}

fn program(funcs: Vec<Func>) -> Program {
    let mut p = Program {
        arena_bytes: 1 << 20,
        peak_bytes: 1 << 20,
        ..Program::default()
    };
    for (n, func) in funcs.into_iter().enumerate() {
        let args = (0..func.bufs.len()).map(|i| Place::Arena(64 + 65536 * i as u64));
        let name = format!("{n:03}_{}", func.name);
        let layer = Layer::of(name, p.funcs.push(func), args.collect());
        p.steps.push(Step::Layer(p.layers.push(layer)));
    }
    p
}

fn check(arch: Arch, cpu: &str, landing_pads: bool) {
    let target = target(arch, cpu, landing_pads);
    let funcs = [unary(), binary(), casts(), tiles(&target)].concat();
    let program = program(funcs);
    let options = Options::default();
    let code = codegen::generate(&program, &target, &options).unwrap_or_else(|e| panic!("{e}"));
    let object = codegen::object::write(&code, &program, &options, &[0; 64])
        .unwrap_or_else(|e| panic!("{e}"));
    let features = machine::features(arch, &target.machine);
    let found = outside(&object, arch, features);
    let some: Vec<&String> = found.iter().take(20).collect();
    assert!(
        found.is_empty(),
        "{cpu}: {} findings: {some:#?}",
        found.len()
    );
    if target.machine.has("avx2") {
        // The audit does see them.
        assert!(!outside(&object, arch, FeatureSet::base(arch)).is_empty());
    }
    let bad = codegen::object::audit(&object, &options.prefix);
    assert!(bad.is_empty(), "{cpu}: {bad:?}");
}

#[test]
fn x86_64_base() {
    check(Arch::X86_64, "x86-64", false);
}

#[test]
fn x86_64_v2() {
    check(Arch::X86_64, "x86-64-v2", true);
}

#[test]
fn x86_64_v3() {
    check(Arch::X86_64, "x86-64-v3", true);
}

#[test]
fn x86_64_v4() {
    check(Arch::X86_64, "x86-64-v4", false);
}

#[test]
fn aarch64_base() {
    check(Arch::Aarch64, "generic", true);
}

#[test]
fn aarch64_big() {
    check(Arch::Aarch64, "neoverse-n2", false);
}
