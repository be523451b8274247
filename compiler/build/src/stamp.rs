//! What a compilation was made of, kept beside its files: cargo runs a build script anew for any change, and a model that
//! has none is not compiled again.
//!
//! A stamp holds digests of everything that decides the result: the words for the compiler, the compiler, each file that
//! it read, and each file that it left. It is believed if all of them are still the same. It names paths of this machine, and is
//! no output.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::Message;

/// Form of the file; another one is not read.
const FORM: u64 = 1;

/// Clocks of file systems go in steps, and lag by one.
const STEP: Duration = Duration::from_millis(20);

/// A stamp to be compared with, or to be written.
pub struct Stamp {
    path: PathBuf,
    key: String,
    began: SystemTime,
}

/// What a stamp that is believed tells of the compilation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Files and folders that were read.
    pub inputs: Vec<String>,
    /// What the compiler said.
    pub messages: Vec<Message>,
}

impl Stamp {
    /// The stamp in the folder `dir` of what is called `name` and goes to `out`. `words` are the compiler's, free of what changes from run to
    /// run; `compiler` tells one compiler from another.
    pub fn new(
        dir: &Path,
        name: &str,
        out: &Path,
        words: &[impl AsRef<OsStr>],
        compiler: &str,
    ) -> Stamp {
        let place = hex(&Sha256::digest(out.as_os_str().as_encoded_bytes()));
        let mut key = Sha256::new();
        let mut part = |bytes: &[u8]| {
            key.update((bytes.len() as u64).to_le_bytes());
            key.update(bytes);
        };
        part(compiler.as_bytes());
        let native = words
            .iter()
            .any(|w| w.as_ref().to_string_lossy().contains("native"));
        part(
            if native {
                this_machine()
            } else {
                String::new()
            }
            .as_bytes(),
        );
        for word in words {
            part(word.as_ref().as_encoded_bytes());
        }
        Stamp {
            path: dir.join(format!("{name}-{}.stamp", &place[..8])),
            key: hex(&key.finalize()),
            began: SystemTime::now(),
        }
    }

    /// What is known, if nothing has changed since [`Stamp::write`].
    pub fn known(&self) -> Option<Known> {
        let text = fs::read_to_string(&self.path).ok()?;
        let stamp: Value = serde_json::from_str(&text).ok()?;
        if stamp.get("form")?.as_u64() != Some(FORM)
            || stamp.get("key")?.as_str() != Some(&self.key)
        {
            return None;
        }
        let mut inputs = vec![];
        for (list, of) in [("read", &mut inputs), ("left", &mut vec![])] {
            for pair in stamp.get(list)?.as_array()? {
                let (path, then) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
                if digest(Path::new(path), None).ok()? != then {
                    return None;
                }
                of.push(path.to_string());
            }
        }
        let messages = stamp.get("messages")?.as_array()?.iter();
        Some(Known {
            inputs,
            messages: messages.map(Message::of_json).collect::<Option<_>>()?,
        })
    }

    /// Writes what was compiled from the files and folders `read`, giving the files `left`. Without a word where that fails: then
    /// the model is compiled again. So it is where a file changed while it was read.
    pub fn write(&self, read: &[String], left: &[&Path], messages: &[Message]) {
        let _ = fs::remove_file(&self.path);
        let Some(text) = self.text(read, left, messages) else {
            return;
        };
        let new = self.path.with_extension("new");
        if fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .is_err()
        {
            let _ = fs::remove_file(&new);
        }
    }

    fn text(&self, read: &[String], left: &[&Path], messages: &[Message]) -> Option<String> {
        let before = self.began.checked_sub(STEP);
        let pair = |path: &Path, before| Some(json!([path.to_str()?, digest(path, before).ok()?]));
        // A folder stands for what lies in it.
        let folders: Vec<&Path> = read.iter().map(Path::new).filter(|p| p.is_dir()).collect();
        let read = read.iter().map(Path::new);
        let read = read.filter(|p| !folders.iter().any(|f| p != f && p.starts_with(f)));
        let read: Vec<Value> = read.map(|p| pair(p, before)).collect::<Option<_>>()?;
        let left: Vec<Value> = left.iter().map(|p| pair(p, None)).collect::<Option<_>>()?;
        let messages: Vec<Value> = messages.iter().map(Message::to_json).collect();
        let stamp = json!({
            "form": FORM, "key": self.key, "read": read, "left": left, "messages": messages,
        });
        Some(stamp.to_string())
    }
}

/// SHA-256 of a file, or of a folder's files and their names. One that has changed since `before` is an error.
pub fn digest(path: &Path, before: Option<SystemTime>) -> io::Result<String> {
    let mut sum = Sha256::new();
    add(&mut sum, path, before, 0)?;
    Ok(hex(&sum.finalize()))
}

fn add(sum: &mut Sha256, path: &Path, before: Option<SystemTime>, depth: usize) -> io::Result<()> {
    // Links may lead in circles.
    if depth > 32 {
        return Err(io::Error::other("too deep"));
    }
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        if before.is_some_and(|t| !meta.modified().is_ok_and(|m| m < t)) {
            return Err(io::Error::other("changed"));
        }
        sum.update(meta.len().to_le_bytes());
        io::copy(&mut fs::File::open(path)?, sum)?;
        return Ok(());
    }
    let mut names: Vec<PathBuf> = fs::read_dir(path)?
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for path in &names {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        add(sum, path, before, depth + 1)?;
    }
    sum.update(u64::MAX.to_le_bytes());
    Ok(())
}

/// What `native` means here: kind and features of the first processor.
fn this_machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kept = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "flags",
        "Features",
        "CPU ",
    ];
    let first = text.lines().take_while(|l| !l.is_empty());
    let lines: Vec<&str> = first
        .filter(|l| kept.iter().any(|k| l.starts_with(k)))
        .collect();
    lines.join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path) {
        let old = SystemTime::now() - Duration::from_secs(100);
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }

    #[test]
    fn any_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let (model, out, data) = (d.join("m.onnx"), d.join("m.a"), d.join("data"));
        fs::create_dir_all(data.join("deep")).unwrap();
        let (one, two) = (data.join("1.png"), data.join("deep/2.png"));
        let put = |p: &Path, text: &str| {
            fs::write(p, text).unwrap();
            age(p);
        };
        for (path, text) in [(&model, "model"), (&out, "code"), (&one, "1"), (&two, "2")] {
            put(path, text);
        }
        let read = [&model, &data, &one].map(|p| p.to_str().unwrap().to_string());
        let message = Message::error("text", "help");
        let with = |words: &[&str], compiler: &str| Stamp::new(d, "m", d, words, compiler);
        let write = |words: &[&str]| {
            let stamp = with(words, "onnxc 1");
            stamp.write(&read, &[&out], std::slice::from_ref(&message));
        };
        let same = || with(&["a"], "onnxc 1").known();
        assert_eq!(same(), None);
        write(&["a"]);
        let known = same().unwrap();
        assert_eq!(known.inputs, read[..2]);
        assert_eq!(known.messages, std::slice::from_ref(&message));
        // Other words, another compiler, another place.
        assert_eq!(with(&["a", ""], "onnxc 1").known(), None);
        assert_eq!(with(&["a"], "onnxc 2").known(), None);
        assert_eq!(Stamp::new(d, "m", &data, &["a"], "onnxc 1").known(), None);
        // A file with another content; written anew with the same one, it is the same.
        for path in [&model, &out, &one, &two] {
            let text = fs::read_to_string(path).unwrap();
            put(path, "other");
            assert_eq!(same(), None, "{path:?}");
            fs::write(path, &text).unwrap();
            assert!(same().is_some(), "{path:?}");
            fs::remove_file(path).unwrap();
            assert_eq!(same(), None, "{path:?}");
            put(path, &text);
        }
        put(&data.join("3.png"), "3");
        assert_eq!(same(), None);
        fs::rename(data.join("3.png"), data.join("4.png")).unwrap();
        write(&["a"]);
        assert!(same().is_some());
        fs::rename(data.join("4.png"), data.join("3.png")).unwrap();
        assert_eq!(same(), None);
        // What changes while it is compiled may have been read before or after; a stamp of that is not written, nor does an old one stay.
        write(&["a"]);
        let stamp = with(&["a"], "onnxc 1");
        fs::write(&two, "2").unwrap();
        stamp.write(&read, &[&out], &[]);
        assert_eq!(same(), None);
        // Nor is it where what was left is not there.
        put(&two, "2");
        with(&["a"], "onnxc 1").write(&read, &[&d.join("none")], &[]);
        assert_eq!(same(), None);
    }
}
