//! Runs models with tract, for `onnxc bench --against tract --peer-runner tract=.../onnxc-peer-tract`. One thread: tract's own default.

use std::sync::Arc;

use onnxc_peers::protocol::{self, Loaded, Port};
use tract_onnx::prelude::*;

struct Session {
    plan: Arc<TypedRunnableModel>,
    names: Vec<String>,
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

fn text(e: impl std::fmt::Display) -> String {
    format!("{e:#}")
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}

fn dtype(name: &str) -> Option<DatumType> {
    Some(match name {
        "f32" => f32::datum_type(),
        "f64" => f64::datum_type(),
        "i8" => i8::datum_type(),
        "i16" => i16::datum_type(),
        "i32" => i32::datum_type(),
        "i64" => i64::datum_type(),
        "u8" => u8::datum_type(),
        "bool" => bool::datum_type(),
        _ => return None,
    })
}

fn load(
    model: &std::path::Path,
    threads: u32,
    data: Vec<(Port, Vec<u8>)>,
) -> Result<Session, String> {
    if threads != 1 {
        return Err("tract is run on one thread".into());
    }
    let mut m = tract_onnx::onnx().model_for_path(model).map_err(text)?;
    let mut inputs = tvec![];
    let outlets = m.input_outlets().map_err(text)?.to_vec();
    for (k, outlet) in outlets.iter().enumerate() {
        let name = m.node(outlet.node).name.clone();
        let (port, bytes) = data
            .iter()
            .find(|(p, _)| p.name == name)
            .ok_or_else(|| format!("no data for `{name}`"))?;
        let dt = dtype(&port.dtype).ok_or_else(|| format!("type {} is not done", port.dtype))?;
        let shape: Vec<usize> = port.shape.iter().map(|d| *d as usize).collect();
        m.set_input_fact(k, InferenceFact::dt_shape(dt, &shape))
            .map_err(text)?;
        let mut tensor = Tensor::zero_dt(dt, &shape).map_err(text)?;
        if tensor.as_bytes().len() != bytes.len() {
            return Err(format!("the data of `{name}` has another size"));
        }
        tensor.as_bytes_mut().copy_from_slice(bytes);
        inputs.push(tensor.into_tvalue());
    }
    let outlets = m.output_outlets().map_err(text)?.to_vec();
    let names = outlets
        .iter()
        .map(|o| {
            m.outlet_label(*o)
                .map_or_else(|| m.node(o.node).name.clone(), str::to_string)
        })
        .collect();
    let plan = m
        .into_optimized()
        .and_then(|m| m.into_runnable())
        .map_err(text)?;
    Ok(Session {
        plan,
        names,
        inputs,
        outputs: tvec![],
    })
}

impl Loaded for Session {
    fn run(&mut self) -> Result<(), String> {
        self.outputs = self.plan.run(self.inputs.clone()).map_err(text)?;
        Ok(())
    }
    fn outputs(&mut self) -> Result<Vec<(String, String, Vec<i64>, Vec<u8>)>, String> {
        let list = self.names.iter().zip(&self.outputs).map(|(name, t)| {
            let shape = t.shape().iter().map(|d| *d as i64).collect();
            let dtype = format!("{:?}", t.datum_type()).to_lowercase();
            (name.clone(), dtype, shape, t.as_bytes().to_vec())
        });
        Ok(list.collect())
    }
}

fn main() -> std::io::Result<()> {
    protocol::serve("tract", "0.23", &mut |model, threads, inputs| {
        Ok(Box::new(load(model, threads, inputs)?))
    })
}
