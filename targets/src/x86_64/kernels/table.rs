//! A table of 256 bytes looked up on AVX2, 32 bytes at a time, and with byte permutations of AVX-512, 64 at a time.
//!
//! Contract `byte_table`. At AVX2 a shuffle looks up the low half of a byte among sixteen entries and gives 0 where the index's top bit is set. So two shuffles,
//! whose indices have bit 4 and its complement on top, find a byte among 32 entries, and of eight such results blends choose by bits 5, 6 and 7: no step
//! waits for the one before, and half of the instructions are shuffles. With permutations of bytes among 128 entries
//! two of them and one choice do.
//!
//! Nothing that a caller owns is touched: rax, rcx, rdx, rsi, rdi, k1, k2 and vector registers 0 to 15 only, no stack.

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

/// The row with permutations.
pub static BYTE_TABLE_AVX512VBMI: Tile = Tile {
    name: "byte_table_avx512vbmi",
    contract: "byte_table",
    needs: &["avx512f", "avx512bw", "avx512vbmi"],
    tile: (1, 1),
    make: make_wide,
};

const X: AsmRegister64 = rdi;
const TABLE: AsmRegister64 = rsi;
const OUT: AsmRegister64 = rdx;
const N: AsmRegister64 = rcx;

/// The bytes, with bit 7 on top; and with bits 6 and 5 there.
const TOP: [AsmRegisterYmm; 3] = [ymm0, ymm1, ymm2];
/// Low halves of bytes below bit 4, and below what bit 4 is not.
const INDEX: [AsmRegisterYmm; 2] = [ymm3, ymm4];
/// Results that wait for the other of a pair: one for each bit that chooses.
const FOUND: [AsmRegisterYmm; 4] = [ymm5, ymm6, ymm7, ymm8];
const ENTRIES: [AsmRegisterYmm; 2] = [ymm9, ymm10];
/// All entries.
const WIDE: [AsmRegisterZmm; 4] = [zmm0, zmm1, zmm2, zmm3];
const LOW: AsmRegisterYmm = ymm14;
const SIGN: AsmRegisterYmm = ymm15;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(landing_pad))
}

fn make_wide(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit_wide(landing_pad))
}

/// These bits in every lane.
fn splat(a: &mut CodeAssembler, d: AsmRegisterYmm, x: AsmRegisterXmm, bits: u32) -> Emitted {
    a.mov(eax, bits)?;
    a.vmovd(x, eax)?;
    a.vpbroadcastd(d, x)
}

/// Eight results of 32 entries each, and what bits 5 to 7 choose of them.
fn vector(a: &mut CodeAssembler) -> Emitted {
    let [top, six, five] = TOP;
    let [low, high] = INDEX;
    a.vmovdqu(top, ymmword_ptr(X))?;
    a.vpsllw(low, top, 3)?;
    a.vpand(low, low, SIGN)?;
    a.vpand(high, top, LOW)?;
    a.vpor(low, low, high)?;
    a.vpxor(high, low, SIGN)?;
    a.vpsllw(six, top, 1)?;
    a.vpsllw(five, top, 2)?;
    // How many results wait.
    let mut waiting = 0;
    for k in 0..8usize {
        let at = |half: usize| xmmword_ptr(TABLE + (32 * k + 16 * half) as i32);
        let found = FOUND[waiting];
        a.vbroadcasti128(ENTRIES[0], at(0))?;
        a.vpshufb(found, ENTRIES[0], low)?;
        a.vbroadcasti128(ENTRIES[1], at(1))?;
        a.vpshufb(ENTRIES[1], ENTRIES[1], high)?;
        a.vpor(found, found, ENTRIES[1])?;
        waiting += 1;
        for (bit, by) in [five, six, top].into_iter().enumerate() {
            if (k + 1) % (2 << bit) == 0 {
                let [first, second] = [FOUND[waiting - 2], FOUND[waiting - 1]];
                a.vpblendvb(first, first, second, by)?;
                waiting -= 1;
            }
        }
    }
    a.vmovdqu(ymmword_ptr(OUT), FOUND[0])
}

fn emit(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    splat(&mut a, LOW, xmm14, 0x0f0f_0f0f)?;
    splat(&mut a, SIGN, xmm15, 0x8080_8080)?;
    steps(&mut a, 32, vector)?;
    rest(&mut a)?;
    a.assemble(0)
}

/// Steps of so many bytes, as long as there are as many.
fn steps(
    a: &mut CodeAssembler,
    bytes: i32,
    step: impl Fn(&mut CodeAssembler) -> Emitted,
) -> Emitted {
    let [mut top, mut next] = [(); 2].map(|()| a.create_label());
    a.cmp(N, bytes)?;
    a.jl(next)?;
    a.set_label(&mut top)?;
    step(a)?;
    a.add(X, bytes)?;
    a.add(OUT, bytes)?;
    a.sub(N, bytes)?;
    a.cmp(N, bytes)?;
    a.jge(top)?;
    a.set_label(&mut next)
}

/// What is left, byte by byte; and the return.
fn rest(a: &mut CodeAssembler) -> Emitted {
    let [mut each, mut done] = [(); 2].map(|()| a.create_label());
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
    a.ret()
}

/// A register of which only the bytes under a mask are written.
fn chosen(d: AsmRegisterZmm, mask: AsmRegisterK) -> AsmRegisterZmm {
    match mask == k1 {
        true => d.k1(),
        false => d.k2(),
    }
}

fn emit_wide(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    for (k, entries) in WIDE.into_iter().enumerate() {
        a.vmovdqu8(entries, zmmword_ptr(TABLE + 64 * k as i32))?;
    }
    // An index is overwritten by what it finds. Two at a time: choices wait for masks.
    let look_up = |a: &mut CodeAssembler, vectors: usize| -> Emitted {
        let all = [(zmm4, zmm5, k1), (zmm6, zmm7, k2)];
        let all = all.into_iter().enumerate().take(vectors);
        for (v, (low, high, mask)) in all.clone() {
            a.vmovdqu8(low, zmmword_ptr(X + 64 * v as i32))?;
            a.vpmovb2m(mask, low)?;
            a.vmovdqa64(high, low)?;
        }
        for (_, (low, high, _)) in all.clone() {
            a.vpermi2b(low, WIDE[0], WIDE[1])?;
            a.vpermi2b(high, WIDE[2], WIDE[3])?;
        }
        for (v, (low, high, mask)) in all {
            a.vmovdqu8(chosen(low, mask), high)?;
            a.vmovdqu8(zmmword_ptr(OUT + 64 * v as i32), low)?;
        }
        Ok(())
    };
    steps(&mut a, 128, |a| look_up(a, 2))?;
    steps(&mut a, 64, |a| look_up(a, 1))?;
    rest(&mut a)?;
    a.assemble(0)
}
