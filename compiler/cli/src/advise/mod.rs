//! `inspect --advise`: which layers cost most, and what a cheaper one would be, with the gain that the target's cost table expects.
//!
//! Contract: figures are estimates by the table that chooses kernels, of kernels alone; each names the node that it speaks of. What it costs in
//! accuracy nobody knows before training: an equivalent has the same inputs and outputs (or says how they change), not the same numbers.

mod query;
mod whole;

use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::LayerInfo;
use onnxc_compiler::contracts::strip::Numbers;
use serde::Serialize;

use crate::bench::kernel;
use crate::machine::Machine;
use crate::table::{Align, Table};
use query::Query;

/// A gain below this part of the layer's cost is not worth a word.
const WORTH: f64 = 0.1;
/// Layers shown as the dearest, and pieces of advice shown, at most.
const SHOWN: usize = 15;
/// A larger stride is only spoken of where the layer has this part of all costs.
const LARGE: f64 = 0.05;

/// Activations, operations for each element that cheaper ones take: name, what stands for it, operations of that.
const ACTIVATIONS: &[(&str, &str, f64)] = &[
    ("Swish", "HardSwish", 4.0),
    ("Gelu", "HardSwish", 4.0),
    ("Mish", "HardSwish", 4.0),
    ("Sigmoid", "HardSigmoid", 3.0),
    ("Tanh", "Clip (a hard tanh)", 2.0),
    ("Elu", "Relu", 1.0),
    ("Selu", "Relu", 1.0),
    ("Softplus", "Relu", 1.0),
    ("Erf", "Relu", 1.0),
];

/// What is known of a model's costs, and what would be cheaper.
#[derive(Serialize)]
pub struct Advised {
    /// `ns` where the machine has a table; else a measure for comparison alone.
    pub unit: &'static str,
    /// Cost of all layers that the table knows.
    pub total: f64,
    /// Layers that the table does not know.
    pub unknown: usize,
    /// Layers of which nothing cheaper is known: they are no plain convolution or product of matrices.
    pub without_query: usize,
    /// Layers with free sizes, which are compared at the largest.
    pub at_largest: usize,
    /// Cost of the same layers in 8 bits, if the machine has kernels for that and any is in floats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_int8: Option<f64>,
    /// Layers by cost, the dearest first.
    pub layers: Vec<Dear>,
    /// What would be cheaper, by gain.
    pub advice: Vec<Advice>,
}

/// A layer and its cost.
#[derive(Serialize)]
pub struct Dear {
    /// Symbol.
    pub layer: String,
    /// The ONNX node whose products it adds up.
    pub node: String,
    /// Operators.
    pub ops: String,
    /// Kernel.
    pub kernel: String,
    /// Cost.
    pub cost: f64,
    /// Part of all costs.
    pub share: f64,
}

/// What would be cheaper.
#[derive(Serialize, Debug, Clone)]
pub struct Advice {
    /// Symbol of the layer.
    pub layer: String,
    /// The ONNX node.
    pub node: String,
    /// What to do.
    pub what: String,
    /// Cost now.
    pub now: f64,
    /// Cost then.
    pub then: f64,
    /// Part of all costs that is saved.
    pub gain: f64,
}

struct Layer<'a> {
    info: &'a LayerInfo,
    cost: f64,
    query: Option<Query>,
    /// Whether it computes in whole numbers.
    whole: bool,
    /// Whether sizes are free: the query has the largest, the cost may be of others.
    free: bool,
}

/// Looks at a compiled model.
pub fn of(a: &Artifact, machine: &Machine) -> Advised {
    let all = a.info.run();
    let mut known: Vec<Layer> = all.iter().filter_map(|l| cost(l, a, machine)).collect();
    // A table has nanoseconds; rows that it does not name have rates of another measure, which are compared among themselves alone.
    let costs = &machine.target.machine.costs;
    let measured = |l: &Layer| l.info.kernels.iter().any(|k| costs.rates.contains_key(k));
    let in_ns = known.iter().any(measured);
    known.retain(|l| measured(l) == in_ns);
    let products = |l: &&LayerInfo| l.macs > 0;
    let total: f64 = known.iter().map(|l| l.cost).sum();
    let mut layers: Vec<Dear> = (known.iter())
        .map(|l| Dear {
            layer: l.info.symbol.clone(),
            node: node(l.info),
            ops: l.info.op(),
            kernel: l.info.kernels.join(" "),
            cost: l.cost,
            share: l.cost / total.max(f64::MIN_POSITIVE),
        })
        .collect();
    layers.sort_by(|x, y| y.cost.total_cmp(&x.cost));
    let mut advice: Vec<Advice> = known
        .iter()
        .flat_map(|l| of_layer(l, total, machine, in_ns))
        .collect();
    advice.sort_by(|x, y| y.gain.total_cmp(&x.gain));
    Advised {
        unit: match in_ns {
            true => "ns",
            false => "relative",
        },
        without_query: known.iter().filter(|l| l.query.is_none()).count(),
        at_largest: known.iter().filter(|l| l.free).count(),
        total,
        unknown: all
            .iter()
            .filter(products)
            .count()
            .saturating_sub(known.len()),
        in_int8: in_int8(&known, machine, in_ns),
        layers,
        advice,
    }
}

/// The layer's cost by the table, if its kernel was chosen by that.
fn cost<'a>(info: &'a LayerInfo, a: &Artifact, machine: &Machine) -> Option<Layer<'a>> {
    let kernel = info.kernels.first()?;
    let (_, cost) = info.choice.1.iter().find(|c| c.0 == *kernel)?;
    let costs = &machine.target.machine.costs;
    let mut layer = Layer {
        info,
        cost: *cost,
        query: Query::parse(&info.choice.0),
        whole: false,
        free: false,
    };
    if layer.query.is_some() {
        return Some(layer);
    }
    layer.whole = info.ops.first().is_some_and(|o| o.ends_with("Integer"));
    // A query that was made of the node is only believed if a row of plain products that was among the candidates costs what the layer's did.
    let mut rows = info.choice.1.iter();
    let mut alike = |q: &Query| {
        rows.any(|(row, cost)| {
            let own = whole::cost(costs, row, None, q);
            own.is_some_and(|c| (c - cost).abs() <= 0.01 * cost)
        })
    };
    match whole::query(&a.model, info) {
        Some((q, true)) => (layer.query, layer.free) = (Some(q), true),
        Some((q, false)) if layer.whole && alike(&q) => layer.query = Some(q),
        _ => {}
    }
    Some(layer)
}

/// The first of the layer's nodes: that of the sum, as what follows is done on its way out.
fn node(info: &LayerInfo) -> String {
    info.nodes.first().cloned().unwrap_or_default()
}

/// The row of plain products of whole numbers, without `conv_` or `gemm_`.
fn strips(machine: &Machine) -> Option<&'static str> {
    let has = |n: Numbers| machine.target.machine.tile(n.contract()).is_some();
    match (has(Numbers::Bytes), has(Numbers::Words)) {
        (true, _) => Some("i8_strip"),
        (_, true) => Some("i16_strip"),
        _ => None,
    }
}

/// What the layers would cost in 8 bits; those with free sizes as they are.
fn in_int8(known: &[Layer], machine: &Machine, in_ns: bool) -> Option<f64> {
    let features = &machine.target.machine;
    let row = strips(machine)?;
    let floats = |l: &&Layer| l.info.kernels.iter().any(|k| k.contains("f32"));
    known.iter().find(floats)?;
    let mut sum = 0.0;
    for l in known {
        let Some(q) = l.query.as_ref().filter(|_| floats(&l) && !l.free) else {
            sum += l.cost;
            continue;
        };
        let name = match q.depthwise() {
            true => "conv_i8_depthwise_last".to_string(),
            false => format!("{}_{row}", q.kind),
        };
        if features.costs.rates.contains_key(&name) != in_ns {
            return None;
        }
        let [call, mac, ..] = features.costs.rates_of(&name);
        sum += call + mac * kernel::amounts(&q.text())?.0;
    }
    Some(sum)
}

fn of_layer(l: &Layer, total: f64, machine: &Machine, in_ns: bool) -> Vec<Advice> {
    let mut out = vec![];
    let mut say = |what: String, now: f64, then: f64| {
        if now - then >= WORTH * now && now > 0.0 {
            out.push(Advice {
                layer: l.info.symbol.clone(),
                node: node(l.info),
                what,
                now,
                then,
                gain: (now - then) / total.max(f64::MIN_POSITIVE),
            });
        }
    };
    let Some(q) = &l.query else { return out };
    let features = &machine.target.machine;
    let own = l.info.kernels.first().map_or("", String::as_str);
    let costs = &features.costs;
    let same = |row: &str| costs.rates.contains_key(row) == in_ns;
    let plain = |q: &Query| {
        if l.whole {
            let strips = strips(machine)
                .map(|s| format!("{}_{s}", q.kind))
                .filter(|s| same(s));
            return whole::cost(costs, own, strips.as_deref(), q);
        }
        let (row, cost) = kernel::cost(machine, &q.text()).ok()?;
        same(row).then_some(cost)
    };
    // Sizes that are free have no cost of their own: the layer's is scaled as that of the largest ones changes.
    let scale = match l.free {
        true => plain(q).map_or(0.0, |c| l.cost / c.max(f64::MIN_POSITIVE)),
        false => 1.0,
    };
    if scale == 0.0 {
        return out;
    }
    let ask = |q: &Query| plain(q).map(|c| scale * c);
    if l.free
        && !l.whole
        && !whole::transforms(costs, own)
        && let Some(fixed) = plain(q)
        && let Some((macs, _)) = kernel::amounts(&q.text())
    {
        let [call, mac, ..] = costs.rates_of(own);
        let then = l.cost * fixed / (call + mac * macs).max(f64::MIN_POSITIVE);
        say(
            "sizes fixed when it is compiled (--dim): another kernel takes them".into(),
            l.cost,
            then,
        );
    }
    let lanes = features
        .vector
        .as_ref()
        .map_or(i64::from(features.lanes), |v| v.lanes);
    let lanes = lanes.max(1);
    if let Some((alone, mix)) = q.separated()
        && q.input.get(1).is_some_and(|c| *c >= 8)
        && let (Some(a), Some(b)) = (ask(&alone), ask(&mix))
    {
        let k: Vec<String> = q.window().iter().map(i64::to_string).collect();
        say(
            format!(
                "a depthwise {} convolution and a 1x1 one behind it",
                k.join("x")
            ),
            l.cost,
            a + b,
        );
    }
    if let Some(small) = q.narrowed()
        && let Some(then) = ask(&small)
    {
        say(
            "a window of 3 in place of the larger one".into(),
            l.cost,
            then,
        );
    }
    if q.unit_stride()
        && q.window().iter().any(|k| *k > 1)
        && l.cost >= LARGE * total
        && q.input.get(2..).is_some_and(|s| s.iter().all(|n| *n >= 16))
        && let Some(then) = ask(&q.clone().with("stride", "2"))
    {
        say(
            "stride 2 here: the output, and all that follows, has a quarter of the elements".into(),
            l.cost,
            then,
        );
    }
    if let Some(n) = q.channels().filter(|_| !l.whole)
        && n % lanes != 0
        && n > lanes
        && let Some(then) = ask(&q.clone().with_channels(n - n % lanes))
    {
        let down = n - n % lanes;
        let up = ask(&q.clone().with_channels(down + lanes));
        let free = match up.is_some_and(|c| c <= 1.02 * l.cost) {
            true => format!(", and {} would cost no more than {n}", down + lanes),
            false => String::new(),
        };
        say(
            format!("{down} output channels in place of {n}: vectors hold {lanes}{free}"),
            l.cost,
            then,
        );
    }
    if !l.whole && !l.free {
        activation(l, q, &mut say, machine);
    }
    out
}

/// What a cheaper activation would save: its operations, at the kernel's own rate for a multiply-accumulate.
fn activation(l: &Layer, q: &Query, say: &mut impl FnMut(String, f64, f64), machine: &Machine) {
    let Some((name, other, ops)) =
        (ACTIVATIONS.iter()).find(|a| l.info.ops.iter().any(|o| o == a.0))
    else {
        return;
    };
    let Some((macs, elements)) = kernel::amounts(&q.text()) else {
        return;
    };
    // What the layer does beyond its products, for each element.
    let beyond = (l.info.macs as f64 - macs) / elements.max(1.0);
    let kernel = l.info.kernels.first().map_or("", String::as_str);
    let [_, rate, ..] = machine.target.machine.costs.rates_of(kernel);
    let saved = (beyond - ops).max(0.0) * elements * rate;
    say(
        format!("{other} in place of {name}"),
        l.cost + beyond.max(0.0) * elements * rate,
        l.cost + beyond.max(0.0) * elements * rate - saved,
    );
}

/// The same advice for several layers as one, under the node where it saves most; and for how many others it is.
fn merged(advice: &[Advice]) -> Vec<(Advice, usize)> {
    let mut out: Vec<(Advice, usize)> = vec![];
    for a in advice {
        match out.iter_mut().find(|(o, _)| o.what == a.what) {
            None => out.push((a.clone(), 0)),
            Some((o, others)) => {
                *others += 1;
                o.now += a.now;
                o.then += a.then;
                o.gain += a.gain;
            }
        }
    }
    out.sort_by(|x, y| y.0.gain.total_cmp(&x.0.gain));
    out
}

impl Advised {
    fn figure(&self, cost: f64) -> String {
        match self.unit {
            "ns" => format!("{:.1} us", cost / 1e3),
            _ => format!("{cost:.0}"),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        if self.layers.is_empty() {
            return "no layer's kernel was chosen by a cost table: there is nothing to compare\n"
                .into();
        }
        let mut out = format!(
            "{} layers, {} by the cost table{}\n",
            self.layers.len(),
            self.figure(self.total),
            match self.unit {
                "ns" => "",
                _ =>
                    " (a measure for comparison: the table of this CPU does not name these kernels)",
            }
        );
        if self.unknown > 0 {
            out += &format!(
                "{} layers with work are not in the table, or not in its measure\n",
                self.unknown
            );
        }
        if let Some(cost) = self.in_int8 {
            out += &format!(
                "in 8 bits (`onnxc quantize`) the same layers: {}\n",
                self.figure(cost)
            );
        }
        let mut table = Table::new(&[
            ("% of cost", Align::Right),
            ("cost", Align::Right),
            ("operators", Align::Left),
            ("kernel", Align::Left),
            ("node", Align::Left),
        ]);
        for d in self.layers.iter().take(SHOWN) {
            table.row(vec![
                format!("{:.1}", 100.0 * d.share),
                self.figure(d.cost),
                d.ops.clone(),
                d.kernel.clone(),
                d.node.clone(),
            ]);
        }
        out += &format!("\nwhat costs most\n{}", table.text(44));
        if self.advice.is_empty() {
            out += "\nno cheaper equivalent is known\n";
            return out + &self.left_out();
        }
        let merged = merged(&self.advice);
        let mut table = Table::new(&[
            ("saves %", Align::Right),
            ("now", Align::Right),
            ("then", Align::Right),
            ("what", Align::Left),
            ("node", Align::Left),
        ]);
        for (a, others) in merged.iter().take(SHOWN) {
            table.row(vec![
                format!("{:.1}", 100.0 * a.gain),
                self.figure(a.now),
                self.figure(a.then),
                a.what.clone(),
                match others {
                    0 => a.node.clone(),
                    n => format!("{} and {n} more", a.node),
                },
            ]);
        }
        out += &format!("\nwhat would be cheaper\n{}", table.text(90));
        if merged.len() > SHOWN {
            out += &format!("and {} more: --json has all\n", merged.len() - SHOWN);
        }
        out += "\nEstimates, of kernels alone; the model has to be trained again with what is changed.\n";
        out + &self.left_out()
    }

    fn left_out(&self) -> String {
        let largest = match self.at_largest {
            0 => String::new(),
            n => format!("{n} layers have free sizes, and are compared at the largest\n"),
        };
        largest
            + &match self.without_query {
                0 => String::new(),
                n => format!(
                    "of {n} layers only the cost is known: they are no plain convolution or product of matrices\n"
                ),
            }
    }
}
