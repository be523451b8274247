//! What instructions an object holds, function by function.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use onnxc_compiler::target::Arch;
use onnxc_targets::audit::audit;
use onnxc_targets::features::FeatureSet;

/// Every instruction of an object outside the declared features, every trap, every jump to an unknown place; and a
/// complaint if the object has no function at all, since then nothing was looked at.
pub fn outside(object: &[u8], arch: Arch, features: FeatureSet) -> Vec<String> {
    outside_of(object, arch, features, &|_| true)
}

/// The same of the functions whose symbol `belongs`.
pub fn outside_of(
    object: &[u8],
    arch: Arch,
    features: FeatureSet,
    belongs: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let file = match object::File::parse(object) {
        Ok(f) => f,
        Err(e) => return vec![format!("not an object: {e}")],
    };
    let mut out = Vec::new();
    let mut functions = 0;
    for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text) {
        let name = symbol.name().unwrap_or("?");
        if !belongs(name) {
            continue;
        }
        let section = symbol
            .section_index()
            .and_then(|i| file.section_by_index(i).ok());
        let code = section.and_then(|s| {
            let from = usize::try_from(symbol.address().checked_sub(s.address())?).ok()?;
            let to = from.checked_add(usize::try_from(symbol.size()).ok()?)?;
            s.data().ok()?.get(from..to)
        });
        match code {
            Some(code) if !code.is_empty() => {
                functions += 1;
                let found = audit(code, arch, features);
                let line = |f: onnxc_targets::audit::Finding| {
                    format!("{name}+{:#x}: {}: {}", f.offset, f.text, f.why)
                };
                out.extend(found.into_iter().map(line));
            }
            _ => out.push(format!("{name} has no code")),
        }
    }
    if functions == 0 {
        out.push("no function".to_string());
    }
    out
}
