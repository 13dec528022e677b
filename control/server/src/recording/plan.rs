//! What a recorder asks for, checked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use sluice_proto::v1;
use zeroize::Zeroizing;

use super::Bounds;
use crate::error::check_id;
use crate::{ApiError, Config};

/// Legs of one tap, each with a ring of its own.
pub(crate) const MAX_LEGS: usize = 64;
/// Payload types there are.
const MAX_CODECS: usize = 128;

/// A tap to be.
pub(crate) struct Plan {
    pub(crate) session: String,
    pub(crate) tap: String,
    /// As it was asked for, without the key.
    pub(crate) config: v1::TapConfig,
    /// Seconds until it ends by itself.
    pub(crate) seconds: Option<u32>,
    pub(crate) destination: Destination,
}

/// Where copies go.
pub(crate) enum Destination {
    /// A file of that folder.
    File { folder: PathBuf, name: String, bounds: Bounds },
    /// A leg towards the recorder, and what it is keyed with; none: in the clear.
    Peer { leg: Box<v1::LegConfig>, key: Option<Key> },
}

/// A key of the recorder's own.
#[expect(clippy::struct_field_names, reason = "master key and salt are called so everywhere")]
pub(crate) struct Key {
    pub(crate) suite: String,
    /// None: to be made.
    pub(crate) key_salt: Option<Zeroizing<Vec<u8>>>,
    pub(crate) mki: Vec<u8>,
}

impl Plan {
    /// Checks all that can be without knowing the session.
    pub(crate) fn read(mut request: v1::StartTapRequest, config: &Config) -> Result<Self, ApiError> {
        // Out of the request before anything else: it is wiped however this ends.
        let key_salt = take_secret(&mut request);
        let v1::StartTapRequest { session, tap, config: wanted } = request;
        check_id("session", &session)?;
        check_id("tap", &tap)?;
        let wanted = wanted.unwrap_or_default();
        check_legs(&wanted.legs)?;
        check_codecs(&wanted)?;
        let seconds = seconds(wanted.max_seconds, config.recording.max_seconds.0)?;
        let destination = match &wanted.destination {
            Some(v1::tap_config::Destination::File(file)) => to_file(file, config)?,
            Some(v1::tap_config::Destination::Peer(peer)) => to_peer(peer, key_salt, config)?,
            None => {
                let remedy = "name a file, or a peer that takes RTP";
                return Err(ApiError::invalid("destination", "is missing", remedy));
            }
        };
        Ok(Self { session, tap, config: wanted, seconds, destination })
    }
}

fn take_secret(request: &mut v1::StartTapRequest) -> Option<Zeroizing<Vec<u8>>> {
    let destination = request.config.as_mut()?.destination.as_mut()?;
    let v1::tap_config::Destination::Peer(peer) = destination else { return None };
    let secret = std::mem::take(&mut peer.key.as_mut()?.key_salt);
    (!secret.is_empty()).then(|| Zeroizing::new(secret))
}

fn check_legs(legs: &[String]) -> Result<(), ApiError> {
    if legs.len() > MAX_LEGS {
        let message = format!("are {}, more than a tap may have", legs.len());
        return Err(ApiError::invalid("legs", message, "name at most 64, or start several taps"));
    }
    let mut names = std::collections::HashSet::new();
    for leg in legs {
        check_id("legs", leg)?;
        if !names.insert(leg) {
            return Err(ApiError::invalid("legs", format!("name {leg:?} twice"), "name each leg once"));
        }
    }
    Ok(())
}

fn check_codecs(wanted: &v1::TapConfig) -> Result<(), ApiError> {
    let fits = |(payload_type, name): (&u32, &String)| *payload_type < 128 && is_codec(name);
    if wanted.codecs.len() > MAX_CODECS || !wanted.codecs.iter().all(fits) {
        let remedy = "give payload types of 0 to 127, and names of 1 to 64 printable ASCII characters";
        return Err(ApiError::invalid("codecs", "are not payload types and their names", remedy));
    }
    Ok(())
}

fn is_codec(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic())
}

/// The shorter of what is asked for and what the configuration allows; 0 is without end.
fn seconds(wanted: u32, most: u64) -> Result<Option<u32>, ApiError> {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    match (wanted, most) {
        (0, 0) => Ok(None),
        (0, most) => Ok(Some(most)),
        (wanted, most) if most == 0 || wanted <= most => Ok(Some(wanted)),
        (wanted, most) => {
            let message = format!("is {wanted}, and recording.max_seconds is {most}");
            Err(ApiError::invalid("max_seconds", message, "ask for less, or raise recording.max_seconds"))
        }
    }
}

fn to_file(file: &v1::TapFile, config: &Config) -> Result<Destination, ApiError> {
    let recording = &config.recording;
    let Some(folder) = &recording.folder else {
        let message = "the configuration has no folder for recordings";
        let remedy = "set recording.folder, or send to a peer";
        return Err(ApiError::precondition("NO_FOLDER", message, remedy).at("file"));
    };
    check_name(&file.name)?;
    let most = recording.max_file_bytes.0;
    let bytes = match file.max_bytes {
        0 => most,
        65_536.. if file.max_bytes <= most => file.max_bytes,
        other => {
            let message = format!("is {other}, and not between 65536 and recording.max_file_bytes, {most}");
            return Err(ApiError::invalid("file.max_bytes", message, "give a number between, or 0"));
        }
    };
    let files = file.max_files.max(1);
    if u64::from(files) > recording.max_files.0 {
        let message = format!("is {files}, and recording.max_files is {}", recording.max_files.0);
        return Err(ApiError::invalid(
            "file.max_files",
            message,
            "ask for less, or raise recording.max_files",
        ));
    }
    let bounds = Bounds { bytes, files };
    Ok(Destination::File { folder: folder.0.clone(), name: file.name.clone(), bounds })
}

/// A name that stays in its folder, and that a shell or a browser takes for no more than a name.
fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    let remedy = "use 1 to 100 characters of A-Z a-z 0-9 . _ -, the first of them a letter or a digit";
    Err(ApiError::invalid("file.name", format!("{shown:?} is no name of a recording"), remedy))
}

fn to_peer(
    peer: &v1::TapPeer,
    key_salt: Option<Zeroizing<Vec<u8>>>,
    config: &Config,
) -> Result<Destination, ApiError> {
    if peer.remote.is_empty() {
        return Err(ApiError::invalid("peer.remote", "is missing", "give the recorder's \"ip:port\""));
    }
    let key = match (&peer.key, peer.plain) {
        (Some(key), false) => Some(Key { suite: key.suite.clone(), key_salt, mki: key.mki.clone() }),
        (None, true) if config.recording.plain_peers => None,
        (None, true) => {
            let message = "the configuration allows no recording in the clear over the network";
            let remedy = "give the recorder a key, or set recording.plain_peers";
            return Err(ApiError::precondition("PLAIN_PEER", message, remedy).at("peer.plain"));
        }
        (Some(_), true) => {
            return Err(ApiError::invalid("peer.plain", "is set beside a key", "leave one of them out"));
        }
        (None, false) => {
            let remedy = "give a suite, and a key or have one made; plain media is never a default";
            return Err(ApiError::invalid("peer.key", "is missing", remedy));
        }
    };
    let outbound = if key.is_some() { v1::Protection::Srtp } else { v1::Protection::Plain };
    let leg = v1::LegConfig {
        local: peer.local.clone(),
        remote: peer.remote.clone(),
        remote_rtcp: peer.remote_rtcp.clone(),
        rtcp_mux: peer.rtcp_mux,
        dscp: peer.dscp,
        // There is never a key for it: a recorder has nothing to say to anybody.
        inbound: v1::Protection::Srtp.into(),
        outbound: outbound.into(),
        latching: v1::Latching::SignalledOnly.into(),
        ..v1::LegConfig::default()
    };
    Ok(Destination::Peer { leg: Box::new(leg), key })
}

/// What is known of a leg, for whoever finds the file. What payload types mean is as who asked for the tap says, else as
/// signalling does, else as it is for all.
pub(crate) fn comment(
    name: &super::TapName,
    leg: &str,
    config: &v1::TapConfig,
    types: &[u32],
    signalled: &[(u8, String)],
) -> String {
    let super::TapName { session, tap, .. } = name;
    let mut text = format!("session {session}, leg {leg}, tap {tap}: received by Sluice, decrypted");
    let fixed = types.iter().filter_map(|number| Some((*number, static_codec(*number)?)));
    let mut codecs: BTreeMap<u32, &str> = fixed.collect();
    // Of a peer: what is no name has no place in a file's comment.
    let named = signalled.iter().filter(|(_, name)| is_codec(name));
    codecs.extend(named.map(|(number, name)| (u32::from(*number), name.as_str())));
    codecs.extend(config.codecs.iter().map(|(number, name)| (*number, name.as_str())));
    for (payload_type, name) in codecs {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nrtpmap:{payload_type} {name}");
    }
    text
}

/// Payload types that mean the same everywhere (RFC 3551 §6), of those that are in use.
const fn static_codec(payload_type: u32) -> Option<&'static str> {
    Some(match payload_type {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        10 => "L16/44100/2",
        11 => "L16/44100",
        13 => "CN/8000",
        15 => "G728/8000",
        18 => "G729/8000",
        26 => "JPEG/90000",
        31 => "H261/90000",
        34 => "H263/90000",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("test.toml"), text).unwrap()
    }

    fn request(destination: v1::tap_config::Destination) -> v1::StartTapRequest {
        let config = v1::TapConfig { destination: Some(destination), ..Default::default() };
        v1::StartTapRequest { session: "s".into(), tap: "t".into(), config: Some(config) }
    }

    fn file(name: &str) -> v1::tap_config::Destination {
        v1::tap_config::Destination::File(v1::TapFile { name: name.into(), ..Default::default() })
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        let config = config("[recording]\nfolder = \"/var/lib/sluice\"");
        assert!(Plan::read(request(file("2026-11-30_call.7")), &config).is_ok());
        let long = "x".repeat(101);
        for bad in
            ["", ".", "..", ".hidden", "../x", "a/b", "/etc/x", "a\0b", "a b", "-x", "é", long.as_str()]
        {
            let refused = Plan::read(request(file(bad)), &config).err().expect(bad);
            assert_eq!(refused.field, "file.name", "{bad:?}");
        }
        let huge = "../".repeat(1 << 20);
        let refused = Plan::read(request(file(&huge)), &config).err().unwrap();
        assert!(refused.message.len() < 200, "a message is short whatever the name");
    }

    #[test]
    fn without_a_folder_there_are_no_files_and_without_leave_nothing_in_the_clear() {
        let refused = Plan::read(request(file("a")), &Config::default()).err().unwrap();
        assert_eq!(refused.reason, "NO_FOLDER");
        let peer = |peer| request(v1::tap_config::Destination::Peer(peer));
        let plain = v1::TapPeer { remote: "192.0.2.1:5004".into(), plain: true, ..Default::default() };
        let refused = Plan::read(peer(plain.clone()), &Config::default()).err().unwrap();
        assert_eq!(refused.reason, "PLAIN_PEER");
        assert!(Plan::read(peer(plain.clone()), &config("[recording]\nplain_peers = true")).is_ok());
        let nothing = v1::TapPeer { plain: false, ..plain.clone() };
        assert_eq!(Plan::read(peer(nothing), &Config::default()).err().unwrap().field, "peer.key");
        let both = v1::TapPeer { key: Some(v1::TapKey::default()), ..plain };
        assert_eq!(Plan::read(peer(both), &Config::default()).err().unwrap().field, "peer.plain");
    }

    #[test]
    fn a_tap_is_as_long_and_as_large_as_the_configuration_allows() {
        assert_eq!(
            [seconds(0, 0), seconds(0, 9), seconds(5, 9), seconds(5, 0)].map(Result::unwrap),
            [None, Some(9), Some(5), Some(5)]
        );
        assert_eq!(seconds(10, 9).unwrap_err().field, "max_seconds");
        let config = config("[recording]\nfolder = \"/x\"\nmax_file_bytes = 100000\nmax_files = 2");
        let sized = |max_bytes, max_files| {
            let file = v1::TapFile { name: "a".into(), max_bytes, max_files };
            Plan::read(request(v1::tap_config::Destination::File(file)), &config)
                .map_err(|refused| refused.field)
        };
        assert!(sized(0, 0).is_ok() && sized(65_536, 2).is_ok());
        for (bytes, files, field) in
            [(65_535, 1, "file.max_bytes"), (100_001, 1, "file.max_bytes"), (0, 3, "file.max_files")]
        {
            assert_eq!(sized(bytes, files).err(), Some(field));
        }
    }

    #[test]
    fn legs_and_codecs_are_checked() {
        let config = config("[recording]\nfolder = \"/x\"");
        let changed = |change: &dyn Fn(&mut v1::TapConfig)| {
            let mut request = request(file("a"));
            change(request.config.as_mut().unwrap());
            Plan::read(request, &config).err().map(|refused| refused.field)
        };
        assert_eq!(changed(&|wanted| wanted.legs = vec!["a".into(); 2]), Some("legs"));
        assert_eq!(changed(&|wanted| wanted.legs = (0..65).map(|n| n.to_string()).collect()), Some("legs"));
        assert_eq!(changed(&|wanted| wanted.legs = vec!["a/b".into()]), Some("legs"));
        assert_eq!(changed(&|wanted| drop(wanted.codecs.insert(128, "x".into()))), Some("codecs"));
        assert_eq!(changed(&|wanted| drop(wanted.codecs.insert(96, "a\nb".into()))), Some("codecs"));
        assert_eq!(changed(&|wanted| drop(wanted.codecs.insert(96, "opus/48000/2".into()))), None);
        assert_eq!(changed(&|wanted| wanted.destination = None), Some("destination"));
    }

    #[test]
    fn a_comment_names_what_payload_types_are() {
        let name = super::super::TapName { session: "s".into(), tap: "t".into(), number: 1 };
        let codecs = [(96, "opus/48000/2".to_owned())].into();
        let config = v1::TapConfig { codecs, ..Default::default() };
        let signalled =
            [(8, "PCMA/8000/1"), (96, "iLBC/8000"), (98, "VP8/90000"), (99, "two words"), (100, "é")];
        let signalled = signalled.map(|(number, name)| (number, name.to_owned()));
        let text = comment(&name, "a", &config, &[8, 0, 96, 97], &signalled);
        assert!(text.starts_with("session s, leg a, tap t"), "{text}");
        let codecs = ["0 PCMU/8000", "8 PCMA/8000/1", "96 opus/48000/2", "98 VP8/90000"];
        let codecs = codecs.map(|codec| format!("\nrtpmap:{codec}")).concat();
        assert!(text.ends_with(&format!("decrypted{codecs}")), "{text}");
    }
}
