//! Constant weights as the narrow numbers that they were in the file: found again, packed, and when that is worth it.
//!
//! A constant whose type says so was made of whole numbers ([`Quant`]). They are found by dividing by their scales, and believed only where
//! multiplying gives every float back, bit for bit: a kernel over them means what the file means, up to the rounding of its sums.

use super::narrow::{Narrow, TOGETHER, Zero, column};
use super::strip_plan::{At, Panels, packed_before};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::effort::Effort;
use crate::base::tensor::Tensor;
use crate::base::types::{Quant, TensorType};
use crate::ex;
use crate::kernel::{LowerCx, Machine, Vector};
use crate::loops::ir::{BufId, ExprId};

/// Blocks shorter than that spend their time on scales.
const LEAST_BLOCK: i64 = 8;
/// Rows of a product that narrow weights still serve: with more, unpacking them costs more than loading floats.
const FEW_ROWS: i64 = 4;

/// Whether a product over `rows` rows (`None`: not known) with a matrix of `k` by `n` is better off with narrow weights: where loading
/// them takes the time, or where size is what counts.
pub fn worth(machine: &Machine, effort: Effort, rows: Option<i64>, k: i64, n: i64) -> bool {
    let bytes = k.saturating_mul(n).saturating_mul(4);
    let (l1, l2) = (
        i64::from(machine.l1d.max(16 << 10)),
        i64::from(machine.l2.max(128 << 10)),
    );
    effort.optimize_for_size()
        || match rows {
            Some(rows) => bytes > l1 && rows <= FEW_ROWS,
            None => bytes > l2,
        }
}

/// Whether a constant may have been made of narrow numbers.
pub fn may_be(ty: &TensorType) -> bool {
    let block = ty.quant.as_ref().map(|q| q.block);
    ty.dtype == DType::F32 && block.is_some_and(|b| b == 0 || b >= LEAST_BLOCK)
}

/// A matrix of narrow numbers.
#[derive(Clone, Debug)]
pub struct Grid {
    k: i64,
    n: i64,
    /// What kernels are told.
    pub narrow: Narrow,
    /// How the numbers are stored: `I8`, `U8`, or `U4`, whose bytes hold two.
    pub stored: DType,
    /// Numbers with what stands for 0 in them, `[k][n]`.
    numbers: Vec<i16>,
    /// `[block][n]`.
    scales: Vec<f32>,
    zeros: Vec<u8>,
}

impl Grid {
    /// The matrix of `k` by `n` whose element (p, j) is number `at(p, j)` of a constant. `None`: it is none of narrow numbers with scales for
    /// columns or blocks of them.
    pub fn of(
        ty: &TensorType,
        t: &Tensor,
        (k, n): (i64, i64),
        at: impl Fn(i64, i64) -> i64,
    ) -> Option<Grid> {
        let quant = ty.quant.as_ref().filter(|_| may_be(ty))?;
        let scale = quant
            .scale
            .to_f32s()
            .filter(|_| quant.scale.dtype == DType::F32)?;
        let values = t.to_f32s()?;
        let place = Place::of(quant, &t.shape, scale.len())?;
        let block = match quant.block {
            0 => k,
            block => block.min(k),
        };
        let blocks = (k + block - 1) / block;
        let mut which = vec![usize::MAX; (blocks * n) as usize];
        let mut bounds = vec![(i16::MAX, i16::MIN); which.len()];
        let mut numbers = Vec::with_capacity((k * n) as usize);
        for p in 0..k {
            for j in 0..n {
                let flat = at(p, j) as usize;
                let own = place.scale(flat);
                let cell = (p / block * n + j) as usize;
                if which[cell] == usize::MAX {
                    which[cell] = own;
                }
                let (w, s) = (*values.get(flat)?, *scale.get(own)?);
                let q = libm::rintf(w / s);
                // A zero may have a sign: its number has none.
                let back = q * s;
                if which[cell] != own || !(-255.0..=255.0).contains(&q) || back != w {
                    return None;
                }
                let (lo, hi) = &mut bounds[cell];
                let q = q as i16;
                (*lo, *hi) = ((*lo).min(q), (*hi).max(q));
                numbers.push(q);
            }
        }
        let scales = which
            .iter()
            .map(|&s| scale.get(s).copied())
            .collect::<Option<_>>()?;
        let whole = block == k;
        let (stored, zeros) = store(&bounds, whole || block % TOGETHER == 0)?;
        if !zeros.is_empty() {
            for (i, q) in numbers.iter_mut().enumerate() {
                let (p, j) = (i as i64 / n, i as i64 % n);
                *q += i16::from(zeros[(p / block * n + j) as usize]);
            }
        }
        let zero = match zeros.first() {
            None => Zero::None,
            Some(&z) if zeros.iter().all(|x| *x == z) => Zero::All(i64::from(z)),
            Some(_) => Zero::Each,
        };
        let block = if whole { 0 } else { block };
        let fits = k > 0 && n > 0 && block < 1 << 16;
        fits.then_some(Grid {
            k,
            n,
            narrow: Narrow { block, zero },
            stored,
            numbers,
            scales,
            zeros,
        })
    }
    /// Blocks of a column.
    fn blocks(&self) -> i64 {
        match self.narrow.block {
            0 => 1,
            block => (self.k + block - 1) / block,
        }
    }
    /// Panels as constants of the layer.
    pub fn pack(&self, cx: &mut LowerCx, panels: &[Panels]) -> Result<Packed> {
        let rows = column(self.stored, self.k);
        let (mut bytes, mut scales, mut zeros) = (vec![], vec![], vec![]);
        let number = |p: i64, j: Option<i64>| match j {
            Some(j) if p < self.k => self.numbers[(p * self.n + j) as usize] as u8,
            _ => 0,
        };
        for p in panels {
            for t in 0..p.count {
                let columns = |j: i64| (j < p.n).then_some(p.first + t * p.n + j);
                if self.stored == DType::U4 {
                    for (k, j) in (0..self.k)
                        .step_by(TOGETHER as usize)
                        .flat_map(|k| (0..p.padded).map(move |j| (k, columns(j))))
                    {
                        bytes.extend(
                            (0..4).map(|i| number(k + 2 * i, j) | number(k + 2 * i + 1, j) << 4),
                        );
                    }
                } else {
                    for k in 0..self.k {
                        bytes.extend((0..p.padded).map(|j| number(k, columns(j))));
                    }
                }
                for g in 0..self.blocks() {
                    let cell = |j: i64| Some((g * self.n + columns(j)?) as usize);
                    let all = (0..p.padded).map(cell);
                    scales.extend(all.clone().map(|c| c.map_or(0.0, |c| self.scales[c])));
                    if self.narrow.zero == Zero::Each {
                        zeros.extend(all.map(|c| c.map_or(0, |c| self.zeros[c])));
                    }
                }
            }
        }
        let stored = match self.stored {
            DType::U4 => DType::U8,
            d => d,
        };
        let raw = |d: DType, bytes: Vec<u8>| Tensor::new(d, vec![bytes.len() as i64], bytes.into());
        Ok(Packed {
            rows,
            blocks: self.blocks(),
            narrow: self.narrow,
            stored: self.stored,
            panels: cx.constant("panels", raw(stored, bytes)?),
            scales: cx.constant("scales", Tensor::f32(&[scales.len() as i64], &scales)),
            zeros: match self.narrow.zero {
                Zero::Each => Some(cx.constant("zeros", raw(DType::U8, zeros)?)),
                _ => None,
            },
        })
    }
}

/// How numbers between such bounds are stored, cell by cell, and what stands for 0 (nothing: 0 does). `four`: four bits may do.
fn store(bounds: &[(i16, i16)], four: bool) -> Option<(DType, Vec<u8>)> {
    let within = |lo: i16, hi: i16| bounds.iter().all(|b| b.0 >= lo && b.1 <= hi);
    // Numbers of one side stay as they are; others move up as far as the lowest needs it.
    let moved = |most: i16| -> Option<Vec<u8>> {
        let up = bounds.iter().map(|b| (-b.0).max(0));
        let fits = up
            .clone()
            .zip(bounds)
            .all(|(z, b)| z <= 255 && b.1 + z <= most);
        fits.then(|| up.map(|z| z as u8).collect())
    };
    if four {
        if within(0, 15) {
            return Some((DType::U4, vec![]));
        }
        if within(-8, 7) {
            return Some((DType::U4, vec![8; bounds.len()]));
        }
        if let Some(zeros) = moved(15) {
            return Some((DType::U4, zeros));
        }
    }
    if within(-128, 127) {
        return Some((DType::I8, vec![]));
    }
    if within(0, 255) {
        return Some((DType::U8, vec![]));
    }
    Some((DType::U8, moved(255)?))
}

/// Which scale an element has.
struct Place {
    /// Elements of the axes behind the scales' own, and sizes of that and of its blocks; none: one scale for all.
    axis: Option<(usize, usize, usize)>,
    /// Scales of an axis whose blocks have them for each index of all other axes.
    blocks: usize,
}

impl Place {
    fn of(quant: &Quant, shape: &[i64], scales: usize) -> Option<Place> {
        let Some(axis) = quant.axis else {
            return (scales == 1).then_some(Place {
                axis: None,
                blocks: 0,
            });
        };
        let size = *shape.get(axis)?;
        let inner: i64 = shape[axis + 1..].iter().product();
        let block = quant.block.max(1);
        let blocks = (size + block - 1) / block;
        let all: i64 = shape.iter().product();
        let want = match quant.block {
            0 => size,
            _ => all / size.max(1) * blocks,
        };
        (scales as i64 == want && all > 0).then_some(Place {
            axis: Some((inner as usize, size as usize, block as usize)),
            blocks: if quant.block == 0 { 0 } else { blocks as usize },
        })
    }
    fn scale(&self, flat: usize) -> usize {
        let Some((inner, size, block)) = self.axis else {
            return 0;
        };
        let along = flat / inner % size;
        match self.blocks {
            0 => along,
            blocks => (flat / (inner * size) * blocks + along / block) * inner + flat % inner,
        }
    }
}

/// Packed narrow weights.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Rows of bytes of a panel, and its blocks.
    rows: i64,
    blocks: i64,
    /// What a strip over them is told.
    pub narrow: Narrow,
    /// How its B is stored.
    pub stored: DType,
    panels: BufId,
    scales: BufId,
    zeros: Option<BufId>,
}

impl Packed {
    /// B, scales and zeros of panel `t` of a group.
    pub fn panel(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        group: usize,
        t: ExprId,
    ) -> (At, Vec<At>) {
        let only = cx.b.i(0);
        self.panel_of(cx, only, panels, group, t)
    }
    /// The same of one of several matrices that were packed one behind the other, each in panels like these.
    pub fn panel_of(
        &self,
        cx: &mut LowerCx,
        matrix: ExprId,
        panels: &[Panels],
        group: usize,
        t: ExprId,
    ) -> (At, Vec<At>) {
        let padded = panels[group].padded;
        let mut place = |buf: BufId, rows: i64| {
            let b = &mut cx.b;
            let (before, each) = (
                packed_before(panels, group, rows),
                packed_before(panels, panels.len(), rows),
            );
            let at = ex!(b; ((matrix * {b.i(each)}) + {b.i(before)}) + (t * {b.i(padded * rows)}));
            At {
                buf,
                at: b.let_(at),
                row: b.i(padded),
            }
        };
        let b = place(self.panels, self.rows);
        let mut more = vec![place(self.scales, self.blocks)];
        more.extend(self.zeros.map(|z| place(z, self.blocks)));
        (b, more)
    }
}

/// Vector registers that a tile of narrow weights holds beside its sums, and cycles for one k of it.
pub fn needs(v: &Vector, grid: &Grid, m: i64, cols: i64) -> (i64, f64) {
    let four = i64::from(grid.stored == DType::U4);
    let zeros = if grid.narrow.zero == Zero::None { 0 } else { m };
    let weights = if v.by_lane { cols.min(4) } else { 1 };
    // One is for what comes up between sums.
    let held = m + weights + four + zeros + 1;
    let unpack = match v.by_lane {
        true => 2.0 + four as f64,
        false => 1.0,
    };
    (held, cols as f64 * (unpack + m as f64) / 2.0)
}
