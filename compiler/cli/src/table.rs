//! Plain text tables: columns as wide as they must be, numbers to the right.

/// Where a column's text lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        Table {
            columns: columns.iter().map(|(n, a)| (n.to_string(), *a)).collect(),
            rows: Vec::new(),
        }
    }
    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
    /// The text, cells cut to `widest` characters.
    pub fn text(&self, widest: usize) -> String {
        let cut = |s: &str| {
            if s.chars().count() <= widest {
                s.to_string()
            } else {
                let head: String = s.chars().take(widest.saturating_sub(2)).collect();
                head + ".."
            }
        };
        let header: Vec<String> = self.columns.iter().map(|c| c.0.clone()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(&header)
            .chain(&self.rows)
            .map(|r| r.iter().map(|c| cut(c)).collect())
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|k| {
                rows.iter()
                    .filter_map(|r| r.get(k))
                    .map(|c| c.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &rows {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                if !line.is_empty() {
                    line += "  ";
                }
                match align {
                    Align::Left => line += &(cell.clone() + &pad),
                    Align::Right => line += &(pad + cell),
                }
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

/// `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `14.1 MB`, in powers of ten.
pub fn bytes(n: u64) -> String {
    scaled(n, "B", 1000.0)
}

/// `602 M`.
pub fn count(n: u64) -> String {
    scaled(n, "", 1000.0)
}

fn scaled(n: u64, unit: &str, base: f64) -> String {
    let mut value = n as f64;
    let mut prefix = "";
    for p in ["k", "M", "G", "T"] {
        if value < base {
            break;
        }
        value /= base;
        prefix = p;
    }
    let digits = if prefix.is_empty() || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {prefix}{unit}")
        .trim_end()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        t.row(vec!["a".into(), "1,000".into()]);
        t.row(vec!["longer-than-wide".into(), "2".into()]);
        assert_eq!(
            t.text(8),
            "name          n\na         1,000\nlonger..      2\n"
        );
        assert_eq!(thousands(1234567), "1,234,567");
        assert_eq!(
            (bytes(999), bytes(14_090_000), count(602_000_000)),
            ("999 B".into(), "14.1 MB".into(), "602 M".into())
        );
    }
}
