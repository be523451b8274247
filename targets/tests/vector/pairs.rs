//! Two vectors at once, and comparisons that take one off.

use super::*;

/// Pairs of vectors stored as bytes, and one less where numbers are equal.
pub fn pairs(isa: Isa, cases: &mut Vec<Case>) {
    for rotation in 0..4 {
        let mut w = Writer::new(isa);
        for form in 0..4 {
            let (signed, mixed) = (form % 2 == 1, form > 1);
            let (x, y) = (w.load(rotation * 4), w.load(64));
            let at = Mem::at(w.base, 3000 + 64 * form);
            let op = Op::StorePair {
                a: x,
                b: y,
                at,
                signed,
                mixed,
            };
            if isa.has(&op) {
                w.vm.op(op);
            }
            w.vm.free_all(&[x, y]);
            let (x, y) = (w.load(64 - rotation), w.load(rotation * 4));
            let second = Mem::at(w.base, 3300 + 68 * form);
            let at = match form {
                3 => second,
                _ => Mem::at(w.base, 3310 + 64 * form),
            };
            let op = Op::StoreApart {
                a: x,
                b: y,
                at,
                second,
                signed,
                mixed,
            };
            if isa.has(&op) {
                w.vm.op(op);
            }
            w.vm.free_all(&[x, y]);
        }
        cases.push(w.case(format!("pairs {rotation}")));
        let mut w = Writer::new(isa);
        let (d, a, b, tmp) = (w.load(64), w.load(rotation * 4), w.load(0), w.vm.v());
        let at = Mem::at(w.base, 0);
        for b in [Src::Reg(a), Src::Reg(b), Src::Mem(at), Src::Const(3)] {
            if matches!(b, Src::Mem(_)) && isa.by_lane {
                continue;
            }
            w.vm.op(Op::LessWhereEq { d, a, b, tmp });
            w.keep(d);
        }
        cases.push(w.case(format!("less {rotation}")));
    }
}

/// Two to four vectors stored as bytes, side by side and apart.
pub fn each(isa: Isa, cases: &mut Vec<Case>) {
    for rotation in 0..4 {
        let mut w = Writer::new(isa);
        let mut to = 3000;
        for (n, signed) in (2..=4u8).flat_map(|n| [(n, false), (n, true)]) {
            for apart in [0, 1, 2, 3] {
                let v = [0, 4, 64, 100].map(|at| w.load(at + rotation * 4));
                // The second and the fourth right behind another one, or not.
                let steps = [0, 8 + (apart & 1) * 5, 40, 48 + (apart & 2) * 3];
                let at = steps.map(|step| Mem::at(w.base, to + step));
                let op = Op::StoreEach { v, n, at, signed };
                if isa.has(&op) {
                    w.vm.op(op);
                }
                w.vm.free_all(&v);
                to += 68;
            }
        }
        cases.push(w.case(format!("each {rotation}")));
    }
}

/// Branches around what no lane asks for: masks of all lanes, of some and of none.
pub fn any(isa: Isa, cases: &mut Vec<Case>) {
    let mut w = Writer::new(isa);
    for at in [0, 4, 64] {
        let (a, m, d, x) = (w.load(at), w.vm.v(), w.vm.v(), w.vm.x());
        if !isa.has(&Op::AnyX { d: x, a: m }) {
            return;
        }
        for (op, with) in [
            (Bin::EqI, Src::Reg(a)),
            (Bin::GtI, Src::Const(0)),
            (Bin::GtI, Src::Const(i32::MAX as u32)),
        ] {
            let end = w.vm.label();
            w.vm.bin(op, m, a, with);
            w.vm.op(Op::Const { d, bits: 1 });
            w.vm.op(Op::AnyX { d: x, a: m });
            w.vm.op(Op::Branch {
                x,
                cond: Cond::Eq,
                with: 0,
                to: end,
            });
            w.vm.op(Op::Const { d, bits: 2 });
            w.vm.place(end);
            w.keep(d);
        }
        w.vm.free_all(&[a, m, d]);
        w.vm.free_x(x);
    }
    cases.push(w.case("any".to_string()));
}
