//! Where a program's arguments are: still in the registers they came in, in the frame, or on the caller's stack.

use onnxc_compiler::base::diag::{Diagnostic, Result};

use crate::vector::ir::*;

/// Arguments that come in registers, x0 to x7.
const IN_REGISTERS: u8 = 8;

/// Of one program.
pub struct Arguments {
    /// Operations that find their argument in the register it came in, sorted.
    direct: Vec<usize>,
    /// Arguments from registers that the frame must keep: their places, counted.
    homes: [Option<u32>; IN_REGISTERS as usize],
}

/// The address register that an operation writes. (Comparisons and stores write none.)
fn written(op: &Op) -> Option<X> {
    match *op {
        Op::Arg { d, .. }
        | Op::SetX { d, .. }
        | Op::MoveX { d, .. }
        | Op::AddX { d, .. }
        | Op::SubX { d, .. }
        | Op::AddI { d, .. }
        | Op::ShlX { d, .. }
        | Op::MulX { d, .. }
        | Op::LoadX { d, .. }
        | Op::Count { x: d, .. } => Some(d),
        _ => None,
    }
}

impl Arguments {
    /// Finds them. Address register n being xn, an argument stays intact until its register is written for the first time.
    pub fn of(p: &Program) -> Result<Arguments> {
        let mut intact = [true; IN_REGISTERS as usize];
        let mut direct = vec![];
        let mut kept = [false; IN_REGISTERS as usize];
        for (at, op) in p.ops.iter().enumerate() {
            if let Op::Arg { n, .. } | Op::SetArg { n, .. } = *op
                && n >= p.args
            {
                return Err(Diagnostic::internal(
                    "a kernel asks for an argument that it does not take",
                ));
            }
            match *op {
                // Reached from elsewhere, where registers hold something else.
                Op::Label { .. } => intact = [false; IN_REGISTERS as usize],
                Op::Arg { d, n } if n < IN_REGISTERS => {
                    if intact[usize::from(n)] {
                        direct.push(at);
                    } else {
                        kept[usize::from(n)] = true;
                    }
                    if d.0 == n && intact[usize::from(n)] {
                        continue;
                    }
                }
                Op::SetArg { n, .. } if n < IN_REGISTERS => {
                    intact[usize::from(n)] = false;
                    kept[usize::from(n)] = true;
                }
                _ => {}
            }
            if let Some(i) = written(op).and_then(|d| intact.get_mut(usize::from(d.0))) {
                *i = false;
            }
        }
        let mut count = 0;
        let homes = kept.map(|k| {
            count += u32::from(k);
            k.then(|| count - 1)
        });
        Ok(Arguments { direct, homes })
    }
    /// Whether an operation, by its place, finds its argument in the register it came in.
    pub fn in_register(&self, at: usize) -> bool {
        self.direct.binary_search(&at).is_ok()
    }
    /// The number of an argument's place in the frame.
    pub fn home(&self, n: u8) -> Option<u32> {
        self.homes.get(usize::from(n)).copied().flatten()
    }
    /// How many places there are.
    pub fn homes(&self) -> u32 {
        self.homes.iter().flatten().count() as u32
    }
}
