//! `test-onnx`: ONNX's own tests, compiled and run.
//!
//! Each test runs in a child of this program, so that neither a crash of compiled code nor one that never ends stops the
//! others; children are reused until one is lost. What is counted: passed; U, refused as unsupported; W, wrong values; E, a
//! bug of ours (an internal error, a crash, a time-out, a legal model called malformed); K, folders that hold no test.

pub mod case;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use serde_json::{Value, json};

use crate::args::flags::TestOnnx;
use crate::failure::{Outcome, Status};
use crate::job;
use crate::machine::{self, Purpose};
use crate::outputs;
use crate::progress::Bar;
use crate::ui::Ui;

/// How a test ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Refused: legal ONNX that is not done here.
    Unsupported,
    /// Other values than the reference.
    Wrong,
    /// A bug of ours.
    Internal,
    /// No test at all.
    Skipped,
}

const LETTERS: &[(Verdict, &str)] = &[
    (Verdict::Passed, "P"),
    (Verdict::Unsupported, "U"),
    (Verdict::Wrong, "W"),
    (Verdict::Internal, "E"),
    (Verdict::Skipped, "K"),
];

impl Verdict {
    /// One letter.
    pub fn letter(self) -> &'static str {
        LETTERS.iter().find(|l| l.0 == self).map_or("E", |l| l.1)
    }
    fn from_letter(text: &str) -> Verdict {
        LETTERS
            .iter()
            .find(|l| l.1 == text)
            .map_or(Verdict::Internal, |l| l.0)
    }
}

/// A test that ran.
struct Done {
    name: String,
    verdict: Verdict,
    reason: String,
}

/// Runs tests, or is the child that does.
pub fn run(flags: &TestOnnx, ui: &Ui) -> Outcome {
    if flags.worker {
        return serve(flags, ui);
    }
    // The flags are checked once here, and what was chosen is said once; the children are quiet.
    machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let mut tests = Vec::new();
    for dir in &flags.dirs {
        find(dir, 0, &mut tests)?;
    }
    tests.sort();
    tests.dedup();
    let wanted = |t: &str| {
        flags.filter.iter().any(|f| match f.strip_prefix('=') {
            Some(whole) => t == whole,
            None => t.contains(f.as_str()),
        })
    };
    tests.retain(|t| flags.filter.is_empty() || wanted(&name(t)));
    let bar = Bar::counted(ui, Some(tests.len() as u64));
    let mut done = all(flags, &tests, &bar)?;
    drop(bar);
    done.sort_by(|a, b| a.name.cmp(&b.name));
    let count = |v: Verdict| done.iter().filter(|d| d.verdict == v).count();
    let (u, w, e) = (
        count(Verdict::Unsupported),
        count(Verdict::Wrong),
        count(Verdict::Internal),
    );
    let mut text = String::new();
    for d in &done {
        let failed = !matches!(d.verdict, Verdict::Passed | Verdict::Skipped);
        if flags.json {
            text += &json!({"test": d.name, "result": d.verdict.letter(), "reason": d.reason})
                .to_string();
            text.push('\n');
        } else if failed && flags.list {
            text += &format!("{} {}: {}\n", d.verdict.letter(), d.name, d.reason);
        }
    }
    text += &format!(
        "{} passed, {} failed ({u} unsupported, {w} wrong, {e} internal), {} skipped\n",
        count(Verdict::Passed),
        u + w + e,
        count(Verdict::Skipped)
    );
    outputs::print(&text)?;
    Ok(if u + w + e == 0 {
        Status::Done
    } else {
        Status::Failed
    })
}

fn name(test: &Path) -> String {
    test.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Folders with a test in them, at most a few levels below `dir`.
fn find(dir: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|e| crate::failure::file_error("read", dir, e))?;
    let mut inner: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    inner.sort();
    let data = |p: &PathBuf| name(p).starts_with("test_data_set");
    if dir.join("model.onnx").exists() || dir.join("data.json").exists() || inner.iter().any(data) {
        out.push(dir.to_path_buf());
        return Ok(());
    }
    if depth < 4 {
        for d in inner {
            find(&d, depth + 1, out)?;
        }
    }
    Ok(())
}

/// Runs all tests on several children.
fn all(flags: &TestOnnx, tests: &[PathBuf], bar: &Bar) -> Result<Vec<Done>> {
    let queue: Mutex<VecDeque<&PathBuf>> = Mutex::new(tests.iter().collect());
    let done: Mutex<Vec<Done>> = Mutex::new(Vec::new());
    let failure: Mutex<Option<Box<Diagnostic>>> = Mutex::new(None);
    let next = || queue.lock().ok().and_then(|mut q| q.pop_front());
    let limit = Duration::from_secs_f64(flags.timeout);
    std::thread::scope(|scope| {
        for _ in 0..job::jobs(&flags.code).min(tests.len()) {
            scope.spawn(|| {
                let mut worker: Option<Worker> = None;
                while let Some(test) = next() {
                    let mut w = match worker.take().map_or_else(|| Worker::start(flags), Ok) {
                        Ok(w) => w,
                        Err(d) => {
                            if let Ok(mut f) = failure.lock() {
                                f.get_or_insert(d);
                            }
                            return;
                        }
                    };
                    let (verdict, reason) = match w.ask(test, limit) {
                        Answer::Done(verdict, reason) => {
                            worker = Some(w);
                            (verdict, reason)
                        }
                        Answer::Late => {
                            w.end();
                            (
                                Verdict::Internal,
                                format!("not done after {} s", flags.timeout),
                            )
                        }
                        Answer::Lost => (Verdict::Internal, w.end()),
                    };
                    if let Ok(mut list) = done.lock() {
                        list.push(Done {
                            name: name(test),
                            verdict,
                            reason,
                        });
                    }
                    bar.step();
                }
                if let Some(w) = worker {
                    w.end();
                }
            });
        }
    });
    match failure.into_inner().ok().flatten() {
        Some(d) => Err(d),
        None => Ok(done.into_inner().unwrap_or_default()),
    }
}

/// A child, and the lines that it answers.
struct Worker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

enum Answer {
    Done(Verdict, String),
    Late,
    Lost,
}

impl Worker {
    fn start(flags: &TestOnnx) -> Result<Worker> {
        let failed =
            |e: std::io::Error| Diagnostic::usage("USE002", format!("can't start a child: {e}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--quiet", "test-onnx", "--worker", "-j1"]);
        let level = clap::ValueEnum::to_possible_value(&flags.code.opt_level);
        if let Some(level) = level {
            command.arg(format!("--opt-level={}", level.get_name()));
        }
        let target = &flags.target;
        for (name, value) in [
            ("--target", &target.target),
            ("--target-cpu", &target.target_cpu),
            ("--exec", &flags.exec.exec),
        ] {
            if let Some(value) = value {
                command.arg(format!("{name}={value}"));
            }
        }
        for f in &target.target_feature {
            command.arg(format!("--target-feature={f}"));
        }
        command.args(&target.machine_flag);
        for p in &flags.code.disable_pass {
            command.arg(format!("--disable-pass={p}"));
        }
        for p in &flags.code.enable_pass {
            command.arg(format!("--enable-pass={p}"));
        }
        if let Some(n) = flags.code.max_edits {
            command.arg(format!("--max-edits={n}"));
        }
        // A group of its own, so that what it starts (an emulator) ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let missing = || Diagnostic::internal("a child has no pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Worker {
            child,
            input,
            lines,
        })
    }

    fn ask(&mut self, test: &Path, limit: Duration) -> Answer {
        let line = json!(test.to_string_lossy()).to_string() + "\n";
        if self
            .input
            .write_all(line.as_bytes())
            .and_then(|()| self.input.flush())
            .is_err()
        {
            return Answer::Lost;
        }
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                let v: Value = serde_json::from_str(&line).unwrap_or_default();
                let text = |key: &str| v[key].as_str().unwrap_or_default().to_string();
                Answer::Done(Verdict::from_letter(&text("result")), text("reason"))
            }
            Err(RecvTimeoutError::Timeout) => Answer::Late,
            Err(RecvTimeoutError::Disconnected) => Answer::Lost,
        }
    }

    /// Ends the child; says how it ended.
    fn end(mut self) -> String {
        // A child that died is not hurt; one that is idle or lost in compiled code goes.
        std::thread::sleep(Duration::from_millis(5));
        if let Ok(Some(status)) = self.child.try_wait() {
            return format!("the process that ran it ended: {status}");
        }
        #[cfg(unix)]
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        "the process that ran it gave no answer".into()
    }
}

/// The child: a path a line in, a verdict a line out.
fn serve(flags: &TestOnnx, ui: &Ui) -> Outcome {
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(path) = serde_json::from_str::<String>(&line) else {
            break;
        };
        let test =
            std::panic::AssertUnwindSafe(|| case::run(Path::new(&path), &machine, flags, ui));
        let (verdict, reason) = std::panic::catch_unwind(test)
            .unwrap_or_else(|_| (Verdict::Internal, crate::panic_diagnostic().message));
        let answer = json!({"result": verdict.letter(), "reason": reason});
        outputs::print(&format!("{answer}\n"))?;
    }
    Ok(Status::Done)
}
