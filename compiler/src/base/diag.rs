//! Diagnostics: what is wrong, whose fault it is, where, and what to do.
//!
//! They are collected and not thrown one at a time, so that all of a model's problems are listed in one go.

use std::fmt;

/// Who is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Kind {
    /// Not a fault: something the user may want to know.
    Remark,
    /// Something that works but deserves attention.
    Warning,
    /// The model file is malformed or contradicts itself.
    Model,
    /// Legal ONNX that this compiler does not do.
    Unsupported,
    /// Larger than a limit which a flag can raise.
    Limit,
    /// The request can't be met: a flag, a file, a shape that the user gave.
    Usage,
    /// A bug of the compiler.
    Internal,
}

/// A stable code such as `ONNX012`; every one is a row of [`crate::base::diag::CODES`].
pub type Code = &'static str;

/// One message.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// Stable code, a row of [`CODES`].
    pub code: Code,
    /// Who is at fault.
    pub kind: Kind,
    /// Where: usually `node "name" (Operator, opset N)`; empty if the whole model is meant.
    pub loc: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

/// Result of everything that a model can make fail. Boxed so that the good path stays small.
pub type Result<T> = std::result::Result<T, Box<Diagnostic>>;

impl Diagnostic {
    fn new(kind: Kind, code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            code,
            kind,
            loc: String::new(),
            message: message.into(),
            help: String::new(),
        })
    }
    /// The model contradicts itself.
    pub fn model(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Model, code, message)
    }
    /// Legal, but not done here.
    pub fn unsupported(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Unsupported, code, message)
    }
    /// Over a limit.
    pub fn limit(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Limit, code, message)
    }
    /// The user's request can't be met.
    pub fn usage(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Usage, code, message)
    }
    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Internal, "INT001", message)
    }
    /// Something to know.
    pub fn remark(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Remark, code, message)
    }
    /// Something that deserves attention.
    pub fn warning(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        Self::new(Kind::Warning, code, message)
    }
    /// Adds what to do about it.
    pub fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = help.into();
        self
    }
    /// Adds the place, unless a closer one is already there.
    pub fn at(mut self: Box<Self>, loc: impl fmt::Display) -> Box<Self> {
        if self.loc.is_empty() {
            self.loc = loc.to_string();
        }
        self
    }
    /// Whether compilation must fail.
    pub fn is_error(&self) -> bool {
        !matches!(self.kind, Kind::Remark | Kind::Warning)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Remark => "remark",
            Kind::Warning => "warning",
            Kind::Model | Kind::Usage => "error",
            Kind::Unsupported => "unsupported",
            Kind::Limit => "limit",
            Kind::Internal => "internal error",
        };
        write!(f, "{kind}[{}]: ", self.code)?;
        if !self.loc.is_empty() {
            write!(f, "{}: ", self.loc)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// A row of the list of codes: code, title, explanation. `docs/diagnostics.md` is generated from it.
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// A short title.
    pub title: &'static str,
    /// What it means and what to do.
    pub explain: &'static str,
}

macro_rules! codes {
    ($($code:ident $title:literal $explain:literal;)*) => {
        /// Every diagnostic code.
        pub const CODES: &[CodeInfo] = &[$(CodeInfo { code: stringify!($code), title: $title, explain: $explain }),*];
    };
}

codes! {
    ONNX001 "not an ONNX file" "The bytes are not a protobuf message that holds an ONNX model, or they end early.";
    ONNX002 "unsupported IR or opset version" "The file asks for an IR version or an operator set outside the supported range. Convert it with onnx.version_converter.";
    ONNX003 "broken graph" "A value is used but never made, made twice, or the nodes form a cycle.";
    ONNX004 "broken tensor" "A tensor's data does not match its shape and type, or has an unknown encoding.";
    ONNX005 "external data" "A tensor's external data is missing, too short, or its path leaves the model's folder.";
    ONNX006 "limit reached" "The model is larger, deeper or needs more memory than a limit allows. `--max-model-size`, `--max-memory`, `--max-nodes` raise it.";
    ONNX007 "operator not supported" "No operator of this name and version is known. `onnxc --print supported-ops` lists those that are.";
    ONNX008 "attribute or form not supported" "The operator is known, but not with this attribute, type or input form.";
    ONNX009 "bad node" "A node's attributes or inputs contradict the operator's definition.";
    ONNX010 "shape or type mismatch" "The types or shapes of a node's inputs do not fit together.";
    ONNX011 "free dimension" "A dimension is not fixed by the file. Give it with `--dim NAME=N`, `--dim NAME=LO..HI` or `--input NAME:1,3,224,224`.";
    ONNX012 "data-dependent size" "The size of a value depends on data and has no usable bound.";
    ONNX013 "free batch dimension" "The first dimension of an input is free and was taken as 1.";
    ONNX014 "type not supported" "This element type can't cross the model's border or take part in this operator.";
    ONNX015 "value taken as constant" "Shapes depend on the values of an input, so the value given for this run was compiled in.";
    ONNX016 "float island" "An operator that the file quantizes would compute in floats, which `--require-int8` forbids.";
    USE001 "bad option" "A flag's value can't be used.";
    USE002 "file" "A file can't be read or written.";
    USE003 "unknown target" "The target, CPU or feature is not known. `--print target-list`, `target-cpus`, `target-features` list them.";
    USE004 "input data" "The data given for an input does not fit the model.";
    USE005 "base target" "No CPU was named, so code for the architecture's base level was made. `--target-cpu` gives faster code.";
    USE006 "native target" "No CPU was named, and the code runs here, so it was made for this machine.";
    USE007 "peer" "Another runtime that was to be measured is missing or failed.";
    USE008 "cost table" "The file of --cost is no cost table, or one of another machine. `onnxc tune-kernels` makes them.";
    USE009 "budget" "No choice of layers in 8 bits and in floats meets the budget. How near the best comes is said.";
    USE010 "choices of layers" "The file of --choices is none, or names layers that the model does not have. `onnxc quantize --write-choices` makes them.";
    USE011 "no match" "A value of the quantized model has no counterpart in the float one by its name, so it is not compared.";
    USE012 "quantized" "The model was quantized before it was compiled; how many layers, and how far from the float model the outputs are.";
    PRUNE001 "nothing to prune" "Nothing of the model can be removed by the pattern: no layer has it, or what the layers make is tied to what must stay.";
    PRUNE002 "pruned" "What was left as it is while the model was pruned, and why; or that it was pruned before it was compiled.";
    RUN001 "run" "A run of the compiled model ended with a status. The input data asks for what the model has no room for, or is out of range.";
    PASS001 "pass" "What a pass or fusion did, or why it did not.";
    INT001 "internal error" "A bug of onnxc. Please report it with the model or its graph.";
    NPU001 "a node stays on the CPU that must not" "`--npu-required` names a node that no accelerator of `--npu` can compute; the message says why for each of them.";
    NPU002 "no such node" "`--npu-required` has a pattern that no node's name is like. Names are those of the file's nodes; `*` stands for any letters.";
    NPU003 "nothing is offloaded" "Every node stays on the CPU, because the accelerators of `--npu` can't compute it or would not be faster. `--npu-report` says why for each node, `--npu-min-gain 0` offloads whatever can be.";
    NPU004 "unknown accelerator" "`--npu` takes the name of an accelerator that onnxc knows, and options that it has.";
    NPU005 "what accelerators compute" "A summary of what `--npu` came to: regions, and their share of the multiply-accumulates. `--npu-report` has it node by node.";
    NPU006 "runs on a device" "How many runs went to the device and how many to the CPU, and why.";
}

/// Collects messages of one compilation.
#[derive(Default, Debug, Clone)]
pub struct Diagnostics {
    /// All messages in order.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds a message.
    pub fn push(&mut self, d: Box<Diagnostic>) {
        self.list.push(*d);
    }
    /// Keeps the value of a success, or the message of a failure.
    pub fn take<T>(&mut self, r: Result<T>) -> Option<T> {
        r.map_err(|d| self.push(d)).ok()
    }
    /// Whether any message is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Diagnostic::is_error)
    }
}
