//! Functions of one float: a row each.

use crate::loops::ir::UnOp;
use crate::op::{BASE, Lower, OpDef, read_none};
use crate::ops::util::{float_unary, since};

macro_rules! rows {
    ($($id:ident $name:literal $from:literal $op:ident;)*) => {
        /// Operators of this file.
        pub static OPS: &[&OpDef] = &[$(&$id),*];
        $(
            #[doc = concat!($name, ", element by element.")]
            pub static $id: OpDef = OpDef {
                name: $name,
                onnx: &[since($name, $from, read_none)],
                infer: float_unary,
                lower: Lower::Pointwise(|cx, x| Ok(cx.b.un(UnOp::$op, x[0]))),
                ..BASE
            };
        )*
    };
}

rows! {
    CEIL "Ceil" 6 Ceil;
    FLOOR "Floor" 6 Floor;
    ROUND "Round" 11 Round;
    SQRT "Sqrt" 6 Sqrt;
    EXP "Exp" 6 Exp;
    LOG "Log" 6 Log;
    SIN "Sin" 7 Sin;
    COS "Cos" 7 Cos;
    TAN "Tan" 7 Tan;
    ASIN "Asin" 7 Asin;
    ACOS "Acos" 7 Acos;
    ATAN "Atan" 7 Atan;
    SINH "Sinh" 9 Sinh;
    COSH "Cosh" 9 Cosh;
    TANH "Tanh" 6 Tanh;
    ASINH "Asinh" 9 Asinh;
    ACOSH "Acosh" 9 Acosh;
    ATANH "Atanh" 9 Atanh;
    ERF "Erf" 9 Erf;
    SIGMOID "Sigmoid" 6 Sigmoid;
}
