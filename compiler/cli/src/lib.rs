//! The tool `onnxc`: everything that touches files, terminals and processes.
//!
//! One file per verb. A verb takes its flags and says what it found; this file turns that into messages and an exit code:
//! 0 done, 1 the model, a file or a check failed, 2 usage, 3 a bug of ours. No panic leaves it.
#![deny(unsafe_code)]

pub mod account;
pub mod advise;
pub mod args;
pub mod bench;
pub mod blame;
pub mod cases;
pub mod compare;
pub mod compile;
pub mod constants;
pub mod data;
pub mod delta;
pub mod devices;
pub mod diff;
pub mod disasm;
pub mod emit;
pub mod engine;
pub mod eval;
pub mod explain;
pub mod failure;
pub mod files;
pub mod inside;
pub mod inspect;
pub mod job;
pub mod loader;
pub mod machine;
pub mod manual;
pub mod metric;
pub mod npu;
pub mod outputs;
pub mod picture;
pub mod precision;
pub mod print;
pub mod probe;
pub mod profile;
pub mod progress;
pub mod prune;
pub mod quantize;
pub mod ready;
pub mod remote;
pub mod report;
pub mod run;
pub mod table;
pub mod test_onnx;
pub mod tune;
pub mod twin;
pub mod ui;
pub mod verify;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;

use args::Parsed;
use args::flags::{Cli, Color, Verb};
use failure::{Outcome, Status};
use onnxc_compiler::base::diag::Diagnostic;
use ui::Ui;

/// Stack of the thread that works: deep models recurse.
pub(crate) const STACK: usize = 256 << 20;

/// Runs the tool on the words of the process.
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let work = std::thread::Builder::new()
        .name("onnxc".into())
        .stack_size(STACK);
    let code = match work.spawn(move || run_words(argv)) {
        Ok(thread) => thread.join().unwrap_or(3),
        Err(e) => {
            eprintln!("internal error[INT001]: can't start a thread: {e}");
            3
        }
    };
    ExitCode::from(code)
}

/// Runs the tool; the answer is the exit code.
pub fn run_words(argv: Vec<OsString>) -> u8 {
    // The tool is its own simulated device: the driver starts it so.
    if let [word, options] = argv.as_slice()
        && *word == onnxc_sim::device::SUBCOMMAND
    {
        let ended = onnxc_sim::device::main(&options.to_string_lossy());
        return u8::from(ended != ExitCode::SUCCESS);
    }
    // What is needed for messages about the command line itself is looked up before it is read.
    let says = |words: &[&str]| {
        argv.windows(2)
            .any(|w| w[0] == words[0] && w[1] == words[1])
            || argv
                .iter()
                .any(|w| *w == format!("{}={}", words[0], words[1]).as_str())
    };
    let json = says(&["--message-format", "json"]);
    let color = match (says(&["--color", "always"]), says(&["--color", "never"])) {
        (true, _) => Color::Always,
        (_, true) => Color::Never,
        _ => Color::Auto,
    };
    let color = !json && ui::use_color(color);
    match args::parse(argv, color) {
        Parsed::Text(text) => {
            print!("{text}");
            0
        }
        Parsed::Mistake { text, diagnostic } => {
            if json || text.is_empty() {
                Ui::early(json, color).diagnostic(&diagnostic);
            } else {
                eprint!("{text}");
            }
            2
        }
        Parsed::Run(mut cli) => {
            args::settle(&mut cli);
            guarded(&cli)
        }
    }
}

/// What the last panic said, and where.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs a verb. A panic in it is a bug of ours, and reported as one.
fn guarded(cli: &Cli) -> u8 {
    let ui = Ui::new(&cli.global);
    keep_panics();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| verb(cli, &ui)));
    match outcome {
        Ok(Ok(Status::Done)) => 0,
        Ok(Ok(Status::Failed)) => 1,
        Ok(Err(failure)) => {
            ui.diagnostics(&failure.0);
            let code = failure.exit_code();
            if failure.0.is_empty() {
                ui.diagnostic(&Diagnostic::internal("the work stopped without a reason"));
            }
            ui.summary(if code == 3 {
                "this is a bug of onnxc; please report it"
            } else {
                "nothing was written"
            });
            code
        }
        Err(_) => {
            ui.diagnostic(&panic_diagnostic());
            3
        }
    }
}

/// Remembers what panics say, rather than printing it: they are reported as diagnostics.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info
            .payload()
            .downcast_ref::<&str>()
            .map(|s| s.to_string())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown".into());
        let place = info
            .location()
            .map(|l| format!(" ({}:{})", l.file(), l.line()))
            .unwrap_or_default();
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0") {
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
        }
        if let Ok(mut last) = PANIC.lock() {
            last.get_or_insert(format!("{text}{place}"));
        }
    }));
}

/// The last panic as a diagnostic.
pub fn panic_diagnostic() -> Box<Diagnostic> {
    let text = PANIC.lock().ok().and_then(|mut last| last.take());
    Diagnostic::internal(text.unwrap_or_else(|| "unknown".into()))
        .help("this is a bug of onnxc; please report it with the model and the command line")
}

fn verb(cli: &Cli, ui: &Ui) -> Outcome {
    match &cli.verb {
        Verb::Compile(flags) => match flags.print {
            Some(list) => print::run(list, flags),
            None => compile::run(flags, ui),
        },
        Verb::Run(flags) => run::run(flags, ui),
        Verb::Verify(flags) => verify::run(flags, ui),
        Verb::Bench(flags) => bench::run(flags, ui),
        Verb::Inspect(flags) => inspect::run(flags, ui),
        Verb::Profile(flags) => profile::run(flags, ui),
        Verb::Diff(flags) => diff::run(flags),
        Verb::Delta(flags) => delta::delta(flags),
        Verb::Patch(flags) => delta::patch(flags),
        Verb::TestOnnx(flags) => test_onnx::run(flags, ui),
        Verb::Quantize(flags) => quantize::run(flags, ui),
        Verb::Prune(flags) => prune::run(flags, ui),
        Verb::ExplainQuantization(flags) => explain::run(flags, ui),
        Verb::Eval(flags) => eval::run(flags, ui),
        Verb::TuneKernels(flags) => tune::run(flags, ui),
    }
}
