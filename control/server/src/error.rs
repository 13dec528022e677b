//! What a caller did wrong, or what stands in the way: a gRPC status with details.

use sluice_datapath::CommandError;
use sluice_proto::v1;
use sluice_srtp::{KeyError, UnknownSuite};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of all `ErrorInfo` details.
pub(crate) const DOMAIN: &str = "sluice.v1";

/// Why a call, or one entry of a batch, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status code.
    pub code: Code,
    /// What was wrong, in a sentence.
    pub message: String,
    /// The field at fault, if one is.
    pub field: &'static str,
    /// A stable word for programs.
    pub reason: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Type and name of what was not found or exists already.
    pub resource: Option<(&'static str, String)>,
}

impl ApiError {
    fn new(code: Code, reason: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self { code, message: message.into(), field: "", reason, remedy, resource: None }
    }

    /// A field with a value that cannot be.
    pub fn invalid(field: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self { field, ..Self::new(Code::InvalidArgument, "INVALID_FIELD", message, remedy) }
    }

    /// Something that the call names does not exist.
    pub fn not_found(kind: &'static str, field: &'static str, id: &str) -> Self {
        let message = format!("{kind} {id:?} does not exist");
        let remedy = "create it first, or list what there is";
        let resource = Some((kind, id.to_owned()));
        Self { field, resource, ..Self::new(Code::NotFound, "NOT_FOUND", message, remedy) }
    }

    /// An id is taken by something else.
    pub fn exists(kind: &'static str, id: &str, differs: &'static str) -> Self {
        let message = format!("{kind} {id:?} exists already with another {differs}");
        let remedy = "choose another id, or delete the existing one first";
        let resource = Some((kind, id.to_owned()));
        Self { field: differs, resource, ..Self::new(Code::AlreadyExists, "EXISTS", message, remedy) }
    }

    /// The state of things does not allow it.
    pub fn precondition(reason: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(Code::FailedPrecondition, reason, message, remedy)
    }

    /// A limit is reached.
    pub fn exhausted(reason: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(Code::ResourceExhausted, reason, message, remedy)
    }

    /// The engine cannot answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, "ENGINE_GONE", message, "look at the daemon's log; restart it")
    }

    /// The caller may not do it.
    pub fn denied(reason: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(Code::PermissionDenied, reason, message, remedy)
    }

    /// It is too late: nobody waits for the answer any more.
    pub fn late(message: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(Code::DeadlineExceeded, "DEADLINE", message, remedy)
    }

    /// The same error, blamed on a field.
    #[must_use]
    pub fn at(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let metadata = [("remedy".to_owned(), error.remedy.to_owned())];
        let mut details = ErrorDetails::with_error_info(error.reason, DOMAIN, metadata);
        if !error.field.is_empty() {
            details.add_bad_request_violation(error.field, error.message.clone());
        }
        if error.code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(error.reason, error.field, error.message.clone());
        }
        if let Some((kind, name)) = &error.resource {
            details.set_resource_info(*kind, name.clone(), "", error.message.clone());
        }
        let message = match (error.field, error.remedy) {
            ("", remedy) => format!("{}: {remedy}", error.message),
            (field, remedy) => format!("{field}: {}: {remedy}", error.message),
        };
        Self::with_error_details(error.code, message, details)
    }
}

impl From<ApiError> for v1::Failure {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code as i32,
            message: error.message,
            field: error.field.to_owned(),
            reason: error.reason.to_owned(),
            remedy: error.remedy.to_owned(),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::MkiLength { .. } => {
                Self::invalid("mki", error.to_string(), "give 1 to 128 bytes, or none")
            }
            KeyError::ReplayWindow { .. } => {
                Self::invalid("replay_window", error.to_string(), "give 64 to 32768, or 0 for the default")
            }
            KeyError::Lifetime => {
                Self::invalid("lifetime_rtp_packets", error.to_string(), "give 0 for the longest lifetimes")
            }
            KeyError::DerivationRate { .. } => {
                let remedy = "give 0, or a power of two up to 16777216";
                Self::invalid("key_derivation_rate", error.to_string(), remedy)
            }
            KeyError::Inseparable { what, .. } => {
                let field = if what == "encryption" { "unencrypted_rtp" } else { "unauthenticated_rtp" };
                Self::invalid(field, error.to_string(), "leave the field out, or choose an HMAC suite")
            }
            KeyError::Cryptex { .. } => {
                Self::invalid("cryptex", error.to_string(), "leave the field out, or choose another suite")
            }
            KeyError::Rcc { .. } => {
                let remedy =
                    "give a rate of 1 to 65535, and no tag_length: the default is what RFC 4771 advises";
                Self::invalid("roc_carrying", error.to_string(), remedy)
            }
            KeyError::Indices { .. } => {
                Self::invalid("packet_indices", error.to_string(), "correct them, or leave the field out")
            }
            KeyError::ShortTags { .. } => {
                let remedy = "leave the field out, or choose an HMAC suite";
                Self::invalid("short_rtcp_tags", error.to_string(), remedy)
            }
            KeyError::RccMode { .. } => {
                Self::invalid("roc_carrying", error.to_string(), "use mode 3, or choose an HMAC suite")
            }
            KeyError::NoKernel => Self::unavailable(error.to_string()),
            _ => Self::invalid("key_salt", error.to_string(), "give the master key followed by the salt"),
        }
    }
}

impl From<UnknownSuite> for ApiError {
    fn from(error: UnknownSuite) -> Self {
        Self::invalid("suite", error.to_string(), "give one of these names")
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::UnknownLeg(_) | CommandError::UnknownRoute(_) | CommandError::UnknownKey { .. } => {
                Self::new(Code::NotFound, "NOT_FOUND", message, "it ended meanwhile; list what there is")
            }
            CommandError::InvalidLeg { field, .. } => {
                let field = if field == "window" { "replay_window" } else { field };
                Self::invalid(field, message, "correct the field")
            }
            CommandError::InvalidRoute { field, .. } => {
                // The engine's names of what the API calls maps.
                let field = match field {
                    "ssrcs" => "ssrc_map",
                    "payload_types" => "payload_type_map",
                    "extensions" => "extension_map",
                    other => other,
                };
                Self::invalid(field, message, "correct the field")
            }
            CommandError::OnSharedPort(_) => {
                Self::precondition("ON_SHARED_PORT", message, "move sessions whose legs have their own ports")
            }
            CommandError::Abandoned(_) => {
                Self::new(Code::Internal, "LEGS_LOST", message, "create the session's legs again")
            }
            CommandError::RemoteTaken { .. } => {
                Self::precondition("REMOTE_TAKEN", message, "give each leg of the port its own peer")
                    .at("remote")
            }
            CommandError::InvalidPort { .. } | CommandError::PortSocket { .. } => {
                Self::precondition("NO_SHARED_PORT", message, "see the reason").at("shared_port")
            }
            CommandError::AddressTaken(_) => {
                Self::precondition("PORT_IN_USE", message, "choose another port").at("local")
            }
            CommandError::NotSrtp { .. } => Self::precondition(
                "LEG_IS_PLAIN",
                message,
                "create the leg with PROTECTION_SRTP in that direction",
            )
            .at("direction"),
            CommandError::RouteDuplicate { .. } => {
                Self::precondition("ROUTE_DUPLICATE", message, "use the existing route")
            }
            CommandError::KeySpent(_) => {
                Self::precondition("KEY_SPENT", message, "install a fresh key").at("key_salt")
            }
            CommandError::NoSendingKey(_) => {
                Self::precondition("NO_KEY", message, "install the key, then import").at("streams")
            }
            CommandError::SsrcInUse { .. } => {
                Self::precondition("SSRC_IN_USE", message, "remove the route that sends it").at("streams")
            }
            CommandError::TooManyPositions { .. } => {
                let remedy = "import fewer, or create the leg with more max_streams";
                Self::exhausted("LIMIT", message, remedy).at("streams")
            }
            CommandError::TooManyLegs(_)
            | CommandError::TooManyRoutes(_)
            | CommandError::TooManyKeys { .. }
            | CommandError::PoolEmpty => {
                Self::exhausted("LIMIT", message, "raise the limit in the configuration")
            }
            CommandError::WorkerStopped | CommandError::NoSuchWorker(_) => Self::unavailable(message),
            _ => Self::precondition("REFUSED", message, "see the message"),
        }
    }
}

/// Ids are chosen by clients; this keeps them printable, short and unambiguous.
pub(crate) fn check_id(field: &'static str, id: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    if id.is_empty() {
        return Err(ApiError::invalid(field, "is empty", "choose an id"));
    }
    if id.len() > 128 || !id.chars().all(allowed) {
        let remedy = "use 1 to 128 characters of A-Z a-z 0-9 . _ : @ -";
        return Err(ApiError::invalid(field, format!("{:?} is not an id", shorten(id)), remedy));
    }
    Ok(())
}

fn shorten(id: &str) -> String {
    id.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_field_reason_and_remedy() {
        let status = Status::from(ApiError::from("AES_9".parse::<sluice_srtp::Suite>().unwrap_err()));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "suite");
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", DOMAIN));
        assert!(info.metadata.contains_key("remedy"));
    }

    #[test]
    fn ids_are_printable_and_bounded() {
        assert!(check_id("session", "call-1_a.b:c@d").is_ok());
        for bad in ["", "a b", "a/b", "é", &"x".repeat(129)] {
            assert!(check_id("session", bad).is_err(), "{bad}");
        }
    }
}
