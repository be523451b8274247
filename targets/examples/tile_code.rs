//! Writes the NEON code of a tile to standard output, and what its longest run without a branch does to standard error, for `benches/mca.sh`:
//! `tile_code long|words|dots|floats|in|out|in-floats|out-floats [written|scheduled]`. Of depthwise convolutions of bytes, 3x3 with stride 1, `long` multiplies bytes to words, `words`
//! words to lanes, `dots` takes dot products, and `floats` converts: pixels times channels. `in` and `out` are the transforms of integer Winograd F(4x4,3x3), others
//! those of floats: channels of a tile.

use std::io::Write as _;

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::depthwise_tile::{Geometry, Shape};
use onnxc_compiler::contracts::winograd_tiles::{In, Numbers, Out};
use onnxc_compiler::contracts::{depthwise_long, depthwise_parts};
use onnxc_compiler::loops::tail::Tail;
use onnxc_targets::aarch64::vector::{Order, assemble_in};
use onnxc_targets::vector::depthwise::{dots, floats, long};
use onnxc_targets::vector::ir::Level;
use onnxc_targets::vector::{rows, winograd_in, winograd_out};

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let order = match args.get(1).map(String::as_str) {
        Some("written") => Order::Written,
        _ => Order::Scheduled,
    };
    let isa = Level::Neon.isa();
    let at = |rows, cols| Geometry {
        rows,
        cols,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        cut_rows: [0, 0],
        cut_cols: [0, 0],
    };
    let of_long = |w_type, vectors, cols| depthwise_long::Shape {
        at: at(1, cols),
        tail: Tail::default(),
        lanes: 4,
        vectors,
        w_type,
        // A word holds two products of full weights, which layers with many channels have.
        flush: 0b1_1010_1010,
        x_type: DType::I8,
        outside: false,
        more: 0,
        out_type: DType::I32,
    };
    let (program, size) =
        match args.first().map(String::as_str) {
            Some(numbers @ ("long" | "words")) => {
                let s = match numbers {
                    "long" => of_long(DType::I8, 4, 3),
                    _ => of_long(DType::I16, 2, 8),
                };
                let tile = rows::depthwise_long(Level::Neon, "tile", &[]);
                (long::program(&s.callee(&tile), isa), s.at.cols * s.block())
            }
            Some("floats") => {
                let s = Shape {
                    at: at(2, 4),
                    tail: Tail::default(),
                    lanes: 4,
                    rest: 0,
                    x_type: DType::I8,
                    zero: 0,
                    out_type: DType::I32,
                };
                let tile = rows::depthwise(Level::Neon, "tile", &[]);
                (floats::program(&s.callee(&tile), isa), 2 * 4 * 4)
            }
            Some("dots") => {
                let s = depthwise_parts::Shape {
                    at: at(2, 3),
                    tail: Tail::default(),
                    lanes: 4,
                    vectors: 2,
                    parts: 4,
                    packed_rows: 2,
                    first: 0,
                    x_type: DType::I8,
                    more: 0,
                    clear: false,
                    out_type: DType::I32,
                };
                let tile = rows::depthwise_dots(Level::Neon, "tile", &[]);
                (dots::program(&s.callee(&tile), isa), 2 * 3 * 8)
            }
            Some(name @ ("in" | "in-floats")) => {
                let floats = name == "in-floats";
                let s = In {
                    m: 4,
                    lanes: if floats { 4 } else { 8 },
                    rest: 0,
                    x: match floats {
                        true => Numbers::Floats,
                        false => Numbers::Bytes {
                            signed: true,
                            zero: 0,
                        },
                    },
                };
                let tile = match floats {
                    true => rows::winograd_in(Level::Neon, "tile", &[]),
                    false => rows::winograd_in_words(Level::Neon, "tile", &[]),
                };
                (winograd_in::program(&s.callee(&tile), isa), s.lanes)
            }
            Some(name @ ("out" | "out-floats")) => {
                let floats = name == "out-floats";
                let s = Out {
                    m: 4,
                    lanes: 4,
                    rest: 0,
                    whole: (!floats).then_some(DType::I32),
                    tail: Tail::default(),
                };
                let tile = match floats {
                    true => rows::winograd_out(Level::Neon, "tile", &[]),
                    false => rows::winograd_out_words(Level::Neon, "tile", &[]),
                };
                (winograd_out::program(&s.callee(&tile), isa), 4)
            }
            _ => return Err(
                "tile_code long|words|dots|floats|in|out|in-floats|out-floats [written|scheduled]"
                    .into(),
            ),
        };
    let code = program.and_then(|p| assemble_in(&p, false, order));
    let code = code.map_err(|e| e.message.clone())?;
    eprintln!("{size}");
    std::io::stdout()
        .write_all(&code.bytes)
        .map_err(|e| e.to_string())
}
