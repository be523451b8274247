//! From the bytes of a file to a graph: decoding, versions, constants, inputs, outputs.

use super::external::{External, Files};
use super::inputs::kind_name;
use super::options::ImportOptions;
use super::order;
use super::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeValue,
};
use super::scope::{Binding, Body, Opsets, Scope, Scopes};
use super::tensor::TensorReader;
use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::Symbols;
use crate::base::types::TensorType;
use crate::graph::ir::{Loc, Model, ValueId};
use crate::op::LATEST;
use crate::ops;
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// IR versions that are understood.
pub const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;

/// Operator sets that are understood: domain, oldest, newest.
pub const OPSETS: &[(&str, i64, i64)] = &[
    ("", 1, LATEST),
    ("ai.onnx.ml", 1, 5),
    ("com.microsoft", 1, 1),
];

/// Names longer than this are cut where they are mere hints.
const MAX_HINT: usize = 200;

/// Reads the model in `bytes`. `None` if `diags` holds an error; remarks and warnings may come with a model.
pub fn import(
    bytes: Bytes,
    files: &dyn Files,
    options: &ImportOptions,
    diags: &mut Diagnostics,
) -> Option<Model> {
    let size = bytes.len();
    let model = diags.take(decode(bytes, options))?;
    let mut im = Importer::new(files, options, &model, size);
    im.run(&model);
    diags.list.append(&mut im.diags.list);
    if diags.has_errors() {
        return None;
    }
    Some(Model {
        graph: im.scopes.0.pop()?.body?.graph,
        symbols: im.symbols,
        ..Model::default()
    })
}

/// The file as messages.
pub fn decode(bytes: Bytes, options: &ImportOptions) -> Result<ModelProto> {
    let limit = options.limits.max_model_size;
    if bytes.len() as u64 > limit {
        return Err(Diagnostic::limit(
            "ONNX006",
            format!("the model has {} bytes, more than {limit}", bytes.len()),
        )
        .help("--max-model-size raises the limit"));
    }
    // What a checkout has in place of a large file.
    let pointer = bytes.starts_with(b"version https://git-lfs.github.com/spec/");
    let help = match (pointer, bytes.is_empty()) {
        (true, _) => "it is a pointer of Git LFS: `git lfs pull` brings the model itself",
        (false, true) => "the file is empty",
        (false, false) => {
            "it is no ONNX file, or not all of it: compare its size with the original's"
        }
    };
    super::wire::check(&bytes, options)?;
    let model = ModelProto::decode(bytes).map_err(|e| {
        let text = e.to_string();
        if text.contains("recursion") {
            Diagnostic::limit("ONNX006", "the file's messages are nested too deep")
        } else {
            Diagnostic::model("ONNX001", text).help(help)
        }
    })?;
    if model.graph.is_none() {
        return Err(Diagnostic::model("ONNX001", "the file holds no graph").help(help));
    }
    Ok(model)
}

/// One import.
pub struct Importer<'m> {
    pub(super) options: &'m ImportOptions,
    pub(super) reader: TensorReader<'m>,
    pub(super) diags: Diagnostics,
    pub(super) symbols: Symbols,
    pub(super) scopes: Scopes<'m>,
    pub(super) functions: BTreeMap<(&'m str, &'m str, &'m str), &'m FunctionProto>,
    /// Node names in use: each is given once.
    taken: BTreeSet<String>,
    nodes: usize,
    work: usize,
    max_work: usize,
    pub(super) halted: bool,
}

impl<'m> Importer<'m> {
    fn new(
        files: &'m dyn Files,
        options: &'m ImportOptions,
        model: &'m ModelProto,
        size: usize,
    ) -> Self {
        let functions = model
            .functions
            .iter()
            .map(|f| {
                let key = (
                    plain_domain(&f.domain),
                    f.name.as_str(),
                    f.overload.as_str(),
                );
                (key, f)
            })
            .collect();
        Importer {
            options,
            reader: TensorReader {
                external: External::new(files),
                max_elements: options.limits.max_tensor_elements,
                budget: options.limits.max_memory,
            },
            diags: Diagnostics::default(),
            symbols: Symbols::default(),
            scopes: Scopes(vec![]),
            functions,
            taken: BTreeSet::new(),
            nodes: 0,
            work: 0,
            // Every byte of the file may cost something once; what functions repeat is bounded by the nodes.
            max_work: options
                .limits
                .max_nodes
                .saturating_mul(100)
                .saturating_add(size.saturating_mul(2)),
            halted: false,
        }
    }

    fn run(&mut self, model: &'m ModelProto) {
        if !IR_VERSIONS.contains(&model.ir_version) {
            self.diags.push(
                Diagnostic::unsupported(
                    "ONNX002",
                    format!("IR version {} is not supported", model.ir_version),
                )
                .help("versions 3 to 13 are"),
            );
        }
        let opsets = self.opsets(&model.opset_import);
        let Some(g) = &model.graph else { return };
        self.scopes.0.push(Scope {
            names: BTreeMap::new(),
            body: Some(Body::new(&hint(&g.name))),
            opsets,
            attrs: BTreeMap::new(),
            path: String::new(),
            function: None,
        });
        // A default that the user gives a shape for is an input after all.
        let named: BTreeSet<&str> = self.options.inputs.iter().map(|i| i.0.as_str()).collect();
        let inputs: BTreeSet<&str> = g.input.iter().map(|i| i.name.as_str()).collect();
        let mut wanted: BTreeSet<&str> = inputs.intersection(&named).copied().collect();
        wanted.extend(self.options.constants.iter().map(|c| c.0.as_str()));
        let mut frozen = self.constants(g, &wanted);
        frozen.extend(self.fixed_inputs(g));
        self.declare_inputs(g, &frozen);
        self.nodes(&g.node);
        self.outputs(g);
        self.check_declared(g);
    }

    /// Checks the operator sets that a model or function imports.
    pub fn opsets(&mut self, imports: &'m [OperatorSetIdProto]) -> Opsets {
        let mut out: BTreeMap<String, i64> = BTreeMap::new();
        for o in imports {
            let domain = plain_domain(&o.domain);
            let shown = if domain.is_empty() { "ai.onnx" } else { domain };
            if let Some(&old) = out.get(domain).filter(|v| **v != o.version) {
                self.diags.push(Diagnostic::model(
                    "ONNX002",
                    format!("{shown} is imported twice, as {old} and {}", o.version),
                ));
            }
            if let Some(&(_, lo, hi)) = OPSETS.iter().find(|r| r.0 == domain)
                && !(lo..=hi).contains(&o.version)
            {
                self.diags.push(
                    Diagnostic::unsupported(
                        "ONNX002",
                        format!("opset {} of {shown} is not supported", o.version),
                    )
                    .help(format!(
                        "opsets {lo} to {hi} are; onnx.version_converter changes the version"
                    )),
                );
            }
            out.insert(domain.to_string(), o.version);
        }
        Rc::new(out)
    }

    /// Binds the initializers of a graph, except those in `skip`; gives their names.
    pub fn constants(&mut self, g: &'m GraphProto, skip: &BTreeSet<&str>) -> BTreeSet<&'m str> {
        let mut names = BTreeSet::new();
        for t in &g.initializer {
            if skip.contains(t.name.as_str()) || self.spend_or_halt(1) {
                continue;
            }
            names.insert(t.name.as_str());
            let tensor = self.reader.read(t);
            self.bind_const(&t.name, tensor);
        }
        for t in &g.sparse_initializer {
            let name = t.values.as_ref().map_or("", |v| v.name.as_str());
            if skip.contains(name) || self.spend_or_halt(1) {
                continue;
            }
            names.insert(name);
            let tensor = self.reader.read_sparse(t);
            self.bind_const(name, tensor);
        }
        names
    }

    /// Binds the inputs that the caller gives as constants; gives their names.
    fn fixed_inputs(&mut self, g: &'m GraphProto) -> Vec<&'m str> {
        let options = self.options;
        let mut names = vec![];
        for (name, tensor) in &options.constants {
            let Some(input) = g.input.iter().find(|i| i.name == *name) else {
                self.diags.push(Diagnostic::usage(
                    "USE001",
                    format!("--const: no input `{name}` in this model"),
                ));
                continue;
            };
            let declared = match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
                Some(TypeValue::Tensor(t)) => t.elem_type,
                _ => tensor.dtype.onnx(),
            };
            if declared != tensor.dtype.onnx() {
                self.diags.push(Diagnostic::usage(
                    "USE004",
                    format!(
                        "--const {name}: the input has another type than {}",
                        tensor.dtype
                    ),
                ));
            }
            self.bind_const(&input.name, Ok(tensor.clone()));
            names.push(input.name.as_str());
        }
        names
    }

    fn bind_const(&mut self, name: &str, t: Result<crate::base::tensor::Tensor>) {
        let binding = match t {
            Ok(t) => Binding::Tensor(self.scopes.graph().add_const(&hint(name), t)),
            Err(d) => {
                self.diags.push(d);
                Binding::Broken
            }
        };
        self.define(name, binding, "an initializer");
    }

    /// Adds an input of the main graph.
    pub fn define_input(&mut self, name: &str, ty: Option<TensorType>) {
        let binding = match ty {
            Some(ty) => Binding::Tensor(self.scopes.graph().add_input(name, Some(ty))),
            None => Binding::Broken,
        };
        self.define(name, binding, "an input");
    }

    /// Gives a name its meaning; a second meaning is an error.
    pub fn define(&mut self, name: &str, b: Binding, what: &str) {
        if name.is_empty() {
            return;
        }
        if self.scopes.top().names.contains_key(name) {
            self.diags.push(Diagnostic::model(
                "ONNX003",
                format!("value `{name}` is made twice; the second time by {what}"),
            ));
            return;
        }
        self.scopes.top().names.insert(name.to_string(), b);
    }

    /// Imports a list of nodes in an order that can be evaluated.
    pub fn nodes(&mut self, nodes: &'m [NodeProto]) {
        let (order, cycle) = {
            let names = &self.scopes.top().names;
            order::sort(nodes, |n| names.contains_key(n))
        };
        if !cycle.is_empty() {
            let names: Vec<String> = cycle
                .iter()
                .take(20)
                .map(|&i| format!("\"{}\" ({})", local_name(&nodes[i], i), nodes[i].op_type))
                .collect();
            let more = if cycle.len() > 20 { " ..." } else { "" };
            self.diags.push(Diagnostic::model(
                "ONNX003",
                format!("nodes form a cycle: {}{more}", names.join(" -> ")),
            ));
            let mut left = vec![true; nodes.len()];
            order.iter().for_each(|&i| left[i] = false);
            for (n, _) in nodes.iter().zip(&left).filter(|x| *x.1) {
                for o in n.output.iter().filter(|o| !o.is_empty()) {
                    self.scopes
                        .top()
                        .names
                        .entry(o.clone())
                        .or_insert(Binding::Broken);
                }
            }
        }
        for i in order {
            if self.halted {
                return;
            }
            self.node(&nodes[i], i);
        }
    }

    fn outputs(&mut self, g: &'m GraphProto) {
        if g.output.is_empty() && !self.halted {
            self.diags
                .push(Diagnostic::model("ONNX003", "the graph has no outputs"));
        }
        for o in &g.output {
            let loc = format!("output \"{}\"", o.name);
            if self.without_texts(&o.name, &loc) {
                continue;
            }
            if let Some(t) = o.r#type.as_ref().and_then(|t| t.value.as_ref())
                && !matches!(t, TypeValue::Tensor(_))
            {
                self.diags.push(
                    Diagnostic::unsupported(
                        "ONNX014",
                        format!(
                            "{} can't be an output; only tensors can",
                            kind_name(o.r#type.as_ref())
                        ),
                    )
                    .at(loc),
                );
                continue;
            }
            match self.scopes.resolve(&o.name) {
                Some(Binding::Tensor(v)) => {
                    let v = self.named(v, &o.name);
                    self.scopes.graph().add_output(v);
                }
                Some(Binding::Broken) => {}
                Some(_) => self.diags.push(
                    Diagnostic::unsupported("ONNX014", "only tensors can be outputs").at(loc),
                ),
                // After a halt much is missing for one reason, which was told.
                None if self.halted => {}
                None => self
                    .diags
                    .push(Diagnostic::model("ONNX003", "the value is never made").at(loc)),
            }
        }
    }

    /// Makes an output of what classifiers say in texts, without the texts. `false`: it is no such value.
    fn without_texts(&mut self, name: &str, loc: &str) -> bool {
        let (v, text) = match self.scopes.resolve(name) {
            Some(Binding::Maps(v)) => (
                v,
                "the maps from labels are left out: the output is the matrix of their values, a column for each label",
            ),
            Some(Binding::Texts(v)) => (
                v,
                "the labels are texts: the output has their places among the labels of the classifier, from 0",
            ),
            _ => return false,
        };
        self.diags
            .push(Diagnostic::warning("ONNX014", text).at(loc));
        let v = self.named(v, name);
        self.scopes.graph().add_output(v);
        true
    }

    /// The value under an exact name: outputs are found by name. An `Identity` keeps two names of one value apart.
    fn named(&mut self, v: ValueId, name: &str) -> ValueId {
        let graph = self.scopes.graph();
        if graph.value(v).name == name {
            return v;
        }
        let taken = graph.is_output(v) || graph.maker(v).is_none();
        match ops::find("Identity").filter(|_| taken) {
            Some(identity) => {
                let loc = Loc::one(&hint(name));
                let n = graph.add_node(identity, Attrs::default(), vec![Some(v)], 1, loc);
                let out = graph.node(n).outs[0];
                graph.value_mut(out).name = name.to_string();
                out
            }
            None => {
                graph.value_mut(v).name = name.to_string();
                v
            }
        }
    }

    /// A node's place in the model, each name once.
    pub fn unique_name(&mut self, node: &NodeProto, index: usize) -> String {
        let path = &self.scopes.top().path;
        let base = hint(&format!("{path}{}", local_name(node, index)));
        let mut name = base.clone();
        let mut k = 1;
        while !self.taken.insert(name.clone()) {
            // Names of function calls repeat often: the count of all names makes the search short.
            name = format!("{base}_{}", if k == 1 { 1 } else { self.taken.len() + k });
            k += 1;
        }
        name
    }

    /// Counts a node; an error at the limit.
    pub fn count_node(&mut self) -> Result<()> {
        self.nodes += 1;
        let limit = self.options.limits.max_nodes;
        if self.nodes > limit {
            self.halted = true;
            return Err(Diagnostic::limit(
                "ONNX006",
                format!("the model has more than {limit} nodes after its functions are inlined"),
            )
            .help("--max-nodes raises the limit"));
        }
        Ok(())
    }

    /// Counts work that is not bounded by the number of nodes.
    pub fn spend(&mut self, n: usize) -> Result<()> {
        self.work = self.work.saturating_add(n);
        if self.work > self.max_work {
            self.halted = true;
            return Err(Diagnostic::limit(
                "ONNX006",
                "the model's functions and bodies expand to too much",
            )
            .help("--max-nodes raises the limit"));
        }
        Ok(())
    }

    /// The same where there is no node to blame; whether to stop.
    pub fn spend_or_halt(&mut self, n: usize) -> bool {
        if !self.halted
            && let Err(d) = self.spend(n)
        {
            self.diags.push(d);
        }
        self.halted
    }
}

/// `ai.onnx` is the empty domain.
pub fn plain_domain(d: &str) -> &str {
    if d == "ai.onnx" { "" } else { d }
}

/// The node's own name, or a stable made-up one.
pub fn local_name(node: &NodeProto, index: usize) -> String {
    match node.name.is_empty() {
        true => format!("{}_{index}", hint(&node.op_type)),
        false => hint(&node.name),
    }
}

/// A name that is a mere hint: cut, since inlining repeats it.
pub fn hint(name: &str) -> String {
    let mut end = name.len().min(MAX_HINT);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_string()
}
