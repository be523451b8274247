//! Floor 6: the front door. ONNX files come in here and leave as a graph; nothing behind this folder reads protobuf.
//!
//! The whole file is read before anything is refused: every problem is in the diagnostics of one run, with the node,
//! its operator, its opset and what to do. No file may make this code panic, run long, or allocate more than the
//! limits allow.

mod attrs;
mod control;
mod declared;
pub mod expand;
pub mod external;
mod function;
mod import;
mod inputs;
mod legacy;
mod node;
pub mod options;
mod order;
pub mod proto;
mod same;
mod scope;
mod sequence;
pub mod signature;
mod stacked;
mod supported;
mod tensor;
mod types;
mod wire;
pub mod write;

pub use external::{Files, NoFiles};
pub use import::{IR_VERSIONS, OPSETS, import};
pub use options::{DimSpec, ImportOptions, Limits};
pub use signature::{Signature, read_tensor, signature};
pub use supported::{How, Supported, supported};

#[cfg(test)]
mod tests;
