//! Layer by layer: how long each takes, and how long the machine needs for it at least.
//!
//! The least time is the larger of two: multiply-adds at the measured peak of the instruction that the layer's kernel multiplies with,
//! and bytes at the measured bandwidth of where they lie. Where a layer has kernels of several instructions, the fastest counts; where it
//! is loops, the fastest that the machine has for its numbers. Bytes are what must be moved once: the values a layer reads and writes, and its weights; scratch memory is not
//! counted. Values lie where all values of the layer have room together, since neighbours have just made them; weights where
//! all memory of the model has room, since they were last used one run ago. A share above 1 is possible where work is saved
//! (Winograd, zeros among the weights, parts of a table that are not read), and with several threads: what the machine can do is that of
//! one.

use std::collections::BTreeMap;
use std::time::Instant;

use onnxc_abi::status;
use onnxc_compiler::loops::ir::Access;
use onnxc_compiler::plan::program::{Layer, Place, Program};
use onnxc_compiler::target::Target;
use onnxc_targets::probe::{self, Products};
use serde_json::{Value, json};

use super::clock::Times;
use super::record::Row;
use super::roofline::{self, Peak, Roofline};
use super::subject::Subject;
use super::{gflops, level, record};
use crate::devices::RegionState;
use crate::engine::{Loaded, failed_run};
use crate::failure::Outcome;
use crate::progress::Bar;
use crate::report::{Bars, Page, Part, Point, Roof, Table as HtmlTable};
use crate::table::{Align, Table, bytes, count};

/// Runs that are timed, at least.
const LEAST: usize = 10;
/// Bars of the chart, at most.
const BARS: usize = 40;

/// A measured layer.
pub struct LayerTime {
    /// Its name.
    pub name: String,
    /// Its operators.
    pub ops: String,
    /// Its kernel.
    pub kernel: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of values that are read and written once.
    pub values: u64,
    /// Bytes of weights.
    pub weights: u64,
    /// The shortest time in nanoseconds, all its calls in a run together; 0: it did not run.
    pub ns: f64,
    /// The least time, in nanoseconds.
    pub least: f64,
    /// Where its values lie.
    pub level: &'static str,
    /// The instruction by whose peak it is judged; empty: it adds up no products.
    pub instruction: &'static str,
}

impl LayerTime {
    /// The least time over its time.
    pub fn share(&self) -> f64 {
        if self.ns > 0.0 {
            self.least / self.ns
        } else {
            0.0
        }
    }
    /// Operations per byte.
    pub fn intensity(&self) -> f64 {
        2.0 * self.macs as f64 / ((self.values + self.weights) as f64).max(1.0)
    }
}

/// All layers of a model, and what they were compared with.
pub struct Layers {
    /// In the order of the program.
    pub list: Vec<LayerTime>,
    /// The machine.
    pub roof: Roofline,
    /// The shortest whole run, in nanoseconds, traced.
    pub whole: f64,
    /// Threads.
    pub threads: u32,
}

/// Times every layer.
pub fn measure(subject: &Subject, threads: u32, seconds: f64, bar: &Bar) -> Outcome<Layers> {
    let p = &subject.artifact.program;
    let target = &subject.machine.target;
    let layers = p.layers.iter().map(|(_, l)| multiplied(p, l, target));
    let instructions: Vec<Vec<&Products>> = layers.collect();
    let used = |p: &Products| {
        let mut all = instructions.iter().flatten();
        all.any(|i| i.instruction == p.instruction)
    };
    let roof = roofline::measure(subject.machine, None, seconds.clamp(1.0, 5.0), bar, &used)?;
    bar.say("measuring layers");
    let (best, whole) =
        subject.loaded(threads, |l| Ok(clock_layers(l, p.layers.len(), seconds)?))?;
    let footprint = p.arena_bytes.saturating_add(p.weights_bytes);
    let mut list: Vec<LayerTime> = p
        .layers
        .iter()
        .zip(best)
        .zip(&instructions)
        .map(|(((_, layer), ns), products)| {
            let (values, weights) = moved(p, layer);
            let near = roof.level(values);
            let far = roof.level(footprint);
            // Values are read and written in turn, weights are only read.
            let moving = near.map_or(0.0, |l| values as f64 / l.copy.max(l.read))
                + far.map_or(0.0, |l| weights as f64 / l.read);
            let peak = peak(&roof, p, layer, products);
            LayerTime {
                name: layer.name.clone(),
                ops: layer.ops.join("+"),
                kernel: layer.kernel.clone(),
                macs: layer.macs,
                values,
                weights,
                ns,
                least: moving.max(peak.map_or(0.0, |p| 2.0 * layer.macs as f64 / p.speed)),
                level: near.map_or("", |l| l.name),
                instruction: peak.map_or("", |p| p.instruction),
            }
        })
        .collect();
    list.extend(regions(subject));
    Ok(Layers {
        list,
        roof,
        whole,
        threads,
    })
}

/// The instructions that the kernels of a layer multiply with.
fn multiplied(p: &Program, layer: &Layer, target: &Target) -> Vec<&'static Products> {
    let callees = p.funcs[layer.func].callees.iter();
    let tiles = callees.filter_map(|c| {
        let mut all = target.machine.tiles.iter();
        all.find(|t| t.name == c.kernel)
    });
    tiles
        .filter_map(|t| probe::products(target.arch, t))
        .collect()
}

/// The peak that a layer is judged by.
fn peak<'a>(
    roof: &'a Roofline,
    p: &Program,
    layer: &Layer,
    products: &[&Products],
) -> Option<&'a Peak> {
    if layer.macs == 0 {
        return None;
    }
    let used = |p: &Peak| products.iter().any(|i| i.instruction == p.instruction);
    roof.fastest(used).or_else(|| {
        // Loops. The scales of a tail are floats, whatever is multiplied.
        let mut bufs = p.funcs[layer.func].bufs.iter();
        let whole = layer.kernel.contains("integer") || !bufs.any(|(_, b)| b.dtype.is_float());
        roof.fastest(|p| whole != (p.numbers == "f32"))
    })
}

/// What regions took on their devices, on average: rows behind those of the layers. No roofline holds there.
fn regions(subject: &Subject) -> Vec<LayerTime> {
    let devices = subject.devices.borrow();
    let ran = devices.iter().filter(|s| s.runs.0 > 0);
    let macs = |slot: u32| {
        let all = subject.artifact.info.offload.regions.iter();
        all.filter(|r| r.slot == slot).map(|r| r.macs).sum()
    };
    let row = |s: &RegionState| LayerTime {
        name: format!("r{}_region {} on {}", s.slot, s.slot, s.accelerator),
        ops: "Offload".into(),
        kernel: s.accelerator.clone(),
        macs: macs(s.slot),
        values: 0,
        weights: 0,
        ns: s.device_ns as f64 / f64::from(s.runs.0),
        least: 0.0,
        level: "",
        instruction: "",
    };
    ran.map(row).collect()
}

/// The shortest time of each layer, and of the whole.
fn clock_layers(
    loaded: &mut Loaded,
    layers: usize,
    seconds: f64,
) -> onnxc_compiler::base::diag::Result<(Vec<f64>, f64)> {
    // What looking at the clock costs is part of every time, and taken off.
    let cost = (0..1000).map(|_| {
        let t = Instant::now();
        t.elapsed().as_nanos() as f64
    });
    let cost = cost.fold(f64::MAX, f64::min);
    let mut best = vec![f64::MAX; layers];
    let mut whole = Vec::new();
    let begin = Instant::now();
    while whole.len() < LEAST || begin.elapsed().as_secs_f64() < seconds {
        let mut sums = vec![0.0; layers];
        let mut since = Instant::now();
        let start = since;
        let status = loaded.run_clocked(&mut |layer, begins| {
            if begins {
                since = Instant::now();
            } else if let Some(sum) = sums.get_mut(layer as usize) {
                *sum += (since.elapsed().as_nanos() as f64 - cost).max(0.0);
            }
        });
        whole.push(start.elapsed().as_nanos() as f64);
        if status != status::OK {
            return Err(failed_run(status));
        }
        for (b, s) in best.iter_mut().zip(sums) {
            *b = b.min(s);
        }
    }
    Ok((best, Times::of(whole).min()))
}

/// Bytes of values and of weights that a layer must move, each buffer once.
pub fn moved(p: &Program, layer: &Layer) -> (u64, u64) {
    let func = &p.funcs[layer.func];
    let made = |place: &Place| layer.makes.iter().any(|m| m.2 == *place);
    let mut places: BTreeMap<Place, (u64, bool)> = BTreeMap::new();
    for ((_, buf), place) in func.bufs.iter().zip(&layer.args) {
        // What is written and read again, and is nobody's value, is scratch.
        if buf.access == Access::ReadWrite && !made(place) {
            continue;
        }
        let n = buf.len.bounds(&p.symbols).1.max(0) as u64;
        let n = n.saturating_mul(buf.dtype.size() as u64);
        let entry = places.entry(*place).or_default();
        *entry = (entry.0.max(n), entry.1 || buf.access != Access::Read);
    }
    let written = places.values().filter(|v| v.1).map(|v| v.0);
    let written: u64 = written.fold(0, u64::saturating_add);
    // Of what is picked from, no more is read than is written.
    let picks = layer
        .ops
        .iter()
        .any(|o| o.starts_with("Gather") || *o == "Slice");
    let (mut values, mut weights) = (0u64, 0u64);
    for (place, (n, writes)) in &places {
        let n = if picks && !writes {
            (*n).min(written)
        } else {
            *n
        };
        let sum = match place {
            Place::Weights(_) => &mut weights,
            _ => &mut values,
        };
        *sum = sum.saturating_add(n);
    }
    (values, weights)
}

impl Layers {
    fn total(&self) -> f64 {
        self.list.iter().map(|l| l.ns).sum()
    }
    /// The least time of all layers over their time.
    pub fn share(&self) -> f64 {
        let ran = self.list.iter().filter(|l| l.ns > 0.0 && l.least > 0.0);
        let (least, took) = ran.fold((0.0, 0.0), |s, l| (s.0 + l.least, s.1 + l.ns));
        least / f64::max(took, 1e-9)
    }

    /// As rows of a record, layers under the model's name.
    pub fn rows(&self, subject: &Subject) -> Vec<Row> {
        let ran = self.list.iter().filter(|l| l.ns > 0.0);
        let row = |l: &LayerTime| Row {
            what: format!("{}/{}", subject.name(), l.name),
            shape: format!("{} {}", l.ops, l.kernel).trim().to_string(),
            threads: self.threads,
            ns: l.ns,
            macs: l.macs,
            share: self
                .roof
                .peaks
                .iter()
                .find(|p| p.instruction == l.instruction)
                .map(|p| gflops(l.macs, l.ns) / p.speed),
            peer: None,
        };
        ran.map(row).collect()
    }

    /// As JSON.
    pub fn json(&self, subject: &Subject) -> Value {
        let list = self.list.iter().map(|l| {
            json!({
                "name": l.name, "ops": l.ops, "kernel": l.kernel, "ns": l.ns, "macs": l.macs,
                "value_bytes": l.values, "weight_bytes": l.weights, "level": l.level,
                "gflops": gflops(l.macs, l.ns), "instruction": l.instruction, "least_ns": l.least,
                "share_of_roofline": l.share(),
            })
        });
        json!({
            "model": subject.artifact.info.model, "cpu": subject.artifact.info.cpu_text(),
            "threads": self.threads, "whole_ns": self.whole, "layers_ns": self.total(),
            "share_of_roofline": self.share(), "roofline": self.roof.json(),
            "layers": list.collect::<Vec<_>>(),
        })
    }

    const COLUMNS: [(&'static str, Align); 11] = [
        ("#", Align::Right),
        ("layer", Align::Left),
        ("us", Align::Right),
        ("% of time", Align::Right),
        ("MACs", Align::Right),
        ("bytes", Align::Right),
        ("lies in", Align::Left),
        ("GOP/s", Align::Right),
        ("multiplies with", Align::Left),
        ("% of roofline", Align::Right),
        ("kernel", Align::Left),
    ];

    fn cells(&self, k: usize, l: &LayerTime) -> Vec<String> {
        let total = self.total().max(1e-9);
        let speed = match l.macs {
            // In a region, it did not run.
            _ if l.ns <= 0.0 => "-".to_string(),
            0 => "-".to_string(),
            _ => format!("{:.1}", gflops(l.macs, l.ns)),
        };
        vec![
            k.to_string(),
            l.name
                .split_once('_')
                .map_or(l.name.as_str(), |n| n.1)
                .to_string(),
            format!("{:.2}", l.ns / 1e3),
            format!("{:.1}", 100.0 * l.ns / total),
            if l.macs == 0 {
                "-".into()
            } else {
                count(l.macs)
            },
            bytes(l.values + l.weights),
            l.level.to_string(),
            speed,
            l.instruction.to_string(),
            format!("{:.0}", 100.0 * l.share()),
            l.kernel.clone(),
        ]
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut table = Table::new(&Self::COLUMNS);
        for (k, l) in self.list.iter().enumerate() {
            table.row(self.cells(k, l));
        }
        table.text(40) + "\n" + &self.summary() + &self.roof.text()
    }

    fn summary(&self) -> String {
        let ran = self.list.iter().filter(|l| l.ns > 0.0);
        let macs = ran.map(|l| l.macs).fold(0, u64::saturating_add);
        format!(
            "layers {:.1} us of {:.1} us, threads {}, {:.1} GOP/s, {:.1}% of the roofline\n",
            self.total() / 1e3,
            self.whole / 1e3,
            self.threads,
            gflops(macs, self.total()),
            100.0 * self.share(),
        )
    }

    /// As a page.
    pub fn page(&self, subject: &Subject) -> Page {
        let ran: Vec<&LayerTime> = self.list.iter().filter(|l| l.ns > 0.0).collect();
        let mut slow = ran.clone();
        slow.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        let text = |v: (&str, Align)| (v.0.to_string(), v.1);
        Page {
            title: format!("{}, layer by layer", subject.name()),
            parts: vec![
                Part::Facts(
                    [
                        ("CPU".into(), record::cpu()),
                        ("level".into(), level(subject.machine)),
                        ("time".into(), self.summary()),
                    ]
                    .into_iter()
                    .chain(self.roof.facts())
                    .collect(),
                ),
                Part::Heading("Roofline".into()),
                Part::Text("A roof for each instruction that multiplies. A layer is a dot in the colour of its own; where work is saved (Winograd, zeros among the weights) it may lie above.".into()),
                Part::Roof(Roof {
                    peaks: (self.roof.peaks.iter())
                        .map(|p| (format!("{} ({})", p.instruction, p.numbers), p.speed))
                        .collect(),
                    slopes: (self.roof.levels.iter())
                        .map(|l| (l.name.to_string(), l.copy.max(l.read)))
                        .collect(),
                    points: (ran.iter())
                        .map(|l| Point {
                            name: l.name.clone(),
                            intensity: l.intensity(),
                            speed: gflops(l.macs, l.ns),
                            peak: (self.roof.peaks.iter())
                                .position(|p| p.instruction == l.instruction),
                        })
                        .collect(),
                }),
                Part::Heading("Where the time goes".into()),
                Part::Bars(Bars {
                    title: "microseconds; marked: what the machine needs at least".into(),
                    bars: (slow.iter().take(BARS))
                        .map(|l| (l.name.clone(), l.ns / 1e3, l.share()))
                        .collect(),
                }),
                Part::Heading("Layers".into()),
                Part::Table(HtmlTable {
                    columns: Self::COLUMNS.map(text).to_vec(),
                    rows: (self.list.iter().enumerate())
                        .map(|(k, l)| self.cells(k, l))
                        .collect(),
                }),
                Part::Heading("Machine".into()),
                self.roof.part(),
            ],
        }
    }
}
