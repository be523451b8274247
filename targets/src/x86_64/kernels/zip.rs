//! Two rows of bytes as one in which they take turns, 32 of each at a time on AVX2.
//!
//! Contract `byte_zip`. The last vector of a row overlaps the one before, so that nothing is done byte by byte in rows of 16 and more. Nothing that
//! a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and ymm0-ymm3 only, no stack.

use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static BYTE_ZIP_AVX2: Tile = Tile {
    name: "byte_zip_avx2",
    contract: "byte_zip",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
const OUT: AsmRegister64 = rsi;
const N: AsmRegister64 = rdx;
const COUNT: AsmRegister64 = rcx;
/// The second row of a pair.
const SECOND: AsmRegister64 = r8;
/// The byte of a row that is next.
const AT: AsmRegister64 = r9;
/// Where a row's last vector begins.
const LAST: AsmRegister64 = r10;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(landing_pad))
}

/// 32 bytes of each row.
fn wide(a: &mut CodeAssembler) -> Emitted {
    a.vmovdqu(ymm0, ymmword_ptr(X + AT))?;
    a.vmovdqu(ymm1, ymmword_ptr(SECOND + AT))?;
    a.vpunpcklbw(ymm2, ymm0, ymm1)?;
    a.vpunpckhbw(ymm3, ymm0, ymm1)?;
    // Each half of a register holds a quarter: they are brought into order.
    a.vperm2i128(ymm0, ymm2, ymm3, 0x20)?;
    a.vperm2i128(ymm1, ymm2, ymm3, 0x31)?;
    a.vmovdqu(ymmword_ptr(OUT + AT * 2), ymm0)?;
    a.vmovdqu(ymmword_ptr(OUT + AT * 2 + 32), ymm1)
}

/// 16 of each.
fn narrow(a: &mut CodeAssembler) -> Emitted {
    a.vmovdqu(xmm0, xmmword_ptr(X + AT))?;
    a.vmovdqu(xmm1, xmmword_ptr(SECOND + AT))?;
    a.vpunpcklbw(xmm2, xmm0, xmm1)?;
    a.vpunpckhbw(xmm3, xmm0, xmm1)?;
    a.vmovdqu(xmmword_ptr(OUT + AT * 2), xmm2)?;
    a.vmovdqu(xmmword_ptr(OUT + AT * 2 + 16), xmm3)
}

fn emit(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut row, mut next, mut done] = [(); 3].map(|()| a.create_label());
    let [mut by_32, mut by_16, mut small] = [(); 3].map(|()| a.create_label());
    a.test(COUNT, COUNT)?;
    a.jle(done)?;
    a.test(N, N)?;
    a.jle(done)?;
    a.set_label(&mut row)?;
    a.lea(SECOND, qword_ptr(X + N))?;
    a.xor(AT, AT)?;
    a.lea(LAST, qword_ptr(N - 32))?;
    a.test(LAST, LAST)?;
    a.js(by_16)?;
    a.set_label(&mut by_32)?;
    wide(&mut a)?;
    a.add(AT, 32)?;
    a.cmp(AT, LAST)?;
    a.jle(by_32)?;
    a.cmp(AT, N)?;
    a.jge(next)?;
    a.mov(AT, LAST)?;
    wide(&mut a)?;
    a.jmp(next)?;
    a.set_label(&mut by_16)?;
    a.lea(LAST, qword_ptr(N - 16))?;
    a.test(LAST, LAST)?;
    a.js(small)?;
    narrow(&mut a)?;
    a.mov(AT, LAST)?;
    narrow(&mut a)?;
    a.jmp(next)?;
    a.set_label(&mut small)?;
    a.movzx(eax, byte_ptr(X + AT))?;
    a.mov(byte_ptr(OUT + AT * 2), al)?;
    a.movzx(eax, byte_ptr(SECOND + AT))?;
    a.mov(byte_ptr(OUT + AT * 2 + 1), al)?;
    a.inc(AT)?;
    a.cmp(AT, N)?;
    a.jl(small)?;
    a.set_label(&mut next)?;
    a.lea(X, qword_ptr(X + N * 2))?;
    a.lea(OUT, qword_ptr(OUT + N * 2))?;
    a.dec(COUNT)?;
    a.jne(row)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}
