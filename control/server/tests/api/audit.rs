//! Who did what, as the audit log has it.

use std::path::Path;

use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_server::config::AbsolutePath;
use sluice_server::{Config, Server};

use crate::certificates::OverTcp;
use crate::support::{Daemon, LegSpec, config};

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn with_audit(config: &mut Config, path: &Path) {
    config.audit.file = Some(AbsolutePath(path.to_owned()));
}

#[tokio::test]
async fn keys_are_audited_by_name_and_never_by_what_they_are() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = logs.path().join("audit.jsonl");
    let mut config = config(folder.path(), "io_uring");
    with_audit(&mut config, &path);
    let daemon = Daemon::start_with(folder, config).await;
    daemon.session("s").await;
    daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    let mut good = Daemon::install("a", v1::Direction::Inbound, vec![0xa7; 30]);
    let bad = Daemon::install("nobody", v1::Direction::Outbound, vec![0xa7; 30]);
    let request = v1::InstallKeysRequest { keys: vec![good.clone(), bad] };
    daemon.client().await.install_keys(request).await.unwrap();
    good.key = "next".into();
    good.key_salt[0] = 1;
    let request = v1::RekeyRequest { keys: vec![good], grace_milliseconds: 100 };
    daemon.client().await.rekey(request).await.unwrap();
    daemon.stop().await;
    let lines = lines(&path);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["method"], "sluice.v1.Sluice/InstallKeys");
    assert_eq!(lines[0]["who"]["uid"], rustix::process::getuid().as_raw());
    assert_eq!(lines[0]["who"]["pid"], std::process::id());
    let key = |session, leg, key, direction, outcome| serde_json::json!({"session": session, "leg": leg, "key": key, "direction": direction, "outcome": outcome});
    let expected = [key("s", "a", "k", "inbound", "done"), key("s", "nobody", "k", "outbound", "failed")];
    assert_eq!(lines[0]["keys"], serde_json::json!(expected));
    assert_eq!(lines[1]["keys"][0]["key"], "next");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("a7a7") && !text.contains("167,167") && !text.contains("p6en"), "{text}");
}

#[tokio::test]
async fn what_operators_do_and_what_others_may_not_is_audited() {
    let logs = tempfile::tempdir().unwrap();
    let path = logs.path().join("audit.jsonl");
    let served = OverTcp::start("operator = [\"cn:ops\"]", |config| with_audit(config, &path)).await;
    served.daemon.session("s").await;
    let mut ops = SluiceClient::new(served.connect_as("ops").await);
    ops.move_session(v1::MoveSessionRequest { session: "s".into(), worker: 0 }).await.unwrap();
    ops.move_session(v1::MoveSessionRequest { session: "s".into(), worker: 9 }).await.unwrap_err();
    ops.delete_session(v1::DeleteSessionRequest { session: "s".into() }).await.unwrap();
    let mut stranger = SluiceClient::new(served.connect_as("stranger").await);
    for _ in 0..3 {
        stranger.get_info(v1::GetInfoRequest {}).await.unwrap_err();
    }
    served.daemon.stop().await;
    let lines = lines(&path);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["method"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    let expected = [
        ("sluice.v1.Sluice/MoveSession", "done"),
        ("sluice.v1.Sluice/MoveSession", "failed"),
        ("sluice.v1.Sluice/DeleteSession", "done"),
        // Once for a connection: nobody fills a disk so.
        ("sluice.v1.Sluice/GetInfo", "failed"),
    ];
    assert_eq!(told, expected);
    assert!(lines[0]["who"]["certificate"].as_str().unwrap().contains("ops"));
    assert_eq!(lines[0]["who"]["sha256"].as_str().unwrap().len(), 64);
    assert!(lines[0]["who"]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(lines[2]["session"], "s");
    assert_eq!(lines[3]["reason"], "ROLE_MISSING");
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_opened_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    with_audit(&mut config, &folder.path().join("missing/audit.jsonl"));
    let error = Server::start(config).await.err().expect("no such folder").to_string();
    assert!(error.contains("missing/audit.jsonl") && error.contains("[audit]"), "{error}");
    assert!(!folder.path().join("sluice.sock").exists());
}
