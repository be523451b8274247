//! Loops over small elements in whole words: copies of elements of 8 or 16 bits, and logic on truth values.

use super::values::elem;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{BinOp, Ty, UnOp};
use onnxc_compiler::loops::lane_loop::{Inst, LaneLoop, Num, Spot, Value, ValueNo};
use std::collections::BTreeSet;

/// The same loop in words, where it can be, and how many iterations of its `Lanes` loop a word takes. `lanes`: words of a vector.
pub fn words(l: &LaneLoop, lanes: usize) -> Option<(LaneLoop, i64)> {
    copied(l, lanes as i64).or_else(|| truths(l).map(|l| (l, 1)))
}

// A loop that only copies elements of one type. Where they fill a vector and part of one, it is over bytes: what is left is copied as one vector, some of
// it once more.
fn copied(l: &LaneLoop, lanes: i64) -> Option<(LaneLoop, i64)> {
    let mut out = l.clone();
    let mut types = BTreeSet::new();
    let mut word = |s: &mut Spot| {
        types.insert(s.dtype);
        let plain = s.dtype != DType::Bool && elem(s.dtype).is_some();
        s.dtype = DType::I32;
        plain
    };
    for v in &mut out.values {
        let Value::Load(s) = v else {
            return None;
        };
        word(s).then_some(())?;
    }
    stores(&mut out.body, &mut word)?;
    // What is stored is what was loaded: with one type nothing is converted.
    let (Some(dtype), 1) = (types.first(), types.len()) else {
        return None;
    };
    let size = dtype.size() as i64;
    if in_bytes(&mut out, size, 4 * lanes).is_some() {
        return Some((out, 4));
    }
    in_words(&mut out, size)?;
    Some((out, 1))
}

// Every place that is written; nothing but definitions, stores, and loops.
fn stores(body: &mut [Inst], word: &mut dyn FnMut(&mut Spot) -> bool) -> Option<()> {
    for i in body {
        match i {
            Inst::Define(_) => {}
            Inst::Store(s, _) => word(s).then_some(())?,
            Inst::Loop(_, body) => stores(body, word)?,
            Inst::Set(..) | Inst::Seldom(..) => return None,
        }
    }
    Some(())
}

// The `Lanes` loop over elements of `size` bytes as one over words.
fn in_words(out: &mut LaneLoop, size: i64) -> Option<()> {
    let lanes = out.loops.iter().position(|x| x.lanes)?;
    let Num::Known(n) = out.loops[lanes].extent else {
        return None;
    };
    (size < 4 && n % (4 / size) == 0).then_some(())?;
    over(out, lanes, n * size / 4, 4);
    Some(())
}

// The `Lanes` loop over elements of `size` bytes as one over bytes, where they fill one vector of so many bytes, but not a number of them.
fn in_bytes(out: &mut LaneLoop, size: i64, vector: i64) -> Option<()> {
    let lanes = out.loops.iter().position(|x| x.lanes)?;
    let Num::Known(n) = out.loops[lanes].extent else {
        return None;
    };
    let n = n.checked_mul(size)?;
    (n > vector && n % vector > 0).then_some(())?;
    over(out, lanes, n, 1);
    Some(())
}

// The `Lanes` loop with another extent, and so many bytes from one iteration to the next.
fn over(out: &mut LaneLoop, lanes: usize, extent: i64, step: i64) {
    out.loops[lanes].extent = Num::Known(extent);
    for s in &mut out.streams {
        for (k, by) in &mut s.steps {
            if usize::from(*k) == lanes {
                *by = Num::Known(step);
            }
        }
    }
}

const ONES: u32 = 0x0101_0101;

// A loop of logic on truth values in memory: four of them, each 0 or 1, in a word.
fn truths(l: &LaneLoop) -> Option<LaneLoop> {
    let mut out = LaneLoop {
        values: vec![],
        body: vec![],
        ..l.clone()
    };
    let mut m = Truths {
        of: l,
        new: vec![None; l.values.len()],
        values: vec![],
    };
    out.body = m.block(&l.body)?;
    out.values = m.values;
    in_words(&mut out, 1)?;
    Some(out)
}

struct Truths<'l> {
    of: &'l LaneLoop,
    /// By number of the value: what it became.
    new: Vec<Option<ValueNo>>,
    values: Vec<Value>,
}

impl Truths<'_> {
    fn block(&mut self, body: &[Inst]) -> Option<Vec<Inst>> {
        let mut out = vec![];
        for i in body {
            match i {
                Inst::Define(v) => {
                    let new = self.value(self.of.values[*v as usize], &mut out)?;
                    self.new[*v as usize] = Some(new);
                }
                Inst::Store(s, v) => {
                    (s.dtype == DType::Bool).then_some(())?;
                    let s = Spot {
                        dtype: DType::I32,
                        ..*s
                    };
                    out.push(Inst::Store(s, self.new[*v as usize]?));
                }
                Inst::Loop(n, body) => out.push(Inst::Loop(*n, self.block(body)?)),
                Inst::Set(..) | Inst::Seldom(..) => return None,
            }
        }
        Some(out)
    }
    fn add(&mut self, v: Value, out: &mut Vec<Inst>) -> ValueNo {
        let no = self.values.len() as ValueNo;
        self.values.push(v);
        out.push(Inst::Define(no));
        no
    }
    fn bin(&mut self, op: BinOp, a: ValueNo, b: ValueNo, out: &mut Vec<Inst>) -> ValueNo {
        self.add(Value::Bin(op, Ty::I32, a, b), out)
    }
    fn with(&mut self, op: BinOp, a: ValueNo, bits: u32, out: &mut Vec<Inst>) -> ValueNo {
        let bits = self.add(Value::Bits(bits), out);
        self.bin(op, a, bits, out)
    }
    fn value(&mut self, v: Value, out: &mut Vec<Inst>) -> Option<ValueNo> {
        Some(match v {
            Value::Bits(0) => self.add(Value::Bits(0), out),
            Value::Bits(u32::MAX) => self.add(Value::Bits(ONES), out),
            Value::Load(s) if s.dtype == DType::Bool => {
                let s = Spot {
                    dtype: DType::I32,
                    ..s
                };
                // Whatever is not 0 counts as 1: its low bits carry into the uppermost, or that is set.
                let x = self.add(Value::Load(s), out);
                let low = self.with(BinOp::And, x, 0x7f7f_7f7f, out);
                let carried = self.with(BinOp::Add, low, 0x7f7f_7f7f, out);
                let top = self.bin(BinOp::Or, carried, x, out);
                let down = self.add(Value::Shift(BinOp::ShrU, top, 7), out);
                self.with(BinOp::And, down, ONES, out)
            }
            Value::Un(UnOp::Not, Ty::Bool, a) => {
                let a = self.new[a as usize]?;
                self.with(BinOp::Xor, a, ONES, out)
            }
            Value::Bin(op, Ty::Bool, a, b) => {
                let (a, b) = (self.new[a as usize]?, self.new[b as usize]?);
                match op {
                    BinOp::And | BinOp::Or | BinOp::Xor => self.bin(op, a, b, out),
                    BinOp::Ne => self.bin(BinOp::Xor, a, b, out),
                    BinOp::Eq => {
                        let differ = self.bin(BinOp::Xor, a, b, out);
                        self.with(BinOp::Xor, differ, ONES, out)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}
