//! `delta` and `patch`: a file as its difference from another, for updates over thin links.
//!
//! A patch is a header of [`HEADER`] bytes, then what [`stream`] writes, by zlib. The header has, numbers with the least byte first: [`MAGIC`]; lengths of
//! the old file and the new one; SHA-256 of the old file, the new one and all of the patch but these 32 bytes. Nothing is written that does not
//! have the digest it must have. Form 1 had the stream of bsdiff, whose suffix arrays took 17 bytes of memory for each byte.

mod align;
mod stream;

use std::path::Path;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use sha2::{Digest, Sha256};

use crate::args::updates::{Delta, Patch};
use crate::failure::{Outcome, Status, file_error};
use crate::outputs::{self, Outputs};
use crate::table::thousands;

/// How a patch begins; the last byte is the version of the form.
const MAGIC: [u8; 8] = *b"onnxcdp\x02";
/// Bytes before the stream.
const HEADER: usize = 8 + 2 * 8 + 3 * 32;
/// Where the patch's own digest lies.
const OWN: std::ops::Range<usize> = HEADER - 32..HEADER;
/// What one byte of a zlib stream can become at most.
const MOST: usize = 1032;

type Hash = [u8; 32];

fn hash(parts: &[&[u8]]) -> Hash {
    let mut h = Sha256::new();
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| file_error("read", path, e))
}

/// Writes a patch.
pub fn delta(flags: &Delta) -> Outcome {
    let (old, new) = (read(&flags.old)?, read(&flags.new)?);
    let failed = |e: std::io::Error| file_error("write", &flags.output, e);
    let patch = make(&old, &new).map_err(failed)?;
    // What a patch gives is known before it leaves.
    if apply(&old, &patch).as_deref() != Ok(&new[..]) {
        return Err(Diagnostic::internal("a patch does not give the new file").into());
    }
    let mut files = Outputs::default();
    files.add(&flags.output, &patch)?;
    files.commit()?;
    outputs::print(&format!(
        "{} bytes in place of {} ({:.1}%)\n",
        thousands(patch.len() as u64),
        thousands(new.len() as u64),
        100.0 * patch.len() as f64 / new.len().max(1) as f64
    ))?;
    Ok(Status::Done)
}

/// Writes the new file.
pub fn patch(flags: &Patch) -> Outcome {
    let (old, patch) = (read(&flags.old)?, read(&flags.patch)?);
    let new = apply(&old, &patch).map_err(|w| w.said(&flags.old, &flags.patch))?;
    let mut files = Outputs::default();
    files.add(&flags.output, &new)?;
    files.commit()?;
    Ok(Status::Done)
}

/// The patch from one content to another.
pub fn make(old: &[u8], new: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    for n in [old.len(), new.len()] {
        out.extend((n as u64).to_le_bytes());
    }
    out.extend(hash(&[old]));
    out.extend(hash(&[new]));
    let head = out.len();
    out.extend([0; 32]);
    let mut deflate = ZlibEncoder::new(out, Compression::default());
    stream::write(old, new, &mut deflate)?;
    let mut out = deflate.finish()?;
    let own = hash(&[&out[..head], &out[HEADER..]]);
    out[OWN].copy_from_slice(&own);
    Ok(out)
}

/// Why a patch can't be applied.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Wrong {
    /// It is no patch.
    NoPatch,
    /// It is one of another form.
    Version(u8),
    /// It was cut or changed on its way.
    Damaged,
    /// It belongs to another old file.
    Old,
    /// It gives something else than it says.
    New,
}

impl Wrong {
    fn said(&self, old: &Path, patch: &Path) -> Box<Diagnostic> {
        let (old, patch) = (old.display(), patch.display());
        let (text, help) = match self {
            Wrong::NoPatch => (
                format!("`{patch}` is no patch of onnxc"),
                "`onnxc delta OLD NEW -o PATCH` writes one",
            ),
            Wrong::Version(v) => (
                format!(
                    "`{patch}` has form {v}, this program reads form {}",
                    MAGIC[7]
                ),
                match *v < MAGIC[7] {
                    true => "make it anew with `onnxc delta`",
                    false => "a newer onnxc reads it",
                },
            ),
            Wrong::Damaged => (
                format!("`{patch}` is damaged: its digest is not the one it carries"),
                "fetch it again",
            ),
            Wrong::Old => (
                format!("`{old}` is not the file that `{patch}` was made from"),
                "a patch fits one version of a file alone; fetch the new file whole",
            ),
            Wrong::New => (
                format!("`{patch}` does not give the file that it promises"),
                "fetch it again",
            ),
        };
        Diagnostic::usage("USE002", text).help(help)
    }
}

/// The new content.
pub fn apply(old: &[u8], patch: &[u8]) -> std::result::Result<Vec<u8>, Wrong> {
    let (Some(head), Some(body)) = (patch.get(..HEADER), patch.get(HEADER..)) else {
        return match patch.starts_with(&MAGIC[..7]) {
            true => Err(Wrong::Damaged),
            false => Err(Wrong::NoPatch),
        };
    };
    if head[..7] != MAGIC[..7] {
        return Err(Wrong::NoPatch);
    }
    if head[7] != MAGIC[7] {
        return Err(Wrong::Version(head[7]));
    }
    if hash(&[&head[..OWN.start], body]) != head[OWN] {
        return Err(Wrong::Damaged);
    }
    let number = |k: usize| {
        let mut n = [0; 8];
        n.copy_from_slice(&head[8 + 8 * k..16 + 8 * k]);
        u64::from_le_bytes(n)
    };
    let digest = |k: usize| &head[24 + 32 * k..56 + 32 * k];
    if number(0) != old.len() as u64 || hash(&[old]) != *digest(0) {
        return Err(Wrong::Old);
    }
    let size = usize::try_from(number(1)).map_err(|_| Wrong::New)?;
    // No memory is taken for what these bytes can't become.
    if size / MOST > body.len() {
        return Err(Wrong::New);
    }
    match stream::read(old, size, &mut ZlibDecoder::new(body)) {
        Ok(new) if hash(&[&new]) == *digest(1) => Ok(new),
        _ => Err(Wrong::New),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_give_the_new_file_or_nothing() {
        let old: Vec<u8> = (0..5000u32).map(|k| ((k * k) >> 3) as u8).collect();
        let mut new = old.clone();
        new.splice(700..720, *b"something else");
        new.extend(b"more");
        for (a, b) in [
            (&old, &new),
            (&new, &old),
            (&old, &vec![]),
            (&vec![], &new),
            (&old, &old),
        ] {
            let p = make(a, b).unwrap();
            assert_eq!(apply(a, &p).as_ref(), Ok(b));
        }
        let p = make(&old, &new).unwrap();
        assert!(p.len() < 400, "{}", p.len());
        assert_eq!(apply(&new, &p), Err(Wrong::Old));
        assert_eq!(apply(&old, b"what"), Err(Wrong::NoPatch));
        assert_eq!(apply(&old, &[0; 500]), Err(Wrong::NoPatch));
        // Any byte that changes and any cut is seen.
        for k in 0..p.len() {
            let mut bad = p.clone();
            bad[k] ^= 1;
            let why = apply(&old, &bad).unwrap_err();
            let meant = match k {
                0..7 => Wrong::NoPatch,
                7 => Wrong::Version(MAGIC[7] ^ 1),
                _ => Wrong::Damaged,
            };
            assert_eq!(why, meant, "byte {k}");
            assert!(apply(&old, &p[..k]).is_err());
        }
        // One that is whole and lies.
        let mut bad = p.clone();
        bad[60] ^= 1;
        let own = hash(&[&bad[..OWN.start], &bad[HEADER..]]);
        bad[OWN].copy_from_slice(&own);
        assert_eq!(apply(&old, &bad), Err(Wrong::New));
    }
}
