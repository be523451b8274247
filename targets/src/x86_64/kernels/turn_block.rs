//! A block of a matrix in registers: up to eight rows of eight elements become columns.
//!
//! Reads from rax, rows `r8` bytes apart; writes to rbx, rows `r9` bytes apart. Uses r10, r11 and vectors 0 to 15.

use super::Emitted;
use iced_x86::code_asm::*;
use onnxc_compiler::contracts::turn::BLOCK;

/// Which rows and columns of a block count.
pub struct Block {
    size: i64,
    rows: i64,
    cols: i64,
}

/// Vectors by number.
const XMM: [AsmRegisterXmm; 16] = [
    xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14,
    xmm15,
];
const YMM: [AsmRegisterYmm; 16] = [
    ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14,
    ymm15,
];

/// The address of line `k` of eight: `base`, or `four` from the fifth on, plus so many times the distance.
fn line(
    k: usize,
    base: AsmRegister64,
    four: AsmRegister64,
    apart: AsmRegister64,
    three: AsmRegister64,
) -> AsmMemoryOperand {
    let from = if k < 4 { base } else { four };
    let sum = match k % 4 {
        0 => from + 0,
        1 => from + apart,
        2 => from + apart * 2,
        _ => from + three,
    };
    ptr(sum)
}

impl Block {
    /// A block; rows and columns up to [`BLOCK`].
    pub fn new(size: i64, rows: i64, cols: i64) -> Block {
        Block { size, rows, cols }
    }
    /// Elements that a load or a store touches.
    pub fn reach(&self) -> i64 {
        if self.whole() {
            return self.rows;
        }
        // Half a vector holds four.
        match self.size == 4 && self.rows.min(self.cols) <= 4 {
            true => 4,
            false => BLOCK,
        }
    }
    /// Whether results are whole vectors: two or three rows of four bytes that take turns.
    fn whole(&self) -> bool {
        self.size == 4 && matches!(self.rows, 2 | 3)
    }
    /// The rows that are loaded: those that are absent are another's, since nobody looks at them.
    fn row(&self, k: usize) -> AsmMemoryOperand {
        line(k.min(self.rows as usize - 1), rax, r10, r8, r11)
    }
    /// Moves it.
    pub fn emit(&self, a: &mut CodeAssembler) -> Emitted {
        match self.rows {
            2 if self.whole() => return two_rows(a),
            3 if self.whole() => return three_rows(a),
            _ => {}
        }
        a.lea(r11, qword_ptr(r8 + r8 * 2))?;
        a.lea(r10, qword_ptr(rax + r8 * 4))?;
        match self.size {
            1 => self.load_bytes(a)?,
            2 => self.load_words(a)?,
            _ => self.load_longs(a)?,
        }
        a.lea(r11, qword_ptr(r9 + r9 * 2))?;
        a.lea(r10, qword_ptr(rbx + r9 * 4))?;
        for k in 0..self.cols as usize {
            let to = line(k, rbx, r10, r9, r11);
            match self.size {
                // Two rows in each vector.
                1 if k % 2 == 0 => a.vmovq(to, XMM[k / 2])?,
                1 => a.vmovhps(to, XMM[k / 2])?,
                2 => a.vmovdqu(to, XMM[k])?,
                _ if self.rows <= 4 => a.vmovups(to, XMM[k])?,
                _ => a.vmovups(to, YMM[k])?,
            }
        }
        Ok(())
    }
    fn load_bytes(&self, a: &mut CodeAssembler) -> Emitted {
        for k in 0..8 {
            a.vmovq(XMM[k], self.row(k))?;
        }
        for k in 0..4 {
            a.vpunpcklbw(XMM[8 + k], XMM[2 * k], XMM[2 * k + 1])?;
        }
        for k in 0..2 {
            a.vpunpcklwd(XMM[4 + k], XMM[8 + 2 * k], XMM[9 + 2 * k])?;
            a.vpunpckhwd(XMM[6 + k], XMM[8 + 2 * k], XMM[9 + 2 * k])?;
        }
        for (k, from) in [4, 6].into_iter().enumerate() {
            a.vpunpckldq(XMM[2 * k], XMM[from], XMM[from + 1])?;
            a.vpunpckhdq(XMM[2 * k + 1], XMM[from], XMM[from + 1])?;
        }
        Ok(())
    }
    fn load_words(&self, a: &mut CodeAssembler) -> Emitted {
        for k in 0..8 {
            a.vmovdqu(XMM[k], self.row(k))?;
        }
        // Pairs of rows, columns 0 to 3 in 8.., the others in 12..
        for k in 0..4 {
            a.vpunpcklwd(XMM[8 + k], XMM[2 * k], XMM[2 * k + 1])?;
            a.vpunpckhwd(XMM[12 + k], XMM[2 * k], XMM[2 * k + 1])?;
        }
        // Four rows: columns 2 c and 2 c + 1 of rows 0 to 3 in c, of the others in 4 + c.
        for half in 0..2 {
            for (c, from) in [8, 12].into_iter().enumerate() {
                let (x, y) = (XMM[from + 2 * half], XMM[from + 1 + 2 * half]);
                a.vpunpckldq(XMM[4 * half + 2 * c], x, y)?;
                a.vpunpckhdq(XMM[4 * half + 2 * c + 1], x, y)?;
            }
        }
        for c in 0..4 {
            a.vpunpcklqdq(XMM[8 + 2 * c], XMM[c], XMM[4 + c])?;
            a.vpunpckhqdq(XMM[9 + 2 * c], XMM[c], XMM[4 + c])?;
        }
        for k in 0..8 {
            a.vmovdqa(XMM[k], XMM[8 + k])?;
        }
        Ok(())
    }
    fn load_longs(&self, a: &mut CodeAssembler) -> Emitted {
        // Rows k and k + 4 in the halves of a vector, columns 0 to 3 in k, the others in 4 + k.
        let halves = if self.cols > 4 { 2 } else { 1 };
        for half in 0..halves {
            for k in 0..4 {
                let at = 4 * half + k;
                let by = 16 * half as i32;
                a.vmovups(XMM[at], self.row(k) + by)?;
                if self.rows > 4 {
                    a.vinsertf128(YMM[at], YMM[at], self.row(k + 4) + by, 1)?;
                }
            }
        }
        for half in 0..halves {
            let r = 4 * half;
            let t = 8;
            for k in 0..2 {
                a.vunpcklps(YMM[t + 2 * k], YMM[r + 2 * k], YMM[r + 2 * k + 1])?;
                a.vunpckhps(YMM[t + 2 * k + 1], YMM[r + 2 * k], YMM[r + 2 * k + 1])?;
            }
            for k in 0..2 {
                a.vshufps(YMM[r + 2 * k], YMM[t + k], YMM[t + 2 + k], 0x44)?;
                a.vshufps(YMM[r + 2 * k + 1], YMM[t + k], YMM[t + 2 + k], 0xee)?;
            }
        }
        Ok(())
    }
}

/// Eight elements of two rows, which take turns.
fn two_rows(a: &mut CodeAssembler) -> Emitted {
    a.vmovups(ymm0, ymmword_ptr(rax))?;
    a.vmovups(ymm1, ymmword_ptr(rax + r8))?;
    a.vunpcklps(ymm2, ymm0, ymm1)?;
    a.vunpckhps(ymm3, ymm0, ymm1)?;
    // Each half of a register holds a quarter: they are brought into order.
    a.vperm2f128(ymm0, ymm2, ymm3, 0x20)?;
    a.vperm2f128(ymm1, ymm2, ymm3, 0x31)?;
    a.vmovups(ymmword_ptr(rbx), ymm0)?;
    a.vmovups(ymmword_ptr(rbx + 32), ymm1)
}

/// Eight elements of three rows, which take turns: the planes of a picture become pixels.
fn three_rows(a: &mut CodeAssembler) -> Emitted {
    for (to, from) in [(ymm0, rax + 0), (ymm1, rax + r8), (ymm2, rax + r8 * 2)] {
        a.vmovups(to, ymmword_ptr(from))?;
    }
    // In each half, of elements k to k + 3 of rows x, y, z: x0 x2 y0 y2, y1 y3 z1 z3, z0 z2 x1 x3.
    a.vshufps(ymm3, ymm0, ymm1, 0x88)?;
    a.vshufps(ymm4, ymm1, ymm2, 0xdd)?;
    a.vshufps(ymm5, ymm2, ymm0, 0xd8)?;
    // x0 y0 z0 x1, y1 z1 x2 y2, z2 x3 y3 z3.
    a.vshufps(ymm0, ymm3, ymm5, 0x88)?;
    a.vshufps(ymm1, ymm4, ymm3, 0xd8)?;
    a.vshufps(ymm2, ymm5, ymm4, 0xdd)?;
    // The first halves come before the second ones.
    a.vinsertf128(ymm3, ymm0, xmm1, 1)?;
    a.vblendps(ymm4, ymm2, ymm0, 0xf0)?;
    a.vperm2f128(ymm5, ymm1, ymm2, 0x31)?;
    for (k, from) in [ymm3, ymm4, ymm5].into_iter().enumerate() {
        a.vmovups(ymmword_ptr(rbx + 32 * k as i32), from)?;
    }
    Ok(())
}
