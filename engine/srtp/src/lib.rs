//! SRTP and SRTCP contexts, batch protect and unprotect (RFC 3711, RFC 7714).
