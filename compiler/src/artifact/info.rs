//! What is known of a compiled model: the one source of its descriptor, header, Rust module and report.
//!
//! Plain data that the pipeline fills when code, weights and memory plan are final. It holds no paths and no times.

use crate::base::dim::{Dim, Origin, SymId, Symbols};
use crate::base::dtype::DType;
use crate::base::offload::Offload;
use std::collections::BTreeSet;

/// A compiled model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelInfo {
    /// What all its global symbols begin with; a C identifier.
    pub prefix: String,
    /// Name of the model, as its graph is called.
    pub model: String,
    /// Inputs in order, without those that have become constants.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// All symbols of the model.
    pub symbols: Symbols,
    /// Bytes of arena a run needs.
    pub arena_bytes: u64,
    /// Alignment of the arena.
    pub arena_align: u32,
    /// Bytes of weights.
    pub weights_bytes: u64,
    /// Alignment of the weights.
    pub weights_align: u32,
    /// Where the weights are.
    pub placement: Placement,
    /// SHA-256 of how the weights are laid out.
    pub layout_digest: [u8; 32],
    /// SHA-256 of the weights.
    pub content_digest: [u8; 32],
    /// Bytes of stack a run needs at most, the entry included.
    pub stack_bytes: u64,
    /// Threads that a run can keep busy; 1 where no loop is spread.
    pub threads: u32,
    /// Bytes of machine code.
    pub code_bytes: u64,
    /// Layers in the order in which they run.
    pub layers: Vec<LayerInfo>,
    /// Target triple.
    pub triple: String,
    /// CPU it was compiled for.
    pub cpu: String,
    /// CPU features it was compiled for, sorted.
    pub features: Vec<String>,
    /// The levels of an object that holds several, the base first; `cpu` and `features` are the base's then, and `layers` those of all, one
    /// level after the other.
    pub levels: Vec<LevelInfo>,
    /// What accelerators compute.
    pub offload: Offload,
    /// For each region the first layer of its CPU twin, and the one behind its last; of several levels those of the base.
    pub region_layers: Vec<(u32, u32)>,
}

/// The code for one level of CPU.
#[derive(Clone, PartialEq, Debug)]
pub struct LevelInfo {
    /// Name of the CPU, as the user gave it.
    pub cpu: String,
    /// Its features.
    pub features: Vec<String>,
    /// Bits of `cpu_level` that it needs ([`onnxc_abi::cpu`]); 0 for the base.
    pub needs: u32,
    /// Bytes of arena that it uses.
    pub arena_bytes: u64,
    /// Bytes of weights that it reads.
    pub weights_bytes: u64,
    /// Bytes of its code.
    pub code_bytes: u64,
    /// Its first layer, and how many it has.
    pub layers: (usize, usize),
}

/// An input or output.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Its name in generated sources: a C identifier, see [`c_names`].
    pub c_name: String,
    /// Element type.
    pub dtype: DType,
    /// Size of every axis.
    pub shape: Vec<Dim>,
    /// Bytes at the largest size.
    pub max_bytes: u64,
    /// How its integers stand for real numbers, if known.
    pub quant: Option<PortQuant>,
}

/// `real = scale * (integer - zero_point)`.
#[derive(Clone, PartialEq, Debug)]
pub struct PortQuant {
    /// One scale, or one for each index of `axis`.
    pub scales: Vec<f32>,
    /// As many zero points.
    pub zero_points: Vec<i32>,
    /// The axis along which scales differ.
    pub axis: Option<usize>,
}

/// Where the weights of a model are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// In the object's read-only data.
    #[default]
    Embed,
    /// In the object, in a section of this name.
    Section(String),
    /// In a file beside it.
    File,
}

impl Placement {
    /// The number in the descriptor.
    pub fn number(&self) -> u32 {
        match self {
            Placement::Embed => 0,
            Placement::Section(_) => 1,
            Placement::File => 2,
        }
    }
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Placement::Embed => "embed",
            Placement::Section(_) => "section",
            Placement::File => "file",
        }
    }
}

/// What one function of the object computes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LayerInfo {
    /// Symbol of the function, without leading path: `mnist_003_conv_relu`.
    pub symbol: String,
    /// Operators in it, in order.
    pub ops: Vec<String>,
    /// Names of the ONNX nodes in it.
    pub nodes: Vec<String>,
    /// Kernels chosen for it.
    pub kernels: Vec<String>,
    /// What was asked of kernels, in one line, and each that could answer with its cost; empty where none was asked.
    pub choice: (String, Vec<(String, f64)>),
    /// Multiply-accumulate operations, at the largest size.
    pub macs: u64,
    /// Bytes of its weights.
    pub param_bytes: u64,
    /// Bytes of its code; 0 for all but the first of layers that share a body.
    pub code_bytes: u64,
}

impl LayerInfo {
    /// Operators joined by `+`.
    pub fn op(&self) -> String {
        self.ops.join("+")
    }
}

impl ModelInfo {
    /// Symbols in the order of the descriptor: first those the caller states in `dims`, then those computed from data.
    pub fn descriptor_symbols(&self) -> Vec<SymId> {
        let data = self
            .symbols
            .iter()
            .filter(|(_, s)| s.origin == Origin::Data);
        self.free_symbols()
            .into_iter()
            .chain(data.map(|(id, _)| id))
            .collect()
    }
    /// The symbols whose values the caller states in `dims`, in that order.
    pub fn free_symbols(&self) -> Vec<SymId> {
        crate::base::dim::free_symbols(&self.symbols)
    }
    /// Sum of the ranks of all outputs: the length of `out_dims`.
    pub fn out_dims(&self) -> usize {
        self.outputs.iter().map(|p| p.shape.len()).sum()
    }
    /// The layers of one run; of several levels those of the best.
    pub fn run(&self) -> &[LayerInfo] {
        let best = self.levels.last().map_or(0, |l| l.layers.0);
        self.layers.get(best..).unwrap_or(&self.layers)
    }
    /// The prefix as macros spell it.
    pub fn upper_prefix(&self) -> String {
        self.prefix.to_ascii_uppercase()
    }
    /// CPU and features in one line, or the CPUs of all levels.
    pub fn cpu_text(&self) -> String {
        if !self.levels.is_empty() {
            let names: Vec<&str> = self.levels.iter().map(|l| l.cpu.as_str()).collect();
            return names.join(", ");
        }
        let features = self.features.join(",");
        if features.is_empty() {
            self.cpu.clone()
        } else {
            format!("{} ({features})", self.cpu)
        }
    }
    /// The symbol that a dimension simply is.
    pub fn symbol_of(&self, d: &Dim) -> Option<SymId> {
        self.symbols.ids().find(|s| *d == Dim::sym(*s))
    }
    /// The largest value of a dimension, at least 0.
    pub fn largest(&self, d: &Dim) -> i64 {
        d.bounds(&self.symbols).1.max(0)
    }
}

impl Port {
    /// The shape if all its axes are fixed.
    pub fn fixed_shape(&self) -> Option<Vec<i64>> {
        crate::base::dim::fixed_shape(&self.shape)
    }
}

// Words that no generated source may use as a name: C, C++ and Rust.
const RESERVED: &[&str] = &[
    "abstract",
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "arena",
    "as",
    "asm",
    "async",
    "auto",
    "await",
    "become",
    "bitand",
    "bitor",
    "bool",
    "box",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "compl",
    "concept",
    "const",
    "constexpr",
    "continue",
    "crate",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "override",
    "priv",
    "private",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "requires",
    "restrict",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "unsigned",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "xor",
    "xor_eq",
    "yield",
];

/// The nearest C identifier: lower case letters, digits and single underscores; `fallback` where nothing is left.
pub fn c_identifier(name: &str, fallback: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
            _ if !out.is_empty() && !out.ends_with('_') => out.push('_'),
            _ => {}
        }
    }
    let out = out.trim_end_matches('_').to_string();
    match out.as_bytes().first() {
        None => fallback.to_string(),
        Some(b'0'..=b'9') => format!("{fallback}_{out}"),
        _ if RESERVED.contains(&out.as_str()) => format!("{out}_"),
        _ => out,
    }
}

/// The C++ namespace of a prefix: the prefix, with an underscore behind it where that is no name for a namespace.
pub fn cpp_namespace(prefix: &str) -> String {
    match RESERVED.contains(&prefix) || ["std", "onnxc"].contains(&prefix) {
        true => format!("{prefix}_"),
        false => prefix.to_string(),
    }
}

/// Distinct C identifiers for a list of names: the name's own where it can be, with a number behind it where not.
pub fn c_names<'a>(names: impl IntoIterator<Item = &'a str>, fallback: &str) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut out = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let base = c_identifier(name, &format!("{fallback}{i}"));
        let mut unique = base.clone();
        let mut n = 1;
        while !taken.insert(unique.clone()) {
            n += 1;
            unique = format!("{base}_{n}");
        }
        out.push(unique);
    }
    out
}

/// A model with everything in it that a model can have, for tests.
#[cfg(test)]
pub fn sample() -> ModelInfo {
    use crate::base::dim::Symbol;
    let mut symbols = Symbols::default();
    let symbol = |name: &str, origin| Symbol {
        name: name.into(),
        lo: 1,
        hi: 100,
        origin,
    };
    symbols.push(symbol("found", Origin::Data));
    let n = symbols.push(symbol("N", Origin::Input { input: 0, axis: 1 }));
    let n = Dim::sym(n);
    let port = |name: &str, dtype: DType, shape: Vec<Dim>, max_bytes| Port {
        name: name.into(),
        c_name: c_identifier(name, "port"),
        dtype,
        shape,
        max_bytes,
        quant: None,
    };
    let mut q = port("q", DType::I8, vec![Dim::Fixed(2), Dim::Fixed(3)], 6);
    q.quant = Some(PortQuant {
        scales: vec![0.5, 0.25],
        zero_points: vec![0, -3],
        axis: Some(0),
    });
    let wide = n.clone() + n.clone() + Dim::Fixed(1);
    let layer = |symbol: &str, ops: &[&str], nodes: &[&str], macs| LayerInfo {
        symbol: symbol.into(),
        ops: ops.iter().map(|s| s.to_string()).collect(),
        nodes: nodes.iter().map(|s| s.to_string()).collect(),
        kernels: vec!["conv_f32".into()],
        choice: Default::default(),
        macs,
        param_bytes: 144,
        code_bytes: 300,
    };
    ModelInfo {
        prefix: "speech".into(),
        model: "speech".into(),
        inputs: vec![port("in/put:0", DType::F32, vec![Dim::Fixed(1), n], 400), q],
        outputs: vec![
            port("out", DType::F32, vec![Dim::Fixed(1), wide], 804),
            port("label", DType::I64, vec![Dim::Fixed(1)], 8),
        ],
        symbols,
        arena_bytes: 4096,
        arena_align: 64,
        weights_bytes: 288,
        weights_align: 64,
        placement: Placement::Embed,
        layout_digest: [0xab; 32],
        content_digest: [0xcd; 32],
        stack_bytes: 512,
        threads: 1,
        code_bytes: 600,
        layers: vec![
            layer("speech_000_pad", &["Pad"], &["p0"], 0),
            layer(
                "speech_001_conv_relu",
                &["Conv", "Relu"],
                &["c1", "r1"],
                9000,
            ),
        ],
        triple: "aarch64-unknown-linux-gnu".into(),
        cpu: "cortex-a55".into(),
        features: vec!["dotprod".into(), "neon".into()],
        offload: Offload::default(),
        region_layers: vec![],
        levels: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        assert_eq!(c_identifier("input.1", "input"), "input_1");
        assert_eq!(c_identifier("1", "input"), "input_1");
        assert_eq!(c_identifier("Größe/ X", "x"), "gr_e_x");
        assert_eq!(c_identifier("://", "input0"), "input0");
        assert_eq!(c_identifier("float", "x"), "float_");
        assert_eq!(
            c_names(["a.b", "a/b", "a:b_2", "a_b"], "in"),
            ["a_b", "a_b_2", "a_b_2_2", "a_b_3"]
        );
    }
}
