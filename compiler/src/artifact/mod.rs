//! Floor 8: what leaves the compiler beside code: the descriptor, C header, Rust module, dependency file and report.
//!
//! All of them are texts or bytes made from one [`info::ModelInfo`], and nothing else: same information, same bytes.
pub mod archive;
pub mod bench_c;
mod blob;
pub mod cpp;
pub mod depfile;
pub mod descriptor;
pub mod fill;
pub mod header;
pub mod info;
mod quant;
mod regions;
pub mod report;
pub mod report_offload;
mod rust_levels;
mod rust_model;
pub mod rust_module;
mod rust_types;
pub mod weights;

pub use info::{LayerInfo, ModelInfo, Placement, Port, PortQuant};
