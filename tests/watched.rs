//! Values that are looked at while a program runs hold, at that moment and in that place, what the oracle says of them.

use onnxc::machine::Machine;
use onnxc::ready::Ready;
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::{Model, ValueId};
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_compiler::plan::program::{Place, Program, Watched};
use onnxc_compiler::plan::watched::watch;
use onnxc_compiler::{Options, Quiet, emit, passes, plan};
use onnxc_tests::graphs::*;
use onnxc_tests::run::native_targets;

/// All values in f32 of the main graph that are known by the time that a run ends, as further outputs.
fn with_all(model: &Model) -> (Model, usize) {
    let mut m = model.clone();
    let g = &model.graph;
    let made = g.order().iter().flat_map(|n| g.node(*n).outs.clone());
    let all: Vec<ValueId> = g.inputs.iter().copied().chain(made).collect();
    let mut count = 0;
    for v in all {
        if g.ty(v).is_some_and(|t| t.dtype == DType::F32) && g.is_used(v) {
            m.graph.add_output(v);
            count += 1;
        }
    }
    (m, count)
}

/// What a tracer sees of the watched values, and the outputs.
fn traced(
    model: &Model,
    count: usize,
    machine: &Machine,
    inputs: &[Tensor],
) -> (Vec<Tensor>, Vec<Option<Tensor>>, Program) {
    let target = &machine.target;
    let mut m = optimised_for(model, &target.machine).unwrap();
    watch(&mut m, count);
    passes::dead::left_behind(&mut m.graph);
    let (options, mut diags) = (Options::default(), Diagnostics::default());
    let program = plan(&m, target, &options, &mut diags);
    let program = program.unwrap_or_else(|| panic!("{:?}", diags.list));
    let artifact = emit(m, program, target, &options, &mut Quiet, &mut diags);
    let mut ready = Ready::new(artifact.unwrap_or_else(|| panic!("{:?}", diags.list)));
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let mut seen: Vec<Option<Tensor>> = vec![None; count];
    // The second run finds the memory as the first one left it.
    for _ in 0..2 {
        seen.fill(None);
        let outputs = ready.run(machine, &inputs, &mut |k, s| {
            assert!(seen[k].is_none(), "value {k} is seen twice");
            seen[k] = Some(Tensor::f32(&s.plain_shape(), &s.plain()));
            Ok(())
        });
        if let Err(e) = outputs {
            panic!("{e}");
        }
    }
    let outputs = ready.run(machine, &inputs, &mut |_, _| Ok(())).unwrap();
    (outputs, seen, ready.artifact.program)
}

/// The levels of this machine.
fn machines() -> impl Iterator<Item = Machine> {
    let one = |target| Machine {
        target,
        host: true,
        levels: vec![],
    };
    native_targets().into_iter().map(one)
}

fn compare(model: &Model, machine: &Machine, seed: u64, what: &str) -> Program {
    let (all, count) = with_all(model);
    let x = inputs(model, &largest(model), seed);
    let want = done(evaluate(&all, &x)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let (got, seen, program) = traced(&all, count, machine, &x);
    let own = want.len() - count;
    assert_eq!(got.len(), own, "{what}: outputs of the caller");
    if let Some(d) = difference(&want[..own], &got, 1e-4) {
        panic!("{what}: {d}");
    }
    for (k, (w, s)) in want[own..].iter().zip(&seen).enumerate() {
        match s {
            Some(s) => {
                if let Some(d) = difference(std::slice::from_ref(w), std::slice::from_ref(s), 1e-4)
                {
                    panic!("{what}: watched value {k}: {d}");
                }
            }
            None => assert!(w.is_empty(), "{what}: value {k} was not seen"),
        }
    }
    program
}

#[test]
fn values_of_random_graphs() {
    for machine in machines() {
        let target = &machine.target;
        for seed in 0..60 {
            let text = random(seed);
            let model = read(&text).unwrap();
            let what = format!("seed {seed} on {}\n{text}", target.cpu);
            compare(&model, &machine, seed, &what);
        }
    }
}

/// Channels last, sums in place, parts of a Concat one behind the other, views, a branch, the input itself.
const FORMS: &str = "graph @forms(%x: f32[1,8,6,6], %b: bool[]) -> (%z) {
  %w = lit f32[8,8,3,3] rand(1)
  %a = Conv(%x, %w) { pads = [1, 1, 1, 1] } @\"one\"
  %r = Relu(%a)
  %c = Conv(%r, %w) { pads = [1, 1, 1, 1] } @\"two\"
  %s = Add(%c, %r)
  %t = Relu(%s)
  %j = Concat(%t, %c) { axis = 1 }
  %o = Tanh(%j)
  %f = lit i64[2] [1, -1]
  %v = Reshape(%o, %f)
  %i = If(%b, %v) [graph @then(%0: f32[1,576]) -> (%1) {
    %1 = Abs(%0)
  }, graph @else(%0: f32[1,576]) -> (%1) {
    %1 = Neg(%0)
  }]
  %z = Mul(%i, %v)
}
";

#[test]
fn values_of_every_form() {
    for machine in machines() {
        let target = &machine.target;
        let model = read(FORMS).unwrap_or_else(|e| panic!("{e}"));
        let program = compare(&model, &machine, 3, &target.cpu);
        let arena = |w: &&Watched| matches!(w.place, Place::Arena(_));
        let all = program.watched.len();
        // But for the result, which is the caller's too, no value has memory that is kept for it.
        assert_eq!(program.watched.iter().filter(arena).count(), all - 1);
        let (whole, count) = with_all(&model);
        let kept = optimised_for(&whole, &target.machine).unwrap();
        // Nor does any last longer for it.
        let options = Options::default();
        let alone = optimised_for(&model, &target.machine).unwrap();
        let alone = plan(&alone, target, &options, &mut Diagnostics::default());
        let room = alone.unwrap().arena_bytes * 3 / 2;
        let own = program.arena_bytes;
        assert!(own <= room, "{own} bytes of {room}");
        let kept = plan(
            &kept,
            target,
            &Options::default(),
            &mut Diagnostics::default(),
        );
        assert_eq!(kept.unwrap().outputs.len(), 1 + count);
    }
}
