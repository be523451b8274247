//! numpy's `.npz` files: zip archives of `.npy` members, deflated or stored.
//!
//! Members are read when asked for, so that a large archive costs only what is used. Written archives have no times in
//! them and are the same bytes for the same arrays.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{bad_data, npy};
use crate::failure::file_error;

/// An open archive.
pub struct Npz {
    name: String,
    archive: ZipArchive<BufReader<File>>,
}

impl Npz {
    /// Opens an archive.
    pub fn open(path: &Path) -> Result<Npz> {
        let file = File::open(path).map_err(|e| file_error("read", path, e))?;
        let name = path.display().to_string();
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| bad_data(format!("`{name}`"), format!("not a .npz file: {e}")))?;
        Ok(Npz { name, archive })
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> Vec<String> {
        (0..self.archive.len())
            .filter_map(|i| self.archive.name_for_index(i)?.ok())
            .filter_map(|n| Some(n.strip_suffix(".npy")?.to_string()))
            .collect()
    }

    /// Whether there is an array of that name.
    pub fn has(&self, name: &str) -> bool {
        self.archive
            .index_for_name(&format!("{name}.npy"))
            .is_some()
    }

    /// Reads an array.
    pub fn get(&mut self, name: &str) -> Result<Tensor> {
        let what = format!("{}:{name}", self.name);
        let broken = |e: String| bad_data(format!("`{what}`"), e);
        let mut member = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(|e| broken(e.to_string()))?;
        let mut data = Vec::new();
        // The size in the directory is the file's word only: what comes beyond it is not read, and no memory is taken ahead.
        let claimed = member.size();
        member
            .by_ref()
            .take(claimed)
            .read_to_end(&mut data)
            .map_err(|e| broken(e.to_string()))?;
        npy::read(&what, &data)
    }
}

/// Bytes of an archive of named arrays.
pub fn write(arrays: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let broken = |e: String| bad_data("the archive of outputs", e);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in arrays {
        let data = npy::write(tensor);
        let options = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Deflated)
            .large_file(data.len() >= 1 << 31);
        zip.start_file(format!("{name}.npy"), options)
            .map_err(|e| broken(e.to_string()))?;
        zip.write_all(&data).map_err(|e| broken(e.to_string()))?;
    }
    Ok(zip
        .finish()
        .map_err(|e| broken(e.to_string()))?
        .into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let arrays = vec![
            ("c0_in0".to_string(), Tensor::f32(&[2], &[1.0, f32::NAN])),
            ("label".to_string(), Tensor::i64(&[], &[3])),
        ];
        let bytes = write(&arrays).unwrap();
        assert_eq!(bytes, write(&arrays).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npz");
        std::fs::write(&path, &bytes).unwrap();
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.names(), ["c0_in0", "label"]);
        assert_eq!(npz.get("c0_in0").unwrap().data, arrays[0].1.data);
        assert_eq!(npz.get("label").unwrap(), arrays[1].1);
        assert!(npz.get("missing").is_err());
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert!(Npz::open(&path).is_err());
    }
}
