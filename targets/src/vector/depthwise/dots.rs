//! The template of contract `depthwise_bytes` where dot products take registers alone: NEON.
//!
//! As [`super::parts`], but weights are in registers while a tile's columns pass under them, for one group of rows after the other: loads are what
//! such machines have fewest of. Eight channels of a row are a load; rows of them are zipped to lanes of one channel in four rows.

use super::finish::Sums;
use super::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::depthwise_parts::Shape;
use onnxc_compiler::loops::ir::Callee;

/// Vectors of a block.
const VECTORS: usize = 2;
/// Registers that rows of the image are loaded to and zipped in: two pairs that take turns, and a third.
const TURNS: usize = 6;

struct Template<'s> {
    f: Frame<'s>,
    s: &'s Shape,
    /// Sums, pixel by pixel, for each its vectors of channels.
    acc: Vec<V>,
    /// Four registers for rows of the image, or [`TURNS`].
    rows: Vec<V>,
    /// Columns that were zipped.
    turn: usize,
}

/// The program of a tile.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Shape::of(callee)
        .filter(|s| s.lanes == 4 && s.parts == 4 && s.vectors == VECTORS as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut t = Template {
        f: Frame::new(isa, &s.at, &s.tail, [s.x_type, s.out_type]),
        s: &s,
        acc: vec![],
        rows: vec![],
        turn: 0,
    };
    let labels = t.f.begin();
    t.tile()?;
    t.f.next(labels);
    t.f.vm.finish()
}

impl Template<'_> {
    /// All channels of a tile: blocks, of which the last ends with the last channel.
    fn tile(&mut self) -> Result<()> {
        let b = self.f.byte_bases();
        let top = self.f.vm.label();
        self.f.vm.place(top);
        self.block(&b)?;
        let bytes = self.s.packed_vectors() as i32 * self.f.vector();
        let block = self.s.block();
        self.f
            .next_block(top, b.left, (b.w, bytes), [b.x, b.at], block);
        self.f.drop_bases(b);
        Ok(())
    }

    /// A block of channels.
    fn block(&mut self, b: &Bases) -> Result<()> {
        let pixels = (self.s.at.rows * self.s.at.cols) as usize;
        self.acc = self.f.vm.vs(pixels * VECTORS);
        // Loads rather than moves: products wait for the part of a core that moves would keep busy.
        for i in 0..pixels * VECTORS {
            let at = Mem::at(b.w, (i % VECTORS) as i32 * self.f.vector());
            self.f.vm.load(self.acc[i], at, Lanes::All);
        }
        for (q, rows) in self.s.spans() {
            self.group(b, q, &rows);
        }
        let sums = Sums {
            acc: std::mem::take(&mut self.acc),
            vectors: VECTORS,
            mixed: false,
            floats: false,
            at: b.at,
            lanes: Lanes::All,
        };
        self.f.finish(sums)
    }

    /// What a group of rows gives to all sums.
    fn group(&mut self, b: &Bases, q: usize, rows: &[i64]) {
        let s = self.s;
        let g = &s.at;
        if !s.multiplied(rows) {
            return;
        }
        // Rows of the tile that read from this group, and which of their own groups it is.
        let readers: Vec<(i64, usize)> = (0..g.rows)
            .filter_map(|j| {
                let own = s.groups(s.first + j);
                let own = own.iter().position(|(group, _)| *group == q)?;
                Some((j, own))
            })
            .collect();
        let mut weights = vec![];
        for &(j, own) in &readers {
            for kx in 0..g.kernel[1] {
                let two = self.f.vm.vs(VECTORS);
                for (v, d) in two.iter().enumerate() {
                    let at =
                        (s.weight_at(s.first + j, own, kx) + v as i64) as i32 * self.f.vector();
                    self.f.vm.load(*d, Mem::at(b.w, at), Lanes::All);
                }
                weights.push(two);
            }
        }
        let spare = if self.f.vm.spare() >= TURNS { TURNS } else { 4 };
        self.rows = self.f.vm.vs(spare);
        // A pointer for each row that exists.
        let bases: Vec<Option<X>> = rows
            .iter()
            .map(|&y| {
                let there = g.exists(0, y);
                there.then(|| self.f.multiple(b.x, b.row, y - g.cut_rows[0]))
            })
            .collect();
        let mut passed = 0;
        for ix in 0..g.span(1) {
            let (there, meets) = (g.exists(1, ix), g.meets(ix));
            if !meets.is_empty() && (there || !s.clear) {
                // Every second column is reached from the one before.
                let index = (passed % 2 == 1).then_some((b.pixel, 0));
                let place = |p: &Option<X>| {
                    let base = p.filter(|_| there)?;
                    Some(Mem {
                        base,
                        index,
                        disp: 0,
                    })
                };
                let places: Vec<Option<Mem>> = bases.iter().map(place).collect();
                let x = self.column(&places);
                for (r, &(j, _)) in readers.iter().enumerate() {
                    for &(col, kx) in &meets {
                        let w = &weights[r * g.kernel[1] as usize + kx as usize];
                        let pixel = (j * g.cols) as usize + col;
                        for v in 0..VECTORS {
                            self.f.vm.op(Op::Dot {
                                dot: Dot::BytesS,
                                d: self.acc[pixel * VECTORS + v],
                                a: Src::Reg(w[v]),
                                b: x[v],
                                tmp: None,
                            });
                        }
                    }
                }
            }
            if there {
                passed += 1;
                for x in bases.iter().flatten().filter(|_| passed % 2 == 0) {
                    self.f.vm.add_x(*x, b.pixel, 1);
                }
            }
        }
        bases
            .into_iter()
            .flatten()
            .for_each(|x| self.f.vm.free_x(x));
        let own: Vec<V> = weights
            .concat()
            .into_iter()
            .chain(self.rows.drain(..))
            .collect();
        self.f.vm.free_all(&own);
    }

    /// A column of up to four rows: a lane for each channel.
    fn column(&mut self, places: &[Option<Mem>]) -> [V; VECTORS] {
        let first = match self.rows.len() {
            TURNS if self.turn % 2 == 1 => [4, 5],
            _ => [0, 1],
        };
        self.turn += 1;
        let [a, b, c, d] = [first[0], first[1], 2, 3].map(|i| self.rows[i]);
        for (d, place) in [a, b, c, d].into_iter().zip(places) {
            match place {
                Some(at) => self.f.vm.load(d, *at, Lanes::First(2)),
                None => self.f.outside_in(d),
            }
        }
        // Rows beyond the list have no weights, and hold anything.
        let or = |at: usize, v: V, other: V| if at < places.len() { v } else { other };
        let (b_row, c_row, d_row) = (or(1, b, a), or(2, c, a), or(3, d, or(2, c, a)));
        let zip = |vm: &mut Vm, d, a, b, words, second| {
            vm.op(Op::Zip {
                d,
                a,
                b,
                words,
                second,
            })
        };
        let vm = &mut self.f.vm;
        zip(vm, c, c_row, d_row, false, false);
        zip(vm, a, a, b_row, false, false);
        zip(vm, b, a, c, true, false);
        zip(vm, a, a, c, true, true);
        if self.s.more != 0 {
            for v in [b, a] {
                vm.bin(Bin::Xor, v, v, Src::Const(0x8080_8080));
            }
        }
        [b, a]
    }
}
