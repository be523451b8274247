//! Each byte or float several times, and each row several times, 16 bytes at a time on AVX2.
//!
//! Contract `byte_repeat`. The last step of a row overlaps the one before, so that nothing is done one by one where there are 16 bytes and more. Nothing that
//! a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and vectors 0 to 8 only, no stack.

use super::{Emitted, assembled, by_sixteen};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::repeat::{LINES, MOST, SIZE, TIMES};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static BYTE_REPEAT_AVX2: Tile = Tile {
    name: "byte_repeat_avx2",
    contract: "byte_repeat",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
const OUT: AsmRegister64 = rsi;
/// Elements of a row, then its bytes.
const N: AsmRegister64 = rdx;
const ROWS: AsmRegister64 = rcx;
/// The byte that is next.
const AT: AsmRegister64 = r8;
/// Where the last 16 begin.
const LAST: AsmRegister64 = r9;
/// Where copies of the next byte go.
const TO: AsmRegister64 = r10;
/// Bytes of a row of results.
const LINE: AsmRegister64 = r11;
/// Results of a step.
const YMM: [AsmRegisterYmm; 9] = [ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8];
const XMM: [AsmRegisterXmm; 9] = [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8];

/// How often what is repeated.
#[derive(Clone, Copy)]
struct Shape {
    times: i32,
    lines: i32,
    size: i32,
}

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    let get = |name: &str| callee.get(name).unwrap_or(1);
    let (times, lines, size) = (get(TIMES), get(LINES), get(SIZE));
    let fits = (2..=MOST).contains(&times) && (1..=MOST).contains(&lines);
    if !fits || !matches!(size, 1 | 4) {
        let shape = &callee.shape;
        let text = format!("`{}` of {shape:?}", callee.kernel);
        return Err(Diagnostic::internal(text));
    }
    let [times, lines, size] = [times, lines, size].map(|n| n as i32);
    let shape = Shape { times, lines, size };
    assembled(callee, emit(shape, landing_pad))
}

/// Goes to each row of results below one another: `TO` is made to lie there.
fn each_line(
    a: &mut CodeAssembler,
    lines: i32,
    mut store: impl FnMut(&mut CodeAssembler) -> Emitted,
) -> Emitted {
    for line in 0..lines {
        if line > 0 {
            a.add(TO, LINE)?;
        }
        store(a)?;
    }
    Ok(())
}

/// 16 bytes from number `AT` on. `picks`: for each vector of results which byte goes where, one behind the other.
fn step(a: &mut CodeAssembler, s: Shape, picks: CodeLabel) -> Emitted {
    a.imul_3(TO, AT, s.times)?;
    a.add(TO, OUT)?;
    a.vbroadcasti128(ymm0, xmmword_ptr(X + AT))?;
    a.lea(rax, qword_ptr(picks))?;
    let (pairs, odd) = (s.times as usize / 2, s.times % 2 == 1);
    for k in 0..pairs {
        a.vpshufb(YMM[1 + k], ymm0, ymmword_ptr(rax + 32 * k as i32))?;
    }
    if odd {
        let picks = xmmword_ptr(rax + 32 * pairs as i32);
        a.vpshufb(XMM[1 + pairs], xmm0, picks)?;
    }
    each_line(a, s.lines, |a| {
        for k in 0..pairs {
            a.vmovdqu(ymmword_ptr(TO + 32 * k as i32), YMM[1 + k])?;
        }
        match odd {
            true => a.vmovdqu(xmmword_ptr(TO + 32 * pairs as i32), XMM[1 + pairs]),
            false => Ok(()),
        }
    })
}

/// One element after the other: rows of less than 16 bytes.
fn singles(a: &mut CodeAssembler, s: Shape) -> Emitted {
    let mut next = a.create_label();
    a.xor(AT, AT)?;
    a.set_label(&mut next)?;
    a.imul_3(TO, AT, s.times)?;
    a.add(TO, OUT)?;
    match s.size {
        1 => a.movzx(eax, byte_ptr(X + AT))?,
        _ => a.mov(eax, dword_ptr(X + AT))?,
    }
    each_line(a, s.lines, |a| {
        for k in 0..s.times {
            match s.size {
                1 => a.mov(byte_ptr(TO + k), al)?,
                _ => a.mov(dword_ptr(TO + 4 * k), eax)?,
            }
        }
        Ok(())
    })?;
    a.add(AT, s.size)?;
    a.cmp(AT, N)?;
    a.jl(next)
}

fn emit(s: Shape, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut row, mut small, mut next, mut done, mut picks] = [(); 5].map(|()| a.create_label());
    a.test(N, N)?;
    a.jle(done)?;
    a.test(ROWS, ROWS)?;
    a.jle(done)?;
    if s.size == 4 {
        a.shl(N, 2)?;
    }
    a.imul_3(LINE, N, s.times)?;
    a.set_label(&mut row)?;
    by_sixteen(&mut a, [N, AT, LAST], [small, next], |a| step(a, s, picks))?;
    a.set_label(&mut small)?;
    singles(&mut a, s)?;
    a.set_label(&mut next)?;
    a.add(X, N)?;
    a.imul_3(rax, LINE, s.lines)?;
    a.add(OUT, rax)?;
    a.dec(ROWS)?;
    a.jne(row)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    let bytes: Vec<u8> = (0..16 * s.times)
        .map(|i| (i / (s.size * s.times) * s.size + i % s.size) as u8)
        .collect();
    a.set_label(&mut picks)?;
    a.db(&bytes)?;
    a.assemble(0)
}
