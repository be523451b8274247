//! The vector machine on x86-64: SSE2, AVX2 with FMA (and F16C), AVX-512 (F, with 32 registers and masks).
//!
//! Obeys the System V calling convention: arguments go to the frame at entry, rbx, rbp and r12-r15 are saved where a program uses
//! them, upper halves of vector registers are cleared before the return. rax, k1, and xmm15 at SSE2, are the assembler's own.
//! Constants stand behind the code and are reached relative to it: no relocations.

mod bytes;
mod codes;
mod lanes;
mod memory;
mod mixing;
mod quads;
mod whole;

use crate::vector::ir::*;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code as Ins, IcedError, Instruction, InstructionBlock,
    MemoryOperand, Register,
};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::Code;
use std::collections::HashMap;

/// Address registers by number: those that a caller owns come last.
const XS: [Register; XREGS as usize] = [
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// Those from this one on are the caller's.
const CALLERS: usize = 8;
/// Arguments that come in registers.
const IN_REGISTERS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];
/// The assembler's own address register.
const OWN: Register = Register::RAX;
/// Where constants lie while code of unknown length is encoded; made right in a second round.
const POOL_BEFORE: u64 = 1 << 24;
/// Instructions are named by numbers from here on, for branches.
const NAMES: u64 = 1 << 40;

type Emitted = std::result::Result<(), IcedError>;

/// The code of a program.
pub fn assemble(p: &Program, landing_pad: bool) -> Result<Code> {
    let failed = |e: IcedError| Diagnostic::internal(format!("a kernel can't be encoded: {e}"));
    if let Some(op) = p.ops.iter().find(|op| !p.isa.has(op)) {
        return Err(Diagnostic::internal(format!(
            "{:?} has no {op:?}",
            p.isa.level
        )));
    }
    // The first round finds how long the code is: displacements have one size, so the second is as long.
    let mut e = Emit::new(p, POOL_BEFORE);
    e.all(landing_pad).map_err(failed)?;
    let length = encode(&e.list).map_err(failed)?.len() as u64;
    let pool_at = length.next_multiple_of(64);
    let mut e = Emit::new(p, pool_at);
    e.all(landing_pad).map_err(failed)?;
    let mut bytes = encode(&e.list).map_err(failed)?;
    if bytes.len() as u64 != length {
        return Err(Diagnostic::internal("a kernel's length is not settled"));
    }
    if !e.pool.is_empty() {
        bytes.resize(pool_at as usize, 0);
        bytes.extend(&e.pool);
    }
    Ok(Code {
        bytes,
        align: 64,
        stack: e.frame + e.saved.len() as u32 * 8,
    })
}

fn encode(list: &[Instruction]) -> std::result::Result<Vec<u8>, IcedError> {
    let block = InstructionBlock::new(list, 0);
    Ok(BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)?.code_buffer)
}

struct Emit<'p> {
    p: &'p Program,
    level: Level,
    list: Vec<Instruction>,
    labels: HashMap<Label, u64>,
    pool: Vec<u8>,
    pool_at: u64,
    known: HashMap<Vec<u8>, u64>,
    saved: Vec<Register>,
    /// Bytes below the saved registers: vectors, then arguments.
    frame: u32,
}

impl<'p> Emit<'p> {
    fn new(p: &'p Program, pool_at: u64) -> Emit<'p> {
        let mut used = [false; XREGS as usize];
        for op in &p.ops {
            each_x(op, &mut |x| {
                if let Some(u) = used.get_mut(x.0 as usize) {
                    *u = true;
                }
            });
        }
        let saved: Vec<Register> = (CALLERS..XREGS as usize)
            .filter(|i| used[*i])
            .map(|i| XS[i])
            .collect();
        let vectors = u32::from(p.slots) * 4 * p.isa.lanes as u32;
        let args = u32::from(p.args.min(6)) * 8;
        Emit {
            p,
            level: p.isa.level,
            list: vec![],
            labels: HashMap::new(),
            pool: vec![],
            pool_at,
            known: HashMap::new(),
            saved,
            frame: (vectors + args).next_multiple_of(8),
        }
    }

    // Instructions

    fn push(&mut self, mut i: Instruction) -> &mut Instruction {
        i.set_ip(NAMES + self.list.len() as u64);
        self.list.push(i);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
    fn i1(&mut self, code: Ins, a: Register) -> Emitted {
        self.push(Instruction::with1(code, a)?);
        Ok(())
    }
    fn rr(&mut self, code: Ins, a: Register, b: Register) -> Emitted {
        self.push(Instruction::with2(code, a, b)?);
        Ok(())
    }
    fn ri(&mut self, code: Ins, a: Register, imm: i32) -> Emitted {
        self.push(Instruction::with2(code, a, imm)?);
        Ok(())
    }
    fn rm(&mut self, code: Ins, a: Register, m: MemoryOperand) -> Emitted {
        self.push(Instruction::with2(code, a, m)?);
        Ok(())
    }
    fn mr(&mut self, code: Ins, m: MemoryOperand, a: Register) -> Emitted {
        self.push(Instruction::with2(code, m, a)?);
        Ok(())
    }

    // Operands

    fn v(&self, v: V) -> Register {
        let first = match self.level {
            Level::Sse2 => Register::XMM0,
            Level::Avx512 => Register::ZMM0,
            _ => Register::YMM0,
        };
        first + u32::from(v.0)
    }
    /// The same register at 128 bits.
    fn xmm(&self, v: V) -> Register {
        Register::XMM0 + u32::from(v.0)
    }
    fn ymm(&self, v: V) -> Register {
        Register::YMM0 + u32::from(v.0)
    }
    fn x(&self, x: X) -> Register {
        XS[x.0 as usize % XS.len()]
    }
    fn mem(&self, m: Mem) -> MemoryOperand {
        let base = self.x(m.base);
        let size = u32::from(m.disp != 0);
        match m.index {
            None => MemoryOperand::with_base_displ_size(base, i64::from(m.disp), size),
            Some((i, shift)) => MemoryOperand::with_base_index_scale_displ_size(
                base,
                self.x(i),
                1 << shift,
                i64::from(m.disp),
                size,
            ),
        }
    }
    fn stack(&self, at: u32) -> MemoryOperand {
        MemoryOperand::with_base_displ_size(Register::RSP, i64::from(at), 1)
    }
    fn slot(&self, slot: u16) -> MemoryOperand {
        self.stack(u32::from(slot) * 4 * self.p.isa.lanes as u32)
    }
    fn arg(&self, n: u8) -> MemoryOperand {
        let vectors = u32::from(self.p.slots) * 4 * self.p.isa.lanes as u32;
        match n {
            0..6 => self.stack(vectors + u32::from(n) * 8),
            _ => self.stack(self.frame + self.saved.len() as u32 * 8 + 8 + (u32::from(n) - 6) * 8),
        }
    }
    /// Bytes behind the code, shared with equal ones.
    fn constant(&mut self, bytes: Vec<u8>) -> MemoryOperand {
        let at = match self.known.get(&bytes) {
            Some(&at) => at,
            None => {
                let at = self.pool.len().next_multiple_of(bytes.len().max(1));
                self.pool.resize(at, 0);
                self.pool.extend(&bytes);
                self.known.insert(bytes, at as u64);
                at as u64
            }
        };
        MemoryOperand::with_base_displ_size(Register::RIP, (self.pool_at + at) as i64, 8)
    }
    /// The same for 64-bit lanes.
    fn real_lanes_of(&mut self, bits: u64) -> MemoryOperand {
        let all = bits.to_le_bytes().repeat(self.p.isa.lanes / 2);
        self.constant(all)
    }
    /// A number in every lane, as a memory operand of a whole vector.
    fn lanes_of(&mut self, bits: u32) -> MemoryOperand {
        let all = bits.to_le_bytes().repeat(self.p.isa.lanes);
        self.constant(all)
    }

    // The whole

    fn all(&mut self, landing_pad: bool) -> Emitted {
        if landing_pad {
            self.push(Instruction::with(Ins::Endbr64));
        }
        for r in self.saved.clone() {
            self.i1(Ins::Push_r64, r)?;
        }
        if self.frame > 0 {
            self.ri(Ins::Sub_rm64_imm32, Register::RSP, self.frame as i32)?;
        }
        for n in 0..self.p.args.min(6) {
            let to = self.arg(n);
            self.mr(Ins::Mov_rm64_r64, to, IN_REGISTERS[n as usize])?;
        }
        for op in &self.p.ops {
            self.op(*op)?;
        }
        if self.level != Level::Sse2 {
            self.push(Instruction::with(Ins::VEX_Vzeroupper));
        }
        if self.frame > 0 {
            self.ri(Ins::Add_rm64_imm32, Register::RSP, self.frame as i32)?;
        }
        for r in self.saved.clone().into_iter().rev() {
            self.i1(Ins::Pop_r64, r)?;
        }
        self.push(Instruction::with(Ins::Retnq));
        // Branches know their labels by number until now.
        for i in &mut self.list {
            if i.is_jmp_short_or_near() || i.is_jcc_short_or_near() {
                let label = Label(i.near_branch64() as u32);
                let to = self.labels.get(&label).copied().unwrap_or(NAMES);
                i.set_near_branch64(to);
            }
        }
        Ok(())
    }

    fn branch(&mut self, code: Ins, to: Label) -> Emitted {
        self.push(Instruction::with_branch(code, u64::from(to.0))?);
        Ok(())
    }

    fn op(&mut self, op: Op) -> Emitted {
        let level = self.level;
        match op {
            Op::Zero { d } => self.zero(d),
            Op::Const { d, bits: 0 } => self.zero(d),
            Op::Const { d, bits } => {
                if level == Level::Sse2 {
                    let m = self.lanes_of(bits);
                    return self.rm(codes::LOAD.at(level), self.v(d), m);
                }
                let m = self.constant(bits.to_le_bytes().to_vec());
                self.rm(codes::SPLAT.at(level), self.v(d), m)
            }
            Op::Move { d, a } if d == a => Ok(()),
            Op::Move { d, a } => self.rr(codes::MOVE.at(level), self.v(d), self.v(a)),
            Op::Load { d, at, elem, lanes } => self.load(d, at, elem, lanes),
            Op::Store {
                s,
                at,
                elem,
                lanes,
                tmp,
            } => self.store(s, at, elem, lanes, tmp),
            Op::StorePair {
                a,
                b,
                at,
                signed,
                mixed,
            } => self.store_pair(a, b, at, None, [signed, mixed]),
            Op::StoreEach { v, n, at, signed } => self.store_each(v, n, at, signed),
            Op::StoreApart {
                a,
                b,
                at,
                second,
                signed,
                mixed,
            } => self.store_pair(a, b, at, Some(second), [signed, mixed]),
            Op::Splat { d, at } => {
                let m = self.mem(at);
                if level == Level::Sse2 {
                    self.rm(Ins::Movss_xmm_xmmm32, self.v(d), m)?;
                    return self.spread(d, d);
                }
                self.rm(codes::SPLAT.at(level), self.v(d), m)
            }
            Op::AnyX { d, a } => {
                let (d, v) = (self.x(d).full_register32(), self.v(a));
                match level {
                    Level::Avx512 => {
                        let test = Ins::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32;
                        self.push(Instruction::with3(test, Register::K1, v, v)?);
                        self.rr(Ins::VEX_Kmovw_r32_kr, d, Register::K1)
                    }
                    Level::Sse2 => self.rr(Ins::Movmskps_r32_xmm, d, v),
                    _ => self.rr(Ins::VEX_Vmovmskps_r32_ymm, d, v),
                }
            }
            Op::SplatX { d, x } => {
                let low = self.x(x).full_register32();
                match level {
                    Level::Avx512 => self.rr(Ins::EVEX_Vpbroadcastd_zmm_k1z_r32, self.v(d), low),
                    Level::Sse2 => {
                        self.rr(Ins::Movd_xmm_rm32, self.xmm(d), low)?;
                        self.spread(d, d)
                    }
                    _ => {
                        self.rr(Ins::VEX_Vmovd_xmm_rm32, self.xmm(d), low)?;
                        self.spread(d, d)
                    }
                }
            }
            Op::SplatLane { d, a } => self.spread(d, a),
            Op::SplatPair { d, a } => self.spread_pair(d, a),
            Op::Bin { op, d, a, b } => self.bin(op, d, a, b),
            Op::Un { op, d, a } => {
                let (row, imm) = codes::un(op);
                let (code, d, a) = (row.at(level), self.v(d), self.v(a));
                match imm {
                    None => self.rr(code, d, a),
                    Some(imm) => {
                        self.push(Instruction::with3(code, d, a, imm)?);
                        Ok(())
                    }
                }
            }
            Op::Words { op, d, a, b } => self.words(op, d, a, b),
            Op::WholeInt { d, a } => self.rr(codes::TO_INT.at(level), self.v(d), self.v(a)),
            Op::LessWhereEq { d, a, b, tmp } => self.less_where_eq(d, a, b, tmp),
            Op::NearInt { d, a } => self.rr(codes::NEAR_INT.at(level), self.v(d), self.v(a)),
            Op::ToInt { d, a, tmp } => self.truncate(d, a, tmp),
            Op::Shift { op, d, a, by } => {
                let code = codes::shift(op).at(level);
                if level == Level::Sse2 {
                    self.op(Op::Move { d, a })?;
                    return self.ri(code, self.v(d), i32::from(by));
                }
                self.push(Instruction::with3(
                    code,
                    self.v(d),
                    self.v(a),
                    u32::from(by),
                )?);
                Ok(())
            }
            Op::Fma { d, a, b } => self.fma(d, a, b),
            Op::FmaOver { d, a, c } => {
                let c = self.src(c);
                self.three(
                    codes::FMA_OVER.at(self.level),
                    self.v(d),
                    self.v(a),
                    c,
                    None,
                )
            }
            // No x86 has them; refused before.
            Op::FmaLane { .. } | Op::DotLane { .. } => Ok(()),
            Op::Long { .. } | Op::Halves { .. } | Op::Zip { .. } | Op::Matrix { .. } => Ok(()),
            Op::Dot { dot, d, a, b, tmp } => self.dot(dot, d, a, b, tmp),
            Op::ToReals { lo, hi, a } => self.reals_of_whole(lo, hi, a),
            Op::SlotToReals { lo, hi, slot } => self.reals_of_slot(lo, hi, slot),
            Op::FromReals { d, lo, hi } => self.whole_of_reals(d, lo, hi, false),
            Op::FromRealsMixed { d, lo, hi } => self.whole_of_reals(d, lo, hi, true),
            Op::RealBin { op, d, a, b } => self.real_bin(op, d, a, b),
            Op::RealFloor { d, a } => {
                let code = codes::REAL_ROUND.at(level);
                self.push(Instruction::with3(code, self.v(d), self.v(a), 9)?);
                Ok(())
            }
            Op::Select { d, m, a, b } => self.select(d, m, a, b),
            Op::Fold { op, d, a, tmp } => self.fold(op, d, a, tmp),
            Op::LoadWords { .. }
            | Op::MixBytes { .. }
            | Op::PairRows { .. }
            | Op::InOrder { .. } => self.mixing(op),
            Op::LoadQuad { .. }
            | Op::StoreQuad { .. }
            | Op::SplatReal { .. }
            | Op::PackBytes { .. }
            | Op::Transpose { .. }
            | Op::PairWords { .. }
            | Op::PickBytes { .. }
            | Op::PairBytes { .. } => self.quads(op),
            Op::Prefetch { at } => {
                let m = self.mem(at);
                self.push(Instruction::with1(Ins::Prefetcht0_m8, m)?);
                Ok(())
            }
            Op::Spill { s, slot } => self.mr(codes::STORE.at(level), self.slot(slot), self.v(s)),
            Op::Fill { d, slot } => self.rm(codes::LOAD.at(level), self.v(d), self.slot(slot)),
            Op::Arg { d, n } => self.rm(Ins::Mov_r64_rm64, self.x(d), self.arg(n)),
            Op::SetArg { n, s } => self.mr(Ins::Mov_rm64_r64, self.arg(n), self.x(s)),
            Op::Label { label } => {
                self.labels.insert(label, NAMES + self.list.len() as u64);
                Ok(())
            }
            other => self.address_op(other),
        }
    }

    fn address_op(&mut self, op: Op) -> Emitted {
        match op {
            Op::SetX { d, value } => {
                let d = self.x(d);
                let i = match i32::try_from(value) {
                    Ok(0) => Instruction::with2(
                        Ins::Xor_r32_rm32,
                        d.full_register32(),
                        d.full_register32(),
                    )?,
                    Ok(v) => Instruction::with2(Ins::Mov_rm64_imm32, d, v)?,
                    Err(_) => Instruction::with2(Ins::Mov_r64_imm64, d, value)?,
                };
                self.push(i);
                Ok(())
            }
            Op::MoveX { d, a } if d == a => Ok(()),
            Op::MoveX { d, a } => self.rr(Ins::Mov_r64_rm64, self.x(d), self.x(a)),
            Op::AddX { d, a, b, shift: 0 } if d == a => {
                self.rr(Ins::Add_r64_rm64, self.x(d), self.x(b))
            }
            Op::AddX { d, a, b, shift } => {
                let m = self.mem(Mem {
                    base: a,
                    index: Some((b, shift)),
                    disp: 0,
                });
                self.rm(Ins::Lea_r64_m, self.x(d), m)
            }
            Op::SubX { d, a, b } => {
                if d == b && d != a {
                    self.i1(Ins::Neg_rm64, self.x(d))?;
                    return self.rr(Ins::Add_r64_rm64, self.x(d), self.x(a));
                }
                self.op(Op::MoveX { d, a })?;
                self.rr(Ins::Sub_r64_rm64, self.x(d), self.x(b))
            }
            Op::AddI { d, a, by } if d == a => {
                let code = match i8::try_from(by) {
                    Ok(_) => Ins::Add_rm64_imm8,
                    Err(_) => Ins::Add_rm64_imm32,
                };
                self.ri(code, self.x(d), by)
            }
            Op::AddI { d, a, by } => {
                let m = self.mem(Mem::at(a, by));
                self.rm(Ins::Lea_r64_m, self.x(d), m)
            }
            Op::ShlX { d, a, by } => {
                self.op(Op::MoveX { d, a })?;
                self.ri(Ins::Shl_rm64_imm8, self.x(d), i32::from(by))
            }
            Op::ShrX { d, a, by } => {
                self.op(Op::MoveX { d, a })?;
                self.ri(Ins::Shr_rm64_imm8, self.x(d), i32::from(by))
            }
            Op::AndX { d, a, mask } => {
                self.op(Op::MoveX { d, a })?;
                self.ri(Ins::And_rm32_imm32, self.x(d).full_register32(), mask)
            }
            Op::MulX { d, a, b } => {
                let (from, by) = if d == b { (b, a) } else { (a, b) };
                self.op(Op::MoveX { d, a: from })?;
                self.rr(Ins::Imul_r64_rm64, self.x(d), self.x(by))
            }
            Op::LoadX { d, at } => {
                let m = self.mem(at);
                self.rm(Ins::Mov_r64_rm64, self.x(d), m)
            }
            Op::LoadSmallX { d, at, bytes } => {
                let (m, d) = (self.mem(at), self.x(d).full_register32());
                let code = match bytes {
                    1 => Ins::Movzx_r32_rm8,
                    2 => Ins::Movzx_r32_rm16,
                    _ => Ins::Mov_r32_rm32,
                };
                self.rm(code, d, m)
            }
            Op::Jump { to } => self.branch(Ins::Jmp_rel32_64, to),
            Op::Branch { x, cond, with, to } => {
                let x = self.x(x);
                if with == 0 {
                    self.rr(Ins::Test_rm64_r64, x, x)?;
                } else {
                    self.ri(Ins::Cmp_rm64_imm32, x, with)?;
                }
                self.branch(jcc(cond), to)
            }
            Op::BranchX { a, cond, b, to } => {
                self.rr(Ins::Cmp_r64_rm64, self.x(a), self.x(b))?;
                self.branch(jcc(cond), to)
            }
            Op::Count { x, by, to } => {
                let code = match i8::try_from(by) {
                    Ok(_) => Ins::Sub_rm64_imm8,
                    Err(_) => Ins::Sub_rm64_imm32,
                };
                self.ri(code, self.x(x), by)?;
                self.branch(Ins::Jg_rel32_64, to)
            }
            // All others are vector operations.
            _ => Ok(()),
        }
    }
}

fn jcc(cond: Cond) -> Ins {
    match cond {
        Cond::Eq => Ins::Je_rel32_64,
        Cond::Ne => Ins::Jne_rel32_64,
        Cond::Lt => Ins::Jl_rel32_64,
        Cond::Le => Ins::Jle_rel32_64,
        Cond::Gt => Ins::Jg_rel32_64,
        Cond::Ge => Ins::Jge_rel32_64,
    }
}
