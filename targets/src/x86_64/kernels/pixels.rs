//! Three channels of bytes as pixels, 16 at a time on AVX2.
//!
//! Contract `byte_pixels`. The last step overlaps the one before, so that nothing is done byte by byte where there are 16 pixels and more. Nothing that
//! a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and xmm0-xmm8 only, no stack.

use super::{Emitted, assembled, by_sixteen};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static BYTE_PIXELS_AVX2: Tile = Tile {
    name: "byte_pixels_avx2",
    contract: "byte_pixels",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
const OUT: AsmRegister64 = rsi;
/// Bytes from one channel to the next.
const PLANE: AsmRegister64 = rdx;
const N: AsmRegister64 = rcx;
/// The other two channels.
const OTHERS: [AsmRegister64; 2] = [r8, r9];
/// The pixel that is next.
const AT: AsmRegister64 = r10;
/// Where the last 16 begin.
const LAST: AsmRegister64 = r11;
/// Three times the pixel that is next.
const TRIPLE: AsmRegister64 = rax;
/// Four vectors of four pixels each.
const FOURS: [AsmRegisterXmm; 4] = [xmm5, xmm6, xmm7, xmm8];

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(landing_pad))
}

/// Four pixels of four bytes, the last of which is 0, in each of [`FOURS`].
fn spread(a: &mut CodeAssembler) -> Emitted {
    let [first_two, first_two_high, third, third_high] = [xmm3, xmm4, xmm0, xmm1];
    a.vmovdqu(xmm0, xmmword_ptr(X + AT))?;
    a.vmovdqu(xmm1, xmmword_ptr(OTHERS[0] + AT))?;
    a.vmovdqu(xmm2, xmmword_ptr(OTHERS[1] + AT))?;
    a.vpunpcklbw(first_two, xmm0, xmm1)?;
    a.vpunpckhbw(first_two_high, xmm0, xmm1)?;
    a.vpxor(xmm5, xmm5, xmm5)?;
    a.vpunpcklbw(third, xmm2, xmm5)?;
    a.vpunpckhbw(third_high, xmm2, xmm5)?;
    a.vpunpcklwd(FOURS[0], first_two, third)?;
    a.vpunpckhwd(FOURS[1], first_two, third)?;
    a.vpunpcklwd(FOURS[2], first_two_high, third_high)?;
    a.vpunpckhwd(FOURS[3], first_two_high, third_high)
}

/// 16 pixels from number `AT` on; `packed`: which byte of four pixels of four bytes goes where in 12.
fn step(a: &mut CodeAssembler, packed: CodeLabel) -> Emitted {
    a.lea(TRIPLE, qword_ptr(AT + AT * 2))?;
    spread(a)?;
    a.vmovdqu(xmm2, xmmword_ptr(packed))?;
    for four in FOURS {
        a.vpshufb(four, four, xmm2)?;
    }
    // 12 bytes of each follow one another.
    for (i, two) in FOURS.windows(2).enumerate() {
        let i = i as i32;
        let head = match i {
            0 => two[0],
            _ => {
                a.vpsrldq(xmm0, two[0], 4 * i)?;
                xmm0
            }
        };
        a.vpslldq(xmm1, two[1], 12 - 4 * i)?;
        a.vpor(xmm0, head, xmm1)?;
        a.vmovdqu(xmmword_ptr(OUT + TRIPLE + 16 * i), xmm0)?;
    }
    Ok(())
}

/// Pixels one by one; the code begins at `next`.
fn singles(a: &mut CodeAssembler, next: &mut CodeLabel) -> Emitted {
    a.set_label(next)?;
    for (k, from) in [X, OTHERS[0], OTHERS[1]].into_iter().enumerate() {
        a.movzx(eax, byte_ptr(from))?;
        a.mov(byte_ptr(OUT + k as i32), al)?;
        a.inc(from)?;
    }
    a.add(OUT, 3)?;
    a.dec(N)?;
    a.jne(*next)
}

fn emit(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut small, mut done, mut packed] = [(); 3].map(|()| a.create_label());
    a.test(N, N)?;
    a.jle(done)?;
    a.lea(OTHERS[0], qword_ptr(X + PLANE))?;
    a.lea(OTHERS[1], qword_ptr(X + PLANE * 2))?;
    by_sixteen(&mut a, [N, AT, LAST], [small, done], |a| step(a, packed))?;
    singles(&mut a, &mut small)?;
    a.set_label(&mut done)?;
    a.ret()?;
    const NOTHING: u8 = 0x80;
    let bytes = (0..12u8).map(|i| i / 3 * 4 + i % 3).chain([NOTHING; 4]);
    a.set_label(&mut packed)?;
    a.db(&bytes.collect::<Vec<u8>>())?;
    a.assemble(0)
}
