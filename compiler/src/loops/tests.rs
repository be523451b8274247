//! Text round trips, the verifier, and what legalize keeps, over random functions and written ones.

use super::compact::compact;
use super::interp::{Env, Memory, NoCallees, Stop, run};
use super::ir::*;
use super::legalize::legalize;
use super::parse::{parse, parse_module};
use super::print::print;
use super::random::{Limits, Rng, random};
use super::verify::verify;
use crate::base::dim::{Origin, Symbol, Symbols};

fn symbols() -> Symbols {
    let mut s = Symbols::default();
    for name in ["N", "seq len"] {
        s.push(Symbol {
            name: name.into(),
            lo: 0,
            hi: 8,
            origin: Origin::Data,
        });
    }
    s
}

fn limits(statements: usize) -> Limits {
    Limits {
        statements,
        mathematics: true,
        len: 7,
    }
}

#[test]
fn random_functions_verify_and_round_trip() {
    let symbols = symbols();
    for seed in 0..300 {
        let f = random(seed, limits(3 + seed as usize % 20), &symbols);
        let problems = verify(&f, &symbols);
        let text = print(&f, &symbols);
        assert!(problems.is_empty(), "seed {seed}: {problems:?}\n{text}");
        let back = match parse(&text, &symbols) {
            Ok(b) => b,
            Err(e) => panic!("seed {seed}: {e}\n{text}"),
        };
        assert_eq!(compact(&back), compact(&f), "seed {seed}\n{text}");
        assert_eq!(print(&back, &symbols), text, "seed {seed}");
        let written_out = legalize(&f);
        let problems = verify(&written_out, &symbols);
        assert!(problems.is_empty(), "seed {seed} written out: {problems:?}");
        let text = print(&written_out, &symbols);
        let back = parse(&text, &symbols).unwrap();
        assert_eq!(compact(&back), compact(&written_out), "seed {seed}\n{text}");
    }
}

#[test]
fn random_functions_run() {
    let symbols = symbols();
    for seed in 1000..1300 {
        let f = random(seed, limits(20), &symbols);
        let mut rng = Rng(seed);
        let mut bytes: Vec<Vec<u8>> = f
            .bufs
            .iter()
            .map(|(_, b)| (0..7 * b.dtype.size()).map(|_| rng.bits() as u8).collect())
            .collect();
        let mut memory = Memory::of(bytes.iter_mut().map(|b| b.as_mut_slice()).collect());
        let env = Env {
            symbols: &symbols,
            callees: &NoCallees,
            budget: Some(100_000),
        };
        let end = run(&f, &mut memory, &[], &mut vec![3, 5], &env);
        let text = || print(&f, &symbols);
        assert!(
            !matches!(end, Err(Stop::Fault(_))),
            "{seed}: {end:?}\n{}",
            text()
        );
    }
}

#[test]
fn damaged_text_never_panics() {
    let symbols = symbols();
    let mut rng = Rng(5);
    for seed in 0..60 {
        let text = print(&random(seed, limits(8), &symbols), &symbols);
        let chars: Vec<char> = text.chars().collect();
        for _ in 0..40 {
            let mut t = chars.clone();
            match rng.below(3) {
                0 => t.truncate(rng.below(t.len())),
                1 => {
                    let at = rng.below(t.len());
                    t[at] = rng.pick(&[
                        '(', ')', '[', '%', '$', '-', '9', '"', 'e', ' ', '{', '}', '<',
                    ]);
                }
                _ => {
                    let (a, b) = (rng.below(t.len()), rng.below(t.len()));
                    t.swap(a, b);
                }
            }
            let t: String = t.into_iter().collect();
            if let Ok((_, funcs)) = parse_module(&t) {
                for f in funcs {
                    let _ = verify(&f.func, &symbols);
                    let _ = super::interp::Program::new(&f.func);
                    let _ = print(&f.func, &symbols);
                }
            }
        }
    }
}

#[test]
fn deep_and_large_expressions() {
    let mut b = super::build::Builder::new("deep");
    let x = b.buffer(
        "x",
        crate::base::dtype::DType::F32,
        1.into(),
        Access::ReadWrite,
    );
    let zero = b.i(0);
    let mut e = b.load(x, zero);
    for n in 0..20000 {
        let c = b.f(n as f32);
        e = if n % 2 == 0 {
            b.add(e, c)
        } else {
            b.un(UnOp::Tanh, e)
        };
    }
    b.store(x, zero, e);
    let f = b.finish();
    let symbols = Symbols::default();
    assert!(verify(&f, &symbols).is_empty());
    let text = print(&f, &symbols);
    assert_eq!(compact(&parse(&text, &symbols).unwrap()).0, compact(&f).0);
    super::interp::run_simple(&f, vec![&mut [0; 4]], &[]).unwrap();
    let open = format!("func f() {{ fail 1 if {}true", "(".repeat(100_000));
    assert!(parse(&open, &symbols).is_err());
    let open = format!("func f() {}", "{ if true ".repeat(100_000));
    assert!(parse(&open, &symbols).is_err());
}

#[test]
fn all_forms_of_text() {
    let text = r#"sym N = 1..64 input 0 axis 1
sym "a b" = 0..9 data

func "layer/1"(x: f32[4*$N+1] read, b1 "y y": i32[12] write, w: u8[div($1+3, 4)] readwrite, v0: int) {
  let v1 = i64(x[v0]) + -3
  var v2 = 0i32
  for v3 < $N parallel {
    %0 = x[v3 * 4 + v1 % 2]
    b1[v3] = i32.u(select(%0 < 1.5e-7, %0, bits32(0x7fc00000)) * (%0 - -0.0))
  }
  while v1 << 2 == v0 & not(false) {
    if v2 != 7i32 {
      set v2 = v2 - (v2 - 1i32)
    } else {
      set v2 = i32(w[v0 if 0 <= v0 else 2i32])
    }
    fail 3 if v1 <= v0
  }
  $1 = mulhiu(v0, v1)
  call gemm_tile "gemm_tile_6x16" {m: 6, "n n": 16} (&x[v0 + 1], v1, &b1[0])
  for v4 < 9 lanes {
    w[v4] = i32(fma(2.0f64, 3.5f64, pow(f64(x[v4]), 1e-300f64)))
  }
}
"#;
    let (symbols, funcs) = parse_module(text).unwrap();
    let f = &funcs[0].func;
    let printed = format!(
        "{}\n{}",
        crate::base::text::symbols_text(&symbols),
        print(f, &symbols)
    );
    // The long head is broken into lines.
    let squeeze = |s: &str| {
        s.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace("( ", "(")
    };
    assert_eq!(squeeze(&printed), squeeze(text));
    assert_eq!(funcs[0].lines[..4], [5, 6, 7, 9]);
}
