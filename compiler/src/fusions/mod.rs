//! Fusions: small rewrites, one per file, that raise what exporters took apart or fold one node into another.
pub mod attention;
pub mod conv_affine;
pub mod conv_transpose;
pub mod depthwise_volume;
pub mod einsum_product;
pub mod engine;
pub mod gelu;
pub mod hard_swish;
pub mod layer_norm;
pub mod pad_conv;
pub mod parallel_convs;
pub mod power;
pub mod resize_apart;
pub mod squeeze_excite;
pub mod swish;
pub mod transpose;

use crate::pass::Pass;

/// Every fusion, in the order in which they are tried.
pub const ALL: &[&Pass] = &[
    &einsum_product::PASS,
    &transpose::PASS,
    &pad_conv::PASS,
    &conv_affine::PASS,
    &parallel_convs::PASS,
    &conv_transpose::PASS,
    &power::PASS,
    &gelu::PASS,
    &layer_norm::PASS,
    &hard_swish::PASS,
    &swish::PASS,
    &squeeze_excite::PASS,
    &resize_apart::PASS,
    &depthwise_volume::PASS,
    &attention::PASS,
];
