//! Octets of RTP payloads from and to samples of 16 bits.

/// How audio is in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// G.711 μ-law, payload type 0.
    Mulaw,
    /// G.711 A-law, payload type 8.
    Alaw,
    /// 16 bits, big-endian (RFC 3551 §4.5.11).
    Linear,
}

impl Codec {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "pcmu" => Some(Self::Mulaw),
            "pcma" => Some(Self::Alaw),
            "l16" => Some(Self::Linear),
            _ => None,
        }
    }

    /// RFC 3551 §6; a dynamic one for what has none at every rate.
    pub(crate) const fn payload_type(self) -> u8 {
        match self {
            Self::Mulaw => 0,
            Self::Alaw => 8,
            Self::Linear => 96,
        }
    }

    pub(crate) fn decode(self, payload: &[u8], samples: &mut Vec<i16>) {
        match self {
            Self::Mulaw => samples.extend(payload.iter().map(|octet| from_mulaw(*octet))),
            Self::Alaw => samples.extend(payload.iter().map(|octet| from_alaw(*octet))),
            Self::Linear => samples.extend(payload.as_chunks().0.iter().map(|two| i16::from_be_bytes(*two))),
        }
    }

    pub(crate) fn encode(self, samples: impl Iterator<Item = i16>, payload: &mut Vec<u8>) {
        match self {
            Self::Mulaw => payload.extend(samples.map(to_mulaw)),
            Self::Alaw => payload.extend(samples.map(to_alaw)),
            Self::Linear => payload.extend(samples.flat_map(i16::to_be_bytes)),
        }
    }
}

const BIAS: i32 = 0x84;
const CLIP: i32 = 32_635;

/// G.711 §3.2.
fn to_mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = 23 - magnitude.leading_zeros() as i32 + 1;
    let mantissa = magnitude >> (exponent + 3) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

fn from_mulaw(octet: u8) -> i16 {
    let bits = i32::from(!octet);
    let magnitude = ((((bits & 0x0f) << 3) + BIAS) << (bits >> 4 & 7)) - BIAS;
    (if bits & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

/// G.711 §3.1.
fn to_alaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = if sample < 0 { -(i32::from(sample) + 1) } else { i32::from(sample) };
    let exponent = (24 - magnitude.leading_zeros() as i32).max(0);
    let mantissa = if exponent == 0 { magnitude >> 4 } else { magnitude >> (exponent + 3) };
    (sign | (exponent << 4) as u8 | (mantissa & 0x0f) as u8) ^ 0x55
}

fn from_alaw(octet: u8) -> i16 {
    let bits = i32::from(octet ^ 0x55);
    let (exponent, mantissa) = (bits >> 4 & 7, bits & 0x0f);
    let magnitude =
        if exponent == 0 { (mantissa << 4) + 8 } else { ((mantissa << 4) + 0x108) << (exponent - 1) };
    (if bits & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_what_its_sample_is_encoded_to() {
        for octet in 0..=255_u8 {
            assert_eq!(to_alaw(from_alaw(octet)), octet);
            // μ-law has two zeroes.
            let same = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(to_mulaw(from_mulaw(octet)), same);
        }
    }

    #[test]
    fn samples_keep_their_loudness() {
        // Values of G.711's tables: the loudest of each law, and a quiet one.
        assert_eq!((from_mulaw(0x00), from_mulaw(0x80), from_mulaw(0xff)), (-32_124, 32_124, 0));
        assert_eq!((from_alaw(0x2a), from_alaw(0xaa), from_alaw(0xd5)), (-32_256, 32_256, 8));
        for sample in (-32_768..=32_767).step_by(37).map(|sample| sample as i16) {
            let tolerance = i32::from(sample).abs() / 16 + 16;
            for decoded in [from_mulaw(to_mulaw(sample)), from_alaw(to_alaw(sample))] {
                let error = (i32::from(decoded) - i32::from(sample)).abs();
                assert!(
                    error <= tolerance.max(650 * i32::from(sample.unsigned_abs() > 32_000)),
                    "{sample}: {decoded}"
                );
            }
        }
    }

    #[test]
    fn sixteen_bits_stay_as_they_are_and_half_a_sample_is_none() {
        let (mut payload, mut samples) = (Vec::new(), Vec::new());
        Codec::Linear.encode([-2, 300].into_iter(), &mut payload);
        assert_eq!(payload, [0xff, 0xfe, 1, 44]);
        payload.push(9);
        Codec::Linear.decode(&payload, &mut samples);
        assert_eq!(samples, [-2, 300]);
    }
}
