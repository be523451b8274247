//! The tiles that move elements, `turn`, `byte_table`, `byte_zip`, `byte_pixels`, `byte_repeat`, `byte_strides`, `softmax_table`, `palette` and `numbers`: machine code gives the bytes of
//! their references, between pages that can't be touched, for lengths around every vector.

use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::References;
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp::{Env, Memory, run as interpret};
use onnxc_compiler::loops::ir::{Access, Arg, Func};
use onnxc_compiler::loops::random::Rng;
use onnxc_compiler::target::Target;
use onnxc_tests::run::{native_targets, run};

/// Lengths at which vectors are full, begin, or are absent.
const LENGTHS: [i64; 23] = [
    0, 1, 2, 15, 16, 17, 29, 31, 32, 33, 47, 58, 63, 64, 65, 96, 127, 128, 129, 160, 255, 256, 300,
];

fn calling(tile: &Tile, bufs: &[(i64, Access)], ints: &[i64]) -> Func {
    let bufs: Vec<_> = bufs.iter().map(|b| (b.0, DType::U8, b.1)).collect();
    calling_over(tile, &[], &bufs, ints)
}

fn calling_over(
    tile: &Tile,
    shape: &[(&str, i64)],
    bufs: &[(i64, DType, Access)],
    ints: &[i64],
) -> Func {
    let mut b = Builder::new("call");
    let mut args = vec![];
    for (len, dtype, access) in bufs {
        let buf = b.buffer("b", *dtype, Dim::Fixed(*len), *access);
        let offset = b.i(0);
        args.push(Arg::Ptr { buf, offset });
    }
    args.extend(ints.iter().map(|&n| Arg::Int(b.i(n))));
    let callee = tile.callee(shape.iter().map(|(n, v)| (n.to_string(), *v)).collect());
    b.call(callee, args);
    b.finish()
}

fn check(what: &str, f: &Func, target: &Target, start: Vec<Vec<u8>>) {
    let symbols = Symbols::default();
    let mut got = start.clone();
    assert_eq!(run(f, &symbols, &[], target, &mut got).expect(what), 0);
    let mut want = start;
    let references = References::default();
    let env = Env {
        symbols: &symbols,
        callees: &references,
        budget: None,
    };
    let mut memory = Memory::of(want.iter_mut().map(Vec::as_mut_slice).collect());
    interpret(f, &mut memory, &[], &mut vec![], &env).expect(what);
    assert_eq!(got, want, "{what} on {}", target.cpu);
}

fn bytes(rng: &mut Rng, n: i64) -> Vec<u8> {
    (0..n).map(|_| (rng.bits() >> 40) as u8).collect()
}

/// Every target of this machine that has a tile of the contract.
fn with(contract: &str, each: impl Fn(&'static Tile, &Target)) {
    let mut met = 0;
    for target in native_targets() {
        if let Some(tile) = target.machine.tile(contract) {
            each(tile, &target);
            met += 1;
        }
    }
    if cfg!(target_arch = "x86_64") {
        assert!(met > 0, "{contract} was never checked");
    }
}

#[test]
fn tables_give_each_byte_its_entry() {
    with("byte_table", |tile, target| {
        let mut rng = Rng(1);
        for n in LENGTHS {
            let bufs = [(n, Access::Read), (256, Access::Read), (n, Access::Write)];
            let f = calling(tile, &bufs, &[n]);
            let mut x = bytes(&mut rng, n);
            if n == 256 {
                x = (0..=255).collect();
            }
            let start = vec![x, bytes(&mut rng, 256), vec![0; n as usize]];
            check(&format!("table of {n}"), &f, target, start);
        }
    });
}

#[test]
fn channels_become_pixels() {
    with("byte_pixels", |tile, target| {
        let mut rng = Rng(3);
        for n in LENGTHS {
            let plane = n + 5;
            let (from, to) = (2 * plane + n, 3 * n);
            let bufs = [(from, Access::Read), (to, Access::Write)];
            let f = calling(tile, &bufs, &[plane, n]);
            let start = vec![bytes(&mut rng, from), vec![0; to as usize]];
            check(&format!("{n} pixels"), &f, target, start);
        }
    });
}

#[test]
fn elements_are_repeated() {
    with("byte_repeat", |tile, target| {
        let mut rng = Rng(4);
        for times in 2..=16 {
            for n in LENGTHS {
                let to = times * n;
                let bufs = [(n, DType::U8, Access::Read), (to, DType::U8, Access::Write)];
                let f = calling_over(tile, &[("times", times)], &bufs, &[n, 1]);
                let start = vec![bytes(&mut rng, n), vec![0; to as usize]];
                check(&format!("{n} bytes {times} times"), &f, target, start);
                let bufs = [
                    (n, DType::F32, Access::Read),
                    (to, DType::F32, Access::Write),
                ];
                let f = calling_over(tile, &[("times", times), ("size", 4)], &bufs, &[n, 1]);
                let start = vec![bytes(&mut rng, 4 * n), vec![0; 4 * to as usize]];
                check(&format!("{n} floats {times} times"), &f, target, start);
            }
        }
        // Rows that are repeated as well.
        for (times, lines, rows) in [(2, 2, 5), (3, 1, 4), (5, 3, 0), (16, 16, 2), (4, 7, 1)] {
            for (size, dtype) in [(1, DType::U8), (4, DType::F32)] {
                for n in [0, 1, 3, 4, 5, 14, 15, 16, 17, 40, 63] {
                    let (from, to) = (rows * n, rows * n * times * lines);
                    let bufs = [(from, dtype, Access::Read), (to, dtype, Access::Write)];
                    let shape = [("times", times), ("lines", lines), ("size", size)];
                    let f = calling_over(tile, &shape, &bufs, &[n, rows]);
                    let out = vec![0; (size * to) as usize];
                    let start = vec![bytes(&mut rng, size * from), out];
                    let what = format!("{rows} rows of {n} elements of {size} bytes {shape:?}");
                    check(&what, &f, target, start);
                }
            }
        }
    });
}

#[test]
fn bytes_apart_come_together() {
    with("byte_strides", |tile, target| {
        let mut rng = Rng(6);
        for step in 2..=4 {
            for n in LENGTHS {
                let from = (step * (n - 1) + 1).max(0);
                let bufs = [
                    (from, DType::U8, Access::Read),
                    (n, DType::U8, Access::Write),
                ];
                let f = calling_over(tile, &[("step", step)], &bufs, &[n]);
                let start = vec![bytes(&mut rng, from), vec![0; n as usize]];
                check(&format!("{n} bytes, {step} apart"), &f, target, start);
            }
        }
    });
}

#[test]
fn matrices_are_turned() {
    with("turn", |tile, target| {
        let mut rng = Rng(5);
        for (size, dtype) in [(1, DType::U8), (2, DType::U16), (4, DType::U32)] {
            let sizes = (1..=9).chain([16, 23]);
            for (rows, cols) in sizes
                .clone()
                .flat_map(|r| sizes.clone().map(move |c| (r, c)))
            {
                // Rows that follow one another, and rows apart.
                for apart in [0, 3] {
                    let few = |n: i64| {
                        if (2..8).contains(&n) && apart == 0 {
                            n
                        } else {
                            0
                        }
                    };
                    let shape = [
                        ("size", size),
                        ("rows", few(rows)),
                        ("cols", if few(rows) == 0 { few(cols) } else { 0 }),
                    ];
                    let count = (rows + cols) % 4;
                    let (x_row, out_row) = (cols + apart, rows + apart);
                    let (x_next, out_next) = (rows * x_row, cols * out_row);
                    let lens = [count * x_next, count * out_next];
                    let bufs = [
                        (lens[0], dtype, Access::Read),
                        (lens[1], dtype, Access::ReadWrite),
                    ];
                    let ints = [rows, cols, x_row, out_row, count, x_next, out_next];
                    let f = calling_over(tile, &shape, &bufs, &ints);
                    // What lies between rows of the result stays.
                    let start = lens.map(|n| bytes(&mut rng, n * size)).to_vec();
                    let what = format!("{count} of {rows} x {cols}, {size} bytes, {apart} apart");
                    check(&what, &f, target, start);
                }
            }
        }
    });
}

#[test]
fn rows_have_a_table_of_shares() {
    with("softmax_table", |tile, target| {
        let mut rng = Rng(6);
        for (signed, to_signed) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for n in LENGTHS.into_iter().filter(|n| *n >= 32) {
                for ratio in [0.98f64, 0.74] {
                    let bufs = [
                        (n, DType::U8, Access::Read),
                        (512, DType::F64, Access::Read),
                        (2, DType::F64, Access::Read),
                        (256, DType::U8, Access::Write),
                    ];
                    let shape = [("signed", signed), ("to_signed", to_signed)];
                    let f = calling_over(tile, &shape, &bufs, &[n]);
                    let powers = std::iter::successors(Some(1e12f64), |p| Some(p * ratio));
                    let mut rising: Vec<f64> = powers.take(256).map(f64::trunc).collect();
                    rising.reverse();
                    rising.resize(512, 0.0);
                    let floats = |v: Vec<f64>| v.into_iter().flat_map(f64::to_le_bytes).collect();
                    let start = vec![
                        bytes(&mut rng, n),
                        floats(rising),
                        floats(vec![256.0, f64::from(-128 * to_signed as i32)]),
                        vec![0; 256],
                    ];
                    check(&format!("shares of {n}"), &f, target, start);
                }
            }
        }
    });
}

#[test]
fn rows_take_turns() {
    with("byte_zip", |tile, target| {
        let mut rng = Rng(2);
        for n in LENGTHS {
            for count in [0, 1, 3] {
                let all = 2 * n * count;
                let f = calling(
                    tile,
                    &[(all, Access::Read), (all, Access::Write)],
                    &[n, count],
                );
                let start = vec![bytes(&mut rng, all), vec![0; all as usize]];
                check(&format!("{count} pairs of {n}"), &f, target, start);
            }
        }
    });
}

#[test]
fn halves_of_bytes_give_floats_of_a_table() {
    with("palette", |tile, target| {
        let mut rng = Rng(3);
        for n in [0, 1, 2, 7, 64] {
            let bufs = [
                (16 * n, DType::U8, Access::Read),
                (16, DType::F32, Access::Read),
                (32 * n, DType::F32, Access::Write),
            ];
            let f = calling_over(tile, &[], &bufs, &[n]);
            let floats = |rng: &mut Rng, n: i64| -> Vec<u8> {
                let one = |_| (rng.bits() as i8 as f32 * 0.37).to_le_bytes();
                (0..n).flat_map(one).collect()
            };
            let codes = bytes(&mut rng, 16 * n);
            let start = vec![codes, floats(&mut rng, 16), vec![0; 128 * n as usize]];
            check(&format!("{n} times 32"), &f, target, start);
        }
    });
}

/// Numbers as `numbers` has them stored: so many bytes each, with a list of a few.
fn stored(rng: &mut Rng, n: i64, size: i64, how: u8, listed: i64) -> Vec<u8> {
    let mut all = 1.5f32.to_le_bytes().to_vec();
    all.extend(77_000i32.to_le_bytes());
    all.extend((listed as u16).to_le_bytes());
    all.extend([size as u8, how]);
    all.extend(bytes(rng, n * size));
    all.resize(all.len().next_multiple_of(2), 0);
    for k in 0..listed {
        all.extend(((k * 7 % n) as u16).to_le_bytes());
        all.extend((k as f32 - 3.25).to_le_bytes());
    }
    all
}

#[test]
fn numbers_of_channels_are_written_out() {
    with("numbers", |tile, target| {
        let mut rng = Rng(4);
        for n in [16, 17, 24, 31, 200] {
            for (to, hows) in [(DType::I32, 0..1), (DType::F32, 0..4u8)] {
                for how in hows {
                    for (size, listed) in [(0, 5), (1, 0), (1, 3), (2, 1), (3, 0), (3, 4)] {
                        let start = stored(&mut rng, n, size, how, listed);
                        let shape = [("to", i64::from(to.onnx())), ("of", 0)];
                        let bufs = [
                            (start.len() as i64, DType::U8, Access::Read),
                            (n, to, Access::Write),
                        ];
                        let f = calling_over(tile, &shape, &bufs, &[n]);
                        let start = vec![start, vec![0; 4 * n as usize]];
                        let what = format!("{n} numbers of {size} bytes, {how}, {listed} listed");
                        check(&what, &f, target, start);
                    }
                }
            }
            let start = stored(&mut rng, n, 0, 0, 2);
            let of = (0..n).flat_map(|i| (i as f32 * 0.37 - 9.0).to_le_bytes());
            let of: Vec<u8> = of.collect();
            let shape = [("to", i64::from(DType::F32.onnx())), ("of", 1)];
            let bufs = [
                (start.len() as i64, DType::U8, Access::Read),
                (n, DType::F32, Access::Read),
                (n, DType::F32, Access::Write),
            ];
            let f = calling_over(tile, &shape, &bufs, &[n]);
            let start = vec![start, of, vec![0; 4 * n as usize]];
            check(&format!("{n} multiples"), &f, target, start);
        }
    });
}
