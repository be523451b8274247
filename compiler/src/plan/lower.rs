//! A group of nodes becomes one function over buffers.

use super::group::{Group, escaping};
use super::helpers::reach;
use super::select::{Choice, choose};
use super::views::Rooms;
use super::written::{written_out, written_rarely};
use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, Symbols};
use crate::base::effort::Effort;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::kernel::{
    Extra, Kernel, LowerCx, Machine, Operand, Query, Weights, broadcast_load_in, wrap,
};
use crate::loops::build::Builder;
use crate::loops::compact::compact;
use crate::loops::ir::{Access, BufId, ExprId, Func, LoopKind};
use crate::op::{Lower, PointCx};
use std::collections::HashMap;

/// What a buffer parameter of a lowered function stands for.
#[derive(Clone, Debug)]
pub enum Source {
    /// A graph value.
    Value(ValueId),
    /// Memory of its own while it runs, of that many bytes.
    Scratch(i64),
    /// A constant that the lowering made.
    Const(Tensor),
}

/// A lowered group.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The function.
    pub func: Func,
    /// What each of its buffers stands for.
    pub args: Vec<Source>,
    /// The kernel row that was chosen, or empty.
    pub kernel: &'static str,
    /// Among what it was chosen.
    pub choice: Option<Choice>,
    /// Each element of its outputs is stored once, and never read.
    pub once: bool,
}

/// Where lowering happens.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Sizes.
    pub symbols: &'a Symbols,
    /// What the target offers.
    pub machine: &'a Machine,
    /// How much is done for speed.
    pub effort: Effort,
    /// Threads to compile for.
    pub threads: u32,
    /// What the weights of all layers take.
    pub weights: Weights,
    /// Values that do not lie in one piece.
    pub rooms: &'a Rooms,
}

impl<'a> Place<'a> {
    /// Whether the node's lowering takes a tail of pointwise work.
    pub fn takes_tails(&self, n: NodeId) -> bool {
        let node = self.graph.node(n);
        match &node.op.lower {
            Lower::Loops(_) => node.op.tails,
            Lower::Contract(..) => self.kernel_of(n).is_ok_and(|k| k.tails),
            _ => false,
        }
    }

    /// Whether the node's only output is stored element by element, so that it need not lie in one piece.
    pub fn scatters(&self, n: NodeId) -> bool {
        let node = self.graph.node(n);
        node.outs.len() == 1
            && (matches!(node.op.lower, Lower::Pointwise(_)) || self.takes_tails(n))
    }

    fn kernel_of(&self, n: NodeId) -> Result<&'static Kernel> {
        let group = Group {
            nodes: vec![n],
            anchored: true,
        };
        let mut bufs = HashMap::new();
        let cx = self.context(Builder::new(""), &group, &mut bufs)?;
        let q = query(&cx, self.graph.node(n).op.lower_contract()?)?;
        choose(&q).map(|(row, _)| row)
    }

    /// A context for the anchor of a group, its operands declared as buffers.
    fn context(
        &self,
        mut b: Builder,
        group: &Group,
        bufs: &mut HashMap<ValueId, BufId>,
    ) -> Result<LowerCx<'a>> {
        let g = self.graph;
        let node = g.node(group.nodes[0]);
        let mut inputs = vec![];
        for v in &node.ins {
            inputs.push(match v {
                None => None,
                Some(v) => {
                    let buf = self.declare(&mut b, *v, Access::Read, bufs)?;
                    Some(Operand {
                        ty: type_of(g, *v)?,
                        buf,
                        konst: g.konst(*v).cloned(),
                    })
                }
            });
        }
        let mut outputs = vec![];
        for &v in &node.outs {
            // An output that only the group's tail reads needs no memory, but the operator must still make it.
            outputs.push(match g.is_used(v) && g.maker(v).is_some() {
                false => None,
                true => {
                    let buf = self.declare(&mut b, v, Access::Write, bufs)?;
                    Some(Operand {
                        ty: type_of(g, v)?,
                        buf,
                        konst: None,
                    })
                }
            });
        }
        let cx = LowerCx {
            b,
            attrs: &node.attrs,
            inputs,
            outputs,
            symbols: self.symbols,
            syms: &node.syms,
            machine: self.machine,
            effort: self.effort,
            threads: i64::from(self.threads.max(1)),
            weights: self.weights,
            extras: vec![],
            store_hook: None,
        };
        Ok(cx)
    }

    /// Lowers a group.
    pub fn lower(&self, group: &Group) -> Result<Lowered> {
        let r = if group.anchored {
            self.anchored(group)
        } else {
            self.pointwise(group)
        };
        let r = r.and_then(|l| {
            if cfg!(debug_assertions) {
                crate::loops::verify::check(&l.func, self.symbols)?;
            }
            Ok(l)
        });
        r.map_err(|d| d.at(self.graph.describe(group.nodes[0])))
    }

    /// Lowers one node by itself.
    pub fn lower_node(&self, n: NodeId) -> Result<Lowered> {
        let anchored = !matches!(self.graph.node(n).op.lower, Lower::Pointwise(_));
        self.lower(&Group {
            nodes: vec![n],
            anchored,
        })
    }

    fn anchored(&self, group: &Group) -> Result<Lowered> {
        let g = self.graph;
        let anchor = group.nodes[0];
        let name = g.node(anchor).op.name;
        let mut bufs = HashMap::new();
        let mut cx = self.context(Builder::new(name), group, &mut bufs)?;
        let tail = &group.nodes[1..];
        let mut kernel = "";
        let mut choice = None;
        let mut error = None;
        let main_out = g.node(anchor).outs[0];
        let stores = escaping(g, group);
        let space = g.ty(main_out).map(|t| t.shape.clone()).unwrap_or_default();
        let takes = matches!(g.node(anchor).op.lower, Lower::Contract(..));
        for &n in tail {
            for v in g
                .node(n)
                .ins
                .iter()
                .flatten()
                .filter(|&&v| !made_in(g, v, group))
            {
                let new = takes && !bufs.contains_key(v);
                if new && let Some(wide) = written_out(&mut cx, g, (n, *v), main_out, &bufs)? {
                    bufs.insert(*v, wide);
                    continue;
                }
                self.declare(&mut cx.b, *v, Access::Read, &mut bufs)?;
            }
        }
        for &v in &stores {
            self.declare(&mut cx.b, v, Access::Write, &mut bufs)?;
        }
        let mut hook = |b: &mut Builder, o: usize, index: &[ExprId], value: ExprId| {
            if o != 0 {
                error = error
                    .take()
                    .or_else(|| Some(Diagnostic::internal("a tail behind a second output")));
                return;
            }
            let value = match g.ty(main_out) {
                Some(t) if !g.node(anchor).op.in_range => wrap(b, t.dtype, value),
                _ => value,
            };
            let mut known = HashMap::from([(main_out, value)]);
            let run = run_points(b, g, tail, &bufs, index, &mut known, &space, None)
                .and_then(|()| store_all(b, g, &stores, &bufs, index, &known, self.rooms));
            if let Err(d) = run {
                error = error.take().or(Some(d));
            }
        };
        if !tail.is_empty() || stores.iter().any(|v| self.rooms.contains_key(v)) {
            cx.store_hook = Some(&mut hook);
        }
        match &g.node(anchor).op.lower {
            Lower::Loops(f) => f(&mut cx)?,
            Lower::View => copy(&mut cx)?,
            Lower::Contract(contract, attrs) => {
                let q = query(&cx, (contract, *attrs))?;
                let (row, among) = choose(&q)?;
                kernel = row.name;
                choice = Some(among);
                (row.emit)(&mut cx, &q)?;
            }
            Lower::Pointwise(_) | Lower::Control(_) => {
                return Err(Diagnostic::internal("no anchor"));
            }
        }
        let (b, extras) = (cx.b, cx.extras);
        if let Some(d) = error {
            return Err(d);
        }
        // What takes tails stores so, and copying does.
        let once = self.takes_tails(anchor) || matches!(g.node(anchor).op.lower, Lower::View);
        let lowered = self.finish(b, extras, bufs, kernel, once)?;
        Ok(Lowered { choice, ..lowered })
    }

    fn pointwise(&self, group: &Group) -> Result<Lowered> {
        let g = self.graph;
        let mut bufs = HashMap::new();
        let name = g.node(group.nodes[0]).op.name;
        let mut cx = self.context(Builder::new(name), group, &mut bufs)?;
        let out = g.node(group.nodes[0]).outs[0];
        let mut operands: Vec<ValueId> = vec![];
        for &n in &group.nodes {
            for v in g.node(n).ins.iter().flatten() {
                if made_in(g, *v, group) || operands.contains(v) {
                    continue;
                }
                operands.push(*v);
                match written_rarely(&mut cx, g, *v, out)? {
                    Some(wide) => bufs.insert(*v, wide),
                    None => Some(self.declare(&mut cx.b, *v, Access::Read, &mut bufs)?),
                };
            }
        }
        let (mut b, extras) = (cx.b, cx.extras);
        let stores = escaping(g, group);
        for &v in &stores {
            self.declare(&mut b, v, Access::Write, &mut bufs)?;
        }
        let space = type_of(g, g.node(group.nodes[0]).outs[0])?.shape;
        let shapes: Vec<Vec<Dim>> = operands
            .iter()
            .map(|&v| Ok(type_of(g, v)?.shape))
            .collect::<Result<_>>()?;
        let rooms: Vec<Vec<Dim>> = stores
            .iter()
            .map(|v| self.rooms.get(v).unwrap_or(&space).clone())
            .collect();
        let (space, shapes, rooms) = collapse(&space, &shapes, &rooms);
        let shapes: HashMap<ValueId, Vec<Dim>> = operands.into_iter().zip(shapes).collect();
        let mut error = None;
        b.nest(&space, LoopKind::Lanes, |b, index| {
            let mut known = HashMap::new();
            let run = run_points(
                b,
                g,
                &group.nodes,
                &bufs,
                index,
                &mut known,
                &space,
                Some(&shapes),
            )
            .and_then(|()| {
                for (v, room) in stores.iter().zip(&rooms) {
                    let at = b.offset(room, index);
                    let (Some(&buf), Some(&value)) = (bufs.get(v), known.get(v)) else {
                        return Err(Diagnostic::internal(
                            "an escaping value that no node of the group makes",
                        ));
                    };
                    b.store(buf, at, value);
                }
                Ok(())
            });
            error = run.err();
        });
        match error {
            Some(d) => Err(d),
            None => self.finish(b, extras, bufs, "", true),
        }
    }

    /// The buffer parameter of a value.
    fn declare(
        &self,
        b: &mut Builder,
        v: ValueId,
        access: Access,
        bufs: &mut HashMap<ValueId, BufId>,
    ) -> Result<BufId> {
        if let Some(&buf) = bufs.get(&v) {
            return Ok(buf);
        }
        let ty = type_of(self.graph, v)?;
        let value = self.graph.value(v);
        let name = if value.name.is_empty() {
            format!("{v:?}")
        } else {
            value.name.clone()
        };
        let len = match self.rooms.get(&v) {
            Some(room) => reach(&ty.shape, room),
            None => ty.elements(),
        };
        let buf = b.buffer(&name, ty.dtype, len, access);
        bufs.insert(v, buf);
        Ok(buf)
    }

    fn finish(
        &self,
        b: Builder,
        mut extras: Vec<(BufId, Extra)>,
        bufs: HashMap<ValueId, BufId>,
        kernel: &'static str,
        once: bool,
    ) -> Result<Lowered> {
        let mut func = b.finish();
        if self.machine.palettes.used(self.effort) {
            func = super::palette::store(func, &mut extras, self.machine)?;
        }
        let mut by_buf: HashMap<BufId, Source> = HashMap::new();
        for (v, buf) in bufs {
            by_buf.insert(buf, Source::Value(v));
        }
        for (buf, e) in extras {
            by_buf.insert(
                buf,
                match e {
                    Extra::Const(t) => Source::Const(t),
                    Extra::Scratch => {
                        let d = &func.bufs[buf];
                        let n = d.len.bounds(self.symbols).1.max(0);
                        Source::Scratch(n.saturating_mul(d.dtype.size() as i64))
                    }
                },
            );
        }
        let (func, kept) = compact(&func);
        let args = kept
            .iter()
            .map(|b| {
                by_buf
                    .get(b)
                    .cloned()
                    .ok_or_else(|| Diagnostic::internal("a buffer without a source"))
            })
            .collect::<Result<_>>()?;
        Ok(Lowered {
            func,
            args,
            kernel,
            choice: None,
            once,
        })
    }
}

pub(super) fn type_of(g: &Graph, v: ValueId) -> Result<TensorType> {
    g.ty(v).cloned().ok_or_else(|| {
        Diagnostic::internal(format!("value {v:?} \"{}\" has no type", g.value(v).name))
    })
}

fn made_in(g: &Graph, v: ValueId, group: &Group) -> bool {
    g.maker(v).is_some_and(|(n, _)| group.nodes.contains(&n))
}

/// The question that an anchor with a contract asks.
fn query<'a>(
    cx: &LowerCx<'a>,
    (contract, attrs): (
        &'static crate::kernel::Contract,
        fn(&LowerCx) -> Result<Attrs>,
    ),
) -> Result<Query<'a>> {
    Ok(Query {
        contract,
        attrs: attrs(cx)?,
        inputs: cx
            .inputs
            .iter()
            .map(|o| o.as_ref().map(|o| (o.ty.clone(), o.konst.clone())))
            .collect(),
        outputs: cx
            .outputs
            .iter()
            .map(|o| o.as_ref().map(|o| o.ty.clone()))
            .collect(),
        machine: cx.machine,
        effort: cx.effort,
    })
}

/// Evaluates pointwise nodes on one element of the index space `space`. `shapes` gives the operands' shapes in the collapsed index space, where it
/// was collapsed.
#[allow(clippy::too_many_arguments)]
fn run_points(
    b: &mut Builder,
    g: &Graph,
    nodes: &[NodeId],
    bufs: &HashMap<ValueId, BufId>,
    index: &[ExprId],
    known: &mut HashMap<ValueId, ExprId>,
    space: &[Dim],
    shapes: Option<&HashMap<ValueId, Vec<Dim>>>,
) -> Result<()> {
    for &n in nodes {
        let node = g.node(n);
        let Lower::Pointwise(formula) = node.op.lower else {
            return Err(Diagnostic::internal("a tail that is not pointwise"));
        };
        let mut args = vec![];
        let mut in_types = vec![];
        for v in &node.ins {
            let Some(v) = v else {
                in_types.push(None);
                continue;
            };
            in_types.push(Some(type_of(g, *v)?.dtype));
            args.push(match known.get(v) {
                Some(&e) => e,
                None => {
                    let buf = *bufs
                        .get(v)
                        .ok_or_else(|| Diagnostic::internal("an undeclared operand"))?;
                    let shape = match shapes.and_then(|s| s.get(v)) {
                        Some(s) => s.clone(),
                        None => type_of(g, *v)?.shape,
                    };
                    broadcast_load_in(b, buf, &shape, space, index)
                }
            });
        }
        let out = node.outs[0];
        let out_type = type_of(g, out)?.dtype;
        let value = formula(
            &mut PointCx {
                b,
                attrs: &node.attrs,
                in_types,
                out_type,
            },
            &args,
        )?;
        let value = match node.op.in_range {
            true => value,
            false => wrap(b, out_type, value),
        };
        known.insert(out, value);
    }
    Ok(())
}

fn store_all(
    b: &mut Builder,
    g: &Graph,
    stores: &[ValueId],
    bufs: &HashMap<ValueId, BufId>,
    index: &[ExprId],
    known: &HashMap<ValueId, ExprId>,
    rooms: &Rooms,
) -> Result<()> {
    for v in stores {
        let (Some(&buf), Some(&value)) = (bufs.get(v), known.get(v)) else {
            return Err(Diagnostic::internal(
                "an anchor with a tail and a second output",
            ));
        };
        let at = match rooms.get(v) {
            Some(room) => b.offset(room, index),
            None => b.offset(&type_of(g, *v)?.shape, index),
        };
        b.store(buf, at, value);
    }
    Ok(())
}

fn copy(cx: &mut LowerCx) -> Result<()> {
    let n = crate::base::dim::elements(&cx.in_shape(0)?);
    let n = cx.b.dim(&n);
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        let v = cx.load_flat(0, i)?;
        cx.store_flat(0, i, v);
        Ok(())
    })
}

/// Merges axes that every operand either has whole or broadcasts whole, and drops axes of size 1, so that the innermost
/// loop is as long as possible. Results lie in rooms: their axes merge where they lie in one piece.
fn collapse(
    space: &[Dim],
    shapes: &[Vec<Dim>],
    rooms: &[Vec<Dim>],
) -> (Vec<Dim>, Vec<Vec<Dim>>, Vec<Vec<Dim>>) {
    let one = Dim::Fixed(1);
    let at = |s: &Vec<Dim>, axis: usize| -> Dim {
        let skip = space.len() - s.len();
        if axis < skip {
            one.clone()
        } else {
            s[axis - skip].clone()
        }
    };
    let mut out: Vec<Dim> = vec![];
    let mut outs: Vec<Vec<Dim>> = vec![vec![]; shapes.len()];
    let mut places: Vec<Vec<Dim>> = vec![vec![]; rooms.len()];
    for (axis, d) in space.iter().enumerate() {
        let whole = rooms.iter().all(|r| r[axis] == *d);
        if *d == one && whole {
            continue;
        }
        // Mergeable with the axis before it if no operand changes between having and broadcasting.
        let merge = whole
            && out.last().is_some_and(|last| {
                shapes.iter().zip(&outs).all(|(s, o)| {
                    let own = at(s, axis);
                    match o.last() {
                        Some(p) => (own == *d && p == last) || (own == one && *p == one),
                        None => false,
                    }
                })
            });
        if merge && let Some(last) = out.last_mut() {
            *last = last.clone() * d.clone();
            for (s, o) in shapes.iter().zip(&mut outs) {
                if at(s, axis) != one
                    && let Some(p) = o.last_mut()
                {
                    *p = last.clone();
                }
            }
            for p in places.iter_mut().filter_map(|p| p.last_mut()) {
                *p = p.clone() * d.clone();
            }
        } else {
            out.push(d.clone());
            for (s, o) in shapes.iter().zip(&mut outs) {
                o.push(at(s, axis));
            }
            for (r, p) in rooms.iter().zip(&mut places) {
                p.push(r[axis].clone());
            }
        }
    }
    (out, outs, places)
}
