//! `winograd_in` and `winograd_out`: the transforms around the products of a Winograd convolution, F(m x m, 3 x 3).
//!
//! Tiles of m x m results are numbered along the rows of an image, then its columns, then the images. `winograd_in` takes
//! the (m+2) x (m+2) elements of the image under each tile of a run, zero where they lie outside, and writes B'dB: plane
//! i * (m+2) + j holds element (i, j) of all tiles, one row of channels for each. `winograd_out` takes such planes of sums, M,
//! and stores A'MA after a tail, leaving out what of the last tiles lies outside the image.
//!
//! Both transform columns first, then rows, by the steps of [`input_line`] and [`output_line`]. F(4x4) evaluates at the points
//! 0, 11/16, -11/16, 11/8, -11/8 and infinity: of the points whose powers are exact in float32 they gave the smallest errors,
//! a fifth of those of 0, 1, -1, 2, -2. F(2x2) evaluates at 0, 1, -1 and infinity.
//!
//! `winograd_in_words` and `winograd_out_words` do the same over whole numbers ([`super::winograd_exact`]): bytes to planes of words, from which their zero
//! point is off, and planes of i32 sums to results, exactly. Outside of the image lies the zero point; `lanes` counts words, of which a vector
//! has twice as many as it has sums.
//!
//! `winograd_in`: pointers x (channel of the first tile's image), planes, patch (room for (m+2)^2 pixels of `channels` rounded up
//! to whole vectors); then line, pixel, image (elements from one to the next), height, width, plane, row (elements from one
//! plane, one tile to the next), channels, count (tiles), tile_y, tile_x (of the first), tiles_y, tiles_x, top, left (padding).
//! `channels` are whole vectors; or, with `rest`, that many, and the planes get zeros up to a whole vector.
//!
//! `winograd_out`: pointers planes, out, the tail's operands (all at pixel 0); then plane, row, columns, count, tile_y,
//! tile_x, tiles_y, tiles_x, height, width (of the output), pixel (number of the first tile's first pixel), out_pixel
//! (elements from one pixel to the next), two numbers of no meaning (room for the kernel), and for each tail operand its pixel distance. `rest` are the columns behind
//! the whole vectors; planes can be read up to whole vectors.

use super::winograd_exact as exact;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, ExprId, Func, LoopKind, Ty};
use crate::loops::tail::Tail;

/// The contract of the input's transform.
pub static WINOGRAD_IN: Contract = Contract {
    name: "winograd_in",
    doc: "The input transform of a Winograd convolution over channels-last float32 data.",
    reference: Some(reference_in),
    rows: &[],
};

/// The contract of the output's transform.
pub static WINOGRAD_OUT: Contract = Contract {
    name: "winograd_out",
    doc: "The output transform of a Winograd convolution over channels-last float32 data, with a pointwise tail.",
    reference: Some(reference_out),
    rows: &[],
};

/// The contract of the input's transform of bytes.
pub static WINOGRAD_IN_WORDS: Contract = Contract {
    name: "winograd_in_words",
    doc: "The input transform of an exact Winograd convolution over channels-last 8-bit data.",
    reference: Some(reference_in),
    rows: &[],
};

/// The contract of the output's transform of i32 sums.
pub static WINOGRAD_OUT_WORDS: Contract = Contract {
    name: "winograd_out_words",
    doc: "The output transform of an exact Winograd convolution over channels-last 8-bit data, with a pointwise tail.",
    reference: Some(reference_out),
    rows: &[],
};

/// The points of F(4x4), beside 0 and infinity, with both signs.
pub const POINTS: [f64; 2] = [0.6875, 1.375];

/// Numbers that the transforms of F(4x4) multiply by; all exact in float32.
pub struct Factors {
    /// The points.
    pub p: [f32; 2],
    /// Their squares.
    pub squares: [f32; 2],
    /// Their third powers.
    pub cubes: [f32; 2],
    /// Product of the squares.
    pub product: f32,
    /// Sum of the squares.
    pub sum: f32,
}

/// Those of [`POINTS`].
pub const FACTORS: Factors = {
    let [a, b] = POINTS;
    Factors {
        p: [a as f32, b as f32],
        squares: [(a * a) as f32, (b * b) as f32],
        cubes: [(a * a * a) as f32, (b * b * b) as f32],
        product: (a * a * b * b) as f32,
        sum: (a * a + b * b) as f32,
    }
};

/// B', G and A' for tiles of `m` results: [m+2][m+2], [m+2][3], [m][m+2].
#[allow(clippy::type_complexity)]
pub fn matrices(m: i64) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let rows = |r: &[&[f64]]| r.iter().map(|x| x.to_vec()).collect::<Vec<_>>();
    if m == 2 {
        return (
            rows(&[
                &[1., 0., -1., 0.],
                &[0., 1., 1., 0.],
                &[0., -1., 1., 0.],
                &[0., -1., 0., 1.],
            ]),
            rows(&[
                &[1., 0., 0.],
                &[0.5, 0.5, 0.5],
                &[0.5, -0.5, 0.5],
                &[0., 0., 1.],
            ]),
            rows(&[&[1., 1., 1., 0.], &[0., 1., -1., 1.]]),
        );
    }
    let [a, b] = POINTS;
    let (a2, b2) = (a * a, b * b);
    let (na, nb) = (2.0 * a2 * (a2 - b2), 2.0 * b2 * (b2 - a2));
    (
        rows(&[
            &[a2 * b2, 0., -(a2 + b2), 0., 1., 0.],
            &[0., -a * b2, -b2, a, 1., 0.],
            &[0., a * b2, -b2, -a, 1., 0.],
            &[0., -b * a2, -a2, b, 1., 0.],
            &[0., b * a2, -a2, -b, 1., 0.],
            &[0., a2 * b2, 0., -(a2 + b2), 0., 1.],
        ]),
        rows(&[
            &[1. / (a2 * b2), 0., 0.],
            &[1. / na, a / na, a2 / na],
            &[1. / na, -a / na, a2 / na],
            &[1. / nb, b / nb, b2 / nb],
            &[1. / nb, -b / nb, b2 / nb],
            &[0., 0., 1.],
        ]),
        rows(&[
            &[1., 1., 1., 1., 1., 0.],
            &[0., a, -a, b, -b, 0.],
            &[0., a2, a2, b2, b2, 0.],
            &[0., a2 * a, -a2 * a, b2 * b, -b2 * b, 1.],
        ]),
    )
}

/// What an input transform is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct In {
    /// Results of a tile along an axis: 2 or 4.
    pub m: i64,
    /// Channels of a vector.
    pub lanes: i64,
    /// Channels of a call, where they are no whole vectors.
    pub rest: i64,
    /// What is transformed.
    pub x: Numbers,
}

/// What an input transform reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Numbers {
    /// f32.
    Floats,
    /// Bytes.
    Bytes {
        /// With a sign.
        signed: bool,
        /// What stands for 0.
        zero: i64,
    },
}

impl Numbers {
    /// Elements of the input.
    pub fn x_type(self) -> DType {
        match self {
            Numbers::Floats => DType::F32,
            Numbers::Bytes { signed: false, .. } => DType::U8,
            Numbers::Bytes { signed: true, .. } => DType::I8,
        }
    }
    /// Elements of its planes.
    pub fn plane_type(self) -> DType {
        match self {
            Numbers::Floats => DType::F32,
            Numbers::Bytes { .. } => DType::I16,
        }
    }
    /// What stands outside of the image.
    pub fn zero(self) -> i64 {
        match self {
            Numbers::Floats => 0,
            Numbers::Bytes { zero, .. } => zero,
        }
    }
}

/// What an output transform is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Out {
    /// Results of a tile along an axis: 2 or 4.
    pub m: i64,
    /// Channels of a vector.
    pub lanes: i64,
    /// Columns behind the whole vectors.
    pub rest: i64,
    /// Elements of the output where sums are i32; `None`: sums and results are f32.
    pub whole: Option<DType>,
    /// What is done with a result.
    pub tail: Tail,
}

fn get(callee: &Callee, name: &str, range: std::ops::Range<i64>) -> Option<i64> {
    callee.get(name).filter(|v| range.contains(v))
}

fn named(shape: &[(&str, i64)]) -> Vec<(String, i64)> {
    shape.iter().map(|(k, v)| (k.to_string(), *v)).collect()
}

fn callee(tile: &Tile, mut shape: Vec<(String, i64)>, tail: &Tail) -> Callee {
    shape.extend(tail.to_shape());
    Callee {
        kernel: tile.name.to_string(),
        contract: tile.contract.to_string(),
        shape,
    }
}

impl In {
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut shape = vec![("m", self.m), ("lanes", self.lanes), ("rest", self.rest)];
        if let Numbers::Bytes { signed, zero } = self.x {
            shape.extend([("signed", i64::from(signed)), ("zero", zero)]);
        }
        callee(tile, named(&shape), &Tail::default())
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<In> {
        let lanes = get(callee, "lanes", 1..1 << 10)?;
        Some(In {
            m: get(callee, "m", 2..5).filter(|m| *m != 3)?,
            lanes,
            rest: get(callee, "rest", 0..lanes)?,
            x: match get(callee, "signed", 0..2) {
                None => Numbers::Floats,
                Some(signed) => Numbers::Bytes {
                    signed: signed == 1,
                    zero: get(callee, "zero", -128..256)?,
                },
            },
        })
    }
}

impl Out {
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut shape = vec![("m", self.m), ("lanes", self.lanes), ("rest", self.rest)];
        if let Some(d) = self.whole {
            shape.push(("c_type", i64::from(d.onnx())));
        }
        callee(tile, named(&shape), &self.tail)
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Out> {
        let lanes = get(callee, "lanes", 1..1 << 10)?;
        Some(Out {
            m: get(callee, "m", 2..5).filter(|m| *m != 3)?,
            lanes,
            rest: get(callee, "rest", 0..lanes)?,
            whole: match get(callee, "c_type", 0..1 << 10) {
                None => None,
                Some(d) => Some(DType::from_onnx(d as i32)?),
            },
            tail: Tail::of_shape(&callee.shape)?,
        })
    }
}

/// One line of the input transform, m + 2 elements to as many.
pub fn input_line(b: &mut Builder, d: &[ExprId]) -> Vec<ExprId> {
    if d.len() == 4 {
        return vec![
            b.sub(d[0], d[2]),
            b.add(d[2], d[1]),
            b.sub(d[2], d[1]),
            b.sub(d[3], d[1]),
        ];
    }
    let f = &FACTORS;
    let (product, sum) = (b.f(f.product), b.f(-f.sum));
    let ends = |b: &mut Builder, x, y, z| {
        let t = b.fma(y, sum, z);
        b.fma(x, product, t)
    };
    let pair = |b: &mut Builder, point: f32, other: f32| {
        let (p, o) = (b.f(point), b.f(-other));
        let even = b.fma(d[2], o, d[4]);
        let odd = b.fma(d[1], o, d[3]);
        let odd = b.mul(odd, p);
        [b.add(even, odd), b.sub(even, odd)]
    };
    let first = ends(b, d[0], d[2], d[4]);
    let [t1, t2] = pair(b, f.p[0], f.squares[1]);
    let [t3, t4] = pair(b, f.p[1], f.squares[0]);
    let last = ends(b, d[1], d[3], d[5]);
    vec![first, t1, t2, t3, t4, last]
}

/// One line of the output transform, m + 2 elements to m.
pub fn output_line(b: &mut Builder, v: &[ExprId]) -> Vec<ExprId> {
    let s1 = b.add(v[1], v[2]);
    let d1 = b.sub(v[1], v[2]);
    let start = b.add(v[0], s1);
    if v.len() == 4 {
        return vec![start, b.add(d1, v[3])];
    }
    let f = &FACTORS;
    let s2 = b.add(v[3], v[4]);
    let d2 = b.sub(v[3], v[4]);
    let mix = |b: &mut Builder, x, y, by: [f32; 2]| {
        let (p, q) = (b.f(by[0]), b.f(by[1]));
        let t = b.mul(x, p);
        b.fma(y, q, t)
    };
    let (c1, c2) = (b.f(f.cubes[0]), b.f(f.cubes[1]));
    let last = b.fma(d1, c1, v[5]);
    vec![
        b.add(start, s2),
        mix(b, d1, d2, f.p),
        mix(b, s1, s2, f.squares),
        b.fma(d2, c2, last),
    ]
}

/// Makes a line of elements of another.
type Line = fn(&mut Builder, &[ExprId]) -> Vec<ExprId>;

/// A square of elements by columns, then by rows.
fn both(b: &mut Builder, square: &[Vec<ExprId>], line: Line) -> Vec<Vec<ExprId>> {
    let t = square.len();
    let columns: Vec<Vec<ExprId>> = (0..t)
        .map(|j| {
            let column: Vec<_> = (0..t).map(|i| square[i][j]).collect();
            line(b, &column)
        })
        .collect();
    (0..columns[0].len())
        .map(|i| {
            let row: Vec<_> = (0..t).map(|j| columns[j][i]).collect();
            line(b, &row)
        })
        .collect()
}

/// Image, row and column of a tile: number `t` behind the first.
fn place(b: &mut Builder, t: ExprId, first: [ExprId; 2], tiles: [ExprId; 2]) -> [ExprId; 3] {
    let before = b.mul(first[0], tiles[1]);
    let number = b.add(before, first[1]);
    let number = b.add(number, t);
    let tx = b.rem(number, tiles[1]);
    let row = b.div(number, tiles[1]);
    let ty = b.rem(row, tiles[0]);
    let image = b.div(row, tiles[0]);
    [image, ty, tx].map(|e| b.let_(e))
}

fn reference_in(callee: &Callee) -> Option<Func> {
    let s = In::of(callee)?;
    let mut b = Builder::new("winograd_in");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let mut buffer = |name: &str, d, access| b.buffer(name, d, unknown.clone(), access);
    let px = buffer("x", s.x.x_type(), Access::Read);
    let planes = buffer("planes", s.x.plane_type(), Access::Write);
    buffer("patch", s.x.x_type(), Access::Write);
    let (line_of, ones): (Line, i64) = match s.x {
        Numbers::Floats => (input_line, 0),
        Numbers::Bytes { .. } => (exact::input_line, exact::of_ones(s.m)),
    };
    let [
        line,
        pixel,
        image,
        height,
        width,
        plane,
        row,
        channels,
        count,
    ] = [(); 9].map(|()| b.int_param());
    let [tile_y, tile_x, tiles_y, tiles_x, top, left] = [(); 6].map(|()| b.int_param());
    let t = s.m + 2;
    let extent = match s.rest {
        0 => channels,
        _ => b.i(s.lanes),
    };
    b.for_(count, LoopKind::Seq, |b, tile| {
        let [n, ty, tx] = place(b, tile, [tile_y, tile_x], [tiles_y, tiles_x]);
        let m = b.i(s.m);
        let (y0, x0) = (b.mul(ty, m), b.mul(tx, m));
        let (y0, x0) = (b.sub(y0, top), b.sub(x0, left));
        b.for_(extent, LoopKind::Seq, |b, c| {
            let zero = b.i(0);
            let nothing = match s.x {
                Numbers::Floats => b.f(0.0),
                Numbers::Bytes { zero, .. } => b.int(Ty::I32, zero),
            };
            let there = b.in_range(c, zero, channels);
            let mut square = vec![];
            for i in 0..t {
                let mut list = vec![];
                for j in 0..t {
                    let (i, j) = (b.i(i), b.i(j));
                    let (y, x) = (b.add(y0, i), b.add(x0, j));
                    let (iny, inx) = (b.in_range(y, zero, height), b.in_range(x, zero, width));
                    let inside = b.and(iny, inx);
                    let inside = b.and(inside, there);
                    let at = b.mul(n, image);
                    let by = b.mul(y, line);
                    let at = b.add(at, by);
                    let by = b.mul(x, pixel);
                    let at = b.add(at, by);
                    let at = b.add(at, c);
                    let v = b.load_if(px, inside, at, nothing);
                    list.push(b.let_(v));
                }
                square.push(list);
            }
            let done = both(b, &square, line_of);
            let at = b.mul(tile, row);
            let at = b.add(at, c);
            for (k, mut v) in done.into_iter().flatten().enumerate() {
                // Row 1, column 1.
                if k as i64 == t + 1 && ones * s.x.zero() != 0 {
                    let off = b.int(Ty::I32, ones * s.x.zero());
                    v = b.sub(v, off);
                }
                let k = b.i(k as i64);
                let before = b.mul(k, plane);
                let at = b.add(before, at);
                b.store(planes, at, v);
            }
        });
    });
    Some(b.finish())
}

fn reference_out(callee: &Callee) -> Option<Func> {
    let s = Out::of(callee)?;
    let mut b = Builder::new("winograd_out");
    let unknown = Dim::Fixed(i64::MAX);
    let mut buffer = |name: &str, d, access| b.buffer(name, d, unknown.clone(), access);
    let (sums, line_of): (_, Line) = match s.whole {
        None => (DType::F32, output_line),
        Some(_) => (DType::I32, exact::output_line),
    };
    let planes = buffer("planes", sums, Access::Read);
    let out = buffer("out", s.whole.unwrap_or(DType::F32), Access::Write);
    let kinds: Vec<DType> = s.tail.operands().filter_map(|n| n.element()).collect();
    let operands: Vec<_> = kinds
        .into_iter()
        .map(|d| buffer("operand", d, Access::Read))
        .collect();
    let [plane, row, columns, count, tile_y, tile_x] = [(); 6].map(|()| b.int_param());
    let [tiles_y, tiles_x, height, width, pixel, out_pixel] = [(); 6].map(|()| b.int_param());
    let _room = [(); 2].map(|()| b.int_param());
    let distances: Vec<_> = operands.iter().map(|_| b.int_param()).collect();
    let t = s.m + 2;
    b.for_(count, LoopKind::Seq, |b, tile| {
        let [n, ty, tx] = place(b, tile, [tile_y, tile_x], [tiles_y, tiles_x]);
        let m = b.i(s.m);
        let (y0, x0) = (b.mul(ty, m), b.mul(tx, m));
        // Pixel 0 of the first tile's image.
        let (sy, sx) = (b.mul(tile_y, m), b.mul(tile_x, m));
        let start = b.mul(sy, width);
        let start = b.add(start, sx);
        let start = b.sub(pixel, start);
        let size = b.mul(height, width);
        let by = b.mul(n, size);
        let start = b.add(start, by);
        let start = b.let_(start);
        b.for_(columns, LoopKind::Seq, |b, c| {
            let at = b.mul(tile, row);
            let at = b.add(at, c);
            let square: Vec<Vec<_>> = (0..t)
                .map(|i| {
                    (0..t)
                        .map(|j| {
                            let k = b.i(i * t + j);
                            let before = b.mul(k, plane);
                            let at = b.add(before, at);
                            let v = b.load(planes, at);
                            b.let_(v)
                        })
                        .collect()
                })
                .collect();
            let done = both(b, &square, line_of);
            for (i, list) in done.into_iter().enumerate() {
                for (j, v) in list.into_iter().enumerate() {
                    let v = match s.whole {
                        None => v,
                        Some(_) => exact::result(b, s.m, v, i, j),
                    };
                    let v = b.let_(v);
                    let (i, j) = (b.i(i as i64), b.i(j as i64));
                    let (y, x) = (b.add(y0, i), b.add(x0, j));
                    let (iny, inx) = (b.lt(y, height), b.lt(x, width));
                    let inside = b.and(iny, inx);
                    b.if_(
                        inside,
                        |b| {
                            let at = b.mul(y, width);
                            let at = b.add(at, x);
                            let pixel = b.add(start, at);
                            let loaded = s.tail.load(b, &operands, &distances, pixel, c);
                            let value = s.tail.apply(b, v, &loaded);
                            let at = b.mul(pixel, out_pixel);
                            let at = b.add(at, c);
                            b.store(out, at, value);
                        },
                        |_| {},
                    );
                }
            }
        });
    });
    Some(b.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_convolve() {
        // A'((Gg)(B'd)) is the convolution of three taps over m + 2 elements.
        for m in [2, 4] {
            let (bt, g, at) = matrices(m);
            let taps = [0.5, -2.0, 3.0];
            let d: Vec<f64> = (0..m + 2).map(|i| (i * i - 3 * i + 1) as f64).collect();
            let times = |a: &[Vec<f64>], x: &[f64]| -> Vec<f64> {
                let dot = |r: &Vec<f64>| r.iter().zip(x).map(|(p, q)| p * q).sum();
                a.iter().map(dot).collect()
            };
            let (u, v) = (times(&g, &taps), times(&bt, &d));
            let products: Vec<f64> = u.iter().zip(&v).map(|(x, y)| x * y).collect();
            for (i, y) in times(&at, &products).iter().enumerate() {
                let want: f64 = (0..3).map(|k| taps[k] * d[i + k]).sum();
                assert!((y - want).abs() < 1e-12, "F({m}) {i}: {y} {want}");
            }
        }
    }

    #[test]
    fn factors_are_exact() {
        let (f, [a, b]) = (&FACTORS, POINTS);
        let both = [
            (f.squares[0], a * a),
            (f.squares[1], b * b),
            (f.cubes[0], a * a * a),
            (f.cubes[1], b * b * b),
            (f.product, a * a * b * b),
            (f.sum, a * a + b * b),
        ];
        for (x, y) in both {
            assert_eq!(f64::from(x), y);
        }
    }
}
