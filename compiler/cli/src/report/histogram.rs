//! Histograms as SVG inside of a page, two beside each other: heights are logarithms, and a range is marked.

use std::fmt::Write;

use super::{Bins, escape};

const WIDE: f64 = 470.0;
const TALL: f64 = 130.0;
const LEFT: f64 = 8.0;
const TOP: f64 = 20.0;
const HIGH: f64 = 88.0;

/// All of them.
pub fn histograms(out: &mut String, list: &[Bins]) {
    *out += "<div class=\"pairs\">\n";
    for b in list {
        one(out, b);
    }
    *out += "</div>\n";
}

fn one(out: &mut String, b: &Bins) {
    let title = escape(&b.title);
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDE} {TALL}\" width=\"{WIDE}\" role=\"img\" aria-label=\"{title}\">\n<text x=\"{LEFT}\" y=\"14\">{title}</text>"
    );
    let room = WIDE - 2.0 * LEFT;
    let wide = b.to - b.from;
    if b.from.is_finite() && b.to.is_finite() && wide > 0.0 {
        let place = |v: f64| LEFT + room * ((v - b.from) / wide).clamp(0.0, 1.0);
        let (lo, hi) = (b.marked.0.min(b.marked.1), b.marked.0.max(b.marked.1));
        if lo.is_finite() && hi.is_finite() {
            let (x, to) = (place(lo), place(hi));
            let _ = writeln!(
                out,
                "<rect class=\"range\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{HIGH}\"/>",
                to - x
            );
        }
        let most = b.counts.iter().copied().max().unwrap_or(0);
        let log = |n: u64| libm::log1p(n as f64);
        let each = room / b.counts.len().max(1) as f64;
        for (k, n) in b.counts.iter().enumerate().filter(|c| *c.1 > 0) {
            let high = HIGH * log(*n) / log(most);
            let _ = writeln!(
                out,
                "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{high:.2}\"/>",
                LEFT + k as f64 * each,
                TOP + HIGH - high,
                (each - 0.5).max(0.5)
            );
        }
        let y = TOP + HIGH + 14.0;
        for (v, anchor) in [(b.from, "start"), (b.to, "end")] {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"dim\">{}</text>",
                place(v),
                figure(v)
            );
        }
    }
    *out += "</svg>\n";
}

/// Three digits or so, of either sign.
fn figure(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if (0.01..10_000.0).contains(&a) => format!("{v:.3}"),
        _ => format!("{v:.2e}"),
    }
}
