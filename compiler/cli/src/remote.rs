//! Running a compiled model through a command: an emulator, or whatever can run a program of another machine.
//!
//! The model becomes a static executable (see `onnxc_compiler::codegen::exec`) that reads free sizes and inputs and writes a
//! status, the outputs' sizes and the outputs. It lies in a temporary file for as long as this value lives.

use std::io::Write;
use std::process::{Command, Stdio};

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::codegen::{self, exec};
use onnxc_compiler::target::Target;
use tempfile::TempPath;

use crate::args::words::split;

/// An executable, and the command that runs it.
pub struct Remote {
    file: TempPath,
    command: Vec<String>,
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
        )?;
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
        Ok(Remote {
            // Closed, since a file that is open for writing can't be run.
            file: file.into_temp_path(),
            command,
        })
    }

    /// One run.
    pub fn run(&self, dims: &[i64], inputs: &[&Tensor], out_dims: usize) -> Result<Answer> {
        let failed = |e: std::io::Error| {
            Diagnostic::usage(
                "USE002",
                format!("can't run `{}`: {e}", self.command.join(" ")),
            )
        };
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .arg(&self.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            let mut write = || -> std::io::Result<()> {
                for d in dims {
                    input.write_all(&d.to_le_bytes())?;
                }
                // A run that would read nothing reads one byte.
                if dims.is_empty() && inputs.iter().all(|t| t.data.is_empty()) {
                    input.write_all(&[0])?;
                }
                inputs.iter().try_for_each(|t| input.write_all(&t.data))
            };
            // A program that ends early says so by its exit.
            let _ = write();
        }
        let result = child.wait_with_output().map_err(failed)?;
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
}
