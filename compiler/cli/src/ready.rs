//! A compiled model that stays loaded: its memory is set up once, and case after case runs in it.

use std::sync::Arc;

use onnxc_abi::status;
use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::compress::quantize::Seen;
use onnxc_compiler::plan::program::{Place, Program, Watched};

use crate::engine::{self, dims, failed_run};
use crate::loader::{Event, Model, Session, Threads};
use crate::machine::Machine;

/// What looks at watched values: which, and what a run holds of it.
pub type Look<'l> = &'l mut dyn FnMut(usize, &Seen) -> Result<()>;

/// A compiled model, and its memory once it has run.
pub struct Ready {
    /// What it is made of.
    pub artifact: Artifact,
    memory: Option<Memory>,
}

/// Dropped in this order: a session uses the threads.
struct Memory {
    session: Session<'static>,
    _threads: Option<Threads>,
}

impl Ready {
    /// Not loaded yet.
    pub fn new(artifact: Artifact) -> Ready {
        Ready {
            artifact,
            memory: None,
        }
    }

    /// Gives the memory back until the next run.
    pub fn rest(&mut self) {
        self.memory = None;
    }

    /// One run on this machine; inputs in the order of the program's. Watched values are looked at as they come.
    pub fn run(
        &mut self,
        machine: &Machine,
        inputs: &[&Tensor],
        look: Look,
    ) -> Result<Vec<Tensor>> {
        let (artifact, memory) = (&self.artifact, &mut self.memory);
        let session = match memory {
            Some(m) => &mut m.session,
            None => &mut memory.insert(load(artifact, machine)?).session,
        };
        session.set_dims(&dims(artifact, inputs)?);
        for (k, t) in inputs.iter().enumerate() {
            engine::put(session, k, t)?;
        }
        let p = &artifact.program;
        if p.watched.is_empty() {
            match session.run() {
                status::OK => {}
                status => return Err(failed_run(status)),
            }
        } else {
            watched(session, p, look)?;
        }
        let sizes = session.out_dims().to_vec();
        engine::outputs(artifact, &sizes, |k, n| session.output(k)?.get(..n))
    }
}

fn load(artifact: &Artifact, machine: &Machine) -> Result<Memory> {
    if !machine.host {
        return Err(engine::not_here(machine));
    }
    let model = Arc::new(Model::load(&artifact.object, &artifact.info.prefix)?);
    let threads = match artifact.info.threads {
        n @ 2.. => Some(Threads::new(n as usize)?),
        _ => None,
    };
    let weights = engine::weights(artifact);
    let hook = threads.as_ref().map(Threads::hook);
    Ok(Memory {
        session: model.keep(weights.as_deref(), hook)?,
        _threads: threads,
    })
}

/// One run, watched.
fn watched(session: &mut Session, p: &Program, look: Look) -> Result<()> {
    let mut by_layer: Vec<Vec<usize>> = vec![vec![]; p.layers.len()];
    for (k, w) in p.watched.iter().enumerate() {
        if let Some(list) = w.layer.and_then(|l| by_layer.get_mut(l.0 as usize)) {
            list.push(k);
        }
    }
    let (mut left, mut trouble) = (by_layer.iter().map(Vec::len).sum::<usize>(), None);
    let status = session.run_traced(&mut |event| {
        let list = by_layer.get(event.layer as usize);
        if event.begin || trouble.is_some() {
            return;
        }
        for &k in list.into_iter().flatten() {
            left = left.saturating_sub(1);
            let seen = show(p, &p.watched[k], &event, &mut |s| look(k, s));
            trouble = trouble.take().or(seen.err());
        }
    });
    match (trouble, status) {
        (Some(d), _) => Err(d),
        (_, status) if status != status::OK => Err(failed_run(status)),
        _ if left > 0 => Err(Diagnostic::internal("a watched value was not made")),
        _ => Ok(()),
    }
}

fn show(
    p: &Program,
    w: &Watched,
    event: &Event,
    look: &mut dyn FnMut(&Seen) -> Result<()>,
) -> Result<()> {
    let lost = || Diagnostic::internal("a watched value lies nowhere");
    let (memory, at) = match w.place {
        Place::Arena(at) => (event.arena, at),
        Place::Output(k, at) => (*event.outputs.get(k as usize).ok_or_else(lost)?, at),
        Place::Input(..) | Place::Weights(_) => return Err(lost()),
    };
    // The table of sizes is what the arena begins with.
    let table = event.arena.as_chunks::<8>().0;
    let symbols = table.iter().take(p.symbols.len());
    let symbols: Vec<i64> = symbols.map(|b| i64::from_le_bytes(*b)).collect();
    let shape: Vec<i64> = w.ty.shape.iter().map(|d| d.eval(&symbols)).collect();
    let bytes = shape.iter().try_fold(w.ty.dtype.size(), |n, d| {
        n.checked_mul(usize::try_from(*d).ok()?)
    });
    let rest = usize::try_from(at).ok().and_then(|at| memory.get(at..));
    let own = rest.zip(bytes).and_then(|(rest, n)| rest.get(..n));
    let own = own.ok_or_else(lost)?;
    let converted: Vec<[u8; 4]>;
    let values = match w.ty.dtype {
        DType::F32 => own.as_chunks::<4>().0,
        d => {
            let t = Tensor::new(d, shape.clone(), own.to_vec().into())?;
            let reals = t.to_f32s().unwrap_or_default();
            converted = reals.iter().map(|v| v.to_le_bytes()).collect();
            &converted
        }
    };
    look(&Seen {
        values,
        shape: &shape,
        order: &w.order,
    })
}
