//! Names and what they stand for: the graph, bodies inside it, and functions being inlined.
//!
//! A body sees the names around it; what it uses from there becomes an explicit input of the body (a capture), or a
//! copy where it is a literal. A function sees nothing but its own inputs, and its nodes go into the graph of its caller.

use super::proto::AttributeProto;
use crate::base::id::Id;
use crate::graph::ir::{Graph, ValueId};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Binding {
    /// A tensor.
    Tensor(ValueId),
    /// A list whose length is known while importing.
    Sequence(Vec<ValueId>),
    /// A list whose elements stand along the first axis of a tensor; how many there are may be known at run time alone.
    Stacked(ValueId),
    /// In the body of a loop that carries a list: what this round appended so far.
    Growing(Vec<ValueId>),
    /// A map from labels for each row of a matrix, whose columns are those of the labels.
    Maps(ValueId),
    /// Texts of a list, given by their places in it.
    Texts(ValueId),
    /// An optional value that holds nothing.
    Nothing,
    /// The output of a node that was refused: nothing more is said about it.
    Broken,
}

/// Imported operator sets: domain to version.
pub type Opsets = Rc<BTreeMap<String, i64>>;

/// A graph being made.
#[derive(Default)]
pub struct Body {
    /// The graph.
    pub graph: Graph,
    /// Values of the graph around it that it uses, with the inputs made for them, in order of first use.
    pub captures: Vec<(ValueId, ValueId)>,
    /// Values of the graph around it whose types the body's own inputs start with.
    pub feeds: Vec<(ValueId, ValueId)>,
    known: BTreeMap<u32, ValueId>,
    /// Nodes of `graph` whose types were inferred already.
    pub inferred: usize,
}

impl Body {
    /// An empty graph.
    pub fn new(name: &str) -> Body {
        Body {
            graph: Graph::new(name),
            ..Body::default()
        }
    }
}

/// One level of names.
pub struct Scope<'m> {
    /// What is defined here.
    pub names: BTreeMap<String, Binding>,
    /// The graph, unless this is a function.
    pub body: Option<Body>,
    /// Operator sets that nodes here use.
    pub opsets: Opsets,
    /// Attributes of the function call.
    pub attrs: BTreeMap<&'m str, &'m AttributeProto>,
    /// Put before node names: where this is.
    pub path: String,
    /// Domain, name and overload of the function.
    pub function: Option<(&'m str, &'m str, &'m str)>,
}

/// All levels, innermost last.
pub struct Scopes<'m>(pub Vec<Scope<'m>>);

impl<'m> Scopes<'m> {
    /// The innermost level.
    pub fn top(&mut self) -> &mut Scope<'m> {
        self.0.last_mut().expect("importing happens in a scope")
    }
    fn graph_index(&self, level: usize) -> usize {
        (0..=level)
            .rev()
            .find(|&i| self.0[i].body.is_some())
            .expect("the outermost scope is a graph")
    }
    /// The innermost graph.
    pub fn body(&mut self) -> &mut Body {
        let i = self.graph_index(self.0.len() - 1);
        self.0[i].body.as_mut().expect("just found")
    }
    /// The innermost graph.
    pub fn graph(&mut self) -> &mut Graph {
        &mut self.body().graph
    }
    /// What `name` stands for in the innermost scope.
    pub fn resolve(&mut self, name: &str) -> Option<Binding> {
        self.resolve_at(self.0.len() - 1, name)
    }
    fn resolve_at(&mut self, level: usize, name: &str) -> Option<Binding> {
        if let Some(b) = self.0[level].names.get(name) {
            return Some(b.clone());
        }
        if level == 0 || self.0[level].body.is_none() {
            return None;
        }
        let outside = self.resolve_at(level - 1, name)?;
        let here = match outside {
            Binding::Tensor(v) => Binding::Tensor(self.capture(level, v)),
            Binding::Sequence(vs) => {
                Binding::Sequence(vs.into_iter().map(|v| self.capture(level, v)).collect())
            }
            Binding::Stacked(v) => Binding::Stacked(self.capture(level, v)),
            Binding::Maps(v) => Binding::Maps(self.capture(level, v)),
            Binding::Texts(v) => Binding::Texts(self.capture(level, v)),
            // A body inside the loop's can't append.
            Binding::Growing(_) => Binding::Growing(vec![]),
            b => b,
        };
        self.0[level].names.insert(name.to_string(), here.clone());
        Some(here)
    }
    /// Value `v` of the graph around body `level`, in the body.
    fn capture(&mut self, level: usize, v: ValueId) -> ValueId {
        let outer = self.graph_index(level - 1);
        let (before, after) = self.0.split_at_mut(level);
        let outer = &before[outer].body.as_ref().expect("a graph").graph;
        let body = after[0].body.as_mut().expect("only bodies capture");
        let key = v.index() as u32;
        if let Some(&here) = body.known.get(&key) {
            return here;
        }
        let value = outer.value(v);
        let here = match outer.konst(v) {
            Some(t) => body.graph.add_const(&value.name, t.clone()),
            None => {
                let here = body.graph.add_input(&value.name, value.ty.clone());
                body.graph.value_mut(here).dims = value.dims.clone();
                body.captures.push((v, here));
                here
            }
        };
        body.known.insert(key, here);
        here
    }
}
