//! RNN, GRU, LSTM.

use super::recurrent::{Sizes, activations, infer, read};
use super::recurrent_walk::{Sample, Walk};
use super::util::since;
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId};
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

/// Vectors of the gates of samples, `[sample][gate][hidden]`.
#[derive(Clone, Copy)]
struct Gates {
    buf: BufId,
    gates: i64,
    hidden: i64,
}

impl Gates {
    fn of(cx: &mut LowerCx, walk: &Walk, gates: i64) -> Result<Gates> {
        let hidden = walk.s.hidden;
        Ok(Gates {
            buf: walk.state(cx, "gates", gates * hidden)?,
            gates,
            hidden,
        })
    }
    /// Where element `j` of a gate lies.
    fn at(&self, cx: &mut LowerCx, one: Sample, gate: i64, j: ExprId) -> ExprId {
        let row = ex!(cx.b; j + {cx.b.i(gate * self.hidden)});
        one.at(cx, self.gates * self.hidden, row)
    }
    fn load(&self, cx: &mut LowerCx, one: Sample, gate: i64, j: ExprId) -> ExprId {
        let at = self.at(cx, one, gate, j);
        cx.b.load(self.buf, at)
    }
    /// As a product's result: from a gate on.
    fn from(&self, gate: i64) -> (BufId, i64, i64) {
        (self.buf, self.gates * self.hidden, gate * self.hidden)
    }
}

fn rnn(cx: &mut LowerCx) -> Result<()> {
    let h = Sizes::of_cx(cx, 1)?.hidden;
    let walk = Walk::new(cx, 1, &[(0, h)])?;
    let gates = Gates::of(cx, &walk, 1)?;
    let act = activations(cx.attrs, 1)?;
    walk.run(
        cx,
        &mut |_, _| Ok(()),
        &mut |cx, st| {
            walk.products(cx, st, (0, h), true, gates.buf)?;
            walk.each(cx, st.of, h, |cx, one, j| {
                let v = gates.load(cx, one, 0, j);
                let v = walk.clip(cx, v);
                let v = walk.activate(cx, &act, 0, st.of.dir, v);
                let at = one.at(cx, h, j);
                cx.b.store(walk.h, at, v);
                Ok(())
            })
        },
        &mut |_, _| Ok(()),
    )
}

fn gru(cx: &mut LowerCx) -> Result<()> {
    let h = Sizes::of_cx(cx, 3)?.hidden;
    let (both, last) = ((0, 2 * h), (2 * h, 3 * h));
    let walk = Walk::new(cx, 3, &[both, last])?;
    let linear = cx.attrs.flag("linear_before_reset");
    let gates = Gates::of(cx, &walk, 3)?;
    // r * h, or R h + b of the last gate.
    let other = walk.state(cx, "reset", h)?;
    let act = activations(cx.attrs, 2)?;
    walk.run(
        cx,
        &mut |_, _| Ok(()),
        &mut |cx, st| {
            let dir = st.of.dir;
            walk.products(cx, st, both, true, gates.buf)?;
            walk.products(cx, st, last, false, gates.buf)?;
            walk.each(cx, st.of, 2 * h, |cx, one, j| {
                let at = gates.at(cx, one, 0, j);
                let v = cx.b.load(gates.buf, at);
                let v = walk.clip(cx, v);
                let v = walk.activate(cx, &act, 0, dir, v);
                cx.b.store(gates.buf, at, v);
                Ok(())
            })?;
            walk.each(cx, st.of, h, |cx, one, j| {
                let at = one.at(cx, h, j);
                let v = if linear {
                    let row = ex!(cx.b; j + {cx.b.i(2 * h)});
                    walk.bias(cx, dir, row, 1)?
                } else {
                    let reset = gates.load(cx, one, 1, j);
                    let state = cx.b.load(walk.h, at);
                    cx.b.mul(reset, state)
                };
                cx.b.store(other, at, v);
                Ok(())
            })?;
            if linear {
                walk.state_product(cx, st, last, walk.h, (other, h, 0))?;
            } else {
                walk.each(cx, st.of, h, |cx, one, j| {
                    let row = ex!(cx.b; j + {cx.b.i(2 * h)});
                    let bias = walk.bias(cx, dir, row, 1)?;
                    let at = gates.at(cx, one, 2, j);
                    let own = cx.b.load(gates.buf, at);
                    let v = cx.b.add(own, bias);
                    cx.b.store(gates.buf, at, v);
                    Ok(())
                })?;
                walk.state_product(cx, st, last, other, gates.from(2))?;
            }
            walk.each(cx, st.of, h, |cx, one, j| {
                let at = one.at(cx, h, j);
                let own = gates.load(cx, one, 2, j);
                let v = if linear {
                    let (reset, past) = (gates.load(cx, one, 1, j), cx.b.load(other, at));
                    ex!(cx.b; own + (reset * past))
                } else {
                    own
                };
                let v = walk.clip(cx, v);
                let v = walk.activate(cx, &act, 1, dir, v);
                let (z, state) = (gates.load(cx, one, 0, j), cx.b.load(walk.h, at));
                let v = ex!(cx.b; ((1.0 - z) * v) + (z * state));
                cx.b.store(walk.h, at, v);
                Ok(())
            })
        },
        &mut |_, _| Ok(()),
    )
}

fn lstm(cx: &mut LowerCx) -> Result<()> {
    let h = Sizes::of_cx(cx, 4)?.hidden;
    let walk = Walk::new(cx, 4, &[(0, 4 * h)])?;
    let forget = cx.attrs.flag("input_forget");
    let gates = Gates::of(cx, &walk, 4)?;
    let cell = walk.state(cx, "cell", h)?;
    let act = activations(cx.attrs, 3)?;
    walk.run(
        cx,
        &mut |cx, of| walk.begin(cx, 6, cell, of),
        &mut |cx, st| {
            let dir = st.of.dir;
            walk.products(cx, st, (0, 4 * h), true, gates.buf)?;
            walk.each(cx, st.of, h, |cx, one, j| {
                let at = one.at(cx, h, j);
                let old = cx.b.load(cell, at);
                let old = cx.b.let_(old);
                // Gate `row` with its peephole over a cell state, activated.
                let gate_of =
                    |cx: &mut LowerCx, row: i64, peep: i64, c: ExprId| -> Result<ExprId> {
                        let mut v = gates.load(cx, one, row, j);
                        if cx.opt(7).is_some() {
                            let at = ex!(cx.b; j + {cx.b.i(peep * h)});
                            let p = cx.load(7, &[dir, at])?;
                            v = ex!(cx.b; v + (p * c));
                        }
                        let v = walk.clip(cx, v);
                        let v = walk.activate(cx, &act, 0, dir, v);
                        Ok(cx.b.let_(v))
                    };
                let i = gate_of(cx, 0, 0, old)?;
                let f = if forget {
                    ex!(cx.b; 1.0 - i)
                } else {
                    gate_of(cx, 2, 2, old)?
                };
                let c = gates.load(cx, one, 3, j);
                let c = walk.clip(cx, c);
                let c = walk.activate(cx, &act, 1, dir, c);
                let new = ex!(cx.b; (f * old) + (i * c));
                let new = cx.b.let_(new);
                let o = gate_of(cx, 1, 1, new)?;
                let a = walk.activate(cx, &act, 2, dir, new);
                let v = cx.b.mul(o, a);
                cx.b.store(walk.h, at, v);
                cx.b.store(cell, at, new);
                Ok(())
            })
        },
        &mut |cx, of| walk.end(cx, 2, cell, of),
    )
}
