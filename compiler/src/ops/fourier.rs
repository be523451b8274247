//! Transforms of one row of complex numbers, factor by factor.
//!
//! A length is split into small factors (Cooley and Tukey, decimation in frequency). Each factor is a stage that goes over the whole row:
//! sums over a few elements that lie `m` apart, times cosines and sines, for `m` neighbours side by side. The last stage has no neighbours left; there the
//! results lie side by side. Frequencies come out with their digits reversed, so a table says where each is. What has a large prime
//! factor is transformed by definition ([`super::dft`]).

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp, VarId};
use std::collections::BTreeMap;

/// The largest factor of a stage: its table has as many rows and columns.
const LARGEST: i64 = 128;
/// Neighbours that a vector may hold.
const SIDE: i64 = 16;

/// Real and imaginary parts, apart.
pub type Pair = (BufId, BufId);

/// One stage: `f` elements that lie `m` apart become `f` sums, in blocks of `f * m`.
struct Stage {
    f: i64,
    m: i64,
    /// Cosines and sines of the f-th parts of the circle: row k, column t.
    circle: Pair,
    /// What the sums are turned by: row k, column j. None behind the last stage.
    turns: Option<Pair>,
}

/// A transform of `n` elements that was prepared.
pub struct Fourier {
    n: i64,
    /// Where the row is before the transform.
    pub row: Pair,
    spare: Pair,
    stages: Vec<Stage>,
    /// Where each frequency lies afterwards.
    order: BufId,
}

/// The cheapest factors of a length, in the order of their stages; `None` where a prime factor is too large.
fn factors(n: i64) -> Option<Vec<i64>> {
    // Multiplications and accesses for each element, in vectors.
    type Known = BTreeMap<i64, Option<(i64, Vec<i64>)>>;
    fn best(n: i64, known: &mut Known) -> Option<(i64, Vec<i64>)> {
        if let Some(b) = known.get(&n) {
            return b.clone();
        }
        let full = |m: i64| (m - 1) / SIDE + 1;
        let mut least = (n <= LARGEST).then(|| ((4 * n + 8) * full(n) * SIDE / n.max(1), vec![n]));
        for f in (2..=LARGEST.min(n / 2)).filter(|f| n % f == 0) {
            let m = n / f;
            let Some((cost, rest)) = best(m, known) else {
                continue;
            };
            let cost = cost + (2 * f + 12) * full(m) * SIDE / m;
            if least.as_ref().is_none_or(|l| cost < l.0) {
                least = Some((cost, [vec![f], rest].concat()));
            }
        }
        known.insert(n, least.clone());
        least
    }
    best(n, &mut Known::new()).map(|(_, f)| f)
}

fn table(cx: &mut LowerCx, dtype: DType, name: &str, all: &[f64]) -> BufId {
    let shape = [all.len() as i64];
    cx.constant(name, Tensor::from_f64s(dtype, &shape, all))
}

/// Cosines and sines of `numbers` of `n`-th parts of the circle, from 0 on in its one sense, or the other where `inverse`.
fn circle(cx: &mut LowerCx, dtype: DType, n: i64, inverse: bool, numbers: &[i64]) -> Pair {
    let angle = |i: &i64| 2.0 * std::f64::consts::PI * (i % n) as f64 / n as f64;
    let sense = if inverse { -1.0 } else { 1.0 };
    let cos: Vec<f64> = numbers.iter().map(|i| libm::cos(angle(i))).collect();
    let sin: Vec<f64> = numbers
        .iter()
        .map(|i| sense * libm::sin(angle(i)))
        .collect();
    (
        table(cx, dtype, "cosines", &cos),
        table(cx, dtype, "sines", &sin),
    )
}

impl Fourier {
    /// Prepares a transform of `n` elements of computing type `ty`; `None` where its length has a large prime factor.
    pub fn new(cx: &mut LowerCx, n: i64, ty: Ty, inverse: bool) -> Option<Fourier> {
        let factors = factors(n)?;
        let dtype = if ty == Ty::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let mut stages = vec![];
        let mut length = n;
        // Frequency number k lies where its digits say.
        let mut order = vec![0i64];
        for &f in &factors {
            let m = length / f;
            let known = order.len() as i64;
            order = (0..known * f)
                .map(|k| order[(k % known) as usize] + k / known * m)
                .collect();
            let grid = |rows: i64, columns: i64| -> Vec<i64> {
                let row = |k| (0..columns).map(move |t| k * t);
                (0..rows).flat_map(row).collect()
            };
            stages.push(Stage {
                f,
                m,
                circle: circle(cx, dtype, f, inverse, &grid(f, f)),
                turns: (m > 1).then(|| circle(cx, dtype, length, inverse, &grid(f, m))),
            });
            length = m;
        }
        let order: Vec<f64> = order.into_iter().map(|p| p as f64).collect();
        let mut scratch = |name: &str| cx.scratch_per_thread(name, dtype, Dim::Fixed(n));
        let row = (scratch("real"), scratch("imaginary"));
        let spare = (scratch("next_real"), scratch("next_imaginary"));
        let order = table(cx, DType::I32, "order", &order);
        Some(Fourier {
            n,
            row,
            spare,
            stages,
            order,
        })
    }
    /// Transforms the row. `real`: its imaginary parts are 0, and are not looked at. The results are read with [`Fourier::at`].
    pub fn run(&self, cx: &mut LowerCx, real: bool) {
        let (mut from, mut to) = (self.row, self.spare);
        for (i, s) in self.stages.iter().enumerate() {
            let real = real && i == 0;
            match s.turns {
                Some(turns) => s.turned(cx, self.n, turns, from, to, real),
                None => s.last(cx, self.n, from, to, real),
            }
            std::mem::swap(&mut from, &mut to);
        }
    }
    /// Frequency number `k` of the results.
    pub fn at(&self, cx: &mut LowerCx, k: ExprId) -> (ExprId, ExprId) {
        let place = cx.b.load(self.order, k);
        let place = cx.b.cast(Ty::I64, place);
        let place = cx.b.let_(place);
        let (re, im) = match self.stages.len() % 2 {
            0 => self.row,
            _ => self.spare,
        };
        (cx.b.load(re, place), cx.b.load(im, place))
    }
}

/// Sums that grow together.
struct Sums([VarId; 4]);

impl Sums {
    fn new(cx: &mut LowerCx, ty: Ty) -> Sums {
        Sums([(); 4].map(|()| {
            let zero = cx.b.num(ty, 0.0);
            cx.b.var(zero)
        }))
    }
    /// Adds `a * b` to one.
    fn add(&self, cx: &mut LowerCx, i: usize, a: ExprId, b: ExprId) {
        let old = cx.b.get(self.0[i]);
        let new = cx.b.fma(a, b, old);
        cx.b.set(self.0[i], new);
    }
    fn get(&self, cx: &mut LowerCx, i: usize) -> ExprId {
        let v = cx.b.get(self.0[i]);
        cx.b.let_(v)
    }
}

impl Stage {
    fn ty(cx: &LowerCx, p: Pair) -> Ty {
        Ty::of(cx.b.func().bufs[p.0].dtype)
    }
    /// A stage before others. Sums k and f - k have the same products, but for signs, and grow together; the sums that have no
    /// partner, 0 and f / 2, have no sines.
    fn turned(&self, cx: &mut LowerCx, n: i64, turns: Pair, from: Pair, to: Pair, real: bool) {
        let f = self.f;
        let alone = 2 - f % 2;
        let step = cx.b.i(f / 2);
        self.nest(cx, n, alone, |cx, block, k, j| {
            let k = cx.b.mul(k, step);
            let sums = self.sum(cx, (from, real), block, k, j, false);
            let (re, im) = (sums.get(cx, 0), sums.get(cx, 2));
            self.turn(cx, turns, to, (block, k, j), re, im);
        });
        if f < 3 {
            return;
        }
        let all = cx.b.i(f);
        self.nest(cx, n, (f - 1) / 2, |cx, block, k, j| {
            let k = ex!(cx.b; k + 1);
            let sums = self.sum(cx, (from, real), block, k, j, true);
            let [ac, bs, bc, as_] = [0, 1, 2, 3].map(|i| sums.get(cx, i));
            let (re, im) = match real {
                true => (ac, cx.b.un(UnOp::Neg, as_)),
                false => (ex!(cx.b; ac + bs), ex!(cx.b; bc - as_)),
            };
            self.turn(cx, turns, to, (block, k, j), re, im);
            let (re, im) = match real {
                true => (ac, as_),
                false => (ex!(cx.b; ac - bs), ex!(cx.b; bc + as_)),
            };
            let k = cx.b.sub(all, k);
            self.turn(cx, turns, to, (block, k, j), re, im);
        });
    }
    /// Blocks, `rows` of them each, neighbours side by side: `g` gets where the block begins, the row, the neighbour.
    fn nest(
        &self,
        cx: &mut LowerCx,
        n: i64,
        rows: i64,
        g: impl FnOnce(&mut LowerCx, ExprId, ExprId, ExprId),
    ) {
        let (length, m) = (self.f * self.m, self.m);
        let (blocks, rows) = (cx.b.i(n / length), cx.b.i(rows));
        let (length, m) = (cx.b.i(length), cx.b.i(m));
        let _ = cx.for_(blocks, LoopKind::Seq, |cx, block| {
            let block = cx.b.mul(block, length);
            cx.for_(rows, LoopKind::Seq, |cx, k| {
                cx.for_(m, LoopKind::Lanes, |cx, j| {
                    g(cx, block, k, j);
                    Ok(())
                })
            })
        });
    }
    /// Real parts times cosines, imaginary parts times sines, imaginary parts times cosines, real parts times sines, each added up for sum k of
    /// neighbour j.
    fn sum(
        &self,
        cx: &mut LowerCx,
        (from, real): (Pair, bool),
        block: ExprId,
        k: ExprId,
        j: ExprId,
        sines: bool,
    ) -> Sums {
        let sums = Sums::new(cx, Stage::ty(cx, from));
        let (f, m) = (cx.b.i(self.f), cx.b.i(self.m));
        let _ = cx.for_(f, LoopKind::Seq, |cx, t| {
            let at = ex!(cx.b; (block + (t * m)) + j);
            let unit = ex!(cx.b; (k * f) + t);
            let (c, s) = (
                cx.b.load(self.circle.0, unit),
                cx.b.load(self.circle.1, unit),
            );
            let (a, b) = (cx.b.load(from.0, at), cx.b.load(from.1, at));
            let (a, c) = (cx.b.let_(a), cx.b.let_(c));
            sums.add(cx, 0, a, c);
            if sines {
                let s = cx.b.let_(s);
                sums.add(cx, 3, a, s);
                if !real {
                    let b = cx.b.let_(b);
                    sums.add(cx, 1, b, s);
                    sums.add(cx, 2, b, c);
                }
            } else if !real {
                sums.add(cx, 2, b, c);
            }
            Ok(())
        });
        sums
    }
    /// Stores sum k of neighbour j, turned.
    fn turn(
        &self,
        cx: &mut LowerCx,
        turns: Pair,
        to: Pair,
        (block, k, j): (ExprId, ExprId, ExprId),
        re: ExprId,
        im: ExprId,
    ) {
        let m = cx.b.i(self.m);
        let at = ex!(cx.b; (k * m) + j);
        let (c, s) = (cx.b.load(turns.0, at), cx.b.load(turns.1, at));
        let (c, s) = (cx.b.let_(c), cx.b.let_(s));
        let (re, im) = (cx.b.let_(re), cx.b.let_(im));
        let to_at = cx.b.add(block, at);
        let x = ex!(cx.b; (re * c) + (im * s));
        let y = ex!(cx.b; (im * c) - (re * s));
        cx.b.store(to.0, to_at, x);
        cx.b.store(to.1, to_at, y);
    }
    /// The last stage: sums side by side.
    fn last(&self, cx: &mut LowerCx, n: i64, from: Pair, to: Pair, real: bool) {
        let ty = Stage::ty(cx, from);
        let (blocks, f) = (cx.b.i(n / self.f), cx.b.i(self.f));
        let _ = cx.for_(blocks, LoopKind::Seq, |cx, block| {
            let block = cx.b.mul(block, f);
            cx.for_(f, LoopKind::Lanes, |cx, k| {
                let sums = Sums::new(cx, ty);
                cx.for_(f, LoopKind::Seq, |cx, t| {
                    // The table is the same either way round.
                    let unit = ex!(cx.b; (t * f) + k);
                    let (c, s) = (
                        cx.b.load(self.circle.0, unit),
                        cx.b.load(self.circle.1, unit),
                    );
                    let (c, s) = (cx.b.let_(c), cx.b.let_(s));
                    let at = cx.b.add(block, t);
                    let a = cx.b.load(from.0, at);
                    let a = cx.b.let_(a);
                    sums.add(cx, 0, c, a);
                    sums.add(cx, 3, s, a);
                    if !real {
                        let b = cx.b.load(from.1, at);
                        let b = cx.b.let_(b);
                        sums.add(cx, 1, s, b);
                        sums.add(cx, 2, c, b);
                    }
                    Ok(())
                })?;
                let [ac, bs, bc, as_] = [0, 1, 2, 3].map(|i| sums.get(cx, i));
                let at = cx.b.add(block, k);
                let re = ex!(cx.b; ac + bs);
                let im = ex!(cx.b; bc - as_);
                cx.b.store(to.0, at, re);
                cx.b.store(to.1, at, im);
                Ok(())
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::factors;

    #[test]
    fn lengths_are_split_into_small_factors() {
        for n in 1..3000i64 {
            let Some(f) = factors(n) else {
                // A prime factor that is too large.
                let mut rest = n;
                for p in 2..=super::LARGEST {
                    while rest % p == 0 {
                        rest /= p;
                    }
                }
                assert!(rest > 1, "{n}");
                continue;
            };
            assert_eq!(f.iter().product::<i64>(), n);
            assert!(f.iter().all(|f| *f <= super::LARGEST), "{n}: {f:?}");
        }
        assert!(factors(1 << 22).is_some_and(|f| f.len() < 8));
    }
}
