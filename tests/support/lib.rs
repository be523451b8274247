//! Shared helpers of the tests.
pub mod compile;
pub mod contract;
pub mod docs;
pub mod generate;
pub mod graphs;
pub mod http;
pub mod instructions;
pub mod models;
pub mod oracle;
pub mod run;
pub mod tools;
