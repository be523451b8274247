//! The program: what code generation writes out and the program interpreter runs.
//!
//! A program is a tree of steps over places in four memories: the caller's inputs and outputs, the weights blob and the
//! arena. Functions get one pointer per buffer and a pointer to the symbol table, which lies at the start of the arena:
//! one i64 per symbol, rounded up to [`SYMBOL_ALIGN`] bytes and never empty, so that it is also a readable address for loads whose
//! guard does not hold. In a program for several threads the caller's hook and its argument follow the symbols.

use super::select::Choice;
use crate::base::dim::Symbols;
use crate::base::id::Arena;
use crate::base::types::TensorType;
use crate::ids;
use crate::loops::ir::{Buffer, Func};

ids! {
    /// A function body; layers of like shape share one.
    FuncId "f",
    /// A layer: one named call of a function body.
    LayerId "layer",
}

/// Alignment of the arena, of every buffer in it, and of the weights.
pub const ALIGN: u64 = 64;
/// Constants of fewer bytes may lie closer together: a network has hundreds of short ones.
const SHORT: u64 = 1024;

/// At multiples of what a constant of so many bytes lies. Short ones lie at multiples of the largest power of two that their length is one of, so that
/// tables of whole vectors keep to lines of the cache; all at multiples of 8, which is as much as an element needs.
pub fn align_of_constant(bytes: u64) -> u64 {
    match bytes {
        0..SHORT => (1u64 << bytes.trailing_zeros().min(63)).clamp(8, ALIGN),
        _ => ALIGN,
    }
}

/// The symbol table takes a multiple of this many bytes, at least one.
pub const SYMBOL_ALIGN: u64 = 64;

/// A place in memory: where a buffer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Byte offset in the caller's input number.
    Input(u32, u64),
    /// Byte offset in the caller's output number.
    Output(u32, u64),
    /// Byte offset in the weights.
    Weights(u64),
    /// Byte offset in the arena.
    Arena(u64),
}

/// One layer. While planning, `P` is a place that memory planning has yet to settle.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<P = Place> {
    /// Readable and unique: `003_conv1_relu` (the prefix is added when code is made).
    pub name: String,
    /// Its body.
    pub func: FuncId,
    /// Where each buffer parameter of the body lies.
    pub args: Vec<P>,
    /// Operators that it computes, in order.
    pub ops: Vec<&'static str>,
    /// ONNX nodes that it computes.
    pub nodes: Vec<String>,
    /// Whether it adds up products ([`crate::op::OpDef::sums`]).
    pub sums: bool,
    /// Name of the kernel row that was selected, empty for plain loops.
    pub kernel: String,
    /// Among what that was selected.
    pub choice: Option<Choice>,
    /// Multiply-accumulates, at the bounds of symbolic sizes.
    pub macs: u64,
    /// The graph values it makes, for comparing layer by layer: (name, type, place).
    pub makes: Vec<(String, TensorType, P)>,
}

impl<P> Layer<P> {
    /// A layer of no operator: what a body does to its buffers.
    pub fn of(name: impl Into<String>, func: FuncId, args: Vec<P>) -> Layer<P> {
        Layer {
            name: name.into(),
            func,
            args,
            ops: vec![],
            sums: false,
            nodes: vec![],
            kernel: String::new(),
            choice: None,
            macs: 0,
            makes: vec![],
        }
    }
    /// The same layer with every place `f` of what it was.
    pub fn settle(self, f: &dyn Fn(P) -> Place) -> Layer {
        let makes = self.makes.into_iter();
        Layer {
            name: self.name,
            func: self.func,
            args: self.args.into_iter().map(f).collect(),
            ops: self.ops,
            sums: self.sums,
            nodes: self.nodes,
            kernel: self.kernel,
            choice: self.choice,
            macs: self.macs,
            makes: makes.map(|(n, t, p)| (n, t, f(p))).collect(),
        }
    }
}

/// What happens, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<P = Place> {
    /// Runs a layer.
    Layer(LayerId),
    /// Reads a bool element and does one of two.
    If {
        /// Where the bool lies.
        cond: P,
        /// Where it is true.
        then: Vec<Step<P>>,
        /// Where it is false.
        els: Vec<Step<P>>,
    },
    /// Repeats. Before each round `iter` (an i64) is set to the number of the round; it holds the number of finished rounds at the end.
    Loop {
        /// Where the i64 trip count lies; `None`: only the condition ends it.
        trips: Option<P>,
        /// Rounds never exceed this; more asked for is a status.
        max_trips: i64,
        /// Where the bool lies that must be true for another round; read before each round. `None`: always.
        cond: Option<P>,
        /// Where the number of the round lies.
        iter: P,
        /// What is repeated.
        body: Vec<Step<P>>,
    },
    /// Asks for the region to be computed on its accelerator, and computes it here where that does not answer.
    Offload {
        /// Number of the region: of its slot in the context, and of its partition in the descriptor.
        slot: u32,
        /// Whether the run ends with a status where no device computes the region.
        required: bool,
        /// What goes in. Nothing of it is written until the step has ended.
        ins: Vec<P>,
        /// What comes out. None lies over an input or over another.
        outs: Vec<P>,
        /// The CPU twin: the region's layers.
        twin: Vec<Step<P>>,
    },
    /// Ends the run with a status.
    Fail(i32),
}

impl<P> Step<P> {
    /// The same step with every place `f` of what it was.
    pub fn settle(self, f: &dyn Fn(P) -> Place) -> Step {
        let all = |l: Vec<Step<P>>| l.into_iter().map(|s| s.settle(f)).collect();
        match self {
            Step::Layer(l) => Step::Layer(l),
            Step::If { cond, then, els } => Step::If {
                cond: f(cond),
                then: all(then),
                els: all(els),
            },
            Step::Loop {
                trips,
                max_trips,
                cond,
                iter,
                body,
            } => Step::Loop {
                trips: trips.map(f),
                max_trips,
                cond: cond.map(f),
                iter: f(iter),
                body: all(body),
            },
            Step::Offload {
                slot,
                required,
                ins,
                outs,
                twin,
            } => Step::Offload {
                slot,
                required,
                ins: ins.into_iter().map(f).collect(),
                outs: outs.into_iter().map(f).collect(),
                twin: all(twin),
            },
            Step::Fail(code) => Step::Fail(code),
        }
    }
}

/// A port of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Type; symbolic sizes are the program's symbols.
    pub ty: TensorType,
}

/// A value that is looked at while the program runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The value is there when this layer ends, and it may be gone when the next one does. `None`: it has no elements.
    pub layer: Option<LayerId>,
    /// Its type, axes in the order of the memory.
    pub ty: TensorType,
    /// Which axis of the model's value each of them is.
    pub order: Vec<usize>,
    /// Where it lies.
    pub place: Place,
}

/// A program.
#[derive(Clone)]
pub struct Program {
    /// Bounded sizes; `Origin::Input` ones are stated by the caller, in order.
    pub symbols: Symbols,
    /// The caller's inputs.
    pub inputs: Vec<Port>,
    /// The caller's outputs.
    pub outputs: Vec<Port>,
    /// What a tracer looks at.
    pub watched: Vec<Watched>,
    /// Function bodies.
    pub funcs: Arena<FuncId, Func>,
    /// Layers.
    pub layers: Arena<LayerId, Layer>,
    /// Threads that a run can keep busy: 1, or what was compiled for, where some loop is cut into so many pieces.
    pub threads: u32,
    /// What happens.
    pub steps: Vec<Step>,
    /// Constants: (byte offset, bytes), ascending, each at a multiple of [`align_of_constant`].
    pub weights: Vec<(u64, bytes::Bytes)>,
    /// Size of the weights blob.
    pub weights_bytes: u64,
    /// Size of the arena, the symbol table included.
    pub arena_bytes: u64,
    /// Bytes that lie at the largest moment (lower bound of the arena).
    pub peak_bytes: u64,
}

impl Default for Program {
    fn default() -> Program {
        Program {
            symbols: Symbols::default(),
            inputs: vec![],
            outputs: vec![],
            watched: vec![],
            funcs: Arena::default(),
            layers: Arena::default(),
            threads: 1,
            steps: vec![],
            weights: vec![],
            weights_bytes: 0,
            arena_bytes: 0,
            peak_bytes: 0,
        }
    }
}

/// Bytes from one copy of a private buffer to the next.
pub fn copy_bytes(b: &Buffer, symbols: &Symbols) -> u64 {
    let n = b.len.bounds(symbols).1.max(0) as u64;
    n.saturating_mul(b.dtype.size() as u64)
        .min(i64::MAX as u64)
        .next_multiple_of(ALIGN)
}

impl Program {
    /// Bytes at the start of the arena: the symbol table, and the hook of the caller's threads behind it.
    pub fn symbol_bytes(&self) -> u64 {
        let hook = if self.threads > 1 { 16 } else { 0 };
        ((self.symbols.len() as u64 * 8 + hook).max(1)).next_multiple_of(SYMBOL_ALIGN)
    }
    /// Where the hook (a function, then its first argument) lies in the arena, in programs for several threads.
    pub fn hook_at(&self) -> Option<i32> {
        let at = i32::try_from(self.symbols.len() as u64 * 8).ok()?;
        (self.threads > 1).then_some(at)
    }
    /// Symbols whose value the caller states, in order.
    pub fn input_symbols(&self) -> impl Iterator<Item = crate::base::dim::SymId> + '_ {
        self.symbols
            .iter()
            .filter(|(_, s)| matches!(s.origin, crate::base::dim::Origin::Input { .. }))
            .map(|(i, _)| i)
    }
}
