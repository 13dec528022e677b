//! An authority of the tests' own, a daemon that goes by it, and clients with its certificates.
#![allow(unreachable_pub, reason = "a module of a test, not of a library")]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sluice_server::Config;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Daemon, config};

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host of this name whose subject has it as its common name.
    pub fn sign(&self, name: &str) -> Signed {
        self.sign_with(name, |_| {})
    }

    pub fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

/// A daemon that listens on TCP as well.
pub struct OverTcp {
    pub daemon: Daemon,
    pub authority: Authority,
    pub folder: PathBuf,
    port: u16,
}

impl OverTcp {
    /// With these rules, and whatever else is to be changed.
    pub async fn start(roles: &str, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let server = authority.sign("localhost");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("server.pem", &server.certificate);
        write("server.key", &server.key);
        write("ca.pem", &authority.pem);
        // Free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let text = format!(
            "[api.tcp]\naddress = \"127.0.0.1:{port}\"\ncertificate = \"{at}/server.pem\"\n\
             key = \"{at}/server.key\"\nclient_ca = \"{at}/ca.pem\"\n[api.tcp.roles]\n{roles}\n"
        );
        let mut config = config(folder.path(), "io_uring");
        config.api.tcp = Config::parse(Path::new("tcp.toml"), &text).unwrap().api.tcp;
        change(&mut config);
        let path = folder.path().to_owned();
        Self { daemon: Daemon::start_with(folder, config).await, authority, folder: path, port }
    }

    /// Connects with a certificate, or with none.
    pub async fn connect(&self, client: Option<&Signed>) -> Result<Channel, tonic::transport::Error> {
        let authority = Certificate::from_pem(&self.authority.pem);
        let mut tls = ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
        if let Some(Signed { certificate, key }) = client {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::try_from(format!("https://127.0.0.1:{}", self.port)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }

    /// Connects with a fresh certificate of this name.
    pub async fn connect_as(&self, name: &str) -> Channel {
        self.connect(Some(&self.authority.sign(name))).await.unwrap()
    }
}
