//! Touching memory before the first run, so that no run pays for page faults.

const PAGE: usize = 4096;

/// Reads a byte of every page: mapped weights come in from the file.
pub fn prefault(memory: &[u8]) {
    // The last byte may lie on a page of its own.
    for byte in memory.iter().step_by(PAGE).chain(memory.last()) {
        // SAFETY: a reference is always readable; volatile, so that the read is not left out.
        let _ = unsafe { core::ptr::read_volatile(byte) };
    }
}

/// Writes a byte of every page back as it is: the arena gets its memory.
pub fn prefault_mut(memory: &mut [u8]) {
    let touch = |byte: &mut u8| {
        // SAFETY: an exclusive reference may be read and written; volatile, so that neither is left out.
        unsafe { core::ptr::write_volatile(byte, core::ptr::read_volatile(byte)) };
    };
    memory.iter_mut().step_by(PAGE).for_each(touch);
    // It may lie on a page of its own.
    if let Some(last) = memory.last_mut() {
        touch(last);
    }
}
