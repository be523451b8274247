//! Second moments of what a layer with weights reads: for each group of its channels the mean of every input of a sum, and of the products of any two.
//! They say what an error of some weights does to the layer's result, whatever becomes of the other weights.

use crate::base::attr::Attrs;
use crate::base::dim::Dim;
use crate::contracts::window::Window;

/// Samples that are multiplied at once.
const TILE: usize = 16;
/// Sums that are looked at in one case; more of them lie too close together to say anything new.
const MOST_SAMPLES: usize = 256;
/// Inputs of one sum that moments are kept for: their square is held in f64 (170 MB at the limit).
pub const MOST_DEPTH: usize = 4608;

/// How a layer reads its input.
#[derive(Clone, PartialEq, Debug)]
pub enum Reads {
    /// A product of matrices: the last axis is summed over.
    Rows,
    /// A convolution with its attributes, the spatial size of its weights and its number of groups.
    Windows {
        /// `strides`, `pads`, `dilations`, `auto_pad`.
        attrs: Attrs,
        /// Spatial sizes of the weights.
        kernel: Vec<i64>,
        /// Groups of channels.
        group: usize,
    },
}

/// Means and second moments of a layer's inputs, over all samples taken.
#[derive(Clone, Debug)]
pub struct Moments {
    reads: Reads,
    depth: usize,
    groups: usize,
    count: u64,
    /// `[groups, depth]`.
    sums: Vec<f64>,
    /// `[groups, depth, depth]`, of which the lower triangle is kept.
    products: Vec<f64>,
    /// `[groups, depth, TILE]`: samples that are not yet in the sums.
    tile: Vec<f32>,
    filled: usize,
}

impl Moments {
    /// Nothing yet, for sums over `depth` inputs. `None` where that would take too much memory.
    pub fn new(reads: Reads, depth: usize) -> Option<Moments> {
        let groups = match &reads {
            Reads::Rows => 1,
            Reads::Windows { group, .. } => *group,
        };
        if depth == 0 || depth > MOST_DEPTH || groups == 0 || groups > 1 << 16 {
            return None;
        }
        Some(Moments {
            reads,
            depth,
            groups,
            count: 0,
            sums: vec![0.0; groups * depth],
            products: vec![0.0; groups * depth * depth],
            tile: vec![0.0; groups * depth * TILE],
            filled: 0,
        })
    }
    /// Takes one case: the layer's whole input and its shape. What does not fit the layer is passed over.
    pub fn take(&mut self, x: &[f32], shape: &[i64]) {
        let sizes: Vec<usize> = shape.iter().map(|d| (*d).max(0) as usize).collect();
        if sizes.iter().product::<usize>() != x.len() || x.is_empty() {
            return;
        }
        match self.reads.clone() {
            Reads::Rows => {
                if sizes.last() != Some(&self.depth) {
                    return;
                }
                let rows = x.len() / self.depth;
                for r in (0..rows).step_by(step(rows)) {
                    for k in 0..self.depth {
                        self.tile[k * TILE + self.filled] = x[r * self.depth + k];
                    }
                    self.next();
                }
            }
            Reads::Windows {
                attrs,
                kernel,
                group,
            } => self.windows(x, &sizes, &attrs, &kernel, group),
        }
        self.flush();
    }

    fn windows(&mut self, x: &[f32], sizes: &[usize], attrs: &Attrs, kernel: &[i64], group: usize) {
        let taps = kernel.iter().product::<i64>().max(1) as usize;
        if sizes.len() != kernel.len() + 2 || sizes[1] * taps != group * self.depth {
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
        let plane: usize = spatial.iter().product();
        let (each, positions) = (sizes[1] / group, out.iter().product::<usize>());
        let all = sizes[0] * positions;
        let mut offsets = vec![None; taps];
        for sample in (0..all).step_by(step(all)) {
            let (n, p) = (sample / positions, sample % positions);
            for (t, offset) in offsets.iter_mut().enumerate() {
                *offset = place(&w, spatial, &out, p, t);
            }
            let first = n * sizes[1] * plane;
            for c in 0..sizes[1] {
                let own = &x[first + c * plane..][..plane];
                let at = (c / each * self.depth + c % each * taps) * TILE + self.filled;
                for (t, offset) in offsets.iter().enumerate() {
                    self.tile[at + t * TILE] = offset.map_or(0.0, |o| own[o]);
                }
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
        let d = self.depth;
        for lanes in self.tile.chunks_exact_mut(TILE) {
            lanes[self.filled..].fill(0.0);
        }
        let groups = self.tile.chunks_exact(d * TILE).enumerate();
        for (g, tile) in groups {
            for (i, a) in tile.chunks_exact(TILE).enumerate() {
                self.sums[g * d + i] += f64::from(a.iter().sum::<f32>());
                let row = &mut self.products[(g * d + i) * d..][..i + 1];
                for (sum, b) in row.iter_mut().zip(tile.chunks_exact(TILE)) {
                    let mut four = [0.0f32; 4];
                    for k in 0..TILE {
                        four[k % 4] += a[k] * b[k];
                    }
                    *sum += f64::from(four.iter().sum::<f32>());
                }
            }
        }
        self.count += self.filled as u64;
        self.filled = 0;
    }

    /// Inputs of one sum.
    pub fn depth(&self) -> usize {
        self.depth
    }
    /// Groups of channels.
    pub fn groups(&self) -> usize {
        self.groups
    }
    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// The mean of each input of a group's sums.
    pub fn means(&self, group: usize) -> Vec<f64> {
        let n = self.count.max(1) as f64;
        let own = self.sums.get(group * self.depth..).unwrap_or(&[]);
        own.iter().take(self.depth).map(|s| s / n).collect()
    }
    /// The means of products of a group's inputs `[depth, depth]`, lower triangle; `centred`: less the products of their means, which a bias takes up.
    pub fn matrix(&self, group: usize, centred: bool) -> Vec<f64> {
        let (d, n) = (self.depth, self.count.max(1) as f64);
        let means = self.means(group);
        let mut out = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let all = self.products[(group * d + i) * d + j] / n;
                out[i * d + j] = match centred {
                    true => all - means[i] * means[j],
                    false => all,
                };
            }
        }
        out
    }
}

/// Every how many samples one is taken; an odd number, so that not all of them lie in the same columns of a picture.
fn step(all: usize) -> usize {
    match all.div_ceil(MOST_SAMPLES) {
        0 | 1 => 1,
        n => n | 1,
    }
}

/// Where in a plane the element `tap` of the window at output position `p` lies; `None`: in the padding.
pub(in crate::compress) fn place(
    w: &Window,
    spatial: &[usize],
    out: &[usize],
    mut p: usize,
    mut tap: usize,
) -> Option<usize> {
    let (mut at, mut stride) = (0, 1);
    for a in (0..spatial.len()).rev() {
        let k = w.kernel[a].max(1) as usize;
        let (o, t) = (p % out[a], tap % k);
        (p, tap) = (p / out[a], tap / k);
        let i = o as i64 * w.stride[a] + t as i64 * w.dilation[a] - w.begin[a];
        if i < 0 || i >= spatial[a] as i64 {
            return None;
        }
        at += i as usize * stride;
        stride *= spatial[a];
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attr;

    #[test]
    fn rows() {
        let mut m = Moments::new(Reads::Rows, 2).unwrap();
        m.take(&[1.0, 2.0, 3.0, 5.0], &[1, 2, 2]);
        m.take(&[-1.0, 0.5], &[1, 2]);
        // numpy: x = [[1,2],[3,5],[-1,.5]]; x.mean(0), x.T@x/3, cov(bias=True)
        assert_eq!(m.means(0), [1.0, 2.5]);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(
            &m.matrix(0, false),
            &[11.0 / 3.0, 0.0, 5.5, 29.25 / 3.0]
        ));
        assert!(near(&m.matrix(0, true), &[8.0 / 3.0, 0.0, 3.0, 3.5]));
    }

    #[test]
    fn windows_see_padding_and_groups() {
        let attrs = Attrs::default()
            .with("pads", Attr::Ints(vec![1, 0]))
            .with("strides", Attr::Ints(vec![2]));
        let reads = Reads::Windows {
            attrs,
            kernel: vec![2],
            group: 2,
        };
        let mut m = Moments::new(reads, 2).unwrap();
        // Windows of the first channel: [0, 1], [2, 3]; of the second: [0, 4], [5, 6].
        m.take(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 2, 3]);
        assert_eq!(m.means(0), [1.0, 2.0]);
        assert_eq!(m.means(1), [2.5, 5.0]);
        assert_eq!(m.matrix(0, false), [2.0, 0.0, 3.0, 5.0]);
        assert_eq!(m.matrix(1, false), [12.5, 0.0, 15.0, 26.0]);
        // What does not fit changes nothing.
        m.take(&[1.0; 8], &[1, 4, 2]);
        assert_eq!(m.means(0), [1.0, 2.0]);
        assert!(Moments::new(Reads::Rows, MOST_DEPTH + 1).is_none());
    }
}
