//! The other side: a process that runs models with another runtime.
//!
//! It is asked in JSON, one object a line, and answers in the same way; `benches/peers/README.md` says which. It takes the
//! time of its runs itself.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use serde_json::{Value, json};

use crate::args::bench::PeerFlags;
use crate::args::words::split;
use crate::failure::file_error;

/// A running peer.
pub struct Peer {
    /// What it is called.
    pub name: String,
    /// What it says of its version, once a model is loaded.
    pub version: String,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

fn failed(name: &str, why: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::usage("USE007", format!("{name}: {why}"))
}

impl Peer {
    /// Starts the program that runs it.
    pub fn start(name: &str, flags: &PeerFlags) -> Result<Peer> {
        let own = flags.peer_runner.iter().find(|r| r.0 == name);
        let mut words = match own {
            Some((_, command)) => split(command),
            None => vec![runner(name)?.to_string_lossy().into_owned()],
        };
        for (flag, path) in [("--lib", &flags.peer_lib), ("--python", &flags.python)] {
            if let (Some(path), None) = (path, own) {
                words.extend([flag.to_string(), path.to_string_lossy().into_owned()]);
            }
        }
        let Some((program, rest)) = words.split_first() else {
            return Err(Diagnostic::usage("USE001", "--peer-runner needs a command"));
        };
        let mut child = Command::new(program)
            .args(rest)
            .envs(flags.peer_env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(name, format!("can't start `{program}`: {e}")))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Diagnostic::internal("a child without pipes"));
        };
        let folder = tempfile::tempdir().map_err(|e| failed(name, e))?;
        Ok(Peer {
            name: name.to_string(),
            version: String::new(),
            child,
            to,
            from: BufReader::new(from),
            folder,
        })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        // A peer that is gone is noticed by its silence.
        let _ = writeln!(self.to, "{request}").and_then(|()| self.to.flush());
        let mut line = String::new();
        let read = self.from.read_line(&mut line);
        if !matches!(read, Ok(n) if n > 0) {
            let end = self.child.wait().map(|s| s.to_string());
            let end = end.unwrap_or_else(|e| e.to_string());
            return Err(failed(&self.name, format!("it ended: {end}")));
        }
        let answer: Value = serde_json::from_str(&line)
            .map_err(|e| failed(&self.name, format!("it gave no JSON: {e}")))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(e) => Err(failed(&self.name, e)),
            None => Ok(answer),
        }
    }

    /// Reads a model, with inputs, and runs it once.
    pub fn load(&mut self, model: &Path, threads: u32, inputs: &[(&str, &Tensor)]) -> Result<()> {
        let model = std::fs::canonicalize(model).map_err(|e| file_error("read", model, e))?;
        let mut list = Vec::new();
        for (k, (name, t)) in inputs.iter().enumerate() {
            let file = self.folder.path().join(format!("in_{k}.bin"));
            std::fs::write(&file, &t.data).map_err(|e| file_error("write", &file, e))?;
            list.push(
                json!({ "name": name, "dtype": t.dtype.name(), "shape": t.shape, "file": file }),
            );
        }
        let request = json!({ "do": "load", "model": model, "threads": threads, "inputs": list });
        let answer = self.ask(&request)?;
        if let Some(v) = answer.get("version").and_then(Value::as_str) {
            self.version = v.to_string();
        }
        Ok(())
    }

    /// Times of runs in nanoseconds, for so many seconds and at least one, `batch` runs timed at once.
    pub fn run(&mut self, seconds: f64, batch: u32) -> Result<Vec<f64>> {
        let answer = self.ask(&json!({ "do": "run", "seconds": seconds, "batch": batch }))?;
        let list = answer.get("ns").and_then(Value::as_array);
        let times: Vec<f64> = list
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .filter(|t| *t > 0.0)
            .collect();
        if times.is_empty() {
            return Err(failed(&self.name, "it gave no times"));
        }
        Ok(times)
    }

    /// The outputs of its last run, by name.
    pub fn outputs(&mut self) -> Result<Vec<(String, Tensor)>> {
        let request = json!({ "do": "outputs", "folder": self.folder.path() });
        let answer = self.ask(&request)?;
        let list = answer.get("outputs").and_then(Value::as_array);
        let list = list.ok_or_else(|| failed(&self.name, "it gave no outputs"))?;
        list.iter().map(|v| self.output(v)).collect()
    }

    fn output(&self, v: &Value) -> Result<(String, Tensor)> {
        let bad = || {
            failed(
                &self.name,
                format!("it gave an output that can't be read: {v}"),
            )
        };
        let text = |key: &str| v.get(key).and_then(Value::as_str).ok_or_else(bad);
        let dtype = text("dtype")?;
        let dtype = DType::all().find(|d| d.name() == dtype).ok_or_else(bad)?;
        let shape = v.get("shape").and_then(Value::as_array).ok_or_else(bad)?;
        let shape = shape.iter().map(|d| d.as_i64().ok_or_else(bad));
        let file = PathBuf::from(text("file")?);
        let data = std::fs::read(&file).map_err(|e| file_error("read", &file, e))?;
        let t = Tensor::new(dtype, shape.collect::<Result<_>>()?, data.into())?;
        Ok((text("name")?.to_string(), t))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It would end by itself when its input does; a wedged one would not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program for a peer: beside this one, or on the PATH.
fn runner(name: &str) -> Result<PathBuf> {
    let file = format!("onnxc-peer-{name}{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = beside
        .map(Path::to_path_buf)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(&file))
        .find(|p| p.is_file());
    found.ok_or_else(|| {
        failed(name, format!("there is no program `{file}`")).help(
            "build it with `cargo build --release -p onnxc-peers`, or name one with --peer-runner",
        )
    })
}
