//! The template of contract `winograd_in`.
//!
//! One vector of channels after the other. A tile that hangs over the image's border is first copied to a patch with zeros around
//! it; the transform itself reads rows and pixels at any distance and knows nothing of borders. It makes one row of
//! results, or the two of a pair of points, at a time, so that nothing is spilled: elements are loaded up to three times.

use super::build::Vm;
use super::ir::*;
use super::winograd::{Numbers, Walk, bytes, tiles, times};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::winograd_tiles::{FACTORS, In};
use onnxc_compiler::loops::ir::Callee;

const X_PTR: u8 = 0;
const PLANES: u8 = 1;
const PATCH: u8 = 2;
const LINE: u8 = 3;
const PIXEL: u8 = 4;
const IMAGE: u8 = 5;
const HEIGHT: u8 = 6;
const WIDTH: u8 = 7;
const PLANE: u8 = 8;
const ROW: u8 = 9;
const CHANNELS: u8 = 10;
const COUNT: u8 = 11;
const WALK: Walk = Walk {
    tile_y: 12,
    tile_x: 13,
    tiles_y: 14,
    tiles_x: 15,
};
const TOP: u8 = 16;
const LEFT: u8 = 17;
const ARGS: u8 = 18;

/// Registers that a row of results takes beside its own elements.
const WORK: usize = 4;

struct Template<'s> {
    vm: Vm,
    s: &'s In,
    k: Numbers,
}

/// Where a tile's elements and planes are reached from.
struct Bases {
    rows: Vec<X>,
    /// One, three and five pixels.
    pixels: [X; 3],
    /// The plane that is written next, and one and three planes.
    q: X,
    planes: [X; 2],
}

/// The program of an input transform.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = In::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut vm = Vm::new(isa, ARGS);
    let k = match s.m {
        4 => Numbers::of(&mut vm, &numbers()),
        _ => Numbers::default(),
    };
    let mut t = Template { vm, s: &s, k };
    let mut vm = std::mem::replace(&mut t.vm, Vm::new(isa, ARGS));
    tiles(&mut vm, COUNT, |vm| {
        std::mem::swap(&mut t.vm, vm);
        t.tile();
        std::mem::swap(&mut t.vm, vm);
        Ok::<(), Box<Diagnostic>>(())
    })?;
    vm.finish()
}

/// What is multiplied by, the ends' first.
fn numbers() -> [f32; 6] {
    let f = &FACTORS;
    [
        f.product,
        -f.sum,
        -f.squares[1],
        -f.squares[0],
        f.p[0],
        f.p[1],
    ]
}

impl Template<'_> {
    /// Elements of a tile along an axis.
    fn t(&self) -> usize {
        self.s.m as usize + 2
    }
    fn vector(&self) -> i32 {
        self.vm.isa.lanes as i32 * 4
    }

    fn tile(&mut self) {
        let log = if self.s.m == 4 { 2 } else { 1 };
        let corner = |vm: &mut Vm, tile: u8, pad: u8| {
            let d = vm.arg(tile);
            vm.op(Op::ShlX { d, a: d, by: log });
            let p = vm.arg(pad);
            vm.op(Op::SubX { d, a: d, b: p });
            vm.free_x(p);
            d
        };
        let y = corner(&mut self.vm, WALK.tile_y, TOP);
        let x = corner(&mut self.vm, WALK.tile_x, LEFT);
        let vm = &mut self.vm;
        let (line, pixel) = (bytes(vm, LINE), bytes(vm, PIXEL));
        let base = vm.arg(X_PTR);
        for (a, b) in [(y, line), (x, pixel)] {
            let d = vm.x();
            vm.op(Op::MulX { d, a, b });
            vm.add_x(base, d, 0);
            vm.free_x(d);
        }
        let (border, go) = (self.vm.label(), self.vm.label());
        if self.s.rest == 0 {
            let t = self.t() as i32;
            for (at, size) in [(y, HEIGHT), (x, WIDTH)] {
                self.vm.op(Op::Branch {
                    x: at,
                    cond: Cond::Lt,
                    with: 0,
                    to: border,
                });
                let last = self.vm.arg(size);
                self.vm.add_i(last, -t);
                self.vm.op(Op::BranchX {
                    a: at,
                    cond: Cond::Gt,
                    b: last,
                    to: border,
                });
                self.vm.free_x(last);
            }
            self.vm.op(Op::Jump { to: go });
        }
        self.vm.place(border);
        self.copy(y, x, base, line, pixel);
        self.vm.place(go);
        self.vm.free_x(y);
        self.vm.free_x(x);
        self.transform(base, line, pixel);
        let step = |vm: &mut Vm, pointer: u8, by: u8| {
            let p = vm.arg(pointer);
            vm.add_arg(p, by, 2);
            vm.op(Op::SetArg { n: pointer, s: p });
            vm.free_x(p);
        };
        WALK.next(&mut self.vm, |_| {}, |vm| step(vm, X_PTR, IMAGE));
    }

    /// Copies a tile to the patch, zeros where the image ends; then `base`, `line` and `pixel` are the patch's. Changes `y`
    /// and `x`.
    fn copy(&mut self, y: X, x: X, base: X, line: X, pixel: X) {
        let t = self.t() as i64;
        let vector = self.vector();
        let rest = self.s.rest;
        let vm = &mut self.vm;
        let w = vm.arg(PATCH);
        let size = match rest {
            0 => bytes(vm, CHANNELS),
            _ => {
                let d = vm.x();
                let value = i64::from(vector);
                vm.op(Op::SetX { d, value });
                d
            }
        };
        let (behind, pixels, len) = (vm.x(), vm.x(), vm.x());
        let (rows, count, p, off) = (vm.x(), vm.x(), vm.x(), vm.x());
        // Pixels behind the image's right end; what is neither there nor before its left end is copied.
        vm.op(Op::AddI {
            d: behind,
            a: x,
            by: t as i32,
        });
        vm.op(Op::Arg { d: off, n: WIDTH });
        vm.op(Op::SubX {
            d: behind,
            a: behind,
            b: off,
        });
        vm.when(behind, Cond::Lt, 0, |vm| {
            vm.op(Op::SetX {
                d: behind,
                value: 0,
            });
        });
        let before = x;
        vm.op(Op::SetX { d: off, value: 0 });
        vm.op(Op::SubX {
            d: before,
            a: off,
            b: x,
        });
        vm.when(before, Cond::Lt, 0, |vm| {
            vm.op(Op::SetX {
                d: before,
                value: 0,
            });
        });
        vm.op(Op::SetX {
            d: pixels,
            value: t,
        });
        for n in [before, behind] {
            vm.op(Op::SubX {
                d: pixels,
                a: pixels,
                b: n,
            });
        }
        vm.op(Op::MulX {
            d: off,
            a: before,
            b: pixel,
        });
        vm.add_x(base, off, 0);
        for n in [before, behind] {
            vm.op(Op::MulX {
                d: n,
                a: n,
                b: size,
            });
        }
        vm.op(Op::MoveX { d: len, a: size });
        if rest == 0 {
            // Pixels without gaps between are copied as one.
            let gaps = vm.label();
            vm.op(Op::BranchX {
                a: size,
                cond: Cond::Ne,
                b: pixel,
                to: gaps,
            });
            vm.op(Op::MulX {
                d: len,
                a: size,
                b: pixels,
            });
            vm.when(pixels, Cond::Gt, 0, |vm| {
                vm.op(Op::SetX {
                    d: pixels,
                    value: 1,
                });
            });
            vm.place(gaps);
        }
        let (zero, v, tmp) = (vm.v(), vm.v(), vm.v());
        vm.op(Op::Zero { d: zero });
        let at = |base: X| Mem {
            base,
            index: Some((off, 0)),
            disp: 0,
        };
        let run = |vm: &mut Vm, n: X, body: &dyn Fn(&mut Vm)| {
            vm.op(Op::SetX { d: off, value: 0 });
            let top = vm.label();
            vm.place(top);
            body(vm);
            vm.add_i(off, vector);
            vm.op(Op::BranchX {
                a: off,
                cond: Cond::Lt,
                b: n,
                to: top,
            });
            vm.add_x(w, n, 0);
        };
        let zeros = |vm: &mut Vm, n: X| {
            vm.when(n, Cond::Gt, 0, |vm| {
                run(vm, n, &|vm| vm.store(zero, at(w), Lanes::All, tmp));
            });
        };
        let lanes = match rest {
            0 => Lanes::All,
            n => Lanes::First(n as u8),
        };
        vm.op(Op::SetX { d: rows, value: t });
        vm.repeat(rows, 1, |vm| {
            let (outside, next) = (vm.label(), vm.label());
            vm.op(Op::Branch {
                x: y,
                cond: Cond::Lt,
                with: 0,
                to: outside,
            });
            vm.op(Op::Arg { d: off, n: HEIGHT });
            vm.op(Op::BranchX {
                a: y,
                cond: Cond::Ge,
                b: off,
                to: outside,
            });
            zeros(vm, before);
            vm.when(pixels, Cond::Gt, 0, |vm| {
                vm.op(Op::MoveX { d: p, a: base });
                vm.op(Op::MoveX {
                    d: count,
                    a: pixels,
                });
                vm.repeat(count, 1, |vm| {
                    run(vm, len, &|vm| {
                        vm.load(v, at(p), lanes);
                        vm.store(v, at(w), Lanes::All, tmp);
                    });
                    vm.add_x(p, pixel, 0);
                });
            });
            zeros(vm, behind);
            vm.op(Op::Jump { to: next });
            vm.place(outside);
            vm.op(Op::SetX { d: p, value: t });
            vm.op(Op::MulX {
                d: p,
                a: p,
                b: size,
            });
            zeros(vm, p);
            vm.place(next);
            vm.add_i(y, 1);
            vm.add_x(base, line, 0);
        });
        vm.op(Op::Arg { d: base, n: PATCH });
        vm.op(Op::MoveX { d: pixel, a: size });
        // A row of the patch: 4 or 6 pixels.
        vm.op(Op::MoveX { d: line, a: size });
        if t == 6 {
            vm.add_x(line, size, 1);
            vm.add_x(line, line, 0);
        } else {
            vm.op(Op::ShlX {
                d: line,
                a: line,
                by: 2,
            });
        }
        vm.free_all(&[zero, v, tmp]);
        for r in [w, size, behind, pixels, len, rows, count, p, off] {
            vm.free_x(r);
        }
    }

    /// All channels of a tile. Takes the registers that are handed in.
    fn transform(&mut self, base: X, line: X, pixel: X) {
        let t = self.t();
        let vector = self.vector();
        let vm = &mut self.vm;
        let mut rows = vec![base];
        for i in 1..t {
            let d = vm.x();
            let a = rows[i - 1];
            vm.op(Op::AddX {
                d,
                a,
                b: line,
                shift: 0,
            });
            rows.push(d);
        }
        vm.free_x(line);
        let pixels = [pixel, times(vm, pixel, 3), times(vm, pixel, 5)];
        let plane = bytes(vm, PLANE);
        let planes = [plane, times(vm, plane, 3)];
        let q = vm.arg(PLANES);
        let left = match self.s.rest {
            0 => vm.arg(CHANNELS),
            _ => {
                let d = vm.x();
                let value = vm.isa.lanes as i64;
                vm.op(Op::SetX { d, value });
                d
            }
        };
        let lanes = vm.isa.lanes as i32;
        let b = Bases {
            rows,
            pixels,
            q,
            planes,
        };
        let top = self.vm.label();
        self.vm.place(top);
        match self.s.m {
            4 => self.vector_of_four(&b),
            _ => self.vector_of_two(&b),
        }
        let vm = &mut self.vm;
        for x in &b.rows {
            vm.add_i(*x, vector);
        }
        // Back to the first plane: the channels done so far are in the argument.
        vm.op(Op::Arg { d: b.q, n: PLANES });
        vm.add_i(b.q, vector);
        vm.op(Op::SetArg { n: PLANES, s: b.q });
        vm.op(Op::Count {
            x: left,
            by: lanes,
            to: top,
        });
        // The next tile's row.
        let done = match self.s.rest {
            0 => bytes(vm, CHANNELS),
            _ => {
                let d = vm.x();
                let value = i64::from(vector);
                vm.op(Op::SetX { d, value });
                d
            }
        };
        vm.op(Op::SubX {
            d: b.q,
            a: b.q,
            b: done,
        });
        vm.free_x(done);
        vm.free_x(left);
        vm.add_arg(b.q, ROW, 2);
        vm.op(Op::SetArg { n: PLANES, s: b.q });
        let all = b.rows.iter().chain(&b.pixels).chain(&b.planes);
        for x in all.copied().collect::<Vec<_>>() {
            vm.free_x(x);
        }
        vm.free_x(b.q);
    }

    fn at(&self, b: &Bases, i: usize, j: usize) -> Mem {
        let [one, three, five] = b.pixels;
        Mem {
            base: b.rows[i],
            index: match j {
                0 => None,
                1 => Some((one, 0)),
                2 => Some((one, 1)),
                3 => Some((three, 0)),
                4 => Some((one, 2)),
                _ => Some((five, 0)),
            },
            disp: 0,
        }
    }

    /// Stores to the plane `k` behind the current one, `k` up to 2.
    fn put(&mut self, b: &Bases, v: V, k: usize) {
        let index = match k {
            0 => None,
            k => Some((b.planes[0], k as u8 - 1)),
        };
        let at = Mem {
            base: b.q,
            index,
            disp: 0,
        };
        let tmp = self.vm.v();
        self.vm.store(v, at, Lanes::All, tmp);
        self.vm.free(tmp);
    }

    fn vector_of_two(&mut self, b: &Bases) {
        // Rows of results as a combination of two rows of elements.
        for (x, y, op) in [
            (0, 2, Bin::Sub),
            (2, 1, Bin::Add),
            (2, 1, Bin::Sub),
            (3, 1, Bin::Sub),
        ] {
            let v = self.vm.vs(4);
            for (j, d) in v.iter().enumerate() {
                let (x, y) = (self.at(b, x, j), self.at(b, y, j));
                self.vm.load(*d, x, Lanes::All);
                self.vm.bin(op, *d, *d, Src::Mem(y));
            }
            let vm = &mut self.vm;
            let t = vm.v();
            vm.bin(Bin::Sub, v[0], v[0], v[2]);
            vm.bin(Bin::Add, t, v[2], v[1]);
            vm.bin(Bin::Sub, v[2], v[2], v[1]);
            vm.bin(Bin::Sub, v[3], v[3], v[1]);
            for (k, v) in [v[0], t, v[2]].into_iter().enumerate() {
                self.put(b, v, k);
            }
            self.vm.add_x(b.q, b.planes[1], 0);
            self.put(b, v[3], 0);
            self.vm.add_x(b.q, b.planes[0], 0);
            self.vm.free_all(&v);
            self.vm.free(t);
        }
    }

    fn vector_of_four(&mut self, b: &Bases) {
        let f = &FACTORS;
        self.end(b, [0, 2, 4]);
        for (point, other) in [(f.p[0], f.squares[1]), (f.p[1], f.squares[0])] {
            self.pair(b, point, other);
        }
        self.end(b, [1, 3, 5]);
    }

    /// The row of the point 0 or infinity, from three rows of elements.
    fn end(&mut self, b: &Bases, [x, y, z]: [usize; 3]) {
        let f = &FACTORS;
        self.k.hold(&mut self.vm, &numbers(), 6 + WORK);
        let v = self.vm.vs(6);
        for (j, d) in v.iter().enumerate() {
            let [x, y, z] = [x, y, z].map(|i| self.at(b, i, j));
            self.vm.load(*d, z, Lanes::All);
            self.k.fma_mem(&mut self.vm, *d, -f.sum, y);
            self.k.fma_mem(&mut self.vm, *d, f.product, x);
        }
        self.row(b, v);
        self.k.release(&mut self.vm);
    }

    /// The rows of a point and its negative.
    fn pair(&mut self, b: &Bases, point: f32, other: f32) {
        self.k.hold(&mut self.vm, &[-other, point], 12 + WORK - 3);
        let (mut plus, mut minus) = (vec![], vec![]);
        for j in 0..6 {
            let [one, two, three, four] = [1, 2, 3, 4].map(|i| self.at(b, i, j));
            let (even, odd) = (self.vm.v(), self.vm.v());
            self.vm.load(even, four, Lanes::All);
            self.k.fma_mem(&mut self.vm, even, -other, two);
            self.vm.load(odd, three, Lanes::All);
            self.k.fma_mem(&mut self.vm, odd, -other, one);
            self.vm.bin(Bin::Mul, odd, odd, self.k.src(point));
            let d = self.vm.v();
            self.vm.bin(Bin::Add, d, even, odd);
            self.vm.bin(Bin::Sub, even, even, odd);
            self.vm.free(odd);
            plus.push(d);
            minus.push(even);
        }
        self.k.release(&mut self.vm);
        self.row(b, plus);
        self.k.hold(&mut self.vm, &numbers(), WORK);
        self.row(b, minus);
        self.k.release(&mut self.vm);
    }

    /// A row of six becomes six results, which are stored. Takes the registers.
    fn row(&mut self, b: &Bases, v: Vec<V>) {
        let f = &FACTORS;
        let n = numbers();
        let [product, sum] = [n[0], n[1]].map(|x| self.k.src(x));
        let vm = &mut self.vm;
        let x = vm.v();
        vm.op(Op::Move { d: x, a: v[4] });
        vm.fma(x, v[2], sum);
        vm.fma(x, v[0], product);
        vm.free(v[0]);
        self.put(b, x, 0);
        let vm = &mut self.vm;
        vm.free(x);
        let (even, odd) = (vm.v(), vm.v());
        vm.op(Op::Move { d: even, a: v[4] });
        vm.op(Op::Move { d: odd, a: v[3] });
        self.points(even, odd, [v[2], v[1]], f.p[0], f.squares[1]);
        self.both(b, even, odd, 1);
        self.vm.add_x(b.q, b.planes[1], 0);
        let vm = &mut self.vm;
        vm.free(even);
        vm.free(odd);
        vm.fma(v[5], v[3], sum);
        vm.fma(v[5], v[1], product);
        self.put(b, v[5], 2);
        self.vm.free(v[5]);
        self.points(v[4], v[3], [v[2], v[1]], f.p[1], f.squares[0]);
        self.vm.free(v[2]);
        self.vm.free(v[1]);
        self.both(b, v[4], v[3], 0);
        self.vm.free(v[4]);
        self.vm.free(v[3]);
        self.vm.add_x(b.q, b.planes[1], 0);
    }

    /// Even and odd parts at a point.
    fn points(&mut self, even: V, odd: V, v: [V; 2], point: f32, other: f32) {
        let other = self.k.src(-other);
        self.vm.fma(even, v[0], other);
        self.vm.fma(odd, v[1], other);
        let point = self.k.src(point);
        self.vm.bin(Bin::Mul, odd, odd, point);
    }

    /// Stores sum and difference.
    fn both(&mut self, b: &Bases, even: V, odd: V, k: usize) {
        let x = self.vm.v();
        self.vm.bin(Bin::Add, x, even, odd);
        self.put(b, x, k);
        self.vm.bin(Bin::Sub, even, even, odd);
        self.put(b, even, k + 1);
        self.vm.free(x);
    }
}
