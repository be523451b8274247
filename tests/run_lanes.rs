//! Random `Lanes` loops, with loops around and inside: kernels of the vector machine give the bits of the interpreter.

use onnxc_compiler::base::dim::{Dim, Origin, Symbol, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::codegen::{self, Options};
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::interp::{self, Env, Memory, NoCallees};
use onnxc_compiler::loops::ir::*;
use onnxc_compiler::loops::legalize::legalize;
use onnxc_compiler::loops::print::print;
use onnxc_compiler::loops::random::Rng;
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::run::{first_difference, native_targets, program, run, unfused};

const INPUTS: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::I32,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::F16,
    DType::BF16,
    DType::Bool,
];
const OUTPUTS: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::F32,
    DType::I32,
    DType::U8,
    DType::I8,
    DType::I16,
    DType::F16,
    DType::Bool,
];

struct Case {
    f: Func,
    bufs: Vec<Vec<u8>>,
    symbols: Symbols,
    dims: Vec<i64>,
}

struct Maker {
    b: Builder,
    rng: Rng,
    inputs: Vec<(BufId, DType)>,
}

impl Maker {
    fn pick(&mut self, pool: &[ExprId], ty: Ty) -> ExprId {
        let of: Vec<ExprId> = pool
            .iter()
            .copied()
            .filter(|e| self.b.ty(*e) == ty)
            .collect();
        if of.is_empty() || self.rng.below(8) == 0 {
            return match ty {
                Ty::F32 => {
                    let all = [0.0, 1.0, -0.5, 3.25, 100.0, 0.1];
                    let v = self.rng.pick(&all);
                    self.b.f(v)
                }
                Ty::Bool => {
                    let v = self.rng.below(2) == 0;
                    self.b.bool(v)
                }
                ty => {
                    let v = self.rng.below(40) as i64 - 20;
                    self.b.int(ty, v)
                }
            };
        }
        self.rng.pick(&of)
    }
    fn node(&mut self, pool: &[ExprId], mathematics: bool) -> ExprId {
        let ty = self
            .rng
            .pick(&[Ty::F32, Ty::F32, Ty::F32, Ty::I32, Ty::Bool]);
        let (x, y, z) = (
            self.pick(pool, ty),
            self.pick(pool, ty),
            self.pick(pool, ty),
        );
        let b = &mut self.b;
        match (self.rng.below(9), ty) {
            (0, Ty::F32) => {
                let ops = [
                    UnOp::Neg,
                    UnOp::Abs,
                    UnOp::Sqrt,
                    UnOp::Floor,
                    UnOp::Ceil,
                    UnOp::Trunc,
                    UnOp::Round,
                ];
                b.un(self.rng.pick(&ops), x)
            }
            (0, Ty::I32) => b.un(self.rng.pick(&[UnOp::Neg, UnOp::Abs, UnOp::Not]), x),
            (0, _) => b.un(UnOp::Not, x),
            (1, Ty::F32) if mathematics => {
                let ops = [UnOp::Exp, UnOp::Tanh, UnOp::Erf, UnOp::Sigmoid];
                b.un(self.rng.pick(&ops), x)
            }
            (1 | 2, Ty::F32) => b.fma(x, y, z),
            (3, _) => {
                let c = self.pick(pool, Ty::Bool);
                self.b.select(c, x, y)
            }
            (4, ty) => {
                let to = self.rng.pick(&[Ty::F32, Ty::I32, Ty::Bool]);
                let _ = ty;
                self.b.cast(to, x)
            }
            (5, Ty::F32 | Ty::I32) => {
                let ops = [BinOp::Eq, BinOp::Ne, BinOp::Lt, BinOp::Le];
                b.bin(self.rng.pick(&ops), x, y)
            }
            (6, Ty::I32) => {
                let by = self.rng.below(32) as i64;
                let by = b.int(Ty::I32, by);
                b.bin(self.rng.pick(&[BinOp::Shl, BinOp::Shr, BinOp::ShrU]), x, by)
            }
            (_, Ty::F32) => {
                let ops = [
                    BinOp::Add,
                    BinOp::Sub,
                    BinOp::Mul,
                    BinOp::Div,
                    BinOp::Min,
                    BinOp::Max,
                ];
                b.bin(self.rng.pick(&ops), x, y)
            }
            (_, Ty::I32) => {
                let ops = [
                    BinOp::Add,
                    BinOp::Sub,
                    BinOp::Mul,
                    BinOp::Min,
                    BinOp::Max,
                    BinOp::MinU,
                    BinOp::MaxU,
                    BinOp::And,
                    BinOp::Or,
                    BinOp::Xor,
                    BinOp::LtU,
                    BinOp::LeU,
                ];
                b.bin(self.rng.pick(&ops), x, y)
            }
            _ => {
                let ops = [BinOp::And, BinOp::Or, BinOp::Xor, BinOp::Eq, BinOp::Ne];
                b.bin(self.rng.pick(&ops), x, y)
            }
        }
    }
    /// Now and then a number as bytes are made of it: often a float that is rounded, limited from both sides.
    fn limited(&mut self, pool: &[ExprId], d: DType) -> Option<ExprId> {
        if !matches!(d, DType::U8 | DType::I8) || self.rng.below(3) == 0 {
            return None;
        }
        let whole = match self.rng.below(4) {
            0 => self.pick(pool, Ty::I32),
            _ => {
                let x = self.pick(pool, Ty::F32);
                let b = &mut self.b;
                let far = [b.f(-1000.0), b.f(1000.0)];
                let x = b.clamp(x, far[0], far[1]);
                let x = b.un(UnOp::Near, x);
                b.cast(Ty::I32, x)
            }
        };
        let (lo, hi) = d.int_range()?;
        // Bounds of the type, or tighter ones.
        let less = self.rng.pick(&[0, 0, 0, 5]);
        let (lo, hi) = (
            self.b.int(Ty::I32, lo as i64),
            self.b.int(Ty::I32, hi as i64 - less),
        );
        Some(match self.rng.below(2) {
            0 => self.b.clamp(whole, lo, hi),
            _ => {
                let v = self.b.min(hi, whole);
                self.b.max(v, lo)
            }
        })
    }
    fn load(&mut self, at: ExprId) -> ExprId {
        let (buf, _) = self.rng.pick(&self.inputs.clone());
        let k = self.rng.below(6) as i64;
        let k = self.b.i(k);
        let at = self.b.add(at, k);
        self.b.load(buf, at)
    }
}

fn case(seed: u64) -> Case {
    let mut rng = Rng(seed);
    let free = rng.below(3) == 0;
    let most = rng.pick(&[140, 40, 40]);
    let n = 1 + rng.below(most) as i64;
    let m = if rng.below(3) == 0 {
        1 + rng.below(4) as i64
    } else {
        1
    };
    let windows: Vec<i64> = (0..rng.below(3)).map(|_| 1 + rng.below(5) as i64).collect();
    let mut symbols = Symbols::default();
    let len = Dim::Fixed((n + 8) * m * windows.iter().product::<i64>() + 64);
    symbols.push(Symbol {
        name: "N".into(),
        lo: 0,
        hi: n,
        origin: Origin::Input { input: 0, axis: 0 },
    });
    let mut b = Builder::new("lanes");
    let mut inputs = vec![];
    for (i, d) in INPUTS.iter().enumerate() {
        inputs.push((
            b.buffer(&format!("x{i}"), *d, len.clone(), Access::Read),
            *d,
        ));
    }
    let outs: Vec<(BufId, DType)> = (0..1 + rng.below(2))
        .map(|i| {
            let d = rng.pick(OUTPUTS);
            (b.buffer(&format!("y{i}"), d, len.clone(), Access::Write), d)
        })
        .collect();
    let extent = match free {
        true => b.dim(&Dim::sym(onnxc_compiler::base::dim::SymId(0))),
        false => b.i(n),
    };
    let rows = b.i(m);
    let padded = rng.below(2) == 0;
    let most = rng.pick(&[60, 14, 14, 14]);
    let ops = 2 + rng.below(most);
    let mathematics = rng.below(3) == 0;
    let mut g = Maker { b, rng, inputs };
    let zero = g.b.i(0);
    let (row_var, row) = g.b.loop_var();
    let (var, i) = g.b.loop_var();
    g.b.open_block();
    let width = match padded {
        true => {
            let k = g.b.i(3);
            g.b.add(extent, k)
        }
        false => extent,
    };
    let base = g.b.mul(row, width);
    g.b.open_block();
    let at = g.b.add(base, i);
    let mut pool = vec![];
    for _ in 0..3 {
        let v = g.load(at);
        pool.push(v);
        let place = g.rng.pick(&[zero, base, at]);
        let v = g.load(place);
        pool.push(v);
    }
    for _ in 0..ops / 2 {
        let v = g.node(&pool, mathematics);
        pool.push(v);
    }
    if !windows.is_empty() {
        // Sums and the like over a window.
        let mut vars = vec![];
        for _ in 0..1 + g.rng.below(3) {
            let ty = g.rng.pick(&[Ty::F32, Ty::F32, Ty::I32]);
            let init = g.pick(&pool, ty);
            let v = g.b.var(init);
            vars.push(v);
        }
        let mut open = vec![];
        let mut at = at;
        for w in &windows {
            let (v, k) = g.b.loop_var();
            let by = g.rng.pick(&[1i64, 7, 16]);
            let by = g.b.i(by);
            let step = if free { width } else { by };
            let k = g.b.mul(k, step);
            at = g.b.add(at, k);
            open.push((v, *w));
            g.b.open_block();
        }
        for &v in &vars {
            let was = g.b.get(v);
            let x = g.load(at);
            let mut inner = vec![x];
            inner.extend(pool.iter().copied().take(4));
            for _ in 0..1 + g.rng.below(4) {
                let x = g.node(&inner, false);
                inner.push(x);
            }
            let ty = g.b.ty(was);
            let x = g.pick(&inner, ty);
            let next = match (g.rng.below(3), ty) {
                (0, Ty::F32) => {
                    let y = g.pick(&inner, ty);
                    g.b.fma(x, y, was)
                }
                (1, _) => g.b.max(was, x),
                _ => g.b.add(was, x),
            };
            g.b.set(v, next);
        }
        for (var, w) in open.into_iter().rev() {
            let body = g.b.close_block();
            let extent = g.b.i(w);
            let kind = g.rng.pick(&[LoopKind::Seq, LoopKind::Unroll]);
            g.b.stmt(Stmt::For {
                var,
                extent,
                kind,
                body,
            });
        }
        for v in vars {
            let v = g.b.get(v);
            pool.push(v);
        }
    }
    for _ in 0..ops / 2 {
        let v = g.node(&pool, mathematics);
        pool.push(v);
    }
    let outs_at = g.b.add(base, i);
    for (y, d) in &outs {
        let v = match g.limited(&pool, *d) {
            Some(v) => v,
            None => g.pick(&pool[pool.len() / 2..], Ty::of(*d)),
        };
        g.b.store(*y, outs_at, v);
    }
    let body = g.b.close_block();
    g.b.stmt(Stmt::For {
        var,
        extent,
        kind: LoopKind::Lanes,
        body,
    });
    let body = g.b.close_block();
    g.b.stmt(Stmt::For {
        var: row_var,
        extent: rows,
        kind: LoopKind::Seq,
        body,
    });
    let Maker { b, mut rng, .. } = g;
    let f = b.finish();
    let elements = len.fixed().unwrap() as usize;
    let bufs = f
        .bufs
        .iter()
        .map(|(_, b)| {
            let size = b.dtype.size();
            (0..elements * size)
                .map(|i| match b.dtype {
                    DType::F32 if i % 4 == 3 && rng.below(8) > 0 => {
                        0x3f | (rng.bits() as u8 & 0x81)
                    }
                    DType::F16 if i % 2 == 1 && rng.below(8) > 0 => {
                        0x3f | (rng.bits() as u8 & 0x81)
                    }
                    DType::Bool => rng.below(2) as u8,
                    _ => rng.bits() as u8,
                })
                .collect()
        })
        .collect();
    let dims = vec![if free {
        rng.below(n as usize + 1) as i64
    } else {
        n.min(1)
    }];
    Case {
        f,
        bufs,
        symbols,
        dims,
    }
}

fn expected(c: &Case, t: &Target) -> Vec<Vec<u8>> {
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
    interp::run(&f, &mut memory, &[], &mut c.dims.clone(), &env)
        .unwrap_or_else(|e| panic!("{e}\n{}", print(&c.f, &c.symbols)));
    bufs
}

/// Whether a kernel was made of a loop.
fn has_kernel(c: &Case, t: &Target) -> bool {
    let p = program(&c.f, &c.symbols);
    let code = codegen::generate(&p, t, &Options::default()).expect("compiles");
    // The copies of what is written have one, too.
    let copies = p.layers.len() - 1;
    code.parts
        .iter()
        .filter(|p| p.name.contains("_loop_"))
        .count()
        > copies.min(1)
}

/// Runs a case on a target and in the interpreter.
fn compare(what: &str, c: &Case, t: &Target) {
    let want = expected(c, t);
    let mut got = c.bufs.clone();
    let status = run(&c.f, &c.symbols, &c.dims, t, &mut got)
        .unwrap_or_else(|e| panic!("{what}: {e}\n{}", print(&c.f, &c.symbols)));
    assert_eq!(status, 0, "{what}");
    for (((id, b), w), g) in c.f.bufs.iter().zip(&want).zip(&got) {
        if let Some(i) = first_difference(b.dtype, w, g) {
            let n = b.dtype.size();
            panic!(
                "{what} on {}: {id:?}[{i}] is {:02x?}, should be {:02x?}\n{}",
                t.cpu,
                &g[i * n..i * n + n],
                &w[i * n..i * n + n],
                print(&c.f, &c.symbols)
            );
        }
    }
}

/// Rows that lie apart in both buffers, copied into two places; the last one ends with its buffer.
fn copies(dtype: DType, n: i64, seed: u64) -> Case {
    let (rows, apart) = (3, 2 * n + 3);
    let mut b = Builder::new("copies");
    let x = b.buffer("x", dtype, Dim::Fixed(rows * n + 2), Access::Read);
    let len = (rows - 1) * apart + 2 * n;
    let y = b.buffer("y", dtype, Dim::Fixed(len), Access::Write);
    let rows = b.i(rows);
    b.for_(rows, LoopKind::Seq, |b, row| {
        let (n, apart, one) = (b.i(n), b.i(apart), b.i(1));
        let (from, to) = (b.mul(row, n), b.mul(row, apart));
        b.for_(n, LoopKind::Lanes, |b, i| {
            let from = b.add(from, i);
            let v = b.load(x, from);
            let from = b.add(from, one);
            let w = b.load(x, from);
            let to = b.add(to, i);
            b.store(y, to, v);
            let to = b.add(to, n);
            b.store(y, to, w);
        });
    });
    let f = b.finish();
    let mut rng = Rng(seed);
    let size = dtype.size() as i64;
    let filled = (0..(3 * n + 2) * size).map(|_| rng.bits() as u8).collect();
    Case {
        f,
        bufs: vec![filled, vec![0; (len * size) as usize]],
        symbols: Symbols::default(),
        dims: vec![],
    }
}

#[test]
fn copies_of_any_length_are_whole() {
    let dtypes = [
        DType::U8,
        DType::I8,
        DType::U16,
        DType::F16,
        DType::F32,
        DType::I32,
    ];
    for n in (1..70).chain([95, 127, 130, 257]) {
        for dtype in dtypes {
            let c = copies(dtype, n, n as u64);
            for t in native_targets()
                .iter()
                .filter(|t| t.machine.lane_loop.is_some())
            {
                compare(&format!("{n} elements of {dtype:?}"), &c, t);
            }
        }
    }
}

#[test]
fn kernels_give_the_bits_of_the_interpreter() {
    let targets = native_targets();
    let seeds: u64 = std::env::var("ONNXC_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(300);
    let first: u64 = std::env::var("ONNXC_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let (mut made, mut asked) = (0, 0);
    for seed in first..first + seeds {
        let c = case(seed);
        for t in targets.iter().filter(|t| t.machine.lane_loop.is_some()) {
            asked += 1;
            made += usize::from(has_kernel(&c, t));
            compare(&format!("seed {seed}"), &c, t);
        }
    }
    if asked > 0 {
        println!("{made} of {asked} became kernels");
        assert!(made * 10 > asked * 7, "{made} of {asked} became kernels");
    }
}
