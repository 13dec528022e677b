//! The demo for a browser: a page that calls through the gateway, and shows which way its media goes, under which keys, and
//! how many packets there are. What answers is an echo that has plain RTP only, so that DTLS-SRTP and ICE end in the gateway.

mod call;
mod echo;
mod page;
mod status;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::demo::gateway::{Gateway, Settings};
use crate::demo::interrupt;
use crate::demo::world::Place;
use crate::demo_browser::call::Calls;

/// What `sluice demo-browser` may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the page is served. Browsers give microphones only to pages of this machine, or over HTTPS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The address of this machine that media goes to, if not that of its way out. Browsers do not use 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    pub media: Option<IpAddr>,
}

/// Serves the page, with `executable` as the daemon, until somebody interrupts it.
pub fn run(options: &Options, executable: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    interrupt::watch(&runtime)?;
    let scratch = tempfile::Builder::new().prefix("sluice-demo-browser-").tempdir()?;
    let media = options.media.unwrap_or_else(way_out);
    let mut gateway = start_gateway(executable, scratch.path(), media)?;
    let calls = Arc::new(Calls::new(gateway.channel(), media));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(options.listen))
        .with_context(|| format!("cannot serve a page on {}", options.listen))?;
    let address = listener.local_addr()?;
    runtime.spawn(page::serve(listener, calls));
    println!("http://{address}/ is the page, media goes to {media}. Ctrl-C ends it.");
    while interrupt::sleep(std::time::Duration::from_secs(1)).is_ok() {
        if !gateway.alive() {
            anyhow::bail!("the gateway ended:\n{}", gateway.log());
        }
    }
    gateway.stop()
}

fn start_gateway(executable: &Path, directory: &Path, media: IpAddr) -> Result<Gateway> {
    let socket = directory.join("sluice.sock");
    let socket = socket.to_str().context("the socket's path is not UTF-8")?;
    let addresses = [media, echo::ADDRESS].map(|address| address.to_string());
    let text = format!(
        "[api]\nsocket = {}\n[media]\naddresses = {}\n[datapath]\nmode = \"io_uring\"\nworkers = 1\n",
        serde_json::to_string(socket)?,
        serde_json::to_string(&addresses)?,
    );
    let settings = Settings {
        executable,
        place: &Place::Here,
        directory,
        interfaces: Vec::new(),
        addresses: vec![media],
        datapath: "io_uring",
        workers: Some(1),
        shared_port: None,
        legs: None,
    };
    Gateway::start_with(&settings, &text)
}

/// The address that this machine's packets to others have. Nothing is sent to find out.
fn way_out() -> IpAddr {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // An address of RFC 5737, which is nobody's.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::new(127, 0, 0, 2).into(), |address| address.ip())
}
