//! RNN, GRU, LSTM.

use super::recurrent::{Step, Walk, activations, infer, read, scratch};
use super::recurrent_weights::Weights;
use super::util::since;
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind};
use crate::op::{BASE, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&RNN, &GRU, &LSTM];

/// H' = f(W x + R h + b).
pub static RNN: OpDef = OpDef {
    name: "RNN",
    onnx: &[since("RNN", 7, |cx| read(cx, &["Tanh"]))],
    inputs: (3, 6),
    outputs: (0, 2),
    infer: |cx| infer(cx, 1, 2, 0),
    lower: Lower::Loops(rnn),
    sums: true,
    ..BASE
};

/// Gated recurrent unit; gates z, r, h.
pub static GRU: OpDef = OpDef {
    name: "GRU",
    onnx: &[since("GRU", 7, |cx| {
        read(cx, &["Sigmoid", "Tanh"])?;
        cx.keep_int("linear_before_reset", 0)
    })],
    inputs: (3, 6),
    outputs: (0, 2),
    infer: |cx| infer(cx, 3, 6, 0),
    lower: Lower::Loops(gru),
    sums: true,
    ..BASE
};

/// Long short-term memory; gates i, o, f, c; peepholes i, o, f.
pub static LSTM: OpDef = OpDef {
    name: "LSTM",
    onnx: &[since("LSTM", 7, |cx| {
        read(cx, &["Sigmoid", "Tanh", "Tanh"])?;
        cx.keep_int("input_forget", 0)
    })],
    inputs: (3, 8),
    outputs: (0, 3),
    infer: |cx| infer(cx, 4, 8, 1),
    lower: Lower::Loops(lstm),
    sums: true,
    ..BASE
};

/// Element `row * hidden + j` of a vector of gates.
fn gate(cx: &mut LowerCx, buf: BufId, row: i64, hidden: i64, j: ExprId) -> ExprId {
    let at = ex!(cx.b; j + {cx.b.i(row * hidden)});
    cx.b.load(buf, at)
}

/// Rows `from..to` of the gates: W x + its bias, and, where asked, R h + its bias, into the same elements of `into`.
#[allow(clippy::too_many_arguments)]
fn products(
    cx: &mut LowerCx,
    walk: &Walk,
    w: &Weights,
    r: Option<&Weights>,
    d: usize,
    st: Step,
    (from, to): (i64, i64),
    rows: i64,
    into: BufId,
) -> Result<()> {
    let count = cx.b.i(to - from);
    cx.for_(count, LoopKind::Lanes, |cx, j| {
        let j = ex!(cx.b; j + {cx.b.i(from)});
        let mut sum = walk.bias(cx, st.dir, j, 0, rows)?;
        if r.is_some() {
            let more = walk.bias(cx, st.dir, j, 1, rows)?;
            sum = cx.b.add(sum, more);
        }
        if let Some(all) = walk.projected {
            let at = ex!(cx.b; ({st.t} * {cx.b.i(rows)}) + j);
            let x = cx.b.load(all, at);
            sum = cx.b.add(sum, x);
        }
        cx.b.store(into, j, sum);
        Ok(())
    })?;
    let zero = cx.b.i(0);
    if walk.projected.is_none() {
        let x = (cx.input(0)?.buf, walk.x_at(cx, st.b, st.t)?);
        w.add_product(cx, d, (from, to), x, into, from)?;
    }
    match r {
        Some(r) => r.add_product(cx, d, (from, to), (walk.h, zero), into, from),
        None => Ok(()),
    }
}

fn rnn(cx: &mut LowerCx) -> Result<()> {
    let walk = Walk::new(cx, 1)?;
    let h = walk.s.hidden;
    let gates = scratch(cx, "gates", h)?;
    let w = Weights::of(cx, 1, h, walk.s.input)?;
    let r = Weights::of(cx, 2, h, h)?;
    walk.run(
        cx,
        &mut |_, _, _| Ok(()),
        &mut |cx, d, st| {
            let f = activations(cx.attrs, d, 1)?;
            products(cx, &walk, &w, Some(&r), d, st, (0, h), h, gates)?;
            let n = cx.b.i(h);
            cx.for_(n, LoopKind::Lanes, |cx, j| {
                let v = cx.b.load(gates, j);
                let v = walk.clip(cx, v);
                let v = f[0].apply(&mut cx.b, v);
                cx.b.store(walk.h, j, v);
                Ok(())
            })
        },
        &mut |_, _, _| Ok(()),
    )
}

fn gru(cx: &mut LowerCx) -> Result<()> {
    let walk = Walk::new(cx, 3)?;
    let h = walk.s.hidden;
    let linear = cx.attrs.flag("linear_before_reset");
    let gates = scratch(cx, "gates", 3 * h)?;
    // r * h, or R h + b of the last gate.
    let other = scratch(cx, "reset", h)?;
    let w = Weights::of(cx, 1, 3 * h, walk.s.input)?;
    let r = Weights::of(cx, 2, 3 * h, h)?;
    walk.run(
        cx,
        &mut |_, _, _| Ok(()),
        &mut |cx, d, st| {
            let act = activations(cx.attrs, d, 2)?;
            products(cx, &walk, &w, Some(&r), d, st, (0, 2 * h), 3 * h, gates)?;
            products(cx, &walk, &w, None, d, st, (2 * h, 3 * h), 3 * h, gates)?;
            let two = cx.b.i(2 * h);
            cx.for_(two, LoopKind::Lanes, |cx, j| {
                let v = cx.b.load(gates, j);
                let v = walk.clip(cx, v);
                let v = act[0].apply(&mut cx.b, v);
                cx.b.store(gates, j, v);
                Ok(())
            })?;
            let (n, zero) = (cx.b.i(h), cx.b.i(0));
            cx.for_(n, LoopKind::Lanes, |cx, j| {
                let v = if linear {
                    let row = ex!(cx.b; j + {cx.b.i(2 * h)});
                    walk.bias(cx, st.dir, row, 1, 3 * h)?
                } else {
                    let reset = gate(cx, gates, 1, h, j);
                    let state = cx.b.load(walk.h, j);
                    cx.b.mul(reset, state)
                };
                cx.b.store(other, j, v);
                Ok(())
            })?;
            let last = (2 * h, 3 * h);
            if linear {
                r.add_product(cx, d, last, (walk.h, zero), other, 0)?;
            } else {
                cx.for_(n, LoopKind::Lanes, |cx, j| {
                    let row = ex!(cx.b; j + {cx.b.i(2 * h)});
                    let bias = walk.bias(cx, st.dir, row, 1, 3 * h)?;
                    let own = cx.b.load(gates, row);
                    let v = cx.b.add(own, bias);
                    cx.b.store(gates, row, v);
                    Ok(())
                })?;
                r.add_product(cx, d, last, (other, zero), gates, 2 * h)?;
            }
            cx.for_(n, LoopKind::Lanes, |cx, j| {
                let own = gate(cx, gates, 2, h, j);
                let v = if linear {
                    let (reset, past) = (gate(cx, gates, 1, h, j), cx.b.load(other, j));
                    ex!(cx.b; own + (reset * past))
                } else {
                    own
                };
                let v = walk.clip(cx, v);
                let v = act[1].apply(&mut cx.b, v);
                let (z, state) = (gate(cx, gates, 0, h, j), cx.b.load(walk.h, j));
                let v = ex!(cx.b; ((1.0 - z) * v) + (z * state));
                cx.b.store(walk.h, j, v);
                Ok(())
            })
        },
        &mut |_, _, _| Ok(()),
    )
}

fn lstm(cx: &mut LowerCx) -> Result<()> {
    let walk = Walk::new(cx, 4)?;
    let h = walk.s.hidden;
    let forget = cx.attrs.flag("input_forget");
    let gates = scratch(cx, "gates", 4 * h)?;
    let cell = scratch(cx, "cell", h)?;
    let w = Weights::of(cx, 1, 4 * h, walk.s.input)?;
    let r = Weights::of(cx, 2, 4 * h, h)?;
    walk.run(
        cx,
        &mut |cx, dir, b| walk.begin(cx, 6, cell, dir, b),
        &mut |cx, d, st| {
            let act = activations(cx.attrs, d, 3)?;
            products(cx, &walk, &w, Some(&r), d, st, (0, 4 * h), 4 * h, gates)?;
            let n = cx.b.i(h);
            cx.for_(n, LoopKind::Lanes, |cx, j| {
                let old = cx.b.load(cell, j);
                let old = cx.b.let_(old);
                // Gate `row` with its peephole over a cell state, activated.
                let gate_of =
                    |cx: &mut LowerCx, row: i64, peep: i64, c: ExprId| -> Result<ExprId> {
                        let mut v = gate(cx, gates, row, h, j);
                        if cx.opt(7).is_some() {
                            let at = ex!(cx.b; j + {cx.b.i(peep * h)});
                            let p = cx.load(7, &[st.dir, at])?;
                            v = ex!(cx.b; v + (p * c));
                        }
                        let v = walk.clip(cx, v);
                        let v = act[0].apply(&mut cx.b, v);
                        Ok(cx.b.let_(v))
                    };
                let i = gate_of(cx, 0, 0, old)?;
                let f = if forget {
                    ex!(cx.b; 1.0 - i)
                } else {
                    gate_of(cx, 2, 2, old)?
                };
                let c = gate(cx, gates, 3, h, j);
                let c = walk.clip(cx, c);
                let c = act[1].apply(&mut cx.b, c);
                let new = ex!(cx.b; (f * old) + (i * c));
                let new = cx.b.let_(new);
                let o = gate_of(cx, 1, 1, new)?;
                let a = act[2].apply(&mut cx.b, new);
                let v = cx.b.mul(o, a);
                cx.b.store(walk.h, j, v);
                cx.b.store(cell, j, new);
                Ok(())
            })
        },
        &mut |cx, dir, b| walk.end(cx, 2, cell, dir, b),
    )
}
