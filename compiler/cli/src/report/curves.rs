//! Lines over shares as SVG inside of a page. Points that are not finite are left out.

use std::fmt::Write;

use super::chart::short;
use super::{Curves, escape};

const WIDE: f64 = 960.0;
const TALL: f64 = 380.0;
/// Curves that are named below the picture, at most; of more no colour could be told from the next.
const NAMED: usize = 12;
/// Names in a row.
const IN_ROW: usize = 3;

/// All lines in one picture; names show where the pointer rests, and below where they are few.
pub fn curves(out: &mut String, c: &Curves) {
    let good = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let values = c.curves.iter().flat_map(|c| c.1.iter().filter(good));
    let (lo, hi) = values.fold((0.0f64, 1.0f64), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let (left, top, room, high) = (50.0, 26.0, WIDE - 84.0, TALL - 60.0);
    let named = c.curves.len() <= NAMED;
    let tall = match named {
        true => TALL + 18.0 * c.curves.len().div_ceil(IN_ROW) as f64,
        false => TALL,
    };
    let x = |share: f64| left + room * share.clamp(0.0, 1.0);
    let y = |v: f64| top + high * (1.0 - (v - lo) / (hi - lo));
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDE} {tall}\" width=\"{WIDE}\" role=\"img\" aria-label=\"{0}\">\n<text x=\"{left}\" y=\"14\" class=\"dim\">{0}</text>",
        escape(&c.title)
    );
    for k in 0..=5 {
        let v = lo + (hi - lo) * f64::from(k) / 5.0;
        let at = y(v);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"dim\">{v:.0}</text>",
            left + room,
            left - 6.0,
            at + 4.0
        );
        let share = f64::from(k) / 5.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"dim\">{:.0} %</text>",
            x(share),
            top + high + 18.0,
            100.0 * share
        );
    }
    for (k, (name, points)) in c.curves.iter().enumerate() {
        let mut path = String::new();
        for (i, p) in points.iter().filter(good).enumerate() {
            let step = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(p.0), y(p.1));
        }
        // From the first layer to the last: from blue to red.
        let hue = 220.0 + 140.0 * k as f64 / (c.curves.len().max(2) - 1) as f64;
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"hsl({hue:.0},60%,50%)\" stroke-width=\"1.6\" stroke-opacity=\".8\"><title>{}</title></path>",
            escape(name)
        );
        if named {
            let at = left + room / IN_ROW as f64 * (k % IN_ROW) as f64;
            let line = TALL + 18.0 * (k / IN_ROW) as f64;
            let _ = writeln!(
                out,
                "<path d=\"M{at:.1} {:.1}h22\" stroke=\"hsl({hue:.0},60%,50%)\" stroke-width=\"3\"/><text x=\"{:.1}\" y=\"{line:.1}\">{}</text>",
                line - 4.0,
                at + 28.0,
                escape(&short(name, 38))
            );
        }
    }
    *out += "</svg></div>\n";
}
