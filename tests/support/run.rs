//! Runs functions of the loops IR as machine code: one-layer programs, objects, and the loader.

use onnxc::loader::{Model, SessionOptions, host_arch};
use onnxc_compiler::artifact::{self, LayerInfo, ModelInfo, Placement};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::codegen::exec::Drive;
use onnxc_compiler::codegen::{self, Code, Options, Weights, object};
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::ir::{Access, BinOp, Expr, Func, LoopKind};
use onnxc_compiler::plan::program::{FuncId, Layer, Place, Port, Program, Step};
use onnxc_compiler::target::{Arch, Target};
use onnxc_targets::flags::Selection;
use onnxc_targets::machine;
use onnxc_targets::triple;
use std::process::Command;

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
            if std::arch::is_x86_feature_detected!("avx512bw") {
                out.push(target(Arch::X86_64, "x86-64-v4"));
            }
            // Products of bytes: at 256 and at 512 bits.
            if std::arch::is_x86_feature_detected!("avxvnni") {
                out.push(target(Arch::X86_64, "alderlake"));
            }
            if std::arch::is_x86_feature_detected!("avx512vnni") {
                out.push(target(Arch::X86_64, "cascadelake"));
            }
            // Permutations of bytes.
            if std::arch::is_x86_feature_detected!("avx512vbmi") {
                out.push(target(Arch::X86_64, "icelake-server"));
            }
            out
        }
        Some(Arch::Aarch64) => vec![target(Arch::Aarch64, "")],
        None => vec![],
    }
}

/// A program that runs a function: buffers come from inputs; those that are written are copied to outputs first.
pub fn program(f: &Func, symbols: &Symbols) -> Program {
    let mut p = Program {
        symbols: symbols.clone(),
        ..Program::default()
    };
    p.arena_bytes = p.symbol_bytes();
    let mut args = vec![];
    for (_, b) in f.bufs.iter() {
        let port = Port {
            name: b.name.clone(),
            ty: TensorType::new(b.dtype, vec![b.len.clone()]),
        };
        let from = Place::Input(p.inputs.len() as u32, 0);
        p.inputs.push(port.clone());
        if b.access == Access::Read {
            args.push(from);
            continue;
        }
        let to = Place::Output(p.outputs.len() as u32, 0);
        p.outputs.push(port);
        args.push(to);
        let size = b.dtype.size() as i64;
        let copy = p.funcs.push(copy(&b.len, size));
        let name = format!("{:03}_copy", p.layers.len());
        add_layer(&mut p, name, copy, vec![from, to]);
    }
    let func = p.funcs.push(f.clone());
    let name = format!("{:03}_test", p.layers.len());
    add_layer(&mut p, name, func, args);
    p
}

fn add_layer(p: &mut Program, name: String, func: FuncId, args: Vec<Place>) {
    let layer = p.layers.push(Layer::of(name, func, args));
    p.steps.push(Step::Layer(layer));
}

// Copies `len` elements of `size` bytes.
fn copy(len: &Dim, size: i64) -> Func {
    let mut b = Builder::new("copy");
    let n = len.clone() * Dim::Fixed(size);
    let x = b.buffer("x", DType::U8, n.clone(), Access::Read);
    let y = b.buffer("y", DType::U8, n.clone(), Access::Write);
    b.for_dim(&n, LoopKind::Lanes, |b, i| {
        let v = b.load(x, i);
        b.store(y, i, v);
    });
    b.finish()
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
        threads: p.threads,
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
        offload: Default::default(),
        region_layers: vec![],
        levels: vec![],
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
/// of all buffers before and after, `dims` the values of the free sizes; the answer is the status.
pub fn run(
    f: &Func,
    symbols: &Symbols,
    dims: &[i64],
    target: &Target,
    bufs: &mut [Vec<u8>],
) -> Result<i32> {
    let p = program(f, symbols);
    let bytes = object(&p, target, &Options::default())?;
    let model = Model::load(&bytes, "model")?;
    let guarded = SessionOptions {
        guard: true,
        ..SessionOptions::default()
    };
    let mut session = model.session(&guarded)?;
    session.set_dims(dims);
    session.arena_mut().fill(0x5a);
    for (i, data) in bufs.iter().enumerate() {
        session.input_mut(i).expect("an input")[..data.len()].copy_from_slice(data);
    }
    let (status, stack) = session.run_measured()?;
    let promised = model.descriptor().stack_bytes();
    assert!(stack <= promised, "{stack} bytes of stack, {promised} said");
    let written = f
        .bufs
        .iter()
        .zip(bufs)
        .filter(|((_, b), _)| b.access != Access::Read);
    for (i, (_, data)) in written.enumerate() {
        let n = data.len();
        data.copy_from_slice(&session.output(i).expect("an output")[..n]);
    }
    Ok(status)
}

/// The same in an executable of its own, through `emulator` unless the target is this machine's. After a status other than 0
/// buffers are as before.
pub fn run_executable(
    f: &Func,
    symbols: &Symbols,
    dims: &[i64],
    target: &Target,
    emulator: Option<&str>,
    bufs: &mut [Vec<u8>],
) -> Result<i32> {
    let p = program(f, symbols);
    let options = Options::default();
    let bytes = object(&p, target, &options)?;
    let exe = codegen::exec::executable(&bytes, &p, target, &options, None, Drive::Answer)?;
    let mut input: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
    bufs.iter().for_each(|b| input.extend(b));
    let out = execute(&exe, emulator, &input);
    let status = i32::from_le_bytes(out[..4].try_into().expect("four bytes"));
    if status == 0 {
        // One size for each output: they are buffers of one axis.
        let mut at = 4 + 8 * p.outputs.len();
        let written = f
            .bufs
            .iter()
            .zip(bufs)
            .filter(|((_, b), _)| b.access != Access::Read);
        for (_, data) in written {
            let n = data.len();
            data.copy_from_slice(&out[at..at + n]);
            at += n;
        }
        assert_eq!(at, out.len(), "bytes behind the answer");
    }
    Ok(status)
}

/// Runs an executable on an input; the answer is its output.
pub fn execute(exe: &[u8], emulator: Option<&str>, input: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model");
    std::fs::write(&path, exe).expect("written");
    let data = dir.path().join("input");
    std::fs::write(&data, input).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("made executable");
    }
    let mut command = match emulator {
        Some(e) => {
            let mut c = Command::new(e);
            c.arg(&path);
            c
        }
        None => Command::new(&path),
    };
    let out = loop {
        let input = std::fs::File::open(&data).expect("opened");
        match command.stdin(input).output() {
            // A test beside this one forked while the file was open for writing here: busy until that child is another program.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            out => break out.expect("runs"),
        }
    };
    assert!(out.status.success(), "{}: {:?}", out.status, out.stderr);
    out.stdout
}

/// Whether two lists of elements are the same, all NaN being alike; else the first that is not.
pub fn first_difference(d: DType, a: &[u8], b: &[u8]) -> Option<usize> {
    let n = d.size();
    let number = |v: &[u8]| v.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let nan = |v: u64| match d {
        DType::F32 => v & 0x7fff_ffff > 0x7f80_0000,
        DType::F64 => v & (u64::MAX >> 1) > 0x7ff0 << 48,
        DType::F16 => v & 0x7fff > 0x7c00,
        DType::BF16 => v & 0x7fff > 0x7f80,
        _ => false,
    };
    let pairs = a.chunks_exact(n).zip(b.chunks_exact(n));
    let mut pairs = pairs.map(|(x, y)| (number(x), number(y)));
    pairs.position(|(x, y)| x != y && !(nan(x) && nan(y)))
}

/// The same function with every multiply-add rounded twice, as machines without fused ones compute it.
pub fn unfused(f: &Func) -> Func {
    let mut shell = f.clone();
    shell.exprs = Default::default();
    shell.body = vec![];
    let mut b = Builder::resume(shell);
    let mut to = vec![];
    for (_, e) in f.exprs.iter() {
        let e = e.map_operands(|o| to[o.0 as usize]);
        to.push(match e {
            Expr::Fma(x, y, z) => {
                let p = b.expr(Expr::Bin(BinOp::Mul, x, y));
                b.expr(Expr::Bin(BinOp::Add, p, z))
            }
            e => b.expr(e),
        });
    }
    for s in &f.body {
        b.stmt(s.map_exprs(&mut |e| to[e.0 as usize]));
    }
    b.finish()
}
