//! What `quantize` is asked to do: flags become a recipe and a form, and a form a rewrite of the model.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::compress::quantize::{
    self, Method, Observer, Recipe, Sites, Summary, WeightRounding,
};
use onnxc_compiler::graph::ir::Model;
use std::collections::BTreeSet;

use crate::args::quantize::{ActivationType, Precision, QuantizeFlags, WeightMethod};
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::data::wanted::Wanted;
use crate::ui::Ui;

/// Which parts of a model become small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Weights and activations, by calibration.
    Both,
    /// Weights; activations stay floats.
    Weights,
    /// Weights, in half precision of this type.
    Halves(DType),
    /// Weights of matrix products, and their inputs by what they are at run time.
    Dynamic,
}

impl Form {
    /// That which the flags ask for; flags that contradict each other are an error.
    pub fn of(flags: &QuantizeFlags) -> Result<Form> {
        let form = match (flags.precision, flags.dynamic, flags.weight_only) {
            (Precision::Fp16, ..) => Form::Halves(DType::F16),
            (Precision::Bf16, ..) => Form::Halves(DType::BF16),
            (_, true, _) => Form::Dynamic,
            (Precision::Int4, ..) | (.., true) => Form::Weights,
            _ => Form::Both,
        };
        let against = |a: &str, b: &str| {
            Err(Diagnostic::usage(
                "USE001",
                format!("{a} goes not together with {b}"),
            ))
        };
        let precision = format!("--precision {}", flags.precision.name());
        let budget = flags.budget.goal().is_some() || flags.budget.choices.is_some();
        if flags.precision == Precision::Mixed && !budget {
            let text = "--precision mixed needs to know what is good enough";
            return Err(Diagnostic::usage("USE001", text).help(
                "--min-sqnr, --max-drop, --target-size or --target-latency, or the choices of an earlier search: --choices",
            ));
        }
        if let Some(bits) = flags.weight_bits {
            let most = flags.precision.weight_bits();
            if matches!(form, Form::Halves(_)) {
                return against("--weight-bits", &precision);
            }
            if bits > most {
                let text = format!(
                    "{precision} stores weights in {most} bits: --weight-bits {bits} are more"
                );
                return Err(Diagnostic::usage("USE001", text));
            }
        }
        if flags.dynamic && flags.precision != Precision::Int8 {
            return against("--dynamic", &precision);
        }
        if flags.weight_only
            && matches!(
                flags.precision,
                Precision::Int16 | Precision::W8a16 | Precision::W4a8 | Precision::Mixed
            )
        {
            let help = "`int4` is 4-bit weights alone, `int8` with `--weight-only` 8-bit ones";
            let text = format!("{precision} quantizes activations, `--weight-only` does not");
            return Err(Diagnostic::usage("USE001", text).help(help));
        }
        if matches!(form, Form::Halves(_)) && flags.weight_rounding != WeightMethod::Nearest {
            return against("--weight-rounding", &precision);
        }
        if flags.block.is_some()
            && (flags.per_tensor || matches!(form, Form::Dynamic | Form::Halves(_)))
        {
            let other = match (flags.per_tensor, form) {
                (true, _) => "--per-tensor",
                (_, Form::Dynamic) => "--dynamic",
                _ => &precision,
            };
            return against("--block", other);
        }
        if matches!(flags.precision, Precision::Int16 | Precision::W8a16) {
            if flags.activation_type == ActivationType::U8 {
                return against("--activation-type u8", &precision);
            }
            if matches!(flags.method(), Method::Mse | Method::Entropy) {
                let text = format!(
                    "{precision} has steps so fine that `mse` and `entropy` have nothing to weigh"
                );
                return Err(Diagnostic::usage("USE001", text).help("take minmax or percentile"));
            }
        }
        let data = flags.calibration.is_some() || flags.no_data.is_some();
        if !data && form == Form::Both {
            return Err(Diagnostic::usage("USE001", "there is no calibration data").help(
                "--calibration DATA; without any, --no-data makes some up, and --weight-only, --dynamic and the precisions int4, fp16 and bf16 need none",
            ));
        }
        if !data && flags.smooth.is_some() {
            let text = "--smooth needs calibration data";
            return Err(Diagnostic::usage("USE001", text).help("--calibration DATA"));
        }
        if !data && flags.weight_rounding != WeightMethod::Nearest {
            let text = "rounding weights by what it does to a layer needs calibration data";
            return Err(Diagnostic::usage("USE001", text).help("--calibration DATA"));
        }
        Ok(form)
    }
    /// What is to be observed on calibration data.
    pub fn sites(self, model: &Model, recipe: &Recipe) -> Sites {
        match self {
            Form::Halves(_) => Sites::default(),
            _ => quantize::stored_sites(&model.graph, recipe),
        }
    }
    /// Rewrites a model. `observed`: an observer for each site, or none where there is no data.
    pub fn apply(
        self,
        model: &mut Model,
        sites: &Sites,
        observed: &[Observer],
        recipe: &Recipe,
        diags: &mut Diagnostics,
    ) -> Result<Summary> {
        let summary = match self {
            Form::Both => quantize::apply(model, sites, observed, recipe, diags),
            Form::Weights => quantize::store(model, sites, observed, recipe, diags),
            Form::Halves(to) => quantize::halves(model, to, recipe, diags),
            Form::Dynamic => quantize::dynamic(model, sites, observed, recipe, diags),
        }?;
        if summary.nodes == 0 {
            let text = "no operator of the model can be quantized, or none that was asked for";
            return Err(Diagnostic::model("ONNX008", text));
        }
        Ok(summary)
    }
    /// The last line of what is printed, without its figures of data and size.
    pub fn says(self, s: &Summary, recipe: &Recipe) -> String {
        let bits = recipe.weight_bits;
        match self {
            Form::Both => {
                let values = recipe.activations.packed_bits() as u32;
                match bits == values {
                    true => format!(
                        "{} operators and {} values in {bits} bits",
                        s.nodes, s.values
                    ),
                    false => format!(
                        "{} operators with weights of {bits} bits, {} values in {values} bits",
                        s.nodes, s.values
                    ),
                }
            }
            Form::Weights => format!("weights of {} operators in {bits} bits", s.nodes),
            Form::Halves(d) => format!("{} constants in {d}", s.nodes),
            Form::Dynamic => format!("{} products that quantize what they read", s.nodes),
        }
    }
}

/// The recipe that the flags describe.
pub fn recipe(flags: &QuantizeFlags) -> Recipe {
    Recipe {
        activations: match (flags.precision, flags.activation_type) {
            (Precision::Int16 | Precision::W8a16, _) => DType::I16,
            (_, ActivationType::I8) => DType::I8,
            (_, ActivationType::U8) => DType::U8,
        },
        weights: match flags.precision {
            Precision::Int4 | Precision::W4a8 => DType::I4,
            _ => DType::I8,
        },
        weight_bits: flags.weight_bits.unwrap_or(flags.precision.weight_bits()),
        block: flags.block.map(|b| b as usize),
        weight_rounding: match flags.weight_rounding {
            WeightMethod::Nearest => WeightRounding::Nearest,
            WeightMethod::Gptq => WeightRounding::Gptq,
            WeightMethod::Adaround => WeightRounding::AdaRound,
        },
        symmetric: flags.symmetric,
        per_channel: !flags.per_tensor,
        method: flags.method(),
        bias_correction: !flags.no_bias_correction,
        every_value: flags.every_value,
        exclude: flags.exclude.clone(),
        only: flags.only.clone(),
        keep: BTreeSet::new(),
    }
}

/// The calibration data, or what stands for it; `None` where there is none.
pub fn samples(
    flags: &QuantizeFlags,
    wanted: Vec<Wanted>,
    preprocess: Preprocess,
    ui: &Ui,
) -> Result<Option<Samples>> {
    if let Some(path) = &flags.calibration {
        return Samples::open(path, wanted, preprocess).map(Some);
    }
    let Some((mean, deviation)) = flags.no_data else {
        return Ok(None);
    };
    let samples = Samples::made_up(wanted, flags.samples as usize, mean, deviation)?;
    let text = format!(
        "ranges are measured on made-up inputs, of mean {mean} and standard deviation {deviation}: real data gives better ones"
    );
    ui.note(&Diagnostic::remark("ONNX016", text));
    Ok(Some(samples))
}

/// Scales channels between layers where that is asked for.
pub fn equalize(flags: &QuantizeFlags, recipe: &Recipe, model: &mut Model, ui: &Ui) -> Result<()> {
    if !flags.equalize {
        return Ok(());
    }
    let pairs = quantize::equalize(&mut model.graph, recipe)?;
    let text = match pairs {
        0 => "there is no pair of layers that could be equalized".to_string(),
        1 => "one pair of layers is equalized".to_string(),
        n => format!("{n} pairs of layers are equalized"),
    };
    ui.note(&Diagnostic::remark("ONNX016", text));
    Ok(())
}

/// Moves sizes of channels from values to weights, by what was observed at `sites`.
pub fn smooth(alpha: f64, sites: &Sites, observed: &[Observer], model: &mut Model, ui: &Ui) {
    let count = quantize::smooth(&mut model.graph, sites, observed, alpha);
    let text = match count {
        1 => "one value is smoothed".to_string(),
        n => format!("{n} values are smoothed"),
    };
    ui.note(&Diagnostic::remark("ONNX016", text));
}
