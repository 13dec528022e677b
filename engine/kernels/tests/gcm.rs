//! AES-GCM: the GCM specification's test cases, and every kernel against the portable one.

mod support;

use sluice_kernels::{GcmJob, GcmKey, Kernel, gcm_open, gcm_seal};
use support::Random;

/// Seals one packet on one kernel and returns its tag.
fn seal(kernel: Kernel, key: &[u8], iv: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
    let key = GcmKey::new(kernel, key).unwrap();
    let mut tag = [0; 16];
    let mut jobs = [GcmJob { key: &key, iv, aad, data, tag: &mut tag, ok: false }];
    gcm_seal(kernel, &mut jobs);
    assert!(jobs[0].ok);
    tag
}

/// Opens one packet on one kernel; whether its tag was right.
fn open(kernel: Kernel, key: &[u8], iv: [u8; 12], aad: &[u8], data: &mut [u8], tag: [u8; 16]) -> bool {
    let key = GcmKey::new(kernel, key).unwrap();
    let mut given = tag;
    let mut jobs = [GcmJob { key: &key, iv, aad, data, tag: &mut given, ok: false }];
    gcm_open(kernel, &mut jobs);
    assert_eq!(*jobs[0].tag, tag);
    jobs[0].ok
}

fn words<const N: usize>(words: [u128; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn test_cases_of_the_gcm_specification() {
    let key = words([0xfeffe9928665731c6d6a8f9467308308]);
    let key = [&[0; 16][..], &key, &[0; 32], &key.repeat(2)];
    let iv = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
    let aad = &words([0xfeedfacedeadbeeffeedfacedeadbeef, 0xabaddad2 << 96])[..20];
    let plain = words([
        0xd9313225f88406e5a55909c5aff5269a,
        0x86a7a9531534f7da2e4c303d8a318a72,
        0x1c3c0c95956809532fcf0e2449a6b525,
        0xb16aedf5aa0de657ba637b391aafd255,
    ]);
    let cipher_128 = words([
        0x42831ec2217774244b7221b784d0d49c,
        0xe3aa212f2c02a4e035c17e2329aca12e,
        0x21d514b25466931c7d8f6a5aac84aa05,
        0x1ba30b396a0aac973d58e091473f5985,
    ]);
    let cipher_256 = words([
        0x522dc1f099567d07f47f37a32a84427d,
        0x643a8cdcbfe5c0c97598a2bd2555d1aa,
        0x8cb08e48590dbb3da7b08b1056828838,
        0xc5f61e6393ba7a0abcc9f662898015ad,
    ]);
    let zero = [0; 16];
    // Test cases 1 to 4 (AES-128) and 13 to 16 (AES-256).
    /// Key, initialization vector, associated data, plain text, cipher text, tag.
    type Case<'a> = (&'a [u8], [u8; 12], &'a [u8], &'a [u8], Vec<u8>, u128);
    let cases: [Case<'_>; 8] = [
        (key[0], [0; 12], &[], &[], vec![], 0x58e2fccefa7e3061367f1d57a4e7455a),
        (
            key[0],
            [0; 12],
            &[],
            &zero,
            words([0x0388dace60b6a392f328c2b971b2fe78]),
            0xab6e47d42cec13bdf53a67b21257bddf,
        ),
        (key[1], iv, &[], &plain, cipher_128.clone(), 0x4d5c2af327cd64a62cf35abd2ba6fab4),
        (key[1], iv, aad, &plain[..60], cipher_128[..60].to_vec(), 0x5bc94fbc3221a5db94fae95ae7121a47),
        (key[2], [0; 12], &[], &[], vec![], 0x530f8afbc74536b9a963b4f1c4cb738b),
        (
            key[2],
            [0; 12],
            &[],
            &zero,
            words([0xcea7403d4d606b6e074ec5d3baf39d18]),
            0xd0d1c8a799996bf0265b98b5d48ab919,
        ),
        (key[3], iv, &[], &plain, cipher_256.clone(), 0xb094dac5d93471bdec1a502270e3cc6c),
        (key[3], iv, aad, &plain[..60], cipher_256[..60].to_vec(), 0x76fc6ece0f4e1768cddf8853bb2d551b),
    ];
    for kernel in Kernel::available() {
        for (i, (key, iv, aad, plain, cipher, tag)) in cases.iter().enumerate() {
            let mut data = plain.to_vec();
            let got = seal(kernel, key, *iv, aad, &mut data);
            assert!(data == *cipher && got == tag.to_be_bytes(), "{kernel}, sealing case {i}");
            assert!(open(kernel, key, *iv, aad, &mut data, got), "{kernel}, opening case {i}");
            assert_eq!(data, *plain, "{kernel}, opening case {i}");
        }
    }
}

#[test]
fn every_length_and_alignment_equals_the_portable_kernel() {
    let mut random = Random(1);
    for kernel in Kernel::available() {
        for len in 0..=2100 {
            let key = random.bytes([16, 32][len % 2]);
            let iv = random.array();
            let aad = random.bytes(len % 81);
            let shift = random.below(64);
            let plain = random.bytes(shift + len + 64);
            let (mut data, mut want) = (plain.clone(), plain.clone());
            let place = shift..shift + len;
            let tag = seal(kernel, &key, iv, &aad, &mut data[place.clone()]);
            let want_tag = seal(Kernel::PORTABLE, &key, iv, &aad, &mut want[place.clone()]);
            assert!(
                data == want && tag == want_tag,
                "{kernel}, {len} bytes at {shift}, {} of AAD",
                aad.len()
            );

            let mut wrong = tag;
            wrong[random.below(16)] ^= 1 << random.below(8);
            assert!(!open(kernel, &key, iv, &aad, &mut data[place.clone()], wrong));
            assert!(data == want, "{kernel}, {len} bytes: a wrong tag must leave the data alone");
            assert!(open(kernel, &key, iv, &aad, &mut data[place.clone()], tag), "{kernel}, {len} bytes");
            assert!(data == plain, "{kernel}, {len} bytes");
        }
    }
}

#[test]
fn counters_carry_over_their_lowest_byte() {
    let mut random = Random(4);
    for kernel in Kernel::available() {
        for blocks in (240..280).chain(500..520).chain([1022, 1023, 1024, 4095, 65_534, 65_535, 65_600]) {
            let key = random.bytes([16, 32][blocks % 2]);
            let (iv, aad) = (random.array(), random.bytes(12));
            let len = 16 * blocks - random.below(16);
            let plain = random.bytes(len);
            let (mut data, mut want) = (plain.clone(), plain.clone());
            let tag = seal(kernel, &key, iv, &aad, &mut data);
            let want_tag = seal(Kernel::PORTABLE, &key, iv, &aad, &mut want);
            assert!(data == want && tag == want_tag, "{kernel}, {} bytes", plain.len());
            assert!(open(kernel, &key, iv, &aad, &mut data, tag));
            assert!(data == plain);
        }
    }
}

#[test]
fn every_length_of_associated_data_equals_the_portable_kernel() {
    let mut random = Random(2);
    for kernel in Kernel::available() {
        for aad_len in (0..=80).chain([127, 128, 129, 500]) {
            for len in [0, 1, 16, 20, 32, 33, 160, 176, 1200] {
                let key = random.bytes([16, 32][aad_len % 2]);
                let iv = random.array();
                let aad = random.bytes(aad_len);
                let plain = random.bytes(len);
                let (mut data, mut want) = (plain.clone(), plain.clone());
                let tag = seal(kernel, &key, iv, &aad, &mut data);
                let want_tag = seal(Kernel::PORTABLE, &key, iv, &aad, &mut want);
                assert!(data == want && tag == want_tag, "{kernel}, {len} bytes, {aad_len} of AAD");
                assert!(open(kernel, &key, iv, &aad, &mut data, tag));
                assert!(data == plain);
            }
        }
    }
}

#[test]
fn batches_mix_keys_lengths_and_kernels_and_forgeries() {
    let mut random = Random(3);
    for kernel in Kernel::available() {
        for batch in (0..=64).chain([65, 100, 257]) {
            for lengths in
                [&[20][..], &[160], &[1200], &[20, 160, 1200], &[0, 1, 15, 16, 17, 64, 65, 300, 2100]]
            {
                let some = |random: &mut Random, lengths: &[usize]| {
                    (0..batch)
                        .map(|_| {
                            let len = random.pick(lengths);
                            random.bytes(len)
                        })
                        .collect::<Vec<_>>()
                };
                let material = some(&mut random, &[16, 16, 16, 16, 32]);
                let aads = some(&mut random, &[12, 12, 12, 12, 0, 16, 20, 28]);
                let plain = some(&mut random, lengths);
                let ivs: Vec<[u8; 12]> = (0..batch).map(|_| random.array()).collect();
                let keys: Vec<_> = (material.iter())
                    .map(|key| {
                        // Now and then a key that was made for another kernel.
                        let kernel = Kernel::available().nth(random.below(40)).unwrap_or(kernel);
                        GcmKey::new(kernel, key).unwrap()
                    })
                    .collect();
                let (mut data, mut tags) = (plain.clone(), vec![[0; 16]; batch]);
                let mut jobs: Vec<_> = (0..batch)
                    .zip(data.iter_mut().zip(&mut tags))
                    .map(|(i, (data, tag))| GcmJob {
                        key: &keys[i],
                        iv: ivs[i],
                        aad: &aads[i],
                        data,
                        tag,
                        ok: false,
                    })
                    .collect();
                gcm_seal(kernel, &mut jobs);
                let mut forged = vec![false; batch];
                for (i, job) in jobs.iter_mut().enumerate() {
                    let mut want = plain[i].clone();
                    let tag = seal(Kernel::PORTABLE, &material[i], ivs[i], &aads[i], &mut want);
                    assert!(
                        job.ok && *job.data == want[..] && *job.tag == tag,
                        "{kernel}, job {i} of {batch}"
                    );
                    forged[i] = random.below(4) == 0;
                    job.tag[random.below(16)] ^= u8::from(forged[i]) << random.below(8);
                }
                gcm_open(kernel, &mut jobs);
                for (i, job) in jobs.iter().enumerate() {
                    assert_eq!(job.ok, !forged[i], "{kernel}, job {i} of {batch}");
                    let mut want = plain[i].clone();
                    if forged[i] {
                        seal(Kernel::PORTABLE, &material[i], ivs[i], &aads[i], &mut want);
                    }
                    assert!(*job.data == want[..], "{kernel}, job {i} of {batch}, forged: {}", forged[i]);
                }
            }
        }
    }
}
