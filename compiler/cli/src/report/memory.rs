//! Pictures that scroll and are magnified in steps, without a script; and what lies where in a memory, over time, as one of them.
//!
//! Steps of magnification are radio buttons: the style of the page says how wide the picture is for each.

use std::fmt::Write;

use super::{Memory, Zoom, escape};
use crate::table;

/// Ways to look at a picture: class, words, whether it is how the page opens.
const STEPS: [(&str, &str, bool); 4] = [
    ("z1", "fit", false),
    ("z2", "50%", false),
    ("z3", "100%", true),
    ("z4", "200%", false),
];

/// A picture with its buttons.
pub fn zoom(out: &mut String, z: &Zoom) {
    let (wide, tall) = z.size;
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "<div class=\"zoom\" style=\"--w:{wide:.0}px\" role=\"group\" aria-label=\"{}\">",
        escape(&z.title)
    );
    for (class, words, first) in STEPS {
        let id = format!("{}-{class}", escape(&z.name));
        let checked = if first { " checked" } else { "" };
        let _ = write!(
            out,
            "<input type=\"radio\" class=\"{class}\" name=\"{}\" id=\"{id}\"{checked}><label for=\"{id}\">{words}</label>",
            escape(&z.name)
        );
    }
    let _ = writeln!(
        out,
        "\n<div class=\"canvas\" tabindex=\"0\"><svg viewBox=\"0 0 {wide:.0} {tall:.0}\" role=\"img\" aria-label=\"{}\">\n{}</svg></div></div>",
        escape(&z.title),
        z.elements
    );
}

const LEFT: f64 = 76.0;
const TOP: f64 = 26.0;
const HIGH: f64 = 440.0;
/// Room below, for the numbers of steps.
const BELOW: f64 = 40.0;
/// Width of a page, about.
const WIDE: f64 = 1060.0;
/// Width of a character, about.
const CHAR: f64 = 6.2;

/// A memory as a picture: steps to the right, bytes from top to bottom.
pub fn drawn(m: &Memory) -> Zoom {
    let steps = m.steps.max(1);
    let cell = ((WIDE - LEFT - 12.0) / steps as f64).clamp(7.0, 60.0);
    let wide = LEFT + cell * steps as f64 + 12.0;
    let scale = HIGH / m.bytes.max(1) as f64;
    let (x, y) = (
        |step: usize| LEFT + step as f64 * cell,
        |byte: u64| TOP + byte as f64 * scale,
    );
    let mut out = String::new();
    for k in 0..=4u64 {
        let byte = (m.bytes / 4).saturating_mul(k);
        let at = y(byte);
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            wide - 12.0,
            LEFT - 6.0,
            at + 4.0,
            table::bytes(byte)
        );
    }
    let every = (46.0 / cell).ceil().max(1.0) as usize;
    let every = [1, 2, 5, 10, 20, 50].into_iter().find(|n| *n >= every);
    for step in (0..m.steps).step_by(every.unwrap_or(100)) {
        let _ = writeln!(
            out,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step}</text>",
            x(step) + cell / 2.0,
            TOP + HIGH + 16.0
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"dim\" x=\"{LEFT}\" y=\"{:.1}\">step (number of the layer)</text>",
        TOP + HIGH + 33.0
    );
    let mut labels = String::new();
    let mut taken: Vec<[f64; 4]> = vec![];
    for b in &m.bars {
        let (left, top) = (x(b.first), y(b.at));
        let long = x(b.last + 1) - left;
        let high = (b.bytes as f64 * scale).max(1.0);
        let _ = writeln!(
            out,
            "<g><title>{} {}</title><rect class=\"{}\" x=\"{left:.1}\" y=\"{top:.2}\" width=\"{long:.1}\" height=\"{high:.2}\"/>",
            escape(&b.name),
            escape(&b.detail),
            if b.scratch { "w" } else { "v" }
        );
        let room = ((long - 8.0) / CHAR).max(0.0) as usize;
        out += "</g>\n";
        // Buffers may share bytes, in one piece or between each other's gaps: words that would lie on others are left out.
        let name = super::chart::short(&b.name, room.max(2));
        let (right, bottom) = (
            left + 4.0 + CHAR * name.chars().count() as f64,
            top + high.min(20.0),
        );
        let free =
            (taken.iter()).all(|[l, t, r, b]| right < *l || *r < left || bottom < *t || *b < top);
        if high >= 14.0 && room >= 6 && free {
            taken.push([left, top, right, bottom]);
            let _ = writeln!(
                labels,
                "<text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left + 4.0,
                f64::midpoint(top, bottom) + 3.5,
                escape(&name)
            );
        }
    }
    out += &labels;
    let at = x(m.peak) + cell / 2.0;
    let anchor = if at > wide / 2.0 { "end" } else { "start" };
    let _ = writeln!(
        out,
        "<line class=\"peak\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">most at step {}</text>",
        TOP + HIGH,
        TOP - 8.0,
        m.peak
    );
    Zoom {
        name: "memory".into(),
        elements: out,
        size: (wide, TOP + HIGH + BELOW),
        title: "Arena over time".into(),
    }
}
