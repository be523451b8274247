//! The contract of real models, measured: every buffer between pages that can't be touched, arena and stack as promised.
//!
//! On this machine the loader of the tool holds the buffers; for AArch64 `tests/c/contract.c` does, under qemu. Skipped where
//! the models are not at hand (see `tools::shared`).

use onnxc::args::Parsed;
use onnxc::args::flags::{Verb, Verify};
use onnxc::cases::Cases;
use onnxc::files::Source;
use onnxc::job::Job;
use onnxc::loader::{Model, SessionOptions};
use onnxc::machine::{self, Purpose};
use onnxc::ui::Ui;
use onnxc_abi::status;
use onnxc_compiler::Artifact;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_tests::contract::{deepest, least, measure};
use onnxc_tests::tools::shared;
use std::path::{Path, PathBuf};

/// Sizes of an arena are whole cache lines.
const LINE: u64 = 64;

/// Models that compute nothing for inputs of zeros: these choose a branch that can't run.
const NEEDS_DATA: &[&str] = &["silero_vad"];

/// What an emulator gets through many times in a test: convolutions, a policy, a recurrent model.
const SMALL: &[&str] = &["dtln_1", "go1_policy", "kws_dscnn", "mnist8"];

/// A model as `onnxc verify` compiles it with these words for its first case, and that case's inputs.
fn compiled(model: &Path, more: &[&str]) -> (Artifact, Vec<Tensor>) {
    let mut words = vec!["verify".into(), model.join("model.onnx").into_os_string()];
    words.extend(["--reference".into(), model.join("io.npz").into_os_string()]);
    words.extend(
        ["--prefix", "model", "--quiet"]
            .iter()
            .chain(more)
            .map(|w| w.into()),
    );
    let Parsed::Run(cli) = onnxc::args::parse(words, false) else {
        panic!("the words are right");
    };
    let ui = Ui::new(&cli.global);
    let Verb::Verify(flags) = &cli.verb else {
        panic!("the verb is verify");
    };
    first_case(flags, &ui).unwrap_or_else(|f| panic!("{}: {:?}", model.display(), f.0))
}

fn first_case(flags: &Verify, ui: &Ui) -> onnxc::failure::Outcome<(Artifact, Vec<Tensor>)> {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let (wanted, outputs) = (job.wanted()?, job.signature.outputs.len());
    let case = Cases::open(&flags.reference)?.get(0, wanted.len(), outputs)?;
    let mut known = vec![];
    job.compile_for(&case.inputs, &mut known)?;
    let (binding, artifact) = known.remove(0);
    // Inputs that became constants are none any more.
    let given = wanted.iter().zip(case.inputs);
    let left = given.filter(|(w, _)| binding.constants.iter().all(|c| c.0 != w.name));
    Ok((artifact, left.map(|(_, t)| t).collect()))
}

fn names(p: &Path) -> String {
    p.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs between guard pages, before and behind. What is wrong with that, if anything is.
fn faults(artifact: &Artifact, inputs: &[Tensor]) -> Vec<String> {
    let mut out = vec![];
    let model = Model::load(&artifact.object, "model").unwrap_or_else(|d| panic!("{d}"));
    let d = model.descriptor();
    let mut first: Option<Vec<Vec<u8>>> = None;
    for front in [false, true] {
        let guarded = SessionOptions {
            guard: true,
            front,
            ..SessionOptions::default()
        };
        let mut s = model.session(&guarded).unwrap_or_else(|d| panic!("{d}"));
        let count = d.outputs().count();
        let mut most = 0;
        for paint in [0xff, 0] {
            for (k, t) in inputs.iter().enumerate() {
                let to = s.input_mut(k).expect("as many inputs as the model has");
                to[..t.data.len()].copy_from_slice(&t.data);
            }
            (0..count).for_each(|k| s.output_mut(k).expect("an output").fill(paint ^ 0x5a));
            s.arena_mut().fill(paint);
            let (status, stack) = s.run_measured().unwrap_or_else(|d| panic!("{d}"));
            if status != status::OK {
                out.push(format!("status {status}"));
                return out;
            }
            most = most.max(stack);
            let kept = inputs.iter().enumerate().all(|(k, t)| {
                s.input_mut(k)
                    .is_some_and(|b| b[..t.data.len()] == t.data[..])
            });
            if !kept {
                out.push("an input was written".into());
            }
            let arena = s.arena_mut();
            let used = arena.len() - arena.iter().rev().take_while(|b| **b == paint).count();
            // A byte may be written with what was there; not a whole line with either paint.
            if paint == 0xff && used as u64 + LINE <= d.arena_size() {
                out.push(format!("arena {used} of {}", d.arena_size()));
            }
            let outputs: Vec<Vec<u8>> = (0..count)
                .map(|k| s.output(k).expect("an output").to_vec())
                .collect();
            match &first {
                None => first = Some(outputs),
                Some(f) if *f != outputs => out.push("outputs depend on old memory".into()),
                Some(_) => {}
            }
        }
        let promised = d.stack_bytes();
        if most > promised || most < least(&artifact.code) {
            out.push(format!(
                "stack {most} of {promised} ({:?})",
                deepest(&artifact.code)
            ));
        }
        let refused = s.run_changed(&mut |c| c.arena_size -= 1);
        if d.arena_size() > 0 && refused != status::ARENA_TOO_SMALL {
            out.push(format!("an arena that is too small gives status {refused}"));
        }
    }
    out
}

fn models() -> Vec<PathBuf> {
    let Some(dir) = shared() else { return vec![] };
    let list = std::fs::read_dir(dir.join("models")).expect("the folder was there");
    let mut list: Vec<PathBuf> = list
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.join("model.onnx").exists())
        .collect();
    list.sort();
    list
}

#[test]
fn every_model_on_this_machine() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    let mut wrong = vec![];
    for m in models() {
        let (artifact, inputs) = compiled(&m, &[]);
        let found = faults(&artifact, &inputs);
        wrong.extend(found.into_iter().map(|f| format!("{}: {f}", names(&m))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn models_on_aarch64() {
    // All of them take the emulator a while.
    let all = std::env::var_os("ONNXC_EVERY_MODEL").is_some();
    for m in models()
        .iter()
        .filter(|m| !NEEDS_DATA.contains(&names(m).as_str()))
        .filter(|m| all || SMALL.contains(&names(m).as_str()))
    {
        let more = [
            "--target",
            "aarch64-unknown-linux-gnu",
            "--target-cpu",
            "cortex-a57",
        ];
        let (artifact, _) = compiled(m, &more);
        let dir = tempfile::tempdir().unwrap();
        let said = measure(
            dir.path(),
            &artifact,
            "aarch64-linux-gnu-gcc",
            &["qemu-aarch64-static"],
        );
        eprint!("{}: {}", names(m), said.unwrap_or_default());
    }
}
