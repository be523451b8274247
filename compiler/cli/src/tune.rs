//! `tune-kernels`: measures kernels on a machine, and writes the table by which the compiler chooses among them.
//!
//! Rates are fitted to queries of common networks; the queries of models that are named are measured outright and held in the table, so
//! that the choice for exactly these is the fastest. A compilation with the same table gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use onnxc_compiler::base::costs::{Costs, Rates, Work, fit};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_targets::costs::Table;

use crate::args::flags::TuneKernels;
use crate::bench::kernel::{self, Shape};
use crate::bench::record;
use crate::failure::{Outcome, Status, file_error};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::Outputs;
use crate::progress::Bar;
use crate::ui::Ui;

/// Rows that are so many times dearer than the best by the table so far are not worth the time.
const HOPELESS: f64 = 8.0;
/// Samples that a fit needs; with fewer the level's rates are only scaled.
const ENOUGH: usize = 6;

/// Measures, fits, writes.
pub fn run(flags: &TuneKernels, ui: &Ui) -> Outcome {
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let common = match flags.only {
        true => vec![],
        false => kernel::parse(kernel::SHAPES)?,
    };
    let mut own = match &flags.queries {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
            kernel::parse(&text)?
        }
        None => vec![],
    };
    for path in &flags.models {
        let source = Source::open(path, &flags.model_flags)?;
        let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
        own.extend(queries(&job)?);
    }
    let mut seen = BTreeSet::new();
    own.retain(|s| seen.insert(s.text.clone()));
    if common.is_empty() && own.is_empty() {
        let why = "there is nothing to measure: name a model, or leave --only out";
        return Err(Diagnostic::usage("USE001", why).into());
    }
    let bar = Bar::counted(ui, Some((common.len() + own.len()) as u64));
    let mut samples: BTreeMap<&'static str, Vec<(Work, f64)>> = BTreeMap::new();
    let mut measured = BTreeMap::new();
    for (k, shape) in common.iter().chain(&own).enumerate() {
        bar.say(&shape.text);
        let exec = flags.exec.as_deref();
        let wanted = |_: &str, _: bool, dear: f64| dear <= HOPELESS;
        let mut times = BTreeMap::new();
        for m in kernel::measure(&machine, shape, flags.seconds, exec, &wanted)? {
            let list = samples.entry(m.row.name).or_default();
            list.push((m.work, m.times.min()));
            times.insert(m.row.name.to_string(), m.times.min());
        }
        if k >= common.len() {
            measured.insert(shape.text.clone(), times);
        }
        bar.step();
    }
    drop(bar);
    let before = &machine.target.machine.costs;
    let mut rates = before.rates.clone();
    if !flags.only {
        for (row, list) in &samples {
            rates.insert(row.to_string(), rates_of(row, list, before));
        }
        for contract in onnxc_compiler::contracts::ALL {
            let rows = contract.rows.iter().map(|r| r.name);
            bound_loops(&rows.collect::<Vec<_>>(), &mut rates);
        }
    }
    let table = Table {
        arch: machine.target.arch,
        cpu: machine.target.cpu.clone(),
        machine: match flags.exec {
            Some(_) => "the machine behind --exec".to_string(),
            None => record::cpu(),
        },
        features: machine.target.machine.features.clone(),
        costs: Costs { rates, measured },
    };
    let mut outputs = Outputs::default();
    outputs.add(&flags.output, table.print()?.as_bytes())?;
    outputs.commit()?;
    Ok(Status::Done)
}

/// What the layers of a model ask of kernels.
fn queries(job: &Job) -> Outcome<Vec<Shape>> {
    let artifact = job.compile()?;
    let texts: BTreeSet<&str> = (artifact.info.layers.iter())
        .map(|l| l.choice.0.as_str())
        .filter(|q| !q.is_empty())
        .collect();
    let all: Result<Vec<Vec<Shape>>> = texts.into_iter().map(kernel::parse).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Rates that explain the samples. Of few samples the level's, scaled by the median of what they are off. Plain loops are fast or slow for
/// reasons that no rate knows: they count as slow as they ever were.
fn rates_of(row: &str, samples: &[(Work, f64)], before: &Costs) -> Rates {
    if row.ends_with("_loops") {
        let slowest = samples.iter().map(|(w, ns)| ns / w.macs.max(1.0));
        let large = samples.iter().map(|(w, _)| w.macs).fold(0.0, f64::max);
        let rate = slowest
            .zip(samples)
            .filter(|(_, (w, _))| w.macs * 100.0 >= large)
            .map(|(rate, _)| rate)
            .fold(0.0, f64::max);
        return [0.0, rate, 0.0, 0.0, 0.0];
    }
    if samples.len() >= ENOUGH {
        return fit(samples);
    }
    let mut off: Vec<f64> = samples
        .iter()
        .map(|(work, ns)| ns / before.cost(row, work, None).max(1e-3))
        .collect();
    off.sort_by(f64::total_cmp);
    let scale = off.get(off.len() / 2).copied().unwrap_or(1.0);
    before.rates_of(row).map(|r| r * scale)
}

/// Loops are called and read their weights like any other row: at least at the least rate of the others of their contract.
fn bound_loops(rows: &[&str], rates: &mut BTreeMap<String, Rates>) {
    let (loops, others): (Vec<&str>, Vec<&str>) = rows.iter().partition(|r| r.ends_with("_loops"));
    for row in loops {
        let Some(mut own) = rates.get(row).copied() else {
            continue;
        };
        // A call, weights near and far.
        for part in [0, 3, 4] {
            let known = others.iter().filter_map(|r| rates.get(*r)).map(|r| r[part]);
            let least = known.filter(|r| *r > 0.0).fold(f64::INFINITY, f64::min);
            if least.is_finite() {
                own[part] = own[part].max(least);
            }
        }
        rates.insert(row.to_string(), own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_scale_and_loops_count_as_slow() {
        let before = Costs::of_rows(&[("gemm_f32_strip", [10.0, 1.0, 0.0, 0.0, 0.0])]);
        let few = [(Work::of(90.0), 50.0), (Work::of(190.0), 100.0)];
        let rates = rates_of("gemm_f32_strip", &few, &before);
        assert_eq!(rates, [5.0, 0.5, 0.0, 0.0, 0.0]);
        let loops = [
            (Work::of(1e6), 1e6),
            (Work::of(1e6), 3e6),
            (Work::of(10.0), 1e3),
        ];
        assert_eq!(rates_of("conv_loops", &loops, &before)[1], 3.0);
    }

    #[test]
    fn loops_are_never_cheaper_to_call() {
        let mut rates = BTreeMap::from([
            ("a".to_string(), [80.0, 0.02, 0.0, 0.003, 0.01]),
            ("b".to_string(), [90.0, 0.03, 0.0, 0.0, 0.02]),
            ("c_loops".to_string(), [0.0, 0.09, 0.0, 0.0, 0.0]),
        ]);
        bound_loops(&["a", "b", "c_loops"], &mut rates);
        assert_eq!(rates["c_loops"], [80.0, 0.09, 0.0, 0.003, 0.01]);
    }
}
