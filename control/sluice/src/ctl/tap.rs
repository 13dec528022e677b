//! `sluice ctl taps`: what recorders do.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use sluice_proto::v1;
use sluice_proto::v1::recording_client::RecordingClient;
use sluice_proto::v1::tap_config::Destination;
use tonic::transport::Channel;

use super::call::answer;
use super::print::Printer;
use crate::secret;

#[derive(Subcommand)]
pub(super) enum Taps {
    /// Begin to copy what legs receive, decrypted, to a file or to a recorder.
    Start(Box<Start>),
    /// End a tap.
    Stop { session: String, tap: String },
    /// List taps, running and ended.
    List {
        /// Of this session only.
        session: Option<String>,
    },
    /// Show one tap.
    Show { session: String, tap: String },
    /// Print the key that the gateway made for a tap, in hex. The audit log tells of it.
    Key { session: String, tap: String },
}

#[derive(Args)]
pub(super) struct Start {
    session: String,
    /// Name of the tap, to be chosen.
    tap: String,
    /// A leg whose peer's media is copied; none: all of the session, those that come later as well.
    #[arg(long = "leg", value_name = "LEG")]
    legs: Vec<String>,
    #[command(flatten)]
    to: To,
    /// The tap ends by itself after so many seconds.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_seconds: u32,
    /// What a payload type means, for whoever reads the file, such as 96=opus/48000/2.
    #[arg(long, value_name = "PT=NAME", value_parser = codec)]
    codec: Vec<(u32, String)>,
    /// A file of so many MiB is full.
    #[arg(long, default_value_t = 0, hide_default_value = true, conflicts_with = "peer")]
    max_mib: u64,
    /// Files at most, each of --max-mib.
    #[arg(long, default_value_t = 1, hide_default_value = true, conflicts_with = "peer")]
    max_files: u32,
    /// The recorder's RTCP address, if it is not the RTP port plus one.
    #[arg(long, value_name = "IP:PORT", default_value = "", conflicts_with = "file")]
    remote_rtcp: String,
    /// RTP and RTCP on one port.
    #[arg(long, conflicts_with = "file")]
    rtcp_mux: bool,
    /// Local address; without a port one is chosen.
    #[arg(long, value_name = "IP[:PORT]", default_value = "", conflicts_with = "file")]
    local: String,
    /// DSCP code point of what is sent, 0 to 63.
    #[arg(long, default_value_t = 0, hide_default_value = true, conflicts_with = "file")]
    dscp: u32,
    /// The recorder's suite, by its IANA name.
    #[arg(long, conflicts_with_all = ["plain", "file"], required_unless_present_any = ["file", "plain"])]
    suite: Option<String>,
    /// A file that holds the recorder's master key and salt; "-" is standard input. Without one the gateway makes a key.
    #[arg(long, value_name = "FILE", requires = "suite")]
    key_file: Option<PathBuf>,
    /// MKI in hex.
    #[arg(long, value_name = "HEX", requires = "suite")]
    mki: Option<String>,
    /// In the clear, if the gateway's configuration allows that.
    #[arg(long, conflicts_with = "file")]
    plain: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Write NAME.pcapng in the gateway's folder of recordings.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Send to a recorder's RTP address.
    #[arg(long, value_name = "IP:PORT")]
    peer: Option<String>,
}

pub(super) async fn call(client: &mut RecordingClient<Channel>, command: Taps, print: Printer) -> Result<()> {
    match command {
        Taps::Start(start) => {
            let tap = answer(client.start_tap(request(*start)?).await)?;
            print.taps(&[tap])
        }
        Taps::Stop { session, tap } => {
            print.taps(&[answer(client.stop_tap(v1::StopTapRequest { session, tap }).await)?])
        }
        Taps::List { session } => {
            let request = v1::ListTapsRequest { session: session.unwrap_or_default() };
            print.taps(&answer(client.list_taps(request).await)?.taps)
        }
        Taps::Show { session, tap } => {
            print.taps(&[answer(client.get_tap(v1::GetTapRequest { session, tap }).await)?])
        }
        Taps::Key { session, tap } => {
            let told = answer(client.disclose_tap_key(v1::DiscloseTapKeyRequest { session, tap }).await)?;
            let key = told.key.context("the gateway told no key; is it of another version?")?;
            print.tap_key(&key.suite, &secret::Material::new(key.key_salt))
        }
    }
}

fn request(start: Start) -> Result<v1::StartTapRequest> {
    let key = match start.suite {
        None => None,
        Some(suite) => {
            let key_salt = match &start.key_file {
                Some(path) => secret::parse(&secret::read(path)?)?.to_vec(),
                None => Vec::new(),
            };
            let mki = start.mki.as_deref().map(secret::parse_mki).transpose()?.unwrap_or_default();
            Some(v1::TapKey { suite, key_salt, mki })
        }
    };
    let destination = match (start.to.file, start.to.peer) {
        (Some(name), _) => {
            let max_bytes = start.max_mib.saturating_mul(1 << 20);
            Destination::File(v1::TapFile { name, max_bytes, max_files: start.max_files })
        }
        (None, remote) => Destination::Peer(v1::TapPeer {
            remote: remote.unwrap_or_default(),
            remote_rtcp: start.remote_rtcp,
            rtcp_mux: start.rtcp_mux,
            local: start.local,
            dscp: start.dscp,
            key,
            plain: start.plain,
        }),
    };
    let config = v1::TapConfig {
        legs: start.legs,
        max_seconds: start.max_seconds,
        codecs: start.codec.into_iter().collect(),
        destination: Some(destination),
    };
    Ok(v1::StartTapRequest { session: start.session, tap: start.tap, config: Some(config) })
}

fn codec(text: &str) -> Result<(u32, String), String> {
    let read = text.split_once('=').and_then(|(number, name)| Some((number.parse().ok()?, name.to_owned())));
    read.ok_or_else(|| "write PT=NAME, such as 96=opus/48000/2".to_owned())
}

/// Where copies go, in words.
pub(super) fn destination(config: &v1::TapConfig) -> String {
    match &config.destination {
        Some(Destination::File(file)) => format!("file {}", file.name),
        Some(Destination::Peer(peer)) => {
            let how = peer.key.as_ref().map_or("in the clear", |key| key.suite.as_str());
            format!("{} {how}", peer.remote)
        }
        None => "-".to_owned(),
    }
}

/// How it stands with a tap, in words.
pub(super) fn state(tap: &v1::Tap) -> String {
    let why = match tap.end() {
        v1::TapEnd::Unspecified => return "running".to_owned(),
        v1::TapEnd::Stopped => "stopped",
        v1::TapEnd::Session => "the session was deleted",
        v1::TapEnd::Legs => "its legs were deleted",
        v1::TapEnd::Limit => "its limit was reached",
        v1::TapEnd::Storage => "the file could not be written",
        v1::TapEnd::Worker => "the worker lost the legs",
    };
    if tap.detail.is_empty() { format!("ended: {why}") } else { format!("ended: {why}\n{}", tap.detail) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        taps: Taps,
    }

    fn read(line: &str) -> Result<v1::StartTapRequest> {
        let line =
            Line::try_parse_from(["taps", "start", "s", "t"].into_iter().chain(line.split_whitespace()))?;
        let Taps::Start(start) = line.taps else { anyhow::bail!("something else") };
        request(*start)
    }

    #[test]
    fn a_tap_goes_to_a_file_or_to_a_peer() {
        let config = read("--file a --leg x --leg y --max-mib 2 --codec 96=opus/48000/2").unwrap().config;
        let config = config.unwrap();
        assert_eq!((config.legs.len(), config.codecs[&96].as_str()), (2, "opus/48000/2"));
        let file = v1::TapFile { name: "a".into(), max_bytes: 2 << 20, max_files: 1 };
        assert_eq!(config.destination, Some(Destination::File(file)));
        let config = read("--peer 192.0.2.1:5004 --suite AEAD_AES_256_GCM --mki 01").unwrap().config.unwrap();
        let Some(Destination::Peer(peer)) = config.destination else { panic!("no peer") };
        assert_eq!(peer.key.unwrap().mki, [1]);
        for bad in [
            "",
            "--file a --peer 192.0.2.1:5004",
            "--peer 192.0.2.1:5004",
            "--peer 192.0.2.1:5004 --suite X --plain",
            "--file a --suite X",
            "--peer 192.0.2.1:5004 --plain --max-mib 1",
            "--file a --codec x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
