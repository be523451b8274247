//! Strips over narrow weights as machine code, and their interpreted program against sums written out here.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::narrow::{Narrow, Zero, column};
use onnxc_compiler::contracts::strip::{Start, Strip};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::ir::{BinOp, Const, Ty};
use onnxc_compiler::loops::tail::{Node, Tail};
use onnxc_targets::vector::ir::Isa;
use onnxc_targets::vector::strip;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where operands lie, in bytes.
const A: usize = 0;
const B: usize = 1536;
const SCALES: usize = 4096;
const ZEROS: usize = 5632;
const C: usize = 6144;
const TILES: usize = 2;

fn fused(isa: &Isa, a: f32, b: f32, c: f32) -> f32 {
    match isa.fma {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}

fn case(isa: Isa, tile: &Tile, s: &Strip, k: usize) -> Option<Case> {
    let narrow = s.narrow?;
    let [m, n, split, padded] = [s.m, s.n, s.split, s.b_row].map(|v| v as usize);
    let block = match narrow.block {
        0 => k,
        b => b as usize,
    };
    let (a_row, c_row) = (k + 1, n + 1);
    let four = s.b_type == DType::U4;
    let unit = if four { 8 } else { 4 };
    let (rows, blocks) = (TILES * m, k.div_ceil(block));
    let fits = rows * a_row * 4 <= B - A
        && column(s.b_type, k as i64) as usize * padded <= SCALES - B
        && blocks * padded * 4 <= ZEROS - SCALES
        && blocks * padded <= C - ZEROS
        && C + rows * c_row * 4 <= MEMORY;
    if !fits || strip::narrow_registers(&isa, s) > isa.vregs {
        return None;
    }
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    // Floats everywhere, bytes where B and zeros lie.
    let mut memory: Vec<u8> = (0..MEMORY / 4)
        .flat_map(|_| (next() as f32 / 8_388_608.0 - 1.0).to_le_bytes())
        .collect();
    for at in (B..SCALES).chain(ZEROS..C) {
        memory[at] = next() as u8;
    }
    let float = |at: usize| f32::from_le_bytes(memory[at..at + 4].try_into().expect("four"));
    let mut args = vec![A, B, C, SCALES];
    if narrow.zero == Zero::Each {
        args.push(ZEROS);
    }
    let mut args: Vec<Arg> = args.iter().map(|at| Arg::Pointer(*at as i64)).collect();
    args.extend([a_row, c_row, k, 0, padded, TILES, 0].map(|v| Arg::Number(v as i64)));
    let mut want = memory.clone();
    for (i, j) in (0..rows).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let to = C + (i * c_row + j) * 4;
        let mut total = match s.start {
            Start::Zero => 0.0,
            Start::Sum => float(to),
        };
        for g in 0..blocks {
            let here = block.min(k - g * block);
            let (mut chains, mut of_a) = (vec![0.0f32; split], [0.0f32; 4]);
            for p in 0..here {
                let row = g * block + p;
                let x = float(A + (i * a_row + row) * 4);
                let byte = memory[match four {
                    true => B + (row / 8 * padded + j) * 4 + row % 8 / 2,
                    false => B + row * padded + j,
                }];
                let w = match s.b_type {
                    DType::I8 => f32::from(byte as i8),
                    DType::U8 => f32::from(byte),
                    _ => f32::from(byte >> (row % 2 * 4) & 15),
                };
                chains[p % split] = fused(&isa, x, w, chains[p % split]);
                of_a[if p < here / unit * unit { p % 4 } else { 0 }] += x;
            }
            let mut sum = chains[1..].iter().fold(chains[0], |s, c| s + c);
            let cell = g * padded + j;
            let zero = match narrow.zero {
                Zero::None => None,
                Zero::All(z) => Some(z as f32),
                Zero::Each => Some(f32::from(memory[ZEROS + cell])),
            };
            if let Some(z) = zero {
                let all = (of_a[0] + of_a[2]) + (of_a[1] + of_a[3]);
                sum = fused(&isa, z, 0.0 - all, sum);
            }
            total = fused(&isa, sum, float(SCALES + cell * 4), total);
        }
        // The tail of some: Relu.
        if !s.tail.is_empty() {
            total = total.max(0.0);
        }
        want[to..to + 4].copy_from_slice(&total.to_le_bytes());
    }
    let case = Case {
        name: format!("{s:?} k {k}"),
        program: strip::program(&s.callee(tile), isa).unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory: memory.clone(),
    };
    for (at, (got, want)) in expected(&case).chunks(4).zip(want.chunks(4)).enumerate() {
        assert_eq!(got, want, "{}: float {at}", case.name);
    }
    Some(case)
}

/// Tiles of many shapes.
pub fn cases(isa: Isa, tile: &Tile) -> Vec<Case> {
    let mut all = vec![];
    let mut turn = 0usize;
    let relu = Tail {
        nodes: vec![
            Node::Result(Ty::F32),
            Node::Const(Const::F32(0)),
            Node::Bin(BinOp::Max, 0, 1),
        ],
    };
    for m in [1, 2, 3, 4, 7] {
        for n in [1, 3, 4, 8, 11, 16, 24, 33] {
            for (k, block) in [(1, 0), (4, 0), (9, 0), (22, 0), (16, 8), (21, 8), (27, 10)] {
                for b_type in [DType::I8, DType::U8, DType::U4] {
                    if b_type == DType::U4 && block % 8 != 0 {
                        continue;
                    }
                    turn += 1;
                    let zeros = [Zero::None, Zero::All(8), Zero::Each];
                    let s = Strip {
                        m,
                        n,
                        split: [1, 2, 4][turn % 3],
                        b_row: (n as usize).next_multiple_of(isa.lanes) as i64,
                        b_type,
                        narrow: Some(Narrow {
                            block,
                            zero: zeros[turn / 3 % 3],
                        }),
                        start: [Start::Zero, Start::Sum][turn / 2 % 2],
                        tail: match turn % 5 {
                            0 => relu.clone(),
                            _ => Tail::default(),
                        },
                        ..Strip::floats()
                    };
                    all.extend(case(isa, tile, &s, k));
                }
            }
        }
    }
    assert!(all.len() > 200, "few tiles fit the registers");
    all
}
