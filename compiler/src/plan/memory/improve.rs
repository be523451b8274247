//! Local search over the order in which intervals are placed: what reaches the top moves towards the front.

use super::fit::{Problem, Rule};

/// Improves a placement that came from `order` (or from offsets sorted), for at most `steps` steps.
pub fn improve(p: &Problem, best: &mut (u64, Vec<u64>), mut order: Vec<u32>, steps: u64) {
    let Some(pairs) = p.pairs() else { return };
    let rounds = (steps / (4 * (pairs + p.len() as u64))).min(1000);
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 33) % n.max(1) as u64) as usize
    };
    let mut now = p.fit(&order, Rule::First);
    if now.0 < best.0 {
        *best = now.clone();
    }
    for round in 0..rounds {
        if best.0 <= p.peak {
            return;
        }
        let top = now.0;
        // Those that end at the top, or one that lives with them.
        let high: Vec<usize> = (0..order.len())
            .filter(|&k| {
                let i = order[k] as usize;
                now.1[i] + p.list[i].bytes == top
            })
            .collect();
        let Some(&k) = high.get(next(high.len())) else {
            return;
        };
        let mut trial = order.clone();
        let near = p.near(order[k]).unwrap_or(&[]);
        let moved = match round % 3 {
            0 | 1 => k,
            _ => match near.get(next(near.len())) {
                Some(other) => order.iter().position(|o| o == other).unwrap_or(k),
                None => k,
            },
        };
        let i = trial.remove(moved);
        let to = match round % 3 {
            0 => next(moved + 1),
            1 => 0,
            _ => next(trial.len() + 1),
        };
        trial.insert(to, i);
        let found = p.fit(&trial, Rule::First);
        // Equal ones are taken too: they lead across plateaus.
        if found.0 <= now.0 {
            order = trial;
            now = found;
            if now.0 < best.0 {
                *best = now.clone();
            }
        }
    }
}
