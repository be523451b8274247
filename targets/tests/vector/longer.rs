//! Operations whose results are longer than what they are of.

use super::*;

/// Products and sums that are longer than their operands.
pub fn long(isa: Isa) -> Vec<Case> {
    let mut w = Writer::new(isa);
    for (rotation, second) in (0..4).flat_map(|r| [false, true].map(|s| (r, s))) {
        for op in [Long::Bytes, Long::AddBytes, Long::AddWords, Long::Sum] {
            let (d, a, b) = (
                w.load(rotation * 8),
                w.load(1030 + 3 * rotation),
                w.load(rotation * 4),
            );
            w.vm.op(Op::Long {
                op,
                d,
                a,
                b,
                second,
            });
            w.keep(d);
            w.vm.free_all(&[d, a, b]);
        }
    }
    vec![w.case("long".into())]
}

/// Elements in turns.
pub fn zips(isa: Isa) -> Vec<Case> {
    let mut w = Writer::new(isa);
    for (rotation, form) in (0..4).flat_map(|r| (0..4).map(move |f| (r, f))) {
        let (words, second) = (form % 2 == 1, form > 1);
        let [d, a, b] = [w.vm.v(), w.load(1030 + 3 * rotation), w.load(rotation * 4)];
        // To a register of its own, and in place of each operand.
        for d in [d, a, b] {
            w.vm.op(Op::Zip {
                d,
                a,
                b,
                words,
                second,
            });
            w.keep(d);
        }
        w.vm.free_all(&[d, a, b]);
    }
    vec![w.case("zips".into())]
}

/// Products of small matrices.
pub fn matrices(isa: Isa) -> Vec<Case> {
    let mut w = Writer::new(isa);
    for (rotation, signed) in (0..8).flat_map(|r| [false, true].map(|s| (r, s))) {
        let (d, a, b) = (
            w.load(rotation * 8),
            w.load(1030 + 3 * rotation),
            w.load(rotation * 4),
        );
        w.vm.op(Op::Matrix { d, a, b, signed });
        w.keep(d);
        w.vm.op(Op::Halves { d, a: d, b });
        w.keep(d);
        w.vm.op(Op::Halves { d: b, a, b });
        w.keep(b);
        w.vm.free_all(&[d, a, b]);
    }
    vec![w.case("matrices".into())]
}
