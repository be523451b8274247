//! `bench`: how long a run takes, alone or next to another runtime, whole or layer by layer, here or on another machine.
//!
//! Contract: figures are measured, never estimated, and say what they were measured with. What the code computes is checked
//! before its time is taken where there is a reference.

pub mod against;
pub mod clock;
pub mod energy;
pub mod folder;
pub mod kernel;
pub mod layers;
pub mod peer;
pub mod record;
pub mod remote;
pub mod roofline;
pub mod subject;

use std::path::{Path, PathBuf};

use onnxc_abi::status;
use onnxc_compiler::base::diag::Diagnostic;
use serde_json::{Value, json};

use crate::args::flags::Bench;
use crate::engine::failed_run;
use crate::failure::{Outcome, Status};
use crate::machine::{self, Machine, Purpose};
use crate::outputs;
use crate::progress::Bar;
use crate::ui::Ui;
use against::duel;
use clock::Times;
use record::Row;
use subject::Subject;

/// Measures a model, or whatever else the flags ask for.
pub fn run(flags: &Bench, ui: &Ui) -> Outcome {
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let Some(path) = &flags.model else {
        return machine_alone(flags, &machine, ui);
    };
    if !machine.host && flags.exec.is_none() {
        return Err(Diagnostic::usage(
            "USE003",
            format!(
                "this machine can't run code for {}",
                machine.target.arch.name()
            ),
        )
        .help("name an emulator, as in --exec qemu-aarch64-static")
        .into());
    }
    if let Some(command) = &flags.exec {
        return remote::run(flags, path, command, &machine, ui);
    }
    if path.is_dir() {
        return folder::run(flags, path, &machine, ui);
    }
    if !flags.against.is_empty() && path == Path::new("-") {
        let why = "--against needs the model in a file, which the other runtime reads too";
        return Err(Diagnostic::usage("USE001", why).into());
    }
    subject::with(
        &flags.into(),
        path,
        &references(flags),
        &machine,
        ui,
        |subject| {
            if flags.layers {
                return by_layer(flags, subject, ui);
            }
            let mut text = String::new();
            let mut rows = Vec::new();
            let mut wrong = Vec::new();
            for threads in &flags.threads {
                let bar = Bar::new(ui);
                bar.say(&format!("measuring, threads {threads}"));
                let one = match flags.against.is_empty() {
                    true => alone(flags, subject, *threads)?,
                    false => beside(flags, subject, *threads)?,
                };
                drop(bar);
                text += &one.text;
                rows.extend(one.rows);
                wrong.extend(one.wrong);
            }
            if !flags.json {
                text += &sizes(subject);
            }
            record::append(flags.record.as_deref(), &machine, &rows)?;
            outputs::print(&text)?;
            checked(&wrong)
        },
    )
}

/// Files of references.
fn references(flags: &Bench) -> Vec<PathBuf> {
    flags.reference.iter().cloned().collect()
}

/// Measures the machine, without a model.
fn machine_alone(flags: &Bench, machine: &Machine, ui: &Ui) -> Outcome {
    if !machine.host && flags.exec.is_none() {
        let why = "the machine of another architecture is measured through --exec";
        return Err(Diagnostic::usage("USE003", why).into());
    }
    let exec = flags.exec.as_deref();
    let seconds = flags.seconds.max(2.0);
    let roof = roofline::measure(machine, exec, seconds, &Bar::new(ui), &|_| true)?;
    if let Some(path) = &flags.html {
        page(path, &roof.page(machine))?;
    }
    outputs::print(&match flags.json {
        true => roof.json().to_string() + "\n",
        false => roof.text(),
    })?;
    Ok(Status::Done)
}

fn page(path: &Path, page: &crate::report::Page) -> Outcome<()> {
    let mut files = outputs::Outputs::default();
    files.add(path, crate::report::html(page).as_bytes())?;
    Ok(files.commit()?)
}

/// Measures the machine, then each layer.
fn by_layer(flags: &Bench, subject: &Subject, ui: &Ui) -> Outcome {
    let bar = Bar::new(ui);
    // One number of threads: times of layers are looked at one by one.
    let threads = flags.threads.first().copied().unwrap_or(1);
    let layers = layers::measure(subject, threads, flags.seconds, &bar)?;
    drop(bar);
    if let Some(path) = &flags.html {
        page(path, &layers.page(subject))?;
    }
    record::append(
        flags.record.as_deref(),
        subject.machine,
        &layers.rows(subject),
    )?;
    outputs::print(&match flags.json {
        true => layers.json(subject).to_string() + "\n",
        false => layers.text(),
    })?;
    Ok(Status::Done)
}

/// An error if outputs missed their reference.
fn checked(wrong: &[String]) -> Outcome {
    if wrong.is_empty() {
        return Ok(Status::Done);
    }
    let mut list = wrong.to_vec();
    list.dedup();
    Err(crate::data::bad_data(
        format!("outputs {}", list.join(", ")),
        "they miss the reference; `onnxc verify` says where",
    )
    .into())
}

/// What was measured, said in three ways.
struct Said {
    text: String,
    rows: Vec<Row>,
    wrong: Vec<String>,
}

fn alone(flags: &Bench, subject: &Subject, threads: u32) -> Outcome<Said> {
    let (times, wrong, spent) = subject.loaded(threads, |loaded| {
        match loaded.run() {
            status::OK => {}
            s => return Err(failed_run(s).into()),
        }
        let wrong = subject.wrong(&loaded.outputs()?);
        let batch = clock::warm_up(loaded, flags.seconds)?;
        let samples = match flags.runs {
            Some(n) => clock::single(loaded, n as usize)?,
            None => clock::sample(loaded, batch, flags.seconds, clock::LEAST)?,
        };
        let spent = match flags.energy {
            true => Some(energy::measure(loaded, flags.seconds)?),
            false => None,
        };
        Ok((Times::of(samples), wrong, spent))
    })?;
    let text = match flags.json {
        true => {
            let mut all = object(subject, threads, &times, &wrong);
            if let Some(spent) = &spent {
                all["energy"] = energy::json(spent);
            }
            all.to_string() + "\n"
        }
        false => {
            let spent = spent.as_ref().map_or(String::new(), energy::text);
            line(subject, threads, &times) + &spent
        }
    };
    let rows = vec![Row::of(subject, threads, &times)];
    Ok(Said { text, rows, wrong })
}

fn beside(flags: &Bench, subject: &Subject, threads: u32) -> Outcome<Said> {
    let d = duel(subject, threads, flags.seconds, &flags.against, &flags.peer)?;
    // With only one there is nothing to compare with.
    if let ([side], None) = (d.sides.as_slice(), d.best())
        && let Err(e) = &side.result
    {
        return Err(Diagnostic::usage("USE007", e.clone()).into());
    }
    let mut text = line(subject, threads, &d.ours);
    for side in &d.sides {
        text += &match &side.result {
            Ok(f) => {
                let off = f.difference.map_or(String::new(), |d| {
                    format!(", outputs differ by {d:.1e} of the largest")
                });
                format!(
                    "{}: min {:.4} ms, median {:.4} ms ({} runs{off}); ratio min {:.3}, median {:.3}\n",
                    side.name,
                    f.times.min() / 1e6,
                    f.times.median() / 1e6,
                    f.times.len(),
                    f.ratio_min,
                    f.ratio_median,
                )
            }
            Err(e) => format!("{e}\n"),
        };
    }
    if flags.json {
        let mut object = object(subject, threads, &d.ours, &d.wrong);
        object["peers"] = d.sides.iter().map(against::Side::json).collect();
        text = object.to_string() + "\n";
    }
    Ok(Said {
        text,
        rows: record::against(subject, threads, &d),
        wrong: d.wrong,
    })
}

fn gflops(macs: u64, ns: f64) -> f64 {
    2.0 * macs as f64 / ns.max(1e-3)
}

fn line(subject: &Subject, threads: u32, times: &Times) -> String {
    format!(
        "min {:.4} ms, median {:.4} ms, p99 {:.4} ms, max {:.4} ms ({} runs, threads {threads}, {:.2} GFLOP/s)\n",
        times.min() / 1e6,
        times.median() / 1e6,
        times.at(0.99) / 1e6,
        times.at(1.0) / 1e6,
        times.len(),
        gflops(subject.macs(), times.min()),
    )
}

fn sizes(subject: &Subject) -> String {
    let info = &subject.artifact.info;
    format!(
        "arena {} bytes, weights {} bytes, code {} bytes, compiled in {:.0} ms\n",
        info.arena_bytes, info.weights_bytes, info.code_bytes, subject.compile_ms
    )
}

fn object(subject: &Subject, threads: u32, times: &Times, wrong: &[String]) -> Value {
    let info = &subject.artifact.info;
    let verified = (!subject.expected.is_empty()).then_some(wrong.is_empty());
    let mut all = json!({
        "model": info.model, "min_ms": times.min() / 1e6, "median_ms": times.median() / 1e6,
        "p99_ms": times.at(0.99) / 1e6, "max_ms": times.at(1.0) / 1e6, "runs": times.len(), "threads": threads,
        "arena_bytes": info.arena_bytes, "weights_bytes": info.weights_bytes,
        "code_bytes": info.code_bytes, "stack_bytes": info.stack_bytes, "macs": subject.macs(),
        "gflops": gflops(subject.macs(), times.min()), "compile_ms": subject.compile_ms,
        "cpu": info.cpu_text(), "verified": verified,
    });
    let devices = subject.devices.borrow();
    if !devices.is_empty() {
        all["npu"] = crate::devices::as_json(&devices);
    }
    all
}

/// Whether a machine has a level that is known by a name; else its CPU.
pub fn level(machine: &Machine) -> String {
    let m = &machine.target.machine;
    let has = |list: &[&str]| list.iter().all(|f| m.has(f));
    let level = match machine.target.arch {
        onnxc_targets::Arch::X86_64 => [
            (
                "x86-64-v4+vnni",
                &["avx512f", "avx512vl", "avx512bw", "avx512vnni"][..],
            ),
            ("x86-64-v4", &["avx512f", "avx512vl", "avx512bw"]),
            ("x86-64-v3", &["avx2", "fma"]),
            ("x86-64-v2", &["sse4.2"]),
            ("x86-64", &[]),
        ]
        .iter()
        .find(|l| has(l.1))
        .map(|l| l.0.to_string()),
        onnxc_targets::Arch::Aarch64 => {
            let extras = ["fp16", "dotprod", "i8mm"].iter().filter(|f| m.has(f));
            Some(extras.fold("armv8-a".to_string(), |s, f| s + "+" + f))
        }
    };
    level.unwrap_or_else(|| machine.target.cpu.clone())
}
