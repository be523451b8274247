//! How a product's operands are held: floats as they are, whole numbers as words or as bytes.
//!
//! Words are exact whatever the numbers: A less its zero point fits 9 bits, and so do weights less theirs. Bytes take a fourth of the
//! instructions where a machine multiplies them, read A where it lies, and count its zero point afterwards: what a column of weights adds up to,
//! times the zero point, comes off each sum.

use super::conv_integer::zero;
use super::strip::Numbers;
use super::strip_plan::Panels;
use super::widen;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::{LowerCx, Query, Vector};
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, Ty};

/// Weights that are held as words though bytes would do, where more rows than these are multiplied by them.
const FEW: usize = 8192;
const FEW_ROWS: i64 = 4;

/// The operands of one product as its kernel reads them.
#[derive(Clone, Debug)]
pub struct Form {
    /// What is multiplied.
    pub numbers: Numbers,
    /// Elements of A.
    pub a_type: DType,
    /// Elements of B.
    pub b_type: DType,
    /// Columns of a vector of B whose words lie apart; 0: groups lie in one piece.
    pub apart: i64,
    /// What is added to an element of A when it is copied: the sign of bytes changes so.
    pub shift: i64,
    /// What stands for 0 in A, as it is copied.
    pub zero: i64,
    /// B less its zero points, in the order in which it is given. Floats: nothing.
    pub weights: Vec<i32>,
    /// What sums begin with: for each channel, or nothing.
    pub start: Vec<i64>,
}

impl Form {
    /// Floats, B stored as a type.
    pub fn floats(b_type: DType) -> Form {
        Form {
            numbers: Numbers::Floats,
            a_type: DType::F32,
            b_type,
            apart: 0,
            shift: 0,
            zero: 0,
            weights: vec![],
            start: vec![],
        }
    }
    /// Words or bytes for a query of `conv_integer` or `gemm_integer`, whose weights are known: `channel` says to which output channel an
    /// element of them belongs. `None`: it can't be.
    pub fn of(q: &Query, numbers: Numbers, channel: impl Fn(usize) -> usize) -> Option<Form> {
        q.machine.tile(numbers.contract())?;
        let v = q.machine.vector?;
        let given = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
        let known = |i: usize| -> Option<Vec<i64>> {
            match given(i) {
                None => Some(vec![0]),
                Some((_, t)) => t.as_ref()?.to_i64s().filter(|z| !z.is_empty()),
            }
        };
        let byte = |d: DType| matches!(d, DType::U8 | DType::I8);
        let (x, (w_type, w)) = (given(0)?.0.dtype, given(1)?);
        if !byte(x) || !byte(w_type.dtype) {
            return None;
        }
        let w = w.as_ref()?.to_i64s()?;
        let wz = known(3)?;
        let start = match given(4) {
            None => vec![],
            Some(_) => known(4)?,
        };
        let weights: Vec<i32> = (w.iter().enumerate())
            .map(|(i, w)| (w - wz[channel(i) % wz.len()]) as i32)
            .collect();
        let narrow = weights.iter().all(|w| (-128..=127).contains(w));
        let columns = weights
            .len()
            .checked_sub(1)
            .map_or(1, |last| channel(last) + 1);
        let results = q
            .outputs
            .first()
            .and_then(|o| o.as_ref()?.elements().fixed());
        let few_rows = results.is_some_and(|r| r <= FEW_ROWS * columns as i64);
        match numbers {
            Numbers::Floats => None,
            Numbers::Words => Some(Form {
                numbers,
                a_type: DType::I16,
                // Widening costs an instruction for each vector of weights; few weights may take twice the room instead.
                b_type: match narrow && v.bytes && (weights.len() > FEW || few_rows) {
                    true => DType::I8,
                    false => DType::I16,
                },
                apart: if v.by_lane { v.lanes } else { 0 },
                shift: 0,
                zero: 0,
                weights,
                start,
            }),
            Numbers::Matrices => {
                let xz = known(2)?;
                (narrow && xz.len() == 1).then(|| Form {
                    numbers,
                    // With a sign or without: machines that multiply matrices have both.
                    a_type: x,
                    b_type: DType::I8,
                    apart: 0,
                    shift: 0,
                    zero: xz[0],
                    weights,
                    start,
                })
            }
            Numbers::Bytes | Numbers::Picked => {
                let xz = known(2)?;
                // Bytes are picked in vectors of 256 bits.
                let picked = numbers == Numbers::Picked;
                if !narrow || xz.len() != 1 || picked && (v.lanes != 8 || v.by_lane) {
                    return None;
                }
                let a_type = v.multiplied_bytes();
                let shift = match (x, a_type) {
                    (DType::I8, DType::U8) => 128,
                    (DType::U8, DType::I8) => -128,
                    _ => 0,
                };
                Some(Form {
                    numbers,
                    a_type,
                    b_type: DType::I8,
                    apart: 0,
                    shift,
                    zero: xz[0] + shift,
                    weights,
                    start,
                })
            }
        }
    }
    /// Whether A may be read where it lies, if its rows fit the groups.
    pub fn in_place(&self) -> bool {
        !matches!(self.numbers, Numbers::Words) && self.shift == 0
    }
    /// Numbers of A in a group; those that are picked stand alone.
    pub fn group(&self) -> i64 {
        match self.numbers {
            Numbers::Picked => 1,
            n => n.group(),
        }
    }
    /// Elements behind those that are copied that a last group may read; they are multiplied by 0.
    pub fn beyond(&self) -> i64 {
        self.group() - 1
    }
    /// So many numbers in whole groups.
    pub fn whole(&self, n: i64) -> i64 {
        (n + self.group() - 1) / self.group() * self.group()
    }
    /// The vectors that a tile can count on: a product of words needs one for itself.
    pub fn vector(&self, v: &Vector) -> Vector {
        if self.numbers != Numbers::Words {
            return *v;
        }
        // By lanes, words are reached in eight registers only.
        match v.by_lane {
            true => Vector {
                rows: v.rows.min(8),
                ..*v
            },
            false => Vector {
                registers: v.registers - 1,
                ..*v
            },
        }
    }
    /// The zero point that comes off each element of A as it is copied: that of words.
    pub fn zero_of_a(&self, cx: &mut LowerCx) -> Result<Option<ExprId>> {
        if self.numbers != Numbers::Words || cx.opt(2).is_none() {
            return Ok(None);
        }
        let z = zero(cx, 2, None)?;
        Ok(Some(cx.b.let_(z)))
    }
    /// An element of A as it is copied.
    pub fn copied(&self, b: &mut Builder, x: ExprId, zero: Option<ExprId>) -> ExprId {
        if let Some(z) = zero {
            return b.sub(x, z);
        }
        if self.shift == 0 {
            return x;
        }
        let by = b.int(Ty::I32, self.shift);
        b.add(x, by)
    }
    /// What stands for 0, as it is copied.
    pub fn nothing(&self, b: &mut Builder) -> ExprId {
        b.num(Ty::of(self.a_type), self.zero as f64)
    }
    /// What is added to the sums of each column: `sums` are those of its weights. `None`: nothing. What sums begin with is part of it.
    pub fn correction(&self, cx: &mut LowerCx, sums: &[i64]) -> Result<Option<BufId>> {
        let zero = match self.numbers {
            Numbers::Bytes | Numbers::Picked | Numbers::Matrices => self.zero,
            _ => 0,
        };
        if zero == 0 && self.start.is_empty() {
            return Ok(None);
        }
        let start = |c: usize| match self.start.len() {
            0 => 0,
            n => self.start[c % n],
        };
        let values = sums.iter().enumerate();
        let values: Vec<f64> = values.map(|(c, s)| (start(c) - s * zero) as f64).collect();
        let t = Tensor::from_f64s(DType::I32, &[values.len() as i64], &values);
        widen::constant(cx, "corrections", t).map(Some)
    }
    /// Packed weights as a constant: `k` elements (whole groups) of each column, element (k, column) at `at`.
    pub fn pack(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        k: i64,
        at: &dyn Fn(i64, i64) -> i32,
    ) -> Result<BufId> {
        let mut out = vec![];
        self.pack_into(&mut out, panels, k, at);
        self.constant(cx, out, None)
    }
    /// The same, appended to bytes.
    pub fn pack_into(
        &self,
        out: &mut Vec<u8>,
        panels: &[Panels],
        k: i64,
        at: &dyn Fn(i64, i64) -> i32,
    ) {
        let group = self.group();
        for p in panels {
            for t in 0..p.count {
                let first = p.first + t * p.n;
                for kk in (0..k).step_by(group as usize) {
                    for place in 0..p.padded * group {
                        let (part, j) = self.place(place);
                        let v = if j < p.n { at(kk + part, first + j) } else { 0 };
                        match self.b_type {
                            DType::I16 => out.extend((v as i16).to_le_bytes()),
                            _ => out.push(v as i8 as u8),
                        }
                    }
                }
            }
        }
    }
    /// Bytes of packed weights as a constant, of which each is read for so many rows of A.
    pub fn constant(&self, cx: &mut LowerCx, bytes: Vec<u8>, rows: Option<i64>) -> Result<BufId> {
        let n = (bytes.len() / self.b_type.size()) as i64;
        let t = Tensor::new(self.b_type, vec![n], bytes.into())?;
        widen::words(cx, "panels", t, rows)
    }
    /// Part and column of a place in a row of groups.
    fn place(&self, place: i64) -> (i64, i64) {
        let group = self.group();
        match self.apart {
            0 => (place % group, place / group),
            apart => {
                let (vector, rest) = (place / (apart * group), place % (apart * group));
                (rest / apart, vector * apart + rest % apart)
            }
        }
    }
}
