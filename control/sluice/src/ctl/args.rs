//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use sluice_proto::v1;

use super::calls::{Calls, Keying};
use super::tap::Taps;
use super::{leg, media_path, route};
use crate::options::OptionArgs;

/// Control a running gateway.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) target: Target,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the gateway listens.
#[derive(Args)]
pub(super) struct Target {
    /// Unix socket of the gateway.
    #[arg(long, global = true, env = "SLUICE_SOCKET", value_name = "PATH",
          default_value = sluice_server::config::DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
    /// TCP address of the gateway, "https://host:port"; needs --ca, --certificate and --key.
    #[arg(long, global = true, value_name = "URL", requires_all = ["ca", "certificate", "tls_key"])]
    pub(super) address: Option<String>,
    /// Authority of the server's certificate, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The client's certificate, PEM.
    #[arg(long, alias = "cert", global = true, value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,
    /// The client's private key, PEM.
    #[arg(long = "tls-key", alias = "key", global = true, value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// How the gateway runs: paths, kernel, workers.
    Info,
    /// Calls and rooms.
    #[command(subcommand, alias = "session")]
    Sessions(Sessions),
    /// Media peers.
    #[command(subcommand, alias = "leg")]
    Legs(Legs),
    /// What goes from which leg to which.
    #[command(subcommand, alias = "route")]
    Routes(Routes),
    /// Master keys; they go in and never come out.
    #[command(subcommand, alias = "key")]
    Keys(Keys),
    /// Offers and answers in SDP, and the calls that they make.
    #[command(subcommand, name = "call", alias = "calls")]
    Calls(Calls),
    /// Copies of what legs receive, for recorders.
    #[command(subcommand, alias = "tap")]
    Taps(Taps),
    /// Counters of workers and legs, drops by reason, latency.
    Stats {
        /// Legs of this session only.
        session: Option<String>,
    },
    /// Print events as they happen.
    Watch {
        /// Events of this session only.
        session: Option<String>,
    },
}

#[derive(Subcommand)]
pub(super) enum Sessions {
    /// Create a session.
    Create {
        session: String,
        /// Free text to remember with it.
        #[arg(long, value_name = "NAME=TEXT", value_parser = label)]
        label: Vec<(String, String)>,
    },
    /// List all sessions.
    List,
    /// Show one session.
    Show { session: String },
    /// Have another worker carry a session, under running media.
    Move { session: String, worker: u32 },
    /// Delete a session with all that belongs to it.
    Delete { session: String },
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Subcommand)]
pub(super) enum Legs {
    /// Create a leg.
    Create(CreateLeg),
    /// Change a leg's addresses, protection and bounds; what is not given stays.
    Update(leg::UpdateLeg),
    /// List legs.
    List {
        /// Of this session only.
        session: Option<String>,
    },
    /// Show one leg: how its handshake and its checks stand, and in words why it has no keys yet.
    Show { session: String, leg: String },
    /// Tell a leg more of its peer's ICE candidates.
    Candidates {
        session: String,
        leg: String,
        #[command(flatten)]
        more: media_path::Candidates,
    },
    /// Delete a leg with its keys and routes.
    Delete { session: String, leg: String },
    /// Print where the leg's streams stand, as JSON, for another gateway to carry on.
    Export { session: String, leg: String },
    /// Have the leg's streams carry on where they stood elsewhere: what `export` printed. Nothing goes back.
    Import {
        session: String,
        leg: String,
        /// The file; standard input if absent.
        file: Option<PathBuf>,
    },
    /// Say the rollover counter at which a stream begins that has run for long already.
    Roc {
        session: String,
        leg: String,
        /// The stream's SSRC: decimal, or hexadecimal after 0x.
        #[arg(value_parser = ssrc)]
        ssrc: u32,
        /// The rollover counter of its first packet.
        roc: u32,
    },
}

fn ssrc(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    number.map_err(|_| "write a number of 32 bits, such as 2882400001 or 0xabcdef01".to_owned())
}

#[derive(Args)]
pub(super) struct CreateLeg {
    pub(super) session: String,
    pub(super) leg: String,
    /// What the peer sends.
    #[arg(long, required_unless_present = "ring")]
    pub(super) inbound: Option<Protection>,
    /// What the peer gets.
    #[arg(long, required_unless_present = "ring")]
    pub(super) outbound: Option<Protection>,
    /// The peer is a local application: plain RTP through a ring in shared memory, for whoever shows the token that is
    /// printed.
    #[arg(long)]
    pub(super) ring: bool,
    /// Local address; without a port one is chosen.
    #[arg(long, value_name = "IP[:PORT]", default_value = "")]
    pub(super) local: String,
    /// The peer's RTP address.
    #[arg(long, value_name = "IP:PORT", default_value = "")]
    pub(super) remote: String,
    /// The peer's RTCP address, if it is not the RTP port plus one.
    #[arg(long, value_name = "IP:PORT", default_value = "")]
    pub(super) remote_rtcp: String,
    /// RTP and RTCP on one port.
    #[arg(long)]
    pub(super) rtcp_mux: bool,
    /// Whether the peer's address may be learnt from its packets.
    #[arg(long)]
    pub(super) latching: Option<Latching>,
    /// Payload types that are accepted; all if absent.
    #[arg(long, value_delimiter = ',', value_name = "PT,…")]
    pub(super) payload_types: Vec<u32>,
    /// Replay window in packets, 64 to 32768.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(super) replay_window: u32,
    /// SSRCs that the peer may use at a time.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(super) max_streams: u32,
    /// DSCP code point of what is sent, 0 to 63.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(super) dscp: u32,
    /// How many rollover counters the first packet of a stream may try, 0 to 16.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(super) roc_trials: u32,
    /// Share one local port with other legs; needs rtcp-mux.
    #[arg(long)]
    pub(super) shared_port: bool,
    /// On a shared port: the SSRCs that the peer will send.
    #[arg(long, value_name = "SSRC,…", value_parser = route::only, requires = "shared_port")]
    pub(super) ssrcs: Option<route::Only>,
    /// On a shared port: the leg's own ICE username fragment.
    #[arg(long, value_name = "UFRAG", requires = "shared_port")]
    pub(super) ice_ufrag: Option<String>,
    /// What becomes of media before the first key for receiving: drop, plain, or hold with how many packets and for how
    /// long.
    #[arg(long, value_name = "drop|plain|hold[:PACKETS[:MS]]", value_parser = leg::early_media)]
    pub(super) early_media: Option<v1::EarlyMedia>,
    /// How the leg's keys come, where other signalling makes it: its robustness follows from that.
    #[arg(long)]
    pub(super) keying: Option<Keying>,
    /// All hops that the keys came by were protected by TLS.
    #[arg(long)]
    pub(super) hop_tls: bool,
    #[command(flatten)]
    pub(super) media_path: media_path::MediaPath,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Protection {
    /// RTP and RTCP in the clear.
    Plain,
    /// SRTP and SRTCP.
    Srtp,
}

impl From<Protection> for v1::Protection {
    fn from(protection: Protection) -> Self {
        match protection {
            Protection::Plain => Self::Plain,
            Protection::Srtp => Self::Srtp,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Latching {
    /// Send to the signalled address; hear authenticated media from anywhere.
    Never,
    /// Send to the signalled address, and hear nothing from others.
    SignalledOnly,
    /// The source of the first authenticated packet, until signalling speaks again.
    FirstAuthenticated,
    /// The source of the newest authenticated packet.
    NewestAuthenticated,
}

impl From<Latching> for v1::Latching {
    fn from(latching: Latching) -> Self {
        match latching {
            Latching::Never => Self::Never,
            Latching::SignalledOnly => Self::SignalledOnly,
            Latching::FirstAuthenticated => Self::FirstAuthenticated,
            Latching::NewestAuthenticated => Self::NewestAuthenticated,
        }
    }
}

#[derive(Subcommand)]
pub(super) enum Routes {
    /// Send what one leg receives to another leg.
    Create {
        session: String,
        route: String,
        /// The leg that receives.
        #[arg(long)]
        from: String,
        /// The leg that sends.
        #[arg(long)]
        to: String,
        #[command(flatten)]
        choices: RouteChoices,
    },
    /// Replace all choices of a route: what is not given is as if it had never been.
    Update {
        session: String,
        route: String,
        #[command(flatten)]
        choices: RouteChoices,
    },
    /// List routes.
    List {
        /// Of this session only.
        session: Option<String>,
    },
    /// Delete a route.
    Delete { session: String, route: String },
}

/// What a route does to the packets that take it.
#[derive(Args)]
pub(super) struct RouteChoices {
    /// Send a source whose SSRC is taken under another SSRC instead of refusing it.
    #[arg(long)]
    pub(super) rewrite_ssrc: bool,
    /// Send no RTP; RTCP goes on.
    #[arg(long)]
    pub(super) paused: bool,
    /// Send RTP of these SSRCs only, as received; "none": of no one.
    #[arg(long, value_name = "SSRC,…", value_parser = route::only)]
    pub(super) only: Option<route::Only>,
    /// Send an SSRC as another one.
    #[arg(long, value_name = "FROM:TO", value_parser = route::ssrcs)]
    pub(super) map_ssrc: Vec<v1::SsrcMapping>,
    /// Send a payload type as another one.
    #[arg(long, value_name = "FROM:TO", value_parser = route::values)]
    pub(super) map_payload_type: Vec<v1::ValueMapping>,
    /// Send a header extension element under another identifier; to 0: take it out.
    #[arg(long, value_name = "FROM:TO", value_parser = route::values)]
    pub(super) map_extension: Vec<v1::ValueMapping>,
    /// Packets have an original header block (RFC 8723).
    #[arg(long)]
    pub(super) original_headers: bool,
}

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Install a key.
    Install(KeyArgs),
    /// Install a key and retire the older ones of the same leg and direction.
    Rekey {
        #[command(flatten)]
        key: KeyArgs,
        /// How long older inbound keys still verify; 0: the gateway's default.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "MS")]
        grace: u32,
    },
    /// End the use of a key.
    Retire {
        session: String,
        leg: String,
        key: String,
        #[arg(long)]
        direction: Direction,
    },
    /// List names and suites of keys.
    List { session: String, leg: Option<String> },
}

#[derive(Args)]
pub(super) struct KeyArgs {
    pub(super) session: String,
    pub(super) leg: String,
    /// Name of the key, to be chosen.
    pub(super) key: String,
    #[arg(long)]
    pub(super) direction: Direction,
    /// IANA name, such as AES_CM_128_HMAC_SHA1_80 or AEAD_AES_256_GCM.
    #[arg(long)]
    pub(super) suite: String,
    #[command(flatten)]
    pub(super) material: Material,
    /// Other legs may send under the key as well: what one source sends to all of them is encrypted once.
    #[arg(long)]
    pub(super) shared: bool,
    /// How the rollover counters of streams go on under the key.
    #[arg(long)]
    pub(super) roc: Option<RocOnRekey>,
    /// MKI in hex.
    #[arg(long, value_name = "HEX")]
    pub(super) mki: Option<String>,
    /// Packets that the key may protect in each stream.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(super) lifetime: u64,
    #[command(flatten)]
    pub(super) options: OptionArgs,
}

/// Master key and salt in hex or base64.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Material {
    /// Master key and salt. Others can see it in the list of processes: prefer the next two.
    #[arg(long, value_name = "HEX|BASE64")]
    pub(super) key_salt: Option<String>,
    /// A file that holds master key and salt; "-" is standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RocOnRekey {
    /// They go on.
    Keep,
    /// They begin anew at 0.
    Reset,
    /// Of what is received the one that authenticates counts.
    TryBoth,
}

impl From<RocOnRekey> for v1::RocOnRekey {
    fn from(roc: RocOnRekey) -> Self {
        match roc {
            RocOnRekey::Keep => Self::Keep,
            RocOnRekey::Reset => Self::Reset,
            RocOnRekey::TryBoth => Self::TryBoth,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Direction {
    /// For what the peer sends.
    Inbound,
    /// For what the peer gets.
    Outbound,
}

impl From<Direction> for v1::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Inbound,
            Direction::Outbound => Self::Outbound,
        }
    }
}
