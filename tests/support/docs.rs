//! The documents that are made from tables of the sources.

use onnxc_compiler::base::diag::CODES;
use onnxc_compiler::contracts;
use onnxc_compiler::onnx::{How, OPSETS, supported};
use onnxc_compiler::op::{LATEST, Lower};
use onnxc_compiler::ops;
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str =
    "<!-- Made from the sources by `BLESS=1 cargo test -p onnxc-tests --test generated`. -->\n\n";

/// `docs/support.md`: operators with their opsets, kernels, tiles.
pub fn support() -> String {
    let mut rows: BTreeMap<(&str, &str), (Vec<(i64, i64)>, &str)> = BTreeMap::new();
    for op in ops::all() {
        let how = match op.lower {
            Lower::Pointwise(_) => "formula, fused into its neighbours",
            Lower::View => "no code: the same bytes",
            Lower::Loops(_) if op.tails => "loops, taking pointwise work along",
            Lower::Loops(_) => "loops",
            Lower::Contract(c, _) => match c.name {
                "conv" => "kernels of contract `conv`",
                "gemm" => "kernels of contract `gemm`",
                _ => "kernels",
            },
            Lower::Control(_) => "control flow",
        };
        for row in op.onnx {
            let e = rows.entry((row.domain, row.name)).or_insert((vec![], how));
            e.0.push((row.since, row.until));
        }
    }
    for s in supported() {
        let how = match s.how {
            How::Direct => continue,
            How::Expanded => "spelled with other operators",
            How::Resolved => "resolved while importing, where its structure is known",
        };
        let e = rows.entry((s.domain, s.name)).or_insert((vec![], how));
        e.0.push((s.since, s.until));
    }
    let sets: Vec<String> = OPSETS
        .iter()
        .map(|&(domain, lo, hi)| {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            if lo == hi {
                format!("{lo} of {domain}")
            } else {
                format!("{lo} to {hi} of {domain}")
            }
        })
        .collect();
    let sets = sets.join(", ");
    let mut out = format!(
        "# What is supported\n\n{HEAD}Models of opsets {sets}. An opset range says for which \
         versions of the operator set the meaning is known; a form of an operator that is not supported is a diagnostic which names the node.\n\n## Operators\n\n\
         | domain | operator | opsets | how |\n|---|---|---|---|\n"
    );
    for ((domain, name), (mut ranges, how)) in rows {
        ranges.sort_unstable();
        let text: Vec<String> = ranges
            .iter()
            .map(|(a, b)| {
                if *b >= LATEST {
                    format!("{a}+")
                } else {
                    format!("{a}-{b}")
                }
            })
            .collect();
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        let _ = writeln!(out, "| {domain} | {name} | {} | {how} |", text.join(", "));
    }
    out.push_str("\n## Kernels\n\n| contract | kernel | CPU features | takes pointwise work along |\n|---|---|---|---|\n");
    for c in contracts::ALL {
        for k in c.rows {
            let needs = if k.needs.is_empty() {
                "none".into()
            } else {
                k.needs.join(", ")
            };
            let _ = writeln!(
                out,
                "| {} | `{}` | {needs} | {} |",
                c.name,
                k.name,
                if k.tails { "yes" } else { "no" }
            );
        }
    }
    out.push_str("\n## Tiles\n\nMachine code generated for a shape.\n\n| contract | tile | CPU features | largest |\n|---|---|---|---|\n");
    for t in onnxc_targets::x86_64::kernels::TILES
        .iter()
        .chain(onnxc_targets::aarch64::kernels::TILES)
    {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} x {} |",
            t.contract,
            t.name,
            t.needs.join(", "),
            t.tile.0,
            t.tile.1
        );
    }
    out.push_str(ACCURACY);
    out
}

/// What was measured with `conv_f32_strip` and the Winograd rows, and by `loops/math/tests.rs` with `ONNXC_MANTISSAS=2000`.
const ACCURACY: &str = "
## Accuracy of 3x3 convolutions

The largest error against sums in f64 over the largest output, for inputs between -1 and 1 and as many output as input channels (AVX2;
1 ulp of the largest output is 0.6e-7 to 1.2e-7). [winograd.md](winograd.md) says how Winograd's errors are estimated and bounded.

| channels, map | `conv_f32_strip` | `conv_f32_winograd_f2` | `conv_f32_winograd_f4` |
|---|---|---|---|
| 16, 56x56 | 4.3e-7 | 1.3e-7 | 6.9e-7 |
| 64, 56x56 | 6.3e-7 | 3.4e-7 | 1.2e-6 |
| 128, 28x28 | 1.0e-6 | 3.8e-7 | 1.5e-6 |
| 256, 14x14 | 1.3e-6 | 4.9e-7 | 2.0e-6 |
| 512, 7x7 | 3.0e-6 | 6.1e-7 | 2.8e-6 |

## Accuracy of mathematical functions

The largest error in f32, in units in the last place of the result, over a million arguments of every exponent and sign (some 2,000 mantissas of each
binade), with fused multiply-add or without. Functions of f64 stay within 4, those of f16 and bf16 are these, rounded once more. Sin, Cos and Tan
are as good for the largest arguments; special values are those of C99.

| function | ulp |
|---|---|
| Exp | 1.0 |
| Expm1 (Elu, Selu, Celu) | 1.5 |
| Log | 0.9 |
| Log1p (Softplus, Mish) | 1.4 |
| Sin, Cos | 1.1 |
| Tan | 1.9 |
| Asin | 0.9 |
| Acos | 1.2 |
| Atan | 1.2 |
| Sinh | 1.6 |
| Cosh | 1.5 |
| Tanh | 1.2 |
| Asinh, Acosh | 1.7 |
| Atanh | 1.0 |
| Erf | 1.1 |
| Sigmoid | 2.1 |
| Pow | 0.8 |
";

/// `docs/diagnostics.md`: every code with what it means.
pub fn diagnostics() -> String {
    let mut out = format!(
        "# Diagnostics\n\n{HEAD}Every message carries a code. `error` means that the model or the request contradicts itself, `unsupported` that it is legal and \
         not done, `limit` that a flag can raise a bound, `internal error` that onnxc is at fault.\n\n| code | what | explanation |\n|---|---|---|\n"
    );
    for c in CODES {
        let _ = writeln!(out, "| {} | {} | {} |", c.code, c.title, c.explain);
    }
    out
}

/// `docs/options.md`: every command and option.
pub fn options() -> String {
    onnxc::manual::options().replacen("\n\n", &format!("\n\n{HEAD}"), 1)
}
