//! What somebody heard: WAV files, and whether a tone is in them.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Samples a second of everything here.
pub const RATE: u32 = 8000;
/// A window of 25 ms: whole periods of every tone that is a multiple of 40 Hz.
const WINDOW: usize = RATE as usize / 40;
/// Root mean square below which a window counts as silence: −50 dB.
const SILENCE: f64 = 100.0;
/// The share of a window's energy that a tone has if it is what is heard. μ-law leaves far more.
const SHARE: f64 = 0.9;

/// Writes a tone.
pub fn write(file: &Path, frequency: u32, seconds: u32) -> Result<()> {
    let step = TAU * f64::from(frequency) / f64::from(RATE);
    let samples = (0..RATE * seconds).map(|at| (8000.0 * (step * f64::from(at)).sin()) as i16);
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE.to_le_bytes());
    wav.extend((2 * RATE).to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    Ok(fs::write(file, wav)?)
}

/// The samples of a WAV file of 16 bits, one channel, [`RATE`], whatever its head says of its length: who wrote it may
/// have been ended.
pub fn read(file: &Path) -> Result<Vec<i16>> {
    let of = || file.display().to_string();
    let wav = fs::read(file).with_context(of)?;
    ensure!(wav.len() >= 36 && wav.starts_with(b"RIFF") && &wav[8..12] == b"WAVE", "{} is no WAV file", of());
    let format = chunk(&wav, *b"fmt ").with_context(of)?;
    let of_interest = [&format[2..8], &format[14..16]].concat();
    let expected = [&[1, 0][..], &RATE.to_le_bytes(), &[16, 0]].concat();
    ensure!(of_interest == expected, "{}: format {format:02x?}", of());
    let (samples, _) = chunk(&wav, *b"data").with_context(of)?.as_chunks::<2>();
    Ok(samples.iter().map(|octets| i16::from_le_bytes(*octets)).collect())
}

/// Seconds of what was heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The tone and little else.
    pub tone: f64,
    /// Anything else but silence.
    pub other: f64,
}

/// How long a tone is heard in samples, and how long something else.
pub fn listen(samples: &[i16], frequency: u32) -> Heard {
    let mut heard = Heard { tone: 0.0, other: 0.0 };
    for window in samples.chunks_exact(WINDOW) {
        let energy: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        if (energy / WINDOW as f64).sqrt() < SILENCE {
            continue;
        }
        let of = if share(window, frequency, energy) >= SHARE { &mut heard.tone } else { &mut heard.other };
        *of += WINDOW as f64 / f64::from(RATE);
    }
    heard
}

/// Fails unless a file has a tone for so many seconds, and it is most of what is heard: on a busy machine a receiver's
/// jitter buffer leaves and repeats some, and the tone breaks off where it does.
pub fn expect(file: &Path, frequency: u32, seconds: f64) -> Result<()> {
    let samples = read(file)?;
    let heard = listen(&samples, frequency);
    ensure!(
        heard.tone >= seconds && heard.other <= heard.tone / 2.0,
        "{}: {frequency} Hz was to be heard for {seconds} s; {heard:?} of {} s",
        file.display(),
        samples.len() as f64 / f64::from(RATE)
    );
    Ok(())
}

/// The share of a frequency in a window, by Goertzel's algorithm.
fn share(window: &[i16], frequency: u32, energy: f64) -> f64 {
    let coefficient = 2.0 * (TAU * f64::from(frequency) / f64::from(RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in window {
        (last, before) = (f64::from(*sample) + coefficient * last - before, last);
    }
    let power = last.powi(2) + before.powi(2) - coefficient * last * before;
    2.0 * power / (energy * WINDOW as f64)
}

/// The contents of a chunk, as far as there are any.
fn chunk(wav: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    let mut rest = wav.get(12..)?;
    loop {
        let (is, length) = (rest.get(..4)?, u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize);
        let contents = &rest[8..];
        if *is == name {
            let claimed = contents.get(..length).filter(|_| length > 0);
            return Some(claimed.unwrap_or(contents));
        }
        rest = contents.get(length + length % 2..)?;
    }
}

#[test]
fn a_tone_is_told_from_another_from_noise_and_from_silence() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tone.wav");
    write(&file, 440, 1)?;
    expect(&file, 440, 0.99)?;
    assert!(expect(&file, 880, 0.1).is_err());
    let silence = listen(&[0; 8000], 440);
    assert_eq!((silence.tone, silence.other), (0.0, 0.0));
    let mut state = 1_u32;
    let noise: Vec<i16> = (0..8000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        })
        .collect();
    let noise = listen(&noise, 440);
    assert!(noise.tone == 0.0 && noise.other > 0.9, "{noise:?}");
    Ok(())
}
