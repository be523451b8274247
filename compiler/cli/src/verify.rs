//! `verify`: runs a model on stored cases and compares its outputs with stored references.
//!
//! What is free in the model is bound by each case's data; cases of the same shapes share one compilation. See
//! [`crate::compare`] for the rules. A miss names the output, the worst element, and the first layer whose values differ
//! from the interpreter's.

use onnxc_compiler::Artifact;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use serde_json::json;

use crate::args::flags::Verify;
use crate::blame;
use crate::cases::{Case, Cases};
use crate::compare::{self, Finding, Rule, compare, default_rule};
use crate::data::topk::{number, top};
use crate::devices::{self, Devices};
use crate::engine::{self, Engine};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs;
use crate::table::{Align, Table};
use crate::ui::Ui;

/// What is known of one output of one case.
struct Row {
    case: usize,
    name: String,
    shape: Vec<i64>,
    rule: Rule,
    finding: Finding,
    worst: Option<(Vec<i64>, f64, f64)>,
    /// For outputs that look like scores of classes: rows whose best class agrees, and rows.
    top: Option<(usize, usize)>,
}

/// What devices did, and how their outputs compare with those of the CPU twins: in every bit, or not.
#[derive(Default)]
struct OnDevices {
    states: Vec<devices::RegionState>,
    outputs: usize,
    differ: usize,
}

impl OnDevices {
    fn text(&self) -> String {
        match (self.outputs, self.differ) {
            (0, _) => String::new(),
            (n, 0) => {
                format!("with devices and without them, {n} outputs are equal in every bit\n")
            }
            (n, d) => format!("with devices and without them, {d} of {n} outputs differ\n"),
        }
    }
}

/// Verifies a model.
pub fn run(flags: &Verify, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let mut cases = Cases::open(&flags.reference)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?
        .for_threads(flags.threads.threads);
    let wanted = job.wanted()?;
    let numbers = match flags.case.as_slice() {
        [] => cases.numbers(),
        some => some.to_vec(),
    };
    let mut rows = Vec::new();
    let mut culprit = None;
    // Cases of the same shapes share a compilation.
    let mut compiled = Vec::new();
    let devices = Devices::new(&flags.code.npu)?;
    let mut npu = OnDevices::default();
    for number in numbers {
        let case = cases.get(number, wanted.len(), job.signature.outputs.len())?;
        for (w, t) in wanted.iter().zip(&case.inputs) {
            crate::data::bind::check(w, t)?;
        }
        let artifact = job.compile_for(&case.inputs, &mut compiled)?;
        let named: Vec<(&str, &Tensor)> = wanted
            .iter()
            .map(|w| w.name.as_str())
            .zip(&case.inputs)
            .collect();
        let inputs = engine::in_order(artifact, &named)?;
        let exec = flags.exec.exec.as_deref();
        let engine = Engine::new(artifact, &machine, exec)?.with_devices(&devices);
        let got = engine.run(&inputs)?;
        if !artifact.info.offload.regions.is_empty() {
            devices::add(&mut npu.states, engine.devices());
        }
        let regions = &artifact.info.offload.regions;
        // The CPU twins have the last word, where there are some.
        if !regions.is_empty() && !regions.iter().any(|r| r.required) {
            let cpu = Engine::new(artifact, &machine, exec)?.run(&inputs)?;
            npu.outputs += got.len();
            npu.differ += got
                .iter()
                .zip(&cpu)
                .filter(|(a, b)| a.data != b.data)
                .count();
        }
        let before = rows.len();
        judge(flags, &job, artifact, &case, &got, &mut rows);
        if !flags.no_layer && culprit.is_none() && rows[before..].iter().any(|r| !r.finding.pass) {
            culprit = Some(blame::first_layer(artifact, &engine, &inputs, ui)?);
        }
    }
    let failed = rows.iter().filter(|r| !r.finding.pass).count();
    devices::tell(&npu.states, ui);
    let text = if flags.json {
        as_json(&rows, culprit.as_ref(), &npu) + "\n"
    } else {
        as_text(&rows, culprit.as_ref()) + &npu.text()
    };
    outputs::print(&text)?;
    Ok(if failed == 0 && npu.differ == 0 {
        Status::Done
    } else {
        Status::Failed
    })
}

fn judge(
    flags: &Verify,
    job: &Job,
    artifact: &Artifact,
    case: &Case,
    got: &[Tensor],
    rows: &mut Vec<Row>,
) {
    for (o, want) in &case.outputs {
        let Some(have) = got.get(*o) else { continue };
        let border = &job.signature.outputs[*o];
        let want = &as_wide_as(have, want);
        let rule = rule(flags, want, border.quantized, job.signature.half);
        let finding = compare(have, want, rule);
        let value = |t: &Tensor| t.get_f64(finding.worst);
        let worst = value(have)
            .zip(value(want))
            .filter(|_| finding.mismatch.is_none() && finding.differ > 0)
            .map(|(a, b)| (compare::place(finding.worst, &want.shape), a, b));
        rows.push(Row {
            case: case.number,
            name: artifact.info.outputs[*o].name.clone(),
            shape: want.shape.clone(),
            rule,
            finding,
            worst,
            top: best_classes(have, want),
        });
    }
}

/// A reference that was computed in f64 for a smaller float, rounded to it.
fn as_wide_as(got: &Tensor, want: &Tensor) -> Tensor {
    match want.to_f64s() {
        Some(v) if want.dtype == DType::F64 && got.dtype.is_float() => {
            Tensor::from_f64s(got.dtype, &want.shape, &v)
        }
        _ => want.clone(),
    }
}

/// Compares the best class of each row of a `[rows, classes]` output.
fn best_classes(got: &Tensor, want: &Tensor) -> Option<(usize, usize)> {
    let classes = match want.shape.as_slice() {
        [_, n] if *n > 1 && got.shape == want.shape => *n as usize,
        _ => return None,
    };
    let (a, b) = (got.to_f64s()?, want.to_f64s()?);
    let best = |row: &[f64]| top(row, 1).first().copied();
    let rows: Vec<bool> = (a.chunks(classes).zip(b.chunks(classes)))
        .map(|(a, b)| best(a) == best(b))
        .collect();
    Some((rows.iter().filter(|r| **r).count(), rows.len()))
}

fn rule(flags: &Verify, want: &Tensor, quantized: bool, half: bool) -> Rule {
    let by_default = default_rule(want.dtype, quantized, half, flags.steps);
    match (flags.rtol, flags.atol) {
        (None, None) => by_default,
        (rtol, atol) if want.dtype.is_float() => Rule::Each {
            rtol: rtol.unwrap_or(0.0),
            atol: atol.unwrap_or(0.0),
        },
        _ => by_default,
    }
}

fn rule_text(rule: Rule) -> String {
    match rule {
        Rule::OfLargest(part) => format!("{part:e} of largest"),
        Rule::Each { rtol, atol } => format!("{atol:e} + {rtol:e} each"),
        Rule::Steps(n) => format!("{n} step{}", if n == 1 { "" } else { "s" }),
        Rule::Part(part) => format!("{part:e} of elements"),
    }
}

fn as_text(rows: &[Row], culprit: Option<&String>) -> String {
    let mut table = Table::new(&[
        ("case", Align::Right),
        ("output", Align::Left),
        ("shape", Align::Left),
        ("max error", Align::Right),
        ("of largest", Align::Right),
        ("RMS", Align::Right),
        ("differ", Align::Right),
        ("top-1", Align::Right),
        ("tolerance", Align::Left),
        ("", Align::Left),
    ]);
    for r in rows {
        let f = &r.finding;
        let relative = if f.largest > 0.0 {
            number(f.max_error / f.largest)
        } else {
            "-".into()
        };
        table.row(vec![
            r.case.to_string(),
            r.name.clone(),
            format!("{:?}", r.shape).replace(' ', ""),
            number(f.max_error),
            relative,
            number(f.rms),
            format!("{}/{}", f.differ, f.count),
            r.top
                .map_or("-".into(), |(same, rows)| format!("{same}/{rows}")),
            rule_text(r.rule),
            if f.pass { "ok" } else { "MISS" }.into(),
        ]);
    }
    let mut out = table.text(40);
    for r in rows.iter().filter(|r| !r.finding.pass) {
        out += &format!("miss: case {}, output `{}`: ", r.case, r.name);
        out += &match (&r.finding.mismatch, &r.worst) {
            (Some(why), _) => why.clone(),
            (None, Some((place, a, b))) => {
                format!("worst element {place:?} is {a:?}, the reference is {b:?}")
            }
            (None, None) => format!(
                "{} of {} elements differ",
                r.finding.differ, r.finding.count
            ),
        };
        out.push('\n');
    }
    if let Some(text) = culprit {
        out += &format!("{text}\n");
    }
    let failed = rows.iter().filter(|r| !r.finding.pass).count();
    out + &match failed {
        0 => format!("verified: {} outputs agree\n", rows.len()),
        n => format!("not verified: {n} of {} outputs miss\n", rows.len()),
    }
}

fn as_json(rows: &[Row], culprit: Option<&String>, npu: &OnDevices) -> String {
    let list: Vec<_> = rows
        .iter()
        .map(|r| {
            let f = &r.finding;
            let worst = r.worst.as_ref().map(|(place, a, b)| {
                // NaN and infinities have no numbers in JSON; their names stand for them.
                json!({"place": place, "got": format!("{a:?}"), "want": format!("{b:?}")})
            });
            json!({
                "case": r.case, "output": r.name, "shape": r.shape, "pass": f.pass,
                "max_error": f.max_error, "largest": f.largest, "rms": f.rms,
                "differ": f.differ, "count": f.count, "rule": rule_text(r.rule),
                "mismatch": f.mismatch, "worst": worst,
                "top1_agree": r.top.map(|t| t.0), "rows": r.top.map(|t| t.1),
            })
        })
        .collect();
    let pass = rows.iter().all(|r| r.finding.pass) && npu.differ == 0;
    let mut all = json!({"pass": pass, "outputs": list, "first_layer_to_differ": culprit});
    if npu.outputs > 0 {
        all["npu"] = json!({
            "regions": devices::as_json(&npu.states), "outputs": npu.outputs, "differ_from_cpu": npu.differ,
        });
    }
    all.to_string()
}
