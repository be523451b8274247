//! A `Lanes` loop taken out of its function, with what a target needs to make a kernel of it.
//!
//! Code generation finds such loops (`codegen/outline.rs`) and offers them to the target
//! ([`crate::kernel::Machine::lane_loop`]), whose vectors are wider than those of compiler-written loops. The kernel is called
//! with whole numbers and pointers only; what all iterations share is computed before the call. A loop is a value: equal loops
//! share one kernel, whichever layers they come from.
//!
//! The code is structured and in single assignment, but for variables. Everything in it is a vector of lanes, one for each
//! iteration of the `Lanes` loop; `Bool` lanes are all ones or all zeros. Operations mean what they mean in [`super::ir`].

use super::ir::{BinOp, CastKind, Ty, UnOp};
use crate::base::dtype::DType;

/// Number of a value in [`LaneLoop::values`].
pub type ValueNo = u32;

/// A number that is known now, or an argument of the call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Num {
    Known(i64),
    Arg(u8),
}

/// An address that moves with the loops: argument `base`, plus so many bytes for each iteration of a loop.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    /// The argument that holds the address of the first iteration of all loops.
    pub base: u8,
    /// Bytes for each iteration, by number of the loop; a loop that is not named does not move it. In ascending order.
    pub steps: Vec<(u8, Num)>,
}

impl Stream {
    /// Bytes for each iteration of a loop; `None`: it does not move.
    pub fn step(&self, l: u8) -> Option<Num> {
        self.steps.iter().find(|(n, _)| *n == l).map(|(_, s)| *s)
    }
}

/// A place in memory: so many bytes behind a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Spot {
    /// Index into [`LaneLoop::streams`].
    pub stream: u16,
    /// Bytes on top.
    pub disp: i32,
    /// How an element is stored.
    pub dtype: DType,
}

/// How a value comes about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// These bits in every lane.
    Bits(u32),
    /// The low half of an argument in every lane.
    Scalar(u8),
    /// What a variable holds now.
    Var(u16),
    /// A value of its own, equal to this one.
    Copy(ValueNo),
    /// Neighbours in memory. The stream moves by one element for each iteration of the `Lanes` loop.
    Load(Spot),
    /// The same where an argument is not 0; memory is not touched otherwise, and the lanes are those of a value.
    LoadIf(Spot, u8, ValueNo),
    /// One element of 32 bits in every lane. The stream does not move in the `Lanes` loop.
    Splat(Spot),
    /// Operand of a type.
    Un(UnOp, Ty, ValueNo),
    /// Operands of a type; no shifts.
    Bin(BinOp, Ty, ValueNo, ValueNo),
    /// A shift of I32 by 0 to 31.
    Shift(BinOp, ValueNo, u8),
    /// `a * b + c`.
    Fma(ValueNo, ValueNo, ValueNo),
    /// `c ? a : b`.
    Select(ValueNo, ValueNo, ValueNo),
    /// To a type from a type.
    Cast(Ty, CastKind, Ty, ValueNo),
}

impl Value {
    /// The values it is computed from.
    pub fn operands(&self) -> impl Iterator<Item = ValueNo> + use<> {
        let all = match *self {
            Value::Bits(_)
            | Value::Scalar(_)
            | Value::Var(_)
            | Value::Load(_)
            | Value::Splat(_) => [None; 3],
            Value::Copy(a)
            | Value::LoadIf(_, _, a)
            | Value::Un(_, _, a)
            | Value::Shift(_, a, _)
            | Value::Cast(_, _, _, a) => [Some(a), None, None],
            Value::Bin(_, _, a, b) => [Some(a), Some(b), None],
            Value::Fma(a, b, c) | Value::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        all.into_iter().flatten()
    }
    /// The place it reads.
    pub fn spot(&self) -> Option<Spot> {
        match *self {
            Value::Load(s) | Value::LoadIf(s, ..) | Value::Splat(s) => Some(s),
            _ => None,
        }
    }
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Inst {
    /// Computes a value, once in each place where it is named.
    Define(ValueNo),
    /// Sets a variable.
    Set(u16, ValueNo),
    /// Writes neighbours.
    Store(Spot, ValueNo),
    /// A loop of [`LaneLoop::loops`].
    Loop(u8, Vec<Inst>),
    /// Where any lane of a condition holds, which it seldom does: computes and sets one variable, which was set before.
    Seldom(u16, ValueNo, Vec<Inst>),
}

/// A loop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Loop {
    /// Number of iterations. The `Lanes` loop and those around it run at least once, others may run 0 times or less.
    pub extent: Num,
    /// Whether it is the `Lanes` loop; the others run in order. There is exactly one.
    pub lanes: bool,
}

/// A `Lanes` loop, the loops around it that came along, and those inside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LaneLoop {
    /// Values by number; operands before users.
    pub values: Vec<Value>,
    /// How many variables there are.
    pub vars: u16,
    /// Addresses.
    pub streams: Vec<Stream>,
    /// Loops by number.
    pub loops: Vec<Loop>,
    /// Number of arguments.
    pub args: u8,
    /// What is done.
    pub body: Vec<Inst>,
}
