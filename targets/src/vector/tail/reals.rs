//! Nodes of f64, each in two registers.

use super::{Value, Writer, refused};
use crate::vector::ir::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::loops::ir::{BinOp, Ty, UnOp};
use onnxc_compiler::loops::tail::Node;

impl Writer<'_> {
    /// A copy of an f64 node in registers of its own.
    pub(super) fn reals_of(&mut self, n: u8) -> Result<[V; 2]> {
        let d = [self.vm.v(), self.vm.v()];
        match self.values[n as usize] {
            Value::Reals { v } => {
                for (d, a) in d.into_iter().zip(v) {
                    self.vm.op(Op::Move { d, a });
                }
            }
            Value::RealMem(m) => {
                for (d, at) in d.into_iter().zip(m) {
                    self.vm.load(d, at, Lanes::All);
                }
            }
            Value::RealConst(bits) => {
                for d in d {
                    self.vm.op(Op::Zero { d });
                    self.vm.op(Op::RealBin {
                        op: RealBin::Add,
                        d,
                        a: d,
                        b: RealSrc::Const(bits),
                    });
                }
            }
            _ => return Err(Diagnostic::internal("a node that is no f64")),
        }
        Ok(d)
    }
    /// Half of an f64 node as a second operand.
    fn real_src(&self, n: u8, half: usize) -> Result<RealSrc> {
        Ok(match self.values[n as usize] {
            Value::Reals { v } => RealSrc::Reg(v[half]),
            Value::RealMem(m) => RealSrc::Mem(m[half]),
            Value::RealConst(bits) => RealSrc::Const(bits),
            _ => return Err(Diagnostic::internal("a node that is no f64")),
        })
    }
    /// A node of f64.
    pub(super) fn real(&mut self, n: Node, types: &[Ty]) -> Result<[V; 2]> {
        match n {
            Node::Cast(_, a) if types[a as usize] == Ty::I32 => {
                let (x, fresh) = self.reg(a);
                let [lo, hi] = [self.vm.v(), self.vm.v()];
                if self.vm.isa.has(&Op::SlotToReals { lo, hi, slot: 0 }) {
                    let slot = self.vm.passage();
                    self.vm.op(Op::Spill { s: x, slot });
                    self.vm.op(Op::SlotToReals { lo, hi, slot });
                } else {
                    self.vm.op(Op::ToReals { lo, hi, a: x });
                }
                let d = [lo, hi];
                if fresh {
                    self.vm.free(x);
                }
                self.done(a);
                Ok(d)
            }
            Node::Un(UnOp::Floor, a) => {
                let d = self.reals_of(a)?;
                self.done(a);
                for d in d {
                    self.vm.op(Op::RealFloor { d, a: d });
                }
                Ok(d)
            }
            Node::Bin(op, a, b) => self.real_bin(op, a, b),
            _ => Err(refused(n)),
        }
    }
    fn real_bin(&mut self, op: BinOp, a: u8, b: u8) -> Result<[V; 2]> {
        let lane = match op {
            BinOp::Add => RealBin::Add,
            BinOp::Sub => RealBin::Sub,
            BinOp::Mul => RealBin::Mul,
            BinOp::Min => RealBin::Min,
            BinOp::Max => RealBin::Max,
            _ => return Err(refused(Node::Bin(op, a, b))),
        };
        // A number in memory is the second; with constants the least and largest don't mind.
        let in_registers = |w: &Self, n: u8| matches!(w.values[n as usize], Value::Reals { .. });
        let swap = op != BinOp::Sub && !in_registers(self, a);
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let own = match self.values[a as usize] {
            // The halves of a number that is the same in all lanes may be one register.
            Value::Reals { v } if self.uses[a as usize] == 1 && a != b && v[0] != v[1] => Some(v),
            _ => None,
        };
        let d = match own {
            Some(v) => v,
            None => self.reals_of(a)?,
        };
        for (half, d) in d.into_iter().enumerate() {
            let b = self.real_src(b, half)?;
            self.vm.op(Op::RealBin {
                op: lane,
                d,
                a: d,
                b,
            });
        }
        if own.is_some() {
            self.values[a as usize] = Value::RealConst(0);
        }
        self.done(a);
        self.done(b);
        Ok(d)
    }
}
