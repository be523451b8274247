//! How operations are spelled in text; printer and parser share these tables.

use super::ir::*;

/// Operations between their operands: spelling, and how strongly they bind.
pub(super) const INFIX: &[(BinOp, &str, u8)] = &[
    (BinOp::Or, "|", 1),
    (BinOp::Xor, "^", 2),
    (BinOp::And, "&", 3),
    (BinOp::Eq, "==", COMPARE),
    (BinOp::Ne, "!=", COMPARE),
    (BinOp::Lt, "<", COMPARE),
    (BinOp::Le, "<=", COMPARE),
    (BinOp::Shl, "<<", 5),
    (BinOp::Shr, ">>", 5),
    (BinOp::ShrU, ">>>", 5),
    (BinOp::Add, "+", 6),
    (BinOp::Sub, "-", 6),
    (BinOp::Mul, "*", 7),
    (BinOp::Div, "/", 7),
    (BinOp::Rem, "%", 7),
];
/// Comparisons don't chain.
pub(super) const COMPARE: u8 = 4;
/// How strongly a single operand binds.
pub(super) const TIGHT: u8 = 10;

/// Operations on two operands that are written like functions.
pub(super) const BINARY: &[(BinOp, &str)] = &[
    (BinOp::DivU, "divu"),
    (BinOp::RemU, "remu"),
    (BinOp::Min, "min"),
    (BinOp::Max, "max"),
    (BinOp::MinU, "minu"),
    (BinOp::MaxU, "maxu"),
    (BinOp::LtU, "ltu"),
    (BinOp::LeU, "leu"),
    (BinOp::MulHiU, "mulhiu"),
    (BinOp::Pow, "pow"),
];

/// Operations on one operand.
pub(super) const UNARY: &[(UnOp, &str)] = &[
    (UnOp::Neg, "neg"),
    (UnOp::Abs, "abs"),
    (UnOp::Sqrt, "sqrt"),
    (UnOp::Floor, "floor"),
    (UnOp::Ceil, "ceil"),
    (UnOp::Trunc, "trunc"),
    (UnOp::Round, "round"),
    (UnOp::Near, "near"),
    (UnOp::Not, "not"),
    (UnOp::Popcnt, "popcnt"),
    (UnOp::ToBits, "tobits"),
    (UnOp::FromBits, "frombits"),
    (UnOp::Seldom, "seldom"),
    (UnOp::Exp, "exp"),
    (UnOp::Expm1, "expm1"),
    (UnOp::Log, "log"),
    (UnOp::Log1p, "log1p"),
    (UnOp::Log2, "log2"),
    (UnOp::Sin, "sin"),
    (UnOp::Cos, "cos"),
    (UnOp::Tan, "tan"),
    (UnOp::Asin, "asin"),
    (UnOp::Acos, "acos"),
    (UnOp::Atan, "atan"),
    (UnOp::Sinh, "sinh"),
    (UnOp::Cosh, "cosh"),
    (UnOp::Tanh, "tanh"),
    (UnOp::Asinh, "asinh"),
    (UnOp::Acosh, "acosh"),
    (UnOp::Atanh, "atanh"),
    (UnOp::Erf, "erf"),
    (UnOp::Sigmoid, "sigmoid"),
];

/// Types.
pub(super) const TYPES: &[(Ty, &str)] = &[
    (Ty::F32, "f32"),
    (Ty::F64, "f64"),
    (Ty::I32, "i32"),
    (Ty::I64, "i64"),
    (Ty::Bool, "bool"),
];

/// What is done with a buffer.
pub(super) const ACCESS: &[(Access, &str)] = &[
    (Access::Read, "read"),
    (Access::Write, "write"),
    (Access::ReadWrite, "readwrite"),
    (Access::Private, "private"),
];

/// Kinds of loops; `seq` is left out in text.
pub(super) const KINDS: &[(LoopKind, &str)] = &[
    (LoopKind::Seq, "seq"),
    (LoopKind::Parallel, "parallel"),
    (LoopKind::Lanes, "lanes"),
    (LoopKind::Unroll, "unroll"),
];

/// Words that can't name a buffer.
const KEYWORDS: &[&str] = &[
    "for", "while", "if", "else", "let", "var", "set", "fail", "call", "true", "false", "func",
];

/// The spelling of `key`.
pub(super) fn spell<K: PartialEq>(table: &[(K, &'static str)], key: &K) -> &'static str {
    table.iter().find(|r| r.0 == *key).map_or("?", |r| r.1)
}

/// What `text` spells.
pub(super) fn read<K: Copy>(table: &[(K, &'static str)], text: &str) -> Option<K> {
    table.iter().find(|r| r.1 == text).map(|r| r.0)
}

/// Whether a buffer can go by its own name in text: a word that means nothing else.
pub(super) fn names_buffer(name: &str) -> bool {
    let numbered = |p| {
        name.strip_prefix(p)
            .is_some_and(|n: &str| n.bytes().all(|b| b.is_ascii_digit()))
    };
    crate::base::text::is_plain(name)
        && !KEYWORDS.contains(&name)
        && !numbered("v")
        && !numbered("b")
}
