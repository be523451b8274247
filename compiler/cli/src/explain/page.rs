//! What `explain-quantization` found, as a page.

use super::Explained;
use super::measure::{FAR, Histogram, Measured, MeasuredWeights};
use super::print::{self, OUTPUTS, VALUES, WEIGHTS};
use crate::report::{Bars, Bins, Page, Part, Table};
use crate::table::Align;

/// Histograms of each kind, at most: of those with the least SQNR.
const SHOWN: usize = 40;

fn table(columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Part {
    Part::Table(Table {
        columns: columns.iter().map(|c| (c.0.to_string(), c.1)).collect(),
        rows,
    })
}

fn bins(title: String, h: &Histogram, range: (f64, f64)) -> Bins {
    Bins {
        title,
        from: h.from,
        to: h.to,
        counts: h.counts.clone(),
        marked: range,
    }
}

/// The worst first.
fn worst<T>(list: &[T], sqnr: impl Fn(&T) -> f64) -> Vec<&T> {
    let mut all: Vec<&T> = list.iter().collect();
    all.sort_by(|a, b| sqnr(a).total_cmp(&sqnr(b)));
    all.truncate(SHOWN);
    all
}

/// The page.
pub fn page(e: &Explained) -> Page {
    let title = |layer: &str, sqnr: f64, what: &str| format!("{layer}: {what}, {sqnr:.1} dB");
    let value = |m: &&Measured| {
        let text = title(&m.pair.layer, m.error.sqnr(), m.pair.op);
        bins(text, &m.histogram(), m.pair.range)
    };
    let weights = |w: &&MeasuredWeights| {
        let text = title(&w.layer, w.error.sqnr(), "weights");
        bins(text, &w.histogram, w.range)
    };
    let bars = |title: &str, bars: Vec<(String, f64, f64)>| {
        Part::Bars(Bars {
            title: title.into(),
            bars,
        })
    };
    let text = |t: &str| Part::Text(t.to_string());
    Page {
        title: format!("{}, compared with its float model", e.name),
        parts: vec![
            Part::Facts(vec![
                ("compared".into(), print::summary(e)),
                (
                    "no match".into(),
                    match e.unmatched.len() {
                        0 => "-".into(),
                        _ => e.unmatched.join(", "),
                    },
                ),
            ]),
            Part::Heading("Outputs".into()),
            table(&OUTPUTS, e.outputs.iter().map(print::output).collect()),
            Part::Heading("Values".into()),
            text(
                "SQNR is the float value's square over the square of the difference; 6 dB are one bit. It falls along the network, since each value has the errors \
                 of all before it. A layer is at fault where SQNR drops from what it reads to what it gives. `alone` is that of the float value put into this value's whole numbers \
                 and nothing else: where it is low too, the range or the scale is at fault.",
            ),
            bars(
                "SQNR in decibels; marked: the share of the error, in power, that the value's own rounding makes",
                (e.values.iter())
                    .map(|m| (m.pair.layer.clone(), m.error.sqnr(), m.own_share()))
                    .collect(),
            ),
            table(&VALUES, e.values.iter().map(print::value).collect()),
            Part::Heading("Weights".into()),
            bars(
                "SQNR of weights in decibels",
                (e.weights.iter())
                    .map(|w| (w.layer.clone(), w.error.sqnr(), 0.0))
                    .collect(),
            ),
            table(&WEIGHTS, e.weights.iter().map(print::weights).collect()),
            Part::Heading("Distributions of the worst values".into()),
            text(&format!(
                "Heights are logarithms of counts, over the float values; what lies in the shaded part has a whole number. Much room without counts wastes steps, counts \
                 outside are clipped. Channels whose largest magnitude is more than {FAR} times the median channel's are called outliers.",
            )),
            Part::Histograms(
                worst(&e.values, |m| m.error.sqnr())
                    .iter()
                    .map(value)
                    .collect(),
            ),
            Part::Heading("Distributions of the worst weights".into()),
            Part::Histograms(
                worst(&e.weights, |w| w.error.sqnr())
                    .iter()
                    .map(weights)
                    .collect(),
            ),
        ],
    }
}
