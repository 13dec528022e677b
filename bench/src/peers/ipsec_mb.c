/* A thin layer over intel-ipsec-mb, whose manager and jobs are C structs full of bit and macro. */
#ifndef LINUX
#define LINUX /* aligns gcm_key_data */
#endif
#include <intel-ipsec-mb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BURST = 32, HEADER = 12, HMAC_TAG = 10, GCM_TAG = 16 };

struct key {
	struct gcm_key_data gcm;
	uint8_t enc[16 * 15] __attribute__((aligned(16)));
	uint8_t dec[16 * 15] __attribute__((aligned(16)));
	uint8_t ipad[20] __attribute__((aligned(16)));
	uint8_t opad[20] __attribute__((aligned(16)));
	int bits;
};

/* Mirrors `Work` in ipsec_mb.rs. */
struct work {
	const struct key *key;
	uint8_t *buffer;
	uint64_t len;
	uint8_t iv[16];
	uint8_t roc[4];
	uint8_t ok;
	uint8_t want[HMAC_TAG];
	uint8_t tag[20];
};

const char *sluice_mb_version(void)
{
	return imb_get_version_str();
}

const char *sluice_mb_arch(const IMB_MGR *mgr)
{
	switch (mgr->used_arch) {
	case IMB_ARCH_AVX512: return "AVX512";
	case IMB_ARCH_AVX2: return "AVX2";
	case IMB_ARCH_AVX: return "AVX";
	case IMB_ARCH_SSE: return "SSE";
	default: return "no known";
	}
}

IMB_MGR *sluice_mb_open(void)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);
	if (mgr)
		init_mb_mgr_auto(mgr, NULL);
	return mgr;
}

void sluice_mb_close(IMB_MGR *mgr)
{
	free_mb_mgr(mgr);
}

static void pad_state(IMB_MGR *mgr, const uint8_t *auth, uint8_t pad, uint8_t *state)
{
	uint8_t block[64];
	memset(block, pad, sizeof block);
	for (int i = 0; i < 20; i++)
		block[i] ^= auth[i];
	IMB_SHA1_ONE_BLOCK(mgr, block, state);
}

struct key *sluice_mb_key(IMB_MGR *mgr, int gcm_bits, const uint8_t *key, const uint8_t *auth)
{
	struct key *k = aligned_alloc(64, (sizeof *k + 63) / 64 * 64);
	if (!k)
		return NULL;
	memset(k, 0, sizeof *k);
	k->bits = gcm_bits;
	if (gcm_bits == 128) {
		IMB_AES128_GCM_PRE(mgr, key, &k->gcm);
	} else if (gcm_bits == 256) {
		IMB_AES256_GCM_PRE(mgr, key, &k->gcm);
	} else {
		IMB_AES_KEYEXP_128(mgr, key, k->enc, k->dec);
		pad_state(mgr, auth, 0x36, k->ipad);
		pad_state(mgr, auth, 0x5c, k->opad);
	}
	return k;
}

void sluice_mb_key_free(struct key *k)
{
	free(k);
}

static int same(const uint8_t *a, const uint8_t *b, int len)
{
	uint8_t differ = 0;
	for (int i = 0; i < len; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}

void sluice_mb_gcm(IMB_MGR *mgr, int unprotect, struct work *work, size_t count)
{
	struct gcm_context_data context;
	uint8_t tag[GCM_TAG];
	for (size_t i = 0; i < count; i++) {
		struct work *w = &work[i];
		const struct gcm_key_data *key = &w->key->gcm;
		uint8_t *data = w->buffer + HEADER;
		if (unprotect) {
			w->len -= GCM_TAG;
			uint64_t len = w->len - HEADER;
			if (w->key->bits == 128)
				IMB_AES128_GCM_DEC(mgr, key, &context, data, data, len, w->iv, w->buffer, HEADER,
						   tag, GCM_TAG);
			else
				IMB_AES256_GCM_DEC(mgr, key, &context, data, data, len, w->iv, w->buffer, HEADER,
						   tag, GCM_TAG);
			w->ok = same(tag, data + len, GCM_TAG);
		} else {
			uint64_t len = w->len - HEADER;
			if (w->key->bits == 128)
				IMB_AES128_GCM_ENC(mgr, key, &context, data, data, len, w->iv, w->buffer, HEADER,
						   data + len, GCM_TAG);
			else
				IMB_AES256_GCM_ENC(mgr, key, &context, data, data, len, w->iv, w->buffer, HEADER,
						   data + len, GCM_TAG);
			w->len += GCM_TAG;
			w->ok = 1;
		}
	}
}

static void finish(IMB_JOB *job, int unprotect)
{
	struct work *w = job->user_data;
	if (unprotect) {
		w->ok = job->status == IMB_STATUS_COMPLETED && same(w->tag, w->want, HMAC_TAG);
	} else {
		memcpy(w->buffer + w->len, w->tag, HMAC_TAG);
		w->len += HMAC_TAG;
		w->ok = job->status == IMB_STATUS_COMPLETED;
	}
}

/* At most BURST packets; the manager is empty before and after. Returns how many were done. */
size_t sluice_mb_counter_hmac(IMB_MGR *mgr, int unprotect, struct work *work, size_t count)
{
	IMB_JOB *jobs[BURST];
	size_t done = 0;
	if (count > BURST || IMB_GET_NEXT_BURST(mgr, count, jobs) < count)
		return 0;
	for (size_t i = 0; i < count; i++) {
		struct work *w = &work[i];
		IMB_JOB *job = jobs[i];
		if (unprotect) {
			w->len -= HMAC_TAG;
			memcpy(w->want, w->buffer + w->len, HMAC_TAG);
		}
		/* The ROC is authenticated as if it followed the packet (RFC 3711 section 4.2). */
		memcpy(w->buffer + w->len, w->roc, 4);
		job->cipher_mode = IMB_CIPHER_CNTR;
		job->cipher_direction = unprotect ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
		job->chain_order = unprotect ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
		job->hash_alg = IMB_AUTH_HMAC_SHA_1;
		job->enc_keys = w->key->enc;
		job->dec_keys = w->key->dec;
		job->key_len_in_bytes = 16;
		job->src = w->buffer;
		job->dst = w->buffer + HEADER;
		job->cipher_start_src_offset_in_bytes = HEADER;
		job->msg_len_to_cipher_in_bytes = w->len - HEADER;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = w->len + 4;
		job->iv = w->iv;
		job->iv_len_in_bytes = 16;
		job->auth_tag_output = w->tag;
		job->auth_tag_output_len_in_bytes = 12;
		job->u.HMAC._hashed_auth_key_xor_ipad = w->key->ipad;
		job->u.HMAC._hashed_auth_key_xor_opad = w->key->opad;
		job->user_data = w;
	}
	uint32_t ready = IMB_SUBMIT_BURST_NOCHECK(mgr, count, jobs);
	for (;;) {
		for (uint32_t i = 0; i < ready; i++)
			finish(jobs[i], unprotect);
		done += ready;
		if (done >= count)
			return done;
		ready = IMB_FLUSH_BURST(mgr, count - done, jobs);
		if (ready == 0)
			return done;
	}
}
