//! Files as tests.
//!
//! ```text
//! ; test: loops verify                 the command, and words for it
//! ...source; `;` begins a comment...
//! fail 0 if true ; error: not 0        the command must report this on this line
//! ; expect:                            the text that the command must give, to the end of the file
//! ; func ...
//! ```
//!
//! A command gets the whole source (so line numbers are those of the file), gives problems with lines, and text. Every
//! problem must be announced by an `; error:` that it contains, and the other way round. With `BLESS=1` expected text and
//! announced errors are rewritten, but not for commands that are marked: their answers come from outside.
//!
//! A command is one file here and one row of [`COMMANDS`].

mod codegen;
mod graph;
mod graph_roundtrip;
mod graph_verify;
mod infer;
mod loops_legalize;
mod loops_roundtrip;
mod loops_run;
mod loops_verify;
mod offload;
mod pass;
mod plan;
mod run;

use std::path::{Path, PathBuf};

/// A test file.
pub struct Case {
    /// The source, without the expected text.
    pub source: String,
    /// Words after the command's name.
    #[allow(dead_code)]
    pub args: Vec<String>,
}

impl Case {
    /// Lines `; KEY: VALUE`, whatever the key, with their numbers from 1.
    pub fn directives(&self) -> Vec<(usize, String, String)> {
        let lines = self.source.lines().enumerate();
        let split = |(n, line): (usize, &str)| {
            let (key, value) = line.trim().strip_prefix(';')?.split_once(':')?;
            Some((n + 1, key.trim().to_string(), value.trim().to_string()))
        };
        lines.filter_map(split).collect()
    }
}

/// Something that a command reports.
#[derive(Debug)]
pub struct Problem {
    /// The line from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// What a command gives.
#[derive(Default)]
pub struct Outcome {
    /// Text to compare with the expected text.
    pub text: Option<String>,
    /// What it reports.
    pub problems: Vec<Problem>,
}

impl Outcome {
    /// One problem and nothing else.
    pub fn problem(line: usize, message: impl Into<String>) -> Outcome {
        let message = message.into();
        Outcome {
            text: None,
            problems: vec![Problem { line, message }],
        }
    }
}

/// A command.
pub struct Command {
    /// As the first line of a file names it.
    pub name: &'static str,
    /// Whether `BLESS=1` may rewrite what is expected.
    pub blessed: bool,
    /// What it does.
    pub run: fn(&Case) -> Outcome,
}

/// Every command.
const COMMANDS: &[Command] = &[
    codegen::COMMAND,
    graph_roundtrip::COMMAND,
    graph_verify::COMMAND,
    infer::COMMAND,
    loops_legalize::COMMAND,
    loops_roundtrip::COMMAND,
    loops_run::COMMAND,
    loops_verify::COMMAND,
    offload::COMMAND,
    pass::PASS,
    pass::FUSE,
    plan::PLAN,
    plan::LOWER,
    run::COMMAND,
];

const EXPECT: &str = "; expect:";
const ERROR: &str = "; error:";

/// Runs every file of a folder under `tests/`; panics with all that fail.
pub fn folder(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|e| panic!("tests/{name}: {e}"))
        .filter_map(|f| Some(f.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    let bless = std::env::var_os("BLESS").is_some_and(|v| v == "1");
    let mut failures = vec![];
    for f in &files {
        if let Err(why) = file(f, bless) {
            let short = f.file_name().unwrap_or_default().to_string_lossy();
            failures.push(format!("tests/{name}/{short}: {why}"));
        }
    }
    assert!(!files.is_empty(), "tests/{name} has no files");
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn file(path: &Path, bless: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let first = text.lines().next().unwrap_or_default();
    let Some(words) = first.strip_prefix("; test:") else {
        return Err("the first line is not `; test: COMMAND`".into());
    };
    let words = words.trim();
    let command = COMMANDS
        .iter()
        .find(|c| words == c.name || words.starts_with(&format!("{} ", c.name)))
        .ok_or_else(|| format!("there is no command `{words}`"))?;
    let rest = &words[command.name.len()..];
    let at = text.find(&format!("\n{EXPECT}")).map(|i| i + 1);
    let source = &text[..at.unwrap_or(text.len())];
    let case = Case {
        source: source.to_string(),
        args: rest.split_whitespace().map(str::to_string).collect(),
    };
    let outcome = (command.run)(&case);
    match check(source, at.map(|i| &text[i..]), &outcome) {
        Ok(()) => Ok(()),
        Err(_) if bless && command.blessed => {
            std::fs::write(path, blessed(source, at.is_some(), &outcome)).map_err(|e| e.to_string())
        }
        Err(why) => Err(why),
    }
}

/// Compares what is announced with what came.
fn check(source: &str, expect: Option<&str>, outcome: &Outcome) -> Result<(), String> {
    let mut open: Vec<&Problem> = outcome.problems.iter().collect();
    let mut wrong = vec![];
    for (n, line) in source.lines().enumerate() {
        for want in line.split(ERROR).skip(1).map(str::trim) {
            let found = open
                .iter()
                .position(|p| p.line == n + 1 && p.message.contains(want));
            match found {
                Some(i) => drop(open.remove(i)),
                None => wrong.push(format!("line {}: nothing said `{want}`", n + 1)),
            }
        }
    }
    wrong.extend(
        open.iter()
            .map(|p| format!("line {}: {}", p.line, p.message)),
    );
    let got = outcome.text.clone().unwrap_or_default();
    match expect {
        Some(block) => {
            let want: String = block
                .lines()
                .skip(1)
                .map(|l| {
                    format!(
                        "{}\n",
                        l.strip_prefix("; ").or(l.strip_prefix(';')).unwrap_or(l)
                    )
                })
                .collect();
            if want.trim_end() != got.trim_end() {
                wrong.push(format!("expected\n{want}\ngot\n{got}"));
            }
        }
        None if !got.is_empty() && outcome.problems.is_empty() => {
            wrong.push(format!("there is no `{EXPECT}`; got\n{got}"));
        }
        None => {}
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n  ")),
    }
}

/// The file with what came as what is expected.
fn blessed(source: &str, expects: bool, outcome: &Outcome) -> String {
    let mut out = String::new();
    for (n, line) in source.lines().enumerate() {
        out.push_str(line.split(ERROR).next().unwrap_or(line).trim_end());
        for p in outcome.problems.iter().filter(|p| p.line == n + 1) {
            out.push_str(&format!(" {ERROR} {}", p.message));
        }
        out.push('\n');
    }
    if let Some(text) = outcome.text.as_deref().filter(|t| expects || !t.is_empty()) {
        out.push_str(&format!("{EXPECT}\n"));
        for line in text.trim_end().lines() {
            out.push_str(format!("; {line}").trim_end());
            out.push('\n');
        }
    }
    out
}
