//! Shares of layers by what each does to the outputs: what saves most for the error it makes goes first.
//!
//! Errors of layers add up, about: each is small beside the signal, and they know nothing of each other. So the price of taking a layer from one share to the
//! next is the error that this adds over what it saves, both measured, and the cheapest step is taken again and again. How many steps are needed, the goal
//! says ([`super::goal`]).

use super::sensitivity::Curve;

/// What counts as saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gain {
    /// Weights that are gone: bytes.
    Weights,
    /// Multiply-accumulates that are gone: time.
    Macs,
}

/// A step: the number of a curve and the share it goes to.
pub type Step = (usize, f64);

/// Every step that is worth anything, the cheapest first.
pub fn steps(curves: &[Curve], gain: Gain) -> Vec<Step> {
    let mut now: Vec<Place> = vec![Place::default(); curves.len()];
    let ways: Vec<Vec<Place>> = curves.iter().map(|c| places(c, gain)).collect();
    let mut out = vec![];
    loop {
        let mut best: Option<(f64, usize, Place)> = None;
        for (k, way) in ways.iter().enumerate() {
            for to in way.iter().filter(|p| p.saved > now[k].saved) {
                let price = (to.noise - now[k].noise).max(0.0) / (to.saved - now[k].saved);
                if best.as_ref().is_none_or(|b| price < b.0) {
                    best = Some((price, k, *to));
                }
            }
        }
        let Some((_, k, to)) = best else { return out };
        now[k] = to;
        out.push((k, to.share));
    }
}

/// The share of each curve after some steps.
pub fn shares(curves: &[Curve], steps: &[Step]) -> Vec<f64> {
    let mut all = vec![0.0; curves.len()];
    for (k, share) in steps {
        all[*k] = *share;
    }
    all
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    share: f64,
    noise: f64,
    saved: f64,
}

/// Noise and savings of a curve's shares. Noise never falls where more goes: that would be luck.
fn places(c: &Curve, gain: Gain) -> Vec<Place> {
    let mut most = 0.0f64;
    let one = |p: &super::sensitivity::Point| {
        let noise = libm::pow(10.0, -p.sqnr / 10.0);
        most = most.max(if noise.is_nan() { f64::INFINITY } else { noise });
        let (before, after) = match gain {
            Gain::Weights => (p.saved.weights.0 as f64, p.saved.weights.1 as f64),
            Gain::Macs => p.saved.macs,
        };
        Place {
            share: p.share,
            noise: most,
            saved: before - after,
        }
    };
    let all: Vec<Place> = c.points.iter().map(one).collect();
    all.into_iter().filter(|p| p.noise.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cutting::{Piece, Saved};
    use super::super::sensitivity::Point;
    use super::*;

    fn curve(name: &str, points: &[(f64, f64, usize)]) -> Curve {
        let one = |&(share, sqnr, gone): &(f64, f64, usize)| Point {
            share,
            sqnr,
            saved: Saved {
                macs: (1e4, 1e4 - 2.0 * gone as f64),
                weights: (1000, 1000 - gone),
            },
        };
        Curve {
            piece: Piece::named(name),
            points: points.iter().map(one).collect(),
        }
    }

    #[test]
    fn what_hurts_least_for_what_it_saves_goes_first() {
        let curves = [
            // Much for little, until most is gone.
            curve("a", &[(0.5, 40.0, 100), (0.9, 10.0, 180)]),
            // Little for little.
            curve("b", &[(0.5, 30.0, 10), (0.9, 20.0, 18)]),
            // More hurts less: luck, or the same price for both.
            curve("c", &[(0.5, 20.0, 50), (0.9, 25.0, 90)]),
        ];
        for gain in [Gain::Weights, Gain::Macs] {
            let all = steps(&curves, gain);
            // 1e-4 / 100, 1e-3 / 10, 1e-2 / 90, 9e-3 / 8, 0.0999 / 80.
            assert_eq!(all, [(0, 0.5), (1, 0.5), (2, 0.9), (1, 0.9), (0, 0.9)]);
            assert_eq!(shares(&curves, &all[..3]), [0.5, 0.5, 0.9]);
        }
        assert!(steps(&[], Gain::Macs).is_empty());
        // What saves nothing is never taken.
        assert!(steps(&[curve("d", &[(0.5, 40.0, 0)])], Gain::Weights).is_empty());
    }
}
