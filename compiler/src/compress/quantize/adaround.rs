//! Rounding up or down as suits the layer, learned: Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization", section 3.
//!
//! Each weight of a row is `step * (floor(w / step) + h(v))`, `h` a sigmoid stretched from -0.1 to 1.1 and limited to 0 to 1. Gradient descent (Adam) finds the `v`
//! whose weights change the layer's result least, `e' H e` with the second moments `H` of its inputs, while a second term drives each `h` to 0 or 1.

/// Steps of the descent.
const ITERATIONS: usize = 400;
/// Those before the second term counts.
const WARM: usize = 80;
/// Weight of the second term, in units of what rounding every weight by half a step would cost if no two inputs were related.
const DRIVE: f64 = 3.0;
const RATE: f64 = 0.1;
/// The stretched sigmoid's ends.
const LOW: f64 = -0.1;
const HIGH: f64 = 1.1;

/// Rounds a row of weights by moments `h` `[depth, depth]`, lower triangle. `steps` is each weight's step, numbers go from `least` to `most`.
pub fn round(h: &[f64], row: &[f64], steps: &[f64], least: f64, most: f64) -> Vec<f64> {
    let n = row.len();
    let floors: Vec<f64> = (0..n).map(|k| libm::floor(row[k] / steps[k])).collect();
    let unit = (0..n)
        .map(|k| h[k * n + k] * steps[k] * steps[k] / 4.0)
        .sum::<f64>()
        / n.max(1) as f64;
    if !unit.is_finite() || unit <= 0.0 {
        return finished(
            &floors,
            row,
            steps,
            |k| row[k] / steps[k] - floors[k],
            least,
            most,
        );
    }
    // Where h is what the weight is: nothing is rounded yet.
    let mut v: Vec<f64> = (0..n)
        .map(|k| {
            let rest = (row[k] / steps[k] - floors[k]).clamp(0.001, 0.999);
            -libm::log((HIGH - LOW) / (rest - LOW) - 1.0)
        })
        .collect();
    let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
    let mut error = vec![0.0; n];
    for t in 0..ITERATIONS {
        for k in 0..n {
            let q = (floors[k] + soft(v[k]).0).clamp(least, most);
            error[k] = q * steps[k] - row[k];
        }
        let pull = product(h, &error);
        let drive = if t < WARM { 0.0 } else { DRIVE };
        // From 20, where only what is nearly decided is driven, to 2.
        let share = (t.saturating_sub(WARM)) as f64 / (ITERATIONS - WARM) as f64;
        let beta = 2.0 + 18.0 * (1.0 - share);
        for k in 0..n {
            let (s, slope) = soft(v[k]);
            let inside = (least..=most).contains(&(floors[k] + s));
            let own = if inside {
                2.0 * pull[k] * steps[k] / unit
            } else {
                0.0
            };
            let x = 2.0 * s - 1.0;
            let away = -2.0 * beta * libm::pow(x.abs(), beta - 1.0) * x.signum();
            let g = (own + drive * away) * slope;
            first[k] = 0.9 * first[k] + 0.1 * g;
            second[k] = 0.999 * second[k] + 0.001 * g * g;
            let (a, b) = (
                first[k] / (1.0 - libm::pow(0.9, (t + 1) as f64)),
                second[k] / (1.0 - libm::pow(0.999, (t + 1) as f64)),
            );
            v[k] -= RATE * a / (libm::sqrt(b) + 1e-12);
        }
    }
    finished(&floors, row, steps, |k| soft(v[k]).0, least, most)
}

fn finished(
    floors: &[f64],
    row: &[f64],
    steps: &[f64],
    share: impl Fn(usize) -> f64,
    least: f64,
    most: f64,
) -> Vec<f64> {
    debug_assert_eq!(row.len(), steps.len());
    let up = |k: usize| if share(k) >= 0.5 { 1.0 } else { 0.0 };
    let all = floors.iter().enumerate();
    all.map(|(k, f)| (f + up(k)).clamp(least, most)).collect()
}

/// The stretched sigmoid and its slope.
fn soft(v: f64) -> (f64, f64) {
    let s = 1.0 / (1.0 + libm::exp(-v));
    let wide = s * (HIGH - LOW) + LOW;
    match wide {
        w if w <= 0.0 => (0.0, 0.0),
        w if w >= 1.0 => (1.0, 0.0),
        w => (w, s * (1.0 - s) * (HIGH - LOW)),
    }
}

/// `H e` of a lower triangle.
fn product(h: &[f64], e: &[f64]) -> Vec<f64> {
    let n = e.len();
    let mut out = vec![0.0; n];
    for i in 0..n {
        let row = &h[i * n..i * n + i];
        let mut sum = h[i * n + i] * e[i];
        for j in 0..i {
            sum += row[j] * e[j];
            out[j] += row[j] * e[i];
        }
        out[i] += sum;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::gptq::cost;
    use super::*;

    #[test]
    fn products_of_triangles() {
        // numpy: [[2,1,0],[1,3,.5],[0,.5,1]] @ [1,-1,2]
        let h = [2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.5, 1.0];
        assert_eq!(product(&h, &[1.0, -1.0, 2.0]), [1.0, -1.0, 1.5]);
    }

    #[test]
    fn finds_what_trying_all_finds() {
        let n = 8;
        let mut h = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                h[i * n + j] = libm::pow(0.7, (i - j) as f64) + if i == j { 0.05 } else { 0.0 };
            }
        }
        let (mut found, mut best, mut plain) = (0.0, 0.0, 0.0);
        for r in 0..12 {
            let row: Vec<f64> = (0..n)
                .map(|k| libm::sin((r * 13 + k * 7) as f64) * 3.0)
                .collect();
            let steps = vec![1.0; n];
            let of = |q: &[f64]| {
                let e: Vec<f64> = row.iter().zip(q).map(|(w, q)| w - q).collect();
                cost(&h, &e)
            };
            let choice = |bits: usize| -> Vec<f64> {
                let up = |k: usize| if bits >> k & 1 == 1 { 1.0 } else { 0.0 };
                (0..n).map(|k| libm::floor(row[k]) + up(k)).collect()
            };
            found += of(&round(&h, &row, &steps, -7.0, 7.0));
            best += (0..1 << n)
                .map(|b| of(&choice(b)))
                .fold(f64::INFINITY, f64::min);
            let nearest: Vec<f64> = row.iter().map(|w| libm::rint(*w)).collect();
            plain += of(&nearest);
        }
        assert!(
            found < 1.35 * best && found < 0.6 * plain,
            "{found} {best} {plain}"
        );
    }
}
