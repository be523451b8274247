//! Programs over memory, address registers, arguments, the frame and branches.

use super::*;

/// Loads and stores of every element and number of lanes at addresses of every form.
pub fn accesses(isa: Isa, cases: &mut Vec<Case>) {
    for elem in [
        Elem::W32,
        Elem::F16,
        Elem::BF16,
        Elem::U8,
        Elem::I8,
        Elem::U16,
        Elem::I16,
        Elem::I8x2,
        Elem::U8x2,
        Elem::U8Limited,
        Elem::I8Limited,
    ] {
        for n in 0..=isa.lanes as u8 {
            let lanes = if n == 0 { Lanes::All } else { Lanes::First(n) };
            let mut w = Writer::new(isa);
            let bytes = w.bytes();
            let index = w.vm.arg(1);
            let far = w.vm.x();
            w.vm.op(Op::AddI {
                d: far,
                a: w.base,
                by: 3_000_000,
            });
            let near = w.vm.x();
            w.vm.op(Op::AddI {
                d: near,
                a: w.base,
                by: 1024,
            });
            let read = |at: Mem| Op::Load {
                d: V(0),
                at,
                elem,
                lanes,
            };
            let plain = Mem::at(w.base, 0);
            // Each place once for the load and once, further behind, for the store.
            let places = |at: i32| {
                [
                    Mem::at(plain.base, at),
                    Mem::at(plain.base, at + 13),
                    Mem::at(near, at - 1024),
                    Mem::at(near, at - 1025),
                    Mem::at(far, at - 3_000_000),
                ]
                .into_iter()
                .chain((0..4).flat_map(move |shift| {
                    let scaled = 7 << shift;
                    [at, scaled].map(|at| Mem {
                        base: plain.base,
                        index: Some((index, shift)),
                        disp: at - scaled,
                    })
                }))
                .collect::<Vec<Mem>>()
            };
            if isa.has(&read(plain)) {
                for at in places(64).into_iter().chain(places(1030)) {
                    let d = w.vm.v();
                    w.vm.op(Op::Load { d, at, elem, lanes });
                    w.keep(d);
                    w.vm.free(d);
                    if w.full() {
                        w.at = OUT;
                    }
                }
            }
            // The last bytes of memory, and no further.
            let count = if n == 0 { isa.lanes as i32 } else { n.into() };
            let last = MEMORY as i32 - count * elem.bytes();
            if isa.has(&read(plain)) {
                let d = w.vm.v();
                let at = Mem::at(w.base, last);
                w.vm.op(Op::Load { d, at, elem, lanes });
                w.keep(d);
                w.vm.free(d);
            }
            let write = |at| Op::Store {
                s: V(0),
                at,
                elem,
                lanes,
                tmp: V(1),
            };
            if isa.has(&write(plain)) {
                let all = places(1500).into_iter().chain(places(3300));
                for (i, at) in all.chain([Mem::at(w.base, last)]).enumerate() {
                    let (s, tmp) = (w.load(i as i32 * bytes % 128), w.vm.v());
                    w.vm.op(Op::Store {
                        s,
                        at: at.plus(i as i32 * 64 * i32::from(at.disp != last)),
                        elem,
                        lanes,
                        tmp,
                    });
                    w.vm.free_all(&[s, tmp]);
                }
                // What conversions make of every value.
                if n == 0 {
                    for c in 0..VALUES.len() as i32 / isa.lanes as i32 {
                        let (s, tmp) = (w.load(c * bytes), w.vm.v());
                        let at = Mem::at(w.base, 600 + c * bytes);
                        w.vm.op(Op::Store {
                            s,
                            at,
                            elem,
                            lanes,
                            tmp,
                        });
                        w.vm.free_all(&[s, tmp]);
                    }
                }
            }
            cases.push(w.case(format!("{elem:?} {n}")));
        }
    }
}

/// Address registers, arguments, the frame, branches.
pub fn addresses(isa: Isa, cases: &mut Vec<Case>) {
    let keep_x = |w: &mut Writer, x: X| {
        let v = w.vm.v();
        w.vm.op(Op::SplatX { d: v, x });
        w.keep(v);
        w.vm.free(v);
    };
    let numbers = [
        0,
        1,
        -1,
        255,
        4095,
        4096,
        -4096,
        65536,
        0x1234_5678,
        -0x1234_5678,
        i64::MAX,
        i64::MIN,
        0x1_0000_0001,
    ];
    let mut w = Writer::new(isa);
    let (a, b, d) = (w.vm.x(), w.vm.x(), w.vm.x());
    for (i, value) in numbers.into_iter().enumerate() {
        let next = numbers[(i + 1) % numbers.len()];
        for op in [
            Op::AddX { d, a, b, shift: 0 },
            Op::AddX { d, a, b, shift: 3 },
            Op::AddX {
                d: a,
                a,
                b,
                shift: 2,
            },
            Op::AddX {
                d: b,
                a,
                b,
                shift: 1,
            },
            Op::SubX { d, a, b },
            Op::SubX { d: a, a, b },
            Op::SubX { d: b, a, b },
            Op::MulX { d, a, b },
            Op::MulX { d: b, a, b },
            Op::MoveX { d, a },
            Op::ShlX { d, a, by: 0 },
            Op::ShlX { d, a, by: 1 },
            Op::ShlX { d: a, a, by: 31 },
            Op::AddI {
                d,
                a,
                by: next as i32,
            },
            Op::AddI {
                d: a,
                a,
                by: next as i32,
            },
            Op::AddI { d, a, by: -5000 },
            Op::ShrX { d, a, by: 3 },
            Op::ShrX { d: a, a, by: 63 },
            Op::AndX { d, a, mask: 2047 },
            Op::AndX {
                d: a,
                a,
                mask: -256,
            },
        ] {
            if !isa.has(&op) {
                continue;
            }
            w.vm.op(Op::SetX { d: a, value });
            w.vm.op(Op::SetX { d: b, value: next });
            w.vm.op(Op::SetX { d, value: 99 });
            w.vm.op(op);
            for x in [a, b, d] {
                keep_x(&mut w, x);
            }
            if w.full() {
                w.at = OUT;
            }
        }
        if i % 4 == 3 {
            cases.push(std::mem::replace(&mut w, Writer::new(isa)).case(format!("addresses {i}")));
            let _ = (w.vm.x(), w.vm.x(), w.vm.x());
        }
    }
    cases.push(w.case("addresses".into()));

    // Every condition over numbers on both sides of it: a bit in a register where the branch is taken.
    let conds = [Cond::Eq, Cond::Ne, Cond::Lt, Cond::Le, Cond::Gt, Cond::Ge];
    for cond in conds {
        let mut w = Writer::new(isa);
        let (x, y, sum) = (w.vm.x(), w.vm.x(), w.vm.x());
        w.vm.op(Op::SetX { d: sum, value: 0 });
        let mut bit = 0;
        for value in numbers {
            for with in [0, 1, -1, 4095, 4096, -4095, -4096, i32::MAX, i32::MIN] {
                for register in [false, true] {
                    w.vm.op(Op::SetX { d: x, value });
                    let to = w.vm.label();
                    if register {
                        w.vm.op(Op::SetX {
                            d: y,
                            value: with.into(),
                        });
                        w.vm.op(Op::BranchX {
                            a: x,
                            cond,
                            b: y,
                            to,
                        });
                    } else {
                        w.vm.op(Op::Branch { x, cond, with, to });
                    }
                    w.vm.op(Op::AddI {
                        d: sum,
                        a: sum,
                        by: 1 << bit,
                    });
                    w.vm.place(to);
                    bit = (bit + 1) % 16;
                    if bit == 0 {
                        keep_x(&mut w, sum);
                        w.vm.op(Op::SetX { d: sum, value: 0 });
                    }
                }
            }
            if w.full() {
                w.at = OUT;
            }
        }
        keep_x(&mut w, sum);
        cases.push(w.case(format!("branch {cond:?}")));
    }

    let mut w = Writer::new(isa);
    for (start, by) in [
        (1, 1),
        (7, 1),
        (7, 2),
        (9, 3),
        (20_000, 5000),
        (-3, 1),
        (0, 4096),
    ] {
        let (x, n) = (w.vm.x(), w.vm.x());
        w.vm.op(Op::SetX { d: x, value: start });
        w.vm.op(Op::SetX { d: n, value: 0 });
        w.vm.repeat(x, by, |vm| vm.add_i(n, 1));
        keep_x(&mut w, x);
        keep_x(&mut w, n);
        w.vm.free_x(x);
        w.vm.free_x(n);
    }
    let (skip, end) = (w.vm.label(), w.vm.label());
    w.vm.op(Op::Jump { to: skip });
    w.vm.place(end);
    w.vm.op(Op::SetX { d: X(13), value: 5 });
    keep_x(&mut w, X(13));
    let done = w.vm.label();
    w.vm.op(Op::Jump { to: done });
    w.vm.place(skip);
    w.vm.op(Op::Jump { to: end });
    w.vm.place(done);
    cases.push(w.case("loops".into()));

    // All arguments, in and out of order, before and after they change, and all registers.
    for (order, step) in [(0, 1), (9, 9), (3, 7)] {
        let mut vm = Vm::new(isa, 10);
        let base = vm.arg(2);
        let at = |n: i32| Mem::at(base, OUT + n * isa.lanes as i32 * 4);
        let mut line = 0;
        let mut n = order;
        let v = V(isa.vregs as u8 - 1);
        for round in 0..3 {
            for _ in 0..10 {
                n = (n + step) % 10;
                let d = X((n + round) % 10 + 3);
                if n != 2 {
                    vm.op(Op::Arg { d, n });
                    vm.op(Op::SplatX { d: v, x: d });
                    vm.store(v, at(line), Lanes::All, V(0));
                    line += 1;
                    vm.add_i(d, i32::from(n) * 100);
                    vm.op(Op::SetArg { n, s: d });
                }
            }
        }
        let args = (0..10).map(|n| match n {
            2 => Arg::Pointer(0),
            n => Arg::Number(1000 + n),
        });
        cases.push(Case {
            name: format!("arguments {order}"),
            program: vm.finish().unwrap(),
            args: args.collect(),
            memory: memory(),
        });
    }

    // Every register through the frame and back.
    for slots in [1, 40] {
        let mut w = Writer::new(isa);
        let all = w.vm.vs(isa.vregs);
        for _ in 0..slots.max(all.len()) {
            w.vm.slot();
        }
        for (i, v) in all.iter().enumerate() {
            let at = Mem::at(w.base, i as i32 * 4);
            w.vm.load(*v, at, Lanes::All);
            w.vm.op(Op::Spill {
                s: *v,
                slot: i as u16,
            });
            w.vm.op(Op::Zero { d: *v });
        }
        for (i, v) in all.iter().enumerate() {
            let slot = (all.len() - 1 - i) as u16;
            w.vm.op(Op::Fill { d: *v, slot });
            w.vm.op(Op::Prefetch {
                at: Mem::at(w.base, 64 * i as i32 - 300),
            });
        }
        for v in &all {
            let at = Mem::at(w.base, w.at);
            w.vm.store(*v, at, Lanes::All, if v.0 == 0 { V(1) } else { V(0) });
            w.at += w.bytes();
            // Its scratch register is whatever it is now: nobody reads it again but the first two.
            if v.0 == 0 {
                w.vm.op(Op::Zero { d: V(1) });
            }
        }
        cases.push(w.case(format!("frame {slots}")));
    }
    let mut w = Writer::new(isa);
    let (x, zero) = (w.vm.x(), w.vm.x());
    w.vm.op(Op::SetX { d: zero, value: 3 });
    for disp in [0, 8, 5, 12] {
        for index in [None, Some((zero, 0)), Some((zero, 3))] {
            let base = w.base;
            w.vm.op(Op::LoadX {
                d: x,
                at: Mem { base, index, disp },
            });
            keep_x(&mut w, x);
        }
    }
    let (v, base) = (w.vm.v(), w.base);
    for disp in [0, 4, 7, 4000] {
        for index in [None, Some((zero, 0)), Some((zero, 2))] {
            w.vm.op(Op::Splat {
                d: v,
                at: Mem { base, index, disp },
            });
            w.keep(v);
        }
    }
    cases.push(w.case("words".into()));
}
