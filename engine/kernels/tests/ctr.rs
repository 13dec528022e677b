//! Counter mode: known answers, and every kernel against the portable one.

mod support;

use sluice_kernels::{CtrJob, CtrKey, Kernel, ctr};
use support::Random;

/// One run on one kernel.
fn run(kernel: Kernel, key: &[u8], iv: [u8; 16], data: &mut [u8]) {
    let key = CtrKey::new(kernel, key).unwrap();
    ctr(kernel, &mut [CtrJob { key: &key, iv, data }]);
}

#[test]
fn nist_sp_800_38a_f5() {
    let key = |words: &[u128]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let key_192 = &key(&[0x8e73b0f7da0e6452c810f32b809079e5, 0x62f8ead2522c6b7b << 64])[..24];
    let key_256 = key(&[0x603deb1015ca71be2b73aef0857d7781, 0x1f352c073b6108d72d9810a30914dff4]);
    let cases: [(&[u8], [u128; 4]); 3] = [
        (
            &key(&[0x2b7e151628aed2a6abf7158809cf4f3c]),
            [
                0x874d6191b620e3261bef6864990db6ce,
                0x9806f66b7970fdff8617187bb9fffdff,
                0x5ae4df3edbd5d35e5b4f09020db03eab,
                0x1e031dda2fbe03d1792170a0f3009cee,
            ],
        ),
        (
            key_192,
            [
                0x1abc932417521ca24f2b0459fe7e6e0b,
                0x090339ec0aa6faefd5ccc2c6f4ce8e94,
                0x1e36b26bd1ebc670d1bd1d665620abf7,
                0x4f78a7f6d29809585a97daec58c6b050,
            ],
        ),
        (
            &key_256,
            [
                0x601ec313775789a5b7a7f504bbf3d228,
                0xf443e3ca4d62b59aca84e990cacaf5c5,
                0x2b0930daa23de94ce87017ba2d84988d,
                0xdfc9c58db67aada613c2dd08457941a6,
            ],
        ),
    ];
    let plain = key(&[
        0x6bc1bee22e409f96e93d7e117393172a,
        0xae2d8a571e03ac9c9eb76fac45af8e51,
        0x30c81c46a35ce411e5fbc1191a0a52ef,
        0xf69f2445df4f9b17ad2b417be66c3710,
    ]);
    for kernel in Kernel::available() {
        for (key_bytes, want) in cases {
            let mut data = plain.clone();
            run(kernel, key_bytes, std::array::from_fn(|i| 0xf0 + i as u8), &mut data);
            assert_eq!(data, key(&want), "{kernel}, {} bytes of key", key_bytes.len());
        }
    }
}

#[test]
fn every_length_and_alignment_equals_the_portable_kernel() {
    let mut random = Random(1);
    for kernel in Kernel::available() {
        for len in 0..=2100 {
            let key = random.bytes([16, 24, 32][len % 3]);
            let iv = random.array();
            let shift = random.below(64);
            let before = random.bytes(shift + len + 64);
            let (mut data, mut want) = (before.clone(), before.clone());
            run(kernel, &key, iv, &mut data[shift..shift + len]);
            run(Kernel::PORTABLE, &key, iv, &mut want[shift..shift + len]);
            assert!(data == want, "{kernel}, {len} bytes at {shift}");
        }
    }
}

#[test]
fn counters_carry_over_every_byte_of_the_iv() {
    let mut random = Random(2);
    for kernel in Kernel::available() {
        for ones in 0..=16 {
            for below in 0..70_u128 {
                // `ones` bytes of ones at the end, and `below` less: the carry passes them all.
                let high: u128 = u128::from_be_bytes(random.array());
                let mask = u128::MAX.checked_shr(128 - 8 * ones).unwrap_or(0);
                let iv = ((high & !mask) | mask).wrapping_sub(below).to_be_bytes();
                let key = random.bytes([16, 24, 32][below as usize % 3]);
                let len = random.below(1600);
                let (mut data, mut want) = (vec![0; len], vec![0; len]);
                run(kernel, &key, iv, &mut data);
                run(Kernel::PORTABLE, &key, iv, &mut want);
                assert!(data == want, "{kernel}, {len} bytes from {iv:02x?}");
            }
        }
    }
}

#[test]
fn batches_mix_keys_lengths_and_kernels() {
    let mut random = Random(3);
    for kernel in Kernel::available() {
        for batch in (0..=64).chain([65, 100, 257]) {
            // Packets of one kind, of a few kinds, of all kinds; sometimes a key of another kernel.
            for lengths in
                [&[20][..], &[160], &[1200], &[20, 160, 1200], &[0, 1, 15, 16, 17, 64, 65, 300, 2100]]
            {
                let material: Vec<_> = (0..batch)
                    .map(|_| {
                        let len = random.pick(&[16, 16, 32, 24]);
                        random.bytes(len)
                    })
                    .collect();
                let keys: Vec<_> = material
                    .iter()
                    .map(|key| {
                        let foreign = Kernel::available().nth(random.below(40)).unwrap_or(kernel);
                        CtrKey::new(foreign, key).unwrap()
                    })
                    .collect();
                let ivs: Vec<[u8; 16]> = (0..batch).map(|_| random.array()).collect();
                let plain: Vec<_> = (0..batch)
                    .map(|_| {
                        let len = random.pick(lengths);
                        random.bytes(len)
                    })
                    .collect();
                let mut data = plain.clone();
                let mut jobs: Vec<_> = (keys.iter().zip(&ivs).zip(&mut data))
                    .map(|((key, &iv), data)| CtrJob { key, iv, data })
                    .collect();
                ctr(kernel, &mut jobs);
                for i in 0..batch {
                    let mut want = plain[i].clone();
                    run(Kernel::PORTABLE, &material[i], ivs[i], &mut want);
                    assert!(data[i] == want, "{kernel}, job {i} of {batch}, {} bytes", want.len());
                }
            }
        }
    }
}
