//! Floor 4: what kernels compute, one family per file, and the rows that compute it on every machine.
pub mod conv;
pub mod conv_depthwise;
pub mod conv_gemm;
pub mod finish;
pub mod gemm;
pub mod gemm_blocked;
pub mod pack;
pub mod window;
