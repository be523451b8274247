//! Numbers of 32 bits from fewer, eight at a time on AVX2.
//!
//! Contract `numbers`. How numbers are stored is read once; branches on it go the same way every time. The last eight may be some of those before again.
//!
//! Nothing that a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and ymm0-ymm9 only, no stack.

use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::contracts::numbers::{DIVIDES, FLOAT, HEAD, LISTED};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static NUMBERS_AVX2: Tile = Tile {
    name: "numbers_avx2",
    contract: "numbers",
    needs: &["avx2"],
    tile: (1, 1),
    make,
};

const STORED: AsmRegister64 = rdi;
/// Which of the numbers, in steps of eight.
const AT: AsmRegister64 = r8;
/// Bytes of a number.
const SIZE: AsmRegister32 = r9d;
/// What is done with it.
const HOW: AsmRegister32 = r10d;
/// Where third bytes lie.
const HIGH: AsmRegister64 = r11;

const BY: AsmRegisterYmm = ymm8;
const ON: AsmRegisterYmm = ymm9;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    assembled(callee, emit(callee.get("of") == Some(1), landing_pad))
}

/// Registers of pointers and the count.
struct Args {
    of: Option<AsmRegister64>,
    out: AsmRegister64,
    n: AsmRegister64,
}

fn emit(multiple: bool, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let args = match multiple {
        true => Args {
            of: Some(rsi),
            out: rdx,
            n: rcx,
        },
        false => Args {
            of: None,
            out: rsi,
            n: rdx,
        },
    };
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut top, mut whole, mut next, mut done] = [(); 4].map(|()| a.create_label());
    let head = HEAD as i32;
    a.vbroadcastss(BY, dword_ptr(STORED))?;
    a.vpbroadcastd(ON, dword_ptr(STORED + 4))?;
    a.movzx(SIZE, byte_ptr(STORED + 10))?;
    a.movzx(HOW, byte_ptr(STORED + 11))?;
    a.lea(HIGH, qword_ptr(STORED + 2 * args.n + head))?;
    a.xor(r8d, r8d)?;
    a.set_label(&mut top)?;
    // The last eight end where all do.
    a.lea(rax, qword_ptr(args.n - 8))?;
    a.cmp(AT, rax)?;
    a.cmovg(AT, rax)?;
    match args.of {
        Some(of) => a.vmulps(ymm0, BY, ymmword_ptr(of + 4 * AT))?,
        None => numbers(&mut a, head)?,
    }
    a.vmovups(ymmword_ptr(args.out + 4 * AT), ymm0)?;
    a.cmp(AT, rax)?;
    a.jge(whole)?;
    a.add(AT, 8)?;
    a.jmp(top)?;
    a.set_label(&mut whole)?;
    // The list lies behind numbers, of which there is an even number of bytes.
    a.mov(rax, args.n)?;
    a.imul_2(rax, r9)?;
    a.inc(rax)?;
    a.and(rax, -2)?;
    a.lea(r8, qword_ptr(STORED + rax + head))?;
    a.movzx(r9d, word_ptr(STORED + 8))?;
    a.test(r9d, r9d)?;
    a.je(done)?;
    a.set_label(&mut next)?;
    a.movzx(eax, word_ptr(r8))?;
    a.mov(r10d, dword_ptr(r8 + 2))?;
    a.mov(dword_ptr(args.out + 4 * rax), r10d)?;
    a.add(r8, LISTED as i32)?;
    a.dec(r9d)?;
    a.jne(next)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}

/// Eight numbers in ymm0.
fn numbers(a: &mut CodeAssembler, head: i32) -> Emitted {
    let [mut byte, mut words, mut all, mut times, mut stored] = [(); 5].map(|()| a.create_label());
    a.vpxor(ymm0, ymm0, ymm0)?;
    a.cmp(SIZE, 1)?;
    a.jb(all)?;
    a.je(byte)?;
    a.vpmovzxwd(ymm0, xmmword_ptr(STORED + 2 * AT + head))?;
    a.cmp(SIZE, 3)?;
    a.jne(words)?;
    a.vpmovzxbd(ymm1, qword_ptr(HIGH + AT))?;
    a.vpslld(ymm1, ymm1, 16)?;
    a.vpor(ymm0, ymm0, ymm1)?;
    a.set_label(&mut words)?;
    a.jmp(all)?;
    a.set_label(&mut byte)?;
    a.vpmovzxbd(ymm0, qword_ptr(STORED + AT + head))?;
    a.set_label(&mut all)?;
    a.vpaddd(ymm0, ymm0, ON)?;
    a.cmp(HOW, i32::from(FLOAT))?;
    a.jb(stored)?;
    a.vcvtdq2ps(ymm0, ymm0)?;
    a.je(stored)?;
    a.cmp(HOW, i32::from(DIVIDES))?;
    a.jne(times)?;
    a.vdivps(ymm0, BY, ymm0)?;
    a.jmp(stored)?;
    a.set_label(&mut times)?;
    a.vmulps(ymm0, ymm0, BY)?;
    a.set_label(&mut stored)
}
