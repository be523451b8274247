//! Memory that driver and device share: a file without a name, mapped by both.
//!
//! It begins with a table of words: bytes of commands and constants, number of ports, the bytes of each. Then commands, constants and the ports'
//! buffers follow, each aligned to 64. Both sides copy; neither ever holds a reference into it, since the other may write at any time.
#![allow(unsafe_code)]

use rustix::fd::OwnedFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Alignment of each part.
const ALIGN: usize = 64;

/// A mapping.
pub(crate) struct Shared {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: a mapping may be used from any thread; what is in it is copied, never borrowed.
unsafe impl Send for Shared {}
// SAFETY: as before.
unsafe impl Sync for Shared {}

impl Shared {
    /// A new file of so many bytes, and its mapping.
    pub(crate) fn create(bytes: usize) -> Option<(OwnedFd, Shared)> {
        let fd = rustix::fs::memfd_create("onnxc-sim", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        rustix::fs::ftruncate(&fd, bytes as u64).ok()?;
        let shared = Shared::map(&fd, bytes)?;
        Some((fd, shared))
    }

    /// Maps a file of at least so many bytes.
    pub(crate) fn map(fd: &OwnedFd, bytes: usize) -> Option<Shared> {
        let size = rustix::fs::fstat(fd).ok()?.st_size;
        if bytes == 0 || usize::try_from(size).ok()? < bytes {
            return None;
        }
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the system chooses; the file is as long.
        let base =
            unsafe { mmap(std::ptr::null_mut(), bytes, both, MapFlags::SHARED, fd, 0) }.ok()?;
        Some(Shared {
            base: base.cast(),
            bytes,
        })
    }

    /// Where a part begins, for a table of functions that wants an address.
    pub(crate) fn address(&self, offset: usize) -> *mut u8 {
        self.base.wrapping_add(offset)
    }

    /// Copies a part; `None` if it is not inside.
    pub(crate) fn read(&self, offset: usize, n: usize) -> Option<Vec<u8>> {
        (offset.checked_add(n)? <= self.bytes).then_some(())?;
        let mut out = vec![0; n];
        // SAFETY: inside of the mapping; a copy, whatever the other side does meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(offset), out.as_mut_ptr(), n) };
        Some(out)
    }

    /// Writes a part; says whether it is inside.
    pub(crate) fn write(&self, offset: usize, part: &[u8]) -> bool {
        let inside = offset
            .checked_add(part.len())
            .is_some_and(|end| end <= self.bytes);
        if inside {
            // SAFETY: as before.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), self.base.add(offset), part.len())
            };
        }
        inside
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped above, and nothing borrows from it. Failure would only keep it.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}

/// Where everything is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Places {
    pub(crate) cmd: (usize, usize),
    pub(crate) cst: (usize, usize),
    pub(crate) ports: Vec<(usize, usize)>,
    pub(crate) bytes: usize,
}

impl Places {
    /// From the sizes; `None` if they are too large.
    pub(crate) fn of(cmd: usize, cst: usize, ports: &[usize]) -> Option<Places> {
        let mut end = 8 * (3 + ports.len());
        let mut next = |n: usize| {
            let at = end.checked_next_multiple_of(ALIGN)?;
            end = at.checked_add(n)?;
            Some((at, n))
        };
        let (cmd, cst) = (next(cmd)?, next(cst)?);
        let ports: Option<Vec<_>> = ports.iter().map(|&n| next(n)).collect();
        Some(Places {
            cmd,
            cst,
            ports: ports?,
            bytes: end,
        })
    }

    /// The table at the beginning.
    pub(crate) fn head(&self) -> Vec<u8> {
        let sizes = self.ports.iter().map(|p| p.1);
        let words = [self.cmd.1, self.cst.1, self.ports.len()]
            .into_iter()
            .chain(sizes);
        words.flat_map(|w| (w as u64).to_le_bytes()).collect()
    }

    /// Read from the table.
    pub(crate) fn read(shared: &Shared) -> Option<Places> {
        let word = |i: usize| -> Option<usize> {
            let b = shared.read(8 * i, 8)?;
            usize::try_from(u64::from_le_bytes(b.try_into().ok()?)).ok()
        };
        let n = word(2)?;
        (n <= crate::format::MAX_PORTS as usize).then_some(())?;
        let ports: Option<Vec<usize>> = (0..n).map(|i| word(3 + i)).collect();
        let places = Places::of(word(0)?, word(1)?, &ports?)?;
        (places.bytes <= shared.bytes).then_some(places)
    }
}
