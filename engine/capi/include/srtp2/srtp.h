/*
 * libsrtp 2's interface, from Sluice (libsluice_srtp2). Made by cbindgen; do not edit:
 *
 *     SLUICE_WRITE_HEADER=1 cargo test -p sluice-capi --test header
 */

#ifndef SLUICE_SRTP_H
#define SLUICE_SRTP_H

#include <stdint.h>

/*
 Octets of an AES-128 master key with its salt.
 */
#define SRTP_MASTER_KEY_LEN 30

/*
 Most octets of a master key with its salt.
 */
#define SRTP_MAX_KEY_LEN 64

/*
 Most octets of an authentication tag.
 */
#define SRTP_MAX_TAG_LEN 16

/*
 Most octets of an MKI.
 */
#define SRTP_MAX_MKI_LEN 128

/*
 Most octets that `srtp_protect` adds; `srtp_protect_rtcp` adds 4 more.
 */
#define SRTP_MAX_TRAILER_LEN 144

/*
 Most master keys of one stream.
 */
#define SRTP_MAX_NUM_MASTER_KEYS 16

/*
 Octets of a master salt for counter mode.
 */
#define SRTP_SALT_LEN 14

/*
 Octets of a master salt for GCM.
 */
#define SRTP_AEAD_SALT_LEN 12

/*
 Octets of an AES-128 key.
 */
#define SRTP_AES_128_KEY_LEN 16

/*
 Octets of an AES-192 key.
 */
#define SRTP_AES_192_KEY_LEN 24

/*
 Octets of an AES-256 key.
 */
#define SRTP_AES_256_KEY_LEN 32

/*
 Octets of master key and salt, AES-128 in counter mode.
 */
#define SRTP_AES_ICM_128_KEY_LEN_WSALT 30

/*
 Octets of master key and salt, AES-192 in counter mode.
 */
#define SRTP_AES_ICM_192_KEY_LEN_WSALT 38

/*
 Octets of master key and salt, AES-256 in counter mode.
 */
#define SRTP_AES_ICM_256_KEY_LEN_WSALT 46

/*
 Octets of master key and salt, AES-128-GCM.
 */
#define SRTP_AES_GCM_128_KEY_LEN_WSALT 28

/*
 Octets of master key and salt, AES-192-GCM, which no suite has.
 */
#define SRTP_AES_GCM_192_KEY_LEN_WSALT 36

/*
 Octets of master key and salt, AES-256-GCM.
 */
#define SRTP_AES_GCM_256_KEY_LEN_WSALT 44

/*
 `cipher_type`: no encryption.
 */
#define SRTP_NULL_CIPHER 0

/*
 `cipher_type`: AES-128 in counter mode (RFC 3711).
 */
#define SRTP_AES_ICM_128 1

/*
 `cipher_type`: AES-192 in counter mode (RFC 6188).
 */
#define SRTP_AES_ICM_192 4

/*
 `cipher_type`: AES-256 in counter mode (RFC 6188).
 */
#define SRTP_AES_ICM_256 5

/*
 `cipher_type`: AES-128 in Galois/counter mode (RFC 7714).
 */
#define SRTP_AES_GCM_128 6

/*
 `cipher_type`: AES-256 in Galois/counter mode (RFC 7714).
 */
#define SRTP_AES_GCM_256 7

/*
 `auth_type`: none.
 */
#define SRTP_NULL_AUTH 0

/*
 `auth_type`: HMAC-SHA1.
 */
#define SRTP_HMAC_SHA1 3

/*
 The E flag in the word that holds the SRTCP index (RFC 3711 §3.4).
 */
#define SRTCP_E_BIT 2147483648

/*
 The E flag in that word's first octet.
 */
#define SRTCP_E_BYTE_BIT 128

/*
 The SRTCP index in that word.
 */
#define SRTCP_INDEX_MASK 2147483647

/*
 What became of a call.
 */
typedef enum srtp_err_status_t {
  /*
   Nothing to report.
   */
  srtp_err_status_ok = 0,
  /*
   Something that should not be: a defect of the library.
   */
  srtp_err_status_fail = 1,
  /*
   A parameter, policy or packet that cannot be.
   */
  srtp_err_status_bad_param = 2,
  /*
   No memory.
   */
  srtp_err_status_alloc_fail = 3,
  /*
   Never given.
   */
  srtp_err_status_dealloc_fail = 4,
  /*
   Never given.
   */
  srtp_err_status_init_fail = 5,
  /*
   Never given.
   */
  srtp_err_status_terminus = 6,
  /*
   The packet's tag is wrong.
   */
  srtp_err_status_auth_fail = 7,
  /*
   Never given.
   */
  srtp_err_status_cipher_fail = 8,
  /*
   The packet was received, or its index used for sending, before.
   */
  srtp_err_status_replay_fail = 9,
  /*
   The packet's index lies before the replay window.
   */
  srtp_err_status_replay_old = 10,
  /*
   No SRTP kernel passed its self-test.
   */
  srtp_err_status_algo_fail = 11,
  /*
   Never given.
   */
  srtp_err_status_no_such_op = 12,
  /*
   The session has no such stream.
   */
  srtp_err_status_no_ctx = 13,
  /*
   An SRTCP packet's E flag is not as agreed.
   */
  srtp_err_status_cant_check = 14,
  /*
   The key has protected as many packets as it may.
   */
  srtp_err_status_key_expired = 15,
  /*
   Never given.
   */
  srtp_err_status_socket_err = 16,
  /*
   Never given.
   */
  srtp_err_status_signal_err = 17,
  /*
   Never given.
   */
  srtp_err_status_nonce_bad = 18,
  /*
   Never given.
   */
  srtp_err_status_read_fail = 19,
  /*
   Never given.
   */
  srtp_err_status_write_fail = 20,
  /*
   A header extension whose elements run past its end.
   */
  srtp_err_status_parse_err = 21,
  /*
   Never given.
   */
  srtp_err_status_encode_err = 22,
  /*
   Never given.
   */
  srtp_err_status_semaphore_err = 23,
  /*
   Never given.
   */
  srtp_err_status_pfkey_err = 24,
  /*
   The MKI names none of the stream's keys.
   */
  srtp_err_status_bad_mki = 25,
  /*
   The rollover counter that was set lies before the stream's.
   */
  srtp_err_status_pkt_idx_old = 26,
  /*
   Never given.
   */
  srtp_err_status_pkt_idx_adv = 27,
} srtp_err_status_t;

/*
 What an event handler is told of.
 */
typedef enum srtp_event_t {
  /*
   A stream that is sent was received, or the other way round.
   */
  event_ssrc_collision,
  /*
   The key will expire soon.
   */
  event_key_soft_limit,
  /*
   The key has expired.
   */
  event_key_hard_limit,
  /*
   The stream has had all 2^48 packets.
   */
  event_packet_index_limit,
} srtp_event_t;

/*
 How grave a message is.
 */
typedef enum srtp_log_level_t {
  /*
   Something failed.
   */
  srtp_log_level_error,
  /*
   Something may fail soon.
   */
  srtp_log_level_warning,
  /*
   For information.
   */
  srtp_log_level_info,
  /*
   For who looks for a fault.
   */
  srtp_log_level_debug,
} srtp_log_level_t;

/*
 Which SSRCs a policy is for.
 */
typedef enum srtp_ssrc_type_t {
  /*
   Not said.
   */
  ssrc_undefined = 0,
  /*
   The one given.
   */
  ssrc_specific = 1,
  /*
   Every one that is received.
   */
  ssrc_any_inbound = 2,
  /*
   Every one that is sent.
   */
  ssrc_any_outbound = 3,
} srtp_ssrc_type_t;

/*
 Which protection packets get.
 */
typedef enum srtp_sec_serv_t {
  /*
   None.
   */
  sec_serv_none = 0,
  /*
   Encryption.
   */
  sec_serv_conf = 1,
  /*
   Authentication.
   */
  sec_serv_auth = 2,
  /*
   Both.
   */
  sec_serv_conf_and_auth = 3,
} srtp_sec_serv_t;

/*
 DTLS-SRTP protection profiles (RFC 5764 §4.1.2, RFC 7714 §14.2).
 */
typedef enum srtp_profile_t {
  /*
   None.
   */
  srtp_profile_reserved = 0,
  /*
   SRTP_AES128_CM_SHA1_80.
   */
  srtp_profile_aes128_cm_sha1_80 = 1,
  /*
   SRTP_AES128_CM_SHA1_32.
   */
  srtp_profile_aes128_cm_sha1_32 = 2,
  /*
   SRTP_NULL_SHA1_80.
   */
  srtp_profile_null_sha1_80 = 5,
  /*
   SRTP_NULL_SHA1_32.
   */
  srtp_profile_null_sha1_32 = 6,
  /*
   SRTP_AEAD_AES_128_GCM.
   */
  srtp_profile_aead_aes_128_gcm = 7,
  /*
   SRTP_AEAD_AES_256_GCM.
   */
  srtp_profile_aead_aes_256_gcm = 8,
} srtp_profile_t;

/*
 A session: streams that share a transport, or more.
 */
typedef struct srtp_ctx_t srtp_ctx_t;

/*
 A session's handle.
 */
typedef struct srtp_ctx_t *srtp_t;

/*
 An event.
 */
typedef struct srtp_event_data_t {
  /*
   The session.
   */
  srtp_t session;
  /*
   The stream's SSRC in host order.
   */
  uint32_t ssrc;
  /*
   What happened.
   */
  enum srtp_event_t event;
} srtp_event_data_t;

/*
 Is told of events, by the thread in whose call they happen.
 */
typedef void (*srtp_event_handler_func_t)(struct srtp_event_data_t *data);

/*
 Is given messages.
 */
typedef void (*srtp_log_handler_func_t)(enum srtp_log_level_t level, const char *msg, void *data);

/*
 An SSRC, or all.
 */
typedef struct srtp_ssrc_t {
  /*
   Which.
   */
  enum srtp_ssrc_type_t type;
  /*
   The SSRC in host order, if it is one.
   */
  unsigned int value;
} srtp_ssrc_t;

/*
 A cipher: one of the `SRTP_AES_…` constants, or `SRTP_NULL_CIPHER`.
 */
typedef uint32_t srtp_cipher_type_id_t;

/*
 An authentication function: `SRTP_HMAC_SHA1` or `SRTP_NULL_AUTH`.
 */
typedef uint32_t srtp_auth_type_id_t;

/*
 How packets of one kind, RTP or RTCP, are protected.
 */
typedef struct srtp_crypto_policy_t {
  /*
   The cipher.
   */
  srtp_cipher_type_id_t cipher_type;
  /*
   Octets of the master key with its salt.
   */
  int cipher_key_len;
  /*
   The authentication function.
   */
  srtp_auth_type_id_t auth_type;
  /*
   Octets of its session key.
   */
  int auth_key_len;
  /*
   Octets of the tag.
   */
  int auth_tag_len;
  /*
   Which of both are applied.
   */
  enum srtp_sec_serv_t sec_serv;
} srtp_crypto_policy_t;

/*
 A master key with its salt, and its MKI.
 */
typedef struct srtp_master_key_t {
  /*
   Key and salt, as long as the policy's ciphers want them.
   */
  uint8_t *key;
  /*
   The MKI.
   */
  uint8_t *mki_id;
  /*
   Octets of the MKI.
   */
  unsigned int mki_size;
} srtp_master_key_t;

/*
 What a stream, or every stream of one direction, is protected with.
 */
typedef struct srtp_policy_t {
  /*
   Which streams.
   */
  struct srtp_ssrc_t ssrc;
  /*
   How RTP is protected.
   */
  struct srtp_crypto_policy_t rtp;
  /*
   How RTCP is protected.
   */
  struct srtp_crypto_policy_t rtcp;
  /*
   The one master key with its salt, or NULL if there are several.
   */
  uint8_t *key;
  /*
   The master keys, if there are several.
   */
  struct srtp_master_key_t **keys;
  /*
   How many.
   */
  unsigned long num_master_keys;
  /*
   NULL: EKT is not libsrtp's any more.
   */
  void *deprecated_ekt;
  /*
   Packets of the replay window, 64 to 32,767; 0 for 128.
   */
  unsigned long window_size;
  /*
   1 if a packet may be sent again under its sequence number; with another payload it never may.
   */
  int allow_repeat_tx;
  /*
   Identifiers of the header extension elements that are encrypted (RFC 6904).
   */
  int *enc_xtn_hdr;
  /*
   How many.
   */
  int enc_xtn_hdr_count;
  /*
   The next policy of a list, or NULL.
   */
  struct srtp_policy_t *next;
} srtp_policy_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Installs what is told of events; NULL for nothing. Until then they are written to the log handler.
 */
enum srtp_err_status_t srtp_install_event_handler(srtp_event_handler_func_t func);

/*
 Installs what is given messages, with what it wants back; NULL for nothing.
 */
enum srtp_err_status_t srtp_install_log_handler(srtp_log_handler_func_t func, void *data);

/*
 Finds a kernel that passes its self-test; `srtp_err_status_algo_fail` if there is none. Without this call
 the first session does it.
 */
enum srtp_err_status_t srtp_init(void);

/*
 Does nothing: there is nothing to give back.
 */
enum srtp_err_status_t srtp_shutdown(void);

/*
 Makes a session with the streams of a list of policies, which may be empty (NULL).

 # Safety
 `session` is NULL or has room for a handle; `policy` is NULL or begins a list of policies.
 */
enum srtp_err_status_t srtp_create(srtp_t *session, const struct srtp_policy_t *policy);

/*
 Ends a session.

 # Safety
 `s` is NULL or a session of [`srtp_create`], which is not used any more.
 */
enum srtp_err_status_t srtp_dealloc(srtp_t s);

/*
 Adds the stream of a policy, or what streams without one are made of.

 # Safety
 `session` is NULL or a session that no other thread uses; `policy` is NULL or points to a policy.
 */
enum srtp_err_status_t srtp_add_stream(srtp_t session, const struct srtp_policy_t *policy);

/*
 Removes a stream. The SSRC is in network order, as libsrtp 2 has it.

 # Safety
 `session` is NULL or a session that no other thread uses.
 */
enum srtp_err_status_t srtp_remove_stream(srtp_t session, unsigned int ssrc);

/*
 Gives the streams of a list of policies other keys. Rollover counters, and what was received and sent, stay.

 # Safety
 `session` is NULL or a session that no other thread uses; `policy` begins a list of policies.
 */
enum srtp_err_status_t srtp_update(srtp_t session,
                                   const struct srtp_policy_t *policy);

/*
 Gives one stream, or all that have no policy of their own, other keys.

 # Safety
 `session` is NULL or a session that no other thread uses; `policy` is NULL or points to a policy.
 */
enum srtp_err_status_t srtp_update_stream(srtp_t session, const struct srtp_policy_t *policy);

/*
 Protects an RTP packet in place under the first key, without an MKI.

 # Safety
 `ctx` is NULL or a session that no other thread uses; `rtp_hdr` points to `*len_ptr` octets and room for
 `srtp_get_protect_trailer_length` more.
 */
enum srtp_err_status_t srtp_protect(srtp_t ctx,
                                    void *rtp_hdr,
                                    int *len_ptr);

/*
 Protects an RTP packet in place under the key of number `mki_index`, with its MKI, if `use_mki` is not 0.

 # Safety
 As [`srtp_protect`].
 */
enum srtp_err_status_t srtp_protect_mki(srtp_t ctx,
                                        void *rtp_hdr,
                                        int *pkt_octet_len,
                                        unsigned int use_mki,
                                        unsigned int mki_index);

/*
 Unprotects an SRTP packet in place, which carries no MKI.

 # Safety
 `ctx` is NULL or a session that no other thread uses; `srtp_hdr` points to `*len_ptr` octets.
 */
enum srtp_err_status_t srtp_unprotect(srtp_t ctx, void *srtp_hdr, int *len_ptr);

/*
 Unprotects an SRTP packet in place, which carries an MKI if `use_mki` is not 0.

 # Safety
 As [`srtp_unprotect`].
 */
enum srtp_err_status_t srtp_unprotect_mki(srtp_t ctx,
                                          void *srtp_hdr,
                                          int *len_ptr,
                                          unsigned int use_mki);

/*
 Protects an RTCP packet in place under the first key, without an MKI.

 # Safety
 `ctx` is NULL or a session that no other thread uses; `rtcp_hdr` points to `*pkt_octet_len` octets and room
 for `srtp_get_protect_rtcp_trailer_length` more.
 */
enum srtp_err_status_t srtp_protect_rtcp(srtp_t ctx,
                                         void *rtcp_hdr,
                                         int *pkt_octet_len);

/*
 Protects an RTCP packet in place under the key of number `mki_index`, with its MKI, if `use_mki` is not 0.

 # Safety
 As [`srtp_protect_rtcp`].
 */
enum srtp_err_status_t srtp_protect_rtcp_mki(srtp_t ctx,
                                             void *rtcp_hdr,
                                             int *pkt_octet_len,
                                             unsigned int use_mki,
                                             unsigned int mki_index);

/*
 Unprotects an SRTCP packet in place, which carries no MKI.

 # Safety
 `ctx` is NULL or a session that no other thread uses; `srtcp_hdr` points to `*pkt_octet_len` octets.
 */
enum srtp_err_status_t srtp_unprotect_rtcp(srtp_t ctx,
                                           void *srtcp_hdr,
                                           int *pkt_octet_len);

/*
 Unprotects an SRTCP packet in place, which carries an MKI if `use_mki` is not 0.

 # Safety
 As [`srtp_unprotect_rtcp`].
 */
enum srtp_err_status_t srtp_unprotect_rtcp_mki(srtp_t ctx,
                                               void *srtcp_hdr,
                                               int *pkt_octet_len,
                                               unsigned int use_mki);

/*
 Gives the session something of the program's to keep.

 # Safety
 `ctx` is NULL or a session that no other thread uses.
 */
void srtp_set_user_data(srtp_t ctx, void *data);

/*
 What the session was given to keep; NULL if nothing.

 # Safety
 `ctx` is NULL or a session that no other thread changes.
 */
void *srtp_get_user_data(srtp_t ctx);

/*
 Most octets that protecting an RTP packet of this session adds.

 # Safety
 `session` is NULL or a session that no other thread uses; `length` is NULL or has room.
 */
enum srtp_err_status_t srtp_get_protect_trailer_length(srtp_t session,
                                                       uint32_t use_mki,
                                                       uint32_t mki_index,
                                                       uint32_t *length);

/*
 Most octets that protecting an RTCP packet of this session adds.

 # Safety
 `session` is NULL or a session that no other thread uses; `length` is NULL or has room.
 */
enum srtp_err_status_t srtp_get_protect_rtcp_trailer_length(srtp_t session,
                                                            uint32_t use_mki,
                                                            uint32_t mki_index,
                                                            uint32_t *length);

/*
 Says which rollover counter the next RTP packet of a stream has; the SSRC is in host order.

 # Safety
 `session` is NULL or a session that no other thread uses.
 */
enum srtp_err_status_t srtp_set_stream_roc(srtp_t session, uint32_t ssrc, uint32_t roc);

/*
 The rollover counter of a stream; the SSRC is in host order.

 # Safety
 `session` is NULL or a session that no other thread uses; `roc` is NULL or has room.
 */
enum srtp_err_status_t srtp_get_stream_roc(srtp_t session, uint32_t ssrc, uint32_t *roc);

/*
 Name and version of this library.
 */
const char *srtp_get_version_string(void);

/*
 The version of libsrtp whose interface this is, as libsrtp writes it: 2.5.0.
 */
unsigned int srtp_get_version(void);

/*
 There are no debug modules: messages go to the log handler.
 */
enum srtp_err_status_t srtp_set_debug_module(const char *_mod_name, int _v);

/*
 There are no debug modules.
 */
enum srtp_err_status_t srtp_list_debug_modules(void);

/*
 AES_CM_128_HMAC_SHA1_80 (RFC 3711 §5), for RTP.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_rtp_default(struct srtp_crypto_policy_t *p);

/*
 AES_CM_128_HMAC_SHA1_80 (RFC 3711 §5), for RTCP.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_rtcp_default(struct srtp_crypto_policy_t *p);

/*
 AES_CM_128_HMAC_SHA1_32, meant for RTP (RFC 4568 §6.2.2).

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(struct srtp_crypto_policy_t *p);

/*
 AES-128 in counter mode without tags: RTP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_128_null_auth(struct srtp_crypto_policy_t *p);

/*
 Tags of 80 bits and no encryption.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_null_cipher_hmac_sha1_80(struct srtp_crypto_policy_t *p);

/*
 No protection: RTP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_null_cipher_hmac_null(struct srtp_crypto_policy_t *p);

/*
 AES_256_CM_HMAC_SHA1_80 (RFC 6188).

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(struct srtp_crypto_policy_t *p);

/*
 AES_256_CM_HMAC_SHA1_32 (RFC 6188), meant for RTP.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(struct srtp_crypto_policy_t *p);

/*
 AES-256 in counter mode without tags: RTP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_256_null_auth(struct srtp_crypto_policy_t *p);

/*
 AES_192_CM_HMAC_SHA1_80 (RFC 6188).

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80(struct srtp_crypto_policy_t *p);

/*
 AES_192_CM_HMAC_SHA1_32 (RFC 6188), meant for RTP.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32(struct srtp_crypto_policy_t *p);

/*
 AES-192 in counter mode without tags: RTP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_cm_192_null_auth(struct srtp_crypto_policy_t *p);

/*
 AES-128-GCM with tags of 64 bits, which RFC 7714 does not have: refused with the policy.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_128_8_auth(struct srtp_crypto_policy_t *p);

/*
 AES-256-GCM with tags of 64 bits, which RFC 7714 does not have: refused with the policy.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_256_8_auth(struct srtp_crypto_policy_t *p);

/*
 As `srtp_crypto_policy_set_aes_gcm_128_8_auth`, without encryption: RTCP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_128_8_only_auth(struct srtp_crypto_policy_t *p);

/*
 As `srtp_crypto_policy_set_aes_gcm_256_8_auth`, without encryption: RTCP only.

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_256_8_only_auth(struct srtp_crypto_policy_t *p);

/*
 AEAD_AES_128_GCM (RFC 7714).

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_128_16_auth(struct srtp_crypto_policy_t *p);

/*
 AEAD_AES_256_GCM (RFC 7714).

 # Safety
 `p` is NULL or points to a policy.
 */
void srtp_crypto_policy_set_aes_gcm_256_16_auth(struct srtp_crypto_policy_t *p);

/*
 RTP's policy of a DTLS-SRTP profile; `srtp_err_status_bad_param` if there is no such.

 # Safety
 `policy` is NULL or points to a policy.
 */
enum srtp_err_status_t srtp_crypto_policy_set_from_profile_for_rtp(struct srtp_crypto_policy_t *policy,
                                                                   enum srtp_profile_t profile);

/*
 RTCP's policy of a DTLS-SRTP profile; `srtp_err_status_bad_param` if there is no such.

 # Safety
 `policy` is NULL or points to a policy.
 */
enum srtp_err_status_t srtp_crypto_policy_set_from_profile_for_rtcp(struct srtp_crypto_policy_t *policy,
                                                                    enum srtp_profile_t profile);

/*
 Octets of a profile's master key; 0 if there is no such profile.
 */
unsigned int srtp_profile_get_master_key_length(enum srtp_profile_t profile);

/*
 Octets of a profile's master salt; 0 if there is no such profile.
 */
unsigned int srtp_profile_get_master_salt_length(enum srtp_profile_t profile);

/*
 Puts a salt after a key, as policies want them.

 # Safety
 `key` has room for both, `salt` has `bytes_in_salt` octets, and they are not the same memory.
 */
void srtp_append_salt_to_key(uint8_t *key,
                             unsigned int bytes_in_key,
                             uint8_t *salt,
                             unsigned int bytes_in_salt);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SLUICE_SRTP_H */

/* The default policy is AES_CM_128_HMAC_SHA1_80. */
#define srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(p) srtp_crypto_policy_set_rtp_default(p)
