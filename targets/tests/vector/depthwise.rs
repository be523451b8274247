//! Tiles of depthwise convolutions of bytes, their interpreted program against sums written out here; every border, several window shapes.

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::depthwise_parts::Shape;
use onnxc_compiler::contracts::depthwise_tile::{Geometry, lane};
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::tail::Tail;
use onnxc_targets::vector::depthwise::{dots, parts};
use onnxc_targets::vector::ir::Isa;

use crate::harness::{Arg, Case, MEMORY, expected};

// Where W and the sums lie, in bytes; the image begins at 0.
const W: usize = 1280;
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
    more_channels: i64,
    r: &mut Numbers,
) -> Option<Case> {
    let g = &s.at;
    let channels = s.block() + more_channels;
    let blocks = (channels + s.block() - 1) / s.block();
    let (rows, cols) = (
        g.span(0) - g.cut_rows[0] - g.cut_rows[1],
        g.span(1) - g.cut_cols[0] - g.cut_cols[1],
    );
    let packed = blocks * s.packed_vectors() * s.lanes;
    let image = (rows * cols * channels) as usize;
    let sums = (g.rows * g.cols * channels) as usize;
    if image > W || W + 4 * packed as usize > OUT || OUT + 4 * sums > MEMORY {
        return None;
    }
    let mut memory: Vec<u8> = (0..MEMORY).map(|_| r.next(256) as u8).collect();
    let taps = g.kernel[0] * g.kernel[1];
    let (least, all) = if s.parts == 4 {
        (-128, 256)
    } else {
        (-255, 511)
    };
    let weights: Vec<i64> = (0..channels * taps).map(|_| least + r.next(all)).collect();
    let start: Vec<i64> = (0..channels).map(|_| r.next(1 << 20) - (1 << 19)).collect();
    // Packed as the contract says.
    let mut w: Vec<u8> = vec![];
    for b in 0..blocks {
        let first = (b * s.block()).min(channels - s.block());
        let lanes = || (0..s.vectors).flat_map(|v| (0..s.lanes).map(move |l| (v, l)));
        let channel = |(v, l): (i64, i64)| first + s.channel(v, l);
        for at in lanes() {
            w.extend((start[channel(at) as usize] as i32).to_le_bytes());
        }
        for j in 0..s.packed_rows {
            for (_, group) in s.groups(j) {
                for (kx, at) in (0..g.kernel[1]).flat_map(|kx| lanes().map(move |at| (kx, at))) {
                    for k in 0..s.parts as usize {
                        let weight = group.get(k).copied().flatten().map_or(0, |ky| {
                            weights[(channel(at) * taps + ky * g.kernel[1] + kx) as usize]
                        });
                        match s.parts {
                            4 => w.push(weight as u8),
                            _ => w.extend((weight as i16).to_le_bytes()),
                        }
                    }
                }
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
        lane(zero, s.parts),
    ];
    let mut args: Vec<Arg> = [0, W, OUT].map(|at| Arg::Pointer(at as i64)).to_vec();
    args.extend(numbers.map(Arg::Number));
    let case = Case {
        name: format!("{s:?} with {channels} channels"),
        program: match isa.by_lane {
            true => dots::program(&s.callee(tile), isa),
            false => parts::program(&s.callee(tile), isa),
        }
        .unwrap_or_else(|e| panic!("{}", e.message)),
        args,
        memory,
    };
    let got = expected(&case);
    for (pixel, c) in (0..g.rows * g.cols).flat_map(|p| (0..channels).map(move |c| (p, c))) {
        let (oy, ox) = (pixel / g.cols, pixel % g.cols);
        let mut sum = start[c as usize];
        for (ky, kx) in (0..g.kernel[0]).flat_map(|y| (0..g.kernel[1]).map(move |x| (y, x))) {
            let y = oy * g.stride[0] + ky * g.dilation[0];
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
        let at = OUT + 4 * (pixel * channels + c) as usize;
        let own = i32::from_le_bytes(got[at..at + 4].try_into().unwrap());
        assert_eq!(own, sum as i32, "{}: pixel {pixel}, channel {c}", case.name);
    }
    Some(case)
}

/// Tiles of many shapes; `parts`: rows of a lane.
pub fn cases(isa: Isa, tile: &Tile, parts: i64) -> Vec<Case> {
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
    ] {
        for (rows, packed_rows, first) in [
            (1, 1, 0),
            (2, 2, 0),
            (1, 2, 0),
            (1, 2, 1),
            (2, 4, 1),
            (3, 3, 0),
            (3, 4, 1),
        ] {
            for vectors in match (parts, isa.by_lane, isa.lanes) {
                (4, false, _) => &[2, 4][..],
                (2, _, 8) => &[1, 2],
                _ => &[2],
            } {
                for (cols, cut) in [(1, 0), (2, 1), (3, 2), (1, 3)] {
                    let room = isa.vregs as i64 - if *vectors == 4 { 6 } else { 4 };
                    let spread = dilation[0] > 1 && packed_rows > 1;
                    // Weights in registers: those of all rows of a tile and columns of a window.
                    let held = if isa.by_lane {
                        rows * kernel[1] * vectors
                    } else {
                        0
                    };
                    if rows * cols * vectors + held > room || spread {
                        continue;
                    }
                    let least = |i: usize, bit: i64| i64::from(cut & bit > 0 && kernel[i] > 1);
                    let x_type = if r.next(2) == 0 { DType::U8 } else { DType::I8 };
                    let mut s = Shape {
                        at: Geometry {
                            rows,
                            cols,
                            kernel,
                            stride,
                            dilation,
                            cut_rows: [least(0, 1), least(0, 2)],
                            cut_cols: [least(1, 2), least(1, 1)],
                        },
                        tail: Tail::default(),
                        lanes: isa.lanes as i64,
                        vectors: *vectors,
                        parts,
                        packed_rows,
                        first,
                        x_type,
                        more: match (x_type, parts, isa.by_lane) {
                            (DType::I8, 4, false) => 128,
                            (DType::U8, 4, true) => -128,
                            _ => 0,
                        },
                        clear: false,
                        out_type: DType::I32,
                    };
                    let zero = if x_type == DType::I8 { -77 } else { 201 };
                    for more in [0, 5] {
                        all.extend(case(isa, tile, &s, zero, more, &mut r));
                    }
                    // What is outside is multiplied as 0.
                    s.clear = true;
                    all.extend(case(isa, tile, &s, -s.more, 5, &mut r));
                    // Words lose their zero point.
                    if parts == 2 {
                        s.more = -zero;
                        all.extend(case(isa, tile, &s, zero, 5, &mut r));
                    }
                }
            }
        }
    }
    all
}
