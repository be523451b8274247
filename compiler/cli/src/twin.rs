//! Runs the twin of a region in this process while a model is compiled: its answers become the region's golden vector.
//!
//! The code is that of this machine's base level, so that it runs wherever the tool does. Integers have the same bits on every CPU: what is
//! written into an object does not depend on the host.

use onnxc_compiler::base::diag::{Diagnostics, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::npu::Twin;
use onnxc_compiler::target::Target;
use onnxc_compiler::{Options, Quiet};
use onnxc_targets::flags::Selection;
use onnxc_targets::{machine, native, triple};

use crate::engine::Engine;
use crate::machine::Machine;

/// This process.
#[derive(Debug)]
pub struct Here;

impl Twin for Here {
    fn run(&self, body: &Model, inputs: &[Tensor]) -> Result<Option<Vec<Tensor>>> {
        let Some(target) = here() else {
            return Ok(None);
        };
        let (options, mut diags) = (Options::default(), Diagnostics::default());
        let artifact = onnxc_compiler::plan(body, &target, &options, &mut diags).and_then(|p| {
            let model = body.clone();
            onnxc_compiler::emit(model, p, &target, &options, &mut Quiet, &mut diags)
        });
        let Some(artifact) = artifact else {
            return Ok(None);
        };
        let machine = Machine {
            target,
            host: true,
            levels: vec![],
        };
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        Engine::new(&artifact, &machine, None)?
            .run(&inputs)
            .map(Some)
    }
}

/// The base level of this machine, if code can be made for it.
fn here() -> Option<Target> {
    let triple = triple::Target::host().ok()?;
    let arch = native::arch().filter(|&a| a == triple.arch)?;
    Some(machine::target(&triple, &Selection::base(arch)))
}
