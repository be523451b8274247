//! Functions of the model: their bodies take the place of their calls.

use super::import::{Importer, hint, plain_domain};
use super::proto::{FunctionProto, NodeProto};
use super::scope::{Binding, Scope};
use crate::base::diag::{Diagnostic, Result};
use std::collections::BTreeMap;
use std::rc::Rc;

impl<'m> Importer<'m> {
    /// The model's function for an operator.
    pub fn find_function(
        &self,
        domain: &str,
        name: &str,
        overload: &str,
    ) -> Option<&'m FunctionProto> {
        self.functions.get(&(domain, name, overload)).copied()
    }

    /// Inlines a call.
    pub fn inline(
        &mut self,
        f: &'m FunctionProto,
        call: &'m NodeProto,
        mut ins: Vec<Option<Binding>>,
        name: String,
    ) -> Result<Option<Vec<Binding>>> {
        let key = (
            plain_domain(&f.domain),
            f.name.as_str(),
            f.overload.as_str(),
        );
        if self.scopes.0.iter().any(|s| s.function == Some(key)) {
            return Err(Diagnostic::model(
                "ONNX003",
                format!("function `{}` calls itself", hint(&f.name)),
            ));
        }
        self.check_depth()?;
        self.spend(f.input.len() + f.output.len() + f.attribute_proto.len())?;
        if ins.len() > f.input.len() {
            return Err(Diagnostic::model(
                "ONNX009",
                format!(
                    "function `{}` takes {} inputs",
                    hint(&f.name),
                    f.input.len()
                ),
            ));
        }
        ins.resize(f.input.len(), None);
        // Defaults, then what the caller gives; what the caller takes from its own caller is resolved there.
        let mut attrs = BTreeMap::new();
        for a in &f.attribute_proto {
            attrs.insert(a.name.as_str(), a);
        }
        for a in &call.attribute {
            let source = if a.ref_attr_name.is_empty() {
                Some(a)
            } else {
                self.enclosing_attr(&a.ref_attr_name)
            };
            let declared =
                f.attribute.contains(&a.name) || f.attribute_proto.iter().any(|d| d.name == a.name);
            if !declared {
                return Err(Diagnostic::model(
                    "ONNX009",
                    format!(
                        "function `{}` has no attribute `{}`",
                        hint(&f.name),
                        hint(&a.name)
                    ),
                ));
            }
            if let Some(s) = source {
                attrs.insert(a.name.as_str(), s);
            }
        }
        let own = self.opsets(&f.opset_import);
        // A domain that the function forgets to import has the version that the caller uses.
        let mut opsets = (*self.scopes.top().opsets).clone();
        opsets.extend(own.iter().map(|(k, v)| (k.clone(), *v)));
        let mut names = BTreeMap::new();
        for (n, b) in f.input.iter().zip(ins) {
            if let Some(b) = b {
                names.insert(n.clone(), b);
            }
        }
        self.scopes.0.push(Scope {
            names,
            body: None,
            opsets: Rc::new(opsets),
            attrs,
            path: hint(&format!("{name}/")),
            function: Some(key),
        });
        // Optional inputs that are not given are absent inside, not undefined.
        let absent: Vec<&str> = f
            .input
            .iter()
            .map(String::as_str)
            .filter(|n| {
                !self
                    .scopes
                    .0
                    .last()
                    .is_some_and(|s| s.names.contains_key(*n))
            })
            .collect();
        for n in absent {
            self.scopes
                .top()
                .names
                .insert(n.to_string(), Binding::Nothing);
        }
        self.nodes(&f.node);
        let mut missing = None;
        let mut out = vec![];
        for o in &f.output {
            out.push(match self.scopes.resolve(o) {
                Some(b) => b,
                None => {
                    missing.get_or_insert(o);
                    Binding::Broken
                }
            });
        }
        self.scopes.0.pop();
        match missing {
            Some(o) if !self.halted => Err(Diagnostic::model(
                "ONNX003",
                format!(
                    "function `{}` never makes its output `{}`",
                    hint(&f.name),
                    hint(o)
                ),
            )),
            _ => Ok(Some(out)),
        }
    }

    fn enclosing_attr(&self, name: &str) -> Option<&'m super::proto::AttributeProto> {
        self.scopes
            .0
            .iter()
            .rev()
            .find(|s| s.function.is_some())
            .and_then(|s| s.attrs.get(name).copied())
    }

    /// An error where bodies and calls are nested too deep.
    pub fn check_depth(&mut self) -> Result<()> {
        let limit = self.options.limits.max_depth;
        if self.scopes.0.len() > limit {
            return Err(Diagnostic::limit(
                "ONNX006",
                format!("bodies and functions are nested more than {limit} deep"),
            ));
        }
        Ok(())
    }
}
