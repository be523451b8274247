//! Floor 1: what every other part stands on, and what knows nothing of networks.
pub mod attr;
pub mod costs;
pub mod denormals;
pub mod diag;
pub mod dim;
pub mod dtype;
pub mod effort;
pub mod goal;
pub mod id;
pub mod offload;
pub mod rounding;
pub mod tensor;
pub mod text;
pub mod types;
