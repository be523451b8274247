//! Floor 7: programs become machine code in relocatable ELF objects.
//!
//! The only folder that names Cranelift. Layer bodies, stubs and the entry are Cranelift functions; tiles and a few
//! instructions that Cranelift does not know are bytes of our own. What is written out is total: no trap instruction, no call
//! that leaves the object, no writable data. Same program, target and options give the same bytes.

mod expr;
pub mod func;
mod half;
pub mod isa;
mod lanes;
mod mem;
mod ops;
mod round;
mod stmt;
mod ty;
