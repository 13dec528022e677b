//! HMAC-SHA1 of every kernel against the portable one, and RFC 2202's cases.

mod support;

use sluice_kernels::{Kernel, MacJob, MacKey, hmac_sha1};
use support::Random;

/// Tags of messages under keys, all in one batch of a kernel.
fn tags(kernel: Kernel, keys: &[Vec<u8>], messages: &[(Vec<u8>, Vec<u8>)]) -> Vec<[u8; 20]> {
    let keys: Vec<_> = keys.iter().map(|key| MacKey::new(kernel, key)).collect();
    let job = |(key, (first, second)): (_, &'_ (Vec<u8>, Vec<u8>))| MacJob {
        key,
        data: [first.clone().leak(), second.clone().leak()],
        tag: [0xff; 20],
    };
    let mut jobs: Vec<_> = keys.iter().cycle().zip(messages).map(job).collect();
    hmac_sha1(kernel, &mut jobs);
    jobs.iter().map(|job| job.tag).collect()
}

fn assert_equal(keys: &[Vec<u8>], messages: &[(Vec<u8>, Vec<u8>)]) {
    let expected = tags(Kernel::PORTABLE, keys, messages);
    for kernel in Kernel::available() {
        let tags = tags(kernel, keys, messages);
        for (number, (tag, expected)) in tags.iter().zip(&expected).enumerate() {
            let (first, second) = &messages[number];
            assert_eq!(tag, expected, "{kernel}: job {number}: {} and {} octets", first.len(), second.len());
        }
    }
}

#[test]
fn every_length_with_every_roc() {
    let mut random = Random(1);
    let keys: Vec<_> = (0..7).map(|_| random.bytes(20)).collect();
    let messages: Vec<_> = (0..=2100).map(|len| (random.bytes(len), random.bytes(4))).collect();
    assert_equal(&keys, &messages);
}

#[test]
fn every_batch_size_with_lengths_and_keys_mixed() {
    let mut random = Random(2);
    for batch in 0..=130 {
        let keys: Vec<_> = (0..batch.max(1))
            .map(|_| {
                let len = random.below(140);
                random.bytes(len)
            })
            .collect();
        let messages: Vec<_> = (0..batch)
            .map(|_| {
                let [first, second] =
                    [[20, 172, 1212, 300][random.below(4)], 120].map(|most| random.below(most));
                (random.bytes(first), random.bytes(second))
            })
            .collect();
        assert_equal(&keys, &messages);
    }
}

#[test]
fn second_segments_of_every_length() {
    let mut random = Random(3);
    let keys = [random.bytes(20)];
    for first in [0, 1, 54, 55, 56, 63, 64, 65, 119, 128] {
        let messages: Vec<_> = (0..200).map(|second| (random.bytes(first), random.bytes(second))).collect();
        assert_equal(&keys, &messages);
    }
}

/// RFC 2202 §3.
#[test]
fn vectors_of_rfc2202() {
    let cases: [(&[u8], &[u8], u128, u32); 7] = [
        (&[0x0b; 20], b"Hi There", 0xb617_3186_5505_7264_e28b_c0b6_fb37_8c8e, 0xf146_be00),
        (b"Jefe", b"what do ya want for nothing?", 0xeffc_df6a_e5eb_2fa2_d274_16d5_f184_df9c, 0x259a_7c79),
        (&[0xaa; 20], &[0xdd; 50], 0x125d_7342_b9ac_11cd_91a3_9af4_8aa1_7b4f, 0x63f1_75d3),
        (
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25],
            &[0xcd; 50],
            0x4c90_07f4_0262_50c6_bc84_14f9_bf50_c86c,
            0x2d72_35da,
        ),
        (&[0x0c; 20], b"Test With Truncation", 0x4c1a_0342_4b55_e07f_e7f2_7be1_d58b_b932, 0x4a9a_5a04),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            0xaa4a_e5e1_5272_d00e_9570_5637_ce8a_3b55,
            0xed40_2112,
        ),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
            0xe8e9_9d0f_4523_7d78_6d6b_baa7_965c_7808,
            0xbbff_1a91,
        ),
    ];
    for kernel in Kernel::available() {
        let keys: Vec<_> = cases.iter().map(|(key, ..)| MacKey::new(kernel, key)).collect();
        let mut jobs: Vec<_> = keys
            .iter()
            .zip(cases)
            .map(|(key, (_, data, ..))| MacJob { key, data: [data, &[]], tag: [0; 20] })
            .collect();
        hmac_sha1(kernel, &mut jobs);
        for (job, (_, _, start, end)) in jobs.iter().zip(cases) {
            assert_eq!(job.tag, *[&start.to_be_bytes()[..], &end.to_be_bytes()].concat(), "{kernel}");
        }
    }
}
