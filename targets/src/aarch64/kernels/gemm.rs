//! The f32 GEMM tile on NEON: up to 8 rows x 12 columns.
//!
//! Contract `gemm_tile`. Registers: accumulators and what is loaded share v0-v31, those that a caller owns (d8-d15) last and saved;
//! general registers are x0-x17 only. Reads and writes columns 0..n and no others: whole vectors, then 1 to 3 lanes.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

use super::schedule::{Op, schedule};
use crate::aarch64::asm::Assembler;
use crate::aarch64::inst::{Cond, Inst, SP, V, Width, X};
use crate::shape::GemmShape;

/// 8 x 12: 24 accumulators leave 8 registers for loads.
pub static GEMM_TILE_F32_8X12_NEON: Tile = Tile {
    name: "gemm_tile_f32_8x12_neon",
    contract: "gemm_tile",
    needs: &["neon"],
    tile: (8, 12),
    make,
};

/// Steps of k written out in the main loop.
const UNROLL: usize = 4;

// Arguments; strides become bytes at entry.
const A: X = X(0);
const A_ROW: X = X(1);
const A_K: X = X(2);
const B: X = X(3);
const B_K: X = X(4);
const C: X = X(5);
const C_ROW: X = X(6);
const K: X = X(7);
/// Bytes from a row's start to the current k; before and after the loop, the current row of C.
const AT: X = X(16);
/// The address of the third of three trailing columns.
const THIRD: X = X(17);

/// The pointer to row `i` of A.
fn row(i: usize) -> X {
    if i == 0 { A } else { X(8 + i as u8) }
}

struct Emit {
    asm: Assembler,
    shape: GemmShape,
    /// Vectors per row, the last of which may be partial.
    cols: usize,
    /// Vector registers: first those for loads, then the accumulators row by row.
    temps: Vec<V>,
    accs: Vec<V>,
}

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    let shape = GemmShape::of(callee, GEMM_TILE_F32_8X12_NEON.tile)?;
    let cols = shape.n.div_ceil(4);
    let accs = shape.m * cols;
    // Enough for loads to run ahead; a caller's registers are touched only where that takes more than 24.
    let temps = 24usize.saturating_sub(accs).clamp(8, 12).min(32 - accs);
    let order: Vec<V> = (0..8)
        .chain(16..32)
        .chain(8..16)
        .take(temps + accs)
        .map(V)
        .collect();
    let saved = (temps + accs).saturating_sub(24).div_ceil(2);
    let (temps, accs) = order.split_at(temps);
    let mut e = Emit {
        asm: Assembler::default(),
        shape,
        cols,
        temps: temps.to_vec(),
        accs: accs.to_vec(),
    };
    if landing_pad {
        e.asm.put(Inst::BtiC);
    }
    let frame = saved as u32 * 16;
    let pairs: Vec<(V, V, i32)> = (0..saved as u8)
        .map(|p| (V(8 + 2 * p), V(9 + 2 * p), i32::from(p) * 16))
        .collect();
    if frame > 0 {
        e.asm.put(Inst::SubImm {
            d: SP,
            n: SP,
            imm: frame,
        });
        pairs.iter().for_each(|&(t, u, offset)| {
            e.asm.put(Inst::StpD {
                t,
                u,
                n: SP,
                offset,
            })
        });
    }
    e.entry();
    e.loops()?;
    e.rows_of_c(|e, i, j| e.store(i, j));
    if frame > 0 {
        pairs.iter().for_each(|&(t, u, offset)| {
            e.asm.put(Inst::LdpD {
                t,
                u,
                n: SP,
                offset,
            })
        });
        e.asm.put(Inst::AddImm {
            d: SP,
            n: SP,
            imm: frame,
        });
    }
    e.asm.put(Inst::Ret);
    Ok(Code {
        bytes: e.asm.finish()?,
        align: 64,
        stack: frame,
    })
}

impl Emit {
    /// What vector `j` of a row holds: its width, and whether a third lane comes on top.
    fn part(&self, j: usize) -> (Width, bool) {
        match self.shape.n - 4 * j {
            1 => (Width::S, false),
            2 => (Width::D, false),
            3 => (Width::D, true),
            _ => (Width::Q, false),
        }
    }
    fn acc(&self, i: usize, j: usize) -> V {
        self.accs[i * self.cols + j]
    }
    /// Sets [`THIRD`] for rows that start at `base`, if there is a third lane.
    fn third(&mut self, base: X) {
        if self.shape.n % 4 == 3 {
            self.asm.put(Inst::AddImm {
                d: THIRD,
                n: base,
                imm: (self.shape.n as u32 - 1) * 4,
            });
        }
    }
    /// Visits every vector of C, [`AT`] being the start of its row.
    fn rows_of_c(&mut self, f: impl Fn(&mut Emit, usize, usize)) {
        self.third(C);
        self.asm.put(Inst::AddImm {
            d: AT,
            n: C,
            imm: 0,
        });
        for i in 0..self.shape.m {
            (0..self.cols).for_each(|j| f(self, i, j));
            if i + 1 < self.shape.m {
                self.asm.put(Inst::Add {
                    d: AT,
                    n: AT,
                    m: C_ROW,
                    lsl: 0,
                });
            }
        }
    }
    fn entry(&mut self) {
        for stride in [A_ROW, A_K, B_K, C_ROW] {
            self.asm.put(Inst::LslImm {
                d: stride,
                n: stride,
                by: 2,
            });
        }
        for i in 1..self.shape.m {
            self.asm.put(Inst::Add {
                d: row(i),
                n: row(i - 1),
                m: A_ROW,
                lsl: 0,
            });
        }
        if self.shape.accumulate {
            self.rows_of_c(|e, i, j| {
                let t = e.acc(i, j);
                e.load(t, AT, j, C_ROW);
            });
        } else {
            self.accs
                .clone()
                .into_iter()
                .for_each(|d| self.asm.put(Inst::Zero { d }));
        }
        self.asm.put(Inst::MovImm { d: AT, imm: 0 });
        self.third(B);
    }
    /// Loads vector `j` of the row at `base`; `next` is the distance to the next row, which [`THIRD`] goes along.
    fn load(&mut self, t: V, base: X, j: usize, next: X) {
        let (w, third) = self.part(j);
        self.asm.put(Inst::Ldr {
            w,
            t,
            n: base,
            offset: 16 * j as u32,
        });
        if third {
            self.asm.put(Inst::Ld1LaneS {
                t,
                lane: 2,
                n: THIRD,
                m: next,
            });
        }
    }
    fn store(&mut self, i: usize, j: usize) {
        let (w, third) = self.part(j);
        let t = self.acc(i, j);
        self.asm.put(Inst::Str {
            w,
            t,
            n: AT,
            offset: 16 * j as u32,
        });
        if third {
            self.asm.put(Inst::St1LaneS {
                t,
                lane: 2,
                n: THIRD,
                m: C_ROW,
            });
        }
    }
    fn steps(&mut self, steps: usize) -> Result<()> {
        let ops = schedule(self.shape.m, self.cols, steps, self.temps.len()).ok_or_else(|| {
            Diagnostic::internal("a GEMM tile left too few registers for its loads")
        })?;
        for op in ops {
            match op {
                Op::LoadB { j, reg } => self.load(self.temps[reg], B, j, B_K),
                Op::NextB => self.asm.put(Inst::Add {
                    d: B,
                    n: B,
                    m: B_K,
                    lsl: 0,
                }),
                Op::LoadA { i, reg } => self.asm.put(Inst::LdrIndex {
                    w: Width::S,
                    t: self.temps[reg],
                    n: row(i),
                    m: AT,
                    scaled: false,
                }),
                Op::NextA => self.asm.put(Inst::Add {
                    d: AT,
                    n: AT,
                    m: A_K,
                    lsl: 0,
                }),
                Op::Fma { i, j, a, b } => {
                    self.asm.put(Inst::FmlaLane {
                        d: self.acc(i, j),
                        n: self.temps[b],
                        m: self.temps[a],
                        lane: 0,
                    });
                }
            }
        }
        Ok(())
    }
    fn loops(&mut self) -> Result<()> {
        let [main, rest, one, done] = [(); 4].map(|()| self.asm.label());
        let unroll = UNROLL as u32;
        self.asm.put(Inst::CmpImm { n: K, imm: unroll });
        self.asm.b_cond(Cond::Lt, rest);
        self.asm.place(main);
        self.steps(UNROLL)?;
        self.asm.put(Inst::SubImm {
            d: K,
            n: K,
            imm: unroll,
        });
        self.asm.put(Inst::CmpImm { n: K, imm: unroll });
        self.asm.b_cond(Cond::Ge, main);
        self.asm.place(rest);
        self.asm.put(Inst::CmpImm { n: K, imm: 0 });
        self.asm.b_cond(Cond::Le, done);
        self.asm.place(one);
        self.steps(1)?;
        self.asm.put(Inst::SubImm { d: K, n: K, imm: 1 });
        self.asm.put(Inst::CmpImm { n: K, imm: 0 });
        self.asm.b_cond(Cond::Gt, one);
        self.asm.place(done);
        Ok(())
    }
}
