//! Session descriptions, crypto lines and key management messages as peers write them, and as attackers do.

mod attributes;
mod hostile;
mod keymgmt;
mod model;
mod properties;
mod sdes;
mod sdes_answer;
mod sdes_keys;

/// RFC 8866 section 5's example, with what the other tests want of a call.
const CALL: &str = "v=0\r\n\
    o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n\
    s=Call to John Smith\r\n\
    i=SDP Offer #1\r\n\
    u=http://www.jdoe.example.com/home.html\r\n\
    e=Jane Doe <jane@jdoe.example.com>\r\n\
    p=+1 617 555-6011\r\n\
    c=IN IP4 198.51.100.1\r\n\
    t=0 0\r\n\
    a=x-session:kept\r\n\
    m=audio 49170 RTP/SAVP 0 96\r\n\
    a=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\n\
    a=sendrecv\r\n\
    m=audio 49180 RTP/AVP 0\r\n\
    m=video 51372/2 RTP/AVPF 99\r\n\
    c=IN IP6 2001:db8::2\r\n\
    a=rtpmap:99 h263-1998/90000\r\n\
    a=recvonly\r\n";
