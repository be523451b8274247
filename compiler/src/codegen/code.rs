//! All functions of a program: bodies, tiles, stubs, steps and entry, with their stack and sizes.
//!
//! Bodies are compiled by several threads; the result does not depend on how many.

use super::func::{self, ADDRESSES, Called, DIVIDERS, LOOPS, MODE, Machine, PARTS, REGIONS, TILES};
use super::isa::Isa;
use super::modes::Modes;
use super::offload;
use super::own::{self, DataReloc};
use super::parallel::Hook;
use super::steps::{self, Item};
use super::{Options, Weights, entry};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func};
use crate::loops::lane_loop::LaneLoop;
use crate::plan::program::{Program, Step};
use crate::target::{Arch, Target};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

// Steps in one function.
const CHUNK: usize = 64;

// Statements may be nested deeply.
const THREAD_STACK: usize = 64 << 20;

/// A function of the object.
pub struct Part {
    /// Its symbol.
    pub name: String,
    /// Whether others may call it.
    pub global: bool,
    /// Wanted alignment.
    pub align: u64,
    /// Its code.
    pub machine: Machine,
    /// The part that each of `machine.calls` goes to; always an earlier one.
    pub targets: Vec<u32>,
    /// References to the weights, or to another function.
    pub data: Vec<DataReloc>,
    /// Whose address `data` gives; `None`: that of the weights.
    pub points_to: Option<u32>,
    /// Bytes of stack with all that it calls.
    pub stack: u64,
}

/// The functions of a program.
pub struct Code {
    /// In the order in which they lie in the object; the entry is the last.
    pub parts: Vec<Part>,
    /// Bytes of stack that a run needs at most.
    pub stack_bytes: u64,
    /// Bytes of machine code.
    pub code_bytes: u64,
    /// Symbol of each layer's function.
    pub layer_symbols: Vec<String>,
    /// Bytes of each layer's code: stub, and body with the first layer that uses it.
    pub layer_bytes: Vec<u64>,
    /// What is needed to write the object.
    pub(super) arch: Arch,
    pub(super) properties: u32,
}

/// Compiles a program.
pub fn generate(program: &Program, target: &Target, options: &Options) -> Result<Code> {
    options.check()?;
    let isa = Isa::new(target, options.effort)?;
    let mut g = Generator {
        program,
        target,
        options,
        isa: &isa,
        parts: vec![],
        bodies: vec![],
        body_bytes: vec![],
        mode: 0,
        modes: Modes::new(program, target.arch, options.denormals),
        stubs: vec![],
    };
    g.mode = g.plain(
        "float_mode",
        own::float_mode(target.arch, target.landing_pads),
    )?;
    g.bodies()?;
    g.stubs()?;
    g.entry()?;
    let mut layer_bytes: Vec<u64> = vec![];
    let mut counted = vec![false; g.bodies.len()];
    for (id, layer) in program.layers.iter() {
        let size = |p: u32| g.parts[p as usize].machine.bytes.len() as u64;
        let mut bytes = size(g.stubs[id.0 as usize]);
        let body = layer.func.0 as usize;
        if !std::mem::replace(&mut counted[body], true) {
            bytes += g.body_bytes[body];
        }
        layer_bytes.push(bytes);
    }
    let layer_symbols = g.stubs.iter().map(|s| g.parts[*s as usize].name.clone());
    Ok(Code {
        stack_bytes: g.parts.last().map_or(0, |p| p.stack),
        code_bytes: g.parts.iter().map(|p| p.machine.bytes.len() as u64).sum(),
        layer_symbols: layer_symbols.collect(),
        layer_bytes,
        parts: g.parts,
        arch: target.arch,
        properties: properties(target),
    })
}

// Bits of the property note: landing pads, and what else the code keeps to.
fn properties(target: &Target) -> u32 {
    let signs = target.isa_flags.contains(&"sign_return_address");
    match (target.arch, target.landing_pads) {
        // Indirect branch tracking, and shadow stacks, which need nothing of the code.
        (Arch::X86_64, true) => 3,
        (Arch::X86_64, false) => 0,
        // Landing pads, signed return addresses.
        (Arch::Aarch64, pads) => u32::from(pads) | u32::from(signs) << 1,
    }
}

struct Generator<'a> {
    program: &'a Program,
    target: &'a Target,
    options: &'a Options,
    isa: &'a Isa,
    parts: Vec<Part>,
    bodies: Vec<u32>,
    /// Bytes of each body with its regions.
    body_bytes: Vec<u64>,
    /// Sets the floating-point mode.
    mode: u32,
    modes: Modes,
    stubs: Vec<u32>,
}

impl Generator<'_> {
    // Adds a function; `find` knows the parts behind the numbers that are not parts already.
    fn add(
        &mut self,
        name: &str,
        align: u64,
        machine: Machine,
        find: impl Fn(Called) -> Option<u32>,
    ) -> Result<u32> {
        let mut targets = Vec::with_capacity(machine.calls.len());
        let mut below = 0;
        for c in &machine.calls {
            let to = match c.to.space {
                PARTS => Some(c.to.index),
                _ => find(c.to),
            };
            let part = to.and_then(|t| Some((t, self.parts.get(t as usize)?)));
            let Some((to, part)) = part else {
                return Err(Diagnostic::internal(format!(
                    "{name} calls an unknown function"
                )));
            };
            below = part.stack.max(below);
            targets.push(to);
        }
        self.parts.push(Part {
            name: format!("{}_{name}", self.options.prefix),
            global: false,
            align,
            stack: u64::from(machine.frame) + below,
            machine,
            targets,
            data: vec![],
            points_to: None,
        });
        Ok(self.parts.len() as u32 - 1)
    }
    fn plain(&mut self, name: &str, machine: Machine) -> Result<u32> {
        self.add(name, 32, machine, |_| None)
    }

    fn bodies(&mut self) -> Result<()> {
        let funcs: Vec<&Func> = self.program.funcs.iter().map(|(_, f)| f).collect();
        let hooks: Vec<Option<Hook>> = self
            .program
            .funcs
            .ids()
            .map(|f| self.modes.hook(self.program, f))
            .collect();
        let machines = compile_all(&funcs, self.program, self.isa, &hooks, self.options)?;
        let divides = |m: &Machine| m.calls.iter().any(|c| c.to.space == DIVIDERS);
        let mut dividers = vec![];
        if machines
            .iter()
            .any(|(m, regions)| divides(m) || regions.iter().any(divides))
        {
            for i in 0..4 {
                let m = own::divider(i, self.target.landing_pads);
                dividers.push(self.plain(["sdiv32", "sdiv64", "udiv32", "udiv64"][i as usize], m)?);
            }
        }
        let mut tiles: BTreeMap<(String, Vec<(String, i64)>), u32> = BTreeMap::new();
        let mut loops: BTreeMap<LaneLoop, u32> = BTreeMap::new();
        for (i, (f, (mut machine, regions))) in funcs.iter().zip(machines).enumerate() {
            let mut own = vec![];
            for callee in &f.callees {
                let key = (callee.kernel.clone(), callee.shape.clone());
                let part = match tiles.get(&key) {
                    Some(p) => *p,
                    None => {
                        let name = format!("tile_{:03}_{}", tiles.len(), callee.kernel);
                        let part = self.tile(&name, callee)?;
                        tiles.insert(key, part);
                        part
                    }
                };
                own.push(part);
            }
            let mode = self.mode;
            // Functions of one machine: tiles, loops that left it, the mode, dividers.
            let known = |c: Called, left: &[u32]| match c.space {
                TILES => own.get(c.index as usize).copied(),
                LOOPS => left.get(c.index as usize).copied(),
                MODE => Some(mode),
                _ => dividers.get(c.index as usize).copied(),
            };
            let mut bytes = machine.bytes.len();
            let (mut parts, mut addresses) = (vec![], vec![]);
            for (k, mut region) in regions.into_iter().enumerate() {
                let left = self.left(&mut loops, std::mem::take(&mut region.loops))?;
                let name = format!("body_{i:03}_loop_{k}");
                let part = self.add(&name, 32, region, |c| known(c, &left))?;
                bytes += self.parts[part as usize].machine.bytes.len();
                parts.push(part);
                addresses.push(self.address_of(&name, part)?);
            }
            let left = self.left(&mut loops, std::mem::take(&mut machine.loops))?;
            let part = self.add(&format!("body_{i:03}"), 32, machine, |c| match c.space {
                REGIONS => parts.get(c.index as usize).copied(),
                ADDRESSES => addresses.get(c.index as usize).copied(),
                _ => known(c, &left),
            })?;
            self.bodies.push(part);
            self.body_bytes.push(bytes as u64);
        }
        Ok(())
    }
    // The parts of loops that left a function.
    fn left(
        &mut self,
        known: &mut BTreeMap<LaneLoop, u32>,
        loops: super::outline::Loops,
    ) -> Result<Vec<u32>> {
        let mut left = vec![];
        for (l, code) in loops {
            let part = match known.get(&l) {
                Some(p) => *p,
                None => {
                    let name = format!("loop_{:03}", known.len());
                    let part = self.own_code(&name, code)?;
                    known.insert(l, part);
                    part
                }
            };
            left.push(part);
        }
        Ok(left)
    }
    // A function that answers the address of another.
    fn address_of(&mut self, name: &str, part: u32) -> Result<u32> {
        let (m, relocs) = own::address(self.target.arch, self.target.landing_pads);
        let at = self.plain(&format!("{name}_address"), m)?;
        let stack = self.parts[part as usize].stack;
        let p = &mut self.parts[at as usize];
        p.data = relocs;
        p.points_to = Some(part);
        // Who asks for the address has it called.
        p.stack += stack;
        Ok(at)
    }
    fn tile(&mut self, name: &str, callee: &Callee) -> Result<u32> {
        let tiles = &self.target.machine.tiles;
        let tile = tiles
            .iter()
            .find(|t| t.name == callee.kernel)
            .ok_or_else(|| Diagnostic::internal(format!("no tile is called {}", callee.kernel)))?;
        let code = (tile.make)(callee, self.target.landing_pads)?;
        self.own_code(name, code)
    }
    // A function that was not made by Cranelift.
    fn own_code(&mut self, name: &str, code: kernel::Code) -> Result<u32> {
        // The return address is the caller's to count on x86 only.
        let call = if self.target.arch == Arch::X86_64 {
            8
        } else {
            0
        };
        let machine = Machine {
            bytes: code.bytes,
            frame: code.stack.saturating_add(call),
            ..Machine::default()
        };
        self.add(name, code.align.clamp(32, 4096), machine, |_| None)
    }
    fn stubs(&mut self) -> Result<()> {
        for (id, layer) in self.program.layers.iter() {
            let body = *self
                .bodies
                .get(layer.func.0 as usize)
                .ok_or_else(|| Diagnostic::internal(format!("{} has no body", layer.name)))?;
            let machine = {
                let number = self.options.first_layer.saturating_add(id.0);
                steps::stub(self.isa, number, layer, body)?
            };
            let part = self.plain(&layer.name, machine)?;
            self.stubs.push(part);
        }
        Ok(())
    }
    // The function of a list of steps, after those of the lists inside.
    fn steps(&mut self, list: &[Step], name: &str) -> Result<u32> {
        let mut items = Vec::with_capacity(list.len());
        let mut now = self.modes.usual();
        for (i, step) in list.iter().enumerate() {
            let mode = self.modes.of_step(step);
            if mode != now {
                items.push(Item::Mode(self.mode, mode));
                now = mode;
            }
            items.push(match step {
                Step::Layer(l) => Item::Call(
                    *self
                        .stubs
                        .get(l.0 as usize)
                        .ok_or_else(|| Diagnostic::internal(format!("{l:?} is no layer")))?,
                ),
                Step::If { cond, then, els } => Item::If {
                    cond: *cond,
                    then: self.steps(then, &format!("{name}_{i}_then"))?,
                    els: match els.is_empty() {
                        true => None,
                        false => Some(self.steps(els, &format!("{name}_{i}_else"))?),
                    },
                },
                Step::Loop {
                    trips,
                    max_trips,
                    cond,
                    iter,
                    body,
                } => Item::Loop {
                    trips: *trips,
                    max_trips: *max_trips,
                    cond: *cond,
                    iter: *iter,
                    body: self.steps(body, &format!("{name}_{i}_loop"))?,
                },
                Step::Offload {
                    slot,
                    required,
                    ins,
                    outs,
                    twin,
                } => Item::Offload(offload::Region {
                    slot: *slot,
                    ins: ins.clone(),
                    outs: outs.clone(),
                    twin: match required {
                        true => None,
                        false => Some(self.steps(twin, &format!("{name}_{i}_twin"))?),
                    },
                }),
                Step::Fail(s) => Item::Fail(*s),
            });
        }
        if now != self.modes.usual() {
            items.push(Item::Mode(self.mode, self.modes.usual()));
        }
        // Lists of lists, until one function can hold it.
        let mut level = 0;
        while items.len() > CHUNK {
            level += 1;
            let mut outer = vec![];
            for (i, chunk) in items.chunks(CHUNK).enumerate() {
                let m = steps::list(self.isa, chunk)?;
                outer.push(Item::Call(
                    self.plain(&format!("{name}_part{level}_{i:03}"), m)?,
                ));
            }
            items = outer;
        }
        let m = steps::list(self.isa, &items)?;
        self.plain(name, m)
    }
    fn entry(&mut self) -> Result<()> {
        let (arch, pads) = (self.target.arch, self.target.landing_pads);
        let steps = self.steps(&self.program.steps, "steps")?;
        let embedded = self.options.weights != Weights::File && self.program.weights_bytes > 0;
        let weights = if embedded {
            let (m, relocs) = own::address(arch, pads);
            let part = self.plain("weights_address", m)?;
            self.parts[part as usize].data = relocs;
            Some(part)
        } else {
            None
        };
        let sizes = func::compile(
            &out_dims(self.program),
            &self.program.symbols,
            self.isa,
            false,
        )?;
        let mut dividers = BTreeMap::new();
        for c in sizes.calls.iter().filter(|c| c.to.space == DIVIDERS) {
            if let Entry::Vacant(slot) = dividers.entry(c.to.index) {
                let m = own::divider(c.to.index, pads);
                slot.insert(self.plain(&format!("dims_div{}", c.to.index), m)?);
            }
        }
        let out_dims = self.add("out_dims", 32, sizes, |c| dividers.get(&c.index).copied())?;
        let parts = entry::Parts {
            steps,
            mode: (self.mode, self.modes.usual()),
            weights,
            out_dims,
        };
        let mut m = entry::run(self.isa, self.program, &parts)?;
        if pads && arch == Arch::X86_64 {
            own::with_endbr(&mut m);
        }
        let run = self.plain("run", m)?;
        self.parts[run as usize].global = true;
        Ok(())
    }
}

// Writes the size of every axis of every output, in order.
fn out_dims(program: &Program) -> Func {
    let mut b = Builder::new("out_dims");
    let dims: Vec<Dim> = program
        .outputs
        .iter()
        .flat_map(|p| p.ty.shape.iter().cloned())
        .collect();
    let len = Dim::Fixed(dims.len() as i64);
    let out = b.buffer("out", DType::I64, len, Access::Write);
    for (i, d) in dims.iter().enumerate() {
        let (at, v) = (b.i(i as i64), b.dim(d));
        b.store(out, at, v);
    }
    b.finish()
}

// A function and its regions.
type Compiled = (Machine, Vec<Machine>);

// Compiles functions on several threads.
fn compile_all(
    funcs: &[&Func],
    program: &Program,
    isa: &Isa,
    hooks: &[Option<Hook>],
    options: &Options,
) -> Result<Vec<Compiled>> {
    let results: Vec<OnceLock<Result<Compiled>>> = funcs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some(f), Some(slot)) = (funcs.get(i), results.get(i)) else {
                break;
            };
            let symbols = &program.symbols;
            let hook = hooks.get(i).copied().flatten();
            let _ = slot.set(func::compile_with(f, symbols, isa, hook, options.text));
        }
    };
    std::thread::scope(|s| {
        for _ in 1..options.jobs.min(funcs.len()) {
            // Where no thread is to be had, the others do its work.
            let thread = std::thread::Builder::new().stack_size(THREAD_STACK);
            let _ = thread.spawn_scoped(s, work);
        }
        work();
    });
    results
        .into_iter()
        .map(|r| {
            let missing = || Err(Diagnostic::internal("a function was not compiled"));
            r.into_inner().unwrap_or_else(missing)
        })
        .collect()
}
