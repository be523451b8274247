//! A folder of models: one table of all, with geometric means of the ratio to a peer.
//!
//! Every folder in it with `model.onnx` counts; `io.npz` beside it (and `exact.npz`) gives data and reference. A model that can't be compiled or
//! measured is a row that says why, and makes the command fail at the end.

use std::path::{Path, PathBuf};

use onnxc_compiler::base::diag::Diagnostic;
use serde_json::json;

use super::against::{Duel, Side, duel};
use super::record::{self, Row};
use super::subject::{self, Subject};
use crate::args::flags::Bench;
use crate::failure::{Failure, Outcome, Status, file_error};
use crate::machine::Machine;
use crate::outputs;
use crate::progress::Bar;
use crate::ui::Ui;

/// Milliseconds of the peer from which on a model counts as large.
const LARGE: f64 = 0.9;

/// One model with one number of threads.
struct Line {
    name: String,
    threads: u32,
    macs: u64,
    quantized: bool,
    duel: Duel,
    rows: Vec<Row>,
}

/// Measures every model of a folder.
pub fn run(flags: &Bench, folder: &Path, machine: &Machine, ui: &Ui) -> Outcome {
    let list = std::fs::read_dir(folder).map_err(|e| file_error("read", folder, e))?;
    let mut models: Vec<PathBuf> = list
        .flatten()
        .map(|e| e.path().join("model.onnx"))
        .filter(|p| p.is_file())
        .collect();
    models.sort();
    if models.is_empty() {
        let why = format!("`{}` holds no folder with a model.onnx", folder.display());
        return Err(Diagnostic::usage("USE002", why).into());
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut failed: Vec<(String, String)> = Vec::new();
    let bar = Bar::counted(ui, Some(models.len() as u64));
    for path in &models {
        let name = path.parent().and_then(Path::file_name).unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        bar.say(&name);
        // References that were computed exactly go before those of some runtime.
        let files = ["io.npz", "exact.npz"].map(|n| path.with_file_name(n));
        let files: Vec<PathBuf> = files.into_iter().filter(|f| f.is_file()).collect();
        let quiet = ui.silent();
        let done = subject::with(&flags.into(), path, &files, machine, &quiet, |subject| {
            measure(flags, subject)
        });
        match done {
            Ok(more) => lines.extend(more),
            Err(failure) => failed.push((name, first(&failure))),
        }
        bar.step();
    }
    drop(bar);
    let text = if flags.json {
        lines.iter().map(json_line).collect()
    } else {
        table(&lines, flags, machine)
    };
    let rows: Vec<Row> = lines.iter().flat_map(|l| l.rows.clone()).collect();
    record::append(flags.record.as_deref(), machine, &rows)?;
    outputs::print(&text)?;
    for l in &lines {
        if !l.duel.wrong.is_empty() {
            failed.push((l.name.clone(), "outputs miss the reference".into()));
        }
        for side in &l.duel.sides {
            if let Err(e) = &side.result {
                failed.push((l.name.clone(), e.clone()));
            }
        }
    }
    failed.dedup();
    if failed.is_empty() {
        return Ok(Status::Done);
    }
    for (name, why) in &failed {
        ui.diagnostic(&Diagnostic::model("USE007", format!("{name}: {why}")));
    }
    Ok(Status::Failed)
}

fn first(failure: &Failure) -> String {
    let first = failure.0.iter().find(|d| d.is_error());
    first.map_or_else(
        || "it failed".into(),
        |d| format!("{}: {}", d.code, d.message),
    )
}

fn measure(flags: &Bench, subject: &Subject) -> Outcome<Vec<Line>> {
    let mut lines = Vec::new();
    for threads in &flags.threads {
        let duel = duel(
            subject,
            *threads,
            flags.seconds,
            &flags.against,
            &flags.peer,
        )?;
        lines.push(Line {
            name: subject.name(),
            threads: *threads,
            macs: subject.macs(),
            quantized: subject.quantized(),
            rows: record::against(subject, *threads, &duel),
            duel,
        });
    }
    Ok(lines)
}

fn json_line(l: &Line) -> String {
    json!({
        "model": l.name, "threads": l.threads, "min_ms": l.duel.ours.min() / 1e6, "macs": l.macs,
        "peers": l.duel.sides.iter().map(Side::json).collect::<Vec<_>>(),
        "quantized": l.quantized, "verified": l.duel.wrong.is_empty(),
    })
    .to_string()
        + "\n"
}

/// Markdown: one row a model and number of threads, then the means.
fn table(lines: &[Line], flags: &Bench, machine: &Machine) -> String {
    let mut out = format!("{}, {}\n\n", record::cpu(), super::level(machine));
    let mut head = "| model | kind | threads | MMAC | ours ms | GFLOP/s |".to_string();
    let mut rule = "|---|---|---:|---:|---:|---:|".to_string();
    for peer in &flags.against {
        head += &format!(" {peer} ms | difference |");
        rule += "---:|---:|";
    }
    if !flags.against.is_empty() {
        head += " best | ratio min | ratio median |";
        rule += "---|---:|---:|";
    }
    out += &format!("{head}\n{rule}\n");
    for l in lines {
        let ns = l.duel.ours.min();
        out += &format!(
            "| {}{} | {} | {} | {:.2} | {:.4} | {:.1} |",
            l.name,
            if l.duel.wrong.is_empty() {
                ""
            } else {
                " (wrong)"
            },
            if l.quantized { "int8" } else { "float" },
            l.threads,
            l.macs as f64 / 1e6,
            ns / 1e6,
            super::gflops(l.macs, ns),
        );
        for side in &l.duel.sides {
            match &side.result {
                Ok(f) => {
                    let off = f.difference.map_or("-".to_string(), |d| format!("{d:.0e}"));
                    out += &format!(" {:.4} | {off} |", f.times.min() / 1e6);
                }
                Err(_) => out += " - | - |",
            }
        }
        match l.duel.best() {
            Some((name, f)) => {
                out += &format!(" {name} | {:.3} | {:.3} |", f.ratio_min, f.ratio_median);
            }
            None if flags.against.is_empty() => {}
            None => out += " - | - | - |",
        }
        out.push('\n');
    }
    if !flags.against.is_empty() {
        out.push('\n');
        out += &means(lines, flags);
    }
    out
}

/// Geometric means of our time over that of the fastest peer, models split by the latter.
fn means(lines: &[Line], flags: &Bench) -> String {
    let mut out =
        "| models | threads | number | geometric mean | worst |\n|---|---:|---:|---:|---|\n"
            .to_string();
    let floats: [(&str, f64, f64); 3] = [
        ("float, peer >= 0.9 ms", LARGE, f64::INFINITY),
        ("float, peer < 0.9 ms", 0.0, LARGE),
        ("float, all", 0.0, f64::INFINITY),
    ];
    let groups = floats.map(|g| (g.0, g.1, g.2, false));
    let groups = groups
        .into_iter()
        .chain([("int8", 0.0, f64::INFINITY, true)]);
    let groups: Vec<_> = groups.collect();
    for threads in &flags.threads {
        for (what, from, to, quantized) in &groups {
            let fits = |l: &&Line| l.threads == *threads && l.quantized == *quantized;
            let ratios = lines.iter().filter(fits).filter_map(|l| {
                let (_, f) = l.duel.best()?;
                let ms = f.times.min() / 1e6;
                (ms >= *from && ms < *to).then_some((f.ratio_min, l.name.as_str()))
            });
            let ratios: Vec<(f64, &str)> = ratios.collect();
            let Some(worst) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            let mean = geometric_mean(ratios.iter().map(|r| r.0));
            out += &format!(
                "| {what} | {threads} | {} | {mean:.3} | {:.3} {} |\n",
                ratios.len(),
                worst.0,
                worst.1
            );
        }
    }
    out
}

/// The root of the product.
fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(s, n), v| (s + libm::log(v), n + 1));
    libm::exp(sum / f64::from(n.max(1)))
}

#[cfg(test)]
#[test]
fn means_are_geometric() {
    assert!((geometric_mean([0.5, 2.0].into_iter()) - 1.0).abs() < 1e-12);
    assert!((geometric_mean([4.0].into_iter()) - 4.0).abs() < 1e-12);
}
