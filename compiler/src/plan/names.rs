//! Names of layers.

/// `003_conv1_relu`: number, last part of the first ONNX node's name, operators; letters, digits and `_` only.
pub(super) fn layer_name(number: usize, ops: &[&str], nodes: &[String]) -> String {
    let clean = |s: &str| -> String {
        s.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect()
    };
    let node = nodes
        .first()
        .map(|n| n.rsplit(['/', ':']).next().unwrap_or(n))
        .unwrap_or("");
    let mut name = format!("{number:03}");
    for part in std::iter::once(node).chain(ops.iter().copied().take(6)) {
        let part = clean(part).to_lowercase();
        let part = part.trim_matches('_');
        // A node named after its operator needs no second mention.
        if !part.is_empty() && !name.split('_').any(|p| p == part) && name.len() + part.len() < 56 {
            name.push('_');
            name.push_str(part);
        }
    }
    name
}
