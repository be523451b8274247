//! The driver: a table of functions over the device process, which it starts when it is first asked.
//!
//! One socket serves all models; whoever waits reads it and leaves what is others' in a table. A device that is gone is started anew by the next
//! `query`. Memory of a model is the driver's own mapping: a device that is not done with it has another, so letting go is always safe.
#![allow(unsafe_code)]

use crate::device::{SUBCOMMAND, target};
use crate::faults::Options;
use crate::link::{CANCEL, HELLO, LOAD, SUBMIT, UNLOAD, receive, send, status};
use crate::shared::{Places, Shared};
use onnxc_abi::npu::{self, NpuBackend, NpuBuf, NpuCaps, NpuStatus};
use onnxc_abi::region::{NPU_ABI, RawRegion};
use onnxc_runtime::offload::{Driver, monotonic, parts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a device may take to start or to answer what is not a job, in nanoseconds.
const PATIENCE: i64 = 10_000_000_000;

/// How to start the device process.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program; none: this one.
    pub path: Option<PathBuf>,
    /// Arguments in front of the options.
    pub args: Vec<String>,
}

impl Default for Program {
    /// This program with the hidden subcommand.
    fn default() -> Program {
        Program {
            path: None,
            args: vec![SUBCOMMAND.into()],
        }
    }
}

/// A device process and the line to it.
struct Link {
    socket: OwnedFd,
    child: Mutex<Child>,
    replies: Mutex<HashMap<u64, NpuStatus>>,
    dead: AtomicBool,
    next: AtomicU64,
}

impl Drop for Link {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may hang on purpose.
        let _ = child.kill();
        let _ = child.wait();
    }
}

struct Inner {
    options: Options,
    program: Program,
    link: Mutex<Option<Arc<Link>>>,
    started: AtomicU64,
    next: AtomicU64,
    jobs: Mutex<HashMap<u64, Job>>,
}

/// The simulated accelerator. It outlives what was opened with its [`Sim::driver`].
pub struct Sim {
    driver: Driver,
    // Not a box: moving one would end what was made of its address.
    inner: Arc<Inner>,
}

struct Model {
    link: Arc<Link>,
    id: u64,
    shared: Shared,
    places: Places,
}

/// A job under way. Drivers' callers know it by its number.
struct Job {
    link: Arc<Link>,
    model: u64,
}

impl Sim {
    /// A device with these options, which starts when it is first needed.
    pub fn new(options: Options, program: Program) -> Sim {
        let inner = Arc::new(Inner {
            options,
            program,
            link: Mutex::new(None),
            started: AtomicU64::new(0),
            next: AtomicU64::new(1 << 32),
            jobs: Mutex::default(),
        });
        let table = NpuBackend {
            struct_size: size_of::<NpuBackend>() as u32,
            npu_abi: NPU_ABI,
            name: c"sim".as_ptr(),
            self_: Arc::as_ptr(&inner).cast_mut().cast(),
            query: Some(query),
            load: Some(load),
            unload: Some(unload),
            buf_get: Some(buf_get),
            buf_put: Some(buf_put),
            sync: Some(sync),
            submit: Some(submit),
            wait: Some(wait),
            cancel: Some(cancel),
            event_fd: Some(event_fd),
        };
        // SAFETY: the functions below keep the contract; what `self_` points to lives beside the driver.
        let driver = unsafe { Driver::new(table) };
        Sim { driver, inner }
    }
    /// The driver.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }
    /// How many device processes were started so far.
    pub fn started(&self) -> u64 {
        self.inner.started.load(Ordering::Relaxed)
    }
    /// Process number of the device, if one runs.
    pub fn process(&self) -> Option<u32> {
        let link = locked(&self.inner.link);
        link.as_ref().map(|l| locked(&l.child).id())
    }
}

impl AsRef<Driver> for Sim {
    fn as_ref(&self) -> &Driver {
        &self.driver
    }
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    fn start(inner: &Inner) -> Option<Link> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .ok()?;
        let path = inner
            .program
            .path
            .clone()
            .or_else(|| std::env::current_exe().ok())?;
        let mut options = inner.options.clone();
        // Another process, other chances; a script is played once.
        let started = inner.started.fetch_add(1, Ordering::Relaxed);
        options.seed = options.seed.wrapping_add(started);
        if started > 0 {
            options.script.clear();
        }
        let child = Command::new(path)
            .args(&inner.program.args)
            .arg(options.text())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let link = Link {
            socket: ours,
            child: Mutex::new(child),
            replies: Mutex::default(),
            dead: AtomicBool::new(false),
            next: AtomicU64::new(1),
        };
        (link.ask(HELLO, 0, 0, None) == npu::OK).then_some(link)
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn tell(&self, kind: u64, id: u64, a: u64, b: u64, fd: Option<&OwnedFd>) -> NpuStatus {
        match send(&self.socket, &[kind, id, a, b, 0, 0], fd) {
            Ok(()) => npu::OK,
            Err(_) => {
                self.dead.store(true, Ordering::Relaxed);
                npu::LOST
            }
        }
    }

    /// Asks, and waits for the answer.
    fn ask(&self, kind: u64, a: u64, b: u64, fd: Option<&OwnedFd>) -> NpuStatus {
        let id = self.id();
        match self.tell(kind, id, a, b, fd) {
            npu::OK => match self.wait(id, monotonic(null_mut()).saturating_add(PATIENCE)) {
                npu::PENDING => npu::LOST,
                s => s,
            },
            s => s,
        }
    }

    /// Waits for the reply to `id`.
    fn wait(&self, id: u64, deadline: i64) -> NpuStatus {
        loop {
            if let Some(s) = locked(&self.replies).remove(&id) {
                return s;
            }
            if self.dead.load(Ordering::Relaxed) {
                return npu::LOST;
            }
            let left = deadline.saturating_sub(monotonic(null_mut())).max(0);
            // Another thread may read what this one waits for: look again now and then.
            let slice = left.min(2_000_000);
            let time = Timespec {
                tv_sec: 0,
                tv_nsec: slice as _,
            };
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            if poll(&mut fds, Some(&time)).is_ok_and(|n| n > 0) {
                self.read();
            } else if left == 0 {
                // What came between the look and now is the next call's.
                return npu::PENDING;
            }
        }
    }

    /// Takes a message that is there.
    fn read(&self) {
        let mut replies = locked(&self.replies);
        // Another thread may have taken it meanwhile.
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        if !poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0) {
            return;
        }
        match receive(&self.socket) {
            Some((m, _)) => {
                replies.insert(m[1], status(&m));
            }
            None => self.dead.store(true, Ordering::Relaxed),
        }
    }
}

unsafe fn inner<'a>(this: *mut c_void) -> &'a Inner {
    // SAFETY: `self_` of the table above.
    unsafe { &*this.cast_const().cast::<Inner>() }
}

unsafe extern "C" fn query(this: *mut c_void, out: *mut NpuCaps) -> NpuStatus {
    // SAFETY: handed on by the caller.
    let (inner, out) = unsafe { (inner(this), &mut *out) };
    if inner.options.absent {
        return npu::ABSENT;
    }
    let mut link = locked(&inner.link);
    let alive = link
        .as_ref()
        .is_some_and(|l| !l.dead.load(Ordering::Relaxed) && l.ask(HELLO, 0, 0, None) == npu::OK);
    if !alive {
        *link = Link::start(inner).map(Arc::new);
        if link.is_none() {
            return npu::ABSENT;
        }
    }
    out.npu_abi = NPU_ABI;
    out.buf_kinds = 1 << npu::BUF_DEVICE;
    out.caps = npu::CAN_CANCEL | npu::HAS_EVENT_FD;
    out.max_inflight = 8;
    out.align = 64;
    let target = target(&inner.options);
    let last = out.target.len() - 1;
    for (to, from) in out.target[..last].iter_mut().zip(target.bytes()) {
        *to = from;
    }
    npu::OK
}

unsafe extern "C" fn load(
    this: *mut c_void,
    region: *const RawRegion,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: handed on by the caller.
    let (inner, p) = unsafe { (inner(this), parts(region)) };
    if p.target != target(&inner.options) {
        return npu::TARGET;
    }
    let Some(link) = locked(&inner.link).clone() else {
        return npu::ABSENT;
    };
    let sizes: Vec<usize> = p.ports.iter().map(|p| p.bytes as usize).collect();
    let Some(places) = Places::of(p.cmd.len(), p.cst.len(), &sizes) else {
        return npu::NOMEM;
    };
    let Some((fd, shared)) = Shared::create(places.bytes) else {
        return npu::NOMEM;
    };
    shared.write(0, &places.head());
    shared.write(places.cmd.0, p.cmd);
    shared.write(places.cst.0, p.cst);
    let id = link.id();
    let status = link.ask(LOAD, id, places.bytes as u64, Some(&fd));
    if status == npu::OK {
        let model = Box::new(Model {
            link,
            id,
            shared,
            places,
        });
        // SAFETY: where the caller wants it.
        unsafe { *out = Box::into_raw(model).cast() };
    }
    status
}

unsafe extern "C" fn unload(this: *mut c_void, model: *mut c_void) {
    // SAFETY: what `load` gave, for the last time.
    let (inner, model) = unsafe { (inner(this), Box::from_raw(model.cast::<Model>())) };
    model.link.tell(UNLOAD, 0, model.id, 0, None);
    // Jobs that never ended.
    let mut replies = locked(&model.link.replies);
    locked(&inner.jobs).retain(|id, j| {
        let own = j.model == model.id && Arc::ptr_eq(&j.link, &model.link);
        if own {
            replies.remove(id);
        }
        !own
    });
}

unsafe extern "C" fn buf_get(_this: *mut c_void, model: *mut c_void, io: *mut NpuBuf) -> NpuStatus {
    // SAFETY: what `load` gave; where the caller wants it.
    let (model, io) = unsafe { (&*model.cast_const().cast::<Model>(), &mut *io) };
    let Some(&(at, _)) = model
        .places
        .ports
        .get(io.port as usize)
        .filter(|p| p.1 as u64 >= io.bytes)
    else {
        return npu::INVAL;
    };
    io.kind = npu::BUF_DEVICE;
    io.offset = at as u64;
    io.host = model.shared.address(at).cast();
    npu::OK
}

unsafe extern "C" fn buf_put(_this: *mut c_void, _model: *mut c_void, _buf: *mut NpuBuf) {}

/// Memory that processes share is coherent.
unsafe extern "C" fn sync(_this: *mut c_void, _buf: *const NpuBuf, _direction: u32) -> NpuStatus {
    npu::OK
}

/// The number of a job, where an address is asked for.
fn number(job: *mut c_void) -> u64 {
    job.addr() as u64
}

unsafe extern "C" fn submit(
    this: *mut c_void,
    model: *mut c_void,
    _bufs: *const NpuBuf,
    _n: u32,
    out: *mut *mut c_void,
) -> NpuStatus {
    // SAFETY: what `load` gave.
    let (inner, model) = unsafe { (inner(this), &*model.cast_const().cast::<Model>()) };
    let id = inner.next.fetch_add(1, Ordering::Relaxed);
    let job = Job {
        link: Arc::clone(&model.link),
        model: model.id,
    };
    locked(&inner.jobs).insert(id, job);
    let status = model.link.tell(SUBMIT, id, model.id, 0, None);
    if status == npu::OK {
        // SAFETY: where the caller wants it.
        unsafe { *out = std::ptr::without_provenance_mut(id as usize) };
    } else {
        locked(&inner.jobs).remove(&id);
    }
    status
}

impl Inner {
    fn line(&self, job: u64) -> Option<Arc<Link>> {
        locked(&self.jobs).get(&job).map(|j| Arc::clone(&j.link))
    }
}

unsafe extern "C" fn wait(this: *mut c_void, job: *mut c_void, deadline_ns: i64) -> NpuStatus {
    // SAFETY: `self_` of the table above.
    let (inner, id) = (unsafe { inner(this) }, number(job));
    let Some(link) = inner.line(id) else {
        return npu::INVAL;
    };
    let status = link.wait(id, deadline_ns);
    if status != npu::PENDING {
        locked(&inner.jobs).remove(&id);
    }
    status
}

unsafe extern "C" fn cancel(this: *mut c_void, job: *mut c_void) -> NpuStatus {
    // SAFETY: `self_` of the table above.
    let (inner, id) = (unsafe { inner(this) }, number(job));
    let Some(link) = inner.line(id) else {
        return npu::INVAL;
    };
    let status = link.ask(CANCEL, id, 0, None);
    if status == npu::OK {
        locked(&inner.jobs).remove(&id);
    }
    status
}

unsafe extern "C" fn event_fd(this: *mut c_void, job: *mut c_void) -> i32 {
    // SAFETY: `self_` of the table above.
    let line = unsafe { inner(this) }.line(number(job));
    line.map_or(-1, |l| l.socket.as_raw_fd())
}
