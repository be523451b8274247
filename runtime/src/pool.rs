//! A thread pool for models: it implements `parallel_for` of the ABI.
//!
//! Each loop is cut into as many even ranges as there are threads, at places that depend on nothing else. The caller is one
//! of the threads. Each thread does its own range, so that what it read is still near in the next loop; who has waited a little takes ranges of
//! workers that have not begun them, so that a loop never waits for a worker that the system keeps off its CPU. Threads wait by spinning for a
//! short while, since a model's loops follow each other closely, and sleep after that. Running a loop allocates nothing. A loop that starts while the pool is busy (from another thread, or from
//! inside a loop) runs on its own thread.
//!
//! Layers of a microsecond are shared, so what counts is how often a cache line goes from core to core: once with the job to each worker, and once with
//! its answer back. What is written by different threads lies on different lines, nobody looks at another's without need, and the caller begins its own
//! range while the line with the job is on its way.

use crate::session::Parallel;
use core::ffi::c_void;
use onnxc_abi::context::ParallelBody;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

// Bytes of a worker's stack that it touches before its first loop, so that no page of it is missing later.
const STACK: usize = 32 << 10;

// Turns of waiting before a thread sleeps: some tens of microseconds.
const SPINS: u32 = 4000;

// Turns of waiting before a thread looks for ranges that nobody has begun: about a microsecond.
const PATIENCE: u32 = 64;

/// Threads that stay alive between runs.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What has cache lines of its own: two, since some processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

struct Shared {
    posted: Line<Posted>,
    // The thread that has the pool.
    busy: Line<AtomicBool>,
    ranges: Box<[Range]>,
    // Workers that have started, and those that are to end.
    ready: AtomicUsize,
    stop: AtomicBool,
    // The caller sleeps until all ranges are done, and is woken through this handle.
    caller_sleeps: AtomicBool,
    caller: Mutex<Option<Thread>>,
    asleep: Box<[AtomicBool]>,
}

// What the caller says to the workers.
struct Posted {
    // Counts jobs; workers wait for it to change. Odd values are not used for anything but being different.
    turn: AtomicUsize,
    job: UnsafeCell<Job>,
}

// A range of each job. The first is the caller's, and needs none of this.
#[derive(Default)]
struct Range {
    // The turn in which it was begun last. In each turn it is begun once: who brings it from the turn before to this one does it.
    begun: Line<AtomicUsize>,
    done: Line<Done>,
}

#[derive(Default)]
struct Done {
    // The turn in which the range was done last, with its status; written by who does it.
    turn: AtomicUsize,
    status: AtomicI32,
}

// SAFETY: `job` is written only by the thread that holds `busy`, while every range of the turn before is done, and published by the
// change of `turn`; workers read it between beginning a range of that turn and saying that it is done.
unsafe impl Sync for Shared {}
// SAFETY: the job's pointers are used only while the caller waits inside `run`.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    body: ParallelBody,
    arg: *mut c_void,
    count: i64,
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
        let job = Job {
            body: nothing,
            arg: core::ptr::null_mut(),
            count: 0,
        };
        let shared = Arc::new(Shared {
            posted: Line(Posted {
                turn: AtomicUsize::new(0),
                job: UnsafeCell::new(job),
            }),
            busy: Line::default(),
            ranges: (0..threads).map(|_| Range::default()).collect(),
            ready: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            caller_sleeps: AtomicBool::new(false),
            caller: Mutex::new(None),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
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
        self.shared.ranges.len()
    }
}

#[inline(never)]
fn touch_stack() {
    core::hint::black_box(&mut [0u8; STACK]);
}

impl Parallel for Pool {
    unsafe fn run(&self, body: ParallelBody, arg: *mut c_void, count: i64) -> i32 {
        let s = &*self.shared;
        if s.ranges.len() == 1 || count <= 1 || s.busy.0.swap(true, Ordering::Acquire) {
            // SAFETY: the whole range, once, on this thread.
            return unsafe { body(arg, 0, count.max(0)) };
        }
        // SAFETY: `busy` is ours and no range is left, so nobody reads the job now.
        unsafe { *s.posted.0.job.get() = Job { body, arg, count } };
        // Only who has `busy` writes it. No instruction that waits until it is written: a worker that falls asleep meanwhile may be missed here, and is
        // woken below.
        let turn = (s.posted.0.turn.load(Ordering::Relaxed)).wrapping_add(1);
        s.posted.0.turn.store(turn, Ordering::Release);
        self.wake();
        let (begin, end) = s.part(0, count);
        // SAFETY: the range that is the caller's.
        let own = unsafe { body(arg, begin, end) };
        // Either a worker sees the turn, or it is seen asleep.
        fence(Ordering::SeqCst);
        self.wake();
        let workers = s.ranges.get(1..).unwrap_or_default();
        s.all_done(workers, turn);
        let status = |r: &Range| r.done.0.status.load(Ordering::Relaxed);
        let mut statuses = std::iter::once(own).chain(workers.iter().map(status));
        let first = statuses.find(|s| *s != 0).unwrap_or(0);
        s.busy.0.store(false, Ordering::Release);
        first
    }
}

impl Pool {
    // Wakes workers that sleep.
    fn wake(&self) {
        for (worker, asleep) in self.workers.iter().zip(self.shared.asleep.iter().skip(1)) {
            if asleep.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
    }
}

impl Shared {
    // Range `i` of a loop.
    fn part(&self, i: usize, count: i64) -> (i64, i64) {
        let all = self.ranges.len() as i64;
        let at = |i: i64| match count.checked_mul(i) {
            Some(n) => n / all,
            None => (i128::from(count) * i128::from(i) / i128::from(all)) as i64,
        };
        (at(i as i64), at(i as i64 + 1))
    }

    fn work(&self, i: usize) {
        let mut seen = 0;
        loop {
            self.wait(i, seen);
            // The turn first: that of the end, which has no job, is never seen without `stop`.
            seen = self.posted.0.turn.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.take(i, seen);
        }
    }

    // Does the range of worker `i` in a turn's job unless somebody has begun it.
    fn take(&self, i: usize, turn: usize) {
        let Some(range) = self.ranges.get(i) else {
            return;
        };
        let before = turn.wrapping_sub(1);
        if range
            .begun
            .0
            .compare_exchange(before, turn, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        // SAFETY: a range of this turn is ours, so the job stays until we say that it is done.
        let job = unsafe { *self.posted.0.job.get() };
        let (begin, end) = self.part(i, job.count);
        // Fetches the line while the range is being done.
        range.done.0.status.store(0, Ordering::Relaxed);
        let answer = if begin < end {
            // SAFETY: the ranges are disjoint and cover the loop.
            unsafe { (job.body)(job.arg, begin, end) }
        } else {
            0
        };
        range.done.0.status.store(answer, Ordering::Relaxed);
        // SeqCst orders it against `caller_sleeps`: either the caller sees it, or is seen asleep.
        range.done.0.turn.store(turn, Ordering::SeqCst);
        if self.caller_sleeps.load(Ordering::SeqCst) {
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(caller) = &*caller {
                caller.unpark();
            }
        }
    }

    // Does what nobody has begun of a turn's job.
    fn take_left(&self, turn: usize) {
        let before = turn.wrapping_sub(1);
        for (i, range) in self.ranges.iter().enumerate().skip(1) {
            // Looking leaves the line where it is; an attempt would fetch it.
            if range.begun.0.load(Ordering::Relaxed) == before {
                self.take(i, turn);
            }
        }
    }

    // Until these ranges of a turn are done.
    fn all_done(&self, ranges: &[Range], turn: usize) {
        let done = |r: &Range| r.done.0.turn.load(Ordering::SeqCst) == turn;
        let mut turns = 0;
        for range in ranges {
            while !done(range) {
                if turns < SPINS {
                    turns += 1;
                    core::hint::spin_loop();
                    if turns.is_multiple_of(PATIENCE) {
                        self.take_left(turn);
                    }
                } else {
                    self.sleep(ranges, turn);
                }
            }
        }
    }

    // The caller, until these ranges of a turn are done.
    fn sleep(&self, ranges: &[Range], turn: usize) {
        let set = |who: Option<Thread>| {
            *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = who;
        };
        set(Some(thread::current()));
        self.caller_sleeps.store(true, Ordering::SeqCst);
        let done = |r: &Range| r.done.0.turn.load(Ordering::SeqCst) == turn;
        while !ranges.iter().all(done) {
            thread::park();
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
        set(None);
    }

    // Until the turn is no longer `seen`, or the pool stops.
    fn wait(&self, i: usize, seen: usize) {
        let turn = &self.posted.0.turn;
        for turns in 1..=SPINS {
            if turn.load(Ordering::Acquire) != seen {
                return;
            }
            core::hint::spin_loop();
            if turns == PATIENCE {
                self.take_left(seen);
            }
        }
        let asleep = self.asleep.get(i);
        if let Some(a) = asleep {
            a.store(true, Ordering::SeqCst);
        }
        while turn.load(Ordering::SeqCst) == seen {
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
        self.shared.posted.0.turn.fetch_add(1, Ordering::SeqCst);
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

    // Sleeps so many milliseconds in one iteration, and counts all.
    unsafe extern "C" fn slow(arg: *mut c_void, begin: i64, end: i64) -> i32 {
        // SAFETY: the test hands in this type.
        let (at, time, done) = unsafe { &*arg.cast::<(i64, u64, AtomicU32)>() };
        for i in begin..end {
            if i == *at {
                thread::sleep(std::time::Duration::from_millis(*time));
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        0
    }

    #[test]
    fn a_caller_that_sleeps_is_woken_and_so_are_workers() {
        for threads in [2, 3] {
            let pool = Pool::new(threads).unwrap();
            let n = threads as i64;
            for (at, time) in [(n - 1, 20u64), (0, 20), (1, 1), (0, 1), (-1, 0)].repeat(5) {
                let mut arg: (i64, u64, AtomicU32) = (at, time, AtomicU32::new(0));
                // SAFETY: the argument outlives the call.
                let status = unsafe { pool.run(slow, (&raw mut arg).cast(), n) };
                assert_eq!((status, arg.2.into_inner()), (0, threads as u32));
            }
        }
    }

    #[test]
    fn loops_at_any_distance_are_done_once() {
        let pool = Pool::new(2).unwrap();
        // From those that follow at once to those before which the worker falls asleep, or just does.
        for k in 0..3000u32 {
            for _ in 0..(k % 50) * 100 {
                core::hint::spin_loop();
            }
            assert!(run(&pool, 2, i64::MAX).1.iter().all(|c| *c == 1), "{k}");
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
