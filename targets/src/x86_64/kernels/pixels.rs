//! Three channels of bytes as pixels, 16 at a time on AVX2.
//!
//! Contract `byte_pixels`. The last step of a row overlaps the one before, so that nothing is done byte by byte in rows of 16 pixels and more.
//! Nothing that a caller owns is touched: rax, rcx, rdx, rsi, rdi, r8-r11 and ymm0-ymm9 only, no stack.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::pixels::Pixels;
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
/// Bytes between channels; three times the pixel that is next where x holds pixels.
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
    let p = Pixels::of(callee)
        .ok_or_else(|| Diagnostic::internal(format!("`{}` has no such pixels", callee.kernel)))?;
    let bytes = emit(&p, landing_pad)
        .map_err(|e| Diagnostic::internal(format!("`{}`: {e}", callee.kernel)))?;
    Ok(Code {
        bytes,
        align: 64,
        stack: 0,
    })
}

type Emitted = std::result::Result<(), IcedError>;

/// Where constants lie behind the code.
struct Constants {
    /// What comes off the elements of four pixels: `less`, and what makes `fill` of 0.
    less: CodeLabel,
    /// Which byte of 12 goes where in four pixels of four bytes.
    spread: CodeLabel,
    /// Which byte of four such pixels goes where in 12.
    packed: CodeLabel,
}

/// Four pixels of four bytes, the last of which is 0, in each of [`FOURS`]: from three channels.
fn from_planes(a: &mut CodeAssembler) -> Emitted {
    let [red_green, red_green_high, blue, blue_high] = [xmm3, xmm4, xmm0, xmm1];
    a.vmovdqu(xmm0, xmmword_ptr(X + AT))?;
    a.vmovdqu(xmm1, xmmword_ptr(OTHERS[0] + AT))?;
    a.vmovdqu(xmm2, xmmword_ptr(OTHERS[1] + AT))?;
    a.vpunpcklbw(red_green, xmm0, xmm1)?;
    a.vpunpckhbw(red_green_high, xmm0, xmm1)?;
    a.vpxor(xmm9, xmm9, xmm9)?;
    a.vpunpcklbw(blue, xmm2, xmm9)?;
    a.vpunpckhbw(blue_high, xmm2, xmm9)?;
    a.vpunpcklwd(FOURS[0], red_green, blue)?;
    a.vpunpckhwd(FOURS[1], red_green, blue)?;
    a.vpunpcklwd(FOURS[2], red_green_high, blue_high)?;
    a.vpunpckhwd(FOURS[3], red_green_high, blue_high)
}

/// The same from pixels of three bytes.
fn from_pixels(a: &mut CodeAssembler, constants: &Constants) -> Emitted {
    a.vmovdqu(xmm0, xmmword_ptr(X + TRIPLE))?;
    a.vmovdqu(xmm1, xmmword_ptr(X + TRIPLE + 16))?;
    a.vmovdqu(xmm2, xmmword_ptr(X + TRIPLE + 32))?;
    a.vmovdqu(xmm9, xmmword_ptr(constants.spread))?;
    a.vpalignr(xmm3, xmm1, xmm0, 12)?;
    a.vpalignr(xmm4, xmm2, xmm1, 8)?;
    a.vpsrldq(xmm2, xmm2, 4)?;
    for (four, from) in FOURS.into_iter().zip([xmm0, xmm3, xmm4, xmm2]) {
        a.vpshufb(four, from, xmm9)?;
    }
    Ok(())
}

/// Stores 16 pixels.
fn store(a: &mut CodeAssembler, p: &Pixels, constants: &Constants) -> Emitted {
    if p.wide() {
        for (i, four) in FOURS.into_iter().enumerate() {
            match p.from {
                DType::I8 => a.vpmovsxbw(ymm0, four)?,
                _ => a.vpmovzxbw(ymm0, four)?,
            }
            a.vpsubw(ymm0, ymm0, ymmword_ptr(constants.less))?;
            a.vmovdqu(ymmword_ptr(OUT + AT * 8 + 32 * i as i32), ymm0)?;
        }
        return Ok(());
    }
    for four in FOURS {
        a.vpsubb(four, four, xmmword_ptr(constants.less))?;
    }
    if p.pitch == 4 {
        for (i, four) in FOURS.into_iter().enumerate() {
            a.vmovdqu(xmmword_ptr(OUT + AT * 4 + 16 * i as i32), four)?;
        }
        return Ok(());
    }
    a.vmovdqu(xmm9, xmmword_ptr(constants.packed))?;
    for four in FOURS {
        a.vpshufb(four, four, xmm9)?;
    }
    // 12 bytes of each follow one another.
    for (i, [first, second]) in [[0, 1], [1, 2], [2, 3]].into_iter().enumerate() {
        let i = i as i32;
        let head = match i {
            0 => FOURS[first],
            _ => {
                a.vpsrldq(xmm0, FOURS[first], 4 * i)?;
                xmm0
            }
        };
        a.vpslldq(xmm1, FOURS[second], 12 - 4 * i)?;
        a.vpor(xmm0, head, xmm1)?;
        a.vmovdqu(xmmword_ptr(OUT + TRIPLE + 16 * i), xmm0)?;
    }
    Ok(())
}

/// 16 pixels from number `AT` on.
fn step(a: &mut CodeAssembler, p: &Pixels, constants: &Constants) -> Emitted {
    a.lea(TRIPLE, qword_ptr(AT + AT * 2))?;
    match p.planes {
        true => from_planes(a)?,
        false => from_pixels(a, constants)?,
    }
    store(a, p, constants)
}

/// One pixel.
fn single(a: &mut CodeAssembler, p: &Pixels) -> Emitted {
    // In steps: places grow with the pixel, so pointers do.
    for k in 0..p.pitch as i32 {
        let from = match (p.planes, k) {
            (_, 3) => None,
            (false, k) => Some(byte_ptr(X + k)),
            (true, 0) => Some(byte_ptr(X)),
            (true, k) => Some(byte_ptr(OTHERS[k as usize - 1])),
        };
        match (from, p.from) {
            (None, _) => a.mov(eax, p.fill as i32)?,
            (Some(from), DType::I8) => a.movsx(eax, from)?,
            (Some(from), _) => a.movzx(eax, from)?,
        }
        if from.is_some() {
            a.sub(eax, p.less as i32)?;
        }
        match p.wide() {
            true => a.mov(word_ptr(OUT + 2 * k), ax)?,
            false => a.mov(byte_ptr(OUT + k), al)?,
        }
    }
    a.add(OUT, p.pitch as i32 * if p.wide() { 2 } else { 1 })?;
    match p.planes {
        true => {
            a.inc(X)?;
            a.inc(OTHERS[0])?;
            a.inc(OTHERS[1])
        }
        false => a.add(X, 3),
    }
}

fn emit(p: &Pixels, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut by_16, mut small, mut done] = [(); 3].map(|()| a.create_label());
    let mut constants = Constants {
        less: a.create_label(),
        spread: a.create_label(),
        packed: a.create_label(),
    };
    a.test(N, N)?;
    a.jle(done)?;
    if p.planes {
        a.lea(OTHERS[0], qword_ptr(X + PLANE))?;
        a.lea(OTHERS[1], qword_ptr(X + PLANE * 2))?;
    }
    a.lea(LAST, qword_ptr(N - 16))?;
    a.test(LAST, LAST)?;
    a.js(small)?;
    a.xor(AT, AT)?;
    a.set_label(&mut by_16)?;
    step(&mut a, p, &constants)?;
    a.add(AT, 16)?;
    a.cmp(AT, LAST)?;
    a.jle(by_16)?;
    a.cmp(AT, N)?;
    a.jge(done)?;
    a.mov(AT, LAST)?;
    step(&mut a, p, &constants)?;
    a.jmp(done)?;
    a.set_label(&mut small)?;
    single(&mut a, p)?;
    a.dec(N)?;
    a.jne(small)?;
    a.set_label(&mut done)?;
    a.vzeroupper()?;
    a.ret()?;
    data(&mut a, p, &mut constants)?;
    a.assemble(0)
}

/// The constants behind the code.
fn data(a: &mut CodeAssembler, p: &Pixels, constants: &mut Constants) -> Emitted {
    const NOTHING: u8 = 0x80;
    let less: Vec<u8> = (0..4)
        .flat_map(|_| [p.less, p.less, p.less, -p.fill])
        .flat_map(|v| match p.wide() {
            true => (v as i16).to_le_bytes().to_vec(),
            false => vec![v as u8],
        })
        .collect();
    let spread: Vec<u8> = (0..4u8)
        .flat_map(|i| [3 * i, 3 * i + 1, 3 * i + 2, NOTHING])
        .collect();
    let packed: Vec<u8> = (0..12u8)
        .map(|i| i / 3 * 4 + i % 3)
        .chain([NOTHING; 4])
        .collect();
    for (label, bytes) in [
        (&mut constants.less, less),
        (&mut constants.spread, spread),
        (&mut constants.packed, packed),
    ] {
        a.set_label(label)?;
        a.db(&bytes)?;
    }
    Ok(())
}
