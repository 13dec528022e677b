//! Sessions that a client resumes.

use foreign_types_shared::ForeignTypeRef as _;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContext, SslRef, SslSession};

/// A session with the context that it was made in: OpenSSL takes it back in that one alone.
#[derive(Clone)]
pub struct Resumable {
    context: SslContext,
    session: SslSession,
}

/// Why a session is not resumed.
#[derive(Debug)]
pub enum Stranger {
    /// It was made in another context.
    Context,
    /// OpenSSL does not take it.
    Refused(ErrorStack),
}

impl Resumable {
    /// The session of a connection, if it has one. There is something to resume once its handshake is through.
    pub fn of(ssl: &SslRef) -> Option<Self> {
        let session = ssl.session()?.to_owned();
        Some(Self { context: ssl.ssl_context().to_owned(), session })
    }

    /// Offers it to the server of a connection whose handshake has not begun. A server that does not know it makes another.
    ///
    /// # Errors
    /// [`Stranger`] if the connection is of another context, or OpenSSL refuses.
    pub fn resume(&self, ssl: &mut SslRef) -> Result<(), Stranger> {
        if ssl.ssl_context().as_ptr() != self.context.as_ptr() {
            return Err(Stranger::Context);
        }
        // SAFETY: the session is of the connection's context, which is all that is asked: `of` took both from one
        // connection, the context lives on with this value, so that its address is no other's, and the two were just
        // compared.
        unsafe { ssl.set_session(&self.session) }.map_err(Stranger::Refused)
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::{Ssl, SslMethod};

    use super::*;

    fn context() -> SslContext {
        SslContext::builder(SslMethod::dtls()).unwrap().build()
    }

    #[test]
    fn a_connection_without_a_handshake_has_nothing_to_resume() {
        assert!(Resumable::of(&Ssl::new(&context()).unwrap()).is_none());
    }
}
