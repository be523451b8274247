//! Commands that go from element to element, over up to six axes.

use super::{Finisher, Memory, limited, numbers, rounded, value};
use crate::format::*;

/// Calls `each` with the numbers of the elements of several views, in row-major order.
fn walk<const N: usize>(
    sizes: &[u32; AXES],
    strides: [&[i32; AXES]; N],
    mut each: impl FnMut([usize; N]),
) {
    let mut at = [0u32; AXES];
    let mut place = [0i64; N];
    loop {
        let last = AXES - 1;
        let mut inner = place;
        for _ in 0..sizes[last] {
            each(inner.map(|p| p.cast_unsigned() as usize));
            (0..N).for_each(|k| inner[k] += i64::from(strides[k][last]));
        }
        let mut axis = last;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            at[axis] += 1;
            (0..N).for_each(|k| place[k] += i64::from(strides[k][axis]));
            if at[axis] < sizes[axis] {
                break;
            }
            (0..N).for_each(|k| place[k] -= i64::from(strides[k][axis]) * i64::from(sizes[axis]));
            at[axis] = 0;
        }
    }
}

fn at(bytes: &[u8], i: usize, elem: Elem) -> i32 {
    match elem {
        Elem::I32 => {
            let word = bytes.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
            i32::from_le_bytes(word.unwrap_or_default())
        }
        _ => value(bytes[i], elem),
    }
}

fn real(bytes: &[u8], i: usize) -> f64 {
    let word = bytes.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok());
    f64::from_le_bytes(word.unwrap_or_default())
}

pub(super) fn sum(mem: &mut Memory, c: &Sum) {
    let finish = Finisher::new(mem, &c.finish, 1);
    walk(&c.outer, [&c.x.strides, &c.y.strides], |[from, to]| {
        let x = mem.read(&c.x.at);
        let mut sum = 0i32;
        walk(&c.inner, [&c.x_inner], |[i]| {
            sum = sum.wrapping_add(value(x[from + i], c.x.at.elem).wrapping_sub(c.x_zero));
        });
        mem.write(&c.y.at)[to] = finish.byte(sum, 0);
    });
}

pub(super) fn add(mem: &mut Memory, c: &Add) {
    walk(
        &c.sizes,
        [&c.a.strides, &c.b.strides, &c.y.strides],
        |[i, j, k]| {
            let a = value(mem.read(&c.a.at)[i], c.a.at.elem).wrapping_sub(c.zeros[0]);
            let b = value(mem.read(&c.b.at)[j], c.b.at.elem).wrapping_sub(c.zeros[1]);
            let v = f64::from(a) * c.scales[0] + f64::from(b) * c.scales[1];
            mem.write(&c.y.at)[k] = limited(v, &c.limits);
        },
    );
}

pub(super) fn mul(mem: &mut Memory, c: &Mul) {
    walk(
        &c.sizes,
        [&c.a.strides, &c.b.strides, &c.y.strides],
        |[i, j, k]| {
            let a = value(mem.read(&c.a.at)[i], c.a.at.elem).wrapping_sub(c.zeros[0]);
            let b = value(mem.read(&c.b.at)[j], c.b.at.elem).wrapping_sub(c.zeros[1]);
            let v = f64::from(a.wrapping_mul(b)) * c.scale;
            mem.write(&c.y.at)[k] = limited(v, &c.limits);
        },
    );
}

pub(super) fn requantize(mem: &mut Memory, c: &Requantize) {
    let none = [0; AXES];
    let scales = c.scale.map_or(none, |v| v.strides);
    let offsets = c.offset.map_or(none, |v| v.strides);
    walk(
        &c.sizes,
        [&c.x.strides, &scales, &offsets, &c.y.strides],
        |[i, j, k, to]| {
            let x = at(mem.read(&c.x.at), i, c.x.at.elem).wrapping_sub(c.x_zero);
            let mut v = f64::from(x);
            if let Some(s) = &c.scale {
                v *= real(mem.read(&s.at), j);
            }
            if let Some(o) = &c.offset {
                v += real(mem.read(&o.at), k);
            }
            mem.write(&c.y.at)[to] = limited(v, &c.limits);
        },
    );
}

pub(super) fn lookup(mem: &mut Memory, c: &Lookup) {
    let table = mem.read(&Place {
        space: Space::Const,
        elem: Elem::U8,
        offset: c.table,
    })[..256]
        .to_vec();
    walk(&c.sizes, [&c.x.strides, &c.y.strides], |[i, j]| {
        let x = value(mem.read(&c.x.at)[i], c.x.at.elem) - c.x.at.elem.least();
        mem.write(&c.y.at)[j] = table[x as usize];
    });
}

pub(super) fn softmax(mem: &mut Memory, c: &Softmax) -> Result<(), &'static str> {
    let powers: Vec<i64> = numbers(
        mem.read(&Place {
            space: Space::Const,
            elem: Elem::I64,
            offset: c.powers,
        }),
        256,
        i64::from_le_bytes,
    );
    let mut rows = c.sizes;
    let n = rows[AXES - 1] as usize;
    rows[AXES - 1] = 1;
    let step = |v: &View| i64::from(v.strides[AXES - 1]);
    let place =
        |base: usize, k: usize, s: i64| (base as i64 + k as i64 * s).cast_unsigned() as usize;
    let (lo, hi, zero) = (
        f64::from(c.limits.lo),
        f64::from(c.limits.hi),
        f64::from(c.limits.zero),
    );
    walk(&rows, [&c.x.strides, &c.y.strides], |[from, to]| {
        let x = mem.read(&c.x.at);
        let row: Vec<i32> = (0..n)
            .map(|k| value(x[place(from, k, step(&c.x))], c.x.at.elem))
            .collect();
        let most = row.iter().copied().max().unwrap_or(0);
        let power = |v: i32| powers.get((most - v) as usize).copied().unwrap_or(0);
        let sum = row.iter().fold(0i64, |s, &v| s.wrapping_add(power(v))) as f64;
        let y = mem.write(&c.y.at);
        for (k, &v) in row.iter().enumerate() {
            let v = rounded(power(v) as f64 / sum * c.scale, c.limits.up) + zero;
            y[place(to, k, step(&c.y))] = (v.max(lo).min(hi) as i32) as u8;
        }
    });
    Ok(())
}

pub(super) fn copy(mem: &mut Memory, c: &Copy) {
    let n = c.x.at.elem.bytes() as usize;
    walk(&c.sizes, [&c.x.strides, &c.y.strides], |[i, j]| {
        let mut word = [0u8; 8];
        word[..n].copy_from_slice(&mem.read(&c.x.at)[i * n..(i + 1) * n]);
        mem.write(&c.y.at)[j * n..(j + 1) * n].copy_from_slice(&word[..n]);
    });
}

pub(super) fn fill(mem: &mut Memory, c: &Fill) {
    walk(&c.sizes, [&c.y.strides], |[i]| {
        mem.write(&c.y.at)[i] = c.value as u8
    });
}
