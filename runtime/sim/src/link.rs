//! Messages between driver and device: six words over a socket of packets, at times with a file descriptor.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// A message: kind, its own number, and what the kind says. Replies have the number of what they answer.
pub(crate) type Message = [u64; 6];

/// To the device: is it there? Its reply says so.
pub(crate) const HELLO: u64 = 1;
/// Takes a region: model, bytes of the memory that comes with it. The reply has a status.
pub(crate) const LOAD: u64 = 2;
/// Lets go of a model. No reply.
pub(crate) const UNLOAD: u64 = 3;
/// Begins a job of a model. The reply, when it is done, has a status.
pub(crate) const SUBMIT: u64 = 4;
/// Stops the job of that number. The reply has a status.
pub(crate) const CANCEL: u64 = 5;
/// From the device: a status.
pub(crate) const REPLY: u64 = 6;

/// A reply.
pub(crate) fn reply(to: u64, status: i32) -> Message {
    [REPLY, to, u64::from(status.cast_unsigned()), 0, 0, 0]
}

/// Status of a reply.
pub(crate) fn status(m: &Message) -> i32 {
    (m[2] as u32).cast_signed()
}

/// Sends a message.
pub(crate) fn send(socket: impl AsFd, m: &Message, fd: Option<&OwnedFd>) -> Result<(), Errno> {
    let bytes: Vec<u8> = m.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.iter().map(|f| f.as_fd()).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            done => return done.map(drop),
        }
    }
}

/// Receives a message; `None` where the other side is gone or sent something else.
pub(crate) fn receive(socket: impl AsFd) -> Option<(Message, Option<OwnedFd>)> {
    let mut bytes = [0u8; 48];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            got => break got.ok()?,
        }
    };
    if got.bytes != bytes.len() {
        return None;
    }
    let fd = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let (words, _) = bytes.as_chunks::<8>();
    let mut m = [0; 6];
    m.iter_mut()
        .zip(words)
        .for_each(|(m, w)| *m = u64::from_le_bytes(*w));
    Some((m, fd))
}
