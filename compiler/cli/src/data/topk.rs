//! Printing outputs: the best classes with their names, or the first elements.

use std::fmt::Write;
use std::path::Path;

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;

use crate::failure::file_error;

/// Names of classes, one a line.
pub fn labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    Ok(text.lines().map(|l| l.trim().to_string()).collect())
}

/// The `k` largest elements of a row, largest first; of equal ones the first.
pub fn top(row: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).filter(|i| !row[*i].is_nan()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
    order.truncate(k);
    order
}

/// The best classes of each row of a `[batch, classes]` output, if it can be one.
pub fn classes(t: &Tensor, labels: &[String], k: usize) -> Option<String> {
    let wide: Vec<i64> = t.shape.iter().copied().filter(|d| *d != 1).collect();
    let classes = match (t.shape.as_slice(), wide.as_slice()) {
        ([_, n], _) | (_, [n]) => *n,
        _ => return None,
    };
    if classes < 2 || (!labels.is_empty() && classes > labels.len() as i64 + 1) {
        return None;
    }
    let values = t.to_f64s()?;
    let mut out = String::new();
    let rows: Vec<&[f64]> = values.chunks(classes as usize).collect();
    for (r, row) in rows.iter().enumerate() {
        if rows.len() > 1 {
            let _ = writeln!(out, "row {r}");
        }
        for i in top(row, k) {
            let label = labels.get(i).map_or("", String::as_str);
            let _ = writeln!(out, "  {:>5}  {:<12} {label}", i, number(row[i]));
        }
    }
    Some(out)
}

/// The first elements.
pub fn sample(t: &Tensor, k: usize) -> String {
    let shown = t.len().min(k);
    let mut words: Vec<String> = if t.strings.is_empty() {
        (0..shown)
            .map(|i| match t.get_i64(i) {
                Some(n) => n.to_string(),
                None => t.get_f64(i).map_or("?".into(), number),
            })
            .collect()
    } else {
        t.strings[..shown]
            .iter()
            .map(|s| format!("{s:?}"))
            .collect()
    };
    if t.len() > shown {
        words.push("..".into());
    }
    words.join(" ")
}

/// Six significant digits.
pub fn number(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return format!("{v}");
    }
    let size = v.abs();
    if (1e-4..1e7).contains(&size) {
        let whole = if size >= 1.0 {
            size.trunc().to_string().len()
        } else {
            1
        };
        let text = format!("{v:.*}", 7usize.saturating_sub(whole).max(1));
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        format!("{v:.5e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_ties_in_order() {
        assert_eq!(top(&[1.0, 3.0, f64::NAN, 3.0, 2.0], 3), [1, 3, 4]);
        let t = Tensor::f32(&[1, 3], &[0.5, 0.25, 7.0]);
        let names = ["cat".to_string(), "dog".into(), "cow".into()];
        let text = classes(&t, &names, 2).unwrap();
        assert!(text.lines().next().unwrap().ends_with("cow"), "{text}");
        assert!(classes(&Tensor::f32(&[2, 2, 2], &[0.; 8]), &[], 2).is_none());
        assert_eq!(number(1234.5), "1234.5");
        assert_eq!(number(-2.5e-7), "-2.50000e-7");
    }
}
