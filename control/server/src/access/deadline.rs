//! Until when a client waits for the answer to a call.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;

use crate::ApiError;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// The gRPC library has a timer of its own for `grpc-timeout`, which would answer CANCELLED: ours is sooner.
const AHEAD: Duration = Duration::from_millis(2);

/// How long the client gives the call; none if it does not say, or not as gRPC has it.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    // At most eight digits, and a unit: gRPC over HTTP/2, "Requests".
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// When an answer that may take so long comes too late.
pub(super) fn after(time: Duration) -> Instant {
    Instant::now() + time.saturating_sub(AHEAD)
}

/// Runs a call until its deadline. What it has begun by then goes on in a task of its own.
pub(super) async fn within<F: Future>(deadline: Instant, call: F) -> Result<F::Output, ApiError> {
    if deadline <= Instant::now() {
        return Err(passed());
    }
    let call = DEADLINE.scope(deadline, call);
    tokio::time::timeout_at(deadline, call).await.map_err(|_| passed())
}

/// Refuses to begin a change that the client does not wait for any more.
pub(crate) fn check() -> Result<(), ApiError> {
    // No deadline: a call from within.
    match DEADLINE.try_with(|deadline| *deadline <= Instant::now()) {
        Ok(true) => Err(passed()),
        _ => Ok(()),
    }
}

fn passed() -> ApiError {
    let message = "the call's deadline passed; a change that was begun goes on to its end";
    ApiError::late(message, "repeat the call: what is done already stays, and is answered the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_grpc_are_known_and_nonsense_is_none() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            asked(&headers)
        };
        for (text, nanoseconds) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
            ("99999999n", 99_999_999),
            ("0n", 0),
        ] {
            assert_eq!(of(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "100000000S", "1 S", "é"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(asked(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn what_is_late_is_not_begun_and_what_takes_too_long_is_left() {
        let never_polled = async { unreachable!("it is too late") };
        assert!(within(after(Duration::ZERO), never_polled).await.is_err());
        let slow = tokio::time::sleep(Duration::from_mins(1));
        let error = within(after(Duration::from_millis(20)), slow).await.unwrap_err();
        assert_eq!((error.code, error.reason), (tonic::Code::DeadlineExceeded, "DEADLINE"));
        let late = async {
            std::thread::sleep(Duration::from_millis(30));
            check()
        };
        assert!(within(after(Duration::from_millis(20)), late).await.unwrap().is_err());
        assert!(within(after(Duration::from_mins(1)), async { check() }).await.unwrap().is_ok());
        assert!(check().is_ok(), "no deadline");
    }
}
