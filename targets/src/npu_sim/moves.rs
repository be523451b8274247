//! What moves numbers: views where steps can say it, copies elsewhere.

use super::encode::{Encoder, Step};
use super::tensor::{Tensor, plain, sizes};
use onnxc_compiler::graph::ir::{NodeId, ValueId};
use onnxc_compiler::op::resolve_axis;
use onnxc_sim::format::{Command, Fill};

impl Encoder<'_> {
    pub(super) fn transpose(&mut self, n: NodeId) -> Step {
        let x = self.input(n, 0)?;
        let t = self.value(x)?;
        let rank = t.sizes.len();
        let perm: Vec<usize> = match self.g.node(n).attrs.ints("perm") {
            Some(p) => p.iter().map(|&p| p as usize).collect(),
            None => (0..rank).rev().collect(),
        };
        if perm.len() != rank || perm.iter().any(|&p| p >= rank) {
            return Err("its order is not of its axes".into());
        }
        self.set(self.g.node(n).outs[0], t.transposed(&perm));
        Ok(())
    }

    pub(super) fn reshape(&mut self, n: NodeId) -> Step {
        let (x, out) = (self.input(n, 0)?, self.g.node(n).outs[0]);
        let (t, to) = (self.value(x)?, self.sizes(out)?);
        if let Some(seen) = t.reshaped(&to) {
            self.set(out, seen);
            return Ok(());
        }
        // It is copied to where it lies as its users like it, seen as it was.
        let made = self.make(out, false)?;
        let (made, seen) = match made.reshaped(&t.sizes) {
            Some(seen) => (made, seen),
            None => {
                let room = self.room(t.at.elem, &to, &plain(to.len()))?;
                let seen = room.reshaped(&t.sizes);
                (room, seen.ok_or("its sizes do not fit")?)
            }
        };
        self.copy(&t, &seen)?;
        self.set(out, made);
        Ok(())
    }

    pub(super) fn concat(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let out = node.outs[0];
        let rank = self.sizes(out)?.len();
        let axis = resolve_axis(node.attrs.int("axis", 0), rank).map_err(|d| d.message.clone())?;
        let to = self.make(out, false)?;
        let mut at = 0;
        for v in node.ins.iter().flatten() {
            let from = self.value(*v)?;
            let count = from.sizes[axis];
            let part = to.slice(axis, at, 1, count).ok_or("a part lies too far")?;
            if count > 0 {
                self.copy(&from, &part)?;
            }
            at += count;
        }
        self.set(out, to);
        Ok(())
    }

    pub(super) fn split(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        let x = self.input(n, 0)?;
        let t = self.value(x)?;
        let axis = resolve_axis(node.attrs.int("axis", 0), t.sizes.len());
        let axis = axis.map_err(|d| d.message.clone())?;
        let mut at = 0;
        for &v in &node.outs {
            let count = self.sizes(v)?[axis];
            let part = t.slice(axis, at, 1, count).ok_or("a part lies too far")?;
            self.set(v, part);
            at += count;
        }
        Ok(())
    }

    /// Numbers of a constant input.
    fn list(&self, n: NodeId, k: usize) -> Step<Option<Vec<i64>>> {
        match self.g.node(n).ins.get(k).copied().flatten() {
            None => Ok(None),
            Some(v) => {
                let list = self.g.konst(v).and_then(|t| t.to_i64s());
                list.map(Some)
                    .ok_or_else(|| format!("input {k} is no constant"))
            }
        }
    }

    pub(super) fn slice(&mut self, n: NodeId) -> Step {
        let (x, out) = (self.input(n, 0)?, self.g.node(n).outs[0]);
        let (mut t, to) = (self.value(x)?, self.sizes(out)?);
        let starts = self.list(n, 1)?.ok_or("its starts are absent")?;
        let rank = t.sizes.len();
        let axes = self
            .list(n, 3)?
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.list(n, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        for (k, &start) in starts.iter().enumerate() {
            let axis = axes.get(k).copied().unwrap_or(0);
            let axis = resolve_axis(axis, rank).map_err(|d| d.message.clone())?;
            let step = steps.get(k).copied().unwrap_or(1);
            if step < 1 {
                return Err("it goes backwards".into());
            }
            let size = t.sizes[axis];
            let start = if start < 0 { start + size } else { start }.clamp(0, size);
            t = t
                .slice(axis, start, step, to[axis])
                .ok_or("a part lies too far")?;
        }
        self.set(out, t);
        Ok(())
    }

    pub(super) fn pad(&mut self, n: NodeId) -> Step {
        let (x, out) = (self.input(n, 0)?, self.g.node(n).outs[0]);
        let t = self.value(x)?;
        let rank = t.sizes.len();
        let attr = self.g.node(n).attrs.ints("pads").map(<[i64]>::to_vec);
        let pads = match self.list(n, 1)? {
            Some(p) => p,
            None => attr.ok_or("its pads are absent")?,
        };
        let axes: Vec<i64> = self
            .list(n, 3)?
            .unwrap_or_else(|| (0..rank as i64).collect());
        if pads.iter().any(|&p| p < 0) || pads.len() != 2 * axes.len() {
            return Err("it cuts away".into());
        }
        let value = match self.list(n, 2)? {
            Some(v) => v.first().copied().unwrap_or(0),
            None => 0,
        };
        let to = self.make(out, false)?;
        self.fill(&to, value as i32)?;
        let mut part = to.clone();
        for (k, &axis) in axes.iter().enumerate() {
            let axis = resolve_axis(axis, rank).map_err(|d| d.message.clone())?;
            part = part
                .slice(axis, pads[k], 1, t.sizes[axis])
                .ok_or("a part lies too far")?;
        }
        self.copy(&t, &part)?;
        self.set(out, to);
        Ok(())
    }

    fn fill(&mut self, to: &Tensor, value: i32) -> Step {
        let form = "its form is not the device's";
        let y = to.view(&to.sizes).ok_or(form)?;
        let sizes = sizes(&to.sizes).ok_or(form)?;
        self.push(Command::Fill(Fill { sizes, y, value }), &[to]);
        Ok(())
    }

    /// A value with the axes in row-major order, copied where it lies otherwise.
    pub(super) fn as_dense(&mut self, v: ValueId) -> Step<Tensor> {
        let t = self.value(v)?;
        let whole: i64 = t.sizes.iter().product();
        if t.reshaped(&[whole])
            .is_some_and(|f| whole <= 1 || f.strides[0] == 1)
        {
            return Ok(t);
        }
        let to = self.room(t.at.elem, &t.sizes, &plain(t.sizes.len()))?;
        self.copy(&t, &to)?;
        Ok(to)
    }
}
