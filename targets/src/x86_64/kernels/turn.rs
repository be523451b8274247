//! Transposes of matrices, eight rows and columns at a time on AVX2.
//!
//! Contract `turn`. Where rows and columns are eight and more, the last block overlaps the one before. Where rows are fewer, what a store writes beyond
//! them is written over by the next; where columns are fewer, what a load reads beyond them is the next row: both only as far as the matrix goes, and what is
//! left, or is small on both sides, is moved element by element.

use super::turn_block::Block;
use super::{Emitted, assembled};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::turn::{BLOCK, Shape};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// The row.
pub static TURN_AVX2: Tile = Tile {
    name: "turn_avx2",
    contract: "turn",
    needs: &["avx2"],
    tile: (8, 8),
    make,
};

/// The matrix that is turned and what becomes of it.
const X: AsmRegister64 = rdi;
const OUT: AsmRegister64 = rsi;
const ROWS: AsmRegister64 = rdx;
const COLS: AsmRegister64 = rcx;
/// Bytes from one row to the next.
const X_ROW: AsmRegister64 = r8;
const OUT_ROW: AsmRegister64 = r9;
/// The row and the column that are next.
const I: AsmRegister64 = r13;
const J: AsmRegister64 = r14;
/// The first row and column beyond what blocks can do.
const I_END: AsmRegister64 = r15;
const J_END: AsmRegister64 = rbp;
/// Saved for the caller, in the order of pushes.
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];
/// Bytes of the stack that are taken.
const STACK: i32 = 8 * SAVED.len() as i32;

/// An argument on the caller's stack.
fn argument(k: i32) -> AsmMemoryOperand {
    qword_ptr(rsp + STACK + 8 + 8 * k)
}
const COUNT: i32 = 0;
const X_NEXT: i32 = 1;
const OUT_NEXT: i32 = 2;

fn make(callee: &Callee, landing_pad: bool) -> Result<Code> {
    let shape = Shape::of(callee).ok_or_else(|| {
        Diagnostic::internal(format!("`{}` of {:?}", callee.kernel, callee.shape))
    })?;
    let mut code = assembled(callee, emit(shape, landing_pad))?;
    code.stack = STACK as u32;
    Ok(code)
}

/// `d = a * size`.
fn scaled(a: &mut CodeAssembler, d: AsmRegister64, size: i64) -> Emitted {
    match size {
        1 => Ok(()),
        size => a.shl(d, size.trailing_zeros()),
    }
}

/// Where the block of row `I` and column `J` is read and written.
fn at_block(a: &mut CodeAssembler, size: i32) -> Emitted {
    a.mov(rax, I)?;
    a.imul_2(rax, X_ROW)?;
    a.add(rax, X)?;
    a.lea(rax, qword_ptr(rax + J * size))?;
    a.mov(rbx, J)?;
    a.imul_2(rbx, OUT_ROW)?;
    a.add(rbx, OUT)?;
    a.lea(rbx, qword_ptr(rbx + I * size))
}

/// `next = limit - by` where that is less: what is left over begins earlier, and overlaps.
fn back(a: &mut CodeAssembler, next: AsmRegister64, limit: AsmRegister64) -> Emitted {
    a.lea(rax, qword_ptr(limit - BLOCK as i32))?;
    a.cmp(next, rax)?;
    a.cmovg(next, rax)
}

/// Blocks of eight by eight, the last of each row and column overlapping.
fn many(a: &mut CodeAssembler, size: i64, done: CodeLabel) -> Emitted {
    let [mut column, mut row] = [(); 2].map(|()| a.create_label());
    a.xor(J, J)?;
    a.set_label(&mut column)?;
    back(a, J, COLS)?;
    a.xor(I, I)?;
    a.set_label(&mut row)?;
    back(a, I, ROWS)?;
    at_block(a, size as i32)?;
    Block::new(size, BLOCK, BLOCK).emit(a)?;
    a.add(I, 8)?;
    a.cmp(I, ROWS)?;
    a.jl(row)?;
    a.add(J, 8)?;
    a.cmp(J, COLS)?;
    a.jl(column)?;
    a.jmp(done)
}

/// Blocks as far as loads and stores of whole vectors stay inside; `I` and `J` are then what is next.
fn few(a: &mut CodeAssembler, s: Shape) -> Emitted {
    let [mut next, mut done] = [(); 2].map(|()| a.create_label());
    let (at, all, other) = match s.rows {
        0 => (I, ROWS, s.cols),
        _ => (J, COLS, s.rows),
    };
    let (rows, cols) = match s.rows {
        0 => (BLOCK, s.cols),
        rows => (rows, BLOCK),
    };
    let block = Block::new(s.size, rows, cols);
    // How many more lines the vector of the last one touches.
    let beyond = (block.reach() - other + other - 1).max(0) / other;
    let end = if s.rows == 0 { I_END } else { J_END };
    a.lea(end, qword_ptr(all - (BLOCK + beyond) as i32))?;
    a.xor(I, I)?;
    a.xor(J, J)?;
    a.set_label(&mut next)?;
    a.cmp(at, end)?;
    a.jg(done)?;
    at_block(a, s.size as i32)?;
    block.emit(a)?;
    a.add(at, 8)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    a.zero_bytes()
}

/// One element after the other, from row `I` and column `J` on.
fn singles(a: &mut CodeAssembler, s: Shape) -> Emitted {
    let [mut column, mut row, mut end] = [(); 3].map(|()| a.create_label());
    // Where whole columns are left, each begins with its first row.
    let first = r12;
    a.mov(first, I)?;
    a.cmp(J, COLS)?;
    a.jge(end)?;
    a.cmp(I, ROWS)?;
    a.jge(end)?;
    a.set_label(&mut column)?;
    a.mov(I, first)?;
    at_block(a, s.size as i32)?;
    a.set_label(&mut row)?;
    match s.size {
        1 => {
            a.movzx(r10d, byte_ptr(rax))?;
            a.mov(byte_ptr(rbx), r10b)?;
        }
        2 => {
            a.movzx(r10d, word_ptr(rax))?;
            a.mov(word_ptr(rbx), r10w)?;
        }
        _ => {
            a.mov(r10d, dword_ptr(rax))?;
            a.mov(dword_ptr(rbx), r10d)?;
        }
    }
    a.add(rax, X_ROW)?;
    a.add(rbx, s.size as i32)?;
    a.inc(I)?;
    a.cmp(I, ROWS)?;
    a.jl(row)?;
    a.inc(J)?;
    a.cmp(J, COLS)?;
    a.jl(column)?;
    a.set_label(&mut end)?;
    a.zero_bytes()
}

fn emit(s: Shape, landing_pad: bool) -> std::result::Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    if landing_pad {
        a.endbr64()?;
    }
    let [mut matrix, mut small, mut next, mut done] = [(); 4].map(|()| a.create_label());
    for r in SAVED {
        a.push(r)?;
    }
    scaled(&mut a, X_ROW, s.size)?;
    scaled(&mut a, OUT_ROW, s.size)?;
    a.set_label(&mut matrix)?;
    a.sub(argument(COUNT), 1)?;
    a.jl(done)?;
    if s.rows == 0 && s.cols == 0 {
        a.cmp(ROWS, BLOCK as i32)?;
        a.jl(small)?;
        a.cmp(COLS, BLOCK as i32)?;
        a.jl(small)?;
        many(&mut a, s.size, next)?;
        a.set_label(&mut small)?;
        a.xor(I, I)?;
        a.xor(J, J)?;
    } else {
        few(&mut a, s)?;
    }
    singles(&mut a, s)?;
    a.set_label(&mut next)?;
    for (at, by) in [(X, X_NEXT), (OUT, OUT_NEXT)] {
        a.mov(rax, argument(by))?;
        scaled(&mut a, rax, s.size)?;
        a.add(at, rax)?;
    }
    a.jmp(matrix)?;
    a.set_label(&mut done)?;
    for r in SAVED.into_iter().rev() {
        a.pop(r)?;
    }
    a.vzeroupper()?;
    a.ret()?;
    a.assemble(0)
}
