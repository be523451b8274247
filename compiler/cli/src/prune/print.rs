//! What `prune` says of its result.

use onnxc_compiler::compress::prune::Pattern;
use serde_json::json;

use super::cutting::{Line, Saved};
use crate::quantize::compare::{OutputError, worst};
use crate::table::{Align, Table, thousands};

/// What came of it.
pub struct Report {
    /// What went.
    pub pattern: Pattern,
    /// What became of each layer.
    pub layers: Vec<Line>,
    /// What became of the whole.
    pub saved: Saved,
    /// How far the outputs are off; nothing without data.
    pub before: Vec<OutputError>,
    /// The same after reconstruction, where it was done.
    pub after: Option<Vec<OutputError>>,
    /// Cases of calibration.
    pub cases: usize,
    /// Bytes of both files.
    pub bytes: (usize, usize),
    /// Values that weights take at most, and what is to be said of them.
    pub clusters: Option<(usize, String)>,
    /// What met the goal.
    pub met: Option<String>,
}

fn percent((before, after): (f64, f64)) -> f64 {
    match before > 0.0 {
        true => 100.0 * (1.0 - after / before),
        false => 0.0,
    }
}

impl Report {
    fn weights(&self) -> (f64, f64) {
        let w = self.saved.weights;
        (w.0 as f64, w.1 as f64)
    }

    /// As text.
    pub fn text(&self) -> String {
        let decibels = |v: f64| format!("{v:.1}");
        let mut layers = Table::new(&[
            ("layer", Align::Left),
            ("operator", Align::Left),
            ("channels", Align::Right),
            ("weights", Align::Right),
            ("gone %", Align::Right),
            ("why not", Align::Left),
        ]);
        for l in &self.layers {
            let shown = match l.channels {
                (a, b) if a == b => a.to_string(),
                (a, b) => format!("{a} > {b}"),
            };
            layers.row(vec![
                l.name.clone(),
                l.op.to_string(),
                shown,
                thousands(l.weights.1 as u64),
                format!("{:.1}", percent((l.weights.0 as f64, l.weights.1 as f64))),
                l.why.clone().unwrap_or_default(),
            ]);
        }
        let mut text = layers.text(64) + "\n";
        if !self.before.is_empty() {
            let mut columns = vec![("output", Align::Left), ("SQNR dB", Align::Right)];
            if self.after.is_some() {
                columns.push(("reconstructed", Align::Right));
            }
            columns.push(("same class", Align::Right));
            let mut outputs = Table::new(&columns);
            for (k, e) in self.before.iter().enumerate() {
                let better = self.after.as_ref().and_then(|a| a.get(k));
                let mut row = vec![e.name.clone(), decibels(e.sqnr)];
                if self.after.is_some() {
                    row.push(better.map_or("-".into(), |e| decibels(e.sqnr)));
                }
                let top = better.unwrap_or(e).top;
                row.push(top.map_or("-".into(), |(same, rows)| format!("{same}/{rows}")));
                outputs.row(row);
            }
            text += &(outputs.text(48) + "\n");
        }
        let s = &self.saved;
        text += &format!(
            "multiply-accumulates {} > {} (-{:.1} %), weights {} > {} (-{:.1} %), file {} > {} bytes\n",
            thousands(s.macs.0 as u64),
            thousands(s.macs.1 as u64),
            percent(s.macs),
            thousands(s.weights.0 as u64),
            thousands(s.weights.1 as u64),
            percent(self.weights()),
            thousands(self.bytes.0 as u64),
            thousands(self.bytes.1 as u64),
        );
        if let Some((_, clusters)) = &self.clusters {
            text += &format!("{clusters}\n");
        }
        if let Some(met) = &self.met {
            text += &format!("{met}\n");
        }
        text
    }

    /// In one line.
    pub fn line(&self) -> String {
        let errors = self.after.as_ref().unwrap_or(&self.before);
        let sqnr = match errors.is_empty() {
            true => String::new(),
            false => format!("; SQNR of the worst output {:.1} dB", worst(errors)),
        };
        format!(
            "pruned: {:.1} % of the weights and {:.1} % of the multiply-accumulates are gone{sqnr}",
            percent(self.weights()),
            percent(self.saved.macs)
        )
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let finite = |v: f64| v.is_finite().then_some(v);
        let layers: Vec<_> = (self.layers.iter())
            .map(|l| {
                json!({"name": l.name, "operator": l.op, "channels": [l.channels.0, l.channels.1], "weights": [l.weights.0, l.weights.1], "why_not": l.why})
            })
            .collect();
        let outputs: Vec<_> = (self.before.iter().enumerate())
            .map(|(k, e)| {
                let better = self.after.as_ref().and_then(|a| a.get(k));
                let (same, rows) = better.unwrap_or(e).top.unzip();
                json!({"name": e.name, "sqnr_db": finite(e.sqnr), "reconstructed_sqnr_db": better.and_then(|e| finite(e.sqnr)), "same_class": same, "rows": rows})
            })
            .collect();
        let s = &self.saved;
        json!({"layers": layers, "outputs": outputs, "reconstructed": self.after.is_some(), "macs": [s.macs.0, s.macs.1], "weights": [s.weights.0, s.weights.1], "cases": self.cases, "values": self.clusters.as_ref().map(|c| c.0), "bytes": [self.bytes.0, self.bytes.1]})
            .to_string()
    }
}
