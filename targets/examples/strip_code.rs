//! Writes the NEON code of a strip of a matrix product to standard output: `strip_code M N [written|scheduled] [floats|words|bytes|matrices|narrow]`. For
//! `benches/mca.sh`.

use std::io::Write as _;

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::narrow::{Narrow, Zero};
use onnxc_compiler::contracts::strip::{Numbers, Strip};
use onnxc_targets::aarch64::vector::{Order, assemble_in};
use onnxc_targets::vector::ir::Level;
use onnxc_targets::vector::{rows, strip};

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let size = |n: usize| args.get(n).and_then(|a| a.parse::<i64>().ok());
    let (Some(m), Some(n)) = (size(0), size(1)) else {
        return Err(
            "strip_code M N [written|scheduled] [floats|words|bytes|matrices|narrow]".into(),
        );
    };
    let order = match args.get(2).map(String::as_str) {
        Some("written") => Order::Written,
        _ => Order::Scheduled,
    };
    let floats = Strip {
        m,
        n,
        b_row: (n + 3) / 4 * 4,
        ..Strip::floats()
    };
    let whole = |numbers, a_type, b_type, apart| Strip {
        numbers,
        a_type,
        b_type,
        c_type: DType::I32,
        apart,
        ..floats.clone()
    };
    let (shape, tile) = match args.get(3).map(String::as_str) {
        Some("words") => (
            whole(Numbers::Words, DType::I16, DType::I16, 4),
            rows::strip_words(Level::Neon, "strip", &[]),
        ),
        Some("bytes") => (
            whole(Numbers::Bytes, DType::I8, DType::I8, 0),
            rows::strip_bytes(Level::Neon, "strip", &[]),
        ),
        Some("matrices") => (
            whole(Numbers::Matrices, DType::I8, DType::I8, 0),
            rows::strip_matrices(Level::Neon, "strip", &[]),
        ),
        Some("narrow") => {
            let narrow = Strip {
                b_type: DType::I8,
                narrow: Some(Narrow {
                    block: 0,
                    zero: Zero::None,
                }),
                ..floats
            };
            (narrow, rows::strip(Level::Neon, "strip", &[]))
        }
        _ => (floats, rows::strip(Level::Neon, "strip", &[])),
    };
    let program = strip::program(&shape.callee(&tile), Level::Neon.isa());
    let code = program.and_then(|p| assemble_in(&p, false, order));
    let code = code.map_err(|e| e.message.clone())?;
    std::io::stdout()
        .write_all(&code.bytes)
        .map_err(|e| e.to_string())
}
