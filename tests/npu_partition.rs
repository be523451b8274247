//! Models partitioned for `sim`: what share of them is offloaded, and whether the commands of a region give the bits that the graph means. Its
//! judge is the interpreter, which has worked out the answers of the self-test from the graph.

use onnxc::twin::Here;
use onnxc_abi::region::golden_next;
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::base::offload::Place;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::npu::{Request, Twin};
use onnxc_compiler::onnx::external::NoFiles;
use onnxc_compiler::{Options, load};
use onnxc_sim::execute::{Memory, execute};
use onnxc_sim::format::Program;
use std::path::Path;
use std::sync::Arc;

fn partitioned(name: &str, golden: u64, twin: Option<Arc<dyn Twin>>) -> Option<Model> {
    let shared = std::env::var_os("ONNXC_SHARED")?;
    let path = Path::new(&shared)
        .join("models")
        .join(name)
        .join("model.onnx");
    let bytes = std::fs::read(path).ok()?;
    let mut options = Options::default();
    options.passes.npu = Request {
        accelerators: vec![onnxc_targets::npu::find("sim").expect("sim")],
        min_gain: 0.0,
        golden_macs: golden,
        twin,
        ..Request::default()
    };
    let mut diags = Diagnostics::default();
    let model = load(bytes.into(), &NoFiles, &options, &mut diags);
    assert!(model.is_some(), "{name}: {:?}", diags.list);
    model
}

/// Runs every region that has a self-test; answers how many have.
fn executed(name: &str, model: &Model) -> usize {
    let mut count = 0;
    for r in &model.offload.regions {
        let program = Program::decode(&r.blob).expect("commands");
        let Some((seed, want)) = &r.golden else {
            continue;
        };
        let mut state = *seed;
        let mut made = |n: u64| -> Vec<u8> {
            (0..n)
                .map(|_| {
                    state = golden_next(state);
                    (state >> 24) as u8
                })
                .collect()
        };
        let mut ports: Vec<Vec<u8>> = r.ins.iter().map(|p| made(p.bytes())).collect();
        ports.extend(r.outs.iter().map(|p| vec![0; p.bytes() as usize]));
        let mut arena = vec![0x5a; program.arena_bytes as usize];
        let mut memory = Memory {
            cst: &r.constants,
            arena: &mut arena,
            ports: &mut ports,
        };
        execute(&program, &mut memory).expect("a program that stays in its memories");
        for (k, w) in want.iter().enumerate() {
            let got = &ports[r.ins.len() + k];
            let wrong = got.iter().zip(w.iter()).filter(|(a, b)| a != b).count();
            assert!(
                wrong == 0 && got.len() == w.len(),
                "{name}: region {} output {k}: {wrong} of {} bytes differ",
                r.slot,
                w.len()
            );
        }
        count += 1;
    }
    count
}

fn share(model: &Model) -> f64 {
    let (part, all) = model.offload.macs();
    part as f64 / all.max(1) as f64
}

#[test]
fn small_quantized_models_run_whole_and_right() {
    for name in ["kws_dscnn_qdq", "resnet8_cifar10_qdq"] {
        let Some(m) = partitioned(name, u64::MAX, None) else {
            return;
        };
        assert!(share(&m) >= 0.99, "{name}: {}", share(&m));
        assert_eq!(executed(name, &m), m.offload.regions.len());
        assert!(m.offload.regions.len() <= 2, "{name}");
        // The twin as compiled for this machine has the interpreter's bits.
        let Some(here) = partitioned(name, 0, Some(Arc::new(Here))) else {
            return;
        };
        for (a, b) in m.offload.regions.iter().zip(&here.offload.regions) {
            assert!(a.golden.is_some() && a.golden == b.golden, "{name}");
        }
    }
}

#[test]
fn large_quantized_models_are_offloaded() {
    for name in ["mobilenet_v2_qdq", "shufflenet_v2_qop"] {
        let Some(m) = partitioned(name, 0, Some(Arc::new(Here))) else {
            return;
        };
        assert!(share(&m) >= 0.99, "{name}: {}", share(&m));
        assert!(
            m.offload.regions.len() <= 2,
            "{name}: {} regions",
            m.offload.regions.len()
        );
        // However large, each has a golden vector, and the device has its bits.
        assert_eq!(executed(name, &m), m.offload.regions.len());
    }
}

/// Nothing of a float model can be offloaded: each node says why.
#[test]
fn float_models_say_why_not() {
    let Some(m) = partitioned("kws_dscnn", 0, None) else {
        return;
    };
    assert!(m.offload.regions.is_empty() && !m.offload.fates.is_empty());
    for f in &m.offload.fates {
        let Place::Cpu(why) = &f.place else {
            panic!("{}", f.node)
        };
        assert!(
            why.len() == 1 && !why[0].1.is_empty(),
            "{} {}",
            f.op,
            f.node
        );
    }
}
