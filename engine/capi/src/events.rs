//! Handlers that the program installs, for all sessions.

use std::ffi::{CString, c_void};
use std::sync::RwLock;

use crate::types::srtp_err_status_t::{self, srtp_err_status_ok};
use crate::types::{
    srtp_event_data_t, srtp_event_handler_func_t, srtp_event_t, srtp_log_handler_func_t, srtp_log_level_t,
    srtp_t,
};

static EVENT: RwLock<srtp_event_handler_func_t> = RwLock::new(None);
static LOG: RwLock<(srtp_log_handler_func_t, Data)> = RwLock::new((None, Data(std::ptr::null_mut())));

/// What the program wants back with each message.
#[derive(Clone, Copy)]
struct Data(*mut c_void);
// SAFETY: it is never followed here, only handed back to the handler it was given with.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

/// Installs what is told of events; NULL for nothing. Until then they are written to the log handler.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_install_event_handler(func: srtp_event_handler_func_t) -> srtp_err_status_t {
    *EVENT.write().unwrap_or_else(std::sync::PoisonError::into_inner) = func;
    srtp_err_status_ok
}

/// Installs what is given messages, with what it wants back; NULL for nothing.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_install_log_handler(
    func: srtp_log_handler_func_t,
    data: *mut c_void,
) -> srtp_err_status_t {
    *LOG.write().unwrap_or_else(std::sync::PoisonError::into_inner) = (func, Data(data));
    srtp_err_status_ok
}

/// Tells of an event. No lock is held while the handler runs: it may install another.
pub(crate) fn tell(session: srtp_t, ssrc: u32, event: srtp_event_t) {
    let handler = *EVENT.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handler) = handler {
        let mut data = srtp_event_data_t { session, ssrc, event };
        // SAFETY: the program vouches for its handler; the data live through the call.
        unsafe { handler(&raw mut data) };
        return;
    }
    let what = match event {
        srtp_event_t::event_ssrc_collision => "is both sent and received",
        srtp_event_t::event_key_soft_limit => "will run out of its key soon: install another",
        srtp_event_t::event_key_hard_limit => "has run out of its key: install another",
        srtp_event_t::event_packet_index_limit => "has had 2^48 packets: use another SSRC",
    };
    log(srtp_log_level_t::srtp_log_level_warning, &format!("srtp: stream {ssrc:#010x} {what}"));
}

/// Gives the log handler a message, which never has a secret in it.
pub(crate) fn log(level: srtp_log_level_t, message: &str) {
    let (handler, data) = *LOG.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handler) = handler
        && let Ok(message) = CString::new(message)
    {
        // SAFETY: the program vouches for its handler; the message lives through the call.
        unsafe { handler(level, message.as_ptr(), data.0) };
    }
}
