//! What `explain-quantization` found, as tables and as JSON.

use serde_json::{Value, json};

use super::Explained;
use super::measure::{Channels, Histogram, Measured, MeasuredOutput, MeasuredWeights};
use crate::table::{Align, Table};

/// Columns of values.
pub const VALUES: [(&str, Align); 8] = [
    ("layer", Align::Left),
    ("operator", Align::Left),
    ("SQNR dB", Align::Right),
    ("alone dB", Align::Right),
    ("cosine", Align::Right),
    ("max error", Align::Right),
    ("clipped %", Align::Right),
    ("outliers", Align::Left),
];

/// Columns of weights.
pub const WEIGHTS: [(&str, Align); 5] = [
    ("layer", Align::Left),
    ("operator", Align::Left),
    ("weights dB", Align::Right),
    ("max error", Align::Right),
    ("outliers", Align::Left),
];

/// Columns of outputs.
pub const OUTPUTS: [(&str, Align); 5] = [
    ("output", Align::Left),
    ("SQNR dB", Align::Right),
    ("cosine", Align::Right),
    ("max error", Align::Right),
    ("same class", Align::Right),
];

fn decibels(v: f64) -> String {
    format!("{v:.1}")
}

/// How many channels are out of line, and how far the first is.
fn outliers(c: &Channels) -> String {
    match c.outliers()[..] {
        [] => "-".into(),
        [(k, by)] => format!("channel {k} x{by:.0}"),
        [(k, by), ..] => {
            format!("{} channels, {k} x{by:.0}", c.outliers().len())
        }
    }
}

/// Cells of a value.
pub fn value(m: &Measured) -> Vec<String> {
    vec![
        m.pair.layer.clone(),
        m.pair.op.to_string(),
        decibels(m.error.sqnr()),
        decibels(m.alone.sqnr()),
        format!("{:.5}", m.error.cosine()),
        format!("{:.3e}", m.error.max),
        format!("{:.3}", 100.0 * m.clipped_share()),
        outliers(&m.channels),
    ]
}

/// Cells of weights.
pub fn weights(w: &MeasuredWeights) -> Vec<String> {
    vec![
        w.layer.clone(),
        w.op.to_string(),
        decibels(w.error.sqnr()),
        format!("{:.3e}", w.error.max),
        outliers(&w.channels),
    ]
}

/// Cells of an output.
pub fn output(o: &MeasuredOutput) -> Vec<String> {
    let (same, rows) = o.top;
    vec![
        o.name.clone(),
        decibels(o.error.sqnr()),
        format!("{:.5}", o.error.cosine()),
        format!("{:.3e}", o.error.max),
        match rows {
            0 => "-".into(),
            _ => format!("{same}/{rows}"),
        },
    ]
}

/// One line about everything.
pub fn summary(e: &Explained) -> String {
    format!(
        "{} values and the weights of {} layers compared on {} cases; {} without a match",
        e.values.len(),
        e.weights.len(),
        e.cases,
        e.unmatched.len()
    )
}

/// As text.
pub fn text(e: &Explained) -> String {
    let table = |columns: &[(&str, Align)], rows: Vec<Vec<String>>| {
        let mut t = Table::new(columns);
        rows.into_iter().for_each(|r| t.row(r));
        t.text(48) + "\n"
    };
    table(&VALUES, e.values.iter().map(value).collect())
        + &table(&WEIGHTS, e.weights.iter().map(weights).collect())
        + &table(&OUTPUTS, e.outputs.iter().map(output).collect())
        + &summary(e)
        + "\n"
}

fn finite(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}

fn channels(c: &Channels) -> Value {
    let list = c.outliers();
    let list = list
        .iter()
        .map(|(k, by)| json!({"channel": k, "times_median": by}));
    list.collect()
}

fn histogram(h: &Histogram) -> Value {
    json!({"from": h.from, "to": h.to, "counts": h.counts})
}

/// As JSON.
pub fn json(e: &Explained) -> Value {
    let values = e.values.iter().map(|m| {
        json!({
            "name": m.pair.name, "layer": m.pair.layer, "operator": m.pair.op,
            "sqnr_db": finite(m.error.sqnr()), "alone_sqnr_db": finite(m.alone.sqnr()),
            "cosine": m.error.cosine(), "max_error": m.error.max,
            "scale": m.pair.scale, "zero_point": m.pair.zero, "range": m.pair.range,
            "clipped": m.clipped_share(), "outlier_channels": channels(&m.channels),
            "histogram": histogram(&m.histogram()),
        })
    });
    let weights = e.weights.iter().map(|w| {
        json!({
            "layer": w.layer, "operator": w.op, "sqnr_db": finite(w.error.sqnr()),
            "cosine": w.error.cosine(), "max_error": w.error.max, "range": w.range,
            "outlier_channels": channels(&w.channels), "histogram": histogram(&w.histogram),
        })
    });
    let outputs = e.outputs.iter().map(|o| {
        let classes = (o.top.1 > 0).then_some(o.top);
        let (same, rows) = classes.unzip();
        json!({
            "name": o.name, "sqnr_db": finite(o.error.sqnr()), "cosine": o.error.cosine(),
            "max_error": o.error.max, "same_class": same, "rows": rows,
        })
    });
    json!({
        "cases": e.cases, "outputs": outputs.collect::<Vec<_>>(),
        "values": values.collect::<Vec<_>>(), "weights": weights.collect::<Vec<_>>(),
        "unmatched": e.unmatched,
    })
}
