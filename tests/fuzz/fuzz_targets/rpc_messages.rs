//! Calls of every method, with any octets as messages, to a gateway with its engine: nothing panics or hangs, and once
//! its sessions are deleted nothing is left of them.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_types::FileDescriptorSet;
use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_server::{Config, Server};
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const CALLS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages as they are on the wire.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}

struct World {
    runtime: Runtime,
    channel: Channel,
    methods: Vec<(u16, PathAndQuery)>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("sluice-fuzz-{}", std::process::id()));
    let socket = folder.join("sluice.sock");
    let text = format!(
        "[api]\nsocket = {socket:?}\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"20000-49999\"\nshared_port = 19000\n\
         [datapath]\nmode = \"io_uring\"\nworkers = 1\npin = false\nsmall_chunks = 256\nlarge_chunks = 64\n\
         [limits]\nlegs = 64\nroutes = 64\nstreams = 256\nsessions = 64\n"
    );
    let config = Config::parse("fuzz.toml".as_ref(), &text).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let channel = runtime.block_on(async {
        let server = Server::start(config).await.unwrap();
        tokio::spawn(server.run(std::future::pending()));
        Endpoint::try_from(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap()
    });
    World { runtime, channel, methods: methods() }
});

/// Every method, each at a point of a ring of 2^16, so that a number chooses the same one after others were added.
fn methods() -> Vec<(u16, PathAndQuery)> {
    let mut methods = Vec::new();
    for file in FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap().file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let hash = path.bytes().fold(0u32, |hash, octet| hash.wrapping_mul(31) + u32::from(octet));
                methods.push((hash as u16, path.try_into().unwrap()));
            }
        }
    }
    methods
}

fn chosen(methods: &[(u16, PathAndQuery)], number: u16) -> &PathAndQuery {
    let nearest = methods.iter().min_by_key(|(place, _)| place.wrapping_sub(number));
    &nearest.expect("there are methods").1
}

async fn call(channel: &Channel, path: &PathAndQuery, message: &[u8]) {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let call = client.server_streaming(Request::new(message.to_vec()), path.clone(), Raw);
    let answer = tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| panic!("{path} hangs"));
    if let Err(status) = answer {
        assert!(![Code::Unknown, Code::Unavailable].contains(&status.code()), "{path}: {status:?}");
    }
}

async fn prepare(client: &mut SluiceClient<Channel>) {
    client.create_session(v1::CreateSessionRequest { session: "s".into(), ..Default::default() }).await.unwrap();
    for (leg, protection) in [("a", v1::Protection::Srtp), ("b", v1::Protection::Plain)] {
        let config =
            v1::LegConfig { inbound: protection.into(), outbound: protection.into(), ..Default::default() };
        let request = v1::CreateLegRequest { session: "s".into(), leg: leg.into(), config: Some(config) };
        client.create_leg(request).await.unwrap();
    }
}

async fn clear(client: &mut SluiceClient<Channel>) {
    let sessions = client.list_sessions(v1::ListSessionsRequest::default()).await.unwrap().into_inner().sessions;
    for session in sessions {
        client.delete_session(v1::DeleteSessionRequest { session: session.id }).await.unwrap();
    }
    let statistics = client.get_statistics(v1::GetStatisticsRequest::default()).await.unwrap().into_inner();
    let worker = &statistics.workers[0];
    assert!(statistics.legs.is_empty() && worker.legs == 0 && worker.routes == 0, "{worker:?}");
}

fuzz_target!(|data: &[u8]| {
    let World { runtime, channel, methods } = &*WORLD;
    runtime.block_on(async {
        let mut client = SluiceClient::new(channel.clone());
        prepare(&mut client).await;
        let mut rest = data;
        for _ in 0..CALLS {
            let Some((head, after)) = rest.split_first_chunk::<4>() else { break };
            let [number, length] = [0, 2].map(|at| u16::from_le_bytes([head[at], head[at + 1]]));
            let length = usize::from(length).min(after.len());
            let (message, after) = after.split_at(length);
            call(channel, chosen(methods, number), message).await;
            rest = after;
        }
        clear(&mut client).await;
    });
});
