//! Objects as a whole: what is in them, what the entry refuses, control flow, sizes, weights, tracing, the same bytes again.

use onnxc::loader::{Model, Session, SessionOptions, host_arch};
use onnxc_abi::status;
use onnxc_compiler::base::dim::{Dim, Origin, Symbol};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::codegen::{self, Options, Weights, exec};
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::ir::{Access, Func, LoopKind};
use onnxc_compiler::plan::program::*;
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::run::{descriptor, execute, native_targets, object, target};
use onnxc_tests::tools::have;

/// y[i] = x[i] * w[0] + k for an unknown number of elements, where k grows with each round of a loop; fails on a negative x[0].
fn looped() -> Program {
    let mut p = Program::default();
    let n = p.symbols.push(Symbol {
        name: "n".into(),
        lo: 1,
        hi: 40,
        origin: Origin::Input { input: 0, axis: 0 },
    });
    let shape = vec![Dim::sym(n)];
    for list in [&mut p.inputs, &mut p.outputs] {
        list.push(Port {
            name: "v".into(),
            ty: TensorType::new(DType::F32, shape.clone()),
        });
    }
    p.inputs.push(Port {
        name: "rounds".into(),
        ty: TensorType::new(DType::I64, vec![]),
    });
    p.weights = vec![(64, vec![0, 0, 0, 64].into())];
    p.weights_bytes = 68;
    p.arena_bytes = 128;
    let (start, round) = (
        p.funcs.push(start(&shape[0])),
        p.funcs.push(round(&shape[0])),
    );
    let (x, y) = (Place::Input(0, 0), Place::Output(0, 0));
    let a = layer(&mut p, "000_start", start, vec![x, Place::Weights(64), y]);
    let b = layer(&mut p, "001_round", round, vec![Place::Arena(64), y]);
    p.steps = vec![
        Step::Layer(a),
        Step::Loop {
            trips: Some(Place::Input(1, 0)),
            max_trips: 5,
            cond: None,
            iter: Place::Arena(64),
            body: vec![Step::Layer(b)],
        },
    ];
    p
}

fn layer(p: &mut Program, name: &str, func: FuncId, args: Vec<Place>) -> LayerId {
    p.layers.push(Layer::of(name, func, args))
}

fn start(n: &Dim) -> Func {
    let mut b = Builder::new("start");
    let x = b.buffer("x", DType::F32, n.clone(), Access::Read);
    let w = b.buffer("w", DType::F32, Dim::Fixed(1), Access::Read);
    let y = b.buffer("y", DType::F32, n.clone(), Access::Write);
    let zero = b.i(0);
    let (first, f0) = (b.load(x, zero), b.f(0.0));
    let bad = b.lt(first, f0);
    b.fail_if(bad, status::DATA_OUT_OF_RANGE);
    b.for_dim(n, LoopKind::Lanes, |b, i| {
        let (v, w) = (b.load(x, i), b.load(w, zero));
        let v = b.mul(v, w);
        b.store(y, i, v);
    });
    b.finish()
}

fn round(n: &Dim) -> Func {
    let mut b = Builder::new("round");
    let k = b.buffer("k", DType::I64, Dim::Fixed(1), Access::Read);
    let y = b.buffer("y", DType::F32, n.clone(), Access::ReadWrite);
    let zero = b.i(0);
    b.for_dim(n, LoopKind::Lanes, |b, i| {
        let (v, k) = (b.load(y, i), b.load(k, zero));
        let k = b.cast(onnxc_compiler::loops::ir::Ty::F32, k);
        let v = b.add(v, k);
        b.store(y, i, v);
    });
    b.finish()
}

fn feed(s: &mut Session, n: i64, x: &[f32], rounds: i64) {
    s.set_dims(&[n]);
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    s.input_mut(0).unwrap()[..bytes.len()].copy_from_slice(&bytes);
    s.input_mut(1)
        .unwrap()
        .copy_from_slice(&rounds.to_le_bytes());
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|w| f32::from_le_bytes(w.try_into().unwrap()))
        .collect()
}

const X: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0];
/// Times 2, plus 0 + 1 + 2.
const Y: [f32; 6] = [5.0, 7.0, 9.0, 11.0, 13.0, -9.0];

#[test]
fn runs_with_sizes_loops_weights_and_traces() {
    let p = looped();
    for t in native_targets() {
        for weights in [
            Weights::Embed,
            Weights::Section(".flash".into()),
            Weights::File,
        ] {
            let options = Options {
                prefix: "net".into(),
                weights: weights.clone(),
                ..Options::default()
            };
            let bytes = object(&p, &t, &options).unwrap();
            let model = Model::load(&bytes, "net").unwrap();
            let mut blob = vec![0; 68];
            blob[67] = 64;
            let mut s = model
                .session(&SessionOptions {
                    guard: true,
                    weights: (weights == Weights::File).then_some(&blob),
                    ..Default::default()
                })
                .unwrap();
            feed(&mut s, 6, &X, 3);
            let (code, stack) = s.run_measured().unwrap();
            assert_eq!(code, status::OK);
            assert!(stack > 0 && stack <= model.descriptor().stack_bytes());
            assert_eq!(floats(&s.output(0).unwrap()[..24]), Y);
            assert_eq!(s.out_dims(), [6]);

            let mut events = vec![];
            feed(&mut s, 6, &X, 2);
            assert_eq!(s.run_traced(&mut |e| events.push((e.layer, e.begin))), 0);
            let one = |l| [(l, true), (l, false)];
            assert_eq!(events, [one(0), one(1), one(1)].concat());

            feed(&mut s, 6, &X, 6);
            assert_eq!(s.run(), status::LIMIT);
            feed(&mut s, 6, &X, i64::MIN);
            assert_eq!(s.run(), status::OK);
            assert_eq!(floats(&s.output(0).unwrap()[..8]), [2.0, 4.0]);
            feed(&mut s, 6, &[-1.0], 1);
            assert_eq!(s.run(), status::DATA_OUT_OF_RANGE);
            for n in [0, 41, i64::MIN, i64::MAX] {
                feed(&mut s, n, &X, 1);
                assert_eq!(s.run(), status::BAD_DIM);
            }
            s.set_dims(&[1, 2]);
            assert_eq!(s.run(), status::BAD_COUNT);
        }
    }
}

#[test]
fn bad_contexts_are_answered() {
    let p = looped();
    let Some(t) = native_targets().pop() else {
        return;
    };
    let bytes = object(&p, &t, &Options::default()).unwrap();
    let model = Model::load(&bytes, "model").unwrap();
    let mut s = model.session(&SessionOptions::default()).unwrap();
    feed(&mut s, 6, &X, 1);
    type Change = fn(&mut onnxc_abi::Context);
    let cases: [(Change, i32); 17] = [
        (|_| {}, status::OK),
        (|c| c.struct_size += 64, status::OK),
        (|c| c.abi_version = 0, status::BAD_VERSION),
        (|c| c.struct_size -= 8, status::BAD_VERSION),
        (|c| c.arena = std::ptr::null_mut(), status::NULL_POINTER),
        (|c| c.arena_size = 127, status::ARENA_TOO_SMALL),
        (
            |c| c.arena = c.arena.wrapping_byte_add(32),
            status::MISALIGNED,
        ),
        (|c| c.inputs = std::ptr::null(), status::NULL_POINTER),
        (|c| c.outputs = std::ptr::null(), status::NULL_POINTER),
        (|c| c.num_inputs = 1, status::BAD_COUNT),
        (|c| c.num_outputs = 0, status::BAD_COUNT),
        (|c| c.dims = std::ptr::null(), status::NULL_POINTER),
        (|c| c.num_dims = 0, status::BAD_COUNT),
        (|c| c.num_out_dims = 3, status::BAD_COUNT),
        (
            |c| {
                c.out_dims = std::ptr::null_mut();
                c.num_out_dims = 0;
            },
            status::OK,
        ),
        (|c| c.weights = c.arena, status::WEIGHTS_MISMATCH),
        (
            |c| {
                c.weights = c.arena.wrapping_byte_add(4);
                c.weights_size = 68;
            },
            status::MISALIGNED,
        ),
    ];
    for (i, (change, want)) in cases.into_iter().enumerate() {
        assert_eq!(s.run_changed(&mut |c| change(c)), want, "case {i}");
    }
    assert_eq!(model.run_null(), status::NULL_POINTER);
    // Weights are the caller's where the object has none.
    let options = Options {
        weights: Weights::File,
        ..Options::default()
    };
    let bytes = object(&p, &t, &options).unwrap();
    let model = Model::load(&bytes, "model").unwrap();
    let mut s = model.session(&SessionOptions::default()).unwrap();
    feed(&mut s, 6, &X, 1);
    assert_eq!(s.run(), status::NULL_POINTER);
}

fn every_target() -> Vec<Target> {
    let mut all: Vec<Target> = ["", "x86-64-v2", "x86-64-v3"]
        .iter()
        .map(|cpu| target(Arch::X86_64, cpu))
        .collect();
    all.push(target(Arch::Aarch64, ""));
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let mut t = target(arch, "");
        t.landing_pads = true;
        all.push(t);
    }
    all
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let p = looped();
    for t in every_target() {
        let bytes = |jobs| {
            let options = Options {
                jobs,
                ..Options::default()
            };
            object(&p, &t, &options).unwrap()
        };
        assert_eq!(bytes(1), bytes(3));
    }
}

#[test]
fn executables_need_no_linker() {
    let p = looped();
    let mut input = vec![];
    for n in [6usize, 3] {
        input.extend((n as i64).to_le_bytes());
        X[..n].iter().for_each(|v| input.extend(v.to_le_bytes()));
        input.extend(3i64.to_le_bytes());
    }
    for t in every_target() {
        let emulator = if host_arch() == Some(t.arch) {
            None
        } else if t.arch == Arch::Aarch64 && have("qemu-aarch64-static") {
            Some("qemu-aarch64-static")
        } else {
            continue;
        };
        let options = Options::default();
        let code = codegen::generate(&p, &t, &options).unwrap();
        let d = descriptor(&p, &code, &t, &options);
        let object = codegen::object::write(&code, &p, &options, &d).unwrap();
        let exe = exec::executable(&object, &p, &t, &options, None, exec::Drive::Answer).unwrap();
        let mut want = vec![];
        for n in [6usize, 3] {
            want.extend(0i32.to_le_bytes());
            want.extend((n as i64).to_le_bytes());
            Y[..n].iter().for_each(|v| want.extend(v.to_le_bytes()));
        }
        assert_eq!(
            execute(&exe, emulator, &input),
            want,
            "{} {}",
            t.arch.name(),
            t.cpu
        );
    }
}

#[test]
fn bad_options_are_usage() {
    let p = looped();
    let t = target(Arch::X86_64, "");
    for prefix in ["", "9a", "a-b", "ä"] {
        let options = Options {
            prefix: prefix.into(),
            ..Options::default()
        };
        assert!(codegen::generate(&p, &t, &options).is_err(), "{prefix}");
    }
}
