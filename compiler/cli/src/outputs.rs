//! Output files appear whole or not at all.
//!
//! All contents are written first, then all get their names. Until then they are files without a name (Linux removes
//! those by itself, whatever ends the program), or, where the file system can't do that, temporary files beside the
//! target that are removed when dropped. Never leaves a half-written file under a name that was asked for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use onnxc_compiler::base::diag::{Diagnostic, Result};
use tempfile::NamedTempFile;

use crate::failure::file_error;

enum Staged {
    /// Without a name, in the folder of its target.
    #[cfg(target_os = "linux")]
    Nameless(File),
    /// Under a temporary name beside its target.
    Named(NamedTempFile),
    /// What is no regular file (a pipe, /dev/null, standard output) is written at the end.
    Stream(Vec<u8>),
}

/// Files to be written together.
#[derive(Default)]
pub struct Outputs {
    staged: Vec<(PathBuf, Staged)>,
}

impl Outputs {
    /// Stages one file; `-` is standard output.
    pub fn add(&mut self, path: &Path, contents: &[u8]) -> Result<()> {
        let staged = stage(path, contents).map_err(|e| file_error("write", path, e))?;
        // A link is written through, as every compiler does.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let streamed = matches!(staged, Staged::Stream(_));
        if !streamed && self.staged.iter().any(|s| place(&s.0) == place(&path)) {
            let twice = format!("two outputs would be written to `{}`", path.display());
            return Err(Diagnostic::usage("USE001", twice));
        }
        self.staged.push((path, staged));
        Ok(())
    }

    /// Gives all files their names.
    pub fn commit(self) -> Result<()> {
        // First everything that can fail for lack of rights or space, then only renames.
        let mut renames: Vec<(PathBuf, tempfile::TempPath)> = Vec::new();
        let mut streams = Vec::new();
        for (path, staged) in self.staged {
            match staged {
                #[cfg(target_os = "linux")]
                Staged::Nameless(file) => {
                    let temp =
                        linux::link(&file, &path).map_err(|e| file_error("write", &path, e))?;
                    renames.push((path, temp));
                }
                Staged::Named(file) => renames.push((path, file.into_temp_path())),
                Staged::Stream(contents) => streams.push((path, contents)),
            }
        }
        for (path, temp) in renames {
            temp.persist(&path)
                .map_err(|e| file_error("write", &path, e.error))?;
        }
        for (path, contents) in streams {
            stream(&path, &contents).map_err(|e| file_error("write", &path, e))?;
        }
        Ok(())
    }
}

/// Writes to standard output; that nobody reads it any more is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(file_error("write", Path::new("-"), e))
        }
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// One spelling of a path, whether there is a file yet or not.
fn place(path: &Path) -> PathBuf {
    let folder = fs::canonicalize(folder(path)).unwrap_or_else(|_| folder(path).to_path_buf());
    folder.join(path.file_name().unwrap_or_default())
}

fn stage(path: &Path, contents: &[u8]) -> io::Result<Staged> {
    if path == Path::new("-") || fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return Ok(Staged::Stream(contents.to_vec()));
    }
    if fs::metadata(path).is_ok_and(|m| m.is_dir()) {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    if !folder(path).is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no folder `{}`", folder(path).display()),
        ));
    }
    #[cfg(target_os = "linux")]
    if let Ok(mut file) = linux::nameless(folder(path)) {
        file.write_all(contents)?;
        return Ok(Staged::Nameless(file));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".onnxc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder(path))?;
    file.write_all(contents)?;
    Ok(Staged::Named(file))
}

fn stream(path: &Path, contents: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(contents)?;
        return out.flush();
    }
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(contents)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Path, PathBuf, folder};
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// A file without a name.
    pub fn nameless(folder: &Path) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(open(folder, flags, Mode::from_raw_mode(0o666))?);
        // Without /proc it could never get a name; better to know now.
        std::fs::symlink_metadata(name_of(&file))?;
        Ok(file)
    }

    fn name_of(file: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }

    /// Gives it a temporary name beside `path`, since only a rename can replace what is there.
    pub fn link(file: &File, path: &Path) -> io::Result<tempfile::TempPath> {
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        for n in 0..1000u32 {
            let name = folder(path).join(format!(".{stem}.{}.{n}", std::process::id()));
            match linkat(CWD, name_of(file), CWD, &name, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => return tempfile::TempPath::try_from_path(name),
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "no free temporary name beside it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let names = |d: &Path| {
            let mut v: Vec<String> = fs::read_dir(d)
                .unwrap()
                .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            v.sort();
            v
        };
        let mut o = Outputs::default();
        o.add(&dir.path().join("a.o"), b"one").unwrap();
        assert!(o.add(&dir.path().join("missing/b.o"), b"two").is_err());
        drop(o);
        assert!(names(dir.path()).is_empty());

        fs::write(dir.path().join("a.o"), b"old and longer").unwrap();
        let mut o = Outputs::default();
        o.add(&dir.path().join("a.o"), b"new").unwrap();
        o.add(&dir.path().join("a.h"), b"head").unwrap();
        assert_eq!(fs::read(dir.path().join("a.o")).unwrap(), b"old and longer");
        o.commit().unwrap();
        assert_eq!(names(dir.path()), ["a.h", "a.o"]);
        assert_eq!(fs::read(dir.path().join("a.o")).unwrap(), b"new");
        // One file for two outputs, however it is spelled.
        let mut o = Outputs::default();
        o.add(&dir.path().join("b.o"), b"one").unwrap();
        let again = o.add(&dir.path().join("./b.o"), b"two").unwrap_err();
        assert!(again.to_string().contains("two outputs"), "{again}");
        drop(o);
        assert_eq!(names(dir.path()), ["a.h", "a.o"]);
    }
}
