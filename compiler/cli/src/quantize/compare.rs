//! How far the compiled integer program is from the float one.

use onnxc_compiler::base::tensor::Tensor;

use super::calibrate::Calibration;
use crate::data::topk::top;
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::Probe;
use crate::progress::Bar;

/// How far one output of the quantized model is from that of the float one.
#[derive(Clone, Debug)]
pub struct OutputError {
    /// Its name.
    pub name: String,
    /// Whether it holds real numbers.
    pub real: bool,
    /// Squares of the float output over those of the difference, in decibels.
    pub sqnr: f64,
    /// Rows whose largest is the same, and rows, where the output looks like scores of classes.
    pub top: Option<(usize, usize)>,
}

/// `10 log10(signal / noise)`; without noise infinite.
pub fn decibels(signal: f64, noise: f64) -> f64 {
    match noise > 0.0 {
        true => 10.0 * libm::log10(signal / noise),
        false => f64::INFINITY,
    }
}

/// The least SQNR in decibels: of the outputs of real numbers, or of all if there are none.
pub fn worst(errors: &[OutputError]) -> f64 {
    let any = errors.iter().any(|e| e.real);
    let list = errors.iter().filter(|e| e.real || !any);
    list.map(|e| e.sqnr).fold(f64::INFINITY, f64::min)
}

/// Compares a quantized file with the float model on the first cases, `most` of them at most. `job` says where messages go.
pub fn compare(
    file: &[u8],
    c: &Calibration,
    job: &Job,
    most: usize,
    bar: Option<&Bar>,
) -> Outcome<Vec<OutputError>> {
    compare_with(file, (&c.inputs, &c.floats), job, most, bar)
}

/// The same by the inputs of cases and the float model's outputs for them.
pub fn compare_with(
    file: &[u8],
    (inputs, floats): (&[Vec<Tensor>], &[Vec<Tensor>]),
    job: &Job,
    most: usize,
    bar: Option<&Bar>,
) -> Outcome<Vec<OutputError>> {
    let source = job.source.of_bytes(file.to_vec());
    let job = job.over(&source)?;
    let mut probe = Probe::new(&job)?;
    let names = job.signature.outputs.iter().map(|o| o.name.clone());
    let mut sums = vec![Sum::default(); names.len()];
    for (data, want) in inputs.iter().zip(floats).take(most) {
        let got = probe.answers(data)?;
        for ((want, got), sum) in want.iter().zip(&got).zip(&mut sums) {
            sum.take(want, got);
        }
        bar.inspect(|b| b.step());
    }
    let all = names.zip(sums).map(|(name, s)| OutputError {
        name,
        real: s.real,
        sqnr: decibels(s.signal, s.noise),
        top: (s.rows > 0).then_some((s.same, s.rows)),
    });
    Ok(all.collect())
}

#[derive(Clone, Default)]
struct Sum {
    real: bool,
    signal: f64,
    noise: f64,
    same: usize,
    rows: usize,
}

impl Sum {
    fn take(&mut self, want: &Tensor, got: &Tensor) {
        let (Some(a), Some(b)) = (want.to_f64s(), got.to_f64s()) else {
            return;
        };
        self.real |= want.dtype.is_float();
        self.signal += a.iter().map(|v| v * v).sum::<f64>();
        let square = |(a, b): (&f64, &f64)| (a - b) * (a - b);
        self.noise += a.iter().zip(&b).map(square).sum::<f64>();
        let classes = want.shape.last().copied().unwrap_or(0) as usize;
        if want.shape.len() == 2 && classes > 1 {
            let rows = a.chunks_exact(classes).zip(b.chunks_exact(classes));
            for (a, b) in rows {
                self.same += usize::from(top(a, 1) == top(b, 1));
                self.rows += 1;
            }
        }
    }
}
