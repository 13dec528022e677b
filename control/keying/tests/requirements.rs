//! `docs/requirements.md` has every requirement of RFC 5479, and the tests that it names exist.

use std::path::Path;

/// RFC 5479 section 5, in its order.
const REQUIREMENTS: [&str; 27] = [
    "R-FORK-RETARGET",
    "R-DISTINCT",
    "R-HERFP",
    "R-REUSE",
    "R-AVOID-CLIPPING",
    "R-RTP-CHECK",
    "R-ASSOC",
    "R-NEGOTIATE",
    "R-PSTN",
    "R-PFS",
    "R-COMPUTE",
    "R-CERTS",
    "R-FIPS",
    "R-DOS",
    "R-EXISTING",
    "R-AGILITY",
    "R-DOWNGRADE",
    "R-PASS-MEDIA",
    "R-PASS-SIG",
    "R-SIG-MEDIA",
    "R-ID-BINDING",
    "R-ACT-ACT",
    "R-BEST-SECURE",
    "R-OTHER-SIGNALING",
    "R-RECORDING",
    "R-TRANSCODER",
    "R-ALLOW-RTP",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn rows() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    page.lines().filter(|line| line.starts_with("| R-")).map(str::to_owned).collect()
}

#[test]
fn each_requirement_has_its_row_in_the_rfcs_order() {
    let rows = rows();
    let names = rows.iter().map(|row| row[2..].split([' ', '|']).next().unwrap_or_default());
    assert_eq!(names.collect::<Vec<_>>(), REQUIREMENTS);
}

#[test]
fn each_row_names_tests_and_all_of_them_exist() {
    for row in rows() {
        let mut named = 0;
        for (file, test) in row.split('`').filter_map(|quoted| quoted.split_once(".rs::")) {
            let source = std::fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            let function = format!("fn {test}(");
            let before =
                source.lines().zip(source.lines().skip(1)).find(|(_, line)| line.contains(&function));
            let Some((attribute, _)) = before else { panic!("{file}.rs has no test {test}") };
            assert!(
                attribute.contains("test") || attribute.contains("should_panic"),
                "{test} is no test: {attribute}"
            );
            named += 1;
        }
        assert!(named > 0, "no test is named in: {row}");
    }
}
