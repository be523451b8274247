//! Static libraries: the `ar` format with a symbol table, as `ld`, `lld` and `gold` read it.
//!
//! Deterministic: no times, owners or rights of files (what `ar D` writes). Contract: `archive(members)` for members
//! that are ELF objects gives an archive whose symbol table lists every global definition, in the order of the members.
//! Sources: System V ABI, chapter 7; the GNU form of long names.

use crate::base::diag::{Diagnostic, Result};
use object::read::{Object, ObjectSymbol};

const MAGIC: &[u8] = b"!<arch>\n";
/// Bytes of a member's header.
const HEADER: usize = 60;

/// An archive of named objects.
pub fn archive(members: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let too_large = || {
        Diagnostic::limit("ONNX006", "an archive holds less than 4 GiB")
            .help("keep the weights in a file: --weights file")
    };
    // Names end with a slash; those longer than 15 bytes stand in a member of their own.
    let mut long_names = Vec::new();
    let mut names = Vec::new();
    for (name, _) in members {
        if name.len() <= 15 && !name.contains('/') {
            names.push(format!("{name}/"));
        } else {
            names.push(format!("/{}", long_names.len()));
            long_names.extend(name.replace('/', "_").bytes());
            long_names.extend(b"/\n");
        }
    }
    let mut symbols: Vec<(usize, String)> = Vec::new();
    for (k, (name, data)) in members.iter().enumerate() {
        let file = object::File::parse(*data).map_err(|e| {
            Diagnostic::internal(format!("the object `{name}` can't be read back: {e}"))
        })?;
        for s in file.symbols() {
            if s.is_global()
                && s.is_definition()
                && let Ok(text) = s.name()
            {
                symbols.push((k, text.to_string()));
            }
        }
    }
    let strings: usize = symbols.iter().map(|(_, s)| s.len() + 1).sum();
    let table = 4 + 4 * symbols.len() + strings;
    let even = |n: usize| n.next_multiple_of(2);
    let mut at = MAGIC.len() + HEADER + even(table);
    if !long_names.is_empty() {
        at += HEADER + even(long_names.len());
    }
    let mut offsets = Vec::new();
    for (_, data) in members {
        offsets.push(u32::try_from(at).map_err(|_| too_large())?);
        at += HEADER + even(data.len());
    }

    let mut out = Vec::with_capacity(at);
    out.extend(MAGIC);
    let count = u32::try_from(symbols.len()).map_err(|_| too_large())?;
    let mut body = count.to_be_bytes().to_vec();
    for (k, _) in &symbols {
        body.extend(offsets[*k].to_be_bytes());
    }
    for (_, s) in &symbols {
        body.extend(s.bytes());
        body.push(0);
    }
    member(&mut out, "/", &body);
    if !long_names.is_empty() {
        member(&mut out, "//", &long_names);
    }
    for (name, (_, data)) in names.iter().zip(members) {
        member(&mut out, name, data);
    }
    Ok(out)
}

fn member(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let (date, owner, group, mode) = (0, 0, 0, "644");
    let size = data.len();
    out.extend(format!("{name:<16}{date:<12}{owner:<6}{group:<6}{mode:<8}{size:<10}`\n").bytes());
    out.extend(data);
    if !size.is_multiple_of(2) {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::archive::ArchiveFile;
    use object::write::{Object as Writer, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    };

    fn elf(names: &[&str]) -> Vec<u8> {
        let mut o = Writer::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let text = o.add_section(vec![], b".text".to_vec(), SectionKind::Text);
        o.append_section_data(text, &[0xc3], 1);
        for n in names {
            o.add_symbol(Symbol {
                name: n.as_bytes().to_vec(),
                value: 0,
                size: 1,
                kind: SymbolKind::Text,
                scope: match n.starts_with('_') {
                    true => SymbolScope::Compilation,
                    false => SymbolScope::Linkage,
                },
                weak: false,
                section: SymbolSection::Section(text),
                flags: SymbolFlags::None,
            });
        }
        o.write().unwrap()
    }

    #[test]
    fn read_back_with_symbols() {
        let (a, b) = (elf(&["a_run", "_hidden"]), elf(&["b_run"]));
        let long = "a_name_longer_than_fifteen.o";
        let members = [("a.o", a.as_slice()), (long, b.as_slice())];
        let bytes = archive(&members).unwrap();
        assert_eq!(bytes, archive(&members).unwrap());
        let ar = ArchiveFile::parse(bytes.as_slice()).unwrap();
        for (member, (name, data)) in ar.members().zip(members) {
            let member = member.unwrap();
            assert_eq!(member.name(), name.as_bytes());
            assert_eq!(member.data(bytes.as_slice()).unwrap(), data);
        }
        let symbols: Vec<String> = ar
            .symbols()
            .unwrap()
            .unwrap()
            .map(|s| String::from_utf8_lossy(s.unwrap().name()).into_owned())
            .collect();
        assert_eq!(symbols, ["a_run", "b_run"]);
        assert!(archive(&[("x.o", b"no object")]).is_err());
    }
}
