//! Cases of a reference archive: `c{k}_in{i}` and `c{k}_out{i}`, numbered as the model's inputs and outputs are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;

use crate::data::bad_data;
use crate::data::npz::Npz;

/// Cases in an archive.
pub struct Cases {
    archives: Vec<Npz>,
    path: String,
    /// For each case, which inputs and outputs there are.
    found: BTreeMap<usize, (Vec<usize>, Vec<usize>)>,
}

/// One case: data for every input, and the outputs there are references for.
pub struct Case {
    /// Its number.
    pub number: usize,
    /// In the order of the model's inputs.
    pub inputs: Vec<Tensor>,
    /// Number of the output, and its reference.
    pub outputs: Vec<(usize, Tensor)>,
}

impl Cases {
    /// Opens archives and looks what is in them. An array in several is taken from the last.
    pub fn open(paths: &[PathBuf]) -> Result<Cases> {
        let archives = paths
            .iter()
            .map(|p| Npz::open(p))
            .collect::<Result<Vec<_>>>()?;
        let mut found: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for name in archives.iter().flat_map(Npz::names) {
            if let Some((case, port, output)) = read_name(&name) {
                let entry = found.entry(case).or_default();
                if output {
                    entry.1.push(port);
                } else {
                    entry.0.push(port);
                }
            }
        }
        for (inputs, outputs) in found.values_mut() {
            for list in [inputs, outputs] {
                list.sort_unstable();
                list.dedup();
            }
        }
        let path: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        let path = path.join("`, `");
        if found.is_empty() {
            return Err(bad_data(
                format!("`{path}`"),
                "it has no arrays named c0_in0, c0_out0, ..",
            ));
        }
        Ok(Cases {
            archives,
            path,
            found,
        })
    }

    /// Numbers of the cases.
    pub fn numbers(&self) -> Vec<usize> {
        self.found.keys().copied().collect()
    }

    /// Reads a case for a model with so many inputs and outputs.
    pub fn get(&mut self, number: usize, inputs: usize, outputs: usize) -> Result<Case> {
        let what = format!("`{}`, case {number}", self.path);
        let Some((ins, outs)) = self.found.get(&number).cloned() else {
            return Err(bad_data(what, "there is no such case"));
        };
        if ins.len() != inputs || ins.last().is_some_and(|i| *i >= inputs) {
            return Err(bad_data(
                what,
                format!("it has {} inputs, but the model takes {inputs}", ins.len()),
            ));
        }
        if outs.last().is_some_and(|o| *o >= outputs) {
            return Err(bad_data(
                what,
                format!("it has more outputs than the {outputs} of the model"),
            ));
        }
        let mut case = Case {
            number,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for i in ins {
            case.inputs.push(self.array(&format!("c{number}_in{i}"))?);
        }
        for o in outs {
            let name = format!("c{number}_out{o}");
            case.outputs.push((o, self.array(&name)?));
        }
        Ok(case)
    }

    fn array(&mut self, name: &str) -> Result<Tensor> {
        match self.archives.iter_mut().rev().find(|a| a.has(name)) {
            Some(archive) => archive.get(name),
            None => Err(bad_data(
                format!("`{}`", self.path),
                format!("it has no `{name}`"),
            )),
        }
    }
}

/// `c2_out1` is case 2, port 1, an output.
fn read_name(name: &str) -> Option<(usize, usize, bool)> {
    let (case, port) = name.strip_prefix('c')?.split_once('_')?;
    let (port, output) = match port.strip_prefix("out") {
        Some(p) => (p, true),
        None => (port.strip_prefix("in")?, false),
    };
    Some((case.parse().ok()?, port.parse().ok()?, output))
}

#[cfg(test)]
#[test]
fn names() {
    assert_eq!(read_name("c0_in0"), Some((0, 0, false)));
    assert_eq!(read_name("c12_out3"), Some((12, 3, true)));
    assert_eq!(read_name("cx_in0"), None);
    assert_eq!(read_name("labels"), None);
}
