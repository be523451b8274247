//! One blob of weights for several programs of one model: what two of them hold alike lies there once.

use super::program::{ALIGN, Place, Program, align_of_constant};
use bytes::Bytes;
use std::collections::HashMap;

/// Moves the constants of all programs into one list, which each of them then holds.
pub fn share_weights(programs: &mut [Program]) {
    let mut known: HashMap<Bytes, u64> = HashMap::new();
    let mut all: Vec<(u64, Bytes)> = vec![];
    let mut end = 0u64;
    for p in programs.iter_mut() {
        // Where each constant of the program was, and where it is.
        let moved: Vec<(u64, u64)> = p
            .weights
            .iter()
            .map(|(from, bytes)| {
                let to = *known.entry(bytes.clone()).or_insert_with(|| {
                    let at = end.next_multiple_of(align_of_constant(bytes.len() as u64));
                    end = at + bytes.len() as u64;
                    all.push((at, bytes.clone()));
                    at
                });
                (*from, to)
            })
            .collect();
        let settle = |place: Place| match place {
            Place::Weights(at) => {
                let n = moved.partition_point(|(from, _)| *from <= at);
                let (from, to) = n.checked_sub(1).map_or((0, 0), |k| moved[k]);
                Place::Weights(at - from + to)
            }
            other => other,
        };
        for l in p.layers.ids().collect::<Vec<_>>() {
            p.layers[l] = p.layers[l].clone().settle(&settle);
        }
        let steps = std::mem::take(&mut p.steps).into_iter();
        p.steps = steps.map(|s| s.settle(&settle)).collect();
    }
    // As for one program: whole units of alignment.
    let bytes = end.next_multiple_of(ALIGN);
    for p in programs {
        p.weights = all.clone();
        p.weights_bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::ir::Func;
    use crate::plan::program::Layer;

    fn program(weights: &[(u64, &'static [u8])], at: u64) -> Program {
        let mut p = Program::default();
        let func = p.funcs.push(Func::default());
        let args = vec![Place::Weights(at), Place::Arena(at)];
        p.layers.push(Layer::of("a", func, args));
        p.weights = weights
            .iter()
            .map(|(o, b)| (*o, Bytes::from_static(b)))
            .collect();
        p
    }

    #[test]
    fn equal_constants_lie_once() {
        let mut list = [
            program(&[(0, b"same"), (64, b"one")], 65),
            program(&[(0, b"two"), (64, b"same")], 64),
        ];
        share_weights(&mut list);
        let offsets: Vec<u64> = list[0].weights.iter().map(|w| w.0).collect();
        assert_eq!(offsets, [0, 8, 16]);
        assert_eq!((list[0].weights_bytes, list[1].weights_bytes), (64, 64));
        let args = list
            .each_ref()
            .map(|p| p.layers.iter().next().map(|(_, l)| l.args.clone()));
        assert_eq!(args[0], Some(vec![Place::Weights(9), Place::Arena(65)]));
        assert_eq!(args[1], Some(vec![Place::Weights(0), Place::Arena(64)]));
    }
}
