//! Every test that `docs/rfc-compliance.md` names exists.

use std::path::Path;

#[test]
fn the_tests_that_the_docs_name_exist() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(here.join("../../docs/rfc-compliance.md")).unwrap();
    let mut named = 0;
    for (file, test) in docs.split('`').filter_map(|quoted| quoted.split_once(".rs::")) {
        let places = [here.to_owned(), here.join("../..")].map(|from| from.join(format!("{file}.rs")));
        let source = places.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        assert!(source.contains(&format!("fn {test}()")), "{file}.rs has no test {test}");
        named += 1;
    }
    assert!(named > 25, "{named} tests named");
}
