//! A made-up input of a region and what its twin gives for it, for the self-test when a device loads the region.
//!
//! The numbers are a fixed sequence of bytes and the answers come from the interpreter, so they are the same on every host.

use crate::base::diag::Result;
use crate::base::dim::Symbols;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, Model};
use crate::kernel::Machine;
use crate::plan;
use bytes::Bytes;

/// Multiply-accumulates up to which answers are worked out: the interpreter takes seconds for more.
const MOST_MACS: u64 = 40_000_000;

/// Inputs and outputs; none where that would take too long.
#[allow(clippy::type_complexity)]
pub fn make(body: &Graph, symbols: &Symbols, macs: u64) -> Result<Option<(Vec<Bytes>, Vec<Bytes>)>> {
    if macs > MOST_MACS {
        return Ok(None);
    }
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut ins = vec![];
    for &v in &body.inputs {
        let Some((ty, shape)) = body.ty(v).and_then(|t| Some((t, t.fixed_shape()?))) else {
            return Ok(None);
        };
        let n = shape.iter().product::<i64>().max(0) as usize * ty.dtype.size();
        let bytes: Vec<u8> = (0..n)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as u8
            })
            .collect();
        ins.push(Tensor::new(ty.dtype, shape, bytes.into())?);
    }
    let model = Model {
        graph: body.clone(),
        symbols: symbols.clone(),
        ..Model::default()
    };
    let machine = Machine {
        lanes: 1,
        ..Machine::default()
    };
    let options = plan::build::Options {
        check: false,
        ..Default::default()
    };
    let Ok(program) = plan::build::build(&model, &machine, &options) else {
        return Ok(None);
    };
    let outs = match plan::run::run(&program, &ins, &mut |_, _| {})? {
        plan::run::Outcome::Done(outs) => outs,
        plan::run::Outcome::Status(_) => return Ok(None),
    };
    let bytes = |l: Vec<Tensor>| l.into_iter().map(|t| t.data).collect();
    Ok(Some((bytes(ins), bytes(outs))))
}
