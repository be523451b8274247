//! Writes a model's Rust module: constants, a safe typed `run`, and nothing that needs std, an allocator or a crate.
//!
//! The text is meant for `mod model { include!(concat!(env!("OUT_DIR"), "/model.rs")); }` or as a file of its own, so it has
//! no inner attributes. Its context struct repeats `onnxc_abi::Context`, offsets asserted.

use super::header::has_moving_outputs;
use super::info::{ModelInfo, Placement, Port, c_names};
use super::rust_types::len;
use crate::base::diag::Result;
use std::fmt::{self, Write};

/// The module's text. Fails where the descriptor does.
pub fn rust_module(info: &ModelInfo) -> Result<String> {
    let descriptor_bytes = super::descriptor::descriptor(info)?.len();
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_module(&mut out, info, descriptor_bytes);
    Ok(quiet(&out))
}

// A program need not use all that is known of its model, and an included file can't allow that for itself as a whole.
fn quiet(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if ["pub ", "impl ", "impl<"]
            .iter()
            .any(|w| line.starts_with(w))
        {
            out.push_str("#[allow(dead_code)]\n");
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn write_module(out: &mut String, info: &ModelInfo, descriptor_bytes: usize) -> fmt::Result {
    let model: String = info.model.chars().filter(|c| !c.is_control()).collect();
    writeln!(
        out,
        "// Model {model}, compiled by onnxc for {}, {}.",
        info.triple,
        info.cpu_text()
    )?;
    writeln!(
        out,
        "// Generated; do not edit. Needs no crate, no std and no allocator.\n"
    )?;
    for (doc, name, value) in [
        (
            "Bytes of arena a run needs.",
            "ARENA_SIZE",
            info.arena_bytes,
        ),
        (
            "Alignment of the arena.",
            "ARENA_ALIGN",
            u64::from(info.arena_align),
        ),
        ("Bytes of weights.", "WEIGHTS_SIZE", info.weights_bytes),
        (
            "Alignment of the weights.",
            "WEIGHTS_ALIGN",
            u64::from(info.weights_align),
        ),
        (
            "Bytes of stack a run needs at most.",
            "STACK_SIZE",
            info.stack_bytes,
        ),
        (
            "Threads that a run can keep busy; 1 where no loop is spread.",
            "THREADS",
            u64::from(info.threads),
        ),
    ] {
        writeln!(out, "/// {doc}\npub const {name}: usize = {value};")?;
    }
    writeln!(
        out,
        "
/// Memory for one run at a time: put it in a static, on the heap, or anywhere else.
#[repr(C, align({}))]
pub struct Arena(pub [u8; ARENA_SIZE]);
impl Arena {{
    /// Zeroed memory; its contents need no preparation.
    pub const NEW: Arena = Arena([0; ARENA_SIZE]);
}}
impl Default for Arena {{
    fn default() -> Self {{
        Self::NEW
    }}
}}
",
        info.arena_align
    )?;
    for (kind, ports) in [("INPUT", &info.inputs), ("OUTPUT", &info.outputs)] {
        for p in ports {
            write_port(out, info, kind, p)?;
        }
    }
    write_error(out)?;
    write_foreign(out, info, descriptor_bytes)?;
    if info.placement == Placement::File {
        write_weights(out, info)?;
    }
    if !info.levels.is_empty() {
        super::rust_levels::write(out, info)?;
    }
    write_dims(out, info)?;
    super::rust_model::write(out, info)?;
    write_run(out, info)
}

fn write_port(out: &mut String, info: &ModelInfo, kind: &str, p: &Port) -> fmt::Result {
    let name = format!("{kind}_{}", p.c_name.to_ascii_uppercase());
    let dims: Vec<String> = p
        .shape
        .iter()
        .map(|d| info.largest(d).to_string())
        .collect();
    let text: Vec<String> = p.shape.iter().map(|d| d.text(&info.symbols)).collect();
    let of = if p.fixed_shape().is_some() {
        "Shape"
    } else {
        "Largest shape"
    };
    let what = format!("{}[{}]", p.dtype, text.join(", ")).replace(char::is_control, "?");
    writeln!(
        out,
        "/// Name of {} in the model.",
        kind.to_ascii_lowercase()
    )?;
    writeln!(out, "pub const {name}_NAME: &str = {:?};", p.name)?;
    writeln!(
        out,
        "/// {of}: `{what}`.\npub const {name}_SHAPE: [usize; {}] = [{}];",
        dims.len(),
        dims.join(", ")
    )?;
    writeln!(
        out,
        "/// Elements at that shape.\npub const {name}_LEN: usize = {};",
        len(p)
    )?;
    let Some(q) = &p.quant else { return Ok(()) };
    let n = q.scales.len().min(q.zero_points.len());
    if !q.scales.iter().all(|s| s.is_finite()) || n == 0 {
        return Ok(());
    }
    let along = q.axis.map_or("the whole".to_string(), |a| {
        format!("each index of axis {a}")
    });
    writeln!(
        out,
        "/// Scale and zero point of {along}: real = scale * (integer - zero point)."
    )?;
    let pairs: Vec<String> = q
        .scales
        .iter()
        .zip(&q.zero_points)
        .map(|(s, z)| format!("({s:?}, {z})"))
        .collect();
    writeln!(
        out,
        "pub const {name}_QUANT: [(f32, i32); {n}] = [{}];",
        pairs.join(", ")
    )
}

fn write_error(out: &mut String) -> fmt::Result {
    out.write_str(
        "
/// Why a run failed: a status code other than 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error(pub i32);
impl Error {
    /// One line for a person.
    pub const fn text(self) -> &'static str {
        match self.0 {
",
    )?;
    for s in onnxc_abi::status::ALL {
        writeln!(out, "            {} => {:?},", s.code, s.text)?;
    }
    out.write_str(
        "            _ => \"unknown status\",
        }
    }
}
impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}
impl core::error::Error for Error {}
",
    )
}

// Field and Rust type, in the order of `onnxc_abi::Context`.
const CONTEXT: &[(&str, &str)] = &[
    ("abi_version", "u32"),
    ("struct_size", "u32"),
    ("arena", "*mut core::ffi::c_void"),
    ("arena_size", "u64"),
    ("weights", "*const core::ffi::c_void"),
    ("weights_size", "u64"),
    ("inputs", "*const *const core::ffi::c_void"),
    ("outputs", "*const *mut core::ffi::c_void"),
    ("num_inputs", "u32"),
    ("num_outputs", "u32"),
    ("dims", "*const i64"),
    ("out_dims", "*mut i64"),
    ("num_dims", "u32"),
    ("num_out_dims", "u32"),
    // Threads, tracing, offloading: null unless `Model::hooks` says otherwise.
    ("rest", "[u64; 5]"),
    ("num_offload", "u32"),
    ("cpu_level", "u32"),
    ("reserved", "[u64; 3]"),
];

fn write_foreign(out: &mut String, info: &ModelInfo, descriptor_bytes: usize) -> fmt::Result {
    let p = &info.prefix;
    writeln!(out, "\n#[repr(C)]\nstruct Context {{")?;
    for (name, ty) in CONTEXT {
        writeln!(out, "    {name}: {ty},")?;
    }
    writeln!(
        out,
        "}}\nconst _: () = assert!(size_of::<Context>() == {});",
        onnxc_abi::Context::C.size
    )?;
    for f in onnxc_abi::Context::C.fields {
        if CONTEXT.iter().any(|(name, _)| *name == f.name) {
            writeln!(
                out,
                "const _: () = assert!(core::mem::offset_of!(Context, {}) == {});",
                f.name, f.offset
            )?;
        }
    }
    writeln!(
        out,
        "
unsafe extern \"C\" {{
    fn {p}_run(ctx: *const core::ffi::c_void) -> i32;
    static {p}_descriptor: [u8; {descriptor_bytes}];
}}

/// The entry and the descriptor, as the crate `onnxc-runtime` takes them (`Model::new`): for threads and tracing.
pub fn model() -> (unsafe extern \"C\" fn(*const core::ffi::c_void) -> i32, &'static [u8]) {{
    // SAFETY: the object that this module was generated with defines the descriptor, of this size and never written.
    ({p}_run, unsafe {{ &{p}_descriptor }})
}}"
    )
}

fn write_weights(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let digest: Vec<String> = info.layout_digest.iter().map(u8::to_string).collect();
    let (abi, offset) = (onnxc_abi::ABI_VERSION, onnxc_abi::weights::DATA_OFFSET);
    writeln!(
        out,
        "
/// A weights file that fits this model.
#[derive(Clone, Copy)]
pub struct Weights<'a>(&'a [u8]);
impl<'a> Weights<'a> {{
    /// Takes the bytes of a whole file, aligned to `WEIGHTS_ALIGN`: mapped, or read. Compares its header with what the
    /// model was compiled for.
    ///
    /// # Safety
    /// The file was written by onnxc and is undamaged: generated code trusts what it holds.
    pub unsafe fn new(file: &'a [u8]) -> Result<Self, Error> {{
        const LAYOUT: [u8; 32] = [{}];
        let good = file.get(..8) == Some(b\"ONNXCWTS\")
            && file.get(8..12) == Some(&{abi}u32.to_le_bytes())
            && file.get(12..16) == Some(&{offset}u32.to_le_bytes())
            && file.get(16..24) == Some(&(WEIGHTS_SIZE as u64).to_le_bytes())
            && file.get(40..72) == Some(&LAYOUT);
        match file.get({offset}..{offset} + WEIGHTS_SIZE) {{
            Some(data) if good => Ok(Weights(data)),
            _ => Err(Error({})),
        }}
    }}
}}",
        digest.join(", "),
        onnxc_abi::status::WEIGHTS_MISMATCH
    )
}

fn write_dims(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let free = info.free_symbols();
    if !free.is_empty() {
        writeln!(
            out,
            "\n/// Sizes that the caller states.\n#[derive(Clone, Copy, PartialEq, Eq, Debug)]\npub struct Dims {{"
        )?;
        for (s, name) in free.iter().zip(dim_names(info)) {
            let s = &info.symbols[*s];
            writeln!(out, "    /// {} to {}.\n    pub {name}: usize,", s.lo, s.hi)?;
        }
        writeln!(out, "}}")?;
    }
    if has_moving_outputs(info) {
        writeln!(
            out,
            "\n/// Sizes of the outputs after a run.\n#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]\npub struct Shapes {{"
        )?;
        for o in &info.outputs {
            writeln!(
                out,
                "    /// Shape of output `{}`.\n    pub {}: [i64; {}],",
                o.c_name,
                o.c_name,
                o.shape.len()
            )?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

fn dim_names(info: &ModelInfo) -> Vec<String> {
    let free = info.free_symbols();
    c_names(free.iter().map(|s| info.symbols[*s].name.as_str()), "dim")
}

fn write_run(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let (symbolic, moving) = (!info.free_symbols().is_empty(), has_moving_outputs(info));
    let file = info.placement == Placement::File;
    let result = super::rust_model::result(info);
    let args = super::rust_model::args(info, "arena: &mut [u8]", true);
    let passed: Vec<String> = args.iter().map(|a| super::rust_model::name(a)).collect();
    writeln!(
        out,
        "\n/// Runs the model once on this thread. `arena` has `ARENA_SIZE` bytes or more, aligned to `ARENA_ALIGN`, as\n\
         /// [`Arena`] is. Slices hold at least the elements of the shape they stand for; where a size is more than one of\n\
         /// `Dims`, the largest shape.\n#[allow(clippy::too_many_arguments)]\npub fn run({0}) -> Result<{result}, Error> {{\n    \
         run_with(&[0; 5], {1})\n}}\n\n#[allow(clippy::too_many_arguments)]\nfn run_with(hooks: &[u64; 5], {0}) -> Result<{result}, Error> {{",
        args.join(", "),
        passed.join(", ")
    )?;
    if symbolic {
        let names = dim_names(info);
        let values: Vec<String> = names
            .iter()
            .map(|n| format!("i64::try_from(dims.{n}).unwrap_or(i64::MAX)"))
            .collect();
        writeln!(
            out,
            "    let dim_values: [i64; {}] = [{}];",
            values.len(),
            values.join(", ")
        )?;
    }
    for (dir, ports) in [("in", &info.inputs), ("out", &info.outputs)] {
        for p in ports.iter().filter(|p| p.fixed_shape().is_none()) {
            writeln!(
                out,
                "    if {dir}_{}.len() < {} {{\n        return Err(Error({}));\n    }}",
                p.c_name,
                needed(info, p),
                onnxc_abi::status::BAD_COUNT
            )?;
        }
    }
    let list = |ports: &[Port], dir: &str, cast: &str| {
        let all: Vec<String> = ports
            .iter()
            .map(|p| format!("{dir}_{}.{cast}.cast()", p.c_name))
            .collect();
        all.join(", ")
    };
    let c_void = "core::ffi::c_void";
    writeln!(
        out,
        "    let inputs: [*const {c_void}; {}] = [{}];",
        info.inputs.len(),
        list(&info.inputs, "in", "as_ptr()")
    )?;
    writeln!(
        out,
        "    let outputs: [*mut {c_void}; {}] = [{}];",
        info.outputs.len(),
        list(&info.outputs, "out", "as_mut_ptr()")
    )?;
    if moving {
        writeln!(out, "    let mut sizes = [0i64; {}];", info.out_dims())?;
    }
    writeln!(
        out,
        "    let ctx = Context {{
        abi_version: {},
        struct_size: size_of::<Context>() as u32,
        arena: arena.as_mut_ptr().cast(),
        arena_size: arena.len() as u64,
        weights: {},
        weights_size: {},
        inputs: inputs.as_ptr(),
        outputs: outputs.as_ptr(),
        num_inputs: {},
        num_outputs: {},
        dims: {},
        out_dims: {},
        num_dims: {},
        num_out_dims: {},
        rest: *hooks,
        num_offload: 0,
        cpu_level: {},
        reserved: [0; 3],
    }};",
        onnxc_abi::ABI_VERSION,
        if file {
            "weights.0.as_ptr().cast()"
        } else {
            "core::ptr::null()"
        },
        if file { "weights.0.len() as u64" } else { "0" },
        info.inputs.len(),
        info.outputs.len(),
        if symbolic {
            "dim_values.as_ptr()"
        } else {
            "core::ptr::null()"
        },
        if moving {
            "sizes.as_mut_ptr()"
        } else {
            "core::ptr::null_mut()"
        },
        info.free_symbols().len(),
        if moving { info.out_dims() } else { 0 },
        if info.levels.is_empty() {
            "0"
        } else {
            "cpu_level()"
        },
    )?;
    writeln!(
        out,
        "    // SAFETY: the context is of this version, and all it points to lives until the call returns, is as large as the
    // model needs (types and the checks above; the entry checks the arena and the dims), and does not overlap: outputs
    // and arena are borrowed exclusively.
    let status = unsafe {{ {}_run((&raw const ctx).cast()) }};
    if status != 0 {{
        return Err(Error(status));
    }}",
        info.prefix
    )?;
    if !moving {
        return writeln!(out, "    Ok(())\n}}");
    }
    let mut at = 0;
    let mut fields = Vec::new();
    for o in &info.outputs {
        let items: Vec<String> = (at..at + o.shape.len())
            .map(|i| format!("sizes[{i}]"))
            .collect();
        at += o.shape.len();
        fields.push(format!("{}: [{}]", o.c_name, items.join(", ")));
    }
    writeln!(out, "    Ok(Shapes {{ {} }})\n}}", fields.join(", "))
}

// Elements a slice must have: exact where every size is fixed or one of `Dims`, else the largest.
fn needed(info: &ModelInfo, p: &Port) -> String {
    let (free, names) = (info.free_symbols(), dim_names(info));
    let mut factors = Vec::new();
    for d in &p.shape {
        let symbol = info
            .symbol_of(d)
            .and_then(|s| free.iter().position(|f| *f == s));
        match (d.fixed(), symbol.and_then(|i| names.get(i))) {
            (Some(n), _) => factors.push(format!(".saturating_mul({})", n.max(0))),
            (None, Some(name)) => factors.push(format!(".saturating_mul(dims.{name})")),
            (None, None) => return len(p).to_string(),
        }
    }
    format!("1usize{}", factors.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::info::sample;

    #[test]
    fn signature() {
        let text = rust_module(&sample()).unwrap();
        for line in [
            "pub const ARENA_SIZE: usize = 4096;",
            "pub const INPUT_Q_QUANT: [(f32, i32); 2] = [(0.5, 0), (0.25, -3)];",
            "pub fn run(arena: &mut [u8], dims: Dims, in_in_put_0: &[f32], in_q: &[i8; 6], out_out: &mut [f32], \
             out_label: &mut [i64; 1]) -> Result<Shapes, Error> {",
            "    if in_in_put_0.len() < 1usize.saturating_mul(1).saturating_mul(dims.n) {",
            "    if out_out.len() < 201 {",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
