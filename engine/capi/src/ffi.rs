//! The functions of `srtp.h`: pointers are followed here, work is done in `session`.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::{MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice::from_raw_parts_mut;

use sluice_srtp::{Kind, selected_kernel};

use crate::events::{log, tell};
use crate::policy::{self, Policy};
use crate::session::{Session, status};
use crate::stream::Events;
use crate::types::srtp_err_status_t::{
    self, srtp_err_status_algo_fail, srtp_err_status_bad_mki, srtp_err_status_bad_param,
    srtp_err_status_fail, srtp_err_status_ok,
};
use crate::types::{srtp_ctx_t, srtp_log_level_t, srtp_policy_t, srtp_t};

/// The number that a program put where an enumerator belongs, which may be none of them.
pub(crate) fn number<T: Copy>(value: MaybeUninit<T>) -> u32 {
    const { assert!(size_of::<T>() == size_of::<u32>()) };
    // SAFETY: four octets, which the program's C compiler wrote as an enumerator.
    unsafe { std::mem::transmute_copy(&value) }
}

/// Keeps a panic, which would be a defect of this library, from unwinding into C.
fn guarded(work: impl FnOnce() -> Result<(), srtp_err_status_t>) -> srtp_err_status_t {
    catch_unwind(AssertUnwindSafe(work)).map_or(srtp_err_status_fail, status)
}

/// Reads a list of policies whole before anything is done with the first.
///
/// # Safety
/// `policy` is NULL or begins a list of policies as `srtp_policy_t` describes them.
unsafe fn read_all(mut policy: *const srtp_policy_t) -> Result<Vec<Policy>, srtp_err_status_t> {
    let mut found = Vec::new();
    // SAFETY: the caller's word, which also holds for the next of the list.
    while let Some(one) = unsafe { policy.as_ref() } {
        // SAFETY: the same.
        found.push(unsafe { read(one) }?);
        policy = one.next;
    }
    Ok(found)
}

/// # Safety
/// `policy` is as `srtp_policy_t` describes it.
unsafe fn read(policy: &srtp_policy_t) -> Result<Policy, srtp_err_status_t> {
    // SAFETY: the caller's word.
    unsafe { policy::read(policy) }.map_err(|why| {
        log(srtp_log_level_t::srtp_log_level_error, &format!("srtp: policy refused: {why}"));
        srtp_err_status_bad_param
    })
}

/// # Safety
/// `session` is NULL or a live session that no other thread uses.
unsafe fn session<'s>(session: srtp_t) -> Result<&'s mut Session, srtp_err_status_t> {
    // SAFETY: the caller's word.
    unsafe { session.as_mut() }.map(|ctx| &mut ctx.session).ok_or(srtp_err_status_bad_param)
}

/// Finds a kernel that passes its self-test; `srtp_err_status_algo_fail` if there is none. Without this call
/// the first session does it.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_init() -> srtp_err_status_t {
    guarded(|| selected_kernel().map(drop).map_err(|_| srtp_err_status_algo_fail))
}

/// Does nothing: there is nothing to give back.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_shutdown() -> srtp_err_status_t {
    srtp_err_status_ok
}

/// Makes a session with the streams of a list of policies, which may be empty (NULL).
///
/// # Safety
/// `session` is NULL or has room for a handle; `policy` is NULL or begins a list of policies.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_create(
    session: *mut srtp_t,
    policy: *const srtp_policy_t,
) -> srtp_err_status_t {
    guarded(|| {
        if session.is_null() {
            return Err(srtp_err_status_bad_param);
        }
        // SAFETY: not NULL; a failed call leaves NULL.
        unsafe { session.write(std::ptr::null_mut()) };
        let mut made = Session::default();
        // SAFETY: the caller's word.
        for policy in unsafe { read_all(policy) }? {
            made.add(&policy)?;
        }
        let ctx = Box::new(srtp_ctx_t { session: made, user_data: std::ptr::null_mut() });
        // SAFETY: not NULL.
        unsafe { session.write(Box::into_raw(ctx)) };
        Ok(())
    })
}

/// Ends a session.
///
/// # Safety
/// `s` is NULL or a session of [`srtp_create`], which is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_dealloc(s: srtp_t) -> srtp_err_status_t {
    guarded(|| {
        if s.is_null() {
            return Err(srtp_err_status_bad_param);
        }
        // SAFETY: it came out of a box in `srtp_create`.
        drop(unsafe { Box::from_raw(s) });
        Ok(())
    })
}

/// Adds the stream of a policy, or what streams without one are made of.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `policy` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_add_stream(session: srtp_t, policy: *const srtp_policy_t) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(session) }?;
        // SAFETY: the caller's word.
        let policy = unsafe { policy.as_ref() }.ok_or(srtp_err_status_bad_param)?;
        // SAFETY: the caller's word.
        session.add(&unsafe { read(policy) }?)
    })
}

/// Removes a stream. The SSRC is in network order, as libsrtp 2 has it.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_remove_stream(session: srtp_t, ssrc: c_uint) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    guarded(|| unsafe { self::session(session) }?.remove(u32::from_be(ssrc)))
}

/// Gives the streams of a list of policies other keys. Rollover counters, and what was received and sent, stay.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `policy` begins a list of policies.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_update(session: srtp_t, policy: *const srtp_policy_t) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(session) }?;
        // SAFETY: the caller's word.
        let policies = unsafe { read_all(policy) }?;
        if policies.is_empty() {
            return Err(srtp_err_status_bad_param);
        }
        policies.iter().try_for_each(|policy| session.update(policy))
    })
}

/// Gives one stream, or all that have no policy of their own, other keys.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `policy` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_update_stream(
    session: srtp_t,
    policy: *const srtp_policy_t,
) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(session) }?;
        // SAFETY: the caller's word.
        let policy = unsafe { policy.as_ref() }.ok_or(srtp_err_status_bad_param)?;
        // SAFETY: the caller's word.
        session.update(&unsafe { read(policy) }?)
    })
}

/// A packet as the program hands it over.
struct Packet {
    at: *mut u8,
    len: usize,
    ssrc: u32,
}

/// # Safety
/// `packet` points to `*len` octets.
unsafe fn packet(packet: *mut c_void, len: *mut c_int, kind: Kind) -> Result<Packet, srtp_err_status_t> {
    let at = packet.cast::<u8>();
    // SAFETY: the caller's word, if it is not NULL.
    let len = unsafe { len.as_ref() }.and_then(|len| usize::try_from(*len).ok());
    let ssrc_at = if kind == Kind::Rtp { 8 } else { 4 };
    let len = len.filter(|len| !at.is_null() && *len >= ssrc_at + 4).ok_or(srtp_err_status_bad_param)?;
    // SAFETY: the packet is at least so long.
    let ssrc = unsafe { at.add(ssrc_at).cast::<[u8; 4]>().read() };
    Ok(Packet { at, len, ssrc: u32::from_be_bytes(ssrc) })
}

/// Tells of events when nothing of the session is borrowed: a handler may use it.
fn tell_all(session: srtp_t, ssrc: u32, events: Events) {
    for event in events {
        tell(session, ssrc, event);
    }
}

/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `at` points to `*len` octets and room for what is added.
unsafe fn protect(
    ctx: srtp_t,
    at: *mut c_void,
    len: *mut c_int,
    kind: Kind,
    mki: Option<c_uint>,
) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(ctx) }?;
        // SAFETY: the caller's word.
        let Packet { at, len: before, ssrc } = unsafe { packet(at, len, kind) }?;
        let stream = session.sending(ssrc)?;
        let mki = mki.map(|number| number as usize);
        let added = stream.crypto().overhead(kind, mki).ok_or(srtp_err_status_bad_mki)?;
        let mut events = Events::new();
        // SAFETY: the caller says that there is room for what this stream adds.
        let buffer = unsafe { from_raw_parts_mut(at, before + added) };
        let after = stream.protect(kind, buffer, before, mki, &mut events);
        tell_all(ctx, ssrc, events);
        let after = c_int::try_from(after?).map_err(|_| srtp_err_status_bad_param)?;
        // SAFETY: it was read above.
        unsafe { len.write(after) };
        Ok(())
    })
}

/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `at` points to `*len` octets.
unsafe fn unprotect(
    ctx: srtp_t,
    at: *mut c_void,
    len: *mut c_int,
    kind: Kind,
    mki: bool,
) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(ctx) }?;
        // SAFETY: the caller's word.
        let Packet { at, len: before, ssrc } = unsafe { packet(at, len, kind) }?;
        let mut events = Events::new();
        // SAFETY: the caller's word.
        let buffer = unsafe { from_raw_parts_mut(at, before) };
        let after = session.unprotect(ssrc, kind, buffer, mki, &mut events);
        tell_all(ctx, ssrc, events);
        let after = c_int::try_from(after?).map_err(|_| srtp_err_status_bad_param)?;
        // SAFETY: it was read above.
        unsafe { len.write(after) };
        Ok(())
    })
}

/// Protects an RTP packet in place under the first key, without an MKI.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `rtp_hdr` points to `*len_ptr` octets and room for
/// `srtp_get_protect_trailer_length` more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_protect(
    ctx: srtp_t,
    rtp_hdr: *mut c_void,
    len_ptr: *mut c_int,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { protect(ctx, rtp_hdr, len_ptr, Kind::Rtp, None) }
}

/// Protects an RTP packet in place under the key of number `mki_index`, with its MKI, if `use_mki` is not 0.
///
/// # Safety
/// As [`srtp_protect`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_protect_mki(
    ctx: srtp_t,
    rtp_hdr: *mut c_void,
    pkt_octet_len: *mut c_int,
    use_mki: c_uint,
    mki_index: c_uint,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { protect(ctx, rtp_hdr, pkt_octet_len, Kind::Rtp, (use_mki != 0).then_some(mki_index)) }
}

/// Unprotects an SRTP packet in place, which carries no MKI.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `srtp_hdr` points to `*len_ptr` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_unprotect(
    ctx: srtp_t,
    srtp_hdr: *mut c_void,
    len_ptr: *mut c_int,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { unprotect(ctx, srtp_hdr, len_ptr, Kind::Rtp, false) }
}

/// Unprotects an SRTP packet in place, which carries an MKI if `use_mki` is not 0.
///
/// # Safety
/// As [`srtp_unprotect`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_unprotect_mki(
    ctx: srtp_t,
    srtp_hdr: *mut c_void,
    len_ptr: *mut c_int,
    use_mki: c_uint,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { unprotect(ctx, srtp_hdr, len_ptr, Kind::Rtp, use_mki != 0) }
}

/// Protects an RTCP packet in place under the first key, without an MKI.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `rtcp_hdr` points to `*pkt_octet_len` octets and room
/// for `srtp_get_protect_rtcp_trailer_length` more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_protect_rtcp(
    ctx: srtp_t,
    rtcp_hdr: *mut c_void,
    pkt_octet_len: *mut c_int,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { protect(ctx, rtcp_hdr, pkt_octet_len, Kind::Rtcp, None) }
}

/// Protects an RTCP packet in place under the key of number `mki_index`, with its MKI, if `use_mki` is not 0.
///
/// # Safety
/// As [`srtp_protect_rtcp`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_protect_rtcp_mki(
    ctx: srtp_t,
    rtcp_hdr: *mut c_void,
    pkt_octet_len: *mut c_int,
    use_mki: c_uint,
    mki_index: c_uint,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { protect(ctx, rtcp_hdr, pkt_octet_len, Kind::Rtcp, (use_mki != 0).then_some(mki_index)) }
}

/// Unprotects an SRTCP packet in place, which carries no MKI.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread uses; `srtcp_hdr` points to `*pkt_octet_len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_unprotect_rtcp(
    ctx: srtp_t,
    srtcp_hdr: *mut c_void,
    pkt_octet_len: *mut c_int,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { unprotect(ctx, srtcp_hdr, pkt_octet_len, Kind::Rtcp, false) }
}

/// Unprotects an SRTCP packet in place, which carries an MKI if `use_mki` is not 0.
///
/// # Safety
/// As [`srtp_unprotect_rtcp`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_unprotect_rtcp_mki(
    ctx: srtp_t,
    srtcp_hdr: *mut c_void,
    pkt_octet_len: *mut c_int,
    use_mki: c_uint,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { unprotect(ctx, srtcp_hdr, pkt_octet_len, Kind::Rtcp, use_mki != 0) }
}

/// Gives the session something of the program's to keep.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_set_user_data(ctx: srtp_t, data: *mut c_void) {
    // SAFETY: the caller's word.
    if let Some(ctx) = unsafe { ctx.as_mut() } {
        ctx.user_data = data;
    }
}

/// What the session was given to keep; NULL if nothing.
///
/// # Safety
/// `ctx` is NULL or a session that no other thread changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_get_user_data(ctx: srtp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { ctx.as_ref() }.map_or(std::ptr::null_mut(), |ctx| ctx.user_data)
}

/// # Safety
/// `session` is NULL or a session that no other thread uses; `length` is NULL or has room.
unsafe fn trailer(
    session: srtp_t,
    use_mki: u32,
    mki_index: u32,
    length: *mut u32,
    kind: Kind,
) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let session = unsafe { self::session(session) }?;
        let mki = (use_mki != 0).then_some(mki_index as usize);
        let found = session.overhead(kind, mki)? as u32;
        // SAFETY: the caller's word.
        let length = unsafe { length.as_mut() }.ok_or(srtp_err_status_bad_param)?;
        *length = found;
        Ok(())
    })
}

/// Most octets that protecting an RTP packet of this session adds.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `length` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_get_protect_trailer_length(
    session: srtp_t,
    use_mki: u32,
    mki_index: u32,
    length: *mut u32,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { trailer(session, use_mki, mki_index, length, Kind::Rtp) }
}

/// Most octets that protecting an RTCP packet of this session adds.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `length` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_get_protect_rtcp_trailer_length(
    session: srtp_t,
    use_mki: u32,
    mki_index: u32,
    length: *mut u32,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { trailer(session, use_mki, mki_index, length, Kind::Rtcp) }
}

/// Says which rollover counter the next RTP packet of a stream has; the SSRC is in host order.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_set_stream_roc(session: srtp_t, ssrc: u32, roc: u32) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    guarded(|| unsafe { self::session(session) }?.stream(ssrc).map(|stream| stream.set_roc(roc)))
}

/// The rollover counter of a stream; the SSRC is in host order.
///
/// # Safety
/// `session` is NULL or a session that no other thread uses; `roc` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_get_stream_roc(session: srtp_t, ssrc: u32, roc: *mut u32) -> srtp_err_status_t {
    guarded(|| {
        // SAFETY: the caller's word.
        let found = unsafe { self::session(session) }?.stream(ssrc)?.roc();
        // SAFETY: the caller's word.
        *unsafe { roc.as_mut() }.ok_or(srtp_err_status_bad_param)? = found;
        Ok(())
    })
}

/// Name and version of this library.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_get_version_string() -> *const c_char {
    concat!("libsluice_srtp2 ", env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of libsrtp whose interface this is, as libsrtp writes it: 2.5.0.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_get_version() -> c_uint {
    0x0205_0000
}

/// There are no debug modules: messages go to the log handler.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_set_debug_module(_mod_name: *const c_char, _v: c_int) -> srtp_err_status_t {
    srtp_err_status_fail
}

/// There are no debug modules.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_list_debug_modules() -> srtp_err_status_t {
    srtp_err_status_ok
}
