//! The tiles of Winograd's transforms: machine code gives the numbers of their references, between pages that can't be
//! touched, at each level of this machine, and on aarch64 in an emulator.

use onnxc::loader::host_arch;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::References;
use onnxc_compiler::contracts::winograd_filters::Filters;
use onnxc_compiler::contracts::winograd_tiles::{In, Numbers, Out};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp::{Env, Memory, run as interpret};
use onnxc_compiler::loops::ir::{Access, Arg, BinOp, Callee, Const, Func, Ty, UnOp};
use onnxc_compiler::loops::random::Rng;
use onnxc_compiler::loops::tail::{Node, Tail};
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::run::{native_targets, run, run_executable, target};
use onnxc_tests::tools::have;

/// Emulates aarch64 on other machines.
const EMULATOR: &str = "qemu-aarch64-static";

fn targets() -> Vec<Target> {
    let mut all = native_targets();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        all.push(target(Arch::X86_64, "x86-64-v4"));
    }
    if have(EMULATOR) && all.iter().all(|t| t.arch != Arch::Aarch64) {
        all.push(target(Arch::Aarch64, ""));
    }
    assert!(!all.is_empty());
    all
}

/// Runs a function where its target can run.
fn run_on(f: &Func, symbols: &Symbols, target: &Target, bufs: &mut [Vec<u8>]) -> Result<i32> {
    match host_arch() == Some(target.arch) {
        true => run(f, symbols, &[], target, bufs),
        false => run_executable(f, symbols, &[], target, Some(EMULATOR), bufs),
    }
}

/// A call over buffers of so many elements; what is written may hold anything before.
fn calling(callee: Callee, bufs: &[(DType, i64, Access)], ints: &[i64]) -> Func {
    let mut b = Builder::new("call");
    let mut args = vec![];
    for (d, len, access) in bufs {
        let buf = b.buffer("b", *d, Dim::Fixed(*len), *access);
        let offset = b.i(0);
        args.push(Arg::Ptr { buf, offset });
    }
    args.extend(ints.iter().map(|&n| Arg::Int(b.i(n))));
    b.call(callee, args);
    b.finish()
}

/// Reals from -1 to 1; of whole numbers any, their ends among them.
fn numbers(rng: &mut Rng, d: DType, n: i64) -> Vec<u8> {
    let real = |bits: u64| (bits >> 40) as f64 / f64::from(1 << 23) - 1.0;
    let one = |_| match d {
        DType::F32 => (real(rng.bits()) as f32).to_le_bytes().to_vec(),
        DType::F64 => (real(rng.bits()) / f64::from(1 << 20))
            .to_le_bytes()
            .to_vec(),
        d => {
            let x = rng.bits();
            let ends = x >> 60 < 4;
            let byte = |i: usize| {
                if ends {
                    (x >> 50 & 1) as u8 * 255
                } else {
                    (x >> (8 * i)) as u8
                }
            };
            (0..d.size()).map(byte).collect()
        }
    };
    (0..n).flat_map(one).collect()
}

/// Runs both ways and compares the buffers in `compared`.
fn check(what: &str, f: &Func, target: &Target, start: Vec<Vec<u8>>, compared: &[usize]) {
    let symbols = Symbols::default();
    let mut got = start.clone();
    assert_eq!(run_on(f, &symbols, target, &mut got).expect(what), 0);
    let mut want = start;
    let references = References::default();
    let env = Env {
        symbols: &symbols,
        callees: &references,
        budget: None,
    };
    let mut memory = Memory::of(want.iter_mut().map(Vec::as_mut_slice).collect());
    interpret(f, &mut memory, &[], &mut vec![], &env).expect(what);
    let fused = target.arch == Arch::Aarch64 || target.machine.has("fma");
    for &k in compared {
        let buffer = f.bufs.iter().nth(k).map(|b| b.1.dtype);
        if buffer != Some(DType::F32) {
            let differ = got[k].iter().zip(&want[k]).position(|(g, w)| g != w);
            assert!(
                differ.is_none(),
                "{what} on {}: byte {differ:?}",
                target.cpu
            );
            continue;
        }
        let floats = |b: &[u8]| -> Vec<f32> {
            let chunks = b.as_chunks::<4>().0;
            chunks.iter().map(|c| f32::from_le_bytes(*c)).collect()
        };
        let (g, w) = (floats(&got[k]), floats(&want[k]));
        for (i, (g, w)) in g.iter().zip(&w).enumerate() {
            // Without fused multiplication each product is rounded once more.
            let same = g == w || (!fused && (g - w).abs() <= 1e-5 * w.abs().max(1.0));
            assert!(
                same,
                "{what} on {}: [{i}] is {g}, should be {w}",
                target.cpu
            );
        }
    }
}

#[test]
fn transforms_of_weights() {
    filters("winograd_filters_words", 2, &[DType::I8, DType::I16]);
}

#[test]
fn transforms_of_weights_of_floats() {
    filters("winograd_filters", 1, &[DType::F32]);
}

fn filters(tile: &str, per_lane: i64, all: &[DType]) {
    for t in targets() {
        let lanes = t.machine.vector.expect("a vector machine").lanes * per_lane;
        // SSE2 has too few registers for that of floats.
        let Some(tile) = t.machine.tile(tile) else {
            assert!(per_lane == 1 && lanes == 4, "{} has no {tile}", t.cpu);
            continue;
        };
        let mut rng = Rng(5);
        for (m, stored) in all.iter().flat_map(|d| [(2, *d), (4, *d)]) {
            for count in [0, 1, 2, 5] {
                let shape = Filters { m, lanes, stored };
                let plane = count * lanes + 32;
                let planes = (m + 2) * (m + 2);
                let bufs = [
                    (stored, count * 9 * lanes, Access::Read),
                    (
                        shape.made(),
                        (planes - 1) * plane + count * lanes,
                        Access::ReadWrite,
                    ),
                ];
                let f = calling(shape.callee(tile), &bufs, &[count, plane]);
                let start = bufs.iter().map(|b| numbers(&mut rng, b.0, b.1)).collect();
                let what = format!("filters F({m}) {stored:?} {count}");
                check(&what, &f, &t, start, &[1]);
            }
        }
    }
}

fn up(n: i64, to: i64) -> i64 {
    (n + to - 1) / to * to
}

#[test]
fn input_transforms() {
    inputs(&[Numbers::Floats], "winograd_in", 1);
}

#[test]
fn input_transforms_of_bytes() {
    let bytes = |signed, zero| Numbers::Bytes { signed, zero };
    let all = [
        bytes(false, 0),
        bytes(true, -128),
        bytes(false, 255),
        bytes(true, 7),
    ];
    inputs(&all, "winograd_in_words", 2);
}

fn inputs(all: &[Numbers], tile: &str, per_lane: i64) {
    for t in targets() {
        let lanes = t.machine.vector.expect("a vector machine").lanes * per_lane;
        let tile: &Tile = t.machine.tile(tile).expect("a tile");
        let mut rng = Rng(7);
        for m in [2, 4] {
            for case in 0..14i64 {
                let x = all[case as usize / 2 % all.len()];
                let (h, w) = (1 + case * 5 % 13, 1 + case * 7 % 11);
                let (top, left) = (case % 3, case / 3 % 3);
                let images = 1 + case % 2;
                let rest = [0, 1, lanes - 1, lanes / 2][case as usize % (2 + per_lane as usize)];
                let channels = match rest {
                    0 => lanes * (1 + case % 2),
                    r => r,
                };
                let pixel = channels + case % 4;
                let grid = [(h + m - 1) / m, (w + m - 1) / m];
                let all = images * grid[0] * grid[1];
                // From some tile on to the last.
                let first = all / 3 % (grid[0] * grid[1]);
                let count = all - first;
                let row = up(channels, lanes) + case % 3;
                let plane = count * row + 16;
                let planes = (m + 2) * (m + 2);
                let bufs = [
                    // The last pixel ends with the channels.
                    (
                        x.x_type(),
                        images * h * w * pixel - (pixel - channels),
                        Access::Read,
                    ),
                    (
                        x.plane_type(),
                        (planes - 1) * plane + (count - 1) * row + up(channels, lanes),
                        Access::ReadWrite,
                    ),
                    (x.x_type(), planes * up(channels, lanes), Access::ReadWrite),
                ];
                let ints = [
                    w * pixel,
                    pixel,
                    h * w * pixel,
                    h,
                    w,
                    plane,
                    row,
                    channels,
                    count,
                    first / grid[1],
                    first % grid[1],
                    grid[0],
                    grid[1],
                    top,
                    left,
                ];
                let shape = In { m, lanes, rest, x };
                let f = calling(shape.callee(tile), &bufs, &ints);
                let start = bufs.iter().map(|b| numbers(&mut rng, b.0, b.1)).collect();
                check(&format!("in F({m}) {x:?} case {case}"), &f, &t, start, &[1]);
            }
        }
    }
}

/// Tails: none; ReLU; a residual, a factor of each column, one for all, and more values at once than some machines have registers.
fn tails() -> Vec<Tail> {
    let add = |a, b| Node::Bin(BinOp::Add, a, b);
    let mul = |a, b| Node::Bin(BinOp::Mul, a, b);
    let mut long = vec![Node::Result(Ty::F32)];
    long.extend((0..13).map(|i| Node::Const(Const::F32((i as f32).to_bits()))));
    long.extend((0..13).map(|i| mul(0, i + 1)));
    long.extend((0..13).map(|i| add(if i == 0 { 0 } else { 26 + i }, i + 14)));
    vec![
        Tail::default(),
        Tail {
            nodes: vec![
                Node::Result(Ty::F32),
                Node::Const(Const::F32(0)),
                Node::Bin(BinOp::Max, 0, 1),
            ],
        },
        Tail {
            nodes: vec![
                Node::Result(Ty::F32),
                Node::Tile(DType::F32),
                add(0, 1),
                Node::Column(DType::F32),
                mul(2, 3),
                Node::Single(DType::F32),
                add(4, 5),
                Node::Tile(DType::F32),
                mul(6, 7),
            ],
        },
        Tail { nodes: long },
    ]
}

/// Tails of sums: none; to bytes by a factor of each column; the same added to other bytes; a bias.
fn whole_tails() -> Vec<(DType, Tail)> {
    use Node::{Bin, Cast, Column, Result, Tile, Un};
    let i32s = |v: i32| Node::Const(Const::I32(v));
    let bytes = |lo, hi, more: &[Node]| {
        let mut nodes = vec![
            Result(Ty::I32),
            Column(DType::F64),
            Cast(Ty::F64, 0),
            Bin(BinOp::Mul, 2, 1),
            Un(UnOp::Near, 3),
            Cast(Ty::I32, 4),
        ];
        nodes.extend(more);
        let at = nodes.len() as u8;
        nodes.extend([
            i32s(lo),
            Bin(BinOp::Max, at, at - 1),
            i32s(hi),
            Bin(BinOp::Min, at + 2, at + 1),
        ]);
        Tail { nodes }
    };
    let other = [Tile(DType::I8), Bin(BinOp::Add, 5, 6)];
    let bias = vec![Result(Ty::I32), Column(DType::I32), Bin(BinOp::Add, 0, 1)];
    vec![
        (DType::I32, Tail::default()),
        (DType::U8, bytes(0, 255, &[i32s(3), Bin(BinOp::Add, 5, 6)])),
        (DType::I8, bytes(-128, 127, &other)),
        (DType::U8, bytes(7, 90, &[])),
        (DType::I32, Tail { nodes: bias }),
    ]
}

#[test]
fn output_transforms() {
    let all: Vec<_> = tails().into_iter().map(|t| (None, t)).collect();
    outputs(&all, "winograd_out");
}

#[test]
fn output_transforms_of_sums() {
    let all: Vec<_> = whole_tails()
        .into_iter()
        .map(|(d, t)| (Some(d), t))
        .collect();
    outputs(&all, "winograd_out_words");
}

fn outputs(tails: &[(Option<DType>, Tail)], tile: &str) {
    for t in targets() {
        let lanes = t.machine.vector.expect("a vector machine").lanes;
        let tile: &Tile = t.machine.tile(tile).expect("a tile");
        let mut rng = Rng(9);
        for m in [2, 4] {
            for (case, (whole, tail)) in (0..12i64).flat_map(|c| tails.iter().map(move |t| (c, t)))
            {
                let (whole, tail) = (*whole, tail.clone());
                let sums = whole.map_or(DType::F32, |_| DType::I32);
                let (h, w) = (1 + case * 5 % 13, 1 + case * 7 % 11);
                let images = 1 + case % 2;
                let rest = [0, 1, lanes - 1][case as usize % 3];
                let columns = lanes * (case % 2 + i64::from(rest == 0)) + rest;
                let grid = [(h + m - 1) / m, (w + m - 1) / m];
                let all = images * grid[0] * grid[1];
                let first = all / 3 % (grid[0] * grid[1]);
                let count = all - first;
                let row = up(columns, lanes) + case % 3;
                let plane = count * row + 16;
                let planes = (m + 2) * (m + 2);
                let distance = columns + case % 4;
                let size = images * h * w * distance - (distance - columns);
                let mut bufs = vec![
                    (
                        sums,
                        (planes - 1) * plane + (count - 1) * row + up(columns, lanes),
                        Access::Read,
                    ),
                    (whole.unwrap_or(DType::F32), size, Access::ReadWrite),
                ];
                let mut distances = vec![];
                for kind in tail.operands() {
                    let len = match kind {
                        Node::Tile(_) => size,
                        Node::Column(_) => columns,
                        _ => 1,
                    };
                    let d = kind.element().unwrap_or(DType::F32);
                    bufs.push((d, len, Access::Read));
                    distances.push(if matches!(kind, Node::Tile(_)) {
                        distance
                    } else {
                        0
                    });
                }
                let (ty, tx) = (first / grid[1], first % grid[1]);
                let mut ints = vec![
                    plane,
                    row,
                    columns,
                    count,
                    ty,
                    tx,
                    grid[0],
                    grid[1],
                    h,
                    w,
                    ty * m * w + tx * m,
                    distance,
                    0,
                    0,
                ];
                ints.extend(distances);
                let what = format!("out F({m}) case {case} tail of {}", tail.nodes.len());
                let shape = Out {
                    m,
                    lanes,
                    rest,
                    whole,
                    tail,
                };
                let f = calling(shape.callee(tile), &bufs, &ints);
                let start = bufs.iter().map(|b| numbers(&mut rng, b.0, b.1)).collect();
                check(&what, &f, &t, start, &[1]);
            }
        }
    }
}
