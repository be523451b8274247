//! The judge of memory plans: replays a program step by step on a map of which bytes hold whose data.
//!
//! It knows nothing of how places were found. What is written with gaps counts as written in its runs alone. Every read must find, in each of its bytes, what was last written for the
//! same storage; nothing may be written outside a memory or into inputs and weights.

use super::program::{Place, Program, Step, copy_bytes};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, strides};
use crate::loops::ir::Access;
use std::collections::BTreeMap;

/// What an argument of a layer stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The storage that is meant.
    pub storage: u32,
    /// Where it does not lie in one piece.
    pub gaps: Option<Gaps>,
}

/// How a value lies that is not in one piece: axes by (size, distance), outermost first, and elements in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaps {
    axes: Vec<(u64, u64)>,
    run: u64,
}

impl Gaps {
    /// A value of a fixed shape with the distances of a room.
    pub fn of(shape: &[Dim], room: &[Dim]) -> Gaps {
        let size = |d: &Dim| d.fixed().unwrap_or(0).max(0) as u64;
        let steps = strides(room);
        let mut gaps = Gaps {
            axes: shape
                .iter()
                .zip(&steps)
                .map(|(d, s)| (size(d), size(s)))
                .collect(),
            run: 1,
        };
        // Inner axes that follow each other without a gap are one run.
        while let Some(&(n, step)) = gaps.axes.last() {
            if step != gaps.run {
                break;
            }
            gaps.run *= n;
            gaps.axes.pop();
        }
        gaps
    }
    /// First elements of all runs, ascending.
    fn runs(&self) -> Vec<u64> {
        let mut starts = vec![0];
        for &(n, step) in &self.axes {
            starts = starts
                .iter()
                .flat_map(|s| (0..n).map(move |i| s + i * step))
                .collect();
        }
        starts
    }
}

/// Checks a program; `labels` names, for each layer and argument, the storage that is meant, `sizes` its bytes; `regions` does so for ports of
/// offloaded regions.
pub fn check(
    p: &Program,
    labels: &[Vec<Label>],
    sizes: &[u64],
    regions: &[RegionLabels],
) -> Result<()> {
    let mut held = Held::default();
    let c = Check {
        p,
        labels,
        sizes,
        regions,
    };
    c.steps(&p.steps, &mut held)
}

/// The slot of a region, and for each input and each output the storage that is meant and how many bytes of it.
pub type RegionLabels = (u32, Vec<(u32, u64)>, Vec<(u32, u64)>);

struct Check<'a> {
    p: &'a Program,
    regions: &'a [RegionLabels],
    labels: &'a [Vec<Label>],
    sizes: &'a [u64],
}

/// Ranges of the arena and who wrote them: start -> (end, label). Ranges do not overlap.
#[derive(Clone, Default, PartialEq)]
struct Held(BTreeMap<u64, (u64, u32)>);

impl Held {
    fn write(&mut self, from: u64, to: u64, label: u32) {
        if from >= to {
            return;
        }
        let hit: Vec<(u64, (u64, u32))> = self
            .0
            .range(..to)
            .rev()
            .take_while(|(_, (end, _))| *end > from)
            .map(|(s, e)| (*s, *e))
            .collect();
        // Ranges are disjoint and sorted, so those that end after `from` and begin before `to` are the last ones.
        for (start, (end, who)) in hit {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, (from, who));
            }
            if end > to {
                self.0.insert(to, (end, who));
            }
        }
        // Neighbours with the same label are one range.
        let (mut from, mut to) = (from, to);
        if let Some((&start, &(end, who))) = self.0.range(..from).next_back()
            && end == from
            && who == label
        {
            from = start;
        }
        if let Some(&(end, who)) = self.0.get(&to)
            && who == label
        {
            self.0.remove(&to);
            to = end;
        }
        self.0.insert(from, (to, label));
    }
    fn holds(&self, from: u64, to: u64, label: u32) -> bool {
        let mut at = from;
        while at < to {
            match self.0.range(..=at).next_back() {
                Some((_, (end, who))) if *end > at && *who == label => at = *end,
                _ => return false,
            }
        }
        true
    }
    /// What holds in both.
    fn meet(&self, other: &Held) -> Held {
        let mut out = Held::default();
        for (&s, &(e, who)) in &self.0 {
            for (&s2, &(e2, who2)) in other.0.range(..e) {
                if who2 == who && e2 > s {
                    out.0.insert(s.max(s2), (e.min(e2), who));
                }
            }
        }
        out
    }
}

impl Check<'_> {
    fn steps(&self, steps: &[Step], held: &mut Held) -> Result<()> {
        for s in steps {
            match s {
                Step::Layer(l) => self.layer(*l, held)?,
                Step::If { then, els, .. } => {
                    let (mut a, mut b) = (held.clone(), held.clone());
                    self.steps(then, &mut a)?;
                    self.steps(els, &mut b)?;
                    // A branch that ends the run constrains nothing.
                    *held = match (then.as_slice(), els.as_slice()) {
                        ([Step::Fail(_)], _) => b,
                        (_, [Step::Fail(_)]) => a,
                        _ => a.meet(&b),
                    };
                }
                Step::Loop { iter, body, .. } => {
                    if let Place::Arena(at) = iter
                        && *at < self.p.symbol_bytes()
                    {
                        return Err(Diagnostic::internal(
                            "a loop counter lies in the symbol table",
                        ));
                    }
                    // Twice: the second round reads what the first one left.
                    for _ in 0..2 {
                        let label = self.counter_label(*iter, body);
                        if let (Place::Arena(at), Some(label)) = (iter, label) {
                            held.write(*at, at + 8, label);
                        }
                        self.steps(body, held)?;
                    }
                }
                Step::Offload {
                    slot,
                    ins,
                    outs,
                    twin,
                    ..
                } => self.offload(*slot, ins, outs, twin, held)?,
                Step::Fail(_) => {}
            }
        }
        Ok(())
    }

    /// A device reads the inputs at any moment until the step has ended, and writes the outputs at any moment too; or the twin runs.
    fn offload(
        &self,
        slot: u32,
        ins: &[Place],
        outs: &[Place],
        twin: &[Step],
        held: &mut Held,
    ) -> Result<()> {
        let wrong = |what: &str| {
            let text = format!("memory plan: region {slot} {what}");
            Err(Diagnostic::internal(text))
        };
        let labels = self.regions.iter().find(|r| r.0 == slot);
        let Some((_, in_labels, out_labels)) = labels else {
            return wrong("is not known");
        };
        let size = |label: &u32| self.sizes.get(*label as usize).copied().unwrap_or(0);
        let spans = |places: &[Place], labels: &[(u32, u64)]| -> Vec<Option<(u64, u64, u32)>> {
            let each = places.iter().zip(labels);
            each.map(|(p, (l, bytes))| match p {
                Place::Arena(at) => Some((*at, at + bytes, *l)),
                _ => None,
            })
            .collect()
        };
        let (read, written) = (spans(ins, in_labels), spans(outs, out_labels));
        let mut all = in_labels.iter().chain(out_labels);
        if ins.len() != in_labels.len()
            || outs.len() != out_labels.len()
            || all.any(|(l, bytes)| *bytes > size(l))
        {
            return wrong("has ports that are not its own");
        }
        if outs
            .iter()
            .any(|p| !matches!(p, Place::Arena(_) | Place::Output(..)))
        {
            return wrong("writes into an input or the weights");
        }
        for &(from, to, label) in read.iter().flatten() {
            if !held.holds(from, to, label) {
                return wrong("reads what nobody wrote or somebody overwrote");
            }
        }
        for (k, &w) in written.iter().enumerate() {
            let Some((from, to, _)) = w else { continue };
            if to > self.p.arena_bytes || from < self.p.symbol_bytes() {
                return wrong("reaches outside the arena");
            }
            let others = written[..k].iter().chain(&read).flatten();
            if others.clone().any(|&(f, t, _)| from < t && f < to) {
                return wrong("writes over an input or another output");
            }
        }
        let mut by_twin = held.clone();
        self.steps(twin, &mut by_twin)?;
        for &(from, to, label) in read.iter().flatten() {
            if !by_twin.holds(from, to, label) {
                return wrong("has a twin that writes over an input");
            }
        }
        for &(from, to, label) in written.iter().flatten() {
            if !by_twin.holds(from, to, label) {
                return wrong("has a twin that does not make an output");
            }
            held.write(from, to, label);
        }
        *held = held.meet(&by_twin);
        Ok(())
    }

    /// The storage under which layers of the body know the counter.
    fn counter_label(&self, iter: Place, body: &[Step]) -> Option<u32> {
        body.iter().find_map(|s| match s {
            Step::Layer(l) => {
                let at = self.p.layers[*l].args.iter().position(|a| *a == iter)?;
                Some(self.labels[l.0 as usize][at].storage)
            }
            Step::If { then, els, .. } => self
                .counter_label(iter, then)
                .or_else(|| self.counter_label(iter, els)),
            Step::Loop { body, .. } | Step::Offload { twin: body, .. } => {
                self.counter_label(iter, body)
            }
            Step::Fail(_) => None,
        })
    }

    fn layer(&self, id: super::program::LayerId, held: &mut Held) -> Result<()> {
        let layer = &self.p.layers[id];
        let func = &self.p.funcs[layer.func];
        let wrong = |what: &str, buf: &str| {
            Err(Diagnostic::internal(format!(
                "memory plan: layer {} {what} (buffer {buf})",
                layer.name
            )))
        };
        let range = |place: Place, bytes: u64| match place {
            Place::Arena(at) => Some((at, at + bytes)),
            _ => None,
        };
        let args: Vec<_> = func
            .bufs
            .iter()
            .zip(&layer.args)
            .zip(&self.labels[id.0 as usize])
            .map(|(((_, b), &place), l)| {
                let label = l.storage;
                let n = b.len.bounds(&self.p.symbols).1.max(0) as u64;
                let bytes = match b.access {
                    Access::Private => {
                        copy_bytes(b, &self.p.symbols).saturating_mul(u64::from(self.p.threads))
                    }
                    _ => n.saturating_mul(b.dtype.size() as u64),
                };
                // The bound of a symbolic length may be wider than the product of the bounds that memory is planned for.
                let bytes = if b.len.fixed().is_some() {
                    bytes
                } else {
                    bytes.min(self.sizes[label as usize])
                };
                (b, place, bytes, label, &l.gaps)
            })
            .collect();
        for (b, place, bytes, label, gaps) in &args {
            if b.access != Access::Write && matches!(place, Place::Output(..)) {
                // Outputs are read back only by what wrote them; the caller's memory is not shared.
                continue;
            }
            if let Some((from, to)) = range(*place, *bytes) {
                if to > self.p.arena_bytes || from < self.p.symbol_bytes() {
                    return wrong("reaches outside the arena", &b.name);
                }
                if gaps.is_some() && b.access == Access::Read {
                    return wrong("reads what does not lie in one piece", &b.name);
                }
                // Symbolic sizes: only as much as the last writer of a smaller bound wrote can be asked for.
                if b.access == Access::Read
                    && b.len.fixed().is_some()
                    && !held.holds(from, to, *label)
                {
                    return wrong("reads what nobody wrote or somebody overwrote", &b.name);
                }
            }
            if let Place::Weights(at) = place
                && (b.access != Access::Read || at + bytes > self.p.weights_bytes)
            {
                return wrong("misuses the weights", &b.name);
            }
            if matches!(place, Place::Input(..)) && b.access != Access::Read {
                return wrong("writes into an input", &b.name);
            }
        }
        for (i, (b, place, bytes, label, gaps)) in args.iter().enumerate() {
            if b.access == Access::Read {
                continue;
            }
            let Some((from, to)) = range(*place, *bytes) else {
                continue;
            };
            // What is written must not lie over another argument, unless that is the same storage taken over.
            for (j, (other, p2, bytes2, label2, _)) in args.iter().enumerate() {
                if let Some((f2, t2)) = range(*p2, *bytes2)
                    && i != j
                    && label2 != label
                    && from < t2
                    && f2 < to
                {
                    return wrong("writes over another of its buffers", &other.name);
                }
            }
            match gaps {
                None => held.write(from, to, *label),
                Some(gaps) => {
                    let size = b.dtype.size() as u64;
                    for start in gaps.runs() {
                        let at = from + start * size;
                        held.write(at, at + gaps.run * size, *label);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_apart_is_held_in_its_runs() {
        let dims = |d: &[i64]| d.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
        // 2 x 3 pixels of 4 channels, at a pitch of 10.
        let pixels = Gaps::of(&dims(&[2, 3, 4]), &dims(&[2, 3, 10]));
        assert_eq!(pixels.run, 4);
        assert_eq!(pixels.runs(), [0, 10, 20, 30, 40, 50]);
        // Rows that stand below others: each image is one run.
        let rows = Gaps::of(&dims(&[2, 3, 4]), &dims(&[2, 5, 4]));
        assert_eq!((rows.run, rows.runs()), (12, vec![0, 20]));
        let whole = Gaps::of(&dims(&[2, 3]), &dims(&[2, 3]));
        assert_eq!((whole.run, whole.runs()), (6, vec![0]));
        // Only both parts make the whole.
        let mut h = Held::default();
        for at in pixels.runs() {
            h.write(at, at + pixels.run, 1);
        }
        assert!(h.holds(10, 14, 1) && !h.holds(0, 60, 1));
        for at in pixels.runs() {
            h.write(at + 4, at + 10, 1);
        }
        assert!(h.holds(0, 60, 1) && h.0.len() == 1);
    }

    #[test]
    fn held_ranges() {
        let mut h = Held::default();
        h.write(0, 100, 1);
        h.write(40, 60, 2);
        assert!(h.holds(0, 40, 1) && h.holds(40, 60, 2) && h.holds(60, 100, 1));
        assert!(!h.holds(0, 100, 1) && !h.holds(100, 101, 1));
        let mut g = Held::default();
        g.write(30, 70, 1);
        let m = h.meet(&g);
        assert!(m.holds(30, 40, 1) && m.holds(60, 70, 1) && !m.holds(40, 60, 1));
    }
}
