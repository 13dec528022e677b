//! Ctrl-C and its kin: the demo stops waiting and cleans up on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Takes note of SIGINT, SIGTERM and SIGHUP from now on, for as long as `runtime` lives.
pub fn watch(runtime: &Runtime) -> Result<()> {
    let _inside = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                REQUESTED.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

/// Whether somebody wants us to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Sleeps; an error if somebody wants us to end.
pub fn sleep(duration: Duration) -> Result<()> {
    const STEP: Duration = Duration::from_millis(20);
    let mut left = duration;
    loop {
        if requested() {
            bail!("interrupted");
        }
        if left.is_zero() {
            return Ok(());
        }
        let step = left.min(STEP);
        thread::sleep(step);
        left -= step;
    }
}
