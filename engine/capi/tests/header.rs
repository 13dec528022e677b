//! The header is what cbindgen makes of this crate, and means to a C compiler what libsrtp's does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_header_is_that_of_this_crate() {
    let config = cbindgen::Config::from_file(here("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(here("")).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let path = here("include/srtp2/srtp.h");
    if std::env::var_os("SLUICE_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read(&path).unwrap();
    assert!(
        committed == made,
        "{} is not up to date: SLUICE_WRITE_HEADER=1 cargo test -p sluice-capi --test header",
        path.display()
    );
}

/// Prints sizes, offsets and values as the header given by `include` has them, and refers to every function.
const PROGRAM: &str = r#"
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "srtp.h"
#define SIZE(t) printf(#t " %zu\n", sizeof(t))
#define AT(t, f) printf(#t "." #f " %zu %zu\n", offsetof(t, f), sizeof(((t *)0)->f))
#define VALUE(v) printf(#v " %lld\n", (long long)(v))
static void handler(srtp_event_data_t *data) { (void)data; }
static void logger(srtp_log_level_t level, const char *msg, void *data) { (void)level, (void)msg, (void)data; }
int main(void) {
    SIZE(srtp_policy_t); SIZE(srtp_crypto_policy_t); SIZE(srtp_ssrc_t); SIZE(srtp_master_key_t);
    SIZE(srtp_event_data_t); SIZE(srtp_t); SIZE(srtp_profile_t); SIZE(srtp_err_status_t);
    AT(srtp_policy_t, ssrc.type); AT(srtp_policy_t, ssrc.value); AT(srtp_policy_t, rtp); AT(srtp_policy_t, rtcp);
    AT(srtp_policy_t, key); AT(srtp_policy_t, keys); AT(srtp_policy_t, num_master_keys);
    AT(srtp_policy_t, deprecated_ekt); AT(srtp_policy_t, window_size); AT(srtp_policy_t, allow_repeat_tx);
    AT(srtp_policy_t, enc_xtn_hdr); AT(srtp_policy_t, enc_xtn_hdr_count); AT(srtp_policy_t, next);
    AT(srtp_crypto_policy_t, cipher_type); AT(srtp_crypto_policy_t, cipher_key_len);
    AT(srtp_crypto_policy_t, auth_type); AT(srtp_crypto_policy_t, auth_key_len);
    AT(srtp_crypto_policy_t, auth_tag_len); AT(srtp_crypto_policy_t, sec_serv);
    AT(srtp_master_key_t, key); AT(srtp_master_key_t, mki_id); AT(srtp_master_key_t, mki_size);
    AT(srtp_event_data_t, session); AT(srtp_event_data_t, ssrc); AT(srtp_event_data_t, event);
    VALUE(SRTP_MASTER_KEY_LEN); VALUE(SRTP_MAX_KEY_LEN); VALUE(SRTP_MAX_TAG_LEN); VALUE(SRTP_MAX_MKI_LEN);
    VALUE(SRTP_MAX_TRAILER_LEN); VALUE(SRTP_MAX_NUM_MASTER_KEYS); VALUE(SRTP_SALT_LEN);
    VALUE(SRTP_AEAD_SALT_LEN); VALUE(SRTP_AES_128_KEY_LEN); VALUE(SRTP_AES_192_KEY_LEN);
    VALUE(SRTP_AES_256_KEY_LEN); VALUE(SRTP_AES_ICM_128_KEY_LEN_WSALT); VALUE(SRTP_AES_ICM_192_KEY_LEN_WSALT);
    VALUE(SRTP_AES_ICM_256_KEY_LEN_WSALT); VALUE(SRTP_AES_GCM_128_KEY_LEN_WSALT);
    VALUE(SRTP_AES_GCM_192_KEY_LEN_WSALT); VALUE(SRTP_AES_GCM_256_KEY_LEN_WSALT);
    VALUE(SRTCP_E_BIT); VALUE(SRTCP_E_BYTE_BIT); VALUE(SRTCP_INDEX_MASK);
    VALUE(srtp_err_status_auth_fail); VALUE(srtp_err_status_pkt_idx_adv); VALUE(srtp_err_status_key_expired);
    VALUE(srtp_err_status_no_ctx); VALUE(srtp_err_status_bad_mki); VALUE(srtp_err_status_parse_err);
    VALUE(sec_serv_conf); VALUE(sec_serv_auth); VALUE(sec_serv_conf_and_auth);
    VALUE(ssrc_specific); VALUE(ssrc_any_inbound); VALUE(ssrc_any_outbound);
    VALUE(srtp_profile_null_sha1_80); VALUE(srtp_profile_aead_aes_256_gcm);
    VALUE(event_ssrc_collision); VALUE(event_packet_index_limit); VALUE(srtp_log_level_debug);
    srtp_policy_t policy; memset(&policy, 0, sizeof policy);
    srtp_crypto_policy_t p;
    srtp_master_key_t **keys = policy.keys; (void)keys;
    unsigned int length; uint32_t roc; srtp_t session; int len = 0; unsigned char octets[200] = {0};
    VALUE(srtp_init());
    policy.ssrc.type = ssrc_any_inbound;
    VALUE(srtp_create(&session, NULL)); VALUE(srtp_add_stream(session, &policy));
    VALUE(srtp_update(session, &policy)); VALUE(srtp_update_stream(session, &policy));
    VALUE(srtp_remove_stream(session, 1));
    VALUE(srtp_protect(session, octets, &len)); VALUE(srtp_protect_mki(session, octets, &len, 1, 0));
    VALUE(srtp_unprotect(session, octets, &len)); VALUE(srtp_unprotect_mki(session, octets, &len, 1));
    VALUE(srtp_get_stream_roc(session, 1, &roc)); VALUE(srtp_set_stream_roc(session, 1, 1));
    VALUE(srtp_get_protect_trailer_length(session, 0, 0, &length));
    VALUE(srtp_get_protect_rtcp_trailer_length(session, 0, 0, &length));
    srtp_set_user_data(session, octets); VALUE(srtp_get_user_data(session) == octets);
    VALUE(srtp_install_event_handler(handler)); VALUE(srtp_install_log_handler(logger, NULL));
    VALUE(srtp_install_log_handler(NULL, NULL));
    VALUE(srtp_get_version() >> 24); VALUE(srtp_get_version_string() != NULL); 
#define PRESET(name) srtp_crypto_policy_set_##name(&p); \
    printf(#name " %u %d %u %d %d %d\n", p.cipher_type, p.cipher_key_len, p.auth_type, p.auth_key_len, \
           p.auth_tag_len, (int)p.sec_serv)
    PRESET(rtp_default); PRESET(rtcp_default); PRESET(aes_cm_128_hmac_sha1_80); PRESET(aes_cm_128_hmac_sha1_32);
    PRESET(aes_cm_128_null_auth); PRESET(null_cipher_hmac_sha1_80); PRESET(null_cipher_hmac_null);
    PRESET(aes_cm_256_hmac_sha1_80); PRESET(aes_cm_256_hmac_sha1_32); PRESET(aes_cm_256_null_auth);
    PRESET(aes_cm_192_hmac_sha1_80); PRESET(aes_cm_192_hmac_sha1_32); PRESET(aes_cm_192_null_auth);
    PRESET(aes_gcm_128_8_auth); PRESET(aes_gcm_256_8_auth); PRESET(aes_gcm_128_8_only_auth);
    PRESET(aes_gcm_256_8_only_auth); PRESET(aes_gcm_128_16_auth); PRESET(aes_gcm_256_16_auth);
    for (int i = 0; i < 10; i++) {
        if (i == 6) continue; /* SRTP_NULL_SHA1_32 is not libsrtp's yet. */
        srtp_profile_t profile = (srtp_profile_t)i;
        VALUE(srtp_profile_get_master_key_length(profile)); VALUE(srtp_profile_get_master_salt_length(profile));
        VALUE(srtp_crypto_policy_set_from_profile_for_rtp(&p, profile)); VALUE(p.cipher_type + p.auth_tag_len);
        VALUE(srtp_crypto_policy_set_from_profile_for_rtcp(&p, profile)); VALUE(p.cipher_type + p.auth_tag_len);
    }
    srtp_append_salt_to_key(octets, 2, (unsigned char *)"ab", 2); VALUE(octets[3]);
    srtp_list_debug_modules(); srtp_set_debug_module("no", 1);
    VALUE(srtp_dealloc(session)); VALUE(srtp_shutdown());
    return 0;
}
"#;

/// Builds the program against a header and a library, and what it prints.
fn run(compiler: &str, include: &Path, link: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join(if compiler == "c++" { "abi.cpp" } else { "abi.c" });
    fs::write(&source, PROGRAM).unwrap();
    let program = dir.path().join("abi");
    let mut build = Command::new(compiler);
    build.args(["-Wall", "-Werror", "-O1", "-I"]).arg(include).arg("-o").arg(&program).arg(&source);
    let built = build.args(link).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(&program).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The directory that Cargo puts the shared library in: the one above the tests' own.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().unwrap().to_path_buf();
    assert!(dir.join("libsluice_srtp2.so").exists(), "no libsluice_srtp2.so in {}", dir.display());
    dir
}

#[test]
fn a_program_compiled_with_either_header_sees_the_same() {
    let theirs = Path::new("/usr/include/srtp2");
    if !theirs.join("srtp.h").exists() {
        assert!(std::env::var_os("CI").is_none(), "libsrtp2-dev is missing");
        eprintln!("SKIP: no libsrtp2-dev here to compare with");
        return;
    }
    let dir = library_dir();
    let rpath = format!("-Wl,-rpath,{}", dir.display());
    let search = format!("-L{}", dir.display());
    let ours = here("include/srtp2");
    for compiler in ["cc", "c++"] {
        let expected = run(compiler, theirs, &["-lsrtp2"]);
        let sluice = run(compiler, &ours, &[&search, "-lsluice_srtp2", &rpath]);
        assert_eq!(sluice, expected, "{compiler}");
        // Compiled with libsrtp's header, linked to this library.
        let mixed = run(compiler, theirs, &[&search, "-lsluice_srtp2", &rpath]);
        assert_eq!(mixed, expected, "{compiler}");
    }
}
