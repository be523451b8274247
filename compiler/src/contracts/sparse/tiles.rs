//! `sparse_in`, `sparse_strip`, `sparse_out`: products with sparse weights over channels-last data, a run of pixels at a time.
//!
//! Lanes are pixels, so that one element of the weights meets whole vectors wherever it stands. `sparse_in` turns `pixels` rows of A
//! into rows of channels, `pitch` pixels long; `sparse_strip` adds up what the weights that are not zero say, into rows of output
//! channels; `sparse_out` turns those into rows of pixels again, after a tail.
//!
//! Floats are multiplied one by one. Whole numbers go by pairs of words: rows of channels are words, an entry names two of them, sums
//! are i32 and wrap. Pixels of such sums stand as the machine's pairing of words leaves them: [`place`].
//!
//! Where a machine multiplies neighbours that lie in 32 bits, two words or four bytes ([`Near`]), a row of channels has those of as many
//! neighbouring inputs for each pixel, and one value of an entry their weights. Sums are i32 again, of pixels in order.
//!
//! `sparse_in`: pointers a, t; then a_row (elements from one pixel to the next), quads (of channels): `t[k][i] = a[i][k]`. What is
//! left of the last vector of pixels gets anything.
//!
//! `sparse_strip`: pointers t, values, stream, s; then blocks, and all their entries (for who counts what a call does). For each block the stream has two bytes with the number of entries (a multiple of
//! `chains`), two with its number among the output blocks, then for each entry a byte (two, if `wide`) for every row that it names: how many
//! times `step` elements further it lies than the one named before (at first: the beginning of t). Values: for each entry those of `block` output channels, floats or
//! pairs of words. `s[number * block + c] = sum over entries of value * t[row]`; entries e, e + chains ... are one chain of fused
//! multiply-adds, and chains are added in order.
//!
//! `sparse_out`: pointers s, c, the tail's operands; then c_row, and for each operand its row distance:
//! `c[i][j] = tail(s[j][place(i)])` for `pixels` rows of `n` columns. Sums can be read up to a whole vector of columns.

use super::numbers::{Near, Numbers, gathered, part_of, place, place_of};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, ExprId, Func, LoopKind, Ty};
use crate::loops::tail::{Node, Tail};

macro_rules! contract {
    ($name:ident, $text:literal, $doc:literal, $reference:path) => {
        #[doc = $doc]
        pub static $name: Contract = Contract {
            name: $text,
            doc: $doc,
            reference: Some($reference),
            rows: &[],
        };
    };
}

contract!(
    SPARSE_IN,
    "sparse_in",
    "Rows of float32 pixels turned into rows of channels, before products with sparse weights.",
    reference_in
);
contract!(
    SPARSE_STRIP,
    "sparse_strip",
    "Products of float32 rows of channels with sparse weights.",
    reference_strip
);
contract!(
    SPARSE_OUT,
    "sparse_out",
    "Rows of float32 sums turned into rows of pixels, with a pointwise tail.",
    reference_out
);
contract!(
    SPARSE_IN_WORDS,
    "sparse_in_words",
    "Rows of 8-bit pixels turned into rows of channels of 16 bits.",
    reference_in
);
contract!(
    SPARSE_STRIP_WORDS,
    "sparse_strip_words",
    "Products of rows of 16-bit channels with sparse weights, by pairs.",
    reference_strip
);
contract!(
    SPARSE_IN_NEAR,
    "sparse_in_near",
    "Rows of 8-bit pixels turned into rows of neighbouring channels, 32 bits for each pixel.",
    reference_in_near
);
contract!(
    SPARSE_STRIP_PAIRS,
    "sparse_strip_pairs",
    "Products of rows of two neighbouring 16-bit channels with sparse weights.",
    reference_strip
);
contract!(
    SPARSE_STRIP_QUADS,
    "sparse_strip_quads",
    "Products of rows of four neighbouring 8-bit channels with sparse weights.",
    reference_strip
);
contract!(
    SPARSE_OUT_ACROSS,
    "sparse_out_across",
    "Rows of 32-bit sums through a pointwise tail as they are, then turned into rows of pixels as bytes.",
    reference_out
);
contract!(
    SPARSE_OUT_WORDS,
    "sparse_out_words",
    "Rows of 32-bit sums turned into rows of pixels, with a pointwise tail.",
    reference_out
);

/// Reads numbers of a callee.
struct Shape<'a>(&'a Callee);

impl Shape<'_> {
    fn get(&self, name: &str, least: i64) -> Option<i64> {
        self.0.get(name).filter(|v| (least..1 << 16).contains(v))
    }
    fn numbers(&self) -> Option<Numbers> {
        match self.get("words", 0)? {
            0 => Some(Numbers::Floats),
            1 => Some(Numbers::Near(Near::Pairs)),
            2 => Some(Numbers::Near(Near::Bytes)),
            3 => Some(Numbers::Near(Near::SignedBytes)),
            lanes @ (4 | 8 | 16) => Some(Numbers::Words(lanes)),
            _ => None,
        }
    }
    fn dtype(&self, name: &str, known: &[DType]) -> Option<DType> {
        let d = DType::from_onnx(self.get(name, 0)? as i32)?;
        known.contains(&d).then_some(d)
    }
    fn pixels(&self) -> Option<(i64, i64)> {
        let (pixels, pitch) = (self.get("pixels", 1)?, self.get("pitch", 1)?);
        (pixels <= pitch && pitch <= 4096).then_some((pixels, pitch))
    }
}

fn callee(tile: &Tile, shape: Vec<(&str, i64)>, numbers: Numbers) -> Callee {
    let mut shape: Vec<(String, i64)> = (shape.into_iter())
        .map(|(n, v)| (n.to_string(), v))
        .collect();
    shape.push(numbers.to_shape());
    tile.callee(shape)
}

/// What a `sparse_in` is specialised to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct In {
    /// Pixels that there are.
    pub pixels: i64,
    /// Pixels of a row of channels, whole vectors.
    pub pitch: i64,
    /// How A is stored.
    pub a_type: DType,
    /// Whether the pixels behind these are brought near meanwhile.
    pub ahead: bool,
    /// What is multiplied.
    pub numbers: Numbers,
}

impl In {
    /// The tile contract.
    pub fn contract(&self) -> &'static str {
        let names = [SPARSE_IN.name, SPARSE_IN_WORDS.name, SPARSE_IN_NEAR.name];
        self.numbers.contract(names)
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let shape = vec![
            ("pixels", self.pixels),
            ("pitch", self.pitch),
            ("a_type", i64::from(self.a_type.onnx())),
            ("ahead", i64::from(self.ahead)),
        ];
        callee(tile, shape, self.numbers)
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<In> {
        let s = Shape(callee);
        let (pixels, pitch) = s.pixels()?;
        let numbers = s.numbers()?;
        let a_type = match numbers {
            Numbers::Floats => s.dtype("a_type", &[DType::F32])?,
            _ => s.dtype("a_type", &[DType::U8, DType::I8])?,
        };
        Some(In {
            pixels,
            pitch,
            a_type,
            ahead: s.get("ahead", 0)? == 1,
            numbers,
        })
    }
}

/// What a `sparse_strip` is specialised to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strip {
    /// Pixels of a row, whole vectors.
    pub pitch: i64,
    /// Output channels of a block: 1 or 4.
    pub block: i64,
    /// Chains of a sum.
    pub chains: i64,
    /// Elements that a distance counts.
    pub step: i64,
    /// Whether distances have two bytes.
    pub wide: bool,
    /// What is multiplied.
    pub numbers: Numbers,
}

impl Strip {
    /// Bytes of a distance.
    pub fn distance(&self) -> i64 {
        if self.wide { 2 } else { 1 }
    }
    /// The tile contract.
    pub fn contract(&self) -> &'static str {
        let near = match self.numbers {
            Numbers::Near(Near::Pairs) => SPARSE_STRIP_PAIRS.name,
            _ => SPARSE_STRIP_QUADS.name,
        };
        let names = [SPARSE_STRIP.name, SPARSE_STRIP_WORDS.name, near];
        self.numbers.contract(names)
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let shape = vec![
            ("pitch", self.pitch),
            ("block", self.block),
            ("chains", self.chains),
            ("step", self.step),
            ("wide", i64::from(self.wide)),
        ];
        callee(tile, shape, self.numbers)
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Strip> {
        let s = Shape(callee);
        let block = s.get("block", 1)?;
        let chains = s.get("chains", 1)?;
        let pitch = s.get("pitch", 1)?;
        let good = matches!(block, 1 | 4) && chains <= 4 && pitch <= 1024;
        Some(Strip {
            pitch,
            block,
            chains,
            step: s.get("step", 1)?,
            wide: s.get("wide", 0)? == 1,
            numbers: s.numbers().filter(|_| good)?,
        })
    }
}

/// What a `sparse_out` is specialised to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Out {
    /// Pixels that there are.
    pub pixels: i64,
    /// Pixels of a row of sums, whole vectors.
    pub pitch: i64,
    /// Columns.
    pub n: i64,
    /// Whether the rows behind these are brought near meanwhile.
    pub ahead: bool,
    /// How results are stored.
    pub c_type: DType,
    /// What was multiplied.
    pub numbers: Numbers,
    /// What is done with a sum.
    pub tail: Tail,
    /// Whether tails see rows of channels ([`Out::may_cross`]).
    pub across: bool,
}

impl Out {
    /// The tile contract.
    pub fn contract(&self) -> &'static str {
        if self.across {
            return SPARSE_OUT_ACROSS.name;
        }
        let whole = SPARSE_OUT_WORDS.name;
        self.numbers.contract([SPARSE_OUT.name, whole, whole])
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let shape = vec![
            ("pixels", self.pixels),
            ("pitch", self.pitch),
            ("n", self.n),
            ("ahead", i64::from(self.ahead)),
            ("across", i64::from(self.across)),
            ("c_type", i64::from(self.c_type.onnx())),
        ];
        let mut callee = callee(tile, shape, self.numbers);
        callee.shape.extend(self.tail.to_shape());
        callee
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Out> {
        let s = Shape(callee);
        let (pixels, pitch) = s.pixels()?;
        let numbers = s.numbers()?;
        let known: &[DType] = match numbers {
            Numbers::Floats => &[DType::F32],
            _ => &[DType::F32, DType::I32, DType::U8, DType::I8],
        };
        Some(Out {
            pixels,
            pitch,
            n: s.get("n", 1)?,
            ahead: s.get("ahead", 0)? == 1,
            c_type: s.dtype("c_type", known)?,
            numbers,
            tail: Tail::of_shape(&callee.shape)?,
            across: s.get("across", 0)? == 1,
        })
    }
    /// Whether tails can see rows of channels: columns are then what all lanes share. Results are bytes, and sixteen columns at least, as they are turned
    /// into rows of pixels by so many.
    pub fn may_cross(&self) -> bool {
        let rows = self.tail.operands().any(|n| matches!(n, Node::Tile(_)));
        let bytes = matches!(self.c_type, DType::U8 | DType::I8);
        let whole = self.numbers != Numbers::Floats;
        whole && bytes && self.n >= 16 && !rows && self.tail.without_limits(self.c_type).is_some()
    }
}

/// A call says where its buffers begin, not where they end.
const UNKNOWN: Dim = Dim::Fixed(i64::MAX);

fn reference_in(callee: &Callee) -> Option<Func> {
    let s = In::of(callee)?;
    let mut b = Builder::new(s.contract());
    let a = b.buffer("a", s.a_type, UNKNOWN, Access::Read);
    let t = b.buffer("t", s.numbers.rows(), UNKNOWN, Access::Write);
    let [a_row, quads] = [(); 2].map(|()| b.int_param());
    let four = b.i(4);
    let channels = b.mul(quads, four);
    let (pixels, pitch) = (b.i(s.pixels), b.i(s.pitch));
    b.for_(channels, LoopKind::Seq, |b, k| {
        b.for_(pixels, LoopKind::Seq, |b, i| {
            let from = b.mul(i, a_row);
            let from = b.add(from, k);
            let x = b.load(a, from);
            let to = b.mul(k, pitch);
            let to = b.add(to, i);
            b.store(t, to, x);
        });
    });
    Some(b.finish())
}

fn reference_in_near(callee: &Callee) -> Option<Func> {
    let s = In::of(callee)?;
    let Numbers::Near(near) = s.numbers else {
        return None;
    };
    let mut b = Builder::new(s.contract());
    let a = b.buffer("a", s.a_type, UNKNOWN, Access::Read);
    let t = b.buffer("t", s.numbers.rows(), UNKNOWN, Access::Write);
    let [a_row, quads] = [(); 2].map(|()| b.int_param());
    let four = b.i(4);
    let rows = b.mul(quads, four);
    let (pixels, pitch, width) = (b.i(s.pixels), b.i(s.pitch), b.i(near.width()));
    b.for_(rows, LoopKind::Seq, |b, k| {
        b.for_(pixels, LoopKind::Seq, |b, i| {
            let from = b.mul(i, a_row);
            let first = b.mul(k, width);
            let from = b.add(from, first);
            let x = gathered(b, near, s.a_type, a, from, near.width());
            let to = b.mul(k, pitch);
            let to = b.add(to, i);
            b.store(t, to, x);
        });
    });
    Some(b.finish())
}

fn reference_strip(callee: &Callee) -> Option<Func> {
    let s = Strip::of(callee)?;
    let mut b = Builder::new(s.contract());
    let t = b.buffer("t", s.numbers.rows(), UNKNOWN, Access::Read);
    let values = b.buffer("values", s.numbers.rows(), UNKNOWN, Access::Read);
    let stream = b.buffer("stream", DType::U8, UNKNOWN, Access::Read);
    let sums = b.buffer("s", s.numbers.sums(), UNKNOWN, Access::Write);
    let [blocks, _entries] = [(); 2].map(|()| b.int_param());
    let ty = Ty::of(s.numbers.sums());
    let (pitch, block, group) = (b.i(s.pitch), b.i(s.block), b.i(s.numbers.group()));
    let zero = b.i(0);
    let (byte_at, value_at) = (b.var(zero), b.var(zero));
    let small = |b: &mut Builder, at: ExprId| {
        let x = b.load(stream, at);
        b.cast(Ty::I64, x)
    };
    b.for_(blocks, LoopKind::Seq, |b, _| {
        let start = b.get(byte_at);
        let start = b.let_(start);
        let word = |b: &mut Builder, plus: i64| {
            let (one, by) = (b.i(1), b.i(plus));
            let at = b.add(start, by);
            let low = small(b, at);
            let at = b.add(at, one);
            let high = small(b, at);
            let all = b.i(256);
            let high = b.mul(high, all);
            let x = b.add(high, low);
            b.let_(x)
        };
        let (count, number) = (word(b, 0), word(b, 2));
        let header = b.i(4);
        let first = b.add(start, header);
        let first = b.let_(first);
        let value = b.get(value_at);
        let value = b.let_(value);
        b.for_(block, LoopKind::Seq, |b, c| {
            b.for_(pitch, LoopKind::Seq, |b, i| {
                let none = b.num(ty, 0.0);
                let sums_of: Vec<_> = (0..s.chains).map(|_| b.var(none)).collect();
                let zero = b.i(0);
                let row = b.var(zero);
                b.for_(count, LoopKind::Seq, |b, e| {
                    let chains = b.i(s.chains);
                    let which = b.rem(e, chains);
                    for part in 0..s.numbers.group() {
                        let at = b.mul(e, group);
                        let part = b.i(part);
                        let at = b.add(at, part);
                        let distance = b.i(s.distance());
                        let at = b.mul(at, distance);
                        let at = b.add(first, at);
                        let mut by = small(b, at);
                        if s.wide {
                            let (one, all) = (b.i(1), b.i(256));
                            let at = b.add(at, one);
                            let high = small(b, at);
                            let high = b.mul(high, all);
                            by = b.add(by, high);
                        }
                        let old = b.get(row);
                        let new = b.add(old, by);
                        b.set(row, new);
                        let (at, step) = (b.get(row), b.i(s.step));
                        let at = b.mul(at, step);
                        let at = b.add(at, i);
                        let x = b.load(t, at);
                        let w_at = b.mul(e, block);
                        let w_at = b.add(w_at, c);
                        let w_at = b.mul(w_at, group);
                        let w_at = b.add(w_at, part);
                        let w_at = b.add(value, w_at);
                        let w = b.load(values, w_at);
                        for (c, &sum) in sums_of.iter().enumerate() {
                            let so_far = b.get(sum);
                            let next = match s.numbers {
                                Numbers::Floats => b.fma(x, w, so_far),
                                Numbers::Words(_) => {
                                    let product = b.mul(x, w);
                                    b.add(so_far, product)
                                }
                                Numbers::Near(near) => {
                                    let mut sum = so_far;
                                    for part in 0..near.width() {
                                        let x = part_of(b, near, x, part, near != Near::Bytes);
                                        let w = part_of(b, near, w, part, true);
                                        let product = b.mul(x, w);
                                        sum = b.add(sum, product);
                                    }
                                    sum
                                }
                            };
                            let c = b.i(c as i64);
                            let here = b.eq(which, c);
                            let next = b.select(here, next, so_far);
                            b.set(sum, next);
                        }
                    }
                });
                let mut total = b.get(sums_of[0]);
                for &more in &sums_of[1..] {
                    let x = b.get(more);
                    total = b.add(total, x);
                }
                let at = b.mul(number, block);
                let at = b.add(at, c);
                let at = b.mul(at, pitch);
                let there = place_of(b, s.numbers, i);
                let at = b.add(at, there);
                b.store(sums, at, total);
            });
        });
        let named = b.mul(count, group);
        let distance = b.i(s.distance());
        let bytes = b.mul(named, distance);
        let next = b.add(first, bytes);
        b.set(byte_at, next);
        let by = b.mul(named, block);
        let next = b.add(value, by);
        b.set(value_at, next);
    });
    Some(b.finish())
}

fn reference_out(callee: &Callee) -> Option<Func> {
    let s = Out::of(callee)?;
    let mut b = Builder::new(s.contract());
    let sums = b.buffer("s", s.numbers.sums(), UNKNOWN, Access::Read);
    let c = b.buffer("c", s.c_type, UNKNOWN, Access::Write);
    let kinds: Vec<DType> = s.tail.operands().filter_map(|n| n.element()).collect();
    let operands: Vec<_> = (kinds.into_iter())
        .map(|d| b.buffer("operand", d, UNKNOWN, Access::Read))
        .collect();
    let c_row = b.int_param();
    let rows: Vec<_> = operands.iter().map(|_| b.int_param()).collect();
    let columns = b.i(s.n);
    for i in 0..s.pixels {
        let row = b.i(i);
        b.for_(columns, LoopKind::Seq, |b, j| {
            let (pitch, at) = (b.i(s.pitch), b.i(place(s.numbers, i)));
            let from = b.mul(j, pitch);
            let from = b.add(from, at);
            let sum = b.load(sums, from);
            let loaded = s.tail.load(b, &operands, &rows, row, j);
            let value = s.tail.apply(b, sum, &loaded);
            let to = b.mul(row, c_row);
            let to = b.add(to, j);
            b.store(c, to, value);
        });
    }
    Some(b.finish())
}
