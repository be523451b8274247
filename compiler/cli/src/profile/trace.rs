//! Runs as a trace in the format that Chrome (`chrome://tracing`) and Perfetto read: an event for each layer, inside of one for each run.

use serde_json::{Value, json};

/// A layer of a run: its number, and when it began and ended, in nanoseconds from the first run's begin.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Number of the layer; `None`: the whole run.
    pub layer: Option<usize>,
    /// Begin.
    pub from: u64,
    /// End.
    pub to: u64,
}

/// What is said of a layer: its name, its operators, and more for those who click.
pub struct Named {
    /// Name.
    pub name: String,
    /// Operators.
    pub ops: String,
    /// Further figures.
    pub args: Value,
}

/// The trace as JSON. `names`: by number of layer.
pub fn json(model: &str, names: &[Named], spans: &[Span]) -> Value {
    let us = |ns: u64| ns as f64 / 1e3;
    let mut events = vec![
        json!({"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": model}}),
        json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "layers"}}),
    ];
    for s in spans {
        let long = us(s.to.saturating_sub(s.from));
        events.push(match s.layer.map(|k| names.get(k)) {
            None => json!({"name": "run", "cat": "run", "ph": "X", "ts": us(s.from), "dur": long, "pid": 1, "tid": 1}),
            Some(None) => continue,
            Some(Some(n)) => json!({
                "name": n.name, "cat": n.ops, "ph": "X", "ts": us(s.from), "dur": long, "pid": 1, "tid": 1, "args": n.args,
            }),
        });
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}
