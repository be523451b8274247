//! Words: how the parts of a command become a stream of 32-bit words and come back.

/// What goes into a stream.
pub trait Wire: Sized {
    /// Appends its words.
    fn put(&self, out: &mut Vec<u32>);
    /// Takes them from the front; `None` if they are too few or mean nothing.
    fn get(words: &mut &[u32]) -> Option<Self>;
}

impl Wire for u32 {
    fn put(&self, out: &mut Vec<u32>) {
        out.push(*self);
    }
    fn get(words: &mut &[u32]) -> Option<u32> {
        let (first, rest) = words.split_first()?;
        *words = rest;
        Some(*first)
    }
}

impl Wire for i32 {
    fn put(&self, out: &mut Vec<u32>) {
        out.push(self.cast_unsigned());
    }
    fn get(words: &mut &[u32]) -> Option<i32> {
        u32::get(words).map(u32::cast_signed)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u32>) {
        out.push(u32::from(*self));
    }
    fn get(words: &mut &[u32]) -> Option<bool> {
        match u32::get(words)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Wire for f64 {
    fn put(&self, out: &mut Vec<u32>) {
        let bits = self.to_bits();
        out.push(bits as u32);
        out.push((bits >> 32) as u32);
    }
    fn get(words: &mut &[u32]) -> Option<f64> {
        let low = u64::from(u32::get(words)?);
        let high = u64::from(u32::get(words)?);
        Some(f64::from_bits(low | high << 32))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u32>) {
        self.is_some().put(out);
        if let Some(v) = self {
            v.put(out);
        }
    }
    fn get(words: &mut &[u32]) -> Option<Option<T>> {
        match bool::get(words)? {
            true => T::get(words).map(Some),
            false => Some(None),
        }
    }
}

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    fn put(&self, out: &mut Vec<u32>) {
        self.iter().for_each(|v| v.put(out));
    }
    fn get(words: &mut &[u32]) -> Option<[T; N]> {
        let mut all = [T::default(); N];
        for v in &mut all {
            *v = T::get(words)?;
        }
        Some(all)
    }
}

/// Declares a struct whose fields go into a stream in their order.
macro_rules! wire {
    ($($(#[$sdoc:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$sdoc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub struct $name { $($(#[$doc])* pub $field: $ty,)* }
        impl crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u32>) {
                $(self.$field.put(out);)*
            }
            fn get(words: &mut &[u32]) -> Option<$name> {
                Some($name { $($field: crate::wire::Wire::get(words)?,)* })
            }
        }
    )*};
}
pub(crate) use wire;
