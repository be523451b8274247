//! One pass over the words of the command line before clap sees them.
//!
//! clap would read `-mcpu=x` as `-m cpu=x`, let `-O` swallow the next file, and knows no `@file` and no default verb.
//! Contract: the words that leave are long options and positionals with a verb in front. A misspelt verb is never taken for
//! a file: the default verb `compile` holds only where the first positional has a `.` or a `/` or is `-`.

use std::ffi::{OsStr, OsString};

use clap::Command;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_targets::suggest;

/// Response files may name others, this deep.
const MAX_NESTING: usize = 16;

/// Rewrites the words behind the program's name.
pub fn prepare(argv: Vec<OsString>, cli: &Command) -> Result<Vec<OsString>> {
    let mut expanded = Vec::new();
    for word in argv {
        expand(word, 0, &mut expanded)?;
    }
    let words = compiler_words(expanded, cli)?;
    verb(words, cli)
}

/// Replaces `@file` by the words in the file.
fn expand(word: OsString, depth: usize, out: &mut Vec<OsString>) -> Result<()> {
    let Some(path) = word
        .to_str()
        .and_then(|w| w.strip_prefix('@'))
        .filter(|p| !p.is_empty())
    else {
        out.push(word);
        return Ok(());
    };
    if depth >= MAX_NESTING {
        return Err(Diagnostic::usage(
            "USE001",
            format!("`@{path}`: response files name each other more than {MAX_NESTING} deep"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| {
        Diagnostic::usage("USE001", format!("can't read the response file `{path}`: {e}"))
            .help("a word that begins with `@` names a file of further words; for a file of that name write `./@...`")
    })?;
    for inner in split(&text) {
        expand(OsString::from(inner), depth + 1, out)?;
    }
    Ok(())
}

/// Splits as gcc does: white space parts words, quotes join, a backslash takes the next character as it is.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                if let Some(next) = chars.next() {
                    word.get_or_insert_default().push(next);
                }
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Spells what compilers' users write with long options.
fn compiler_words(argv: Vec<OsString>, cli: &Command) -> Result<Vec<OsString>> {
    let mut out: Vec<OsString> = Vec::with_capacity(argv.len());
    let mut words = argv.into_iter();
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            out.push(word);
            continue;
        };
        if text == "--" {
            out.push(word);
            out.extend(words);
            break;
        }
        match text {
            "-O" => out.push("--opt-level=2".into()),
            "-MD" | "-MMD" => out.push("--make-depfile".into()),
            "-MP" => out.push("--make-phony".into()),
            "-MF" | "-MT" | "-MQ" => {
                let name = if text == "-MF" {
                    "--make-depfile-path"
                } else {
                    "--make-target"
                };
                let value = words.next().ok_or_else(|| {
                    Diagnostic::usage("USE001", format!("`{text}` needs a name behind it"))
                })?;
                out.push(name.into());
                out.push(value);
            }
            _ if text.starts_with("-MF") => {
                out.push(format!("--make-depfile-path={}", &text[3..]).into());
            }
            _ if text.starts_with("-O") => out.push(format!("--opt-level={}", &text[2..]).into()),
            _ if (text.starts_with("-m") && text.len() > 2)
                || text.starts_with("-fcf-protection") =>
            {
                out.push(format!("--machine-flag={text}").into());
            }
            _ => {
                let takes = takes_value(cli, text);
                out.push(word);
                if takes {
                    // The value of an option is never one of our words: `-o -O` is silly, but `-o -` is not.
                    out.extend(words.next());
                }
            }
        }
    }
    Ok(out)
}

/// Whether an option takes the next word as its value.
fn takes_value(cli: &Command, word: &str) -> bool {
    let long = word.strip_prefix("--");
    let short = word.strip_prefix('-').filter(|s| s.chars().count() == 1);
    if long.is_none_or(|l| l.is_empty() || l.contains('=')) && short.is_none() {
        return false;
    }
    std::iter::once(cli)
        .chain(cli.get_subcommands())
        .flat_map(Command::get_arguments)
        .any(|a| {
            let named = match (long, short) {
                (Some(l), _) => a
                    .get_long_and_visible_aliases()
                    .is_some_and(|names| names.contains(&l)),
                (_, Some(s)) => a.get_short().is_some_and(|c| s.starts_with(c)),
                _ => false,
            };
            named && a.get_action().takes_values()
        })
}

/// Puts the default verb in front where none is given.
fn verb(argv: Vec<OsString>, cli: &Command) -> Result<Vec<OsString>> {
    let mut skip = false;
    let mut first: Option<&OsStr> = None;
    let mut asks_text = false;
    for word in &argv {
        if std::mem::take(&mut skip) {
            continue;
        }
        match word.to_str() {
            Some("--") => break,
            Some("-h" | "--help" | "-V" | "--version") => asks_text = true,
            Some(w) if w.starts_with('-') && w != "-" => skip = takes_value(cli, w),
            _ => {
                first = Some(word);
                break;
            }
        }
    }
    let verbs: Vec<&str> = cli
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(Command::get_name)
        .collect();
    let compile = |mut argv: Vec<OsString>| {
        argv.insert(0, "compile".into());
        Ok(argv)
    };
    let Some(first) = first else {
        return if argv.is_empty() || asks_text {
            Ok(argv)
        } else {
            compile(argv)
        };
    };
    let name = first.to_string_lossy().into_owned();
    if cli.find_subcommand(&name).is_some() || name == "help" {
        return Ok(argv);
    }
    if name == "-" || name.contains(['.', '/', std::path::MAIN_SEPARATOR]) {
        return compile(argv);
    }
    Err(suggest::unknown(
        "command",
        &name,
        verbs.iter().copied(),
        &format!(
            "the commands are {}; a model's name needs a `.` or `/` in it, as in `./{name}`",
            verbs.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(words: &[&str]) -> std::result::Result<Vec<String>, String> {
        let argv = words.iter().map(OsString::from).collect();
        prepare(argv, &super::super::flags::Cli::command())
            .map(|v| {
                v.into_iter()
                    .map(|w| w.to_string_lossy().into_owned())
                    .collect()
            })
            .map_err(|d| d.to_string())
    }

    #[test]
    fn compilers_words() {
        assert_eq!(
            run(&[
                "m.onnx",
                "-mcpu=cortex-a55",
                "-O",
                "-Os",
                "-MD",
                "-MF",
                "x.d"
            ])
            .unwrap(),
            [
                "compile",
                "m.onnx",
                "--machine-flag=-mcpu=cortex-a55",
                "--opt-level=2",
                "--opt-level=s",
                "--make-depfile",
                "--make-depfile-path",
                "x.d"
            ]
        );
        assert_eq!(
            run(&["-o", "-O", "a/b"]).unwrap(),
            ["compile", "-o", "-O", "a/b"]
        );
        assert_eq!(run(&["-"]).unwrap(), ["compile", "-"]);
        assert_eq!(
            run(&["--print", "target-list"]).unwrap(),
            ["compile", "--print", "target-list"]
        );
    }

    #[test]
    fn a_misspelt_verb_is_no_file() {
        let e = run(&["verfy", "m.onnx"]).unwrap_err();
        assert!(e.contains("verify"), "{e}");
        assert!(run(&["-o", "x.o", "complie", "m.onnx"]).is_err());
        assert_eq!(run(&["verify", "m.onnx"]).unwrap()[0], "verify");
        assert_eq!(
            run(&["--color", "never", "run", "m"]).unwrap(),
            ["--color", "never", "run", "m"]
        );
        assert!(run(&[]).unwrap().is_empty());
        assert_eq!(run(&["--version"]).unwrap(), ["--version"]);
    }

    #[test]
    fn response_files_split_like_gcc() {
        assert_eq!(
            split("a 'b c'\n\"d\\\"e\" f\\ g ''"),
            ["a", "b c", "d\"e", "f g", ""]
        );
    }
}
