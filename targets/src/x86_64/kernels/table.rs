//! A table of 256 bytes looked up for 128 bytes at a time on AVX2.
//!
//! Contract `byte_table`. A shuffle looks up the low half of a byte among sixteen entries and gives 0 where the byte's top bit is set. Each
//! step takes 16 off the bytes, so that those that were below leave, and adds (exclusive or) what the next sixteen entries have over the last:
//! what remains is the entry of the byte. Bytes from 128 on have steps of their own, with the top bit flipped; subtraction saturates, so that
//! they do not come back in the first ones.
//!
//! Nothing that a caller owns is touched: rax, rcx, rdx, rsi, rdi and ymm0-ymm15 only, no stack.

use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static BYTE_TABLE_AVX2: Tile = Tile {
    name: "byte_table_avx2",
    contract: "byte_table",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const X: AsmRegister64 = rdi;
const TABLE: AsmRegister64 = rsi;
const OUT: AsmRegister64 = rdx;
const N: AsmRegister64 = rcx;

const VECTORS: usize = 4;
const BYTES: [AsmRegisterYmm; VECTORS] = [ymm0, ymm1, ymm2, ymm3];
const FOUND: [AsmRegisterYmm; VECTORS] = [ymm4, ymm5, ymm6, ymm7];
const NOW: [AsmRegisterYmm; VECTORS] = [ymm8, ymm9, ymm10, ymm11];
/// Sixteen entries, and those before them, in turn.
const ENTRIES: [AsmRegisterYmm; 2] = [ymm12, ymm13];
const SIXTEEN: AsmRegisterYmm = ymm14;
/// What sixteen entries have over those before; before that, the top bits.
const OVER: AsmRegisterYmm = ymm15;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(landing_pad))
}

/// These bits in every lane.
fn splat(a: &mut CodeAssembler, d: AsmRegisterYmm, x: AsmRegisterXmm, bits: u32) -> Emitted {
    a.mov(eax, bits)?;
    a.vmovd(x, eax)?;
    a.vpbroadcastd(d, x)
}

/// So many vectors.
fn vectors(a: &mut CodeAssembler, count: usize) -> Emitted {
    for half in 0..2 {
        if half == 1 {
            splat(a, OVER, xmm15, 0x8080_8080)?;
        }
        for v in 0..count {
            let at = ymmword_ptr(X + 32 * v as i32);
            match half {
                0 => a.vmovdqu(BYTES[v], at)?,
                _ => a.vpxor(BYTES[v], OVER, at)?,
            }
        }
        for k in 0..8usize {
            let (entries, before) = (ENTRIES[k % 2], ENTRIES[1 - k % 2]);
            let at = xmmword_ptr(TABLE + (128 * half + 16 * k) as i32);
            a.vbroadcasti128(entries, at)?;
            let shuffled = match k {
                0 => entries,
                _ => {
                    a.vpxor(OVER, entries, before)?;
                    OVER
                }
            };
            for v in 0..count {
                if k > 0 {
                    a.vpsubsb(BYTES[v], BYTES[v], SIXTEEN)?;
                }
                if half == 0 && k == 0 {
                    a.vpshufb(FOUND[v], shuffled, BYTES[v])?;
                } else {
                    a.vpshufb(NOW[v], shuffled, BYTES[v])?;
                    a.vpxor(FOUND[v], FOUND[v], NOW[v])?;
                }
            }
        }
    }
    for (v, found) in FOUND.iter().enumerate().take(count) {
        a.vmovdqu(ymmword_ptr(OUT + 32 * v as i32), *found)?;
    }
    let bytes = 32 * count as i32;
    a.add(X, bytes)?;
    a.add(OUT, bytes)?;
    a.sub(N, bytes)
}

fn emit(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut each, mut done] = [(); 2].map(|()| a.create_label());
    splat(&mut a, SIXTEEN, xmm14, 0x1010_1010)?;
    for (count, mut next) in [(VECTORS, a.create_label()), (1, a.create_label())] {
        let mut top = a.create_label();
        let bytes = 32 * count as i32;
        a.cmp(N, bytes)?;
        a.jl(next)?;
        a.set_label(&mut top)?;
        vectors(&mut a, count)?;
        a.cmp(N, bytes)?;
        a.jge(top)?;
        a.set_label(&mut next)?;
    }
    a.test(N, N)?;
    a.jle(done)?;
    a.set_label(&mut each)?;
    a.movzx(eax, byte_ptr(X))?;
    a.movzx(eax, byte_ptr(TABLE + rax))?;
    a.mov(byte_ptr(OUT), al)?;
    a.inc(X)?;
    a.inc(OUT)?;
    a.dec(N)?;
    a.jne(each)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}
