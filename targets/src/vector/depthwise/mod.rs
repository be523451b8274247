//! Tiles of depthwise convolutions over channels-last data: [`floats`] has one element of the image in a lane, [`parts`] bytes of several
//! rows, and so has [`dots`], [`long`] multiplies bytes or words to longer numbers. What they share is here: the arguments of a call, the way from tile to tile, and what becomes of sums ([`finish`]).

pub mod dots;
mod finish;
pub mod floats;
pub mod long;
pub mod parts;

use super::build::Vm;
use super::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::depthwise_tile::Geometry;
use onnxc_compiler::loops::tail::{Node, Tail};

const X_PTR: u8 = 0;
const W_PTR: u8 = 1;
const OUT_PTR: u8 = 2;

/// Whole numbers among the arguments, counted from [`Args::ints`].
#[derive(Clone, Copy)]
enum Int {
    XRow,
    XPixel,
    OutPixel,
    Line,
    Channels,
    Count,
    XStep,
    OutStep,
    Outside,
}

/// Numbers of the call's arguments.
#[derive(Clone, Copy)]
struct Args {
    operands: u8,
    ints: u8,
    strides: u8,
    all: u8,
}

impl Args {
    fn of(tail: &Tail) -> Args {
        let operands = tail.operands().count() as u8;
        Args {
            operands: 3,
            ints: 3 + operands,
            strides: 3 + operands + 9,
            all: 3 + 2 * operands + 9,
        }
    }
}

/// A program under construction, and what it is told about tiles.
struct Frame<'s> {
    vm: Vm,
    at: &'s Geometry,
    tail: &'s Tail,
    x_type: DType,
    out_type: DType,
    args: Args,
}

/// Address registers that live through the channels of a tile over bytes.
struct Bases {
    x: X,
    row: X,
    pixel: X,
    w: X,
    /// Channels from a tile's first to the current.
    at: X,
    left: X,
}

/// By how much a number of elements is shifted to be one of bytes.
fn shift_of(d: DType) -> u8 {
    d.size().trailing_zeros() as u8
}

/// The type of an operand's elements.
fn of(kind: &Node) -> DType {
    kind.element().unwrap_or(DType::F32)
}

impl<'s> Frame<'s> {
    /// The registers of [`Bases`], before the first channel.
    fn byte_bases(&mut self) -> Bases {
        let b = Bases {
            x: self.vm.arg(X_PTR),
            row: self.int(Int::XRow),
            pixel: self.int(Int::XPixel),
            w: self.vm.arg(W_PTR),
            at: self.vm.x(),
            left: self.int(Int::Channels),
        };
        self.vm.op(Op::SetX { d: b.at, value: 0 });
        b
    }
    /// Gives them back.
    fn drop_bases(&mut self, b: Bases) {
        for x in [b.x, b.row, b.pixel, b.w, b.at, b.left] {
            self.vm.free_x(x);
        }
    }
    fn new(isa: Isa, at: &'s Geometry, tail: &'s Tail, [x_type, out_type]: [DType; 2]) -> Self {
        let args = Args::of(tail);
        Frame {
            vm: Vm::new(isa, args.all),
            at,
            tail,
            x_type,
            out_type,
            args,
        }
    }
    fn int(&mut self, i: Int) -> X {
        self.vm.arg(self.args.ints + i as u8)
    }
    /// What stands for elements outside of the image, in every part of every lane.
    fn outside(&mut self) -> V {
        let d = self.vm.v();
        self.outside_in(d);
        d
    }
    /// The same in a given register.
    fn outside_in(&mut self, d: V) {
        let x = self.int(Int::Outside);
        self.vm.op(Op::SplatX { d, x });
        self.vm.free_x(x);
    }
    /// A number of elements of a type in bytes.
    fn bytes(&mut self, i: Int, d: DType) -> X {
        let x = self.int(i);
        self.shift(x, d);
        x
    }
    fn shift(&mut self, x: X, d: DType) {
        if d.size() > 1 {
            let by = shift_of(d);
            self.vm.op(Op::ShlX { d: x, a: x, by });
        }
    }
    /// Bytes of a vector.
    fn vector(&self) -> i32 {
        self.vm.isa.lanes as i32 * 4
    }
    /// `base + n * step` in a register of its own.
    fn multiple(&mut self, base: X, step: X, n: i64) -> X {
        let d = self.vm.x();
        let mut from = base;
        let mut left = n;
        while left > 0 {
            let shift = [3u8, 2, 1, 0]
                .into_iter()
                .find(|s| left >= 1 << s)
                .unwrap_or(0);
            self.vm.op(Op::AddX {
                d,
                a: from,
                b: step,
                shift,
            });
            from = d;
            left -= 1 << shift;
        }
        if from != d {
            self.vm.op(Op::MoveX { d, a: from });
        }
        d
    }
    /// On to the next block of channels, at `top`, if there is one: the last ends with the last channel. `left`: channels from the current block's first on;
    /// `w`: where weights are, and bytes of a block's; `on`: what moves with the channels, which are bytes or are counted.
    fn next_block(&mut self, top: Label, left: X, w: (X, i32), on: [X; 2], block: i64) {
        let vm = &mut self.vm;
        let (whole, end) = (vm.label(), vm.label());
        let branch = |cond, with, to| Op::Branch {
            x: left,
            cond,
            with,
            to,
        };
        vm.add_i(w.0, w.1);
        vm.add_i(left, -(block as i32));
        vm.op(branch(Cond::Le, 0, end));
        vm.op(branch(Cond::Ge, block as i32, whole));
        on.iter().for_each(|x| vm.add_x(*x, left, 0));
        vm.op(Op::SetX {
            d: left,
            value: block,
        });
        vm.op(Op::Jump { to: top });
        vm.place(whole);
        on.iter().for_each(|x| vm.add_i(*x, block as i32));
        vm.op(Op::Jump { to: top });
        vm.place(end);
    }
    /// Where the tiles of a call begin; the label of its end.
    fn begin(&mut self) -> [Label; 2] {
        let (top, end) = (self.vm.label(), self.vm.label());
        let count = self.int(Int::Count);
        self.vm.op(Op::Branch {
            x: count,
            cond: Cond::Le,
            with: 0,
            to: end,
        });
        self.vm.free_x(count);
        self.vm.place(top);
        [top, end]
    }
    /// On to the next tile, if there is one.
    fn next(&mut self, [top, end]: [Label; 2]) {
        for (pointer, step) in [(X_PTR, Int::XStep), (OUT_PTR, Int::OutStep)] {
            let p = self.vm.arg(pointer);
            let by = self.int(step);
            if pointer == OUT_PTR {
                let pixel = self.int(Int::OutPixel);
                self.vm.op(Op::MulX {
                    d: by,
                    a: by,
                    b: pixel,
                });
                self.vm.free_x(pixel);
            }
            let d = match pointer {
                X_PTR => self.x_type,
                _ => self.out_type,
            };
            self.vm.add_x(p, by, shift_of(d));
            self.vm.op(Op::SetArg { n: pointer, s: p });
            self.vm.free_x(p);
            self.vm.free_x(by);
        }
        let kinds: Vec<Node> = self.tail.operands().collect();
        for (k, kind) in kinds.iter().enumerate() {
            if !matches!(kind, Node::Tile(_)) {
                continue;
            }
            let n = self.args.operands + k as u8;
            let p = self.vm.arg(n);
            let by = self.int(Int::OutStep);
            let pixel = self.vm.arg(self.args.strides + k as u8);
            self.vm.op(Op::MulX {
                d: by,
                a: by,
                b: pixel,
            });
            self.vm.add_x(p, by, shift_of(of(kind)));
            self.vm.op(Op::SetArg { n, s: p });
            [p, by, pixel].into_iter().for_each(|x| self.vm.free_x(x));
        }
        let count = self.int(Int::Count);
        self.vm.add_i(count, -1);
        self.vm.op(Op::SetArg {
            n: self.args.ints + Int::Count as u8,
            s: count,
        });
        self.vm.op(Op::Branch {
            x: count,
            cond: Cond::Gt,
            with: 0,
            to: top,
        });
        self.vm.free_x(count);
        self.vm.place(end);
    }
}
