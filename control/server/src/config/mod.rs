//! The configuration file: TOML, every key checked, errors with line and reason.

mod access;
mod fields;
mod identity;
mod media_path;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sluice_datapath::shared::Geometry;
use sluice_datapath::{EngineConfig, InterfaceConfig, Limits, Tuning, WorkerCount};
use sluice_keying::policy::Policy;

pub use self::access::{Audit, CertificateName, RoleRules};
pub use crate::access::Role;
pub use fields::{
    AbsolutePath, Bounded, FileMode, LatchingMode, MediaAddress, PathMode, PortRange, SlotBytes, Slots,
    Workers,
};

pub use identity::{IdentityConfig, Signing};
pub use media_path::{Dtls, DtlsVersion, Ice};

/// Where the API listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key or value is wrong; the text names line and column and shows the line.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column, the line itself and what is wrong with it.
        problem: String,
    },
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the gRPC API listens.
    pub api: Api,
    /// Addresses and ports for media.
    pub media: Media,
    /// Rings that local applications share with the daemon.
    pub rings: Rings,
    /// Taps.
    pub recording: Recording,
    /// How packets travel.
    pub datapath: Datapath,
    /// Interfaces that get the XDP program.
    #[serde(rename = "interface")]
    pub interfaces: Vec<Interface>,
    /// What legs get that do not say otherwise.
    pub defaults: Defaults,
    /// What may be negotiated.
    pub policy: Policy,
    /// Whose signatures of identities count, and the gateway's own.
    pub identity: IdentityConfig,
    /// Handshakes in the media path.
    pub dtls: Dtls,
    /// Connectivity checks.
    pub ice: Ice,
    /// Bounds of what may be created.
    pub limits: LimitsConfig,
    /// Timers and thresholds.
    pub timers: Timers,
    /// Logging.
    pub log: Log,
    /// The audit log.
    pub audit: Audit,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Path of the Unix socket.
    pub socket: AbsolutePath,
    /// Its mode.
    pub socket_mode: FileMode,
    /// What whoever may open it may do.
    pub socket_roles: Vec<Role>,
    /// TCP with mutual TLS, beside the Unix socket.
    pub tcp: Option<Tcp>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            socket: AbsolutePath(DEFAULT_SOCKET.into()),
            socket_mode: FileMode(0o660),
            socket_roles: Role::ALL.to_vec(),
            tcp: None,
        }
    }
}

/// `[api.tcp]`: all of it is needed; there is no TCP without mutual TLS, and nobody may do anything without a role.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Where to listen.
    pub address: SocketAddr,
    /// The server's certificate chain, PEM.
    pub certificate: AbsolutePath,
    /// Its private key, PEM.
    pub key: AbsolutePath,
    /// The authority that clients' certificates must come from, PEM.
    pub client_ca: AbsolutePath,
    /// What they may do.
    pub roles: RoleRules,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Local addresses; the first is the default. None: a leg must name its address.
    pub addresses: Vec<MediaAddress>,
    /// Ports that legs get which name none.
    pub ports: PortRange,
    /// The first worker's port for legs that share one; each worker after it has the next.
    pub shared_port: Option<Bounded<1, 65_535>>,
}

impl Default for Media {
    fn default() -> Self {
        Self { addresses: Vec::new(), ports: PortRange { first: 16_384, last: 32_767 }, shared_port: None }
    }
}

impl Media {
    /// The address of legs that name none.
    pub fn default_address(&self) -> Option<IpAddr> {
        self.addresses.first().map(|address| address.0)
    }
}

/// `[rings]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rings {
    /// Path of the Unix socket at which local applications ask for rings; none: that of the API and ".rings".
    pub socket: Option<AbsolutePath>,
    /// Its mode.
    pub socket_mode: FileMode,
    /// Packets that each of a leg's two rings holds.
    pub slots: Slots,
    /// Octets that each of them may have, and eight more.
    pub slot_bytes: SlotBytes,
}

impl Default for Rings {
    fn default() -> Self {
        let geometry = Geometry::default();
        Self {
            socket: None,
            socket_mode: FileMode(0o660),
            slots: Slots(geometry.slots()),
            slot_bytes: SlotBytes(geometry.slot_bytes()),
        }
    }
}

impl Rings {
    /// How large rings are.
    pub fn geometry(&self) -> Geometry {
        // The fields are no others than rings can have.
        Geometry::new(self.slots.0, self.slot_bytes.0).unwrap_or_default()
    }
}

/// `[recording]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// The folder of recorded files; none: nothing is recorded to files.
    pub folder: Option<AbsolutePath>,
    /// The most octets that a file may have.
    pub max_file_bytes: Bounded<65_536, 1_099_511_627_776>,
    /// The most files that a tap may write.
    pub max_files: Bounded<1, 10_000>,
    /// The longest that a tap may run, in seconds; 0: without end.
    pub max_seconds: Bounded<0, 31_536_000>,
    /// Taps that may run at a time.
    pub taps: Bounded<0, 100_000>,
    /// Whether media may be sent to recorders in the clear.
    pub plain_peers: bool,
    /// Packets that wait to be written, of each leg.
    pub slots: Slots,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            folder: None,
            max_file_bytes: Bounded(1 << 30),
            max_files: Bounded(16),
            max_seconds: Bounded(86_400),
            taps: Bounded(1000),
            plain_peers: false,
            slots: Slots(256),
        }
    }
}

/// `[datapath]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Datapath {
    /// Which way packets take.
    pub mode: PathMode,
    /// How many workers.
    pub workers: Workers,
    /// Whether to bind each worker to a CPU.
    pub pin: bool,
    /// 4 KiB chunks per worker.
    pub small_chunks: Bounded<64, 1_048_576>,
    /// 16 KiB chunks per worker.
    pub large_chunks: Bounded<32, 65_536>,
}

impl Default for Datapath {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            mode: PathMode::Auto,
            workers: Workers(WorkerCount::Auto),
            pin: true,
            small_chunks: Bounded(engine.small_chunks.into()),
            large_chunks: Bounded(engine.large_chunks.into()),
        }
    }
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How many of its queues to use, from queue 0; all if absent.
    pub queues: Option<Bounded<1, 256>>,
}

/// `[defaults]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Packets.
    pub replay_window: Bounded<64, 32_768>,
    /// Whether remote addresses may be learnt.
    pub latching: LatchingMode,
    /// How long older keys verify after a rekey.
    pub rekey_grace_ms: Bounded<0, 600_000>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            replay_window: Bounded(128),
            latching: LatchingMode::default(),
            rekey_grace_ms: Bounded(5_000),
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Sessions of the whole daemon.
    pub sessions: Bounded<1, 1_000_000>,
    /// Legs of each worker.
    pub legs: Bounded<1, 1_000_000>,
    /// Routes of each worker.
    pub routes: Bounded<1, 4_000_000>,
    /// Streams received by each worker.
    pub streams: Bounded<1, 4_000_000>,
    /// Requests that a connection to the API may have open at a time; more wait.
    pub concurrent_requests: Bounded<1, 65_536>,
    /// Requests that a connection may make in a second, after as many at once; any number if absent.
    pub requests_per_second: Option<Bounded<1, 1_000_000>>,
    /// How long calls may take that say no deadline.
    pub deadline_seconds: Bounded<1, 3_600>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            sessions: Bounded(65_536),
            legs: Bounded(limits.legs as u64),
            routes: Bounded(limits.routes as u64),
            streams: Bounded(limits.streams as u64),
            concurrent_requests: Bounded(256),
            requests_per_second: None,
            deadline_seconds: Bounded(30),
        }
    }
}

/// `[timers]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// A stream without packets for so long has stopped.
    pub stream_idle_seconds: Bounded<1, 86_400>,
    /// A stopped stream without packets for so long is aged out; where it stood is remembered.
    pub stream_forget_seconds: Bounded<1, 604_800>,
    /// Wrong tags per second and leg beyond which unknown SSRCs are not looked at.
    pub auth_failures_per_second: Bounded<1, 1_000_000>,
    /// Negotiation datagrams per second and leg.
    pub negotiation_per_second: Bounded<1, 1_000_000>,
    /// Wrong tags or replays per second that are reported as a burst.
    pub burst_threshold: Bounded<1, 1_000_000>,
}

impl Default for Timers {
    fn default() -> Self {
        let tuning = Tuning::default();
        Self {
            stream_idle_seconds: Bounded(tuning.stream_idle.as_secs()),
            stream_forget_seconds: Bounded(tuning.stream_forget.as_secs()),
            auth_failures_per_second: Bounded(tuning.auth_failures_per_second.into()),
            negotiation_per_second: Bounded(tuning.negotiation_per_second.into()),
            burst_threshold: Bounded(tuning.burst_threshold.into()),
        }
    }
}

/// `[log]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least severe level that is written.
    pub level: Level,
}

/// Severity of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what stops something.
    Error,
    /// And what degrades something.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything.
    Trace,
}

impl Level {
    /// The level as `tracing` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks a file's text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid { path: path.to_owned(), problem };
        let config: Self = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = config.interfaces.iter().find(|interface| !names.insert(&interface.name)) {
            let problem = format!("interface {:?} is configured twice; keep one of them", twice.name);
            return Err(invalid(problem));
        }
        if let Some(problem) = config.dtls.problem() {
            return Err(invalid(problem.to_owned()));
        }
        config.policy.check().map_err(|error| invalid(error.to_string()))?;
        config.identity.verify.check().map_err(|error| invalid(error.to_string()))?;
        Ok(config)
    }

    /// Where local applications ask for rings.
    pub fn ring_socket(&self) -> PathBuf {
        if let Some(path) = &self.rings.socket {
            return path.0.clone();
        }
        let mut path = self.api.socket.0.clone().into_os_string();
        path.push(".rings");
        path.into()
    }

    /// How large the rings of taps are.
    pub fn tap_rings(&self) -> Geometry {
        // The fields are no others than rings can have.
        Geometry::new(self.recording.slots.0, self.rings.slot_bytes.0).unwrap_or_default()
    }

    /// What the engine is told.
    pub fn engine(&self) -> EngineConfig {
        let limits = Limits {
            legs: self.limits.legs.0 as usize,
            routes: self.limits.routes.0 as usize,
            streams: self.limits.streams.0 as usize,
            egress_contexts: (self.limits.streams.0 * 2) as usize,
            ..Limits::default()
        };
        let tuning = Tuning {
            stream_idle: Duration::from_secs(self.timers.stream_idle_seconds.0),
            stream_forget: Duration::from_secs(self.timers.stream_forget_seconds.0),
            auth_failures_per_second: self.timers.auth_failures_per_second.0 as u32,
            negotiation_per_second: self.timers.negotiation_per_second.0 as u32,
            burst_threshold: self.timers.burst_threshold.0 as u32,
            ..Tuning::default()
        };
        let interfaces = self.interfaces.iter().map(|interface| InterfaceConfig {
            name: interface.name.clone(),
            queues: interface.queues.map(|queues| queues.0 as u32),
        });
        EngineConfig {
            interfaces: interfaces.collect(),
            workers: self.datapath.workers.0,
            datapath: self.datapath.mode.into(),
            small_chunks: self.datapath.small_chunks.0 as u32,
            large_chunks: self.datapath.large_chunks.0 as u32,
            pin: self.datapath.pin,
            limits,
            tuning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Config::parse(Path::new("sluice.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_valid_and_shows_the_defaults() {
        let example = include_str!("../../../../docs/sluice.example.toml");
        let config = Config::parse(Path::new("docs/sluice.example.toml"), example).unwrap();
        let shown = Config { media: Media::default(), interfaces: Vec::new(), ..config.clone() };
        assert_eq!(shown, Config::default(), "the example shows the default of every optional key");
        assert!(!config.media.addresses.is_empty() && !config.interfaces.is_empty());
    }

    #[test]
    fn the_times_of_idle_and_stale_streams_reach_the_engine() {
        let text = "[timers]\nstream_idle_seconds = 7\nstream_forget_seconds = 9";
        let tuning = Config::parse(Path::new("x"), text).unwrap().engine().tuning;
        assert_eq!((tuning.stream_idle.as_secs(), tuning.stream_forget.as_secs()), (7, 9));
    }

    #[test]
    fn an_empty_file_is_valid() {
        assert_eq!(Config::parse(Path::new("x"), "").unwrap(), Config::default());
    }

    #[test]
    fn errors_name_line_and_reason() {
        for (text, line, reason) in [
            ("[media]\nports = \"1-2\"", "line 2", "1024"),
            ("[media]\naddresses = [\"0.0.0.0\"]", "line 2", "interface"),
            ("[media]\naddresses = [\"here\"]", "line 2", "no IP address"),
            ("[api]\nsocket = \"relative\"", "line 2", "absolute"),
            ("[api]\nsocket_mode = \"999\"", "line 2", "octal"),
            ("[rings]\nslots = 500", "line 2", "power of two"),
            ("[rings]\nslot_bytes = 9000", "line 2", "multiple of 8"),
            ("[datapath]\n\nmode = \"dpdk\"", "line 3", "xdp-native"),
            ("[datapath]\nworkers = 0", "line 2", "1 to 256"),
            ("[datapath]\nwrokers = 1", "line 2", "expected one of"),
            ("[datapath]\nlarge_chunks = 3", "line 2", "32 to"),
            ("[defaults]\nreplay_window = 63", "line 2", "64 to 32768"),
            ("[timers]\nstream_forget_seconds = 0", "line 2", "1 to 604800"),
            ("[log]\nlevel = \"loud\"", "line 2", "expected one of"),
            ("[[interface]]\nqueues = 1", "line 1", "name"),
            ("[api.tcp]\naddress = \"127.0.0.1:1\"", "line 1", "certificate"),
            ("[api]\nsocket_roles = [\"root\"]", "line 2", "read-only"),
            ("[limits]\ndeadline_seconds = 0", "line 2", "1 to 3600"),
            ("[dtls]\nversions = [\"1.1\"]", "line 2", "1.2"),
            ("[dtls]\nthreads = 0", "line 2", "1 to 64"),
            ("[ice]\nexternal = { \"10.0.0.1\" = \"here\" }", "line 2", "no IP address"),
            ("[audit]\nfile = \"audit\"", "line 2", "absolute"),
            ("[media", "line 1", ""),
        ] {
            let problem = problem(text);
            assert!(problem.contains(line) && problem.contains(reason), "{text}\n→ {problem}");
        }
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_an_error() {
        for (text, reason) in [
            ("[policy]\nkeyings = []", "policy.keyings"),
            ("[policy]\nsuites = [\"AES\"]", "line 2"),
            ("[policy.callee]\nsecurity = \"maybe\"", "line 2"),
            ("[policy]\nbranch_timeout_seconds = 0", "branch_timeout_seconds"),
            (
                "[policy]\nkeyings = [\"sdes\"]\nlowest_robustness = \"active-signaling-active-media\"",
                "robustness",
            ),
        ] {
            let problem = problem(text);
            assert!(problem.contains(reason), "{text}\n→ {problem}");
        }
    }

    #[test]
    fn a_verifier_of_identities_that_could_not_work_is_an_error() {
        for (key, value) in
            [("freshness_seconds", "0"), ("remembered", "0"), ("service_providers", "[\"7 9\"]")]
        {
            let problem = problem(&format!("[identity.verify]\n{key} = {value}"));
            assert!(problem.contains(&format!("identity.verify.{key}")), "{problem}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_an_error() {
        assert!(problem("[dtls]\ncertificate = \"/a.pem\"").contains("dtls.key"));
        assert!(problem("[dtls]\nversions = []").contains("dtls.versions"));
    }

    #[test]
    fn an_interface_twice_is_an_error() {
        assert!(problem("[[interface]]\nname=\"a\"\n[[interface]]\nname=\"a\"").contains("twice"));
    }
}
