//! runtime/abi
