//! `auto_pad` = SAME over axes that are free until the model runs, where a stride makes the padding depend on the size.
//!
//! Such a window is one without padding over an input that a Pad made larger: (size - 1) mod stride says by how much.

use super::expand::ExpandCx;
use super::import::Importer;
use super::node::Call;
use super::scope::Binding;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::graph::ir::ValueId;
use crate::onnx::attrs::NodeAttrs;

/// Windows over free axes.
struct Same {
    /// Sizes less 1, dilated.
    reach: Vec<i64>,
    strides: Vec<i64>,
    /// Whether what is left of an odd padding stands behind.
    upper: bool,
}

impl Same {
    /// `None`: the padding is known, or what it needs is not.
    fn of(im: &mut Importer, call: &Call, weights: Option<usize>) -> Result<Option<Same>> {
        let attrs = &call.attrs.plain;
        let upper = match attrs.str("auto_pad", "NOTSET") {
            "SAME_UPPER" => true,
            "SAME_LOWER" => false,
            _ => return Ok(None),
        };
        let Some(x) = call.tensor(0)? else {
            return Ok(None);
        };
        let Ok(ty) = im.type_of(x) else {
            return Ok(None);
        };
        let n = ty.rank().saturating_sub(2);
        let kernel = match weights {
            None => attrs.ints("kernel_shape").map(<[i64]>::to_vec),
            Some(i) => match call.tensor(i)?.map(|w| im.type_of(w)) {
                Some(Ok(w)) => w.shape.iter().skip(2).map(Dim::fixed).collect(),
                _ => None,
            },
        };
        let list = |name| attrs.ints(name).map_or_else(|| vec![1; n], <[i64]>::to_vec);
        let (strides, dilations) = (list("strides"), list("dilations"));
        let Some(kernel) = kernel else {
            return Ok(None);
        };
        let lists = [&kernel, &strides, &dilations];
        let sound = lists
            .iter()
            .all(|l| l.len() == n && l.iter().all(|&v| v > 0));
        let free = |(d, &s): (&Dim, &i64)| s > 1 && d.fixed().is_none();
        if !sound || !ty.shape[ty.rank() - n..].iter().zip(&strides).any(free) {
            return Ok(None);
        }
        let reach = kernel.iter().zip(&dilations);
        Ok(Some(Same {
            reach: reach.map(|(k, d)| (k - 1).saturating_mul(*d)).collect(),
            strides,
            upper,
        }))
    }

    /// `x` with room for the windows, filled with a scalar.
    fn padded(&self, cx: &mut ExpandCx, x: ValueId, fill: ValueId) -> Result<ValueId> {
        let spatial = spatial(cx, x)?;
        let n = self.strides.len();
        let (ones, zeros, twos) = (vec![1; n], vec![0; n], vec![2; n]);
        let (ones, zeros, twos) = (cx.list(&ones), cx.list(&zeros), cx.list(&twos));
        let (strides, reach) = (cx.list(&self.strides), cx.list(&self.reach));
        let last = cx.plain("Sub", &[spatial, ones])?;
        let over = cx.plain("Mod", &[last, strides])?;
        let total = cx.plain("Sub", &[reach, over])?;
        let total = cx.plain("Max", &[total, zeros])?;
        let less = cx.plain("Div", &[total, twos])?;
        let more = cx.plain("Sub", &[total, less])?;
        let (before, behind) = if self.upper {
            (less, more)
        } else {
            (more, less)
        };
        let none = cx.list(&[0, 0]);
        let pads = cx.concat(&[none, before, none, behind], 0)?;
        cx.plain("Pad", &[x, pads, fill])
    }
}

/// The sizes behind batch and channels.
fn spatial(cx: &mut ExpandCx, x: ValueId) -> Result<ValueId> {
    let a = Attrs::default().with("start", Attr::Int(2));
    cx.op("Shape", &[x], a)
}

impl<'m> Importer<'m> {
    /// Imports a call whose `auto_pad` depends on sizes that are not known. `None`: it is no such call.
    pub fn padded_by_size(&mut self, call: &Call<'_, 'm>) -> Result<Option<Vec<Binding>>> {
        let weights = match call.op {
            "Conv" => Some(1),
            "QLinearConv" => Some(3),
            "MaxPool" | "AveragePool" if call.outs < 2 => None,
            _ => return Ok(None),
        };
        if call.broken() {
            return Ok(None);
        }
        let Some(same) = Same::of(self, call, weights)? else {
            return Ok(None);
        };
        let mut ins = call.tensors()?;
        let Some(&Some(x)) = ins.first() else {
            return Ok(None);
        };
        let mut cx = ExpandCx::new(self, call, vec![]);
        let dtype = cx.ty(x)?.dtype;
        let fill = match (call.op, ins.get(2)) {
            ("QLinearConv", Some(Some(zero))) => cx.reshape(*zero, &[])?,
            ("MaxPool", _) => cx.scalar(dtype, lowest(dtype)),
            _ => cx.scalar(dtype, 0.0),
        };
        let y = same.padded(&mut cx, x, fill)?;
        // A mean leaves out what is padding: the share of each window that the input covers.
        let counted = call.attrs.plain.flag("count_include_pad");
        let share = if call.op == "AveragePool" && !counted {
            let one = cx.scalar(dtype, 1.0);
            let single = cx.list(&[1, 1]);
            let sizes = spatial(&mut cx, x)?;
            let sizes = cx.concat(&[single, sizes], 0)?;
            let ones = cx.plain("Expand", &[one, sizes])?;
            Some(same.padded(&mut cx, ones, fill)?)
        } else {
            None
        };
        let mut plain = call.attrs.plain.clone();
        plain.0.remove("auto_pad");
        plain.0.remove("pads");
        let attrs = NodeAttrs {
            plain,
            ..NodeAttrs::default()
        };
        let mut window = |im: &mut Self, x: ValueId| {
            ins[0] = Some(x);
            im.call(Call {
                attrs: &attrs,
                ins: ins.iter().map(|v| v.map(Binding::Tensor)).collect(),
                loc: call.loc.clone(),
                ..*call
            })
        };
        let sums = window(self, y)?;
        let Some(share) = share else {
            return Ok(sums);
        };
        let shares = window(self, share)?;
        match (sums.as_deref(), shares.as_deref()) {
            (Some([Binding::Tensor(s), ..]), Some([Binding::Tensor(n), ..])) => {
                let mut cx = ExpandCx::new(self, call, vec![]);
                Ok(Some(vec![Binding::Tensor(cx.plain("Div", &[*s, *n])?)]))
            }
            _ => Ok(sums),
        }
    }
}

/// What no maximum chooses.
fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::I8 => f64::from(i8::MIN),
        DType::U8 => 0.0,
        _ => f64::NEG_INFINITY,
    }
}
