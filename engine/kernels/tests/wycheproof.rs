//! Project Wycheproof's vectors, valid and invalid ones, through every kernel: those of one key size all in
//! one batch, as neighbours that must not disturb each other.

use sluice_kernels::{GcmJob, GcmKey, Kernel, MacJob, MacKey, gcm_open, gcm_seal, hmac_sha1};
use wycheproof::TestResult::Valid;
use wycheproof::{aead, mac};

#[test]
fn aes_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let ours = |group: &&aead::TestGroup| {
        (group.nonce_size, group.tag_size) == (96, 128) && matches!(group.key_size, 128 | 256)
    };
    let tests: Vec<_> = set.test_groups.iter().filter(ours).flat_map(|group| &group.tests).collect();
    assert!(tests.len() > 100, "{} tests", tests.len());
    for kernel in Kernel::available() {
        let keys: Vec<_> = tests.iter().map(|test| GcmKey::new(kernel, &test.key).unwrap()).collect();
        let mut opened: Vec<Vec<u8>> = tests.iter().map(|test| test.ct.to_vec()).collect();
        let mut tags: Vec<[u8; 16]> = tests.iter().map(|test| test.tag[..].try_into().unwrap()).collect();
        let mut jobs = Vec::new();
        for (((test, key), data), tag) in tests.iter().zip(&keys).zip(&mut opened).zip(&mut tags) {
            let iv = test.nonce[..].try_into().unwrap();
            jobs.push(GcmJob { key, iv, aad: &test.aad, data, tag, ok: false });
        }
        gcm_open(kernel, &mut jobs);
        for (test, job) in tests.iter().zip(&jobs) {
            let valid = test.result == Valid;
            assert_eq!(job.ok, valid, "{kernel}: test {}: {}", test.tc_id, test.comment);
            assert_eq!(
                *job.data,
                if valid { &test.pt } else { &test.ct }[..],
                "{kernel}: test {}",
                test.tc_id
            );
        }
        // What opened is sealed again, the rest of the batch as well; only the former's result is known.
        for job in &mut jobs {
            (*job.tag, job.ok) = ([0; 16], false);
        }
        gcm_seal(kernel, &mut jobs);
        for (test, job) in tests.iter().zip(&jobs).filter(|(test, _)| test.result == Valid) {
            assert!(job.ok);
            assert_eq!((&*job.data, &job.tag[..]), (&test.ct[..], &test.tag[..]), "{kernel}: {}", test.tc_id);
        }
    }
}

#[test]
fn hmac_sha1_vectors() {
    let set = mac::TestSet::load(mac::TestName::HmacSha1).unwrap();
    let tests: Vec<_> = set
        .test_groups
        .iter()
        .flat_map(|group| group.tests.iter().map(move |test| (group.tag_size / 8, test)))
        .collect();
    assert!(tests.len() > 100, "{} tests", tests.len());
    for kernel in Kernel::available() {
        let keys: Vec<_> = tests.iter().map(|(_, test)| MacKey::new(kernel, &test.key)).collect();
        let mut jobs: Vec<_> = tests
            .iter()
            .zip(&keys)
            .map(|((_, test), key)| MacJob { key, data: [&test.msg, &[]], tag: [0; 20] })
            .collect();
        hmac_sha1(kernel, &mut jobs);
        for ((len, test), job) in tests.iter().zip(&jobs) {
            let right = job.tag[..*len] == test.tag[..];
            assert_eq!(right, test.result == Valid, "{kernel}: test {}: {}", test.tc_id, test.comment);
        }
    }
}
