//! Calibration: the float model runs on all cases once. What was seen of each value is kept, so that any choice of layers is quantized
//! without running it again.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::compress::quantize::{
    self, Known, Method, Normal, Observer, Recipe, Site, Sites, Summary,
};
use onnxc_compiler::graph::ir::{Model, NodeId, ValueId};
use onnxc_compiler::onnx::read_tensor;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::groups::Group;
use crate::data::samples::Samples;
use crate::failure::Outcome;
use crate::job::Job;
use crate::precision::{self, Form};
use crate::probe::{Probe, finite, with_outputs, written};
use crate::progress::Bar;
use crate::ui::Ui;

/// Cases that quantized models are compared on.
const COMPARED: usize = 32;

/// What is known of a float model.
pub struct Calibration<'a> {
    /// The compilation of the float model.
    pub job: &'a Job<'a>,
    /// The float model, in operators of ONNX.
    pub model: Model,
    /// How it is quantized.
    pub recipe: Recipe,
    /// Inputs of the first cases.
    pub inputs: Vec<Vec<Tensor>>,
    /// The float model's outputs for them.
    pub floats: Vec<Vec<Tensor>>,
    /// Cases in use.
    pub count: usize,
    /// Which parts become small.
    pub form: Form,
    /// `None`: the form needs no data, and there is none.
    samples: Option<Samples>,
    /// Of each value what was asked for, and what was seen.
    seen: HashMap<ValueId, (Site, Observer)>,
    /// Values that are infinite at times.
    unbounded: BTreeSet<ValueId>,
    /// What batch normalization says of values, by their names; without data alone.
    statistics: BTreeMap<String, Normal>,
    ui: &'a Ui,
}

/// A quantized model.
pub struct Built {
    /// Its file.
    pub file: Vec<u8>,
    /// What became of its layers.
    pub summary: Summary,
    /// What was said meanwhile.
    pub diags: Diagnostics,
}

impl<'a> Calibration<'a> {
    /// Nothing seen yet; `most` cases at most are used.
    pub fn new(
        job: &'a Job<'a>,
        model: Model,
        recipe: Recipe,
        form: Form,
        samples: Option<Samples>,
        most: u64,
        ui: &'a Ui,
    ) -> Calibration<'a> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Calibration {
            job,
            model,
            recipe,
            inputs: vec![],
            floats: vec![],
            count: samples.as_ref().map_or(0, Samples::len).min(most),
            form,
            samples,
            seen: HashMap::new(),
            unbounded: BTreeSet::new(),
            statistics: BTreeMap::new(),
            ui,
        }
    }

    /// Takes ranges from what batch normalization says of the data that the model was trained on, wherever that is known.
    pub fn trust(&mut self, statistics: BTreeMap<String, Normal>) {
        self.statistics = statistics;
        let list = self.sites(&BTreeSet::new()).list;
        let mut known = Known::new(&self.model.graph, &self.statistics);
        let count = list.iter().filter(|s| known.of(s.value).is_some()).count();
        if count > 0 {
            let text = format!(
                "ranges of {count} of {} values are those of batch normalization",
                list.len()
            );
            self.ui.note(&Diagnostic::remark("ONNX016", text));
        }
    }

    /// Observers of values whose distribution is known, in place of those that looked at made-up inputs.
    fn trusted(&self, sites: &Sites, observed: &mut [Observer]) -> Outcome<()> {
        if !self.samples.as_ref().is_some_and(Samples::are_made_up) {
            return Ok(());
        }
        let mut known = Known::new(&self.model.graph, &self.statistics);
        for (s, o) in sites.list.iter().zip(observed) {
            if s.known.is_some() {
                // How far shares go is not for noise to say.
                *o = Observer::new(Method::MinMax);
            } else if let Some(n) = known.of(s.value) {
                let own = known.observer(&n, self.recipe.method)?;
                *o = o.clone().with_numbers_of(own);
            }
        }
        Ok(())
    }

    /// What is quantized where some nodes stay in floats.
    pub fn sites(&self, keep: &BTreeSet<NodeId>) -> Sites {
        let recipe = self.recipe_with(keep);
        match self.form {
            Form::Both => quantize::sites(&self.model.graph, &recipe, &self.unbounded),
            form => form.sites(&self.model, &recipe),
        }
    }

    fn recipe_with(&self, keep: &BTreeSet<NodeId>) -> Recipe {
        Recipe {
            keep: keep.clone(),
            ..self.recipe.clone()
        }
    }

    /// Observes whatever needs a scale where everything is quantized, or any one group alone.
    pub fn observe_each(&mut self, groups: &[Group]) -> Outcome<()> {
        let all: BTreeSet<NodeId> = groups.iter().flat_map(|g| g.nodes.clone()).collect();
        let mut wanted: BTreeMap<ValueId, Site> = BTreeMap::new();
        let mut want = |sites: Sites| {
            for s in sites.list {
                match wanted.entry(s.value) {
                    Entry::Vacant(e) => {
                        e.insert(s);
                    }
                    Entry::Occupied(mut e) => {
                        let known = e.get_mut();
                        known.channels = known.channels.or(s.channels);
                        known.peaks |= s.peaks;
                        known.layers.extend(s.layers);
                        known.layers.sort_by_key(|l| l.0);
                        known.layers.dedup_by_key(|l| l.0);
                    }
                }
            }
        };
        want(self.sites(&BTreeSet::new()));
        for g in groups {
            let own: BTreeSet<NodeId> = g.nodes.iter().copied().collect();
            want(self.sites(&all.difference(&own).copied().collect()));
        }
        self.observe(&wanted.into_values().collect::<Vec<_>>())
    }

    /// Moves sizes of channels into weights; what was seen so far is seen anew.
    pub fn smooth(&mut self, alpha: f64) -> Outcome<()> {
        let sites = quantize::smooth_sites(&self.model.graph, &self.recipe);
        self.observe(&sites.list)?;
        let seen = std::mem::take(&mut self.seen);
        let of = |s: &Site| seen.get(&s.value).map(|o| o.1.clone());
        let observed: Vec<Observer> = sites.list.iter().filter_map(of).collect();
        precision::smooth(alpha, &sites, &observed, &mut self.model, self.ui);
        Ok(())
    }

    /// The model quantized but for some nodes; `None` if nothing is left to quantize.
    pub fn built(&mut self, keep: &BTreeSet<NodeId>) -> Outcome<Option<Built>> {
        let (sites, observed) = loop {
            let sites = self.sites(keep);
            if self.samples.is_none() {
                break (sites, vec![]);
            }
            if sites.nodes.is_empty() && self.form == Form::Both {
                return Ok(None);
            }
            let missing = |s: &&Site| match self.seen.get(&s.value) {
                None => true,
                Some((known, _)) => {
                    let axis = s.channels.is_some() && known.channels != s.channels;
                    axis || s.layers.iter().any(|l| !known.layers.contains(l))
                }
            };
            let missing: Vec<Site> = sites.list.iter().filter(missing).cloned().collect();
            if !missing.is_empty() {
                self.observe(&missing)?;
            }
            let of = |s: &Site| self.seen.get(&s.value).map(|o| &o.1);
            let infinite = |s: &&Site| of(s).is_some_and(Observer::is_unbounded);
            let infinite: Vec<_> = (sites.list.iter().filter(infinite))
                .map(|s| s.value)
                .collect();
            if infinite.is_empty() || self.form != Form::Both {
                let observed: Option<Vec<Observer>> =
                    sites.list.iter().map(|s| of(s).cloned()).collect();
                let mut observed = observed
                    .ok_or_else(|| Diagnostic::internal("a value that was not observed"))?;
                self.trusted(&sites, &mut observed)?;
                break (sites, observed);
            }
            // Without these, other values may need a scale, which are to be observed in turn.
            self.stay_in_floats(&infinite);
            self.unbounded.extend(infinite);
        };
        let mut model = self.model.clone();
        let mut diags = Diagnostics::default();
        let recipe = self.recipe_with(keep);
        let form = self.form;
        let summary = form.apply(&mut model, &sites, &observed, &recipe, &mut diags)?;
        let file = written(&model, &mut diags)?;
        Ok(Some(Built {
            file,
            summary,
            diags,
        }))
    }

    /// Says which values are infinite at times.
    fn stay_in_floats(&self, infinite: &[ValueId]) {
        for &v in infinite {
            let name = &self.model.graph.value(v).name;
            let text = format!(
                "value \"{name}\" is infinite at times: what computes with it stays in floats"
            );
            self.ui.note(&Diagnostic::remark("ONNX016", text));
        }
    }

    /// Runs the float model on all cases. What is asked for of a value that was seen before is seen anew.
    fn observe(&mut self, wanted: &[Site]) -> Outcome<()> {
        let Some(samples) = &mut self.samples else {
            return Ok(());
        };
        let values: Vec<ValueId> = wanted.iter().map(|w| w.value).collect();
        let mut diags = Diagnostics::default();
        let bytes = written(&with_outputs(&self.model, &values), &mut diags)?;
        let source = self.job.source.of_bytes(bytes);
        let mut job = self.job.over(&source)?;
        job.options.watched = values.len();
        // Where activations stay floats, nothing chooses their ranges.
        let method = match self.form {
            Form::Both => self.recipe.method,
            _ => Method::MinMax,
        };
        let mut observers: Vec<Observer> =
            (wanted.iter()).map(|s| Observer::of(s, method)).collect();
        let (ports, mut probe) = (job.wanted()?, Probe::new(&job)?);
        let first = self.floats.is_empty();
        let bar = Bar::counted(self.ui, Some(self.count as u64));
        bar.say("calibrating");
        for k in 0..self.count {
            let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
            finite(&data, &ports, k)?;
            let outputs = probe.watch(&data, &mut |at, seen| {
                let (Some(w), Some(o)) = (wanted.get(at), observers.get_mut(at)) else {
                    return Ok(());
                };
                o.look(seen, w.channels).map_err(|d| {
                    let name = &self.model.graph.value(w.value).name;
                    d.at(format!("value \"{name}\", case {k}"))
                })
            })?;
            if first && k < COMPARED {
                self.inputs.push(data);
                self.floats.push(outputs);
            }
            bar.step();
        }
        for (w, o) in wanted.iter().zip(observers) {
            self.seen.insert(w.value, (w.clone(), o));
        }
        Ok(())
    }
}
