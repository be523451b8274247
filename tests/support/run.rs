//! Runs functions of the loops IR as machine code: one-layer programs, objects, and the loader.

use onnxc::loader::{Model, SessionOptions, host_arch};
use onnxc_compiler::artifact::{self, LayerInfo, ModelInfo, Placement};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::codegen::{self, Code, Options, Weights, object};
use onnxc_compiler::loops::ir::{Access, Func};
use onnxc_compiler::plan::program::{Layer, Place, Port, Program, Step};
use onnxc_compiler::target::{Arch, Target};
use onnxc_targets::flags::Selection;
use onnxc_targets::machine;
use onnxc_targets::triple;

/// A target by architecture and CPU name; empty: the base.
pub fn target(arch: Arch, cpu: &str) -> Target {
    let name = format!("{}-linux-gnu", arch.name());
    let mut selection = Selection::base(arch);
    if !cpu.is_empty() {
        selection.set_cpu(cpu).expect("a known CPU");
    }
    machine::target(
        &triple::Target::parse(&name).expect("a known triple"),
        &selection,
    )
}

/// The levels of x86 that this machine can run.
pub fn native_targets() -> Vec<Target> {
    match host_arch() {
        Some(Arch::X86_64) => {
            let mut out = vec![target(Arch::X86_64, "")];
            if std::arch::is_x86_feature_detected!("sse4.2") {
                out.push(target(Arch::X86_64, "x86-64-v2"));
            }
            if std::arch::is_x86_feature_detected!("fma") {
                out.push(target(Arch::X86_64, "x86-64-v3"));
            }
            out
        }
        Some(Arch::Aarch64) => vec![target(Arch::Aarch64, "")],
        None => vec![],
    }
}

/// A program of one layer: buffers that are only read are inputs, the others outputs.
pub fn program(f: &Func) -> Program {
    let mut p = Program {
        arena_bytes: 64,
        ..Program::default()
    };
    let mut args = vec![];
    for (_, b) in f.bufs.iter() {
        let (list, place): (_, fn(u32) -> Place) = match b.access {
            Access::Read => (&mut p.inputs, |i| Place::Input(i, 0)),
            _ => (&mut p.outputs, |i| Place::Output(i, 0)),
        };
        args.push(place(list.len() as u32));
        list.push(Port {
            name: b.name.clone(),
            ty: TensorType::new(b.dtype, vec![b.len.clone()]),
        });
    }
    let func = p.funcs.push(f.clone());
    let layer = p.layers.push(Layer {
        name: "000_test".into(),
        func,
        args,
        ops: vec![],
        nodes: vec![],
        kernel: String::new(),
        macs: 0,
        makes: vec![],
    });
    p.steps.push(Step::Layer(layer));
    p
}

/// The descriptor of a program.
pub fn descriptor(p: &Program, code: &Code, target: &Target, options: &Options) -> Vec<u8> {
    let port = |p: &Port, symbols| artifact::Port {
        name: p.name.clone(),
        c_name: artifact::info::c_identifier(&p.name, "port"),
        dtype: p.ty.dtype,
        shape: p.ty.shape.clone(),
        max_bytes: (onnxc_compiler::base::dim::elements(&p.ty.shape)
            .bounds(symbols)
            .1
            .max(0) as u64)
            * p.ty.dtype.size() as u64,
        quant: None,
    };
    let info = ModelInfo {
        prefix: options.prefix.clone(),
        model: "test".into(),
        inputs: p.inputs.iter().map(|x| port(x, &p.symbols)).collect(),
        outputs: p.outputs.iter().map(|x| port(x, &p.symbols)).collect(),
        symbols: p.symbols.clone(),
        arena_bytes: p.arena_bytes,
        arena_align: 64,
        weights_bytes: p.weights_bytes,
        weights_align: 64,
        placement: match &options.weights {
            Weights::Embed => Placement::Embed,
            Weights::Section(s) => Placement::Section(s.clone()),
            Weights::File => Placement::File,
        },
        layout_digest: [0; 32],
        content_digest: [0; 32],
        stack_bytes: code.stack_bytes,
        code_bytes: code.code_bytes,
        layers: code
            .layer_symbols
            .iter()
            .map(|s| LayerInfo {
                symbol: s.clone(),
                ..LayerInfo::default()
            })
            .collect(),
        triple: target.triple.clone(),
        cpu: target.cpu.clone(),
        features: target.machine.features.clone(),
    };
    artifact::descriptor::descriptor(&info).expect("a descriptor")
}

/// An object of a program; it must pass the audit.
pub fn object(p: &Program, target: &Target, options: &Options) -> Result<Vec<u8>> {
    let code = codegen::generate(p, target, options)?;
    let descriptor = descriptor(p, &code, target, options);
    let bytes = object::write(&code, p, options, &descriptor)?;
    let faults = object::audit(&bytes, &options.prefix);
    assert!(faults.is_empty(), "{faults:?}");
    Ok(bytes)
}

/// Compiles a function for a target that this machine can run, and runs it between guard pages: `bufs` holds the contents
/// of all buffers before and after; the answer is the status.
pub fn run(f: &Func, target: &Target, bufs: &mut [Vec<u8>]) -> Result<i32> {
    let p = program(f);
    let bytes = object(&p, target, &Options::default())?;
    let model = Model::load(&bytes, "model")?;
    let guarded = SessionOptions {
        guard: true,
        ..SessionOptions::default()
    };
    let mut session = model.session(&guarded)?;
    for (place, data) in p.layers.iter().flat_map(|(_, l)| &l.args).zip(bufs.iter()) {
        let there = match *place {
            Place::Input(i, _) => session.input_mut(i as usize),
            Place::Output(i, _) => session.output_mut(i as usize),
            _ => None,
        };
        there.expect("a port")[..data.len()].copy_from_slice(data);
    }
    let (status, stack) = session.run_measured()?;
    assert!(
        stack <= model.descriptor().stack_bytes(),
        "{stack} bytes of stack"
    );
    for (place, data) in p
        .layers
        .iter()
        .flat_map(|(_, l)| &l.args)
        .zip(bufs.iter_mut())
    {
        if let Place::Output(i, _) = *place {
            let n = data.len();
            data.copy_from_slice(&session.output(i as usize).expect("a port")[..n]);
        }
    }
    Ok(status)
}
