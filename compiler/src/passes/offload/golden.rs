//! A made-up input of a region and what its twin gives for it, for the self-test when a device loads the region.
//!
//! The numbers are a fixed sequence of bytes, and the answers those of the interpreter or of whoever has its bits, so they are the same on every host.

use crate::base::diag::Result;
use crate::base::dim::Symbols;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, Model};
use crate::kernel::Machine;
use crate::npu::Request;
use crate::plan;
use bytes::Bytes;
use onnxc_abi::region::golden_next;

/// Where the sequence begins.
const SEED: u32 = 0x6f6e_7863;

/// Seed and outputs; none where the body can't be planned or ends with a status, and where nobody but the interpreter could work them out and would take
/// too long for so many multiply-accumulates.
pub fn make(
    body: &Graph,
    symbols: &Symbols,
    macs: u64,
    request: &Request,
) -> Result<Option<(u32, Vec<Bytes>)>> {
    let mut state = SEED;
    let mut ins = vec![];
    for &v in &body.inputs {
        let Some((ty, shape)) = body.ty(v).and_then(|t| Some((t, t.fixed_shape()?))) else {
            return Ok(None);
        };
        let n = shape.iter().product::<i64>().max(0) as usize * ty.dtype.size();
        let bytes: Vec<u8> = (0..n)
            .map(|_| {
                state = golden_next(state);
                (state >> 24) as u8
            })
            .collect();
        ins.push(Tensor::new(ty.dtype, shape, bytes.into())?);
    }
    let model = Model {
        graph: body.clone(),
        symbols: symbols.clone(),
        ..Model::default()
    };
    let made = |outs: Vec<Tensor>| Some((SEED, outs.into_iter().map(|t| t.data).collect()));
    // Floats have the interpreter's bits nowhere else.
    let whole = (body.outputs().iter()).all(|&v| body.ty(v).is_some_and(|t| !t.dtype.is_float()));
    if let Some(twin) = request.twin.as_ref().filter(|_| whole)
        && let Some(outs) = twin.run(&model, &ins)?
    {
        return Ok(made(outs));
    }
    if macs > request.golden_macs {
        return Ok(None);
    }
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
    Ok(made(outs))
}
