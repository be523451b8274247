//! Writing programs of the vector machine: registers are taken and given back, operations appended.

use super::ir::*;
use super::weave::{Strands, in_turns};
use onnxc_compiler::base::diag::{Diagnostic, Result};

/// A program under construction.
///
/// Running out of registers is an error of the template, reported by [`Vm::finish`]: until then a register that does not
/// exist stands in.
pub struct Vm {
    /// The machine.
    pub isa: Isa,
    ops: Vec<Op>,
    free_v: Vec<V>,
    free_x: Vec<X>,
    labels: u32,
    slots: u16,
    /// By the number of the strand.
    passages: Vec<u16>,
    pub(super) strands: Option<Strands>,
    /// Constants that are in registers, with these.
    held: Vec<(u32, V)>,
    args: u8,
    /// Most vector registers in use at once.
    most: usize,
    /// What went wrong first.
    error: Option<&'static str>,
}

impl Vm {
    /// An empty program that takes `args` arguments.
    pub fn new(isa: Isa, args: u8) -> Vm {
        Vm {
            isa,
            ops: vec![],
            // Lowest numbers first: on both architectures the last cost something.
            free_v: (0..isa.vregs as u8).rev().map(V).collect(),
            free_x: (0..XREGS).rev().map(X).collect(),
            labels: 0,
            slots: 0,
            passages: vec![],
            strands: None,
            held: vec![],
            args,
            most: 0,
            error: None,
        }
    }
    /// The finished program.
    pub fn finish(self) -> Result<Program> {
        match self.error {
            Some(e) => Err(Diagnostic::internal(e)),
            None => Ok(Program {
                isa: self.isa,
                args: self.args,
                slots: self.slots,
                ops: self.ops,
            }),
        }
    }
    /// Appends an operation.
    pub fn op(&mut self, op: Op) {
        self.ops.push(op);
    }
    /// Operations so far.
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }
    /// Has strands, which begin at these operations, take turns.
    pub(super) fn interleave(&mut self, starts: &[usize]) {
        self.ops = in_turns(std::mem::take(&mut self.ops), starts);
    }

    // Registers

    /// A free vector register.
    pub fn v(&mut self) -> V {
        if let Some(v) = self.strands.as_mut().and_then(|s| s.own_v.pop()) {
            return v;
        }
        let used = self.isa.vregs.saturating_sub(self.free_v.len()) + 1;
        self.most = self.most.max(used);
        self.free_v.pop().unwrap_or_else(|| {
            self.error = self
                .error
                .or(Some("a kernel needs too many vector registers"));
            V(0)
        })
    }
    /// So many of them.
    pub fn vs(&mut self, n: usize) -> Vec<V> {
        (0..n).map(|_| self.v()).collect()
    }
    /// Gives a vector register back.
    pub fn free(&mut self, v: V) {
        if let Some(s) = &mut self.strands {
            if !s.own_v.contains(&v) {
                s.own_v.push(v);
            }
            return;
        }
        if !self.free_v.contains(&v) {
            self.free_v.push(v);
            // Deterministic and dense: the lowest is taken next.
            self.free_v.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
    /// Gives several back.
    pub fn free_all(&mut self, vs: &[V]) {
        vs.iter().for_each(|v| self.free(*v));
    }
    /// Vector registers that are free, before strands are opened.
    pub fn spare(&self) -> usize {
        self.free_v.len()
    }
    /// Most vector registers that were in use at once.
    pub fn most(&self) -> usize {
        self.most
    }
    /// Has a constant, for all lanes, in a register until [`Vm::let_go`].
    pub fn hold(&mut self, bits: u32) {
        if self.held(bits).is_none() {
            let d = self.v();
            self.op(Op::Const { d, bits });
            self.held.push((bits, d));
        }
    }
    /// The register that holds a constant. Whoever reads it leaves it as it is.
    pub fn held(&self, bits: u32) -> Option<V> {
        let found = self.held.iter().find(|(b, _)| *b == bits);
        found.map(|(_, v)| *v)
    }
    /// Gives the registers of all constants back.
    pub fn let_go(&mut self) {
        for (_, v) in std::mem::take(&mut self.held) {
            self.free(v);
        }
    }
    /// A free address register.
    pub fn x(&mut self) -> X {
        if let Some(x) = self.strands.as_mut().and_then(|s| s.own_x.pop()) {
            return x;
        }
        self.free_x.pop().unwrap_or_else(|| {
            self.error = self
                .error
                .or(Some("a kernel needs too many address registers"));
            X(0)
        })
    }
    /// Gives an address register back.
    pub fn free_x(&mut self, x: X) {
        if let Some(s) = &mut self.strands {
            if !s.own_x.contains(&x) {
                s.own_x.push(x);
            }
            return;
        }
        if !self.free_x.contains(&x) {
            self.free_x.push(x);
            self.free_x.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
    /// Address registers that are free.
    pub fn spare_x(&self) -> usize {
        self.free_x.len()
    }
    /// A slot for a vector in the frame.
    pub fn slot(&mut self) -> u16 {
        self.slots += 1;
        self.slots - 1
    }
    /// The slot for what goes through memory at once; each strand has its own.
    pub fn passage(&mut self) -> u16 {
        let strand = self.strands.as_ref().map_or(0, Strands::number);
        while self.passages.len() <= strand {
            let slot = self.slot();
            self.passages.push(slot);
        }
        self.passages[strand]
    }
    /// A new label, not yet placed.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    // Addresses

    /// Argument `n` in a register of its own.
    pub fn arg(&mut self, n: u8) -> X {
        let d = self.x();
        self.op(Op::Arg { d, n });
        d
    }
    /// `d += by`.
    pub fn add_i(&mut self, d: X, by: i32) {
        if by != 0 {
            self.op(Op::AddI { d, a: d, by });
        }
    }
    /// `d += b << shift`.
    pub fn add_x(&mut self, d: X, b: X, shift: u8) {
        self.op(Op::AddX { d, a: d, b, shift });
    }
    /// Adds argument `n`, shifted left by `shift`, to a register.
    pub fn add_arg(&mut self, d: X, n: u8, shift: u8) {
        let t = self.arg(n);
        self.add_x(d, t, shift);
        self.free_x(t);
    }

    // Control

    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        self.op(Op::Label { label });
    }
    /// A loop that runs `count / by` times, `count` being at least `by` and counted down.
    pub fn repeat(&mut self, count: X, by: i32, body: impl FnOnce(&mut Vm)) {
        let top = self.label();
        self.place(top);
        body(self);
        self.op(Op::Count {
            x: count,
            by,
            to: top,
        });
    }
    /// Skips `body` unless `x cond with`.
    pub fn when(&mut self, x: X, cond: Cond, with: i32, body: impl FnOnce(&mut Vm)) {
        let end = self.label();
        let cond = match cond {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Lt => Cond::Ge,
            Cond::Le => Cond::Gt,
            Cond::Gt => Cond::Le,
            Cond::Ge => Cond::Lt,
        };
        self.op(Op::Branch {
            x,
            cond,
            with,
            to: end,
        });
        body(self);
        self.place(end);
    }

    // Vectors

    /// Loads 32-bit lanes.
    pub fn load(&mut self, d: V, at: Mem, lanes: Lanes) {
        self.op(Op::Load {
            d,
            at,
            elem: Elem::W32,
            lanes,
        });
    }
    /// Stores 32-bit lanes; `tmp` may be clobbered.
    pub fn store(&mut self, s: V, at: Mem, lanes: Lanes, tmp: V) {
        self.op(Op::Store {
            s,
            at,
            elem: Elem::W32,
            lanes,
            tmp,
        });
    }
    /// A lane-wise operation.
    pub fn bin(&mut self, op: Bin, d: V, a: V, b: impl Into<Src>) {
        self.op(Op::Bin {
            op,
            d,
            a,
            b: b.into(),
        });
    }
    /// `d += a * b`.
    pub fn fma(&mut self, d: V, a: V, b: impl Into<Src>) {
        self.op(Op::Fma { d, a, b: b.into() });
    }
}
