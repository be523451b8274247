//! The template of contract `winograd_in`.
//!
//! One vector of channels after the other. A tile that hangs over the image's border is first copied to a patch with zeros around
//! it; the transform itself reads rows and pixels at any distance and knows nothing of borders.

use super::build::Vm;
use super::ir::*;
use super::winograd::{Numbers, Walk, tiles, times};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::winograd_tiles::{In, Numbers as Input};
use onnxc_compiler::loops::ir::Callee;

mod floats;
mod words;

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
    /// Where the frame holds a tile between columns and rows.
    slots: Vec<u16>,
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
        .filter(|s| s.lanes == isa.lanes as i64 * per_lane(s.x))
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut vm = Vm::new(isa, ARGS);
    let k = match s.m {
        4 if s.x == Input::Floats => Numbers::of(&mut vm, &floats::numbers()),
        _ => Numbers::default(),
    };
    let mut t = Template {
        vm,
        s: &s,
        k,
        slots: vec![],
    };
    let mut vm = std::mem::replace(&mut t.vm, Vm::new(isa, ARGS));
    tiles(&mut vm, COUNT, |vm| {
        std::mem::swap(&mut t.vm, vm);
        t.tile();
        std::mem::swap(&mut t.vm, vm);
        Ok::<(), Box<Diagnostic>>(())
    })?;
    vm.finish()
}

/// Channels that a lane holds.
fn per_lane(x: Input) -> i64 {
    match x {
        Input::Floats => 1,
        Input::Bytes { .. } => 2,
    }
}

/// Argument `n`, a number of elements of so many bytes, in bytes.
fn bytes(vm: &mut Vm, n: u8, size: i32) -> X {
    let x = vm.arg(n);
    if size > 1 {
        let by = size.trailing_zeros() as u8;
        vm.op(Op::ShlX { d: x, a: x, by });
    }
    x
}

/// Copies so many bytes, no more than a vector has.
fn copy(vm: &mut Vm, from: Mem, to: Mem, bytes: i32, [v, tmp]: [V; 2]) {
    let lanes = vm.isa.lanes as i32;
    let (elem, count) = match bytes % 4 {
        0 => (Elem::W32, bytes / 4),
        _ => (Elem::U8, bytes),
    };
    for first in (0..count).step_by(lanes as usize) {
        let lanes = Lanes::of(&vm.isa, count as usize, first as usize);
        let [from, to] = [from, to].map(|m| m.plus(first * elem.bytes()));
        vm.op(Op::Load {
            d: v,
            at: from,
            elem,
            lanes,
        });
        vm.op(Op::Store {
            s: v,
            at: to,
            elem,
            lanes,
            tmp,
        });
    }
}

impl Template<'_> {
    /// Elements of a tile along an axis.
    fn t(&self) -> usize {
        self.s.m as usize + 2
    }
    /// Bytes of an element of the image, and of a plane.
    fn sizes(&self) -> [i32; 2] {
        [self.s.x.x_type(), self.s.x.plane_type()].map(|d| d.size() as i32)
    }
    /// Bytes of a vector of the image, and of a plane.
    fn vectors(&self) -> [i32; 2] {
        self.sizes().map(|s| s * self.s.lanes as i32)
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
        let [size, _] = self.sizes();
        let vm = &mut self.vm;
        let (line, pixel) = (bytes(vm, LINE, size), bytes(vm, PIXEL, size));
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
            vm.add_arg(p, by, size.trailing_zeros() as u8);
            vm.op(Op::SetArg { n: pointer, s: p });
            vm.free_x(p);
        };
        WALK.next(&mut self.vm, |_| {}, |vm| step(vm, X_PTR, IMAGE));
    }

    /// Copies a tile to the patch, zeros where the image ends; then `base`, `line` and `pixel` are the patch's. Changes `y`
    /// and `x`.
    fn copy(&mut self, y: X, x: X, base: X, line: X, pixel: X) {
        let t = self.t() as i64;
        let [vector, _] = self.vectors();
        let [element, _] = self.sizes();
        let rest = self.s.rest;
        let input = self.s.x;
        let vm = &mut self.vm;
        let w = vm.arg(PATCH);
        let size = match rest {
            0 => bytes(vm, CHANNELS, element),
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
        // The same in each byte, or 0.
        let bits = u32::from(input.zero() as u8) * 0x0101_0101;
        vm.op(Op::Const { d: zero, bits });
        let all = Lanes::of(&vm.isa, (vector / 4) as usize, 0);
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
                run(vm, n, &|vm| vm.store(zero, at(w), all, tmp));
            });
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
                        let here = match rest {
                            0 => vector,
                            n => n as i32 * element,
                        };
                        if here < vector {
                            vm.store(zero, at(w), all, tmp);
                        }
                        copy(vm, at(p), at(w), here, [v, tmp]);
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
        let [vector, plane_vector] = self.vectors();
        let [_, element] = self.sizes();
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
        let plane = bytes(vm, PLANE, element);
        let planes = [plane, times(vm, plane, 3)];
        let q = vm.arg(PLANES);
        let left = match self.s.rest {
            0 => vm.arg(CHANNELS),
            _ => {
                let d = vm.x();
                let value = self.s.lanes;
                vm.op(Op::SetX { d, value });
                d
            }
        };
        let lanes = self.s.lanes as i32;
        let b = Bases {
            rows,
            pixels,
            q,
            planes,
        };
        let top = self.vm.label();
        self.vm.place(top);
        match (self.s.x, self.s.m) {
            (Input::Bytes { signed, zero }, _) => self.vector_of_words(&b, signed, zero),
            (_, 4) => self.vector_of_four(&b),
            _ => self.vector_of_two(&b),
        }
        let vm = &mut self.vm;
        for x in &b.rows {
            vm.add_i(*x, vector);
        }
        // Back to the first plane: the channels done so far are in the argument.
        vm.op(Op::Arg { d: b.q, n: PLANES });
        vm.add_i(b.q, plane_vector);
        vm.op(Op::SetArg { n: PLANES, s: b.q });
        vm.op(Op::Count {
            x: left,
            by: lanes,
            to: top,
        });
        // The next tile's row.
        let done = match self.s.rest {
            0 => bytes(vm, CHANNELS, element),
            _ => {
                let d = vm.x();
                let value = i64::from(plane_vector);
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
        vm.add_arg(b.q, ROW, element.trailing_zeros() as u8);
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
}
