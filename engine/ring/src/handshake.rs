//! How an application asks for a ring: two messages there, two back, over a Unix socket that keeps messages apart.
//!
//! ```text
//! request   "SluiceRg", version │ session, leg, token: each its length in two octets, then its text
//! answer    0, and the memory and the doorbell as ancillary data │ 1, and why not, as text
//! mapped    2: the application has mapped the memory, which the gateway seals now
//! answer    0: the ring is in use │ 1, and why not, as text
//! ```
//!
//! Numbers are big-endian, texts UTF-8.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, recvmsg, send,
    sendmsg, socket_with,
};

use crate::endpoint::Offer;
use crate::passing::refuse_descriptors;

const MAGIC: &[u8; 9] = b"SluiceRg\x02";
pub(crate) const GRANTED: u8 = 0;
pub(crate) const REFUSED: u8 = 1;
pub(crate) const MAPPED: u8 = 2;
/// Octets of the longest text of a request.
pub const MAX_TEXT: usize = 256;
/// Octets of the longest message.
pub const MAX_MESSAGE: usize = 1024;

/// What an application asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The session.
    pub session: String,
    /// The leg whose peer the application is.
    pub leg: String,
    /// What `CreateLeg` gave to whoever may be that.
    pub token: String,
}

/// The token stays out of it.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({:?}, {:?})", self.session, self.leg)
    }
}

/// A message that is none of this protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// Why an application did not get a ring.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The gateway says why.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// What answered is no gateway of this version.
    #[error("whoever answered is no gateway of this version: {0}")]
    Answer(&'static str),
    /// The socket.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Request {
    /// As it is sent. A text of more than [`MAX_TEXT`] octets is an error.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut message = MAGIC.to_vec();
        for text in [&self.session, &self.leg, &self.token] {
            if text.len() > MAX_TEXT {
                return Err(Malformed("a name or token of more than 256 octets"));
            }
            message.extend((text.len() as u16).to_be_bytes());
            message.extend(text.as_bytes());
        }
        Ok(message)
    }

    /// What was sent.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut rest = message.strip_prefix(MAGIC).ok_or(Malformed("no request for a ring of version 2"))?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk().ok_or(Malformed("the request is cut off"))?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (text, after) = after.split_at_checked(length).ok_or(Malformed("the request is cut off"))?;
            rest = after;
            String::from_utf8(text.to_vec()).map_err(|_| Malformed("a text of the request is not UTF-8"))
        };
        let request = Self { session: text()?, leg: text()?, token: text()? };
        if rest.is_empty() { Ok(request) } else { Err(Malformed("the request is longer than it says")) }
    }
}

/// A socket on which a gateway listens. Nobody can pass descriptors over its connections, from Linux 6.16 on.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    // Connections have it from the listener, before anybody can send.
    refuse_descriptors(&socket)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// What the application at the other end asks for; an error if it is none, or sends what it should not.
pub fn receive_request(connection: impl AsFd) -> io::Result<Request> {
    let mut buffer = [0; MAX_MESSAGE];
    // The length even if the message is larger than the buffer.
    let (_, length) = recv(connection, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    let message = buffer.get(..length).ok_or_else(|| io::Error::other("the request is too long"))?;
    Request::decode(message).map_err(io::Error::other)
}

/// Gives the application what it asked for.
pub fn send_offer(connection: impl AsFd, offer: &Offer) -> io::Result<()> {
    let descriptors = [offer.memory.as_fd(), offer.doorbell.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for two descriptors"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(connection, &[IoSlice::new(&[GRANTED])], &mut ancillary, flags)?;
    Ok(())
}

/// Hears from the application that it has mapped the memory; an error if it says anything else, or has gone.
pub fn receive_mapped(connection: impl AsFd) -> io::Result<()> {
    let mut message = [0; 2];
    match recv(connection, &mut message[..], RecvFlags::DONTWAIT)? {
        (1, _) if message[0] == MAPPED => Ok(()),
        (0, _) => Err(io::Error::other("the application is gone")),
        _ => Err(io::Error::other("the application does not say that it has mapped the memory")),
    }
}

/// Tells the application that its ring is in use.
pub fn confirm(connection: impl AsFd) {
    // If it is gone, nobody wants to know.
    let _ = send(connection, &[GRANTED], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Tells the application why it gets nothing.
pub fn refuse(connection: impl AsFd, reason: &str) {
    let mut message = vec![REFUSED];
    message.extend(reason.as_bytes().iter().take(MAX_MESSAGE - 1));
    // If it is gone, nobody wants to know.
    let _ = send(connection, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Asks the gateway that listens at `path` for a ring; blocks until it answers.
pub fn connect(path: &Path, request: &Request) -> Result<(Offer, OwnedFd), Refusal> {
    let message = request.encode().map_err(io::Error::other)?;
    let connection = open(SocketFlags::CLOEXEC)?;
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    rustix::net::connect(&connection, &address).map_err(io::Error::from)?;
    match send(&connection, &message, SendFlags::NOSIGNAL) {
        // It refused before it was asked, and says why.
        Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let offer = receive_answer(&connection)?;
    Ok((offer, connection))
}

fn receive_answer(connection: &OwnedFd) -> Result<Offer, Refusal> {
    let (mut buffer, mut descriptors) = ([0; MAX_MESSAGE], Vec::new());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut reset = false;
    let received = loop {
        let into = &mut [IoSliceMut::new(&mut buffer)];
        match recvmsg(connection, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // It ended the connection with the request unread. Why is behind that, once it was told.
            Err(rustix::io::Errno::CONNRESET) if !reset => reset = true,
            other => break other.map_err(io::Error::from)?,
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Refusal::Answer(
            "more descriptors came than a ring has, or this process may have no more",
        ));
    }
    match buffer.get(..received.bytes).and_then(<[u8]>::split_first) {
        None => Err(Refusal::Answer("it ended the connection")),
        Some((&REFUSED, reason)) => Err(Refusal::Refused(String::from_utf8_lossy(reason).into_owned())),
        Some((&GRANTED, _)) => match <[OwnedFd; 2]>::try_from(descriptors) {
            Ok([memory, doorbell]) => Ok(Offer { memory, doorbell }),
            Err(_) => Err(Refusal::Answer("the descriptors of the ring did not come")),
        },
        Some(_) => Err(Refusal::Answer("its answer is neither yes nor no")),
    }
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}
