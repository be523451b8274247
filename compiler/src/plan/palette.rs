//! Constants of few values, stored as numbers into a table of them.
//!
//! A layer whose weights take 16 values needs four bits for each, not 32; with 256, eight. The layer then begins by writing its weights, as its kernel
//! wants them, to memory of its own: the same bits, so the same results. Values that do not fit the table (biases among the weights of a depthwise layer,
//! the zeros of edges) are few, and are put in place one by one behind it.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::palette::{PALETTE, TOGETHER, run};
use crate::kernel::{Extra, Machine};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Arg, BufId, ExprId, Func, LoopKind, Ty};
use std::collections::HashMap;

/// Elements below which a constant is not worth it.
const LEAST: usize = 1024;
/// Different values at which counting ends: most constants have as many as they have elements.
const MOST_VALUES: usize = 1 << 16;
/// The share of its bytes that a constant may keep, at most.
const MOST_SHARE: f64 = 0.75;
/// Elements that a thread writes at a time.
const CHUNK: usize = 1 << 13;

/// How a constant is stored.
struct Palette {
    /// Bits of a number: 4 or 8.
    bits: usize,
    /// As many values as numbers tell apart.
    table: Vec<f32>,
    /// Numbers, two of four bits in a byte.
    codes: Vec<u8>,
    /// Places of values that the table lacks, in rising order.
    places: Vec<i32>,
    values: Vec<f32>,
}

impl Palette {
    /// The smallest of a constant; `None`: it stays as it is.
    fn of(all: &[f32]) -> Option<Palette> {
        let places = i32::try_from(all.len()).is_ok();
        if all.len() < LEAST || !places {
            return None;
        }
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for v in all {
            *counts.entry(v.to_bits()).or_default() += 1;
            if counts.len() > MOST_VALUES {
                return None;
            }
        }
        let mut by_count: Vec<(u32, usize)> = counts.into_iter().collect();
        by_count.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let bytes = |bits: usize| {
            let found: usize = by_count.iter().take(1 << bits).map(|c| c.1).sum();
            all.len() * bits / 8 + (4 << bits) + 8 * (all.len() - found)
        };
        let bits = if bytes(4) <= bytes(8) { 4 } else { 8 };
        let worth = bytes(bits) as f64 <= MOST_SHARE * (4 * all.len()) as f64;
        worth.then(|| Palette::made(all, &by_count, bits))
    }

    fn made(all: &[f32], by_count: &[(u32, usize)], bits: usize) -> Palette {
        let mut table: Vec<u32> = by_count.iter().take(1 << bits).map(|c| c.0).collect();
        table.sort_unstable();
        let numbers: HashMap<u32, u8> = (table.iter().enumerate())
            .map(|(i, v)| (*v, i as u8))
            .collect();
        let (mut places, mut values, mut found) = (vec![], vec![], Vec::with_capacity(all.len()));
        for (i, v) in all.iter().enumerate() {
            found.push(numbers.get(&v.to_bits()).copied().unwrap_or_else(|| {
                places.push(i as i32);
                values.push(*v);
                0
            }));
        }
        let codes = match bits {
            4 => {
                let halves = |run: &[u8]| -> [u8; 16] {
                    let at = |i: usize| run.get(i).copied().unwrap_or(0);
                    std::array::from_fn(|i| at(i) | at(i + 16) << 4)
                };
                found.chunks(TOGETHER).flat_map(halves).collect()
            }
            _ => found,
        };
        let mut table: Vec<f32> = table.into_iter().map(f32::from_bits).collect();
        table.resize(1 << bits, 0.0);
        Palette {
            bits,
            table,
            codes,
            places,
            values,
        }
    }
}

/// Stores the constants of a function that have few values so, and has it begin by writing them out.
pub fn store(func: Func, extras: &mut Vec<(BufId, Extra)>, machine: &Machine) -> Result<Func> {
    let mut found = vec![];
    for (buf, e) in extras.iter_mut() {
        let Extra::Const(t) = e else { continue };
        let numbers = t.to_f32s().filter(|_| t.dtype == DType::F32);
        if let Some(p) = numbers.as_deref().and_then(Palette::of) {
            found.push((*buf, t.len(), p));
            *e = Extra::Scratch;
        }
    }
    if found.is_empty() {
        return Ok(func);
    }
    let mut func = func;
    let own = std::mem::take(&mut func.body);
    for (buf, ..) in &found {
        func.bufs[*buf].access = Access::ReadWrite;
    }
    let mut b = Builder::resume(func);
    for (buf, len, p) in found {
        let mut constant = |name: &str, t: Tensor| {
            let len = Dim::Fixed(t.len() as i64);
            let buf = b.buffer(name, t.dtype, len, Access::Read);
            extras.push((buf, Extra::Const(t)));
            buf
        };
        let n = |len: usize| vec![len as i64];
        let table = constant("palette", Tensor::f32(&n(p.table.len()), &p.table));
        let codes = Tensor::new(DType::U8, n(p.codes.len()), p.codes.into())?;
        let codes = constant("codes", codes);
        let rest = match p.places.is_empty() {
            true => None,
            false => {
                let data: Vec<u8> = p.places.iter().flat_map(|i| i.to_le_bytes()).collect();
                let places = Tensor::new(DType::I32, n(p.places.len()), data.into())?;
                let values = Tensor::f32(&n(p.values.len()), &p.values);
                Some((constant("places", places), constant("values", values)))
            }
        };
        write(&mut b, machine, (codes, table, buf), len, p.bits);
        if let Some((places, values)) = rest {
            let count = b.i(p.places.len() as i64);
            b.for_(count, LoopKind::Seq, |b, i| {
                let at = b.load(places, i);
                let at = b.cast(Ty::I64, at);
                let v = b.load(values, i);
                b.store(buf, at, v);
            });
        }
    }
    let mut func = b.finish();
    func.body.extend(own);
    Ok(func)
}

/// Writes a constant's elements to where its kernel reads them. `bufs`: numbers, table, elements.
fn write(b: &mut Builder, machine: &Machine, bufs: (BufId, BufId, BufId), len: usize, bits: usize) {
    let chunks = b.i((len / CHUNK) as i64);
    if len >= CHUNK {
        b.for_(chunks, LoopKind::Parallel, |b, i| {
            let size = b.i(CHUNK as i64);
            let first = b.mul(i, size);
            let first = b.let_(first);
            match bits {
                4 => halves(b, machine, bufs, first, CHUNK),
                _ => bytes(b, bufs, first, CHUNK),
            }
        });
    }
    if !len.is_multiple_of(CHUNK) {
        let first = b.i((len - len % CHUNK) as i64);
        match bits {
            4 => halves(b, machine, bufs, first, len % CHUNK),
            _ => bytes(b, bufs, first, len % CHUNK),
        }
    }
}

/// `count` elements from `first` on, a byte each.
fn bytes(b: &mut Builder, bufs: (BufId, BufId, BufId), first: ExprId, count: usize) {
    let (codes, table, out) = bufs;
    let count = b.i(count as i64);
    b.for_(count, LoopKind::Seq, |b, i| {
        let at = b.add(first, i);
        let code = b.load(codes, at);
        let code = b.cast(Ty::I64, code);
        let v = b.load(table, code);
        b.store(out, at, v);
    });
}

/// `count` elements from `first`, which is a whole number of runs, on; half a byte each.
fn halves(
    b: &mut Builder,
    machine: &Machine,
    bufs: (BufId, BufId, BufId),
    first: ExprId,
    count: usize,
) {
    let (codes, table, out) = bufs;
    let runs = b.i((count / TOGETHER) as i64);
    let two = b.i(2);
    let from = b.div(first, two);
    let from = b.let_(from);
    if let Some(tile) = machine.tile(PALETTE.name) {
        let zero = b.i(0);
        let callee = tile.callee(vec![]);
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let args = vec![ptr(codes, from), ptr(table, zero), ptr(out, first)];
        if count >= TOGETHER {
            b.call(callee, [args, vec![Arg::Int(runs)]].concat());
        }
    } else {
        b.for_(runs, LoopKind::Seq, |b, i| {
            let (half, whole) = (b.i(TOGETHER as i64 / 2), b.i(TOGETHER as i64));
            let at = b.mul(i, half);
            let at = b.add(from, at);
            let to = b.mul(i, whole);
            let to = b.add(first, to);
            run(b, bufs, at, to, TOGETHER);
        });
    }
    let done = count / TOGETHER * TOGETHER;
    let (half, whole) = (b.i(done as i64 / 2), b.i(done as i64));
    let (at, to) = (b.add(from, half), b.add(first, whole));
    run(b, bufs, at, to, count - done);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(p: &Palette, len: usize) -> Vec<f32> {
        let code = |i: usize| match p.bits {
            4 => (p.codes[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15) as usize,
            _ => p.codes[i] as usize,
        };
        let mut out: Vec<f32> = (0..len).map(|i| p.table[code(i)]).collect();
        for (i, v) in p.places.iter().zip(&p.values) {
            out[*i as usize] = *v;
        }
        out
    }

    #[test]
    fn few_values_are_found() {
        let of = |n: usize, len: usize| -> Vec<f32> {
            let v = |i: usize| (i * 7919 % n) as f32 * 0.37 - 1.0;
            (0..len).map(v).collect()
        };
        for (n, len, bits, apart) in [
            (16, 1024, 4, 0),
            (3, 2001, 4, 0),
            (17, 17 * 1000, 4, 1000),
            (18, 18 * 1000, 8, 0),
            (256, 25600, 8, 0),
            (260, 26000, 8, 400),
        ] {
            let all = of(n, len);
            let p = Palette::of(&all).expect("a palette");
            assert_eq!((p.bits, p.places.len()), (bits, apart), "{n} values");
            assert_eq!(values(&p, len), all);
        }
        // Too short; too many values.
        assert!(Palette::of(&of(16, 1023)).is_none());
        assert!(Palette::of(&of(4096, 40960)).is_none());
    }

    #[test]
    fn zeros_keep_their_signs() {
        let all: Vec<f32> = (0..2048).map(|i| [0.0, -0.0, 1.0][i % 3]).collect();
        let p = Palette::of(&all).expect("a palette");
        let bits = |l: &[f32]| l.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values(&p, 2048)), bits(&all));
    }
}
