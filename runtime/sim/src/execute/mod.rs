//! What commands mean: a plain, exact interpreter. The device process computes with it, and the compiler's tests compare with it.
//!
//! It executes what [`crate::check`] let pass. Numbers are exact: sums in 32 bits, results by one product, one sum and one rounding in double
//! precision, none of them contracted.

mod maps;
mod points;

use crate::check::check;
use crate::format::*;

/// The memories of a run.
pub struct Memory<'a> {
    /// Constants.
    pub cst: &'a [u8],
    /// Working memory: its contents need no preparation.
    pub arena: &'a mut [u8],
    /// Buffers of the ports.
    pub ports: &'a mut [Vec<u8>],
}

impl Memory<'_> {
    /// The bytes of a tensor from its first on.
    fn read(&self, at: &Place) -> &[u8] {
        let all: &[u8] = match at.space {
            Space::Const => self.cst,
            Space::Arena => self.arena,
            Space::Port(i) => self.ports.get(i as usize).map_or(&[], |p| p),
        };
        all.get(at.offset as usize..).unwrap_or_default()
    }
    fn write(&mut self, at: &Place) -> &mut [u8] {
        let all: &mut [u8] = match at.space {
            Space::Const => &mut [],
            Space::Arena => self.arena,
            Space::Port(i) => self.ports.get_mut(i as usize).map_or(&mut [], |p| p),
        };
        all.get_mut(at.offset as usize..).unwrap_or_default()
    }
    fn ints(&self, i: &Option<Ints>, n: u32) -> Vec<i32> {
        let Some(i) = i else {
            return vec![0; n as usize];
        };
        let at = Place {
            space: Space::Const,
            elem: Elem::I32,
            offset: i.offset,
        };
        repeated(numbers(self.read(&at), i.count, i32::from_le_bytes), n)
    }
    fn reals(&self, r: &Reals, n: u32) -> Vec<f64> {
        let at = Place {
            space: Space::Const,
            elem: Elem::F64,
            offset: r.offset,
        };
        repeated(numbers(self.read(&at), r.count, f64::from_le_bytes), n)
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], n: u32, make: fn([u8; N]) -> T) -> Vec<T> {
    let (all, _) = bytes.as_chunks::<N>();
    all.iter().take(n as usize).map(|b| make(*b)).collect()
}

fn repeated<T: Clone>(mut all: Vec<T>, n: u32) -> Vec<T> {
    if let [one] = &all[..] {
        all = vec![one.clone(); n as usize];
    }
    all
}

/// A byte's value.
fn value(b: u8, elem: Elem) -> i32 {
    match elem {
        Elem::I8 => i32::from(b.cast_signed()),
        _ => i32::from(b),
    }
}

/// The nearest whole number.
fn rounded(v: f64, up: bool) -> f64 {
    if up {
        libm::floor(v + 0.5)
    } else {
        libm::rint(v)
    }
}

/// A real number as a byte of the result.
fn limited(v: f64, l: &Limits) -> u8 {
    let (lo, hi) = (
        f64::from(l.lo) - f64::from(l.zero),
        f64::from(l.hi) - f64::from(l.zero),
    );
    // Limits are whole, so rounding after them gives the same, and nothing overflows.
    let v = rounded(v.max(lo).min(hi), l.up);
    (v as i32).wrapping_add(l.zero) as u8
}

/// What sums become, ready for use.
struct Finisher {
    bias: Vec<i32>,
    scale: Vec<f64>,
    offset: Option<Vec<f64>>,
    limits: Limits,
}

impl Finisher {
    fn new(mem: &Memory, f: &Finish, channels: u32) -> Finisher {
        Finisher {
            bias: mem.ints(&f.bias, channels),
            scale: mem.reals(&f.scale, channels),
            offset: f.offset.as_ref().map(|o| mem.reals(o, channels)),
            limits: Limits {
                zero: f.zero,
                lo: f.lo,
                hi: f.hi,
                up: f.up,
            },
        }
    }
    fn byte(&self, sum: i32, c: usize) -> u8 {
        let v = f64::from(sum.wrapping_add(self.bias[c])) * self.scale[c];
        let v = match &self.offset {
            Some(o) => v + o[c],
            None => v,
        };
        limited(v, &self.limits)
    }
}

/// Executes a program. An error says why nothing was done: it is malformed, or a memory is too small.
pub fn execute(p: &Program, mem: &mut Memory) -> Result<(), Malformed> {
    check(p, mem.cst.len())?;
    let fits = mem.arena.len() >= p.arena_bytes as usize
        && mem.ports.len() >= p.ports.len()
        && (mem.ports.iter().zip(&p.ports)).all(|(b, p)| b.len() >= p.bytes as usize);
    if !fits {
        return Err(Malformed::Head);
    }
    for (i, c) in p.commands.iter().enumerate() {
        match c {
            Command::Conv(c) => maps::conv(mem, c),
            Command::Gemm(c) => maps::gemm(mem, c),
            Command::MaxPool(c) => maps::max_pool(mem, c),
            Command::Resize(c) => maps::resize(mem, c).map_err(|what| Malformed::Check(i, what))?,
            Command::Sum(c) => points::sum(mem, c),
            Command::Add(c) => points::add(mem, c),
            Command::Mul(c) => points::mul(mem, c),
            Command::Requantize(c) => points::requantize(mem, c),
            Command::Lookup(c) => points::lookup(mem, c),
            Command::Softmax(c) => {
                points::softmax(mem, c).map_err(|what| Malformed::Check(i, what))?
            }
            Command::Copy(c) => points::copy(mem, c),
            Command::Fill(c) => points::fill(mem, c),
        }
    }
    Ok(())
}
