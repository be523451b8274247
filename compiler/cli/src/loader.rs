//! Runs compiled objects in this process: the one file of the tool that is allowed to be unsafe.
//!
//! A [`Model`] holds the code of an object that this compiler made for this machine; memory is first written, then made
//! executable or read-only, never both writable and executable. A [`Session`] holds the buffers of runs, of exactly the sizes
//! that the descriptor promises; on request each ends at a page that nobody may touch, so that the first byte beyond it faults.
//!
//! Objects from elsewhere must not be loaded: code is trusted to keep the contract of `onnxc-abi`.
#![allow(unsafe_code)]

use onnxc_abi::context::ParallelBody;
use onnxc_abi::{Context, Descriptor, ParallelFor, RunFn};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::codegen::link::Image;
use onnxc_compiler::target::Arch;
use onnxc_runtime::offload::{Driver, Regions, Settings};
use onnxc_runtime::pool::Pool;
use onnxc_runtime::session::Parallel;
use onnxc_sim::driver::Sim;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::Arc;

fn failed(what: &str, e: rustix::io::Errno) -> Box<Diagnostic> {
    Diagnostic::limit("ONNX006", format!("{what}: {e}"))
}

/// The architecture of this process, if code can be made for it.
pub fn host_arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::X86_64),
        "aarch64" => Some(Arch::Aarch64),
        _ => None,
    }
}

/// A private mapping of whole pages.
struct Pages {
    start: *mut u8,
    len: usize,
}

// SAFETY: a mapping belongs to its owner alone, like a box.
unsafe impl Send for Pages {}
// SAFETY: shared references only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// Zeroed pages that may be read and written, at least one.
    fn new(bytes: usize) -> Result<Pages> {
        let len = round_up(bytes.max(1))?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { mmap_anonymous(null_mut(), len, prot, MapFlags::PRIVATE) }
            .map_err(|e| failed(&format!("can't get {len} bytes of memory"), e))?;
        Ok(Pages {
            start: start.cast(),
            len,
        })
    }
    /// Changes what may be done with a range of whole pages.
    fn protect(&self, at: usize, len: usize, flags: MprotectFlags) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        debug_assert!(at + len <= self.len);
        // SAFETY: the range lies in this mapping, and no reference into it is held by anyone while `self` is set up.
        unsafe { mprotect(self.start.add(at).cast(), len, flags) }
            .map_err(|e| failed("can't protect memory", e))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

fn round_up(bytes: usize) -> Result<usize> {
    bytes
        .checked_next_multiple_of(rustix::param::page_size())
        .ok_or_else(|| Diagnostic::limit("ONNX006", "more memory than there are addresses"))
}

/// A buffer in pages of its own.
pub struct Buffer {
    pages: Pages,
    offset: usize,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes at a multiple of `align`. With `guard`, pages before and behind can't be touched, and the buffer
    /// begins where the one before ends (`front`), or lies as close to the one behind as `align` allows.
    pub fn new(len: usize, align: usize, guard: bool, front: bool) -> Result<Buffer> {
        if !guard {
            let pages = Pages::new(len)?;
            return Ok(Buffer {
                pages,
                offset: 0,
                len,
            });
        }
        let page = rustix::param::page_size();
        let inner = round_up(len)?;
        let pages = Pages::new(inner.saturating_add(2 * page))?;
        pages.protect(0, page, MprotectFlags::empty())?;
        pages.protect(page + inner, page, MprotectFlags::empty())?;
        let room = if front { 0 } else { inner - len };
        let offset = page + room / align.max(1) * align.max(1);
        Ok(Buffer { pages, offset, len })
    }
    fn ptr(&self) -> *mut u8 {
        // SAFETY: the offset lies in the mapping.
        unsafe { self.pages.start.add(self.offset) }
    }
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: offset and length lie in the mapping, which is readable there and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len) }
    }
    /// Its bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(), self.len) }
    }
}

/// A compiled model in memory, ready to run.
pub struct Model {
    _code: Pages,
    run: RunFn,
    descriptor: Vec<u8>,
    /// Where the descriptor lies in the code.
    placed: usize,
}

/// Regions of a model, opened with their drivers.
pub struct Opened {
    // Dropped first: it refers to the others.
    regions: Regions<'static>,
    _model: Arc<Model>,
    _devices: Vec<Arc<Sim>>,
}

impl Opened {
    /// The regions.
    pub fn regions(&self) -> &Regions<'static> {
        &self.regions
    }
}

impl Model {
    /// Loads an object that this compiler made, with symbols that begin with `prefix`.
    pub fn load(object: &[u8], prefix: &str) -> Result<Model> {
        let page = rustix::param::page_size();
        let image = Image::new(object, page)?;
        if !host_arch().is_some_and(|a| image.is_for(a)) {
            return Err(Diagnostic::usage(
                "USE003",
                format!(
                    "this machine ({}) can't run the object",
                    std::env::consts::ARCH
                ),
            ));
        }
        let missing = || Diagnostic::internal(format!("the object has no {prefix}_run"));
        let (run, _) = image.symbol(&format!("{prefix}_run")).ok_or_else(missing)?;
        let (at, size) = image
            .symbol(&format!("{prefix}_descriptor"))
            .ok_or_else(missing)?;
        let code = Pages::new(image.size())?;
        // SAFETY: the mapping was just made, has this length, and nobody else knows of it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(code.start, code.len) };
        image.write(code.start as u64, &mut bytes[..image.size()])?;
        let descriptor = bytes.get(at..at + size).ok_or_else(missing)?.to_vec();
        if Descriptor::parse(&descriptor).is_none() {
            return Err(Diagnostic::internal("the object's descriptor is damaged"));
        }
        let exec = image.exec();
        flush_instructions(code.start, exec.end);
        code.protect(0, exec.end, MprotectFlags::READ | MprotectFlags::EXEC)?;
        code.protect(exec.end, code.len - exec.end, MprotectFlags::READ)?;
        // SAFETY: the symbol is a function of this type in code that is executable now and lives as long as the model.
        let run = unsafe { std::mem::transmute::<*const u8, RunFn>(code.start.add(run)) };
        Ok(Model {
            _code: code,
            run,
            descriptor,
            placed: at,
        })
    }
    /// What the model says of itself.
    pub fn descriptor(&self) -> Descriptor<'_> {
        // It was checked when it was loaded.
        Descriptor::parse(&self.descriptor).unwrap_or_else(|| unreachable!("checked by load"))
    }
    /// Opens the regions that accelerators compute, each with the driver that it names.
    pub fn open(self: &Arc<Model>, devices: Vec<Arc<Sim>>, settings: Settings) -> Opened {
        let len = self.descriptor.len();
        // SAFETY: the descriptor lies there in the mapping, which is readable and is not written any more.
        let bytes = unsafe { std::slice::from_raw_parts(self._code.start.add(self.placed), len) };
        let descriptor = Descriptor::parse(bytes);
        let list = descriptor.iter().flat_map(Descriptor::regions);
        let drivers: Vec<&'static Driver> = (devices.iter())
            // SAFETY: what is returned holds the devices, behind the regions.
            .map(|d| unsafe { &*std::ptr::from_ref(d.driver()) })
            .collect();
        // SAFETY: the object aligns its descriptor to 16, the mapping begins at a page, and what is returned holds the model.
        let regions = unsafe { Regions::of(list, &drivers, settings) };
        Opened {
            regions,
            _model: self.clone(),
            _devices: devices,
        }
    }
    /// What it answers to no context at all.
    pub fn run_null(&self) -> i32 {
        // SAFETY: the entry checks for null before anything else.
        unsafe { (self.run)(std::ptr::null()) }
    }
    /// Buffers to run it with.
    pub fn session<'m>(&'m self, options: &SessionOptions<'m>) -> Result<Session<'m>> {
        Session::new(self, options, options.offload)
    }
    /// The same, which keep the model. Threads of `parallel` must outlive them.
    pub fn keep(
        self: &Arc<Model>,
        weights: Option<&[u8]>,
        parallel: Option<(ParallelFor, usize)>,
    ) -> Result<Session<'static>> {
        let options = SessionOptions {
            weights,
            parallel,
            ..SessionOptions::default()
        };
        let session = Session::new(self, &options, None)?;
        Ok(Session {
            _model: Some(self.clone()),
            ..session
        })
    }
}

// Makes new code visible to instruction fetch; x86 does so by itself.
#[cfg(target_arch = "aarch64")]
fn flush_instructions(start: *mut u8, len: usize) {
    unsafe extern "C" {
        fn __clear_cache(begin: *mut c_void, end: *mut c_void);
    }
    // SAFETY: the range is mapped; the function, of the compiler's runtime, changes no data.
    unsafe { __clear_cache(start.cast(), start.add(len).cast()) }
}
#[cfg(not(target_arch = "aarch64"))]
fn flush_instructions(_: *mut u8, _: usize) {}

/// How a session is set up.
#[derive(Clone, Copy, Default)]
pub struct SessionOptions<'a> {
    /// Put pages that can't be touched around every buffer.
    pub guard: bool,
    /// Let guarded buffers begin at a page that can't be touched, rather than end at one.
    pub front: bool,
    /// Weights, for models that have none in the object.
    pub weights: Option<&'a [u8]>,
    /// Spreads loops over threads, with its first argument.
    pub parallel: Option<(ParallelFor, usize)>,
    /// Regions that accelerators compute.
    pub offload: Option<&'a Opened>,
}

/// What a trace hook is told: a layer begins or has ended.
pub struct Event<'a> {
    /// Number of the layer in the descriptor.
    pub layer: u32,
    /// Whether it begins.
    pub begin: bool,
    /// The arena at this moment.
    pub arena: &'a [u8],
    /// The outputs at this moment.
    pub outputs: &'a [&'a [u8]],
}

/// The buffers of runs of a model.
pub struct Session<'m> {
    run: RunFn,
    stack_bytes: u64,
    _model: Option<Arc<Model>>,
    arena: Buffer,
    weights: Option<Buffer>,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    dims: Vec<i64>,
    out_dims: Vec<i64>,
    parallel: Option<(ParallelFor, usize)>,
    offload: Option<&'m Opened>,
    _not_sync: PhantomData<(&'m Model, *mut ())>,
}

impl<'m> Session<'m> {
    fn new(
        model: &Model,
        options: &SessionOptions,
        offload: Option<&'m Opened>,
    ) -> Result<Session<'m>> {
        let d = model.descriptor();
        let buffer = |len: u64, align: usize| {
            let len = usize::try_from(len).map_err(|_| {
                Diagnostic::limit(
                    "ONNX006",
                    format!("{len} bytes are too many for this machine"),
                )
            })?;
            Buffer::new(len, align, options.guard, options.front)
        };
        let weights = match options.weights {
            Some(w) => {
                let mut b = buffer(w.len() as u64, d.weights_align() as usize)?;
                b.bytes_mut().copy_from_slice(w);
                Some(b)
            }
            None => None,
        };
        let ports = |list: &mut dyn Iterator<Item = onnxc_abi::reader::Port>| {
            list.map(|p| buffer(p.max_bytes(), p.align()))
                .collect::<Result<Vec<_>>>()
        };
        let free = d.num_free_symbols();
        let dims = (0..free)
            .filter_map(|i| d.symbol(i))
            .map(|s| s.hi)
            .collect();
        Ok(Session {
            arena: buffer(d.arena_size(), d.arena_align() as usize)?,
            weights,
            inputs: ports(&mut d.inputs())?,
            outputs: ports(&mut d.outputs())?,
            dims,
            out_dims: vec![0; d.num_out_dims() as usize],
            parallel: options.parallel,
            offload,
            run: model.run,
            stack_bytes: d.stack_bytes(),
            _model: None,
            _not_sync: PhantomData,
        })
    }
    /// States the free sizes, in the descriptor's order. They begin as the largest.
    pub fn set_dims(&mut self, dims: &[i64]) {
        self.dims = dims.to_vec();
    }
    /// Input `i`, as large as it may be; the first bytes are what a smaller one uses.
    pub fn input_mut(&mut self, i: usize) -> Option<&mut [u8]> {
        self.inputs.get_mut(i).map(Buffer::bytes_mut)
    }
    /// Output `i`, as large as it may be.
    pub fn output(&self, i: usize) -> Option<&[u8]> {
        self.outputs.get(i).map(Buffer::bytes)
    }
    /// Output `i`, to be filled before a run.
    pub fn output_mut(&mut self, i: usize) -> Option<&mut [u8]> {
        self.outputs.get_mut(i).map(Buffer::bytes_mut)
    }
    /// The sizes of all outputs after a run, one output after the other.
    pub fn out_dims(&self) -> &[i64] {
        &self.out_dims
    }
    /// The arena, to be filled before a run: its contents must not matter.
    pub fn arena_mut(&mut self) -> &mut [u8] {
        self.arena.bytes_mut()
    }
    // Calls `f` with a context for these buffers.
    fn with_context<R>(&mut self, f: impl FnOnce(RunFn, &mut Context) -> R) -> R {
        let inputs: Vec<*const c_void> = self
            .inputs
            .iter()
            .map(|b| b.ptr() as *const c_void)
            .collect();
        let outputs: Vec<*mut c_void> = self.outputs.iter().map(|b| b.ptr().cast()).collect();
        let mut ctx = Context {
            arena: self.arena.ptr().cast(),
            arena_size: self.arena.len as u64,
            inputs: inputs.as_ptr(),
            outputs: outputs.as_ptr(),
            num_inputs: inputs.len() as u32,
            num_outputs: outputs.len() as u32,
            dims: self.dims.as_ptr(),
            num_dims: self.dims.len() as u32,
            out_dims: self.out_dims.as_mut_ptr(),
            num_out_dims: self.out_dims.len() as u32,
            ..Context::EMPTY
        };
        if let Some(w) = &self.weights {
            ctx.weights = w.ptr() as *const c_void;
            ctx.weights_size = w.len as u64;
        }
        if let Some((f, user)) = self.parallel {
            ctx.parallel_for = Some(f);
            ctx.parallel_user = user as *mut c_void;
        }
        if let Some(o) = self.offload {
            let tables = o.regions.tables();
            ctx.offload = tables.as_ptr();
            ctx.num_offload = tables.len() as u32;
        }
        f(self.run, &mut ctx)
    }
    /// Runs the model; the answer is a status.
    pub fn run(&mut self) -> i32 {
        // SAFETY: the context describes live buffers of the sizes that the model's descriptor states.
        self.with_context(|run, ctx| unsafe { run(ctx) })
    }
    /// Runs the model so often, or until a status that is not 0: for times too short for a clock.
    pub fn run_times(&mut self, times: u32) -> i32 {
        self.with_context(|run, ctx| {
            for _ in 0..times {
                // SAFETY: as in `run`.
                let status = unsafe { run(ctx) };
                if status != onnxc_abi::status::OK {
                    return status;
                }
            }
            onnxc_abi::status::OK
        })
    }
    /// Runs the model and calls `hook(layer, begin)` before and after each layer, with nothing else in between.
    pub fn run_clocked(&mut self, hook: &mut dyn FnMut(u32, bool)) -> i32 {
        let mut hook = hook;
        self.with_context(|run, ctx| {
            ctx.trace = Some(on_clock);
            ctx.trace_user = (&raw mut hook).cast();
            // SAFETY: as in `run`; the hook outlives the call.
            unsafe { run(ctx) }
        })
    }
    /// Runs the model with a context that `change` has spoiled: for testing that the model refuses it. What `change` sets must
    /// be null, misaligned, or describe memory of the session.
    pub fn run_changed(&mut self, change: &mut dyn FnMut(&mut Context)) -> i32 {
        self.with_context(|run, ctx| {
            change(ctx);
            // SAFETY: as in `run`, by what is asked of `change`.
            unsafe { run(ctx) }
        })
    }
    /// Both at once: `change` may set what a caller chooses, `hook(layer, begin)` is called before and after each layer.
    pub fn run_with(
        &mut self,
        change: &mut dyn FnMut(&mut Context),
        hook: &mut dyn FnMut(u32, bool),
    ) -> i32 {
        let mut hook = hook;
        self.with_context(|run, ctx| {
            change(ctx);
            ctx.trace = Some(on_clock);
            ctx.trace_user = (&raw mut hook).cast();
            // SAFETY: as in `run_changed` and `run_clocked`.
            unsafe { run(ctx) }
        })
    }
    /// Runs the model and calls `hook` before and after each layer.
    pub fn run_traced(&mut self, hook: &mut dyn FnMut(Event)) -> i32 {
        let arena = (self.arena.ptr() as *const u8, self.arena.len);
        let outputs = self.outputs.iter();
        let outputs = outputs.map(|b| (b.ptr() as *const u8, b.len)).collect();
        let mut tracer = Tracer {
            hook,
            arena,
            outputs,
        };
        self.with_context(|run, ctx| {
            ctx.trace = Some(on_trace);
            ctx.trace_user = (&raw mut tracer).cast();
            // SAFETY: as in `run`; the tracer outlives the call.
            unsafe { run(ctx) }
        })
    }
    /// Runs the model on a stack of its own and says how many bytes of it were written.
    pub fn run_measured(&mut self) -> Result<(i32, u64)> {
        let room = usize::try_from(self.stack_bytes).unwrap_or(usize::MAX);
        let mut stack = Buffer::new(round_up(room.saturating_add(1 << 16))?, 64, true, false)?;
        stack.bytes_mut().fill(PAINT);
        let top = stack.bytes_mut().as_mut_ptr_range().end;
        // SAFETY: as in `run`; the stack is larger than what the model says it needs, and bounded by pages that fault.
        let status = self.with_context(|run, ctx| unsafe { call_on_stack(run, ctx, top) });
        let untouched = stack.bytes().iter().take_while(|b| **b == PAINT).count();
        Ok((status, (stack.len - untouched) as u64))
    }
}

const PAINT: u8 = 0xa7;

struct Tracer<'a> {
    hook: &'a mut dyn FnMut(Event),
    arena: (*const u8, usize),
    outputs: Vec<(*const u8, usize)>,
}

unsafe extern "C" fn on_trace(user: *mut c_void, layer: u32, begin: u32) {
    // SAFETY: `user` is the tracer that `run_traced` holds on its stack during the run, and nobody else uses it.
    let t = unsafe { &mut *user.cast::<Tracer>() };
    // SAFETY: the buffers outlive the run; the model waits for this function, so nobody writes to them meanwhile.
    let view = |(p, n): (*const u8, usize)| unsafe { std::slice::from_raw_parts(p, n) };
    let outputs: Vec<&[u8]> = t.outputs.iter().map(|b| view(*b)).collect();
    (t.hook)(Event {
        layer,
        begin: begin != 0,
        arena: view(t.arena),
        outputs: &outputs,
    });
}

unsafe extern "C" fn on_clock(user: *mut c_void, layer: u32, begin: u32) {
    // SAFETY: `user` is the hook that `run_clocked` borrows during the run, and nobody else uses it.
    let hook = unsafe { &mut *user.cast::<&mut dyn FnMut(u32, bool)>() };
    hook(layer, begin != 0);
}

// Calls `run(ctx)` with the stack pointer at `top`, a multiple of 16.
#[cfg(target_arch = "x86_64")]
unsafe fn call_on_stack(run: RunFn, ctx: *const Context, top: *mut u8) -> i32 {
    let status: i32;
    // SAFETY: the caller gives a stack that is large enough; r12 survives the call by the calling convention.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {run}",
            "mov rsp, r12",
            top = in(reg) top,
            run = in(reg) run,
            in("rdi") ctx,
            lateout("eax") status,
            out("r12") _,
            clobber_abi("sysv64"),
        );
    }
    status
}
#[cfg(target_arch = "aarch64")]
unsafe fn call_on_stack(run: RunFn, ctx: *const Context, top: *mut u8) -> i32 {
    let status: i32;
    // SAFETY: the caller gives a stack that is large enough; x20 survives the call by the calling convention.
    unsafe {
        std::arch::asm!(
            "mov x20, sp",
            "mov sp, {top}",
            "blr {run}",
            "mov sp, x20",
            top = in(reg) top,
            run = in(reg) run,
            inlateout("x0") ctx => status,
            out("x20") _,
            clobber_abi("C"),
        );
    }
    status
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call_on_stack(run: RunFn, ctx: *const Context, _: *mut u8) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { run(ctx) }
}

/// Threads that loops of a model can be spread over.
pub struct Threads(Box<Pool>);

impl Threads {
    /// So many threads, the one that runs the model included.
    pub fn new(threads: usize) -> Result<Threads> {
        let pool = Pool::new(threads).map_err(|e| {
            Diagnostic::limit("ONNX006", format!("can't start {threads} threads: {e}"))
        })?;
        Ok(Threads(Box::new(pool)))
    }
    /// For [`SessionOptions::parallel`]; the threads must outlive the session.
    pub fn hook(&self) -> (ParallelFor, usize) {
        (on_parallel, &raw const *self.0 as usize)
    }
}

unsafe extern "C" fn on_parallel(
    user: *mut c_void,
    body: ParallelBody,
    arg: *mut c_void,
    count: i64,
) -> i32 {
    // SAFETY: `user` is the pool of `Threads::hook`, which outlives the session; `body` and `arg` are the model's.
    unsafe { (*user.cast::<Pool>()).run(body, arg, count) }
}

/// A file's contents, mapped. As with every mapping, the file must not be changed while it is in use.
pub fn map_file(file: &std::fs::File) -> std::io::Result<bytes::Bytes> {
    // SAFETY: a private, read-only mapping; a program that cuts the file short meanwhile ends this one, as it would end any
    // compiler that maps its input.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
    Ok(bytes::Bytes::from_owner(map))
}
