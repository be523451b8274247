//! `ex!`: arithmetic over [`Builder`](super::build::Builder) as one writes it on paper.
//!
//! `ex!(b; (i * stride) + {pads[0]})` makes the expression that the nested calls would. Every operand of an operator is
//! one token tree: a name, a number, `{any Rust expression}`, a parenthesised formula. There is no precedence: write the
//! parentheses. A number takes the type of the other operand.

/// Writes an expression. See the module.
#[macro_export]
macro_rules! ex {
    (@bin $b:expr; $op:ident; $x:tt; $y:literal) => {{
        let l = $crate::ex!($b; $x);
        let r = $b.num($b.ty(l), f64::from($y));
        $b.$op(l, r)
    }};
    (@bin $b:expr; $op:ident; $x:literal; $y:tt) => {{
        let r = $crate::ex!($b; $y);
        let l = $b.num($b.ty(r), f64::from($x));
        $b.$op(l, r)
    }};
    (@bin $b:expr; $op:ident; $x:tt; $y:tt) => {{
        let l = $crate::ex!($b; $x);
        let r = $crate::ex!($b; $y);
        $b.$op(l, r)
    }};
    ($b:expr; ($($t:tt)+)) => { $crate::ex!($b; $($t)+) };
    ($b:expr; {$e:expr}) => { $e };
    ($b:expr; $v:ident) => { $v };
    ($b:expr; $v:literal) => { $b.i($v) };
    ($b:expr; $x:tt + $y:tt) => { $crate::ex!(@bin $b; add; $x; $y) };
    ($b:expr; $x:tt - $y:tt) => { $crate::ex!(@bin $b; sub; $x; $y) };
    ($b:expr; $x:tt * $y:tt) => { $crate::ex!(@bin $b; mul; $x; $y) };
    ($b:expr; $x:tt / $y:tt) => { $crate::ex!(@bin $b; div; $x; $y) };
    ($b:expr; $x:tt % $y:tt) => { $crate::ex!(@bin $b; rem; $x; $y) };
    ($b:expr; $x:tt < $y:tt) => { $crate::ex!(@bin $b; lt; $x; $y) };
    ($b:expr; $x:tt <= $y:tt) => { $crate::ex!(@bin $b; le; $x; $y) };
    ($b:expr; $x:tt > $y:tt) => { $crate::ex!(@bin $b; lt; $y; $x) };
    ($b:expr; $x:tt >= $y:tt) => { $crate::ex!(@bin $b; le; $y; $x) };
    ($b:expr; $x:tt == $y:tt) => { $crate::ex!(@bin $b; eq; $x; $y) };
    ($b:expr; $x:tt != $y:tt) => { $crate::ex!(@bin $b; ne; $x; $y) };
    ($b:expr; $x:tt & $y:tt) => { $crate::ex!(@bin $b; and; $x; $y) };
    ($b:expr; $x:tt | $y:tt) => { $crate::ex!(@bin $b; or; $x; $y) };
    ($b:expr; $f:ident ($x:tt)) => {{
        let x = $crate::ex!($b; $x);
        $b.$f(x)
    }};
    ($b:expr; $f:ident ($x:tt, $y:tt)) => { $crate::ex!(@bin $b; $f; $x; $y) };
    ($b:expr; $f:ident ($x:tt, $y:tt, $z:tt)) => {{
        let x = $crate::ex!($b; $x);
        let y = $crate::ex!($b; $y);
        let z = $crate::ex!($b; $z);
        $b.$f(x, y, z)
    }};
}
