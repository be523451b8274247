//! The lines that tool and runner exchange.
//!
//! `load` names a model, threads and a file of raw little-endian bytes for each input; `run` measures for some time; `outputs`
//! writes the outputs of the last run into a folder. End of input ends the runner.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Runs that one answer tells of, at most.
const MOST: usize = 100_000;

/// What can be asked.
#[derive(Deserialize, Debug)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Reads a model and its inputs, and runs it once.
    Load {
        /// The ONNX file.
        model: PathBuf,
        /// Threads that a run may use.
        threads: u32,
        /// One for each input.
        inputs: Vec<Port>,
    },
    /// Runs for some time, at least once.
    Run {
        /// How long.
        seconds: f64,
        /// Runs that are timed together, for those too short for a clock.
        batch: u32,
    },
    /// Writes the outputs.
    Outputs {
        /// Where to.
        folder: PathBuf,
    },
}

/// A tensor in a file.
#[derive(Deserialize, Serialize, Clone, Debug)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Element type: `f32`, `i64`, ..
    pub dtype: String,
    /// Sizes.
    pub shape: Vec<i64>,
    /// Raw little-endian elements.
    pub file: PathBuf,
}

/// A loaded model of some runtime.
pub trait Loaded {
    /// One run; nothing else may be done here.
    fn run(&mut self) -> Result<(), String>;
    /// Name, type, sizes and bytes of every output of the last run.
    fn outputs(&mut self) -> Result<Vec<(String, String, Vec<i64>, Vec<u8>)>, String>;
}

/// Reads a model, with threads and inputs (each with its bytes).
pub type Load<'a> =
    &'a mut dyn FnMut(&Path, u32, Vec<(Port, Vec<u8>)>) -> Result<Box<dyn Loaded>, String>;

/// Answers requests until they end.
pub fn serve(peer: &str, version: &str, load: Load) -> std::io::Result<()> {
    let mut loaded: Option<Box<dyn Loaded>> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&line?, &mut loaded, peer, version, load);
        let answer = answer.unwrap_or_else(|e| serde_json::json!({ "error": e }));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(
    line: &str,
    loaded: &mut Option<Box<dyn Loaded>>,
    peer: &str,
    version: &str,
    load: Load,
) -> Result<serde_json::Value, String> {
    let request: Request = serde_json::from_str(line).map_err(|e| format!("bad request: {e}"))?;
    if let Request::Load {
        model,
        threads,
        inputs,
    } = request
    {
        // The old one goes first, with its threads.
        *loaded = None;
        let mut data = Vec::new();
        for port in inputs {
            let bytes = std::fs::read(&port.file)
                .map_err(|e| format!("can't read {}: {e}", port.file.display()))?;
            data.push((port, bytes));
        }
        let mut new = load(&model, threads, data)?;
        new.run()?;
        *loaded = Some(new);
        return Ok(serde_json::json!({ "peer": peer, "version": version }));
    }
    let model = loaded.as_mut().ok_or("no model is loaded")?;
    match request {
        Request::Run { seconds, batch } => {
            let times = measure(model.as_mut(), seconds, batch)?;
            Ok(serde_json::json!({ "ns": times }))
        }
        Request::Outputs { folder } => {
            let mut ports = Vec::new();
            for (k, (name, dtype, shape, bytes)) in model.outputs()?.into_iter().enumerate() {
                let file = folder.join(format!("out_{k}.bin"));
                std::fs::write(&file, bytes)
                    .map_err(|e| format!("can't write {}: {e}", file.display()))?;
                ports.push(Port {
                    name,
                    dtype,
                    shape,
                    file,
                });
            }
            Ok(serde_json::json!({ "outputs": ports }))
        }
        Request::Load { .. } => Err("unreachable".into()),
    }
}

/// Nanoseconds of one run each, runs timed `batch` at a time.
fn measure(model: &mut dyn Loaded, seconds: f64, batch: u32) -> Result<Vec<f64>, String> {
    if !(0.0..=3600.0).contains(&seconds) {
        return Err("seconds are out of range".into());
    }
    let batch = batch.max(1);
    let (begin, long) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        for _ in 0..batch {
            model.run()?;
        }
        times.push(start.elapsed().as_nanos() as f64 / f64::from(batch));
        if begin.elapsed() >= long || times.len() >= MOST {
            return Ok(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u32);

    impl Loaded for Count {
        fn run(&mut self) -> Result<(), String> {
            self.0 += 1;
            Ok(())
        }
        fn outputs(&mut self) -> Result<Vec<(String, String, Vec<i64>, Vec<u8>)>, String> {
            let bytes = self.0.to_le_bytes().to_vec();
            Ok(vec![("n".into(), "u32".into(), vec![], bytes)])
        }
    }

    fn load(_: &Path, _: u32, _: Vec<(Port, Vec<u8>)>) -> Result<Box<dyn Loaded>, String> {
        Ok(Box::new(Count(0)))
    }

    #[test]
    fn requests_are_answered_in_order() {
        let dir = std::env::temp_dir();
        let mut loaded = None;
        let mut ask = |line: String| answer(&line, &mut loaded, "count", "1", &mut load);
        assert!(ask(r#"{"do":"run","seconds":0,"batch":1}"#.into()).is_err());
        assert!(ask("nonsense".into()).is_err());
        let read = ask(r#"{"do":"load","model":"m.onnx","threads":1,"inputs":[]}"#.into());
        assert_eq!(read.unwrap()["peer"], "count");
        let ran = ask(r#"{"do":"run","seconds":0,"batch":3}"#.into()).unwrap();
        assert_eq!(ran["ns"].as_array().map(Vec::len), Some(1));
        let request = serde_json::json!({ "do": "outputs", "folder": dir });
        let file = ask(request.to_string()).unwrap()["outputs"][0]["file"].clone();
        // One run by `load`, three by `run`.
        assert_eq!(std::fs::read(file.as_str().unwrap()).unwrap(), [4, 0, 0, 0]);
        assert!(ask(r#"{"do":"run","seconds":-1,"batch":1}"#.into()).is_err());
    }
}
