//! Attaching to an interface, in the best mode that it takes, and taking over what a crash left behind.

use std::io;
use std::path::PathBuf;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use sluice_classifier::layout;

use super::error::kernel_answer;
use super::pin::Pin;
use super::query::{AttachedMode, Query, Seen};
use super::{Counters, Maps, Xdp, XdpError};

/// Where the program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver if it can, else in the generic receive path.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the generic receive path.
    Generic,
}

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the program is to run.
    pub mode: Mode,
    /// Room for local ports.
    pub max_legs: u32,
    /// Pin the link in bpffs where that is possible, so that the program outlives a crash.
    pub pin: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::Auto, max_legs: layout::MAX_LEGS, pin: true }
    }
}

/// The program on an interface. Dropping it detaches; only a crash leaves the program behind.
pub struct Attached {
    xdp: Xdp,
    interface: String,
    ifindex: u32,
    program: u32,
    query: Query,
    attachment: Attachment,
    pin: Option<Pin>,
}

/// How it went.
struct Attachment {
    link: Option<FdLink>,
    mode: AttachedMode,
    took_over: bool,
    native_refused: Option<io::Error>,
    unpinned: Option<io::Error>,
}

impl Attached {
    /// Loads the program and attaches it to the interface of this name.
    pub fn attach(interface: &str, options: &Options) -> Result<Self, XdpError> {
        let ifindex = index_of(interface)?;
        let query = Query::open().map_err(|source| kernel("open a netlink socket", source))?;
        let mut xdp = Xdp::load(options.max_legs)?;
        let program = xdp.id()?;
        let (pin, unpinned) = match options.pin.then(|| Pin::prepare(interface)).transpose()? {
            Some(Ok(pin)) => (Some(pin), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let mut attaching = Attaching { xdp: &mut xdp, interface, ifindex, query: &query, pin: pin.as_ref() };
        let result = attaching.run(options.mode);
        let mut attachment = match (result, &pin) {
            (Ok(attachment), _) => attachment,
            (Err(error), Some(pin)) => {
                // Leave no empty directory behind; the error that is worth telling is the first.
                let _ = pin.remove();
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        attachment.unpinned = attachment.unpinned.or(unpinned);
        Ok(Self { xdp, interface: interface.into(), ifindex, program, query, attachment, pin })
    }

    /// The program's maps.
    pub fn maps(&mut self) -> &mut Maps {
        &mut self.xdp.maps
    }

    /// The program's counters, summed over all CPUs; they start at zero with each attach.
    pub fn counters(&self) -> Result<Counters, XdpError> {
        self.xdp.maps.counters()
    }

    /// The interface's name at the time of attaching.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's index.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Where the program runs.
    pub fn mode(&self) -> AttachedMode {
        self.attachment.mode
    }

    /// Why the driver refused, if `Auto` had to fall back to the generic mode.
    pub fn native_refused(&self) -> Option<&io::Error> {
        self.attachment.native_refused.as_ref()
    }

    /// Whether a program that a crashed daemon had left was replaced.
    pub fn took_over(&self) -> bool {
        self.attachment.took_over
    }

    /// The pinned link, if the program outlives a crash.
    pub fn pinned_at(&self) -> Option<PathBuf> {
        self.pin.as_ref().map(Pin::link).filter(|link| link.exists())
    }

    /// Why the link is not pinned although it should be. A crash then detaches the program.
    pub fn unpinned(&self) -> Option<&io::Error> {
        self.attachment.unpinned.as_ref()
    }

    /// Whether the interface (still) has this very program: somebody may have detached it, or removed the
    /// interface.
    pub fn is_attached(&self) -> bool {
        matches!(self.query.program_of(self.ifindex), Ok(Some(seen)) if seen.program == self.program)
    }

    /// Detaches the program and removes its pin.
    pub fn detach(mut self) -> Result<(), XdpError> {
        self.release()
    }

    /// The link detaches once neither a pin nor a descriptor holds it; the pin's lock goes last.
    fn release(&mut self) -> Result<(), XdpError> {
        let pin = self.pin.take();
        let unlinked = pin.as_ref().map_or(Ok(()), Pin::remove_link);
        drop(self.attachment.link.take());
        unlinked?;
        pin.map_or(Ok(()), |pin| pin.remove())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Nobody is left to tell; the next daemon takes over what could not be removed.
        let _ = self.release();
    }
}

struct Attaching<'a> {
    xdp: &'a mut Xdp,
    interface: &'a str,
    ifindex: u32,
    query: &'a Query,
    pin: Option<&'a Pin>,
}

impl Attaching<'_> {
    fn run(&mut self, mode: Mode) -> Result<Attachment, XdpError> {
        match self.take_over(mode)? {
            Some(attachment) => Ok(attachment),
            None => self.attach_anew(mode),
        }
    }

    /// Switches the link that a crashed daemon left to our program, without a moment between the two.
    /// A link that is no longer of use (the interface was made anew, or another mode is wanted) is removed.
    fn take_over(&mut self, mode: Mode) -> Result<Option<Attachment>, XdpError> {
        let Some(pin) = self.pin else { return Ok(None) };
        let Ok(pinned) = PinnedLink::from_pin(pin.link()) else {
            pin.remove_link()?;
            return Ok(None);
        };
        let link = FdLink::from(pinned);
        let replaced = match (self.seen()?, link.info()) {
            (Some(seen), Ok(info)) if info.program_id() == seen.program && mode.allows(seen.mode) => {
                self.replace(link).map(|link| (link, seen.mode))
            }
            _ => None,
        };
        let Some((link, mode)) = replaced else {
            pin.remove_link()?;
            return Ok(None);
        };
        Ok(Some(Attachment { link: Some(link), mode, took_over: true, native_refused: None, unpinned: None }))
    }

    fn replace(&mut self, link: FdLink) -> Option<FdLink> {
        let program = self.xdp.program_mut().ok()?;
        let id = program.attach_to_link(XdpLink::try_from(link).ok()?).ok()?;
        FdLink::try_from(program.take_link(id).ok()?).ok()
    }

    fn attach_anew(&mut self, mode: Mode) -> Result<Attachment, XdpError> {
        let (link, mode, native_refused) = match mode {
            Mode::Native => (self.attach_in(AttachedMode::Native)?, AttachedMode::Native, None),
            Mode::Generic => (self.attach_in(AttachedMode::Generic)?, AttachedMode::Generic, None),
            Mode::Auto => match self.attach_in(AttachedMode::Native) {
                Ok(link) => (link, AttachedMode::Native, None),
                Err(XdpError::Unsupported { source, .. }) => {
                    (self.attach_in(AttachedMode::Generic)?, AttachedMode::Generic, Some(source))
                }
                Err(error) => return Err(error),
            },
        };
        let (link, unpinned) = self.pin_link(link, mode)?;
        Ok(Attachment { link: Some(link), mode, took_over: false, native_refused, unpinned })
    }

    fn attach_in(&mut self, mode: AttachedMode) -> Result<FdLink, XdpError> {
        let flag = match mode {
            AttachedMode::Native => XdpMode::Driver,
            AttachedMode::Generic => XdpMode::Skb,
        };
        let ifindex = self.ifindex;
        let program = self.xdp.program_mut()?;
        let linked = program.attach_to_if_index(ifindex, flag).and_then(|id| program.take_link(id));
        let link = linked.map_err(|error| self.refused(mode, &error))?;
        FdLink::try_from(link).map_err(|error| XdpError::from_aya("keep the XDP program attached", &error))
    }

    fn refused(&self, mode: AttachedMode, error: &ProgramError) -> XdpError {
        let source = kernel_answer(error);
        match source.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => XdpError::OtherProgram {
                interface: self.interface.into(),
                program: self.seen().ok().flatten().map(|seen| seen.program),
            },
            Some(libc::EPERM | libc::EACCES) => XdpError::from_aya("attach the XDP program", error),
            Some(libc::ENODEV) => XdpError::NoSuchInterface { name: self.interface.into() },
            _ => XdpError::Unsupported { interface: self.interface.into(), mode: mode.name(), source },
        }
    }

    /// Pins the link; aya gives a link up when that fails, so that it is then attached once more.
    fn pin_link(
        &mut self,
        link: FdLink,
        mode: AttachedMode,
    ) -> Result<(FdLink, Option<io::Error>), XdpError> {
        let Some(pin) = self.pin else { return Ok((link, None)) };
        match link.pin(pin.link()) {
            Ok(pinned) => Ok((pinned.into(), None)),
            Err(error) => Ok((self.attach_in(mode)?, Some(kernel_answer(&error)))),
        }
    }

    fn seen(&self) -> Result<Option<Seen>, XdpError> {
        self.query
            .program_of(self.ifindex)
            .map_err(|source| kernel("ask which XDP program the interface has", source))
    }
}

impl Mode {
    fn allows(self, mode: AttachedMode) -> bool {
        match self {
            Self::Auto => true,
            Self::Native => mode == AttachedMode::Native,
            Self::Generic => mode == AttachedMode::Generic,
        }
    }
}

fn index_of(interface: &str) -> Result<u32, XdpError> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(|error| kernel("open a socket to look the interface up", error.into()))?;
    netdevice::name_to_index(&any, interface)
        .map_err(|_| XdpError::NoSuchInterface { name: interface.into() })
}

fn kernel(action: &'static str, source: io::Error) -> XdpError {
    XdpError::Kernel { action, source }
}
