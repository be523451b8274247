//! Dimensions: numbers, or integer expressions over bounded symbols.
//!
//! An expression is kept as a sum of products in one canonical order, so two dimensions that are always equal
//! (`4*N/4` and `N`) compare equal. Everything saturates instead of overflowing: a size that does not fit is
//! reported by the limit checks, never wrapped.

use crate::ids;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

ids! {
    /// A bounded symbol: a size that is known when the model runs.
    SymId "s",
}

/// What decides a symbol's value at run time.
#[derive(Clone, PartialEq, Debug)]
pub enum Origin {
    /// The caller states it; it is the size of dimension `axis` of graph input `input`.
    Input { input: usize, axis: usize },
    /// A layer computes it while the model runs (NonZero, Loop, NonMaxSuppression, ...).
    Data,
}

/// A symbol and its bounds.
#[derive(Clone, PartialEq, Debug)]
pub struct Symbol {
    /// The name in the model, or a made-up one.
    pub name: String,
    /// Smallest possible value.
    pub lo: i64,
    /// Largest possible value: memory is planned for it.
    pub hi: i64,
    /// Where the value comes from.
    pub origin: Origin,
}

/// All symbols of a model.
pub type Symbols = crate::base::id::Arena<SymId, Symbol>;

/// A factor of a product.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Atom {
    /// A symbol.
    Sym(SymId),
    /// Floor division, the divisor positive.
    Div(Box<Dim>, Box<Dim>),
    /// Remainder of floor division.
    Mod(Box<Dim>, Box<Dim>),
    /// The larger.
    Max(Box<Dim>, Box<Dim>),
    /// The smaller.
    Min(Box<Dim>, Box<Dim>),
}

/// Sum of `coefficient * product of atoms`; the empty product is the constant term. No zero coefficients.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Sum(pub BTreeMap<Vec<Atom>, i64>);

/// A size or index that is a number, or an expression over symbols.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A number.
    Fixed(i64),
    /// An expression that is no number.
    Expr(Arc<Sum>),
}

/// Terms of a quotient, at most.
const MAX_TERMS: usize = 64;

impl Sum {
    /// The term of the highest degree, of several the first: an order that products keep.
    fn leading(&self) -> Option<(&Vec<Atom>, &i64)> {
        let degree = |k: &Vec<Atom>| std::cmp::Reverse(k.len());
        self.0.iter().min_by_key(|(k, _)| (degree(k), *k))
    }
}

impl Dim {
    /// A symbol's dimension.
    pub fn sym(s: SymId) -> Dim {
        Dim::Expr(Arc::new(Sum(BTreeMap::from([(vec![Atom::Sym(s)], 1)]))))
    }
    /// The number, if it is one.
    pub fn fixed(&self) -> Option<i64> {
        match self {
            Dim::Fixed(n) => Some(*n),
            Dim::Expr(_) => None,
        }
    }
    /// Whether it is the number `n`.
    pub fn is(&self, n: i64) -> bool {
        self.fixed() == Some(n)
    }
    fn sum(&self) -> Sum {
        match self {
            Dim::Fixed(0) => Sum::default(),
            Dim::Fixed(n) => Sum(BTreeMap::from([(vec![], *n)])),
            Dim::Expr(s) => (**s).clone(),
        }
    }
    fn from_sum(s: Sum) -> Dim {
        match s.0.len() {
            0 => Dim::Fixed(0),
            1 if s.0.contains_key(&vec![]) => Dim::Fixed(s.0[&vec![]]),
            _ => Dim::Expr(Arc::new(s)),
        }
    }
    fn atom(a: Atom) -> Dim {
        Dim::Expr(Arc::new(Sum(BTreeMap::from([(vec![a], 1)]))))
    }
    /// `floor(self / d)`; `None` unless `d` is known to be positive or a symbol expression.
    pub fn floor_div(&self, d: &Dim) -> Option<Dim> {
        match (self, d) {
            (_, Dim::Fixed(1)) => return Some(self.clone()),
            (_, Dim::Fixed(n)) if *n <= 0 => return None,
            (Dim::Fixed(a), Dim::Fixed(b)) => return Some(Dim::Fixed(a.div_euclid(*b))),
            _ => {}
        }
        if self == d {
            return Some(Dim::Fixed(1));
        }
        // Exact division term by term: every coefficient and every factor of the divisor must cancel.
        if let Some(q) = self.exact_div(d) {
            return Some(q);
        }
        // (k*n + r) / n with a fixed n: take the multiples out.
        if let (Dim::Expr(s), Dim::Fixed(n)) = (self, d) {
            let (mut whole, mut rest) = (Sum::default(), Sum::default());
            for (k, &c) in &s.0 {
                if c.div_euclid(*n) != 0 {
                    whole.0.insert(k.clone(), c.div_euclid(*n));
                }
                if c.rem_euclid(*n) != 0 {
                    rest.0.insert(k.clone(), c.rem_euclid(*n));
                }
            }
            let rest = Dim::from_sum(rest);
            let rest = match rest {
                Dim::Fixed(r) => Dim::Fixed(r.div_euclid(*n)),
                rest => Dim::atom(Atom::Div(Box::new(rest), Box::new(d.clone()))),
            };
            return Some(Dim::from_sum(whole) + rest);
        }
        Some(Dim::atom(Atom::Div(
            Box::new(self.clone()),
            Box::new(d.clone()),
        )))
    }
    /// `self / d` if the division is exact for every value of the symbols: the leading terms are divided until nothing is left.
    pub fn exact_div(&self, d: &Dim) -> Option<Dim> {
        let d = d.sum();
        let (dk, &dc) = d.leading().filter(|(_, c)| **c != 0)?;
        let (mut left, mut out) = (self.clone(), Dim::Fixed(0));
        // Each round takes a term off; more rounds than terms can come up are a division that does not end.
        for _ in 0..MAX_TERMS {
            let sum = left.sum();
            let Some((k, &c)) = sum.leading() else {
                return Some(out);
            };
            if c % dc != 0 {
                return None;
            }
            let mut factors = k.clone();
            for a in dk {
                let at = factors.iter().position(|x| x == a)?;
                factors.remove(at);
            }
            let term = Dim::from_sum(Sum(BTreeMap::from([(factors, c / dc)])));
            left = left - term.clone() * Dim::from_sum(d.clone());
            out = out + term;
        }
        None
    }
    /// `ceil(self / d)`.
    pub fn ceil_div(&self, d: &Dim) -> Option<Dim> {
        (self.clone() + d.clone() - Dim::Fixed(1)).floor_div(d)
    }
    /// Remainder of floor division.
    pub fn modulo(&self, d: &Dim) -> Option<Dim> {
        match (self, d) {
            (_, Dim::Fixed(1)) => Some(Dim::Fixed(0)),
            (_, Dim::Fixed(n)) if *n <= 0 => None,
            (Dim::Fixed(a), Dim::Fixed(b)) => Some(Dim::Fixed(a.rem_euclid(*b))),
            _ if self.exact_div(d).is_some() => Some(Dim::Fixed(0)),
            _ => Some(Dim::atom(Atom::Mod(
                Box::new(self.clone()),
                Box::new(d.clone()),
            ))),
        }
    }
    /// The larger of the two.
    pub fn larger(&self, o: &Dim) -> Dim {
        match (self, o) {
            (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(*a.max(b)),
            _ if self == o => self.clone(),
            _ => Dim::atom(Atom::Max(
                Box::new(self.clone().min_first(o)),
                Box::new(self.clone().max_second(o)),
            )),
        }
    }
    /// The smaller of the two.
    pub fn smaller(&self, o: &Dim) -> Dim {
        match (self, o) {
            (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(*a.min(b)),
            _ if self == o => self.clone(),
            _ => Dim::atom(Atom::Min(
                Box::new(self.clone().min_first(o)),
                Box::new(self.clone().max_second(o)),
            )),
        }
    }
    // Max and Min commute: the operands stand in one order.
    fn min_first(self, o: &Dim) -> Dim {
        if self <= *o { self } else { o.clone() }
    }
    fn max_second(self, o: &Dim) -> Dim {
        if self <= *o { o.clone() } else { self }
    }
    /// Value for given symbols (`values[SymId]`).
    pub fn eval(&self, values: &[i64]) -> i64 {
        match self {
            Dim::Fixed(n) => *n,
            Dim::Expr(s) => s.0.iter().fold(0i64, |sum, (k, c)| {
                sum.saturating_add(k.iter().fold(*c, |p, a| p.saturating_mul(a.eval(values))))
            }),
        }
    }
    /// Smallest and largest possible value by interval arithmetic (may be wider than the truth).
    pub fn bounds(&self, symbols: &Symbols) -> (i64, i64) {
        match self {
            Dim::Fixed(n) => (*n, *n),
            Dim::Expr(s) => s.0.iter().fold((0i64, 0i64), |sum, (k, c)| {
                let p = k
                    .iter()
                    .fold((*c, *c), |p, a| mul_range(p, a.bounds(symbols)));
                (sum.0.saturating_add(p.0), sum.1.saturating_add(p.1))
            }),
        }
    }
    /// The symbols that occur in it.
    pub fn symbols(&self, out: &mut Vec<SymId>) {
        if let Dim::Expr(s) = self {
            for a in s.0.keys().flatten() {
                match a {
                    Atom::Sym(s) => out.push(*s),
                    Atom::Div(a, b) | Atom::Mod(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                        a.symbols(out);
                        b.symbols(out);
                    }
                }
            }
        }
    }
    /// Replaces symbols by dimensions (those that `f` answers for).
    pub fn substitute(&self, f: &dyn Fn(SymId) -> Option<Dim>) -> Dim {
        let Dim::Expr(s) = self else {
            return self.clone();
        };
        let mut out = Dim::Fixed(0);
        for (k, c) in &s.0 {
            let mut p = Dim::Fixed(*c);
            for a in k {
                let v = match a {
                    Atom::Sym(s) => f(*s).unwrap_or_else(|| Dim::sym(*s)),
                    Atom::Div(a, b) => {
                        let (a, b) = (a.substitute(f), b.substitute(f));
                        a.floor_div(&b).unwrap_or(Dim::Fixed(0))
                    }
                    Atom::Mod(a, b) => a
                        .substitute(f)
                        .modulo(&b.substitute(f))
                        .unwrap_or(Dim::Fixed(0)),
                    Atom::Max(a, b) => a.substitute(f).larger(&b.substitute(f)),
                    Atom::Min(a, b) => a.substitute(f).smaller(&b.substitute(f)),
                };
                p = p * v;
            }
            out = out + p;
        }
        out
    }
    /// Text with symbols under their names: `4*N + 1`.
    pub fn text(&self, symbols: &Symbols) -> String {
        match self {
            Dim::Fixed(n) => n.to_string(),
            Dim::Expr(s) => {
                let mut out = String::new();
                for (k, c) in &s.0 {
                    if !out.is_empty() {
                        out.push('+');
                    }
                    let mut parts: Vec<String> = k.iter().map(|a| a.text(symbols)).collect();
                    if *c != 1 || parts.is_empty() {
                        parts.insert(0, c.to_string());
                    }
                    out.push_str(&parts.join("*"));
                }
                out
            }
        }
    }
}

impl Atom {
    fn eval(&self, values: &[i64]) -> i64 {
        match self {
            Atom::Sym(s) => values.get(s.0 as usize).copied().unwrap_or(0),
            Atom::Div(a, b) => a
                .eval(values)
                .checked_div_euclid(b.eval(values))
                .unwrap_or(0),
            Atom::Mod(a, b) => a
                .eval(values)
                .checked_rem_euclid(b.eval(values))
                .unwrap_or(0),
            Atom::Max(a, b) => a.eval(values).max(b.eval(values)),
            Atom::Min(a, b) => a.eval(values).min(b.eval(values)),
        }
    }
    fn bounds(&self, symbols: &Symbols) -> (i64, i64) {
        match self {
            Atom::Sym(s) => symbols.get(*s).map_or((0, i64::MAX), |s| (s.lo, s.hi)),
            Atom::Div(a, b) => {
                let ((al, ah), (bl, bh)) = (a.bounds(symbols), b.bounds(symbols));
                let (bl, bh) = (bl.max(1), bh.max(1));
                let c = [
                    al.div_euclid(bl),
                    al.div_euclid(bh),
                    ah.div_euclid(bl),
                    ah.div_euclid(bh),
                ];
                (
                    c.into_iter().min().unwrap_or(0),
                    c.into_iter().max().unwrap_or(0),
                )
            }
            Atom::Mod(_, b) => (0, b.bounds(symbols).1.saturating_sub(1).max(0)),
            Atom::Max(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                (a.0.max(b.0), a.1.max(b.1))
            }
            Atom::Min(a, b) => {
                let (a, b) = (a.bounds(symbols), b.bounds(symbols));
                (a.0.min(b.0), a.1.min(b.1))
            }
        }
    }
    fn text(&self, symbols: &Symbols) -> String {
        let two = |name: &str, a: &Dim, b: &Dim| {
            format!("{name}({}, {})", a.text(symbols), b.text(symbols))
        };
        match self {
            Atom::Sym(s) => symbols.get(*s).map_or(format!("{s:?}"), |s| s.name.clone()),
            Atom::Div(a, b) => two("div", a, b),
            Atom::Mod(a, b) => two("mod", a, b),
            Atom::Max(a, b) => two("max", a, b),
            Atom::Min(a, b) => two("min", a, b),
        }
    }
}

fn mul_range(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let c = [
        a.0.saturating_mul(b.0),
        a.0.saturating_mul(b.1),
        a.1.saturating_mul(b.0),
        a.1.saturating_mul(b.1),
    ];
    (
        c.into_iter().min().unwrap_or(0),
        c.into_iter().max().unwrap_or(0),
    )
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(self, o: Dim) -> Dim {
        if let (Dim::Fixed(a), Dim::Fixed(b)) = (&self, &o) {
            return Dim::Fixed(a.saturating_add(*b));
        }
        let mut s = self.sum();
        for (k, c) in o.sum().0 {
            let e = s.0.entry(k).or_insert(0);
            *e = e.saturating_add(c);
        }
        s.0.retain(|_, c| *c != 0);
        Dim::from_sum(s)
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, o: Dim) -> Dim {
        if let (Dim::Fixed(a), Dim::Fixed(b)) = (&self, &o) {
            return Dim::Fixed(a.saturating_mul(*b));
        }
        let (a, b) = (self.sum(), o.sum());
        let mut s = Sum::default();
        for (ka, ca) in &a.0 {
            for (kb, cb) in &b.0 {
                let mut k = [ka.as_slice(), kb.as_slice()].concat();
                k.sort();
                let e = s.0.entry(k).or_insert(0);
                *e = e.saturating_add(ca.saturating_mul(*cb));
            }
        }
        s.0.retain(|_, c| *c != 0);
        Dim::from_sum(s)
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, o: Dim) -> Dim {
        self + o * Dim::Fixed(-1)
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::Fixed(1), |a, b| a * b)
    }
}

impl std::iter::Sum for Dim {
    fn sum<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::Fixed(0), |a, b| a + b)
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::Fixed(n)
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Symbols::default()))
    }
}

/// A shape: one dimension per axis.
pub type Shape = Vec<Dim>;

/// Number of elements of a shape.
pub fn elements(shape: &[Dim]) -> Dim {
    shape.iter().cloned().product()
}

/// The shape as numbers, if all are.
pub fn fixed_shape(shape: &[Dim]) -> Option<Vec<i64>> {
    shape.iter().map(Dim::fixed).collect()
}

/// Row-major strides, in elements.
pub fn strides(shape: &[Dim]) -> Vec<Dim> {
    let mut out = vec![Dim::Fixed(1); shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        out[i] = out[i + 1].clone() * shape[i + 1].clone();
    }
    out
}

/// The symbols that the caller of a compiled model states, in the order of `dims` in the context.
pub fn free_symbols(symbols: &Symbols) -> Vec<SymId> {
    symbols
        .iter()
        .filter(|(_, s)| matches!(s.origin, Origin::Input { .. }))
        .map(|(id, _)| id)
        .collect()
}
