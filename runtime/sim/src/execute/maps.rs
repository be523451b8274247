//! Commands over maps of features, and products of matrices. Bytes become 16-bit differences to their zero points first: sums of their products are
//! what a compiler makes fast.

use super::{Finisher, Memory, value};
use crate::format::*;

/// All elements of a map as differences to a zero point, dense.
fn centred(mem: &Memory, m: &Map, zero: i32) -> Vec<i16> {
    let (from, elem) = (mem.read(&m.at), m.at.elem);
    let pixels = m.batch as usize * m.rows as usize * m.cols as usize;
    let mut out = Vec::with_capacity(pixels * m.channels as usize);
    for p in 0..pixels {
        let at = p * m.pitch as usize;
        let row = &from[at..at + m.channels as usize];
        out.extend(row.iter().map(|&b| (value(b, elem) - zero) as i16));
    }
    out
}

fn dot(a: &[i16], b: &[i16]) -> i32 {
    let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b));
    products.fold(0, i32::wrapping_add)
}

/// Rows or columns of the map that a window at `at` covers: pairs of its own index and the map's.
fn covered(
    w: &Window,
    axis: usize,
    at: u32,
    size: u32,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let begin = i64::from(at) * i64::from(w.stride[axis]) - i64::from(w.pad[axis]);
    let step = i64::from(w.dilation[axis]);
    (0..w.size[axis]).filter_map(move |r| {
        let x = begin + i64::from(r) * step;
        (0..i64::from(size))
            .contains(&x)
            .then_some((r as usize, x as usize))
    })
}

pub(super) fn conv(mem: &mut Memory, c: &Conv) {
    let x = centred(mem, &c.x, c.x_zero);
    let finish = Finisher::new(mem, &c.finish, c.y.channels);
    let (outs, cg) = (c.y.channels as usize, (c.x.channels / c.groups) as usize);
    let per_group = outs / c.groups as usize;
    let [kr, kc] = c.window.size.map(|n| n as usize);
    let zeros = mem.ints(&c.w_zero, c.y.channels);
    let raw = mem.read(&c.w);
    let each = kr * kc * cg;
    let w: Vec<i16> = (0..outs * each)
        .map(|i| (value(raw[i], c.w.elem) - zeros[i / each]) as i16)
        .collect();
    // One product for each channel: channels side by side.
    let depthwise = cg == 1 && per_group == 1;
    let w: Vec<i16> = match depthwise {
        true => (0..each * outs)
            .map(|i| w[i % outs * each + i / outs])
            .collect(),
        false => w,
    };
    let channels = c.x.channels as usize;
    let mut sums = vec![0i32; outs];
    let mut taps = vec![];
    for b in 0..c.y.batch as usize {
        for i in 0..c.y.rows {
            for j in 0..c.y.cols {
                sums.fill(0);
                taps.clear();
                for (r, xr) in covered(&c.window, 0, i, c.x.rows) {
                    for (s, xc) in covered(&c.window, 1, j, c.x.cols) {
                        let pixel = (b * c.x.rows as usize + xr) * c.x.cols as usize + xc;
                        taps.push((r * kc + s, pixel * channels));
                    }
                }
                if depthwise {
                    for &(tap, at) in &taps {
                        let (x, w) = (&x[at..at + channels], &w[tap * outs..(tap + 1) * outs]);
                        for ((s, &x), &w) in sums.iter_mut().zip(x).zip(w) {
                            *s = s.wrapping_add(i32::from(x) * i32::from(w));
                        }
                    }
                } else {
                    for (o, sum) in sums.iter_mut().enumerate() {
                        let from = o / per_group * cg;
                        for &(tap, at) in &taps {
                            let wat = o * each + tap * cg;
                            *sum = sum.wrapping_add(dot(
                                &x[at + from..at + from + cg],
                                &w[wat..wat + cg],
                            ));
                        }
                    }
                }
                let pixel = (b * c.y.rows as usize + i as usize) * c.y.cols as usize + j as usize;
                let y = &mut mem.write(&c.y.at)[pixel * c.y.pitch as usize..];
                for (o, (y, &sum)) in y.iter_mut().zip(&sums).enumerate() {
                    *y = finish.byte(sum, o);
                }
            }
        }
    }
}

pub(super) fn gemm(mem: &mut Memory, c: &Gemm) {
    let [nb, ni, nk, nj] = c.sizes.map(|n| n as usize);
    let finish = Finisher::new(mem, &c.finish, c.sizes[3]);
    let zeros = mem.ints(&c.w_zero, c.sizes[3]);
    let index = |v: &View, i: usize, j: usize, k: usize| -> usize {
        let s = v.strides.map(i64::from);
        (i as i64 * s[0] + j as i64 * s[1] + k as i64 * s[2]).cast_unsigned() as usize
    };
    for b in 0..nb {
        let (ra, rw) = (mem.read(&c.a.at), mem.read(&c.w.at));
        let mut a = Vec::with_capacity(ni * nk);
        for i in 0..ni {
            a.extend(
                (0..nk).map(|k| (value(ra[index(&c.a, b, i, k)], c.a.at.elem) - c.a_zero) as i16),
            );
        }
        let mut w = Vec::with_capacity(nj * nk);
        for j in 0..nj {
            w.extend(
                (0..nk).map(|k| (value(rw[index(&c.w, b, k, j)], c.w.at.elem) - zeros[j]) as i16),
            );
        }
        let y = mem.write(&c.y.at);
        for i in 0..ni {
            for j in 0..nj {
                let sum = dot(&a[i * nk..(i + 1) * nk], &w[j * nk..(j + 1) * nk]);
                y[index(&c.y, b, i, j)] = finish.byte(sum, j);
            }
        }
    }
}

pub(super) fn max_pool(mem: &mut Memory, c: &MaxPool) {
    let (elem, channels) = (c.x.at.elem, c.x.channels as usize);
    let mut best = vec![0i32; channels];
    for b in 0..c.y.batch as usize {
        for i in 0..c.y.rows {
            for j in 0..c.y.cols {
                best.fill(elem.least());
                let x = mem.read(&c.x.at);
                for (_, xr) in covered(&c.window, 0, i, c.x.rows) {
                    for (_, xc) in covered(&c.window, 1, j, c.x.cols) {
                        let pixel = (b * c.x.rows as usize + xr) * c.x.cols as usize + xc;
                        let row = &x[pixel * c.x.pitch as usize..];
                        for (m, &v) in best.iter_mut().zip(row) {
                            *m = (*m).max(value(v, elem));
                        }
                    }
                }
                let pixel = (b * c.y.rows as usize + i as usize) * c.y.cols as usize + j as usize;
                let y = &mut mem.write(&c.y.at)[pixel * c.y.pitch as usize..];
                for (y, &m) in y.iter_mut().zip(&best) {
                    *y = m as u8;
                }
            }
        }
    }
}

pub(super) fn resize(mem: &mut Memory, c: &Resize) -> Result<(), &'static str> {
    let rows = mem.ints(&Some(c.rows), c.y.rows);
    let cols = mem.ints(&Some(c.cols), c.y.cols);
    let inside = |all: &[i32], n: u32| {
        all.iter()
            .all(|&i| (0..i64::from(n)).contains(&i64::from(i)))
    };
    if !inside(&rows, c.x.rows) || !inside(&cols, c.x.cols) {
        return Err("a row or column is not the map's");
    }
    let channels = c.x.channels as usize;
    let mut pixel = vec![0u8; channels];
    for b in 0..c.y.batch as usize {
        for (i, &r) in rows.iter().enumerate() {
            for (j, &s) in cols.iter().enumerate() {
                let from = ((b * c.x.rows as usize + r as usize) * c.x.cols as usize + s as usize)
                    * c.x.pitch as usize;
                pixel.copy_from_slice(&mem.read(&c.x.at)[from..from + channels]);
                let to = ((b * c.y.rows as usize + i) * c.y.cols as usize + j) * c.y.pitch as usize;
                mem.write(&c.y.at)[to..to + channels].copy_from_slice(&pixel);
            }
        }
    }
    Ok(())
}
