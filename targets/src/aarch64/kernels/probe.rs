//! Probes (see `crate::probe`) in NEON. Touch x0-x6 and v0-v7, v16-v31 only.

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};

use crate::aarch64::asm::Assembler;
use crate::aarch64::inst::{Cond, Inst, V, Width, X};
use crate::probe::{COPY, FMA, READ, STEP};

/// Accumulators: v2-v7 and v16-v31, all that belong to nobody.
const ACCS: u8 = 22;
/// Each accumulator so often in a turn.
const UNROLL: u8 = 4;

static FMA_NEON: Tile = Tile {
    name: "probe_fma_f32_neon",
    contract: FMA,
    needs: &["neon"],
    tile: (4, ACCS as i64 * UNROLL as i64),
    make: |_, pad| finish(pad, fma),
};
static READ_NEON: Tile = Tile {
    name: "probe_read_neon",
    contract: READ,
    needs: &["neon"],
    tile: (4, 0),
    make: |_, pad| finish(pad, |a| stream(a, false)),
};
static COPY_NEON: Tile = Tile {
    name: "probe_copy_neon",
    contract: COPY,
    needs: &["neon"],
    tile: (4, 0),
    make: |_, pad| finish(pad, |a| stream(a, true)),
};

/// All of them.
pub static PROBES: &[&Tile] = &[&FMA_NEON, &READ_NEON, &COPY_NEON];

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

fn fma(a: &mut Assembler) {
    let all = [V(0), V(1)].into_iter().chain((0..ACCS).map(free));
    all.for_each(|d| a.put(Inst::Zero { d }));
    repeat(a, TURNS, 1, |a| {
        for i in 0..ACCS * UNROLL {
            a.put(Inst::FmlaLane {
                d: free(i % ACCS),
                n: V(0),
                m: V(1),
                lane: 0,
            });
        }
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
