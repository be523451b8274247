//! A thread pool for models: it implements `parallel_for` of the ABI.
//!
//! Each loop is cut into as many even ranges as there are threads, at places that depend on nothing else. The caller is one
//! of the threads. Each thread does its own range, so that what it read is still near in the next loop; who is done takes ranges
//! that nobody has begun, so that a loop never waits for a thread that the system keeps off its CPU. Workers wait by spinning for a
//! short while, since a model's loops follow each other closely, and sleep after that. Running a loop allocates nothing. A loop that starts while the pool is busy (from another thread, or from
//! inside a loop) runs on its own thread.

use crate::session::Parallel;
use core::ffi::c_void;
use onnxc_abi::context::ParallelBody;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

// Bytes of a worker's stack that it touches before its first loop, so that no page of it is missing later.
const STACK: usize = 32 << 10;

// Turns of waiting before a thread sleeps: some tens of microseconds.
const SPINS: u32 = 4000;

/// Threads that stay alive between runs.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    // Counts jobs; workers wait for it to change. Odd values are not used for anything but being different.
    turn: AtomicUsize,
    // Ranges of the job that are not done.
    left: AtomicUsize,
    // For each range the turn in which it was begun last. In each turn each is begun once: who brings it from the turn before to this one does it.
    begun: Box<[AtomicUsize]>,
    // Workers that have started.
    ready: AtomicUsize,
    busy: AtomicBool,
    stop: AtomicBool,
    job: UnsafeCell<Job>,
    // One status for each range, written by who did it before it is counted off.
    statuses: Box<[AtomicI32]>,
    asleep: Box<[AtomicBool]>,
    threads: usize,
}

// SAFETY: `job` is written only by the thread that holds `busy`, while no range is being done (`left` is 0), and published by the
// change of `turn`; workers read it between beginning a range of that turn and counting it off.
unsafe impl Sync for Shared {}
// SAFETY: the job's pointers are used only while the caller waits inside `run`.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    body: ParallelBody,
    arg: *mut c_void,
    count: i64,
    caller: Option<*const Thread>,
}

unsafe extern "C" fn nothing(_: *mut c_void, _: i64, _: i64) -> i32 {
    0
}

impl Pool {
    /// A pool of `threads` threads, the calling one included; 0 means one for each CPU. All of them run when it returns. Fails if threads can't be
    /// made.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let shared = Arc::new(Shared {
            turn: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            begun: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
            ready: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(Job {
                body: nothing,
                arg: core::ptr::null_mut(),
                count: 0,
                caller: None,
            }),
            statuses: (0..threads).map(|_| AtomicI32::new(0)).collect(),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            threads,
        });
        let mut pool = Pool {
            shared,
            workers: Vec::with_capacity(threads.saturating_sub(1)),
        };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let maker = thread::current();
            // A failure drops the pool, which ends the threads made so far.
            pool.workers
                .push(thread::Builder::new().name("onnxc".into()).spawn(move || {
                    touch_stack();
                    shared.ready.fetch_add(1, Ordering::Release);
                    maker.unpark();
                    shared.work(i);
                })?);
        }
        while pool.shared.ready.load(Ordering::Acquire) + 1 < threads {
            thread::park();
        }
        Ok(pool)
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }
}

#[inline(never)]
fn touch_stack() {
    core::hint::black_box(&mut [0u8; STACK]);
}

impl Parallel for Pool {
    unsafe fn run(&self, body: ParallelBody, arg: *mut c_void, count: i64) -> i32 {
        let s = &*self.shared;
        if s.threads == 1 || count <= 1 || s.busy.swap(true, Ordering::Acquire) {
            // SAFETY: the whole range, once, on this thread.
            return unsafe { body(arg, 0, count.max(0)) };
        }
        let me = thread::current();
        // SAFETY: `busy` is ours and no worker is running, so nobody reads the job now.
        unsafe {
            *s.job.get() = Job {
                body,
                arg,
                count,
                caller: Some(&raw const me),
            }
        };
        s.left.store(s.threads, Ordering::Relaxed);
        // SeqCst orders it against the workers' `asleep` flags: either they see the turn, or they are seen asleep.
        let turn = s.turn.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        for (worker, asleep) in self.workers.iter().zip(s.asleep.iter().skip(1)) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        s.take_part(0, turn);
        let mut turns = 0;
        while s.left.load(Ordering::Acquire) != 0 {
            if turns < SPINS {
                turns += 1;
                core::hint::spin_loop();
            } else {
                // Who does the last range wakes us; a wake-up that came early only costs a turn.
                thread::park();
            }
        }
        let statuses = s.statuses.iter().map(|s| s.load(Ordering::Relaxed));
        let first = statuses.into_iter().find(|s| *s != 0).unwrap_or(0);
        s.busy.store(false, Ordering::Release);
        first
    }
}

impl Shared {
    // Range `i` of a loop.
    fn part(&self, i: usize, count: i64) -> (i64, i64) {
        let at = |i: usize| (i128::from(count) * i as i128 / self.threads as i128) as i64;
        (at(i), at(i + 1))
    }

    fn work(&self, i: usize) {
        let mut seen = 0;
        loop {
            self.wait(i, seen);
            // The turn first: that of the end, which has no job, is never seen without `stop`.
            seen = self.turn.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.take_part(i, seen);
        }
    }

    // Does what has not been begun of a turn's job, the range of thread `first` before others.
    fn take_part(&self, first: usize, turn: usize) {
        let others = (0..self.threads).filter(|i| *i != first);
        for i in std::iter::once(first).chain(others) {
            let (Some(begun), Some(status)) = (self.begun.get(i), self.statuses.get(i)) else {
                return;
            };
            let before = turn.wrapping_sub(1);
            if begun
                .compare_exchange(before, turn, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            // SAFETY: a range of this turn is ours, so the job stays until it is counted off.
            let job = unsafe { *self.job.get() };
            let (begin, end) = self.part(i, job.count);
            let answer = if begin < end {
                // SAFETY: the ranges are disjoint and cover the loop.
                unsafe { (job.body)(job.arg, begin, end) }
            } else {
                0
            };
            status.store(answer, Ordering::Relaxed);
            // The caller returns once all ranges are counted off, and its handle with it: copy before. It needs not wake itself.
            // SAFETY: the caller waits in `run` until the count below is 0.
            let caller = (job.caller.filter(|_| first != 0)).map(|t| unsafe { (*t).clone() });
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }

    // Until the turn is no longer `seen`, or the pool stops.
    fn wait(&self, i: usize, seen: usize) {
        for _ in 0..SPINS {
            if self.turn.load(Ordering::Acquire) != seen {
                return;
            }
            core::hint::spin_loop();
        }
        let asleep = self.asleep.get(i);
        if let Some(a) = asleep {
            a.store(true, Ordering::SeqCst);
        }
        while self.turn.load(Ordering::SeqCst) == seen {
            thread::park();
        }
        if let Some(a) = asleep {
            a.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.turn.fetch_add(1, Ordering::SeqCst);
        for w in self.workers.drain(..) {
            w.thread().unpark();
            // A worker ends without unwinding: generated code can't panic.
            let _ = w.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    // Counts visits of each iteration; fails at iterations from the number in slot 0 on, with the iteration as the status.
    unsafe extern "C" fn visit(arg: *mut c_void, begin: i64, end: i64) -> i32 {
        // SAFETY: the tests hand in this type.
        let (fail_from, seen) = unsafe { &*arg.cast::<(i64, Vec<AtomicU32>)>() };
        for i in begin..end {
            seen[i as usize].fetch_add(1, Ordering::Relaxed);
            if i >= *fail_from {
                return i as i32;
            }
        }
        0
    }

    fn run(pool: &Pool, n: usize, fail_from: i64) -> (i32, Vec<u32>) {
        let mut arg = (
            fail_from,
            (0..n).map(|_| AtomicU32::new(0)).collect::<Vec<_>>(),
        );
        // SAFETY: the argument outlives the call.
        let status = unsafe { pool.run(visit, (&raw mut arg).cast(), n as i64) };
        (
            status,
            arg.1.iter().map(|a| a.load(Ordering::Relaxed)).collect(),
        )
    }

    #[test]
    fn every_iteration_once_and_the_lowest_failure() {
        for threads in [1, 2, 3, 5, 16] {
            let pool = Pool::new(threads).unwrap();
            for n in [0, 1, 2, 3, 7, 64, 1000] {
                for _ in 0..20 {
                    let (status, seen) = run(&pool, n, i64::MAX);
                    assert!(
                        status == 0 && seen.iter().all(|c| *c == 1),
                        "{threads} threads, {n} iterations"
                    );
                }
            }
            assert_eq!(run(&pool, 100, 60).0, 60, "{threads} threads");
            // Asleep workers wake up.
            thread::sleep(std::time::Duration::from_millis(20));
            assert!(run(&pool, 10, i64::MAX).1.iter().all(|c| *c == 1));
        }
    }

    #[test]
    fn callers_share_a_pool() {
        let pool = Pool::new(3).unwrap();
        thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    (0..200)
                        .for_each(|_| assert!(run(&pool, 50, i64::MAX).1.iter().all(|c| *c == 1)))
                });
            }
        });
    }
}
