//! rtpengine's control protocol "ng": bencoded dictionaries over UDP, each after a cookie.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than any answer.
const LONGEST: usize = 16_384;

/// Asks by a connected socket; an answer that is not "ok" is an error.
pub(super) fn ask(socket: &UdpSocket, question: &BTreeMap<&str, &str>) -> Result<BTreeMap<String, String>> {
    // Who asks the same with the same cookie gets the same answer: it stands for the question.
    let cookie = format!("{}-{}", question["call-id"], question["command"]);
    socket.send(format!("{cookie} {}", encode(question)).as_bytes())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = vec![0; LONGEST];
    let len = socket.recv(&mut answer).context("rtpengine does not answer")?;
    answer.truncate(len);
    let answer = String::from_utf8(answer)?;
    let (echo, answer) = answer.split_once(' ').context("an answer without a cookie")?;
    ensure!(echo == cookie, "an answer to another question: {echo}");
    let answer = decode(answer)?;
    ensure!(answer.get("result").is_some_and(|result| result == "ok"), "rtpengine answers {answer:?}");
    Ok(answer)
}

fn encode(dictionary: &BTreeMap<&str, &str>) -> String {
    let strings = dictionary.iter().flat_map(|(key, value)| [key, value]);
    let body: Vec<_> = strings.map(|string| format!("{}:{string}", string.len())).collect();
    format!("d{}e", body.concat())
}

/// Reads a dictionary of strings: answers to our questions hold nothing else.
fn decode(bencoded: &str) -> Result<BTreeMap<String, String>> {
    let mut rest = bencoded.strip_prefix('d').context("no dictionary")?;
    let mut strings = Vec::new();
    while rest != "e" {
        let (length, after) = rest.split_once(':').context("no string")?;
        let (string, after) = after.split_at_checked(length.parse()?).context("cut short")?;
        strings.push(string.to_owned());
        rest = after;
    }
    let (pairs, odd) = strings.as_chunks::<2>();
    ensure!(odd.is_empty(), "a key without a value");
    Ok(pairs.iter().cloned().map(|[key, value]| (key, value)).collect())
}
