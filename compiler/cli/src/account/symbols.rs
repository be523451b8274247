//! Which layers run in which function of the object.
//!
//! A layer's own symbol is a few instructions that call a body; layers of like shape share one, and bodies share tiles. Profilers show the
//! function in which time passes, so each is told with all layers that come to it.

use std::collections::BTreeMap;

use onnxc_compiler::Artifact;
use serde::Serialize;

use crate::table::{Align, Table, bytes};

/// A function.
#[derive(Serialize)]
pub struct Symbol {
    /// Its symbol.
    pub symbol: String,
    /// Bytes of its code.
    pub bytes: u64,
    /// Symbols of the layers that run in it.
    pub layers: Vec<String>,
}

/// All functions that some layer runs in, in the order of the object.
pub fn of(a: &Artifact) -> Vec<Symbol> {
    let parts = &a.code.parts;
    let at: BTreeMap<&str, usize> = (parts.iter().enumerate())
        .map(|(k, p)| (p.name.as_str(), k))
        .collect();
    let mut users: Vec<Vec<String>> = vec![vec![]; parts.len()];
    for layer in &a.code.layer_symbols {
        let Some(&first) = at.get(layer.as_str()) else {
            continue;
        };
        let mut seen = vec![false; parts.len()];
        let mut open = vec![first];
        while let Some(k) = open.pop() {
            let Some(part) = parts.get(k) else { continue };
            if std::mem::replace(&mut seen[k], true) {
                continue;
            }
            users[k].push(layer.clone());
            let next = part.targets.iter().chain(&part.points_to);
            open.extend(next.map(|t| *t as usize));
        }
    }
    let all = parts.iter().zip(users).filter(|(_, u)| !u.is_empty());
    all.map(|(p, layers)| Symbol {
        symbol: p.name.clone(),
        bytes: p.machine.bytes.len() as u64,
        layers,
    })
    .collect()
}

/// The same for a person, with the ONNX nodes.
pub fn text(a: &Artifact) -> String {
    let nodes: BTreeMap<&str, &Vec<String>> = (a.info.layers.iter())
        .map(|l| (l.symbol.as_str(), &l.nodes))
        .collect();
    let mut table = Table::new(&[
        ("symbol", Align::Left),
        ("code", Align::Right),
        ("layers", Align::Right),
        ("nodes", Align::Left),
    ]);
    for s in of(a) {
        let names: Vec<&str> = (s.layers.iter())
            .filter_map(|l| nodes.get(l.as_str()))
            .flat_map(|n| n.iter().map(String::as_str))
            .collect();
        table.row(vec![
            s.symbol,
            bytes(s.bytes),
            s.layers.len().to_string(),
            names.join(" "),
        ]);
    }
    table.text(usize::MAX)
}
