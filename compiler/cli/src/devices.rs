//! Devices that run with a model: started as the flags ask, and what they did, in words.
//!
//! Nothing falls back in silence: every region says how many runs went to its device, how many to the CPU, and why.

use std::sync::Arc;

use onnxc_abi::npu::{Health, npu_status_text};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::offload::Offload;
use onnxc_runtime::offload::{Regions, Settings};
use onnxc_sim::driver::{Program, Sim};
use onnxc_sim::faults::Options;
use serde_json::{Value, json};

use crate::args::npu::NpuFlags;
use crate::job::Job;
use crate::loader::{Model, Opened};
use crate::ui::Ui;

/// How likely a job has a fault where only a seed is given.
const RATE: &str = "rate=0.2";

/// The devices that flags ask for. They start when a model is first opened on them, and go on from model to model.
pub struct Devices {
    sims: Vec<Arc<Sim>>,
    settings: Settings,
}

impl Devices {
    /// As the flags say.
    pub fn new(flags: &NpuFlags) -> Result<Devices> {
        let mut sims = vec![];
        for text in &flags.npu {
            let (name, options) = text.split_once(':').unwrap_or((text, ""));
            if name == "sim" {
                let options = sim_options(options, flags.npu_faults.as_deref())?;
                sims.push(Arc::new(Sim::new(options, Program::default())));
            }
        }
        Ok(Devices {
            sims,
            settings: Settings {
                shadow_every: flags.npu_shadow.unwrap_or(0),
                ..Settings::default()
            },
        })
    }
    /// Opens the regions of a model.
    pub fn open(&self, model: &Arc<Model>) -> Opened {
        model.open(self.sims.clone(), self.settings)
    }
}

/// Options of a simulated device with its faults: `seed=N`, other options, or a script (`ok/hang/error`).
fn sim_options(options: &str, faults: Option<&str>) -> Result<Options> {
    let faults = match faults {
        None => String::new(),
        Some(f) if f.contains("seed=") && !f.contains("rate=") => format!(",{f},{RATE}"),
        Some(f) if f.contains('=') || ["absent", "refuse"].contains(&f) => format!(",{f}"),
        Some(f) => format!(",script={f}"),
    };
    Options::parse(&format!("{options}{faults}"))
        .map_err(|why| Diagnostic::usage("NPU004", format!("--npu-faults: {why}")))
}

/// What became of a region's runs.
pub struct RegionState {
    /// Its number.
    pub slot: u32,
    /// Its accelerator.
    pub accelerator: String,
    /// Runs whose outputs are the device's, and those that the CPU computed.
    pub runs: (u32, u32),
    /// Nanoseconds of the device's runs, from submission to the end.
    pub device_ns: u64,
    /// What the device is worth.
    pub health: &'static str,
    /// What happened beside good runs: name and how often.
    pub events: Vec<(&'static str, u32)>,
    /// Why the CPU computes, in words; empty if it does not.
    pub why: String,
}

/// The state of all regions.
pub fn states(r: &Regions, o: &Offload) -> Vec<RegionState> {
    let each = o.regions.iter().enumerate();
    each.map(|(k, region)| {
        let c = r.counters(k);
        let events = [
            ("absent", c.absent),
            ("refused", c.refused),
            ("timeout", c.timeout),
            ("error", c.error),
            ("lost", c.lost),
            ("silent", c.silent),
            ("mismatch", c.mismatch),
            ("busy", c.busy),
            ("shadow", c.shadow),
            ("cancelled", c.cancelled),
            ("drained", c.drained),
        ];
        let events: Vec<_> = events.into_iter().filter(|e| e.1 > 0).collect();
        let health = match r.health(k) {
            Health::New => "not opened",
            Health::Ready => "ready",
            Health::Quarantined => "in quarantine",
            Health::CpuOnly => "CPU only",
            Health::Lost => "lost",
        };
        RegionState {
            slot: region.slot,
            accelerator: region.accelerator.clone(),
            runs: (c.device, c.cpu),
            device_ns: c.device_ns,
            health,
            why: match r.last(k) {
                _ if events.is_empty() => String::new(),
                last => npu_status_text(last).to_string(),
            },
            events,
        }
    })
    .collect()
}

/// The same where no device can be reached.
pub fn none(o: &Offload) -> Vec<RegionState> {
    let each = o.regions.iter();
    each.map(|region| RegionState {
        slot: region.slot,
        accelerator: region.accelerator.clone(),
        runs: (0, 0),
        device_ns: 0,
        health: "not opened",
        events: vec![],
        why: "the code runs through a command, where no device is: the CPU computes".into(),
    })
    .collect()
}

/// Says that a verb asks no device, where accelerators are asked for.
pub fn left_out(job: &Job, ui: &Ui) {
    if !job.options.passes.npu.accelerators.is_empty() {
        let text = "no device takes part here: the CPU twins compute, with the same bits";
        ui.note(&Diagnostic::warning("NPU006", text));
    }
}

/// Adds what happened in further runs of the same regions.
pub fn add(all: &mut Vec<RegionState>, more: Vec<RegionState>) {
    for m in more {
        let Some(s) = all.iter_mut().find(|s| s.slot == m.slot) else {
            all.push(m);
            continue;
        };
        s.runs = (s.runs.0 + m.runs.0, s.runs.1 + m.runs.1);
        s.device_ns += m.device_ns;
        s.health = m.health;
        for (name, n) in m.events {
            match s.events.iter_mut().find(|e| e.0 == name) {
                Some(e) => e.1 += n,
                None => s.events.push((name, n)),
            }
        }
        if !m.why.is_empty() {
            s.why = m.why;
        }
    }
}

/// Tells a person.
pub fn tell(list: &[RegionState], ui: &Ui) {
    for s in list {
        let (device, cpu) = s.runs;
        let mut text = format!(
            "region {} on {}: {device} runs on the device, {cpu} on the CPU; {}",
            s.slot, s.accelerator, s.health
        );
        if device > 0 {
            text += &format!(
                ", {:.4} ms a run there",
                s.device_ns as f64 / 1e6 / f64::from(device)
            );
        }
        let events: Vec<String> = s.events.iter().map(|(n, c)| format!("{n} {c}")).collect();
        if !events.is_empty() {
            text += &format!(" ({})", events.join(", "));
        }
        if !s.why.is_empty() {
            text += &format!("; last: {}", s.why);
        }
        let d = match cpu > 0 || device == 0 {
            true => Diagnostic::warning("NPU006", text),
            false => Diagnostic::remark("NPU006", text),
        };
        ui.note(&d);
    }
}

/// The same for programs.
pub fn as_json(list: &[RegionState]) -> Value {
    let each = list.iter().map(|s| {
        let events: serde_json::Map<String, Value> = (s.events.iter())
            .map(|(n, c)| (n.to_string(), (*c).into()))
            .collect();
        json!({
            "region": s.slot, "accelerator": s.accelerator, "device_runs": s.runs.0, "cpu_runs": s.runs.1,
            "device_ns": s.device_ns, "health": s.health, "events": events, "why": s.why,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::sim_options;

    #[test]
    fn faults_are_a_script_a_seed_or_options() {
        let text = |o: &str, f: Option<&str>| sim_options(o, f).unwrap().text();
        assert!(text("machine=sim-64", Some("ok/hang")).ends_with("script=ok/hang"));
        assert!(text("", Some("seed=7")).contains("seed=7,rate=0.2"));
        assert!(text("", Some("seed=7,rate=0.5")).contains("rate=0.5"));
        assert!(text("", Some("absent")).contains("absent"));
        assert!(sim_options("", Some("nonsense")).is_err());
    }
}
