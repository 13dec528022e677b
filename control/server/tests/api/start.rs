//! How the daemon starts, and why it does not.

use caps::{CapSet, Capability};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_server::config::Interface;
use sluice_server::{Config, Server};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate as Authority, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Daemon, config};

#[tokio::test]
async fn starts_that_cannot_be_say_why_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut missing = config(folder.path(), "xdp-native");
    missing.interfaces.push(sluice_server::config::Interface { name: "nosuch0".into(), queues: None });
    let error = Server::start(missing).await.err().expect("no such interface").to_string();
    assert!(error.contains("nosuch0") && error.contains("ip link"), "{error}");
    assert!(!folder.path().join("sluice.sock").exists(), "the socket is gone again");
    let first = Server::start(config(folder.path(), "io_uring")).await.unwrap();
    let error = Server::start(config(folder.path(), "io_uring")).await.err().expect("a second daemon");
    assert!(error.to_string().contains("another sluice is running"), "{error}");
    assert!(folder.path().join("sluice.sock").exists(), "the first one's socket is untouched");
    drop(first);
    std::fs::write(folder.path().join("sluice.sock"), "not a socket").unwrap();
    let error = Server::start(config(folder.path(), "io_uring")).await.err().expect("a file in the way");
    assert!(error.to_string().contains("not a socket"), "{error}");
}

#[tokio::test]
async fn without_capabilities_xdp_is_refused_and_auto_goes_by_io_uring() {
    // Capabilities belong to the thread, and this test has one of its own.
    for capability in [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN] {
        caps::drop(None, CapSet::Effective, capability).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let on_loopback = |mode| {
        let mut config = config(folder.path(), mode);
        config.interfaces.push(Interface { name: "lo".into(), queues: None });
        config
    };
    let error = Server::start(on_loopback("xdp-generic")).await.err().expect("no permission").to_string();
    assert!(error.contains("CAP_BPF") && error.contains("CAP_NET_ADMIN"), "{error}");
    assert!(!folder.path().join("sluice.sock").exists());
    let on_auto = on_loopback("auto");
    let daemon = Daemon::start_with(folder, on_auto).await;
    let info = daemon.client().await.get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.path, "io_uring");
    assert!(info.interfaces[0].degraded.iter().any(|why| why.contains("CAP_BPF")), "{info:?}");
    daemon.stop().await;
}

/// An authority and what it signed, as PEM.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn signed(name: &str) -> Signed {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority: Certificate = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Signed { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

fn with_tcp(folder: &Path, port: u16, server: &Signed, clients: &Signed) -> Config {
    for (file, text) in
        [("server.pem", &server.certificate), ("server.key", &server.key), ("ca.pem", &clients.authority)]
    {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let at = folder.display();
    let text = format!(
        "[api.tcp]\naddress = \"127.0.0.1:{port}\"\ncertificate = \"{at}/server.pem\"\n\
         key = \"{at}/server.key\"\nclient_ca = \"{at}/ca.pem\"\n\
         [api.tcp.roles]\ndefault = [\"read-only\"]\n"
    );
    let tcp = Config::parse(Path::new("tcp.toml"), &text).unwrap().api.tcp;
    let mut config = config(folder, "io_uring");
    config.api.tcp = tcp;
    config
}

#[tokio::test]
async fn tcp_is_for_clients_with_a_certificate_of_the_right_authority() {
    let (server, clients, strangers) = (signed("localhost"), signed("client"), signed("client"));
    let folder = tempfile::tempdir().unwrap();
    let port = 47_443;
    let daemon =
        Daemon::start_with(tempfile::tempdir().unwrap(), with_tcp(folder.path(), port, &server, &clients));
    let daemon = daemon.await;
    let call = |tls: Option<ClientTlsConfig>| async move {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::try_from(format!("{scheme}://127.0.0.1:{port}")).unwrap();
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let info = SluiceClient::new(channel).get_info(v1::GetInfoRequest {}).await;
        info.map(|info| info.into_inner().version).map_err(|status| status.to_string())
    };
    let tls = || {
        let authority = Authority::from_pem(&server.authority);
        ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost")
    };
    let as_client = |of: &Signed| tls().identity(Identity::from_pem(&of.certificate, &of.key));
    assert!(call(Some(as_client(&clients))).await.is_ok());
    assert!(call(Some(as_client(&strangers))).await.is_err(), "another authority's");
    assert!(call(Some(tls())).await.is_err(), "without a certificate");
    assert!(call(None).await.is_err(), "without TLS");
    daemon.stop().await;
}

#[tokio::test]
async fn a_tcp_client_that_never_says_who_it_is_is_cut_off() {
    use std::io::Read;
    let (server, clients) = (signed("localhost"), signed("client"));
    let folder = tempfile::tempdir().unwrap();
    let config = with_tcp(folder.path(), 47_445, &server, &clients);
    let daemon = Daemon::start_with(tempfile::tempdir().unwrap(), config).await;
    let mut silent = std::net::TcpStream::connect("127.0.0.1:47445").unwrap();
    silent.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let read = tokio::task::spawn_blocking(move || silent.read(&mut [0]).map_err(|error| error.kind()));
    assert_eq!(read.await.unwrap(), Ok(0), "closed");
    daemon.stop().await;
}

/// A client's end of a TLS connection to a daemon of [`with_tcp`].
async fn secured(port: u16, server: &Signed, client: &Signed) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.authority.as_bytes()).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(vec![certificate], key).unwrap();
    config.alpn_protocols.push(b"h2".to_vec());
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

#[tokio::test]
async fn a_tls_client_that_does_not_go_on_to_speak_http_2_is_cut_off() {
    let (server, clients) = (signed("localhost"), signed("client"));
    let folder = tempfile::tempdir().unwrap();
    let port = 47_446;
    let config = with_tcp(folder.path(), port, &server, &clients);
    let daemon = Daemon::start_with(tempfile::tempdir().unwrap(), config).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let [nothing, part, all] = [&[][..], &preface[..23], &[&preface[..], &empty_settings].concat()];
    let mut connections = Vec::new();
    for said in [nothing, part, all] {
        let mut connection = secured(port, &server, &clients).await;
        connection.write_all(said).await.unwrap();
        connections.push(connection);
    }
    let mut greeted = connections.pop().unwrap();
    for mut cut_off in connections {
        // What the server says of itself comes first.
        let mut said = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), cut_off.read_to_end(&mut said));
        // With or without a farewell of TLS.
        let _ = end.await.expect("it is closed");
    }
    // That one may be silent: a ping is answered yet.
    greeted.write_all(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    let answered = async {
        let mut heard = Vec::new();
        while !heard.ends_with(&[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) {
            assert_ne!(greeted.read_buf(&mut heard).await.unwrap(), 0, "it is open: {heard:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an answer");
    daemon.stop().await;
}

#[tokio::test]
async fn certificates_that_are_of_no_use_stop_the_start() {
    let (server, clients) = (signed("localhost"), signed("client"));
    let folder = tempfile::tempdir().unwrap();
    let config = with_tcp(folder.path(), 47_444, &server, &clients);
    std::fs::write(folder.path().join("server.key"), "no key").unwrap();
    let error = Server::start(config.clone()).await.err().expect("not a key").to_string();
    assert!(error.contains("[api.tcp]"), "{error}");
    std::fs::remove_file(folder.path().join("server.key")).unwrap();
    let error = Server::start(config).await.err().expect("no file").to_string();
    assert!(error.contains("server.key"), "{error}");
    assert!(!folder.path().join("sluice.sock").exists());
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sluice.sock");
    // Bound and closed without being removed, as a killed daemon leaves it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let config = config(folder.path(), "io_uring");
    let daemon = Daemon::start_with(folder, config).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    daemon.client().await.get_info(v1::GetInfoRequest {}).await.unwrap();
    daemon.stop().await;
}
