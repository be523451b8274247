//! Running a model over borrowed memory, without unsafe code in the caller.
//!
//! A session borrows an arena and as many inputs and outputs as the model has, checks each buffer's type and size against
//! the descriptor, and runs any number of times. It allocates nothing. The borrow checker sees to it that outputs overlap
//! nothing.

use crate::{Element, Error, Model, Weights};
use core::ffi::c_void;
use core::marker::PhantomData;
use onnxc_abi::context::{Context, ParallelBody, ParallelFor};
use onnxc_abi::reader::{Descriptor, Port};
use onnxc_abi::status;

/// Spreads the iterations of a loop over threads.
pub trait Parallel {
    /// Calls `body` so that disjoint ranges cover `0..count` exactly once, and returns when all have ended: 0, or the status
    /// of the lowest range that failed. Must not unwind.
    ///
    /// # Safety
    /// `body` may be called with `arg` and ranges within `0..count` until this returns, from any thread.
    unsafe fn run(&self, body: ParallelBody, arg: *mut c_void, count: i64) -> i32;
}

#[cfg(feature = "alloc")]
impl<P: Parallel + ?Sized> Parallel for alloc::sync::Arc<P> {
    unsafe fn run(&self, body: ParallelBody, arg: *mut c_void, count: i64) -> i32 {
        // SAFETY: handed on.
        unsafe { (**self).run(body, arg, count) }
    }
}

/// Is told of the layers as they run, on the thread that runs the model.
pub trait Tracer {
    /// Layer number `layer` of the descriptor begins (or ends). Must not unwind.
    fn layer(&self, layer: u32, begin: bool);
}

/// A model with `I` inputs and `O` outputs over borrowed memory.
pub struct Session<'a, const I: usize, const O: usize> {
    model: Model,
    context: Context,
    inputs: [*const c_void; I],
    outputs: [*mut c_void; O],
    input_bytes: [u64; I],
    output_bytes: [u64; O],
    dims: &'a [i64],
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a, const I: usize, const O: usize> Session<'a, I, O> {
    /// A session over an arena of at least `arena_size` bytes, aligned as the descriptor says.
    pub fn new(model: Model, arena: &'a mut [u8]) -> Result<Self, Error> {
        let d = model.descriptor();
        if (d.num_inputs() as usize, d.num_outputs() as usize) != (I, O) {
            return Err(Error::Status(status::BAD_COUNT));
        }
        if (arena.len() as u64) < d.arena_size() {
            return Err(Error::Status(status::ARENA_TOO_SMALL));
        }
        if !aligned(arena.as_ptr().cast(), d.arena_align() as usize) {
            return Err(Error::Status(status::MISALIGNED));
        }
        let context = Context {
            arena: arena.as_mut_ptr().cast(),
            arena_size: arena.len() as u64,
            num_inputs: d.num_inputs(),
            num_outputs: d.num_outputs(),
            cpu_level: crate::cpu::level(),
            ..Context::EMPTY
        };
        Ok(Session {
            model,
            context,
            inputs: [core::ptr::null(); I],
            outputs: [core::ptr::null_mut(); O],
            input_bytes: [0; I],
            output_bytes: [0; O],
            dims: &[],
            borrowed: PhantomData,
        })
    }

    /// Gives input `i`.
    pub fn input<T: Element>(mut self, i: u32, data: &'a [T]) -> Result<Self, Error> {
        let port = self
            .model
            .descriptor()
            .input(i)
            .ok_or(Error::NoSuchPort(i))?;
        check_type::<T>(i, port)?;
        let slot = self
            .inputs
            .get_mut(i as usize)
            .zip(self.input_bytes.get_mut(i as usize));
        let (pointer, bytes) = slot.ok_or(Error::NoSuchPort(i))?;
        *pointer = data.as_ptr().cast();
        *bytes = size_of_val(data) as u64;
        Ok(self)
    }

    /// Gives the memory of output `i`: as large as its largest shape, if it depends on more than the `dims`.
    pub fn output<T: Element>(mut self, i: u32, data: &'a mut [T]) -> Result<Self, Error> {
        let port = self
            .model
            .descriptor()
            .output(i)
            .ok_or(Error::NoSuchPort(i))?;
        check_type::<T>(i, port)?;
        let slot = self
            .outputs
            .get_mut(i as usize)
            .zip(self.output_bytes.get_mut(i as usize));
        let (pointer, bytes) = slot.ok_or(Error::NoSuchPort(i))?;
        *pointer = data.as_mut_ptr().cast();
        *bytes = size_of_val(data) as u64;
        Ok(self)
    }

    /// States the free sizes, in the order of the descriptor.
    pub fn dims(mut self, dims: &'a [i64]) -> Result<Self, Error> {
        let d = self.model.descriptor();
        check_dims(&d, dims)?;
        self.dims = dims;
        self.context.dims = dims.as_ptr();
        self.context.num_dims = d.num_free_symbols();
        Ok(self)
    }

    /// Asks for the outputs' sizes, one output after the other.
    pub fn out_dims(mut self, sizes: &'a mut [i64]) -> Result<Self, Error> {
        let n = self.model.descriptor().num_out_dims();
        if sizes.len() != n as usize {
            return Err(Error::Status(status::BAD_COUNT));
        }
        self.context.out_dims = sizes.as_mut_ptr();
        self.context.num_out_dims = n;
        Ok(self)
    }

    /// Gives weights from a file.
    pub fn weights(mut self, weights: Weights<'a>) -> Result<Self, Error> {
        weights.fits(&self.model.descriptor())?;
        self.context.weights = weights.data().as_ptr().cast();
        self.context.weights_size = weights.data().len() as u64;
        Ok(self)
    }

    /// Spreads work over threads. Results don't depend on it.
    pub fn parallel<P: Parallel>(mut self, threads: &'a P) -> Self {
        spread_over(&mut self.context, threads);
        self
    }

    /// Tells `tracer` of the layers.
    pub fn trace<T: Tracer>(mut self, tracer: &'a T) -> Self {
        unsafe extern "C" fn call<T: Tracer>(user: *mut c_void, layer: u32, begin: u32) {
            // SAFETY: `user` is the reference below, which the session keeps borrowed.
            unsafe { (*user.cast_const().cast::<T>()).layer(layer, begin != 0) }
        }
        self.context.trace = Some(call::<T>);
        self.context.trace_user = (&raw const *tracer).cast_mut().cast();
        self
    }

    /// Leaves regions of the model to accelerators. Results don't depend on it.
    #[cfg(feature = "std")]
    pub fn offload(mut self, regions: &'a crate::offload::Regions<'a>) -> Self {
        self.context.offload = regions.tables().as_ptr();
        self.context.num_offload = regions.tables().len() as u32;
        self
    }

    /// Runs the model once. Outputs may be read when the session has ended: it keeps them borrowed.
    pub fn run(&mut self) -> Result<(), Error> {
        let d = self.model.descriptor();
        if self.dims.len() != d.num_free_symbols() as usize {
            return Err(Error::Status(status::BAD_COUNT));
        }
        for (i, (port, bytes)) in (0..).zip(d.inputs().zip(self.input_bytes)) {
            if bytes < port.bytes(self.dims) {
                return Err(Error::TooSmall(i));
            }
        }
        for (i, (port, bytes)) in (0..).zip(d.outputs().zip(self.output_bytes)) {
            if bytes < port.bytes(self.dims) {
                return Err(Error::TooSmall(i));
            }
        }
        if self.inputs.iter().any(|p| p.is_null()) || self.outputs.iter().any(|p| p.is_null()) {
            return Err(Error::Status(status::NULL_POINTER));
        }
        // The arrays live in the session, which may have moved since the last call.
        self.context.inputs = self.inputs.as_ptr();
        self.context.outputs = self.outputs.as_ptr();
        // SAFETY: everything in the context is borrowed for as long as the session lives, exclusively where it is written,
        // and was checked for type and size above and when it was given.
        unsafe { self.model.run(&self.context) }
    }
}

unsafe extern "C" fn spread<P: Parallel>(
    user: *mut c_void,
    body: ParallelBody,
    arg: *mut c_void,
    count: i64,
) -> i32 {
    // SAFETY: `user` is the `threads` of the functions below, borrowed for as long as the context is used; the model vouches for the rest.
    unsafe { (*user.cast_const().cast::<P>()).run(body, arg, count) }
}

// Lets a context spread its loops; `threads` must live as long as it is used.
pub(crate) fn spread_over<P: Parallel>(context: &mut Context, threads: &P) {
    context.parallel_for = Some(spread::<P>);
    context.parallel_user = (&raw const *threads).cast_mut().cast();
}

/// `parallel_for` and `parallel_user` of a context, as generated modules take them.
#[doc(hidden)]
pub fn parallel_words<P: Parallel>(threads: &P) -> [u64; 2] {
    let function: ParallelFor = spread::<P>;
    [
        (function as *const ()).expose_provenance() as u64,
        (&raw const *threads).expose_provenance() as u64,
    ]
}

// Whether free sizes are as many as the model has, each within its bounds.
pub(crate) fn check_dims(d: &Descriptor<'_>, dims: &[i64]) -> Result<(), Error> {
    if dims.len() != d.num_free_symbols() as usize {
        return Err(Error::Status(status::BAD_COUNT));
    }
    let inside = |(i, v): (u32, &i64)| d.symbol(i).is_some_and(|s| (s.lo..=s.hi).contains(v));
    match (0..).zip(dims).all(inside) {
        true => Ok(()),
        false => Err(Error::Status(status::BAD_DIM)),
    }
}

fn check_type<T: Element>(i: u32, port: Port<'_>) -> Result<(), Error> {
    if T::DTYPES.contains(&port.dtype()) {
        Ok(())
    } else {
        Err(Error::WrongType(i))
    }
}

pub(crate) fn aligned(p: *const c_void, align: usize) -> bool {
    p.addr().is_multiple_of(align.max(1))
}
