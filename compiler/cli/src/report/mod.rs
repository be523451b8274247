//! Reports as pages of HTML: one file, complete in itself, light or dark as the reader's system is.
//!
//! A page is data ([`Page`]); how it looks is said here once for all reports. No script, no font, no picture from outside. All
//! text is escaped here: names come from models. The same page gives the same bytes.

pub mod chart;
mod curves;
mod histogram;
mod memory;

use std::fmt::Write;

use crate::table::Align;

/// Cells with more characters are broken into lines.
const LONG: usize = 70;
/// Cells with more are folded: their beginning is shown, and a click shows the rest.
const FOLDED: usize = 180;

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its heading.
    pub title: String,
    /// Below each other.
    pub parts: Vec<Part>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub enum Part {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Names and what belongs to them.
    Facts(Vec<(String, String)>),
    /// A table.
    Table(Table),
    /// Bars below each other.
    Bars(Bars),
    /// Points below a roof.
    Roof(Roof),
    /// A picture of our own, as SVG.
    Picture(String),
    /// Distributions, two beside each other.
    Histograms(Vec<Bins>),
    /// Lines over shares.
    Curves(Curves),
    /// A table whose rows are places that links lead to: `#NAME-0`, `#NAME-1`, ..
    Rows(String, Table),
    /// A picture with steps of magnification, that scrolls.
    Zoom(Zoom),
    /// What lies where in a memory, over time.
    Memory(Memory),
}

/// A picture with steps of magnification.
#[derive(Clone, Debug, Default)]
pub struct Zoom {
    /// A word that no other such picture of the page has: lower case letters.
    pub name: String,
    /// Elements of SVG, coloured by classes of the page's style.
    pub elements: String,
    /// Width and height.
    pub size: (f64, f64),
    /// What it shows.
    pub title: String,
}

/// What lies where in a memory, over time.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Bytes of the memory.
    pub bytes: u64,
    /// Number of steps.
    pub steps: usize,
    /// Bars: what, first byte, bytes, first and last step, and whether it is scratch.
    pub bars: Vec<MemoryBar>,
    /// The step at which most is held.
    pub peak: usize,
}

/// What lies somewhere for some steps.
#[derive(Clone, Debug, Default)]
pub struct MemoryBar {
    /// What it is.
    pub name: String,
    /// More of it, for those who ask.
    pub detail: String,
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub bytes: u64,
    /// First step.
    pub first: usize,
    /// Last step.
    pub last: usize,
    /// Whether nobody but one layer uses it.
    pub scratch: bool,
}

/// Lines over shares from 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// What is shown, with its unit.
    pub title: String,
    /// Names, and points with rising shares.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// Columns and rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Headings, and where cells lie.
    pub columns: Vec<(String, Align)>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// Bars, the longest as wide as there is room.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    /// What their length means, with its unit.
    pub title: String,
    /// Name, length, and a part of the length that is marked (0 to 1).
    pub bars: Vec<(String, f64, f64)>,
}

/// A distribution.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    /// Of what.
    pub title: String,
    /// Where the first bin begins.
    pub from: f64,
    /// Where the last one ends.
    pub to: f64,
    /// How many lie in each, all bins of one width.
    pub counts: Vec<u64>,
    /// The range that is marked.
    pub marked: (f64, f64),
}

/// A roofline: both axes logarithmic, operations per byte and operations per second.
#[derive(Clone, Debug, Default)]
pub struct Roof {
    /// The flat parts: name and GOP/s.
    pub peaks: Vec<(String, f64)>,
    /// The slopes: name and GB/s.
    pub slopes: Vec<(String, f64)>,
    /// What lies below.
    pub points: Vec<Point>,
}

/// A point below a roof.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// What it is.
    pub name: String,
    /// Operations per byte.
    pub intensity: f64,
    /// GOP/s.
    pub speed: f64,
    /// The flat part that it has to do with.
    pub peak: Option<usize>,
}

/// The page as HTML.
pub fn html(page: &Page) -> String {
    let mut out = String::new();
    let title = escape(&page.title);
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"
    );
    for part in &page.parts {
        match part {
            Part::Heading(t) => {
                let _ = writeln!(out, "<h2>{}</h2>", escape(t));
            }
            Part::Text(t) => {
                let _ = writeln!(out, "<p>{}</p>", escape(t));
            }
            Part::Facts(list) => facts(&mut out, list),
            Part::Table(t) => table(&mut out, t, None),
            Part::Rows(name, t) => table(&mut out, t, Some(name)),
            Part::Zoom(z) => memory::zoom(&mut out, z),
            Part::Memory(m) => memory::zoom(&mut out, &memory::drawn(m)),
            Part::Bars(b) => chart::bars(&mut out, b),
            Part::Roof(r) => chart::roof(&mut out, r),
            Part::Picture(svg) => {
                let _ = writeln!(out, "<div class=\"wide\">{svg}</div>");
            }
            Part::Histograms(h) => histogram::histograms(&mut out, h),
            Part::Curves(c) => curves::curves(&mut out, c),
        }
    }
    out += "</body>\n</html>\n";
    out
}

fn facts(out: &mut String, list: &[(String, String)]) {
    *out += "<dl>\n";
    for (name, value) in list {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    *out += "</dl>\n";
}

fn table(out: &mut String, t: &Table, name: Option<&str>) {
    let class = |k: usize| match t.columns.get(k) {
        Some((_, Align::Right)) => " class=\"n\"",
        _ => "",
    };
    *out += "<div class=\"wide\"><table>\n<thead><tr>";
    for (k, (name, _)) in t.columns.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(k), escape(name));
    }
    *out += "</tr></thead>\n<tbody>\n";
    for (k, row) in t.rows.iter().enumerate() {
        match name {
            Some(name) => {
                let _ = write!(out, "<tr id=\"{}-{k}\">", escape(name));
            }
            None => *out += "<tr>",
        }
        for (k, cell) in row.iter().enumerate() {
            let chars = cell.chars().count();
            let text = escape(cell);
            let _ = if chars > FOLDED {
                let head: String = cell.chars().take(LONG - 2).collect();
                write!(
                    out,
                    "<td class=\"f\"><details><summary>{}..</summary>{text}</details></td>",
                    escape(&head)
                )
            } else if chars > LONG {
                write!(out, "<td class=\"l\">{text}</td>")
            } else {
                write!(out, "<td{}>{text}</td>", class(k))
            };
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table></div>\n";
}

/// Text that means itself, in elements and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // What XML has no place for, which SVG would stumble over.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--dim:#667;--line:#dde;--bar:#4a7fc1;--mark:#e0883a;--head:#f4f5f8;--soft:#dfeafb}
@media (prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e4e6ea;--dim:#99a;--line:#333844;--bar:#6b9fe0;--mark:#f0a050;--head:#20242b;--soft:#22344f}}
body{background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif;max-width:108rem;margin:2rem auto;padding:0 1rem}p,dl{max-width:72rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--dim)}dd{margin:0}
.wide{overflow-x:auto}.wide svg{max-width:none}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.87rem}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
thead th{background:var(--head);position:sticky;top:0}.n{text-align:right}td.l,.f details[open]{white-space:normal;overflow-wrap:anywhere;min-width:24rem}.f summary{cursor:pointer}
svg{max-width:100%;height:auto;display:block;margin:.8rem 0}svg text{fill:var(--fg);font:12px system-ui,sans-serif}
.dim{fill:var(--dim)!important}.grid{stroke:var(--line)}.bar{fill:var(--bar)}.mark{fill:var(--mark)}
.pairs{display:flex;flex-wrap:wrap;gap:0 1rem}.range{fill:var(--mark);fill-opacity:.18}
.zoom input{position:absolute;opacity:0}.zoom label{display:inline-block;padding:.1rem .6rem;margin:0 .3rem .4rem 0;border:1px solid var(--line);border-radius:.3rem;cursor:pointer}
.zoom input:checked+label{background:var(--bar);color:var(--bg);border-color:var(--bar)}.zoom input:focus-visible+label{outline:2px solid var(--mark)}
.canvas{overflow:auto;max-height:80vh;border:1px solid var(--line);border-radius:.3rem}.canvas svg{max-width:none;margin:0 auto}
.z1:checked~.canvas svg{width:100%;height:76vh}.z2:checked~.canvas svg{width:calc(var(--w)*.5)}.z3:checked~.canvas svg{width:var(--w)}.z4:checked~.canvas svg{width:calc(var(--w)*2)}
.canvas .b{fill:var(--head);stroke:var(--dim)}.canvas .i,.canvas .o{fill:var(--bg);stroke:var(--mark)}.canvas .t{font-size:13px}
.canvas .d,.canvas .s{font-size:10px;fill:var(--dim)}.canvas .s{fill:var(--fg)}.canvas .e{fill:none;stroke:var(--dim);stroke-width:1.2}.canvas .l{font-size:9px;fill:var(--dim)}
.canvas .q{fill:var(--soft);stroke:var(--bar)}.canvas a:hover rect,.canvas a:focus rect{stroke-width:2.5}
.v{fill:var(--bar);fill-opacity:.55;stroke:var(--bg);stroke-width:.6}.w{fill:var(--mark);fill-opacity:.6;stroke:var(--bg);stroke-width:.6}.peak{stroke:var(--fg);stroke-dasharray:4 3}
tr:target{background:var(--soft)}a{color:var(--bar)}
.roof{stroke:var(--fg);stroke-width:1.5;fill:none}.s1{stroke-dasharray:8 4}.s2{stroke-dasharray:2 3}.s3{stroke-dasharray:9 3 2 3}.point{fill:var(--dim);fill-opacity:.8}.k0{fill:var(--bar)}.k1{fill:var(--mark)}.k2{fill:#2f9e6e}.k3{fill:#a05cc4}.k4{fill:#c4546a}.k5{fill:#8a8f2a}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let cell = |s: &str| s.to_string();
        Page {
            title: "a <b> & \"c\"".into(),
            parts: vec![
                Part::Heading("layers".into()),
                Part::Text("x < y".into()),
                Part::Facts(vec![("cpu".into(), "one".into())]),
                Part::Table(Table {
                    columns: vec![("name".into(), Align::Left), ("n".into(), Align::Right)],
                    rows: vec![vec![cell("<script>"), cell("1")]],
                }),
                Part::Bars(Bars {
                    title: "us".into(),
                    bars: vec![
                        ("one".into(), 2.0, 0.5),
                        ("none".into(), 0.0, 0.0),
                        ("odd".into(), f64::NAN, f64::INFINITY),
                    ],
                }),
                Part::Roof(Roof {
                    peaks: vec![("<f>".into(), 100.0), ("odd".into(), f64::NAN)],
                    slopes: vec![("L1".into(), 200.0), ("DRAM".into(), 20.0)],
                    points: vec![
                        Point {
                            name: "conv".into(),
                            intensity: 10.0,
                            speed: 80.0,
                            peak: Some(0),
                        },
                        Point {
                            speed: f64::INFINITY,
                            ..Point::default()
                        },
                    ],
                }),
                Part::Rows(
                    "r".into(),
                    Table {
                        columns: vec![("name".into(), Align::Left)],
                        rows: vec![vec![cell("<script>")], vec!["<script>".repeat(40)], vec![]],
                    },
                ),
                Part::Memory(Memory {
                    bytes: 1 << 20,
                    steps: 3,
                    bars: vec![
                        MemoryBar {
                            name: "<script> & more".into(),
                            detail: "f32[1]".into(),
                            bytes: 1 << 19,
                            last: 2,
                            ..MemoryBar::default()
                        },
                        MemoryBar {
                            name: "odd".into(),
                            at: u64::MAX,
                            bytes: u64::MAX,
                            first: 2,
                            last: 2,
                            scratch: true,
                            ..MemoryBar::default()
                        },
                    ],
                    peak: 0,
                }),
                Part::Memory(Memory::default()),
                Part::Histograms(vec![
                    Bins {
                        title: "x <0>".into(),
                        from: -1.0,
                        to: 2.5,
                        counts: vec![0, 3, 900, 1],
                        marked: (-2.0, 2.0),
                    },
                    Bins {
                        title: "odd".into(),
                        from: f64::NAN,
                        to: f64::INFINITY,
                        counts: vec![],
                        marked: (f64::NAN, 0.0),
                    },
                ]),
            ],
        }
    }

    #[test]
    fn nothing_escapes_and_nothing_comes_from_outside() {
        let text = html(&page());
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"));
        assert!(!text.contains("http") && !text.contains("url(") && !text.contains("@import"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        // Every element that is opened is closed.
        for tag in [
            "svg", "table", "tr", "td", "dl", "div", "g", "text", "title", "html",
        ] {
            let opened = text.matches(&format!("<{tag}>")).count()
                + text.matches(&format!("<{tag} ")).count();
            let closed = text.matches(&format!("</{tag}>")).count();
            assert_eq!(opened, closed, "{tag}");
        }
        assert_eq!(text, html(&page()));
    }
}
