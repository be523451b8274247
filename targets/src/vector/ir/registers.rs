//! Which registers an operation names.

use super::*;

/// Visits every address register of an operation.
pub fn each_x(op: &Op, f: &mut dyn FnMut(X)) {
    let mem = |m: &Mem, f: &mut dyn FnMut(X)| {
        f(m.base);
        if let Some((i, _)) = m.index {
            f(i);
        }
    };
    match op {
        Op::Load { at, .. }
        | Op::Store { at, .. }
        | Op::StorePair { at, .. }
        | Op::Splat { at, .. }
        | Op::LoadQuad { at, .. }
        | Op::StoreQuad { at, .. }
        | Op::SplatReal { at, .. }
        | Op::LoadWords { at, .. }
        | Op::PickBytes { at, .. }
        | Op::Prefetch { at } => mem(at, f),
        Op::Bin {
            b: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::Fma {
            b: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::FmaOver {
            c: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::LessWhereEq {
            b: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::Dot {
            a: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::PairBytes {
            a: Src::Mem(m) | Src::Splat(m),
            ..
        }
        | Op::RealBin {
            b: RealSrc::Mem(m), ..
        } => mem(m, f),
        Op::StoreApart { at, second, .. } => {
            mem(at, f);
            mem(second, f);
        }
        Op::StoreEach { at, n, .. } => at[..usize::from(*n)].iter().for_each(|m| mem(m, f)),
        Op::SplatX { x, .. } | Op::Branch { x, .. } | Op::Count { x, .. } => f(*x),
        Op::Arg { d, .. } | Op::SetX { d, .. } | Op::AnyX { d, .. } => f(*d),
        Op::SetArg { s, .. } => f(*s),
        Op::MoveX { d, a }
        | Op::AddI { d, a, .. }
        | Op::ShlX { d, a, .. }
        | Op::ShrX { d, a, .. }
        | Op::AndX { d, a, .. } => {
            f(*d);
            f(*a);
        }
        Op::AddX { d, a, b, .. } | Op::SubX { d, a, b } | Op::MulX { d, a, b } => {
            f(*d);
            f(*a);
            f(*b);
        }
        Op::LoadX { d, at } | Op::LoadSmallX { d, at, .. } => {
            f(*d);
            mem(at, f);
        }
        Op::BranchX { a, b, .. } => {
            f(*a);
            f(*b);
        }
        _ => {}
    }
}
