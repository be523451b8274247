//! The vector machine ([`ir`]), the writer of its programs ([`build`]), and the kernel templates over it. What turns a program
//! into machine code lies beside this folder, one file per architecture.

pub mod build;
pub mod ir;
