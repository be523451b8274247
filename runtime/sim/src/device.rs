//! The device process: takes regions and jobs from its socket, computes in a thread of its own, and errs as its options say.
//!
//! It holds commands, constants and working memory itself; of the shared memory it reads inputs when a job begins and writes outputs when it ends.
//! It ends when the driver's side of the socket is closed.

use crate::cycles::Machine;
use crate::execute::{Memory, execute};
use crate::faults::{Fault, Options};
use crate::format::Program;
use crate::link::{CANCEL, HELLO, LOAD, SUBMIT, UNLOAD, receive, reply, send};
use crate::shared::{Places, Shared};
use onnxc_abi::npu;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The argument after which a program is the device.
pub const SUBCOMMAND: &str = "npu-sim-device";

/// Runs the device over standard input, which is its socket, until the driver lets go of it.
pub fn main(options: &str) -> ExitCode {
    let options = match Options::parse(options) {
        Ok(o) => o,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    serve(socket, options);
    ExitCode::SUCCESS
}

/// A region in the device.
struct Loaded {
    program: Program,
    cst: Vec<u8>,
    shared: Shared,
    places: Places,
}

#[derive(Default)]
struct State {
    models: HashMap<u64, Arc<Loaded>>,
    queue: VecDeque<(u64, Arc<Loaded>)>,
    /// The job under way, and whether it may be stopped.
    running: Option<(u64, bool)>,
    /// It was.
    stopped: bool,
    over: bool,
}

struct Device {
    socket: OwnedFd,
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
}

impl Device {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn answer(&self, to: u64, status: i32) {
        // A driver that is gone needs no answer.
        let _ = send(&self.socket, &reply(to, status), None);
    }
}

/// Serves a driver until it is gone. Faults of kind `Lost` end the process.
pub fn serve(socket: OwnedFd, options: Options) {
    let device = Arc::new(Device {
        socket,
        options,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let worker = Arc::clone(&device);
    let worker = std::thread::spawn(move || work(&worker));
    while let Some((message, fd)) = receive(&device.socket) {
        let [kind, id, a, b, ..] = message;
        match kind {
            HELLO => device.answer(id, npu::OK),
            LOAD => {
                let loaded = fd.and_then(|fd| load(&device, &fd, b));
                let status = match loaded {
                    Some(l) => {
                        device.state().models.insert(a, Arc::new(l));
                        npu::OK
                    }
                    None => npu::INVAL,
                };
                device.answer(id, status);
            }
            UNLOAD => {
                device.state().models.remove(&a);
            }
            SUBMIT => {
                let mut state = device.state();
                match state.models.get(&a).cloned() {
                    Some(m) => state.queue.push_back((id, m)),
                    None => device.answer(id, npu::INVAL),
                }
                device.changed.notify_all();
            }
            CANCEL => {
                let status = cancel(&device, a);
                device.answer(id, status);
            }
            _ => {}
        }
    }
    device.state().over = true;
    device.changed.notify_all();
    let _ = worker.join();
}

fn load(device: &Device, fd: &OwnedFd, bytes: u64) -> Option<Loaded> {
    let shared = Shared::map(fd, usize::try_from(bytes).ok()?)?;
    let places = Places::read(&shared)?;
    let program = Program::decode(&shared.read(places.cmd.0, places.cmd.1)?).ok()?;
    let cst = shared.read(places.cst.0, places.cst.1)?;
    let fits = program.ports.len() == places.ports.len()
        && (program.ports.iter().zip(&places.ports)).all(|(p, at)| p.bytes as usize <= at.1);
    let good = fits && !device.options.refuse && crate::check::check(&program, cst.len()).is_ok();
    good.then_some(Loaded {
        program,
        cst,
        shared,
        places,
    })
}

/// Takes a job out of the queue, or stops the one under way if that can be.
fn cancel(device: &Device, job: u64) -> i32 {
    let mut state = device.state();
    let before = state.queue.len();
    state.queue.retain(|q| q.0 != job);
    if state.queue.len() < before {
        return npu::OK;
    }
    match state.running {
        Some((id, true)) if id == job => {
            state.stopped = true;
            device.changed.notify_all();
            npu::OK
        }
        _ => npu::BUSY,
    }
}

fn work(device: &Device) {
    for n in 0u64.. {
        let mut state = device.state();
        let (id, model) = loop {
            if state.over {
                return;
            }
            if let Some(job) = state.queue.pop_front() {
                break job;
            }
            state = device
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        let fault = device.options.fault(n);
        state.running = Some((id, fault == Fault::Hang));
        state.stopped = false;
        drop(state);
        job(device, id, &model, fault);
        let mut state = device.state();
        state.running = None;
    }
}

fn job(device: &Device, id: u64, model: &Loaded, fault: Fault) {
    let o = &device.options;
    match fault {
        Fault::Lost => std::process::exit(0),
        Fault::Hang | Fault::Stuck => {
            let state = device.state();
            let wait = |s: &mut State| !s.over && !s.stopped;
            let _end = device
                .changed
                .wait_while(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
            return;
        }
        _ => {}
    }
    let mut ports: Vec<Vec<u8>> = (model.places.ports.iter())
        .map(|p| model.shared.read(p.0, p.1).unwrap_or_default())
        .collect();
    let mut arena = vec![0; model.program.arena_bytes as usize];
    let mut memory = Memory {
        cst: &model.cst,
        arena: &mut arena,
        ports: &mut ports,
    };
    let done = execute(&model.program, &mut memory);
    let mut time = Duration::from_micros(o.latency_us);
    match fault {
        Fault::Slow => time += Duration::from_millis(o.slow_ms),
        Fault::Late => time += Duration::from_millis(o.late_ms),
        _ => {}
    }
    std::thread::sleep(time);
    if done.is_err() {
        return device.answer(id, npu::DEVICE);
    }
    let outputs =
        || (0..ports.len()).filter(|&i| model.program.ports.get(i).is_some_and(|p| p.out));
    match fault {
        Fault::Silent => {}
        Fault::Error => {
            for i in outputs() {
                let half = &ports[i][..ports[i].len() / 2];
                let garbage: Vec<u8> = half.iter().map(|b| !b).collect();
                model.shared.write(model.places.ports[i].0, &garbage);
            }
            return device.answer(id, npu::DEVICE);
        }
        _ => {
            for i in outputs() {
                let mut bytes = ports[i].clone();
                let middle = bytes.len() / 2;
                if let Some(b) = bytes.get_mut(middle).filter(|_| fault == Fault::Wrong) {
                    *b ^= 1;
                }
                model.shared.write(model.places.ports[i].0, &bytes);
            }
        }
    }
    device.answer(id, npu::OK);
}

/// What a machine says about itself, as a driver's capabilities have it.
pub(crate) fn target(options: &Options) -> String {
    Machine::by_name(&options.machine)
        .map(Machine::target)
        .unwrap_or_default()
}
