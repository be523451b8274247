//! Random functions: machine code gives the bits of the interpreter, at each level of this machine and on aarch64 in an
//! emulator.

use onnxc_compiler::base::dim::{Origin, Symbol, Symbols};
use onnxc_compiler::loops::interp::{self, Env, Memory, NoCallees, Stop};
use onnxc_compiler::loops::ir::Func;
use onnxc_compiler::loops::legalize::legalize;
use onnxc_compiler::loops::print::print;
use onnxc_compiler::loops::random::{Limits, Rng, random};
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::run::{first_difference, native_targets, run, run_executable, target, unfused};
use onnxc_tests::tools::have;

const LEN: i64 = 7;

fn symbols() -> Symbols {
    let mut s = Symbols::default();
    let origins = [Origin::Data, Origin::Input { input: 0, axis: 0 }];
    for (name, origin) in ["M", "N"].into_iter().zip(origins) {
        let (lo, hi) = (3, 8);
        s.push(Symbol {
            name: name.into(),
            lo,
            hi,
            origin,
        });
    }
    s
}

struct Case {
    f: Func,
    bufs: Vec<Vec<u8>>,
    symbols: Symbols,
}

fn case(seed: u64, mathematics: bool) -> Case {
    let symbols = symbols();
    let limits = Limits {
        statements: 6 + (seed % 20) as usize,
        mathematics,
        len: LEN,
    };
    let f = random(seed, limits, &symbols);
    let mut rng = Rng(seed);
    let bufs = f
        .bufs
        .iter()
        .map(|(_, b)| {
            (0..LEN as usize * b.dtype.size())
                .map(|i| match b.dtype.size() {
                    // Floats of sizes that mean something, half of the time.
                    4 if i % 8 == 3 => 0x3f | (rng.bits() as u8 & 0x80),
                    8 if i % 16 == 7 => 0x40 | (rng.bits() as u8 & 0x80),
                    _ => rng.bits() as u8,
                })
                .collect()
        })
        .collect();
    Case { f, bufs, symbols }
}

const DIMS: [i64; 1] = [5];

/// What the interpreter makes of it: the status, and the buffers.
fn expected(c: &Case, t: &Target) -> (i32, Vec<Vec<u8>>) {
    let fused = t.arch == Arch::Aarch64 || t.isa_flags.contains(&"has_fma");
    let f = if fused {
        c.f.clone()
    } else {
        unfused(&legalize(&c.f))
    };
    let mut bufs = c.bufs.clone();
    let env = Env {
        symbols: &c.symbols,
        callees: &NoCallees,
        budget: None,
    };
    let mut memory = Memory::of(bufs.iter_mut().map(|b| b.as_mut_slice()).collect());
    let end = interp::run(&f, &mut memory, &[], &mut vec![3, DIMS[0]], &env);
    let status = match end {
        Ok(()) => 0,
        Err(Stop::Status(s)) => s,
        Err(Stop::Size { .. }) => onnxc_abi::status::LIMIT,
        Err(e) => panic!("{e}\n{}", print(&c.f, &c.symbols)),
    };
    (status, bufs)
}

fn compare(seed: u64, c: &Case, t: &Target, got: (i32, Vec<Vec<u8>>)) {
    let want = expected(c, t);
    let text = || print(&c.f, &c.symbols);
    assert_eq!(
        got.0,
        want.0,
        "seed {seed} on {} {}: status\n{}",
        t.arch.name(),
        t.cpu,
        text()
    );
    if want.0 != 0 {
        return;
    }
    for (((id, b), w), g) in c.f.bufs.iter().zip(&want.1).zip(&got.1) {
        if let Some(i) = first_difference(b.dtype, w, g) {
            let n = b.dtype.size();
            panic!(
                "seed {seed} on {} {}: {id:?}[{i}] is {:02x?}, should be {:02x?}\n{}",
                t.arch.name(),
                t.cpu,
                &g[i * n..i * n + n],
                &w[i * n..i * n + n],
                text()
            );
        }
    }
}

#[test]
fn on_this_machine() {
    let targets = native_targets();
    for seed in 0..120 {
        let c = case(seed, seed % 4 == 0);
        for t in &targets {
            let mut bufs = c.bufs.clone();
            let status = run(&c.f, &c.symbols, &DIMS, t, &mut bufs)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", print(&c.f, &c.symbols)));
            compare(seed, &c, t, (status, bufs));
        }
    }
}

#[test]
fn on_aarch64() {
    if !have("qemu-aarch64-static") {
        return;
    }
    let t = target(Arch::Aarch64, "");
    for seed in 0..60 {
        let c = case(seed, seed % 4 == 0);
        let mut bufs = c.bufs.clone();
        let status = run_executable(
            &c.f,
            &c.symbols,
            &DIMS,
            &t,
            Some("qemu-aarch64-static"),
            &mut bufs,
        )
        .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", print(&c.f, &c.symbols)));
        compare(seed, &c, &t, (status, bufs));
    }
}

#[test]
fn in_an_executable_of_this_machine() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let Some(t) = native_targets().pop() else {
        return;
    };
    for seed in 200..210 {
        let c = case(seed, true);
        let mut bufs = c.bufs.clone();
        let status =
            run_executable(&c.f, &c.symbols, &DIMS, &t, None, &mut bufs).expect("compiles");
        compare(seed, &c, &t, (status, bufs));
    }
}
