//! A driver without a device: it does what a script says, in a time that only it moves on. And a caller that behaves as generated code does.
//!
//! Its region computes `y[i] = 3 * x[i] + 1` for two outputs, the second from back to front. While it owns buffers it watches that nobody else writes them.

use onnxc_runtime::abi::npu::{self, NpuBackend, NpuBuf, NpuCaps, NpuStatus};
use onnxc_runtime::abi::region::{IN, NPU_ABI, OUT, REQUIRED, RawRegion, golden_next};
use onnxc_runtime::abi::{Context, OffloadTable, status};
use onnxc_runtime::offload::pack::{Pack, Packed, port};
use onnxc_runtime::offload::{Driver, Regions, Settings};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a port.
pub const N: usize = 100;
/// Time-out of the region, and the drain time that tests ask for.
pub const TIMEOUT: i64 = 1_000;
pub const DRAIN: i64 = 5_000;

/// What happens to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Right,
    Error,
    Lost,
    Silent,
    /// Writes the first half of each output and says it is done.
    Half,
    /// Writes the first output only.
    One,
    Wrong,
    /// Never ends; can be cancelled or not.
    Hang(bool),
    /// Ends right after so much time; can't be cancelled.
    Late(i64),
    /// Does not even begin.
    Busy,
    SubmitLost,
}

pub struct Job {
    act: Act,
    end: i64,
    model: usize,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
}

#[derive(Default)]
pub struct State {
    pub script: Vec<Act>,
    pub done: usize,
    pub jobs: Vec<Option<Job>>,
    pub models: Vec<Option<[Box<[std::cell::UnsafeCell<u8>]>; 3]>>,
    pub put: usize,
    pub got: usize,
    pub query: NpuStatus,
    pub load: NpuStatus,
    pub target: &'static str,
    pub abi: u32,
}

pub struct Scripted {
    pub state: Mutex<State>,
    pub clock: &'static AtomicI64,
    driver: std::sync::OnceLock<Driver>,
}

// SAFETY: all is behind the lock; buffers are used by who owns them.
unsafe impl Sync for Scripted {}
// SAFETY: as before.
unsafe impl Send for Scripted {}

thread_local! {
    static CLOCK: std::cell::Cell<&'static AtomicI64> = std::cell::Cell::new(Box::leak(Box::new(AtomicI64::new(1))));
}

/// The time of this test.
pub unsafe extern "C" fn clock(_user: *mut c_void) -> i64 {
    CLOCK.get().load(Ordering::Relaxed)
}

impl Scripted {
    /// This thread has the driver's time from now on.
    pub fn same_time(&self) {
        CLOCK.set(self.clock);
    }
}

/// Lets time pass.
pub fn pass(ns: i64) {
    CLOCK.get().fetch_add(ns, Ordering::Relaxed);
}

pub fn twin(x: &[u8]) -> [Vec<u8>; 2] {
    let a: Vec<u8> = x
        .iter()
        .map(|v| v.wrapping_mul(3).wrapping_add(1))
        .collect();
    let b = a.iter().rev().copied().collect();
    [a, b]
}

pub fn golden() -> Vec<u8> {
    let mut state = 5;
    let x: Vec<u8> = (0..N)
        .map(|_| {
            state = golden_next(state);
            (state >> 24) as u8
        })
        .collect();
    twin(&x).concat()
}

pub fn packed(required: bool, self_test: bool) -> Packed {
    let ports = [
        port(IN, 2, &[N as u32]),
        port(OUT, 2, &[N as u32]),
        port(OUT, 2, &[N as u32]),
    ];
    let golden = golden();
    Packed::new(&Pack {
        backend: "scripted",
        target: "toy-1",
        ports: &ports,
        num_inputs: 1,
        cmd: b"commands",
        cst: &[1, 2, 3],
        golden_out: self_test.then_some(&golden[..]),
        golden_seed: 5,
        timeout_ns: TIMEOUT as u64,
        flags: if required { REQUIRED } else { 0 },
    })
}

impl Scripted {
    pub fn new(script: &[Act]) -> Arc<Scripted> {
        let s = Arc::new(Scripted {
            state: Mutex::new(State {
                script: script.to_vec(),
                target: "toy-1",
                abi: NPU_ABI,
                ..State::default()
            }),
            clock: CLOCK.get(),
            driver: std::sync::OnceLock::new(),
        });
        let table = table(Arc::as_ptr(&s).cast_mut().cast());
        // SAFETY: the functions keep the contract; what is counted stays where it is.
        let _ = s.driver.set(unsafe { Driver::new(table) });
        s
    }
    pub fn driver(&self) -> &Driver {
        self.driver.get().unwrap()
    }
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn open<'a>(&'a self, p: &'a Packed, settings: Settings) -> Regions<'a> {
        let settings = Settings {
            clock: Some(clock),
            drain: Some(std::time::Duration::from_nanos(DRAIN as u64)),
            ..settings
        };
        // SAFETY: the region outlives what is returned.
        unsafe { Regions::of(p.region().into_iter(), &[self.driver()], settings) }
    }
    /// Everything was given back.
    pub fn clean(&self) {
        let s = self.state();
        assert!(
            s.models.iter().all(Option::is_none),
            "a model is still loaded"
        );
        assert_eq!(s.got, s.put, "buffers were not given back");
    }
}

pub fn table(this: *mut c_void) -> NpuBackend {
    NpuBackend {
        struct_size: size_of::<NpuBackend>() as u32,
        npu_abi: NPU_ABI,
        name: c"scripted".as_ptr(),
        self_: this,
        query: Some(query),
        load: Some(load),
        unload: Some(unload),
        buf_get: Some(buf_get),
        buf_put: Some(buf_put),
        sync: Some(sync),
        submit: Some(submit),
        wait: Some(wait),
        cancel: Some(cancel),
        event_fd: None,
    }
}

unsafe fn me<'a>(this: *mut c_void) -> &'a Scripted {
    // SAFETY: `self_` of the table.
    unsafe { &*this.cast::<Scripted>() }
}

unsafe extern "C" fn query(this: *mut c_void, out: *mut NpuCaps) -> NpuStatus {
    // SAFETY: handed on.
    let (s, out) = unsafe { (me(this).state(), &mut *out) };
    out.npu_abi = s.abi;
    out.target
        .iter_mut()
        .zip(s.target.bytes())
        .for_each(|(t, b)| *t = b);
    s.query
}

unsafe extern "C" fn load(
    this: *mut c_void,
    _r: *const RawRegion,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: handed on.
    let mut s = unsafe { me(this) }.state();
    if s.load != npu::OK {
        return s.load;
    }
    s.models.push(Some(
        [0; 3].map(|_| (0..N).map(|_| std::cell::UnsafeCell::new(0u8)).collect()),
    ));
    // SAFETY: handed on.
    unsafe { *out = std::ptr::without_provenance_mut(s.models.len()) };
    npu::OK
}

unsafe extern "C" fn unload(this: *mut c_void, model: *mut c_void) {
    // SAFETY: handed on.
    let mut s = unsafe { me(this) }.state();
    // A device that never let go keeps the memory: here it is only forgotten.
    let lost = s.jobs.iter().flatten().any(|j| j.model == model.addr());
    let memory = s.models[model.addr() - 1].take();
    if lost {
        std::mem::forget(memory);
    }
}

unsafe extern "C" fn buf_get(this: *mut c_void, model: *mut c_void, io: *mut NpuBuf) -> NpuStatus {
    // SAFETY: handed on.
    let (mut s, io) = unsafe { (me(this).state(), &mut *io) };
    s.got += 1;
    let buffers = s.models[model.addr() - 1].as_ref().unwrap();
    assert_eq!(io.bytes as usize, N);
    let buffer = &buffers[io.port as usize];
    io.host = std::cell::UnsafeCell::raw_get(buffer.as_ptr()).cast();
    npu::OK
}

unsafe extern "C" fn buf_put(this: *mut c_void, _model: *mut c_void, _buf: *mut NpuBuf) {
    // SAFETY: handed on.
    unsafe { me(this) }.state().put += 1;
}

unsafe extern "C" fn sync(_: *mut c_void, _: *const NpuBuf, _: u32) -> NpuStatus {
    npu::OK
}

impl State {
    fn read(&self, model: usize, port: usize) -> Vec<u8> {
        let b = self.models[model - 1].as_ref().unwrap();
        // SAFETY: the device owns it.
        b[port].iter().map(|c| unsafe { *c.get() }).collect()
    }
    fn write(&self, model: usize, port: usize, bytes: &[u8]) {
        let b = self.models[model - 1].as_ref().unwrap();
        // SAFETY: the device owns it.
        b[port]
            .iter()
            .zip(bytes)
            .for_each(|(c, v)| unsafe { *c.get() = *v });
    }
    /// The device does what it does at the end of a job, and looks whether anybody touched what it owned.
    fn end(&mut self, k: usize) -> NpuStatus {
        let job = self.jobs[k].take().unwrap();
        assert_eq!(
            self.read(job.model, 0),
            job.inputs,
            "inputs were written while the device had them"
        );
        let outputs = [self.read(job.model, 1), self.read(job.model, 2)].concat();
        assert_eq!(
            outputs, job.outputs,
            "outputs were written while the device had them"
        );
        let [a, b] = twin(&job.inputs);
        match job.act {
            Act::Error => return npu::DEVICE,
            Act::Lost => return npu::LOST,
            Act::Silent => {}
            Act::Half => {
                self.write(job.model, 1, &a[..N / 2]);
                self.write(job.model, 2, &b[..N / 2]);
            }
            Act::One => self.write(job.model, 1, &a),
            Act::Wrong => {
                let mut a = a;
                a[N / 2] ^= 4;
                self.write(job.model, 1, &a);
                self.write(job.model, 2, &b);
            }
            _ => {
                self.write(job.model, 1, &a);
                self.write(job.model, 2, &b);
            }
        }
        npu::OK
    }
}

unsafe extern "C" fn submit(
    this: *mut c_void,
    model: *mut c_void,
    bufs: *const NpuBuf,
    n: u32,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: handed on.
    let (me, mut s) = unsafe { (me(this), me(this).state()) };
    assert_eq!(n, 3);
    // SAFETY: as many.
    assert!((0..3).all(|i| unsafe { (*bufs.add(i)).port } == i as u32));
    let act = s.script.get(s.done).copied().unwrap_or(Act::Right);
    s.done += 1;
    match act {
        Act::Busy => return npu::BUSY,
        Act::SubmitLost => return npu::LOST,
        _ => {}
    }
    let now = me.clock.load(Ordering::Relaxed);
    let end = match act {
        Act::Hang(_) => i64::MAX,
        Act::Late(t) => now + t,
        _ => now + 10,
    };
    let model = model.addr();
    let inputs = s.read(model, 0);
    let outputs = [s.read(model, 1), s.read(model, 2)].concat();
    s.jobs.push(Some(Job {
        act,
        end,
        model,
        inputs,
        outputs,
    }));
    // SAFETY: handed on.
    unsafe { *out = std::ptr::without_provenance_mut(s.jobs.len()) };
    npu::OK
}

unsafe extern "C" fn wait(this: *mut c_void, job: *mut c_void, deadline: i64) -> NpuStatus {
    // SAFETY: handed on.
    let (me, mut s) = unsafe { (me(this), me(this).state()) };
    let k = job.addr() - 1;
    let end = s.jobs[k].as_ref().expect("a job ends once").end;
    let now = me.clock.load(Ordering::Relaxed);
    if end <= now.max(deadline) {
        me.clock.store(now.max(end), Ordering::Relaxed);
        return s.end(k);
    }
    me.clock.store(now.max(deadline), Ordering::Relaxed);
    npu::PENDING
}

unsafe extern "C" fn cancel(this: *mut c_void, job: *mut c_void) -> NpuStatus {
    // SAFETY: handed on.
    let mut s = unsafe { me(this) }.state();
    let k = job.addr() - 1;
    match s.jobs[k]
        .as_ref()
        .expect("a job that ended is not cancelled")
        .act
    {
        Act::Hang(true) => {
            s.jobs[k] = None;
            npu::OK
        }
        _ => npu::UNSUPPORTED,
    }
}

/// What generated code does for region 0. Answers the status of a run, and the outputs.
pub fn model(
    tables: &[*const OffloadTable],
    ctx: &Context,
    x: &[u8],
    required: bool,
) -> (i32, [Vec<u8>; 2]) {
    let mut out = [vec![0u8; N], vec![0u8; N]];
    let ins = [x.as_ptr().cast::<c_void>()];
    let [a, b] = &mut out;
    let outs = [
        a.as_mut_ptr().cast::<c_void>(),
        b.as_mut_ptr().cast::<c_void>(),
    ];
    let table = tables.first().copied().unwrap_or(std::ptr::null());
    let mut answer = status::OFFLOAD_ABSENT;
    if !table.is_null() {
        // SAFETY: an open slot's table, and the region's pointers.
        answer = unsafe { ((*table).run.unwrap())(table, ctx, 0, ins.as_ptr(), outs.as_ptr()) };
    }
    if answer == status::OK || required {
        return (answer, out);
    }
    for (o, t) in outs.iter().zip(twin(x)) {
        // SAFETY: as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(t.as_ptr(), o.cast(), N) };
    }
    let done = match table.is_null() {
        true => None,
        // SAFETY: as before.
        false => unsafe { (*table).twin_done },
    };
    if let Some(done) = done {
        // SAFETY: as before.
        unsafe { done(table, ctx, 0, outs.as_ptr()) };
    }
    (status::OK, out)
}

/// An input that no other run has.
pub fn input(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..N)
        .map(|_| {
            state = golden_next(state);
            (state >> 24) as u8
        })
        .collect()
}
