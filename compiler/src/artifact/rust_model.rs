//! The part of a Rust module that is a value: `Model`, the memory of a run with a typed `run`.
//!
//! It names no crate. Threads, tracing and accelerators come in as five words of the context (`Model::hooks`), which the macro
//! `include_model!` of `onnxc-runtime` fills from safe types.

use super::header::has_moving_outputs;
use super::info::{ModelInfo, Placement, Port};
use super::rust_types::{len, rust_type};
use onnxc_abi::status;
use std::fmt::{self, Write};

/// What a run gives back.
pub fn result(info: &ModelInfo) -> &'static str {
    match has_moving_outputs(info) {
        true => "Shapes",
        false => "()",
    }
}

/// Arguments of a run, the first being the memory: `weights` is left out where the model holds it.
pub fn args(info: &ModelInfo, memory: &str, weights: bool) -> Vec<String> {
    let mut args = vec![memory.to_string()];
    if weights && info.placement == Placement::File {
        args.push("weights: Weights<'_>".into());
    }
    if !info.free_symbols().is_empty() {
        args.push("dims: Dims".into());
    }
    let ty = |p: &Port| match p.fixed_shape() {
        Some(_) => format!("[{}; {}]", rust_type(p.dtype), len(p)),
        None => format!("[{}]", rust_type(p.dtype)),
    };
    let ins = info.inputs.iter();
    args.extend(ins.map(|p| format!("in_{}: &{}", p.c_name, ty(p))));
    let outs = info.outputs.iter();
    args.extend(outs.map(|p| format!("out_{}: &mut {}", p.c_name, ty(p))));
    args
}

/// `a` of `a: T`.
pub fn name(arg: &str) -> String {
    arg.split(':').next().unwrap_or_default().to_string()
}

/// Writes `Model`.
pub fn write(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let file = info.placement == Placement::File;
    let (field, arg, value) = match file {
        true => (
            "\n    weights: Weights<'a>,",
            ", weights: Weights<'a>",
            ", weights",
        ),
        false => ("", "", ""),
    };
    let own = args(info, "&mut self", false);
    let mut passed: Vec<String> = vec!["self.arena".into()];
    passed.extend(file.then(|| "self.weights".to_string()));
    passed.extend(own.iter().skip(1).map(|a| name(a)));
    writeln!(
        out,
        "
/// The model with the memory it runs in.
pub struct Model<'a> {{
    arena: &'a mut [u8],{field}
    hooks: [u64; 5],
}}
impl<'a> Model<'a> {{
    /// A model that runs in this arena.
    pub fn new(arena: &'a mut Arena{arg}) -> Self {{
        Model {{ arena: &mut arena.0{value}, hooks: [0; 5] }}
    }}

    /// A model that runs in memory from elsewhere: `ARENA_SIZE` bytes or more, aligned to `ARENA_ALIGN`.
    pub fn over(arena: &'a mut [u8]{arg}) -> Result<Self, Error> {{
        if arena.len() < ARENA_SIZE {{
            return Err(Error({}));
        }}
        if !arena.as_ptr().addr().is_multiple_of(ARENA_ALIGN) {{
            return Err(Error({}));
        }}
        Ok(Model {{ arena{value}, hooks: [0; 5] }})
    }}

    /// Threads, tracing and accelerators: `parallel_for`, `parallel_user`, `trace`, `trace_user` and `offload` of the context,
    /// each 0 where there is none. `include_model!` of the crate `onnxc-runtime` has safe ways to say so.
    ///
    /// # Safety
    /// What the words point to is as the ABI says, and lives as long as the model.
    pub unsafe fn hooks(mut self, hooks: [u64; 5]) -> Self {{
        self.hooks = hooks;
        self
    }}

    /// Runs the model once. Slices hold at least the elements of the shape they stand for; where a size is more than one of
    /// `Dims`, the largest shape.
    #[allow(clippy::too_many_arguments)]
    pub fn run({}) -> Result<{}, Error> {{
        run_with(&self.hooks, {})
    }}
}}",
        status::ARENA_TOO_SMALL,
        status::MISALIGNED,
        own.join(", "),
        result(info),
        passed.join(", "),
    )
}
