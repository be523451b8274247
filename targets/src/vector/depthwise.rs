//! The template of contract `depthwise_tile`.
//!
//! The sums of a tile of pixels are held in registers for one vector of channels after the other. One row of the window's weights
//! is in registers at a time; every element of the image that it meets is loaded once for all columns of the tile.

use super::build::Vm;
use super::ir::*;
use super::tail::{self, Far};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::depthwise_tile::Shape;
use onnxc_compiler::loops::ir::Callee;
use onnxc_compiler::loops::tail::Node;

/// Numbers of the call's arguments.
struct Args {
    operands: u8,
    ints: u8,
    strides: u8,
    all: u8,
}

const X_PTR: u8 = 0;
const W_PTR: u8 = 1;
const OUT_PTR: u8 = 2;

/// Whole numbers, counted from [`Args::ints`].
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
}

struct Template<'s> {
    vm: Vm,
    s: &'s Shape,
    args: Args,
    acc: Vec<V>,
}

/// Address registers that live through the channels of a tile.
struct Bases {
    x: X,
    row: X,
    pixel: X,
    /// Three pixels.
    pixels: X,
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

/// The program of a tile.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Shape::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64 && s.rest < s.lanes)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let operands = s.tail.operands().count() as u8;
    let first = 3;
    let args = Args {
        operands: first,
        ints: first + operands,
        strides: first + operands + 8,
        all: first + 2 * operands + 8,
    };
    let mut t = Template {
        vm: Vm::new(isa, args.all),
        s: &s,
        args,
        acc: vec![],
    };
    t.write()?;
    t.vm.finish()
}

impl Template<'_> {
    fn int(&mut self, i: Int) -> X {
        self.vm.arg(self.args.ints + i as u8)
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
    fn vector(&self) -> i32 {
        self.vm.isa.lanes as i32 * 4
    }

    fn write(&mut self) -> Result<()> {
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
        self.tile()?;
        // The next tile.
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
                X_PTR => self.s.x_type,
                _ => self.s.out_type,
            };
            self.vm.add_x(p, by, shift_of(d));
            self.vm.op(Op::SetArg { n: pointer, s: p });
            self.vm.free_x(p);
            self.vm.free_x(by);
        }
        let kinds: Vec<Node> = self.s.tail.operands().collect();
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
        Ok(())
    }

    /// All channels of a tile.
    fn tile(&mut self) -> Result<()> {
        let b = Bases {
            x: self.vm.arg(X_PTR),
            row: self.bytes(Int::XRow, self.s.x_type),
            pixel: self.bytes(Int::XPixel, self.s.x_type),
            pixels: self.vm.x(),
            w: self.vm.arg(W_PTR),
            at: self.vm.x(),
            left: self.int(Int::Channels),
        };
        self.vm.op(Op::AddX {
            d: b.pixels,
            a: b.pixel,
            b: b.pixel,
            shift: 1,
        });
        self.vm.op(Op::SetX { d: b.at, value: 0 });
        let lanes = self.vm.isa.lanes as i32;
        let (main, rest) = (self.vm.label(), self.vm.label());
        self.vm.op(Op::Branch {
            x: b.left,
            cond: Cond::Lt,
            with: lanes,
            to: rest,
        });
        self.vm.place(main);
        self.channels(&b, Lanes::All)?;
        let vector = self.vector();
        self.vm.add_i(b.x, lanes * self.s.x_type.size() as i32);
        self.vm.add_i(b.at, lanes);
        self.vm.add_i(b.w, self.s.vectors() as i32 * vector);
        self.vm.add_i(b.left, -lanes);
        self.vm.op(Op::Branch {
            x: b.left,
            cond: Cond::Ge,
            with: lanes,
            to: main,
        });
        self.vm.place(rest);
        if self.s.rest > 0 {
            self.channels(&b, Lanes::First(self.s.rest as u8))?;
        }
        for x in [b.x, b.row, b.pixel, b.pixels, b.w, b.at, b.left] {
            self.vm.free_x(x);
        }
        Ok(())
    }

    /// One vector of channels.
    fn channels(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        let s = self.s;
        let (rows, cols) = (s.rows as usize, s.cols as usize);
        self.acc = self.vm.vs(rows * cols);
        let start = Mem::at(b.w, (s.vectors() - 1) as i32 * self.vector());
        for (i, d) in self.acc.clone().into_iter().enumerate() {
            match (s.whole(), i) {
                (false, _) => self.vm.op(Op::Zero { d }),
                (true, 0) => self.vm.load(d, start, Lanes::All),
                (true, _) => self.vm.op(Op::Move { d, a: self.acc[0] }),
            }
        }
        let kw = s.kernel[1];
        let w = self.vm.vs(kw as usize);
        let x = self.vm.v();
        for ky in 0..s.kernel[0] {
            let meets = (0..s.rows).any(|r| s.exists(0, r * s.stride[0] + ky * s.dilation[0]));
            if !meets {
                continue;
            }
            for (kx, d) in w.iter().enumerate() {
                let disp = (ky * kw + kx as i64) as i32 * self.vector();
                self.vm.load(*d, Mem::at(b.w, disp), Lanes::All);
            }
            for r in 0..s.rows {
                let y = r * s.stride[0] + ky * s.dilation[0];
                if s.exists(0, y) {
                    self.row(b, y - s.cut_rows[0], r as usize, &w, x, lanes);
                }
            }
        }
        self.vm.free_all(&w);
        self.vm.free(x);
        self.finish(b, lanes)
    }

    /// An input row under one row of weights, into one row of sums.
    fn row(&mut self, b: &Bases, y: i64, r: usize, w: &[V], x: V, lanes: Lanes) {
        let s = self.s;
        let p = self.multiple(b.x, b.row, y);
        // `p` moves on three pixels at a time.
        let mut moved = 0;
        for ix in 0..s.span(1) {
            if !s.exists(1, ix) {
                continue;
            }
            let uses: Vec<(usize, usize)> = (0..s.cols)
                .filter_map(|col| {
                    let d = ix - col * s.stride[1];
                    let kx = d / s.dilation[1];
                    let fits = d >= 0 && d % s.dilation[1] == 0 && kx < s.kernel[1];
                    fits.then_some((col as usize, kx as usize))
                })
                .collect();
            if uses.is_empty() {
                continue;
            }
            let pixel = ix - s.cut_cols[0];
            while pixel - moved >= 3 {
                self.vm.add_x(p, b.pixels, 0);
                moved += 3;
            }
            let index = match pixel - moved {
                0 => None,
                n => Some((b.pixel, n as u8 - 1)),
            };
            let at = Mem {
                base: p,
                index,
                disp: 0,
            };
            let elem = tail::elem(s.x_type);
            self.vm.op(Op::Load {
                d: x,
                at,
                elem,
                lanes,
            });
            if s.whole() {
                if s.zero != 0 {
                    let zero = Src::Const(s.zero as i32 as u32);
                    self.vm.bin(Bin::SubI, x, x, zero);
                }
                self.vm.op(Op::Un {
                    op: Un::FromInt,
                    d: x,
                    a: x,
                });
            }
            for (col, kx) in uses {
                let d = self.acc[r * s.cols as usize + col];
                self.vm.fma(d, x, w[kx]);
            }
        }
        self.vm.free_x(p);
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

    /// Tails and stores.
    fn finish(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        let s = self.s;
        let acc = std::mem::take(&mut self.acc);
        let (tail, elem) = tail::without_limits(&s.tail, s.out_type);
        let floats = tail::over_floats(&tail).filter(|_| s.whole());
        let whole = s.whole() && floats.is_none();
        let tail = floats.unwrap_or(tail);
        let need = tail::registers(&tail, self.vm.isa)? + 1;
        let spilled = need.saturating_sub(self.vm.spare()).min(acc.len());
        let kept = acc.len() - spilled;
        let mut slots = vec![];
        for v in &acc[kept..] {
            let slot = self.vm.slot();
            self.vm.op(Op::Spill { s: *v, slot });
            self.vm.free(*v);
            slots.push(slot);
        }
        let kinds: Vec<Node> = tail.operands().collect();
        // Two for the output, one for distances.
        let far = tail::far_ones(&self.vm, &kinds, 3);
        for r in 0..s.rows as usize {
            // Pointers to the row's pixels of the output and of each operand.
            let out = self.line(OUT_PTR, None, s.out_type, r, b);
            let mut operands = vec![];
            for (k, kind) in kinds.iter().enumerate() {
                let n = self.args.operands + k as u8;
                operands.push(match kind {
                    _ if far[k] => (b.at, None),
                    Node::Tile(d) => self.line(n, Some(self.args.strides + k as u8), *d, r, b),
                    Node::Column(d) => {
                        let p = self.vm.arg(n);
                        self.vm.add_x(p, b.at, shift_of(*d));
                        (p, None)
                    }
                    _ => (self.vm.arg(n), None),
                });
            }
            for c in 0..s.cols as usize {
                let at = r * s.cols as usize + c;
                let result = if at < kept {
                    acc[at]
                } else {
                    let d = self.vm.v();
                    self.vm.op(Op::Fill {
                        d,
                        slot: slots[at - kept],
                    });
                    d
                };
                let first = self.args.operands;
                let mut fetch = |vm: &mut Vm, k: usize, kind: Node| match far[k] {
                    false => tail::operand(vm, kind, Mem::at(operands[k].0, 0), lanes),
                    true => {
                        let (arg, at) = (first + k as u8, Some(b.at));
                        tail::far_operand(vm, kind, Far { arg, at, disp: 0 }, lanes)
                    }
                };
                let result = match whole {
                    false => result,
                    true => {
                        self.vm.op(Op::WholeInt {
                            d: result,
                            a: result,
                        });
                        result
                    }
                };
                let answer = tail::apply(&mut self.vm, &tail, result, &mut fetch)?;
                let tmp = self.vm.v();
                self.vm.op(Op::Store {
                    s: answer,
                    at: Mem::at(out.0, 0),
                    elem,
                    lanes,
                    tmp,
                });
                self.vm.free(tmp);
                self.vm.free(answer);
                self.vm.free(result);
                if c + 1 < s.cols as usize {
                    for (p, step) in std::iter::once(&out).chain(&operands) {
                        if let Some(step) = step {
                            self.vm.add_x(*p, *step, 0);
                        }
                    }
                }
            }
            let own = operands.into_iter().zip(&far).filter(|(_, far)| !**far);
            for (p, step) in std::iter::once(out).chain(own.map(|o| o.0)) {
                self.vm.free_x(p);
                step.into_iter().for_each(|x| self.vm.free_x(x));
            }
        }
        Ok(())
    }

    /// The first pixel of output row `r` in a tensor that lies as the output does, and the distance of pixels in bytes.
    fn line(
        &mut self,
        pointer: u8,
        stride: Option<u8>,
        d: DType,
        r: usize,
        b: &Bases,
    ) -> (X, Option<X>) {
        let pixel = match stride {
            None => self.bytes(Int::OutPixel, d),
            Some(n) => {
                let x = self.vm.arg(n);
                self.shift(x, d);
                x
            }
        };
        let p = self.vm.arg(pointer);
        self.vm.add_x(p, b.at, shift_of(d));
        if r > 0 {
            let line = self.int(Int::Line);
            self.vm.op(Op::MulX {
                d: line,
                a: line,
                b: pixel,
            });
            for _ in 0..r {
                self.vm.add_x(p, line, 0);
            }
            self.vm.free_x(line);
        }
        (p, Some(pixel))
    }
}
