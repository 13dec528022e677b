//! Taps whose worker died: nothing is copied any more, and whoever has them recorded has to hear of it.

use sluice_datapath::Engine;
use sluice_proto::v1;

use crate::gateway::Gateway;
use crate::recording::Ended;

impl Gateway {
    /// Ends the taps of a worker that died. Their files have what came until then.
    pub(crate) async fn end_taps_of_worker(&self, worker: usize, reason: &str) {
        let ended = Ended { end: v1::TapEnd::Worker, detail: format!("worker {worker} died: {reason}") };
        self.end_taps_where(|_, session| session.worker == worker, &ended).await;
    }

    /// The same of each worker that does not work, for whoever asks: the event of its death may have been lost.
    pub(super) async fn end_taps_of_the_dead(&self, works: impl Fn(&Engine, usize) -> bool + Send) {
        let dead = |engine: &Engine| {
            (0..engine.workers()).filter(|worker| !works(engine, *worker)).collect::<Vec<_>>()
        };
        // Without an engine the daemon stops, and its taps end with their sessions.
        for worker in self.with_engine(dead).unwrap_or_default() {
            self.end_taps_of_worker(worker, "see the log").await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use sluice_datapath::Event;
    use sluice_proto::v1::event::Kind;

    use super::*;
    use crate::recording::{Plan, attend};
    use crate::{Config, events};

    /// A gateway that records a leg of session "s" to a file.
    async fn recording(folder: &Path) -> Arc<Gateway> {
        let text = format!(
            "[media]\naddresses = [\"127.0.0.1\"]\nports = \"50000-50999\"\n[recording]\nfolder = {folder:?}\n\
             [datapath]\nmode = \"io_uring\"\nworkers = 1\nlarge_chunks = 64"
        );
        let config = Config::parse(Path::new("test.toml"), &text).unwrap();
        let media_path = crate::media_path::MediaPath::open(&config).unwrap();
        let engine = Engine::start(config.engine()).unwrap().0;
        let gateway = Arc::new(Gateway::new(engine, config, Arc::default(), media_path));
        gateway.create_session("s".into(), HashMap::new()).await.unwrap();
        let plain = v1::Protection::Plain.into();
        let leg = v1::LegConfig { inbound: plain, outbound: plain, rtcp_mux: true, ..Default::default() };
        let request = v1::CreateLegRequest { session: "s".into(), leg: "a".into(), config: Some(leg) };
        assert!(gateway.create_legs(vec![request]).await[0].is_ok());
        let file = v1::TapFile { name: "file".into(), ..Default::default() };
        let destination = Some(v1::tap_config::Destination::File(file));
        let config = v1::TapConfig { destination, ..Default::default() };
        let request = v1::StartTapRequest { session: "s".into(), tap: "t".into(), config: Some(config) };
        let tap = gateway.start_tap(Plan::read(request, &gateway.config).unwrap()).await.unwrap();
        assert_eq!((tap.state(), tap.tapped_legs), (v1::TapState::Running, vec!["a".to_owned()]));
        gateway
    }

    fn has_failed(tap: &v1::Tap, detail: &str) {
        assert_eq!((tap.state(), tap.end()), (v1::TapState::Ended, v1::TapEnd::Worker));
        assert_eq!((tap.detail.as_str(), tap.files.as_slice()), (detail, &["file.pcapng".to_owned()][..]));
    }

    #[tokio::test]
    async fn the_taps_of_a_worker_that_died_have_failed_and_that_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = recording(folder.path()).await;
        let mut events = gateway.watch();
        let attending = tokio::spawn(attend(Arc::clone(&gateway)));
        events::handle(&gateway, Event::WorkerDied { worker: 1, reason: "another's".into() });
        events::handle(&gateway, Event::WorkerDied { worker: 0, reason: "a fault".into() });
        let ended = async {
            loop {
                if let Some(Kind::TapEnded(ended)) = events.recv().await.unwrap().unwrap().kind {
                    return ended;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
        assert_eq!((ended.tap.as_str(), ended.reason.as_str()), ("t", "worker"));
        assert_eq!(ended.detail, "worker 0 died: a fault");
        has_failed(&gateway.get_tap("s", "t").await.unwrap(), "worker 0 died: a fault");
        has_failed(&gateway.stop_tap("s", "t").await.unwrap(), "worker 0 died: a fault");
        assert_eq!(gateway.recording.running(), 0);
        attending.abort();
    }

    #[tokio::test]
    async fn who_asks_for_a_tap_hears_of_a_death_whose_event_was_lost() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = recording(folder.path()).await;
        gateway.end_taps_of_the_dead(Engine::is_alive).await;
        assert_eq!(gateway.get_tap("s", "t").await.unwrap().state(), v1::TapState::Running);
        gateway.end_taps_of_the_dead(|_, _| false).await;
        has_failed(&gateway.list_taps("s").await.unwrap()[0], "worker 0 died: see the log");
    }
}
