//! What is known of a model once its code is made: fills a [`ModelInfo`].

use super::info::{LayerInfo, LevelInfo, ModelInfo, Port, PortQuant, c_names};
use super::quant;
use crate::Options;
use crate::codegen::Code;
use crate::graph::ir::Model;
use crate::loops::print::print;
use crate::plan::program::{ALIGN, Place, Port as ProgramPort, Program, Step};
use crate::target::Target;
use sha2::{Digest, Sha256};

/// Collects the facts.
pub fn info(
    model: &Model,
    p: &Program,
    code: &Code,
    target: &Target,
    options: &Options,
) -> ModelInfo {
    ModelInfo {
        prefix: options.prefix.clone(),
        model: model.graph.name.clone(),
        inputs: ports(p, &p.inputs, "input", |k| {
            quant::of(model.graph.input_quants.get(k))
        }),
        outputs: ports(p, &p.outputs, "output", |k| {
            quant::of(model.graph.output_quants.get(k))
        }),
        symbols: p.symbols.clone(),
        arena_bytes: p.arena_bytes,
        arena_align: ALIGN as u32,
        weights_bytes: p.weights_bytes,
        weights_align: ALIGN as u32,
        placement: options.placement.clone(),
        layout_digest: layout(p),
        content_digest: contents(p),
        stack_bytes: code.stack_bytes,
        threads: p.threads,
        code_bytes: code.code_bytes,
        layers: layers(p, code),
        triple: target.triple.clone(),
        cpu: target.cpu.clone(),
        features: target.machine.features.clone(),
        levels: vec![],
        offload: model.offload.clone(),
        region_layers: region_layers(p, model.offload.regions.len()),
    }
}

/// The layers of each region's twin; they are numbered as they were planned, one behind the other.
fn region_layers(p: &Program, regions: usize) -> Vec<(u32, u32)> {
    fn walk(steps: &[Step], inside: Option<u32>, out: &mut Vec<(u32, u32)>) {
        for s in steps {
            match s {
                Step::Layer(l) => {
                    if let Some(range) = inside.and_then(|k| out.get_mut(k as usize)) {
                        *range = (range.0.min(l.0), range.1.max(l.0 + 1));
                    }
                }
                Step::If { then, els, .. } => {
                    walk(then, inside, out);
                    walk(els, inside, out);
                }
                Step::Loop { body, .. } => walk(body, inside, out),
                Step::Offload { slot, twin, .. } => walk(twin, Some(*slot), out),
                Step::Fail(_) => {}
            }
        }
    }
    let mut out = vec![(u32::MAX, 0); regions];
    walk(&p.steps, None, &mut out);
    out.iter_mut()
        .filter(|r| r.0 == u32::MAX)
        .for_each(|r| *r = (0, 0));
    out
}

fn ports(
    p: &Program,
    list: &[ProgramPort],
    fallback: &str,
    quant: impl Fn(usize) -> Option<PortQuant>,
) -> Vec<Port> {
    let names = c_names(list.iter().map(|p| p.name.as_str()), fallback);
    list.iter()
        .zip(names)
        .enumerate()
        .map(|(k, (port, c_name))| Port {
            name: port.name.clone(),
            c_name,
            dtype: port.ty.dtype,
            shape: port.ty.shape.clone(),
            max_bytes: port.ty.max_bytes(&p.symbols).max(0) as u64,
            quant: quant(k),
        })
        .collect()
}

/// Layers in the order in which they stand in the program; those in branches and loops once.
fn layers(p: &Program, code: &Code) -> Vec<LayerInfo> {
    let mut out = vec![];
    let mut counted = vec![false; p.funcs.len()];
    for (id, l) in p.layers.iter() {
        let at = id.0 as usize;
        let first = !std::mem::replace(&mut counted[l.func.0 as usize], true);
        let func = &p.funcs[l.func];
        let param_bytes = func
            .bufs
            .iter()
            .zip(&l.args)
            .filter(|(_, a)| matches!(a, Place::Weights(_)))
            .map(|((_, b), _)| b.len.eval(&[]).max(0) as u64 * b.dtype.size() as u64)
            .sum();
        out.push(LayerInfo {
            symbol: code.layer_symbols.get(at).cloned().unwrap_or_default(),
            ops: l.ops.iter().map(|s| s.to_string()).collect(),
            nodes: l.nodes.clone(),
            kernels: if l.kernel.is_empty() {
                vec![]
            } else {
                vec![l.kernel.clone()]
            },
            choice: l.choice.as_ref().map_or_else(Default::default, |c| {
                let rows = c.rows.iter().map(|(n, cost)| (n.to_string(), *cost));
                (c.query.clone(), rows.collect())
            }),
            macs: l.macs,
            param_bytes,
            code_bytes: if first {
                code.layer_bytes.get(at).copied().unwrap_or(0)
            } else {
                0
            },
        });
    }
    out
}

/// How weights lie and what is done with them: those of another training fit exactly if everything but their values is the
/// same. What a layer computes is part of that, as its loops may hold numbers that come from the model; names, the prefix
/// and the level of optimization are not.
fn layout(p: &Program) -> [u8; 32] {
    let mut h = Sha256::new();
    for (_, layer) in p.layers.iter() {
        let places: Vec<u64> = (layer.args.iter())
            .filter_map(|a| match a {
                Place::Weights(at) => Some(*at),
                _ => None,
            })
            .collect();
        if places.is_empty() {
            continue;
        }
        let mut func = p.funcs[layer.func].clone();
        func.name.clear();
        for b in func.bufs.ids() {
            func.bufs[b].name.clear();
        }
        h.update(print(&func, &p.symbols));
        places.iter().for_each(|at| h.update(at.to_le_bytes()));
    }
    for (at, bytes) in &p.weights {
        h.update(at.to_le_bytes());
        h.update((bytes.len() as u64).to_le_bytes());
    }
    h.finalize().into()
}

fn contents(p: &Program) -> [u8; 32] {
    let mut h = Sha256::new();
    super::weights::each(p, |bytes| h.update(bytes));
    h.finalize().into()
}

/// The facts of an object of several levels, from those of each, the base first. `code` is all of it; `needs` what each but the base asks
/// of the CPU.
pub fn levels(
    each: Vec<ModelInfo>,
    programs: &[Program],
    code: &Code,
    needs: &[u32],
) -> Option<ModelInfo> {
    let mut all = each.first()?.clone();
    all.layers.clear();
    let mut digest = Sha256::new();
    for (k, (one, p)) in each.iter().zip(programs).enumerate() {
        all.levels.push(LevelInfo {
            cpu: one.cpu.clone(),
            features: one.features.clone(),
            needs: k
                .checked_sub(1)
                .and_then(|k| needs.get(k))
                .copied()
                .unwrap_or(0),
            arena_bytes: one.arena_bytes,
            weights_bytes: read(p),
            code_bytes: one.code_bytes,
            layers: (all.layers.len(), one.layers.len()),
        });
        digest.update(one.layout_digest);
        all.layers.extend(one.layers.iter().cloned());
        all.arena_bytes = all.arena_bytes.max(one.arena_bytes);
        all.threads = all.threads.max(one.threads);
    }
    all.layout_digest = digest.finalize().into();
    all.stack_bytes = code.stack_bytes;
    all.code_bytes = code.code_bytes;
    Some(all)
}

/// Bytes of the constants that a program's layers name.
fn read(p: &Program) -> u64 {
    let mut used = vec![false; p.weights.len()];
    for (_, l) in p.layers.iter() {
        for a in &l.args {
            if let Place::Weights(at) = a {
                let n = p.weights.partition_point(|(from, _)| from <= at);
                if let Some(u) = n.checked_sub(1).and_then(|k| used.get_mut(k)) {
                    *u = true;
                }
            }
        }
    }
    let bytes = p.weights.iter().zip(used).filter(|(_, u)| *u);
    bytes.map(|((_, b), _)| b.len() as u64).sum()
}
