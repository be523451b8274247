//! What flows from layer to layer, and how long each buffer of the arena lives: read off a program by replaying it.
//!
//! A program says places, not values. What a layer writes is a piece of memory that holds until others are written over it; who
//! reads there before that reads this piece. Branches are replayed one after the other from the same state, loops twice, so that the second
//! round reads what the first left.

use std::collections::{BTreeMap, BTreeSet};

use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{Access, Buffer};
use onnxc_compiler::plan::program::{LayerId, Place, Program, Step, copy_bytes};

/// A memory that layers write to and read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Space {
    /// The arena.
    Arena,
    /// The caller's input of this number.
    Input(u32),
    /// The caller's output of this number.
    Output(u32),
}

/// Bytes that were written together.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where they lie.
    pub space: Space,
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    /// Number of the layer that writes them; `None`: the caller does.
    pub maker: Option<usize>,
    /// The graph value that they are, and its type; `None`: memory that only the layer itself uses.
    pub value: Option<(String, String)>,
    /// The step from which they hold.
    pub first: usize,
    /// The last step that reads them.
    pub last: usize,
    read: bool,
}

/// A layer among others.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// The step at which it runs; all steps of a program are counted through, branches one after the other.
    pub step: usize,
    /// Pieces that it reads.
    pub reads: BTreeSet<usize>,
    /// Types of the values read and made, weights left out.
    pub values: BTreeSet<DType>,
    /// Type of its largest weights.
    pub weights: Option<DType>,
}

/// All layers, and all pieces of memory.
pub struct Flow {
    /// By number of layer.
    pub layers: Vec<Link>,
    /// In the order in which they are first written.
    pub pieces: Vec<Piece>,
    /// Pieces that the caller gets, by output.
    pub results: Vec<BTreeSet<usize>>,
    /// Number of steps.
    pub steps: usize,
}

/// Replays a program.
pub fn of(p: &Program) -> Flow {
    let mut r = Replay {
        p,
        flow: Flow {
            layers: vec![Link::default(); p.layers.len()],
            pieces: vec![],
            results: vec![],
            steps: count(&p.steps),
        },
        known: BTreeMap::new(),
        live: vec![],
        at: 0,
    };
    for (k, port) in p.inputs.iter().enumerate() {
        let bytes = port.ty.max_bytes(&p.symbols).max(0) as u64;
        r.live.push(r.flow.pieces.len());
        r.flow.pieces.push(Piece {
            space: Space::Input(k as u32),
            from: 0,
            to: bytes,
            maker: None,
            value: Some((port.name.clone(), port.ty.text(&p.symbols))),
            first: 0,
            last: 0,
            read: false,
        });
    }
    r.steps(&p.steps, None);
    for k in 0..p.outputs.len() as u32 {
        let pieces = r.flow.pieces.iter().enumerate();
        let own = pieces.filter(|(i, q)| q.space == Space::Output(k) && r.live.contains(i));
        let own = own.map(|(i, _)| i).collect();
        r.flow.results.push(own);
    }
    r.flow
}

/// Layers in a list of steps.
fn count(steps: &[Step]) -> usize {
    let each = steps.iter().map(|s| match s {
        Step::Layer(_) => 1,
        Step::If { then, els, .. } => count(then) + count(els),
        Step::Loop { body, .. } => count(body),
        Step::Offload { twin, .. } => count(twin),
        Step::Fail(_) => 0,
    });
    each.sum()
}

struct Replay<'a> {
    p: &'a Program,
    flow: Flow,
    /// The piece of each layer and argument.
    known: BTreeMap<(usize, usize), usize>,
    /// Pieces that hold.
    live: Vec<usize>,
    at: usize,
}

fn range(place: Place, bytes: u64) -> Option<(Space, u64, u64)> {
    let (space, from) = match place {
        Place::Arena(at) => (Space::Arena, at),
        Place::Input(k, at) => (Space::Input(k), at),
        Place::Output(k, at) => (Space::Output(k), at),
        Place::Weights(_) => return None,
    };
    Some((space, from, from.saturating_add(bytes)))
}

impl Replay<'_> {
    /// `round`: first and last step of the innermost loop around.
    fn steps(&mut self, steps: &[Step], round: Option<(usize, usize)>) {
        for s in steps {
            match s {
                Step::Layer(id) => self.layer(*id, round),
                Step::If { cond, then, els } => {
                    self.look(*cond, round);
                    let before = self.live.clone();
                    self.steps(then, round);
                    let after = std::mem::replace(&mut self.live, before);
                    self.steps(els, round);
                    self.live.extend(after);
                    self.live.sort_unstable();
                    self.live.dedup();
                }
                Step::Loop {
                    trips, cond, body, ..
                } => {
                    let begin = self.at;
                    let inner = (begin, begin + count(body).saturating_sub(1));
                    for _ in 0..2 {
                        self.at = begin;
                        for place in [trips, cond].into_iter().flatten() {
                            self.look(*place, Some(inner));
                        }
                        self.steps(body, Some(inner));
                    }
                }
                Step::Offload { ins, twin, .. } => {
                    let begin = self.at;
                    self.steps(twin, round);
                    let end = std::mem::replace(&mut self.at, begin);
                    // A device reads its inputs until the step has ended.
                    self.at = end.saturating_sub(1).max(begin);
                    ins.iter().for_each(|place| self.look(*place, round));
                    self.at = end;
                }
                Step::Fail(_) => {}
            }
        }
    }

    /// What stands at a place is read by the program itself.
    fn look(&mut self, place: Place, round: Option<(usize, usize)>) {
        if let Some((space, from, to)) = range(place, 1) {
            self.read(space, from, to, round);
        }
    }

    fn read(
        &mut self,
        space: Space,
        from: u64,
        to: u64,
        round: Option<(usize, usize)>,
    ) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for &k in &self.live {
            let q = &mut self.flow.pieces[k];
            if q.space != space || q.from >= to || from >= q.to {
                continue;
            }
            found.insert(k);
            q.read = true;
            q.last = q.last.max(self.at);
            if let Some((first, last)) = round {
                // From before the loop, or from the round before: it lives through all of the loop.
                let carried = q.first > self.at;
                if carried || q.first < first {
                    q.last = q.last.max(last);
                }
                if carried {
                    q.first = first;
                }
            }
        }
        found
    }

    fn write(&mut self, key: (usize, usize), piece: Piece) {
        let pieces = &mut self.flow.pieces;
        let id = *self.known.entry(key).or_insert(pieces.len());
        if id == pieces.len() {
            pieces.push(piece);
        }
        let (space, from, to) = (pieces[id].space, pieces[id].from, pieces[id].to);
        // What nobody has read yet is not written over: it lies between the gaps of this one.
        self.live.retain(|k| {
            let q = &pieces[*k];
            *k != id && (q.space != space || q.from >= to || from >= q.to || !q.read)
        });
        if pieces[id].value.is_some() {
            self.live.push(id);
        }
    }

    fn layer(&mut self, id: LayerId, round: Option<(usize, usize)>) {
        let p = self.p;
        let layer = &p.layers[id];
        let number = id.0 as usize;
        let args: Vec<(&Buffer, Place)> = (p.funcs[layer.func].bufs.iter())
            .map(|(_, b)| b)
            .zip(layer.args.iter().copied())
            .collect();
        let bytes = |b: &Buffer| {
            let n = b.len.bounds(&p.symbols).1.max(0) as u64;
            n.saturating_mul(b.dtype.size() as u64)
        };
        let made = |place: Place| layer.makes.iter().find(|m| m.2 == place);
        let mut link = Link {
            step: self.at,
            ..Link::default()
        };
        let mut largest = 0;
        for (b, place) in &args {
            match range(*place, bytes(b)) {
                None if layer.sums && bytes(b) > largest => {
                    largest = bytes(b);
                    link.weights = Some(b.dtype);
                }
                Some((space, from, to)) if b.access == Access::Read => {
                    link.reads.extend(self.read(space, from, to, round));
                    link.values.insert(b.dtype);
                }
                _ => {}
            }
        }
        for (k, (b, place)) in args.iter().enumerate() {
            let all = match b.access {
                Access::Read => continue,
                Access::Private => copy_bytes(b, &p.symbols).saturating_mul(p.threads.into()),
                _ => bytes(b),
            };
            let Some((space, from, to)) = range(*place, all) else {
                continue;
            };
            // What is written and read again, and is nobody's value, is scratch.
            let value = match (made(*place), b.access) {
                (Some((name, ty, _)), _) => {
                    link.values.insert(b.dtype);
                    Some((name.clone(), ty.text(&p.symbols)))
                }
                // A part of a value that later layers complete.
                (None, Access::Write) => {
                    link.values.insert(b.dtype);
                    Some((
                        layer.name.clone(),
                        format!("{}, a part of a value", b.dtype),
                    ))
                }
                (None, _) => None,
            };
            let piece = Piece {
                space,
                from,
                to,
                maker: Some(number),
                value,
                first: self.at,
                last: self.at,
                read: false,
            };
            self.write((number, k), piece);
        }
        let old = &mut self.flow.layers[number];
        link.reads.extend(std::mem::take(&mut old.reads));
        *old = link;
        self.at += 1;
    }
}

impl Flow {
    /// Bytes of the arena that hold something at each step; the program's own (`symbols`) come on top.
    pub fn held(&self) -> Vec<u64> {
        let arena = || self.pieces.iter().filter(|q| q.space == Space::Arena);
        let at = |step: usize| {
            let mut spans: Vec<(u64, u64)> = arena()
                .filter(|q| (q.first..=q.last).contains(&step))
                .map(|q| (q.from, q.to))
                .collect();
            spans.sort_unstable();
            let (mut sum, mut end) = (0u64, 0u64);
            for (from, to) in spans {
                sum += to.saturating_sub(from.max(end));
                end = end.max(to);
            }
            sum
        };
        (0..self.steps).map(at).collect()
    }
}

/// In which numbers a layer computes, in a word: that of its values and of its largest weights; sizes and indices do not count.
pub fn precision(link: &Link) -> String {
    let all = || link.values.iter().chain(&link.weights).copied();
    let float = |d: &DType| {
        use DType::*;
        matches!(d, F64 | F32 | F16 | BF16) || d.name().starts_with("f8")
    };
    let small = |d: &DType| {
        use DType::*;
        matches!(d, I16 | U16 | I8 | U8 | I4 | U4 | I2 | U2)
    };
    let widest = |of: &dyn Fn(&DType) -> bool| all().filter(of).max_by_key(|d| d.size());
    let name = |d: DType| match d {
        DType::I16 | DType::U16 => "int16",
        DType::I8 | DType::U8 => "int8",
        DType::I4 | DType::U4 => "int4",
        DType::I2 | DType::U2 => "int2",
        other => other.name(),
    };
    match (widest(&float), widest(&small)) {
        (Some(f), Some(i)) => format!("{} and {}", name(f), name(i)),
        (Some(d), None) | (None, Some(d)) => name(d).to_string(),
        (None, None) => match all().max_by_key(|d| d.size()) {
            Some(d) => d.name().to_string(),
            None => "-".to_string(),
        },
    }
}
