//! Known answers that a kernel must give before it may touch media.

use crate::{CtrJob, CtrKey, GcmJob, GcmKey, Kernel, MacJob, MacKey, ctr, gcm_open, gcm_seal, hmac_sha1};

/// Whether `kernel` gives the known answers: NIST SP 800-38A F.5.1 and F.5.5 (CTR), the GCM
/// specification's test cases 4 and 16, RFC 2202 §3 cases 1 and 2 (HMAC-SHA1).
pub fn self_test(kernel: Kernel) -> bool {
    ctr_answers(kernel) && gcm_answers(kernel) && mac_answers(kernel)
}

const CTR_IV: [u8; 16] = 0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_feff_u128.to_be_bytes();
const CTR_PLAIN: [u8; 16] = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes();

fn ctr_answers(kernel: Kernel) -> bool {
    const KEY_128: [u8; 16] = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
    const KEY_256: [u128; 2] =
        [0x603d_eb10_15ca_71be_2b73_aef0_857d_7781, 0x1f35_2c07_3b61_08d7_2d98_10a3_0914_dff4];
    const WANT_128: [u8; 16] = 0x874d_6191_b620_e326_1bef_6864_990d_b6ce_u128.to_be_bytes();
    const WANT_256: [u8; 16] = 0x601e_c313_7757_89a5_b7a7_f504_bbf3_d228_u128.to_be_bytes();
    let [Ok(short), Ok(long)] = [CtrKey::new(kernel, &KEY_128), CtrKey::new(kernel, &join(KEY_256))] else {
        return false;
    };
    let (mut a, mut b) = (CTR_PLAIN, CTR_PLAIN);
    ctr(
        kernel,
        &mut [
            CtrJob { key: &short, iv: CTR_IV, data: &mut a },
            CtrJob { key: &long, iv: CTR_IV, data: &mut b },
        ],
    );
    a == WANT_128 && b == WANT_256
}

fn gcm_answers(kernel: Kernel) -> bool {
    const KEY: u128 = 0xfeff_e992_8665_731c_6d6a_8f94_6730_8308;
    const IV: [u8; 12] = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
    const AAD: [u8; 20] = [
        0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab,
        0xad, 0xda, 0xd2,
    ];
    const PLAIN: [u128; 4] = [
        0xd931_3225_f884_06e5_a559_09c5_aff5_269a,
        0x86a7_a953_1534_f7da_2e4c_303d_8a31_8a72,
        0x1c3c_0c95_9568_0953_2fcf_0e24_49a6_b525,
        0xb16a_edf5_aa0d_e657_ba63_7b39_1aaf_d255,
    ];
    const TAG_128: [u8; 16] = 0x5bc9_4fbc_3221_a5db_94fa_e95a_e712_1a47_u128.to_be_bytes();
    const TAG_256: [u8; 16] = 0x76fc_6ece_0f4e_1768_cddf_8853_bb2d_551b_u128.to_be_bytes();
    let keys = [GcmKey::new(kernel, &KEY.to_be_bytes()), GcmKey::new(kernel, &join([KEY, KEY]))];
    for (key, want) in keys.iter().zip([TAG_128, TAG_256]) {
        let Ok(key) = key else { return false };
        let plain: Vec<u8> = PLAIN.iter().flat_map(|word| word.to_be_bytes()).take(60).collect();
        let mut data = plain.clone();
        let mut tag = [0; 16];
        let mut jobs = [GcmJob { key, iv: IV, aad: &AAD, data: &mut data, tag: &mut tag, ok: false }];
        gcm_seal(kernel, &mut jobs);
        if !jobs[0].ok || *jobs[0].tag != want || *jobs[0].data == plain[..] {
            return false;
        }
        jobs[0].tag[15] ^= 1;
        gcm_open(kernel, &mut jobs);
        if jobs[0].ok {
            return false;
        }
        jobs[0].tag[15] ^= 1;
        gcm_open(kernel, &mut jobs);
        if !jobs[0].ok || *jobs[0].data != plain[..] {
            return false;
        }
    }
    true
}

fn mac_answers(kernel: Kernel) -> bool {
    let keys = [MacKey::new(kernel, &[0x0b; 20]), MacKey::new(kernel, b"Jefe")];
    let mut jobs = [
        MacJob { key: &keys[0], data: [b"Hi ", b"There"], tag: [0; 20] },
        MacJob { key: &keys[1], data: [b"what do ya want for nothing?", b""], tag: [0; 20] },
    ];
    hmac_sha1(kernel, &mut jobs);
    const WANT: [[u8; 4]; 2] = [[0xb6, 0x17, 0x31, 0x86], [0xef, 0xfc, 0xdf, 0x6a]];
    const END: [[u8; 4]; 2] = [[0xf1, 0x46, 0xbe, 0x00], [0x25, 0x9a, 0x7c, 0x79]];
    jobs.iter().zip(WANT).all(|(job, want)| job.tag[..4] == want)
        && jobs.iter().zip(END).all(|(job, end)| job.tag[16..] == end)
}

fn join(words: [u128; 2]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&words[0].to_be_bytes());
    bytes[16..].copy_from_slice(&words[1].to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_gives_the_known_answers() {
        for kernel in Kernel::available() {
            assert!(ctr_answers(kernel), "CTR on {kernel}");
            assert!(gcm_answers(kernel), "GCM on {kernel}");
            assert!(mac_answers(kernel), "HMAC-SHA1 on {kernel}");
        }
    }
}
