//! The tiles of sparse products, one after another as a product calls them: machine code gives the numbers of their references, between
//! pages that can't be touched, at each level of this machine, and on aarch64 in an emulator.

use onnxc::loader::host_arch;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::References;
use onnxc_compiler::contracts::sparse::numbers::{Near, Numbers};
use onnxc_compiler::contracts::sparse::pattern::{Rows, blocks, encode};
use onnxc_compiler::contracts::sparse::product::tiles;
use onnxc_compiler::contracts::sparse::tiles::{In, Out, Strip};
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp::{Env, Memory, run as interpret};
use onnxc_compiler::loops::ir::{Access, Arg, BinOp, BufId, Callee, Const, Func, Ty, UnOp};
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
    // Products of bytes.
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vnni") {
        all.push(target(Arch::X86_64, "cascadelake"));
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avxvnni") {
        all.push(target(Arch::X86_64, "alderlake"));
    }
    if have(EMULATOR) && all.iter().all(|t| t.arch != Arch::Aarch64) {
        all.push(target(Arch::Aarch64, ""));
        all.push(target(Arch::Aarch64, "cortex-a76"));
    }
    assert!(!all.is_empty());
    all
}

fn run_on(f: &Func, target: &Target, bufs: &mut [Vec<u8>]) -> Result<i32> {
    let symbols = Symbols::default();
    match host_arch() == Some(target.arch) {
        true => run(f, &symbols, &[], target, bufs),
        false => run_executable(f, &symbols, &[], target, Some(EMULATOR), bufs),
    }
}

/// A function and what its buffers hold.
struct Calls {
    b: Builder,
    bufs: Vec<Vec<u8>>,
    rng: Rng,
}

impl Calls {
    fn buffer(&mut self, d: DType, len: i64, access: Access) -> BufId {
        let rng = &mut self.rng;
        let one = |_| match d {
            DType::F32 => ((rng.bits() % 64) as f32 - 32.0).to_le_bytes().to_vec(),
            DType::F64 => (rng.bits() as f64 / 1e22).to_le_bytes().to_vec(),
            d => rng.bits().to_le_bytes()[..d.size()].to_vec(),
        };
        self.bufs.push((0..len).flat_map(one).collect());
        self.b.buffer("b", d, Dim::Fixed(len), access)
    }
    fn given(&mut self, d: DType, data: Vec<u8>) -> BufId {
        let len = (data.len() / d.size()) as i64;
        self.bufs.push(data);
        self.b.buffer("b", d, Dim::Fixed(len), Access::Read)
    }
    fn call(&mut self, callee: Callee, bufs: &[BufId], ints: &[i64]) {
        let mut args = vec![];
        for &buf in bufs {
            let offset = self.b.i(0);
            args.push(Arg::Ptr { buf, offset });
        }
        args.extend(ints.iter().map(|&n| Arg::Int(self.b.i(n))));
        self.b.call(callee, args);
    }
}

/// Tails of floats: none; a bias and ReLU; a residual, a factor of each column, one for all.
fn float_tails() -> Vec<(DType, Tail)> {
    let add = |a, b| Node::Bin(BinOp::Add, a, b);
    let relu = vec![
        Node::Result(Ty::F32),
        Node::Column(DType::F32),
        add(0, 1),
        Node::Const(Const::F32(0)),
        Node::Bin(BinOp::Max, 2, 3),
    ];
    let many = vec![
        Node::Result(Ty::F32),
        Node::Tile(DType::F32),
        add(0, 1),
        Node::Column(DType::F32),
        Node::Bin(BinOp::Mul, 2, 3),
        Node::Single(DType::F32),
        add(4, 5),
        Node::Tile(DType::F32),
        Node::Bin(BinOp::Mul, 6, 7),
    ];
    let all = [vec![], relu, many];
    all.map(|nodes| (DType::F32, Tail { nodes })).to_vec()
}

/// Tails of sums: none; to bytes by a factor of each column; the same added to other bytes, not limited; a bias.
fn whole_tails() -> Vec<(DType, Tail)> {
    use Node::{Bin, Cast, Column, Result, Single, Tile, Un};
    let i32s = |v: i32| Node::Const(Const::I32(v));
    let start = |factor: Node| {
        vec![
            Result(Ty::I32),
            factor,
            Cast(Ty::F64, 0),
            Bin(BinOp::Mul, 2, 1),
            Un(UnOp::Near, 3),
            Cast(Ty::I32, 4),
        ]
    };
    let limited = |mut nodes: Vec<Node>, lo, hi| {
        let at = nodes.len() as u8;
        nodes.extend([
            i32s(lo),
            Bin(BinOp::Max, at, at - 1),
            i32s(hi),
            Bin(BinOp::Min, at + 2, at + 1),
        ]);
        Tail { nodes }
    };
    let mut wrapped = start(Single(DType::F64));
    wrapped.extend([Tile(DType::I8), Bin(BinOp::Add, 5, 6)]);
    let bias = vec![
        Result(Ty::I32),
        Column(DType::I32),
        Bin(BinOp::Add, 0, 1),
        Column(DType::I8),
        Bin(BinOp::Add, 2, 3),
    ];
    vec![
        (DType::I32, Tail::default()),
        (DType::U8, limited(start(Column(DType::F64)), 0, 255)),
        (DType::I8, Tail { nodes: wrapped }),
        (DType::I8, limited(start(Column(DType::F64)), -128, 127)),
        (DType::I32, Tail { nodes: bias }),
    ]
}

/// A product of `pixels` pixels by weights of which one in five is kept.
fn product(
    t: &Target,
    numbers: Numbers,
    [block, chains, units, pixels, k, n]: [i64; 6],
    (c_type, tail): &(DType, Tail),
    seed: u64,
) {
    let [t_in, t_strip, t_out] = tiles(&t.machine, numbers).expect("tiles");
    let lanes = t.machine.vector.expect("a vector machine").lanes;
    let pitch = units * lanes * numbers.group();
    let width = numbers.width();
    let rows_of_k = (k + width - 1) / width;
    let mut c = Calls {
        b: Builder::new("product"),
        bufs: vec![],
        rng: Rng(seed),
    };
    let mask: Vec<bool> = (0..rows_of_k * n)
        .map(|_| !c.rng.bits().is_multiple_of(5))
        .collect();
    let kept = blocks(rows_of_k, n, block, |p, o| {
        // The first block has nothing, and rows far away are there.
        o < block || mask[(o / block * rows_of_k + p) as usize]
    });
    let e = encode(&kept, Rows::Even, n, block, numbers, chains);
    let group = numbers.group();
    let places = e.values(n, group, 0, |_, _| 1).len() as i64;
    let a_type = match numbers {
        Numbers::Floats => DType::F32,
        _ if seed.is_multiple_of(2) => DType::I8,
        _ => DType::U8,
    };
    let a_row = k + seed as i64 % 3;
    let a = c.buffer(a_type, (pixels - 1) * a_row + k, Access::Read);
    let channels = c.buffer(numbers.rows(), rows_of_k * pitch, Access::ReadWrite);
    let values = match numbers {
        Numbers::Floats => c.buffer(DType::F32, places, Access::Read),
        Numbers::Near(near) => {
            let word = |r: &mut Rng| match near {
                Near::Pairs => {
                    let mut word = || (r.bits() % 512) as i16 - 256;
                    [word(), word()].map(i16::to_le_bytes).concat()
                }
                _ => (r.bits() as u32).to_le_bytes().to_vec(),
            };
            let words = (0..places).flat_map(|_| word(&mut c.rng)).collect();
            c.given(DType::I32, words)
        }
        Numbers::Words(_) => {
            let words = (0..places).map(|_| (c.rng.bits() % 512) as i16 - 256);
            let words: Vec<u8> = words.flat_map(i16::to_le_bytes).collect();
            c.given(DType::I16, words)
        }
    };
    let stream = c.given(DType::U8, e.stream.clone());
    let sums = c.buffer(
        numbers.sums(),
        (n + 15) / 16 * 16 * pitch,
        Access::ReadWrite,
    );
    let c_row = n + seed as i64 % 2;
    let size = (pixels - 1) * c_row + n;
    let to = c.buffer(*c_type, size, Access::ReadWrite);
    let mut operands = vec![];
    for kind in tail.operands() {
        let len = match kind {
            Node::Tile(_) => size,
            Node::Column(_) => n,
            _ => 1,
        };
        operands.push(c.buffer(kind.element().expect("an operand"), len, Access::Read));
    }
    let first = In {
        pixels,
        pitch,
        a_type,
        ahead: seed.is_multiple_of(2),
        numbers,
    };
    c.call(
        first.callee(t_in),
        &[a, channels],
        &[a_row, k / (4 * width)],
    );
    let strip = Strip {
        pitch,
        block,
        chains,
        step: pitch,
        wide: false,
        numbers,
    };
    let bufs = [channels, values, stream, sums];
    c.call(strip.callee(t_strip), &bufs, &[kept.len() as i64, 0]);
    let mut last = Out {
        pixels,
        pitch,
        n,
        ahead: seed.is_multiple_of(3),
        c_type: *c_type,
        numbers,
        tail: tail.clone(),
        across: false,
    };
    let mut ints = vec![c_row];
    ints.extend(operands.iter().map(|_| c_row));
    let bufs = [vec![sums, to], operands].concat();
    let across = t.machine.tile("sparse_out_across");
    last.across = across.is_some() && last.may_cross();
    let t_out = across.filter(|_| last.across).unwrap_or(t_out);
    c.call(last.callee(t_out), &bufs, &ints);
    let (f, start) = (c.b.finish(), c.bufs);
    let what = format!(
        "{numbers:?} block {block} chains {chains} pixels {pixels}/{pitch} {k}->{n} {tail:?} on {}",
        t.cpu
    );
    let mut got = start.clone();
    assert_eq!(run_on(&f, t, &mut got).expect(&what), 0);
    let mut want = start;
    let (symbols, references) = (Symbols::default(), References::default());
    let env = Env {
        symbols: &symbols,
        callees: &references,
        budget: None,
    };
    let mut memory = Memory::of(want.iter_mut().map(Vec::as_mut_slice).collect());
    interpret(&f, &mut memory, &[], &mut vec![], &env).expect(&what);
    // Whole numbers in floats: every sum is exact.
    let differ = got[5].iter().zip(&want[5]).position(|(g, w)| g != w);
    assert!(differ.is_none(), "{what}: byte {differ:?}");
}

fn products(words: bool) {
    for t in targets() {
        let lanes = t.machine.vector.expect("a vector machine").lanes;
        let numbers = match words {
            true => Numbers::Words(lanes),
            false => Numbers::Floats,
        };
        if tiles(&t.machine, numbers).is_none() {
            continue;
        }
        let tails = if words { whole_tails() } else { float_tails() };
        let unit = lanes * numbers.group();
        let mut seed = 0;
        for (block, chains, units) in [(4, 1, 2), (4, 2, 1), (1, 1, 4), (1, 2, 2), (1, 4, 1)] {
            // Words take a unit of two vectors of sums.
            let units = if words { (units + 1) / 2 } else { units };
            // Twice as many sums are more than some machines have registers for.
            let chains = if words && block == 4 { 1 } else { chains };
            for less in [0, 1, lanes - 1, unit - 1] {
                let tail = &tails[seed as usize % tails.len()];
                let pixels = (units * unit - less).max(1);
                let k = [4, 12, 300][seed as usize % 3];
                let sizes = [block, chains, units, pixels, k, 1 + seed as i64 * 7 % 40];
                product(&t, numbers, sizes, tail, seed);
                seed += 1;
            }
        }
        // As wide as the machine allows.
        if !words {
            let units = if lanes == 8 { 3 } else { 2 };
            product(&t, numbers, [4, 1, units, units * unit, 8, 8], &tails[1], 3);
            product(&t, numbers, [1, 1, 8, 8 * unit - 5, 8, 8], &tails[1], 4);
        }
    }
}

#[test]
fn products_of_neighbours() {
    let (mut met, mut crossed) = (0, 0);
    for t in targets() {
        let v = t.machine.vector.expect("a vector machine");
        for near in [Near::Pairs, Near::Bytes, Near::SignedBytes] {
            let numbers = Numbers::Near(near);
            // Which bytes have signs is the machine's.
            let others = match v.by_lane {
                true => near != Near::SignedBytes,
                false => near == Near::SignedBytes,
            };
            if others || tiles(&t.machine, numbers).is_none() {
                continue;
            }
            met += 1;
            crossed += i32::from(t.machine.tile("sparse_out_across").is_some());
            let mut tails = whole_tails();
            let bias = vec![
                Node::Result(Ty::I32),
                Node::Column(DType::I32),
                Node::Bin(BinOp::Add, 0, 1),
                Node::Single(DType::I8),
                Node::Bin(BinOp::Add, 2, 3),
                Node::Const(Const::I32(0)),
                Node::Bin(BinOp::Max, 4, 5),
                Node::Const(Const::I32(255)),
                Node::Bin(BinOp::Min, 6, 7),
            ];
            tails.push((DType::U8, Tail { nodes: bias }));
            let mut seed = 0;
            for (block, chains, units) in [(4, 1, 2), (4, 2, 1), (1, 1, 4), (1, 2, 2), (1, 4, 1)] {
                for less in [0, 1, v.lanes - 1] {
                    for n in [16, 1 + seed as i64 * 7 % 40] {
                        let tail = &tails[seed as usize % tails.len()];
                        let pixels = (units * v.lanes - less).max(1);
                        let k = near.width() * [4, 12, 300][seed as usize % 3];
                        let sizes = [block, chains, units, pixels, k, n];
                        product(&t, numbers, sizes, tail, seed);
                        seed += 1;
                    }
                }
            }
        }
    }
    assert!(met > 0 || host_arch() != Some(Arch::X86_64));
    assert!(crossed > 0 || host_arch() != Some(Arch::X86_64));
}

#[test]
fn products_of_floats() {
    products(false);
}

#[test]
fn products_of_words() {
    products(true);
}
