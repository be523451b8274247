//! Runs models with rten, for `onnxc bench --against rten --peer-runner rten=.../onnxc-peer-rten`. It computes whole numbers in 32 bits.

use std::sync::Arc;

use onnxc_peers::protocol::{self, Loaded, Port};
use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

struct Session {
    model: Model,
    options: RunOptions,
    inputs: Vec<(NodeId, Value)>,
    results: Vec<NodeId>,
    names: Vec<String>,
    outputs: Vec<Value>,
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn numbers<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    let whole = bytes.chunks_exact(N);
    whole.filter_map(|c| c.try_into().ok().map(read)).collect()
}

fn value(port: &Port, bytes: &[u8]) -> Result<Value, String> {
    let shape: Vec<usize> = port.shape.iter().map(|d| *d as usize).collect();
    let s = shape.as_slice();
    Ok(match port.dtype.as_str() {
        "f32" => Tensor::from_data(s, numbers(bytes, f32::from_le_bytes)).into(),
        "i32" => Tensor::from_data(s, numbers(bytes, i32::from_le_bytes)).into(),
        "i64" => {
            let wide = numbers(bytes, i64::from_le_bytes);
            let narrow: Result<Vec<i32>, _> = wide.into_iter().map(i32::try_from).collect();
            Tensor::from_data(s, narrow.map_err(text)?).into()
        }
        "u8" => Tensor::from_data(s, bytes.to_vec()).into(),
        "i8" => Tensor::from_data(s, numbers(bytes, i8::from_le_bytes)).into(),
        other => return Err(format!("type {other} is not done")),
    })
}

fn load(
    path: &std::path::Path,
    threads: u32,
    data: Vec<(Port, Vec<u8>)>,
) -> Result<Session, String> {
    let model = Model::load_file(path).map_err(text)?;
    let name = |id: NodeId| {
        let info = model.node_info(id);
        info.and_then(|i| i.name().map(str::to_string))
            .unwrap_or_default()
    };
    let mut inputs = vec![];
    for id in model.input_ids() {
        let name = name(*id);
        let found = data.iter().find(|(p, _)| p.name == name);
        let (port, bytes) = found.ok_or_else(|| format!("no data for `{name}`"))?;
        inputs.push((*id, value(port, bytes)?));
    }
    let results = model.output_ids().to_vec();
    let names = results.iter().map(|id| name(*id)).collect();
    let pool = Arc::new(ThreadPool::with_num_threads(threads as usize));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    Ok(Session {
        model,
        options,
        inputs,
        results,
        names,
        outputs: vec![],
    })
}

impl Loaded for Session {
    fn run(&mut self) -> Result<(), String> {
        let inputs = self
            .inputs
            .iter()
            .map(|(id, v)| (*id, ValueOrView::View(v.as_view())));
        let options = Some(self.options.clone());
        self.outputs = self
            .model
            .run(inputs.collect(), &self.results, options)
            .map_err(text)?;
        Ok(())
    }
    fn outputs(&mut self) -> Result<Vec<(String, String, Vec<i64>, Vec<u8>)>, String> {
        let mut list = vec![];
        for (name, v) in self.names.iter().zip(&self.outputs) {
            let (dtype, shape, bytes): (_, &[usize], Vec<u8>) = match v {
                Value::FloatTensor(t) => (
                    "f32",
                    t.shape(),
                    t.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ),
                Value::Int32Tensor(t) => (
                    "i32",
                    t.shape(),
                    t.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ),
                Value::UInt8Tensor(t) => ("u8", t.shape(), t.iter().copied().collect()),
                Value::Int8Tensor(t) => ("i8", t.shape(), t.iter().map(|x| *x as u8).collect()),
                _ => return Err(format!("output `{name}` is no tensor")),
            };
            let shape = shape.iter().map(|d| *d as i64).collect();
            list.push((name.clone(), dtype.to_string(), shape, bytes));
        }
        Ok(list)
    }
}

fn main() -> std::io::Result<()> {
    protocol::serve("rten", "0.27", &mut |model, threads, inputs| {
        Ok(Box::new(load(model, threads, inputs)?))
    })
}
