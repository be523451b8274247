//! The sums that what is requantized can reach, channel by channel: they are known from weights.

use crate::base::dtype::DType;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::ops::quantized::byte;

/// What the numbers of channel `c` of `count` must do for: its own sums, or, where one number serves channels that reach different sums, those of all.
pub fn domain(domains: &[(i64, i64)], count: usize, c: usize) -> (i64, i64) {
    match domains.len() == count {
        true => domains[c],
        false => (domains.iter()).fold(domains[0], |a, d| (a.0.min(d.0), a.1.max(d.1))),
    }
}

/// Least and largest number of each channel of what a node requantizes, or of all.
pub fn domains(g: &Graph, x: ValueId) -> Option<Vec<(i64, i64)>> {
    let ty = g.ty(x)?;
    if byte(ty.dtype) {
        let (lo, hi) = ty.dtype.int_range()?;
        return Some(vec![(lo as i64, hi as i64)]);
    }
    let (n, _) = g.maker(x)?;
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    match node.op.name {
        "Add" => {
            // A bias in whole numbers.
            let (sum, bias) = match g.konst(input(1)?) {
                Some(b) => (input(0)?, b),
                None => (input(1)?, g.konst(input(0)?)?),
            };
            let (inner, bias) = (domains(g, sum)?, bias.to_i64s()?);
            let count = inner.len().max(bias.len());
            let fits = |len: usize| len == 1 || len == count;
            if bias.is_empty() || !fits(inner.len()) || !fits(bias.len()) {
                return None;
            }
            let of = |c: usize| {
                let (d, b) = (inner[c % inner.len()], bias[c % bias.len()]);
                (d.0 + b, d.1 + b)
            };
            Some((0..count).map(of).collect())
        }
        "ReduceSum" if node.attrs.flag("wide") => {
            let count = |v: ValueId| Some(g.ty(v)?.fixed_shape()?.iter().product::<i64>());
            let bytes = input(0)?;
            let (lo, hi) = g.ty(bytes)?.dtype.int_range()?;
            let each = count(bytes)? / count(x)?.max(1);
            Some(vec![(lo as i64 * each, hi as i64 * each)])
        }
        "MatMulInteger" if g.konst(input(1)?).is_none() => unknown(g, n),
        "ConvInteger" | "MatMulInteger" => products(g, n),
        _ => None,
    }
}

/// The sums that products of two matrices of bytes can reach, of which neither is known.
fn unknown(g: &Graph, n: NodeId) -> Option<Vec<(i64, i64)>> {
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    // What a byte less its zero points can be.
    let range = |i: usize| {
        let d = g.ty(input(i)?)?.dtype;
        let (lo, hi) = d.int_range().filter(|_| byte(d))?;
        let zeros = match input(i + 2) {
            None => vec![0],
            Some(z) => g.konst(z)?.to_i64s()?,
        };
        Some([
            lo as i64 - zeros.iter().max()?,
            hi as i64 - zeros.iter().min()?,
        ])
    };
    let (a, b) = (range(0)?, range(1)?);
    let k = g.ty(input(0)?)?.shape.last()?.fixed()?;
    let products = a.iter().flat_map(|x| b.map(|y| x * y));
    let (lo, hi) = products.fold((0, 0), |d, p| (d.0.min(p), d.1.max(p)));
    Some(vec![(lo.checked_mul(k)?, hi.checked_mul(k)?)])
}

/// The weights less their zero points of each channel of a product, if they are known.
fn weights(g: &Graph, n: NodeId) -> Option<Vec<Vec<i64>>> {
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let wz = match input(3) {
        None => vec![0],
        Some(v) => g.konst(v)?.to_i64s().filter(|z| !z.is_empty())?,
    };
    let w = g.konst(input(1)?)?;
    let (channels, each) = match node.op.name {
        "ConvInteger" => {
            let each = w.shape.get(1..)?.iter().product::<i64>().max(1);
            (*w.shape.first()?, Some(each as usize))
        }
        "MatMulInteger" if w.shape.len() == 2 => (*w.shape.last()?, None),
        _ => return None,
    };
    let mut all = vec![vec![]; usize::try_from(channels).ok()?];
    for (at, w) in w.to_i64s()?.into_iter().enumerate() {
        let c = each.map_or_else(|| at % all.len(), |each| at / each);
        all.get_mut(c)?.push(w - wz[c % wz.len()]);
    }
    Some(all)
}

/// The sums that products of bytes with constant weights can reach.
fn products(g: &Graph, n: NodeId) -> Option<Vec<(i64, i64)>> {
    let input = |i: usize| g.node(n).ins.get(i).copied().flatten();
    let xz = match input(2) {
        None => vec![0],
        Some(v) => g.konst(v)?.to_i64s().filter(|z| !z.is_empty())?,
    };
    let (lo, hi) = g.ty(input(0)?)?.dtype.int_range()?;
    let lo = lo as i64 - xz.iter().max()?;
    let hi = hi as i64 - xz.iter().min()?;
    let of = |w: &Vec<i64>| {
        let ends = w.iter().map(|w| [w * lo, w * hi]);
        ends.fold((0, 0), |s, [a, b]| (s.0 + a.min(b), s.1 + a.max(b)))
    };
    let sums: Vec<(i64, i64)> = weights(g, n)?.iter().map(of).collect();
    (!sums.is_empty()).then_some(sums)
}

/// The zero points of the bytes that products with known weights read, times the weights of each channel. Bytes have no sign where their products are of
/// bytes.
pub fn zeros(g: &Graph, x: ValueId) -> Option<Vec<i64>> {
    let (n, _) = g.maker(x)?;
    let node = g.node(n);
    let input = |i: usize| node.ins.get(i).copied().flatten();
    let xz = match input(2) {
        None => vec![0],
        Some(v) => g.konst(v)?.to_i64s()?,
    };
    let sign = if g.ty(input(0)?)?.dtype == DType::I8 {
        128
    } else {
        0
    };
    let &[zero] = &xz[..] else {
        return None;
    };
    let weights = weights(g, n)?;
    let of = |w: &Vec<i64>| w.iter().sum::<i64>() * (zero + sign);
    Some(weights.iter().map(of).collect())
}
