//! What the templates of Winograd's transforms share: walking over tiles, and numbers that are multiplied by.

use super::build::Vm;
use super::ir::*;

/// Numbers that are multiplied by: in registers where there is room, else beside the code.
#[derive(Default)]
pub struct Numbers {
    held: Vec<(u32, V)>,
    /// They stay in registers throughout.
    forever: bool,
}

impl Numbers {
    /// Keeps all of them in registers for good, where the machine has registers enough.
    pub fn of(vm: &mut Vm, all: &[f32]) -> Numbers {
        let mut n = Numbers::default();
        if vm.isa.vregs >= 28 {
            n.hold(vm, all, 0);
            n.forever = true;
        }
        n
    }
    /// Keeps numbers in registers, the first first, as long as `others` registers are left.
    pub fn hold(&mut self, vm: &mut Vm, list: &[f32], others: usize) {
        for x in list {
            let bits = x.to_bits();
            if self.held.iter().any(|h| h.0 == bits) || vm.spare() <= others {
                continue;
            }
            let d = vm.v();
            vm.op(Op::Const { d, bits });
            self.held.push((bits, d));
        }
    }
    /// Gives their registers back.
    pub fn release(&mut self, vm: &mut Vm) {
        if !self.forever {
            self.held.drain(..).for_each(|(_, v)| vm.free(v));
        }
    }
    /// As an operand.
    pub fn src(&self, x: f32) -> Src {
        let bits = x.to_bits();
        match self.held.iter().find(|h| h.0 == bits) {
            Some((_, v)) => Src::Reg(*v),
            None => Src::Const(bits),
        }
    }
    /// In a register, if it is held.
    fn reg(&self, x: f32) -> Option<V> {
        match self.src(x) {
            Src::Reg(v) => Some(v),
            _ => None,
        }
    }
    /// `d += x * memory`.
    pub fn fma_mem(&self, vm: &mut Vm, d: V, x: f32, at: Mem) {
        match self.reg(x) {
            Some(a) => vm.fma(d, a, Src::Mem(at)),
            None => {
                let t = vm.v();
                vm.load(t, at, Lanes::All);
                vm.fma(d, t, self.src(x));
                vm.free(t);
            }
        }
    }
}

/// Arguments that say which tile a run has come to.
#[derive(Clone, Copy)]
pub struct Walk {
    /// Row of the tile.
    pub tile_y: u8,
    /// Column of the tile.
    pub tile_x: u8,
    /// Rows of tiles.
    pub tiles_y: u8,
    /// Columns of tiles.
    pub tiles_x: u8,
}

impl Walk {
    /// On to the next tile: `row` is written where a row of tiles begins, `image` where an image does.
    pub fn next(&self, vm: &mut Vm, row: impl FnOnce(&mut Vm), image: impl FnOnce(&mut Vm)) {
        let done = vm.label();
        // The next one of `at`, or past the end the first one, and on to what follows.
        let advance = |vm: &mut Vm, at: u8, end: u8| {
            let i = vm.arg(at);
            vm.add_i(i, 1);
            vm.op(Op::SetArg { n: at, s: i });
            let end = vm.arg(end);
            vm.op(Op::BranchX {
                a: i,
                cond: Cond::Lt,
                b: end,
                to: done,
            });
            vm.op(Op::SetX { d: i, value: 0 });
            vm.op(Op::SetArg { n: at, s: i });
            vm.free_x(i);
            vm.free_x(end);
        };
        advance(vm, self.tile_x, self.tiles_x);
        row(vm);
        advance(vm, self.tile_y, self.tiles_y);
        image(vm);
        vm.place(done);
    }
}

/// Writes a loop over as many tiles as argument `count` says.
pub fn tiles<E>(
    vm: &mut Vm,
    count: u8,
    body: impl FnOnce(&mut Vm) -> Result<(), E>,
) -> Result<(), E> {
    let (top, end) = (vm.label(), vm.label());
    let branch = |vm: &mut Vm, cond, to| {
        let x = vm.arg(count);
        vm.op(Op::Branch {
            x,
            cond,
            with: 0,
            to,
        });
        x
    };
    let x = branch(vm, Cond::Le, end);
    vm.free_x(x);
    vm.place(top);
    body(vm)?;
    let x = vm.arg(count);
    vm.add_i(x, -1);
    vm.op(Op::SetArg { n: count, s: x });
    vm.op(Op::Branch {
        x,
        cond: Cond::Gt,
        with: 0,
        to: top,
    });
    vm.free_x(x);
    vm.place(end);
    Ok(())
}

/// Argument `n`, a number of elements, in bytes.
pub fn bytes(vm: &mut Vm, n: u8) -> X {
    let x = vm.arg(n);
    vm.op(Op::ShlX { d: x, a: x, by: 2 });
    x
}

/// Three or five times an address register, in a register of its own.
pub fn times(vm: &mut Vm, x: X, n: u8) -> X {
    let d = vm.x();
    vm.op(Op::AddX {
        d,
        a: x,
        b: x,
        shift: if n == 5 { 2 } else { 1 },
    });
    d
}
