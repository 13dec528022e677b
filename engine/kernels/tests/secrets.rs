//! Keys leave nothing behind: the memory of a dropped key is scanned for what it was made of.
//!
//! Keys of the portable kernel live on the heap, where a dropped one must not be read; RustCrypto zeroizes
//! them (its crates' `zeroize` features).

use std::mem::MaybeUninit;

use sluice_kernels::{CtrJob, CtrKey, GcmKey, Kernel, MacKey, ctr};

/// The bytes of a value before and after its drop.
fn remains<T>(value: T) -> [Vec<u8>; 2] {
    let mut place = MaybeUninit::<T>::zeroed();
    place.write(value);
    let bytes = |place: &MaybeUninit<T>| -> Vec<u8> {
        let start = place.as_ptr().cast::<MaybeUninit<u8>>();
        (0..size_of::<T>())
            .map(|at| {
                // SAFETY: `at` lies inside of the place, whose memory stays after the value's drop. Padding
                // may be of any value, but the place was zeroed first, and the read is volatile, so that
                // what is really there is read.
                unsafe { start.add(at).read_volatile().assume_init() }
            })
            .collect()
    };
    let before = bytes(&place);
    // SAFETY: the value was written above and is not used again.
    unsafe { place.assume_init_drop() };
    [before, bytes(&place)]
}

fn holds(memory: &[u8], secret: &[u8]) -> bool {
    memory.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn dropped_keys_are_zeroed() {
    for kernel in Kernel::available().filter(|kernel| *kernel != Kernel::PORTABLE) {
        for len in [16, 24, 32] {
            let key: Vec<u8> = (0..len).map(|i: u8| i.wrapping_mul(37) + 11).collect();
            // The first round keys are the key itself (FIPS 197 §5.2).
            let [before, after] = remains(CtrKey::new(kernel, &key).unwrap());
            assert!(holds(&before, &key), "{kernel}: the scan finds what is there");
            assert_no_secret(kernel, &before, &after);
            if len != 24 {
                let [before, after] = remains(GcmKey::new(kernel, &key).unwrap());
                assert!(holds(&before, &key), "{kernel}");
                assert_no_secret(kernel, &before, &after);
                // H, the block of zeros encrypted, in either byte order.
                let mut h = [0; 16];
                let cipher = CtrKey::new(kernel, &key).unwrap();
                ctr(kernel, &mut [CtrJob { key: &cipher, iv: [0; 16], data: &mut h }]);
                let reversed: Vec<u8> = h.iter().rev().copied().collect();
                assert!(!holds(&after, &h) && !holds(&after, &reversed), "{kernel}: H is left");
            }
        }
        let [before, after] = remains(MacKey::new(kernel, b"authentication key"));
        assert_no_secret(kernel, &before, &after);
    }
}

/// Nothing of what the key had is left, but for two blocks with lengths, tags of enums and padding.
fn assert_no_secret(kernel: Kernel, before: &[u8], after: &[u8]) {
    let filled = |memory: &[u8]| memory.chunks(16).filter(|block| block.iter().any(|b| *b != 0)).count();
    assert!(filled(before) > 1, "{kernel}: there was a secret");
    assert!(filled(after) <= 2, "{kernel}: {after:02x?} is left");
}
