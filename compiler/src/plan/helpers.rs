//! Small functions that the plan itself needs.

use crate::base::dim::{Dim, SymId, elements, strides};
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::compact::compact;
use crate::loops::ir::{Access, Func, LoopKind};

/// Buffers: from, to. Copies `len` elements.
pub fn copy(dtype: DType, len: Dim) -> Func {
    let mut b = Builder::new("copy");
    let from = b.buffer("from", dtype, len.clone(), Access::Read);
    let to = b.buffer("to", dtype, len.clone(), Access::Write);
    b.for_dim(&len, LoopKind::Lanes, |b, i| {
        let v = b.load(from, i);
        b.store(to, i, v);
    });
    compact(&b.finish()).0
}

/// No buffers. Ends the run where two sizes differ.
pub fn same_size(old: &Dim, new: &Dim) -> Func {
    let mut b = Builder::new("same_size");
    let (old, new) = (b.dim(old), b.dim(new));
    let differ = b.ne(old, new);
    b.fail_if(differ, onnxc_abi::status::SHAPE_MISMATCH);
    compact(&b.finish()).0
}

/// Buffers: from, to. Copies a value of that shape to where it lies in a larger room.
pub fn spread(dtype: DType, shape: &[Dim], room: &[Dim]) -> Func {
    let mut b = Builder::new("spread");
    let from = b.buffer("from", dtype, elements(shape), Access::Read);
    let to = b.buffer("to", dtype, reach(shape, room), Access::Write);
    b.nest(shape, LoopKind::Lanes, |b, index| {
        let (p, w) = (b.offset(shape, index), b.offset(room, index));
        let v = b.load(from, p);
        b.store(to, w, v);
    });
    compact(&b.finish()).0
}

/// Elements from the first to the last of a value of that shape in a larger room.
pub fn reach(shape: &[Dim], room: &[Dim]) -> Dim {
    let one = Dim::Fixed(1);
    let steps = shape.iter().zip(strides(room));
    steps.fold(one.clone(), |at, (d, step)| {
        at + (d.clone() - one.clone()) * step
    })
}

/// Which way a slice is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// Out of the whole.
    Out,
    /// Into the whole.
    In,
}

/// Buffers: from, to, number (i64). Copies the slice `number` (counted from the end where `reversed`) of axis `axis` of a
/// tensor of shape `whole`.
pub fn slice(dtype: DType, whole: &[Dim], axis: usize, way: Slice, reversed: bool) -> Func {
    let mut b = Builder::new("slice");
    let mut part = whole.to_vec();
    part.remove(axis);
    let (whole_len, part_len) = (elements(whole), elements(&part));
    let (from_len, to_len) = if way == Slice::Out {
        (whole_len, part_len)
    } else {
        (part_len, whole_len)
    };
    let from = b.buffer("from", dtype, from_len, Access::Read);
    // What is not copied stays: the rest of the whole was written in other rounds.
    let to = b.buffer("to", dtype, to_len, Access::Write);
    let number = b.buffer("number", DType::I64, Dim::Fixed(1), Access::Read);
    let zero = b.i(0);
    let mut k = b.load(number, zero);
    if reversed {
        let n = b.dim(&whole[axis]);
        let one = b.i(1);
        let last = b.sub(n, one);
        k = b.sub(last, k);
    }
    let k = b.let_(k);
    let stride = b.dim(&strides(whole)[axis]);
    let outer: Dim = whole[..axis].iter().cloned().product();
    let inner: Dim = whole[axis + 1..].iter().cloned().product();
    let step = b.dim(&(whole[axis].clone() * inner.clone()));
    let inner_e = b.dim(&inner);
    b.for_dim(&outer, LoopKind::Seq, |b, o| {
        let base = b.mul(o, step);
        let at = b.mul(k, stride);
        let base = b.add(base, at);
        let base = b.let_(base);
        let row = b.mul(o, inner_e);
        b.for_dim(&inner, LoopKind::Lanes, |b, i| {
            let w = b.add(base, i);
            let p = b.add(row, i);
            let (src, dst) = if way == Slice::Out { (w, p) } else { (p, w) };
            let v = b.load(from, src);
            b.store(to, dst, v);
        });
    });
    compact(&b.finish()).0
}

/// Buffers: the value (i64). Defines a symbol by it.
pub fn symbol_from(sym: SymId) -> Func {
    let mut b = Builder::new("size");
    let from = b.buffer("from", DType::I64, Dim::Fixed(1), Access::Read);
    let zero = b.i(0);
    let v = b.load(from, zero);
    b.set_sym(sym, v);
    compact(&b.finish()).0
}

/// Buffers: to (bool). Stores true.
pub fn set_true() -> Func {
    let mut b = Builder::new("true");
    let to = b.buffer("to", DType::Bool, Dim::Fixed(1), Access::Write);
    let zero = b.i(0);
    let t = b.bool(true);
    b.store(to, zero, t);
    compact(&b.finish()).0
}

/// Buffers: to (i64). Stores a size.
pub fn store_dim(d: &Dim) -> Func {
    let mut b = Builder::new("length");
    let to = b.buffer("to", DType::I64, Dim::Fixed(1), Access::Write);
    let zero = b.i(0);
    let v = b.dim(d);
    b.store(to, zero, v);
    compact(&b.finish()).0
}

/// The symbols that a node defines must be stored by its layer; this is the loop body for control nodes.
pub fn set_symbols(pairs: &[(SymId, Dim)]) -> Func {
    let mut b = Builder::new("sizes");
    for (s, d) in pairs {
        let v = b.dim(d);
        b.set_sym(*s, v);
    }
    compact(&b.finish()).0
}
