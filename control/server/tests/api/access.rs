//! Who may call what.

use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorSet;
use rcgen::{CertificateParams, date_time_ymd};
use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::certificates::{Authority, OverTcp};
use crate::support::{Daemon, config};

const RULES: &str = "signalling = [\"cn:sbc\"]\nrecorder = [\"dns:recorder\"]\noperator = [\"cn:ops\"]\n\
                     read-only = [\"cn:looker\"]";

/// Every method that there is, and some that there will be.
fn methods() -> Vec<String> {
    let mut methods = vec!["sluice.v1.Recording/Anything".into(), "sluice.v1.Signalling/Anything".into()];
    let sets = [
        v1::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    for file in sets.iter().flat_map(|set| FileDescriptorSet::decode(*set).unwrap().file) {
        for service in &file.service {
            let path = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    methods
}

/// Calls a method with an empty message.
async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::GetInfoRequest, v1::GetInfoRequest>::default();
    let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
    client.server_streaming(Request::new(v1::GetInfoRequest {}), path, codec).await.map(drop)
}

fn may(role: &str, method: &str) -> bool {
    let (service, name) = method.split_once('/').unwrap();
    match service {
        "sluice.v1.Recording" => role == "recorder",
        "sluice.v1.Signalling" if name == "EndSession" => role == "sbc" || role == "ops",
        "sluice.v1.Signalling" if name == "GetCall" || name == "ListCalls" => true,
        "sluice.v1.Signalling" => role == "sbc",
        "sluice.v1.Sluice" => match name {
            "MoveSession" => role == "ops",
            "DeleteSession" | "ExportPositions" | "ImportPositions" => role == "sbc" || role == "ops",
            look if ["Get", "List", "Watch"].iter().any(|verb| look.starts_with(verb)) => true,
            _ => role == "sbc",
        },
        _ => true,
    }
}

#[tokio::test]
async fn each_role_may_call_what_is_its_and_nothing_else() {
    let served = OverTcp::start(RULES, |_| {}).await;
    for role in ["sbc", "recorder", "ops", "looker"] {
        let channel = served.connect_as(role).await;
        for method in methods() {
            let outcome = call(&channel, &method).await;
            let denied = outcome.err().filter(|status| status.code() == Code::PermissionDenied);
            assert_eq!(denied.is_none(), may(role, &method), "{role}: {method}: {denied:?}");
            if let Some(denied) = denied {
                assert!(denied.message().contains("needs the role"), "{denied:?}");
                assert_eq!(denied.get_details_error_info().unwrap().reason, "ROLE_MISSING");
            }
        }
    }
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_that_no_rule_names_gets_nothing() {
    let served = OverTcp::start(RULES, |_| {}).await;
    let stranger = served.connect_as("stranger").await;
    for method in methods() {
        let denied = call(&stranger, &method).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "{method}: {denied:?}");
    }
    let denied = call(&stranger, "sluice.v1.Sluice/MoveSession").await.unwrap_err();
    assert!(
        denied.message().contains("role operator") && denied.message().contains("stranger"),
        "{denied:?}"
    );
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_that_no_rule_names_gets_the_default_if_there_is_one() {
    let served = OverTcp::start("default = [\"read-only\"]\noperator = [\"cn:ops\"]", |_| {}).await;
    let stranger = served.connect_as("stranger").await;
    call(&stranger, "sluice.v1.Sluice/GetInfo").await.unwrap();
    let denied = call(&stranger, "sluice.v1.Sluice/CreateSession").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    served.daemon.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_or_with_a_wrong_or_expired_one() {
    let served = OverTcp::start("default = [\"read-only\"]", |_| {}).await;
    let info = |channel: Result<Channel, _>| async move {
        let channel = channel.map_err(|error: tonic::transport::Error| error.to_string())?;
        let answer = SluiceClient::new(channel).get_info(v1::GetInfoRequest {}).await;
        answer.map(drop).map_err(|status| status.to_string())
    };
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2200, 1, 1);
    let expired = served.authority.sign_with("client", expired);
    let early = served.authority.sign_with("client", early);
    let strangers = Authority::new().sign("client");
    for client in [None, Some(&strangers), Some(&expired), Some(&early)] {
        assert!(info(served.connect(client).await).await.is_err());
    }
    let good = served.authority.sign("client");
    assert_eq!(info(served.connect(Some(&good)).await).await, Ok(()));
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let served = OverTcp::start("default = [\"read-only\"]", |_| {}).await;
    let soon = std::time::SystemTime::now() + Duration::from_secs(3);
    let client = served.authority.sign_with("client", |params| params.not_after = soon.into());
    let channel = served.connect(Some(&client)).await.unwrap();
    call(&channel, "sluice.v1.Sluice/GetInfo").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let denied = call(&channel, "sluice.v1.Sluice/GetInfo").await.unwrap_err();
    assert_eq!(denied.get_details_error_info().unwrap().reason, "EXPIRED", "{denied:?}");
    served.daemon.stop().await;
}

#[tokio::test]
async fn the_unix_socket_has_all_roles_or_those_of_the_configuration() {
    let daemon = Daemon::start("roles").await;
    for method in methods() {
        if let Err(status) = call(&daemon.channel().await, &method).await {
            assert_ne!(status.code(), Code::PermissionDenied, "{method}");
        }
    }
    daemon.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let mut few = config(folder.path(), "io_uring");
    few.api.socket_roles = vec![sluice_server::config::Role::ReadOnly];
    let daemon = Daemon::start_with(folder, few).await;
    let channel = daemon.channel().await;
    call(&channel, "sluice.v1.Sluice/ListSessions").await.unwrap();
    let denied = call(&channel, "sluice.v1.Sluice/CreateSession").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(denied.message().contains("role signalling") && denied.message().contains("user"), "{denied:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_unimplemented() {
    let daemon = Daemon::start("unknown").await;
    let channel = daemon.channel().await;
    for method in ["sluice.v1.Sluice/Nothing", "sluice.v9.Other/GetInfo", "a/b"] {
        assert_eq!(call(&channel, method).await.unwrap_err().code(), Code::Unimplemented, "{method}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn changed_certificates_are_taken_up_and_calls_go_on() {
    let mut served = OverTcp::start("default = [\"read-only\"]", |_| {}).await;
    let before = served.connect_as("before").await;
    let mut watched = SluiceClient::new(before.clone());
    let mut events = watched.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let next = Authority::new();
    let server = next.sign("localhost");
    let write = |name: &str, text: &str| std::fs::write(served.folder.join(name), text).unwrap();
    write("server.key", &server.key);
    // For a while the key is not the certificate's.
    tokio::time::sleep(Duration::from_secs(6)).await;
    served.connect_as("still").await;
    write("server.pem", &server.certificate);
    write("ca.pem", &next.pem);
    let earlier = std::mem::replace(&mut served.authority, next);
    let reached = served.daemon.eventually_within(Duration::from_secs(15), || async {
        let client = served.authority.sign("after");
        let channel = served.connect(Some(&client)).await.ok()?;
        call(&channel, "sluice.v1.Sluice/GetInfo").await.ok()
    });
    reached.await;
    let old = earlier.sign("before");
    let refused = match served.connect(Some(&old)).await {
        Ok(channel) => call(&channel, "sluice.v1.Sluice/GetInfo").await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "the authority of before is none any more");
    served.daemon.session("s").await;
    let waiting = tokio::time::timeout(Duration::from_millis(200), events.message()).await;
    assert!(waiting.is_err(), "the watcher's call has not ended: {waiting:?}");
    served.daemon.stop().await;
}
