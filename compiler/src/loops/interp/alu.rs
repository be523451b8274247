//! The arithmetic of the interpreter: one flat list of typed operations on 64-bit registers.
//!
//! Every operation of [`super::super::ir`] on every type is one row of [`Op`]; this is where their meaning is written
//! down once. A register holds i32 and f32 in its low half (the high half is 0), Bool as 0 or 1.
//!
//! Results must be the same on every host: no call into the host's mathematical library, and a NaN that arithmetic
//! makes is always the positive quiet one (hosts differ in its sign). Operations that only move or pick bits (negation,
//! minimum, selection, loads) leave a NaN as it is.

use crate::loops::ir::{BinOp, CastKind, Ty, UnOp};

/// A type that lives in a register.
trait Word {
    fn get(r: u64) -> Self;
    fn put(self) -> u64;
}

macro_rules! word {
    ($($t:ty, |$r:ident| $get:expr, |$v:ident| $put:expr;)*) => {$(
        impl Word for $t {
            #[inline(always)]
            fn get($r: u64) -> Self { $get }
            #[inline(always)]
            fn put(self) -> u64 { let $v = self; $put }
        }
    )*};
}

word! {
    f32, |r| f32::from_bits(r as u32), |v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() as u64 };
    f64, |r| f64::from_bits(r), |v| if v.is_nan() { 0x7ff8_0000_0000_0000 } else { v.to_bits() };
    i32, |r| r as i32, |v| v as u32 as u64;
    u32, |r| r as u32, |v| v as u64;
    i64, |r| r as i64, |v| v as u64;
    u64, |r| r, |v| v;
    bool, |r| r != 0, |v| v as u64;
}

macro_rules! rows {
    ($($name:ident($($x:ident: $t:ty),*) $e:expr;)*) => {
        /// What an instruction does. The first rows steer and touch memory, see [`super::exec`]; the others compute.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Op {
            /// Ends the function.
            Halt,
            /// Goes to instruction `d`.
            Jump,
            /// Goes to instruction `d` where `a` is false.
            JumpIfNot,
            /// Sets loop variable `d` to 0; goes to instruction `b` where extent `a` is not positive.
            LoopStart,
            /// Adds 1 to loop variable `d`; goes back to instruction `b` while it is below extent `a`.
            LoopNext,
            /// Ends the run with status `b` where `a` holds.
            FailIf,
            /// Performs call number `a`.
            Call,
            /// Reads symbol `a`.
            Sym,
            /// Sets symbol `b` to `a`.
            SetSym,
            // Reads element `a` of buffer `b`; the name says how it lies in memory.
            LoadBool, Load8, Load8S, Load16, Load16S, Load32, Load64, LoadF16, LoadBf16,
            // Writes `c` to element `a` of buffer `b`.
            Store8, Store16, Store32, Store64, StoreF16, StoreBf16,
            StoreU4, StoreI4, StoreU2, StoreI2,
            $($name),*
        }

        /// Computes a row of the list; rows that steer or touch memory give 0.
        #[inline(always)]
        pub(super) fn alu(op: Op, a: u64, b: u64, c: u64) -> u64 {
            match op {
                $(Op::$name => { rows!(@bind a b c; $($x: $t),*); ($e).put() })*
                _ => 0,
            }
        }
    };
    (@bind $a:ident $b:ident $c:ident; $x:ident: $t:ty) => {
        let $x = <$t>::get($a);
    };
    (@bind $a:ident $b:ident $c:ident; $x:ident: $t:ty, $y:ident: $u:ty) => {
        let ($x, $y) = (<$t>::get($a), <$u>::get($b));
    };
    (@bind $a:ident $b:ident $c:ident; $x:ident: $t:ty, $y:ident: $u:ty, $z:ident: $v:ty) => {
        let ($x, $y, $z) = (<$t>::get($a), <$u>::get($b), <$v>::get($c));
    };
}

rows! {
    Mov(x: u64) x;
    Select(c: bool, x: u64, y: u64) if c { x } else { y };

    AddF32(x: f32, y: f32) x + y;
    SubF32(x: f32, y: f32) x - y;
    MulF32(x: f32, y: f32) x * y;
    DivF32(x: f32, y: f32) x / y;
    FmaF32(x: f32, y: f32, z: f32) x.mul_add(y, z);
    MinF32(x: u32, y: u32) if f32::from_bits(x) < f32::from_bits(y) { x } else { y };
    MaxF32(x: u32, y: u32) if f32::from_bits(x) > f32::from_bits(y) { x } else { y };
    EqF32(x: f32, y: f32) x == y;
    NeF32(x: f32, y: f32) x != y;
    LtF32(x: f32, y: f32) x < y;
    LeF32(x: f32, y: f32) x <= y;
    NegF32(x: u32) x ^ (1 << 31);
    AbsF32(x: u32) x & !(1 << 31);
    SqrtF32(x: f32) x.sqrt();
    FloorF32(x: f32) x.floor();
    CeilF32(x: f32) x.ceil();
    TruncF32(x: f32) x.trunc();
    RoundF32(x: f32) x.round_ties_even();

    AddF64(x: f64, y: f64) x + y;
    SubF64(x: f64, y: f64) x - y;
    MulF64(x: f64, y: f64) x * y;
    DivF64(x: f64, y: f64) x / y;
    FmaF64(x: f64, y: f64, z: f64) x.mul_add(y, z);
    MinF64(x: u64, y: u64) if f64::from_bits(x) < f64::from_bits(y) { x } else { y };
    MaxF64(x: u64, y: u64) if f64::from_bits(x) > f64::from_bits(y) { x } else { y };
    EqF64(x: f64, y: f64) x == y;
    NeF64(x: f64, y: f64) x != y;
    LtF64(x: f64, y: f64) x < y;
    LeF64(x: f64, y: f64) x <= y;
    NegF64(x: u64) x ^ (1 << 63);
    AbsF64(x: u64) x & !(1 << 63);
    SqrtF64(x: f64) x.sqrt();
    FloorF64(x: f64) x.floor();
    CeilF64(x: f64) x.ceil();
    TruncF64(x: f64) x.trunc();
    RoundF64(x: f64) x.round_ties_even();

    AddI32(x: i32, y: i32) x.wrapping_add(y);
    SubI32(x: i32, y: i32) x.wrapping_sub(y);
    MulI32(x: i32, y: i32) x.wrapping_mul(y);
    DivI32(x: i32, y: i32) if y == 0 { 0 } else { x.wrapping_div(y) };
    RemI32(x: i32, y: i32) if y == 0 { 0 } else { x.wrapping_rem(y) };
    DivUI32(x: u32, y: u32) x.checked_div(y).unwrap_or(0);
    RemUI32(x: u32, y: u32) x.checked_rem(y).unwrap_or(0);
    MinI32(x: i32, y: i32) x.min(y);
    MaxI32(x: i32, y: i32) x.max(y);
    MinUI32(x: u32, y: u32) x.min(y);
    MaxUI32(x: u32, y: u32) x.max(y);
    ShlI32(x: u32, y: u32) x.wrapping_shl(y);
    ShrI32(x: i32, y: u32) x.wrapping_shr(y);
    ShrUI32(x: u32, y: u32) x.wrapping_shr(y);
    LtI32(x: i32, y: i32) x < y;
    LeI32(x: i32, y: i32) x <= y;
    NegI32(x: i32) x.wrapping_neg();
    AbsI32(x: i32) x.wrapping_abs();
    NotI32(x: u32) !x;

    AddI64(x: i64, y: i64) x.wrapping_add(y);
    SubI64(x: i64, y: i64) x.wrapping_sub(y);
    MulI64(x: i64, y: i64) x.wrapping_mul(y);
    DivI64(x: i64, y: i64) if y == 0 { 0 } else { x.wrapping_div(y) };
    RemI64(x: i64, y: i64) if y == 0 { 0 } else { x.wrapping_rem(y) };
    DivUI64(x: u64, y: u64) x.checked_div(y).unwrap_or(0);
    RemUI64(x: u64, y: u64) x.checked_rem(y).unwrap_or(0);
    MinI64(x: i64, y: i64) x.min(y);
    MaxI64(x: i64, y: i64) x.max(y);
    MinUI64(x: u64, y: u64) x.min(y);
    MaxUI64(x: u64, y: u64) x.max(y);
    ShlI64(x: u64, y: u64) x.wrapping_shl(y as u32);
    ShrI64(x: i64, y: u64) x.wrapping_shr(y as u32);
    ShrUI64(x: u64, y: u64) x.wrapping_shr(y as u32);
    LtI64(x: i64, y: i64) x < y;
    LeI64(x: i64, y: i64) x <= y;
    NegI64(x: i64) x.wrapping_neg();
    AbsI64(x: i64) x.wrapping_abs();
    NotI64(x: u64) !x;
    MulHiU(x: u64, y: u64) ((x as u128 * y as u128) >> 64) as u64;

    // Registers hold both widths and Bool so that these work for all of them.
    And(x: u64, y: u64) x & y;
    Or(x: u64, y: u64) x | y;
    Xor(x: u64, y: u64) x ^ y;
    Eq(x: u64, y: u64) x == y;
    Ne(x: u64, y: u64) x != y;
    LtU(x: u64, y: u64) x < y;
    LeU(x: u64, y: u64) x <= y;
    NotBool(x: bool) !x;
    Popcnt(x: u64) x.count_ones() as u64;

    F32ToF64(x: f32) x as f64;
    F64ToF32(x: f64) x as f32;
    F32ToI32(x: f32) x as i32;
    F32ToU32(x: f32) x as u32;
    F32ToI64(x: f32) x as i64;
    F32ToU64(x: f32) x as u64;
    F64ToI32(x: f64) x as i32;
    F64ToU32(x: f64) x as u32;
    F64ToI64(x: f64) x as i64;
    F64ToU64(x: f64) x as u64;
    I32ToF32(x: i32) x as f32;
    U32ToF32(x: u32) x as f32;
    I64ToF32(x: i64) x as f32;
    U64ToF32(x: u64) x as f32;
    I32ToF64(x: i32) x as f64;
    U32ToF64(x: u32) x as f64;
    I64ToF64(x: i64) x as f64;
    U64ToF64(x: u64) x as f64;
    I32ToI64(x: i32) x as i64;
    Low32(x: u32) x;
    F32ToBool(x: f32) x != 0.0;
    F64ToBool(x: f64) x != 0.0;
    IntToBool(x: u64) x != 0;
    BoolToF32(x: bool) if x { 1f32 } else { 0.0 };
    BoolToF64(x: bool) if x { 1f64 } else { 0.0 };
}

/// The row of an operation on one operand of type `ty`; `None` for those that must be written out before, and for
/// types that the operation does not take.
pub(super) fn un_op(op: UnOp, ty: Ty) -> Option<Op> {
    use Ty::*;
    Some(match (op, ty) {
        (UnOp::Neg, F32) => Op::NegF32,
        (UnOp::Neg, F64) => Op::NegF64,
        (UnOp::Neg, I32) => Op::NegI32,
        (UnOp::Neg, I64) => Op::NegI64,
        (UnOp::Abs, F32) => Op::AbsF32,
        (UnOp::Abs, F64) => Op::AbsF64,
        (UnOp::Abs, I32) => Op::AbsI32,
        (UnOp::Abs, I64) => Op::AbsI64,
        (UnOp::Sqrt, F32) => Op::SqrtF32,
        (UnOp::Sqrt, F64) => Op::SqrtF64,
        (UnOp::Floor, F32) => Op::FloorF32,
        (UnOp::Floor, F64) => Op::FloorF64,
        (UnOp::Ceil, F32) => Op::CeilF32,
        (UnOp::Ceil, F64) => Op::CeilF64,
        (UnOp::Trunc, F32) => Op::TruncF32,
        (UnOp::Trunc, F64) => Op::TruncF64,
        (UnOp::Round | UnOp::Near, F32) => Op::RoundF32,
        (UnOp::Round | UnOp::Near, F64) => Op::RoundF64,
        (UnOp::Not, I32) => Op::NotI32,
        (UnOp::Not, I64) => Op::NotI64,
        (UnOp::Not, Bool) => Op::NotBool,
        (UnOp::Popcnt, I32 | I64) => Op::Popcnt,
        (UnOp::ToBits, F32 | F64) | (UnOp::FromBits, I32 | I64) | (UnOp::Seldom, Bool) => Op::Mov,
        _ => return None,
    })
}

/// The row of an operation on two operands of type `ty`.
pub(super) fn bin_op(op: BinOp, ty: Ty) -> Option<Op> {
    use Ty::*;
    macro_rules! by_type {
        ($($o:ident: $($t:ident $row:ident)*;)*) => {
            match (op, ty) { $($((BinOp::$o, $t) => Op::$row,)*)* _ => return None }
        };
    }
    Some(by_type! {
        Add: F32 AddF32 F64 AddF64 I32 AddI32 I64 AddI64;
        Sub: F32 SubF32 F64 SubF64 I32 SubI32 I64 SubI64;
        Mul: F32 MulF32 F64 MulF64 I32 MulI32 I64 MulI64;
        Div: F32 DivF32 F64 DivF64 I32 DivI32 I64 DivI64;
        Rem: I32 RemI32 I64 RemI64;
        DivU: I32 DivUI32 I64 DivUI64;
        RemU: I32 RemUI32 I64 RemUI64;
        Min: F32 MinF32 F64 MinF64 I32 MinI32 I64 MinI64;
        Max: F32 MaxF32 F64 MaxF64 I32 MaxI32 I64 MaxI64;
        MinU: I32 MinUI32 I64 MinUI64;
        MaxU: I32 MaxUI32 I64 MaxUI64;
        And: I32 And I64 And Bool And;
        Or: I32 Or I64 Or Bool Or;
        Xor: I32 Xor I64 Xor Bool Xor;
        Shl: I32 ShlI32 I64 ShlI64;
        Shr: I32 ShrI32 I64 ShrI64;
        ShrU: I32 ShrUI32 I64 ShrUI64;
        Eq: F32 EqF32 F64 EqF64 I32 Eq I64 Eq Bool Eq;
        Ne: F32 NeF32 F64 NeF64 I32 Ne I64 Ne Bool Ne;
        Lt: F32 LtF32 F64 LtF64 I32 LtI32 I64 LtI64;
        Le: F32 LeF32 F64 LeF64 I32 LeI32 I64 LeI64;
        LtU: I32 LtU I64 LtU;
        LeU: I32 LeU I64 LeU;
        MulHiU: I64 MulHiU;
    })
}

/// The row of a conversion.
pub(super) fn cast_op(from: Ty, to: Ty, kind: CastKind) -> Op {
    use CastKind::*;
    use Ty::*;
    match (from, to, kind) {
        (F32, F64, _) => Op::F32ToF64,
        (F64, F32, _) => Op::F64ToF32,
        (F32, I32, Signed) => Op::F32ToI32,
        (F32, I32, Unsigned) => Op::F32ToU32,
        (F32, I64, Signed) => Op::F32ToI64,
        (F32, I64, Unsigned) => Op::F32ToU64,
        (F64, I32, Signed) => Op::F64ToI32,
        (F64, I32, Unsigned) => Op::F64ToU32,
        (F64, I64, Signed) => Op::F64ToI64,
        (F64, I64, Unsigned) => Op::F64ToU64,
        (I32, F32, Signed) => Op::I32ToF32,
        (I32, F32, Unsigned) => Op::U32ToF32,
        (I64, F32, Signed) => Op::I64ToF32,
        (I64, F32, Unsigned) => Op::U64ToF32,
        (I32, F64, Signed) => Op::I32ToF64,
        (I32, F64, Unsigned) => Op::U32ToF64,
        (I64, F64, Signed) => Op::I64ToF64,
        (I64, F64, Unsigned) => Op::U64ToF64,
        (I32, I64, Signed) => Op::I32ToI64,
        (I32, I64, Unsigned) => Op::Mov,
        (I64, I32, _) => Op::Low32,
        (F32, Bool, _) => Op::F32ToBool,
        (F64, Bool, _) => Op::F64ToBool,
        (I32 | I64, Bool, _) => Op::IntToBool,
        (Bool, F32, _) => Op::BoolToF32,
        (Bool, F64, _) => Op::BoolToF64,
        (Bool, I32 | I64, _)
        | (F32, F32, _)
        | (F64, F64, _)
        | (I32, I32, _)
        | (I64, I64, _)
        | (Bool, Bool, _) => Op::Mov,
    }
}
