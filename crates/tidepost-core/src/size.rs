//! How large a value is in storage.

use serde::Serialize;

/// The size of a value in an item, in bytes. Items say what they say as MessagePack with names.
#[must_use]
pub fn size_bytes(value: &impl Serialize) -> usize {
    // What cannot be written is too large for anything.
    rmp_serde::to_vec_named(value).map_or(usize::MAX, |written| written.len())
}
