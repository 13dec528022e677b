//! Who taps what is on record, and who may not tap does not.

use serde_json::Value;
use sluice_proto::v1;
use sluice_server::config::{AbsolutePath, Role};
use tonic::Code;

use crate::bed::{Bed, peer, to_file, to_peer};
use crate::support::{receive, udp};

/// The lines of the audit log that are about taps.
fn lines(bed: &Bed) -> Vec<Value> {
    let path = bed.folder.parent().unwrap().join("audit.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| !line["tap"].is_null()).collect()
}

#[tokio::test]
async fn every_start_end_and_key_that_is_told_is_on_record_and_no_key() {
    let bed = Bed::start_with("tapaudit", |config, folder| {
        config.audit.file = Some(AbsolutePath(folder.join("audit.jsonl")));
    })
    .await;
    let given: Vec<u8> = (0..30).map(|n| 0xc0 ^ n).collect();
    bed.tap("given", to_peer(peer(&udp(), crate::SUITE, &given), &["a"])).await.unwrap();
    bed.tap("made", to_peer(peer(&udp(), crate::SUITE, &[]), &[])).await.unwrap();
    let ask = v1::DiscloseTapKeyRequest { session: "s".into(), tap: "made".into() };
    let told = bed.recorder().await.disclose_tap_key(ask).await.unwrap().into_inner().key.unwrap();
    bed.tap("bad", to_file("../bad", &["a"])).await.unwrap_err();
    bed.stop_tap("given").await.unwrap();
    bed.delete_session().await;
    bed.eventually(async || lines(&bed).iter().any(|line| line["detail"] == "session").then_some(())).await;
    let lines = lines(&bed);
    let told_of = |method: &str, tap: &str| {
        let of = |line: &&Value| line["method"].as_str().unwrap().ends_with(method) && line["tap"] == tap;
        lines.iter().filter(of).map(|line| line["outcome"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(told_of("StartTap", "given"), ["begun", "done"]);
    assert_eq!(told_of("StartTap", "made"), ["begun", "done"]);
    assert_eq!(told_of("StartTap", "bad"), ["begun", "failed"]);
    assert_eq!(told_of("DiscloseTapKey", "made"), ["done"]);
    assert_eq!(told_of("StopTap", "given"), ["done"]);
    assert_eq!(told_of("tap ended", "made"), ["done"]);
    for line in &lines {
        assert_eq!(line["session"], "s");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        assert!(line["who"].is_object(), "{line}");
    }
    let start = lines.iter().find(|line| line["tap"] == "given").unwrap();
    assert!(start["detail"].as_str().unwrap().starts_with("legs a to 127.0.0.1:"), "{start}");
    // Neither as it is nor as text.
    let text = std::fs::read(bed.folder.parent().unwrap().join("audit.jsonl")).unwrap();
    for key in [given, told.key_salt] {
        let hex = hex::encode(&key);
        for secret in [key.as_slice(), hex.as_bytes(), &hex.as_bytes()[..16]] {
            assert!(!text.windows(secret.len()).any(|window| window == secret));
        }
    }
    bed.stop().await;
}

#[tokio::test]
async fn without_an_audit_log_nothing_is_copied_and_no_key_is_told() {
    let mut bed =
        Bed::start_with("tapnolog", |config, _| config.audit.file = Some(AbsolutePath("/dev/full".into())))
            .await;
    let recorder = udp();
    for config in [to_file("x", &[]), to_peer(peer(&recorder, crate::SUITE, &[]), &[])] {
        let refused = bed.tap("t", config).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("audit"), "{}", refused.message());
    }
    bed.a.send(1);
    receive(&bed.b);
    assert!(crate::support::silent(&recorder));
    assert_eq!(std::fs::read_dir(&bed.folder).unwrap().count(), 0);
    assert_eq!(bed.get_tap("t").await.unwrap_err().code(), Code::NotFound);
    bed.stop().await;
}

#[tokio::test]
async fn tapping_takes_the_role_of_a_recorder() {
    let bed = Bed::start_with("taprole", |config, _| {
        config.api.socket_roles = vec![Role::Signalling, Role::Operator];
    })
    .await;
    let refused = bed.tap("t", to_file("x", &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(bed.stop_tap("t").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(bed.get_tap("t").await.unwrap_err().code(), Code::PermissionDenied);
    let mut client = bed.recorder().await;
    let refused = client.list_taps(v1::ListTapsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let ask = v1::DiscloseTapKeyRequest { session: "s".into(), tap: "t".into() };
    assert_eq!(client.disclose_tap_key(ask).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(std::fs::read_dir(&bed.folder).unwrap().count(), 0);
    bed.stop().await;
}
