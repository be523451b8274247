//! The end of a strip: tails in registers, and stores.

use super::Template;
use crate::vector::build::Vm;
use crate::vector::ir::*;
use crate::vector::tail::{self, Far};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::contracts::strip::Numbers;
use onnxc_compiler::loops::tail::Node;

impl Template<'_> {
    /// Tails and stores, row by row.
    pub(super) fn finish(&mut self) -> Result<()> {
        let (tail, elem) = tail::without_limits(&self.s.tail, self.s.c_type);
        // Rows of whole numbers name the extension that packs 512 bits.
        let level = match (self.vm.isa.level, self.s.numbers) {
            (Level::Avx2 | Level::Neon, _) => true,
            (Level::Avx512, numbers) => numbers != Numbers::Floats,
            _ => false,
        };
        let pairs = level && elem.is_limited();
        // One register more for stores of some lanes, or for the other of a pair.
        let mixes = tail::mixes(&tail, self.vm.isa).filter(|_| pairs);
        let need = tail::registers(&tail, self.vm.isa)? + 1 + usize::from(pairs);
        let acc = std::mem::take(&mut self.acc);
        let spilled = need.saturating_sub(self.vm.spare()).min(acc.len());
        let mut slots = vec![];
        for v in &acc[acc.len() - spilled..] {
            let slot = self.vm.slot();
            self.vm.op(Op::Spill { s: *v, slot });
            self.vm.free(*v);
            slots.push(slot);
        }
        let kinds: Vec<Node> = tail.operands().collect();
        let stride = |t: &mut Self, n: u8, bytes: i32| {
            let x = t.vm.arg(n);
            let by = bytes.trailing_zeros() as u8;
            if by > 0 {
                t.vm.op(Op::ShlX { d: x, a: x, by });
            }
            x
        };
        let c = self.vm.arg(self.args.c);
        let c_bytes = elem.bytes();
        let c_row = stride(self, self.args.c_row, c_bytes);
        let size = |kind: &Node| kind.element().map_or(4, |d| d.size() as i32);
        let mut pointers = vec![];
        let mut strides = vec![];
        // One for what is far, another for the distance by which it moves.
        let far = tail::far_ones(&self.vm, &kinds, 2);
        for (k, kind) in kinds.iter().enumerate() {
            if far[k] {
                pointers.push(c);
                strides.push(None);
                continue;
            }
            pointers.push(self.vm.arg(self.args.operands + k as u8));
            strides.push(match kind {
                Node::Tile(_) => Some(stride(self, self.args.operand_rows + k as u8, size(kind))),
                _ => None,
            });
        }
        let operands = self.args.operands;
        for i in 0..self.m() {
            let mut first_of_pair = None;
            for j in 0..self.cols {
                let at = i * self.cols + j;
                let kept = acc.len() - spilled;
                let result = if at < kept {
                    acc[at]
                } else {
                    let d = self.vm.v();
                    self.vm.op(Op::Fill {
                        d,
                        slot: slots[at - kept],
                    });
                    d
                };
                let (lanes, first) = (self.lanes(j), (j * self.vm.isa.lanes) as i32);
                let mut fetch = |vm: &mut Vm, k: usize, kind: Node| {
                    let disp = match kind {
                        Node::Single(_) => 0,
                        _ => first * size(&kind),
                    };
                    if far[k] {
                        let far = Far {
                            arg: operands + k as u8,
                            at: None,
                            disp,
                        };
                        return tail::far_operand(vm, kind, far, lanes);
                    }
                    tail::operand(vm, kind, Mem::at(pointers[k], disp), lanes)
                };
                // Both of a pair, or neither.
                let pair = first_of_pair.is_some()
                    || pairs && j + 1 < self.cols && self.lanes(j + 1) == Lanes::All;
                let mixes = mixes.filter(|_| pair);
                let answer = tail::apply_in_order(&mut self.vm, &tail, result, &mut fetch, mixes)?;
                if answer != result {
                    self.vm.free(result);
                }
                let place = Mem::at(c, first * c_bytes);
                match first_of_pair.take() {
                    Some((a, at)) => {
                        let signed = elem == Elem::I8Limited;
                        self.vm.op(Op::StorePair {
                            a,
                            b: answer,
                            at,
                            signed,
                            mixed: mixes.is_some(),
                        });
                        self.vm.free(a);
                    }
                    None if pair => {
                        first_of_pair = Some((answer, place));
                        continue;
                    }
                    None => {
                        let tmp = self.vm.v();
                        self.vm.op(Op::Store {
                            s: answer,
                            at: place,
                            elem,
                            lanes,
                            tmp,
                        });
                        self.vm.free(tmp);
                    }
                }
                self.vm.free(answer);
            }
            self.vm.add_x(c, c_row, 0);
            for (p, s) in pointers.iter().zip(&strides) {
                if let Some(s) = s {
                    self.vm.add_x(*p, *s, 0);
                }
            }
            for (k, kind) in kinds.iter().enumerate() {
                if far[k] && matches!(kind, Node::Tile(_)) {
                    let n = operands + k as u8;
                    let p = self.vm.arg(n);
                    let by = stride(self, self.args.operand_rows + k as u8, size(kind));
                    self.vm.add_x(p, by, 0);
                    self.vm.op(Op::SetArg { n, s: p });
                    self.vm.free_x(p);
                    self.vm.free_x(by);
                }
            }
        }
        // Results and operands of the next tile lie where this one's end.
        self.vm.op(Op::SetArg {
            n: self.args.c,
            s: c,
        });
        for (k, kind) in kinds.iter().enumerate() {
            if matches!(kind, Node::Tile(_)) && !far[k] {
                self.vm.op(Op::SetArg {
                    n: self.args.operands + k as u8,
                    s: pointers[k],
                });
            }
        }
        let own = pointers.into_iter().zip(&far).filter(|(_, far)| !**far);
        for x in own.map(|p| p.0).chain(strides.into_iter().flatten()) {
            self.vm.free_x(x);
        }
        self.vm.free_x(c);
        self.vm.free_x(c_row);
        Ok(())
    }

    /// A of the next tile.
    pub(super) fn advance(&mut self) {
        let a = self.vm.arg(self.args.a);
        let by = self.vm.arg(self.args.a_row);
        let m = self.vm.x();
        self.vm.op(Op::SetX {
            d: m,
            value: self.s.m,
        });
        self.vm.op(Op::MulX { d: by, a: by, b: m });
        self.vm.add_x(a, by, self.element_shift());
        self.vm.op(Op::SetArg {
            n: self.args.a,
            s: a,
        });
        for x in [a, by, m] {
            self.vm.free_x(x);
        }
    }
}
