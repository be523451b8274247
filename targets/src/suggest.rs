//! Names closest to a misspelt one, for diagnostics.
//!
//! Deterministic: ties are kept in the order of the candidates. Never used to guess on the user's behalf.

use onnxc_compiler::base::diag::Diagnostic;

/// Number of single-character edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut d = (last[j] + usize::from(ca != cb))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *cb && b[j - 1] == *ca {
                d = d.min(before[j - 1] + 1);
            }
            row.push(d);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Up to three candidates that are close enough to `word` to have been meant.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // A flag can be as long as its user likes; nothing that long was a misspelt name.
    if word.len() > 64 {
        return Vec::new();
    }
    let limit = (word.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for c in candidates {
        let d = distance(word, c);
        if d <= limit && !found.iter().any(|(_, f)| *f == c) {
            found.push((d, c));
        }
    }
    found.sort_by_key(|(d, _)| *d); // stable
    found.into_iter().take(3).map(|(_, c)| c).collect()
}

/// A usage error about `word`, a `what` that is not known, with the closest candidates or else `otherwise` as the help.
pub fn unknown<'a>(
    what: &str,
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> Box<Diagnostic> {
    let near = closest(word, candidates);
    let help = match near.as_slice() {
        [] => otherwise.to_string(),
        names => format!(
            "did you mean {}?",
            names
                .iter()
                .map(|n| format!("`{n}`"))
                .collect::<Vec<_>>()
                .join(" or ")
        ),
    };
    Diagnostic::usage("USE003", format!("`{word}` is not a known {what}")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("avx2", "axv2"), 1);
    }

    #[test]
    fn closest_first() {
        assert_eq!(
            closest("hasswell", ["haswell", "broadwell", "skylake"]),
            ["haswell"]
        );
        assert!(closest("zebra", ["haswell"]).is_empty());
        assert!(closest(&"x".repeat(10_000), ["haswell"]).is_empty());
    }
}
