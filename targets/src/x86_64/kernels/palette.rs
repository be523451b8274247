//! Numbers of four bits to the floats of a table of sixteen, 32 at a time on AVX2.
//!
//! Contract `palette`. A permutation looks a lane's number up among eight floats and reads three bits of it; both halves of the table are asked, and the
//! fourth bit, moved to the top of the lane, says which answer counts.
//!
//! Nothing that a caller owns is touched: rcx, rdx, rsi, rdi and ymm0-ymm9 only, no stack.

use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static PALETTE_AVX2: Tile = Tile {
    name: "palette_avx2",
    contract: "palette",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const CODES: AsmRegister64 = rdi;
const TABLE: AsmRegister64 = rsi;
const OUT: AsmRegister64 = rdx;
const N: AsmRegister64 = rcx;

/// The table's halves.
const LOW: AsmRegisterYmm = ymm8;
const HIGH: AsmRegisterYmm = ymm9;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(landing_pad))
}

/// Eight lanes of numbers in `at`, whose fourth bit is `top` below the highest: their floats, stored `to` bytes on.
fn look_up(a: &mut CodeAssembler, at: AsmRegisterYmm, top: i32, to: i32) -> Emitted {
    a.vpslld(ymm4, at, top)?;
    a.vpermps(ymm5, at, LOW)?;
    a.vpermps(ymm6, at, HIGH)?;
    a.vblendvps(ymm5, ymm5, ymm6, ymm4)?;
    a.vmovups(ymmword_ptr(OUT + to), ymm5)
}

fn emit(landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut top, mut done] = [(); 2].map(|()| a.create_label());
    a.vmovups(LOW, ymmword_ptr(TABLE))?;
    a.vmovups(HIGH, ymmword_ptr(TABLE + 32))?;
    a.test(N, N)?;
    a.jle(done)?;
    a.set_label(&mut top)?;
    for half in 0..2 {
        a.vpmovzxbd(ymm0, qword_ptr(CODES + 8 * half))?;
        a.vpsrld(ymm1, ymm0, 4)?;
        look_up(&mut a, ymm0, 28, 32 * half)?;
        look_up(&mut a, ymm1, 28, 64 + 32 * half)?;
    }
    a.add(CODES, 16)?;
    a.add(OUT, 128)?;
    a.dec(N)?;
    a.jne(top)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}
