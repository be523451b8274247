//! The template of contracts `depthwise_words` and `depthwise_bytes`.
//!
//! Column by column of the image, rows of bytes are interleaved so that each lane holds one channel of several rows; what comes of it serves all
//! columns of the window and all rows of the tile, one instruction for several products. Weights stay in memory. Interleaving works within
//! quarters of registers, so lanes are mixed until sums are brought into order.

use super::finish::Sums;
use super::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::depthwise_parts::Shape;
use onnxc_compiler::loops::ir::Callee;

/// Rows that one address register reaches with multiples of the distance of rows.
const REACH: i64 = 3;
/// Registers that pairing rows and multiplying them takes.
const WORK: usize = 3;

struct Template<'s> {
    f: Frame<'s>,
    s: &'s Shape,
    /// Groups of rows of the span, each with its number.
    groups: Vec<(usize, Vec<i64>)>,
    dot: Dot,
    /// Sums, pixel by pixel, for each its vectors of channels.
    acc: Vec<V>,
}

/// Address registers that live through the channels of a tile.
struct Bases {
    x: X,
    row: X,
    /// Three rows.
    rows: X,
    pixel: X,
    w: X,
    /// Channels from a tile's first to the current.
    at: X,
    left: X,
}

/// Registers that hold a column of some rows of the image, each with the first row.
type Columns = Vec<(X, i64)>;

/// The program of a tile.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Shape::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64)
        .filter(|s| match (s.parts, isa.level) {
            (4, _) => s.vectors > 1,
            (_, Level::Avx2) => s.vectors < 4,
            _ => s.vectors == 2,
        })
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut t = Template {
        f: Frame::new(isa, &s.at, &s.tail, [s.x_type, s.out_type]),
        groups: s.spans(),
        dot: match s.parts {
            4 => Dot::BytesU,
            _ => Dot::Words,
        },
        s: &s,
        acc: vec![],
    };
    let labels = t.f.begin();
    t.tile()?;
    t.f.next(labels);
    t.f.vm.finish()
}

impl Template<'_> {
    /// All channels of a tile: blocks, of which the last ends with the last channel.
    fn tile(&mut self) -> Result<()> {
        let b = Bases {
            x: self.f.vm.arg(X_PTR),
            row: self.f.int(Int::XRow),
            rows: self.f.vm.x(),
            pixel: self.f.int(Int::XPixel),
            w: self.f.vm.arg(W_PTR),
            at: self.f.vm.x(),
            left: self.f.int(Int::Channels),
        };
        let vm = &mut self.f.vm;
        vm.op(Op::AddX {
            d: b.rows,
            a: b.row,
            b: b.row,
            shift: 1,
        });
        vm.op(Op::SetX { d: b.at, value: 0 });
        let (top, whole, go, end) = (vm.label(), vm.label(), vm.label(), vm.label());
        vm.place(top);
        self.block(&b)?;
        let block = self.s.block() as i32;
        let bytes = self.s.packed_vectors() as i32 * self.f.vector();
        let vm = &mut self.f.vm;
        let branch = |cond, with, to| Op::Branch {
            x: b.left,
            cond,
            with,
            to,
        };
        vm.add_i(b.w, bytes);
        vm.add_i(b.left, -block);
        vm.op(branch(Cond::Le, 0, end));
        vm.op(branch(Cond::Ge, block, whole));
        vm.add_x(b.x, b.left, 0);
        vm.add_x(b.at, b.left, 0);
        vm.op(Op::SetX {
            d: b.left,
            value: i64::from(block),
        });
        vm.op(Op::Jump { to: go });
        vm.place(whole);
        vm.add_i(b.x, block);
        vm.add_i(b.at, block);
        vm.place(go);
        vm.op(Op::Jump { to: top });
        vm.place(end);
        for x in [b.x, b.row, b.rows, b.pixel, b.w, b.at, b.left] {
            vm.free_x(x);
        }
        Ok(())
    }

    /// A block of channels.
    fn block(&mut self, b: &Bases) -> Result<()> {
        let s = self.s;
        let n = s.vectors as usize;
        let pixels = (s.at.rows * s.at.cols) as usize;
        self.acc = self.f.vm.vs(pixels * n);
        for i in 0..pixels * n {
            let d = self.acc[i];
            match i < n {
                true => {
                    let at = Mem::at(b.w, i as i32 * self.f.vector());
                    self.f.vm.load(d, at, Lanes::All);
                }
                false => self.f.vm.op(Op::Move {
                    d,
                    a: self.acc[i % n],
                }),
            }
        }
        self.hold_more();
        let columns = self.columns(b);
        for ix in 0..s.at.span(1) {
            let meets = s.at.meets(ix);
            if !meets.is_empty() && (s.at.exists(1, ix) || !s.clear) {
                self.column(b, &columns, ix, &meets);
            }
            if s.at.exists(1, ix) {
                for (x, _) in &columns {
                    self.f.vm.add_x(*x, b.pixel, 0);
                }
            }
        }
        columns.iter().for_each(|(x, _)| self.f.vm.free_x(*x));
        self.f.vm.let_go();
        let sums = Sums {
            acc: std::mem::take(&mut self.acc),
            vectors: n,
            mixed: s.mixed(),
            floats: false,
            at: b.at,
            lanes: Lanes::All,
        };
        self.f.finish(sums)
    }

    /// As many registers as reach all rows that exist.
    fn columns(&mut self, b: &Bases) -> Columns {
        let g = &self.s.at;
        let mut out: Columns = vec![];
        let all = self.groups.iter().flat_map(|(_, rows)| rows);
        for y in all.filter(|y| g.exists(0, **y)) {
            if out.last().is_none_or(|(_, first)| y - first > REACH) {
                let x = self.f.multiple(b.x, b.row, y - g.cut_rows[0]);
                out.push((x, *y));
            }
        }
        out
    }

    /// What a column of the image gives to the sums that it meets.
    fn column(&mut self, b: &Bases, columns: &Columns, ix: i64, meets: &[(usize, i64)]) {
        let s = self.s;
        for (q, rows) in &self.groups.clone() {
            // Rows of the tile that read from this group, and which of their own groups it is.
            let readers: Vec<(i64, usize)> = (0..s.at.rows)
                .filter_map(|j| {
                    let own = s.groups(s.first + j);
                    let own = own.iter().position(|(group, _)| group == q)?;
                    Some((j, own))
                })
                .collect();
            if readers.is_empty() {
                continue;
            }
            let there = s.at.exists(1, ix);
            let places: Vec<Option<Mem>> = rows
                .iter()
                .map(|y| self.place(b, columns, *y).filter(|_| there))
                .collect();
            let group = match places.iter().any(Option::is_some) {
                true => self.interleaved(&places),
                false if s.clear => continue,
                false => vec![self.zeros(s.more != 0)],
            };
            let words = self.dot == Dot::Words && !self.f.vm.isa.fused_words;
            let tmp = words.then(|| self.f.vm.v());
            for &(j, own) in &readers {
                for &(col, kx) in meets {
                    for v in 0..s.vectors {
                        let at = s.weight_at(s.first + j, own, kx) + v;
                        let pixel = (j * s.at.cols) as usize + col;
                        self.f.vm.op(Op::Dot {
                            dot: self.dot,
                            d: self.acc[pixel * s.vectors as usize + v as usize],
                            a: Src::Mem(Mem::at(b.w, at as i32 * self.f.vector())),
                            b: group[v as usize % group.len()],
                            tmp,
                        });
                    }
                }
            }
            self.f.vm.free_all(&group);
            tmp.into_iter().for_each(|v| self.f.vm.free(v));
        }
    }

    /// Whether rows are paired as bytes: AVX2 shuffles within halves, and what it widens after that keeps its order.
    fn pairs_bytes(&self) -> bool {
        self.dot == Dot::Words && self.f.vm.isa.level == Level::Avx2
    }

    /// Where the column of a row begins, if the row exists.
    fn place(&self, b: &Bases, columns: &Columns, y: i64) -> Option<Mem> {
        if !self.s.at.exists(0, y) {
            return None;
        }
        let (base, first) = columns.iter().rev().find(|(_, first)| *first <= y)?;
        let index = match y - first {
            0 => None,
            1 => Some((b.row, 0)),
            2 => Some((b.row, 1)),
            _ => Some((b.rows, 0)),
        };
        Some(Mem {
            base: *base,
            index,
            disp: 0,
        })
    }

    /// What stands for elements outside of the image; `flipped`: as it is multiplied, where that differs from how it is stored.
    fn zeros(&mut self, flipped: bool) -> V {
        let d = self.f.outside();
        if flipped {
            self.f.vm.bin(Bin::Xor, d, d, Src::Const(0x8080_8080));
        }
        d
    }

    /// The vectors of a block, each lane with an element of every place; places beyond the list have no weights, and hold anything.
    fn interleaved(&mut self, places: &[Option<Mem>]) -> Vec<V> {
        let group = match (self.dot, self.s.vectors) {
            (Dot::Words, _) => self.pair(places, self.s.x_type == DType::I8),
            (_, 2) => self.two(places),
            _ => self.four(places),
        };
        if self.s.more != 0 && self.dot != Dot::Words {
            for v in &group {
                let sign = Src::Const(0x8080_8080);
                self.f.vm.bin(Bin::Xor, *v, *v, sign);
            }
        }
        group
    }

    /// Bytes of a place as words. `None`: what is not there.
    fn words(&mut self, place: Option<Mem>, signed: bool) -> V {
        let Some(at) = place else {
            let d = self.f.outside();
            if self.dot != Dot::Words {
                // A byte in each word.
                self.f.vm.bin(Bin::And, d, d, Src::Const(0x00ff_00ff));
            }
            return d;
        };
        let d = self.f.vm.v();
        self.f.vm.op(Op::LoadWords { d, at, signed });
        d
    }

    /// Bytes of a place, one for each channel of a block, in the first half of a register. `None`: what is not there.
    fn bytes(&mut self, place: Option<Mem>) -> V {
        let Some(at) = place else {
            if self.s.clear {
                // What is 0 once it is moved.
                let (d, zero) = (self.f.vm.v(), u32::from(self.s.more.wrapping_neg() as u8));
                let bits = zero * 0x0101_0101;
                self.f.vm.op(Op::Const { d, bits });
                return d;
            }
            // Given as words: their low bytes twice.
            let (d, twice) = (self.f.outside(), self.f.vm.v());
            let by = 8;
            self.f.vm.op(Op::Shift {
                op: Shift::Left,
                d: twice,
                a: d,
                by,
            });
            self.f.vm.bin(Bin::And, d, d, Src::Const(0x00ff_00ff));
            (self.f.vm).bin(Bin::And, twice, twice, Src::Const(0xff00_ff00));
            self.f.vm.bin(Bin::Or, d, d, Src::Reg(twice));
            self.f.vm.free(twice);
            return d;
        };
        let d = self.f.vm.v();
        self.f
            .vm
            .load(d, at, Lanes::First(2 * self.s.vectors as u8));
        d
    }

    /// Words of two rows.
    fn pair(&mut self, places: &[Option<Mem>], signed: bool) -> Vec<V> {
        if self.pairs_bytes() && self.s.clear {
            match *places {
                [Some(at), None] => return self.one_of_pair(at, signed, false),
                [None, Some(at)] => return self.one_of_pair(at, signed, true),
                _ => {}
            }
        }
        let pair = match self.pairs_bytes() {
            true => self.pair_of_bytes(places, signed),
            false => {
                let a = self.words(places[0], signed);
                let b = (places.get(1)).map(|place| self.words(*place, signed));
                // Sums, for one, are there already.
                let other = b.unwrap_or(self.acc[0]);
                let lo = self.f.vm.v();
                self.f.vm.op(Op::PairWords { lo, a, b: other });
                b.into_iter().for_each(|b| self.f.vm.free(b));
                vec![lo, a]
            }
        };
        self.move_words(&pair, self.more(true, true));
        pair
    }

    /// What is added to the words of a lane: to the first, to the second.
    fn more(&self, first: bool, second: bool) -> u32 {
        let more = u32::from(self.s.more as i16 as u16);
        let of = |there: bool| if there { more } else { 0 };
        of(first) | of(second) << 16
    }

    /// Adds to the words of all lanes.
    fn move_words(&mut self, group: &[V], bits: u32) {
        if bits == 0 {
            return;
        }
        let vm = &mut self.f.vm;
        let held = vm.held(bits);
        let b = held.unwrap_or_else(|| {
            let d = vm.v();
            vm.op(Op::Const { d, bits });
            d
        });
        let op = WordBin::Add;
        for &d in group {
            vm.op(Op::Words { op, d, a: d, b });
        }
        if held.is_none() {
            vm.free(b);
        }
    }

    /// Has what is added to words in registers, where sums leave some.
    fn hold_more(&mut self) {
        if !self.pairs_bytes() || self.s.more == 0 {
            return;
        }
        // First the one that is wanted most.
        for bits in [self.more(true, true), self.more(true, false)] {
            if self.f.vm.spare() > WORK {
                self.f.vm.hold(bits);
            }
        }
    }

    /// Words of one row whose partner is not there: 0 stands for that. `second`: the row's is the second word of a lane.
    fn one_of_pair(&mut self, at: Mem, signed: bool, second: bool) -> Vec<V> {
        let group = self.widened(at, signed);
        for &d in &group {
            if second {
                let (op, by) = (Shift::Left, 16);
                self.f.vm.op(Op::Shift { op, d, a: d, by });
            } else if signed {
                // Their sign reaches into the other word.
                self.f.vm.bin(Bin::And, d, d, Src::Const(0xffff));
            }
        }
        self.move_words(&group, self.more(!second, second));
        group
    }

    /// Bytes of a place, each in a lane of its own.
    fn widened(&mut self, at: Mem, signed: bool) -> Vec<V> {
        let elem = if signed { Elem::I8 } else { Elem::U8 };
        let lanes = Lanes::All;
        let group = self.f.vm.vs(self.s.vectors as usize);
        for (v, &d) in group.iter().enumerate() {
            let at = at.plus((v * self.f.vm.isa.lanes) as i32);
            self.f.vm.op(Op::Load { d, at, elem, lanes });
        }
        group
    }

    /// The same of rows that are paired while they are bytes.
    fn pair_of_bytes(&mut self, places: &[Option<Mem>], signed: bool) -> Vec<V> {
        if let [Some(at)] = *places {
            // What the other word of a lane holds has no weight.
            return self.widened(at, signed);
        }
        let a = self.bytes(places[0]);
        let b = (places.get(1)).map(|place| self.bytes(*place));
        let (lo, second) = (self.f.vm.v(), self.s.vectors > 1);
        self.f.vm.op(Op::PairRows {
            lo,
            a,
            // Sums, for one, are there already.
            b: b.unwrap_or(self.acc[0]),
            signed,
            second,
        });
        b.into_iter().for_each(|b| self.f.vm.free(b));
        if second {
            return vec![lo, a];
        }
        self.f.vm.free(a);
        vec![lo]
    }

    /// Bytes of up to four rows, for half as many channels as a register has bytes.
    fn two(&mut self, places: &[Option<Mem>]) -> Vec<V> {
        let mut both = |from: usize| -> Option<V> {
            let a = self.words(*places.get(from)?, false);
            if let Some(place) = places.get(from + 1) {
                let b = self.words(*place, false);
                self.f.vm.op(Op::Shift {
                    op: Shift::Left,
                    d: b,
                    a: b,
                    by: 8,
                });
                self.f.vm.bin(Bin::Or, a, a, Src::Reg(b));
                self.f.vm.free(b);
            }
            Some(a)
        };
        let (a, c) = (both(0), both(2));
        let (a, own) = (a.unwrap_or(self.acc[0]), c.is_some());
        let c = c.unwrap_or(self.acc[0]);
        let lo = self.f.vm.v();
        self.f.vm.op(Op::PairWords { lo, a, b: c });
        if own {
            self.f.vm.free(c);
        }
        vec![lo, a]
    }

    /// Bytes of up to four rows, for as many channels as a register has bytes.
    fn four(&mut self, places: &[Option<Mem>]) -> Vec<V> {
        let mut row = |at: usize| -> Option<V> {
            match places.get(at)? {
                Some(at) => {
                    let d = self.f.vm.v();
                    self.f.vm.load(d, *at, Lanes::All);
                    Some(d)
                }
                None => Some(self.zeros(false)),
            }
        };
        let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
        let anything = self.acc[0];
        let mut paired = |a: Option<V>, b: Option<V>| -> Option<[V; 2]> {
            let a = a?;
            let lo = self.f.vm.v();
            self.f.vm.op(Op::MixBytes {
                lo,
                a,
                b: b.unwrap_or(anything),
            });
            b.into_iter().for_each(|b| self.f.vm.free(b));
            Some([lo, a])
        };
        let upper = paired(a, b).unwrap_or([anything; 2]);
        let lower = paired(c, d);
        let mut out = vec![];
        for half in 0..2 {
            let (a, b) = (upper[half], lower.map_or(anything, |l| l[half]));
            let lo = self.f.vm.v();
            self.f.vm.op(Op::PairWords { lo, a, b });
            out.extend([lo, a]);
            if lower.is_some() {
                self.f.vm.free(b);
            }
        }
        out
    }
}
