//! A conference mixer: everybody in a room hears all others, encrypted for each under their own key.
//!
//! ```sh
//! sluice ctl sessions create room
//! for one in alice bob carol; do
//!     sluice ctl legs create room $one --inbound srtp --outbound srtp --remote …    # and its keys
//!     sluice ctl legs create room $one-mixed --ring
//!     sluice ctl routes create room $one-in --from $one --to $one-mixed
//!     sluice ctl routes create room $one-out --from $one-mixed --to $one
//! done
//! mixer --session room --legs tokens        # a line for each leg: alice-mixed 0123…
//! ```
//!
//! Every 20 ms it takes a frame of each, sums them up, and sends each the sum without their own voice.

mod codec;
mod jitter;
mod participant;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use codec::Codec;
use participant::{Format, Participant};
use sluice_mixer_client::{Ring, SendError, wait_any};

const USAGE: &str =
    "usage: mixer --session ID --legs FILE [--socket PATH] [--codec pcmu|pcma|l16] [--rate HZ]
             [--payload-type N] [--delay FRAMES]
  --legs FILE   a line for each leg with a ring: its id and its token; \"-\" is standard input
  --socket      default: /run/sluice/sluice.sock.rings
  --delay       frames of 20 ms that packets may be late, default 3";
const FRAME: Duration = Duration::from_millis(20);

struct Arguments {
    socket: PathBuf,
    session: String,
    legs: Vec<(String, String)>,
    format: Format,
    delay: usize,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| mix(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mixer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Mixes until the last one has gone.
fn mix(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut room = Vec::new();
    for (leg, token) in &arguments.legs {
        let ring = Ring::connect(&arguments.socket, &arguments.session, leg, token);
        let ring = ring.map_err(|error| format!("leg {leg}: {error}"))?;
        let one = Participant::new(leg.clone(), ring, arguments.format, arguments.delay);
        // Signalling may want to tell the peer (RFC 5576).
        println!("{leg} sends SSRC {:#010x}", one.ssrc);
        room.push(one);
    }
    println!("ready: {} legs", room.len());
    let mut next = Instant::now() + FRAME;
    while !room.is_empty() {
        receive_until(next, &mut room);
        round(&mut room, arguments.format.frame);
        next += FRAME;
    }
    Ok(())
}

/// Takes what comes until then. Who is gone is in the room no more.
fn receive_until(deadline: Instant, room: &mut Vec<Participant>) {
    loop {
        room.retain_mut(|one| match one.receive() {
            Ok(()) => true,
            Err(error) => {
                eprintln!("mixer: {}: {error}", one.name);
                false
            }
        });
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || room.is_empty() {
            return;
        }
        let mut rings: Vec<_> = room.iter_mut().map(|one| &mut one.ring).collect();
        if wait_any(&mut rings, Some(left)).is_err() {
            room.retain_mut(|one| {
                let here = one.ring.disarm().is_ok();
                if !here {
                    eprintln!("mixer: {} has gone", one.name);
                }
                here
            });
        }
    }
}

/// One frame of everybody.
fn round(room: &mut [Participant], frame: usize) {
    let mut sum = vec![0_i32; frame];
    let mut sources = Vec::with_capacity(room.len());
    for one in &mut *room {
        one.play();
        sum.iter_mut().zip(&one.frame).for_each(|(sum, sample)| *sum += i32::from(*sample));
        sources.extend(one.source());
    }
    for one in room {
        match one.answer(&sum, &sources) {
            // The gateway does not keep up: it will.
            Ok(()) | Err(SendError::Full) => {}
            Err(error) => eprintln!("mixer: {}: {error}", one.name),
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let (mut socket, mut session, mut legs) = ("/run/sluice/sluice.sock.rings".into(), None, None);
    let (mut codec, mut rate, mut payload_type, mut delay) = (Codec::Mulaw, 8000_usize, None, 3);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--socket" => socket = PathBuf::from(value()?),
            "--session" => session = Some(value()?),
            "--legs" => legs = Some(read(&value()?)?),
            "--codec" => codec = Codec::named(&value()?).ok_or("the codec is pcmu, pcma or l16")?,
            "--rate" => rate = value()?.parse()?,
            "--payload-type" => payload_type = Some(value()?.parse()?),
            "--delay" => delay = value()?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let payload_type = payload_type.unwrap_or(codec.payload_type());
    if !(8000..=48_000).contains(&rate) || payload_type > 127 || !(1..=50).contains(&delay) {
        return Err("the rate is 8000 to 48000, the payload type 0 to 127, the delay 1 to 50".into());
    }
    let format = Format { codec, payload_type, frame: rate / 50 };
    Ok(Arguments { socket, session: session.ok_or(USAGE)?, legs: legs.ok_or(USAGE)?, format, delay })
}

/// Legs and their tokens. They are in a file, since everybody can see a command's arguments.
fn read(file: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let text = match file {
        "-" => std::io::read_to_string(std::io::stdin())?,
        path => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?,
    };
    let legs = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let (leg, token) = line.trim().split_once(char::is_whitespace).ok_or("a line is: leg token")?;
        Ok((leg.to_owned(), token.trim().to_owned()))
    });
    legs.collect()
}
