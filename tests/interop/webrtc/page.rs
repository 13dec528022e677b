//! The page of `sluice demo-browser`, in Chromium: somebody presses its buttons and reads what it shows.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::site::executable;
use sluice_tools::demo::world::{Place, World};

use crate::PROFILES;
use crate::peer::{Peer, tools};

/// How long the page's gateway may take to be there, and a call to be.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn chromium_calls_from_the_demo_s_page_which_shows_what_became_of_it() -> Result<()> {
    let tools = tools!(browser);
    let world = World::namespaces(1500)?;
    let Place::Inside(namespace) = &world.peers else { return Ok(()) };
    let program = executable()?;
    let mut command = namespace.command(program.to_str().context("no UTF-8")?);
    command.args(["demo-browser", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut demo = Running(command.spawn()?);
    let url = demo.url()?;
    let mut page = tools.page(namespace, &url)?;

    page.ask(&json!({ "do": "press", "button": "call" }))?;
    let connected = until(&mut page, |shown| {
        facts(shown, "handshake", 0).starts_with("established") && shown["level"].as_f64() > Some(0.05)
    })?;
    let of_suite = |suite: &Value| PROFILES.into_iter().find(|profile| Some(profile.suite) == suite.as_str());
    let profile = of_suite(&connected["caller"]).with_context(|| connected.to_string())?;
    ensure!(connected["srtp"] == profile.chromium, "the page and the browser differ: {connected}");
    ensure!(facts(&connected, "suite of the media", 0) == profile.suite, "{connected}");
    ensure!(facts(&connected, "connectivity checks", 0) == "connected", "{connected}");
    ensure!(facts(&connected, "keying", 0) == "dtls-srtp", "{connected}");
    ensure!(facts(&connected, "forward secret", 0) == "yes", "{connected}");
    ensure!(facts(&connected, "peer's fingerprint", 0).starts_with("sha-256 "), "{connected}");
    ensure!(connected["callee"] == "plain RTP", "{connected}");
    // That of the echo's leg, which is the weakest.
    ensure!(connected["robustness"] == "no-signaling-passive-media", "{connected}");
    ensure!(facts(&connected, "robustness class", 0).starts_with("active-signaling"), "{connected}");
    let later = until(&mut page, |shown| {
        count(shown, "packets sent", 0) > count(&connected, "packets sent", 0) + 50
    })?;
    for (title, leg) in [("packets received", 0), ("packets received", 1), ("packets sent", 1)] {
        ensure!(count(&later, title, leg) > count(&connected, title, leg), "{title}: {later}");
    }
    ensure!(later["heard"].as_f64() > Some(0.0), "Chromium decoded nothing but silence: {later}");
    if let Some(file) = env::var_os("SLUICE_PAGE_PICTURE") {
        page.ask(&json!({ "do": "picture", "file": file.to_str() }))?;
    }

    page.ask(&json!({ "do": "press", "button": "hangup" }))?;
    until(&mut page, |shown| shown["message"] == "Hung up.")?;
    page.ask(&json!({ "do": "press", "button": "call" }))?;
    until(&mut page, |shown| facts(shown, "handshake", 0).starts_with("established")).context("again")?;
    Ok(())
}

/// The demo; dropped, it is ended.
struct Running(std::process::Child);

impl Running {
    /// Where its page is, which is the first thing that it says.
    fn url(&mut self) -> Result<String> {
        let output = BufReader::new(self.0.stdout.take().context("no pipe")?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv_timeout(PATIENCE).context("the demo says nothing")?;
        let url = first.split_whitespace().next().filter(|word| word.starts_with("http://"));
        Ok(url.with_context(|| format!("no page: {first}"))?.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // So that it ends its gateway.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn until(page: &mut Peer, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = page.ask(&json!({ "do": "read" }))?;
        if wanted(&shown) {
            return Ok(shown);
        }
        ensure!(Instant::now() < end, "the page shows {shown:#}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn facts<'a>(shown: &'a Value, title: &str, leg: usize) -> &'a str {
    shown["facts"][title][leg].as_str().unwrap_or_default()
}

/// Of `12 RTP, 1 RTCP`, 12.
fn count(shown: &Value, title: &str, leg: usize) -> u64 {
    facts(shown, title, leg).split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
