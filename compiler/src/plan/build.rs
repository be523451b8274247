//! Graph to program: walks the groups in order, lowers each to a layer, and settles where every value lies.

use super::check::{Gaps, Label, RegionLabels};
use super::group::{Group, escaping, group};
use super::lower::{Lowered, Place as LowerPlace, Source, type_of};
use super::names::layer_name;
pub use super::options::Options;
use super::parallel;
use super::program::*;
use super::storage::{Home, Spot, Storages};
use super::views::{Part, Rooms, Views};
use super::watched::Seen;
use super::weights::weights;
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::Symbols;
use crate::base::goal::Goal;
use crate::base::id::Arena;
use crate::base::types::TensorType;
use crate::contracts::References;
use crate::graph::ir::{Def, Graph, Model, NodeId, ValueId};
use crate::kernel::Machine;
use crate::loops::compact::compact;
use crate::loops::ir::{Access, Func};
use crate::op::Lower;
use std::collections::HashMap;

/// A program with what its judge needs to know.
pub struct Planned {
    /// The program.
    pub program: Program,
    /// For each layer and argument the storage that is meant.
    pub labels: Vec<Vec<Label>>,
    /// Bytes of every storage.
    pub sizes: Vec<u64>,
    /// The storages of the ports of offloaded regions.
    pub regions: Vec<RegionLabels>,
}

/// Plans a model whose types are inferred.
pub fn build(
    model: &Model,
    machine: &Machine,
    options: &Options,
) -> std::result::Result<Program, Diagnostics> {
    planned(model, machine, options).map(|p| p.program)
}

/// The same, with what [`super::check::check`] takes.
pub fn planned(
    model: &Model,
    machine: &Machine,
    options: &Options,
) -> std::result::Result<Planned, Diagnostics> {
    let plan = attempt(model, machine, options)?;
    // What is written where it belongs needs no copy, but the whole lives from its first part on.
    let apart = plan.labels.iter().flatten().any(|l| l.gaps.is_some());
    if options.goal == Goal::Memory && apart {
        let options = Options {
            scatter: false,
            ..options.clone()
        };
        let other = attempt(model, machine, &options)?;
        if other.program.arena_bytes < plan.program.arena_bytes {
            return Ok(other);
        }
    }
    Ok(plan)
}

fn attempt(
    model: &Model,
    machine: &Machine,
    options: &Options,
) -> std::result::Result<Planned, Diagnostics> {
    let mut p = Planner {
        symbols: &model.symbols,
        machine,
        options,
        storages: Storages::default(),
        funcs: Arena::default(),
        same: HashMap::new(),
        layers: Arena::default(),
        gaps: HashMap::new(),
        regions: vec![],
        now: 1,
        scopes: 0,
        main: 1,
        orders: &model.watched,
        made: HashMap::new(),
        seen: vec![],
        callees: References::default(),
        spread: false,
        diags: Diagnostics::default(),
    };
    let steps = p.main(&model.graph);
    let mut diags = std::mem::take(&mut p.diags);
    if diags.has_errors() {
        return Err(diags);
    }
    match steps.and_then(|steps| p.finish(&model.graph, steps)) {
        Ok(program) => Ok(program),
        Err(d) => {
            diags.push(d);
            Err(diags)
        }
    }
}

pub(super) struct Planner<'a> {
    pub symbols: &'a Symbols,
    pub machine: &'a Machine,
    pub options: &'a Options,
    pub storages: Storages,
    funcs: Arena<FuncId, Func>,
    same: HashMap<String, FuncId>,
    layers: Arena<LayerId, Layer<Spot>>,
    /// Arguments (layer, number) that do not lie in one piece.
    gaps: HashMap<(usize, usize), Gaps>,
    pub regions: Vec<RegionLabels>,
    pub now: u32,
    scopes: usize,
    /// The scope of the main graph.
    pub main: usize,
    /// Orders of axes of what is watched.
    pub orders: &'a [Vec<usize>],
    /// For each value of the main graph that has memory, the last layer that makes a part of it.
    pub made: HashMap<ValueId, LayerId>,
    pub seen: Vec<Seen>,
    callees: References,
    /// Some loop is spread over threads.
    spread: bool,
    diags: Diagnostics,
}

/// One graph under way: the main graph or a body.
pub(super) struct Scope<'g> {
    pub g: &'g Graph,
    pub id: usize,
    pub views: Views,
}

impl Planner<'_> {
    pub fn open<'g>(&mut self, g: &'g Graph) -> Scope<'g> {
        self.scopes += 1;
        Scope {
            g,
            id: self.scopes,
            views: {
                let rooms = Rooms::new();
                let place = LowerPlace {
                    graph: g,
                    symbols: self.symbols,
                    machine: self.machine,
                    effort: self.options.kernels(),
                    threads: self.options.threads,
                    weights: weights(g),
                    rooms: &rooms,
                };
                Views::of(g, &|n| self.options.scatter && place.scatters(n))
            },
        }
    }

    fn main(&mut self, g: &Graph) -> Result<Vec<Step<Spot>>> {
        let s = self.open(g);
        for (k, &v) in g.inputs.iter().enumerate() {
            let bytes = self.bytes(g, v)?;
            let spot = self.storages.add(bytes, Home::Input(k as u32));
            self.storages.assign((s.id, v), spot);
        }
        // An output that a layer makes is made in the caller's memory.
        let mut late = vec![];
        for (k, &v) in self.kept(&s).iter().enumerate() {
            let home = Home::Output(k as u32);
            if self.claim(&s, v, home)?.is_none() {
                late.push((k, v));
            }
        }
        let mut steps = self.graph(&s)?;
        for (k, v) in late {
            let bytes = self.bytes(g, v)?;
            let to = self.storages.add(bytes, Home::Output(k as u32));
            let from = self.spot(&s, v)?;
            steps.extend(self.copy(type_of(g, v)?, from, to)?);
        }
        self.find_watched(&s, &mut steps)?;
        Ok(steps)
    }

    /// Gives the memory `home` to the value, if it is made by a node of this scope and lies in memory of its own.
    fn claim(&mut self, s: &Scope, v: ValueId, home: Home) -> Result<Option<Spot>> {
        let bytes = self.bytes(s.g, v)?;
        if !self.claimable(s, v, bytes)? {
            return Ok(None);
        }
        let spot = self.storages.add(bytes, home);
        let (root, _) = s.views.root(v);
        self.storages.assign((s.id, root), spot);
        Ok(Some(spot))
    }

    /// Gives existing memory to the value on the same terms.
    pub fn claim_spot(&mut self, s: &Scope, v: ValueId, spot: Spot) -> Result<bool> {
        let bytes = self.bytes(s.g, v)?;
        let ok = self.claimable(s, v, bytes)?;
        if ok {
            let (root, _) = s.views.root(v);
            self.storages.assign((s.id, root), spot);
        }
        Ok(ok)
    }

    fn claimable(&self, s: &Scope, v: ValueId, bytes: i64) -> Result<bool> {
        let (root, offset) = s.views.root(v);
        Ok(matches!(s.g.value(root).def, Def::Node(..))
            && offset == 0
            && self.bytes(s.g, root)? == bytes
            && self.storages.get((s.id, root)).is_none())
    }

    pub fn bytes(&self, g: &Graph, v: ValueId) -> Result<i64> {
        Ok(type_of(g, v)?.max_bytes(self.symbols))
    }

    /// Where a value lies; makes room for it where it is new.
    pub fn spot(&mut self, s: &Scope, v: ValueId) -> Result<Spot> {
        let (root, offset) = s.views.root(v);
        let base = match s.g.konst(root) {
            Some(t) => self.storages.weights(t.data.clone()),
            None => match self.storages.get((s.id, root)) {
                Some(spot) => spot,
                None => {
                    let bytes = self.bytes(s.g, root)?;
                    let spot = self.storages.add(bytes, Home::Arena);
                    self.storages.assign((s.id, root), spot);
                    spot
                }
            },
        };
        let spot = Spot {
            offset: base.offset + offset,
            ..base
        };
        self.storages.touch(spot, self.now);
        Ok(spot)
    }

    pub fn graph(&mut self, s: &Scope) -> Result<Vec<Step<Spot>>> {
        let place = LowerPlace {
            graph: s.g,
            symbols: self.symbols,
            machine: self.machine,
            effort: self.options.kernels(),
            threads: self.options.threads,
            weights: weights(s.g),
            rooms: &s.views.rooms,
        };
        // What needs no layer can't take a tail along.
        let groups = group(s.g, self.options.group, &|n| {
            !s.views.free.contains(&n) && !s.views.concats.contains_key(&n) && place.takes_tails(n)
        });
        // Layers' needs for scratch memory are known once they are lowered; all that can't be lowered is listed in one go.
        let mut lowered: Vec<Option<Lowered>> = vec![];
        for group in &groups {
            let n = group.nodes[0];
            let layer = wanted(s, group)
                && !s.views.concats.contains_key(&n)
                && !matches!(s.g.node(n).op.lower, Lower::Control(_));
            lowered.push(match layer.then(|| place.lower(group)).transpose() {
                Ok(l) => l,
                Err(d) => {
                    self.diags.push(d.at(s.g.describe(n)));
                    None
                }
            });
        }
        if self.diags.has_errors() {
            return Ok(vec![]);
        }
        let (groups, lowered) = self.in_order(s, groups, lowered)?;
        let last_use = self.last_uses(s, &groups);
        let mut steps = vec![];
        for (at, (group, layer)) in groups.iter().zip(lowered).enumerate() {
            let n = group.nodes[0];
            if s.views.free.contains(&n) {
                steps.extend(self.sizes_agree(s, n)?);
                continue;
            }
            if !wanted(s, group) {
                continue;
            }
            let r = if let Some(copies) = s.views.concats.get(&n) {
                self.concat(s, n, copies)
            } else if let Lower::Control(kind) = s.g.node(n).op.lower {
                self.control(s, n, kind)
            } else if let Some(l) = layer {
                self.take_over(s, group, at, &last_use)
                    .and_then(|()| self.layer(s, group, l))
            } else {
                Err(Diagnostic::internal("a layer that was not lowered"))
            };
            match r {
                Ok(more) => steps.extend(more),
                Err(d) => self.diags.push(d.at(s.g.describe(n))),
            }
        }
        Ok(steps)
    }

    /// A view whose sizes can't be shown to agree with those of what it looks at is asked about them when it runs.
    fn sizes_agree(&mut self, s: &Scope, n: NodeId) -> Result<Option<Step<Spot>>> {
        let node = s.g.node(n);
        let (Lower::View, Some(Some(from)), &[to]) =
            (&node.op.lower, node.ins.first(), node.outs.as_slice())
        else {
            return Ok(None);
        };
        let old = type_of(s.g, *from)?.elements();
        let new = type_of(s.g, to)?.elements();
        if old == new {
            return Ok(None);
        }
        let func = super::helpers::same_size(&old, &new);
        let layer = Layer {
            ops: vec!["SizesAgree"],
            nodes: node.loc.0.iter().map(|s| s.to_string()).collect(),
            ..unnamed(vec![])
        };
        Ok(Some(self.push(func, layer)))
    }

    fn concat(&mut self, s: &Scope, n: NodeId, copies: &[Part]) -> Result<Vec<Step<Spot>>> {
        let mut steps = vec![];
        let out = s.g.node(n).outs[0];
        let first = self.layers.len();
        for part in copies {
            let to = self.spot(s, out)?;
            let from = self.spot(s, part.value)?;
            let ty = type_of(s.g, part.value)?;
            let to = Spot {
                offset: to.offset + part.offset,
                ..to
            };
            match &part.room {
                None => steps.extend(self.copy(ty, from, to)?),
                Some(room) => {
                    let func = super::helpers::spread(ty.dtype, &ty.shape, room);
                    let func = self.spread(func, true)?;
                    let gaps = Gaps::of(&ty.shape, room);
                    self.gaps.insert((self.layers.len(), 1), gaps);
                    steps.push(self.helper("Copy", func, vec![from, to]));
                }
            }
        }
        if self.layers.len() > first {
            self.made_now(s, out);
        }
        Ok(steps)
    }

    /// Notes that the layer pushed last makes (a part of) a value.
    fn made_now(&mut self, s: &Scope, v: ValueId) {
        if s.id == self.main {
            let layer = LayerId(self.layers.len().saturating_sub(1) as u32);
            self.made.insert(s.views.root(v).0, layer);
        }
    }

    /// Lets the group's output take over the memory of an operand of the same size that is not needed afterwards.
    fn take_over(
        &mut self,
        s: &Scope,
        group: &Group,
        at: usize,
        last_use: &HashMap<ValueId, usize>,
    ) -> Result<()> {
        let Some((out, from)) = self.takeable(s, group)? else {
            return Ok(());
        };
        for root in from {
            if last_use.get(&root) == Some(&at)
                && let Some(spot) = self.storages.get((s.id, root))
                && self.storages.is_arena(spot)
            {
                self.storages.assign((s.id, out), spot);
                return Ok(());
            }
        }
        Ok(())
    }

    fn layer(&mut self, s: &Scope, group: &Group, l: Lowered) -> Result<Vec<Step<Spot>>> {
        let macs = super::macs::count(&l.func, self.symbols);
        let func = self.spread(l.func, l.once)?;
        let mut args = vec![];
        for (at, (a, (_, b))) in l.args.iter().zip(func.bufs.iter()).enumerate() {
            args.push(match a {
                Source::Value(v) => {
                    if let Some(room) = s.views.rooms.get(v) {
                        let gaps = Gaps::of(&type_of(s.g, *v)?.shape, room);
                        self.gaps.insert((self.layers.len(), at), gaps);
                    }
                    self.spot(s, *v)?
                }
                Source::Const(t) => {
                    let bytes = b.len.fixed().unwrap_or(0) as u64 * b.dtype.size() as u64;
                    self.storages.weights_that_reach(t.data.clone(), bytes)
                }
                Source::Scratch(bytes) => {
                    let bytes = match b.access {
                        Access::Private => self.copies(b),
                        _ => *bytes,
                    };
                    let spot = self.storages.add(bytes, Home::Arena);
                    self.storages.touch(spot, self.now);
                    spot
                }
            });
        }
        let ops: Vec<&'static str> = group.nodes.iter().map(|&n| s.g.node(n).op.name).collect();
        let loc = crate::graph::ir::Loc::join(group.nodes.iter().map(|&n| &s.g.node(n).loc));
        let mut makes = vec![];
        // What does not lie in one piece is seen as a part of the Concat.
        let whole = |v: &ValueId| !s.views.rooms.contains_key(v);
        for v in escaping(s.g, group).into_iter().filter(whole) {
            let spot = self.spot(s, v)?;
            makes.push((s.g.value(v).name.clone(), type_of(s.g, v)?, spot));
        }
        let sums = group.nodes.iter().any(|&n| s.g.node(n).op.sums);
        let layer = Layer {
            ops,
            sums,
            nodes: loc.0.iter().map(|s| s.to_string()).collect(),
            kernel: l.kernel.to_string(),
            choice: l.choice,
            macs,
            makes,
            ..unnamed(args)
        };
        let step = self.push(func, layer);
        for v in escaping(s.g, group) {
            self.made_now(s, v);
        }
        Ok(vec![step])
    }

    /// Cuts loops for the threads to compile for.
    fn spread(&mut self, func: Func, once: bool) -> Result<Func> {
        let threads = self.options.threads.max(1);
        let facts = parallel::Facts {
            symbols: self.symbols,
            callees: &self.callees,
            once,
            threads: i64::from(threads),
        };
        let bufs = func.bufs.len();
        let func = parallel::spread(func, &facts);
        if threads == 1 {
            return Ok(func);
        }
        let (func, kept) = compact(&func);
        if kept.len() != bufs {
            return Err(Diagnostic::internal("cutting loops lost a buffer"));
        }
        if cfg!(debug_assertions) {
            crate::loops::verify::check(&func, self.symbols)?;
        }
        self.spread |= parallel::is_spread(&func);
        Ok(func)
    }

    /// Bytes of a private buffer with a copy for each thread.
    fn copies(&self, b: &crate::loops::ir::Buffer) -> i64 {
        let all = copy_bytes(b, self.symbols).saturating_mul(u64::from(self.options.threads));
        i64::try_from(all).unwrap_or(i64::MAX)
    }

    /// A layer that does what `func` does; it gets its name and its body here.
    fn push(&mut self, func: Func, layer: Layer<Spot>) -> Step<Spot> {
        let func = self.body(func);
        let name = layer_name(self.layers.len(), &layer.ops, &layer.nodes);
        let id = self.layers.push(Layer {
            name,
            func,
            ..layer
        });
        self.now += 1;
        Step::Layer(id)
    }

    /// The shared body that does the same, names apart.
    fn body(&mut self, func: Func) -> FuncId {
        let mut key = func.clone();
        key.name.clear();
        for b in key.bufs.ids() {
            key.bufs[b].name.clear();
        }
        let key = format!("{key:?}");
        let funcs = &mut self.funcs;
        *self.same.entry(key).or_insert_with(|| funcs.push(func))
    }

    /// A layer that the plan itself needs: copies, sizes, counters.
    pub fn helper(&mut self, what: &'static str, func: Func, args: Vec<Spot>) -> Step<Spot> {
        for &a in &args {
            self.storages.touch(a, self.now);
        }
        let layer = Layer {
            ops: vec![what],
            ..unnamed(args)
        };
        self.push(func, layer)
    }

    pub fn copy(&mut self, ty: TensorType, from: Spot, to: Spot) -> Result<Option<Step<Spot>>> {
        if from == to || ty.elements().is(0) {
            return Ok(None);
        }
        let func = super::helpers::copy(ty.dtype, ty.elements());
        let func = self.spread(func, true)?;
        Ok(Some(self.helper("Copy", func, vec![from, to])))
    }

    fn finish(self, g: &Graph, steps: Vec<Step<Spot>>) -> Result<Planned> {
        let mut program = Program {
            symbols: self.symbols.clone(),
            funcs: self.funcs,
            threads: if self.spread { self.options.threads } else { 1 },
            ..Program::default()
        };
        for &v in &g.inputs {
            program.inputs.push(Port {
                name: g.value(v).name.clone(),
                ty: type_of(g, v)?,
            });
        }
        let own = g.outputs().len().saturating_sub(self.orders.len());
        for (&v, name) in g.outputs()[..own].iter().zip(&g.output_names) {
            program.outputs.push(Port {
                name: name.clone(),
                ty: type_of(g, v)?,
            });
        }
        let sizes = self.storages.sizes();
        let settled = self
            .storages
            .settle(program.symbol_bytes(), self.options.effort.searches());
        program.arena_bytes = settled.arena_bytes;
        program.peak_bytes = settled.peak_bytes;
        program.weights_bytes = settled.weights_bytes;
        let mut labels = vec![];
        for (_, l) in self.layers.iter() {
            let number = labels.len();
            let label = |(at, spot): (usize, &Spot)| Label {
                storage: spot.storage,
                gaps: self.gaps.get(&(number, at)).cloned(),
            };
            labels.push(l.args.iter().enumerate().map(label).collect::<Vec<_>>());
            let place = |spot| settled.place(spot);
            program.layers.push(l.clone().settle(&place));
        }
        let seen = self.seen.into_iter().zip(self.orders);
        program.watched = seen
            .map(|((layer, ty, spot), order)| Watched {
                layer,
                ty,
                order: order.clone(),
                place: settled.place(spot),
            })
            .collect();
        let options = self.options;
        program.steps = steps
            .into_iter()
            .map(|s| s.settle(&|s| settled.place(s)))
            .collect();
        program.weights = settled.weights;
        if options.check {
            super::check::check(&program, &labels, &sizes, &self.regions)?;
        }
        Ok(Planned {
            program,
            labels,
            sizes,
            regions: self.regions,
        })
    }
}

/// Whether anything needs what the group makes, and it takes work to make it. The pass that removes dead nodes may be
/// switched off.
pub(super) fn wanted(s: &Scope, group: &Group) -> bool {
    let n = group.nodes[0];
    let used = |v: &ValueId| s.g.is_used(*v) && matches!(s.g.value(*v).def, Def::Node(..));
    !s.views.free.contains(&n) && (group.nodes.len() > 1 || s.g.node(n).outs.iter().any(used))
}

/// A layer whose name and body are yet to come.
fn unnamed(args: Vec<Spot>) -> Layer<Spot> {
    Layer::of("", FuncId(0), args)
}
