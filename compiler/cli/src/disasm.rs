//! `--emit asm`: the machine code of an object as text, function by function.
//!
//! For people: addresses count from the start of the section, and calls that the linker fills in are named.

use std::collections::BTreeMap;
use std::fmt::Write;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind,
};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use yaxpeax_arch::{Decoder as _, U8Reader};

/// The listing of an ELF object.
pub fn listing(object: &[u8]) -> Result<String> {
    let broken =
        |e: object::Error| Diagnostic::internal(format!("the object can't be read back: {e}"));
    let file = object::File::parse(object).map_err(broken)?;
    let mut out = String::new();
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let code = section.data().map_err(broken)?;
        let mut labels: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
        for s in file.symbols() {
            let named = s.section_index() == Some(section.index()) && s.kind() == SymbolKind::Text;
            if let Ok(name) = s.name()
                && named
                && !name.is_empty()
            {
                labels
                    .entry(s.address())
                    .or_default()
                    .push((name.to_string(), s.size()));
            }
        }
        let mut targets: BTreeMap<u64, String> = BTreeMap::new();
        for (at, r) in section.relocations() {
            if let RelocationTarget::Symbol(i) = r.target()
                && let Ok(s) = file.symbol_by_index(i)
            {
                let section_name = || {
                    let i = s.section_index()?;
                    let section = file.section_by_index(i).ok()?;
                    section.name().ok().map(str::to_string)
                };
                let name = s.name().ok().filter(|n| !n.is_empty()).map(str::to_string);
                let name = name.or_else(section_name).unwrap_or_default();
                targets.insert(at, format!("{name}{:+#x}", r.addend()));
            }
        }
        let _ = writeln!(out, "; section {}", section.name().unwrap_or_default());
        let starts: Vec<u64> = labels.keys().copied().collect();
        for (k, start) in starts.iter().enumerate() {
            for (name, size) in &labels[start] {
                let _ = writeln!(out, "\n{name}: ; {size} bytes");
            }
            let sized = labels[start].iter().map(|l| l.1).max().unwrap_or(0);
            let next = starts.get(k + 1).copied().unwrap_or(code.len() as u64);
            let end = if sized == 0 {
                next
            } else {
                (start + sized).min(next)
            };
            let Some(bytes) = code.get(*start as usize..end as usize) else {
                continue;
            };
            match file.architecture() {
                Architecture::X86_64 => x86(bytes, *start, &targets, &mut out),
                _ => a64(bytes, *start, &targets, &mut out),
            }
        }
    }
    Ok(out)
}

fn line(out: &mut String, at: u64, text: &str, target: Option<&String>) {
    let _ = match target {
        Some(t) => writeln!(out, "{at:8x}  {text}  ; {t}"),
        None => writeln!(out, "{at:8x}  {text}"),
    };
}

fn x86(code: &[u8], base: u64, targets: &BTreeMap<u64, String>, out: &mut String) {
    let mut decoder = Decoder::with_ip(64, code, base, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_first_operand_char_index(8);
    let mut text = String::new();
    for i in &mut decoder {
        text.clear();
        formatter.format(&i, &mut text);
        let target = targets.range(i.ip()..i.next_ip()).next().map(|t| t.1);
        line(out, i.ip(), &text, target);
    }
}

fn a64(code: &[u8], base: u64, targets: &BTreeMap<u64, String>, out: &mut String) {
    let decoder = yaxpeax_arm::armv8::a64::InstDecoder::default();
    for (k, word) in code.chunks(4).enumerate() {
        let at = base + 4 * k as u64;
        let text = match decoder.decode(&mut U8Reader::new(word)) {
            Ok(i) => i.to_string(),
            Err(_) => {
                let hex: String = word.iter().rev().map(|b| format!("{b:02x}")).collect();
                format!(".inst 0x{hex}")
            }
        };
        line(out, at, &text, targets.get(&at));
    }
}
