//! The template of contracts `winograd_filters` and `winograd_filters_words`: one vector after the other, the nine weights of its windows in registers.

use super::build::Vm;
use super::ir::*;
use super::winograd::times;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::contracts::winograd_filters::{FACTORS, Filters, TAPS};
use onnxc_compiler::loops::ir::Callee;

const FILTERS: u8 = 0;
const PLANES: u8 = 1;
const COUNT: u8 = 2;
const PLANE: u8 = 3;
const ARGS: u8 = 4;

/// Bytes of weights from what is read to what is fetched meanwhile: they come from memory in each run.
const AHEAD: i32 = 2 << 10;
const LINE: usize = 64;

/// The program of a transform of weights.
pub fn program(callee: &Callee, isa: Isa) -> Result<Program> {
    let s = Filters::of(callee)
        .filter(|s| s.lanes * s.made().size() as i64 == 4 * isa.lanes as i64)
        .ok_or_else(|| {
            Diagnostic::internal(format!("`{}` was asked for nonsense", callee.kernel))
        })?;
    let mut vm = Vm::new(isa, ARGS);
    let count = vm.arg(COUNT);
    vm.when(count, Cond::Gt, 0, |vm| vectors(vm, &s, count));
    vm.finish()
}

fn vectors(vm: &mut Vm, s: &Filters, count: X) {
    let (filters, planes) = (vm.arg(FILTERS), vm.arg(PLANES));
    let one = vm.arg(PLANE);
    let by = s.made().size().trailing_zeros() as u8;
    vm.op(Op::ShlX { d: one, a: one, by });
    let three = times(vm, one, 3);
    let q = vm.x();
    let elem = match s.stored {
        DType::I8 => Elem::I8x2,
        _ => Elem::W32,
    };
    let size = (s.lanes * s.stored.size() as i64) as i32;
    let step = (s.lanes * s.made().size() as i64) as i32;
    let t = s.m as usize + 2;
    let line = match (s.made(), t) {
        (DType::F32, 6) => {
            // In registers where there are enough.
            if vm.isa.vregs >= 28 {
                FACTORS.iter().for_each(|f| vm.hold(f.to_bits()));
            }
            Line::Floats
        }
        (DType::F32, _) => Line::FloatsOfFour,
        (_, 6) => Line::Words,
        _ => Line::WordsOfFour,
    };
    vm.repeat(count, 1, |vm| {
        let window: [[V; 3]; 3] = [0, 1, 2].map(|row| {
            [0, 1, 2].map(|column| {
                let d = vm.v();
                vm.op(Op::Load {
                    d,
                    at: Mem::at(filters, (3 * row + column) * size),
                    elem,
                    lanes: Lanes::All,
                });
                d
            })
        });
        for line in (0..TAPS as i32 * size).step_by(LINE) {
            vm.op(Op::Prefetch {
                at: Mem::at(filters, AHEAD + line),
            });
        }
        vm.add_i(filters, TAPS as i32 * size);
        vm.op(Op::MoveX { d: q, a: planes });
        vm.add_i(planes, step);
        let row = [(); 3].map(|()| vm.v());
        let mut to = To {
            q,
            planes: [one, three],
            ahead: 0,
            tmp: vm.v(),
        };
        for i in 0..t {
            for (j, d) in row.iter().enumerate() {
                line.element(vm, i, window.map(|row| row[j]), *d);
            }
            line.row(vm, row, &mut to);
        }
        window.iter().for_each(|row| vm.free_all(row));
        vm.free_all(&row);
        vm.free(to.tmp);
    });
    vm.let_go();
    for x in [filters, planes, one, three, q] {
        vm.free_x(x);
    }
}

/// Where vectors go: one plane after the other.
struct To {
    /// The plane that is written next, less those that are `ahead`.
    q: X,
    /// One plane and three.
    planes: [X; 2],
    ahead: u8,
    tmp: V,
}

impl To {
    fn put(&mut self, vm: &mut Vm, v: V) {
        let [one, three] = self.planes;
        let at = Mem {
            base: self.q,
            index: (self.ahead > 0).then(|| (one, self.ahead - 1)),
            disp: 0,
        };
        vm.store(v, at, Lanes::All, self.tmp);
        self.ahead += 1;
        if self.ahead == 3 {
            vm.add_x(self.q, three, 0);
            self.ahead = 0;
        }
    }
}

/// How a line of three becomes four or six.
#[derive(Clone, Copy)]
enum Line {
    WordsOfFour,
    FloatsOfFour,
    Words,
    Floats,
}

impl Line {
    fn add(self, vm: &mut Vm, d: V, a: V, b: V) {
        self.join(vm, true, d, [a, b]);
    }

    fn sub(self, vm: &mut Vm, d: V, a: V, b: V) {
        self.join(vm, false, d, [a, b]);
    }

    /// `d = a + b`, or less `b`.
    fn join(self, vm: &mut Vm, add: bool, d: V, [a, b]: [V; 2]) {
        let (words, floats) = match add {
            true => (WordBin::Add, Bin::Add),
            false => (WordBin::Sub, Bin::Sub),
        };
        match self {
            Line::Words | Line::WordsOfFour => vm.op(Op::Words { op: words, d, a, b }),
            Line::Floats | Line::FloatsOfFour => vm.bin(floats, d, a, b),
        }
    }

    /// All elements, one after the other, with sums that two of them have in common.
    fn row(self, vm: &mut Vm, row: [V; 3], to: &mut To) {
        match self {
            Line::WordsOfFour | Line::FloatsOfFour => {
                let v = vm.v();
                for j in 0..4 {
                    self.element(vm, j, row, v);
                    to.put(vm, v);
                }
                vm.free(v);
            }
            Line::Words => self.row_of_words(vm, row, to),
            Line::Floats => self.row_of_floats(vm, row, to),
        }
    }

    fn row_of_words(self, vm: &mut Vm, [x, y, z]: [V; 3], to: &mut To) {
        let [v, t] = [vm.v(), vm.v()];
        self.element(vm, 0, [x, y, z], v);
        to.put(vm, v);
        self.add(vm, t, x, z);
        self.add(vm, v, t, y);
        to.put(vm, v);
        self.sub(vm, v, y, t);
        to.put(vm, v);
        self.add(vm, t, z, z);
        for add in [true, false] {
            self.join(vm, add, v, [t, y]);
            self.add(vm, v, v, v);
            self.add(vm, v, v, x);
            to.put(vm, v);
        }
        self.add(vm, v, t, z);
        self.add(vm, v, v, v);
        to.put(vm, v);
        vm.free_all(&[v, t]);
    }

    fn row_of_floats(self, vm: &mut Vm, [x, y, z]: [V; 3], to: &mut To) {
        let [v, t, u] = [vm.v(), vm.v(), vm.v()];
        factor(vm, v, x, 0);
        to.put(vm, v);
        factor(vm, t, x, 1);
        self.sub(vm, t, t, z);
        self.add(vm, u, y, y);
        for add in [false, true] {
            self.join(vm, add, v, [t, u]);
            to.put(vm, v);
        }
        self.add(vm, t, x, z);
        for add in [true, false] {
            self.join(vm, add, v, [t, y]);
            to.put(vm, v);
        }
        factor(vm, v, z, 2);
        to.put(vm, v);
        vm.free_all(&[v, t, u]);
    }

    /// Element `n` of those that a line of three becomes.
    fn element(self, vm: &mut Vm, n: usize, [x, y, z]: [V; 3], d: V) {
        let end = if n == 0 { x } else { z };
        match (self, n) {
            (Line::WordsOfFour | Line::FloatsOfFour, 0 | 3) => self.add(vm, d, end, end),
            (Line::WordsOfFour | Line::FloatsOfFour, _) => {
                self.add(vm, d, x, z);
                self.join(vm, n == 1, d, [d, y]);
            }
            (Line::Floats, 0) => factor(vm, d, x, 0),
            (Line::Floats, 5) => factor(vm, d, z, 2),
            (Line::Floats, 1 | 2) => {
                let twice = vm.v();
                factor(vm, d, x, 1);
                self.sub(vm, d, d, z);
                self.add(vm, twice, y, y);
                self.join(vm, n == 2, d, [d, twice]);
                vm.free(twice);
            }
            (Line::Floats, _) => {
                self.add(vm, d, x, z);
                self.join(vm, n == 3, d, [d, y]);
            }
            // Six times.
            (Line::Words, 0 | 5) => {
                self.add(vm, d, end, end);
                self.add(vm, d, d, end);
                self.add(vm, d, d, d);
            }
            (Line::Words, 1) => {
                self.add(vm, d, x, z);
                self.add(vm, d, d, y);
            }
            (Line::Words, 2) => {
                self.add(vm, d, x, z);
                self.sub(vm, d, y, d);
            }
            // Twice (2 z + y) or (2 z - y), and x.
            (Line::Words, _) => {
                self.add(vm, d, z, z);
                self.join(vm, n == 3, d, [d, y]);
                self.add(vm, d, d, d);
                self.add(vm, d, d, x);
            }
        }
    }
}

/// `d`: a factor times `a`.
fn factor(vm: &mut Vm, d: V, a: V, n: usize) {
    let bits = FACTORS[n].to_bits();
    let by = vm.held(bits).map_or(Src::Const(bits), Src::Reg);
    vm.bin(Bin::Mul, d, a, by);
}
