//! The end of a strip: tails in registers, and stores.

use super::Template;
use crate::vector::build::Vm;
use crate::vector::ir::*;
use crate::vector::tail::{self, Far, Kept, Operand};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::contracts::strip::Numbers;
use onnxc_compiler::loops::tail::{Node, Tail};

/// What the tails and stores of a tile share.
struct End {
    tail: Tail,
    /// How results are stored.
    elem: Elem,
    /// Vector registers that a tail needs beside its result.
    need: usize,
    /// The same where what lies along columns is in registers for several.
    need_shared: usize,
    /// Registers beside them, for stores.
    more: usize,
    /// Whether two vectors of bytes are stored at once.
    pairs: bool,
    /// Whether a row's last vector, which has no other beside it, is stored with that of the next row.
    apart: bool,
    /// The node from which lanes of pairs lie mixed.
    mixes: Option<u8>,
    c: X,
    c_row: X,
    operands: Vec<Source>,
}

/// Where an operand of the tail comes from.
struct Source {
    kind: Node,
    /// The first element of the row, and the distance of rows in bytes; far operands have neither.
    place: Option<(X, Option<X>)>,
    /// Number of the argument that points to it.
    arg: u8,
    /// Number of the argument that has the distance of rows.
    row_arg: u8,
}

impl Source {
    fn size(&self) -> i32 {
        self.kind.element().map_or(4, |d| d.size() as i32)
    }
    fn has_rows(&self) -> bool {
        matches!(self.kind, Node::Tile(_))
    }
    /// The vector of columns from `first` in the row `below` the one that pointers are at, 0 or 1.
    fn fetch(&self, vm: &mut Vm, first: i32, below: usize, lanes: Lanes) -> Operand {
        let disp = match self.kind {
            Node::Single(_) => 0,
            _ => first * self.size(),
        };
        match self.place {
            Some((base, row)) => {
                let index = row.filter(|_| below > 0).map(|row| (row, 0));
                tail::operand(vm, self.kind, Mem { base, index, disp }, lanes)
            }
            None => {
                let (arg, at) = (self.arg, None);
                tail::far_operand(vm, self.kind, Far { arg, at, disp }, lanes)
            }
        }
    }
}

impl Template<'_> {
    /// Tails and stores.
    pub(super) fn finish(&mut self) -> Result<()> {
        let (tail, elem) = tail::without_limits(&self.tail, self.s.c_type);
        // Rows of whole numbers name the extension that packs 512 bits.
        let level = match (self.vm.isa.level, self.s.numbers) {
            (Level::Avx2 | Level::Neon, _) => true,
            (Level::Avx512, numbers) => numbers != Numbers::Floats,
            _ => false,
        };
        let pairs = level && elem.is_limited();
        let mixes = tail::mixes(&tail, self.vm.isa).filter(|_| pairs);
        let mut acc = std::mem::take(&mut self.acc);
        let odd = self.cols % 2 == 1 && self.m() > 1 && self.lanes(self.cols - 1) == Lanes::All;
        let apart = pairs && odd && self.vm.isa.stores_apart();
        let mut end = self.end(tail, elem, pairs, mixes);
        // One register more for stores of some lanes, or for the other of a pair; one for what waits for the next row.
        end.more = 1 + usize::from(pairs) + usize::from(apart);
        // Products of floats leave the part of a core idle that their tails are done by.
        if mixes.is_none() && self.s.numbers != Numbers::Floats {
            self.first_half(&mut end, &mut acc)?;
        }
        end.need = tail::registers(&end.tail, self.vm.isa)?;
        end.need_shared = tail::registers_shared(&end.tail, self.vm.isa)?;
        let results = tail::keep(&mut self.vm, &end.tail, end.need, end.more, &acc);
        let woven = tail::weaves(&end.tail, &self.vm.isa);
        // A second row is reached by the distance of rows as an index.
        let near = end.operands.iter().all(|o| o.place.is_some());
        end.apart = apart && near;
        let each = near && pairs && mixes.is_none() && self.vm.isa.stores_each();
        let together = match near && (woven && self.cols < tail::ABREAST || apart) {
            true => 2,
            false => 1,
        };
        let mut at = 0;
        while at < self.m() {
            let left = &results[at * self.cols..];
            let two = left.len() / self.cols >= 2;
            let rows = match each && two && self.down(&end, &left[..2 * self.cols])? {
                true => 2,
                false => {
                    let rows = together.min(self.m() - at);
                    self.rows(&end, rows, near && woven, &mut left.iter().copied())?;
                    rows
                }
            };
            self.next_rows(&end, rows);
            at += rows;
        }
        self.vm.let_go();
        self.leave(end);
        Ok(())
    }

    /// The first half of a long tail, for all sums: what is left to do is in `end` afterwards.
    fn first_half(&mut self, end: &mut End, acc: &mut [V]) -> Result<()> {
        let Some(halves) = tail::halves(&end.tail, &self.vm.isa) else {
            return Ok(());
        };
        let (first, [own, rest]) = (halves.first, halves.operands);
        let need = tail::registers(&first, self.vm.isa)?;
        let need_shared = tail::registers_shared(&first, self.vm.isa)?;
        if need > self.vm.spare() {
            return Ok(());
        }
        let sources = std::mem::take(&mut end.operands);
        for j in 0..self.cols {
            let (lanes, at) = (self.lanes(j), (j * self.vm.isa.lanes) as i32);
            let share = self.m() > 1 && need_shared <= self.vm.spare();
            tail::hold(
                &mut self.vm,
                &first,
                if share { need_shared } else { need },
                0,
            );
            let shared: Vec<Option<V>> = match share {
                true => own
                    .iter()
                    .map(|&k| self.shared(&sources[k], at, lanes))
                    .collect(),
                false => vec![None; own.len()],
            };
            for i in 0..self.m() {
                let mut fetch = |vm: &mut Vm, k: usize, _: Node| match shared[k] {
                    Some(v) => Operand::Shared(v),
                    None => sources[own[k]].fetch(vm, at, 0, lanes),
                };
                let sum = &mut acc[i * self.cols + j];
                *sum = tail::apply(&mut self.vm, &first, *sum, &mut fetch)?;
            }
            let shared: Vec<V> = shared.into_iter().flatten().collect();
            self.vm.free_all(&shared);
        }
        self.vm.let_go();
        for (k, source) in sources.into_iter().enumerate() {
            match (rest.contains(&k), source.place) {
                (true, _) => end.operands.push(source),
                (false, Some((x, _))) => self.vm.free_x(x),
                (false, None) => {}
            }
        }
        end.tail = halves.rest;
        Ok(())
    }

    fn end(&mut self, tail: Tail, elem: Elem, pairs: bool, mixes: Option<u8>) -> End {
        let kinds: Vec<Node> = tail.operands().collect();
        let c = self.vm.arg(self.args.c);
        let c_row = self.distance(self.args.c_row, elem.bytes());
        // One for what is far, another for the distance by which it moves.
        let far = tail::far_ones(&self.vm, &kinds, 2);
        let mut operands = vec![];
        // Those of the whole tail, without what sums begin with.
        let numbers = (0..).filter(|k| self.begin != Some(*k));
        let numbers: Vec<usize> = numbers.take(kinds.len()).collect();
        for ((kind, far), k) in kinds.into_iter().zip(far).zip(numbers) {
            let mut source = Source {
                kind,
                place: None,
                arg: self.args.operands + k as u8,
                row_arg: self.args.operand_rows + k as u8,
            };
            if !far {
                let first = self.vm.arg(source.arg);
                let row = source
                    .has_rows()
                    .then(|| self.distance(source.row_arg, source.size()));
                source.place = Some((first, row));
            }
            operands.push(source);
        }
        End {
            tail,
            elem,
            need: 0,
            need_shared: 0,
            more: 0,
            pairs,
            apart: false,
            mixes,
            c,
            c_row,
            operands,
        }
    }

    /// An argument that counts elements of so many bytes, in bytes.
    fn distance(&mut self, n: u8, bytes: i32) -> X {
        let x = self.vm.arg(n);
        let by = bytes.trailing_zeros() as u8;
        if by > 0 {
            self.vm.op(Op::ShlX { d: x, a: x, by });
        }
        x
    }

    /// Tails and stores of one row or two. `woven`: those of several vectors take turns.
    fn rows(
        &mut self,
        end: &End,
        rows: usize,
        woven: bool,
        results: &mut dyn Iterator<Item = Kept>,
    ) -> Result<()> {
        let spots: Vec<(usize, usize)> = (0..rows)
            .flat_map(|below| (0..self.cols).map(move |j| (below, j)))
            .collect();
        let results: Vec<Kept> = results.take(spots.len()).collect();
        let mut first_of_pair: Option<(V, Mem)> = None;
        // The last vector of the first row, until that of the second is there.
        let mut alone: Option<(V, Mem)> = None;
        let apart = end.apart && rows == 2;
        // Whether the vector before, in the order of spots, waits for its pair.
        let mut waits = false;
        let mut at = 0;
        while at < spots.len() {
            tail::hold(&mut self.vm, &end.tail, end.need, end.more);
            let abreast = match woven {
                true => tail::abreast(&self.vm, end.need, &results[at..]),
                false => 1,
            };
            let mut answers = vec![];
            for (&(below, j), result) in spots[at..].iter().zip(&results[at..]).take(abreast) {
                if abreast > 1 {
                    self.vm.strand();
                }
                let result = result.fetch(&mut self.vm);
                let (lanes, first) = (self.lanes(j), (j * self.vm.isa.lanes) as i32);
                // Both of a pair, or neither.
                let opens =
                    !waits && end.pairs && j + 1 < self.cols && self.lanes(j + 1) == Lanes::All;
                let pair = waits || opens;
                waits = opens;
                let last = apart && j + 1 == self.cols;
                let mixes = end.mixes.filter(|_| pair || last);
                let mut fetch =
                    |vm: &mut Vm, k: usize, _: Node| end.operands[k].fetch(vm, first, below, lanes);
                let answer =
                    tail::apply_in_order(&mut self.vm, &end.tail, result, &mut fetch, mixes)?;
                answers.push((answer, pair));
            }
            self.vm.weave();
            for (&(below, j), (answer, pair)) in spots[at..].iter().zip(answers) {
                let first = (j * self.vm.isa.lanes) as i32;
                let place = Mem {
                    base: end.c,
                    index: (below > 0).then_some((end.c_row, 0)),
                    disp: first * end.elem.bytes(),
                };
                if apart && j + 1 == self.cols {
                    match alone.take() {
                        Some((a, at)) => {
                            self.vm.op(Op::StoreApart {
                                a,
                                b: answer,
                                at,
                                second: place,
                                signed: end.elem == Elem::I8Limited,
                                mixed: end.mixes.is_some(),
                            });
                            self.vm.free_all(&[a, answer]);
                        }
                        None => alone = Some((answer, place)),
                    }
                    continue;
                }
                match first_of_pair.take() {
                    Some((a, at)) => {
                        self.vm.op(Op::StorePair {
                            a,
                            b: answer,
                            at,
                            signed: end.elem == Elem::I8Limited,
                            mixed: end.mixes.is_some(),
                        });
                        self.vm.free_all(&[a, answer]);
                    }
                    None if pair => first_of_pair = Some((answer, place)),
                    None => {
                        let tmp = self.vm.v();
                        self.vm.op(Op::Store {
                            s: answer,
                            at: place,
                            elem: end.elem,
                            lanes: self.lanes(j),
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

    /// Tails and stores of two rows, down each column of vectors, so that what lies along columns is loaded once for both; four vectors are stored together.
    /// `false`, and nothing is written: there are not enough registers.
    fn down(&mut self, end: &End, results: &[Kept]) -> Result<bool> {
        let waiting = results.iter().filter(|s| matches!(s, Kept::Slot(_)));
        let more = end.more + waiting.count();
        if self.vm.spare() < end.need + more {
            return Ok(false);
        }
        let mut j = 0;
        while j < self.cols {
            let lanes = self.lanes(j);
            let pair = j + 1 < self.cols && self.lanes(j + 1) == Lanes::All;
            let columns = j..j + 1 + usize::from(pair);
            let share = self.vm.spare() >= end.need_shared + more;
            let need = if share { end.need_shared } else { end.need };
            tail::hold(&mut self.vm, &end.tail, need, more);
            // As they are stored: row by row.
            let mut answers = vec![V(0); 2 * columns.len()];
            for (at, j) in columns.clone().enumerate() {
                let first = (j * self.vm.isa.lanes) as i32;
                let shared: Vec<Option<V>> = match share {
                    true => (end.operands.iter())
                        .map(|o| self.shared(o, first, lanes))
                        .collect(),
                    false => vec![None; end.operands.len()],
                };
                for below in 0..2 {
                    let result = results[below * self.cols + j].fetch(&mut self.vm);
                    let mut fetch = |vm: &mut Vm, k: usize, _: Node| match shared[k] {
                        Some(v) => Operand::Shared(v),
                        None => end.operands[k].fetch(vm, first, below, lanes),
                    };
                    answers[below * columns.len() + at] =
                        tail::apply(&mut self.vm, &end.tail, result, &mut fetch)?;
                }
                let shared: Vec<V> = shared.into_iter().flatten().collect();
                self.vm.free_all(&shared);
            }
            self.store_down(end, columns.start, &answers);
            j = columns.end;
        }
        Ok(true)
    }

    /// An operand that lies along columns, in a register.
    fn shared(&mut self, o: &Source, first: i32, lanes: Lanes) -> Option<V> {
        let (base, _) = o.place.filter(|_| tail::shareable(&o.kind))?;
        let d = self.vm.v();
        self.vm.load(d, Mem::at(base, first * o.size()), lanes);
        Some(d)
    }

    /// Stores vectors of two rows from column `j` on, those of the first row first.
    fn store_down(&mut self, end: &End, j: usize, answers: &[V]) {
        let (lanes, n, width) = (self.lanes(j), answers.len() / 2, self.vm.isa.lanes);
        let place = |i: usize| Mem {
            base: end.c,
            index: (i >= n).then_some((end.c_row, 0)),
            disp: ((j + i % n) * width) as i32 * end.elem.bytes(),
        };
        if lanes == Lanes::All {
            let at = |i: usize| i.min(answers.len() - 1);
            let (v, at) = (
                std::array::from_fn(|i| answers[at(i)]),
                std::array::from_fn(|i| place(at(i))),
            );
            self.vm.op(Op::StoreEach {
                v,
                n: answers.len() as u8,
                at,
                signed: end.elem == Elem::I8Limited,
            });
            self.vm.free_all(answers);
            return;
        }
        for (i, &s) in answers.iter().enumerate() {
            let (at, tmp) = (place(i), self.vm.v());
            self.vm.op(Op::Store {
                s,
                at,
                elem: end.elem,
                lanes,
                tmp,
            });
            self.vm.free_all(&[tmp, s]);
        }
    }

    /// Pointers so many rows further.
    fn next_rows(&mut self, end: &End, rows: usize) {
        let shift = rows.trailing_zeros() as u8;
        self.vm.add_x(end.c, end.c_row, shift);
        for o in &end.operands {
            match o.place {
                Some((p, Some(row))) => self.vm.add_x(p, row, shift),
                None if o.has_rows() => {
                    let p = self.vm.arg(o.arg);
                    let by = self.distance(o.row_arg, o.size());
                    self.vm.add_x(p, by, shift);
                    self.vm.op(Op::SetArg { n: o.arg, s: p });
                    self.vm.free_x(p);
                    self.vm.free_x(by);
                }
                _ => {}
            }
        }
    }

    /// Results and operands of the next tile lie where this one's end.
    fn leave(&mut self, end: End) {
        self.vm.op(Op::SetArg {
            n: self.args.c,
            s: end.c,
        });
        for o in &end.operands {
            if let Some((p, row)) = o.place {
                if let Some(row) = row {
                    self.vm.op(Op::SetArg { n: o.arg, s: p });
                    self.vm.free_x(row);
                }
                self.vm.free_x(p);
            }
        }
        self.vm.free_x(end.c);
        self.vm.free_x(end.c_row);
    }

    /// A of the next tile.
    pub(super) fn advance(&mut self) {
        let a = self.vm.arg(self.args.a);
        let by = self.vm.arg(self.args.a_row);
        let m = self.vm.x();
        self.vm.op(Op::SetX {
            d: m,
            value: self.s.m,
        });
        self.vm.op(Op::MulX { d: by, a: by, b: m });
        self.vm.add_x(a, by, self.element_shift());
        self.vm.op(Op::SetArg {
            n: self.args.a,
            s: a,
        });
        for x in [a, by, m] {
            self.vm.free_x(x);
        }
    }
}
