//! The interpreter of programs: the oracle that compiled models are compared with, layer by layer.

use super::program::{Layer, Place, Program, Step};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Origin;
use crate::base::tensor::Tensor;
use crate::contracts::References;
use crate::loops::interp::{self, Env, Memory, Stop};

/// Told after each layer: the layer, and the bytes of each value it made, in the order of `Layer::makes`.
pub type Observe<'a> = &'a mut dyn FnMut(&Layer, &[Vec<u8>]);

/// How a run ended.
pub enum Outcome {
    /// The outputs.
    Done(Vec<Tensor>),
    /// A status code of the ABI.
    Status(i32),
}

/// Runs a program on inputs in its order. Symbolic sizes are read off the inputs' shapes.
pub fn run(p: &Program, inputs: &[Tensor], observe: Observe) -> Result<Outcome> {
    let mut syms = vec![0i64; p.symbols.len()];
    for (id, s) in p.symbols.iter() {
        if let Origin::Input { input, axis } = s.origin {
            let n = inputs
                .get(input)
                .and_then(|t| t.shape.get(axis))
                .copied()
                .unwrap_or(0);
            if n < s.lo || n > s.hi {
                return Ok(Outcome::Status(onnxc_abi::status::BAD_DIM));
            }
            syms[id.0 as usize] = n;
        }
    }
    if inputs.len() != p.inputs.len() {
        return Err(Diagnostic::usage(
            "USE004",
            format!(
                "{} inputs are given, the model has {}",
                inputs.len(),
                p.inputs.len()
            ),
        ));
    }
    for (t, port) in inputs.iter().zip(&p.inputs) {
        let shape: Vec<i64> = port.ty.shape.iter().map(|d| d.eval(&syms)).collect();
        if t.dtype != port.ty.dtype || t.shape != shape {
            return Err(Diagnostic::usage(
                "USE004",
                format!(
                    "input \"{}\" is {}{:?}, the model takes {}{shape:?}",
                    port.name, t.dtype, t.shape, port.ty.dtype
                ),
            ));
        }
    }
    let mut weights = vec![0u8; p.weights_bytes as usize];
    for (at, bytes) in &p.weights {
        weights[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
    }
    let mut m = Memories {
        arena: vec![0; p.arena_bytes as usize],
        weights,
        inputs: inputs.iter().map(|t| t.data.to_vec()).collect(),
        outputs: p
            .outputs
            .iter()
            .map(|o| vec![0; o.ty.max_bytes(&p.symbols).max(0) as usize])
            .collect(),
    };
    let references = References::default();
    let env = Env {
        symbols: &p.symbols,
        callees: &references,
        budget: None,
    };
    let mut run = Runner {
        p,
        env,
        syms,
        observe,
    };
    match run.steps(&p.steps, &mut m) {
        Ok(()) => {}
        Err(Stop::Status(code)) => return Ok(Outcome::Status(code)),
        Err(Stop::Size { .. }) => return Ok(Outcome::Status(onnxc_abi::status::LIMIT)),
        Err(Stop::Fault(what)) => {
            return Err(Diagnostic::internal(format!("interpreting: {what}")));
        }
    }
    let mut out = vec![];
    for (port, mut bytes) in p.outputs.iter().zip(m.outputs) {
        let shape: Vec<i64> = port.ty.shape.iter().map(|d| d.eval(&run.syms)).collect();
        bytes.truncate(shape.iter().product::<i64>().max(0) as usize * port.ty.dtype.size());
        out.push(Tensor::new(port.ty.dtype, shape, bytes.into())?);
    }
    Ok(Outcome::Done(out))
}

struct Memories {
    arena: Vec<u8>,
    weights: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Memories {
    fn of(&self, p: Place) -> (&[u8], usize) {
        let (bytes, at) = match p {
            Place::Arena(at) => (&self.arena, at),
            Place::Weights(at) => (&self.weights, at),
            Place::Input(k, at) => (&self.inputs[k as usize], at),
            Place::Output(k, at) => (&self.outputs[k as usize], at),
        };
        (bytes, at as usize)
    }
    fn i64(&self, p: Place) -> i64 {
        let (bytes, at) = self.of(p);
        bytes
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, i64::from_le_bytes)
    }
    fn bool(&self, p: Place) -> bool {
        let (bytes, at) = self.of(p);
        bytes.get(at).is_some_and(|&b| b != 0)
    }
}

struct Runner<'a> {
    p: &'a Program,
    env: Env<'a>,
    syms: Vec<i64>,
    observe: Observe<'a>,
}

impl Runner<'_> {
    fn steps(&mut self, steps: &[Step], m: &mut Memories) -> std::result::Result<(), Stop> {
        for s in steps {
            match s {
                Step::Layer(l) => self.layer(&self.p.layers[*l], m)?,
                Step::If { cond, then, els } => {
                    let side = if m.bool(*cond) { then } else { els };
                    self.steps(side, m)?;
                }
                Step::Loop {
                    trips,
                    max_trips,
                    cond,
                    iter,
                    body,
                } => {
                    let want = trips.map_or(i64::MAX, |t| m.i64(t));
                    let mut round = 0i64;
                    loop {
                        self.set_i64(*iter, round, m);
                        if round >= want || cond.is_some_and(|c| !m.bool(c)) {
                            break;
                        }
                        if round >= *max_trips {
                            return Err(Stop::Status(onnxc_abi::status::LIMIT));
                        }
                        self.steps(body, m)?;
                        round += 1;
                    }
                }
                // The interpreter has no devices: the twin says what a region means.
                Step::Offload { twin, .. } => self.steps(twin, m)?,
                Step::Fail(code) => return Err(Stop::Status(*code)),
            }
        }
        Ok(())
    }

    fn set_i64(&self, p: Place, v: i64, m: &mut Memories) {
        if let Place::Arena(at) = p
            && let Some(b) = m.arena.get_mut(at as usize..at as usize + 8)
        {
            b.copy_from_slice(&v.to_le_bytes());
        }
    }

    fn layer(&mut self, layer: &Layer, m: &mut Memories) -> std::result::Result<(), Stop> {
        let func = &self.p.funcs[layer.func];
        let mut memory = Memory::new();
        let arena = memory.region(&mut m.arena);
        let weights = memory.region(&mut m.weights);
        let inputs: Vec<usize> = m.inputs.iter_mut().map(|b| memory.region(b)).collect();
        let outputs: Vec<usize> = m.outputs.iter_mut().map(|b| memory.region(b)).collect();
        for ((_, b), place) in func.bufs.iter().zip(&layer.args) {
            let (region, at) = match *place {
                Place::Arena(at) => (arena, at),
                Place::Weights(at) => (weights, at),
                Place::Input(k, at) => (inputs[k as usize], at),
                Place::Output(k, at) => (outputs[k as usize], at),
            };
            let bytes = b.len.eval(&self.syms).max(0) as usize * b.dtype.size();
            // A size that this very function defines is not known yet: then the bound stands.
            let bytes = if b.len.fixed().is_some() {
                bytes
            } else {
                b.len.bounds(&self.p.symbols).1.max(0) as usize * b.dtype.size()
            };
            memory.buffer(interp::Place {
                region,
                offset: at as usize,
                bytes,
            });
        }
        interp::run(func, &mut memory, &[], &mut self.syms, &self.env)?;
        let made: Vec<Vec<u8>> = layer
            .makes
            .iter()
            .map(|(_, ty, place)| {
                let (bytes, at) = m.of(*place);
                let n = ty
                    .shape
                    .iter()
                    .map(|d| d.eval(&self.syms))
                    .product::<i64>()
                    .max(0) as usize
                    * ty.dtype.size();
                bytes.get(at..at + n).unwrap_or(&[]).to_vec()
            })
            .collect();
        (self.observe)(layer, &made);
        Ok(())
    }
}
