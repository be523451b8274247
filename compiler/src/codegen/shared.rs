//! A shared library out of an object, without a linker: for programs that load models when they run.
//!
//! The object refers to nothing outside of it and holds no address, so there is nothing for a loader to relocate. What is added is what
//! loaders and linkers look for: a table of the global symbols, a hash table over it, and section headers. Code and data stay read-only; the
//! one writable page is the dynamic section, which older loaders write to, and which is read-only once they are done.

use super::link::Image;
use crate::base::diag::{Diagnostic, Result};
use object::elf;

/// Bytes of an ELF header, a program header, a section header, a symbol, an entry of the dynamic section.
const EHDR: usize = 64;
const PHDR: usize = 56;
const SHDR: usize = 64;
const SYM: usize = 24;
const DYN: usize = 16;

/// Program headers: head, code, data, dynamic section as memory and as itself, what becomes read-only, the stack.
const SEGMENTS: usize = 7;

// Numbers of sections, in the order of their headers.
const DYNSYM: u32 = 2;
const DYNSTR: u32 = 3;
const TEXT: u16 = 4;
const RODATA: u16 = 5;
const STRTAB: u32 = 8;

/// The library's bytes. `name` is what programs that are linked with it ask for, such as `libdigits.so`.
pub fn shared(object: &[u8], name: &str) -> Result<Vec<u8>> {
    let arm = Image::new(object, 1)?.is_for(crate::target::Arch::Aarch64);
    // The largest page of kernels for the machine.
    let page: usize = if arm { 1 << 16 } else { 1 << 12 };
    let image = Image::new(object, page)?;
    let at = |offset: usize| (page + offset) as u64;

    let mut exported = Table::default();
    let mut all = Table::default();
    // Tables begin with the local symbols.
    for global in [false, true] {
        for s in image.symbols().filter(|s| s.global == global) {
            let section = if image.exec().contains(&s.at) {
                TEXT
            } else {
                RODATA
            };
            all.add(s.name, global, section, at(s.at), s.size);
            if global {
                exported.add(s.name, global, section, at(s.at), s.size);
            }
        }
    }
    let soname = exported.strings.add(name);

    // Everything in front of the image.
    let mut out = vec![0; EHDR + SEGMENTS * PHDR];
    let hash = append(&mut out, &hash_table(exported.count()));
    let dynsym = append(&mut out, &exported.symbols);
    let dynstr = append(&mut out, &exported.strings.bytes);
    let head = out.len();
    if head > page {
        return Err(Diagnostic::limit(
            "ONNX006",
            "names too long for a shared library",
        ));
    }
    out.resize(page + image.size(), 0);
    image.write(page as u64, &mut out[page..])?;

    let dynamic = out.len();
    for (tag, value) in [
        (elf::DT_SONAME, soname as usize),
        (elf::DT_HASH, hash),
        (elf::DT_STRTAB, dynstr),
        (elf::DT_SYMTAB, dynsym),
        (elf::DT_STRSZ, exported.strings.bytes.len()),
        (elf::DT_SYMENT, SYM),
        (elf::DT_NULL, 0),
    ] {
        out.extend((tag as u64).to_le_bytes());
        out.extend((value as u64).to_le_bytes());
    }
    let dynamic_len = out.len() - dynamic;

    // What no loader reads.
    let symtab = append(&mut out, &all.symbols);
    let strtab = append(&mut out, &all.strings.bytes);
    let mut names = Strings::default();
    let exec = image.exec().end;
    let rest = image.size() - exec;
    let [alloc, code, write] = [
        elf::SHF_ALLOC,
        elf::SHF_ALLOC | elf::SHF_EXECINSTR,
        elf::SHF_ALLOC | elf::SHF_WRITE,
    ];
    let hash_len = 4 * (4 + exported.count());
    let strings_len = exported.strings.bytes.len();
    // Name, type, flags, offset, bytes, link, info, alignment, bytes of an entry.
    let mut sections = vec![
        (
            ".hash",
            elf::SHT_HASH,
            alloc,
            hash,
            hash_len,
            DYNSYM,
            0,
            8,
            4,
        ),
        (
            ".dynsym",
            elf::SHT_DYNSYM,
            alloc,
            dynsym,
            exported.symbols.len(),
            DYNSTR,
            1,
            8,
            SYM,
        ),
        (
            ".dynstr",
            elf::SHT_STRTAB,
            alloc,
            dynstr,
            strings_len,
            0,
            0,
            1,
            0,
        ),
        (".text", elf::SHT_PROGBITS, code, page, exec, 0, 0, page, 0),
        (
            ".rodata",
            elf::SHT_PROGBITS,
            alloc,
            page + exec,
            rest,
            0,
            0,
            page,
            0,
        ),
        (
            ".dynamic",
            elf::SHT_DYNAMIC,
            write,
            dynamic,
            dynamic_len,
            DYNSTR,
            0,
            8,
            DYN,
        ),
        (
            ".symtab",
            elf::SHT_SYMTAB,
            0,
            symtab,
            all.symbols.len(),
            STRTAB,
            all.locals,
            8,
            SYM,
        ),
        (
            ".strtab",
            elf::SHT_STRTAB,
            0,
            strtab,
            all.strings.bytes.len(),
            0,
            0,
            1,
            0,
        ),
    ];
    let labels: Vec<u32> = sections.iter().map(|s| names.add(s.0)).collect();
    let own = names.add(".shstrtab");
    let shstrtab = append(&mut out, &names.bytes);
    sections.push((
        ".shstrtab",
        elf::SHT_STRTAB,
        0,
        shstrtab,
        names.bytes.len(),
        0,
        0,
        1,
        0,
    ));
    let headers = append(&mut out, &[0; SHDR]);
    for (s, label) in sections.iter().zip(labels.into_iter().chain([own])) {
        let address = if s.2 == 0 { 0 } else { s.3 };
        out.extend(label.to_le_bytes());
        out.extend(s.1.to_le_bytes());
        for word in [s.2 as usize, address, s.3, s.4] {
            out.extend((word as u64).to_le_bytes());
        }
        out.extend(s.5.to_le_bytes());
        out.extend(s.6.to_le_bytes());
        out.extend((s.7 as u64).to_le_bytes());
        out.extend((s.8 as u64).to_le_bytes());
    }

    let mut h: Vec<u8> = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    h.extend(elf::ET_DYN.to_le_bytes());
    h.extend(if arm { elf::EM_AARCH64 } else { elf::EM_X86_64 }.to_le_bytes());
    h.extend(1u32.to_le_bytes());
    for word in [0, EHDR, headers] {
        h.extend((word as u64).to_le_bytes());
    }
    h.extend(0u32.to_le_bytes());
    let sizes = [
        EHDR,
        PHDR,
        SEGMENTS,
        SHDR,
        sections.len() + 1,
        sections.len(),
    ];
    for half in sizes {
        h.extend((half as u16).to_le_bytes());
    }
    let [r, w, x] = [elf::PF_R, elf::PF_W, elf::PF_X];
    for (kind, flags, at, in_file, in_memory, align) in [
        (elf::PT_LOAD, r, 0, head, head, page),
        (elf::PT_LOAD, r | x, page, exec, exec, page),
        (elf::PT_LOAD, r, page + exec, rest, rest, page),
        (elf::PT_LOAD, r | w, dynamic, dynamic_len, page, page),
        (elf::PT_DYNAMIC, r | w, dynamic, dynamic_len, dynamic_len, 8),
        (elf::PT_GNU_RELRO, r, dynamic, dynamic_len, page, 1),
        (elf::PT_GNU_STACK, r | w, 0, 0, 0, 16),
    ] {
        h.extend(kind.to_le_bytes());
        h.extend(flags.to_le_bytes());
        for word in [at, at, at, in_file, in_memory, align] {
            h.extend((word as u64).to_le_bytes());
        }
    }
    out[..h.len()].copy_from_slice(&h);
    Ok(out)
}

/// Appends at a multiple of 8; the answer is where.
fn append(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(bytes);
    out.len() - bytes.len()
}

/// One bucket, and a chain through all symbols: there are two.
fn hash_table(count: usize) -> Vec<u8> {
    let chain = (0..count).map(|i| if i == 0 || i + 1 == count { 0 } else { i + 1 });
    let words = [1, count, usize::from(count > 1)].into_iter().chain(chain);
    words.flat_map(|w| (w as u32).to_le_bytes()).collect()
}

/// Names, each behind a zero.
struct Strings {
    bytes: Vec<u8>,
}

impl Default for Strings {
    fn default() -> Strings {
        Strings { bytes: vec![0] }
    }
}

impl Strings {
    fn add(&mut self, name: &str) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        at
    }
}

/// A symbol table, the null symbol in front.
struct Table {
    symbols: Vec<u8>,
    strings: Strings,
    /// Symbols in front of the first global one.
    locals: u32,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            symbols: vec![0; SYM],
            strings: Strings::default(),
            locals: 1,
        }
    }
}

impl Table {
    fn add(&mut self, name: &str, global: bool, section: u16, at: u64, size: usize) {
        let kind = match section {
            TEXT => elf::STT_FUNC,
            _ => elf::STT_OBJECT,
        };
        let bind = match global {
            true => elf::STB_GLOBAL,
            false => elf::STB_LOCAL,
        };
        self.locals += u32::from(!global);
        let label = self.strings.add(name);
        self.symbols.extend(label.to_le_bytes());
        self.symbols.extend([bind << 4 | kind, elf::STV_DEFAULT]);
        self.symbols.extend(section.to_le_bytes());
        self.symbols.extend(at.to_le_bytes());
        self.symbols.extend((size as u64).to_le_bytes());
    }
    fn count(&self) -> usize {
        self.symbols.len() / SYM
    }
}
