//! The template of `sparse_out_across`: tails see rows of channels as they lie, so that what belongs to a column is the same for all lanes. Their
//! results are limited to bytes, four channels to 32 bits, and then turned into rows of pixels, sixteen channels at a time.

use crate::vector::build::Vm;
use crate::vector::ir::*;
use crate::vector::tail::{self, Kept};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::sparse::numbers::Numbers;
use onnxc_compiler::contracts::sparse::tiles::Out;
use onnxc_compiler::loops::ir::Callee;
use onnxc_compiler::loops::tail::{Node, Tail};

/// Channels at a time.
const GROUP: usize = 16;

struct Template<'s> {
    vm: Vm,
    s: &'s Out,
    kinds: Vec<Node>,
    tail: Tail,
    /// Registers that can hold what waits while a tail is at work.
    room: usize,
    /// Slots for the rest.
    slots: Vec<u16>,
}

/// Where the columns of a round begin: sums, operands, results.
struct Places {
    sums: X,
    operands: Vec<X>,
    results: X,
}

/// The program. Arguments: s, c, operands, c_row, operands' rows.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let wrong = || Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel));
    let s = Out::of(callee).filter(Out::may_cross).ok_or_else(wrong)?;
    let kinds: Vec<Node> = s.tail.operands().collect();
    let (tail, _) = tail::without_limits(&s.tail, s.c_type);
    // The result, and what a tail needs beside.
    let need = tail::registers(&tail, isa)? + 1;
    let mut t = Template {
        vm: Vm::new(isa, 3 + 2 * kinds.len() as u8),
        s: &s,
        kinds,
        tail,
        room: isa.vregs.saturating_sub(need),
        slots: vec![],
    };
    t.write()?;
    t.vm.finish()
}

impl Template<'_> {
    fn write(&mut self) -> Result<()> {
        let lanes = self.vm.isa.lanes;
        let c_row = 2 + self.kinds.len() as u8;
        let row = self.vm.arg(c_row);
        // Pairs of words leave two vectors of sums that belong together.
        let unit = lanes * self.s.numbers.group() as usize;
        let pixels = self.s.pixels as usize;
        let (whole, rest) = (pixels / unit, pixels % unit);
        let at = self.vm.x();
        self.vm.op(Op::SetX { d: at, value: 0 });
        if whole > 0 {
            let count = self.vm.x();
            let value = whole as i64;
            self.vm.op(Op::SetX { d: count, value });
            let top = self.vm.label();
            self.vm.place(top);
            self.unit(at, row, unit)?;
            self.vm.add_i(at, unit as i32);
            let to = top;
            self.vm.op(Op::Count {
                x: count,
                by: 1,
                to,
            });
            self.vm.free_x(count);
        }
        if rest > 0 {
            self.unit(at, row, rest)?;
        }
        self.vm.free_x(at);
        self.vm.free_x(row);
        Ok(())
    }
    /// `here` pixels from number `at` on.
    fn unit(&mut self, at: X, row: X, here: usize) -> Result<()> {
        for v in 0..self.s.numbers.group() as usize {
            if self.pixel(v, 0, 0) < here {
                self.vector(v, at, row, here)?;
            }
        }
        Ok(())
    }
    /// Which pixel of a unit a lane of one of its vectors is.
    fn pixel(&self, v: usize, quarter: usize, r: usize) -> usize {
        match self.s.numbers {
            Numbers::Words(_) => quarter * 8 + v * 4 + r,
            _ => quarter * 4 + r,
        }
    }
    /// All columns of vector `v` of a unit.
    fn vector(&mut self, v: usize, at: X, row: X, here: usize) -> Result<()> {
        let lanes = self.vm.isa.lanes;
        let n = self.s.n as usize;
        let sums = self.vm.arg(0);
        self.vm.add_x(sums, at, 2);
        self.vm.add_i(sums, (v * lanes) as i32 * 4);
        let results = self.vm.x();
        self.vm.op(Op::MulX {
            d: results,
            a: at,
            b: row,
        });
        self.vm.add_arg(results, 1, 0);
        let operands = (0..self.kinds.len()).map(|k| self.vm.arg(2 + k as u8));
        let p = Places {
            sums,
            operands: operands.collect(),
            results,
        };
        let count = self.vm.x();
        let value = (n / GROUP) as i64;
        self.vm.op(Op::SetX { d: count, value });
        let top = self.vm.label();
        self.vm.place(top);
        self.columns(&p, v, row, here)?;
        self.further(&p, GROUP as i32);
        self.vm.op(Op::Count {
            x: count,
            by: 1,
            to: top,
        });
        self.vm.free_x(count);
        if !n.is_multiple_of(GROUP) {
            // The last ones, of which some have been before.
            self.further(&p, (n % GROUP) as i32 - GROUP as i32);
            self.columns(&p, v, row, here)?;
        }
        let own = p.operands.iter().copied().chain([p.sums, p.results]);
        own.collect::<Vec<_>>()
            .into_iter()
            .for_each(|x| self.vm.free_x(x));
        Ok(())
    }
    fn further(&mut self, p: &Places, columns: i32) {
        self.vm.add_i(p.sums, columns * self.s.pitch as i32 * 4);
        self.vm.add_i(p.results, columns);
        for (&x, kind) in p.operands.iter().zip(&self.kinds) {
            self.vm.add_i(x, columns * bytes(*kind));
        }
    }
    /// Sixteen columns.
    fn columns(&mut self, p: &Places, v: usize, row: X, here: usize) -> Result<()> {
        let signed = self.s.c_type == DType::I8;
        let pitch = self.s.pitch as i32 * 4;
        let mut packed = vec![];
        for q in 0..4 {
            let mut four = vec![];
            for c in 0..4 {
                let column = q * 4 + c;
                let result = self.vm.v();
                let at = Mem::at(p.sums, column * pitch);
                self.vm.load(result, at, Lanes::All);
                let mut fetch = |vm: &mut Vm, k: usize, kind: Node| {
                    let at = Mem::at(p.operands[k], column * bytes(kind));
                    if kind.element() == Some(DType::F64) {
                        let d = vm.v();
                        vm.op(Op::SplatReal { d, at });
                        return tail::Operand::Reals([d, d]);
                    }
                    let same = kind.element().map_or(kind, Node::Single);
                    tail::operand(vm, same, at, Lanes::All)
                };
                let answer = tail::apply(&mut self.vm, &self.tail, result, &mut fetch)?;
                let kept = self.keep(answer, (packed.len() + four.len()) as i32);
                four.push(kept);
            }
            let v: Vec<V> = four.into_iter().map(|k| k.fetch(&mut self.vm)).collect();
            let v = [v[0], v[1], v[2], v[3]];
            self.vm.op(Op::PackBytes { v, signed });
            self.vm.free_all(&v[1..]);
            let kept = self.keep(v[0], packed.len() as i32);
            packed.push(kept);
        }
        let all: Vec<V> = packed.into_iter().map(|k| k.fetch(&mut self.vm)).collect();
        let all = [all[0], all[1], all[2], all[3]];
        let tmp = [self.vm.v(), self.vm.v()];
        self.vm.op(Op::Transpose { v: all, tmp });
        self.vm.free_all(&tmp);
        let to = self.vm.x();
        self.vm.op(Op::MoveX {
            d: to,
            a: p.results,
        });
        let mut last = 0;
        for quarter in 0..self.vm.isa.lanes / 4 {
            for (r, &s) in all.iter().enumerate() {
                let pixel = self.pixel(v, quarter, r);
                if pixel >= here {
                    continue;
                }
                for _ in last..pixel {
                    self.vm.add_x(to, row, 0);
                }
                last = pixel;
                let part = quarter as u8;
                let at = Mem::at(to, 0);
                self.vm.op(Op::StoreQuad { s, at, part });
            }
        }
        self.vm.free_x(to);
        self.vm.free_all(&all);
        Ok(())
    }
    /// Puts what waits away; `before`: how much waits already.
    fn keep(&mut self, v: V, before: i32) -> Kept {
        let before = before as usize;
        if before < self.room {
            return Kept::Reg(v);
        }
        let place = before - self.room;
        while self.slots.len() <= place {
            let slot = self.vm.slot();
            self.slots.push(slot);
        }
        let slot = self.slots[place];
        self.vm.op(Op::Spill { s: v, slot });
        self.vm.free(v);
        Kept::Slot(slot)
    }
}

/// Bytes from one column of an operand to the next.
fn bytes(kind: Node) -> i32 {
    match kind {
        Node::Single(_) => 0,
        _ => kind.element().map_or(4, |d| d.size() as i32),
    }
}
