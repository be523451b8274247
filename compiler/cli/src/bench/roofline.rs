//! What the machine can do: multiply-adds a second with each instruction that kernels have, and bytes a second from each cache and from
//! memory.
//!
//! The probes are code of our own for the features that the code under test may use (`onnxc_targets::probe`), made into a
//! program like any model, so they run wherever a model runs. Each figure is the best of many.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::codegen::exec::Drive;
use onnxc_compiler::graph::ir::{Graph, Model};
use onnxc_compiler::kernel::{Machine as Features, Tile};
use onnxc_compiler::plan::program::{Layer, Place, Port, Program, Step};
use onnxc_compiler::target::Target;
use onnxc_compiler::{Artifact, Options, Quiet};
use onnxc_targets::probe::{self, Products};
use serde_json::{Value, json};

use super::clock::{self, Times};
use crate::engine::Engine;
use crate::machine::Machine;
use crate::progress::Bar;
use crate::remote::Remote;
use crate::report::{Page, Part, Table};
use crate::table::{Align, bytes as size};

/// Turns of a probe of multiply-adds.
const TURNS: i64 = 5000;
/// Bytes that a bandwidth probe moves in one run, at least.
const MOVED: i64 = 16 << 20;

/// A place where data can lie.
#[derive(Clone, Debug)]
pub struct Level {
    /// `L1`, `L2`, `L3`, `DRAM`.
    pub name: &'static str,
    /// Bytes that it holds; the last one holds all.
    pub holds: u64,
    /// Bytes a nanosecond that can be loaded.
    pub read: f64,
    /// Bytes a nanosecond loaded and stored when copying, both counted.
    pub copy: f64,
}

/// What an instruction can do.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Its name, and the registers: `vpdpbusd zmm`.
    pub instruction: &'static str,
    /// What it multiplies: `f32`, `i8`, `i16`.
    pub numbers: &'static str,
    /// The probe of it.
    pub probe: &'static str,
    /// Operations a nanosecond, two for each multiply-add.
    pub speed: f64,
}

/// What was measured, on one thread.
#[derive(Clone, Debug)]
pub struct Roofline {
    /// Those of f32 first, each kind of numbers by what the machine prefers.
    pub peaks: Vec<Peak>,
    /// The nearest first.
    pub levels: Vec<Level>,
}

impl Roofline {
    /// f32 operations a nanosecond.
    pub fn peak(&self) -> f64 {
        self.fastest(|p| p.numbers == "f32")
            .map_or(f64::NAN, |p| p.speed)
    }
    /// The fastest instruction of some.
    pub fn fastest(&self, of: impl Fn(&Peak) -> bool) -> Option<&Peak> {
        let some = self.peaks.iter().filter(|p| of(p));
        some.max_by(|a, b| a.speed.total_cmp(&b.speed))
    }

    /// The nearest level that holds so many bytes.
    pub fn level(&self, bytes: u64) -> Option<&Level> {
        let near = self.levels.iter().find(|l| l.holds >= bytes);
        near.or(self.levels.last())
    }

    /// The figures as JSON.
    pub fn json(&self) -> Value {
        let levels = self.levels.iter().map(|l| {
            json!({ "name": l.name, "holds_bytes": l.holds, "read_gb_s": l.read, "copy_gb_s": l.copy })
        });
        let peaks = self.peaks.iter().map(|p| {
            json!({ "instruction": p.instruction, "numbers": p.numbers, "probe": p.probe, "peak_gops": p.speed })
        });
        json!({
            "peak_gflops": self.peak(), "peaks": peaks.collect::<Vec<_>>(), "levels": levels.collect::<Vec<_>>(),
        })
    }

    /// A line for each instruction: its peak.
    fn lines(&self) -> impl Iterator<Item = String> {
        (self.peaks.iter())
            .map(|p| format!("{:.1} GOP/s in {} ({})", p.speed, p.numbers, p.instruction))
    }

    /// The figures as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.lines().for_each(|l| out += &format!("peak {l}\n"));
        for l in &self.levels {
            out += &format!(
                "{:<4} read {:.1} GB/s, copy {:.1} GB/s (read and written)\n",
                l.name, l.read, l.copy
            );
        }
        out
    }

    /// The peaks as facts of a page.
    pub fn facts(&self) -> impl Iterator<Item = (String, String)> {
        self.lines().map(|l| ("peak".into(), l))
    }

    /// Bandwidths as a part of a page.
    pub fn part(&self) -> Part {
        let right = |s: &str| (s.to_string(), Align::Right);
        Part::Table(Table {
            columns: vec![
                ("level".into(), Align::Left),
                right("holds"),
                right("read GB/s"),
                right("copy GB/s"),
            ],
            rows: (self.levels.iter())
                .map(|l| {
                    let holds = if l.holds == u64::MAX {
                        "-".into()
                    } else {
                        size(l.holds)
                    };
                    vec![
                        l.name.into(),
                        holds,
                        format!("{:.1}", l.read),
                        format!("{:.1}", l.copy),
                    ]
                })
                .collect(),
        })
    }

    /// A page of its own.
    pub fn page(&self, machine: &Machine) -> Page {
        Page {
            title: "What this machine can do".into(),
            parts: vec![
                Part::Facts(
                    [
                        ("CPU".into(), super::record::cpu()),
                        ("level".into(), super::level(machine)),
                    ]
                    .into_iter()
                    .chain(self.facts())
                    .collect(),
                ),
                self.part(),
            ],
        }
    }
}

/// Measures all of it, in about `seconds`, on one thread. Of instructions those that are `wanted`, and the first of each kind of
/// numbers.
pub fn measure(
    machine: &Machine,
    exec: Option<&str>,
    seconds: f64,
    bar: &Bar,
    wanted: &dyn Fn(&Products) -> bool,
) -> Result<Roofline> {
    let features = &machine.target.machine;
    let has = |t: &Tile| t.needs.iter().all(|f| features.has(f));
    let best = |contract: &str| {
        let mut rows = probe::rows(machine.target.arch).iter();
        let fit = rows.find(|t| t.contract == contract && has(t)).copied();
        fit.ok_or_else(|| Diagnostic::internal(format!("no `{contract}` for this machine")))
    };
    let (read, copy) = (best(probe::READ)?, best(probe::COPY)?);
    let mut kinds = vec![];
    let mut list: Vec<&Products> = vec![];
    for p in probe::multipliers(machine.target.arch) {
        let first = has(p.tile) && !kinds.contains(&p.numbers);
        if first {
            kinds.push(p.numbers);
        }
        if first || has(p.tile) && wanted(p) {
            list.push(p);
        }
    }
    let each = seconds / (8 + list.len()) as f64;
    let mut peaks = Vec::new();
    for p in list {
        bar.say(&format!("measuring {}", p.instruction));
        let ns = time(machine, exec, p.tile, probe::STEP, TURNS, each)?;
        peaks.push(Peak {
            instruction: p.instruction,
            numbers: p.numbers,
            probe: p.tile.name,
            speed: 2.0 * (probe::work(p.tile) * TURNS) as f64 / ns,
        });
    }
    let mut levels = Vec::new();
    for (name, holds, working) in caches(machine, exec.is_some()) {
        bar.say(&format!("measuring {name}"));
        let speed = |tile: &'static Tile, bytes: i64, moves: i64| -> Result<f64> {
            let bytes = (bytes / probe::STEP).max(1) * probe::STEP;
            let turns = (MOVED / bytes).max(1);
            let ns = time(machine, exec, tile, bytes, turns, each)?;
            Ok((bytes * turns * moves) as f64 / ns)
        };
        levels.push(Level {
            name,
            holds,
            read: speed(read, working, 1)?,
            copy: speed(copy, working / 2, 2)?,
        });
    }
    Ok(Roofline { peaks, levels })
}

/// Name, size and bytes to measure with, of each level: what the system says of this machine, what the table of CPUs says of
/// others.
fn caches(machine: &Machine, elsewhere: bool) -> Vec<(&'static str, u64, i64)> {
    let known = &machine.target.machine;
    let found = if elsewhere { None } else { system_caches() };
    let [l1, l2, l3] = found.unwrap_or([known.l1d.into(), known.l2.into(), 0]);
    let mut list = vec![];
    for (name, holds) in [("L1", l1), ("L2", l2), ("L3", l3)] {
        // Half of it, but not what the level before holds.
        let before = list.last().map_or(0, |l: &(_, u64, _)| l.1);
        if holds > before {
            let working = (holds / 2).max(before.saturating_mul(2)).min(holds * 3 / 4);
            list.push((name, holds, working.min(6 << 20) as i64));
        }
    }
    let last = list.last().map_or(1 << 20, |l: &(_, u64, _)| l.1);
    let most = if elsewhere { 32 << 20 } else { 256 << 20 };
    list.push((
        "DRAM",
        u64::MAX,
        last.saturating_mul(8).clamp(16 << 20, most) as i64,
    ));
    list
}

/// Sizes of the data caches of the first core, from Linux.
fn system_caches() -> Option<[u64; 3]> {
    let mut sizes = [0; 3];
    for k in 0..8 {
        let file = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{k}/{name}");
            Some(std::fs::read_to_string(path).ok()?.trim().to_string())
        };
        let (Some(level), Some(kind), Some(size)) = (file("level"), file("type"), file("size"))
        else {
            continue;
        };
        let bytes = match size.strip_suffix('K') {
            Some(n) => n.parse::<u64>().ok()? * 1024,
            None => size.strip_suffix('M')?.parse::<u64>().ok()? << 20,
        };
        let level = level.parse::<usize>().ok()?;
        if kind != "Instruction" && (1..=3).contains(&level) {
            sizes[level - 1] = bytes;
        }
    }
    (sizes[0] > 0).then_some(sizes)
}

/// Nanoseconds of one run of a probe, at best.
fn time(
    machine: &Machine,
    exec: Option<&str>,
    tile: &'static Tile,
    bytes: i64,
    turns: i64,
    seconds: f64,
) -> Result<f64> {
    let artifact = compile(&machine.target, tile, bytes, turns)?;
    // Written, so that its pages are not all the same one.
    let data = Tensor::zeros(DType::F32, vec![bytes / 4])?;
    let samples = match exec {
        Some(command) => {
            let remote = Remote::new(&artifact, &machine.target, None, command, Drive::Time)?;
            remote.time(&[], &[&data], seconds)?
        }
        None => {
            let engine = Engine::new(&artifact, machine, None)?;
            let Some(mut loaded) = engine.load_here(&[&data])? else {
                return Err(Diagnostic::internal("a probe that is not here"));
            };
            let batch = clock::warm_up(&mut loaded, seconds)?;
            clock::sample(&mut loaded, batch, seconds, clock::LEAST)?
        }
    };
    Ok(Times::of(samples).min())
}

/// A probe as a program of one layer.
fn compile(target: &Target, tile: &'static Tile, bytes: i64, turns: i64) -> Result<Artifact> {
    let mut p = Program::default();
    let port = |name: &str| Port {
        name: name.into(),
        ty: TensorType::fixed(DType::F32, &[bytes / 4]),
    };
    p.inputs.push(port("x"));
    p.outputs.push(port("y"));
    p.arena_bytes = p.symbol_bytes();
    let func = p.funcs.push(probe::func(tile, bytes, turns));
    let layer = Layer {
        sums: true,
        kernel: tile.name.into(),
        ..Layer::of(
            "000_probe",
            func,
            vec![Place::Input(0, 0), Place::Output(0, 0)],
        )
    };
    let layer = p.layers.push(layer);
    p.steps.push(Step::Layer(layer));
    let target = Target {
        arch: target.arch,
        triple: target.triple.clone(),
        cpu: target.cpu.clone(),
        isa_flags: target.isa_flags.clone(),
        machine: Features {
            features: target.machine.features.clone(),
            tiles: vec![tile],
            ..Features::default()
        },
        landing_pads: target.landing_pads,
    };
    let model = Model {
        graph: Graph::new("probe"),
        symbols: Default::default(),
        ..Model::default()
    };
    let options = Options {
        prefix: "probe".into(),
        ..Options::default()
    };
    let mut diags = Diagnostics::default();
    let made = onnxc_compiler::emit(model, p, &target, &options, &mut Quiet, &mut diags);
    made.ok_or_else(|| {
        let first = diags.list.into_iter().find(Diagnostic::is_error);
        first.map_or_else(|| Diagnostic::internal("a probe has no code"), Box::new)
    })
}
