//! The upper IR: nodes over values, in flat arenas with typed ids.
//!
//! Invariants, held by the editing methods here and checked by `verify`:
//! - `order` lists the live nodes, each after the makers of its inputs;
//! - every value knows its users, once per use; graph outputs are counted apart;
//! - bodies (of If, Loop, Scan) see nothing from outside: what they capture are explicit inputs of node and body.

use crate::base::attr::Attrs;
use crate::base::dim::{Dim, SymId, Symbols};
use crate::base::id::Arena;
use crate::base::offload::Offload;
use crate::base::tensor::Tensor;
use crate::base::types::{Quant, TensorType};
use crate::ids;
use crate::op::OpDef;
use std::fmt;
use std::sync::Arc;

ids! {
    /// A node of a graph.
    NodeId "n",
    /// A value of a graph.
    ValueId "v",
}

/// The ONNX nodes that a node came from: names for diagnostics, profiles and symbols. A fused node has several.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loc(pub Vec<Arc<str>>);

impl Loc {
    /// One ONNX node.
    pub fn one(name: &str) -> Loc {
        Loc(vec![Arc::from(name)])
    }
    /// All places of several nodes, in order, each once.
    pub fn join<'a>(locs: impl IntoIterator<Item = &'a Loc>) -> Loc {
        let mut out: Vec<Arc<str>> = vec![];
        for name in locs.into_iter().flat_map(|l| &l.0) {
            if !out.contains(name) {
                out.push(name.clone());
            }
        }
        Loc(out)
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("+"))
    }
}

/// A node: an operator applied to values.
#[derive(Clone)]
pub struct Node {
    /// Which operator.
    pub op: &'static OpDef,
    /// Its attributes in canonical form.
    pub attrs: Attrs,
    /// Bodies of If (then, else), Loop, Scan.
    pub bodies: Vec<Graph>,
    /// Inputs; `None` where an optional one is absent.
    pub ins: Vec<Option<ValueId>>,
    /// Outputs; those nobody uses are still values.
    pub outs: Vec<ValueId>,
    /// Where it came from.
    pub loc: Loc,
    /// Data-dependent sizes that it defines.
    pub syms: Vec<SymId>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Def {
    /// The graph's caller.
    Input,
    /// A literal.
    Const(Tensor),
    /// Output number of a node.
    Node(NodeId, usize),
}

/// A value.
#[derive(Clone, Debug)]
pub struct Value {
    /// A hint for people; empty if none.
    pub name: String,
    /// The type, once inferred.
    pub ty: Option<TensorType>,
    /// Where it comes from.
    pub def: Def,
    /// The elements of a small integer value as dimensions, where known.
    pub dims: Option<Vec<Dim>>,
    users: Vec<NodeId>,
}

/// A graph.
#[derive(Clone, Default)]
pub struct Graph {
    /// Name in the file.
    pub name: String,
    nodes: Arena<NodeId, Option<Node>>,
    values: Arena<ValueId, Value>,
    order: Vec<NodeId>,
    /// Inputs in order; each is a value defined as `Def::Input`.
    pub inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// Names of the outputs: they stay when another value takes the place of one.
    pub output_names: Vec<String>,
    /// What the numbers of inputs stand for, where that is known.
    pub input_quants: Vec<Option<Quant>>,
    /// The same of outputs.
    pub output_quants: Vec<Option<Quant>>,
}

/// A whole model.
#[derive(Clone, Default)]
pub struct Model {
    /// The main graph.
    pub graph: Graph,
    /// Bounded sizes.
    pub symbols: Symbols,
    /// What accelerators compute of it.
    pub offload: Offload,
    /// For each of the last outputs that are not the caller's, but values that who traces a run looks at where they were made: which axis of the value each
    /// axis of that memory is. Empty where all outputs are the caller's.
    pub watched: Vec<Vec<usize>>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph {
            name: name.to_string(),
            ..Graph::default()
        }
    }

    // Reading

    /// A live node. Ids of removed nodes must not be kept.
    pub fn node(&self, n: NodeId) -> &Node {
        self.nodes[n].as_ref().expect("a removed node")
    }
    /// A live node, to change attributes, bodies or location. Inputs change by [`Graph::set_input`].
    pub fn node_mut(&mut self, n: NodeId) -> &mut Node {
        self.nodes[n].as_mut().expect("a removed node")
    }
    /// The node if it is alive.
    pub fn get_node(&self, n: NodeId) -> Option<&Node> {
        self.nodes.get(n).and_then(Option::as_ref)
    }
    /// Live nodes in topological order.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }
    /// A value.
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v]
    }
    /// A value, to change name, type or contents.
    pub fn value_mut(&mut self, v: ValueId) -> &mut Value {
        &mut self.values[v]
    }
    /// All values ever made, in order of making.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter()
    }
    /// Number of values ever made.
    pub fn num_values(&self) -> usize {
        self.values.len()
    }
    /// Outputs in order; a value may stand there twice.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }
    /// Nodes that use a value, once per use, without graph outputs.
    pub fn users(&self, v: ValueId) -> &[NodeId] {
        &self.values[v].users
    }
    /// Whether the value is an output of the graph.
    pub fn is_output(&self, v: ValueId) -> bool {
        self.outputs.contains(&v)
    }
    /// Whether anything uses the value.
    pub fn is_used(&self, v: ValueId) -> bool {
        !self.values[v].users.is_empty() || self.is_output(v)
    }
    /// The literal, if the value is one.
    pub fn konst(&self, v: ValueId) -> Option<&Tensor> {
        match &self.values[v].def {
            Def::Const(t) => Some(t),
            _ => None,
        }
    }
    /// The node that makes the value, and which output it is.
    pub fn maker(&self, v: ValueId) -> Option<(NodeId, usize)> {
        match self.values[v].def {
            Def::Node(n, k) => Some((n, k)),
            _ => None,
        }
    }
    /// The inferred type.
    pub fn ty(&self, v: ValueId) -> Option<&TensorType> {
        self.values[v].ty.as_ref()
    }

    // Building and editing

    fn new_value(&mut self, name: &str, ty: Option<TensorType>, def: Def) -> ValueId {
        self.values.push(Value {
            name: name.to_string(),
            ty,
            def,
            dims: None,
            users: vec![],
        })
    }
    /// Adds an input.
    pub fn add_input(&mut self, name: &str, ty: Option<TensorType>) -> ValueId {
        let v = self.new_value(name, ty, Def::Input);
        self.inputs.push(v);
        v
    }
    /// Adds a literal.
    pub fn add_const(&mut self, name: &str, t: Tensor) -> ValueId {
        let ty = TensorType::of(&t);
        self.new_value(name, Some(ty), Def::Const(t))
    }
    /// Turns a value into a literal; its maker stays until it is removed as dead.
    pub fn make_const(&mut self, v: ValueId, t: Tensor) {
        self.values[v].ty = Some(TensorType::of(&t));
        self.values[v].def = Def::Const(t);
        self.values[v].dims = None;
    }
    /// Adds an output.
    pub fn add_output(&mut self, v: ValueId) {
        self.outputs.push(v);
        self.output_names.push(self.values[v].name.clone());
    }
    /// Replaces output number `k`.
    pub fn set_output(&mut self, k: usize, v: ValueId) {
        self.outputs[k] = v;
    }
    /// Drops output number `k`.
    pub fn remove_output(&mut self, k: usize) {
        self.outputs.remove(k);
        self.output_names.remove(k);
    }
    /// Appends a node with `outs` new output values.
    pub fn add_node(
        &mut self,
        op: &'static OpDef,
        attrs: Attrs,
        ins: Vec<Option<ValueId>>,
        outs: usize,
        loc: Loc,
    ) -> NodeId {
        self.insert_node(self.order.len(), op, attrs, ins, outs, loc)
    }
    /// Inserts a node before `before` in the order.
    pub fn add_before(
        &mut self,
        before: NodeId,
        op: &'static OpDef,
        attrs: Attrs,
        ins: Vec<Option<ValueId>>,
        outs: usize,
        loc: Loc,
    ) -> NodeId {
        let at = self.position(before);
        self.insert_node(at, op, attrs, ins, outs, loc)
    }
    /// Position of a live node in the order.
    pub fn position(&self, n: NodeId) -> usize {
        self.order
            .iter()
            .position(|&m| m == n)
            .unwrap_or(self.order.len())
    }
    fn insert_node(
        &mut self,
        at: usize,
        op: &'static OpDef,
        attrs: Attrs,
        ins: Vec<Option<ValueId>>,
        outs: usize,
        loc: Loc,
    ) -> NodeId {
        let n = self.nodes.push(None);
        for v in ins.iter().flatten() {
            self.values[*v].users.push(n);
        }
        let outs = (0..outs)
            .map(|k| self.new_value("", None, Def::Node(n, k)))
            .collect();
        self.nodes[n] = Some(Node {
            op,
            attrs,
            bodies: vec![],
            ins,
            outs,
            loc,
            syms: vec![],
        });
        self.order.insert(at, n);
        n
    }
    /// Replaces input `k` of a node (adding absent ones in between).
    pub fn set_input(&mut self, n: NodeId, k: usize, v: Option<ValueId>) {
        let old = {
            let ins = &mut self.nodes[n].as_mut().expect("a removed node").ins;
            if ins.len() <= k {
                ins.resize(k + 1, None);
            }
            std::mem::replace(&mut ins[k], v)
        };
        if let Some(old) = old {
            self.drop_use(old, n);
        }
        if let Some(v) = v {
            self.values[v].users.push(n);
        }
    }
    /// Drops input `k` of a node; later ones move down.
    pub fn remove_input(&mut self, n: NodeId, k: usize) {
        self.set_input(n, k, None);
        self.nodes[n]
            .as_mut()
            .expect("a removed node")
            .ins
            .remove(k);
    }
    fn drop_use(&mut self, v: ValueId, n: NodeId) {
        let users = &mut self.values[v].users;
        if let Some(i) = users.iter().position(|&u| u == n) {
            users.remove(i);
        }
    }
    /// Makes every user of `old`, and the graph's outputs, use `new`. The maker of `new` must stand before the users of `old`.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        for n in std::mem::take(&mut self.values[old].users) {
            for i in self.nodes[n]
                .as_mut()
                .expect("a removed node")
                .ins
                .iter_mut()
            {
                if *i == Some(old) {
                    *i = Some(new);
                }
            }
            self.values[new].users.push(n);
        }
        for o in &mut self.outputs {
            if *o == old {
                *o = new;
            }
        }
        if self.values[new].name.is_empty() {
            self.values[new].name = self.values[old].name.clone();
        }
    }
    /// Removes a node whose outputs nobody uses.
    pub fn remove_node(&mut self, n: NodeId) {
        debug_assert!(
            self.node(n)
                .outs
                .iter()
                .all(|&v| !self.is_used(v) || self.maker(v).is_none())
        );
        if let Some(node) = self.nodes[n].take() {
            for v in node.ins.into_iter().flatten() {
                self.drop_use(v, n);
            }
        }
        self.order.retain(|&m| m != n);
    }
    /// Removes many nodes at once, in time linear in the graph.
    pub fn remove_nodes(&mut self, dead: &[NodeId]) {
        for &n in dead {
            if let Some(node) = self.nodes[n].take() {
                for v in node.ins.into_iter().flatten() {
                    self.drop_use(v, n);
                }
            }
        }
        let nodes = &self.nodes;
        self.order.retain(|&m| nodes[m].is_some());
    }
    /// Replaces the order; it must list the live nodes, each after the makers of its inputs.
    pub fn set_order(&mut self, order: Vec<NodeId>) {
        debug_assert_eq!(order.len(), self.order.len());
        self.order = order;
    }
    /// `node "name" (Operator)`.
    pub fn describe(&self, n: NodeId) -> String {
        let node = self.node(n);
        format!("node \"{}\" ({})", node.loc, node.op.name)
    }
}
