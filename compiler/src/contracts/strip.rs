//! `gemm_strip`: strips of matrix products, the heart of dense convolutions and matrix products.
//!
//! A call computes `tiles * m` rows of `n` columns. The sum of a row runs over `segs` segments of `k` elements of A each, which lie
//! `seg` elements apart: a product of matrices has one segment, a convolution over channels-last data one for each row of
//! its window. B lies `b_row` elements apart from one k to the next, through all segments. Each sum starts from zero (or what C
//! holds) and is one chain of fused multiply-adds, k ascending; with `split` > 1 it is that many
//! chains over k = 0, split, 2 split ... and k = 1, split + 1 ..., added up in order, what C holds being in the first.
//! B may be stored in half precision, or as whole numbers of a byte or of four bits with scales ([`super::narrow`]). The tail is applied to each sum before it is stored.
//!
//! Whole numbers go by groups that fill 32 bits: two words (`gemm_strip_words`) or four bytes (`gemm_strip_bytes`). There k counts groups, as do the
//! distances of B, and a product is the sum of the group's products; sums are i32 and wrap. Weights are signed: words, or bytes. For
//! words they may be stored as bytes; `apart` says that a vector of so many columns holds the first word of all, then the second of all. Results
//! are stored as the tail gives them, converted to `c_type`.
//!
//! Where a machine adds the products of two bytes in 16 bits (`gemm_strip_picked`), a group is four bytes that are picked from sixteen of a row of A, as
//! two numbers of `order` say for each k: a byte for each of the four, which of the sixteen (128: none, a zero), and where the sixteen begin, from the row's
//! start; or the number of such a mask in the list of [`super::picked_masks`], and where they begin. The first two and the last two are the pairs whose products fit 16 bits, whatever A holds: weights are arranged so ([`super::picked`]). There
//! is one segment and no chain but one.
//!
//! A bias is part of the tail: added first, it would cost accuracy where it is large.
//!
//! Arguments: pointers a, b, c, scales and zeros of a narrow B, or the order of a picked A and the list of masks that it names, the tail's operands; then the numbers a_row, c_row, k, seg, b_row,
//! tiles, ahead, and for each tail operand its row distance.

use super::narrow::Narrow;
use super::picked::Order;
use super::picked_masks::BITS;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, BinOp, BufId, Callee, ExprId, Func, LoopKind, Ty, VarId};
use crate::loops::tail::Tail;

/// The contract.
pub static GEMM_STRIP: Contract = Contract {
    name: "gemm_strip",
    doc: "Strips of a float32 matrix product or of a convolution over channels-last data, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// The contract over groups of two words.
pub static GEMM_STRIP_WORDS: Contract = Contract {
    name: "gemm_strip_words",
    doc: "Strips of products of 16-bit numbers with 16- or 8-bit weights, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// The contract over groups of four bytes.
pub static GEMM_STRIP_BYTES: Contract = Contract {
    name: "gemm_strip_bytes",
    doc: "Strips of products of 8-bit numbers with signed 8-bit weights, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// The contract over groups of four bytes, picked and multiplied in pairs.
pub static GEMM_STRIP_PICKED: Contract = Contract {
    name: "gemm_strip_picked",
    doc: "Strips of products of picked unsigned bytes with signed 8-bit weights whose pairs fit 16 bits, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// The contract over groups of eight bytes.
pub static GEMM_STRIP_MATRICES: Contract = Contract {
    name: "gemm_strip_matrices",
    doc: "Strips of products of 8-bit numbers with signed 8-bit weights by matrices of two by eight, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// What is multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Numbers {
    /// f32 by f32.
    Floats,
    /// Signed words by signed words.
    Words,
    /// Bytes, unsigned or signed as the type of A says, by signed bytes.
    Bytes,
    /// Unsigned bytes that are picked, by signed ones.
    Picked,
    /// Bytes by signed bytes in matrices of two rows or columns.
    Matrices,
}

impl Numbers {
    /// Numbers in 32 bits.
    pub fn group(self) -> i64 {
        match self {
            Numbers::Floats => 1,
            Numbers::Words => 2,
            Numbers::Bytes | Numbers::Picked => 4,
            Numbers::Matrices => 8,
        }
    }
    /// The tile contract.
    pub fn contract(self) -> &'static str {
        match self {
            Numbers::Floats => GEMM_STRIP.name,
            Numbers::Words => GEMM_STRIP_WORDS.name,
            Numbers::Bytes => GEMM_STRIP_BYTES.name,
            Numbers::Picked => GEMM_STRIP_PICKED.name,
            Numbers::Matrices => GEMM_STRIP_MATRICES.name,
        }
    }
    /// What sums are.
    pub fn sums(self) -> DType {
        match self {
            Numbers::Floats => DType::F32,
            _ => DType::I32,
        }
    }
}

/// What a strip is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Strip {
    /// Rows of a tile.
    pub m: i64,
    /// Columns.
    pub n: i64,
    /// Segments of a sum.
    pub segs: i64,
    /// Chains of a sum.
    pub split: i64,
    /// Elements of B from one k to the next, where they are known (packed panels); 0: `b_row` says.
    pub b_row: i64,
    /// What is multiplied.
    pub numbers: Numbers,
    /// How A is stored.
    pub a_type: DType,
    /// How B is stored.
    pub b_type: DType,
    /// How results are stored.
    pub c_type: DType,
    /// How a step of the order of a picked A is stored.
    pub order: Option<Order>,
    /// Columns of a vector whose words lie apart; 0: a group lies in one piece.
    pub apart: i64,
    /// Whether what lies `ahead` elements behind B is fetched meanwhile: the next panel, where weights come from far away.
    pub ahead: bool,
    /// What whole numbers in B stand for, where floats are multiplied by such.
    pub narrow: Option<Narrow>,
    /// Where sums start.
    pub start: Start,
    /// What is done with a sum.
    pub tail: Tail,
}

/// Where sums start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Start {
    Zero = 0,
    /// With what C holds.
    Sum = 1,
}

impl Strip {
    /// One sum of floats in one chain, and nothing after it: what others differ from.
    pub fn floats() -> Strip {
        Strip {
            m: 1,
            n: 1,
            segs: 1,
            split: 1,
            b_row: 0,
            numbers: Numbers::Floats,
            a_type: DType::F32,
            b_type: DType::F32,
            c_type: DType::F32,
            order: None,
            apart: 0,
            ahead: false,
            narrow: None,
            start: Start::Zero,
            tail: Tail::default(),
        }
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut shape = vec![
            ("m".to_string(), self.m),
            ("n".to_string(), self.n),
            ("segs".to_string(), self.segs),
            ("split".to_string(), self.split),
            ("b_row".to_string(), self.b_row),
            ("b_type".to_string(), i64::from(self.b_type.onnx())),
            ("ahead".to_string(), i64::from(self.ahead)),
            ("start".to_string(), self.start as i64),
        ];
        if self.numbers != Numbers::Floats {
            shape.extend([
                ("group".to_string(), self.numbers.group()),
                ("picked".to_string(), self.order.map_or(0, Order::bytes)),
                ("a_type".to_string(), i64::from(self.a_type.onnx())),
                ("c_type".to_string(), i64::from(self.c_type.onnx())),
                ("apart".to_string(), self.apart),
            ]);
        }
        shape.extend(self.narrow.iter().flat_map(|w| w.to_shape()));
        shape.extend(self.tail.to_shape());
        tile.callee(shape)
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Strip> {
        let get =
            |name: &str, least: i64| callee.get(name).filter(|v| (least..1 << 16).contains(v));
        let mut order = None;
        let numbers = match get("group", 1) {
            None => Numbers::Floats,
            Some(2) => Numbers::Words,
            Some(4) => match get("picked", 0)? {
                0 => Numbers::Bytes,
                bytes => {
                    order = Some(Order::of(bytes)?);
                    Numbers::Picked
                }
            },
            Some(8) => Numbers::Matrices,
            _ => return None,
        };
        let whole = numbers != Numbers::Floats;
        let dtype = |name: &str| match whole {
            true => DType::from_onnx(get(name, 0)? as i32),
            false => Some(DType::F32),
        };
        Some(Strip {
            numbers,
            a_type: match (numbers, dtype("a_type")?) {
                (Numbers::Floats, d) => d,
                (Numbers::Words, d @ DType::I16) => d,
                (Numbers::Bytes | Numbers::Matrices, d @ (DType::U8 | DType::I8)) => d,
                (Numbers::Picked, d @ DType::U8) => d,
                _ => return None,
            },
            c_type: match dtype("c_type")? {
                d @ (DType::F32 | DType::I32 | DType::U8 | DType::I8) => d,
                _ => return None,
            },
            order,
            apart: if whole { get("apart", 0)? } else { 0 },
            m: get("m", 1)?,
            n: get("n", 1)?,
            segs: get("segs", 1)?,
            split: get("split", 1)?,
            b_row: get("b_row", 0)?,
            b_type: match (numbers, DType::from_onnx(get("b_type", 0)? as i32)?) {
                (Numbers::Floats, d @ (DType::F32 | DType::F16 | DType::BF16)) => d,
                (Numbers::Floats, d @ (DType::I8 | DType::U8 | DType::U4)) => d,
                (Numbers::Words, d @ (DType::I16 | DType::I8)) => d,
                (Numbers::Bytes | Numbers::Picked | Numbers::Matrices, d @ DType::I8) => d,
                _ => return None,
            },
            ahead: get("ahead", 0)? == 1,
            narrow: match (
                numbers,
                get("b_type", 0).and_then(|d| DType::from_onnx(d as i32))?,
            ) {
                (Numbers::Floats, DType::I8 | DType::U8 | DType::U4) => {
                    Some(Narrow::of_shape(&callee.shape)?)
                }
                _ => None,
            },
            start: match get("start", 0)? {
                0 => Start::Zero,
                1 => Start::Sum,
                _ => return None,
            },
            tail: Tail::of_shape(&callee.shape)?,
        })
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Strip::of(callee)?;
    if let Some(narrow) = s.narrow {
        return super::narrow::reference(&s, narrow);
    }
    let mut b = Builder::new(s.numbers.contract());
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let pa = b.buffer("a", s.a_type, unknown.clone(), Access::Read);
    let pb = b.buffer("b", s.b_type, unknown.clone(), Access::Read);
    let pc = match s.start {
        Start::Sum => b.buffer("c", s.c_type, unknown.clone(), Access::ReadWrite),
        Start::Zero => b.buffer("c", s.c_type, unknown.clone(), Access::Write),
    };
    let order = s.order.map(|each| {
        let mut table = |name| b.buffer(name, DType::U8, unknown.clone(), Access::Read);
        Steps {
            each,
            order: table("order"),
            masks: each.named().then(|| table("masks")),
        }
    });
    let kinds: Vec<DType> = s.tail.operands().filter_map(|n| n.element()).collect();
    let operands: Vec<_> = kinds
        .into_iter()
        .map(|d| b.buffer("operand", d, unknown.clone(), Access::Read))
        .collect();
    let [a_row, c_row, k, seg, b_row, tiles, _ahead] = [(); 7].map(|()| b.int_param());
    let rows: Vec<_> = operands.iter().map(|_| b.int_param()).collect();
    let b_row = match s.b_row {
        0 => b_row,
        known => b.i(known),
    };
    let sums_ty = Ty::of(s.numbers.sums());
    let (m, n, segs) = (b.i(s.m), b.i(s.n), b.i(s.segs));
    let all = b.mul(tiles, m);
    b.for_(all, LoopKind::Seq, |b, i| {
        b.for_(n, LoopKind::Seq, |b, j| {
            let c_at = b.mul(i, c_row);
            let c_at = b.add(c_at, j);
            let zero = b.num(sums_ty, 0.0);
            let start = match s.start {
                Start::Sum => b.load(pc, c_at),
                Start::Zero => zero,
            };
            let sums: Vec<_> = (0..s.split)
                .map(|p| b.var(if p == 0 { start } else { zero }))
                .collect();
            b.for_(segs, LoopKind::Seq, |b, g| {
                let none = b.i(0);
                let first = b.var(none);
                b.for_(k, LoopKind::Seq, |b, p| {
                    if let Some(order) = &order {
                        order.step(b, p, first);
                    }
                    let a_start = b.mul(i, a_row);
                    let a_seg = b.mul(g, seg);
                    let a_at = b.add(a_start, a_seg);
                    let group = b.i(s.numbers.group());
                    let before = b.mul(p, group);
                    let a_at = b.add(a_at, before);
                    let row = b.mul(g, k);
                    let row = b.add(row, p);
                    let b_at = b.mul(row, b_row);
                    let split = b.i(s.split);
                    let which = b.rem(p, split);
                    for part in 0..s.numbers.group() {
                        let x = match &order {
                            None => {
                                let part = b.i(part);
                                let at = b.add(a_at, part);
                                b.load(pa, at)
                            }
                            Some(order) => {
                                let first = b.get(first);
                                let from = b.add(a_start, first);
                                order.picked(b, part, pa, from, p)
                            }
                        };
                        let at = s.place_of_b(b, part, b_at, j);
                        let y = b.load(pb, at);
                        for (c, &sum) in sums.iter().enumerate() {
                            let so_far = b.get(sum);
                            let next = match s.numbers {
                                Numbers::Floats => b.fma(x, y, so_far),
                                _ => {
                                    let product = b.mul(x, y);
                                    b.add(so_far, product)
                                }
                            };
                            let c = b.i(c as i64);
                            let here = b.eq(which, c);
                            let next = b.select(here, next, so_far);
                            b.set(sum, next);
                        }
                    }
                });
            });
            let mut total = b.get(sums[0]);
            for &more in &sums[1..] {
                let x = b.get(more);
                total = b.add(total, x);
            }
            let total = b.let_(total);
            let loaded = s.tail.load(b, &operands, &rows, i, j);
            let value = s.tail.apply(b, total, &loaded);
            b.store(pc, c_at, value);
        });
    });
    Some(b.finish())
}

/// The order of a picked A.
struct Steps {
    each: Order,
    order: BufId,
    masks: Option<BufId>,
}

impl Steps {
    /// So many bytes of a step from byte `at` on, as a number.
    fn number(&self, b: &mut Builder, step: ExprId, at: i64, bytes: i64) -> ExprId {
        let each = b.i(self.each.bytes());
        let before = b.mul(step, each);
        let mut all = b.i(0);
        for n in 0..bytes {
            let (at, by) = (b.i(at + n), b.i(8 * n));
            let at = b.add(before, at);
            let byte = b.load(self.order, at);
            let byte = b.cast(Ty::I64, byte);
            let byte = b.bin(BinOp::Shl, byte, by);
            all = b.add(all, byte);
        }
        all
    }
    /// Adds to `first` how far the bytes of a step lie behind those of the step before.
    fn step(&self, b: &mut Builder, step: ExprId, first: VarId) {
        let more = match self.each {
            Order::Bytes => self.number(b, step, 4, 1),
            Order::BytesFar => self.number(b, step, 4, 2),
            Order::NamedFar => self.number(b, step, 2, 2),
            Order::Named => {
                let both = self.number(b, step, 0, 2);
                let bits = b.i(i64::from(BITS));
                b.bin(BinOp::ShrU, both, bits)
            }
        };
        let so_far = b.get(first);
        let now = b.add(so_far, more);
        b.set(first, now);
    }
    /// Part `part` of what a step picks from the bytes that begin at `from`.
    fn picked(&self, b: &mut Builder, part: i64, a: BufId, from: ExprId, step: ExprId) -> ExprId {
        let which = match self.masks {
            None => self.number(b, step, part, 1),
            Some(masks) => {
                let both = self.number(b, step, 0, 2);
                let (names, four, part) = (b.i((1 << BITS) - 1), b.i(4), b.i(part));
                let name = b.and(both, names);
                let at = b.mul(name, four);
                let at = b.add(at, part);
                let which = b.load(masks, at);
                b.cast(Ty::I64, which)
            }
        };
        let none = b.i(128);
        let there = b.lt(which, none);
        let at = b.add(from, which);
        let zero = b.int(Ty::I32, 0);
        b.load_if(a, there, at, zero)
    }
}

impl Strip {
    /// The element of B that part `part` of a group is multiplied with, the group standing at `b` in its first column.
    fn place_of_b(&self, e: &mut Builder, part: i64, b: ExprId, column: ExprId) -> ExprId {
        if self.numbers == Numbers::Floats {
            return e.add(b, column);
        }
        let (group, part) = (e.i(self.numbers.group()), e.i(part));
        let (column, part) = match self.apart {
            0 => (e.mul(column, group), part),
            // Whole vectors of words, then the column within its own.
            apart => {
                let apart = e.i(apart);
                let vector = e.div(column, apart);
                let before = e.mul(vector, apart);
                let inside = e.sub(column, before);
                let before = e.mul(before, group);
                (e.add(before, inside), e.mul(part, apart))
            }
        };
        let b = e.mul(b, group);
        let b = e.add(b, column);
        e.add(b, part)
    }
}
