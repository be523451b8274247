//! `profile`: where the time of a run goes, layer by layer: time, speed, share of what the machine can do, bytes, and hardware counters where
//! the system lets us; as text, JSON, a page, and a trace.
//!
//! Times are those of `bench --layers`. Counters are read in runs of their own, so that reading them costs no time that is reported.

pub mod counters;
pub mod trace;

use std::time::Instant;

use onnxc_abi::status;
use serde_json::json;

use crate::args::reports::Profile;
use crate::bench::layers::{self, Layers};
use crate::bench::subject::{self, Asked, Subject};
use crate::engine::{Loaded, failed_run};
use crate::failure::{Outcome, Status};
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::progress::Bar;
use crate::report::{self, Part, Table as HtmlTable};
use crate::table::{Align, Table, count};
use crate::ui::Ui;
use counters::{Counters, Counts, NAMES, between};
use trace::{Named, Span};

/// Runs that are counted, and runs in a trace.
const RUNS: u64 = 5;

/// Profiles a model.
pub fn run(flags: &Profile, ui: &Ui) -> Outcome {
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    if !machine.host {
        let text = format!(
            "this machine can't run code for {}",
            machine.target.arch.name()
        );
        return Err(onnxc_compiler::base::diag::Diagnostic::usage("USE003", text)
            .help("`onnxc bench --exec` times a model elsewhere; on the board itself `perf` works: see docs/profiling.md")
            .into());
    }
    let asked = Asked {
        inputs: &flags.inputs,
        data: &flags.data,
        model_flags: &flags.model_flags,
        code: &flags.code,
    };
    subject::with(&asked, &flags.model, &[], &machine, ui, |s| {
        let bar = Bar::new(ui);
        let threads = flags.threads.threads;
        let layers = layers::measure(s, threads, flags.seconds, &bar)?;
        bar.say("counting");
        let number = layers.list.len();
        let (counted, spans) = s.loaded(threads, |l| Ok((counted(l, number)?, spans(l)?)))?;
        drop(bar);
        let found = Profiled {
            subject: s,
            layers,
            counted,
        };
        let mut files = Outputs::default();
        if let Some(path) = &flags.html {
            files.add(path, found.html().as_bytes())?;
        }
        if let Some(path) = &flags.trace {
            let text = trace::json(&s.name(), &found.named(), &spans).to_string() + "\n";
            files.add(path, text.as_bytes())?;
        }
        files.commit()?;
        outputs::print(&match flags.json {
            true => found.json().to_string() + "\n",
            false => found.text(),
        })?;
        Ok(Status::Done)
    })
}

/// What was counted in each layer, for a run; and what could not be.
struct Counted {
    layers: Vec<Counts>,
    why_not: Option<String>,
    nothing: bool,
}

fn checked(s: i32) -> onnxc_compiler::base::diag::Result<()> {
    match s {
        status::OK => Ok(()),
        s => Err(failed_run(s)),
    }
}

fn counted(loaded: &mut Loaded, layers: usize) -> onnxc_compiler::base::diag::Result<Counted> {
    let mut counters = Counters::open();
    let mut sums = vec![[None; NAMES.len()]; layers];
    let nothing = counters.is_empty();
    if !nothing {
        // Reading them runs a little code of its own.
        let mut own = counters.read();
        for _ in 0..16 {
            let (a, b) = (counters.read(), counters.read());
            let cost = between(&a, &b);
            own = std::array::from_fn(|k| own[k].zip(cost[k]).map(|(o, c): (u64, u64)| o.min(c)));
        }
        for _ in 0..RUNS {
            let mut since = [None; NAMES.len()];
            checked(loaded.run_clocked(&mut |layer, begins| {
                if begins {
                    since = counters.read();
                } else if let Some(sum) = sums.get_mut(layer as usize) {
                    let made = between(&since, &counters.read());
                    for (k, slot) in sum.iter_mut().enumerate() {
                        if let Some(n) = made[k] {
                            *slot = Some(slot.unwrap_or(0) + n.saturating_sub(own[k].unwrap_or(0)));
                        }
                    }
                }
            }))?;
        }
        sums.iter_mut().flatten().flatten().for_each(|n| *n /= RUNS);
    }
    Ok(Counted {
        layers: sums,
        why_not: counters.why_not(),
        nothing,
    })
}

/// When each layer ran, over a few runs.
fn spans(loaded: &mut Loaded) -> onnxc_compiler::base::diag::Result<Vec<Span>> {
    let begin = Instant::now();
    let mut all = vec![];
    let now = || u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    for _ in 0..RUNS {
        let at = all.len();
        let from = now();
        all.push(Span {
            layer: None,
            from,
            to: from,
        });
        let mut since = from;
        checked(loaded.run_clocked(&mut |layer, begins| {
            if begins {
                since = now();
            } else {
                all.push(Span {
                    layer: Some(layer as usize),
                    from: since,
                    to: now(),
                });
            }
        }))?;
        all[at].to = now();
    }
    Ok(all)
}

/// What was found.
struct Profiled<'a> {
    subject: &'a Subject<'a>,
    layers: Layers,
    counted: Counted,
}

impl Profiled<'_> {
    fn nodes(&self, k: usize) -> &[String] {
        let layer = self.subject.artifact.info.run().get(k);
        layer.map_or(&[], |l| &l.nodes)
    }

    fn named(&self) -> Vec<Named> {
        let each = self.layers.list.iter().enumerate();
        each.map(|(k, l)| Named {
            name: l.name.clone(),
            ops: l.ops.clone(),
            args: json!({
                "nodes": self.nodes(k), "kernel": l.kernel, "macs": l.macs, "bytes": l.values + l.weights,
                "multiplies_with": l.instruction, "share_of_roofline": l.share(),
            }),
        })
        .collect()
    }

    fn json(&self) -> serde_json::Value {
        let mut all = self.layers.json(self.subject);
        for (k, counts) in self.counted.layers.iter().enumerate() {
            all["layers"][k]["nodes"] = json!(self.nodes(k));
            if !self.counted.nothing {
                let map = NAMES
                    .iter()
                    .zip(counts)
                    .map(|(n, c)| (n.to_string(), json!(c)));
                all["layers"][k]["counters"] = map.collect::<serde_json::Map<_, _>>().into();
            }
        }
        all["counters_missing"] = json!(self.counted.why_not);
        all
    }

    const COLUMNS: [(&'static str, Align); 8] = [
        ("#", Align::Right),
        ("layer", Align::Left),
        ("cycles", Align::Right),
        ("instructions", Align::Right),
        ("per cycle", Align::Right),
        ("cache references", Align::Right),
        ("cache misses", Align::Right),
        ("branch misses", Align::Right),
    ];

    fn cells(&self) -> Vec<Vec<String>> {
        let number = |n: Option<u64>| n.map_or("-".to_string(), count);
        let all = self.layers.list.iter().zip(&self.counted.layers);
        all.enumerate()
            .map(|(k, (l, c))| {
                let rate = match (c[0], c[1]) {
                    (Some(cycles), Some(i)) if cycles > 0 => {
                        format!("{:.2}", i as f64 / cycles as f64)
                    }
                    _ => "-".into(),
                };
                vec![
                    k.to_string(),
                    l.name
                        .split_once('_')
                        .map_or(l.name.as_str(), |n| n.1)
                        .to_string(),
                    number(c[0]),
                    number(c[1]),
                    rate,
                    number(c[2]),
                    number(c[3]),
                    number(c[4]),
                ]
            })
            .collect()
    }

    fn note(&self) -> Option<String> {
        let why = self.counted.why_not.as_ref()?;
        Some(format!("hardware counters {why}"))
    }

    fn text(&self) -> String {
        let mut out = self.layers.text();
        if !self.counted.nothing {
            let mut table = Table::new(&Self::COLUMNS);
            self.cells().into_iter().for_each(|row| table.row(row));
            out += &format!("\n{}", table.text(40));
        }
        if let Some(note) = self.note() {
            out += &format!("{note}\n");
        }
        out
    }

    fn html(&self) -> String {
        let mut page = self.layers.page(self.subject);
        page.parts.push(Part::Heading("Hardware counters".into()));
        if !self.counted.nothing {
            page.parts.push(Part::Table(HtmlTable {
                columns: Self::COLUMNS.map(|c| (c.0.to_string(), c.1)).to_vec(),
                rows: self.cells(),
            }));
        }
        page.parts.extend(self.note().map(Part::Text));
        report::html(&page)
    }
}
