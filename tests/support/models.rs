//! Information of made-up models, for tests of what is written from it.

use onnxc_compiler::artifact::info::{LayerInfo, ModelInfo, Placement, Port, PortQuant, c_names};
use onnxc_compiler::base::dim::{Dim, Origin, Symbol, Symbols};
use onnxc_compiler::base::dtype::DType;

/// A model with names that no source could hold as they are, fixed and free sizes, and quantized inputs.
pub fn wild(prefix: &str, placement: Placement, free: bool) -> ModelInfo {
    let mut symbols = Symbols::default();
    let mut rows = Dim::Fixed(4);
    if free {
        let origin = Origin::Input { input: 0, axis: 1 };
        rows = Dim::sym(symbols.push(Symbol {
            name: "seq len".into(),
            lo: 1,
            hi: 9,
            origin,
        }));
    }
    let largest = if free { 9 } else { 4 };
    let port = |name: &str, dtype: DType, shape: Vec<Dim>, max_bytes| Port {
        name: name.into(),
        c_name: String::new(),
        dtype,
        shape,
        max_bytes,
        quant: None,
    };
    let mut inputs = vec![
        port(
            "x*/ \"??/\\",
            DType::F32,
            vec![Dim::Fixed(1), rows.clone()],
            largest * 4,
        ),
        port("int", DType::U8, vec![Dim::Fixed(2)], 2),
        port("größe", DType::I8, vec![Dim::Fixed(1), Dim::Fixed(2)], 2),
    ];
    inputs[1].quant = Some(PortQuant {
        scales: vec![0.1],
        zero_points: vec![128],
        axis: None,
    });
    inputs[2].quant = Some(PortQuant {
        scales: vec![0.5, 1e-9],
        zero_points: vec![0, -3],
        axis: Some(1),
    });
    let mut outputs = vec![
        port(
            "x*/ \"??/\\",
            DType::F32,
            vec![Dim::Fixed(1), rows.clone() + rows],
            largest * 8,
        ),
        port("dims", DType::I64, vec![], 8),
    ];
    for (ports, fallback) in [(&mut inputs, "input"), (&mut outputs, "output")] {
        let names = c_names(ports.iter().map(|p| p.name.as_str()), fallback);
        ports.iter_mut().zip(names).for_each(|(p, n)| p.c_name = n);
    }
    let layer = |i: usize, op: &str| LayerInfo {
        symbol: format!("{prefix}_{i:03}_{}", op.to_lowercase()),
        ops: vec![op.into()],
        nodes: vec![format!("node {i} \"*/"), format!("other/{i}")],
        kernels: vec![],
        choice: Default::default(),
        macs: 100 * i as u64,
        param_bytes: 16,
        code_bytes: 64,
    };
    ModelInfo {
        prefix: prefix.into(),
        model: "wild*/ \"one\"\n".into(),
        inputs,
        outputs,
        symbols,
        arena_bytes: 128,
        arena_align: 64,
        weights_bytes: 32,
        weights_align: 64,
        placement,
        layout_digest: [0xab; 32],
        content_digest: [0xcd; 32],
        stack_bytes: 256,
        threads: 1,
        code_bytes: 128,
        layers: vec![layer(0, "Conv"), layer(1, "Relu")],
        triple: "x86_64-unknown-linux-gnu".into(),
        cpu: "x86-64".into(),
        features: vec!["sse2".into()],
        offload: Default::default(),
        region_layers: vec![],
        levels: vec![],
    }
}
