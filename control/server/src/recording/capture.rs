//! The pcapng files of a tap: whole blocks, files of bounded size, nothing outside of the folder.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::headers;
use crate::ApiError;

/// What is written at once.
const BUFFER: usize = 64 << 10;
/// Type, both lengths, the five fixed fields, the option of 4 octets and the end of options.
const PACKET_BLOCK: usize = 12 + 20 + 8 + 4;
/// Type of a block that holds a packet.
const ENHANCED_PACKET: u32 = 6;
/// `epb_flags`: the packet was received.
const INBOUND: u32 = 1;
/// Timestamps are nanoseconds: 10 to the power of minus so many seconds.
const NANOSECONDS: u8 = 9;

/// How large files become, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) files: u32,
}

/// What was written, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Written {
    packets: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    files: AtomicU64,
}

/// [`Written`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    /// Packets that are in a file, and their octets without headers.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Packets that should be in one.
    pub(crate) lost: u64,
    /// Files that were begun.
    pub(crate) files: u64,
}

impl Written {
    pub(crate) fn amounts(&self) -> Amounts {
        let [packets, bytes, lost, files] =
            [&self.packets, &self.bytes, &self.lost, &self.files].map(|count| count.load(Ordering::Relaxed));
        Amounts { packets, bytes, lost, files }
    }

    pub(super) fn lose(&self, packets: u64) {
        self.lost.fetch_add(packets, Ordering::Relaxed);
    }
}

/// Why no more can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The last file is as large as it may be.
    #[error("the last file is full")]
    Full,
    /// The file system.
    #[error("cannot write {file}: {error}")]
    Storage {
        /// Which file.
        file: String,
        /// The system's reason.
        error: io::Error,
    },
}

/// The files of one tap, of which one is open.
pub(crate) struct Capture {
    folder: OwnedFd,
    name: String,
    bounds: Bounds,
    file: File,
    /// Blocks that are not in the file yet.
    writer: PcapNgWriter<Vec<u8>>,
    /// Octets of whole blocks in the open file.
    size: u64,
    /// Packets among the blocks that are not in the file yet, and their octets.
    waiting: (u64, u64),
    written: Arc<Written>,
    packet: Vec<u8>,
}

impl Capture {
    /// Creates the first file, for nobody else to read. The comment stands at the beginning of each.
    pub(crate) fn create(
        folder: &Path,
        name: &str,
        bounds: Bounds,
        comment: &str,
        written: Arc<Written>,
    ) -> Result<Self, ApiError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty()).map_err(|error| {
            let message = format!("the folder {} cannot be opened: {error}", folder.display());
            ApiError::precondition("NO_FOLDER", message, "create the folder of recording.folder")
        })?;
        let file = create(&folder, &file_name(name, 1)).map_err(|error| refused(name, error))?;
        written.files.store(1, Ordering::Relaxed);
        let writer = begin(section(comment), &[]).map_err(|error| {
            ApiError::precondition("NO_FILE", format!("the file cannot be begun: {error}"), "see the reason")
        })?;
        let (name, packet) = (name.to_owned(), Vec::new());
        Ok(Self { folder, name, bounds, file, writer, size: 0, waiting: (0, 0), written, packet })
    }

    /// Describes where packets come from; the number is for [`Self::put`].
    pub(crate) fn interface(&mut self, name: String, comment: String) -> Result<u32, Stop> {
        let number = self.writer.interfaces().len() as u32;
        let mut block = InterfaceDescriptionBlock::new(DataLink::RAW, 0);
        block.options = vec![
            InterfaceDescriptionOption::Comment(comment.into()),
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        self.writer.write_pcapng_block(block).map_err(|error| self.broken(&error))?;
        Ok(number)
    }

    /// Adds a packet that came at that time after 1970.
    pub(crate) fn put(
        &mut self,
        interface: u32,
        at: Duration,
        from: std::net::SocketAddr,
        to: std::net::SocketAddr,
        media: &[u8],
    ) -> Result<(), Stop> {
        let mut packet = std::mem::take(&mut self.packet);
        headers::write(from, to, media, &mut packet);
        let done = self.put_packet(interface, at, &packet);
        self.packet = packet;
        done?;
        self.waiting.0 += 1;
        self.waiting.1 += media.len() as u64;
        if self.writer.get_ref().len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn put_packet(&mut self, interface: u32, at: Duration, packet: &[u8]) -> Result<(), Stop> {
        let block = (PACKET_BLOCK + packet.len().next_multiple_of(4)) as u64;
        if self.size + self.writer.get_ref().len() as u64 + block > self.bounds.bytes {
            self.next_file()?;
        }
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: at,
            original_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
            options: vec![EnhancedPacketOption::Flags(INBOUND)],
        };
        self.writer.write_pcapng_block(block).map_err(|error| self.broken(&error))?;
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), Stop> {
        self.flush()?;
        let next = self.written.amounts().files + 1;
        if next > u64::from(self.bounds.files) {
            return Err(Stop::Full);
        }
        let file = file_name(&self.name, next);
        self.file = create(&self.folder, &file)
            .map_err(|error| Stop::Storage { file: file.clone(), error: error.into() })?;
        self.written.files.store(next, Ordering::Relaxed);
        let (section, interfaces) = (self.writer.section().clone(), self.writer.interfaces().to_vec());
        self.writer = begin(section, &interfaces).map_err(|error| self.broken(&error))?;
        self.size = 0;
        Ok(())
    }

    /// Writes what was added. What cannot be is left out whole: the file ends with a block, not within one.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        let buffer = std::mem::take(self.writer.get_mut());
        let (done, failed) = match write(&mut self.file, &buffer) {
            Ok(()) => (buffer.len(), None),
            Err((done, error)) => (done, Some(error)),
        };
        let (packets, bytes) = std::mem::take(&mut self.waiting);
        let whole = if failed.is_some() { whole_blocks(&buffer[..done]) } else { (done, packets, bytes) };
        self.size += whole.0 as u64;
        self.written.packets.fetch_add(whole.1, Ordering::Relaxed);
        self.written.bytes.fetch_add(whole.2, Ordering::Relaxed);
        self.written.lose(packets.saturating_sub(whole.1));
        let Some(error) = failed else {
            *self.writer.get_mut() = buffer;
            self.writer.get_mut().clear();
            return Ok(());
        };
        // Less than that is not to be done on a disk that is full.
        let _ = self.file.set_len(self.size);
        Err(Stop::Storage { file: file_name(&self.name, self.written.amounts().files), error })
    }

    /// Whether something was added that is not written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.writer.get_ref().is_empty()
    }

    /// Writes the rest, and has it on the disk. Blocks.
    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        self.flush()?;
        let file = file_name(&self.name, self.written.amounts().files);
        self.file.sync_all().map_err(|error| Stop::Storage { file, error })
    }

    /// Takes the first file away: there was to be no tap after all.
    pub(crate) fn discard(self) {
        // It is empty, and in nobody's way but that of another try.
        let _ = unlinkat(&self.folder, file_name(&self.name, 1), AtFlags::empty());
    }

    fn broken(&self, error: &pcap_file::PcapError) -> Stop {
        let file = file_name(&self.name, self.written.amounts().files);
        Stop::Storage { file, error: io::Error::other(error.to_string()) }
    }
}

/// The name of a tap's file of that number, from 1 on.
pub(crate) fn file_name(name: &str, number: u64) -> String {
    if number == 1 { format!("{name}.pcapng") } else { format!("{name}.{number}.pcapng") }
}

fn create(folder: &OwnedFd, name: &str) -> Result<File, Errno> {
    // Never one that is there already, be it by a link.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

fn refused(name: &str, error: Errno) -> ApiError {
    let file = file_name(name, 1);
    match error {
        Errno::EXIST => {
            let message = format!("{file} exists already in the folder of recordings");
            let remedy = "choose another name; recordings are never written over";
            ApiError::precondition("FILE_EXISTS", message, remedy).at("file.name")
        }
        Errno::NOSPC | Errno::DQUOT => {
            let message = format!("{file} cannot be created: {error}");
            ApiError::exhausted("DISK_FULL", message, "make room in the folder of recordings")
        }
        error => {
            let message = format!("{file} cannot be created: {error}");
            let remedy = "see that the daemon may write to the folder of recording.folder";
            ApiError::precondition("NO_FILE", message, remedy)
        }
    }
}

fn section(comment: &str) -> SectionHeaderBlock<'static> {
    let application = concat!("sluice ", env!("CARGO_PKG_VERSION"));
    SectionHeaderBlock {
        endianness: Endianness::Little,
        options: vec![
            SectionHeaderOption::Comment(comment.to_owned().into()),
            SectionHeaderOption::UserApplication(application.into()),
        ],
        ..SectionHeaderBlock::default()
    }
}

fn begin(
    section: SectionHeaderBlock<'static>,
    interfaces: &[InterfaceDescriptionBlock<'static>],
) -> Result<PcapNgWriter<Vec<u8>>, pcap_file::PcapError> {
    let mut writer = PcapNgWriter::with_section_header(Vec::with_capacity(BUFFER + 4096), section)?;
    for interface in interfaces {
        writer.write_pcapng_block(interface.clone())?;
    }
    Ok(writer)
}

/// Writes all of it, or says how much was.
fn write(file: &mut File, mut octets: &[u8]) -> Result<(), (usize, io::Error)> {
    let all = octets.len();
    while !octets.is_empty() {
        match file.write(octets) {
            Ok(0) => return Err((all - octets.len(), io::ErrorKind::WriteZero.into())),
            Ok(written) => octets = octets.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((all - octets.len(), error)),
        }
    }
    Ok(())
}

/// How far whole blocks reach, and how many packets are in them, with how many octets behind their headers.
fn whole_blocks(octets: &[u8]) -> (usize, u64, u64) {
    let word = |at: usize| octets.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
    let (mut end, mut packets, mut bytes) = (0, 0, 0);
    while let (Some(kind), Some(length)) = (word(end), word(end + 4)) {
        let next = end + length as usize;
        if length < 12 || next > octets.len() {
            break;
        }
        if kind == ENHANCED_PACKET {
            let packet = octets.get(end + 28..next).unwrap_or_default();
            packets += 1;
            bytes += u64::from(word(end + 20).unwrap_or(0)).saturating_sub(headers::length(packet) as u64);
        }
        end = next;
    }
    (end, packets, bytes)
}

#[cfg(test)]
mod tests;
