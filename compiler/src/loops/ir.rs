//! The lower IR: buffers, loops, scalar expressions, calls.
//!
//! A [`Func`] is what one layer does. It reads and writes buffers that its caller hands in, and nothing else.
//! Every operation is total: nothing traps, and every index that comes from data must be clamped or guarded by
//! whoever writes the loops (the interpreter checks each access, machine code does not).
//!
//! Rules the verifier holds:
//! - an expression is evaluated when its statement runs; sharing an [`ExprId`] between statements means evaluating it again;
//! - a variable is set by [`Stmt::Let`] or a loop before it is read; only a variable declared mutable is set twice;
//! - operand types agree; conditions are [`Ty::Bool`], indices and extents [`Ty::I64`].

use crate::base::dim::{Dim, SymId};
use crate::base::dtype::DType;
use crate::base::id::Arena;
use crate::ids;

ids! {
    /// A parameter buffer of a function.
    BufId "b",
    /// A scalar variable of a function.
    VarId "v",
    /// A node of a function's expression arena.
    ExprId "e",
}

/// The type of a scalar while it is computed with.
///
/// How storage types map: f16, bf16, f32 compute in F32; f64 in F64; bool in Bool; integers up to 16 bits, i32, and the
/// raw bits of 8- and 4-bit floats in I32; u32 (zero-extended), i64, u64 (same bits) in I64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Ty {
    F32,
    F64,
    I32,
    I64,
    Bool,
}

impl Ty {
    /// The type in which elements of storage type `d` are computed with.
    pub fn of(d: DType) -> Ty {
        match d {
            DType::F32 | DType::F16 | DType::BF16 => Ty::F32,
            DType::F64 => Ty::F64,
            DType::Bool => Ty::Bool,
            DType::U32 | DType::I64 | DType::U64 => Ty::I64,
            _ => Ty::I32,
        }
    }
    /// f32 or f64.
    pub fn is_float(self) -> bool {
        matches!(self, Ty::F32 | Ty::F64)
    }
    /// i32 or i64.
    pub fn is_int(self) -> bool {
        matches!(self, Ty::I32 | Ty::I64)
    }
}

/// A typed constant; floats as bits, so that equality and hashing are exact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Const {
    F32(u32),
    F64(u64),
    I32(i32),
    I64(i64),
    Bool(bool),
}

impl Const {
    /// Its type.
    pub fn ty(self) -> Ty {
        match self {
            Const::F32(_) => Ty::F32,
            Const::F64(_) => Ty::F64,
            Const::I32(_) => Ty::I32,
            Const::I64(_) => Ty::I64,
            Const::Bool(_) => Ty::Bool,
        }
    }
}

/// Operations on one scalar. Those from `Exp` on are written out by `legalize` before code is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum UnOp {
    /// Floats: flips the sign bit. Integers: wraps.
    Neg,
    /// Floats: clears the sign bit. Integers: wraps for the smallest.
    Abs,
    /// Correctly rounded.
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// Round half to even.
    Round,
    /// The same of a number that an i32 holds: whoever writes it makes sure of that.
    Near,
    /// Bool: logical. Integers: bitwise.
    Not,
    /// Number of one bits of an integer.
    Popcnt,
    /// Float to integer of the same width, same bits.
    ToBits,
    /// Integer to float of the same width, same bits.
    FromBits,
    /// Bool: as it is, and seldom true. What [`Expr::Select`] by it takes in that case is computed in that case only.
    Seldom,
    // Written out by `legalize`; F32 within 2 ulp, F64 within 4 ulp.
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// Operations on two scalars of one type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum BinOp {
    /// Integers wrap.
    Add,
    Sub,
    Mul,
    /// Floats: IEEE. Signed integers: truncates; x / 0 = 0, MIN / -1 = MIN.
    Div,
    /// Signed integers: remainder of `Div`, sign of the dividend; x rem 0 = 0. Not for floats.
    Rem,
    /// Unsigned division and remainder; by 0 gives 0.
    DivU,
    RemU,
    /// `a < b ? a : b`, so `b` where either is NaN. Integers signed.
    Min,
    /// `a > b ? a : b`, so `b` where either is NaN. Integers signed.
    Max,
    /// Unsigned.
    MinU,
    MaxU,
    /// Integers bitwise, Bool logical.
    And,
    Or,
    Xor,
    /// The shift amount is taken modulo the width. `Shr` keeps the sign, `ShrU` does not.
    Shl,
    Shr,
    ShrU,
    /// Comparisons give Bool; with NaN all but `Ne` are false.
    Eq,
    Ne,
    Lt,
    Le,
    /// Unsigned comparisons.
    LtU,
    LeU,
    /// High half of the unsigned 64-bit product (I64 only).
    MulHiU,
    /// x to the power y (floats); written out by `legalize`.
    Pow,
}

/// How a conversion treats integers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum CastKind {
    /// Integers are signed. Float to integer truncates and saturates, NaN gives 0. I64 to I32 wraps, I32 to I64 extends the sign.
    Signed,
    /// The same with unsigned integers (I32 to I64 extends zeros).
    Unsigned,
}

/// A node of an expression.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Expr {
    /// A constant.
    Const(Const),
    /// A variable's value.
    Var(VarId),
    /// The run-time value of a symbolic size, I64.
    Sym(SymId),
    /// Element `index` of a buffer, converted to its computing type.
    Load {
        /// From where.
        buf: BufId,
        /// Element number.
        index: ExprId,
    },
    /// The same where `cond` holds, else `default`; the element is not touched otherwise.
    LoadIf {
        /// From where.
        buf: BufId,
        /// Whether `index` may be read.
        cond: ExprId,
        /// Element number.
        index: ExprId,
        /// The value otherwise.
        default: ExprId,
    },
    /// One operand.
    Un(UnOp, ExprId),
    /// Two operands.
    Bin(BinOp, ExprId, ExprId),
    /// a * b + c with one rounding where the target declares FMA, with two elsewhere.
    Fma(ExprId, ExprId, ExprId),
    /// `cond ? a : b`; both are evaluated.
    Select(ExprId, ExprId, ExprId),
    /// Conversion to a type. Bool gives 0 or 1; to Bool means `!= 0`.
    Cast(Ty, CastKind, ExprId),
}

/// What a loop promises of its iterations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoopKind {
    /// One after another.
    Seq,
    /// Independent: threads may share them. Inside, only private buffers are read after they were written.
    Parallel,
    /// Independent, and worth doing several at once. Variables set inside are local to an iteration.
    Lanes,
    /// One after another, and worth writing out.
    Unroll,
}

impl LoopKind {
    /// The kind where no threads are to share the iterations.
    pub fn serial(self) -> LoopKind {
        match self {
            LoopKind::Parallel => LoopKind::Seq,
            kind => kind,
        }
    }
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// `var` from 0 to `extent - 1`; nothing where `extent <= 0`.
    For {
        /// The loop variable, I64.
        var: VarId,
        /// Number of iterations, evaluated once.
        extent: ExprId,
        /// What is promised.
        kind: LoopKind,
        /// What is done.
        body: Vec<Stmt>,
    },
    /// As long as `cond` holds, evaluated before each round. Whoever writes it makes sure that it ends.
    While {
        /// Evaluated before each round.
        cond: ExprId,
        /// What is done.
        body: Vec<Stmt>,
    },
    /// One of two.
    If {
        /// Which.
        cond: ExprId,
        /// Where it holds.
        then: Vec<Stmt>,
        /// Where not.
        els: Vec<Stmt>,
    },
    /// Sets a variable (declares it, or changes a mutable one).
    Let {
        /// Which.
        var: VarId,
        /// To what.
        value: ExprId,
    },
    /// Writes an element, converted to the buffer's storage type (integers wrap, floats round half to even).
    Store {
        /// Where.
        buf: BufId,
        /// Element number.
        index: ExprId,
        /// What.
        value: ExprId,
    },
    /// Defines a data-dependent size; a value outside the symbol's bounds ends the run with a status.
    SetSym {
        /// Which.
        sym: SymId,
        /// Its value, I64.
        value: ExprId,
    },
    /// Ends the run with a status where `cond` holds.
    FailIf {
        /// When.
        cond: ExprId,
        /// An `onnxc_abi` status code, not 0.
        status: i32,
    },
    /// Calls a kernel tile.
    Call {
        /// Index into [`Func::callees`].
        callee: usize,
        /// In the order of the callee's parameters.
        args: Vec<Arg>,
    },
}

/// An argument of a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// A pointer to element `offset` of a buffer.
    Ptr {
        /// Which.
        buf: BufId,
        /// Element number.
        offset: ExprId,
    },
    /// A whole number, I64.
    Int(ExprId),
}

/// Something that a function calls: generated machine code behind a contract.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Callee {
    /// The kernel row's name, such as `gemm_tile_f32_6x16_avx2fma`.
    pub kernel: String,
    /// The contract it fulfils, such as `gemm_tile`: says what the call computes.
    pub contract: String,
    /// What it was specialised to, in the contract's order: `("m", 6), ("n", 16)`.
    pub shape: Vec<(String, i64)>,
}

impl Callee {
    /// A number of the shape by its name.
    pub fn get(&self, name: &str) -> Option<i64> {
        self.shape.iter().find(|(n, _)| n == name).map(|n| n.1)
    }
}

/// What a function does with a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
    /// Scratch with a copy for each iteration of a parallel loop that writes it: an iteration writes before it reads, and nobody
    /// reads afterwards what it wrote. Elsewhere it is like `ReadWrite`.
    Private,
}

/// A buffer parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// For people.
    pub name: String,
    /// Storage type of an element.
    pub dtype: DType,
    /// Number of elements.
    pub len: Dim,
    /// What is done with it.
    pub access: Access,
}

/// A scalar variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Var {
    /// Its type.
    pub ty: Ty,
    /// Whether it may be set more than once.
    pub mutable: bool,
}

/// A function over buffers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Func {
    /// For people; symbols are named by the plan.
    pub name: String,
    /// Buffer parameters in order.
    pub bufs: Arena<BufId, Buffer>,
    /// Whole-number parameters after the buffers (kernel references have them, layers do not).
    pub ints: Vec<VarId>,
    /// Variables.
    pub vars: Arena<VarId, Var>,
    /// Expressions; operands stand before their users.
    pub exprs: Arena<ExprId, Expr>,
    /// What it calls.
    pub callees: Vec<Callee>,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Func {
    /// The type of an expression.
    pub fn ty(&self, e: ExprId) -> Ty {
        match &self.exprs[e] {
            Expr::Const(c) => c.ty(),
            Expr::Var(v) => self.vars[*v].ty,
            Expr::Sym(_) => Ty::I64,
            Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } => Ty::of(self.bufs[*buf].dtype),
            Expr::Un(UnOp::ToBits, a) => {
                if self.ty(*a) == Ty::F32 {
                    Ty::I32
                } else {
                    Ty::I64
                }
            }
            Expr::Un(UnOp::FromBits, a) => {
                if self.ty(*a) == Ty::I32 {
                    Ty::F32
                } else {
                    Ty::F64
                }
            }
            Expr::Un(_, a) | Expr::Fma(a, ..) | Expr::Select(_, a, _) => self.ty(*a),
            Expr::Bin(
                BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::LtU | BinOp::LeU,
                ..,
            ) => Ty::Bool,
            Expr::Bin(_, a, _) => self.ty(*a),
            Expr::Cast(ty, ..) => *ty,
        }
    }
}
