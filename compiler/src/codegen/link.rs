//! Lays an object of ours out in memory and applies its relocations: what a linker does, for objects without undefined symbols.
//!
//! Used to run an object in process and to write static executables. It writes into memory that the caller gives and touches
//! nothing else; whatever it can't do is an error.

use crate::base::diag::{Diagnostic, Result};
use object::read::elf::ElfFile64;
use object::{
    Architecture, Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget, SectionFlags, SectionIndex, SymbolKind, elf,
};
use std::ops::Range;

/// A function or a table of an object.
pub struct Placed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it lies in the image.
    pub at: usize,
    /// Its bytes.
    pub size: usize,
    /// Whether other objects may refer to it.
    pub global: bool,
}

/// An object and where its sections go.
pub struct Image<'a> {
    file: ElfFile64<'a, Endianness>,
    places: Vec<(SectionIndex, usize)>,
    exec: usize,
    size: usize,
}

fn bad(what: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::internal(format!("laying out the object: {what}"))
}

impl<'a> Image<'a> {
    /// Plans the layout: executable sections first, then, from a multiple of `page` on, those that are only read.
    pub fn new(object: &'a [u8], page: usize) -> Result<Image<'a>> {
        let file = ElfFile64::parse(object).map_err(bad)?;
        let mut places = vec![];
        let mut at = 0usize;
        let mut exec = 0;
        for code in [true, false] {
            for s in file.sections() {
                let SectionFlags::Elf { sh_flags } = s.flags() else {
                    continue;
                };
                let has = |f: u32| sh_flags & u64::from(f) != 0;
                if !has(elf::SHF_ALLOC) || has(elf::SHF_EXECINSTR) != code {
                    continue;
                }
                if has(elf::SHF_WRITE) {
                    return Err(bad("a section is writable"));
                }
                let align = usize::try_from(s.align().max(1)).map_err(bad)?;
                at = at
                    .checked_next_multiple_of(align.min(page))
                    .ok_or_else(|| bad("too large"))?;
                places.push((s.index(), at));
                let size = usize::try_from(s.size()).map_err(bad)?;
                at = at.checked_add(size).ok_or_else(|| bad("too large"))?;
            }
            at = at
                .checked_next_multiple_of(page)
                .ok_or_else(|| bad("too large"))?;
            if code {
                exec = at;
            }
        }
        Ok(Image {
            file,
            places,
            exec,
            size: at,
        })
    }
    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.size
    }
    /// The part that is executed; the rest is read.
    pub fn exec(&self) -> Range<usize> {
        0..self.exec
    }
    /// Whether it is for this architecture.
    pub fn is_for(&self, arch: crate::target::Arch) -> bool {
        match arch {
            crate::target::Arch::X86_64 => self.file.architecture() == Architecture::X86_64,
            crate::target::Arch::Aarch64 => self.file.architecture() == Architecture::Aarch64,
        }
    }
    /// Offset and size of a symbol.
    pub fn symbol(&self, name: &str) -> Option<(usize, usize)> {
        let s = self.file.symbols().find(|s| s.name() == Ok(name))?;
        let section = self.place_of(s.section_index()?)?;
        let at = section.checked_add(usize::try_from(s.address()).ok()?)?;
        Some((at, usize::try_from(s.size()).ok()?))
    }
    /// All named functions and tables.
    pub fn symbols(&self) -> impl Iterator<Item = Placed<'_>> {
        self.file.symbols().filter_map(|s| {
            let named = matches!(s.kind(), SymbolKind::Text | SymbolKind::Data);
            let section = self.place_of(s.section_index()?)?;
            Some(Placed {
                name: s.name().ok().filter(|n| named && !n.is_empty())?,
                at: section.checked_add(usize::try_from(s.address()).ok()?)?,
                size: usize::try_from(s.size()).ok()?,
                global: s.is_global(),
            })
        })
    }
    fn place_of(&self, section: SectionIndex) -> Option<usize> {
        self.places
            .iter()
            .find(|(i, _)| *i == section)
            .map(|(_, at)| *at)
    }
    /// Writes the image, as it must look at address `base`, into `out`, which is [`Image::size`] bytes of zeros.
    pub fn write(&self, base: u64, out: &mut [u8]) -> Result<()> {
        for (index, at) in &self.places {
            let section = self.file.section_by_index(*index).map_err(bad)?;
            let data = section.data().map_err(bad)?;
            out.get_mut(*at..*at + data.len())
                .ok_or_else(|| bad("a section leaves the image"))?
                .copy_from_slice(data);
            for (offset, r) in section.relocations() {
                let RelocationFlags::Elf { r_type } = r.flags() else {
                    return Err(bad("a relocation of unknown kind"));
                };
                let RelocationTarget::Symbol(symbol) = r.target() else {
                    return Err(bad("a relocation without symbol"));
                };
                let symbol = self.file.symbol_by_index(symbol).map_err(bad)?;
                let target = symbol
                    .section_index()
                    .and_then(|s| self.place_of(s))
                    .ok_or_else(|| bad(format!("{} is undefined", symbol.name().unwrap_or("?"))))?;
                let s = base
                    .wrapping_add(target as u64)
                    .wrapping_add(symbol.address())
                    .wrapping_add_signed(r.addend());
                let field = at
                    .checked_add(usize::try_from(offset).map_err(bad)?)
                    .ok_or_else(|| bad("a relocation leaves the image"))?;
                let p = base.wrapping_add(field as u64);
                let bytes = out
                    .get_mut(field..)
                    .ok_or_else(|| bad("a relocation leaves the image"))?;
                relocate(self.file.architecture(), r_type, s, p, bytes)?;
            }
        }
        Ok(())
    }
}

// Applies one relocation: `s` is symbol + addend, `p` the address of the field.
fn relocate(arch: Architecture, kind: u32, s: u64, p: u64, field: &mut [u8]) -> Result<()> {
    let short = || bad("a relocation leaves the image");
    let far = || bad("a relocation does not reach its target");
    let distance = s.wrapping_sub(p) as i64;
    let x86 = arch == Architecture::X86_64;
    if kind
        == if x86 {
            elf::R_X86_64_64
        } else {
            elf::R_AARCH64_ABS64
        }
    {
        let field = field.first_chunk_mut::<8>().ok_or_else(short)?;
        *field = s.to_le_bytes();
        return Ok(());
    }
    let field = field.first_chunk_mut::<4>().ok_or_else(short)?;
    let old = u32::from_le_bytes(*field);
    let new = match (x86, kind) {
        (true, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32) | (false, elf::R_AARCH64_PREL32) => {
            i32::try_from(distance).map_err(|_| far())? as u32
        }
        (false, elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26) => {
            let words = distance >> 2;
            if !(-(1 << 25)..1 << 25).contains(&words) {
                return Err(far());
            }
            old & 0xfc00_0000 | (words as u32 & 0x03ff_ffff)
        }
        (false, elf::R_AARCH64_ADR_PREL_PG_HI21) => {
            let pages = ((s & !0xfff).wrapping_sub(p & !0xfff) as i64) >> 12;
            if !(-(1 << 20)..1 << 20).contains(&pages) {
                return Err(far());
            }
            let pages = pages as u32;
            old & 0x9f00_001f | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5
        }
        (false, elf::R_AARCH64_ADD_ABS_LO12_NC) => old & 0xffc0_03ff | (s as u32 & 0xfff) << 10,
        _ => return Err(bad(format!("relocation type {kind}"))),
    };
    *field = new.to_le_bytes();
    Ok(())
}
