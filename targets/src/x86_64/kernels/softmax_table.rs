//! The table of a row's softmax on AVX2.
//!
//! Contract `softmax_table`. The largest byte is found 32 at a time, the last of which overlap those before. Sums are of whole numbers in f64, which are
//! exact in any order: four of them run side by side. Results are limited by the saturation of packing. Nothing that a caller owns is
//! touched: rax, rcx, rdx, rsi, rdi, r8-r11 and ymm0-ymm7 only, no stack.

use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::softmax_table::signs;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static SOFTMAX_TABLE_AVX2: Tile = Tile {
    name: "softmax_table_avx2",
    contract: "softmax_table",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
/// Powers; later that of the byte 0.
const RISING: AsmRegister64 = rsi;
const NUMBERS: AsmRegister64 = rdx;
const TABLE: AsmRegister64 = rcx;
const N: AsmRegister64 = r8;
const AT: AsmRegister64 = r9;
const END: AsmRegister64 = r10;
const SUMS: [AsmRegisterXmm; 4] = [xmm0, xmm1, xmm2, xmm3];
/// The multiplier in every lane.
const BY: AsmRegisterYmm = ymm5;
/// The zero point in every lane.
const ZERO: AsmRegisterXmm = xmm6;
/// What no result passes, so that it becomes a whole number of 32 bits.
const LIMIT: AsmRegisterYmm = ymm7;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    let signs = signs(callee).ok_or_else(|| {
        Diagnostic::internal(format!("`{}` of {:?}", callee.kernel, callee.shape))
    })?;
    assembled(callee, emit(signs, landing_pad))
}

fn largest(a: &mut CodeAssembler, signed: bool) -> Emitted {
    let [mut next, mut done] = [(); 2].map(|()| a.create_label());
    let both = |a: &mut CodeAssembler, d: AsmRegisterXmm, s: AsmRegisterXmm| match signed {
        true => a.vpmaxsb(d, d, s),
        false => a.vpmaxub(d, d, s),
    };
    let with = |a: &mut CodeAssembler, at: AsmMemoryOperand| match signed {
        true => a.vpmaxsb(ymm0, ymm0, at),
        false => a.vpmaxub(ymm0, ymm0, at),
    };
    a.vmovdqu(ymm0, ymmword_ptr(X))?;
    a.lea(END, qword_ptr(N - 32))?;
    a.mov(AT, 32u64)?;
    a.set_label(&mut next)?;
    a.cmp(AT, END)?;
    a.jge(done)?;
    with(a, ymmword_ptr(X + AT))?;
    a.add(AT, 32)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    with(a, ymmword_ptr(X + END))?;
    a.vextracti128(xmm1, ymm0, 1)?;
    both(a, xmm0, xmm1)?;
    for by in [8, 4, 2, 1] {
        a.vpsrldq(xmm1, xmm0, by)?;
        both(a, xmm0, xmm1)?;
    }
    a.vpextrb(eax, xmm0, 0)?;
    match signed {
        true => a.movsx(rax, al),
        false => a.movzx(eax, al),
    }
}

/// Adds the power of byte number `AT + k`.
fn add_power(a: &mut CodeAssembler, signed: bool, k: usize) -> Emitted {
    let at = byte_ptr(X + AT + k as i32);
    match signed {
        true => a.movsx(rax, at)?,
        false => a.movzx(eax, at)?,
    }
    a.vaddsd(SUMS[k], SUMS[k], qword_ptr(RISING + rax * 8))
}

fn sum(a: &mut CodeAssembler, signed: bool) -> Emitted {
    let [mut fours, mut ones, mut rest, mut done] = [(); 4].map(|()| a.create_label());
    for s in SUMS {
        a.vpxor(s, s, s)?;
    }
    a.xor(AT, AT)?;
    a.lea(END, qword_ptr(N - 4))?;
    a.set_label(&mut fours)?;
    a.cmp(AT, END)?;
    a.jg(rest)?;
    for k in 0..4 {
        add_power(a, signed, k)?;
    }
    a.add(AT, 4)?;
    a.jmp(fours)?;
    a.set_label(&mut rest)?;
    a.cmp(AT, N)?;
    a.jge(done)?;
    a.set_label(&mut ones)?;
    add_power(a, signed, 0)?;
    a.inc(AT)?;
    a.cmp(AT, N)?;
    a.jl(ones)?;
    a.set_label(&mut done)?;
    a.vaddsd(xmm0, xmm0, xmm1)?;
    a.vaddsd(xmm2, xmm2, xmm3)?;
    a.vaddsd(xmm0, xmm0, xmm2)
}

/// 128 entries from the power at `from` on, stored from entry `to` on.
fn entries(a: &mut CodeAssembler, from: i32, to: i32, signed: bool) -> Emitted {
    let mut next = a.create_label();
    a.xor(AT, AT)?;
    a.set_label(&mut next)?;
    for (k, d) in SUMS.into_iter().enumerate() {
        a.vmulpd(
            ymm4,
            BY,
            ymmword_ptr(RISING + AT * 8 + (8 * from + 32 * k as i32)),
        )?;
        a.vminpd(ymm4, ymm4, LIMIT)?;
        a.vcvtpd2dq(d, ymm4)?;
        a.vpaddd(d, d, ZERO)?;
    }
    a.vpackssdw(xmm0, xmm0, xmm1)?;
    a.vpackssdw(xmm2, xmm2, xmm3)?;
    match signed {
        true => a.vpacksswb(xmm0, xmm0, xmm2)?,
        false => a.vpackuswb(xmm0, xmm0, xmm2)?,
    }
    a.vmovdqu(xmmword_ptr(TABLE + AT + to), xmm0)?;
    a.add(AT, 16)?;
    a.cmp(AT, 128)?;
    a.jl(next)
}

fn emit(
    [signed, to_signed]: [bool; 2],
    landing_pad: bool,
) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    largest(&mut a, signed)?;
    a.neg(rax)?;
    a.lea(RISING, qword_ptr(RISING + rax * 8 + 8 * 255))?;
    sum(&mut a, signed)?;
    a.vmovsd(xmm1, qword_ptr(NUMBERS))?;
    a.vdivsd(xmm5, xmm1, xmm0)?;
    a.vbroadcastsd(BY, xmm5)?;
    a.vcvttsd2si(eax, qword_ptr(NUMBERS + 8))?;
    a.vmovd(ZERO, eax)?;
    a.vpbroadcastd(ZERO, ZERO)?;
    // 2^20 as f64.
    a.mov(rax, 0x4130_0000_0000_0000u64)?;
    a.vmovq(xmm7, rax)?;
    a.vbroadcastsd(LIMIT, xmm7)?;
    entries(&mut a, 0, 0, to_signed)?;
    entries(&mut a, if signed { -128 } else { 128 }, 128, to_signed)?;
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}
