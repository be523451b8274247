//! The template of contract `depthwise_long`.
//!
//! The sums of a row of pixels are in registers for one block of channels after the other: 32-bit lanes, and beside them, where weights are bytes, words
//! that products are added up in until their contract says that they must go to the lanes. One row of the window's weights is in registers at a time;
//! every element of the image is loaded once for all columns of the tile that meet it.

use super::finish::Sums;
use super::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::depthwise_long::Shape;
use onnxc_compiler::loops::ir::Callee;

/// Registers that elements of the image take turns in, at most.
const TURNS: usize = 4;

struct Template<'s> {
    f: Frame<'s>,
    s: &'s Shape,
    /// Sums, pixel by pixel, for each its vectors of channels.
    acc: Vec<V>,
    /// Words of each pixel: of bytes alone.
    words: Vec<V>,
    /// Pixels whose words hold something.
    begun: Vec<bool>,
    /// What turns the sign of bytes.
    flip: Option<V>,
    /// What stands for elements outside of the image, where that is not zero.
    outside: Option<V>,
    /// What elements of the image are loaded to, in turns, several registers each.
    turns: Vec<Vec<V>>,
    turn: usize,
}

/// The program of a tile.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Shape::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut t = Template {
        f: Frame::new(isa, &s.at, &s.tail, [s.x_type, s.out_type]),
        s: &s,
        acc: vec![],
        words: vec![],
        begun: vec![],
        flip: None,
        outside: None,
        turns: vec![],
        turn: 0,
    };
    let labels = t.f.begin();
    t.tile()?;
    t.f.next(labels);
    t.f.vm.finish()
}

impl Template<'_> {
    /// Whether weights are bytes.
    fn bytes(&self) -> bool {
        self.s.w_type == DType::I8
    }
    /// Registers of eight words or sixteen bytes that hold an element of a block.
    fn registers(&self) -> usize {
        match self.bytes() {
            true => 1,
            false => self.s.vectors as usize / 2,
        }
    }

    /// All channels of a tile: blocks, of which the last ends with the last channel.
    fn tile(&mut self) -> Result<()> {
        let b = self.f.byte_bases();
        let top = self.f.vm.label();
        self.f.vm.place(top);
        self.block(&b)?;
        let (block, bytes) = (self.s.block(), self.s.packed() as i32 * 4);
        self.f
            .next_block(top, b.left, (b.w, bytes), [b.x, b.at], block);
        self.f.drop_bases(b);
        Ok(())
    }

    /// A block of channels.
    fn block(&mut self, b: &Bases) -> Result<()> {
        let s = self.s;
        let (n, cols) = (s.vectors as usize, s.at.cols as usize);
        self.acc = self.f.vm.vs(cols * n);
        // Loads rather than moves: products wait for the part of a core that moves would keep busy.
        for i in 0..cols * n {
            let at = Mem::at(b.w, (i % n) as i32 * self.f.vector());
            self.f.vm.load(self.acc[i], at, Lanes::All);
        }
        self.words = match self.bytes() {
            true => self.f.vm.vs(cols * n / 2),
            false => vec![],
        };
        self.begun = vec![false; cols];
        self.flip = self
            .bytes()
            .then_some(0x8080_8080)
            .filter(|_| s.more != 0)
            .map(|bits| {
                let d = self.f.vm.v();
                self.f.vm.op(Op::Const { d, bits });
                d
            });
        self.outside = self.zeros();
        let per = self.registers();
        let weights: Vec<Vec<V>> = (0..s.at.kernel[1]).map(|_| self.f.vm.vs(per)).collect();
        let turns = (self.f.vm.spare() / per).clamp(1, TURNS);
        self.turns = (0..turns).map(|_| self.f.vm.vs(per)).collect();
        for ky in 0..s.at.kernel[0] {
            if s.at.exists(0, ky * s.at.dilation[0]) || self.outside.is_some() {
                self.weights(b, ky, &weights);
            }
            self.row(b, ky, &weights);
        }
        let own = self.turns.iter().chain(&weights).flatten();
        let own = own
            .chain(&self.words)
            .chain(&self.flip)
            .chain(&self.outside);
        let own: Vec<V> = own.copied().collect();
        self.f.vm.free_all(&own);
        let sums = Sums {
            acc: std::mem::take(&mut self.acc),
            vectors: n,
            mixed: false,
            floats: false,
            at: b.at,
            lanes: Lanes::All,
        };
        self.f.finish(sums)
    }

    /// What stands for elements outside of the image, if a tile has such.
    fn zeros(&mut self) -> Option<V> {
        let s = self.s;
        let cut = s.at.cut_rows.iter().chain(&s.at.cut_cols).any(|c| *c > 0);
        if !cut || !s.outside {
            return None;
        }
        let d = self.f.outside();
        if let Some(flip) = self.flip {
            self.f.vm.bin(Bin::Xor, d, d, flip);
        }
        Some(d)
    }

    /// Loads a row of the window's weights.
    fn weights(&mut self, b: &Bases, ky: i64, to: &[Vec<V>]) {
        let s = self.s;
        for (kx, registers) in to.iter().enumerate() {
            let at = s.block() + (ky * s.at.kernel[1] + kx as i64) * s.each();
            for (r, d) in registers.iter().enumerate() {
                let at = Mem::at(b.w, 4 * at as i32 + r as i32 * self.f.vector());
                self.f.vm.load(*d, at, self.lanes());
            }
        }
    }
    /// Lanes of a register of bytes or of words that a block fills.
    fn lanes(&self) -> Lanes {
        match self.bytes() && self.s.vectors == 2 {
            true => Lanes::First(2),
            false => Lanes::All,
        }
    }

    /// What a row of the image gives to the sums.
    fn row(&mut self, b: &Bases, ky: i64, weights: &[Vec<V>]) {
        let g = &self.s.at;
        let y = ky * g.dilation[0];
        let there = g.exists(0, y);
        let p = there.then(|| self.f.multiple(b.x, b.row, y - g.cut_rows[0]));
        // Every second element is reached from the one before.
        let mut passed = 0;
        for ix in 0..g.span(1) {
            let meets = g.meets(ix);
            let place = p.filter(|_| g.exists(1, ix)).map(|base| {
                let index = (passed % 2 == 1).then_some((b.pixel, 0));
                Mem {
                    base,
                    index,
                    disp: 0,
                }
            });
            if !meets.is_empty() {
                let x = match place {
                    Some(at) => Some(self.element(at)),
                    None => self.outside.map(|v| vec![v; self.registers()]),
                };
                for (col, kx) in meets {
                    if let Some(x) = &x {
                        self.products(col, x, &weights[kx as usize]);
                    }
                    if self.s.flush >> (ky * g.kernel[1] + kx) & 1 == 1 {
                        self.flush(col);
                    }
                }
            }
            if let Some(at) = place {
                passed += 1;
                if passed % 2 == 0 {
                    self.f.vm.add_x(at.base, b.pixel, 1);
                }
            }
        }
        p.into_iter().for_each(|x| self.f.vm.free_x(x));
    }

    /// Loads an element of the image for all channels of a block, as it is multiplied.
    fn element(&mut self, at: Mem) -> Vec<V> {
        let x = self.turns[self.turn % self.turns.len()].clone();
        self.turn += 1;
        if self.bytes() {
            self.f.vm.load(x[0], at, self.lanes());
            if let Some(flip) = self.flip {
                self.f.vm.bin(Bin::Xor, x[0], x[0], flip);
            }
            return x;
        }
        let elem = match self.s.x_type {
            DType::I8 => Elem::I8x2,
            _ => Elem::U8x2,
        };
        for (r, d) in x.iter().enumerate() {
            self.f.vm.op(Op::Load {
                d: *d,
                at: at.plus(8 * r as i32),
                elem,
                lanes: Lanes::All,
            });
        }
        x
    }

    /// Adds the products of an element with weights to the sums of a pixel.
    fn products(&mut self, col: usize, x: &[V], w: &[V]) {
        let n = self.s.vectors as usize;
        if self.bytes() {
            let op = match self.begun[col] {
                true => Long::AddBytes,
                false => Long::Bytes,
            };
            self.begun[col] = true;
            for half in 0..n / 2 {
                self.f.vm.op(Op::Long {
                    op,
                    d: self.words[col * n / 2 + half],
                    a: x[0],
                    b: w[0],
                    second: half == 1,
                });
            }
            return;
        }
        for v in 0..n {
            self.f.vm.op(Op::Long {
                op: Long::AddWords,
                d: self.acc[col * n + v],
                a: x[v / 2],
                b: w[v / 2],
                second: v % 2 == 1,
            });
        }
    }

    /// Adds the words of a pixel to its lanes.
    fn flush(&mut self, col: usize) {
        if !std::mem::take(&mut self.begun[col]) {
            return;
        }
        let n = self.s.vectors as usize;
        for v in 0..n {
            let a = self.words[col * n / 2 + v / 2];
            self.f.vm.op(Op::Long {
                op: Long::Sum,
                d: self.acc[col * n + v],
                a,
                b: a,
                second: v % 2 == 1,
            });
        }
    }
}
