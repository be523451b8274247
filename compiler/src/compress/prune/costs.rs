//! What it costs to remove a unit: the share of the results of the layers that read its channels.

use super::Criterion;
use super::layer::Layer;
use super::relations::Axis;
use super::seen::Seen;
use super::units::Units;
use crate::graph::ir::{Graph, NodeId};
use std::collections::{BTreeMap, HashMap};

/// The energy of each index of both axes of a layer's weights.
struct Energies {
    /// Of output channels, relative to their mean.
    out: Vec<f64>,
    /// Of input channels, as shares of all.
    into: Vec<f64>,
}

/// The cost of each unit. `seen`: what layers read, where data is given; without, channels are as strong as the weights that make them.
pub fn costs(
    g: &Graph,
    units: &Units,
    layers: &[Layer],
    criterion: Criterion,
    seen: &BTreeMap<NodeId, Seen>,
) -> Vec<f64> {
    let mut of: HashMap<Axis, (usize, bool)> = HashMap::new();
    let mut energies = vec![];
    for (k, l) in layers.iter().enumerate() {
        of.insert((l.value, l.out_axis), (k, true));
        of.insert((l.value, l.in_axis), (k, false));
        let seen = seen.get(&l.node).filter(|s| !s.is_empty());
        let seen = seen.filter(|_| criterion == Criterion::Activation);
        energies.push(energy(g, l, criterion, seen.map(|s| s.powers(true))));
    }
    let known = |l: &Layer| seen.get(&l.node).is_some_and(|s| !s.is_empty());
    let mut out = vec![];
    for u in &units.list {
        let (mut read, mut made, mut makers, mut blind) = (0.0, 0.0, 0usize, false);
        let mut readers = 0usize;
        for (a, list) in &u.places {
            let Some(&(k, is_out)) = of.get(&units.axes[*a]) else {
                continue;
            };
            let (l, e) = (&layers[k], &energies[k]);
            // What a depthwise layer reads and makes is the same channel: it counts as making it.
            if is_out {
                let at = |i: &usize| e.out.get(*i).copied().unwrap_or(0.0);
                made += list.iter().map(at).sum::<f64>() / list.len().max(1) as f64;
                makers += 1;
            } else if !l.depthwise() {
                let at = |i: &usize| e.into.get(*i).copied().unwrap_or(0.0);
                read += list.iter().map(at).sum::<f64>();
                readers += 1;
                blind |= !known(l);
            }
        }
        let made = match makers {
            0 => 1.0,
            n => made / n as f64,
        };
        let blind = blind || criterion != Criterion::Activation;
        out.push(match (readers, blind) {
            (0, _) => made / units.list.len().max(1) as f64,
            (_, true) => read * made,
            (_, false) => read,
        });
    }
    out
}

fn energy(g: &Graph, l: &Layer, criterion: Criterion, powers: Option<Vec<f64>>) -> Energies {
    let w = l.weights(g);
    let ins = l.depth / l.taps;
    let rows = match l.op {
        "ConvTranspose" => l.rows / l.groups,
        _ => l.rows,
    };
    let channels = if l.op == "ConvTranspose" {
        l.channels()
    } else {
        ins
    };
    let (mut out, mut into) = (vec![0.0; rows], vec![0.0; channels]);
    for r in 0..l.rows {
        for k in 0..l.depth {
            let v = w[r * l.depth + k];
            let e = match criterion {
                Criterion::Magnitude => v.abs(),
                Criterion::L2 | Criterion::Activation => v * v,
            };
            let c = l.channel(r, k);
            out[r % rows] += e;
            let strong = powers.as_ref().and_then(|p| p.get(c)).copied();
            into[c % channels] += e * strong.unwrap_or(1.0);
        }
    }
    let mean = out.iter().sum::<f64>() / rows.max(1) as f64;
    let all = into.iter().sum::<f64>();
    let share = |v: f64, of: f64| if of > 0.0 { v / of } else { 0.0 };
    Energies {
        out: out.into_iter().map(|v| share(v, mean)).collect(),
        into: into.into_iter().map(|v| share(v, all)).collect(),
    }
}
