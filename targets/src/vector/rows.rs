//! The rows of kernels over the vector machine: one for each template and level.

use super::ir::Level;
use super::{assemble, depthwise, sparse, strip, winograd_filters, winograd_in, winograd_out};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

macro_rules! by_level {
    ($level:expr, $program:path) => {
        match $level {
            Level::Sse2 => |c: &Callee, pad| code($program(c, Level::Sse2.isa()), pad),
            Level::Avx2 => |c: &Callee, pad| code($program(c, Level::Avx2.isa()), pad),
            Level::Avx512 => |c: &Callee, pad| code($program(c, Level::Avx512.isa()), pad),
            Level::Neon => |c: &Callee, pad| code($program(c, Level::Neon.isa()), pad),
        }
    };
}

fn code(program: Result<super::ir::Program>, landing_pad: bool) -> Result<Code> {
    assemble(&program?, landing_pad)
}

/// Contract `gemm_strip`.
pub const fn strip(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "gemm_strip",
        needs,
        tile: (1, 1),
        make: by_level!(level, strip::program),
    }
}

/// Contract `gemm_strip_words`.
pub const fn strip_words(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "gemm_strip_words",
        needs,
        tile: (1, 1),
        make: by_level!(level, strip::program),
    }
}

/// The same where one instruction multiplies words and adds: AVX2 and AVX-512.
pub const fn strip_fused_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        make: match level {
            Level::Avx512 => |c, pad| {
                code(
                    strip::program(c, Level::Avx512.isa().with_fused_words()),
                    pad,
                )
            },
            _ => |c, pad| code(strip::program(c, Level::Avx2.isa().with_fused_words()), pad),
        },
        ..strip_words(level, name, needs)
    }
}

/// Contract `gemm_strip_bytes`.
pub const fn strip_bytes(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "gemm_strip_bytes",
        needs,
        tile: (1, 1),
        make: by_level!(level, strip::program),
    }
}

/// The same at 256 bits where AVX-512 multiplies bytes: for columns that fill half a vector.
pub const fn strip_half_bytes(name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        make: |c, pad| {
            let isa = Level::Avx2.isa().with_evex_bytes();
            code(strip::program(c, isa), pad)
        },
        ..strip_bytes(Level::Avx2, name, needs)
    }
}

/// Contract `gemm_strip_matrices`.
pub const fn strip_matrices(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "gemm_strip_matrices",
        ..strip_bytes(level, name, needs)
    }
}

/// Contract `gemm_strip_picked`.
pub const fn strip_picked(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "gemm_strip_picked",
        ..strip_bytes(level, name, needs)
    }
}

/// Contract `depthwise_tile`.
pub const fn depthwise(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "depthwise_tile",
        needs,
        tile: (1, 1),
        make: by_level!(level, depthwise::floats::program),
    }
}

/// Contract `depthwise_words`.
pub const fn depthwise_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        name,
        contract: "depthwise_words",
        needs,
        tile: (1, 1),
        make: by_level!(level, depthwise::parts::program),
    }
}

/// Contract `depthwise_bytes`.
pub const fn depthwise_bytes(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "depthwise_bytes",
        ..depthwise_words(level, name, needs)
    }
}

/// The same where dot products take registers alone.
pub const fn depthwise_dots(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "depthwise_bytes",
        make: by_level!(level, depthwise::dots::program),
        ..depthwise_words(level, name, needs)
    }
}

/// Contract `depthwise_long`.
pub const fn depthwise_long(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        name,
        contract: "depthwise_long",
        needs,
        tile: (1, 1),
        make: by_level!(level, depthwise::long::program),
    }
}

/// Contract `winograd_in`.
pub const fn winograd_in(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "winograd_in",
        needs,
        tile: (1, 1),
        make: by_level!(level, winograd_in::program),
    }
}

/// Contract `winograd_out`.
pub const fn winograd_out(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        name,
        contract: "winograd_out",
        needs,
        tile: (1, 1),
        make: by_level!(level, winograd_out::program),
    }
}

/// Contract `winograd_in_words`.
pub const fn winograd_in_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "winograd_in_words",
        ..winograd_in(level, name, needs)
    }
}

/// Contract `winograd_out_words`.
pub const fn winograd_out_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "winograd_out_words",
        ..winograd_out(level, name, needs)
    }
}

/// Contract `winograd_filters`.
pub const fn winograd_filters(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        name,
        contract: "winograd_filters",
        needs,
        tile: (1, 1),
        make: by_level!(level, winograd_filters::program),
    }
}

/// Contract `winograd_filters_words`.
pub const fn winograd_filters_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "winograd_filters_words",
        ..winograd_filters(level, name, needs)
    }
}

macro_rules! sparse_rows {
    ($($name:ident $words:ident $contract:literal $words_contract:literal $program:path;)*) => {
        $(
            #[doc = concat!("Contract `", $contract, "`.")]
            pub const fn $name(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
                Tile {
                    name,
                    contract: $contract,
                    needs,
                    tile: (1, 1),
                    make: by_level!(level, $program),
                }
            }
            #[doc = concat!("Contract `", $words_contract, "`.")]
            pub const fn $words(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
                Tile {
                    contract: $words_contract,
                    ..$name(level, name, needs)
                }
            }
        )*
    };
}

sparse_rows! {
    sparse_in sparse_in_words "sparse_in" "sparse_in_words" sparse::rows_in::program;
    sparse_strip sparse_strip_words "sparse_strip" "sparse_strip_words" sparse::strip::program;
    sparse_out sparse_out_words "sparse_out" "sparse_out_words" sparse::rows_out::program;
}

/// Contract `sparse_in_near`.
pub const fn sparse_in_near(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "sparse_in_near",
        ..sparse_in(level, name, needs)
    }
}

/// Contract `sparse_strip_pairs`.
pub const fn sparse_strip_pairs(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "sparse_strip_pairs",
        ..sparse_strip(level, name, needs)
    }
}

/// Contract `sparse_strip_quads`.
pub const fn sparse_strip_quads(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        contract: "sparse_strip_quads",
        ..sparse_strip(level, name, needs)
    }
}

/// Contract `sparse_out_across`.
pub const fn sparse_out_across(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        name,
        contract: "sparse_out_across",
        needs,
        tile: (1, 1),
        make: by_level!(level, sparse::across::program),
    }
}

/// Contract `sparse_line`.
pub const fn sparse_line(level: Level, name: &'static str, needs: &'static [&'static str]) -> Tile {
    Tile {
        name,
        contract: "sparse_line",
        needs,
        tile: (1, 1),
        make: by_level!(level, sparse::strip::line),
    }
}

/// `sparse_strip_words` where one instruction multiplies words and adds: AVX2 and AVX-512.
pub const fn sparse_strip_fused_words(
    level: Level,
    name: &'static str,
    needs: &'static [&'static str],
) -> Tile {
    Tile {
        make: match level {
            Level::Avx512 => |c, pad| {
                let isa = Level::Avx512.isa().with_fused_words();
                code(sparse::strip::program(c, isa), pad)
            },
            _ => |c, pad| {
                let isa = Level::Avx2.isa().with_fused_words();
                code(sparse::strip::program(c, isa), pad)
            },
        },
        ..sparse_strip_words(level, name, needs)
    }
}
