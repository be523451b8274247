//! How operands of a tail come to it.

use crate::vector::build::Vm;
use crate::vector::ir::*;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::loops::tail::Node;

/// How an operand comes.
#[derive(Clone, Copy)]
pub enum Operand {
    /// In a register that becomes the tail's.
    Reg(V),
    /// In a register that others read as well: it stays as it is.
    Shared(V),
    /// As a whole vector in memory.
    Mem(Mem),
    /// As one element in memory for all lanes, which operations take where [`Isa::splat_operand`].
    Splat(Mem),
    /// As a whole vector in memory, whose pointer is an argument of the call: taken where it is used.
    Far(Far),
    /// f64, in two registers that become the tail's.
    Reals([V; 2]),
    /// f64, as two whole vectors in memory.
    RealMem([Mem; 2]),
}

/// Where an argument of the call points to, a number of elements further and some bytes.
#[derive(Clone, Copy)]
pub struct Far {
    /// The argument.
    pub arg: u8,
    /// Elements, and by how much their number is shifted to be one of bytes.
    pub at: Option<(X, u8)>,
    /// Bytes.
    pub disp: i32,
}

impl Far {
    /// The place; its register is free again after the next operation.
    pub fn near(self, vm: &mut Vm) -> Mem {
        let x = vm.arg(self.arg);
        if let Some((at, shift)) = self.at {
            vm.add_x(x, at, shift);
        }
        vm.free_x(x);
        Mem::at(x, self.disp)
    }
}

/// An operand without an address register of its own: read where it is used if it has 32-bit elements, else at once.
pub fn far_operand(vm: &mut Vm, kind: Node, far: Far, lanes: Lanes) -> Operand {
    let whole = lanes == Lanes::All && !vm.isa.by_lane;
    if whole && wide(&kind) {
        return Operand::Far(far);
    }
    let at = far.near(vm);
    match operand(vm, kind, at, lanes) {
        Operand::RealMem(places) => Operand::Reals(places.map(|at| loaded(vm, at))),
        Operand::Mem(at) => Operand::Reg(loaded(vm, at)),
        Operand::Splat(at) => Operand::Reg(splat(vm, at)),
        other => other,
    }
}

fn loaded(vm: &mut Vm, at: Mem) -> V {
    let d = vm.v();
    vm.load(d, at, Lanes::All);
    d
}

fn splat(vm: &mut Vm, at: Mem) -> V {
    let d = vm.v();
    vm.op(Op::Splat { d, at });
    d
}

/// Whether an operand has 32-bit elements along columns: it can be in a register for several rows.
pub fn shareable(kind: &Node) -> bool {
    wide(kind) && matches!(kind, Node::Column(_))
}

/// Whether an operand has 32-bit elements, a vector of them.
fn wide(kind: &Node) -> bool {
    let word = matches!(kind.element(), Some(DType::F32 | DType::I32));
    word && !matches!(kind, Node::Single(_))
}

/// Which operands have to do without address registers: `more` are wanted beside. Those of which that costs least come first: what lies along columns
/// and is read where it is used, then the others without rows, at last those with rows, which are moved along in the call's arguments.
pub fn far_ones(vm: &Vm, kinds: &[Node], more: usize) -> Vec<bool> {
    let cost = |k: &Node| match k {
        Node::Column(_) if wide(k) => 0,
        Node::Tile(_) => 2,
        _ => 1,
    };
    let registers = |k: &Node| if cost(k) == 2 { 2 } else { 1 };
    let mut wanted = more + kinds.iter().map(registers).sum::<usize>();
    let mut far = vec![false; kinds.len()];
    for at_cost in 0..3 {
        for (k, kind) in kinds.iter().enumerate() {
            if cost(kind) == at_cost && wanted > vm.spare_x() {
                far[k] = true;
                wanted -= registers(kind);
            }
        }
    }
    far
}

/// How elements of a type are read into lanes.
pub fn elem(d: DType) -> Elem {
    match d {
        DType::U8 => Elem::U8,
        DType::I8 => Elem::I8,
        DType::U16 => Elem::U16,
        DType::I16 => Elem::I16,
        DType::F16 => Elem::F16,
        DType::BF16 => Elem::BF16,
        _ => Elem::W32,
    }
}

/// An operand at a place, of which some lanes are wanted: read from memory where it is used, if the machine can.
pub fn operand(vm: &mut Vm, kind: Node, at: Mem, lanes: Lanes) -> Operand {
    let single = matches!(kind, Node::Single(_));
    match kind.element() {
        Some(DType::F64) => return reals(vm, single, at, lanes),
        Some(DType::U8 | DType::I8) if single => {
            let d = vm.v();
            let elem = elem(kind.element().unwrap_or(DType::U8));
            let lanes = Lanes::First(1);
            vm.op(Op::Load { d, at, elem, lanes });
            vm.op(Op::SplatLane { d, a: d });
            return Operand::Reg(d);
        }
        Some(d @ (DType::U8 | DType::I8)) => {
            let elem = elem(d);
            let d = vm.v();
            vm.op(Op::Load { d, at, elem, lanes });
            return Operand::Reg(d);
        }
        _ => {}
    }
    if single {
        return match vm.isa.splat_operand {
            true => Operand::Splat(at),
            false => Operand::Reg(splat(vm, at)),
        };
    }
    if lanes == Lanes::All && !vm.isa.by_lane {
        return Operand::Mem(at);
    }
    let d = vm.v();
    vm.load(d, at, lanes);
    Operand::Reg(d)
}

/// An operand of f64: twice as many 32-bit lanes.
fn reals(vm: &mut Vm, single: bool, at: Mem, lanes: Lanes) -> Operand {
    let per = vm.isa.lanes as u8;
    let far = at.plus(i32::from(per) * 4);
    if single {
        // Low and high halves of the number, each in every lane, side by side.
        let v = [vm.v(), vm.v()];
        vm.load(v[0], at, Lanes::First(2));
        vm.op(Op::SplatPair { d: v[0], a: v[0] });
        vm.op(Op::Move { d: v[1], a: v[0] });
        return Operand::Reals(v);
    }
    match lanes {
        Lanes::All if !vm.isa.by_lane => Operand::RealMem([at, far]),
        _ => {
            let v = [vm.v(), vm.v()];
            let words = match lanes {
                Lanes::All => 2 * per,
                Lanes::First(n) => 2 * n,
            };
            let some = |n: u8| {
                if n == per {
                    Lanes::All
                } else {
                    Lanes::First(n)
                }
            };
            vm.load(v[0], at, some(words.min(per)));
            match words.saturating_sub(per) {
                0 => vm.op(Op::Zero { d: v[1] }),
                n => vm.load(v[1], far, some(n)),
            }
            Operand::Reals(v)
        }
    }
}
