//! Operators that are best said with others: one file each, and their roll.
//!
//! An expansion sees its attributes and the types of its inputs, and spells the result with operators of ai.onnx at the
//! newest opset, as a file would: it never names our canonical attributes. It is refused where a type that it needs is
//! not known.

mod cx;

pub use cx::ExpandCx;

use super::import::Importer;
use super::node::Call;
use super::scope::Binding;
use crate::base::diag::Result;
use crate::op::LATEST;

/// One operator and how it is spelled.
pub struct Expansion {
    /// Domain; empty for ai.onnx.
    pub domain: &'static str,
    /// Operator type.
    pub name: &'static str,
    /// First opset.
    pub since: i64,
    /// Last opset.
    pub until: i64,
    /// Writes it with other operators and sets the outputs.
    pub expand: fn(&mut ExpandCx) -> Result<()>,
}

impl Expansion {
    /// An operator of com.microsoft, which has one version of each.
    const fn microsoft(name: &'static str, expand: fn(&mut ExpandCx) -> Result<()>) -> Expansion {
        Expansion {
            domain: "com.microsoft",
            name,
            since: 1,
            until: i64::MAX,
            expand,
        }
    }
}

macro_rules! roll {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        /// Every expansion, file by file.
        pub fn all() -> impl Iterator<Item = &'static Expansion> {
            let lists: &[&'static [Expansion]] = &[$($file::EXPANSIONS),*];
            lists.iter().copied().flatten()
        }
    };
}

roll! {
    attention,
    bert_bytes,
    causal_conv,
    embedding,
    four_bits,
    group_query,
    integer_products,
    linear_attention,
    lstm_bytes,
    loss,
    qlinear,
    rotary,
    window,
}

/// An expansion of ai.onnx for all opsets from `since` on.
pub const fn onnx(
    name: &'static str,
    since: i64,
    expand: fn(&mut ExpandCx) -> Result<()>,
) -> Expansion {
    Expansion {
        domain: "",
        name,
        since,
        until: LATEST,
        expand,
    }
}

/// The expansion of an operator.
pub fn find(domain: &str, name: &str, opset: i64) -> Option<&'static Expansion> {
    all().find(|e| e.domain == domain && e.name == name && (e.since..=e.until).contains(&opset))
}

impl<'m> Importer<'m> {
    /// Imports an operator by its expansion.
    pub fn expand(&mut self, call: Call<'_, 'm>) -> Result<Option<Vec<Binding>>> {
        let Some(e) = find(call.domain, call.op, call.opset) else {
            return Ok(None);
        };
        if call.broken() {
            return Ok(None);
        }
        self.check_depth()?;
        let ins = call.tensors()?;
        let mut cx = ExpandCx::new(self, &call, ins);
        (e.expand)(&mut cx)?;
        cx.finish().map(Some)
    }
}
