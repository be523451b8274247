//! What loops that make bytes leave to the machine: conversions round by themselves, and stores limit what they narrow.

use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{BinOp, CastKind, Ty, UnOp};
use onnxc_compiler::loops::lane_loop::{Inst, LaneLoop, Spot, Value, ValueNo};
use std::collections::{BTreeMap, BTreeSet};

/// What was left out of a loop.
#[derive(Default)]
pub struct Left {
    /// Conversions to whole numbers that round to the nearest.
    pub rounding: BTreeSet<Value>,
    /// Stores that limit to what the type holds.
    pub limiting: BTreeSet<(Spot, ValueNo)>,
}

/// How bytes of a type are stored with limits.
pub fn limited(d: DType) -> Option<Elem> {
    match d {
        DType::U8 => Some(Elem::U8Limited),
        DType::I8 => Some(Elem::I8Limited),
        _ => None,
    }
}

/// The loop without roundings before conversions and without limits before stores, where the machine needs neither.
pub fn without(l: &LaneLoop, isa: &Isa) -> (LaneLoop, Left) {
    let (mut out, mut left) = (l.clone(), Left::default());
    for i in 0..l.values.len() {
        let Value::Cast(Ty::I32, CastKind::Signed, Ty::F32, near) = l.values[i] else {
            continue;
        };
        let Value::Un(UnOp::Near, Ty::F32, x) = l.values[near as usize] else {
            continue;
        };
        let direct = Value::Cast(Ty::I32, CastKind::Signed, Ty::F32, x);
        // A variable may be another one by then; what cuts off stays what it is.
        if lasts(l, x) && !l.values.contains(&direct) {
            out.values[i] = direct;
            left.rounding.insert(direct);
        }
    }
    limit(l, &mut out.body, isa, &mut left.limiting);
    drop_unused(&mut out);
    (out, left)
}

/// Whether a value is the same wherever it can be read.
fn lasts(l: &LaneLoop, v: ValueNo) -> bool {
    !matches!(l.values[v as usize], Value::Var(_))
}

fn limit(l: &LaneLoop, body: &mut [Inst], isa: &Isa, limiting: &mut BTreeSet<(Spot, ValueNo)>) {
    for i in body {
        match i {
            Inst::Store(spot, v) => {
                if let Some(inner) = unlimited(l, *spot, *v, isa) {
                    *v = inner;
                    limiting.insert((*spot, inner));
                }
            }
            Inst::Loop(_, body) | Inst::Seldom(_, _, body) => limit(l, body, isa, limiting),
            Inst::Define(_) | Inst::Set(..) => {}
        }
    }
}

/// What a stored value is before it is limited to what bytes hold.
fn unlimited(l: &LaneLoop, spot: Spot, v: ValueNo, isa: &Isa) -> Option<ValueNo> {
    let store = Op::Store {
        s: V(0),
        at: Mem::at(X(0), 0),
        elem: limited(spot.dtype)?,
        lanes: Lanes::All,
        tmp: V(0),
    };
    let (lo, hi) = spot.dtype.int_range().filter(|_| isa.has(&store))?;
    let (mut v, mut ends) = (v, BTreeMap::new());
    for _ in 0..2 {
        let Value::Bin(op @ (BinOp::Min | BinOp::Max), Ty::I32, a, b) = l.values[v as usize] else {
            return None;
        };
        let number = |v: ValueNo| match l.values[v as usize] {
            Value::Bits(bits) => Some(i128::from(bits as i32)),
            _ => None,
        };
        let (inner, end) = match (number(a), number(b)) {
            (_, Some(end)) => (a, end),
            (Some(end), _) => (b, end),
            _ => return None,
        };
        ends.insert(op == BinOp::Min, end);
        v = inner;
    }
    let bounds = BTreeMap::from([(false, lo), (true, hi)]);
    (ends == bounds && lasts(l, v)).then_some(v)
}

/// Leaves out definitions that nothing reads any more.
fn drop_unused(l: &mut LaneLoop) {
    loop {
        let mut read = BTreeSet::new();
        reads(l, &l.body, &mut read);
        let before = count(&l.body);
        retain(&mut l.body, &read);
        if count(&l.body) == before {
            return;
        }
    }
}

fn reads(l: &LaneLoop, body: &[Inst], out: &mut BTreeSet<ValueNo>) {
    for i in body {
        match i {
            Inst::Define(v) => out.extend(l.values[*v as usize].operands()),
            Inst::Set(_, v) | Inst::Store(_, v) => {
                out.insert(*v);
            }
            Inst::Loop(_, body) => reads(l, body, out),
            Inst::Seldom(_, cond, body) => {
                out.insert(*cond);
                reads(l, body, out);
            }
        }
    }
}

fn count(body: &[Inst]) -> usize {
    let of = |i: &Inst| match i {
        Inst::Loop(_, body) | Inst::Seldom(_, _, body) => 1 + count(body),
        _ => 1,
    };
    body.iter().map(of).sum()
}

fn retain(body: &mut Vec<Inst>, read: &BTreeSet<ValueNo>) {
    body.retain(|i| !matches!(i, Inst::Define(v) if !read.contains(v)));
    for i in body {
        if let Inst::Loop(_, body) | Inst::Seldom(_, _, body) = i {
            retain(body, read);
        }
    }
}
