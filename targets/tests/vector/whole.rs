//! Strips of whole numbers as machine code, and their interpreted program against sums written out here.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::strip::{Numbers, Strip};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::ir::{BinOp, Const, Ty, UnOp};
use onnxc_compiler::loops::tail::{Node, Tail};
use onnxc_targets::vector::ir::Isa;
use onnxc_targets::vector::strip;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where everything lies, in bytes.
const A: usize = 0;
const B: usize = 1600;
const BIAS: usize = 5632;
const FACTORS: usize = 5888;
const REST: usize = 6400;
const C: usize = 6912;
const TILES: usize = 2;

/// What is done with a sum.
#[derive(Clone, Copy, PartialEq, Debug)]
enum After {
    Nothing,
    /// Requantized to these bytes, with limits inside their range or those of it.
    Bytes(DType, [i64; 2]),
    /// Requantized by one factor, then added to other bytes.
    Residual,
    /// A bias added.
    Biased,
}

/// The factor of all columns.
const FACTOR: f64 = 1.0 / 1024.0;

impl After {
    fn c_type(self) -> DType {
        match self {
            After::Nothing | After::Biased => DType::I32,
            After::Bytes(d, _) => d,
            After::Residual => DType::U8,
        }
    }
    fn tail(self) -> Tail {
        use Node::{Bin, Cast, Column, Result, Tile, Un};
        let f64s = |v: f64| Node::Const(Const::F64(v.to_bits()));
        let i32s = |v: i64| Node::Const(Const::I32(v as i32));
        let mut nodes = vec![Result(Ty::I32)];
        match self {
            After::Nothing => return Tail::default(),
            After::Biased => nodes.extend([Column(DType::I32), Bin(BinOp::Add, 0, 1)]),
            After::Bytes(_, [lo, hi]) => nodes.extend([
                Column(DType::F64),
                Cast(Ty::F64, 0),
                Bin(BinOp::Mul, 2, 1),
                Un(UnOp::Near, 3),
                Cast(Ty::I32, 4),
                i32s(3),
                Bin(BinOp::Add, 5, 6),
                i32s(lo),
                Bin(BinOp::Max, 8, 7),
                i32s(hi),
                Bin(BinOp::Min, 10, 9),
            ]),
            After::Residual => nodes.extend([
                Cast(Ty::F64, 0),
                f64s(FACTOR),
                Bin(BinOp::Mul, 1, 2),
                f64s(-100.0),
                Bin(BinOp::Max, 4, 3),
                f64s(100.0),
                Bin(BinOp::Min, 6, 5),
                Un(UnOp::Round, 7),
                Cast(Ty::I32, 8),
                Tile(DType::U8),
                Bin(BinOp::Add, 9, 10),
                i32s(0),
                Bin(BinOp::Max, 12, 11),
                i32s(255),
                Bin(BinOp::Min, 14, 13),
            ]),
        }
        Tail { nodes }
    }
    /// The same, written out.
    fn apply(self, sum: i32, bias: i32, factor: f64, other: u8) -> i64 {
        let real = f64::from(sum);
        match self {
            After::Nothing => sum.into(),
            After::Biased => sum.wrapping_add(bias).into(),
            After::Bytes(_, [lo, hi]) => {
                ((real * factor).round_ties_even() as i64 + 3).clamp(lo, hi)
            }
            After::Residual => {
                let near = (real * FACTOR).clamp(-100.0, 100.0).round_ties_even() as i64;
                (near + i64::from(other)).clamp(0, 255)
            }
        }
    }
}

fn case(isa: Isa, tile: &Tile, s: &Strip, k: usize, after: After) -> Option<Case> {
    let [m, n, segs, split] = [s.m, s.n, s.segs, s.split].map(|v| v as usize);
    let group = s.numbers.group() as usize;
    let own = usize::from(s.numbers == Numbers::Words);
    let cols = n.div_ceil(isa.lanes);
    let held = match s.numbers {
        Numbers::Matrices => strip::matrix_registers(m, cols, split) + 1,
        _ => strip::registers(&isa, m, cols, split) + own,
    };
    if held > isa.vregs || (isa.by_lane && m > 8) {
        return None;
    }
    // Rows and segments begin anywhere, not only at groups.
    let (a_row, c_row, seg) = ((segs * k + 2) * group + 1, n + 1, (k + 1) * group - 1);
    let (rows, b_row) = (TILES * m, s.b_row as usize);
    let (a_size, b_size, c_size) = (s.a_type.size(), s.b_type.size(), s.c_type.size());
    let fits = (rows * a_row + segs * group) * a_size <= B - A
        && segs * k * b_row * group * b_size <= BIAS - B
        && rows * c_row * c_size <= MEMORY - C
        && rows * n <= C - REST;
    if !fits {
        return None;
    }
    let mut seed = 7u32;
    let mut memory: Vec<u8> = (0..MEMORY)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect();
    // Words of A have nine bits and a sign; factors are powers of two, so that ties occur, and others.
    if s.a_type == DType::I16 {
        for at in (A..B).step_by(2) {
            let v = i16::from_le_bytes([memory[at], memory[at + 1]]) % 256;
            memory[at..at + 2].copy_from_slice(&v.to_le_bytes());
        }
    }
    for (i, at) in (FACTORS..REST).step_by(8).enumerate() {
        let factor = if i % 3 == 0 { 1.0 / 512.0 } else { 0.00137 };
        memory[at..at + 8].copy_from_slice(&f64::to_le_bytes(factor));
    }
    for (i, at) in (BIAS..FACTORS).step_by(4).enumerate() {
        memory[at..at + 4].copy_from_slice(&(i as i32 * 300 - 9000).to_le_bytes());
    }
    let pointer = |at: usize| Arg::Pointer(at as i64);
    let mut args = vec![pointer(A), pointer(B), pointer(C)];
    let operands: &[(usize, usize)] = match after {
        After::Nothing => &[],
        After::Biased => &[(BIAS, 0)],
        After::Bytes(..) => &[(FACTORS, 0)],
        After::Residual => &[(REST, n)],
    };
    args.extend(operands.iter().map(|o| pointer(o.0)));
    args.extend([a_row, c_row, k, seg, b_row, TILES, 2 * b_row].map(|v| Arg::Number(v as i64)));
    args.extend(operands.iter().map(|o| Arg::Number(o.1 as i64)));
    let case = Case {
        name: format!("{s:?} k {k}"),
        program: strip::program(&s.callee(tile), isa).unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory: memory.clone(),
    };
    let number = |at: usize, d: DType| match d {
        DType::I16 => i32::from(i16::from_le_bytes([memory[at], memory[at + 1]])),
        DType::I8 => i32::from(memory[at] as i8),
        _ => i32::from(memory[at]),
    };
    let mut want = memory.clone();
    for (i, j) in (0..rows).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let mut sum = 0i32;
        for (g, p) in (0..segs).flat_map(|g| (0..k).map(move |p| (g, p))) {
            for part in 0..group {
                let a = i * a_row + g * seg + p * group + part;
                let column = match s.apart as usize {
                    0 => j * group + part,
                    lanes => j / lanes * lanes * group + part * lanes + j % lanes,
                };
                let b = (g * k + p) * b_row * group + column;
                let x = number(A + a * a_size, s.a_type);
                let y = number(B + b * b_size, s.b_type);
                sum = sum.wrapping_add(x * y);
            }
        }
        let word = |at: usize| [0, 1, 2, 3].map(|b| memory[at + b]);
        let bias = i32::from_le_bytes(word(BIAS + 4 * j));
        let factor = f64::from_le_bytes(std::array::from_fn(|b| memory[FACTORS + 8 * j + b]));
        let value = after.apply(sum, bias, factor, memory[REST + i * n + j]);
        let to = C + (i * c_row + j) * c_size;
        want[to..to + c_size].copy_from_slice(&(value as i32).to_le_bytes()[..c_size]);
    }
    let got = expected(&case);
    assert!(got == want, "{}: the template is wrong", case.name);
    Some(case)
}

/// Tiles of many shapes.
pub fn cases(isa: Isa, tile: &Tile, numbers: Numbers) -> Vec<Case> {
    let mut all = vec![];
    let afters = [
        After::Bytes(DType::U8, [0, 255]),
        After::Nothing,
        After::Bytes(DType::I8, [-128, 127]),
        After::Residual,
        After::Bytes(DType::I8, [-5, 40]),
        After::Biased,
    ];
    let types: &[(DType, DType)] = match numbers {
        Numbers::Words if isa.bytes => &[(DType::I16, DType::I8), (DType::I16, DType::I16)],
        Numbers::Words => &[(DType::I16, DType::I16)],
        Numbers::Matrices => &[(DType::I8, DType::I8), (DType::U8, DType::I8)],
        _ if isa.by_lane => &[(DType::I8, DType::I8)],
        _ => &[(DType::U8, DType::I8)],
    };
    for (m, n) in [1, 2, 4, 5, 6, 8, 14]
        .into_iter()
        .flat_map(|m| [1, 3, 5, 8, 12, 16, 19, 24, 32].map(|n| (m, n)))
    {
        for (which, (k, segs, split)) in [(1, 1, 1), (9, 1, 1), (4, 3, 1), (11, 1, 2), (2, 2, 1)]
            .into_iter()
            .enumerate()
        {
            let after = afters[(m + n) as usize % 6];
            let (a_type, b_type) = types[which % types.len()];
            let s = Strip {
                m,
                n,
                segs,
                split,
                b_row: (n as usize).next_multiple_of(isa.lanes) as i64,
                numbers,
                a_type,
                b_type,
                c_type: after.c_type(),
                apart: match numbers {
                    Numbers::Words if isa.by_lane => isa.lanes as i64,
                    _ => 0,
                },
                tail: after.tail(),
                ..Strip::floats()
            };
            all.extend(case(isa, tile, &s, k, after));
        }
    }
    assert!(all.len() > 60, "too few shapes: {}", all.len());
    all
}
