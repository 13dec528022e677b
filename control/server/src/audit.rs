//! The audit log: who gave keys, who took media or keys out, and who ran the gateway; one JSON object a line.
//!
//! Lines of recorders and operators are on the disk (fdatasync) before their call goes on; lines of key installations,
//! of which there may be thousands a second, are written before the answer, and reach the disk with the next of the
//! others or when the kernel writes them. Key material is in none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use sluice_proto::v1;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ApiError;
use crate::access::Caller;

/// Where lines go.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// The last line was not written whole.
    torn: bool,
}

/// What somebody did, or is about to do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Action {
    /// Service and method, "sluice.v1.Recording/StartTap", or what it was without a call.
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    session: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    leg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tap: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyAction>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "is_empty")]
    reason: &'static str,
    #[serde(skip)]
    frequent: bool,
}

/// What became of one key of a call, by its names.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyAction {
    session: String,
    leg: String,
    key: String,
    direction: &'static str,
    outcome: Outcome,
}

impl KeyAction {
    /// A key that was installed, or not.
    pub(crate) fn new<T>(name: v1::KeyRef, result: &Result<T, ApiError>) -> Self {
        let direction = match name.direction() {
            v1::Direction::Inbound => "inbound",
            v1::Direction::Outbound => "outbound",
            v1::Direction::Unspecified => "none",
        };
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        let v1::KeyRef { session, leg, key, .. } = name;
        Self { session, leg, key, direction, outcome }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It is about to be done: another line tells how it went.
    Begun,
    Done,
    Failed,
}

impl Action {
    /// Something that was done by a method.
    pub(crate) fn new(method: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            session: String::new(),
            leg: String::new(),
            tap: String::new(),
            keys: Vec::new(),
            detail: String::new(),
            outcome: Outcome::Done,
            reason: "",
            frequent: false,
        }
    }

    /// The session that it was done to.
    pub(crate) fn session(self, session: &str) -> Self {
        Self { session: session.to_owned(), ..self }
    }

    /// The leg.
    pub(crate) fn leg(self, leg: &str) -> Self {
        Self { leg: leg.to_owned(), ..self }
    }

    /// The tap.
    pub(crate) fn tap(self, tap: &str) -> Self {
        Self { tap: tap.to_owned(), ..self }
    }

    /// What else is worth knowing, such as where media goes.
    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Keys that it installed. Such lines are many, and do not wait for the disk.
    pub(crate) fn keys(self, keys: Vec<KeyAction>) -> Self {
        Self { keys, frequent: true, ..self }
    }

    /// It is about to be done.
    pub(crate) fn begun(self) -> Self {
        Self { outcome: Outcome::Begun, ..self }
    }

    /// It was refused, or did not work.
    pub(crate) fn failed(self, error: &ApiError) -> Self {
        Self { outcome: Outcome::Failed, reason: error.reason, ..self }
    }

    /// How it went.
    pub(crate) fn outcome<T>(self, result: &Result<T, ApiError>) -> Self {
        match result {
            Ok(_) => Self { outcome: Outcome::Done, ..self },
            Err(error) => self.failed(error),
        }
    }
}

fn is_empty(text: &&'static str) -> bool {
    text.is_empty()
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    who: &'a Caller,
    #[serde(flatten)]
    action: &'a Action,
}

impl Audit {
    /// Opens the log, to append to it; without a file lines go to the tracing target `audit` alone.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let mut options = OpenOptions::new();
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = options.append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
        let log = Log { path: path.to_owned(), file: Mutex::new(Tail { file, torn: false }) };
        Ok(Self { log: Some(log) })
    }

    /// Writes a line. A call that lets media or keys out must be refused if it cannot be written, and so has to
    /// write it before.
    #[expect(clippy::needless_pass_by_value, reason = "an action is told once")]
    pub(crate) fn record(&self, who: &Caller, action: Action) -> Result<(), ApiError> {
        if self.is_unheard(&action) {
            return Ok(());
        }
        // A clock before 1970 or after 9999 has no such form.
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let frequent = action.frequent;
        let line = serde_json::to_string(&Line { time, who, action: &action });
        let line = line.map_err(|error| unwritten(&error))?;
        let Some(log) = &self.log else {
            if frequent {
                tracing::debug!(target: "audit", "{line}");
            } else {
                tracing::info!(target: "audit", "{line}");
            }
            return Ok(());
        };
        log.append(line, !frequent).map_err(|error| {
            tracing::error!(%error, path = %log.path.display(), "cannot write the audit log");
            unwritten(&error)
        })
    }
}

impl Audit {
    /// Whether nobody would see the line: what takes thousands of them a second need not make them.
    fn is_unheard(&self, action: &Action) -> bool {
        self.log.is_none() && action.frequent && !tracing::enabled!(target: "audit", tracing::Level::DEBUG)
    }
}

impl Log {
    fn append(&self, mut line: String, durable: bool) -> io::Result<()> {
        line.push('\n');
        let mut tail = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.torn {
            line.insert(0, '\n');
        }
        tail.torn = true;
        tail.file.write_all(line.as_bytes())?;
        tail.torn = false;
        if durable { tail.file.sync_data() } else { Ok(()) }
    }
}

fn unwritten(error: &dyn std::error::Error) -> ApiError {
    let message = format!("the audit log cannot be written: {error}");
    ApiError::precondition("NO_AUDIT", message, "make room for the file of [audit], or have it writable")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;

    use super::*;
    use crate::access::Roles;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_tells_who_when_and_what_and_the_file_is_its_owner_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(Some(&path)).unwrap();
        let who = Caller::process(None, Roles::ALL);
        let action = Action::new("sluice.v1.Recording/StartTap").session("s").leg("a").tap("t");
        audit.record(&who, action.clone().begun()).unwrap();
        let error = ApiError::unavailable("a secret of no concern");
        audit.record(&Caller::gateway(), action.outcome(&Err::<(), _>(error))).unwrap();
        drop(audit);
        // Another daemon appends.
        Audit::open(Some(&path)).unwrap().record(&who, Action::new("m").detail("\"a\n\u{1b}")).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["tap"], "t");
        assert_eq!(lines[0]["outcome"], "begun");
        assert_eq!(lines[0]["who"]["unknown"], true);
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[1]["reason"], "ENGINE_GONE");
        assert_eq!(lines[1]["who"]["gateway"], true);
        assert_eq!(lines[2]["detail"], "\"a\n\u{1b}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let audit = Audit::open(Some(Path::new("/dev/full"))).unwrap();
        let error = audit.record(&Caller::gateway(), Action::new("m")).unwrap_err();
        assert_eq!(error.reason, "NO_AUDIT");
        assert!(Audit::open(Some(Path::new("/nowhere/audit"))).is_err());
        assert!(Audit::default().record(&Caller::gateway(), Action::new("m")).is_ok());
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"torn").unwrap();
        let audit = Audit::open(Some(&path)).unwrap();
        audit.log.as_ref().unwrap().file.lock().unwrap().torn = true;
        audit.record(&Caller::gateway(), Action::new("m")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(serde_json::from_str::<Value>(last).unwrap()["method"], "m");
    }
}
