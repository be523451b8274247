//! A compiled model: its entry and its descriptor.

use crate::Error;
use core::ffi::c_void;
use onnxc_abi::{Context, Descriptor};

/// The entry as generated Rust modules declare it: `PREFIX_run`.
pub type Entry = unsafe extern "C" fn(*const c_void) -> i32;

/// A compiled model. Cheap to copy; holds no state.
#[derive(Clone, Copy)]
pub struct Model {
    entry: Entry,
    descriptor: Descriptor<'static>,
}

impl Model {
    /// A model from its entry and its descriptor: what `model()` of the generated Rust module gives.
    ///
    /// # Safety
    /// Both come from the same object that onnxc compiled, linked or loaded for as long as the model is used.
    pub unsafe fn new(entry: Entry, descriptor: &'static [u8]) -> Result<Model, Error> {
        let descriptor = Descriptor::parse(descriptor).ok_or(Error::BadDescriptor)?;
        Ok(Model { entry, descriptor })
    }

    /// The same where only the descriptor's address is known.
    ///
    /// # Safety
    /// As for [`Model::new`]; `descriptor` is `PREFIX_descriptor`.
    pub unsafe fn from_raw(entry: Entry, descriptor: *const u8) -> Result<Model, Error> {
        if descriptor.is_null() {
            return Err(Error::BadDescriptor);
        }
        // SAFETY: the caller vouches for a descriptor, and every descriptor begins with these bytes.
        let head = unsafe { core::slice::from_raw_parts(descriptor, 16) };
        let total = Descriptor::total_size_of(head).ok_or(Error::BadDescriptor)?;
        // SAFETY: it says how long it is.
        unsafe { Model::new(entry, core::slice::from_raw_parts(descriptor, total)) }
    }

    /// What the model says about itself.
    pub fn descriptor(&self) -> Descriptor<'static> {
        self.descriptor
    }

    /// Runs it.
    ///
    /// # Safety
    /// All that the context points to is alive, as large as the descriptor says, and does not overlap where the ABI
    /// forbids it.
    pub unsafe fn run(&self, ctx: &Context) -> Result<(), Error> {
        // SAFETY: handed on to the caller.
        Error::check(unsafe { (self.entry)((&raw const *ctx).cast()) })
    }
}
