//! Products that are longer than their factors: the operations, and tiles of depthwise convolutions of bytes whose interpreted program is compared
//! with sums written out here; every border, several window shapes.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::depthwise_long::{Shape, flush};
use onnxc_compiler::contracts::depthwise_tile::{Geometry, lane};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::tail::Tail;
use onnxc_targets::vector::depthwise::long;
use onnxc_targets::vector::ir::Isa;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where W and the sums lie, in bytes; the image begins at 0.
const W: usize = 1792;
const OUT: usize = 5120;

struct Numbers(u32);

impl Numbers {
    fn next(&mut self, n: u32) -> i64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        i64::from(self.0 >> 12) % i64::from(n)
    }
}

fn case(
    isa: Isa,
    tile: &Tile,
    s: &Shape,
    zero: i64,
    weights: &[i64],
    r: &mut Numbers,
) -> Option<Case> {
    let g = &s.at;
    let taps = s.taps();
    let channels = weights.len() as i64 / taps;
    let blocks = (channels + s.block() - 1) / s.block();
    let (rows, cols) = (
        g.span(0) - g.cut_rows[0] - g.cut_rows[1],
        g.span(1) - g.cut_cols[0] - g.cut_cols[1],
    );
    let image = (rows * cols * channels) as usize;
    let sums = (g.cols * channels) as usize;
    if image > W || W + 4 * (blocks * s.packed()) as usize > OUT || OUT + 4 * sums > MEMORY {
        return None;
    }
    let mut memory: Vec<u8> = (0..MEMORY).map(|_| r.next(256) as u8).collect();
    // The ends of bytes are where words overflow first.
    for byte in memory[..W].iter_mut().step_by(2) {
        *byte = [0, 127, 128, 255][r.next(4) as usize];
    }
    let start: Vec<i64> = (0..channels).map(|_| r.next(1 << 20) - (1 << 19)).collect();
    // Packed as the contract says.
    let mut w: Vec<u8> = vec![];
    for b in 0..blocks {
        let first = (b * s.block()).min(channels - s.block());
        let own = first..first + s.block();
        for c in own.clone() {
            w.extend((start[c as usize] as i32).to_le_bytes());
        }
        for (tap, c) in (0..taps).flat_map(|t| own.clone().map(move |c| (t, c))) {
            let weight = weights[(c * taps + tap) as usize];
            match s.w_type {
                DType::I8 => w.push(weight as u8),
                _ => w.extend((weight as i16).to_le_bytes()),
            }
        }
    }
    memory[W..W + w.len()].copy_from_slice(&w);
    let numbers = [
        cols * channels,
        channels,
        channels,
        g.cols,
        channels,
        1,
        0,
        0,
        lane(zero, s.parts()),
    ];
    let mut args: Vec<Arg> = [0, W, OUT].map(|at| Arg::Pointer(at as i64)).to_vec();
    args.extend(numbers.map(Arg::Number));
    let case = Case {
        name: format!("{s:?} with {channels} channels"),
        program: long::program(&s.callee(tile), isa).unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory,
    };
    let got = expected(&case);
    for (ox, c) in (0..g.cols).flat_map(|p| (0..channels).map(move |c| (p, c))) {
        let mut sum = start[c as usize];
        for (ky, kx) in (0..g.kernel[0]).flat_map(|y| (0..g.kernel[1]).map(move |x| (y, x))) {
            let y = ky * g.dilation[0];
            let x = ox * g.stride[1] + kx * g.dilation[1];
            let byte = match g.exists(0, y) && g.exists(1, x) {
                false => zero,
                true => {
                    let (y, x) = (y - g.cut_rows[0], x - g.cut_cols[0]);
                    let byte = case.memory[((y * cols + x) * channels + c) as usize];
                    if s.x_type == DType::I8 {
                        i64::from(byte as i8)
                    } else {
                        i64::from(byte)
                    }
                }
            };
            sum += (byte + s.more) * weights[(c * taps + ky * g.kernel[1] + kx) as usize];
        }
        let at = OUT + 4 * (ox * channels + c) as usize;
        let own = i32::from_le_bytes(got[at..at + 4].try_into().unwrap());
        assert_eq!(own, sum as i32, "{}: column {ox}, channel {c}", case.name);
    }
    Some(case)
}

/// Tiles of many shapes.
pub fn cases(isa: Isa, tile: &Tile) -> Vec<Case> {
    let mut r = Numbers(3);
    let mut all = vec![];
    for (kernel, stride, dilation) in [
        ([3, 3], [1, 1], [1, 1]),
        ([3, 3], [2, 2], [1, 1]),
        ([5, 5], [1, 1], [1, 1]),
        ([5, 3], [2, 1], [1, 2]),
        ([3, 3], [1, 1], [2, 2]),
        ([1, 3], [1, 1], [1, 1]),
        ([2, 2], [2, 2], [1, 1]),
        ([7, 1], [1, 1], [1, 1]),
        ([7, 7], [1, 1], [1, 1]),
    ] {
        for (vectors, w_type) in [
            (2, DType::I8),
            (4, DType::I8),
            (2, DType::I16),
            (4, DType::I16),
        ] {
            for (cols, cut) in [(1, 0), (2, 1), (3, 2), (1, 3), (4, 0), (7, 3)] {
                let held = match w_type {
                    DType::I8 => cols * vectors * 3 / 2 + kernel[1],
                    _ => cols * vectors + kernel[1] * vectors / 2,
                };
                if held + 4 > isa.vregs as i64 {
                    continue;
                }
                let least = |i: usize, bit: i64| i64::from(cut & bit > 0 && kernel[i] > 1);
                let x_type = if r.next(2) == 0 { DType::U8 } else { DType::I8 };
                let taps = kernel[0] * kernel[1];
                for more_channels in [0, 5] {
                    let count = (vectors * 4 + more_channels) * taps;
                    // Full weights, such of which several fit a word, and the largest of all.
                    let weight = |r: &mut Numbers| match (w_type, cols % 3) {
                        (DType::I8, 0) => r.next(256) - 128,
                        (DType::I8, 1) => (r.next(256) - 128) / (1 + r.next(9)),
                        (DType::I8, _) => [-128, 127, 5][r.next(3) as usize],
                        _ => r.next(511) - 255,
                    };
                    let weights: Vec<i64> = (0..count).map(|_| weight(&mut r)).collect();
                    let zero = match (x_type, cols) {
                        (DType::I8, 2) => 0,
                        (DType::I8, _) => -77,
                        (_, 2) => 128,
                        _ => 201,
                    };
                    let more = match (x_type, w_type) {
                        (DType::U8, DType::I8) => -128,
                        _ => 0,
                    };
                    let s = Shape {
                        at: Geometry {
                            rows: 1,
                            cols,
                            kernel,
                            stride,
                            dilation,
                            cut_rows: [least(0, 1), least(0, 2)],
                            cut_cols: [least(1, 2), least(1, 1)],
                        },
                        tail: Tail::default(),
                        lanes: isa.lanes as i64,
                        vectors,
                        w_type,
                        flush: match w_type {
                            DType::I8 => flush(&weights, taps as usize),
                            _ => 1 << (taps - 1),
                        },
                        x_type,
                        outside: zero + more != 0,
                        more,
                        out_type: DType::I32,
                    };
                    all.extend(case(isa, tile, &s, zero, &weights, &mut r));
                }
            }
        }
    }
    assert!(all.len() > 100, "too few shapes: {}", all.len());
    all
}
