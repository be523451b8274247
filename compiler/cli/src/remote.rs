//! Running a compiled model through a command: an emulator, or whatever can run a program of another machine.
//!
//! The model becomes a static executable (see `onnxc_compiler::codegen::exec`) that reads free sizes and inputs and writes a
//! status, the outputs' sizes and the outputs, or how long runs took. It lies in a temporary file for as long as this value
//! lives. A command that is `ssh` gets it sent first: it then lies in a temporary file of the other machine.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::codegen::exec::Drive;
use onnxc_compiler::codegen::exec_time::MOST_SAMPLES;
use onnxc_compiler::codegen::{self, exec};
use onnxc_compiler::target::Target;
use tempfile::TempPath;

use crate::args::words::split;

/// An executable, and the command that runs it.
pub struct Remote {
    /// All words, the executable included.
    command: Vec<String>,
    _place: Place,
}

/// Where the executable lies; it goes when this does.
enum Place {
    /// Here. Held for the file's sake alone.
    Here { _file: TempPath },
    /// On the machine that the words reach, under a name.
    There(Vec<String>, String),
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::There(words, path) = self {
            let mut ssh = Command::new(&words[0]);
            ssh.args(&words[1..]).arg(format!("rm -f '{path}'"));
            let _ = ssh.stdin(Stdio::null()).stdout(Stdio::null()).status();
        }
    }
}

/// What a run gave: a status, and if that is 0 the outputs' sizes one after the other, and their bytes.
pub struct Answer {
    /// Status of the ABI.
    pub status: i32,
    /// Sizes of all outputs.
    pub dims: Vec<i64>,
    /// All outputs.
    pub data: Vec<u8>,
}

impl Remote {
    /// Makes the executable.
    pub fn new(
        artifact: &Artifact,
        target: &Target,
        weights: Option<&[u8]>,
        command: &str,
        drive: Drive,
    ) -> Result<Remote> {
        let command = split(command);
        if command.is_empty() {
            return Err(Diagnostic::usage("USE001", "--exec needs a command"));
        }
        let options = codegen::Options {
            prefix: artifact.info.prefix.clone(),
            ..codegen::Options::default()
        };
        let program = exec::executable(
            &artifact.object,
            &artifact.program,
            target,
            &options,
            weights,
            drive,
        )?;
        if Path::new(&command[0])
            .file_name()
            .is_some_and(|n| n == "ssh")
        {
            return Remote::sent(command, &program);
        }
        let failed = |e: std::io::Error| {
            Diagnostic::usage("USE002", format!("can't write a temporary program: {e}"))
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix("onnxc-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o700));
        }
        let mut file = builder.tempfile().map_err(failed)?;
        file.write_all(&program).map_err(failed)?;
        // Closed, since a file that is open for writing can't be run.
        let file = file.into_temp_path();
        let mut command = command;
        command.push(file.display().to_string());
        Ok(Remote {
            command,
            _place: Place::Here { _file: file },
        })
    }

    /// Sends the executable to the machine that `ssh` reaches.
    fn sent(ssh: Vec<String>, program: &[u8]) -> Result<Remote> {
        let script = "f=$(mktemp) && cat > \"$f\" && chmod 700 \"$f\" && echo \"$f\"";
        let mut child = start(&ssh, Some(script))?;
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(program);
        }
        let out = child.wait_with_output().map_err(|e| cant(&ssh, e))?;
        let path = String::from_utf8_lossy(&out.stdout).trim().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        if !out.status.success() || path.is_empty() || !path.chars().all(plain) {
            return Err(cant(
                &ssh,
                format!("the program could not be sent: {}", out.status),
            ));
        }
        let mut command = ssh.clone();
        command.push(path.clone());
        Ok(Remote {
            command,
            _place: Place::There(ssh, path),
        })
    }

    /// One run.
    pub fn run(&self, dims: &[i64], inputs: &[&Tensor], out_dims: usize) -> Result<Answer> {
        let mut child = start(&self.command, None)?;
        if let Some(mut input) = child.stdin.take() {
            // A program that ends early says so by its exit.
            let _ = send(&mut input, dims, inputs, &[]);
        }
        let result = child
            .wait_with_output()
            .map_err(|e| cant(&self.command, e))?;
        let lost = || {
            Diagnostic::internal(format!(
                "the compiled program gave {} bytes and ended: {}",
                result.stdout.len(),
                result.status
            ))
        };
        let (status, rest) = result.stdout.split_first_chunk::<4>().ok_or_else(lost)?;
        let status = i32::from_le_bytes(*status);
        if status != onnxc_abi::status::OK {
            return Ok(Answer {
                status,
                dims: vec![],
                data: vec![],
            });
        }
        let (sizes, data) = rest.split_at_checked(out_dims * 8).ok_or_else(lost)?;
        let dims = sizes.chunks_exact(8).map(|b| {
            let mut n = [0; 8];
            n.copy_from_slice(b);
            i64::from_le_bytes(n)
        });
        Ok(Answer {
            status,
            dims: dims.collect(),
            data: data.to_vec(),
        })
    }

    /// Nanoseconds of single runs, for about so many seconds, of a program made for that.
    pub fn time(&self, dims: &[i64], inputs: &[&Tensor], seconds: f64) -> Result<Vec<f64>> {
        let mut child = start(&self.command, None)?;
        let result = self.ask_times(&mut child, dims, inputs, seconds);
        // Its input is closed, so it ends by itself; if it could not be understood, it must.
        if result.is_err() {
            let _ = child.kill();
        }
        let end = child.wait().map_err(|e| cant(&self.command, e))?;
        result.map_err(|e| e.help(format!("the compiled program ended: {end}")))
    }

    fn ask_times(
        &self,
        child: &mut Child,
        dims: &[i64],
        inputs: &[&Tensor],
        seconds: f64,
    ) -> Result<Vec<f64>> {
        let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Diagnostic::internal("a child without pipes"));
        };
        let mut ask = |samples: u64, runs: u64| -> Result<Vec<f64>> {
            let request = [samples as i64, runs as i64];
            let _ = send(&mut input, dims, inputs, &request);
            let failed = |e| cant(&self.command, e);
            let mut status = [0; 4];
            output.read_exact(&mut status).map_err(failed)?;
            match i32::from_le_bytes(status) {
                onnxc_abi::status::OK => {}
                s => return Err(crate::engine::failed_run(s)),
            }
            let mut bytes = vec![0; samples as usize * 8];
            output.read_exact(&mut bytes).map_err(failed)?;
            let words = bytes.chunks_exact(8).map(|b| {
                let mut n = [0; 8];
                n.copy_from_slice(b);
                i64::from_le_bytes(n) as f64
            });
            Ok(words.collect())
        };
        let shortest = |list: Vec<f64>| list.into_iter().fold(f64::MAX, f64::min);
        let clock = shortest(ask(100, 0)?);
        // The first runs meet cold caches.
        let rough = (shortest(ask(3, 1)?) - clock).max(1.0);
        let runs = u64::from(crate::bench::clock::batch(rough));
        let samples = (seconds * 1e9 / (rough * runs as f64)).ceil();
        let samples = (samples as u64).clamp(crate::bench::clock::LEAST as u64, MOST_SAMPLES);
        let times = ask(samples, runs)?;
        Ok(times
            .iter()
            .map(|t| ((t - clock) / runs as f64).max(0.01))
            .collect())
    }
}

fn cant(command: &[String], why: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::usage(
        "USE002",
        format!("can't run `{}`: {why}", command.join(" ")),
    )
}

/// Starts words, with a last one.
fn start(words: &[String], last: Option<&str>) -> Result<Child> {
    Command::new(&words[0])
        .args(&words[1..])
        .args(last)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| cant(words, e))
}

/// What a run reads: free sizes, inputs, and what else its kind of program asks for.
fn send(
    to: &mut impl Write,
    dims: &[i64],
    inputs: &[&Tensor],
    request: &[i64],
) -> std::io::Result<()> {
    let numbers = |to: &mut dyn Write, list: &[i64]| {
        list.iter().try_for_each(|n| to.write_all(&n.to_le_bytes()))
    };
    numbers(to, dims)?;
    inputs.iter().try_for_each(|t| to.write_all(&t.data))?;
    // A run that would read nothing reads one byte.
    if dims.is_empty() && inputs.iter().all(|t| t.data.is_empty()) {
        to.write_all(&[0])?;
    }
    numbers(to, request)?;
    to.flush()
}
