//! Reading a model and the files beside it.
//!
//! External data is read from the model's own folder and nowhere else: the importer hands over checked relative paths, and
//! what a link points to is checked here again.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::onnx::Files;

use crate::args::flags::ModelFlags;
use crate::failure::file_error;

/// Files from this size on are mapped.
const MAPPED: u64 = 1 << 20;

/// A model's bytes, and where they came from.
pub struct Source {
    /// As the user wrote it.
    pub path: PathBuf,
    /// The file's contents.
    pub bytes: Bytes,
    /// The files beside it.
    pub folder: Folder,
}

/// The folder of a model.
pub struct Folder {
    /// `None` for a model from standard input.
    dir: Option<PathBuf>,
    used: RefCell<Vec<PathBuf>>,
    max: u64,
}

impl Source {
    /// Reads a model; `-` is standard input.
    pub fn open(path: &Path, flags: &ModelFlags) -> Result<Source> {
        let max = flags
            .max_model_size
            .unwrap_or(onnxc_compiler::onnx::Limits::default().max_model_size);
        let (bytes, dir) = if path == Path::new("-") {
            let mut data = Vec::new();
            std::io::stdin()
                .lock()
                .take(max.saturating_add(1))
                .read_to_end(&mut data)
                .map_err(|e| file_error("read", path, e))?;
            (Bytes::from(data), None)
        } else {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            (
                read(path, max)?,
                Some(parent.unwrap_or(Path::new(".")).to_path_buf()),
            )
        };
        Ok(Source {
            path: path.to_path_buf(),
            bytes,
            folder: Folder {
                dir,
                used: RefCell::default(),
                max,
            },
        })
    }

    /// Other contents under the same name, such as another form of the model.
    pub fn of_bytes(&self, bytes: Vec<u8>) -> Source {
        Source {
            path: self.path.clone(),
            bytes: Bytes::from(bytes),
            folder: Folder {
                dir: self.folder.dir.clone(),
                used: RefCell::default(),
                max: self.folder.max,
            },
        }
    }

    /// The name without folder and ending.
    pub fn stem(&self) -> String {
        if self.path == Path::new("-") {
            return "model".into();
        }
        let stem = self.path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// All files that were read, the model first.
    pub fn dependencies(&self) -> Vec<String> {
        let mut all = vec![self.path.clone()];
        let mut used = self.folder.used.borrow().clone();
        used.sort();
        used.dedup();
        all.extend(used);
        all.iter().map(|p| p.display().to_string()).collect()
    }
}

fn read(path: &Path, max: u64) -> Result<Bytes> {
    let meta = std::fs::metadata(path).map_err(|e| file_error("read", path, e))?;
    if meta.is_dir() {
        return Err(file_error("read", path, "it is a folder"));
    }
    if meta.len() > max {
        return Err(Diagnostic::limit(
            "ONNX006",
            format!(
                "`{}` has {} bytes, the limit is {max}",
                path.display(),
                meta.len()
            ),
        )
        .help("--max-model-size raises it"));
    }
    let failed = |e| file_error("read", path, e);
    // What is small, or no regular file, is read; the rest is mapped, so that weights cost no copy.
    if !meta.is_file() || meta.len() < MAPPED {
        return std::fs::read(path).map(Bytes::from).map_err(failed);
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    crate::loader::map_file(&file).map_err(failed)
}

impl Files for Folder {
    fn map(&self, location: &str) -> Result<Bytes> {
        let bad =
            |why: &str| Diagnostic::model("ONNX005", format!("external data `{location}`: {why}"));
        let Some(dir) = &self.dir else {
            return Err(
                bad("a model from standard input has no folder").help("give the model as a file")
            );
        };
        let path = dir.join(location);
        let real = path.canonicalize().map_err(|e| bad(&e.to_string()))?;
        let root = dir.canonicalize().map_err(|e| bad(&e.to_string()))?;
        if !real.starts_with(&root) {
            return Err(bad("a link leads out of the model's folder"));
        }
        if !real.is_file() {
            return Err(bad("it is no regular file"));
        }
        let data = read(&path, self.max).map_err(|d| bad(&d.message))?;
        self.used.borrow_mut().push(path);
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_data_stays_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("m");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("w.bin"), b"1234").unwrap();
        std::fs::write(dir.path().join("secret"), b"x").unwrap();
        let folder = Folder {
            dir: Some(inner.clone()),
            used: RefCell::default(),
            max: 100,
        };
        assert_eq!(&folder.map("w.bin").unwrap()[..], b"1234");
        assert!(folder.map("missing").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
            assert!(folder.map("link").is_err());
        }
        assert_eq!(folder.used.borrow().len(), 1);
    }
}
