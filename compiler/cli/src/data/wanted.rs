//! What a model asks of data.

use onnxc_compiler::base::dtype::DType;

/// An input as the model declares it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Sizes where known; `None` if not even the number of axes is.
    pub shape: Option<Vec<Option<i64>>>,
    /// Something is divided by it: values that are made up are not 0.
    pub divisor: bool,
    /// It says which rows of a table are taken: values that are made up stay below.
    pub places: Option<i64>,
}
