//! Where sums are until their tails are written, and how many tails are written at once.

use super::weaves;
use crate::vector::build::Vm;
use crate::vector::ir::*;
use onnxc_compiler::loops::tail::Tail;

/// Vectors whose tails are woven: as many as hide what an operation of a tail waits for.
pub const ABREAST: usize = 4;

/// Where a sum is.
#[derive(Clone, Copy)]
pub enum Kept {
    /// In a register.
    Reg(V),
    /// In a slot of the frame.
    Slot(u16),
}

impl Kept {
    /// The sum in a register.
    pub fn fetch(self, vm: &mut Vm) -> V {
        match self {
            Kept::Reg(v) => v,
            Kept::Slot(slot) => {
                let d = vm.v();
                vm.op(Op::Fill { d, slot });
                d
            }
        }
    }
}

/// Puts sums into the frame, the last ones first, until tails have registers: `need` each beside its result, and `more`. Tails that are woven want those of two.
pub fn keep(vm: &mut Vm, tail: &Tail, need: usize, more: usize, sums: &[V]) -> Vec<Kept> {
    let one = need + more;
    let wanted = match weaves(tail, &vm.isa) {
        // A sum that comes back from the frame takes one, too.
        true => one.max(2 * need + 3),
        false => one,
    };
    let spilled = wanted.saturating_sub(vm.spare()).min(sums.len());
    let (stay, go) = sums.split_at(sums.len() - spilled);
    let mut kept: Vec<Kept> = stay.iter().map(|v| Kept::Reg(*v)).collect();
    for v in go {
        let slot = vm.slot();
        vm.op(Op::Spill { s: *v, slot });
        vm.free(*v);
        kept.push(Kept::Slot(slot));
    }
    kept
}

/// How many tails of the sums that come next have registers at once: at least one.
pub fn abreast(vm: &Vm, need: usize, sums: &[Kept]) -> usize {
    // One remains for stores.
    let mut spare = vm.spare().saturating_sub(1);
    let fits = sums.iter().take(ABREAST).take_while(|s| {
        let own = need + usize::from(matches!(s, Kept::Slot(_)));
        let fits = own <= spare;
        spare = spare.saturating_sub(own);
        fits
    });
    fits.count().max(1)
}
