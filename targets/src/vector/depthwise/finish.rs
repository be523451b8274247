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
    /// The same where several have what lies along channels in registers.
    need_shared: usize,
    /// Registers beside them: for stores, and lanes that are brought into order.
    more: usize,
    /// Whether floats become whole numbers first.
    to_whole: bool,
    /// Whether two vectors of bytes are stored at once.
    pairs: bool,
    /// Whether up to four are, each at a place of its own.
    each: bool,
    /// Whether tails of several vectors take turns.
    woven: bool,
    /// The operands, each with its number among those of the whole tail.
    operands: &'a [(u8, Node)],
    /// Which of them have no address register.
    far: &'a [bool],
    line: &'a Line,
}

/// The place so many bytes behind pixel 0, 1 or 2 of a row; `base`: the first of them, and their distance.
fn place((base, step): (X, Option<X>), pixel: usize, disp: i32) -> Mem {
    let shift = pixel.saturating_sub(1) as u8;
    let index = step.filter(|_| pixel > 0).map(|step| (step, shift));
    Mem { base, index, disp }
}

/// Vectors of bytes that are stored together.
const TOGETHER: usize = 4;
/// Constants of a tail that need not wait in registers.
const FEW_CONSTANTS: usize = 2;

/// How many sums wait in the frame.
fn slots(sums: &[Kept]) -> usize {
    sums.iter().filter(|s| matches!(s, Kept::Slot(_))).count()
}

impl Frame<'_> {
    /// Tails and stores.
    pub(super) fn finish(&mut self, mut sums: Sums) -> Result<()> {
        let (tail, elem) = tail::without_limits(self.tail, self.out_type);
        let floats = tail::over_floats(&tail).filter(|_| sums.floats);
        let to_whole = sums.floats && floats.is_none();
        let tail = floats.unwrap_or(tail);
        let (tail, numbers) = self.first_half(tail, &mut sums)?;
        let n = sums.vectors;
        let whole = elem.is_limited() && sums.lanes == Lanes::All;
        let each = whole && self.vm.isa.stores_each();
        let pairs = n > 1 && whole && !each && self.vm.isa.stores_pairs();
        // Beside a tail's own: one for what is stored, another that waits for its pair, and two that bring lanes into order.
        let more = if n > 1 && !each { 2 } else { 1 };
        let need = tail::registers(&tail, self.vm.isa)?;
        let need_shared = tail::registers_shared(&tail, self.vm.isa)?;
        let more = more.max(if sums.mixed {
            2usize.saturating_sub(need)
        } else {
            0
        });
        let kept = tail::keep(&mut self.vm, &tail, need, more, &sums.acc);
        let kinds: Vec<Node> = tail.operands().collect();
        let operands: Vec<(u8, Node)> = numbers.into_iter().zip(kinds.iter().copied()).collect();
        // Two for the output, three for where something far is and by how much it moves.
        let far = tail::far_ones(&self.vm, &kinds, 5);
        let [rows, cols] = [self.at.rows, self.at.cols];
        // What is far has no index.
        let woven = tail::weaves(&tail, &self.vm.isa) && !far.contains(&true);
        for r in 0..self.at.rows as usize {
            let line = self.pointers(&operands, &far, r, sums.at);
            let end = End {
                tail: &tail,
                elem,
                need,
                need_shared,
                more,
                to_whole,
                pairs,
                each,
                woven,
                operands: &operands,
                far: &far,
                line: &line,
            };
            let mut c = 0;
            while c < self.at.cols as usize {
                let row =
                    &kept[(r * self.at.cols as usize + c) * n..][..(self.at.cols as usize - c) * n];
                let pixels = self.together(&end, row, n);
                let mut results = row[..pixels * n].to_vec();
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
                match woven {
                    true => self.woven(&end, &sums, &results)?,
                    false => self.pixels(&end, &sums, &results)?,
                }
                c += pixels;
                if c < self.at.cols as usize {
                    for (p, step) in std::iter::once(&line.out).chain(&line.operands) {
                        if let Some(step) = step {
                            self.add_times(*p, *step, pixels as i64);
                        }
                    }
                    self.far_tiles_move(&operands, &far, 0, pixels as i64);
                }
            }
            // To the next row, or back to the first.
            match r as i64 + 1 < rows {
                true => self.far_tiles_move(&operands, &far, 1, 1 - cols),
                false => self.far_tiles_move(&operands, &far, 1 - rows, 1 - cols),
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

    /// The first half of a long tail, for all sums. What is left to do, and the numbers of its operands.
    fn first_half(&mut self, tail: Tail, sums: &mut Sums) -> Result<(Tail, Vec<u8>)> {
        let all = (0..tail.operands().count() as u8).collect();
        let plain = !sums.mixed && !sums.floats && self.vm.spare_x() > 1;
        let Some(halves) = tail::halves(&tail, &self.vm.isa).filter(|_| plain) else {
            return Ok((tail, all));
        };
        let (first, [own, rest]) = (halves.first, halves.operands);
        let need = tail::registers(&first, self.vm.isa)?;
        let need_shared = tail::registers_shared(&first, self.vm.isa)?;
        if need > self.vm.spare() {
            return Ok((tail, all));
        }
        let (n, lanes) = (sums.vectors, self.vm.isa.lanes);
        for v in 0..n {
            let far = |k: usize, kind: &Node| Far {
                arg: self.args.operands + own[k] as u8,
                at: (!matches!(kind, Node::Single(_))).then_some((sums.at, shift_of(of(kind)))),
                disp: match kind {
                    Node::Single(_) => 0,
                    kind => (v * lanes) as i32 * of(kind).size() as i32,
                },
            };
            let places: Vec<Far> = first
                .operands()
                .enumerate()
                .map(|(k, o)| far(k, &o))
                .collect();
            let share = sums.acc.len() > n && need_shared <= self.vm.spare();
            tail::hold(
                &mut self.vm,
                &first,
                if share { need_shared } else { need },
                0,
            );
            let mut shared: Vec<Option<V>> = vec![None; own.len()];
            for (k, kind) in first.operands().enumerate() {
                if share && tail::shareable(&kind) {
                    let (at, d) = (places[k].near(&mut self.vm), self.vm.v());
                    self.vm.load(d, at, sums.lanes);
                    shared[k] = Some(d);
                }
            }
            for sum in sums.acc.iter_mut().skip(v).step_by(n) {
                let mut fetch = |vm: &mut Vm, k: usize, kind: Node| match shared[k] {
                    Some(v) => Operand::Shared(v),
                    None => tail::far_operand(vm, kind, places[k], sums.lanes),
                };
                *sum = tail::apply(&mut self.vm, &first, *sum, &mut fetch)?;
            }
            self.vm
                .free_all(&shared.into_iter().flatten().collect::<Vec<V>>());
        }
        self.vm.let_go();
        let rest = rest.into_iter().map(|k| k as u8).collect();
        Ok((halves.rest, rest))
    }

    /// How many pixels at the head of a row have their tails done together.
    fn together(&self, end: &End, row: &[Kept], n: usize) -> usize {
        let left = row.len() / n;
        if end.woven {
            // The second is reached by the distance of pixels as an index.
            return left.min(2);
        }
        let tile = |o: &(u8, Node)| matches!(o.1, Node::Tile(_));
        // Registers of sums that are done hold constants: tails with many want them soon.
        let soon = tail::constants_of(end.tail) > FEW_CONSTANTS;
        let most = match end.operands.iter().any(tile) {
            // What is far moves from pixel to pixel.
            true if end.far.contains(&true) => 1,
            // The third is reached by twice that distance.
            true => 3,
            false if soon => (TOGETHER / n).max(1),
            false => left,
        };
        let spare = self.vm.spare().saturating_sub(end.need + end.more);
        let fits = (1..=left.min(most)).take_while(|&p| p == 1 || slots(&row[..p * n]) <= spare);
        fits.last().unwrap_or(1)
    }

    /// Tails and stores of pixels of a row, one vector of channels after the other: what lies along channels is loaded once.
    fn pixels(&mut self, end: &End, sums: &Sums, results: &[Kept]) -> Result<()> {
        let n = sums.vectors;
        let more = end.more + slots(results);
        let alone = results.len() == n || self.vm.spare() < end.need_shared + more;
        let need = if alone { end.need } else { end.need_shared };
        tail::hold(&mut self.vm, end.tail, need, more);
        let mut answers = vec![V(0); results.len()];
        for v in 0..n {
            let mut shared: Vec<Option<V>> = vec![None; end.operands.len()];
            for (k, (_, kind)) in end.operands.iter().enumerate() {
                if !alone && tail::shareable(kind) {
                    shared[k] = Some(self.along(end, sums, k, v));
                }
            }
            for (at, sum) in results.iter().enumerate().skip(v).step_by(n) {
                answers[at] = self.answer(end, sums, (at, *sum), &shared)?;
            }
            self.vm
                .free_all(&shared.into_iter().flatten().collect::<Vec<V>>());
        }
        self.store(end, sums, &answers);
        Ok(())
    }

    /// Operand `k`, which lies along channels, in a register: what vector `v` of them has.
    fn along(&mut self, end: &End, sums: &Sums, k: usize, v: usize) -> V {
        let disp = (v * self.vm.isa.lanes) as i32 * 4;
        let at = match end.far[k] {
            false => Mem::at(end.line.operands[k].0, disp),
            true => {
                let far = Far {
                    arg: self.args.operands + end.operands[k].0,
                    at: Some((sums.at, 2)),
                    disp,
                };
                far.near(&mut self.vm)
            }
        };
        let d = self.vm.v();
        self.vm.load(d, at, sums.lanes);
        d
    }

    /// What the tail makes of a sum, which is that number of those of some pixels of a row. `shared`: operands in registers.
    fn answer(
        &mut self,
        end: &End,
        sums: &Sums,
        (spot, sum): (usize, Kept),
        shared: &[Option<V>],
    ) -> Result<V> {
        let (n, lanes) = (sums.vectors, self.vm.isa.lanes);
        let (pixel, disp) = (spot / n, (spot % n * lanes) as i32);
        let operands = self.args.operands;
        let result = sum.fetch(&mut self.vm);
        if end.to_whole {
            self.vm.op(Op::WholeInt {
                d: result,
                a: result,
            });
        }
        let mut fetch = |vm: &mut Vm, k: usize, kind: Node| -> Operand {
            if let Some(v) = shared.get(k).copied().flatten() {
                return Operand::Shared(v);
            }
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
                        arg: operands + end.operands[k].0,
                        at: along.then_some(at),
                        disp: bytes,
                    };
                    tail::far_operand(vm, kind, far, sums.lanes)
                }
            }
        };
        tail::apply(&mut self.vm, end.tail, result, &mut fetch)
    }

    /// Tails and stores of a pixel or of two, operations of several tails in turns.
    fn woven(&mut self, end: &End, sums: &Sums, results: &[Kept]) -> Result<()> {
        let (n, lanes) = (sums.vectors, self.vm.isa.lanes);
        let size = self.out_type.size() as i32;
        let mut waiting: Option<V> = None;
        let mut at = 0;
        while at < results.len() {
            tail::hold(&mut self.vm, end.tail, end.need, end.more);
            let abreast = tail::abreast(&self.vm, end.need, &results[at..]);
            let mut answers = vec![];
            for (spot, sum) in (at..).zip(&results[at..]).take(abreast) {
                if abreast > 1 {
                    self.vm.strand();
                }
                answers.push(self.answer(end, sums, (spot, *sum), &[])?);
            }
            self.vm.weave();
            for (spot, answer) in (at..).zip(answers) {
                let (pixel, v) = (spot / n, spot % n);
                let at = place(end.line.out, pixel, (v * lanes) as i32 * size);
                match waiting.take() {
                    None if end.pairs && v + 1 < n => waiting = Some(answer),
                    Some(a) => self.store_two(end, [a, answer], at.plus(-(lanes as i32) * size)),
                    None => self.store_one(end, sums, answer, at),
                }
            }
            at += abreast;
        }
        Ok(())
    }

    /// Stores what tails made of the sums of some pixels of a row.
    fn store(&mut self, end: &End, sums: &Sums, answers: &[V]) {
        let (n, lanes) = (sums.vectors, self.vm.isa.lanes);
        let size = self.out_type.size() as i32;
        let (base, step) = end.line.out;
        // Where pixel `from` is, if that is not the first.
        let (mut from, mut own): (usize, Option<X>) = (0, None);
        let group = match (end.each, end.pairs) {
            (true, _) => TOGETHER,
            (_, true) => 2,
            _ => 1,
        };
        for (g, some) in answers.chunks(group).enumerate() {
            let (first, last) = (g * group / n, (g * group + some.len() - 1) / n);
            if let Some(step) = step.filter(|_| last - from > 2 && first > from) {
                let x = self.multiple(own.unwrap_or(base), step, (first - from) as i64);
                own.replace(x).into_iter().for_each(|x| self.vm.free_x(x));
                from = first;
            }
            let near = own.unwrap_or(base);
            // A fourth pixel is as far from the second as the third is from the first.
            let fourth = (step.filter(|_| last - from > 2)).map(|s| self.multiple(near, s, 1));
            let at = |i: usize| {
                let (pixel, v) = ((g * group + i) / n, (g * group + i) % n);
                let (x, pixel) = match (pixel - from, fourth) {
                    (3, Some(x)) => (x, 2),
                    (pixel, _) => (near, pixel),
                };
                place((x, step), pixel, (v * lanes) as i32 * size)
            };
            match *some {
                [one] => self.store_one(end, sums, one, at(0)),
                [a, b] if !end.each => self.store_two(end, [a, b], at(0)),
                _ => {
                    let all = |i: usize| i.min(some.len() - 1);
                    self.vm.op(Op::StoreEach {
                        v: std::array::from_fn(|i| some[all(i)]),
                        n: some.len() as u8,
                        at: std::array::from_fn(|i| at(all(i))),
                        signed: end.elem == Elem::I8Limited,
                    });
                    self.vm.free_all(some);
                }
            }
            fourth.into_iter().for_each(|x| self.vm.free_x(x));
        }
        own.into_iter().for_each(|x| self.vm.free_x(x));
    }

    /// Stores two neighbouring vectors of bytes.
    fn store_two(&mut self, end: &End, [a, b]: [V; 2], at: Mem) {
        self.vm.op(Op::StorePair {
            a,
            b,
            at,
            signed: end.elem == Elem::I8Limited,
            mixed: false,
        });
        self.vm.free_all(&[a, b]);
    }

    /// Stores a vector.
    fn store_one(&mut self, end: &End, sums: &Sums, s: V, at: Mem) {
        let tmp = self.vm.v();
        self.vm.op(Op::Store {
            s,
            at,
            elem: end.elem,
            lanes: sums.lanes,
            tmp,
        });
        self.vm.free_all(&[tmp, s]);
    }

    /// Operands with rows of their own that have no address register go so many lines and pixels further.
    fn far_tiles_move(&mut self, operands: &[(u8, Node)], far: &[bool], lines: i64, pixels: i64) {
        if lines == 0 && pixels == 0 {
            return;
        }
        for (k, &(number, kind)) in operands.iter().enumerate() {
            let Node::Tile(d) = kind else { continue };
            if !far[k] {
                continue;
            }
            let n = self.args.operands + number;
            let p = self.vm.arg(n);
            let pixel = self.vm.arg(self.args.strides + number);
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
        if n > 0 {
            let bits = (0..3u8).filter(|bit| n >> bit & 1 == 1);
            bits.for_each(|bit| self.vm.add_x(p, by, bit));
            (0..n >> 3).for_each(|_| self.vm.add_x(p, by, 3));
        }
        for _ in n..0 {
            self.vm.op(Op::SubX { d: p, a: p, b: by });
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
    fn pointers(&mut self, kinds: &[(u8, Node)], far: &[bool], r: usize, at: X) -> Line {
        let out = self.line(OUT_PTR, None, self.out_type, r, at);
        let mut operands = vec![];
        for (k, &(number, kind)) in kinds.iter().enumerate() {
            let n = self.args.operands + number;
            operands.push(match kind {
                _ if far[k] => (at, None),
                Node::Tile(d) => self.line(n, Some(self.args.strides + number), d, r, at),
                Node::Column(d) => {
                    let p = self.vm.arg(n);
                    self.vm.add_x(p, at, shift_of(d));
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
