//! The few functions that are bytes of our own: instructions Cranelift does not know, and addresses without a GOT.
//!
//! They obey the C calling convention, touch nothing below the stack pointer, and begin with a landing pad on request.

use super::func::Machine;
use crate::target::Arch;

/// `endbr64`.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `bti c`.
const BTI_C: u32 = 0xd503_245f;
const RET: u32 = 0xd65f_03c0;

fn machine(arch: Arch, pads: bool, x86: &[u8], a64: &[u32], frame: u32) -> Machine {
    let mut bytes = vec![];
    match arch {
        Arch::X86_64 => {
            if pads {
                bytes.extend(ENDBR64);
            }
            bytes.extend(x86);
        }
        Arch::Aarch64 => {
            let pad = pads.then_some(BTI_C);
            bytes.extend(pad.iter().chain(a64).flat_map(|w| w.to_le_bytes()));
        }
    }
    Machine {
        bytes,
        frame,
        ..Machine::default()
    }
}

/// `fn(mode: i64) -> i64`: sets MXCSR or FPCR and answers what it was.
pub fn float_mode(arch: Arch, pads: bool) -> Machine {
    let x86 = [
        0x48, 0x83, 0xec, 0x08, // sub rsp, 8
        0x0f, 0xae, 0x1c, 0x24, // stmxcsr [rsp]
        0x8b, 0x04, 0x24, // mov eax, [rsp]
        0x89, 0x3c, 0x24, // mov [rsp], edi
        0x0f, 0xae, 0x14, 0x24, // ldmxcsr [rsp]
        0x48, 0x83, 0xc4, 0x08, // add rsp, 8
        0xc3, // ret
    ];
    let a64 = [
        0xd53b_4401, // mrs x1, fpcr
        0xd51b_4400, // msr fpcr, x0
        0xaa01_03e0, // mov x0, x1
        RET,
    ];
    let frame = if arch == Arch::X86_64 { 16 } else { 0 };
    machine(arch, pads, &x86, &a64, frame)
}

/// The mode that generated code runs in: round to nearest, no exceptions, denormals kept or flushed to zero.
pub fn mode_bits(arch: Arch, flush: bool) -> i64 {
    match (arch, flush) {
        (Arch::X86_64, false) => 0x1f80,
        (Arch::X86_64, true) => 0x9fc0,
        (Arch::Aarch64, false) => 0,
        (Arch::Aarch64, true) => 1 << 24,
    }
}

/// A relocation that is no call: its offset in the code, ELF type, and addend.
pub type DataReloc = (u32, u32, i64);

/// `fn() -> *const u8`: the address of the weights or of a function, which the linker puts in.
pub fn address(arch: Arch, pads: bool) -> (Machine, Vec<DataReloc>) {
    let x86 = [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3]; // lea rax, [rip + ...]; ret
    let a64 = [0x9000_0000, 0x9100_0000, RET]; // adrp x0, ...; add x0, x0, ...
    let frame = if arch == Arch::X86_64 { 8 } else { 0 };
    let m = machine(arch, pads, &x86, &a64, frame);
    let pad = if pads { 4 } else { 0 };
    let relocs = match arch {
        Arch::X86_64 => vec![(pad + 3, object::elf::R_X86_64_PC32, -4)],
        Arch::Aarch64 => vec![
            (pad, object::elf::R_AARCH64_ADR_PREL_PG_HI21, 0),
            (pad + 4, object::elf::R_AARCH64_ADD_ABS_LO12_NC, 0),
        ],
    };
    (m, relocs)
}

/// `fn(a, b) -> a / b` of A64, whose division is total: signed 32, 64, unsigned 32, 64 bits. x86 needs none.
pub fn divider(index: u32, pads: bool) -> Machine {
    let divide = match index {
        0 => 0x1ac1_0c00, // sdiv w0, w0, w1
        1 => 0x9ac1_0c00, // sdiv x0, x0, x1
        2 => 0x1ac1_0800, // udiv w0, w0, w1
        _ => 0x9ac1_0800, // udiv x0, x0, x1
    };
    machine(Arch::Aarch64, pads, &[], &[divide, RET], 0)
}

/// Puts `endbr64` before a function that others may call through a pointer, keeping the alignment of its constants.
pub fn with_endbr(m: &mut Machine) {
    let mut bytes = ENDBR64.to_vec();
    bytes.extend([
        0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66,
        0x90, // a nop of 10 bytes and one of 2
    ]);
    let by = bytes.len() as u32;
    bytes.append(&mut m.bytes);
    m.bytes = bytes;
    m.calls.iter_mut().for_each(|c| c.offset += by);
}
