//! Elements in the order of their rank: a whole number for each, larger for what comes first, and a heap of such numbers.

use crate::base::diag::Result;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, LoopKind, Stmt, Ty, UnOp};

/// A whole number of 32 bits for an F32, larger for larger ones: NaN is the largest, zeros are equal.
pub fn float_rank(b: &mut Builder, x: ExprId) -> ExprId {
    let (zero, top) = (b.num(Ty::F32, 0.0), b.int(Ty::I32, i64::from(i32::MAX)));
    let bits = b.un(UnOp::ToBits, x);
    let by = b.int(Ty::I32, 31);
    // Negative numbers fall with their bits.
    let sign = b.bin(BinOp::Shr, bits, by);
    let flip = b.and(sign, top);
    let key = b.bin(BinOp::Xor, bits, flip);
    let (is_zero, is_nan) = (b.eq(x, zero), b.ne(x, x));
    let none = b.int(Ty::I32, 0);
    let key = b.select(is_zero, none, key);
    b.select(is_nan, top, key)
}

/// A key of 32 bits with its place (of `n`) below it, so that of equal keys the first is larger. Places have 32 bits.
pub fn with_place(b: &mut Builder, key: ExprId, i: ExprId, n: ExprId) -> ExprId {
    let (one, by) = (b.i(1), b.i(32));
    let last = b.sub(n, one);
    let place = b.sub(last, i);
    let key = b.cast(Ty::I64, key);
    let key = b.bin(BinOp::Shl, key, by);
    b.bin(BinOp::Or, key, place)
}

/// The place of such a number.
pub fn place_of(b: &mut Builder, whole: ExprId, n: ExprId) -> ExprId {
    let (one, low) = (b.i(1), b.i(i64::from(u32::MAX)));
    let last = b.sub(n, one);
    let place = b.and(whole, low);
    b.sub(last, place)
}

/// Lets element `start` of a heap of `len` whole numbers (I64, none the smallest there is) sink to where none below it is larger.
pub fn sink(cx: &mut LowerCx, heap: BufId, len: ExprId, start: ExprId) {
    let b = &mut cx.b;
    let own = b.load(heap, start);
    let own = b.let_(own);
    let hole = b.var(start);
    let at = b.get(hole);
    let (one, two, least) = (b.i(1), b.i(2), b.i(i64::MIN));
    let twice = b.mul(at, two);
    let children = [b.add(twice, one), b.add(twice, two)];
    let values = children.map(|c| {
        let there = b.lt(c, len);
        b.load_if(heap, there, c, least)
    });
    let largest = b.max(values[0], values[1]);
    let cond = b.lt(own, largest);
    b.open_block();
    let largest = b.let_(largest);
    let second = b.lt(values[0], values[1]);
    let next = b.select(second, children[1], children[0]);
    let next = b.let_(next);
    b.store(heap, at, largest);
    b.set(hole, next);
    let body = b.close_block();
    b.stmt(Stmt::While { cond, body });
    b.store(heap, at, own);
}

/// Makes a heap of the first `len` numbers: none is smaller than those at twice its place and beyond.
pub fn heap_of(cx: &mut LowerCx, heap: BufId, len: ExprId) -> Result<()> {
    let (one, two) = (cx.b.i(1), cx.b.i(2));
    let half = cx.b.floor_div(len, two);
    let half = cx.b.let_(half);
    cx.for_(half, LoopKind::Seq, |cx, i| {
        let last = cx.b.sub(half, one);
        let start = cx.b.sub(last, i);
        let start = cx.b.let_(start);
        sink(cx, heap, len, start);
        Ok(())
    })
}

/// The largest number of a heap of `len`, which then has one less.
pub fn pop(cx: &mut LowerCx, heap: BufId, len: ExprId) -> ExprId {
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let top = cx.b.load(heap, zero);
    let top = cx.b.let_(top);
    let left = cx.b.sub(len, one);
    let left = cx.b.let_(left);
    let last = cx.b.load(heap, left);
    cx.b.store(heap, zero, last);
    sink(cx, heap, left, zero);
    top
}
