//! What can go wrong: a status of the ABI, or something that the runtime found before a run.

use onnxc_abi::status;

/// Why something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The model answered this status code.
    Status(i32),
    /// The bytes are no descriptor of this version of the ABI.
    BadDescriptor,
    /// There is no input or output of this number.
    NoSuchPort(u32),
    /// The element type of a buffer is not that of the input or output.
    WrongType(u32),
    /// The buffer of an input or output is too small for the sizes stated.
    TooSmall(u32),
    /// The shape of an input or output is not one that the model has.
    WrongShape(u32),
    /// The elements of an array are not in row-major order without gaps, or not as many as its shape says.
    NotContiguous,
    /// There is no memory for the arena or an output.
    OutOfMemory,
    /// The bytes are no picture that can be read.
    BadPicture,
    /// The bytes are no weights file, or one of another version.
    NotWeights,
    /// The file's weights are laid out for another model.
    OtherLayout,
    /// The weights are damaged: their digest is not the one in their header.
    Damaged,
    /// A file could not be read.
    #[cfg(feature = "std")]
    Io(std::io::ErrorKind),
}

impl Error {
    /// A status as a result.
    pub fn check(status: i32) -> Result<(), Error> {
        if status == status::OK {
            Ok(())
        } else {
            Err(Error::Status(status))
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Status(code) => write!(f, "{} (status {code})", onnxc_abi::status_text(*code)),
            Error::BadDescriptor => f.write_str("not a model descriptor of this ABI version"),
            Error::NoSuchPort(i) => write!(f, "the model has no input or output {i}"),
            Error::WrongType(i) => write!(
                f,
                "the buffer of input or output {i} has another element type"
            ),
            Error::TooSmall(i) => write!(f, "the buffer of input or output {i} is too small"),
            Error::WrongShape(i) => write!(f, "input or output {i} has another shape"),
            Error::NotContiguous => f.write_str("the array is not contiguous in row-major order"),
            Error::OutOfMemory => f.write_str("there is not enough memory"),
            Error::BadPicture => f.write_str("the picture can't be read"),
            Error::NotWeights => f.write_str("not a weights file of this ABI version"),
            Error::OtherLayout => {
                f.write_str("the weights file belongs to another model or target")
            }
            Error::Damaged => f.write_str("the weights are damaged"),
            #[cfg(feature = "std")]
            Error::Io(kind) => write!(f, "the file can't be read: {kind}"),
        }
    }
}

impl core::error::Error for Error {}
