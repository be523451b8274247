//! Tails in registers: the nodes of a [`Tail`] on a vector of results.

use super::build::Vm;
use super::ir::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::ir::{BinOp, Const, Ty, UnOp};
use onnxc_compiler::loops::tail::{Node, Tail};

mod begun;
mod ends;
mod halves;
mod held;
mod kept;
mod less;
mod operand;
mod reals;

pub use begun::begun;
pub use ends::{mixes, over_floats, weaves, without_limits};
pub use halves::{Halves, halves};
pub use held::{constants_of, hold};
pub use kept::{ABREAST, Kept, abreast, keep};
pub use operand::{Far, Operand, elem, far_ones, far_operand, operand, shareable};

/// What a node's value is while code is written.
#[derive(Clone, Copy)]
enum Value {
    /// In a register; `own`: given back after the last use.
    Reg {
        v: V,
        own: bool,
    },
    Const(u32),
    /// A whole vector in memory, read where it is used.
    Mem(Mem),
    /// One element in memory, for all lanes.
    Splat(Mem),
    /// A whole vector in memory, its pointer being an argument of the call.
    Far(Far),
    /// f64: the first half of the lanes, and the others.
    Reals {
        v: [V; 2],
    },
    RealConst(u64),
    /// Two whole vectors in memory.
    RealMem([Mem; 2]),
}

/// Gives the operand with that number (counted over [`Tail::operands`]).
pub type Fetch<'a> = &'a mut dyn FnMut(&mut Vm, usize, Node) -> Operand;

/// Applies a tail to `result`, a register that becomes the tail's. The answer lies in one that the caller gives back.
pub fn apply(vm: &mut Vm, tail: &Tail, result: V, fetch: Fetch) -> Result<V> {
    apply_in_order(vm, tail, result, fetch, None)
}

/// The same; `mixed`: the node that [`mixes`] names brings the lanes into the mixed order, and the answer has them so.
pub fn apply_in_order(
    vm: &mut Vm,
    tail: &Tail,
    result: V,
    fetch: Fetch,
    mixed: Option<u8>,
) -> Result<V> {
    let types = tail.types();
    let mut uses = vec![0u32; tail.nodes.len()];
    for o in tail.nodes.iter().flat_map(|n| n.operands()) {
        uses[o as usize] += 1;
    }
    if let Some(last) = uses.last_mut() {
        *last += 1;
    }
    let (less, skipped) = less::sums(tail, &types, &uses);
    let mut w = Writer {
        vm,
        values: vec![],
        uses,
        mixed,
    };
    let mut operand = 0;
    for (at, n) in tail.nodes.iter().enumerate() {
        let value = match *n {
            Node::Result(_) => Value::Reg {
                v: result,
                own: true,
            },
            Node::Const(Const::F64(bits)) => Value::RealConst(bits),
            Node::Const(c) => Value::Const(match c {
                Const::F32(bits) => bits,
                Const::I32(v) => v as u32,
                Const::Bool(true) => u32::MAX,
                Const::Bool(false) => 0,
                _ => return Err(refused(*n)),
            }),
            Node::Tile(_) | Node::Column(_) | Node::Single(_) => {
                operand += 1;
                match fetch(w.vm, operand - 1, *n) {
                    Operand::Reg(v) => Value::Reg { v, own: true },
                    Operand::Shared(v) => Value::Reg { v, own: false },
                    Operand::Mem(m) => Value::Mem(m),
                    Operand::Splat(m) => Value::Splat(m),
                    Operand::Far(f) => Value::Far(f),
                    Operand::Reals(v) => Value::Reals { v },
                    Operand::RealMem(m) => Value::RealMem(m),
                }
            }
            // What is rounded next to become a whole number is rounded by becoming one.
            Node::Un(UnOp::Round | UnOp::Near, a) if types[a as usize] == Ty::F64 => {
                w.passed_on(a)?
            }
            // What is rounded in f32 is a whole number from then on.
            Node::Un(UnOp::Near, a) if types[a as usize] == Ty::F32 => {
                let (x, d) = w.instead(a);
                w.vm.op(Op::NearInt { d, a: x });
                Value::Reg { v: d, own: true }
            }
            Node::Cast(Ty::I32, a) if nearest(tail, &types, a) => w.taken(a),
            // Their operands go to the sum that reads them.
            _ if skipped[at] => Value::Const(0),
            _ if types[at] == Ty::F64 => Value::Reals {
                v: w.real(*n, &types)?,
            },
            _ => match less[at] {
                Some([v, a, b]) => w.less_where(v, a, b),
                None => Value::Reg {
                    v: w.compute(*n, &types)?,
                    own: true,
                },
            },
        };
        w.values.push(value);
        // What nobody reads is given back at once.
        if w.uses[at] == 0 {
            w.uses[at] = 1;
            w.done(at as u8);
        }
    }
    match w.values.last().copied() {
        None => Ok(result),
        Some(Value::Reg { v, .. }) => Ok(v),
        Some(Value::Const(bits)) => {
            let d = w.vm.v();
            w.vm.op(Op::Const { d, bits });
            Ok(d)
        }
        Some(Value::Far(f)) => {
            let (m, d) = (f.near(w.vm), w.vm.v());
            w.vm.load(d, m, Lanes::All);
            Ok(d)
        }
        Some(Value::Splat(at)) => {
            let d = w.vm.v();
            w.vm.op(Op::Splat { d, at });
            Ok(d)
        }
        Some(Value::Mem(m)) => {
            let d = w.vm.v();
            w.vm.load(d, m, Lanes::All);
            Ok(d)
        }
        Some(_) => Err(Diagnostic::internal("a tail that ends in f64")),
    }
}

/// Registers beside the result that a tail needs at its worst.
pub fn registers(tail: &Tail, isa: Isa) -> Result<usize> {
    registers_of(tail, isa, false)
}

/// The same where operands are in registers that stay as they are, if they can be.
pub fn registers_shared(tail: &Tail, isa: Isa) -> Result<usize> {
    registers_of(tail, isa, true)
}

fn registers_of(tail: &Tail, isa: Isa, share: bool) -> Result<usize> {
    let wide = Isa { vregs: 200, ..isa };
    let mut vm = Vm::new(wide, 0);
    let result = vm.v();
    let mut fetch = |vm: &mut Vm, _: usize, n: Node| match n.element() {
        Some(DType::F64) => Operand::Reals([vm.v(), vm.v()]),
        _ if share && shareable(&n) => Operand::Shared(vm.v()),
        _ => Operand::Reg(vm.v()),
    };
    let answer = apply(&mut vm, tail, result, &mut fetch)?;
    let _ = answer;
    Ok(vm.most().saturating_sub(1))
}

/// Whether a node rounds an f32 to the nearest whole number.
fn nearest(tail: &Tail, types: &[Ty], n: u8) -> bool {
    match tail.nodes.get(n as usize) {
        Some(Node::Un(UnOp::Near, a)) => types[*a as usize] == Ty::F32,
        _ => false,
    }
}

fn refused(n: Node) -> Box<Diagnostic> {
    Diagnostic::internal(format!("a tail can't have {n:?}"))
}

struct Writer<'a> {
    vm: &'a mut Vm,
    values: Vec<Value>,
    uses: Vec<u32>,
    /// The node whose whole numbers are to lie in the mixed order.
    mixed: Option<u8>,
}

impl Writer<'_> {
    /// One use of a node is over.
    fn done(&mut self, n: u8) {
        let left = &mut self.uses[n as usize];
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        match self.values[n as usize] {
            Value::Reg { v, own: true } => self.vm.free(v),
            Value::Reals { v } => self.vm.free_all(&v),
            _ => {}
        }
    }
    /// A node that is another one's value: whoever uses it uses that.
    fn passed_on(&mut self, a: u8) -> Result<Value> {
        match (self.values[a as usize], self.uses[a as usize]) {
            (v @ Value::Reals { .. }, 1) => {
                // The registers have a new owner.
                self.values[a as usize] = Value::RealConst(0);
                self.done(a);
                Ok(v)
            }
            (v @ (Value::RealConst(_) | Value::RealMem(_)), _) => {
                self.done(a);
                Ok(v)
            }
            _ => {
                let v = self.reals_of(a)?;
                self.done(a);
                Ok(Value::Reals { v })
            }
        }
    }
    /// The same bits as those of another node, in its register if nobody else needs that.
    fn taken(&mut self, a: u8) -> Value {
        let v = match (self.values[a as usize], self.uses[a as usize]) {
            (Value::Reg { v, own: true }, 1) => {
                self.values[a as usize] = Value::Const(0);
                v
            }
            _ => {
                let (x, fresh) = self.reg(a);
                match fresh {
                    true => x,
                    false => {
                        let d = self.vm.v();
                        self.vm.op(Op::Move { d, a: x });
                        d
                    }
                }
            }
        };
        self.done(a);
        Value::Reg { v, own: true }
    }
    /// The node in a register: with whether that register is a fresh one to be given back.
    fn reg(&mut self, n: u8) -> (V, bool) {
        match self.values[n as usize] {
            Value::Reg { v, .. } => (v, false),
            Value::Const(bits) => {
                if let Some(v) = self.vm.held(bits) {
                    return (v, false);
                }
                let d = self.vm.v();
                self.vm.op(Op::Const { d, bits });
                (d, true)
            }
            Value::Splat(at) => {
                let d = self.vm.v();
                self.vm.op(Op::Splat { d, at });
                (d, true)
            }
            Value::Mem(m) => {
                let d = self.vm.v();
                self.vm.load(d, m, Lanes::All);
                (d, true)
            }
            Value::Far(f) => {
                let (m, d) = (f.near(self.vm), self.vm.v());
                self.vm.load(d, m, Lanes::All);
                (d, true)
            }
            // Types say that no f64 comes here.
            Value::Reals { v } => (v[0], false),
            Value::RealConst(_) | Value::RealMem(_) => (self.vm.v(), true),
        }
    }
    /// The node in a register, and one for what is made of it, which may be the same: its last use is over, if this was it.
    fn instead(&mut self, n: u8) -> (V, V) {
        let (x, fresh) = self.reg(n);
        if fresh {
            self.vm.free(x);
        }
        self.done(n);
        (x, self.vm.v())
    }
    fn src(&mut self, n: u8) -> Src {
        match self.values[n as usize] {
            Value::Reg { v, .. } => Src::Reg(v),
            Value::Const(bits) => match self.vm.held(bits) {
                Some(v) => Src::Reg(v),
                None => Src::Const(bits),
            },
            Value::Mem(m) => Src::Mem(m),
            Value::Splat(m) => Src::Splat(m),
            Value::Far(f) => Src::Mem(f.near(self.vm)),
            Value::Reals { v } => Src::Reg(v[0]),
            Value::RealConst(bits) => Src::Const(bits as u32),
            Value::RealMem(m) => Src::Mem(m[0]),
        }
    }
    fn compute(&mut self, n: Node, types: &[Ty]) -> Result<V> {
        match n {
            Node::Un(op, a) => self.un(op, a, types[a as usize]),
            Node::Bin(op, a, b) => self.bin(op, a, b, types[a as usize]),
            Node::Fma(a, b, c) => {
                if let Some(d) = self.fma_over(a, b, c) {
                    return Ok(d);
                }
                let Value::Reg { v: d, .. } = self.taken(c) else {
                    return Err(refused(n));
                };
                let (a_reg, a_fresh) = self.reg(a);
                let b_src = self.src(b);
                self.vm.op(Op::Fma {
                    d,
                    a: a_reg,
                    b: b_src,
                });
                if a_fresh {
                    self.vm.free(a_reg);
                }
                [a, b].into_iter().for_each(|n| self.done(n));
                Ok(d)
            }
            Node::Select(m, a, b) => {
                let regs = [m, a, b].map(|n| self.reg(n));
                for (r, fresh) in regs {
                    if fresh {
                        self.vm.free(r);
                    }
                }
                [m, a, b].into_iter().for_each(|n| self.done(n));
                let d = self.vm.v();
                self.vm.op(Op::Select {
                    d,
                    m: regs[0].0,
                    a: regs[1].0,
                    b: regs[2].0,
                });
                Ok(d)
            }
            Node::Cast(Ty::I32, a) if types[a as usize] == Ty::F64 => self.whole(a),
            Node::Cast(Ty::F32, a) if types[a as usize] == Ty::I32 => {
                let (x, d) = self.instead(a);
                let op = Un::FromInt;
                self.vm.op(Op::Un { op, d, a: x });
                Ok(d)
            }
            Node::Cast(Ty::I32, a) if types[a as usize] == Ty::F32 => {
                let (x, fresh) = self.reg(a);
                let (d, tmp) = (self.vm.v(), self.vm.v());
                self.vm.op(Op::ToInt { d, a: x, tmp });
                self.vm.free(tmp);
                if fresh {
                    self.vm.free(x);
                }
                self.done(a);
                Ok(d)
            }
            _ => Err(refused(n)),
        }
    }
    /// `a * b + c` in the register of `a`, where that is free to go and what is added lies in memory or waits in a register.
    fn fma_over(&mut self, a: u8, b: u8, c: u8) -> Option<V> {
        let Value::Reg { v: d, own: true } = self.values[a as usize] else {
            return None;
        };
        let kept = matches!(self.values[c as usize], Value::Reg { own: true, .. });
        let any = Op::FmaOver {
            d,
            a: d,
            c: Src::Reg(d),
        };
        if self.uses[a as usize] != 1 || kept || a == b || a == c || !self.vm.isa.has(&any) {
            return None;
        }
        let (by, fresh) = self.reg(b);
        let c_src = self.src(c);
        self.vm.op(Op::FmaOver { d, a: by, c: c_src });
        if fresh {
            self.vm.free(by);
        }
        // The register has a new owner.
        self.values[a as usize] = Value::Const(0);
        [a, b, c].into_iter().for_each(|n| self.done(n));
        Some(d)
    }
    /// The nearest whole numbers of an f64 node.
    fn whole(&mut self, a: u8) -> Result<V> {
        let last = self.uses[a as usize] == 1;
        let halves = match self.values[a as usize] {
            Value::Reals { v } if last => v,
            _ => self.reals_of(a)?,
        };
        let (d, [lo, hi]) = (self.vm.v(), halves);
        // This node's place is that of the next value.
        self.vm
            .op(match self.mixed == Some(self.values.len() as u8) {
                true => Op::FromRealsMixed { d, lo, hi },
                false => Op::FromReals { d, lo, hi },
            });
        let own = matches!(self.values[a as usize], Value::Reals { .. }) && last;
        if !own {
            self.vm.free_all(&halves);
        }
        self.done(a);
        Ok(d)
    }
    fn un(&mut self, op: UnOp, a: u8, ty: Ty) -> Result<V> {
        let float = ty == Ty::F32;
        let simple = match op {
            UnOp::Sqrt => Some(Un::Sqrt),
            UnOp::Floor => Some(Un::Floor),
            UnOp::Ceil => Some(Un::Ceil),
            UnOp::Trunc => Some(Un::Trunc),
            UnOp::Round => Some(Un::Round),
            UnOp::ToBits | UnOp::FromBits => {
                return match self.taken(a) {
                    Value::Reg { v, .. } => Ok(v),
                    _ => Err(refused(Node::Un(op, a))),
                };
            }
            _ => None,
        };
        if let Some(op) = simple {
            let (x, d) = self.instead(a);
            self.vm.op(Op::Un { op, d, a: x });
            return Ok(d);
        }
        let (x, fresh) = self.reg(a);
        let d = self.vm.v();
        match (op, float) {
            (UnOp::Neg, true) => self.vm.bin(Bin::Xor, d, x, Src::Const(1 << 31)),
            (UnOp::Abs, true) => self.vm.bin(Bin::And, d, x, Src::Const(!(1 << 31))),
            (UnOp::Neg, false) => {
                self.vm.op(Op::Zero { d });
                self.vm.bin(Bin::SubI, d, d, x);
            }
            (UnOp::Abs, false) => {
                // x ^ sign, minus sign.
                let sign = self.vm.v();
                self.vm.op(Op::Shift {
                    op: Shift::Right,
                    d: sign,
                    a: x,
                    by: 31,
                });
                self.vm.bin(Bin::Xor, d, x, sign);
                self.vm.bin(Bin::SubI, d, d, sign);
                self.vm.free(sign);
            }
            (UnOp::Not, _) => self.vm.bin(Bin::Xor, d, x, Src::Const(u32::MAX)),
            _ => return Err(refused(Node::Un(op, a))),
        }
        if fresh {
            self.vm.free(x);
        }
        self.done(a);
        Ok(d)
    }
    fn bin(&mut self, op: BinOp, a: u8, b: u8, ty: Ty) -> Result<V> {
        let float = ty == Ty::F32;
        let shift = match op {
            BinOp::Shl => Some(Shift::Left),
            BinOp::Shr => Some(Shift::Right),
            BinOp::ShrU => Some(Shift::RightU),
            _ => None,
        };
        if let Some(op) = shift {
            let Value::Const(by) = self.values[b as usize] else {
                return Err(refused(Node::Bin(BinOp::Shl, a, b)));
            };
            let (x, fresh) = self.reg(a);
            let d = self.vm.v();
            self.vm.op(Op::Shift {
                op,
                d,
                a: x,
                by: (by & 31) as u8,
            });
            if fresh {
                self.vm.free(x);
            }
            self.done(a);
            self.done(b);
            return Ok(d);
        }
        use BinOp as B;
        let (a, b, lane) = match (op, float) {
            (B::Add, true) => (a, b, Bin::Add),
            (B::Sub, true) => (a, b, Bin::Sub),
            (B::Mul, true) => (a, b, Bin::Mul),
            (B::Div, true) => (a, b, Bin::Div),
            (B::Min, true) => (a, b, Bin::Min),
            (B::Max, true) => (a, b, Bin::Max),
            (B::Eq, true) => (a, b, Bin::Eq),
            (B::Ne, true) => (a, b, Bin::Ne),
            (B::Lt, true) => (a, b, Bin::Lt),
            (B::Le, true) => (a, b, Bin::Le),
            (B::Add, false) => (a, b, Bin::AddI),
            (B::Sub, false) => (a, b, Bin::SubI),
            (B::Mul, false) => (a, b, Bin::MulI),
            (B::Min, false) => (a, b, Bin::MinI),
            (B::Max, false) => (a, b, Bin::MaxI),
            (B::Eq, false) => (a, b, Bin::EqI),
            (B::Lt, false) => (b, a, Bin::GtI),
            (B::And, false) => (a, b, Bin::And),
            (B::Or, false) => (a, b, Bin::Or),
            (B::Xor, false) => (a, b, Bin::Xor),
            _ => return Err(refused(Node::Bin(op, a, b))),
        };
        // A constant in front changes places where that changes nothing.
        let swap = matches!(
            lane,
            Bin::Add | Bin::Mul | Bin::And | Bin::Or | Bin::Xor | Bin::AddI | Bin::MulI
        ) && !matches!(self.values[a as usize], Value::Reg { .. });
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let (x, fresh) = self.reg(a);
        let y = self.src(b);
        // The answer may take the place of an operand.
        if fresh {
            self.vm.free(x);
        }
        self.done(a);
        self.done(b);
        let d = self.vm.v();
        self.vm.bin(lane, d, x, y);
        Ok(d)
    }
}
