//! The vector machine: what kernel templates are written in.
//!
//! A [`Program`] is a list of operations on vector registers of 32-bit lanes and on address registers, with labels and
//! branches. Registers are physical: a template allocates them through [`super::build::Vm`] and can therefore count on what
//! it sees. Each architecture turns a program into machine code (`x86_64/vector.rs`, `aarch64/vector.rs`).
//!
//! Every operation has one meaning on all machines, bit for bit, but for [`Op::Fma`], which rounds twice where
//! [`Isa::fma`] is false. The meanings are those of the loops IR (`loops/ir.rs`): `Min` and `Max` give their second
//! operand where either is NaN, comparisons give lanes of all ones or all zeros, integers wrap.

mod kinds;
mod machine;
mod registers;

pub use kinds::{Bin, Cond, Dot, Elem, Fold, Long, RealBin, Shift, Un, WordBin};
pub use machine::{Isa, Level};
pub use registers::each_x;

/// A vector register, from 0 to [`Isa::vregs`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct V(pub u8);

/// An address register (64 bits), from 0 to [`XREGS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct X(pub u8);

/// A place to branch to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Label(pub u32);

/// Address registers that every machine has for templates.
pub const XREGS: u8 = 14;

/// A place in memory: `base + (index << shift) + disp` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mem {
    /// Base register.
    pub base: X,
    /// A second register, shifted left by 0 to 3.
    pub index: Option<(X, u8)>,
    /// Bytes on top.
    pub disp: i32,
}

impl Mem {
    /// `base + disp`.
    pub fn at(base: X, disp: i32) -> Mem {
        Mem {
            base,
            index: None,
            disp,
        }
    }
    /// The same place some bytes further.
    pub fn plus(self, bytes: i32) -> Mem {
        Mem {
            disp: self.disp + bytes,
            ..self
        }
    }
}

/// The second operand of a vector operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// A register.
    Reg(V),
    /// A whole vector in memory.
    Mem(Mem),
    /// 32 bits of memory in every lane. Only where [`Isa::splat_operand`]; elsewhere use [`Op::Splat`].
    Splat(Mem),
    /// These bits in every lane.
    Const(u32),
}

impl From<V> for Src {
    fn from(v: V) -> Src {
        Src::Reg(v)
    }
}

/// The second operand of an operation on f64 lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RealSrc {
    /// A register.
    Reg(V),
    /// A whole vector in memory.
    Mem(Mem),
    /// These bits in every lane.
    Const(u64),
}

/// How many lanes of memory a load or store touches; a load clears the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lanes {
    /// All.
    All,
    /// The first so many, from 1.
    First(u8),
}

impl Lanes {
    /// Those that hold the columns from `at` of `n` columns.
    pub fn of(isa: &Isa, n: usize, at: usize) -> Lanes {
        match n.saturating_sub(at) {
            rest if rest >= isa.lanes => Lanes::All,
            rest => Lanes::First(rest as u8),
        }
    }
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Op {
    // Vectors
    Zero {
        d: V,
    },
    /// These bits in every lane.
    Const {
        d: V,
        bits: u32,
    },
    Move {
        d: V,
        a: V,
    },
    Load {
        d: V,
        at: Mem,
        elem: Elem,
        lanes: Lanes,
    },
    /// `tmp` may be clobbered: free for that, and not `s`.
    Store {
        s: V,
        at: Mem,
        elem: Elem,
        lanes: Lanes,
        tmp: V,
    },
    /// The lanes of `a`, then of `b`, as bytes that are limited to what they hold; not on machines that store single vectors as fast. `a` and `b`
    /// may be clobbered, and differ. `mixed`: lanes 2 and 3 of each have changed places with 4 and 5.
    StorePair {
        a: V,
        b: V,
        at: Mem,
        signed: bool,
        mixed: bool,
    },
    /// The same with the lanes of `b` at a second place; that is written first, and may be the first one again.
    StoreApart {
        a: V,
        b: V,
        at: Mem,
        second: Mem,
        signed: bool,
        mixed: bool,
    },
    /// The lanes of the first `n` of `v`, 2 to 4, as bytes that are limited to what they hold, those of each vector at a place of its own; no place overlaps
    /// another. They differ and are clobbered.
    StoreEach {
        v: [V; 4],
        n: u8,
        at: [Mem; 4],
        signed: bool,
    },
    /// One 32-bit element in every lane.
    Splat {
        d: V,
        at: Mem,
    },
    /// The low half of an address register in every lane.
    SplatX {
        d: V,
        x: X,
    },
    /// 0 where no lane of `a` holds, which are all ones or all zeros; something else otherwise. Not on NEON.
    AnyX {
        d: X,
        a: V,
    },
    Bin {
        op: Bin,
        d: V,
        a: V,
        b: Src,
    },
    Un {
        op: Un,
        d: V,
        a: V,
    },
    /// An operation on words.
    Words {
        op: WordBin,
        d: V,
        a: V,
        b: V,
    },
    /// Truncates to i32, saturates; NaN gives 0. `tmp` is clobbered; all three differ.
    ToInt {
        d: V,
        a: V,
        tmp: V,
    },
    /// The i32 that a float without places behind the point is.
    WholeInt {
        d: V,
        a: V,
    },
    /// The nearest i32 of a float that is one after rounding, halves to even.
    NearInt {
        d: V,
        a: V,
    },
    /// `d -= 1` where `a` and `b` are equal; `tmp` is clobbered.
    LessWhereEq {
        d: V,
        a: V,
        b: Src,
        tmp: V,
    },
    Shift {
        op: Shift,
        d: V,
        a: V,
        by: u8,
    },
    /// `d = a * b + d`.
    Fma {
        d: V,
        a: V,
        b: Src,
    },
    /// `d = d * a + c`, on x86_64 with fused multiply-add.
    FmaOver {
        d: V,
        a: V,
        c: Src,
    },
    /// `d = a * b[lane] + d`, where [`Isa::by_lane`].
    FmaLane {
        d: V,
        a: V,
        b: V,
        lane: u8,
    },
    /// `d += sum of parts of a * parts of b`: weights in `a`. Words need `tmp`, which may be clobbered and is none of the others but `b`, except where
    /// [`Isa::fused_words`].
    Dot {
        dot: Dot,
        d: V,
        a: Src,
        b: V,
        tmp: Option<V>,
    },
    /// The same with one lane of `b`, where [`Isa::by_lane`]. Of words, each half of `a` holds those of one of the two, lane by lane.
    DotLane {
        dot: Dot,
        d: V,
        a: V,
        b: V,
        lane: u8,
    },
    /// Pairs of bytes to words: `b` without sign times `a` with one, two products added and limited to a word.
    PairBytes {
        d: V,
        a: Src,
        b: V,
    },
    /// Bytes of sixteen in memory to each quarter: which, each byte of `order` says; 0 where it is 128 or more. `d` is not `order`.
    PickBytes {
        d: V,
        at: Mem,
        order: V,
    },
    /// i32 lanes as f64: the first half of them in `lo`. All three differ.
    ToReals {
        lo: V,
        hi: V,
        a: V,
    },
    /// The i32 lanes of a slot as f64, as [`Op::ToReals`] has them; where conversions from memory are cheaper than halves of registers.
    SlotToReals {
        lo: V,
        hi: V,
        slot: u16,
    },
    /// The nearest whole numbers, half to even, of f64 that an i32 holds, as i32 lanes; `lo` and `hi` may be clobbered. All three differ.
    FromReals {
        d: V,
        lo: V,
        hi: V,
    },
    /// The same, its lanes in the order that [`Op::StorePair`] takes as `mixed`.
    FromRealsMixed {
        d: V,
        lo: V,
        hi: V,
    },
    /// An operation on f64 lanes.
    RealBin {
        op: RealBin,
        d: V,
        a: V,
        b: RealSrc,
    },
    /// f64 lanes rounded down.
    RealFloor {
        d: V,
        a: V,
    },
    /// `d = m ? a : b` by lanes; `m` holds all ones or all zeros.
    Select {
        d: V,
        m: V,
        a: V,
        b: V,
    },
    /// All lanes of `a` into lane 0 of `d`, pairwise: halves, then quarters ... `tmp` is clobbered, and is neither.
    Fold {
        op: Fold,
        d: V,
        a: V,
        tmp: V,
    },
    /// Lane 0 in every lane.
    SplatLane {
        d: V,
        a: V,
    },
    /// Lanes 0 and 1 in every pair of lanes.
    SplatPair {
        d: V,
        a: V,
    },
    // Quarters: 128 bits of a vector, four lanes; the first is number 0.
    /// Four elements of memory into a quarter. After the first quarter the others are undefined. `tmp` may be clobbered, and is not `d`.
    LoadQuad {
        d: V,
        at: Mem,
        part: u8,
        elem: Elem,
        tmp: V,
    },
    /// An f64 of memory in every pair of lanes.
    SplatReal {
        d: V,
        at: Mem,
    },
    /// A quarter to memory.
    StoreQuad {
        s: V,
        at: Mem,
        part: u8,
    },
    /// Numbers limited to bytes, those of the same lane of four vectors side by side in that lane of the first, which `signed` bytes hold or unsigned ones;
    /// the others are clobbered. All four differ.
    PackBytes {
        v: [V; 4],
        signed: bool,
    },
    /// Four vectors transposed by quarters: lane r of a quarter of vector c was lane c of that quarter of vector r. All six differ.
    Transpose {
        v: [V; 4],
        tmp: [V; 2],
    },
    /// Words of `a` and `b` brought together as [`Op::Dot`] and [`Op::DotLane`] take them: the first half of each quarter in `lo`,
    /// the second in `a`. `lo` is neither.
    PairWords {
        lo: V,
        a: V,
        b: V,
    },
    /// Bytes of memory, twice as many as there are lanes, to the words of all lanes; `signed`: with their sign.
    LoadWords {
        d: V,
        at: Mem,
        signed: bool,
    },
    /// Bytes of `a` and `b` alternate: those of the first half of each quarter in `lo`, of the second in `a`. `lo` is neither.
    MixBytes {
        lo: V,
        a: V,
        b: V,
    },
    /// The first bytes of `a` and `b` as words that alternate: of as many as there are lanes in `lo`, of those behind them in `a` if `second`.
    /// `signed`: with their sign. `lo` is neither.
    PairRows {
        lo: V,
        a: V,
        b: V,
        signed: bool,
        second: bool,
    },
    /// Brings what pairing has mixed into order, in the first `n` registers, 2 or 4: lane `l` of vector `v` was element
    /// `4 * n * (l / 4) + 4 * v + l % 4`, and element `e` becomes lane `e % lanes` of vector `e / lanes`. All six differ.
    InOrder {
        v: [V; 4],
        n: u8,
        tmp: [V; 2],
    },
    /// Products and sums that are longer than what they are of, from the first or the second half of the operands.
    Long {
        op: Long,
        d: V,
        a: V,
        b: V,
        second: bool,
    },
    /// The first half of `a`, then that of `b`.
    Halves {
        d: V,
        a: V,
        b: V,
    },
    /// Bytes or words of `a` and `b` in turns, from their first or their second half.
    Zip {
        d: V,
        a: V,
        b: V,
        words: bool,
        second: bool,
    },
    /// `d += a * b` of matrices: `a` two rows of eight bytes, `signed` or not, `b` two columns of eight signed ones, `d` two rows of two lanes; sums wrap.
    Matrix {
        d: V,
        a: V,
        b: V,
        signed: bool,
    },
    /// Brings a cache line near.
    Prefetch {
        at: Mem,
    },
    /// A vector to and from the frame.
    Spill {
        s: V,
        slot: u16,
    },
    Fill {
        d: V,
        slot: u16,
    },
    // Addresses
    /// Argument number `n` of the call.
    Arg {
        d: X,
        n: u8,
    },
    /// Changes an argument: a variable of the kernel that is not worth a register.
    SetArg {
        n: u8,
        s: X,
    },
    SetX {
        d: X,
        value: i64,
    },
    MoveX {
        d: X,
        a: X,
    },
    /// `d = a + (b << shift)`, shift 0 to 3.
    AddX {
        d: X,
        a: X,
        b: X,
        shift: u8,
    },
    SubX {
        d: X,
        a: X,
        b: X,
    },
    /// `d = a + by`.
    AddI {
        d: X,
        a: X,
        by: i32,
    },
    ShlX {
        d: X,
        a: X,
        by: u8,
    },
    /// Zeros come in. Not on NEON.
    ShrX {
        d: X,
        a: X,
        by: u8,
    },
    /// `d = a & mask`, of 32 bits. Not on NEON.
    AndX {
        d: X,
        a: X,
        mask: i32,
    },
    /// `d = a * b`.
    MulX {
        d: X,
        a: X,
        b: X,
    },
    LoadX {
        d: X,
        at: Mem,
    },
    /// The same of one byte, two or four, without sign; four not on NEON.
    LoadSmallX {
        d: X,
        at: Mem,
        bytes: u8,
    },
    // Control
    Label {
        label: Label,
    },
    Jump {
        to: Label,
    },
    /// Compares an address register with a number.
    Branch {
        x: X,
        cond: Cond,
        with: i32,
        to: Label,
    },
    BranchX {
        a: X,
        cond: Cond,
        b: X,
        to: Label,
    },
    /// `x -= by`, and back to `to` while `x > 0`.
    Count {
        x: X,
        by: i32,
        to: Label,
    },
}

/// A kernel: takes `args` whole numbers or pointers, returns nothing.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// For which machine.
    pub isa: Isa,
    /// Number of arguments.
    pub args: u8,
    /// Vectors in the frame.
    pub slots: u16,
    /// What it does; it returns at the end.
    pub ops: Vec<Op>,
}
