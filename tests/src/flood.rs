//! More traffic than a daemon takes: frames that leave the peers' interface as a driver would send them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_io::xdp::traffic::{Feed, LiveFrames, live_frames};

use crate::raw::index_of;
use crate::site::Site;

/// How far it may fall behind a rate before it gives up what it missed: what follows is no burst.
const ARREARS: u64 = 64;
/// Frames handed to the kernel at a time.
const TRAIN: u64 = 1024;

/// A generator at the peers' end of the wire.
pub struct Flood {
    feed: Feed,
    frames: LiveFrames,
    frame: Vec<u8>,
}

impl Flood {
    /// Frames of `len` octets each.
    pub fn open(site: &Site, len: usize) -> Result<Self> {
        let interface = index_of(site.peers_namespace(), site.peers_interface())?;
        let (feed, frames) = live_frames(interface, len)?;
        Ok(Self { feed, frames, frame: vec![0; len] })
    }

    /// Sends what `next` writes, at most so many a second (`f64::INFINITY`: as many as it can), for a time; how many.
    pub fn pour(
        &mut self,
        site: &Site,
        rate: f64,
        time: Duration,
        next: &mut (impl FnMut(&mut [u8]) + Send),
    ) -> Result<u64> {
        let poured = site.peers_namespace().run(|| self.run(rate, time, u64::MAX, next));
        poured.context("cannot enter the peers' namespace")?
    }

    /// Sends `count` frames at such a rate, and takes what time it needs.
    pub fn pour_all(
        &mut self,
        site: &Site,
        rate: f64,
        count: u64,
        next: &mut (impl FnMut(&mut [u8]) + Send),
    ) -> Result<u64> {
        let poured = site.peers_namespace().run(|| self.run(rate, Duration::MAX, count, next));
        poured.context("cannot enter the peers' namespace")?
    }

    fn run(
        &mut self,
        rate: f64,
        time: Duration,
        most: u64,
        next: &mut impl FnMut(&mut [u8]),
    ) -> Result<u64> {
        let (start, mut sent, mut skipped) = (Instant::now(), 0, 0);
        while start.elapsed() < time && sent < most {
            let due = if rate.is_finite() {
                let behind = ((start.elapsed().as_secs_f64() * rate) as u64).saturating_sub(sent + skipped);
                skipped += behind.saturating_sub(ARREARS);
                behind.min(ARREARS)
            } else {
                TRAIN
            };
            let due = due.min(most - sent);
            for _ in 0..due {
                next(&mut self.frame);
                self.feed.push(&self.frame);
            }
            sent += due;
            self.feed.publish();
            self.frames.send()?;
            if rate.is_finite() && due < ARREARS / 2 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(sent)
    }
}
