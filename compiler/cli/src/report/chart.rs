//! Charts as SVG inside of a page.
//!
//! Numbers that are not finite, or not above 0 on a logarithmic axis, are left out rather than drawn somewhere.

use std::fmt::Write;

use super::{Bars, Roof, escape};

const WIDE: f64 = 960.0;

/// A bar for each item, its marked part in another colour.
pub fn bars(out: &mut String, b: &Bars) {
    let (left, right, high) = (300.0, 90.0, 18.0);
    let room = WIDE - left - right;
    let good = |v: f64| if v.is_finite() { v.max(0.0) } else { 0.0 };
    let longest = b.bars.iter().map(|x| good(x.1)).fold(0.0, f64::max);
    let scale = if longest > 0.0 { room / longest } else { 0.0 };
    let tall = b.bars.len() as f64 * high + 26.0;
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDE} {tall}\" width=\"{WIDE}\" role=\"img\" aria-label=\"{0}\">\n<text x=\"{left}\" y=\"14\" class=\"dim\">{0}</text>",
        escape(&b.title)
    );
    for (k, (name, value, part)) in b.bars.iter().enumerate() {
        let (value, y) = (good(*value), 22.0 + k as f64 * high);
        let long = value * scale;
        let marked = long * good(*part).min(1.0);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar\" x=\"{left}\" y=\"{y:.1}\" width=\"{long:.2}\" height=\"{:.1}\"/>\
             <rect class=\"mark\" x=\"{left}\" y=\"{y:.1}\" width=\"{marked:.2}\" height=\"{:.1}\"/>\
             <text x=\"{:.2}\" y=\"{:.1}\" class=\"dim\">{}</text>",
            left - 6.0,
            y + 12.0,
            escape(&short(name, 44)),
            high - 4.0,
            high - 4.0,
            left + long + 5.0,
            y + 12.0,
            figure(value)
        );
    }
    *out += "</svg></div>\n";
}

/// At most so many characters.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most - 2).collect::<String>() + ".."
}

/// Three digits or so.
fn figure(v: f64) -> String {
    match v {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A logarithmic axis: from and to in powers of ten, on a length.
struct Axis {
    from: f64,
    to: f64,
    at: f64,
    long: f64,
}

impl Axis {
    /// For values above 0.
    fn of(values: impl Iterator<Item = f64>, at: f64, long: f64) -> Axis {
        let good = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .map(libm::log10);
        let (lo, hi) = good.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let (lo, hi) = if lo <= hi { (lo, hi) } else { (0.0, 1.0) };
        Axis {
            from: lo.floor(),
            to: hi.ceil().max(lo.floor() + 1.0),
            at,
            long,
        }
    }
    fn place(&self, v: f64) -> f64 {
        let part = (libm::log10(v) - self.from) / (self.to - self.from);
        self.at + self.long * part
    }
    fn powers(&self) -> impl Iterator<Item = f64> {
        let (from, to) = (self.from as i32, self.to as i32);
        (from..=to).map(|p| libm::pow(10.0, f64::from(p)))
    }
    fn ends(&self) -> (f64, f64) {
        (libm::pow(10.0, self.from), libm::pow(10.0, self.to))
    }
}

/// Colours of points, in the style of the page.
const KINDS: usize = 6;
/// Dashes of slopes, there as well.
const DASHES: usize = 4;

/// Points below a roof.
pub fn roof(out: &mut String, r: &Roof) {
    let tall = 460.0;
    let (left, bottom, room, high) = (64.0, tall - 44.0, WIDE - 90.0, tall - 70.0);
    let good = |v: &f64| v.is_finite() && *v > 0.0;
    let points: Vec<_> = r
        .points
        .iter()
        .filter(|p| good(&p.intensity) && good(&p.speed))
        .collect();
    let peaks: Vec<_> = (r.peaks.iter().enumerate())
        .filter(|(_, p)| good(&p.1))
        .collect();
    let top = peaks.iter().map(|(_, p)| p.1).fold(0.0, f64::max);
    let slopes: Vec<_> = r.slopes.iter().filter(|s| good(&s.1)).collect();
    let ridges = slopes.iter().map(|s| top / s.1);
    let x = Axis::of(points.iter().map(|p| p.intensity).chain(ridges), left, room);
    let y = Axis::of(
        points
            .iter()
            .map(|p| p.speed)
            .chain(peaks.iter().map(|(_, p)| p.1)),
        bottom,
        -high,
    );
    let _ = writeln!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDE} {tall}\" width=\"{WIDE}\" role=\"img\" aria-label=\"Roofline\">"
    );
    for v in x.powers() {
        let at = x.place(v);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"dim\">{v}</text>",
            bottom - high,
            bottom + 16.0
        );
    }
    for v in y.powers() {
        let at = y.place(v);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"dim\">{v}</text>",
            left + room,
            left - 6.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"16\" class=\"dim\">GOP/s</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"dim\">operations per byte</text>",
        left + room,
        tall - 8.0
    );
    let (first, last) = x.ends();
    let (floor, _) = y.ends();
    let steepest = slopes.iter().map(|s| s.1).fold(0.0, f64::max);
    // Roofs and slopes lie close together: they are named in the corner below all of them, and slopes differ in their dashes.
    let high = 16.0;
    let mut line = bottom - 10.0 - high * (peaks.len() + slopes.len()).max(1) as f64;
    let at = left + room - 300.0;
    for &(k, (name, peak)) in &peaks {
        let begin = match steepest > 0.0 {
            true => x.place((peak / steepest).clamp(first, last)),
            false => left,
        };
        line += high;
        let _ = writeln!(
            out,
            "<path class=\"roof\" d=\"M{begin:.1} {1:.1}L{2:.1} {1:.1}\"/><circle class=\"point k{0}\" cx=\"{3:.1}\" cy=\"{4:.1}\" r=\"4.5\"/><text x=\"{5:.1}\" y=\"{line:.1}\" class=\"dim\">{6} {7}</text>",
            k % KINDS,
            y.place(*peak),
            x.place(last),
            at + 18.0,
            line - 4.0,
            at + 44.0,
            escape(name),
            figure(*peak)
        );
    }
    for (k, (name, speed)) in slopes.into_iter().enumerate().filter(|_| top > 0.0) {
        let ridge = (top / speed).clamp(first, last);
        let begin = (floor / speed).clamp(first, last);
        let height = |at: f64| y.place((at * speed).min(top).max(floor));
        let dash = k % DASHES;
        line += high;
        let _ = writeln!(
            out,
            "<path class=\"roof s{dash}\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/><path class=\"roof s{dash}\" d=\"M{at:.1} {:.1}h36\"/><text x=\"{:.1}\" y=\"{line:.1}\" class=\"dim\">{} {} GB/s</text>",
            x.place(begin),
            height(begin),
            x.place(ridge),
            height(ridge),
            line - 4.0,
            at + 44.0,
            escape(name),
            figure(*speed)
        );
    }
    for p in points {
        let kind = p.peak.map_or(String::new(), |k| format!(" k{}", k % KINDS));
        let _ = writeln!(
            out,
            "<g><title>{}: {} GOP/s</title><circle class=\"point{kind}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"/></g>",
            escape(&p.name),
            figure(p.speed),
            x.place(p.intensity),
            y.place(p.speed)
        );
    }
    *out += "</svg></div>\n";
}
