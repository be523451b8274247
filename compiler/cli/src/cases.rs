//! Cases of a reference archive: `c{k}_in{i}` and `c{k}_out{i}`, numbered as the model's inputs and outputs are.

use std::collections::BTreeMap;
use std::path::Path;

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;

use crate::data::bad_data;
use crate::data::npz::Npz;

/// Cases in an archive.
pub struct Cases {
    npz: Npz,
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
    /// Opens an archive and looks what is in it.
    pub fn open(path: &Path) -> Result<Cases> {
        let npz = Npz::open(path)?;
        let mut found: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for name in npz.names() {
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
            inputs.sort_unstable();
            outputs.sort_unstable();
        }
        let path = path.display().to_string();
        if found.is_empty() {
            return Err(bad_data(
                format!("`{path}`"),
                "it has no arrays named c0_in0, c0_out0, ..",
            ));
        }
        Ok(Cases { npz, path, found })
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
            case.inputs.push(self.npz.get(&format!("c{number}_in{i}"))?);
        }
        for o in outs {
            case.outputs
                .push((o, self.npz.get(&format!("c{number}_out{o}"))?));
        }
        Ok(case)
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
