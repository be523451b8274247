//! Every second, third or fourth byte, 16 of them at a time on AVX2.
//!
//! Contract `byte_strides`. A shuffle takes what is wanted out of each of `step` vectors, the last of which ends with the last byte that is wanted. The last
//! step overlaps the one before, so that nothing is done one by one where there are 16 bytes and more. Nothing that a caller owns is touched: rax, rdx,
//! rsi, rdi, r8-r10 and xmm0, xmm1 only, no stack.

use super::{Emitted, assembled, by_sixteen};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::strides::{MOST, STEP};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static BYTE_STRIDES_AVX2: Tile = Tile {
    name: "byte_strides_avx2",
    contract: "byte_strides",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
const OUT: AsmRegister64 = rsi;
const N: AsmRegister64 = rdx;
/// The byte of the output that is next.
const AT: AsmRegister64 = r8;
/// Where the last 16 begin.
const LAST: AsmRegister64 = r9;
/// Where the next byte comes from.
const FROM: AsmRegister64 = r10;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    match callee.get(STEP) {
        Some(step @ 2..=MOST) => assembled(callee, emit(step as i32, landing_pad)),
        step => Err(Diagnostic::internal(format!("steps of {step:?}"))),
    }
}

/// Where vector `k` of `step` begins: the last one's last byte is number 15 of the output.
fn begins(k: i32, step: i32) -> i32 {
    (16 * k).min(15 * (step - 1))
}

/// For each vector, which of its bytes goes where; those that another one has are 0.
fn picks(step: i32) -> Vec<u8> {
    let owner = |byte: i32| (0..step).find(|k| (0..16).contains(&(byte - begins(*k, step))));
    let pick = |k: i32, byte: i32| match owner(byte) == Some(k) {
        true => (byte - begins(k, step)) as u8,
        false => 0x80,
    };
    (0..step)
        .flat_map(|k| (0..16).map(move |i| pick(k, step * i)))
        .collect()
}

/// 16 bytes from number `AT` on.
fn sixteen(a: &mut CodeAssembler, step: i32, picks: CodeLabel) -> Emitted {
    a.imul_3(FROM, AT, step)?;
    a.lea(rax, qword_ptr(picks))?;
    for k in 0..step {
        let to = if k == 0 { xmm0 } else { xmm1 };
        a.vmovdqu(to, xmmword_ptr(X + FROM + begins(k, step)))?;
        a.vpshufb(to, to, xmmword_ptr(rax + 16 * k))?;
        if k > 0 {
            a.vpor(xmm0, xmm0, xmm1)?;
        }
    }
    a.vmovdqu(xmmword_ptr(OUT + AT), xmm0)
}

fn emit(step: i32, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut small, mut done, mut table] = [(); 3].map(|()| a.create_label());
    a.test(N, N)?;
    a.jle(done)?;
    by_sixteen(&mut a, [N, AT, LAST], [small, done], |a| {
        sixteen(a, step, table)
    })?;
    a.set_label(&mut small)?;
    a.movzx(eax, byte_ptr(X))?;
    a.mov(byte_ptr(OUT), al)?;
    a.add(X, step)?;
    a.inc(OUT)?;
    a.dec(N)?;
    a.jne(small)?;
    a.set_label(&mut done)?;
    a.ret()?;
    a.set_label(&mut table)?;
    a.db(&picks(step))?;
    a.assemble(0)
}
