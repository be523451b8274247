//! Puts A64 instructions one after another and works out where branches go.
//!
//! Contract: no relocation; constants lie behind the code. A label that is used and never placed, or a distance that is too long,
//! is an error when the code is finished.

use onnxc_compiler::base::diag::{Diagnostic, Result};

use super::inst::{Cond, Inst, V};

/// A place in the code, known when [`Assembler::place`] was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// Where an instruction's distance leads.
#[derive(Clone, Copy)]
enum Target {
    None,
    Label(Label),
    /// A constant, by its number.
    Pool(usize),
}

/// Code under construction.
#[derive(Default)]
pub struct Assembler {
    code: Vec<(Inst, Target)>,
    labels: Vec<Option<usize>>,
    pool: Vec<[u8; 16]>,
    known: std::collections::HashMap<[u8; 16], usize>,
}

impl Assembler {
    /// Appends an instruction.
    pub fn put(&mut self, inst: Inst) {
        self.code.push((inst, Target::None));
    }
    /// Appends a branch to a label.
    pub fn put_to(&mut self, inst: Inst, to: Label) {
        self.code.push((inst, Target::Label(to)));
    }
    /// The number of a constant behind the code, for [`Assembler::load`].
    pub fn constant(&mut self, bytes: [u8; 16]) -> usize {
        let pool = &mut self.pool;
        *self.known.entry(bytes).or_insert_with(|| {
            pool.push(bytes);
            pool.len() - 1
        })
    }
    /// Loads a constant.
    pub fn load(&mut self, t: V, constant: usize) {
        let load = Inst::LdrLit { t, by: 0 };
        self.code.push((load, Target::Pool(constant)));
    }
    /// A label that is not placed yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }
    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(at) = self.labels.get_mut(label.0) {
            *at = Some(here);
        }
    }
    /// Whether a label has its place.
    pub fn is_placed(&self, label: Label) -> bool {
        self.labels.get(label.0).is_some_and(Option::is_some)
    }
    /// Jumps to a label.
    pub fn b(&mut self, to: Label) {
        self.put_to(Inst::B { by: 0 }, to);
    }
    /// Jumps to a label where a condition holds.
    pub fn b_cond(&mut self, cond: Cond, to: Label) {
        self.put_to(Inst::BCond { cond, by: 0 }, to);
    }
    /// The instructions with their distances.
    pub fn instructions(&self) -> Result<Vec<Inst>> {
        let resolve = |(at, (inst, target)): (usize, &(Inst, Target))| {
            let to = match *target {
                Target::None => return Ok(*inst),
                Target::Pool(number) => self.pool_at() + number * 4,
                Target::Label(label) => {
                    let to = self.labels.get(label.0).copied().flatten();
                    to.ok_or_else(|| {
                        Diagnostic::internal("a label of generated A64 code was never placed")
                    })?
                }
            };
            Ok(inst.to((to as i64 - at as i64) * 4))
        };
        self.code.iter().enumerate().map(resolve).collect()
    }
    /// Where constants begin, in words: aligned for loads of their size.
    fn pool_at(&self) -> usize {
        self.code.len().next_multiple_of(4)
    }
    /// The code as bytes, with its constants.
    pub fn finish(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.code.len() * 4);
        for inst in self.instructions()? {
            bytes.extend_from_slice(&inst.encode()?.to_le_bytes());
        }
        if !self.pool.is_empty() {
            bytes.resize(self.pool_at() * 4, 0);
            bytes.extend(self.pool.iter().flatten());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inst::X;
    use super::*;

    #[test]
    fn branches_find_their_labels() {
        let mut a = Assembler::default();
        let (start, end) = (a.label(), a.label());
        a.place(start);
        a.put(Inst::CmpImm { n: X(0), imm: 4 });
        a.b_cond(Cond::Lt, end);
        a.b(start);
        a.place(end);
        a.put(Inst::Ret);
        let list = a.instructions().unwrap();
        assert_eq!(
            list[1],
            Inst::BCond {
                cond: Cond::Lt,
                by: 8
            }
        );
        assert_eq!(list[2], Inst::B { by: -8 });
        assert_eq!(a.finish().unwrap().len(), 16);
    }

    #[test]
    fn mistakes_are_errors() {
        let mut a = Assembler::default();
        let nowhere = a.label();
        a.b(nowhere);
        assert!(a.finish().is_err());
        let mut a = Assembler::default();
        let far = a.label();
        a.b_cond(Cond::Eq, far);
        (0..(1 << 18)).for_each(|_| a.put(Inst::Ret));
        a.place(far);
        assert!(a.finish().unwrap_err().message.contains("too long"));
        assert!(
            Inst::BCond {
                cond: Cond::Eq,
                by: (1 << 20) - 4
            }
            .encode()
            .is_ok()
        );
        assert!(
            Inst::BCond {
                cond: Cond::Eq,
                by: 1 << 20
            }
            .encode()
            .is_err()
        );
        assert!(
            Inst::BCond {
                cond: Cond::Eq,
                by: -(1 << 20)
            }
            .encode()
            .is_ok()
        );
        assert!(
            Inst::BCond {
                cond: Cond::Eq,
                by: -(1 << 20) - 4
            }
            .encode()
            .is_err()
        );
        assert!(Inst::B { by: (1 << 27) - 4 }.encode().is_ok());
        assert!(Inst::B { by: 1 << 27 }.encode().is_err());
        assert!(Inst::B { by: 2 }.encode().is_err());
        assert!(
            Inst::Add {
                d: X(18),
                n: X(0),
                m: X(1),
                lsl: 0
            }
            .encode()
            .is_err()
        );
        assert!(
            Inst::Add {
                d: X(31),
                n: X(0),
                m: X(1),
                lsl: 0
            }
            .encode()
            .is_err()
        );
        assert!(
            Inst::LslImm {
                d: X(0),
                n: X(0),
                by: 0
            }
            .encode()
            .is_err()
        );
    }
}
