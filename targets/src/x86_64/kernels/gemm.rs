//! The f32 GEMM tile on AVX2 with FMA: up to 6 rows x 16 columns.
//!
//! Contract `gemm_tile`. Nothing that a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and ymm0-ymm15 only, no stack. Reads and
//! writes columns 0..n and no others: whole vectors, then 4, 2 or 1 lanes or a mask, which stands behind the code.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

use crate::shape::GemmShape;

/// 6 x 16: 12 accumulators, 2 vectors of B, one broadcast of A, one mask or second broadcast.
pub static GEMM_TILE_F32_6X16_AVX2FMA: Tile = Tile {
    name: "gemm_tile_f32_6x16_avx2fma",
    contract: "gemm_tile",
    needs: &["avx2", "fma"],
    tile: (6, 16),
    make,
};

/// Steps of k written out in the main loop.
const UNROLL: i32 = 4;

const YMM: [AsmRegisterYmm; 16] = [
    ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14,
    ymm15,
];
const XMM: [AsmRegisterXmm; 16] = [
    xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14,
    xmm15,
];

/// Holds the mask of a partial vector, if one is needed.
const MASK: usize = 3;
/// The first accumulator.
const ACC: usize = 4;

// Where arguments live; strides become bytes at entry.
const A: AsmRegister64 = rdi;
const A_ROW: AsmRegister64 = rsi;
const A_K: AsmRegister64 = rdx;
const B: AsmRegister64 = rcx;
const B_K: AsmRegister64 = r8;
const C: AsmRegister64 = r9;
const C_ROW: AsmRegister64 = r10;
const K: AsmRegister64 = r11;
/// The fourth row of A; before and after the loop, that of C.
const FOURTH: AsmRegister64 = rax;

/// What a vector of a row holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Four,
    Two,
    One,
    Mask,
}

struct Emit {
    asm: CodeAssembler,
    shape: GemmShape,
    /// Vectors per row, the last of which may be partial.
    cols: usize,
}

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    let shape = GemmShape::of(callee, GEMM_TILE_F32_6X16_AVX2FMA.tile)?;
    let bytes = emit(shape, landing_pad)
        .map_err(|e| Diagnostic::internal(format!("`{}`: {e}", callee.kernel)))?;
    Ok(Code {
        bytes,
        align: 64,
        stack: 0,
    })
}

fn emit(shape: GemmShape, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut e = Emit {
        asm: CodeAssembler::new(64)?,
        shape,
        cols: shape.n.div_ceil(8),
    };
    if landing_pad {
        e.asm.endbr64()?;
    }
    let masked = e.part(e.cols - 1) == Part::Mask;
    let mut mask = e.asm.create_label();
    if masked {
        e.asm.vmovups(YMM[MASK], ymmword_ptr(mask))?;
    }
    e.entry()?;
    e.loops()?;
    e.fourth(C, C_ROW)?;
    for (i, j) in e.places() {
        let at = e.row(C, C_ROW, i, j);
        e.store(ACC + i * e.cols + j, at, j)?;
    }
    e.asm.vzeroupper()?;
    e.asm.ret()?;
    if masked {
        e.asm.set_label(&mut mask)?;
        let lanes: [u32; 8] = std::array::from_fn(|l| if l < shape.n % 8 { u32::MAX } else { 0 });
        e.asm.dd(&lanes)?;
    }
    e.asm.assemble(0)
}

type Emitted = std::result::Result<(), IcedError>;

impl Emit {
    fn part(&self, j: usize) -> Part {
        match self.shape.n - 8 * j {
            1 => Part::One,
            2 => Part::Two,
            4 => Part::Four,
            3 | 5..=7 => Part::Mask,
            _ => Part::Whole,
        }
    }
    /// Row and vector of every accumulator.
    fn places(&self) -> Vec<(usize, usize)> {
        (0..self.shape.m * self.cols)
            .map(|p| (p / self.cols, p % self.cols))
            .collect()
    }
    /// Sets [`FOURTH`] to row 3 of a matrix, from which rows 4 and 5 are in reach too.
    fn fourth(&mut self, base: AsmRegister64, stride: AsmRegister64) -> Emitted {
        if self.shape.m > 3 {
            self.asm.lea(FOURTH, qword_ptr(stride + stride * 2))?;
            self.asm.add(FOURTH, base)?;
        }
        Ok(())
    }
    /// The address of vector `j` of row `i`.
    fn row(
        &self,
        base: AsmRegister64,
        stride: AsmRegister64,
        i: usize,
        j: usize,
    ) -> AsmMemoryOperand {
        let base = if i < 3 { base } else { FOURTH };
        let offset = 32 * j as i32;
        match i % 3 {
            0 => base + offset,
            1 => base + stride + offset,
            _ => base + stride * 2 + offset,
        }
    }
    fn load(&mut self, reg: usize, at: AsmMemoryOperand, j: usize) -> Emitted {
        match self.part(j) {
            Part::Whole => self.asm.vmovups(YMM[reg], ymmword_ptr(at)),
            Part::Four => self.asm.vmovups(XMM[reg], xmmword_ptr(at)),
            Part::Two => self.asm.vmovsd(XMM[reg], qword_ptr(at)),
            Part::One => self.asm.vmovss(XMM[reg], dword_ptr(at)),
            Part::Mask => self.asm.vmaskmovps(YMM[reg], YMM[MASK], ymmword_ptr(at)),
        }
    }
    fn store(&mut self, reg: usize, at: AsmMemoryOperand, j: usize) -> Emitted {
        match self.part(j) {
            Part::Whole => self.asm.vmovups(ymmword_ptr(at), YMM[reg]),
            Part::Four => self.asm.vmovups(xmmword_ptr(at), XMM[reg]),
            Part::Two => self.asm.vmovsd(qword_ptr(at), XMM[reg]),
            Part::One => self.asm.vmovss(dword_ptr(at), XMM[reg]),
            Part::Mask => self.asm.vmaskmovps(ymmword_ptr(at), YMM[MASK], YMM[reg]),
        }
    }
    fn entry(&mut self) -> Emitted {
        self.asm.mov(C_ROW, qword_ptr(rsp + 8))?;
        self.asm.mov(K, qword_ptr(rsp + 16))?;
        for stride in [A_ROW, A_K, B_K, C_ROW] {
            self.asm.shl(stride, 2)?;
        }
        if self.shape.accumulate {
            self.fourth(C, C_ROW)?;
        }
        for (i, j) in self.places() {
            let reg = ACC + i * self.cols + j;
            if self.shape.accumulate {
                let at = self.row(C, C_ROW, i, j);
                self.load(reg, at, j)?;
            } else {
                self.asm.vxorps(XMM[reg], XMM[reg], XMM[reg])?; // clears all of it
            }
        }
        self.fourth(A, A_ROW)
    }
    /// One step of k.
    fn step(&mut self) -> Emitted {
        let masked = self.part(self.cols - 1) == Part::Mask;
        for j in 0..self.cols {
            self.load(j, B + 32 * j as i32, j)?;
        }
        for i in 0..self.shape.m {
            // Two broadcasts in turn, unless the mask sits in the second register.
            let a = if masked { 2 } else { 2 + i % 2 };
            let at = self.row(A, A_ROW, i, 0);
            self.asm.vbroadcastss(YMM[a], dword_ptr(at))?;
            for j in 0..self.cols {
                self.asm
                    .vfmadd231ps(YMM[ACC + i * self.cols + j], YMM[a], YMM[j])?;
            }
        }
        self.asm.add(B, B_K)?;
        self.asm.add(A, A_K)?;
        if self.shape.m > 3 {
            self.asm.add(FOURTH, A_K)?;
        }
        Ok(())
    }
    fn loops(&mut self) -> Emitted {
        let [mut main, mut rest, mut one, mut done] = [(); 4].map(|()| self.asm.create_label());
        self.asm.cmp(K, UNROLL)?;
        self.asm.jl(rest)?;
        self.asm.set_label(&mut main)?;
        for _ in 0..UNROLL {
            self.step()?;
        }
        self.asm.sub(K, UNROLL)?;
        self.asm.cmp(K, UNROLL)?;
        self.asm.jge(main)?;
        self.asm.set_label(&mut rest)?;
        self.asm.test(K, K)?;
        self.asm.jle(done)?;
        self.asm.set_label(&mut one)?;
        self.step()?;
        self.asm.dec(K)?;
        self.asm.jne(one)?;
        self.asm.set_label(&mut done)
    }
}
