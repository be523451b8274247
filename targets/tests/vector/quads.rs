//! Operations on quarters of vectors.

use super::*;

/// Loads and transpositions.
pub fn quads(isa: Isa, cases: &mut Vec<Case>) {
    let mut w = Writer::new(isa);
    let parts = (isa.lanes / 4) as u8;
    for rotation in 0..6i32 {
        for elem in [Elem::W32, Elem::U8, Elem::I8] {
            loads(&mut w, rotation, elem);
        }
        let v = [0, 1, 2, 3].map(|i| w.load(rotation * 4 + i * 32));
        let tmp = [w.vm.v(), w.vm.v()];
        w.vm.op(Op::Transpose { v, tmp });
        w.vm.free_all(&tmp);
        v.into_iter().for_each(|v| w.keep(v));
        w.vm.free_all(&v);
        let d = w.vm.v();
        let at = Mem::at(w.base, rotation * 12 + 3);
        if isa.has(&Op::SplatReal { d, at }) {
            w.vm.op(Op::SplatReal { d, at });
            w.keep(d);
        }
        w.vm.free(d);
        let v = [0, 1, 2, 3].map(|i| w.load(rotation * 4 + i * 28));
        for part in 0..parts {
            for s in v {
                let at = Mem::at(w.base, w.at);
                w.vm.op(Op::StoreQuad { s, at, part });
                w.at += 16;
            }
        }
        w.vm.free_all(&v);
        let (x, at) = (w.vm.x(), w.base);
        for (bytes, disp) in [(1, 3), (2, 6), (1, 4093), (2, 255 * 2)] {
            w.vm.op(Op::LoadSmallX {
                d: x,
                at: Mem::at(at, disp + rotation * 2),
                bytes,
            });
            let d = w.vm.v();
            w.vm.op(Op::SplatX { d, x });
            w.keep(d);
            w.vm.free(d);
        }
        w.vm.free_x(x);
        if w.full() || w.at > MEMORY as i32 / 2 {
            w.at = OUT;
        }
    }
    cases.push(w.case("quads".into()));
}

/// A vector loaded quarter by quarter.
fn loads(w: &mut Writer, rotation: i32, elem: Elem) {
    let isa = w.vm.isa;
    let [d, tmp] = [w.vm.v(), w.vm.v()];
    let base = w.base;
    let load = |part: u8| Op::LoadQuad {
        d,
        at: Mem::at(base, rotation * 20 + i32::from(part) * 24),
        part,
        elem,
        tmp,
    };
    if isa.has(&load(0)) {
        (0..(isa.lanes / 4) as u8).for_each(|part| w.vm.op(load(part)));
        w.keep(d);
    }
    w.vm.free_all(&[d, tmp]);
}

/// What pairs words, and what packs them.
pub fn quads_of_words(isa: Isa) -> Vec<Case> {
    let mut w = Writer::new(isa);
    for rotation in 0..8i32 {
        let [a, b] = [w.load(rotation * 4), w.load(64 - rotation * 4)];
        let lo = w.vm.v();
        w.vm.op(Op::PairWords { lo, a, b });
        w.keep(lo);
        w.keep(a);
        w.vm.free_all(&[a, b, lo]);
        for elem in [Elem::U8x2, Elem::I8x2] {
            loads(&mut w, rotation, elem);
        }
        let v = [0, 1, 2, 3].map(|i| w.load(rotation * 4 + i * 28));
        for signed in [false, true] {
            let of = |by: u8, w: &mut Writer| {
                v.map(|a| {
                    let d = w.vm.v();
                    let op = Shift::Right;
                    w.vm.op(Op::Shift { op, d, a, by });
                    d
                })
            };
            // Numbers of all sizes: some are limited, some are not.
            let v = of(14 + rotation as u8 * 3 % 12, &mut w);
            if isa.has(&Op::PackBytes { v, signed }) {
                w.vm.op(Op::PackBytes { v, signed });
                w.keep(v[0]);
            }
            w.vm.free_all(&v);
        }
        w.vm.free_all(&v);
        if w.full() {
            w.at = OUT;
        }
    }
    vec![w.case("quads of words".into())]
}

/// What brings rows of bytes together, and lanes into order again.
pub fn mixing(isa: Isa) -> Vec<Case> {
    let mut w = Writer::new(isa);
    for rotation in 0..8i32 {
        for signed in [false, true] {
            let d = w.vm.v();
            let at = Mem::at(w.base, 1031 + rotation * 7);
            w.vm.op(Op::LoadWords { d, at, signed });
            w.keep(d);
            w.vm.free(d);
        }
        let [a, b] = [w.load(1024 + rotation * 4), w.load(2000 - rotation * 4)];
        let lo = w.vm.v();
        w.vm.op(Op::MixBytes { lo, a, b });
        w.keep(lo);
        w.keep(a);
        if isa.level == Level::Avx2 {
            for (signed, second) in [(false, true), (true, true), (false, false), (true, false)] {
                w.vm.op(Op::PairRows {
                    lo,
                    a,
                    b,
                    signed,
                    second,
                });
                w.keep(lo);
                w.keep(a);
            }
        }
        w.vm.free_all(&[a, b, lo]);
        for n in [2, 4] {
            let v = [0, 1, 2, 3].map(|i| w.load(1024 + rotation * 4 + i * 100));
            let tmp = [w.vm.v(), w.vm.v()];
            w.vm.op(Op::InOrder { v, n, tmp });
            w.vm.free_all(&tmp);
            v[..usize::from(n)].iter().for_each(|v| w.keep(*v));
            w.vm.free_all(&v);
        }
        if w.at > MEMORY as i32 - 16 * w.bytes() {
            w.at = OUT;
        }
    }
    vec![w.case("rows of bytes".into())]
}

/// What picks bytes and multiplies them in pairs.
pub fn picked(isa: Isa) -> Vec<Case> {
    let mut cases = vec![];
    for rotation in 0..8i32 {
        let mut w = Writer::new(isa);
        let second = Mem::at(w.base, 68 + rotation);
        let [a, b, order] = [
            w.load(rotation * 8),
            w.load(1030 + 3 * rotation),
            w.load(rotation * 4),
        ];
        let d = w.vm.v();
        let at = Mem::at(w.base, 5 * rotation);
        w.vm.op(Op::PickBytes { d, at, order });
        w.keep(d);
        for a in [Src::Reg(a), Src::Mem(second)] {
            w.vm.op(Op::PairBytes { d, a, b });
            w.keep(d);
        }
        // In place, and summed up from where the pairs are.
        w.vm.op(Op::PairBytes {
            d: b,
            a: Src::Reg(a),
            b,
        });
        w.vm.op(Op::Dot {
            dot: Dot::Words,
            d,
            a: Src::Reg(a),
            b,
            tmp: Some(b),
        });
        w.keep(d);
        let (x, at) = (w.vm.x(), Mem::at(w.base, 40 + rotation));
        w.vm.op(Op::LoadSmallX { d: x, at, bytes: 4 });
        w.vm.op(Op::SplatX { d, x });
        w.keep(d);
        w.vm.free_x(x);
        cases.push(w.case(format!("picked {rotation}")));
    }
    cases
}
