//! The template of `sparse_out`: four pixels of a vector of columns at a time, by quarters; what comes out are rows of pixels, on which
//! tails and stores are those of dense products.

use crate::vector::build::Vm;
use crate::vector::ir::*;
use crate::vector::tail;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts::sparse::numbers::place;
use onnxc_compiler::contracts::sparse::tiles::Out;
use onnxc_compiler::loops::ir::Callee;
use onnxc_compiler::loops::tail::{Node, Tail};

/// Pixels at a time.
const FOUR: usize = 4;

struct Template<'s> {
    vm: Vm,
    s: &'s Out,
    kinds: Vec<Node>,
    tail: Tail,
    elem: Elem,
    /// Slots for results that wait while a tail needs many registers.
    slots: [Option<u16>; FOUR],
}

/// Where rows of pixels begin: the first of a group, and the distance.
struct Rows {
    first: X,
    stride: Option<X>,
    bytes: i32,
}

/// The program. Arguments: s, c, operands, c_row, operands' rows.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Out::of(callee).ok_or_else(|| {
        Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
    })?;
    let kinds: Vec<Node> = s.tail.operands().collect();
    let (tail, elem) = tail::without_limits(&s.tail, s.c_type);
    let mut t = Template {
        vm: Vm::new(isa, 3 + 2 * kinds.len() as u8),
        s: &s,
        kinds,
        tail,
        elem,
        slots: [None; FOUR],
    };
    // What a tail needs beside its result, and a register for stores of some lanes.
    let need = tail::registers(&t.tail, isa)? + 1;
    for r in 0..FOUR {
        if isa.vregs - (FOUR - r) < need {
            t.slots[FOUR - 1 - r] = Some(t.vm.slot());
        }
    }
    let tmp = t.vm.x();
    for first in (0..s.pixels).step_by(FOUR) {
        t.group(first, tmp)?;
    }
    t.vm.finish()
}

impl Template<'_> {
    fn count(&self) -> u8 {
        self.kinds.len() as u8
    }
    /// All columns of four pixels, the first of which is number `first`.
    fn group(&mut self, first: i64, tmp: X) -> Result<()> {
        let (lanes, n) = (self.vm.isa.lanes, self.s.n as usize);
        let here = FOUR.min((self.s.pixels - first) as usize);
        let from = self.vm.arg(0);
        let at = place(self.s.numbers, first) as i32 * 4;
        self.vm.add_i(from, at);
        let operands = 2 + self.count() + 1;
        let c = self.rows(1, Some(operands - 1), self.elem.bytes(), first, tmp);
        let places: Vec<Rows> = (0..self.kinds.len())
            .map(|k| {
                let bytes = match self.kinds[k] {
                    Node::Single(_) => 0,
                    kind => kind.element().map_or(4, |d| d.size() as i32),
                };
                let tile = matches!(self.kinds[k], Node::Tile(_));
                let row = tile.then_some(operands + k as u8);
                self.rows(2 + k as u8, row, bytes, first, tmp)
            })
            .collect();
        let (whole, rest) = (n / lanes, n % lanes);
        if whole > 0 {
            let count = self.vm.x();
            self.vm.op(Op::SetX {
                d: count,
                value: whole as i64,
            });
            let top = self.vm.label();
            self.vm.place(top);
            self.columns(from, &c, &places, here, Lanes::All, tmp)?;
            self.vm.add_i(from, lanes as i32 * self.s.pitch as i32 * 4);
            for r in places.iter().chain([&c]) {
                self.vm.add_i(r.first, lanes as i32 * r.bytes);
            }
            self.vm.op(Op::Count {
                x: count,
                by: 1,
                to: top,
            });
            self.vm.free_x(count);
        }
        if rest > 0 {
            let lanes = Lanes::First(rest as u8);
            self.columns(from, &c, &places, here, lanes, tmp)?;
        }
        let own = places.iter().chain([&c]);
        let own: Vec<X> = own
            .flat_map(|r| [Some(r.first), r.stride])
            .flatten()
            .collect();
        own.into_iter().for_each(|x| self.vm.free_x(x));
        self.vm.free_x(from);
        Ok(())
    }
    /// Row `first` of what an argument points to; `row`: the argument with its distance.
    fn rows(&mut self, n: u8, row: Option<u8>, bytes: i32, first: i64, tmp: X) -> Rows {
        let x = self.vm.arg(n);
        let stride = row.map(|row| {
            let stride = self.vm.arg(row);
            let by = bytes.trailing_zeros() as u8;
            if by > 0 {
                self.vm.op(Op::ShlX {
                    d: stride,
                    a: stride,
                    by,
                });
            }
            if first > 0 {
                self.vm.op(Op::SetX {
                    d: tmp,
                    value: first,
                });
                self.vm.op(Op::MulX {
                    d: tmp,
                    a: tmp,
                    b: stride,
                });
                self.vm.add_x(x, tmp, 0);
            }
            stride
        });
        Rows {
            first: x,
            stride,
            bytes,
        }
    }
    /// A vector of columns of `here` pixels.
    fn columns(
        &mut self,
        from: X,
        c: &Rows,
        places: &[Rows],
        here: usize,
        lanes: Lanes,
        tmp: X,
    ) -> Result<()> {
        let isa = self.vm.isa;
        let pitch = self.s.pitch as i32 * 4;
        let four = [self.vm.v(), self.vm.v(), self.vm.v(), self.vm.v()];
        let spare = [self.vm.v(), self.vm.v()];
        for (r, &d) in four.iter().enumerate() {
            for part in 0..isa.lanes / 4 {
                self.vm.op(Op::LoadQuad {
                    d,
                    at: Mem::at(from, (part * 4 + r) as i32 * pitch),
                    part: part as u8,
                    elem: Elem::W32,
                    tmp: spare[0],
                });
            }
        }
        if let (true, Some(stride), Lanes::All) = (self.s.ahead, c.stride, lanes) {
            for r in FOUR..2 * FOUR {
                let at = super::row(&mut self.vm, c.first, stride, r, tmp);
                self.vm.op(Op::Prefetch { at });
            }
        }
        self.vm.op(Op::Transpose {
            v: four,
            tmp: spare,
        });
        self.vm.free_all(&spare);
        let slots = self.slots;
        for r in 1..here {
            if let Some(slot) = slots[r] {
                self.vm.op(Op::Spill { s: four[r], slot });
                self.vm.free(four[r]);
            }
        }
        four[here..].iter().for_each(|v| self.vm.free(*v));
        for r in 0..here {
            let result = match slots[r].filter(|_| r > 0) {
                None => four[r],
                Some(slot) => {
                    let d = self.vm.v();
                    self.vm.op(Op::Fill { d, slot });
                    d
                }
            };
            let mut fetch = |vm: &mut Vm, k: usize, kind: Node| {
                let place = &places[k];
                let at = match place.stride {
                    Some(stride) => super::row(vm, place.first, stride, r, tmp),
                    None => Mem::at(place.first, 0),
                };
                match tail::operand(vm, kind, at, lanes) {
                    // What lies at a sum of registers is read while they hold it.
                    tail::Operand::Mem(at) if at.base == tmp => {
                        let d = vm.v();
                        vm.load(d, at, Lanes::All);
                        tail::Operand::Reg(d)
                    }
                    tail::Operand::RealMem(at) if at[0].base == tmp => {
                        let v = at.map(|at| {
                            let d = vm.v();
                            vm.load(d, at, Lanes::All);
                            d
                        });
                        tail::Operand::Reals(v)
                    }
                    other => other,
                }
            };
            let answer = tail::apply(&mut self.vm, &self.tail, result, &mut fetch)?;
            let at = match c.stride {
                Some(stride) => super::row(&mut self.vm, c.first, stride, r, tmp),
                None => Mem::at(c.first, 0),
            };
            let spare = self.vm.v();
            self.vm.op(Op::Store {
                s: answer,
                at,
                elem: self.elem,
                lanes,
                tmp: spare,
            });
            self.vm.free_all(&[spare, answer]);
        }
        Ok(())
    }
}
