//! More traffic than a daemon takes: frames that leave the peers' interface as a driver would send them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_io::xdp::traffic::{Claim, Feed, Sending, live_frames};

use crate::raw::index_of;
use crate::site::Site;

/// How far it may fall behind a rate before it gives up what it missed: what follows is no burst.
const ARREARS: u64 = 64;
/// The same where bursts are welcome.
const MANY: u64 = 1024;
/// Frames that the kernel is to have at a time, where the rate is as high as can be.
const AHEAD: u64 = 1024;
/// Others come first: whoever works on what was sent.
const NICE: i32 = 5;

/// A generator at the peers' end of the wire.
pub struct Flood {
    feed: Feed,
    frame: Vec<u8>,
    room: usize,
    arrears: u64,
    sending: Sending,
}

impl Flood {
    /// Frames of `len` octets each.
    pub fn open(site: &Site, len: usize) -> Result<Self> {
        let interface = index_of(site.peers_namespace(), site.peers_interface())?;
        let (feed, frames) = live_frames(interface, len)?;
        let send = || frames.send(Claim::Nice(NICE));
        let sending = site.peers_namespace().run(send)??;
        Ok(Self { room: feed.room(), arrears: ARREARS, feed, frame: vec![0; len], sending })
    }

    /// Sends what `next` writes, at most so many a second (`f64::INFINITY`: as many as it can), for a time; how many.
    pub fn pour(&mut self, rate: f64, time: Duration, next: &mut impl FnMut(&mut [u8])) -> Result<u64> {
        self.run(rate, time, u64::MAX, next)
    }

    /// The same, in bursts if it is late.
    pub fn pour_hard(&mut self, rate: f64, time: Duration, next: &mut impl FnMut(&mut [u8])) -> Result<u64> {
        self.arrears = MANY;
        let sent = self.run(rate, time, u64::MAX, next);
        self.arrears = ARREARS;
        sent
    }

    /// Sends `count` frames at such a rate, and takes what time it needs.
    pub fn pour_all(&mut self, rate: f64, count: u64, next: &mut impl FnMut(&mut [u8])) -> Result<()> {
        let sent = self.run(rate, Duration::from_mins(1), count, next)?;
        ensure!(sent == count, "only {sent} of {count} frames could be sent in a minute");
        Ok(())
    }

    fn run(&mut self, rate: f64, time: Duration, most: u64, next: &mut impl FnMut(&mut [u8])) -> Result<u64> {
        let (start, mut sent, mut skipped) = (Instant::now(), 0, 0);
        while start.elapsed() < time && sent < most {
            let waiting = (self.room - self.feed.room()) as u64;
            let due = if rate.is_finite() {
                let behind = ((start.elapsed().as_secs_f64() * rate) as u64).saturating_sub(sent + skipped);
                // What the sender has not taken yet would only follow as a burst.
                let due = behind.min(self.arrears.saturating_sub(waiting));
                skipped += behind.saturating_sub(due).saturating_sub(self.arrears);
                due
            } else {
                AHEAD.saturating_sub(waiting)
            };
            let due = due.min(most - sent);
            for _ in 0..due {
                next(&mut self.frame);
                ensure!(self.feed.push(&self.frame), "no room for a frame");
            }
            sent += due;
            self.feed.publish();
            if due < ARREARS / 4 {
                thread::sleep(Duration::from_micros(100));
            }
        }
        self.drain()?;
        Ok(sent)
    }

    /// Waits until all is sent.
    fn drain(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while self.feed.room() < self.room {
            self.sending.check()?;
            ensure!(Instant::now() < until, "the sender does not send");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
