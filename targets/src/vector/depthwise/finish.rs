//! What becomes of a tile's sums: tails and stores.

use super::*;
use crate::vector::tail::{self, Far, Kept, Operand};
use onnxc_compiler::base::diag::Result;

/// The sums of a tile for a vector of channels or several.
pub(super) struct Sums {
    /// Pixel by pixel, for each its vectors of channels.
    pub acc: Vec<V>,
    /// Vectors of a pixel.
    pub vectors: usize,
    /// Whether these are as [`Op::InOrder`] takes them.
    pub mixed: bool,
    /// Whether they are floats that hold whole numbers.
    pub floats: bool,
    /// Channels from the call's first to these.
    pub at: X,
    /// Lanes that are stored of each vector.
    pub lanes: Lanes,
}

/// Pointers of a row of pixels, each with the distance of pixels in bytes.
struct Line {
    out: (X, Option<X>),
    operands: Vec<(X, Option<X>)>,
}

/// What tails and stores of a row of pixels share.
struct End<'a> {
    tail: &'a Tail,
    /// How results are stored.
    elem: Elem,
    /// Vector registers that a tail needs beside its result.
    need: usize,
    /// Registers beside them: for stores, and lanes that are brought into order.
    more: usize,
    /// Whether floats become whole numbers first.
    to_whole: bool,
    /// Whether two vectors of bytes are stored at once.
    pairs: bool,
    /// Whether tails of several vectors take turns.
    woven: bool,
    /// Which operands have no address register.
    far: &'a [bool],
    line: &'a Line,
}

impl Frame<'_> {
    /// Tails and stores.
    pub(super) fn finish(&mut self, sums: Sums) -> Result<()> {
        let (tail, elem) = tail::without_limits(self.tail, self.out_type);
        let floats = tail::over_floats(&tail).filter(|_| sums.floats);
        let to_whole = sums.floats && floats.is_none();
        let tail = floats.unwrap_or(tail);
        let n = sums.vectors;
        // Beside a tail's own: one for what is stored, another that waits for its pair, and two that bring lanes into order.
        let more = if n > 1 { 2 } else { 1 };
        let need = tail::registers(&tail, self.vm.isa)?;
        let more = more.max(if sums.mixed {
            2usize.saturating_sub(need)
        } else {
            0
        });
        let kept = tail::keep(&mut self.vm, &tail, need, more, &sums.acc);
        let kinds: Vec<Node> = tail.operands().collect();
        // Two for the output, three for where something far is and by how much it moves.
        let far = tail::far_ones(&self.vm, &kinds, 5);
        let [rows, cols] = [self.at.rows, self.at.cols];
        let pairs =
            n > 1 && elem.is_limited() && sums.lanes == Lanes::All && self.vm.isa.stores_pairs();
        // What is far has no index.
        let woven = tail::weaves(&tail, &self.vm.isa) && !far.contains(&true);
        for r in 0..self.at.rows as usize {
            let line = self.pointers(&kinds, &far, r, sums.at);
            // A second pixel is reached by the distance of pixels as an index.
            let together = if woven { 2 } else { 1 };
            let mut c = 0;
            while c < self.at.cols as usize {
                let pixels = together.min(self.at.cols as usize - c);
                let first = (r * self.at.cols as usize + c) * n;
                let mut results = kept[first..first + pixels * n].to_vec();
                if sums.mixed {
                    for pixel in results.chunks_exact_mut(n) {
                        let of: Vec<V> = pixel.iter().map(|s| s.fetch(&mut self.vm)).collect();
                        self.in_order(&of);
                        pixel
                            .iter_mut()
                            .zip(of)
                            .for_each(|(s, v)| *s = Kept::Reg(v));
                    }
                }
                let end = End {
                    tail: &tail,
                    elem,
                    need,
                    more,
                    to_whole,
                    pairs,
                    woven,
                    far: &far,
                    line: &line,
                };
                self.pixels(&end, &sums, &results)?;
                c += pixels;
                if c < self.at.cols as usize {
                    for (p, step) in std::iter::once(&line.out).chain(&line.operands) {
                        if let Some(step) = step {
                            self.vm.add_x(*p, *step, pixels.trailing_zeros() as u8);
                        }
                    }
                    self.far_tiles_move(&kinds, &far, 0, pixels as i64);
                }
            }
            // To the next row, or back to the first.
            match r as i64 + 1 < rows {
                true => self.far_tiles_move(&kinds, &far, 1, 1 - cols),
                false => self.far_tiles_move(&kinds, &far, 1 - rows, 1 - cols),
            }
            let own = line
                .operands
                .into_iter()
                .zip(&far)
                .filter(|(_, far)| !**far);
            for (p, step) in std::iter::once(line.out).chain(own.map(|o| o.0)) {
                self.vm.free_x(p);
                step.into_iter().for_each(|x| self.vm.free_x(x));
            }
        }
        self.vm.let_go();
        Ok(())
    }

    /// Tails and stores of a pixel, or of two that are woven.
    fn pixels(&mut self, end: &End, sums: &Sums, results: &[Kept]) -> Result<()> {
        let n = sums.vectors;
        let lanes = self.vm.isa.lanes;
        let operands = self.args.operands;
        // In a row of pixels: the place of a vector behind the pointer of a row.
        let place = |(base, step): (X, Option<X>), pixel: usize, disp: i32| Mem {
            base,
            index: step.filter(|_| pixel > 0).map(|step| (step, 0)),
            disp,
        };
        let mut waiting: Option<V> = None;
        let mut at = 0;
        while at < results.len() {
            tail::hold(&mut self.vm, end.tail, end.need, end.more);
            let abreast = match end.woven {
                true => tail::abreast(&self.vm, end.need, &results[at..]),
                false => 1,
            };
            let mut answers = vec![];
            for (spot, sum) in (at..).zip(&results[at..]).take(abreast) {
                let (pixel, disp) = (spot / n, (spot % n * lanes) as i32);
                if abreast > 1 {
                    self.vm.strand();
                }
                let result = sum.fetch(&mut self.vm);
                if end.to_whole {
                    self.vm.op(Op::WholeInt {
                        d: result,
                        a: result,
                    });
                }
                let mut fetch = |vm: &mut Vm, k: usize, kind: Node| -> Operand {
                    let bytes = match kind {
                        Node::Single(_) => 0,
                        kind => disp * of(&kind).size() as i32,
                    };
                    match end.far[k] {
                        false => {
                            let at = place(end.line.operands[k], pixel, bytes);
                            tail::operand(vm, kind, at, sums.lanes)
                        }
                        true => {
                            let along = !matches!(kind, Node::Single(_));
                            let at = (sums.at, shift_of(of(&kind)));
                            let far = Far {
                                arg: operands + k as u8,
                                at: along.then_some(at),
                                disp: bytes,
                            };
                            tail::far_operand(vm, kind, far, sums.lanes)
                        }
                    }
                };
                answers.push(tail::apply(&mut self.vm, end.tail, result, &mut fetch)?);
            }
            self.vm.weave();
            for (spot, answer) in (at..).zip(answers) {
                let (pixel, v) = (spot / n, spot % n);
                let size = self.out_type.size() as i32;
                let at = place(end.line.out, pixel, (v * lanes) as i32 * size);
                match waiting.take() {
                    None if end.pairs && v + 1 < n => waiting = Some(answer),
                    Some(a) => {
                        self.vm.op(Op::StorePair {
                            a,
                            b: answer,
                            at: at.plus(-(lanes as i32) * size),
                            signed: end.elem == Elem::I8Limited,
                            mixed: false,
                        });
                        self.vm.free_all(&[a, answer]);
                    }
                    None => {
                        let tmp = self.vm.v();
                        self.vm.op(Op::Store {
                            s: answer,
                            at,
                            elem: end.elem,
                            lanes: sums.lanes,
                            tmp,
                        });
                        self.vm.free_all(&[tmp, answer]);
                    }
                }
            }
            at += abreast;
        }
        Ok(())
    }

    /// Operands with rows of their own that have no address register go so many lines and pixels further.
    fn far_tiles_move(&mut self, kinds: &[Node], far: &[bool], lines: i64, pixels: i64) {
        if lines == 0 && pixels == 0 {
            return;
        }
        for (k, kind) in kinds.iter().enumerate() {
            let Node::Tile(d) = *kind else { continue };
            if !far[k] {
                continue;
            }
            let n = self.args.operands + k as u8;
            let p = self.vm.arg(n);
            let pixel = self.vm.arg(self.args.strides + k as u8);
            self.shift(pixel, d);
            self.add_times(p, pixel, pixels);
            if lines != 0 {
                let line = self.int(Int::Line);
                self.vm.op(Op::MulX {
                    d: line,
                    a: line,
                    b: pixel,
                });
                self.add_times(p, line, lines);
                self.vm.free_x(line);
            }
            self.vm.op(Op::SetArg { n, s: p });
            self.vm.free_x(p);
            self.vm.free_x(pixel);
        }
    }

    /// `p += n * by`, for small `n` of either sign.
    fn add_times(&mut self, p: X, by: X, n: i64) {
        for _ in 0..n.abs() {
            match n > 0 {
                true => self.vm.add_x(p, by, 0),
                false => self.vm.op(Op::SubX { d: p, a: p, b: by }),
            }
        }
    }

    fn in_order(&mut self, results: &[V]) {
        let tmp = [self.vm.v(), self.vm.v()];
        let mut v = [results[0]; 4];
        v[..results.len()].copy_from_slice(results);
        let n = results.len() as u8;
        self.vm.op(Op::InOrder { v, n, tmp });
        self.vm.free_all(&tmp);
    }

    /// Pointers to the pixels of row `r` of a tile: of the output and of each operand that is not far.
    fn pointers(&mut self, kinds: &[Node], far: &[bool], r: usize, at: X) -> Line {
        let out = self.line(OUT_PTR, None, self.out_type, r, at);
        let mut operands = vec![];
        for (k, kind) in kinds.iter().enumerate() {
            let n = self.args.operands + k as u8;
            operands.push(match kind {
                _ if far[k] => (at, None),
                Node::Tile(d) => self.line(n, Some(self.args.strides + k as u8), *d, r, at),
                Node::Column(d) => {
                    let p = self.vm.arg(n);
                    self.vm.add_x(p, at, shift_of(*d));
                    (p, None)
                }
                _ => (self.vm.arg(n), None),
            });
        }
        Line { out, operands }
    }

    /// The first pixel of output row `r` in a tensor that lies as the output does, and the distance of pixels in bytes.
    fn line(
        &mut self,
        pointer: u8,
        stride: Option<u8>,
        d: DType,
        r: usize,
        at: X,
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
        self.vm.add_x(p, at, shift_of(d));
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
