//! A model that owns the memory of its runs: for programs with an allocator.
//!
//! It takes its inputs as slices or arrays and keeps its outputs until the next run. Where shapes come with the inputs, free sizes are
//! read off them.

use crate::offload::{Driver, Regions, Settings};
use crate::session::{aligned, check_dims};
use crate::{Element, Error, Model, Parallel};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;
use onnxc_abi::context::Context;
use onnxc_abi::reader::Port;
use onnxc_abi::status;

/// A driver that is shared: whatever has a [`Driver`] inside.
pub type SharedDriver = Arc<dyn AsRef<Driver> + Send + Sync>;

/// A model with an arena and outputs of its own.
pub struct OwnedModel {
    model: Model,
    arena: Memory,
    outputs: Vec<Memory>,
    dims: Vec<i64>,
    sizes: Vec<i64>,
    threads: Option<Arc<dyn Parallel + Send + Sync>>,
    // Before the drivers that it calls when it is dropped.
    regions: Option<Regions<'static>>,
    drivers: Vec<SharedDriver>,
    #[cfg(feature = "std")]
    weights: Option<crate::weights::WeightsFile>,
}

/// What an input is given.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    data: *const c_void,
    bytes: u64,
    dtypes: &'static [u32],
    shape: Option<&'a [usize]>,
    borrowed: PhantomData<&'a [u8]>,
}

/// The outputs of a run, until the next.
#[derive(Clone, Copy)]
pub struct Outputs<'m> {
    of: &'m OwnedModel,
}

impl OwnedModel {
    /// A model whose weights are in its object. Allocates the arena, and each output at its largest shape.
    pub fn new(model: Model) -> Result<OwnedModel, Error> {
        let d = model.descriptor();
        let arena = Memory::new(d.arena_size(), d.arena_align() as usize)?;
        let outputs = d.outputs().map(|p| Memory::new(p.max_bytes(), 64));
        Ok(OwnedModel {
            model,
            arena,
            outputs: outputs.collect::<Result<_, _>>()?,
            dims: match d.num_free_symbols() {
                0 => vec![],
                n => vec![-1; n as usize],
            },
            sizes: vec![0; d.num_out_dims() as usize],
            threads: None,
            regions: None,
            drivers: vec![],
            #[cfg(feature = "std")]
            weights: None,
        })
    }

    /// A model whose weights are in a file.
    #[cfg(feature = "std")]
    pub fn with_weights(
        model: Model,
        weights: crate::weights::WeightsFile,
    ) -> Result<OwnedModel, Error> {
        weights.weights()?.fits(&model.descriptor())?;
        let mut owned = OwnedModel::new(model)?;
        owned.weights = Some(weights);
        Ok(owned)
    }

    /// Spreads work over threads, which several models may share. Results don't depend on it.
    pub fn parallel(mut self, threads: Arc<dyn Parallel + Send + Sync>) -> OwnedModel {
        self.threads = Some(threads);
        self
    }

    /// Leaves the regions that were cut out for accelerators to these drivers, each to the one that it names. Results don't depend on it: what
    /// can't be opened, and what a device gets wrong, the CPU computes; [`OwnedModel::regions`] tells.
    pub fn offload(mut self, drivers: &[&'static Driver], settings: Settings) -> OwnedModel {
        self.regions = Some(Regions::open(&self.model, drivers, settings));
        self.drivers.clear();
        self
    }

    /// The same with drivers that live as long as the last model that shares them.
    pub fn offload_shared(mut self, drivers: &[SharedDriver], settings: Settings) -> OwnedModel {
        // What was open before is closed while its drivers live.
        self.regions = None;
        self.drivers = drivers.to_vec();
        let held = self.drivers.iter().map(|d| {
            let driver: &Driver = (**d).as_ref();
            // SAFETY: what an `Arc` holds neither moves nor is lent exclusively while this model has it, and the model keeps it until after its
            // regions are closed; nothing that the model gives out refers to a driver.
            unsafe { &*core::ptr::from_ref(driver) }
        });
        let held: Vec<&'static Driver> = held.collect();
        self.regions = Some(Regions::open(&self.model, &held, settings));
        self
    }

    /// The regions and what became of their runs, after [`OwnedModel::offload`].
    pub fn regions(&self) -> Option<&Regions<'_>> {
        self.regions.as_ref()
    }

    /// States the free sizes, in the order of the descriptor, for the runs to come. Arrays as inputs state them too.
    pub fn set_dims(&mut self, dims: &[i64]) -> Result<(), Error> {
        check_dims(&self.model.descriptor(), dims)?;
        self.dims.copy_from_slice(dims);
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> Model {
        self.model
    }

    /// Runs the model once: an input for each of the model's, in its order.
    pub fn run(&mut self, inputs: &[Input<'_>]) -> Result<Outputs<'_>, Error> {
        let d = self.model.descriptor();
        if inputs.len() != d.num_inputs() as usize {
            return Err(Error::Status(status::BAD_COUNT));
        }
        let mut read = vec![None; self.dims.len()];
        for ((i, input), port) in (0..).zip(inputs).zip(d.inputs()) {
            if !input.dtypes.contains(&port.dtype()) {
                return Err(Error::WrongType(i));
            }
            let Some(shape) = input.shape else { continue };
            read_off(port, shape, &mut read).ok_or(Error::WrongShape(i))?;
        }
        let known = read.iter().zip(&self.dims);
        let dims: Vec<i64> = known.map(|(new, old)| new.unwrap_or(*old)).collect();
        check_dims(&d, &dims)?;
        for ((i, input), port) in (0..).zip(inputs).zip(d.inputs()) {
            if input.bytes < port.bytes(&dims) {
                return Err(Error::TooSmall(i));
            }
        }
        self.dims = dims;
        let pointers: Vec<*const c_void> = inputs.iter().map(|i| i.data).collect();
        let outputs: Vec<*mut c_void> = self.outputs.iter().map(|m| m.at.as_ptr().cast()).collect();
        let mut ctx = Context {
            arena: self.arena.at.as_ptr().cast(),
            arena_size: self.arena.layout.size() as u64,
            inputs: pointers.as_ptr(),
            outputs: outputs.as_ptr(),
            num_inputs: d.num_inputs(),
            num_outputs: d.num_outputs(),
            num_dims: d.num_free_symbols(),
            num_out_dims: d.num_out_dims(),
            cpu_level: crate::cpu::level(),
            ..Context::EMPTY
        };
        if !self.dims.is_empty() {
            ctx.dims = self.dims.as_ptr();
        }
        if !self.sizes.is_empty() {
            ctx.out_dims = self.sizes.as_mut_ptr();
        }
        if let Some(threads) = &self.threads {
            crate::session::spread_over(&mut ctx, threads);
        }
        if let Some(regions) = &self.regions {
            ctx.offload = regions.tables().as_ptr();
            ctx.num_offload = u32::try_from(regions.tables().len()).unwrap_or(0);
        }
        #[cfg(feature = "std")]
        if let Some(file) = &self.weights {
            let weights = file.weights()?;
            ctx.weights = weights.data().as_ptr().cast();
            ctx.weights_size = weights.data().len() as u64;
        }
        // SAFETY: inputs are borrowed until the call returns and were checked for type and size; all else is this model's own, made as
        // large and as aligned as the descriptor says.
        unsafe { self.model.run(&ctx)? };
        Ok(Outputs { of: self })
    }
}

// What a shape says of the free sizes; `None` if it contradicts the port or an input before it.
fn read_off(port: Port<'_>, shape: &[usize], read: &mut [Option<i64>]) -> Option<()> {
    if shape.len() != port.rank() as usize {
        return None;
    }
    for (dim, n) in port.dims().zip(shape) {
        let n = i64::try_from(*n).ok()?;
        match dim.symbol.and_then(|s| read.get_mut(s as usize)) {
            Some(known) if known.is_none() => *known = Some(n),
            Some(known) if *known != Some(n) => return None,
            Some(_) => {}
            None if dim.expr.is_empty() && dim.size != n => return None,
            None => {}
        }
    }
    Some(())
}

impl<'m> Outputs<'m> {
    /// The shape of output `i`.
    pub fn shape(&self, i: u32) -> Result<&'m [i64], Error> {
        let d = self.of.model.descriptor();
        let rank = d.output(i).ok_or(Error::NoSuchPort(i))?.rank() as usize;
        let before = d.outputs().take(i as usize).map(|p| p.rank() as usize);
        let begin: usize = before.sum();
        let shape = self.of.sizes.get(begin..begin + rank);
        shape.ok_or(Error::NoSuchPort(i))
    }

    /// The elements of output `i`, in row-major order.
    pub fn get<T: Element>(&self, i: u32) -> Result<&'m [T], Error> {
        let d = self.of.model.descriptor();
        let port = d.output(i).ok_or(Error::NoSuchPort(i))?;
        if !T::DTYPES.contains(&port.dtype()) {
            return Err(Error::WrongType(i));
        }
        let sizes = self.shape(i)?.iter();
        let count = sizes.fold(1usize, |n, s| {
            n.saturating_mul(usize::try_from(*s).unwrap_or(0))
        });
        let memory = self
            .of
            .outputs
            .get(i as usize)
            .ok_or(Error::NoSuchPort(i))?;
        if count.saturating_mul(size_of::<T>()) > memory.layout.size() {
            return Err(Error::TooSmall(i));
        }
        // SAFETY: the memory is that large, aligned to 64 bytes, and initialized; all bit patterns are values of T.
        Ok(unsafe { core::slice::from_raw_parts(memory.at.as_ptr().cast::<T>(), count) })
    }

    /// Output `i` as a view of an array.
    #[cfg(feature = "ndarray")]
    pub fn array<T: Element>(&self, i: u32) -> Result<ndarray::ArrayViewD<'m, T>, Error> {
        let sizes = self.shape(i)?.iter();
        let shape: Vec<usize> = sizes.map(|s| usize::try_from(*s).unwrap_or(0)).collect();
        ndarray::ArrayViewD::from_shape(shape, self.get(i)?).map_err(|_| Error::WrongShape(i))
    }
}

impl<'a, T: Element> From<&'a [T]> for Input<'a> {
    fn from(data: &'a [T]) -> Input<'a> {
        Input {
            data: data.as_ptr().cast(),
            bytes: size_of_val(data) as u64,
            dtypes: T::DTYPES,
            shape: None,
            borrowed: PhantomData,
        }
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Input<'a> {
    fn from(data: &'a [T; N]) -> Input<'a> {
        data.as_slice().into()
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for Input<'a> {
    fn from(data: &'a Vec<T>) -> Input<'a> {
        data.as_slice().into()
    }
}

impl<'a> Input<'a> {
    /// Elements in row-major order, with their shape.
    pub fn shaped<T: Element>(data: &'a [T], shape: &'a [usize]) -> Result<Input<'a>, Error> {
        let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        if count != Some(data.len()) {
            return Err(Error::NotContiguous);
        }
        Ok(Input {
            shape: Some(shape),
            ..data.into()
        })
    }

    /// An array in row-major order without gaps.
    #[cfg(feature = "ndarray")]
    pub fn array<T, S, D>(array: &'a ndarray::ArrayBase<S, D, T>) -> Result<Input<'a>, Error>
    where
        T: Element,
        S: ndarray::Data<Elem = T>,
        D: ndarray::Dimension,
    {
        let data = array.as_slice().ok_or(Error::NotContiguous)?;
        Input::shaped(data, array.shape())
    }
}

// Zeroed memory.
struct Memory {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory that only its owner refers to.
unsafe impl Send for Memory {}
// SAFETY: it is written through an exclusive reference to its owner alone.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: u64, align: usize) -> Result<Memory, Error> {
        // Never of no bytes: the allocator refuses those.
        let bytes = usize::try_from(bytes.max(1)).map_err(|_| Error::OutOfMemory)?;
        let layout = Layout::from_size_align(bytes, align).map_err(|_| Error::OutOfMemory)?;
        // SAFETY: the size is not 0.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory)?;
        debug_assert!(aligned(at.as_ptr().cast(), align));
        Ok(Memory { at, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}
