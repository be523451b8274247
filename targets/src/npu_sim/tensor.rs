//! Tensors of the device: a place, sizes in the order of the graph, and how far each axis steps. Transposes, slices and most reshapes only
//! say this anew and cost nothing.

use onnxc_sim::format::{AXES, Map, Place, View};

/// A tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element 0.
    pub at: Place,
    /// The buffer of the arena that it lies in.
    pub buffer: Option<usize>,
    /// Sizes.
    pub sizes: Vec<i64>,
    /// Elements from one index to the next.
    pub strides: Vec<i64>,
}

/// Strides of a dense tensor whose axes lie in this order, outermost first.
pub fn strides(sizes: &[i64], order: &[usize]) -> Vec<i64> {
    let mut out = vec![0; sizes.len()];
    let mut step = 1;
    for &axis in order.iter().rev() {
        out[axis] = step;
        step *= sizes[axis];
    }
    out
}

/// The axes as they stand.
pub fn plain(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Axis 1 behind all others.
pub fn channels_last(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = vec![0];
    order.extend(2..rank);
    order.push(1);
    order
}

/// Whether a view says all of it: its numbers fit the format.
fn number(v: i64) -> Option<i32> {
    i32::try_from(v).ok()
}

/// Sizes for a command.
pub fn sizes(of: &[i64]) -> Option<[u32; AXES]> {
    let list: Option<Vec<u32>> = of.iter().map(|&s| u32::try_from(s).ok()).collect();
    list.filter(|l| l.len() <= AXES)
        .map(|l| onnxc_sim::format::sizes(&l))
}

impl Tensor {
    /// As a view over axes of `sizes`, to which it broadcasts.
    pub fn view(&self, sizes: &[i64]) -> Option<View> {
        let mut strides = [0; AXES];
        let rank = sizes.len();
        if rank > AXES || self.sizes.len() > rank {
            return None;
        }
        for (k, (&n, &s)) in self.sizes.iter().zip(&self.strides).enumerate() {
            let axis = rank - self.sizes.len() + k;
            strides[AXES - rank + axis] = match n {
                1 => 0,
                n if n == sizes[axis] => number(s)?,
                _ => return None,
            };
        }
        Some(View {
            at: self.at,
            strides,
        })
    }

    /// As a map of features: axis 1 innermost, and one pixel behind the other. Three axes are a map of one row.
    pub fn map(&self) -> Option<Map> {
        let (mut sizes, mut strides) = (self.sizes.clone(), self.strides.clone());
        if sizes.len() == 3 {
            sizes.insert(2, 1);
            strides.insert(2, 0);
        }
        let [n, c, h, w] = sizes[..] else { return None };
        let [sn, sc, sh, sw] = strides[..] else {
            return None;
        };
        // An axis of one element steps as it likes.
        let pitch = match (w, h, n) {
            (2.., ..) => sw,
            (_, 2.., _) => sh,
            (_, _, 2..) => sn,
            _ => c,
        };
        let ok = |size: i64, stride: i64, want: i64| size <= 1 || stride == want;
        if !(ok(c, sc, 1) && ok(w, sw, pitch) && ok(h, sh, pitch * w) && ok(n, sn, pitch * w * h)) {
            return None;
        }
        let u = |v: i64| u32::try_from(v).ok();
        (pitch >= c).then_some(())?;
        Some(Map {
            at: self.at,
            batch: u(n)?,
            rows: u(h)?,
            cols: u(w)?,
            channels: u(c)?,
            pitch: u(pitch)?,
        })
    }

    /// Axis `i` of the result is axis `perm[i]`.
    pub fn transposed(&self, perm: &[usize]) -> Tensor {
        Tensor {
            sizes: perm.iter().map(|&p| self.sizes[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            ..self.clone()
        }
    }

    /// From index `start` of an axis on, every `step`-th, `count` of them.
    pub fn slice(&self, axis: usize, start: i64, step: i64, count: i64) -> Option<Tensor> {
        let mut t = self.clone();
        let elem = i64::from(self.at.elem.bytes());
        let by = start.checked_mul(self.strides[axis])?.checked_mul(elem)?;
        t.at.offset = u32::try_from(i64::from(self.at.offset) + by).ok()?;
        t.sizes[axis] = count;
        t.strides[axis] *= step;
        Some(t)
    }

    /// The same elements in row-major order under other sizes, if steps can say it.
    pub fn reshaped(&self, to: &[i64]) -> Option<Tensor> {
        // Axes of one element say nothing.
        let old: Vec<(i64, i64)> = self
            .sizes
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(n, _)| *n != 1)
            .collect();
        let mut strides = vec![0; to.len()];
        let new: Vec<usize> = (0..to.len()).filter(|&k| to[k] != 1).collect();
        let (mut i, mut k) = (0, 0);
        while i < old.len() && k < new.len() {
            // The shortest run of old axes and of new axes with as many elements.
            let (mut a, mut b) = (old[i].0, to[new[k]]);
            let (mut i1, mut k1) = (i + 1, k + 1);
            while a != b {
                if a < b {
                    a *= old.get(i1)?.0;
                    i1 += 1;
                } else {
                    b *= to[*new.get(k1)?];
                    k1 += 1;
                }
            }
            let merges = (i..i1 - 1).all(|j| old[j].1 == old[j + 1].0 * old[j + 1].1);
            if !merges {
                return None;
            }
            let mut step = old[i1 - 1].1;
            for j in (k..k1).rev() {
                strides[new[j]] = step;
                step *= to[new[j]];
            }
            (i, k) = (i1, k1);
        }
        (i == old.len() && k == new.len()).then(|| Tensor {
            sizes: to.to_vec(),
            strides,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_sim::format::{Elem, Space};

    fn tensor(sizes: &[i64], order: &[usize]) -> Tensor {
        let at = Place {
            space: Space::Arena,
            elem: Elem::I8,
            offset: 0,
        };
        Tensor {
            at,
            buffer: None,
            sizes: sizes.to_vec(),
            strides: strides(sizes, order),
        }
    }

    #[test]
    fn a_shuffle_of_channels_needs_one_copy() {
        let x = tensor(&[1, 6, 4, 5], &channels_last(4));
        assert_eq!(x.map().unwrap().pitch, 6);
        let split = x.reshaped(&[1, 2, 3, 4, 5]).unwrap();
        assert_eq!(split.strides[1..], [3, 1, 30, 6]);
        let turned = split.transposed(&[0, 2, 1, 3, 4]);
        assert!(turned.reshaped(&[1, 6, 4, 5]).is_none());
        // What it is copied to can be seen as it is seen.
        assert!(x.reshaped(&turned.sizes).is_some());
    }

    #[test]
    fn slices_of_channels_are_maps() {
        let x = tensor(&[2, 6, 4, 5], &channels_last(4));
        let half = x.slice(1, 3, 1, 3).unwrap();
        let m = half.map().unwrap();
        assert_eq!((m.channels, m.pitch, m.at.offset), (3, 6, 3));
        assert!(tensor(&[1, 6, 4, 5], &plain(4)).map().is_none());
        assert!(x.reshaped(&[2, 120]).is_none());
        assert!(
            tensor(&[2, 6, 1, 1], &channels_last(4))
                .reshaped(&[2, 6])
                .is_some()
        );
    }
}
