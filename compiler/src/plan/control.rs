//! If, Loop, Scan and Offload: bodies are planned into the same arena, and their values live in the same time as everybody's.

use super::build::{Planner, Scope};
use super::helpers::set_symbols;
use super::helpers::{self, Slice};
use super::lower::type_of;
use super::program::Step;
use super::storage::{Home, Spot};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Atom, Dim, SymId};
use crate::base::types::TensorType;
use crate::graph::infer::{DEFAULT_MAX_TRIPS, ScanShape};
use crate::graph::ir::{NodeId, ValueId};
use crate::op::{Control, resolve_axis};

type Steps = Vec<Step<Spot>>;

impl Planner<'_> {
    pub(super) fn control(&mut self, s: &Scope, n: NodeId, kind: Control) -> Result<Steps> {
        match kind {
            Control::If => self.if_(s, n),
            Control::Loop => self.loop_(s, n),
            Control::Scan => self.scan(s, n),
            Control::Offload => self.offload(s, n),
        }
    }

    fn capture(&mut self, s: &Scope, inner: &Scope, at: usize, v: ValueId) -> Result<()> {
        let to = inner.g.inputs[at];
        if inner.g.konst(to).is_none() {
            let spot = self.spot(s, v)?;
            self.storages.assign((inner.id, to), spot);
        }
        Ok(())
    }

    /// Memory of the node's outputs, made now so that bodies can write into it.
    fn outs(&mut self, s: &Scope, n: NodeId) -> Result<Vec<Spot>> {
        s.g.node(n)
            .outs
            .clone()
            .into_iter()
            .map(|v| self.spot(s, v))
            .collect()
    }

    fn if_(&mut self, s: &Scope, n: NodeId) -> Result<Steps> {
        let node = s.g.node(n);
        let cond_value = node.ins[0].ok_or_else(|| Diagnostic::internal("no condition"))?;
        let outs = self.outs(s, n)?;
        let cond = self.spot(s, cond_value)?;
        self.now += 1;
        let mut branches = vec![];
        for body in &node.bodies {
            // Inference leaves a branch untyped that can't run with these shapes.
            if body.outputs().iter().any(|&v| body.ty(v).is_none()) {
                branches.push(vec![Step::Fail(onnxc_abi::status::UNSUPPORTED)]);
                continue;
            }
            let inner = self.open(body);
            for (k, v) in node.ins[1..].iter().enumerate() {
                if let Some(v) = v {
                    self.capture(s, &inner, k, *v)?;
                }
            }
            let mut late = vec![];
            for (k, &v) in body.outputs().iter().enumerate() {
                if !self.claim_spot(&inner, v, outs[k])? {
                    late.push((k, v));
                }
            }
            let mut steps = self.graph(&inner)?;
            for (k, v) in late {
                let from = self.spot(&inner, v)?;
                self.storages.touch(outs[k], self.now);
                steps.extend(self.copy(type_of(body, v)?, from, outs[k])?);
            }
            // Sizes in which the branches differ.
            let mut pairs: Vec<(SymId, Dim)> = vec![];
            for (k, &v) in body.outputs().iter().enumerate() {
                let outer = type_of(s.g, node.outs[k])?;
                for (o, i) in outer.shape.iter().zip(type_of(body, v)?.shape) {
                    if let Some(sym) = single(o).filter(|y| node.syms.contains(y)) {
                        pairs.push((sym, i));
                    }
                }
            }
            if !pairs.is_empty() {
                steps.push(self.helper("Sizes", set_symbols(&pairs), vec![]));
            }
            branches.push(steps);
        }
        let els = branches.pop().unwrap_or_default();
        let then = branches.pop().unwrap_or_default();
        self.now += 1;
        for &o in &outs {
            self.storages.touch(o, self.now);
        }
        Ok(vec![Step::If { cond, then, els }])
    }

    /// Inputs and outputs live through the whole step: a device reads and writes when it likes, and the twin may run after it.
    fn offload(&mut self, s: &Scope, n: NodeId) -> Result<Steps> {
        let node = s.g.node(n);
        let [body] = node.bodies.as_slice() else {
            return Err(Diagnostic::internal("a region without a body"));
        };
        let outs = self.outs(s, n)?;
        let mut ins = vec![];
        for v in node.ins.iter().flatten() {
            ins.push(self.spot(s, *v)?);
        }
        self.now += 1;
        let inner = self.open(body);
        for (k, v) in node.ins.iter().enumerate() {
            if let Some(v) = v {
                self.capture(s, &inner, k, *v)?;
            }
        }
        let mut late = vec![];
        for (k, &v) in body.outputs().iter().enumerate() {
            if !self.claim_spot(&inner, v, outs[k])? {
                late.push((k, v));
            }
        }
        let mut twin = self.graph(&inner)?;
        for (k, v) in late {
            let from = self.spot(&inner, v)?;
            self.storages.touch(outs[k], self.now);
            twin.extend(self.copy(type_of(body, v)?, from, outs[k])?);
        }
        self.now += 1;
        for &spot in ins.iter().chain(&outs) {
            self.storages.touch(spot, self.now);
        }
        self.now += 1;
        let slot = u32::try_from(node.attrs.int("slot", 0))
            .map_err(|_| Diagnostic::internal("a region with a negative slot"))?;
        let labels = |spots: &[Spot], values: &mut dyn Iterator<Item = ValueId>| {
            let each = spots.iter().zip(values);
            each.map(|(spot, v)| Ok((spot.storage, self.bytes(s.g, v)?.max(0) as u64)))
                .collect::<Result<Vec<_>>>()
        };
        let own = (
            slot,
            labels(&ins, &mut node.ins.iter().flatten().copied())?,
            labels(&outs, &mut node.outs.iter().copied())?,
        );
        self.regions.push(own);
        Ok(vec![Step::Offload {
            slot,
            required: node.attrs.flag("required"),
            ins,
            outs,
            twin,
        }])
    }

    fn loop_(&mut self, s: &Scope, n: NodeId) -> Result<Steps> {
        let node = s.g.node(n);
        let body = &node.bodies[0];
        let states = usize::try_from(node.attrs.int("states", 0)).unwrap_or(0);
        let outs = self.outs(s, n)?;
        let mut steps = vec![];
        // The trip count is read before every round: captures and counters must live through the loop.
        let trips = node.ins[0].map(|v| self.spot(s, v)).transpose()?;
        let known = node.ins[0]
            .and_then(|v| s.g.konst(v))
            .and_then(|t| t.get_i64(0));
        let max_trips = known.unwrap_or(DEFAULT_MAX_TRIPS).max(0);
        let inner = self.open(body);
        let iter = self.storages.add(8, Home::Arena);
        let cond = self.storages.add(1, Home::Arena);
        self.storages.touch(iter, self.now);
        self.storages.touch(cond, self.now);
        match node.ins[1] {
            Some(v) => {
                let from = self.spot(s, v)?;
                steps.extend(self.copy(type_of(s.g, v)?, from, cond)?);
            }
            None => steps.push(self.helper("True", helpers::set_true(), vec![cond])),
        }
        self.storages.assign((inner.id, body.inputs[0]), iter);
        self.storages.assign((inner.id, body.inputs[1]), cond);
        let carried: Vec<Spot> = outs[..states].to_vec();
        let mut pairs = vec![];
        for k in 0..states {
            let v = node.ins[2 + k]
                .ok_or_else(|| Diagnostic::internal("a carried value is missing"))?;
            let from = self.spot(s, v)?;
            steps.extend(self.copy(type_of(s.g, v)?, from, carried[k])?);
            self.storages
                .assign((inner.id, body.inputs[2 + k]), carried[k]);
            pairs.push((body.outputs()[1 + k], carried[k]));
        }
        let begin = self.now;
        for (k, v) in node.ins.iter().enumerate().skip(2 + states) {
            if let Some(v) = v {
                self.capture(s, &inner, k, *v)?;
            }
        }
        self.now += 1;
        let mut round = self.graph(&inner)?;
        for k in states..outs.len() {
            let v = body.outputs()[1 + k];
            let whole = type_of(s.g, node.outs[k])?;
            // The number of rounds is known when all are done; while they run, there is room for the most.
            let mut room = whole.shape.clone();
            if let Some(rounds) = room.first_mut() {
                *rounds = Dim::Fixed(rounds.bounds(self.symbols).1);
            }
            let func = helpers::slice(whole.dtype, &room, 0, Slice::In, false);
            let from = self.spot(&inner, v)?;
            round.push(self.helper("Scan", func, vec![from, outs[k], iter]));
        }
        pairs.push((body.outputs()[0], cond));
        self.carry(&inner, &pairs, &mut round)?;
        self.end_loop(
            begin,
            [iter, cond]
                .into_iter()
                .chain(outs.iter().copied())
                .chain(trips),
        );
        steps.push(Step::Loop {
            trips,
            max_trips,
            cond: Some(cond),
            iter,
            body: round,
        });
        if let Some(&sym) = node.syms.first() {
            steps.push(self.helper("Size", helpers::symbol_from(sym), vec![iter]));
        }
        Ok(steps)
    }

    /// Copies the values of this round to where the next round reads them. A value that is itself such a place goes
    /// through memory of its own, since another copy may overwrite it first.
    fn carry(&mut self, inner: &Scope, pairs: &[(ValueId, Spot)], round: &mut Steps) -> Result<()> {
        let mut todo = vec![];
        for &(v, to) in pairs {
            let ty = type_of(inner.g, v)?;
            let from = self.spot(inner, v)?;
            let at_risk = from != to && pairs.iter().any(|&(_, t)| t.storage == from.storage);
            let from = if at_risk {
                let own = self.storages.add(ty.max_bytes(self.symbols), Home::Arena);
                self.storages.touch(own, self.now);
                round.extend(self.copy(ty.clone(), from, own)?);
                own
            } else {
                from
            };
            todo.push((ty, from, to));
        }
        for (ty, from, to) in todo {
            self.storages.touch(from, self.now);
            self.storages.touch(to, self.now);
            round.extend(self.copy(ty, from, to)?);
        }
        Ok(())
    }

    fn end_loop(&mut self, begin: u32, through: impl Iterator<Item = Spot>) {
        self.now += 1;
        for spot in through {
            self.storages.touch(spot, begin);
            self.storages.touch(spot, self.now);
        }
        self.storages.extend_over_loop(begin, self.now);
        self.now += 1;
    }

    fn scan(&mut self, s: &Scope, n: NodeId) -> Result<Steps> {
        let node = s.g.node(n);
        let body = &node.bodies[0];
        let shape = ScanShape::of(s.g, n, body)?;
        let outs = self.outs(s, n)?;
        let mut steps = vec![];
        let inner = self.open(body);
        let iter = self.storages.add(8, Home::Arena);
        self.storages.touch(iter, self.now);
        let mut pairs = vec![];
        for k in 0..shape.states {
            let v =
                node.ins[k].ok_or_else(|| Diagnostic::internal("a carried value is missing"))?;
            let from = self.spot(s, v)?;
            steps.extend(self.copy(type_of(s.g, v)?, from, outs[k])?);
            self.storages.assign((inner.id, body.inputs[k]), outs[k]);
            pairs.push((body.outputs()[k], outs[k]));
        }
        let begin = self.now;
        for (k, v) in node.ins.iter().enumerate().skip(shape.states + shape.scans) {
            if let Some(v) = v {
                self.capture(s, &inner, k, *v)?;
            }
        }
        self.now += 1;
        let mut round = vec![];
        let mut length = Dim::Fixed(0);
        for k in 0..shape.scans {
            let v = node.ins[shape.states + k]
                .ok_or_else(|| Diagnostic::internal("a scan input is missing"))?;
            let ty = type_of(s.g, v)?;
            let axis = resolve_axis(shape.in_axis(k), ty.rank())?;
            length = ty.shape[axis].clone();
            let from = self.spot(s, v)?;
            let to = self.spot(&inner, body.inputs[shape.states + k])?;
            let func = helpers::slice(ty.dtype, &ty.shape, axis, Slice::Out, shape.in_reversed(k));
            round.push(self.helper("Scan", func, vec![from, to, iter]));
        }
        round.extend(self.graph(&inner)?);
        for k in shape.states..outs.len() {
            let whole: TensorType = type_of(s.g, node.outs[k])?;
            let axis = resolve_axis(shape.out_axis(k - shape.states), whole.rank())?;
            let func = helpers::slice(
                whole.dtype,
                &whole.shape,
                axis,
                Slice::In,
                shape.out_reversed(k - shape.states),
            );
            let from = self.spot(&inner, body.outputs()[k])?;
            round.push(self.helper("Scan", func, vec![from, outs[k], iter]));
        }
        self.carry(&inner, &pairs, &mut round)?;
        // The number of rounds is a size, so it lies in a constant or is written by a small layer.
        let (trips, max_trips) = match length.fixed() {
            Some(n) => (self.storages.weights(n.to_le_bytes().to_vec().into()), n),
            None => {
                let spot = self.storages.add(8, Home::Arena);
                self.storages.touch(spot, self.now);
                steps.push(self.helper("Length", helpers::store_dim(&length), vec![spot]));
                (spot, length.bounds(self.symbols).1)
            }
        };
        self.end_loop(begin, [iter, trips].into_iter().chain(outs.iter().copied()));
        steps.push(Step::Loop {
            trips: Some(trips),
            max_trips,
            cond: None,
            iter,
            body: round,
        });
        Ok(steps)
    }
}

/// The symbol, if the dimension is one.
fn single(d: &Dim) -> Option<SymId> {
    let Dim::Expr(sum) = d else { return None };
    match sum.0.iter().next() {
        Some((k, 1)) if sum.0.len() == 1 && k.len() == 1 => match k[0] {
            Atom::Sym(s) => Some(s),
            _ => None,
        },
        _ => None,
    }
}
