//! Sums whose negative values have a slope, LeakyRelu and PRelu right behind a product, by two forms with one rounding.
//!
//! Rounding never lets numbers pass each other, so the larger of two rounded lines is the larger line rounded. Each line is proved where it counts, as
//! `large` and `step` prove one that counts everywhere; then, that neither passes the other where that counts.

use super::large::{Multiplier, Wish};
use super::short::{Short, words};
use super::step::{Reals, Single, fused};
use super::sums::{domain, domains};
use super::{WRONG, attrs, ends, missed, shifted};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::ops::requantize_single::LARGE;
use crate::pass::PassCx;

/// Both lines of a channel. The sum comes with the shift of the first; `apart` more is the second one's.
#[derive(Clone, Debug, PartialEq)]
pub struct Bent {
    /// The line of sums that are worth 0 or more.
    pub above: Single,
    /// That of the others; its multiplier may have any sign.
    pub below: Single,
    /// Whether the smaller line counts, else the larger.
    pub least: bool,
    /// Whether results are rounded at the end, else by [`LARGE`], which offsets have in them.
    pub near: bool,
    /// Sums with the first shift at which the result is one too large.
    pub wrong: Vec<i32>,
}

/// A channel: the lines `sum * m + o` above 0 and below.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// The first line, with the bounds and the zero point of results.
    pub above: Reals,
    /// Multiplier and offset of the second.
    pub below: [f64; 2],
}

type Range = (i64, i64);

/// Most sums of a channel at which its forms may be wrong.
const MOST_WRONG: usize = 6;

impl Lines {
    /// The result for a sum.
    #[cfg(test)]
    fn at(&self, s: i64) -> i64 {
        let [m, o] = self.below;
        match self.positive(s) {
            true => self.above.at(s),
            false => Reals { m, o, ..self.above }.at(s),
        }
    }
    fn positive(&self, s: i64) -> bool {
        s as f64 * self.above.m + self.above.o >= 0.0
    }
    /// The least sum of a domain that is worth 0 or more; one past it where none is.
    fn knee(&self, (least, most): Range) -> Option<i64> {
        let guess = libm::ceil(-self.above.o / self.above.m);
        let mut s = guess.clamp(least as f64, (most + 1) as f64) as i64;
        // The guess is off by roundings alone.
        for _ in 0..16 {
            if s > least && self.positive(s - 1) {
                s -= 1;
            } else if s <= most && !self.positive(s) {
                s += 1;
            } else {
                return Some(s);
            }
        }
        None
    }
    /// Both forms for sums of a domain, wrong at up to `bound` of them and nothing else; `None` where none are found. `like`: numbers that take few bytes.
    pub fn bent(&self, domain: Range, near: bool, bound: usize, like: Like) -> Option<Bent> {
        let [m, o] = self.below;
        let known = self.above.m > 0.0 && self.above.m.is_finite();
        if !(known && m.is_finite() && o.is_finite()) {
            return None;
        }
        let knee = self.knee(domain)?;
        let (upper, lower) = ((knee, domain.1), (domain.0, knee - 1));
        let first = |domain: Range| form(&self.above, domain, near, bound, like.wish);
        let line = Reals { m, o, ..self.above };
        let second = |domain: Range, wish: Wish| form(&line, domain, near, bound, wish);
        let (above, below) = match (upper.0 <= upper.1, lower.0 <= lower.1) {
            (true, true) => {
                let above = first(upper)?;
                let wish = like.second(&above);
                (above, second(lower, wish)?)
            }
            // One line is all there is.
            (true, false) => {
                let line = first(upper)?;
                (
                    line.clone(),
                    Single {
                        wrong: vec![],
                        ..line
                    },
                )
            }
            (false, _) => {
                let line = second(lower, Wish::default())?;
                (
                    Single {
                        wrong: vec![],
                        ..line.clone()
                    },
                    line,
                )
            }
        };
        let later = above.shift - below.shift;
        let moved = below
            .wrong
            .iter()
            .map(|w| i32::try_from(i64::from(*w) + later).ok());
        let mut wrong = moved.collect::<Option<Vec<i32>>>()?;
        wrong.extend(&above.wrong);
        let b = Bent {
            above,
            below,
            least: m > self.above.m,
            near,
            wrong,
        };
        let found = b.wrong.len() <= bound && b.apart().is_some();
        (found && b.parted(upper, lower, self.above.lo, self.above.hi)).then_some(b)
    }
}

/// What numbers of a channel are like that take few bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Like {
    /// Those of its first line.
    pub wish: Wish,
    /// By what its multiplier is multiplied for the second.
    pub slope: Option<f32>,
}

impl Like {
    fn second(self, first: &Single) -> Wish {
        Wish {
            multiplier: (self.slope).map_or(Multiplier::Any, |by| Multiplier::Is(first.m * by)),
            shifts: self.wish.shifts.and(Some(words(first.shift))),
        }
    }
}

/// The form of a line where it counts.
fn form(line: &Reals, domain: Range, near: bool, bound: usize, wish: Wish) -> Option<Single> {
    let (least, most) = domain;
    let find = |line: &Reals, domain: Range| match near {
        true => line.single(domain, bound),
        false => line.large_like(domain, bound, wish),
    };
    if let Some(same) = constant(line, (least, most), near) {
        return Some(same);
    }
    if line.m > 0.0 {
        return find(line, domain);
    }
    // What falls with the sum grows with the sum turned around.
    let turned = Reals {
        m: -line.m,
        ..*line
    };
    let s = find(&turned, (-most, -least))?;
    Some(Single {
        shift: -s.shift,
        m: -s.m,
        o: s.o,
        wrong: s.wrong.iter().map(|w| -w).collect(),
    })
}

/// The form of a line that gives the same for every sum of a domain.
fn constant(line: &Reals, (least, most): Range, near: bool) -> Option<Single> {
    let large = if near { 0.0 } else { LARGE };
    let ends = [least, most].map(|s| line.at(s));
    let finite = line.m.is_finite() && line.o.is_finite();
    (finite && ends[0] == ends[1]).then(|| Single {
        shift: 0,
        m: 0.0,
        o: large + ends[0] as f32,
        wrong: vec![],
    })
}

/// The result of a form for a sum, rounded or [`LARGE`] taken off.
fn result(f: &Single, s: i64, near: bool) -> i64 {
    let v = f64::from(fused(s + f.shift, f.m, f.o));
    match near {
        true => libm::rint(v) as i64,
        false => (v - f64::from(LARGE)) as i64,
    }
}

/// The least sum of a domain for which a form that grows gives `k` or more; one past it where none does.
fn first(f: &Single, k: i64, (mut least, most): Range, near: bool) -> i64 {
    let mut end = most + 1;
    while least < end {
        let middle = least + (end - least) / 2;
        match result(f, middle, near) >= k {
            true => end = middle,
            false => least = middle + 1,
        }
    }
    end
}

impl Bent {
    /// What the second line's shift has over the first one's, as f32 has it exactly.
    pub fn apart(&self) -> Option<f32> {
        let d = match self.below.m {
            // Nothing is multiplied.
            0.0 => 0,
            _ => self.below.shift - self.above.shift,
        };
        (d.abs() < 1 << 24).then_some(d as f32)
    }
    /// Whether each line counts on its own side of the knee, within the bounds.
    fn parted(&self, upper: Range, lower: Range, lo: i64, hi: i64) -> bool {
        let (one, two) = match self.least {
            // The smaller counts: the second below the knee, the first above.
            true => (&self.below, &self.above),
            false => (&self.above, &self.below),
        };
        // `a` does not pass `b` on a side.
        let result = |f: &Single, s: i64| result(f, s, self.near);
        let under = |a: &Single, b: &Single, side: Range| {
            if side.0 > side.1 {
                return true;
            }
            // One that falls meets the other where that is nearest.
            if b.m <= 0.0 {
                return result(a, side.1) <= result(b, side.1).max(lo);
            }
            if a.m < 0.0 {
                return result(a, side.0) <= result(b, side.0).max(lo);
            }
            let most = result(a, side.1).min(hi);
            (lo + 1..=most).all(|k| result(b, first(a, k, side, self.near)) >= k)
        };
        under(one, two, lower) && under(two, one, upper)
    }
}

/// A RescaledPRelu of sums that are known from weights.
pub fn leaning(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    // Each wrong sum takes two instructions; f64 takes many more.
    let ways = [WRONG, MOST_WRONG]
        .into_iter()
        .flat_map(|b| [(false, b), (true, b)]);
    let Some((shape, bents)) = ways.into_iter().find_map(|(near, b)| bents(g, n, near, b)) else {
        return Ok(None);
    };
    let Some((_, lo, hi)) = ends(g, n) else {
        return Ok(None);
    };
    let least = bents[0].least;
    let Some(apart) = bents.iter().map(Bent::apart).collect::<Option<Vec<f32>>>() else {
        return Ok(None);
    };
    // Lines that are one may be taken for the larger or the smaller.
    if bents.iter().any(|b| b.least != least && b.above != b.below) {
        return Ok(None);
    }
    let shifts: Vec<i64> = bents.iter().map(|b| b.above.shift).collect();
    let mut own = attrs(g, n, (lo, hi)).with("least", Attr::Int(i64::from(least)));
    if bents[0].near {
        own.set("near", Attr::Int(1));
    }
    let parted = apart.iter().any(|d| *d != 0.0);
    if parted {
        own.set("apart", Attr::Int(1));
    }
    let (x, own) = shifted(g, cx, n, &shape, &shifts, own)?;
    let mut constant = |of: &dyn Fn(&Bent) -> f32| {
        let all: Vec<f32> = bents.iter().map(of).collect();
        Some(g.add_const("", Tensor::f32(&shape, &all)))
    };
    let mut ins = vec![
        x,
        constant(&|b| b.above.m),
        constant(&|b| b.above.o),
        constant(&|b| b.below.m),
        constant(&|b| b.below.o),
    ];
    if parted {
        ins.push(Some(g.add_const("", Tensor::f32(&shape, &apart))));
    }
    let wrong: Vec<&[i32]> = bents.iter().map(|b| b.wrong.as_slice()).collect();
    ins.extend(missed(g, &shape, &wrong));
    let loc = g.node(n).loc.clone();
    make(g, cx, n, "RequantizeBent", own, &ins, loc).map(Some)
}

/// What numbers of channels are like that take few bytes, where all have one slope.
fn alike(g: &Graph, n: NodeId, channels: &[(Lines, Range)]) -> Option<Vec<Like>> {
    let first: Vec<_> = channels.iter().map(|(l, d)| (l.above, *d)).collect();
    let short = Short::of(g, n, &first)?;
    let over = short.overs().next()?;
    let mut slopes = channels
        .iter()
        .map(|(l, _)| (l.below[0] / l.above.m) as f32);
    let slope = slopes.next().filter(|s| *s > 0.0)?;
    let slope = slopes.all(|s| s == slope).then_some(slope);
    let like = |c: usize| Like {
        wish: short.wish(c, over),
        slope,
    };
    Some((0..channels.len()).map(like).collect())
}

/// Both lines of each channel of a RescaledPRelu of i32, with the shape of their constants.
fn bents(g: &Graph, n: NodeId, near: bool, bound: usize) -> Option<(Vec<i64>, Vec<Bent>)> {
    let node = g.node(n);
    let (zero, lo, hi) = ends(g, n)?;
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let x = input(0)?;
    if g.ty(x)?.dtype != DType::I32 || node.attrs.int("zero_x", 0) != 0 {
        return None;
    }
    let mut shape: Vec<i64> = vec![];
    let mut numbers = |i: usize| match input(i) {
        None => Some(vec![0.0]),
        Some(v) => {
            let t = g.konst(v)?;
            if t.len() > shape.iter().product::<i64>() as usize || shape.is_empty() {
                shape = t.shape.clone();
            }
            t.to_f64s().filter(|l| !l.is_empty())
        }
    };
    let all = [numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?];
    let domains = domains(g, x)?;
    let count = all.iter().map(Vec::len).max()?;
    let fits = |len: usize| len == 1 || len == count;
    if !all.iter().all(|l| fits(l.len())) {
        return None;
    }
    let lines = |c: usize| {
        let [m, below, o, o_below] = [0, 1, 2, 3].map(|i| all[i][c % all[i].len()]);
        let above = Reals { m, o, zero, lo, hi };
        let lines = Lines {
            above,
            below: [below, o_below],
        };
        (lines, domain(&domains, count, c))
    };
    let all: Vec<_> = (0..count).map(lines).collect();
    let likes = alike(g, n, &all).filter(|_| !near).unwrap_or_default();
    let channel = |(c, (lines, domain)): (usize, &(Lines, Range))| {
        let like = likes.get(c);
        let short = like.and_then(|like| lines.bent(*domain, near, bound, *like));
        short.or_else(|| lines.bent(*domain, near, bound, Like::default()))
    };
    let bents = (all.iter().enumerate().map(channel)).collect::<Option<Vec<Bent>>>()?;
    Some((shape, bents))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the instructions that a machine runs, at every sum of a domain.
    fn same(l: &Lines, b: &Bent, domain: Range) {
        let apart = b.apart().expect("near");
        for x in domain.0..=domain.1 {
            let s = (x + b.above.shift) as f32;
            let one = libm::fmaf(s, b.above.m, b.above.o);
            let two = libm::fmaf(s + apart, b.below.m, b.below.o);
            let v = if b.least { one.min(two) } else { one.max(two) };
            let v = match b.near {
                true => libm::rintf(v) as i64,
                false => i64::from(v.to_bits() as i32) - i64::from(LARGE.to_bits() as i32),
            };
            let sum = (x + b.above.shift) as i32;
            let v = v - b.wrong.iter().filter(|w| **w == sum).count() as i64;
            assert_eq!(
                v.clamp(l.above.lo, l.above.hi),
                l.at(x),
                "{l:?} {b:?} at {x}"
            );
        }
    }

    #[test]
    fn equal_at_every_sum() {
        let mut state = 5u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut found = [0, 0];
        for round in 0..80 {
            let signed = round % 4 == 1 || round % 4 == 2;
            let above = Reals {
                m: 0.0003 + random() * random() * 0.01,
                o: [0.0, random() * 100.0 - 50.0][round % 2],
                zero: [40, -100, 17, 128][round % 4],
                lo: if signed { -128 } else { 0 },
                hi: if signed { 127 } else { 255 },
            };
            let slope = [0.01, 0.1, 0.25, -0.2, 0.0, 1.5, random()][round % 7];
            let l = Lines {
                above,
                below: [above.m * slope, above.o * slope],
            };
            let domain = (-150_000, 150_000);
            for near in [false, true] {
                if let Some(b) = l.bent(domain, near, 2, Like::default()) {
                    found[usize::from(near)] += 1;
                    same(&l, &b, domain);
                }
            }
        }
        assert!(found[0] > 70 && found[1] > 40, "{found:?}");
    }

    #[test]
    fn sums_of_one_sign() {
        let above = Reals {
            m: 0.004,
            o: 3.25,
            zero: -20,
            lo: -128,
            hi: 127,
        };
        let l = Lines {
            above,
            below: [0.0004, 0.325],
        };
        for domain in [(0, 50_000), (-50_000, -2000), (-812, -812)] {
            if let Some(b) = l.bent(domain, false, 2, Like::default()) {
                same(&l, &b, domain);
            }
        }
        assert!(l.bent((0, 50_000), false, 2, Like::default()).is_some());
    }

    #[test]
    fn numbers_that_no_f32_holds() {
        let above = Reals {
            m: f64::NAN,
            o: 0.0,
            zero: 0,
            lo: 0,
            hi: 255,
        };
        let l = Lines {
            above,
            below: [0.1, 0.0],
        };
        assert_eq!(l.bent((-10, 10), false, 2, Like::default()), None);
    }
}
