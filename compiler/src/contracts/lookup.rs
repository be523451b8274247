//! `lookup`: a table's entry for each byte; and `byte_table`, the tile that does it for many bytes at once.
//!
//! Inputs of `lookup`: x (8 bits), a table of 256. Output: entry number `x - least value of its type`. Nothing is computed, so every row has the same
//! bits.

use super::table_steps::Steps;
use super::widen::results;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::{Contract, Kernel, LowerCx, Query};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Arg, Callee, ExprId, Func, LoopKind, Ty};

/// The contract.
pub static LOOKUP: Contract = Contract {
    name: "lookup",
    doc: "A table's entry for each byte.",
    reference: None,
    rows: &[TABLE, LOOPS],
};

/// The tile's contract. Arguments: pointers x, table (256 bytes, entry 0 first), out; then how many bytes. `out` may be `x`.
pub static BYTE_TABLE: Contract = Contract {
    name: "byte_table",
    doc: "A byte of a table for each byte, taken as unsigned.",
    reference: Some(reference),
    rows: &[],
};

/// Bytes to bytes by a tile.
const TABLE: Kernel = Kernel {
    name: "lookup_i8_table",
    needs: &[],
    accepts,
    work,
    tails: false,
    emit: table,
};

/// Plain loops, for every type.
const LOOPS: Kernel = Kernel {
    name: "lookup_loops",
    needs: &[],
    accepts: |_| true,
    work,
    tails: true,
    emit: loops,
};

/// Bytes that a thread takes at a time.
const CHUNK: i64 = 1 << 14;

fn byte(d: DType) -> bool {
    matches!(d, DType::U8 | DType::I8)
}

fn accepts(q: &Query) -> bool {
    let input = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
    let (Some((x, _)), Some((t, Some(_)))) = (input(0), input(1)) else {
        return false;
    };
    let out = q.outputs.first().and_then(Option::as_ref);
    byte(x.dtype)
        && byte(t.dtype)
        && out.is_some_and(|o| byte(o.dtype))
        && q.machine.tile("byte_table").is_some()
}

fn work(q: &Query) -> Work {
    let x = q.inputs.first().and_then(Option::as_ref);
    let shape = x.and_then(|(t, _)| fixed_shape(&t.shape));
    Work::of(shape.map_or(1e6, |s| s.iter().product::<i64>() as f64))
}

fn table(cx: &mut LowerCx, _: &Query) -> Result<()> {
    let missing = || Diagnostic::internal("no byte_table");
    let tile = cx.machine.tile("byte_table").ok_or_else(missing)?;
    let shape = cx.in_shape(0)?;
    let entries = cx.input(1)?.konst.clone().ok_or_else(missing)?;
    let signed = cx.input(0)?.ty.dtype == DType::I8;
    let results = results(cx)?.unwrap_or(0);
    let t = match Steps::worth(cx, &entries.data, results) {
        Some(steps) => steps.write(cx, signed)?,
        None => {
            let mut bytes = entries.data.to_vec();
            if signed {
                // Entry 0 is that of the byte 0; those of negative numbers follow.
                bytes.rotate_left(128);
            }
            let entries = Tensor::new(DType::U8, vec![bytes.len() as i64], bytes.into())?;
            cx.constant("table", entries)
        }
    };
    let (x, y) = (cx.input(0)?.buf, cx.output(0).ok_or_else(missing)?.buf);
    let callee = tile.callee(vec![]);
    let run = |cx: &mut LowerCx, from: ExprId, n: ExprId| {
        let none = cx.b.i(0);
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let args = vec![ptr(x, from), ptr(t, none), ptr(y, from), Arg::Int(n)];
        cx.b.call(callee.clone(), args);
    };
    let Some(fixed) = fixed_shape(&shape) else {
        let n: Dim = shape.into_iter().product();
        let (none, n) = (cx.b.i(0), cx.b.dim(&n));
        run(cx, none, n);
        return Ok(());
    };
    let n: i64 = fixed.iter().product();
    let (whole, rest) = (n / CHUNK, n % CHUNK);
    if whole > 0 {
        let count = cx.b.i(whole);
        cx.parallel(count, |cx, i| {
            let chunk = cx.b.i(CHUNK);
            let from = cx.b.mul(i, chunk);
            run(cx, from, chunk);
            Ok(())
        })?;
    }
    if rest > 0 {
        let (from, n) = (cx.b.i(n - rest), cx.b.i(rest));
        run(cx, from, n);
    }
    Ok(())
}

fn loops(cx: &mut LowerCx, _: &Query) -> Result<()> {
    let shape = cx.out_shape()?;
    let least = match cx.input(0)?.ty.dtype {
        DType::I8 => 128,
        _ => 0,
    };
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let x = cx.load(0, at)?;
        let least = cx.b.int(Ty::I32, least);
        let i = cx.b.add(x, least);
        let i = cx.b.cast(Ty::I64, i);
        let v = cx.load_flat(1, i)?;
        cx.store(0, at, v);
        Ok(())
    })
}

fn reference(_: &Callee) -> Option<Func> {
    let mut b = Builder::new("byte_table");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", DType::U8, unknown.clone(), Access::Read);
    let table = b.buffer("table", DType::U8, Dim::Fixed(256), Access::Read);
    let out = b.buffer("out", DType::U8, unknown, Access::Write);
    let n = b.int_param();
    b.for_(n, LoopKind::Seq, |b, i| {
        let v = b.load(x, i);
        let v = b.cast(Ty::I64, v);
        let v = b.load(table, v);
        b.store(out, i, v);
    });
    Some(b.finish())
}
