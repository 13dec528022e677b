//! What is read is written, and what is written is read.

use proptest::prelude::*;
use sluice_keying::keymgmt::KeyMgmt;
use sluice_keying::sdes::CryptoLine;
use sluice_keying::sdp::Sdp;
use sluice_srtp::Suite;

/// A value that any line may have.
const TEXT: &str = "[^\r\n\0]{0,40}";

fn session_line() -> impl Strategy<Value = String> {
    prop_oneof![
        TEXT.prop_map(|value| format!("a={value}")),
        ("[a-z-]{1,10}", TEXT).prop_map(|(name, value)| format!("a={name}:{value}")),
        ("[tbepr]", TEXT).prop_map(|(kind, value)| format!("{kind}={value}")),
    ]
}

fn media() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        TEXT.prop_map(|value| format!("a={value}")),
        TEXT.prop_map(|value| format!("b={value}")),
    ];
    let first =
        ("[a-z]{1,6}", any::<u16>(), 1..99_u8, "[A-Z]{1,4}(/[A-Z]{1,5}){0,2}", "( [a-z0-9]{1,5}){1,4}")
            .prop_map(|(kind, port, count, proto, formats)| {
                format!("m={kind} {port}/{count} {proto}{formats}")
            });
    (first, prop::collection::vec(line, 0..6)).prop_map(|(first, mut lines)| {
        lines.insert(0, first);
        lines
    })
}

fn description() -> impl Strategy<Value = Vec<String>> {
    let session = prop::collection::vec(session_line(), 0..8);
    let all = ("[!-~]{1,8}", any::<u64>(), any::<u64>(), TEXT, session, prop::collection::vec(media(), 0..4));
    all.prop_map(|(user, id, version, name, session, media)| {
        let first =
            ["v=0".to_owned(), format!("o={user} {id} {version} IN IP4 192.0.2.1"), format!("s={name}")];
        first.into_iter().chain(session).chain(media.into_iter().flatten()).collect()
    })
}

fn key() -> impl Strategy<Value = String> {
    let lifetime = prop_oneof![
        Just(String::new()),
        (0..=48_u8).prop_map(|exponent| format!("|2^{exponent}")),
        (1..=1_u64 << 48).prop_map(|packets| format!("|{packets}")),
    ];
    ("[A-Za-z0-9+/]{1,60}={0,2}", lifetime).prop_map(|(key, lifetime)| format!("inline:{key}{lifetime}"))
}

fn keys() -> impl Strategy<Value = String> {
    let several = (prop::collection::vec(key(), 1..5), 1..=128_u8).prop_map(|(keys, length)| {
        let with_mki = |(mki, key): (usize, String)| format!("{key}|{}:{length}", mki + 1);
        keys.into_iter().enumerate().map(with_mki).collect::<Vec<_>>().join(";")
    });
    prop_oneof![key(), several]
}

fn parameters() -> impl Strategy<Value = String> {
    let all = [
        (1..=24_u8).prop_map(|kdr| format!("KDR={kdr}")).boxed(),
        Just("UNENCRYPTED_SRTP".to_owned()).boxed(),
        Just("UNENCRYPTED_SRTCP".to_owned()).boxed(),
        Just("UNAUTHENTICATED_SRTP".to_owned()).boxed(),
        "FEC_ORDER=(FEC_SRTP|SRTP_FEC)".boxed(),
        (64..u32::MAX).prop_map(|wsh| format!("WSH={wsh}")).boxed(),
        "-?[X-Z][!-~]{0,10}".boxed(),
    ];
    let each = all.map(prop::option::of);
    each.prop_map(|chosen| chosen.iter().flatten().flat_map(|text| [" ", text]).collect())
}

proptest! {
    #[test]
    fn a_description_is_written_as_it_was_read(lines in description(), end in "\r?\n") {
        let text: String = lines.iter().flat_map(|line| [line, end.as_str()]).collect();
        let sdp = Sdp::parse(&text).map_err(|error| TestCaseError::fail(format!("{text:?}: {error}")))?;
        let expected: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
        prop_assert_eq!(sdp.write().to_string(), expected);
    }

    #[test]
    fn a_description_of_any_text_is_no_panic(text in "(v=0\r\n)?(o=- 1 1 IN IP4 x\r\ns=-\r\n)?([a-z]=[ -~]{0,9}\r?\n){0,9}\\PC{0,9}") {
        if let Ok(sdp) = Sdp::parse(&text) {
            prop_assert_eq!(Sdp::parse(&sdp.write()), Ok(sdp));
        }
    }

    #[test]
    fn a_crypto_line_is_written_as_it_was_read(
        tag in 0..1_000_000_000_u32,
        suite in prop::sample::select(Suite::ALL.map(Suite::name).to_vec()),
        keys in keys(),
        parameters in parameters(),
    ) {
        let text = format!("{tag} {suite} {keys}{parameters}");
        let line = CryptoLine::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(line.value().to_string(), text);
        prop_assert_eq!(CryptoLine::parse(&line.value()), Ok(line));
    }

    #[test]
    fn a_crypto_line_of_any_text_is_no_panic(text in "[0-9]{0,3} [A-Z_0-9]{0,24} [!-~ ]{0,60}") {
        if let Ok(line) = CryptoLine::parse(&text) {
            let _ = (line.keys(), line.fec_keys());
            prop_assert_eq!(CryptoLine::parse(&line.value()), Ok(line));
        }
    }

    #[test]
    fn a_key_management_message_is_written_as_it_was_read(text in "[a-z0-9]{1,8} [A-Za-z0-9+/]{1,60}={0,2}") {
        let message = KeyMgmt::parse(&text).unwrap();
        prop_assert_eq!(message.value().to_string(), text);
    }
}
