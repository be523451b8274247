//! One test in the official layout: `model.onnx` with `test_data_set_*/input_*.pb` and `output_*.pb`.
//!
//! The rule is that of onnx.backend.test: shapes and types agree, and each element lies within `atol + rtol * |reference|`,
//! 1e-7 and 1e-3 unless the test's `data.json` says otherwise; integers and booleans agree exactly. Tests whose `data.json` names a model
//! of the folder `light` run on the made-up input that the official runner makes.

use std::path::{Path, PathBuf};

use onnxc_compiler::base::diag::{Diagnostic, Kind, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::read_tensor;

use super::Verdict;
use crate::args::flags::{ModelFlags, TestOnnx};
use crate::compare::{Rule, compare, place};
use crate::engine::{self, Engine};
use crate::failure::{Failure, file_error};
use crate::files::Source;
use crate::job::Job;
use crate::machine::Machine;
use crate::ui::Ui;

/// What a test consists of.
struct Test {
    model: PathBuf,
    rtol: f64,
    atol: f64,
    /// Folders of inputs and outputs; none: inputs are made up.
    sets: Vec<PathBuf>,
    /// Where the outputs for made-up inputs lie, without `_output_k.pb`.
    light: Option<PathBuf>,
}

/// How a test ended, and why.
type Ended = (Verdict, String);

enum Stop {
    Failed(Failure),
    Ended(Ended),
}

impl From<Box<Diagnostic>> for Stop {
    fn from(d: Box<Diagnostic>) -> Stop {
        Stop::Failed(d.into())
    }
}

impl From<Failure> for Stop {
    fn from(f: Failure) -> Stop {
        Stop::Failed(f)
    }
}

/// Runs a test.
pub fn run(dir: &Path, machine: &Machine, flags: &TestOnnx, ui: &Ui) -> Ended {
    let test = match describe(dir) {
        Ok(Some(test)) => test,
        Ok(None) => return (Verdict::Skipped, "no model or no data".into()),
        Err(d) => return (Verdict::Internal, d.to_string()),
    };
    match attempt(&test, machine, flags, ui) {
        Ok(()) => (Verdict::Passed, String::new()),
        Err(Stop::Ended(ended)) => ended,
        Err(Stop::Failed(failure)) => judge(&failure),
    }
}

/// What diagnostics mean for a test that is known to be legal.
fn judge(failure: &Failure) -> Ended {
    let errors: Vec<&Diagnostic> = failure.0.iter().filter(|d| d.is_error()).collect();
    let text = |d: &Diagnostic| d.to_string().lines().next().unwrap_or_default().to_string();
    let ours = errors
        .iter()
        .find(|d| !matches!(d.kind, Kind::Unsupported | Kind::Limit));
    match (ours, errors.first()) {
        (Some(d), _) => (Verdict::Internal, text(d)),
        (None, Some(d)) => (Verdict::Unsupported, text(d)),
        (None, None) => (Verdict::Internal, "failed without a reason".into()),
    }
}

/// Tests for which ONNX's own runner has other tolerances (`test_kwargs` in onnx/test/test_backend_reference.py): name,
/// relative, absolute. The stored answers of the DFTs hold rounding noise of 2e-7 where the exact answer is 0.
const OFFICIAL: &[(&str, f64, f64)] = &[
    ("test_dft", 1e-3, 1e-6),
    ("test_dft_axis", 1e-3, 1e-6),
    ("test_dft_axis_opset19", 1e-3, 1e-6),
    ("test_dft_inverse", 1e-3, 1e-6),
    ("test_dft_inverse_opset19", 1e-3, 1e-6),
    ("test_dft_opset19", 1e-3, 1e-6),
    ("test_celu_bfloat16_expanded", 1e-2, 1e-2),
];

fn describe(dir: &Path) -> Result<Option<Test>> {
    let data = dir.join("data.json");
    let facts: serde_json::Value = match std::fs::read_to_string(&data) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| file_error("read", &data, e))?,
        Err(_) => serde_json::Value::Null,
    };
    let own = OFFICIAL.iter().find(|t| t.0 == super::name(dir));
    let (rtol, atol) = own.map_or((1e-3, 1e-7), |t| (t.1, t.2));
    let mut test = Test {
        model: dir.join("model.onnx"),
        rtol: facts["rtol"].as_f64().unwrap_or(rtol),
        atol: facts["atol"].as_f64().unwrap_or(atol),
        sets: Vec::new(),
        light: None,
    };
    if !test.model.exists() {
        // `onnx/backend/test/data/light/light_x.onnx`, beside the folder of the kind that this test is of.
        let light = facts["url"]
            .as_str()
            .and_then(|u| u.rsplit_once("/light/"))
            .and_then(|(_, name)| Some(dir.parent()?.parent()?.join("light").join(name)));
        let Some(model) = light.filter(|m| m.exists()) else {
            return Ok(None);
        };
        test.light = Some(model.with_extension(""));
        test.model = model;
        return Ok(Some(test));
    }
    let entries = std::fs::read_dir(dir).map_err(|e| file_error("read", dir, e))?;
    test.sets = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir() && super::name(p).starts_with("test_data_set"))
        .collect();
    test.sets.sort();
    Ok((!test.sets.is_empty()).then_some(test))
}

fn load(path: &Path) -> Result<Tensor> {
    let data = std::fs::read(path).map_err(|e| file_error("read", path, e))?;
    read_tensor(data.into())
}

fn attempt(
    test: &Test,
    machine: &Machine,
    flags: &TestOnnx,
    ui: &Ui,
) -> std::result::Result<(), Stop> {
    let model_flags = ModelFlags::default();
    let source = Source::open(&test.model, &model_flags)?;
    let mut job = Job::new(&source, &model_flags, &flags.code, machine, ui)?;
    let borders = || job.signature.inputs.iter().chain(&job.signature.outputs);
    if let Some(b) = borders().find(|b| b.dtype.is_none_or(|t| t.size() == 0)) {
        let what = match b.dtype {
            Some(t) => format!("elements of type {t}"),
            None => b.kind.to_string(),
        };
        let reason = format!("`{}`: {what} can't cross the border", b.name);
        return Err(Stop::Ended((Verdict::Unsupported, reason)));
    }
    let stems: Vec<PathBuf> = match &test.light {
        Some(stem) => vec![stem.clone()],
        None => test.sets.clone(),
    };
    for stem in stems {
        let borders = job.signature.inputs.iter();
        let (names, inputs, outputs): (Vec<String>, _, _) = if test.light.is_some() {
            let name = super::name(&stem);
            (
                (borders.filter(|b| !b.default).map(|b| b.name.clone())).collect(),
                dummies(&job)?,
                numbered(&stem.with_file_name(format!("{name}_output"))),
            )
        } else {
            let data = numbered(&stem.join("input"));
            (
                borders.map(|b| b.name.clone()).collect(),
                data.iter().map(|p| load(p)).collect::<Result<Vec<_>>>()?,
                numbered(&stem.join("output")),
            )
        };
        // Data is for the first inputs of the file; those among them that have defaults become inputs by being given.
        job.options.import.inputs = (names.iter().zip(&inputs))
            .filter(|(n, _)| {
                job.signature
                    .inputs
                    .iter()
                    .any(|b| b.default && b.name == **n)
            })
            .map(|(n, t)| (n.clone(), t.shape.clone()))
            .collect();
        let named: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&inputs).collect();
        let data: Vec<Tensor> = job
            .wanted()?
            .iter()
            .filter_map(|w| named.iter().find(|n| n.0 == w.name).map(|n| n.1.clone()))
            .collect();
        let mut known = Vec::new();
        let artifact = job.compile_for(&data, &mut known)?;
        let engine = Engine::new(artifact, machine, flags.exec.exec.as_deref())?;
        let ordered = engine::in_order(artifact, &named)?;
        let got = engine.run(&ordered)?;
        for (k, path) in outputs.iter().enumerate() {
            let want = load(path)?;
            let Some(have) = got.get(k) else {
                let reason = format!("output {k} is missing");
                return Err(Stop::Ended((Verdict::Wrong, reason)));
            };
            check(test, &artifact.info.outputs[k].name, have, &want)?;
        }
    }
    Ok(())
}

/// `STEM_0.pb`, `STEM_1.pb`, ... as long as there are any.
fn numbered(stem: &Path) -> Vec<PathBuf> {
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    (0..)
        .map(|k| stem.with_file_name(format!("{name}_{k}.pb")))
        .take_while(|p| p.exists())
        .collect()
}

fn check(test: &Test, name: &str, got: &Tensor, want: &Tensor) -> std::result::Result<(), Stop> {
    let rule = if want.dtype.is_float() {
        Rule::Each {
            rtol: test.rtol,
            atol: test.atol,
        }
    } else {
        Rule::Part(0.0)
    };
    let f = compare(got, want, rule);
    if f.pass {
        return Ok(());
    }
    let reason = match f.mismatch {
        Some(why) => format!("output `{name}`: {why}"),
        None => format!(
            "output `{name}`: element {:?} is {:?}, not {:?}; {} of {} differ",
            place(f.worst, &want.shape),
            got.get_f64(f.worst).unwrap_or(f64::NAN),
            want.get_f64(f.worst).unwrap_or(f64::NAN),
            f.differ,
            f.count
        ),
    };
    Err(Stop::Ended((Verdict::Wrong, reason)))
}

/// `arange(n) / n` in the shape of each input, free sizes being 1.
fn dummies(job: &Job) -> Result<Vec<Tensor>> {
    job.wanted()?
        .iter()
        .map(|w| {
            let shape: Vec<i64> = w.shape.iter().flatten().map(|d| d.unwrap_or(1)).collect();
            let n = Tensor::zeros(DType::U8, shape.clone())?.len();
            let values: Vec<f32> = (0..n).map(|i| (i as f64 / n as f64) as f32).collect();
            Ok(Tensor::f32(&shape, &values))
        })
        .collect()
}
