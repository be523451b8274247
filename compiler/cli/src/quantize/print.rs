//! What `quantize` says of its result.

use onnxc_compiler::compress::quantize::Summary;
use serde_json::json;

use super::choices::{Choice, Precision};
use super::compare::{OutputError, worst};
use crate::table::{Align, Table};

/// What came of it.
pub struct Report {
    /// What became small, in words.
    pub says: String,
    /// What became of the layers.
    pub summary: Summary,
    /// How far outputs are off.
    pub errors: Vec<OutputError>,
    /// What was chosen for each layer, where there was a choice; else empty.
    pub choices: Vec<Choice>,
    /// Cases of calibration.
    pub cases: usize,
    /// Bytes of the file.
    pub bytes: usize,
}

impl Report {
    fn floats(&self) -> Vec<&Choice> {
        let floats = self
            .choices
            .iter()
            .filter(|c| c.precision == Precision::Float);
        floats.collect()
    }

    /// As text.
    pub fn text(&self) -> String {
        let s = &self.summary;
        let alone = self.choices.iter().any(|c| c.sqnr.is_some());
        let mut columns = vec![
            ("layer", Align::Left),
            ("operator", Align::Left),
            ("weights dB", Align::Right),
            ("bias moved", Align::Right),
        ];
        if alone {
            columns.push(("alone dB", Align::Right));
        }
        let mut layers = Table::new(&columns);
        let decibels = |v: f64| format!("{v:.1}");
        for l in &s.layers {
            let mut row = vec![
                l.name.clone(),
                l.op.to_string(),
                decibels(l.weight_sqnr),
                format!("{:.2}", l.correction),
            ];
            if alone {
                let choice = self.choices.iter().find(|c| c.name == l.name);
                let sqnr = choice.and_then(|c| c.sqnr);
                row.push(sqnr.map_or("-".into(), decibels));
            }
            layers.row(row);
        }
        let mut outputs = Table::new(&[
            ("output", Align::Left),
            ("SQNR dB", Align::Right),
            ("same class", Align::Right),
        ]);
        for e in &self.errors {
            outputs.row(vec![
                e.name.clone(),
                decibels(e.sqnr),
                e.top
                    .map_or("-".into(), |(same, rows)| format!("{same}/{rows}")),
            ]);
        }
        let mut text = layers.text(48) + "\n";
        let floats = self.floats();
        if !floats.is_empty() {
            let mut kept =
                Table::new(&[("kept in floats", Align::Left), columns[columns.len() - 1]]);
            for c in &floats {
                let sqnr = c.sqnr.map_or("-".into(), decibels);
                kept.row(vec![c.name.clone(), sqnr]);
            }
            text += &(kept.text(48) + "\n");
        }
        let (says, bytes) = (&self.says, self.bytes);
        text += &match self.cases {
            0 => format!("{says}; {bytes} bytes\n"),
            n => {
                let outputs = outputs.text(48);
                format!("{outputs}\n{says}, calibrated on {n} cases; {bytes} bytes\n")
            }
        };
        if !floats.is_empty() {
            let all = self.choices.len();
            text += &format!("{} of {all} layers in floats\n", floats.len());
        }
        text
    }

    /// In one line.
    pub fn line(&self) -> String {
        let s = &self.summary;
        let floats = match self.floats().len() {
            0 => String::new(),
            n => format!(", {n} of {} layers in floats", self.choices.len()),
        };
        format!(
            "quantized: {} operators in 8 bits{floats}; SQNR of the worst output {:.1} dB",
            s.nodes,
            worst(&self.errors)
        )
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let s = &self.summary;
        let finite = |v: f64| v.is_finite().then_some(v);
        let layers: Vec<_> = (s.layers.iter())
            .map(|l| {
                json!({"name": l.name, "operator": l.op, "weight_sqnr_db": finite(l.weight_sqnr), "bias_correction_steps": l.correction})
            })
            .collect();
        let outputs: Vec<_> = (self.errors.iter())
            .map(|e| {
                let (same, rows) = e.top.unzip();
                json!({"name": e.name, "sqnr_db": finite(e.sqnr), "same_class": same, "rows": rows})
            })
            .collect();
        let choices: Vec<_> = (self.choices.iter())
            .map(|c| {
                let sqnr = c.sqnr.and_then(finite);
                json!({"name": c.name, "precision": c.precision.word(), "sqnr_db": sqnr})
            })
            .collect();
        json!({"layers": layers, "outputs": outputs, "choices": choices, "operators": s.nodes, "values": s.values, "cases": self.cases, "bytes": self.bytes})
            .to_string()
    }
}
