//! Element types, as ONNX has them, and how one element lies in memory.

use std::fmt;

/// An element type. In memory every element takes whole bytes: types below a byte take one byte each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    I4,
    U4,
    I2,
    U2,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    String,
    Complex64,
    Complex128,
}

use DType::*;

/// Name in text, the number in `TensorProto.DataType`, bytes per element (0: not numeric).
const TABLE: &[(DType, &str, i32, usize)] = &[
    (F32, "f32", 1, 4),
    (U8, "u8", 2, 1),
    (I8, "i8", 3, 1),
    (U16, "u16", 4, 2),
    (I16, "i16", 5, 2),
    (I32, "i32", 6, 4),
    (I64, "i64", 7, 8),
    (String, "string", 8, 0),
    (Bool, "bool", 9, 1),
    (F16, "f16", 10, 2),
    (F64, "f64", 11, 8),
    (U32, "u32", 12, 4),
    (U64, "u64", 13, 8),
    (Complex64, "complex64", 14, 8),
    (Complex128, "complex128", 15, 16),
    (BF16, "bf16", 16, 2),
    (F8E4M3FN, "f8e4m3fn", 17, 1),
    (F8E4M3FNUZ, "f8e4m3fnuz", 18, 1),
    (F8E5M2, "f8e5m2", 19, 1),
    (F8E5M2FNUZ, "f8e5m2fnuz", 20, 1),
    (U4, "u4", 21, 1),
    (I4, "i4", 22, 1),
    (F4E2M1, "f4e2m1", 23, 1),
    (F8E8M0, "f8e8m0", 24, 1),
    (U2, "u2", 25, 1),
    (I2, "i2", 26, 1),
];

impl DType {
    fn row(self) -> &'static (DType, &'static str, i32, usize) {
        TABLE
            .iter()
            .find(|r| r.0 == self)
            .expect("every type has a row")
    }
    /// All types.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|r| r.0)
    }
    /// The name in text form.
    pub fn name(self) -> &'static str {
        self.row().1
    }
    /// The type of that name.
    pub fn parse(name: &str) -> Option<DType> {
        TABLE.iter().find(|r| r.1 == name).map(|r| r.0)
    }
    /// The type with that number in `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Option<DType> {
        TABLE.iter().find(|r| r.2 == number).map(|r| r.0)
    }
    /// The number in `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        self.row().2
    }
    /// Bytes of one element in memory; 0 for strings.
    pub fn size(self) -> usize {
        self.row().3
    }
    /// Bits of one element in an ONNX file (sub-byte types are packed there).
    pub fn packed_bits(self) -> usize {
        match self {
            I4 | U4 | F4E2M1 => 4,
            I2 | U2 => 2,
            _ => self.size() * 8,
        }
    }
    /// f16, bf16, f32 or f64.
    pub fn is_float(self) -> bool {
        matches!(self, F32 | F64 | F16 | BF16)
    }
    /// An 8-bit or 4-bit float, or a bare exponent.
    pub fn is_small_float(self) -> bool {
        matches!(
            self,
            F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1
        )
    }
    /// Any integer type, without bool.
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned()
    }
    /// A signed integer type.
    pub fn is_signed_int(self) -> bool {
        matches!(self, I8 | I16 | I32 | I64 | I4 | I2)
    }
    /// An unsigned integer type.
    pub fn is_unsigned(self) -> bool {
        matches!(self, U8 | U16 | U32 | U64 | U4 | U2)
    }
    /// Smallest and largest value of an integer type (bool: 0, 1), in i128 so that u64 fits.
    pub fn int_range(self) -> Option<(i128, i128)> {
        let bits = match self {
            Bool => return Some((0, 1)),
            _ if self.is_int() => self.packed_bits() as u32,
            _ => return None,
        };
        Some(if self.is_unsigned() {
            (0, (1 << bits) - 1)
        } else {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
