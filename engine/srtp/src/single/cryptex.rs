//! Header extensions and CSRCs encrypted completely: cryptex (RFC 9335).

/// Whether CSRCs and header extensions are encrypted with the payload (RFC 9335).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cryptex {
    /// Never. A packet that a peer sent so is decrypted as if it had an unknown extension.
    #[default]
    Off,
    /// Packets are sent so; received ones may be either.
    On,
    /// As `On`, but a packet with a CSRC or an extension in the clear is neither accepted nor sent.
    Required,
}

/// Octets of "defined by profile" and length.
const EXTENSION_HEADER: usize = 4;
const FIXED: usize = 12;
/// What is never encrypted, once the extension's header stands before the CSRCs.
pub(super) const CLEAR: usize = FIXED + EXTENSION_HEADER;

/// "Defined by profile" in the clear and encrypted (RFC 9335 §5): one-byte and two-byte elements.
const PROFILES: [([u8; 2], [u8; 2]); 2] = [([0xbe, 0xde], [0xc0, 0xde]), ([0x10, 0x00], [0xc2, 0xde])];

fn csrcs(packet: &[u8]) -> usize {
    4 * usize::from(packet[0] & 0x0f)
}

const fn has_extension(packet: &[u8]) -> bool {
    packet[0] & 0x10 != 0
}

/// Whether there is anything to hide: a CSRC or an extension.
pub(super) fn concerns(packet: &[u8]) -> bool {
    csrcs(packet) > 0 || has_extension(packet)
}

/// How much a packet grows by an empty extension, where it has CSRCs only (RFC 9335 §5.1).
pub(super) fn growth(packet: &[u8]) -> usize {
    if csrcs(packet) > 0 && !has_extension(packet) { EXTENSION_HEADER } else { 0 }
}

/// Whether a packet to be sent, whose header was found whole, must be refused (RFC 9335 §5).
pub(super) fn forbids(cryptex: Cryptex, packet: &[u8]) -> bool {
    let at = FIXED + csrcs(packet);
    let of_8285 = !has_extension(packet) || PROFILES.iter().any(|(clear, _)| packet[at..at + 2] == *clear);
    is_marked(packet) || (cryptex == Cryptex::Required && !of_8285)
}

/// Marks a packet as encrypted, with room for [`growth`] at its end; its header was found whole. `false`
/// leaves it as it is: there is nothing to hide, or an extension that is not of RFC 8285.
pub(super) fn mark(packet: &mut [u8]) -> bool {
    let at = FIXED + csrcs(packet);
    if growth(packet) > 0 {
        let text = packet.len() - EXTENSION_HEADER;
        packet.copy_within(at..text, at + EXTENSION_HEADER);
        packet[at..at + EXTENSION_HEADER].copy_from_slice(&[0xbe, 0xde, 0, 0]);
        packet[0] |= 0x10;
    }
    has_extension(packet) && exchange(&mut packet[at..at + 2], |(clear, marked)| (clear, marked))
}

/// Whether a received packet, whose header was found whole, is marked.
pub(super) fn is_marked(packet: &[u8]) -> bool {
    let at = FIXED + csrcs(packet);
    has_extension(packet) && PROFILES.iter().any(|(_, marked)| packet[at..at + 2] == *marked)
}

/// Takes the mark off a packet that was decrypted. An empty extension stays.
pub(super) fn unmark(packet: &mut [u8]) {
    let at = FIXED + csrcs(packet);
    exchange(&mut packet[at..at + 2], |(clear, marked)| (marked, clear));
}

fn exchange(profile: &mut [u8], pair: impl Fn(([u8; 2], [u8; 2])) -> ([u8; 2], [u8; 2])) -> bool {
    let to = PROFILES.into_iter().map(pair).find(|(from, _)| profile == from);
    to.map(|(_, to)| profile.copy_from_slice(&to)).is_some()
}

/// Moves the extension's header before the CSRCs, so that what is encrypted is in one piece (RFC 9335 §6).
pub(super) fn gather(packet: &mut [u8]) {
    let csrcs = csrcs(packet);
    packet[FIXED..CLEAR + csrcs].rotate_right(EXTENSION_HEADER);
}

/// Moves it back.
pub(super) fn scatter(packet: &mut [u8]) {
    let csrcs = csrcs(packet);
    packet[FIXED..CLEAR + csrcs].rotate_left(EXTENSION_HEADER);
}
