//! Status codes: what `PREFIX_run` answers.
//!
//! 0 is success. Codes are never renumbered. After a code other than 0 the contents of the outputs are unspecified, and
//! nothing outside the buffers of the context was touched.

/// A row of the table of codes.
#[derive(Clone, Copy, Debug)]
pub struct StatusInfo {
    /// The code.
    pub code: i32,
    /// Its name, in C with `ONNXC_` before it.
    pub name: &'static str,
    /// One line for a person.
    pub text: &'static str,
}

macro_rules! statuses {
    ($($name:ident = $code:literal $text:literal;)*) => {
        $(#[doc = $text] pub const $name: i32 = $code;)*
        /// Every code with its name and text, in order.
        pub const ALL: &[StatusInfo] = &[$(StatusInfo { code: $code, name: stringify!($name), text: $text }),*];
    };
}

statuses! {
    OK = 0 "success";
    NULL_POINTER = 1 "the context, the arena, an input or an output is null, or the weights are null and not in the object";
    BAD_VERSION = 2 "abi_version or struct_size of the context is not one this model was compiled for";
    ARENA_TOO_SMALL = 3 "arena_size is smaller than the model needs";
    MISALIGNED = 4 "the arena, the weights, an input or an output is not aligned as the descriptor says";
    WEIGHTS_MISMATCH = 5 "the weights given are not of the size or layout of this model";
    BAD_COUNT = 6 "num_inputs, num_outputs, num_dims or num_out_dims is not the model's";
    BAD_DIM = 7 "a value in dims is outside the bounds the model was compiled for";
    DATA_OUT_OF_RANGE = 8 "an index or a size that was computed from the input data is out of range";
    LIMIT = 9 "a loop or a data-dependent size passed its limit";
    UNSUPPORTED = 10 "the run reached a part of the model that could not be compiled";
    SHAPE_MISMATCH = 11 "sizes that were free when the model was compiled do not fit together where a tensor gets another shape";
    OFFLOAD_ABSENT = 32 "a region that must run on an accelerator found none";
    OFFLOAD_REFUSED = 33 "the accelerator refused the compiled region";
    OFFLOAD_TIMEOUT = 34 "the accelerator did not answer in time";
    OFFLOAD_DEVICE = 35 "the accelerator reported an error";
    OFFLOAD_LOST = 36 "the accelerator is lost";
    OFFLOAD_BUSY = 37 "the accelerator is busy, or still owns its buffers";
    OFFLOAD_SHADOW = 38 "the accelerator's outputs wait for those of the CPU, to be compared; no run ends with it";
}

/// One line for a person; `"unknown status"` for a code that is not in the table.
pub const fn status_text(code: i32) -> &'static str {
    let mut i = 0;
    while i < ALL.len() {
        if ALL[i].code == code {
            return ALL[i].text;
        }
        i += 1;
    }
    "unknown status"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_have_texts() {
        for (i, a) in ALL.iter().enumerate() {
            assert_eq!(status_text(a.code), a.text);
            assert!(ALL[..i].iter().all(|b| b.code < a.code));
        }
        assert_eq!(status_text(-1), "unknown status");
    }
}
