//! The template of contract `winograd_out`.
//!
//! One vector of columns after the other. Two rows of results are made at a time, those that need sums of planes, then
//! those that need differences: twelve registers, nothing spilled but for long tails.

use super::build::Vm;
use super::ir::*;
use super::tail::{self, Far, Kept};
use super::winograd::{Numbers, Walk, bytes, tiles, times};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::winograd_tiles::Out;
use onnxc_compiler::loops::ir::Callee;
use onnxc_compiler::loops::tail::{Node, Tail};

mod floats;
mod whole;

const PLANES: u8 = 0;
const OUT_PTR: u8 = 1;

/// Numbers of the call's arguments that depend on its tail.
#[derive(Clone, Copy)]
struct Args {
    operands: u8,
    ints: u8,
    distances: u8,
    all: u8,
}

impl Args {
    fn of(s: &Out) -> Args {
        let operands = s.tail.operands().count() as u8;
        let first = 2;
        let ints = first + operands;
        Args {
            operands: first,
            ints,
            distances: ints + 14,
            all: ints + 14 + operands,
        }
    }
    fn int(&self, i: u8) -> u8 {
        self.ints + i
    }
    fn walk(&self) -> Walk {
        Walk {
            tile_y: self.int(4),
            tile_x: self.int(5),
            tiles_y: self.int(6),
            tiles_x: self.int(7),
        }
    }
}

const PLANE: u8 = 0;
const ROW: u8 = 1;
const COLUMNS: u8 = 2;
const COUNT: u8 = 3;
const HEIGHT: u8 = 8;
const WIDTH: u8 = 9;
const PIXEL: u8 = 10;
const OUT_PIXEL: u8 = 11;
/// Room: rows and columns from the tile's corner to the image's end.
const ROWS_LEFT: u8 = 12;
const COLS_LEFT: u8 = 13;

struct Template<'s> {
    vm: Vm,
    s: &'s Out,
    args: Args,
    k: Numbers,
    /// What is done with a result, and how it is stored then.
    tail: Tail,
    elem: Elem,
}

/// Where a tile's planes are reached from.
struct Bases {
    /// Plane 0 at the first column of the vector.
    first: X,
    /// One, three and five rows of planes.
    rows: [X; 3],
    plane: X,
    /// The current column.
    at: X,
}

/// The program of an output transform.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Out::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let args = Args::of(&s);
    let mut vm = Vm::new(isa, args.all);
    let k = match s.m {
        4 if s.whole.is_none() => Numbers::of(&mut vm, &floats::numbers()),
        _ => Numbers::default(),
    };
    let (tail, elem) = tail::without_limits(&s.tail, s.whole.unwrap_or(DType::F32));
    let mut t = Template {
        vm,
        s: &s,
        args,
        k,
        tail,
        elem,
    };
    let mut vm = std::mem::replace(&mut t.vm, Vm::new(isa, args.all));
    tiles(&mut vm, args.int(COUNT), |vm| {
        std::mem::swap(&mut t.vm, vm);
        let done = t.tile();
        std::mem::swap(&mut t.vm, vm);
        done
    })?;
    vm.finish()
}

/// Bytes of an operand's element.
fn bytes_of(kind: &Node) -> i32 {
    kind.element().map_or(4, |d| d.size() as i32)
}

/// By how much a number of elements of so many bytes is shifted.
fn shift(size: i32) -> u8 {
    size.trailing_zeros() as u8
}

impl Template<'_> {
    fn int(&mut self, i: u8) -> X {
        self.vm.arg(self.args.int(i))
    }

    fn tile(&mut self) -> Result<()> {
        let (args, s) = (self.args, self.s);
        let walk = args.walk();
        let log = if s.m == 4 { 2 } else { 1 };
        for (size, tile, left) in [
            (HEIGHT, walk.tile_y, ROWS_LEFT),
            (WIDTH, walk.tile_x, COLS_LEFT),
        ] {
            let d = self.int(size);
            let t = self.vm.arg(tile);
            self.vm.op(Op::ShlX {
                d: t,
                a: t,
                by: log,
            });
            self.vm.op(Op::SubX { d, a: d, b: t });
            self.vm.op(Op::SetArg {
                n: args.int(left),
                s: d,
            });
            self.vm.free_x(d);
            self.vm.free_x(t);
        }
        self.columns()?;
        let vm = &mut self.vm;
        let p = vm.arg(PLANES);
        vm.add_arg(p, args.int(ROW), 2);
        vm.op(Op::SetArg { n: PLANES, s: p });
        vm.free_x(p);
        // The pixel goes along.
        let pixel = args.int(PIXEL);
        let p = vm.arg(pixel);
        vm.add_i(p, s.m as i32);
        vm.op(Op::SetArg { n: pixel, s: p });
        vm.free_x(p);
        // Forward by `lines` lines of the image and back by as many tiles as lie side by side or rows of them one under another.
        let jump = |vm: &mut Vm, forward: &dyn Fn(&mut Vm) -> X, back: &dyn Fn(&mut Vm) -> X| {
            let p = vm.arg(pixel);
            let f = forward(vm);
            vm.add_x(p, f, 0);
            vm.free_x(f);
            let b = back(vm);
            vm.op(Op::SubX { d: p, a: p, b });
            vm.op(Op::SetArg { n: pixel, s: p });
            vm.free_x(b);
            vm.free_x(p);
        };
        let tiles_of = |vm: &mut Vm, n: u8| {
            let x = vm.arg(n);
            vm.op(Op::ShlX {
                d: x,
                a: x,
                by: log,
            });
            x
        };
        let lines = |vm: &mut Vm, n: X| {
            let w = vm.arg(args.int(WIDTH));
            vm.op(Op::MulX { d: n, a: n, b: w });
            vm.free_x(w);
            n
        };
        walk.next(
            vm,
            |vm| {
                jump(
                    vm,
                    &|vm| {
                        let d = vm.x();
                        vm.op(Op::SetX { d, value: s.m });
                        lines(vm, d)
                    },
                    &|vm| tiles_of(vm, walk.tiles_x),
                )
            },
            |vm| {
                jump(
                    vm,
                    &|vm| {
                        let d = vm.arg(args.int(HEIGHT));
                        lines(vm, d)
                    },
                    &|vm| {
                        let d = tiles_of(vm, walk.tiles_y);
                        lines(vm, d)
                    },
                )
            },
        );
        Ok(())
    }

    /// All columns of a tile.
    fn columns(&mut self) -> Result<()> {
        let lanes = self.vm.isa.lanes as i32;
        let vm = &mut self.vm;
        let first = vm.arg(PLANES);
        let plane = bytes(vm, self.args.int(PLANE));
        let row = vm.x();
        // A row of planes: 4 or 6 of them.
        if self.s.m == 4 {
            vm.op(Op::AddX {
                d: row,
                a: plane,
                b: plane,
                shift: 1,
            });
            vm.add_x(row, row, 0);
        } else {
            vm.op(Op::ShlX {
                d: row,
                a: plane,
                by: 2,
            });
        }
        let rows = [row, times(vm, row, 3), times(vm, row, 5)];
        let at = vm.x();
        vm.op(Op::SetX { d: at, value: 0 });
        let left = self.int(COLUMNS);
        let b = Bases {
            first,
            rows,
            plane,
            at,
        };
        let (main, rest) = (self.vm.label(), self.vm.label());
        self.vm.op(Op::Branch {
            x: left,
            cond: Cond::Lt,
            with: lanes,
            to: rest,
        });
        self.vm.place(main);
        self.vector_of(&b, Lanes::All)?;
        self.vm.add_i(first, lanes * 4);
        self.vm.add_i(at, lanes);
        self.vm.add_i(left, -lanes);
        self.vm.op(Op::Branch {
            x: left,
            cond: Cond::Ge,
            with: lanes,
            to: main,
        });
        self.vm.place(rest);
        if self.s.rest > 0 {
            self.vector_of(&b, Lanes::First(self.s.rest as u8))?;
        }
        for x in [first, plane, rows[0], rows[1], rows[2], at, left] {
            self.vm.free_x(x);
        }
        Ok(())
    }

    /// Row `i` of planes, `p` being at the column of planes in question.
    fn at(&self, b: &Bases, p: X, i: usize) -> Mem {
        let [one, three, five] = b.rows;
        Mem {
            base: p,
            index: match i {
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

    /// One vector of columns.
    fn vector_of(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        match self.s.whole {
            None => self.vector_of_floats(b, lanes),
            Some(_) => self.vector_of_whole(b, lanes),
        }
    }

    /// Columns of planes to two rows of values.
    fn down(&mut self, b: &Bases, t: usize, line: &dyn Fn(&mut Self, X, V, V)) -> (Vec<V>, Vec<V>) {
        let p = self.vm.x();
        self.vm.op(Op::MoveX { d: p, a: b.first });
        let (mut one, mut two) = (vec![], vec![]);
        for j in 0..t {
            let (x, y) = (self.vm.v(), self.vm.v());
            line(self, p, x, y);
            one.push(x);
            two.push(y);
            if j + 1 < t {
                self.vm.add_x(p, b.plane, 0);
            }
        }
        self.vm.free_x(p);
        (one, two)
    }

    /// Finishes two rows, the second waiting meanwhile.
    fn two_rows(
        &mut self,
        b: &Bases,
        [(r, one), (s, two)]: [(i32, Vec<V>); 2],
        lanes: Lanes,
    ) -> Result<()> {
        let end = self.vm.label();
        // Registers that the finish of a row needs beside its results: the tail's, a store's own.
        let pairs = self.pairs();
        let need = tail::registers(&self.tail, self.vm.isa)? + 1 + usize::from(pairs);
        let free_then = self.vm.spare() + one.len() - self.s.m as usize;
        let spilled = need.saturating_sub(free_then).min(two.len());
        let waiting: Vec<Kept> = two
            .iter()
            .enumerate()
            .map(|(i, v)| {
                if i >= spilled {
                    return Kept::Reg(*v);
                }
                let slot = self.vm.slot();
                self.vm.op(Op::Spill { s: *v, slot });
                self.vm.free(*v);
                Kept::Slot(slot)
            })
            .collect();
        if r > 0 {
            // The first row of a tile is always there.
            let left = self.int(ROWS_LEFT);
            self.vm.op(Op::Branch {
                x: left,
                cond: Cond::Le,
                with: r,
                to: end,
            });
            self.vm.free_x(left);
        }
        self.row(b, r, one, need, lanes)?;
        let left = self.int(ROWS_LEFT);
        self.vm.op(Op::Branch {
            x: left,
            cond: Cond::Le,
            with: s,
            to: end,
        });
        self.vm.free_x(left);
        let two: Vec<V> = waiting.into_iter().map(|k| k.fetch(&mut self.vm)).collect();
        if self.s.whole.is_none() {
            self.k.hold(&mut self.vm, &floats::numbers(), 4 + need);
        }
        self.row(b, s, two, need, lanes)?;
        self.k.release(&mut self.vm);
        self.vm.place(end);
        Ok(())
    }

    /// A row of values to results, which are finished and stored. Takes the registers.
    fn row(&mut self, b: &Bases, r: i32, v: Vec<V>, need: usize, lanes: Lanes) -> Result<()> {
        let results = match self.s.whole {
            None => self.row_of_floats(v),
            Some(_) => self.row_of_whole(r, v),
        };
        self.finish(b, r, results, need, lanes)
    }

    /// Tail and stores of a row of results.
    fn finish(
        &mut self,
        b: &Bases,
        r: i32,
        results: Vec<V>,
        need: usize,
        lanes: Lanes,
    ) -> Result<()> {
        let args = self.args;
        let kinds: Vec<Node> = self.tail.operands().collect();
        let size = self.elem.bytes();
        let spilled = need.saturating_sub(self.vm.spare()).min(results.len());
        let first_spilled = results.len() - spilled;
        let kept: Vec<Kept> = results
            .iter()
            .enumerate()
            .map(|(i, v)| {
                if i < first_spilled {
                    return Kept::Reg(*v);
                }
                let slot = self.vm.slot();
                self.vm.op(Op::Spill { s: *v, slot });
                self.vm.free(*v);
                Kept::Slot(slot)
            })
            .collect();
        let out = self.line(OUT_PTR, args.int(OUT_PIXEL), r, b, size);
        // Every operand but single elements is reached from a register of its own: it may be read at any point of the tail.
        let lines: Vec<Option<X>> = kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| {
                let n = args.operands + i as u8;
                match kind {
                    Node::Tile(_) => {
                        Some(self.line(n, args.distances + i as u8, r, b, bytes_of(kind)))
                    }
                    Node::Column(_) => {
                        let p = self.vm.arg(n);
                        self.vm.add_x(p, b.at, shift(bytes_of(kind)));
                        Some(p)
                    }
                    _ => None,
                }
            })
            .collect();
        let end = self.vm.label();
        let pairs = lanes == Lanes::All && self.pairs();
        let mixes = tail::mixes(&self.tail, self.vm.isa).filter(|_| pairs);
        // Of two pixels that are stored at once, what is stored at the first, where `out` is meanwhile.
        let mut first = None;
        for (c, kept) in kept.into_iter().enumerate() {
            if c > 0 {
                let left = self.int(COLS_LEFT);
                // The second of a pair that is not there is the first again.
                let nothing = match first {
                    Some(_) => self.vm.label(),
                    None => end,
                };
                self.vm.op(Op::Branch {
                    x: left,
                    cond: Cond::Le,
                    with: c as i32,
                    to: nothing,
                });
                self.vm.free_x(left);
                if first.is_none() {
                    let by = shift(size) + u8::from(pairs);
                    self.vm.add_arg(out, args.int(OUT_PIXEL), by);
                }
                for (i, p) in lines.iter().enumerate() {
                    if let (Some(p), Node::Tile(_)) = (p, kinds[i]) {
                        self.vm
                            .add_arg(*p, args.distances + i as u8, shift(bytes_of(&kinds[i])));
                    }
                }
                if first.is_some() {
                    self.vm.place(nothing);
                }
            }
            let result = kept.fetch(&mut self.vm);
            let mut fetch = |vm: &mut Vm, i: usize, kind: Node| match lines[i] {
                Some(p) => tail::operand(vm, kind, Mem::at(p, 0), lanes),
                None => {
                    let (arg, at) = (args.operands + i as u8, None);
                    tail::far_operand(vm, kind, Far { arg, at, disp: 0 }, lanes)
                }
            };
            let answer = tail::apply_in_order(&mut self.vm, &self.tail, result, &mut fetch, mixes)?;
            match (pairs, first.take()) {
                (false, _) => {
                    let tmp = self.vm.v();
                    self.vm.op(Op::Store {
                        s: answer,
                        at: Mem::at(out, 0),
                        elem: self.elem,
                        lanes,
                        tmp,
                    });
                    self.vm.free(tmp);
                }
                (true, None) => {
                    first = Some(answer);
                    continue;
                }
                (true, Some(a)) => {
                    let by = self.second(c as i32, size);
                    self.vm.op(Op::StoreApart {
                        a,
                        b: answer,
                        at: Mem::at(out, 0),
                        second: Mem {
                            base: out,
                            index: Some((by, 0)),
                            disp: 0,
                        },
                        signed: self.elem == Elem::I8Limited,
                        mixed: mixes.is_some(),
                    });
                    self.vm.free_x(by);
                    self.vm.free(a);
                }
            }
            self.vm.free(answer);
        }
        self.vm.place(end);
        self.vm.free_x(out);
        lines.into_iter().flatten().for_each(|x| self.vm.free_x(x));
        Ok(())
    }

    /// Whether the bytes of two pixels are stored at once.
    fn pairs(&self) -> bool {
        self.elem.is_limited() && self.vm.isa.stores_apart()
    }

    /// By how many bytes pixel `c` lies behind the one before, or 0 where the image has no such pixel.
    fn second(&mut self, c: i32, size: i32) -> X {
        let by = self.int(COLS_LEFT);
        let there = self.vm.label();
        let done = self.vm.label();
        self.vm.op(Op::Branch {
            x: by,
            cond: Cond::Gt,
            with: c,
            to: there,
        });
        self.vm.op(Op::SetX { d: by, value: 0 });
        self.vm.op(Op::Jump { to: done });
        self.vm.place(there);
        self.vm.op(Op::Arg {
            d: by,
            n: self.args.int(OUT_PIXEL),
        });
        if size > 1 {
            let shl = shift(size);
            self.vm.op(Op::ShlX {
                d: by,
                a: by,
                by: shl,
            });
        }
        self.vm.place(done);
        by
    }

    /// The first pixel of row `r` of the tile, at the current column, in a tensor of elements of `size` bytes that lies as the output does.
    fn line(&mut self, pointer: u8, distance: u8, r: i32, b: &Bases, size: i32) -> X {
        let p = self.int(PIXEL);
        let vm = &mut self.vm;
        if r > 0 {
            let w = vm.arg(self.args.int(WIDTH));
            if r != 2 {
                vm.add_x(p, w, 0);
            }
            if r > 1 {
                vm.add_x(p, w, 1);
            }
            vm.free_x(w);
        }
        let by = vm.arg(distance);
        vm.op(Op::MulX { d: p, a: p, b: by });
        vm.free_x(by);
        vm.add_x(p, b.at, 0);
        if size > 1 {
            let by = shift(size);
            vm.op(Op::ShlX { d: p, a: p, by });
        }
        vm.add_arg(p, pointer, 0);
        p
    }
}
