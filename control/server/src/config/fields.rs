//! Values that check themselves while they are read, so that an error names line and column.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use sluice_datapath::shared::Geometry;
use sluice_datapath::{Latching, Mode, WorkerCount};

/// A range of UDP ports, written `"16384-32767"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is no port range; write \"16384-32767\""));
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first < 1024 || last <= first {
            return Err(de::Error::custom(format!(
                "the port range {first}-{last} must begin at 1024 or above and hold at least two ports"
            )));
        }
        Ok(Self { first, last })
    }
}

/// A file mode, written in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(de::Error::custom(format!("{text:?} is no file mode; write it in octal, as \"0660\""))),
        }
    }
}

/// A number within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        match u64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(de::Error::custom(format!("{number} is out of range: {MIN} to {MAX}"))),
        }
    }
}

/// Slots of a ring: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(pub usize);

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slots = usize::deserialize(deserializer)?;
        let geometry = Geometry::new(slots, Geometry::default().slot_bytes());
        geometry.map(|_| Self(slots)).map_err(de::Error::custom)
    }
}

/// Octets of a slot: a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotBytes(pub usize);

impl<'de> Deserialize<'de> for SlotBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = usize::deserialize(deserializer)?;
        let geometry = Geometry::new(Geometry::default().slots(), bytes);
        geometry.map(|_| Self(bytes)).map_err(de::Error::custom)
    }
}

/// How many workers: `"auto"` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub WorkerCount);

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a number of workers from 1 to 256")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers(WorkerCount::Auto)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Workers, E> {
                match usize::try_from(number) {
                    Ok(count @ 1..=256) => Ok(Workers(WorkerCount::Exactly(count))),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Which way packets take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathMode {
    /// The best that works.
    #[default]
    Auto,
    /// XDP in the driver, or an error.
    XdpNative,
    /// Generic XDP, or an error.
    XdpGeneric,
    /// Kernel sockets only.
    #[serde(alias = "io-uring", rename = "io_uring")]
    IoUring,
}

impl From<PathMode> for Mode {
    fn from(mode: PathMode) -> Self {
        match mode {
            PathMode::Auto => Self::Auto,
            PathMode::XdpNative => Self::XdpNative,
            PathMode::XdpGeneric => Self::XdpGeneric,
            PathMode::IoUring => Self::IoUring,
        }
    }
}

/// Which sources a leg hears, and whether its remote address may be learnt: [`Latching`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatchingMode {
    /// [`Latching::Never`].
    Never,
    /// [`Latching::SignalledOnly`].
    SignalledOnly,
    /// [`Latching::FirstAuthenticated`].
    FirstAuthenticated,
    /// [`Latching::NewestAuthenticated`].
    #[default]
    NewestAuthenticated,
}

impl From<LatchingMode> for Latching {
    fn from(mode: LatchingMode) -> Self {
        match mode {
            LatchingMode::Never => Self::Never,
            LatchingMode::SignalledOnly => Self::SignalledOnly,
            LatchingMode::FirstAuthenticated => Self::FirstAuthenticated,
            LatchingMode::NewestAuthenticated => Self::NewestAuthenticated,
        }
    }
}

/// An address that media can be received on: not the wildcard, not multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MediaAddress(pub IpAddr);

impl<'de> Deserialize<'de> for MediaAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address: IpAddr = text
            .parse()
            .map_err(|_| de::Error::custom(format!("{text:?} is no IP address; write \"192.0.2.1\"")))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(de::Error::custom(format!(
                "{address} cannot be a media address: write the address of an interface"
            )));
        }
        Ok(Self(address))
    }
}

/// An absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsolutePath(pub PathBuf);

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if path.is_absolute() {
            return Ok(Self(path));
        }
        Err(de::Error::custom(format!("{} is not an absolute path", path.display())))
    }
}
