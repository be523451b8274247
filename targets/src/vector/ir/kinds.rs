//! Kinds of operations: what is computed, and when a branch is taken.

/// Lane-wise operations on two operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Bin {
    Add,
    Sub,
    Mul,
    Div,
    /// `a < b ? a : b`.
    Min,
    /// `a > b ? a : b`.
    Max,
    /// Comparisons of floats: all ones or all zeros; with NaN only `Ne` holds.
    Eq,
    Ne,
    Lt,
    Le,
    And,
    /// `!a & b`.
    AndNot,
    Or,
    Xor,
    AddI,
    SubI,
    MulI,
    MinI,
    MaxI,
    EqI,
    /// Signed `a > b`.
    GtI,
}

/// Lane-wise operations on one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Un {
    Sqrt,
    /// Round half to even, to an integral float.
    Round,
    Floor,
    Ceil,
    Trunc,
    /// i32 to float.
    FromInt,
}

/// Shifts by a constant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Shift {
    Left,
    /// Keeps the sign.
    Right,
    RightU,
}

/// Operations on two operands of f64 lanes, of which a register holds half as many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum RealBin {
    Add,
    Sub,
    Mul,
    /// `a < b ? a : b`; NaN does not occur.
    Min,
    Max,
}

/// Operations on the two words of each lane; they wrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum WordBin {
    Add,
    Sub,
}

/// Products of parts of lanes, added to an i32 lane; sums wrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dot {
    /// Two signed words with two signed words.
    Words,
    /// Four bytes of weights (signed) with four of the other operand, unsigned.
    BytesU,
    /// The same with signed bytes.
    BytesS,
}

/// Operations whose results are twice as long as what they are of; they wrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Long {
    /// Signed bytes times signed bytes: words.
    Bytes,
    /// The same, added to the words that are there.
    AddBytes,
    /// Signed words times signed words, added to the lanes that are there.
    AddWords,
    /// The words of the first operand, added to the lanes that are there; the second is not looked at.
    Sum,
}

/// How lanes are brought together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Fold {
    Add,
    Min,
    Max,
}

/// When a branch is taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Cond {
    Eq,
    Ne,
    /// Signed.
    Lt,
    Le,
    Gt,
    Ge,
}

/// How elements in memory become lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Elem {
    /// 32 bits, as they are.
    W32,
    /// IEEE half precision to and from f32 (rounds half to even).
    F16,
    /// The upper half of f32 (rounds half to even).
    BF16,
    /// Unsigned and signed bytes and words to and from i32 (stores truncate).
    U8,
    #[allow(missing_docs)]
    I8,
    #[allow(missing_docs)]
    U16,
    #[allow(missing_docs)]
    I16,
    /// Two signed or unsigned bytes, to the two words of a lane. Loads only.
    I8x2,
    #[allow(missing_docs)]
    U8x2,
    /// Bytes that are limited to what they hold as they are stored. Stores only.
    U8Limited,
    #[allow(missing_docs)]
    I8Limited,
}

impl Elem {
    /// Whether numbers are limited as they are stored.
    pub fn is_limited(self) -> bool {
        matches!(self, Elem::U8Limited | Elem::I8Limited)
    }
    /// Bytes of an element.
    pub fn bytes(self) -> i32 {
        match self {
            Elem::W32 => 4,
            Elem::U8 | Elem::I8 | Elem::U8Limited | Elem::I8Limited => 1,
            _ => 2,
        }
    }
}
