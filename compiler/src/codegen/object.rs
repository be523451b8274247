//! Writes the relocatable ELF object, and audits one.
//!
//! Functions lie in sections of their own, weights and descriptor in read-only ones. There is one global function and one global
//! datum, nothing writable, nothing undefined, no GOT, no unwind tables. Weights are written from where they lie, without a
//! copy.

use super::code::Code;
use super::{Options, Weights};
use crate::base::diag::{Diagnostic, Result};
use crate::plan::program::{ALIGN, Program};
use crate::target::Arch;
use object::write::{
    Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection, WritableBuffer,
};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionFlags, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf,
};

// The small code model reaches 2 GiB; code and the program that links the object need some of it.
const EMBEDDED_LIMIT: u64 = 0x7800_0000;

/// The object's bytes. `descriptor` becomes `PREFIX_descriptor`.
pub fn write(
    code: &Code,
    program: &Program,
    options: &Options,
    descriptor: &[u8],
) -> Result<Vec<u8>> {
    let arch = match code.arch {
        Arch::X86_64 => Architecture::X86_64,
        Arch::Aarch64 => Architecture::Aarch64,
    };
    let mut w = Writer {
        object: Object::new(BinaryFormat::Elf, arch, Endianness::Little),
        prefix: &options.prefix,
    };
    w.object
        .add_file_symbol(format!("{}.onnx", options.prefix).into_bytes());
    let zeros = weights_space(program, options)?;
    let weights = zeros.as_ref().map(|z| w.weights(z, &options.weights));
    w.functions(code, weights)?;
    let section = w.section(
        &format!(".rodata.{}_descriptor", options.prefix),
        SectionKind::ReadOnlyData,
    );
    let align = onnxc_abi::descriptor::ALIGN as u64;
    w.object.set_section_data(section, descriptor, align);
    w.symbol(
        "descriptor",
        section,
        descriptor.len(),
        SymbolKind::Data,
        true,
    );
    if code.properties != 0 {
        w.property_note(code.arch, code.properties);
    }
    w.section(".note.GNU-stack", SectionKind::Linker);
    let mut out = Sink {
        bytes: vec![],
        zeros: zeros.as_deref().unwrap_or(&[]),
        weights: &program.weights,
    };
    w.object
        .emit(&mut out)
        .map_err(|e| Diagnostic::internal(format!("writing the object: {e}")))?;
    Ok(out.bytes)
}

// Zeros in the place of the weights: pages that nobody touches cost nothing.
fn weights_space(program: &Program, options: &Options) -> Result<Option<Vec<u8>>> {
    let n = program.weights_bytes;
    if n == 0 || options.weights == Weights::File {
        return Ok(None);
    }
    if n > EMBEDDED_LIMIT {
        return Err(Diagnostic::limit(
            "ONNX006",
            format!("{n} bytes of weights are more than an object can hold"),
        )
        .help("put them into a file with `--weights file`"));
    }
    Ok(Some(vec![0; n as usize]))
}

struct Writer<'a> {
    object: Object<'a>,
    prefix: &'a str,
}

impl<'a> Writer<'a> {
    fn section(&mut self, name: &str, kind: SectionKind) -> SectionId {
        self.object.add_section(vec![], name.into(), kind)
    }
    fn symbol(
        &mut self,
        name: &str,
        section: SectionId,
        size: usize,
        kind: SymbolKind,
        global: bool,
    ) -> SymbolId {
        let prefix = self.prefix;
        self.named_symbol(format!("{prefix}_{name}"), section, size, kind, global)
    }
    fn named_symbol(
        &mut self,
        name: String,
        section: SectionId,
        size: usize,
        kind: SymbolKind,
        global: bool,
    ) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into_bytes(),
            value: 0,
            size: size as u64,
            kind,
            scope: if global {
                SymbolScope::Dynamic
            } else {
                SymbolScope::Compilation
            },
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        })
    }
    fn weights(&mut self, zeros: &'a [u8], place: &Weights) -> SymbolId {
        let name = match place {
            Weights::Section(name) => name.clone(),
            _ => format!(".rodata.{}_weights", self.prefix),
        };
        let section = self.section(&name, SectionKind::ReadOnlyData);
        self.object.set_section_data(section, zeros, ALIGN);
        self.symbol("weights", section, zeros.len(), SymbolKind::Data, false)
    }
    fn functions(&mut self, code: &'a Code, weights: Option<SymbolId>) -> Result<()> {
        let mut placed = Vec::with_capacity(code.parts.len());
        for p in &code.parts {
            let section = self.section(&format!(".text.{}", p.name), SectionKind::Text);
            self.object
                .set_section_data(section, p.machine.bytes.as_slice(), p.align);
            let size = p.machine.bytes.len();
            let symbol =
                self.named_symbol(p.name.clone(), section, size, SymbolKind::Text, p.global);
            placed.push((section, symbol));
        }
        let call = match code.arch {
            Arch::X86_64 => elf::R_X86_64_PLT32,
            Arch::Aarch64 => elf::R_AARCH64_CALL26,
        };
        for (p, (section, _)) in code.parts.iter().zip(&placed) {
            let calls = p.machine.calls.iter().zip(&p.targets).map(|(c, to)| {
                let symbol = placed.get(*to as usize).map(|s| s.1);
                (c.offset, call, c.addend, symbol)
            });
            let target = match p.points_to {
                Some(part) => placed.get(part as usize).map(|s| s.1),
                None => weights,
            };
            let data = p
                .data
                .iter()
                .map(|(at, kind, add)| (*at, *kind, *add, target));
            for (offset, r_type, addend, symbol) in calls.chain(data) {
                let symbol = symbol
                    .ok_or_else(|| Diagnostic::internal(format!("{} refers to nothing", p.name)))?;
                self.object
                    .add_relocation(
                        *section,
                        Relocation {
                            offset: u64::from(offset),
                            symbol,
                            addend,
                            flags: RelocationFlags::Elf { r_type },
                        },
                    )
                    .map_err(|e| Diagnostic::internal(format!("relocation: {e}")))?;
            }
        }
        Ok(())
    }
    // Tells the linker which protections work with this object.
    fn property_note(&mut self, arch: Arch, bits: u32) {
        let kind = match arch {
            Arch::X86_64 => elf::GNU_PROPERTY_X86_FEATURE_1_AND,
            Arch::Aarch64 => elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND,
        };
        let mut note = vec![];
        for word in [4, 16, elf::NT_GNU_PROPERTY_TYPE_0] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"GNU\0");
        for word in [kind, 4, bits, 0] {
            note.extend(word.to_le_bytes());
        }
        let section = self.section(".note.gnu.property", SectionKind::Note);
        *self.object.section_flags_mut(section) = SectionFlags::Elf {
            sh_flags: u64::from(elf::SHF_ALLOC),
        };
        self.object.set_section_data(section, note, 8);
    }
}

// Collects the object; where the zeros that stand for the weights come, the weights themselves are written.
struct Sink<'a> {
    bytes: Vec<u8>,
    zeros: &'a [u8],
    weights: &'a [(u64, bytes::Bytes)],
}

impl WritableBuffer for Sink<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }
    fn reserve(&mut self, size: usize) -> std::result::Result<(), ()> {
        self.bytes.try_reserve_exact(size).map_err(|_| ())
    }
    fn resize(&mut self, new_len: usize) {
        self.bytes.resize(new_len, 0);
    }
    fn write_bytes(&mut self, val: &[u8]) {
        if self.zeros.is_empty() || !std::ptr::eq(val, self.zeros) {
            return self.bytes.extend_from_slice(val);
        }
        let start = self.bytes.len();
        for (offset, chunk) in self.weights {
            let room = val.len().saturating_sub(*offset as usize);
            self.bytes.resize(start + val.len() - room, 0);
            self.bytes
                .extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        self.bytes.resize(start + val.len(), 0);
    }
}

/// What is wrong with an object that should be freestanding: undefined, weak or unprefixed symbols, writable sections,
/// relocations that need a GOT or patch data. Empty if nothing is.
pub fn audit(bytes: &[u8], prefix: &str) -> Vec<String> {
    use object::read::elf::ElfFile64;
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
    let file = match ElfFile64::<Endianness>::parse(bytes) {
        Ok(f) => f,
        Err(e) => return vec![format!("not an ELF object: {e}")],
    };
    let mut out = vec![];
    for s in file.symbols() {
        let name = s.name().unwrap_or("?");
        if s.is_undefined() {
            out.push(format!("{name} is undefined"));
        }
        if s.is_weak() {
            out.push(format!("{name} is weak"));
        }
        if s.is_global() && !name.starts_with(&format!("{prefix}_")) {
            out.push(format!("{name} does not begin with {prefix}_"));
        }
    }
    for s in file.sections() {
        let name = s.name().unwrap_or("?");
        let flags = match s.flags() {
            SectionFlags::Elf { sh_flags } => sh_flags,
            _ => 0,
        };
        if flags & u64::from(elf::SHF_WRITE) != 0 {
            out.push(format!("section {name} is writable"));
        }
        for (at, r) in s.relocations() {
            let RelocationFlags::Elf { r_type } = r.flags() else {
                continue;
            };
            let good: &[u32] = match file.architecture() {
                Architecture::X86_64 => &[elf::R_X86_64_PLT32, elf::R_X86_64_PC32],
                _ => &[
                    elf::R_AARCH64_CALL26,
                    elf::R_AARCH64_ADR_PREL_PG_HI21,
                    elf::R_AARCH64_ADD_ABS_LO12_NC,
                ],
            };
            if s.kind() != SectionKind::Text || !good.contains(&r_type) {
                out.push(format!("relocation {r_type} at {name}+{at:#x}"));
            }
        }
    }
    out
}
