//! Identities from end to end: who signs, with certificates as a deployment has them, and who verifies.

mod certificates;
mod forgeries;
mod openssl;
mod signing;
mod site;
