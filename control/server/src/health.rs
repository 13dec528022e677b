//! Health, as gRPC tells it (grpc.health.v1): whether calls are answered, and whether every worker works.

use std::time::Duration;

use sluice_proto::v1::sluice_server::SluiceServer;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::error;

use crate::service::Service;

/// How late the death of a worker may show.
const TICK: Duration = Duration::from_secs(1);

/// Tells that the daemon serves.
pub(crate) async fn serving(reporter: &HealthReporter) {
    reporter.set_serving::<SluiceServer<Service>>().await;
}

/// Waits for the death of a worker, and tells it. Calls of the others go on, so that the daemon does
/// not end by itself: whoever watches it shall drain and restart it.
pub(crate) async fn follow(reporter: HealthReporter, all_alive: impl Fn() -> bool) {
    while all_alive() {
        tokio::time::sleep(TICK).await;
    }
    error!("a worker is dead: its calls have no media, and health is NOT_SERVING; restart sluice");
    not_serving(&reporter).await;
}

/// Tells that the daemon does not serve, or not all of its calls.
pub(crate) async fn not_serving(reporter: &HealthReporter) {
    reporter.set_not_serving::<SluiceServer<Service>>().await;
    reporter.set_service_status("", ServingStatus::NotServing).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_server::Health;
    use tonic_health::server::HealthService;

    use super::*;

    async fn statuses(reporter: &HealthReporter) -> [i32; 2] {
        let service = HealthService::from_health_reporter(reporter.clone());
        let mut statuses = [0; 2];
        for (status, name) in statuses.iter_mut().zip(["", "sluice.v1.Sluice"]) {
            let request = Request::new(HealthCheckRequest { service: name.into() });
            *status = service.check(request).await.unwrap().into_inner().status;
        }
        statuses
    }

    #[tokio::test]
    async fn a_dead_worker_ends_health() {
        let (reporter, alive) = (HealthReporter::new(), Arc::new(AtomicBool::new(true)));
        serving(&reporter).await;
        let watched = Arc::clone(&alive);
        let following = tokio::spawn(follow(reporter.clone(), move || watched.load(Ordering::SeqCst)));
        tokio::time::sleep(TICK / 10).await;
        assert_eq!(statuses(&reporter).await, [ServingStatus::Serving as i32; 2]);
        alive.store(false, Ordering::SeqCst);
        following.await.unwrap();
        assert_eq!(statuses(&reporter).await, [ServingStatus::NotServing as i32; 2]);
    }
}
