//! Strips over bytes that are picked: machine code, and their interpreted program against sums written out here.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::picked::{REACH, pack};
use onnxc_compiler::contracts::picked_masks as masks;
use onnxc_compiler::contracts::strip::{Numbers, Strip};
use onnxc_compiler::contracts::strip_plan::Panels;
use onnxc_compiler::kernel::Tile;
use onnxc_targets::vector::ir::Isa;
use onnxc_targets::vector::strip;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where everything lies, in bytes.
const A: usize = 0;
const B: usize = 1536;
const ORDER: usize = 5376;
const C: usize = 5888;
const MASKS: usize = 8192;
const TILES: usize = 2;

/// A weight: of full range, so that pairs in their natural order pass 16 bits.
fn weight(k: usize, j: i64) -> i32 {
    [127, -128, 127, 100, -3, 0, 60, -127, 1][(k * 5 + j as usize * 7 + k * j as usize) % 9]
}

fn case(
    isa: Isa,
    tile: &Tile,
    [m, n]: [usize; 2],
    places: &[i64],
    ahead: bool,
    named: bool,
) -> Option<Case> {
    let padded = n.next_multiple_of(isa.lanes);
    if strip::picked_registers(m, padded / isa.lanes) > isa.vregs {
        return None;
    }
    let panel = Panels {
        first: 0,
        count: 1,
        n: n as i64,
        padded: padded as i64,
        m: m as i64,
        split: 1,
    };
    let named = named.then_some(0);
    let packed = pack(&[panel], 1, places, named, |_, k, j| weight(k, j))?;
    let s = Strip {
        m: m as i64,
        n: n as i64,
        b_row: padded as i64,
        numbers: Numbers::Picked,
        a_type: DType::U8,
        b_type: DType::I8,
        c_type: DType::I32,
        order: Some(packed.each),
        ahead,
        ..Strip::floats()
    };
    let a_row = *places.last()? as usize + 3;
    let (rows, c_row) = (TILES * m, n + 1);
    let order = &packed.order;
    let fits = A + rows * a_row <= B
        && B + packed.weights.len() <= ORDER
        && ORDER + order.len() <= C
        && C + rows * c_row * 4 <= MASKS;
    if !fits {
        return None;
    }
    // Bytes of which many are as large as they can be.
    let byte = |i: usize| [255, 255, 0, 128, 254, 1, 255, 77][(i * i + i / 5) % 8];
    let mut memory: Vec<u8> = (0..MEMORY).map(byte).collect();
    memory[B..B + packed.weights.len()].copy_from_slice(&packed.weights);
    memory[ORDER..ORDER + order.len()].copy_from_slice(order);
    if packed.each.named() {
        let masks = masks::all();
        assert!(MASKS + masks.len() <= MEMORY);
        memory[MASKS..MASKS + masks.len()].copy_from_slice(&masks);
    }
    let k = packed.longest;
    let mut args: Vec<Arg> = [A, B, C, ORDER].map(|p| Arg::Pointer(p as i64)).to_vec();
    if packed.each.named() {
        args.push(Arg::Pointer(MASKS as i64));
    }
    let numbers = [a_row, c_row, k as usize, 0, padded, TILES, 64];
    args.extend(numbers.map(|v| Arg::Number(v as i64)));
    let case = Case {
        name: format!("{s:?} {} elements", places.len()),
        program: strip::program(&s.callee(tile), isa).unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory: memory.clone(),
    };
    let mut want = memory.clone();
    for (i, j) in (0..rows).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let product = |(k, p): (usize, &i64)| {
            i32::from(memory[A + i * a_row + *p as usize]) * weight(k, j as i64)
        };
        let sum: i32 = places.iter().enumerate().map(product).sum();
        let to = C + (i * c_row + j) * 4;
        want[to..to + 4].copy_from_slice(&sum.to_le_bytes());
    }
    assert!(
        expected(&case) == want,
        "{}: the template is wrong",
        case.name
    );
    Some(case)
}

/// Tiles of many shapes, over rows in one piece and in several.
pub fn cases(isa: Isa, tile: &Tile) -> Vec<Case> {
    let row = |pieces: i64, each: i64, apart: i64| -> Vec<i64> {
        let piece = move |p: i64| (0..each).map(move |c| p * apart + c);
        (0..pieces).flat_map(piece).collect()
    };
    let rows = [
        row(1, 16, 0),
        row(1, 37, 0),
        row(3, 9, 23),
        row(2, 20, 40),
        row(2, 12, 300),
    ];
    let mut all = vec![];
    for m in [1, 2, 3, 4, 5, 6, 7, 12] {
        for n in [1, 5, 8, 12, 16, 24] {
            for (i, places) in rows.iter().enumerate() {
                assert!(places[places.len() - 1] + 1 >= REACH);
                for named in [false, true] {
                    all.extend(case(isa, tile, [m, n], places, i % 2 == 1, named));
                }
            }
        }
    }
    assert!(all.len() > 60, "too few shapes: {}", all.len());
    all
}
