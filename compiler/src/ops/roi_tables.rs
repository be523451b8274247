//! RoiAlign by averages: what a bin reads is the product of what it reads along each axis, so that is found once for each region and serves all
//! channels. Channels are gone through one by one, as one of them stays in the first cache.

use super::axes::fold_n;
use super::roi::Ends;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};

/// What all regions read.
pub struct Tables {
    /// The image of each region, and how many samples a bin of it has.
    pub images: BufId,
    pub counts: BufId,
    pub rows: Side,
    pub columns: Side,
    ty: Ty,
}

/// What each bin of each region reads along one axis.
pub struct Side {
    bins: Dim,
    /// Elements of the axis.
    size: i64,
    ty: Ty,
    entries: Entries,
}

/// Lists where bins have few samples; else a weight for each element, and the first and the number of those that have one.
enum Entries {
    Listed {
        places: BufId,
        weights: BufId,
        samples: i64,
    },
    Spread {
        weights: BufId,
        first: BufId,
        count: BufId,
    },
}

/// Finds where a sample (the second number) of a bin lies.
pub type Along<'a> = &'a dyn Fn(&mut Builder, ExprId, ExprId) -> Ends;

impl Tables {
    /// Memory for the regions of an output; `samples`: of a bin along an axis, 0 where the region says it.
    pub fn new(cx: &mut LowerCx, out: &[Dim], ty: Ty, samples: i64, image: [i64; 2]) -> Tables {
        let dtype = if ty == Ty::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let mut side = |axis: usize| {
            let (bins, size) = (out[axis].clone(), image[axis - 2]);
            let all = out[0].clone() * bins.clone();
            let mut memory = |name: &str, dtype, each: i64| {
                cx.scratch(name, dtype, all.clone() * Dim::Fixed(each))
            };
            let entries = match samples {
                0 => Entries::Spread {
                    weights: memory("weights", dtype, size),
                    first: memory("first", DType::I64, 1),
                    count: memory("count", DType::I64, 1),
                },
                n => Entries::Listed {
                    places: memory("places", DType::I64, 2 * n),
                    weights: memory("weights", dtype, 2 * n),
                    samples: n,
                },
            };
            Side {
                bins,
                size,
                ty,
                entries,
            }
        };
        let (rows, columns) = (side(2), side(3));
        Tables {
            images: cx.scratch("images", DType::I64, out[0].clone()),
            counts: cx.scratch("counts", dtype, out[0].clone()),
            rows,
            columns,
            ty,
        }
    }
    /// Makes the output.
    pub fn read(&self, cx: &mut LowerCx, x: &[Dim], out: &[Dim]) -> Result<()> {
        let buf = cx.input(0)?.buf;
        let channels = cx.b.dim(&x[1]);
        let regions = cx.b.dim(&out[0]);
        cx.for_(channels, LoopKind::Seq, |cx, c| {
            cx.for_(regions, LoopKind::Seq, |cx, r| {
                let b = &mut cx.b;
                let image = b.load(self.images, r);
                let size = b.i(self.rows.size * self.columns.size);
                let plane = ex!(b; ((image * channels) + c) * size);
                let plane = b.let_(plane);
                let count = b.load(self.counts, r);
                let count = b.let_(count);
                cx.each(&out[2..], LoopKind::Seq, |cx, p| {
                    let zero = cx.b.num(self.ty, 0.0);
                    let (rows, columns) = (&self.rows, &self.columns);
                    let total = rows.sum(cx, (r, p[0]), zero, &|cx, row, wy, total| {
                        let row = ex!(cx.b; plane + (row * {cx.b.i(columns.size)}));
                        let row = cx.b.let_(row);
                        let sum = columns.sum(cx, (r, p[1]), zero, &|cx, column, wx, sum| {
                            let at = cx.b.add(row, column);
                            let v = cx.b.load(buf, at);
                            Ok(cx.b.fma(v, wx, sum))
                        })?;
                        Ok(cx.b.fma(sum, wy, total))
                    })?;
                    let v = cx.b.div(total, count);
                    cx.store(0, &[r, c, p[0], p[1]], v);
                    Ok(())
                })
            })
        })
    }
}

/// Takes an element in: its place along the axis, its weight, the sum so far.
type Step<'a> = &'a dyn Fn(&mut LowerCx, ExprId, ExprId, ExprId) -> Result<ExprId>;

impl Side {
    fn bin(&self, b: &mut Builder, (region, bin): (ExprId, ExprId)) -> ExprId {
        let bins = b.dim(&self.bins);
        ex!(b; (region * bins) + bin)
    }
    /// Writes down what a region reads.
    pub fn fill(
        &self,
        cx: &mut LowerCx,
        region: ExprId,
        samples: ExprId,
        along: Along,
    ) -> Result<()> {
        let bins = cx.b.dim(&self.bins);
        let zero = cx.b.num(self.ty, 0.0);
        cx.for_(bins, LoopKind::Seq, |cx, p| {
            let bin = self.bin(&mut cx.b, (region, p));
            let bin = cx.b.let_(bin);
            // Both neighbours of a sample; what lies outside has no weight.
            let ends = |b: &mut Builder, i: ExprId| {
                let e = along(b, p, i);
                let near = ex!(b; 1.0 - {e.far});
                [(e.low, near), (e.high, e.far)].map(|(place, w)| {
                    let w = b.select(e.ok, w, zero);
                    (place, b.let_(w))
                })
            };
            match self.entries {
                Entries::Listed {
                    places,
                    weights,
                    samples,
                } => {
                    for i in 0..samples {
                        let b = &mut cx.b;
                        let number = b.i(i);
                        for (k, (place, weight)) in ends(b, number).into_iter().enumerate() {
                            let to = ex!(b; (bin * {b.i(2 * samples)}) + {b.i(2 * i + k as i64)});
                            b.store(places, to, place);
                            b.store(weights, to, weight);
                        }
                    }
                    Ok(())
                }
                Entries::Spread {
                    weights,
                    first,
                    count,
                } => {
                    let size = cx.b.i(self.size);
                    let base = cx.b.mul(bin, size);
                    let base = cx.b.let_(base);
                    cx.for_(size, LoopKind::Lanes, |cx, i| {
                        let to = cx.b.add(base, i);
                        cx.b.store(weights, to, zero);
                        Ok(())
                    })?;
                    let none = cx.b.i(0);
                    let (least, end) = (cx.b.var(size), cx.b.var(none));
                    cx.for_(samples, LoopKind::Seq, |cx, i| {
                        let b = &mut cx.b;
                        for (place, weight) in ends(b, i) {
                            let at = b.add(base, place);
                            let old = b.load(weights, at);
                            let new = b.add(old, weight);
                            b.store(weights, at, new);
                            let (lo, hi) = (b.get(least), b.get(end));
                            let lo = b.min(lo, place);
                            b.set(least, lo);
                            let behind = ex!(b; place + 1);
                            let hi = b.max(hi, behind);
                            b.set(end, hi);
                        }
                        Ok(())
                    })?;
                    let b = &mut cx.b;
                    let (lo, hi) = (b.get(least), b.get(end));
                    let n = b.sub(hi, lo);
                    let n = b.max(n, none);
                    b.store(first, bin, lo);
                    b.store(count, bin, n);
                    Ok(())
                }
            }
        })
    }
    /// Adds up what a bin of a region reads.
    fn sum(
        &self,
        cx: &mut LowerCx,
        at: (ExprId, ExprId),
        init: ExprId,
        step: Step,
    ) -> Result<ExprId> {
        let bin = self.bin(&mut cx.b, at);
        let bin = cx.b.let_(bin);
        match self.entries {
            Entries::Listed {
                places,
                weights,
                samples,
            } => (0..2 * samples).try_fold(init, |sum, k| {
                let b = &mut cx.b;
                let from = ex!(b; (bin * {b.i(2 * samples)}) + {b.i(k)});
                let (place, weight) = (b.load(places, from), b.load(weights, from));
                let (place, weight) = (b.let_(place), b.let_(weight));
                step(cx, place, weight, sum)
            }),
            Entries::Spread {
                weights,
                first,
                count,
            } => {
                let b = &mut cx.b;
                let (lo, n) = (b.load(first, bin), b.load(count, bin));
                let (lo, n) = (b.let_(lo), b.let_(n));
                fold_n(cx, n, init, |cx, i, sum| {
                    let b = &mut cx.b;
                    let place = b.add(lo, i);
                    let place = b.let_(place);
                    let from = ex!(b; (bin * {b.i(self.size)}) + place);
                    let weight = b.load(weights, from);
                    step(cx, place, weight, sum)
                })
            }
        }
    }
}
