//! Each byte or float several times, 16 bytes at a time on AVX2.
//!
//! Contract `byte_repeat`. The last step overlaps the one before, so that nothing is done one by one where there are 16 bytes and more. Nothing that
//! a caller owns is touched: rax, rdx, rsi, rdi, r8-r10 and xmm0, xmm1 only, no stack.

use super::{Emitted, assembled, by_sixteen};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::repeat::{MOST, SIZE, TIMES};
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
const N: AsmRegister64 = rdx;
/// The byte that is next.
const AT: AsmRegister64 = r8;
/// Where the last 16 begin.
const LAST: AsmRegister64 = r9;
/// Where copies of the next byte go.
const TO: AsmRegister64 = r10;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    match callee.get(TIMES) {
        Some(times @ 2..=MOST) => match callee.get(SIZE).unwrap_or(1) {
            size @ (1 | 4) => assembled(callee, emit(times as i32, size as i32, landing_pad)),
            size => Err(Diagnostic::internal(format!("elements of {size} bytes"))),
        },
        times => Err(Diagnostic::internal(format!("elements {times:?} times"))),
    }
}

/// 16 bytes from number `AT` on. `picks`: for each vector of results which byte goes where, one behind the other.
fn step(a: &mut CodeAssembler, times: i32, picks: CodeLabel) -> Emitted {
    a.imul_3(TO, AT, times)?;
    a.vmovdqu(xmm0, xmmword_ptr(X + AT))?;
    a.lea(rax, qword_ptr(picks))?;
    for vector in 0..times {
        a.vpshufb(xmm1, xmm0, xmmword_ptr(rax + 16 * vector))?;
        a.vmovdqu(xmmword_ptr(OUT + TO + 16 * vector), xmm1)?;
    }
    Ok(())
}

fn emit(times: i32, size: i32, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut small, mut done, mut picks] = [(); 3].map(|()| a.create_label());
    a.test(N, N)?;
    a.jle(done)?;
    if size == 4 {
        a.shl(N, 2)?;
    }
    by_sixteen(&mut a, [N, AT, LAST], [small, done], |a| {
        step(a, times, picks)
    })?;
    a.set_label(&mut small)?;
    match size {
        1 => a.movzx(eax, byte_ptr(X))?,
        _ => a.mov(eax, dword_ptr(X))?,
    }
    for k in 0..times {
        match size {
            1 => a.mov(byte_ptr(OUT + k), al)?,
            _ => a.mov(dword_ptr(OUT + 4 * k), eax)?,
        }
    }
    a.add(X, size)?;
    a.add(OUT, size * times)?;
    a.sub(N, size)?;
    a.jne(small)?;
    a.set_label(&mut done)?;
    a.ret()?;
    let bytes: Vec<u8> = (0..16 * times)
        .map(|i| (i / (size * times) * size + i % size) as u8)
        .collect();
    a.set_label(&mut picks)?;
    a.db(&bytes)?;
    a.assemble(0)
}
