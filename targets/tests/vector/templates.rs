//! Strips of matrix products as machine code, and their interpreted program against sums written out here.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::strip::{Start, Strip};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::ir::{BinOp, Ty};
use onnxc_compiler::loops::tail::{Node, Tail};
use onnxc_targets::vector::ir::Isa;
use onnxc_targets::vector::strip;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where the matrices and the bias lie, in floats.
const A: usize = 0;
const B: usize = 480;
const BIAS: usize = 1100;
const C: usize = 1160;
const TILES: usize = 2;

fn case(isa: Isa, tile: &Tile, s: &Strip, k: usize) -> Option<Case> {
    let [m, n, segs, split] = [s.m, s.n, s.segs, s.split].map(|v| v as usize);
    if strip::registers(&isa, m, n.div_ceil(isa.lanes), split) > isa.vregs {
        return None;
    }
    let (a_row, c_row, seg) = (segs * k + 3, n + 1, k + 1);
    let b_row = if s.b_row == 0 {
        n + 2
    } else {
        s.b_row as usize
    };
    let rows = TILES * m;
    assert!(rows * a_row + segs <= B - A, "A is too large");
    assert!(segs * k * b_row <= BIAS - B, "B is too large");
    assert!(C + rows * c_row <= MEMORY / 4, "C is too large");
    let mut seed = 7u32;
    let floats: Vec<f32> = (0..MEMORY / 4)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    let pointer = |at: usize| Arg::Pointer(at as i64 * 4);
    let mut args = vec![pointer(A), pointer(B), pointer(C)];
    let biased = !s.tail.is_empty();
    if biased {
        args.push(pointer(BIAS));
    }
    args.extend([a_row, c_row, k, seg, b_row, TILES, 2 * b_row].map(|v| Arg::Number(v as i64)));
    if biased {
        args.push(Arg::Number(0));
    }
    let case = Case {
        name: format!("{s:?} k {k}"),
        program: strip::program(&s.callee(tile), isa).unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory: floats.iter().flat_map(|f| f.to_le_bytes()).collect(),
    };
    let mut want = floats.clone();
    for (i, j) in (0..rows).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let to = C + i * c_row + j;
        let mut chains = vec![0.0f32; split];
        chains[0] = match s.start {
            Start::Zero => 0.0,
            Start::Sum => floats[to],
        };
        for (g, p) in (0..segs).flat_map(|g| (0..k).map(move |p| (g, p))) {
            let x = floats[A + i * a_row + g * seg + p];
            let y = floats[B + (g * k + p) * b_row + j];
            let c = &mut chains[p % split];
            *c = if isa.fma {
                x.mul_add(y, *c)
            } else {
                x * y + *c
            };
        }
        let sum = chains[1..].iter().fold(chains[0], |s, c| s + c);
        want[to] = if biased { sum + floats[BIAS + j] } else { sum };
    }
    let got = expected(&case);
    for (at, (got, want)) in got.chunks(4).zip(&want).enumerate() {
        assert_eq!(got, want.to_le_bytes(), "{}: float {at}", case.name);
    }
    Some(case)
}

/// Tiles of many shapes.
pub fn cases(isa: Isa, tile: &Tile) -> Vec<Case> {
    let mut all = vec![];
    for m in [1, 2, 3, 4, 5, 6, 8, 9, 11, 14] {
        for n in [1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 19, 24, 31, 32] {
            let start = [Start::Zero, Start::Sum][(m + n) as usize % 2];
            // A bias, for some.
            let tail = Tail {
                nodes: match (m + n) % 3 {
                    1 => vec![
                        Node::Result(Ty::F32),
                        Node::Column(DType::F32),
                        Node::Bin(BinOp::Add, 0, 1),
                    ],
                    _ => vec![],
                },
            };
            let whole = (n as usize).next_multiple_of(isa.lanes) as i64;
            for (k, segs, split, b_row) in [
                (1, 1, 1, 0),
                (9, 1, 1, whole),
                (4, 3, 1, whole),
                (11, 1, 2, whole),
                (7, 2, 1, 0),
            ] {
                let s = Strip {
                    m,
                    n,
                    segs,
                    split,
                    b_row,
                    start,
                    ahead: k == 9,
                    tail: tail.clone(),
                    ..Strip::floats()
                };
                let (b, rows) = (b_row.max(n + 2), m * TILES as i64);
                let fits =
                    segs * k * b <= (BIAS - B) as i64 && rows * (n + 1) <= (MEMORY / 4 - C) as i64;
                if fits {
                    all.extend(case(isa, tile, &s, k as usize));
                }
            }
        }
    }
    all
}
