//! The builder: options in, files and cargo's lines out.

use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::environment::{Environment, Target};
use crate::error::{Error, Message};
use crate::place::{self, Stage, place};
use crate::stamp::{Known, Stamp};
use crate::{cpu, tool};

/// One model to be compiled, with what is asked for.
#[derive(Clone, Debug)]
pub struct Build {
    model: PathBuf,
    name: Option<String>,
    prefix: Option<String>,
    out_dir: Option<PathBuf>,
    report: Option<PathBuf>,
    header: Option<PathBuf>,
    weights: Weights,
    cpu: Option<String>,
    features: Vec<String>,
    opt: Option<String>,
    // Left out where only documentation is made: they change no type.
    costly: Vec<OsString>,
    words: Vec<OsString>,
    // Files and folders that the result depends on.
    inputs: Vec<PathBuf>,
}

/// Where the weights of a model go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// Into read-only data of the program.
    #[default]
    Embed,
    /// Into a section of this name, which a linker script places.
    Section(String),
    /// Into `OUT_DIR/NAME.weights`; the program maps or reads it, and gives it to the model.
    File,
    /// Into this file.
    FileAt(PathBuf),
}

/// A compiled model: where its files are, and what a run needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Compiled {
    /// Name of the module, and of the files.
    pub name: String,
    /// What the symbols in the archive begin with.
    pub prefix: String,
    /// The Rust module, for `include!`.
    pub module: PathBuf,
    /// The static library with the code.
    pub archive: PathBuf,
    /// The report, as JSON.
    pub report: PathBuf,
    /// The C header, if one was asked for.
    pub header: Option<PathBuf>,
    /// The weights file, if there is one.
    pub weights: Option<PathBuf>,
    /// Bytes of arena that a run needs.
    pub arena_bytes: u64,
    /// Bytes of weights.
    pub weights_bytes: u64,
    /// Bytes of stack that a run needs at most.
    pub stack_bytes: u64,
    /// CPU that the code is for.
    pub cpu: String,
    /// What the compiler said, none of it an error.
    pub messages: Vec<Message>,
    /// What cargo is told, line by line.
    pub cargo: Vec<String>,
}

// What things are called, and where they go.
struct Names {
    name: String,
    prefix: String,
    out: PathBuf,
}

impl Build {
    /// A model, by its file; relative paths begin at the package's folder.
    pub fn new(model: impl Into<PathBuf>) -> Build {
        Build {
            model: model.into(),
            name: None,
            prefix: None,
            out_dir: None,
            report: None,
            header: None,
            weights: Weights::Embed,
            cpu: None,
            features: vec![],
            opt: None,
            costly: vec![],
            words: vec![],
            inputs: vec![],
        }
    }

    /// Name of the module and the files: an identifier. The model's file name if absent.
    pub fn name(mut self, name: impl Into<String>) -> Build {
        self.name = Some(name.into());
        self
    }

    /// What the model's symbols begin with. If absent it is made of the package's name and version and the module's name, so that any
    /// number of crates with models link into one program.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Build {
        self.prefix = Some(prefix.into());
        self
    }

    /// Where module, archive and report go, instead of cargo's `OUT_DIR`.
    pub fn out_dir(mut self, dir: impl Into<PathBuf>) -> Build {
        self.out_dir = Some(dir.into());
        self
    }

    /// The CPU to make code for, as `onnxc --print target-cpus` lists them; several (`x86-64,x86-64-v3`) give code for each, chosen when
    /// it runs. The user's `ONNXC_TARGET_CPU` goes before it; without either it is the CPU that rustc was told.
    pub fn target_cpu(mut self, cpu: impl Into<String>) -> Build {
        self.cpu = Some(cpu.into());
        self
    }

    /// Switches features of the CPU: `+avx2,-fma`.
    pub fn features(mut self, list: impl Into<String>) -> Build {
        self.features.push(list.into());
        self
    }

    /// How much is optimized: `0`, `1`, `2`, `3` or `s`, as the tool's `-O`. If absent, `1` for a debug build (it compiles quickly, and
    /// gives the same numbers), `s` where cargo's `opt-level` is `s` or `z`, else `2`.
    pub fn opt(mut self, level: impl Display) -> Build {
        self.opt = Some(level.to_string());
        self
    }

    /// What to be best at: `latency`, `memory` or `size`.
    pub fn optimize_for(self, goal: &str) -> Build {
        self.word("--optimize-for", goal)
    }

    /// Quantizes the model first: `int8`, or another precision of `onnxc quantize`. Needs [`Build::calibration`] for most.
    pub fn quantize(mut self, precision: &str) -> Build {
        self.costly.push("--quantize=int8".into());
        if precision != "int8" {
            self.costly.push(format!("--precision={precision}").into());
        }
        self
    }

    /// Data that quantizing and pruning measure on: a folder of pictures, sounds or .npy files, or an .npz.
    pub fn calibration(self, data: impl Into<PathBuf>) -> Build {
        self.costly_file("--calibration", data.into())
    }

    /// How pictures and sound become tensors while calibrating: a TOML file.
    pub fn preprocess(self, file: impl Into<PathBuf>) -> Build {
        self.costly_file("--preprocess", file.into())
    }

    /// Uses so many cases of the calibration data at most.
    pub fn samples(mut self, n: u64) -> Build {
        self.costly.push(format!("--samples={n}").into());
        self
    }

    /// Prunes the model first: the share that goes, by a pattern of `onnxc prune` such as `channels` or `2:4`.
    pub fn prune(mut self, pattern: &str, share: f64) -> Build {
        self.costly.push("--prune".into());
        self.costly.push(format!("--pattern={pattern}").into());
        self.costly.push(format!("--sparsity={share}").into());
        self
    }

    /// Fixes a free size of the model, by its name or as `INPUT:AXIS`.
    pub fn dim(self, name: &str, size: u64) -> Build {
        self.word("--dim", format!("{name}={size}"))
    }

    /// Leaves a free size free within bounds; the program states it for each run.
    pub fn dim_range(self, name: &str, sizes: RangeInclusive<u64>) -> Build {
        let (lo, hi) = sizes.into_inner();
        self.word("--dim", format!("{name}={lo}..{hi}"))
    }

    /// Fixes the shape of an input.
    pub fn input(self, name: &str, shape: &[u64]) -> Build {
        let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
        self.word("--input", format!("{name}:{}", sizes.join(",")))
    }

    /// Threads that loops are cut for; the program brings them. 1 if absent.
    pub fn threads(self, n: u32) -> Build {
        self.word("--threads", n)
    }

    /// Where the weights go.
    pub fn weights(mut self, weights: Weights) -> Build {
        self.weights = weights;
        self
    }

    /// Lets an accelerator compute what it can: its name, with options.
    pub fn npu(mut self, name: &str) -> Build {
        self.costly.push(format!("--npu={name}").into());
        self
    }

    /// Writes the report, JSON, to this file instead of `OUT_DIR/NAME.json`.
    pub fn report(mut self, file: impl Into<PathBuf>) -> Build {
        self.report = Some(file.into());
        self
    }

    /// Writes a C header too, for C code of the same package.
    pub fn header(mut self, file: impl Into<PathBuf>) -> Build {
        self.header = Some(file.into());
        self
    }

    /// Any other word of `onnxc compile`, in one piece: `--winograd=off`.
    pub fn arg(mut self, word: impl Into<OsString>) -> Build {
        self.words.push(word.into());
        self
    }

    /// Compiles, writes what has changed, and tells cargo on standard output what to link and what to watch. A model that was compiled before
    /// from the same files and options, by the same compiler, is left as it is.
    ///
    /// # Errors
    /// What the compiler says of a model or option that can't be used; nothing is written then.
    pub fn compile(&self) -> Result<Compiled, Error> {
        let done = self.compile_in(&Environment::process())?;
        for line in &done.cargo {
            println!("{line}");
        }
        Ok(done)
    }

    /// The same in an environment given, without a word on standard output: [`Compiled::cargo`] has the lines.
    ///
    /// # Errors
    /// As [`Build::compile`].
    pub fn compile_in(&self, env: &Environment) -> Result<Compiled, Error> {
        let shown = self.model.display().to_string();
        let own = |m: Message| Error::new(shown.clone(), vec![m]);
        let target = env.target().map_err(own)?;
        let name = self.module_name().map_err(own)?;
        let prefix = match &self.prefix {
            Some(prefix) => prefix.clone(),
            None => own_prefix(env, &name),
        };
        let out = match &self.out_dir {
            Some(dir) => dir.clone(),
            None => env.needed("OUT_DIR").map_err(own)?.into(),
        };
        let names = Names { name, prefix, out };
        let stamp = self.stamp(env, &target, &names);
        if let Some(known) = stamp.as_ref().and_then(Stamp::known) {
            let report = self.report_in(&names);
            return self
                .described(env, &target, names, &report, known)
                .map_err(own);
        }
        let stage = Stage::new(&names.out, &names.name).map_err(own)?;
        let words = self.all_words(env, &target, &names.prefix, stage.folder());
        let messages = tool::compile(words, env);
        if messages.iter().any(Message::is_error) {
            return Err(Error::new(shown, messages));
        }
        let inputs = self.read_by(&stage).map_err(own)?;
        let report = stage.file("m.json");
        let known = Known { inputs, messages };
        let done = self
            .described(env, &target, names, &report, known.clone())
            .map_err(own)?;
        self.place(&done, &stage).map_err(own)?;
        if let Some(stamp) = stamp {
            let left = [&done.module, &done.archive, &done.report].into_iter();
            let left = left.chain(&done.header).chain(&done.weights);
            let left: Vec<&Path> = left.map(PathBuf::as_path).collect();
            stamp.write(&known.inputs, &left, &known.messages);
        }
        Ok(done)
    }

    // In cargo's folder, wherever the files go; outside of cargo there is none.
    fn stamp(&self, env: &Environment, target: &Target, names: &Names) -> Option<Stamp> {
        let dir = env.cargo("OUT_DIR")?;
        // How many threads compile changes nothing.
        let mut words = self.all_words(env, target, &names.prefix, Path::new(""));
        words.retain(|w| !w.to_string_lossy().starts_with("--jobs="));
        let places = [Some(&self.report_in(names)), self.header.as_ref()];
        words.extend(places.into_iter().flatten().map(OsString::from));
        if let Weights::FileAt(file) = &self.weights {
            words.push(file.into());
        }
        let compiler = tool::identity(env);
        Some(Stamp::new(
            Path::new(&dir),
            &names.name,
            &names.out,
            &words,
            &compiler,
        ))
    }

    fn word(mut self, flag: &str, value: impl Display) -> Build {
        self.words.push(format!("{flag}={value}").into());
        self
    }

    fn costly_file(mut self, flag: &str, file: PathBuf) -> Build {
        let mut word = OsString::from(format!("{flag}="));
        word.push(&file);
        self.costly.push(word);
        self.inputs.push(file);
        self
    }

    fn module_name(&self) -> Result<String, Message> {
        let Some(name) = &self.name else {
            let stem = self.model.file_stem().unwrap_or_default();
            return Ok(identifier(&stem.to_string_lossy()));
        };
        let mut letters = name.chars();
        let good = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        match good {
            true => Ok(name.clone()),
            false => Err(Message::error(
                format!("`{name}` can't be the name of a module"),
                format!("for instance `{}`", identifier(name)),
            )),
        }
    }

    fn all_words(
        &self,
        env: &Environment,
        target: &Target,
        prefix: &str,
        folder: &Path,
    ) -> Vec<OsString> {
        let with = |flag: &str, value: &Path| {
            let mut word = OsString::from(flag);
            word.push(value);
            word
        };
        let mut words = vec![
            format!("--target={}", target.triple).into(),
            format!("--prefix={prefix}").into(),
            format!(
                "--emit=staticlib,rust,report{}",
                match self.header {
                    Some(_) => ",header",
                    None => "",
                }
            )
            .into(),
            "-o".into(),
            folder.join("libm.a").into(),
            "--make-depfile".into(),
            with("--make-depfile-path=", &folder.join("m.d")),
            "--make-target=m".into(),
        ];
        words.extend(cpu::words(env, target, self.cpu.as_deref(), &self.features));
        let level = env.cargo("OPT_LEVEL");
        let level = match (target.docs, &self.opt, level.as_deref()) {
            (true, ..) => "1",
            (_, Some(level), _) => level,
            (.., Some("0" | "1")) => "1",
            (.., Some("s" | "z")) => "s",
            _ => "2",
        };
        words.push(format!("--opt-level={level}").into());
        words.extend(env.cargo("NUM_JOBS").map(|n| format!("--jobs={n}").into()));
        words.extend(match &self.weights {
            Weights::Embed => None,
            Weights::Section(name) => Some(format!("--weights=section={name}").into()),
            Weights::File | Weights::FileAt(_) => Some("--weights=file".into()),
        });
        if !target.docs {
            words.extend(self.costly.iter().cloned());
        }
        words.extend(self.words.iter().cloned());
        words.push("--".into());
        words.push(self.model.clone().into());
        words
    }

    fn report_in(&self, names: &Names) -> PathBuf {
        match &self.report {
            Some(file) => file.clone(),
            None => names.out.join(format!("{}.json", names.name)),
        }
    }

    // Files and folders that a compilation has read.
    fn read_by(&self, stage: &Stage) -> Result<Vec<String>, Message> {
        let rule = stage.file("m.d");
        let text = std::fs::read_to_string(&rule).map_err(|e| place::failed("read", &rule, e))?;
        let mut inputs = place::prerequisites(&text);
        // Folders of data are none of make's business, but cargo watches them.
        inputs.extend(self.inputs.iter().map(|p| p.display().to_string()));
        let mut seen = std::collections::BTreeSet::new();
        inputs.retain(|p| seen.insert(p.clone()));
        Ok(inputs)
    }

    // A compilation by its report.
    fn described(
        &self,
        env: &Environment,
        target: &Target,
        names: Names,
        report: &Path,
        known: Known,
    ) -> Result<Compiled, Message> {
        let text = std::fs::read_to_string(report).map_err(|e| place::failed("read", report, e))?;
        let facts: Value = serde_json::from_str(&text)
            .map_err(|e| Message::error(format!("the report can't be read: {e}"), ""))?;
        let number = |key: &str| facts.get(key).and_then(Value::as_u64).unwrap_or(0);
        let report = self.report_in(&names);
        let Names { name, prefix, out } = names;
        let Known { inputs, messages } = known;
        Ok(Compiled {
            module: out.join(format!("{name}.rs")),
            archive: out.join(format!("lib{prefix}.a")),
            report,
            header: self.header.clone(),
            weights: match &self.weights {
                Weights::File => Some(out.join(format!("{name}.weights"))),
                Weights::FileAt(file) => Some(file.clone()),
                _ => None,
            },
            arena_bytes: number("arena_bytes"),
            weights_bytes: number("weights_bytes"),
            stack_bytes: number("stack_bytes"),
            cpu: facts
                .get("cpu")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_string(),
            cargo: lines(env, target, &prefix, &out, inputs, &messages),
            messages,
            name,
            prefix,
        })
    }

    // Moves files from where the compiler left them.
    fn place(&self, done: &Compiled, stage: &Stage) -> Result<(), Message> {
        place(&stage.file("m.rs"), &done.module)?;
        place(&stage.file("libm.a"), &done.archive)?;
        place(&stage.file("m.json"), &done.report)?;
        for (file, to) in [("m.h", &done.header), ("m.weights", &done.weights)] {
            if let Some(to) = to {
                place(&stage.file(file), to)?;
            }
        }
        Ok(())
    }
}

// What cargo is told.
fn lines(
    env: &Environment,
    target: &Target,
    prefix: &str,
    out: &Path,
    inputs: Vec<String>,
    messages: &[Message],
) -> Vec<String> {
    let mut lines = vec![];
    for m in messages {
        // A remark on a fallback deserves attention; others are for who looks for them.
        let loud = m.level == "warning" || m.code == "USE005";
        let text = match m.code.as_str() {
            "USE005" => format!(
                "{}; name one by Build::target_cpu or ONNXC_TARGET_CPU (`onnxc --print target-cpus`)",
                m.text
            ),
            _ => m.to_string(),
        };
        let head = if loud {
            "cargo:warning=onnxc: "
        } else {
            "onnxc: "
        };
        lines.extend(text.lines().map(|l| format!("{head}{}", l.trim())));
    }
    let tool = env.user("ONNXC").filter(|tool| tool.contains('/'));
    let watched = inputs.into_iter().chain(tool);
    lines.extend(watched.map(|p| format!("cargo:rerun-if-changed={p}")));
    let asked = env.asked().into_iter();
    lines.extend(asked.map(|v| format!("cargo:rerun-if-env-changed={v}")));
    if !target.docs {
        lines.push(format!("cargo:rustc-link-search=native={}", out.display()));
        lines.push(format!("cargo:rustc-link-lib=static={prefix}"));
    }
    lines
}

// Of the package's name and version too: two crates, or two versions of one, may have models of the same name.
fn own_prefix(env: &Environment, name: &str) -> String {
    let package = env.cargo("CARGO_PKG_NAME").unwrap_or_default();
    let version = env.cargo("CARGO_PKG_VERSION").unwrap_or_default();
    identifier(&format!("{package} {version} {name}"))
}

// The nearest identifier: lower case, single underscores.
fn identifier(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|w| !w.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name = words.join("_");
    match name.as_bytes().first() {
        None => "model".into(),
        Some(b'0'..=b'9') => format!("model_{name}"),
        _ => name,
    }
}
