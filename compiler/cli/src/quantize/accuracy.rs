//! Accuracy on labelled cases, of the float model and of what it is quantized to.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use std::path::Path;

use crate::args::budget::BudgetFlags;
use crate::args::eval::MetricName;
use crate::data::labels::Labels;
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::eval::measured;
use crate::failure::Outcome;
use crate::job::Job;
use crate::metric::Metric;
use crate::progress::Bar;
use crate::ui::Ui;

/// Labelled cases, and what the float model makes of them.
pub struct Accuracy {
    samples: Samples,
    labels: Labels,
    metric: MetricName,
    count: usize,
    /// The float model's value of the metric.
    pub float: f64,
}

impl Accuracy {
    /// Reads labels, of `--eval-data` or else of the calibration data, and measures the float model.
    pub fn open(
        flags: &BudgetFlags,
        calibration: &Path,
        preprocess: Preprocess,
        job: &Job,
        ui: &Ui,
    ) -> Outcome<Accuracy> {
        if flags.metric == MetricName::Mse {
            let text = "--max-drop needs a metric that is a share, not `mse`";
            return Err(Diagnostic::usage("USE001", text).into());
        }
        let data = flags.eval_data.as_deref().unwrap_or(calibration);
        let samples = Samples::open(data, job.wanted()?, preprocess)?;
        let labels = labels(flags, data, &samples)?;
        let most = flags.eval_samples.unwrap_or(u64::MAX);
        let count = samples
            .len()
            .min(usize::try_from(most).unwrap_or(usize::MAX));
        let mut a = Accuracy {
            samples,
            labels,
            metric: flags.metric,
            count,
            float: 0.0,
        };
        let bar = Bar::counted(ui, Some(count as u64));
        bar.say("measuring the float model");
        a.float = a.of(job, &bar)?;
        Ok(a)
    }

    /// The metric of a model.
    pub fn of(&mut self, job: &Job, bar: &Bar) -> Outcome<f64> {
        let mut metrics = [Metric::new(self.metric)];
        let cases = (&mut self.samples, &self.labels);
        measured(job, None, cases, self.count, 0, &mut metrics, bar)?;
        let value = metrics[0].measured().map(|m| m.value);
        Ok(value.ok_or_else(|| {
            Diagnostic::usage("USE004", "no labelled case counts, so there is no accuracy")
        })?)
    }
}

fn labels(flags: &BudgetFlags, data: &Path, samples: &Samples) -> Result<Labels> {
    Labels::open(flags.labels.as_deref(), data, samples).map_err(|d| {
        let none = flags.labels.is_none();
        match none {
            true => d.help("--max-drop compares accuracy; without labels, --min-sqnr bounds the error of the outputs"),
            false => d,
        }
    })
}
