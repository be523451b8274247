//! Sliding windows: kernel sizes, strides, dilations and pads of convolution and pooling, brought to numbers.
//!
//! `auto_pad` is resolved here against the input's size. Nothing here knows which operator slides.

use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;

/// A window over the spatial axes; one entry per axis in each list.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Size of the window.
    pub kernel: Vec<i64>,
    /// Steps between windows.
    pub stride: Vec<i64>,
    /// Steps between the window's elements.
    pub dilation: Vec<i64>,
    /// Padding before.
    pub begin: Vec<i64>,
    /// Padding behind.
    pub end: Vec<i64>,
    /// Output sizes.
    pub out: Vec<Dim>,
}

/// Refuses lists whose length or values make no sense.
fn list(attrs: &Attrs, name: &str, n: usize, default: i64, least: i64) -> Result<Vec<i64>> {
    let v = match attrs.ints(name) {
        Some(v) if !v.is_empty() => v.to_vec(),
        _ => vec![default; n],
    };
    if v.len() != n || v.iter().any(|&x| x < least || x > 1 << 31) {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("attribute `{name}` = {v:?} does not fit {n} spatial axes"),
        ));
    }
    Ok(v)
}

impl Window {
    /// From the attributes `strides`, `dilations`, `pads`, `auto_pad`, `ceil_mode` and the spatial sizes of the input.
    pub fn of(attrs: &Attrs, kernel: &[i64], input: &[Dim]) -> Result<Window> {
        let n = input.len();
        if kernel.len() != n || kernel.iter().any(|&k| !(1..1 << 31).contains(&k)) {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("a window {kernel:?} does not fit {n} spatial axes"),
            ));
        }
        let stride = list(attrs, "strides", n, 1, 1)?;
        let dilation = list(attrs, "dilations", n, 1, 1)?;
        let ceil = attrs.flag("ceil_mode");
        let mut w = Window {
            kernel: kernel.to_vec(),
            stride,
            dilation,
            begin: vec![0; n],
            end: vec![0; n],
            out: vec![],
        };
        let auto = attrs.str("auto_pad", "NOTSET").to_string();
        match auto.as_str() {
            "NOTSET" | "" => {
                let pads = list(attrs, "pads", 2 * n, 0, i64::MIN)?;
                w.begin = pads[..n].to_vec();
                w.end = pads[n..].to_vec();
            }
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                for (i, d) in input.iter().enumerate() {
                    let extent = w.extent(i);
                    let total = match (d.fixed(), w.stride[i]) {
                        (_, 1) => extent - 1,
                        (Some(size), s) => {
                            let out = (size + s - 1).div_euclid(s);
                            ((out - 1) * s + extent - size).max(0)
                        }
                        (None, s) => {
                            return Err(Diagnostic::unsupported(
                                "ONNX008",
                                format!(
                                    "`auto_pad` {auto} with stride {s} over an axis of unknown size"
                                ),
                            )
                            .help("fix the dimension with --dim or --input"));
                        }
                    };
                    let less = total / 2;
                    (w.begin[i], w.end[i]) = if auto == "SAME_UPPER" {
                        (less, total - less)
                    } else {
                        (total - less, less)
                    };
                }
            }
            _ => {
                return Err(Diagnostic::model(
                    "ONNX009",
                    format!("`auto_pad` = {auto} is none of the known ways"),
                ));
            }
        }
        let same = auto.starts_with("SAME");
        for (i, d) in input.iter().enumerate() {
            let s = Dim::Fixed(w.stride[i]);
            let padded = d.clone() + Dim::Fixed(w.begin[i].saturating_add(w.end[i]));
            let room = padded - Dim::Fixed(w.extent(i));
            let bad = || Diagnostic::internal("a stride below 1");
            let out = if same {
                d.ceil_div(&s).ok_or_else(bad)?
            } else if ceil {
                let all = room.ceil_div(&s).ok_or_else(bad)? + Dim::Fixed(1);
                // No window may start in the padding behind.
                let most = (d.clone() + Dim::Fixed(w.begin[i]))
                    .ceil_div(&s)
                    .ok_or_else(bad)?;
                all.smaller(&most)
            } else {
                room.floor_div(&s).ok_or_else(bad)? + Dim::Fixed(1)
            };
            if out.fixed().is_some_and(|o| o < 0) {
                return Err(Diagnostic::model(
                    "ONNX010",
                    format!(
                        "a window of {} is larger than the padded input",
                        w.kernel[i]
                    ),
                ));
            }
            w.out.push(out);
        }
        Ok(w)
    }
    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }
    /// Input elements that a window spans along axis `i`.
    pub fn extent(&self, i: usize) -> i64 {
        (self.kernel[i] - 1)
            .saturating_mul(self.dilation[i])
            .saturating_add(1)
    }
    /// Whether no window leaves the input.
    pub fn is_unpadded(&self) -> bool {
        self.begin.iter().chain(&self.end).all(|&p| p == 0)
    }
}
