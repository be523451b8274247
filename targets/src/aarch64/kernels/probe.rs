//! Probes (see `crate::probe`) in NEON. Touch x0-x6 and v0-v7, v16-v31 only.

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};

use super::{DOTPROD, I8MM, NEON};
use crate::aarch64::asm::Assembler;
use crate::aarch64::inst::{Cond, Inst, V, Width, X};
use crate::aarch64::simd::VLong;
use crate::probe::{COPY, FMA, PRODUCTS, Products, READ, STEP};
use crate::probe::{DOTS, FLOATS, LONG, MATRICES, WORDS};

/// Accumulators: v2-v7 and v16-v31, all that belong to nobody.
const ACCS: u8 = 22;
/// Each accumulator so often in a turn.
const UNROLL: u8 = 4;

static FMA_NEON: Tile = Tile {
    name: "probe_fma_f32_neon",
    contract: FMA,
    needs: NEON,
    tile: (4, ACCS as i64 * UNROLL as i64),
    make: |_, pad| finish(pad, fma),
};
static READ_NEON: Tile = Tile {
    name: "probe_read_neon",
    contract: READ,
    needs: NEON,
    tile: (4, 0),
    make: |_, pad| finish(pad, |a| stream(a, false)),
};
static COPY_NEON: Tile = Tile {
    name: "probe_copy_neon",
    contract: COPY,
    needs: NEON,
    tile: (4, 0),
    make: |_, pad| finish(pad, |a| stream(a, true)),
};

macro_rules! long {
    ($static:ident, $name:literal, $needs:expr, $macs:literal, $op:ident) => {
        static $static: Tile = Tile {
            name: $name,
            contract: PRODUCTS,
            needs: $needs,
            tile: ($macs, ACCS as i64 * UNROLL as i64),
            make: |_, pad| {
                finish(pad, |a| {
                    sums(a, |a, d| {
                        let (op, n, m) = (VLong::$op, V(0), V(1));
                        a.put(Inst::VLong { op, d, n, m });
                    })
                })
            },
        };
    };
}

long!(SMMLA, "probe_smmla_i8mm", I8MM, 32, Smmla);
long!(SDOT, "probe_sdot_dotprod", DOTPROD, 16, Sdot);
long!(SMLAL_BYTES, "probe_smlal_i8_neon", NEON, 8, SmlalB);
long!(SMLAL_WORDS, "probe_smlal_i16_neon", NEON, 4, SmlalH);

/// What multiplies, those of one kind of numbers best first.
pub static MULTIPLIERS: &[Products] = &[
    Products::new("fmla 4s", &FMA_NEON, FLOATS),
    Products::new("smmla 4s", &SMMLA, MATRICES),
    Products::new("sdot 4s", &SDOT, DOTS),
    Products::new("smlal 8h", &SMLAL_BYTES, LONG),
    Products::new("smlal 4s", &SMLAL_WORDS, WORDS),
];

/// Those of memory.
pub static PROBES: &[&Tile] = &[&READ_NEON, &COPY_NEON];

const FROM: X = X(4);
const TO: X = X(5);
const LEFT: X = X(6);
const TURNS: X = X(3);

fn finish(pad: bool, body: fn(&mut Assembler)) -> Result<Code> {
    let mut a = Assembler::default();
    if pad {
        a.put(Inst::BtiC);
    }
    body(&mut a);
    a.put(Inst::Ret);
    Ok(Code {
        bytes: a.finish()?,
        align: 64,
        stack: 0,
    })
}

fn free(i: u8) -> V {
    V(if i < 6 { i + 2 } else { i + 10 })
}

/// Counts a register down by `by` and repeats `body` while it is above 0.
fn repeat(a: &mut Assembler, counter: X, by: u32, body: impl FnOnce(&mut Assembler)) {
    let again = a.label();
    a.place(again);
    body(a);
    a.put(Inst::SubImm {
        d: counter,
        n: counter,
        imm: by,
    });
    a.put(Inst::CmpImm { n: counter, imm: 0 });
    a.b_cond(Cond::Gt, again);
}

/// Sums that don't wait for one another: `body` adds to a register.
fn sums(a: &mut Assembler, body: impl Fn(&mut Assembler, V)) {
    let all = [V(0), V(1)].into_iter().chain((0..ACCS).map(free));
    all.for_each(|d| a.put(Inst::Zero { d }));
    repeat(a, TURNS, 1, |a| {
        (0..ACCS * UNROLL).for_each(|i| body(a, free(i % ACCS)));
    });
}

fn fma(a: &mut Assembler) {
    sums(a, |a, d| {
        let (n, m, lane) = (V(0), V(1), 0);
        a.put(Inst::FmlaLane { d, n, m, lane });
    });
}

fn stream(a: &mut Assembler, copy: bool) {
    repeat(a, TURNS, 1, |a| {
        for (d, n) in [(FROM, X(0)), (TO, X(1)), (LEFT, X(2))] {
            a.put(Inst::AddImm { d, n, imm: 0 });
        }
        repeat(a, LEFT, STEP as u32, |a| {
            let all: Vec<u32> = (0..STEP as u32 / 16).collect();
            for group in all.chunks(8) {
                for (r, i) in (0..).zip(group) {
                    a.put(Inst::Ldr {
                        w: Width::Q,
                        t: free(r),
                        n: FROM,
                        offset: i * 16,
                    });
                }
                for (r, i) in (0..).zip(group).filter(|_| copy) {
                    a.put(Inst::Str {
                        w: Width::Q,
                        t: free(r),
                        n: TO,
                        offset: i * 16,
                    });
                }
            }
            for at in [FROM, TO] {
                a.put(Inst::AddImm {
                    d: at,
                    n: at,
                    imm: STEP as u32,
                });
            }
        });
    });
}
