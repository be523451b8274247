//! The dependency file that `-MD` asks for: which files went into an output, in make's syntax.
//!
//! It is the one artifact that holds paths, and it holds them as the caller wrote them.

/// One rule `targets: prerequisites`, and with `phony` an empty rule for each prerequisite but the first (the model), so
/// that a deleted file does not stop make (gcc's `-MP`).
pub fn depfile(targets: &[&str], prerequisites: &[&str], phony: bool) -> String {
    let words = |list: &[&str]| list.iter().map(|p| escape(p)).collect::<Vec<_>>();
    let mut out = format!("{}:", words(targets).join(" "));
    for p in words(prerequisites) {
        out.push_str(" \\\n  ");
        out.push_str(&p);
    }
    out.push('\n');
    if phony {
        for p in words(prerequisites.get(1..).unwrap_or_default()) {
            out.push_str(&format!("\n{p}:\n"));
        }
    }
    out
}

// As gcc does: backslash before blanks (and double the backslashes just before them) and before '#', and '$$'. Make has
// no way to write a line break in a name.
fn escape(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        match c {
            ' ' | '\t' => {
                let slashes = out.len() - out.trim_end_matches('\\').len();
                out.extend(std::iter::repeat_n('\\', slashes + 1));
            }
            '#' => out.push('\\'),
            '$' => out.push('$'),
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert_eq!(
            depfile(&["out dir/m.o", "m.h"], &["m.onnx", "a$b#c.bin"], true),
            "out\\ dir/m.o m.h: \\\n  m.onnx \\\n  a$$b\\#c.bin\n\na$$b\\#c.bin:\n"
        );
        assert_eq!(escape("a\\ b"), "a\\\\\\ b");
    }
}
