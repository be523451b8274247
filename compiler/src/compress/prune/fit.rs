//! Making up for what went, without labels: the weights of a layer are solved for, so that from what it reads in the pruned model it makes what it made
//! in the whole one, on all samples, in the sense of least squares. Weights are pulled a little towards what they were, as few cases say little about
//! rare directions.

use super::layer::Layer;
use super::solve::{dot, factor, solve, solve_some};
use crate::base::attr::Attrs;
use crate::base::dim::Dim;
use crate::compress::quantize::gptq::Factor;
use crate::compress::quantize::moments::place;
use crate::contracts::window::Window;

/// Samples that are multiplied at once.
const TILE: usize = 32;
/// Inputs of one sum, at most: their square is held in f64.
const MOST_DEPTH: usize = 4608;
/// Bytes of all sums of products of one layer, at most.
const MOST_BYTES: usize = 1 << 30;
/// How strongly weights are pulled towards what they were, as a share of the mean power of the inputs.
const PULL: f64 = 0.003;

/// Sums over samples of what a layer reads in the pruned model and makes in the whole one.
pub struct Fit {
    layer: Layer,
    window: Option<(Attrs, Vec<i64>)>,
    count: f64,
    /// `[groups, depth]`.
    reads: Vec<f64>,
    /// `[rows]`.
    makes: Vec<f64>,
    /// `[groups, depth, depth]`, lower triangle.
    squares: Vec<f64>,
    /// `[rows, depth]`.
    products: Vec<f64>,
    /// `[groups, depth, TILE]` and `[rows, TILE]`: samples that are not yet in the sums.
    xs: Vec<f32>,
    ys: Vec<f32>,
    filled: usize,
}

/// New numbers of a layer.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Its weights, row by row.
    pub weights: Vec<f64>,
    /// What a bias must be for the means to be right, for each row; that of the whole model's own bias is in it.
    pub bias: Vec<f64>,
}

impl Fit {
    /// Nothing yet, of a layer of the pruned model. `None` where no such fit is made: too large, or not a plain sum.
    pub fn new(layer: &Layer, attrs: &Attrs, kernel: &[i64]) -> Option<Fit> {
        let plain = |n: &str| attrs.float(n, 1.0) == 1.0;
        let known = match layer.op {
            "Conv" => true,
            "Gemm" | "MatMul" => plain("alpha") && plain("beta"),
            _ => false,
        };
        let d = layer.depth;
        let bytes = layer.groups.saturating_mul(d * d).saturating_mul(8);
        let plain = attrs.str("activation", "").is_empty();
        if !known || !plain || d == 0 || d > MOST_DEPTH || bytes > MOST_BYTES {
            return None;
        }
        Some(Fit {
            window: (layer.op == "Conv").then(|| (attrs.clone(), kernel.to_vec())),
            count: 0.0,
            reads: vec![0.0; layer.groups * d],
            makes: vec![0.0; layer.rows],
            squares: vec![0.0; layer.groups * d * d],
            products: vec![0.0; layer.rows * d],
            xs: vec![0.0; layer.groups * d * TILE],
            ys: vec![0.0; layer.rows * TILE],
            filled: 0,
            layer: layer.clone(),
        })
    }
    /// How many samples say enough.
    pub fn wanted(&self) -> usize {
        (8 * self.layer.depth).clamp(4096, 32768)
    }
    /// Takes one case: what the layer reads in the pruned model, what it makes in the whole one, and which rows of that are left. `most` samples are taken.
    /// What does not fit is passed over; `false`: a number was not finite.
    pub fn take(
        &mut self,
        x: (&[f32], &[i64]),
        y: (&[f32], &[i64]),
        rows: &[usize],
        most: usize,
    ) -> bool {
        let finite = |l: &[f32]| l.iter().all(|v| v.is_finite());
        if !finite(x.0) || !finite(y.0) {
            return false;
        }
        if rows.len() != self.layer.rows || x.0.is_empty() || y.0.is_empty() {
            return true;
        }
        match self.window.clone() {
            None => self.lines(x, y, rows, most),
            Some((attrs, kernel)) => self.windows(x, y, rows, most, &attrs, &kernel),
        }
        self.flush();
        true
    }

    fn lines(&mut self, x: (&[f32], &[i64]), y: (&[f32], &[i64]), rows: &[usize], most: usize) {
        let (d, width) = (self.layer.depth, y.1.last().copied().unwrap_or(0) as usize);
        let lines = x.0.len() / d;
        let inside = rows.iter().all(|r| *r < width);
        if x.1.last() != Some(&(d as i64)) || y.0.len() != lines * width || !inside {
            return;
        }
        for line in (0..lines).step_by(step(lines, most)) {
            for k in 0..d {
                self.xs[k * TILE + self.filled] = x.0[line * d + k];
            }
            for (m, r) in rows.iter().enumerate() {
                self.ys[m * TILE + self.filled] = y.0[line * width + r];
            }
            self.next();
        }
    }

    fn windows(
        &mut self,
        x: (&[f32], &[i64]),
        y: (&[f32], &[i64]),
        rows: &[usize],
        most: usize,
        attrs: &Attrs,
        kernel: &[i64],
    ) {
        let sizes: Vec<usize> = x.1.iter().map(|d| (*d).max(0) as usize).collect();
        let l = &self.layer;
        let (taps, each) = (l.taps, l.depth / l.taps);
        let (groups, depth) = (l.groups, l.depth);
        if sizes.len() != kernel.len() + 2 || sizes[1] != groups * each {
            return;
        }
        let spatial = &sizes[2..];
        let dims: Vec<Dim> = spatial.iter().map(|&d| Dim::Fixed(d as i64)).collect();
        let Ok(w) = Window::of(attrs, kernel, &dims) else {
            return;
        };
        let out: Option<Vec<usize>> = (w.out.iter())
            .map(|d| usize::try_from(d.fixed()?).ok())
            .collect();
        let Some(out) = out else { return };
        let (plane, positions) = (
            spatial.iter().product::<usize>(),
            out.iter().product::<usize>(),
        );
        let width = y.1.get(1).copied().unwrap_or(0) as usize;
        let fits = y.0.len() == sizes[0] * width * positions && rows.iter().all(|r| *r < width);
        if !fits || x.0.len() != sizes[0] * sizes[1] * plane {
            return;
        }
        let all = sizes[0] * positions;
        let mut offsets = vec![None; taps];
        for sample in (0..all).step_by(step(all, most)) {
            let (n, p) = (sample / positions, sample % positions);
            for (t, o) in offsets.iter_mut().enumerate() {
                *o = place(&w, spatial, &out, p, t);
            }
            for c in 0..sizes[1] {
                let own = &x.0[(n * sizes[1] + c) * plane..][..plane];
                let at = (c / each * depth + c % each * taps) * TILE + self.filled;
                for (t, o) in offsets.iter().enumerate() {
                    self.xs[at + t * TILE] = o.map_or(0.0, |o| own[o]);
                }
            }
            for (m, r) in rows.iter().enumerate() {
                self.ys[m * TILE + self.filled] = y.0[(n * width + r) * positions + p];
            }
            self.next();
        }
    }

    fn next(&mut self) {
        self.filled += 1;
        if self.filled == TILE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        let clear = |list: &mut [f32], n: usize| {
            for lanes in list.chunks_exact_mut(TILE) {
                lanes[n..].fill(0.0);
            }
        };
        clear(&mut self.xs, self.filled);
        clear(&mut self.ys, self.filled);
        let (d, each) = (self.layer.depth, self.layer.rows / self.layer.groups);
        for (g, tile) in self.xs.chunks_exact(d * TILE).enumerate() {
            for (i, a) in tile.chunks_exact(TILE).enumerate() {
                self.reads[g * d + i] += f64::from(a.iter().sum::<f32>());
                let row = &mut self.squares[(g * d + i) * d..][..i + 1];
                for (sum, b) in row.iter_mut().zip(tile.chunks_exact(TILE)) {
                    *sum += f64::from(short(a, b));
                }
            }
            for m in g * each..(g + 1) * each {
                let y = &self.ys[m * TILE..(m + 1) * TILE];
                self.makes[m] += f64::from(y.iter().sum::<f32>());
                let row = &mut self.products[m * d..(m + 1) * d];
                for (sum, b) in row.iter_mut().zip(tile.chunks_exact(TILE)) {
                    *sum += f64::from(short(y, b));
                }
            }
        }
        self.count += self.filled as f64;
        self.filled = 0;
    }

    /// The new numbers. `old`: the weights as they are, row by row; `stay`: those that may differ from 0; `centred`: there is a bias to take up the means.
    pub fn solve(&self, old: &[f64], stay: Option<&[bool]>, centred: bool) -> Option<Fitted> {
        let (d, rows) = (self.layer.depth, self.layer.rows);
        if self.count < 1.0 || old.len() != rows * d {
            return None;
        }
        let (n, each) = (self.count, rows / self.layer.groups);
        let mut weights = old.to_vec();
        let mut bias = vec![0.0; rows];
        for g in 0..self.layer.groups {
            let means: Vec<f64> = (0..d).map(|k| self.reads[g * d + k] / n).collect();
            let less = |i: usize, j: usize| if centred { means[i] * means[j] } else { 0.0 };
            let mut h = vec![0.0; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let v = self.squares[(g * d + i) * d + j] / n - less(i, j);
                    h[i * d + j] = v;
                    h[j * d + i] = v;
                }
            }
            let mean = (0..d).map(|k| h[k * d + k]).sum::<f64>() / d as f64;
            let still = !(mean.is_finite() && mean > 0.0);
            let damping = PULL * mean;
            let lower = match stay {
                None if !still => Some(factor(&h, d, damping)?),
                _ => None,
            };
            for r in g * each..(g + 1) * each {
                let own = &old[r * d..(r + 1) * d];
                let made = self.makes[r] / n;
                if !still {
                    let mut rest: Vec<f64> = (0..d)
                        .map(|k| {
                            let y = self.products[r * d + k] / n;
                            let y = if centred { y - made * means[k] } else { y };
                            y - dot(&h[k * d..(k + 1) * d], own)
                        })
                        .collect();
                    let new = &mut weights[r * d..(r + 1) * d];
                    match (&lower, stay) {
                        (Some(l), _) => {
                            solve(l, d, &mut rest);
                            new.iter_mut().zip(&rest).for_each(|(w, v)| *w += v);
                        }
                        (None, Some(stay)) => {
                            let free: Vec<usize> = (0..d).filter(|k| stay[r * d + k]).collect();
                            let more = solve_some(&h, d, damping, &free, &rest);
                            for (k, v) in free.iter().zip(more) {
                                new[*k] += v;
                            }
                        }
                        (None, None) => {}
                    }
                }
                bias[r] = made - dot(&weights[r * d..(r + 1) * d], &means);
            }
        }
        let finite = weights.iter().chain(&bias).all(|v| v.is_finite());
        finite.then_some(Fitted { weights, bias })
    }

    /// Moves fitted weights to what `near` gives for each, one after the other, so that those that follow make up for it ([`Factor::settle`]); a weight that
    /// may not differ from 0 stays 0. Means are taken up again.
    pub fn settle(
        &self,
        fitted: &Fitted,
        stay: Option<&[bool]>,
        centred: bool,
        near: impl Fn(f64) -> f64,
    ) -> Fitted {
        let (d, each) = (self.layer.depth, self.layer.rows / self.layer.groups);
        let n = self.count.max(1.0);
        let mut new = fitted.clone();
        for g in 0..self.layer.groups {
            let means: Vec<f64> = (0..d).map(|k| self.reads[g * d + k] / n).collect();
            let mut h: Vec<f64> = self.squares[g * d * d..(g + 1) * d * d].to_vec();
            for i in 0..d {
                for j in 0..=i {
                    let less = if centred { means[i] * means[j] } else { 0.0 };
                    h[i * d + j] = h[i * d + j] / n - less;
                }
            }
            let factor = Factor::of(&h, d);
            for r in g * each..(g + 1) * each {
                let own = &fitted.weights[r * d..(r + 1) * d];
                let may = |k: usize| stay.is_none_or(|s| s[r * d + k]);
                let one = |k: usize, w: f64| if may(k) { near(w) } else { 0.0 };
                let settled = match &factor {
                    Some(f) => f.settle(own, one),
                    None => (0..d).map(|k| one(k, own[k])).collect(),
                };
                let moved: f64 = (0..d).map(|k| (own[k] - settled[k]) * means[k]).sum();
                new.bias[r] += moved;
                new.weights[r * d..(r + 1) * d].copy_from_slice(&settled);
            }
        }
        new
    }
}

/// Every how many samples one is taken; an odd number, so that not all lie in the same columns of a picture.
fn step(all: usize, most: usize) -> usize {
    match all.div_ceil(most.max(1)) {
        0 | 1 => 1,
        n => n | 1,
    }
}

fn short(a: &[f32], b: &[f32]) -> f32 {
    let mut eight = [0.0f32; 8];
    let (x, y) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in x.0.iter().zip(y.0) {
        for k in 0..8 {
            eight[k] += x[k] * y[k];
        }
    }
    eight.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ir::{NodeId, ValueId};

    fn layer(op: &'static str, rows: usize, depth: usize, groups: usize, taps: usize) -> Layer {
        Layer {
            node: NodeId(0),
            name: String::new(),
            op,
            value: ValueId(0),
            rows,
            depth,
            groups,
            taps,
            out_axis: 0,
            in_axis: 1,
            stored: None,
        }
    }
    fn noise(k: usize) -> f32 {
        libm::sin((k * k % 1013) as f64 * 0.7 + k as f64) as f32
    }

    #[test]
    fn what_stays_takes_over() {
        // Inputs a, b and c, where c = 2 a - b + 1 is gone: y = a + b + c is 3 a + 0 b + 1.
        let mut fit = Fit::new(&layer("MatMul", 1, 2, 1, 1), &Attrs::default(), &[]).unwrap();
        let (mut x, mut y) = (vec![], vec![]);
        for k in 0..400 {
            let (a, b) = (noise(2 * k), noise(2 * k + 1));
            x.extend([a, b]);
            // Another row lies before it, which is gone too.
            y.extend([7.0, a + b + (2.0 * a - b + 1.0)]);
        }
        assert!(fit.take((&x, &[400, 2]), (&y, &[400, 2]), &[1], 400));
        let new = fit.solve(&[1.0, 1.0], None, true).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 0.02;
        assert!(
            near(new.weights[0], 3.0) && near(new.weights[1], 0.0),
            "{new:?}"
        );
        assert!(near(new.bias[0], 1.0), "{new:?}");
        // Where the second must stay 0, the first does what it can.
        let new = fit.solve(&[1.0, 0.0], Some(&[true, false]), true).unwrap();
        assert!(
            near(new.weights[0], 3.0) && new.weights[1] == 0.0,
            "{new:?}"
        );
        assert!(!fit.take((&[f32::NAN, 0.0], &[1, 2]), (&[0.0, 0.0], &[1, 2]), &[1], 9));
        assert!(Fit::new(&layer("ConvTranspose", 1, 2, 1, 1), &Attrs::default(), &[]).is_none());
    }

    #[test]
    fn weights_behind_make_up_for_settled_ones() {
        // Two inputs that are nearly the same: what one loses by going to a whole number the other can give back.
        let mut fit = Fit::new(&layer("MatMul", 1, 2, 1, 1), &Attrs::default(), &[]).unwrap();
        let (mut x, mut y) = (vec![], vec![]);
        for i in 0..400 {
            let (a, b) = (noise(i) + 2.0, 0.05 * noise(i + 1000));
            x.extend([a, a + b]);
            y.push(0.4 * a + 0.4 * (a + b) + 1.0);
        }
        assert!(fit.take((&x, &[400, 2]), (&y, &[400, 1]), &[0], 400));
        let fitted = fit.solve(&[0.4, 0.4], None, true).unwrap();
        let new = fit.settle(&fitted, None, true, libm::rint);
        assert_eq!(new.weights.iter().sum::<f64>(), 1.0, "{new:?}");
        // The mean is that of before: 0.8 times 2 and 1.
        let mean: f64 = new.bias[0] + 2.0 * new.weights.iter().sum::<f64>();
        assert!((mean - 2.6).abs() < 0.05, "{new:?}");
        // What is gone stays gone.
        let new = fit.settle(&fitted, Some(&[false, true]), true, |_| 3.0);
        assert_eq!(new.weights, [0.0, 3.0]);
    }

    #[test]
    fn windows_of_groups() {
        // Two depthwise channels of three taps, the numbers of which are found again from nothing.
        let want = [1.0f32, -2.0, 0.5, 3.0, 0.25, -1.0];
        let n = 300;
        let x: Vec<f32> = (0..2 * n).map(noise).collect();
        let mut y = vec![];
        for c in 0..2 {
            for p in 0..n {
                let at = |t: usize| match (p + t).checked_sub(1) {
                    Some(i) if i < n => x[c * n + i],
                    _ => 0.0,
                };
                y.push((0..3).map(|t| want[c * 3 + t] * at(t)).sum::<f32>());
            }
        }
        let attrs = Attrs::default().with("pads", crate::base::attr::Attr::Ints(vec![1, 1]));
        let mut fit = Fit::new(&layer("Conv", 2, 3, 2, 3), &attrs, &[3]).unwrap();
        let shape = [1, 2, n as i64];
        assert!(fit.take((&x, &shape), (&y, &shape), &[0, 1], n));
        let new = fit.solve(&[0.0; 6], None, true).unwrap();
        for (a, b) in new.weights.iter().zip(want) {
            assert!((a - f64::from(b)).abs() < 0.05, "{new:?}");
        }
        assert!(new.bias.iter().all(|b| b.abs() < 0.02), "{new:?}");
    }
}
