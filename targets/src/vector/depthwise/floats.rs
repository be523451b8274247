//! The template of contract `depthwise_tile`.
//!
//! The sums of a tile of pixels are held in registers for one vector of channels after the other. One row of the window's weights
//! is in registers at a time; every element of the image that it meets is loaded once for all columns of the tile.

use super::finish::Sums;
use super::*;
use crate::vector::tail;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::depthwise_tile::{Geometry, Shape};
use onnxc_compiler::loops::ir::Callee;

struct Template<'s> {
    f: Frame<'s>,
    s: &'s Shape,
    acc: Vec<V>,
}

/// An input row of a tile.
struct Line {
    y: i64,
    /// Rows of the tile that it meets, each with the row of the window.
    meets: Vec<(usize, i64)>,
}

impl Line {
    fn needs(&self, ky: i64) -> bool {
        self.meets.iter().any(|(_, k)| *k == ky)
    }
}

/// The input rows of a tile in their order, each once if `room` rows of weights can be held that long; else one after the other under each row of
/// weights. A sum's products have the same order both ways.
fn lines(at: &Geometry, room: usize) -> Vec<Line> {
    let all = (0..at.rows).flat_map(|r| (0..at.kernel[0]).map(move |ky| (r, ky)));
    let y = |&(r, ky): &(i64, i64)| r * at.stride[0] + ky * at.dilation[0];
    let mut pairs: Vec<(i64, i64)> = all.filter(|p| at.exists(0, y(p))).collect();
    pairs.sort_by_key(|&(r, ky)| (ky, r));
    let line = |pairs: &[(i64, i64)]| Line {
        y: y(&pairs[0]),
        meets: pairs.iter().map(|&(r, ky)| (r as usize, ky)).collect(),
    };
    let apart = || pairs.iter().map(|p| line(&[*p])).collect();
    let mut sorted = pairs.clone();
    sorted.sort_by_key(|p| (y(p), p.1));
    let together: Vec<Line> = sorted.chunk_by(|a, b| y(a) == y(b)).map(line).collect();
    let live = |i: usize| {
        let after = |ky: i64| together[i..].iter().any(|l| l.needs(ky));
        let before = |ky: i64| together[..=i].iter().any(|l| l.needs(ky));
        (0..at.kernel[0])
            .filter(|&ky| after(ky) && before(ky))
            .count()
    };
    match (0..together.len()).all(|i| live(i) <= room) {
        true => together,
        false => apart(),
    }
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

/// The program of a tile.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Shape::of(callee)
        .filter(|s| s.lanes == isa.lanes as i64 && s.rest < s.lanes)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut t = Template {
        f: Frame::new(isa, &s.at, &s.tail, [s.x_type, s.out_type]),
        s: &s,
        acc: vec![],
    };
    let labels = t.f.begin();
    t.tile()?;
    t.f.next(labels);
    t.f.vm.finish()
}

impl Template<'_> {
    /// All channels of a tile.
    fn tile(&mut self) -> Result<()> {
        let b = Bases {
            x: self.f.vm.arg(X_PTR),
            row: self.f.bytes(Int::XRow, self.s.x_type),
            pixel: self.f.bytes(Int::XPixel, self.s.x_type),
            pixels: self.f.vm.x(),
            w: self.f.vm.arg(W_PTR),
            at: self.f.vm.x(),
            left: self.f.int(Int::Channels),
        };
        self.f.vm.op(Op::AddX {
            d: b.pixels,
            a: b.pixel,
            b: b.pixel,
            shift: 1,
        });
        self.f.vm.op(Op::SetX { d: b.at, value: 0 });
        let lanes = self.f.vm.isa.lanes as i32;
        let (main, rest) = (self.f.vm.label(), self.f.vm.label());
        self.f.vm.op(Op::Branch {
            x: b.left,
            cond: Cond::Lt,
            with: lanes,
            to: rest,
        });
        self.f.vm.place(main);
        self.channels(&b, Lanes::All)?;
        let vector = self.f.vector();
        self.f.vm.add_i(b.x, lanes * self.s.x_type.size() as i32);
        self.f.vm.add_i(b.at, lanes);
        self.f.vm.add_i(b.w, self.s.vectors() as i32 * vector);
        self.f.vm.add_i(b.left, -lanes);
        self.f.vm.op(Op::Branch {
            x: b.left,
            cond: Cond::Ge,
            with: lanes,
            to: main,
        });
        self.f.vm.place(rest);
        if self.s.rest > 0 {
            self.channels(&b, Lanes::First(self.s.rest as u8))?;
        }
        for x in [b.x, b.row, b.pixel, b.pixels, b.w, b.at, b.left] {
            self.f.vm.free_x(x);
        }
        Ok(())
    }

    /// One vector of channels.
    fn channels(&mut self, b: &Bases, lanes: Lanes) -> Result<()> {
        let s = self.s;
        let (rows, cols) = (s.at.rows as usize, s.at.cols as usize);
        self.acc = self.f.vm.vs(rows * cols);
        let start = Mem::at(b.w, (s.vectors() - 1) as i32 * self.f.vector());
        for (i, d) in self.acc.clone().into_iter().enumerate() {
            match (s.whole(), i) {
                (false, _) => self.f.vm.op(Op::Zero { d }),
                (true, 0) => self.f.vm.load(d, start, Lanes::All),
                (true, _) => self.f.vm.op(Op::Move { d, a: self.acc[0] }),
            }
        }
        let kw = s.at.kernel[1] as usize;
        let x = self.f.vm.v();
        let room = self.f.vm.isa.vregs.saturating_sub(rows * cols + 1) / kw;
        let lines = lines(&s.at, room);
        // Rows of weights that are in registers.
        let mut held: Vec<(i64, Vec<V>)> = vec![];
        for (i, line) in lines.iter().enumerate() {
            for &(_, ky) in &line.meets {
                if held.iter().any(|(k, _)| *k == ky) {
                    continue;
                }
                let w = self.f.vm.vs(kw);
                for (kx, d) in w.iter().enumerate() {
                    let disp = (ky as usize * kw + kx) as i32 * self.f.vector();
                    self.f.vm.load(*d, Mem::at(b.w, disp), Lanes::All);
                }
                held.push((ky, w));
            }
            self.line(b, line, &held, x, lanes);
            let needed = |ky: i64| lines[i + 1..].iter().any(|l| l.needs(ky));
            let (kept, done) = held.into_iter().partition(|(ky, _)| needed(*ky));
            held = kept;
            for (_, w) in done {
                self.f.vm.free_all(&w);
            }
        }
        self.f.vm.free(x);
        let sums = Sums {
            acc: std::mem::take(&mut self.acc),
            vectors: 1,
            mixed: false,
            floats: s.whole(),
            at: b.at,
            lanes,
        };
        self.f.finish(sums)
    }

    /// An input row under the rows of weights that it meets.
    fn line(&mut self, b: &Bases, line: &Line, held: &[(i64, Vec<V>)], x: V, lanes: Lanes) {
        let s = self.s;
        let p = self.f.multiple(b.x, b.row, line.y - s.at.cut_rows[0]);
        // `p` moves on three pixels at a time.
        let mut moved = 0;
        for ix in 0..s.at.span(1) {
            if !s.at.exists(1, ix) {
                continue;
            }
            let uses = s.at.meets(ix);
            if uses.is_empty() {
                continue;
            }
            let pixel = ix - s.at.cut_cols[0];
            while pixel - moved >= 3 {
                self.f.vm.add_x(p, b.pixels, 0);
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
            self.f.vm.op(Op::Load {
                d: x,
                at,
                elem,
                lanes,
            });
            if s.whole() {
                if s.zero != 0 {
                    let zero = Src::Const(s.zero as i32 as u32);
                    self.f.vm.bin(Bin::SubI, x, x, zero);
                }
                self.f.vm.op(Op::Un {
                    op: Un::FromInt,
                    d: x,
                    a: x,
                });
            }
            let weights = |ky: i64| held.iter().find(|(k, _)| *k == ky).map(|(_, w)| w);
            for (col, kx) in uses {
                for &(r, ky) in &line.meets {
                    let Some(w) = weights(ky) else { continue };
                    let d = self.acc[r * s.at.cols as usize + col];
                    self.f.vm.fma(d, x, w[kx as usize]);
                }
            }
        }
        self.f.vm.free_x(p);
    }
}
