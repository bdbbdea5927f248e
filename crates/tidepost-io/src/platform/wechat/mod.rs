//! WeChat mini-programs (platforms.md A and B).
//!
//! `callback` reads what WeChat posts to us, `crypto` checks and opens it, `client` calls WeChat, `classify` says what an
//! error code means. `document` is the one reader of WeChat's XML and JSON, `wire` holds the bodies we post.

pub mod callback;
pub mod classify;
pub mod client;
pub mod crypto;
mod document;
mod wire;

#[cfg(test)]
mod vectors;
