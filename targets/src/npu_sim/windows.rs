//! Products, windows and pointwise work as commands.

use super::encode::{Encoder, Step};
use super::sums::{Chain, chain, constant, finish, limits};
use super::tensor::{Tensor, sizes, strides};
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor as Constant;
use onnxc_compiler::contracts::window::Window as Sliding;
use onnxc_compiler::graph::infer::Infer;
use onnxc_compiler::graph::ir::{Graph, Loc, NodeId, ValueId};
use onnxc_compiler::op::resolve_axis;
use onnxc_compiler::ops::spatial::{conv_window, pool_window};
use onnxc_compiler::plan::eval::eval;
use onnxc_sim::format::*;

const FORM: &str = "its form is not the device's";

fn window(w: &Sliding) -> Step<Window> {
    // Over a row, a window of one row.
    let two = |l: &[i64], one: i64| -> Step<[u32; 2]> {
        let pair = match l {
            [x] => [one, *x],
            [y, x] => [*y, *x],
            _ => return Err(FORM.into()),
        };
        let u = |v: i64| u32::try_from(v).map_err(|_| "its padding cuts away".to_string());
        Ok([u(pair[0])?, u(pair[1])?])
    };
    Ok(Window {
        size: two(&w.kernel, 1)?,
        stride: two(&w.stride, 1)?,
        dilation: two(&w.dilation, 1)?,
        pad: two(&w.begin, 0)?,
    })
}

impl Encoder<'_> {
    /// A constant input's whole numbers; none where it is absent.
    fn numbers(&self, n: NodeId, k: usize) -> Step<Option<Vec<i64>>> {
        match self.g.node(n).ins.get(k).copied().flatten() {
            None => Ok(None),
            Some(v) => {
                let list = constant(self.g, v).and_then(|t| t.to_i64s());
                list.map(Some)
                    .ok_or_else(|| format!("input {k} is no constant"))
            }
        }
    }
    fn single(&self, n: NodeId, k: usize) -> Step<f64> {
        let v = self.input(n, k)?;
        let list = constant(self.g, v).and_then(|t| t.to_f64s());
        match list.as_deref() {
            Some([one]) => Ok(*one),
            _ => Err(format!("input {k} is no single constant")),
        }
    }
    fn ints(&mut self, list: &[i64]) -> Step<Ints> {
        let list: Option<Vec<i32>> = list.iter().map(|&v| i32::try_from(v).ok()).collect();
        Ok(self.constants.ints(&list.ok_or(FORM)?))
    }
    fn shape(&self, v: ValueId) -> Vec<Dim> {
        self.g.ty(v).map(|t| t.shape.clone()).unwrap_or_default()
    }

    pub(super) fn conv(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let c = chain(self.g, node.outs[0], 1)?;
        let (x, w) = (self.input(n, 0)?, self.input(n, 1)?);
        let sliding = conv_window(&node.attrs, &self.shape(x), &self.shape(w));
        let sliding = sliding.map_err(|d| d.message.clone())?;
        let weights = constant(self.g, w).ok_or("its weights are no constants")?;
        let elem = super::encode::elem(weights.dtype)?;
        let x = self.as_map(x)?;
        let y = self.make(c.out, true)?;
        let w = self.constants.place(elem, &channels_behind(&weights));
        let x_zero = self
            .numbers(n, 2)?
            .and_then(|z| z.first().copied())
            .unwrap_or(0);
        let w_zero = match self.numbers(n, 3)? {
            Some(z) => Some(self.ints(&z)?),
            None => None,
        };
        let begin = self.numbers(n, 4)?.unwrap_or_default();
        let (xm, ym) = (x.map().ok_or(FORM)?, y.map().ok_or(FORM)?);
        let command = Conv {
            x: xm,
            y: ym,
            w,
            window: window(&sliding)?,
            groups: u32::try_from(node.attrs.int("group", 1)).map_err(|_| FORM)?,
            x_zero: x_zero as i32,
            w_zero,
            finish: finish(&c, y.at.elem, &begin, &mut self.constants)?,
        };
        self.push(Command::Conv(command), &[&x, &y]);
        self.made(c, y);
        Ok(())
    }

    fn made(&mut self, c: Chain, y: Tensor) {
        self.skip(&c.nodes);
        self.set(c.out, y);
    }

    pub(super) fn gemm(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let rank = self.sizes(node.outs[0])?.len();
        let c = chain(self.g, node.outs[0], rank.saturating_sub(1))?;
        let (a, b) = (self.input(n, 0)?, self.input(n, 1)?);
        let (a, b) = (self.matrices(a)?, self.matrices(b)?);
        let batch = a.sizes[0].max(b.sizes[0]);
        let y = self.make(c.out, false)?;
        let y3 = y
            .reshaped(&[batch, a.sizes[1], b.sizes[2]])
            .ok_or("its result has batches that the device can't count")?;
        let fits = |t: &Tensor| t.sizes[0] == 1 || t.sizes[0] == batch;
        // Of many matrices on both sides only equal numbers of them are multiplied one by one.
        if !fits(&a) || !fits(&b) {
            return Err("its batches are repeated".into());
        }
        let view = |t: &Tensor| -> Step<View> {
            let mut v = View {
                at: t.at,
                strides: [0; AXES],
            };
            for k in 0..3 {
                let step = if t.sizes[k] == 1 { 0 } else { t.strides[k] };
                v.strides[k] = i32::try_from(step).map_err(|_| FORM)?;
            }
            Ok(v)
        };
        let u = |v: i64| u32::try_from(v).map_err(|_| FORM);
        let w_zero = match self.numbers(n, 3)? {
            Some(z) => Some(self.ints(&z)?),
            None => None,
        };
        let begin = self.numbers(n, 4)?.unwrap_or_default();
        let a_zero = self
            .numbers(n, 2)?
            .and_then(|z| z.first().copied())
            .unwrap_or(0);
        let command = Gemm {
            sizes: [u(batch)?, u(a.sizes[1])?, u(a.sizes[2])?, u(b.sizes[2])?],
            a: view(&a)?,
            w: view(&b)?,
            y: view(&y3)?,
            a_zero: a_zero as i32,
            w_zero,
            finish: finish(&c, y.at.elem, &begin, &mut self.constants)?,
        };
        self.push(Command::Gemm(command), &[&a, &b, &y]);
        self.made(c, y);
        Ok(())
    }

    /// A value as one list of matrices.
    fn matrices(&mut self, v: ValueId) -> Step<Tensor> {
        let t = self.value(v)?;
        let [batch @ .., rows, cols] = t.sizes.as_slice() else {
            return Err("vectors are not multiplied there".into());
        };
        let to = [batch.iter().product(), *rows, *cols];
        if let Some(t) = t.reshaped(&to) {
            return Ok(t);
        }
        self.as_dense(v)?.reshaped(&to).ok_or_else(|| FORM.into())
    }

    /// A Cast to 32 bits, the sum behind it, and what requantizes it.
    pub(super) fn sum(&mut self, n: NodeId) -> Step {
        let x = self.input(n, 0)?;
        let node = self.g.node(n);
        let c = chain(self.g, node.outs[0], usize::MAX)?;
        let t = self.value(x)?;
        let rank = t.sizes.len();
        let mut axes = vec![];
        match self.numbers(n, 1)? {
            Some(list) if !list.is_empty() => {
                for a in list {
                    axes.push(resolve_axis(a, rank).map_err(|d| d.message.clone())?);
                }
            }
            _ => axes = (0..rank).collect(),
        }
        let y = self.make(c.out, false)?;
        let keep = node.attrs.int("keepdims", 1) != 0;
        let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
        // The outer axes are the result's.
        let outer_x: Vec<i64> = match keep {
            true => (0..rank)
                .map(|a| if axes.contains(&a) { 0 } else { t.strides[a] })
                .collect(),
            false => kept.iter().map(|&a| t.strides[a]).collect(),
        };
        let outer = y.sizes.clone();
        let x_outer = Tensor {
            sizes: outer.clone(),
            strides: outer_x,
            ..t.clone()
        };
        let inner: Vec<i64> = axes.iter().map(|&a| t.sizes[a]).collect();
        let x_inner = Tensor {
            sizes: inner.clone(),
            strides: axes.iter().map(|&a| t.strides[a]).collect(),
            ..t.clone()
        };
        let command = Sum {
            outer: sizes(&outer).ok_or(FORM)?,
            inner: sizes(&inner).ok_or(FORM)?,
            x: x_outer.view(&outer).ok_or(FORM)?,
            x_inner: x_inner.view(&inner).ok_or(FORM)?.strides,
            y: y.view(&outer).ok_or(FORM)?,
            x_zero: 0,
            finish: finish(&c, y.at.elem, &[], &mut self.constants)?,
        };
        self.push(Command::Sum(command), &[&t, &y]);
        self.made(c, y);
        Ok(())
    }

    /// A result and the views of its operands on it.
    fn pointwise(
        &mut self,
        n: NodeId,
        operands: &[usize],
    ) -> Step<(Tensor, View, Vec<Tensor>, Vec<View>)> {
        let out = self.g.node(n).outs[0];
        let mut tensors = vec![];
        for &k in operands {
            let v = self.input(n, k)?;
            tensors.push(self.value(v)?);
        }
        let y = self.make(out, false)?;
        let views: Option<Vec<View>> = tensors.iter().map(|t| t.view(&y.sizes)).collect();
        let own = y.view(&y.sizes).ok_or(FORM)?;
        Ok((y, own, tensors, views.ok_or(FORM)?))
    }

    fn zeros(&self, n: NodeId) -> [i32; 2] {
        let attrs = &self.g.node(n).attrs;
        ["zero_a", "zero_b"].map(|z| attrs.int(z, 0) as i32)
    }

    pub(super) fn add(&mut self, n: NodeId) -> Step {
        let (y, own, t, v) = self.pointwise(n, &[0, 2])?;
        let scales = [self.single(n, 1)?, self.single(n, 3)?];
        let out = self.g.node(n).outs[0];
        let command = Add {
            sizes: sizes(&y.sizes).ok_or(FORM)?,
            a: v[0],
            b: v[1],
            y: own,
            zeros: self.zeros(n),
            scales,
            limits: limits(&self.g.node(n).attrs, y.at.elem),
        };
        self.push(Command::Add(command), &[&y, &t[0], &t[1]]);
        self.set(out, y);
        Ok(())
    }

    pub(super) fn mul(&mut self, n: NodeId) -> Step {
        let (y, own, t, v) = self.pointwise(n, &[0, 1])?;
        let scale = self.single(n, 2)?;
        let out = self.g.node(n).outs[0];
        let command = Mul {
            sizes: sizes(&y.sizes).ok_or(FORM)?,
            a: v[0],
            b: v[1],
            y: own,
            zeros: self.zeros(n),
            scale,
            limits: limits(&self.g.node(n).attrs, y.at.elem),
        };
        self.push(Command::Mul(command), &[&y, &t[0], &t[1]]);
        self.set(out, y);
        Ok(())
    }

    pub(super) fn requantize(&mut self, n: NodeId) -> Step {
        let (y, own, t, v) = self.pointwise(n, &[0])?;
        let mut reals = [None, None];
        for (k, slot) in reals.iter_mut().enumerate() {
            let Some(v) = self.g.node(n).ins.get(k + 1).copied().flatten() else {
                continue;
            };
            let c = constant(self.g, v).ok_or("a scale or offset is no constant")?;
            let list = c.to_f64s().ok_or(FORM)?;
            let at = Place {
                space: Space::Const,
                elem: Elem::F64,
                offset: self.constants.reals(&list).offset,
            };
            let all: Vec<usize> = (0..c.shape.len()).collect();
            let t = Tensor {
                at,
                buffer: None,
                strides: strides(&c.shape, &all),
                sizes: c.shape.clone(),
            };
            *slot = Some(t.view(&y.sizes).ok_or(FORM)?);
        }
        let attrs = &self.g.node(n).attrs;
        let command = Requantize {
            sizes: sizes(&y.sizes).ok_or(FORM)?,
            x: v[0],
            y: own,
            x_zero: attrs.int("zero_x", 0) as i32,
            scale: reals[0],
            offset: reals[1],
            limits: limits(attrs, y.at.elem),
        };
        let out = self.g.node(n).outs[0];
        self.push(Command::Requantize(command), &[&y, &t[0]]);
        self.set(out, y);
        Ok(())
    }

    pub(super) fn lookup(&mut self, n: NodeId) -> Step {
        let (y, own, t, v) = self.pointwise(n, &[0])?;
        let table = self.input(n, 1)?;
        let table = constant(self.g, table).ok_or("its table is no constant")?;
        let command = Lookup {
            sizes: sizes(&y.sizes).ok_or(FORM)?,
            x: v[0],
            y: own,
            table: self.constants.bytes(&table.data),
        };
        let out = self.g.node(n).outs[0];
        self.push(Command::Lookup(command), &[&y, &t[0]]);
        self.set(out, y);
        Ok(())
    }

    pub(super) fn softmax(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let x = self.input(n, 0)?;
        let t = self.value(x)?;
        let y = self.make(node.outs[0], false)?;
        let rank = t.sizes.len();
        let axis = resolve_axis(node.attrs.int("axis", -1), rank).map_err(|d| d.message.clone())?;
        // The axis that is summed over goes last.
        let mut perm: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
        perm.push(axis);
        let (xt, yt) = (t.transposed(&perm), y.transposed(&perm));
        let powers = self.numbers(n, 1)?.ok_or("its table is absent")?;
        let mut own = limits(&node.attrs, y.at.elem);
        own.zero = self
            .numbers(n, 3)?
            .and_then(|z| z.first().copied())
            .unwrap_or(0) as i32;
        let command = Softmax {
            sizes: sizes(&xt.sizes).ok_or(FORM)?,
            x: xt.view(&xt.sizes).ok_or(FORM)?,
            y: yt.view(&xt.sizes).ok_or(FORM)?,
            powers: self.constants.longs(&powers),
            scale: self.single(n, 2)?,
            limits: own,
        };
        self.push(Command::Softmax(command), &[&t, &y]);
        self.set(node.outs[0], y);
        Ok(())
    }

    pub(super) fn max_pool(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let x = self.input(n, 0)?;
        let sliding = pool_window(&node.attrs, &self.shape(x)).map_err(|d| d.message.clone())?;
        let x = self.as_map(x)?;
        let y = self.make(node.outs[0], true)?;
        let command = MaxPool {
            x: x.map().ok_or(FORM)?,
            y: y.map().ok_or(FORM)?,
            window: window(&sliding)?,
        };
        self.push(Command::MaxPool(command), &[&x, &y]);
        self.set(node.outs[0], y);
        Ok(())
    }

    /// Which element goes where is asked of the operator itself, over numbers that count.
    pub(super) fn resize(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let x = self.input(n, 0)?;
        let (from, to) = (self.sizes(x)?, self.sizes(node.outs[0])?);
        let ([b, c, h, w], [ob, oc, oh, ow]) = (from.as_slice(), to.as_slice()) else {
            return Err("the device resizes images".into());
        };
        if b != ob || c != oc {
            return Err("it resizes channels".into());
        }
        let (h, w, oh, ow) = (*h, *w, *oh, *ow);
        let counted: Vec<f64> = (0..b * c * h * w).map(|i| (i % (h * w)) as f64).collect();
        let made = counted_resize(self.g, n, &from, &counted)?;
        let at = |i: i64, j: i64| made.get((i * ow + j) as usize).copied().ok_or(FORM);
        let rows: Result<Vec<i64>, _> = (0..oh).map(|i| at(i, 0).map(|v| v / w)).collect();
        let cols: Result<Vec<i64>, _> = (0..ow).map(|j| at(0, j).map(|v| v % w)).collect();
        let (rows, cols) = (rows?, cols?);
        for i in 0..oh {
            for j in 0..ow {
                if at(i, j)? != rows[i as usize] * w + cols[j as usize] {
                    return Err("it takes elements that rows and columns do not name".into());
                }
            }
        }
        let x = self.as_map(x)?;
        let y = self.make(node.outs[0], true)?;
        let command = Resize {
            x: x.map().ok_or(FORM)?,
            y: y.map().ok_or(FORM)?,
            rows: self.ints(&rows)?,
            cols: self.ints(&cols)?,
        };
        self.push(Command::Resize(command), &[&x, &y]);
        self.set(node.outs[0], y);
        Ok(())
    }
}

/// The result of a Resize over counted elements.
fn counted_resize(g: &Graph, n: NodeId, shape: &[i64], counted: &[f64]) -> Step<Vec<i64>> {
    let node = g.node(n);
    let mut own = Graph::new("resize");
    let mut ins = vec![Some(
        own.add_const("", Constant::from_f64s(DType::I32, shape, counted)),
    )];
    for v in node.ins.iter().skip(1) {
        ins.push(match v {
            Some(v) => {
                Some(own.add_const("", constant(g, *v).ok_or("its sizes are no constants")?))
            }
            None => None,
        });
    }
    let m = own.add_node(node.op, node.attrs.clone(), ins, 1, Loc::default());
    let out = own.node(m).outs[0];
    own.add_output(out);
    let (mut symbols, mut diags) = (Symbols::default(), Diagnostics::default());
    let mut after = |_: &mut Graph, _: NodeId, _: &Symbols| Ok(());
    let mut infer = Infer {
        symbols: &mut symbols,
        after: &mut after,
        diags: &mut diags,
        depth: 0,
    };
    infer.node(&mut own, m).map_err(|d| d.message.clone())?;
    let result = eval(&own, m, &symbols).map_err(|d| d.message.clone())?;
    let result = result.and_then(|mut l| l.pop().flatten());
    let list = result.and_then(|t| t.to_i64s());
    list.ok_or_else(|| "what it takes is not known".into())
}

/// `[out, in, rows.., cols]` as `[out, rows, cols, in]`.
fn channels_behind(w: &Constant) -> Vec<u8> {
    let (outs, ins) = (w.shape[0] as usize, w.shape[1] as usize);
    let window: usize = w.shape[2..].iter().product::<i64>() as usize;
    let mut to = Vec::with_capacity(w.data.len());
    for o in 0..outs {
        for k in 0..window {
            to.extend((0..ins).map(|i| w.data[(o * ins + i) * window + k]));
        }
    }
    to
}
