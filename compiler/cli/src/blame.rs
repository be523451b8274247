//! Which layer is to blame: the compiled program against the interpreter, layer by layer.
//!
//! The compiled code runs with a trace hook that keeps what each layer made; then the interpreter runs and its values are
//! compared as they come. Only done after a miss: it costs memory for all values and the interpreter's time.

use onnxc_abi::status;
use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::plan::program::{LayerId, Place};
use onnxc_compiler::plan::run;

use crate::compare::{Rule, compare};
use crate::data::topk::number;
use crate::engine::Engine;
use crate::progress::Bar;
use crate::ui::Ui;

/// Values of a layer that are taken as the same: far below what any output may differ by.
const CLOSE: f64 = 1e-6;

/// Says which layer is the first to differ from the interpreter, in a sentence.
pub fn first_layer(
    artifact: &Artifact,
    engine: &Engine,
    inputs: &[&Tensor],
    ui: &Ui,
) -> Result<String> {
    let bar = Bar::new(ui);
    bar.say("interpreting, to find the first layer that differs");
    let p = &artifact.program;
    // What each executed layer made, in order of execution. Sizes are cut to what the interpreter made, below.
    let mut made: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    let Some(mut loaded) = engine.load_here(inputs)? else {
        return Ok("where it differs can be found only where the code runs in process".into());
    };
    let status = loaded.run_traced(&mut |event| {
        if event.begin || event.layer as usize >= p.layers.len() {
            return;
        }
        let layer = &p.layers[LayerId(event.layer)];
        let values = layer
            .makes
            .iter()
            .map(|(_, ty, place)| {
                let bytes = ty.max_bytes(&p.symbols).max(0) as usize;
                let (memory, at) = match place {
                    Place::Arena(at) => (event.arena, *at),
                    Place::Output(k, at) => match event.outputs.get(*k as usize) {
                        Some(memory) => (*memory, *at),
                        None => return Vec::new(),
                    },
                    Place::Input(..) | Place::Weights(_) => return Vec::new(),
                };
                let at = (at as usize).min(memory.len());
                memory[at..at.saturating_add(bytes).min(memory.len())].to_vec()
            })
            .collect();
        made.push((event.layer, values));
    });
    let mut next = 0;
    let mut found: Option<String> = None;
    let inputs: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let outcome = run::run(p, &inputs, &mut |layer, values| {
        if found.is_some() {
            return;
        }
        let Some((number, ours)) = made.get(next) else {
            found = Some(format!(
                "layer {}: the compiled code did not reach it",
                layer.name
            ));
            return;
        };
        next += 1;
        let compiled = &p.layers[LayerId(*number)];
        if compiled.name != layer.name {
            found = Some(format!(
                "layer {}: the compiled code ran {} instead",
                layer.name, compiled.name
            ));
            return;
        }
        for ((name, ty, _), (a, b)) in layer.makes.iter().zip(ours.iter().zip(values)) {
            if let Some(text) = difference(ty, a.get(..b.len()).unwrap_or(a), b) {
                let nodes = layer.nodes.join(", ");
                found = Some(format!(
                    "first layer to differ from the interpreter: {} (nodes {nodes}), value `{name}`: {text}",
                    layer.name
                ));
                return;
            }
        }
    })?;
    drop(bar);
    if let Some(text) = found {
        return Ok(text);
    }
    if let run::Outcome::Status(code) = outcome
        && code != status
    {
        return Ok(format!(
            "the interpreter ends with status {code}, the compiled code with {status}"
        ));
    }
    if status != status::OK {
        return Ok(format!(
            "compiled code and interpreter both end with status {status}"
        ));
    }
    Ok("every layer agrees with the interpreter: the difference was there before code was made (import, a pass or a fusion)".into())
}

/// What differs between two values of a layer, if anything does.
fn difference(ty: &TensorType, ours: &[u8], theirs: &[u8]) -> Option<String> {
    if ours == theirs {
        return None;
    }
    let size = ty.dtype.size().max(1);
    let tensor = |b: &[u8]| {
        let n = b.len() / size;
        Tensor::new(ty.dtype, vec![n as i64], b[..n * size].to_vec().into()).ok()
    };
    let (a, b) = (tensor(ours)?, tensor(theirs)?);
    let rule = if ty.dtype.is_float() {
        Rule::OfLargest(match ty.dtype.size() {
            2 => 2e-3,
            _ => CLOSE,
        })
    } else {
        Rule::Part(0.0)
    };
    let f = compare(&a, &b, rule);
    if f.pass {
        return None;
    }
    Some(match f.mismatch {
        Some(why) => why,
        None => format!(
            "element {} is {}, not {} ({} of {} differ)",
            f.worst,
            a.get_f64(f.worst).map_or("?".into(), number),
            b.get_f64(f.worst).map_or("?".into(), number),
            f.differ,
            f.count
        ),
    })
}
