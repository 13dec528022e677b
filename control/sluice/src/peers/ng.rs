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
    let cookie = cookie(question);
    socket.send(datagram(&cookie, question).as_bytes())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = vec![0; LONGEST];
    let len = socket.recv(&mut answer).context("rtpengine does not answer")?;
    answer.truncate(len);
    read(&cookie, &String::from_utf8(answer)?)
}

/// What stands for a question: who asks the same with the same cookie gets the same answer.
pub fn cookie(question: &BTreeMap<&str, &str>) -> String {
    let word = |key| question.get(key).copied().unwrap_or_default();
    format!("{}-{}", word("call-id"), word("command"))
}

/// A question as it is sent.
pub fn datagram(cookie: &str, question: &BTreeMap<&str, &str>) -> String {
    format!("{cookie} {}", encode(question))
}

/// Reads the answer to the question of a cookie: its strings. One that is not "ok" is an error.
pub fn read(cookie: &str, datagram: &str) -> Result<BTreeMap<String, String>> {
    let (echo, answer) = datagram.split_once(' ').context("an answer without a cookie")?;
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

/// Reads a dictionary: its strings; other values, such as what a deleted call counted, are passed over.
fn decode(bencoded: &str) -> Result<BTreeMap<String, String>> {
    let mut rest = bencoded.strip_prefix('d').context("no dictionary")?;
    let mut strings = BTreeMap::new();
    while rest != "e" {
        let (key, after) = string(rest)?;
        rest = if after.starts_with(|first: char| first.is_ascii_digit()) {
            let (value, after) = string(after)?;
            strings.insert(key.to_owned(), value.to_owned());
            after
        } else {
            skip(after)?
        };
    }
    Ok(strings)
}

fn string(rest: &str) -> Result<(&str, &str)> {
    let (length, after) = rest.split_once(':').context("no string")?;
    after.split_at_checked(length.parse()?).context("cut short")
}

/// What comes after a value. How deep they are nested is counted, whatever they are in.
fn skip(mut rest: &str) -> Result<&str> {
    let mut depth = 0_usize;
    loop {
        rest = match rest.as_bytes().first().context("cut short")? {
            b'd' | b'l' => {
                depth += 1;
                &rest[1..]
            }
            b'e' => {
                depth = depth.checked_sub(1).context("an end of nothing")?;
                &rest[1..]
            }
            b'i' => rest.split_once('e').context("a number without an end")?.1,
            _ => string(rest)?.1,
        };
        if depth == 0 {
            return Ok(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_and_all_else_is_passed_over() {
        let answer = "c-delete d7:createdi17e6:totalsd3:RTPd5:bytesi0eee4:tagsl1:a1:be6:result2:oke";
        let strings = read("c-delete", answer).unwrap();
        assert_eq!(strings, BTreeMap::from([("result".to_owned(), "ok".to_owned())]));
        assert!(read("c-delete", "c-delete d6:result5:errore").is_err());
        assert!(read("c-delete", "c-offer d6:result2:oke").is_err());
        for cut in ["c-delete d7:createdi17", "c-delete d6:totalsd", "c-delete d6:totalse", "c-delete d3:ab"]
        {
            assert!(read("c-delete", cut).is_err(), "{cut}");
        }
    }
}
