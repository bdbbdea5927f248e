//! SHA-256 over parts that cannot run into each other.

use sha2::{Digest, Sha256};

/// The digest of `parts`, each preceded by its length.
#[must_use]
pub fn of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first 8 bytes of the digest of `parts`: enough to tell one person's events apart.
#[must_use]
pub fn short(parts: &[&[u8]]) -> [u8; 8] {
    of(parts).first_chunk::<8>().copied().unwrap_or_default()
}
