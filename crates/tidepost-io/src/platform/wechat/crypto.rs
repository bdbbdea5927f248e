//! Signatures and encryption of WeChat's callbacks (platforms.md B1 and B2). Pure functions.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};
use std::fmt::{self, Write as _};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The key's text carries 258 bits of which the last two count for nothing: a strict decoder fails on real keys (B2).
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Characters of an `EncodingAESKey` (B).
const KEY_CHARACTERS: usize = 43;
/// The padding's block, twice that of AES (B2).
const PADDING_BLOCK_BYTES: usize = 32;
/// The cipher's block.
const CIPHER_BLOCK_BYTES: usize = 16;
/// Random bytes before the message (B2).
pub const RANDOM_BYTES: usize = 16;

/// An `EncodingAESKey`, decoded. Prints nothing of itself.
#[derive(Clone)]
pub struct AesKey([u8; 32]);

/// The text is not an `EncodingAESKey`: 43 characters of base64 (platforms.md B).
#[derive(Debug, Error)]
#[error("an EncodingAESKey has 43 characters of base64")]
pub struct BadAesKey;

/// Why a ciphertext was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecryptError {
    /// Not base64, not whole blocks, or what comes out is not a padded WeChat message.
    #[error("the ciphertext is not a WeChat message under this key")]
    BadCiphertext,
    /// Well-formed, but meant for another app.
    #[error("the message is for another app id")]
    WrongAppId,
}

impl AesKey {
    /// Decodes the 43 characters of WeChat's console.
    ///
    /// # Errors
    /// [`BadAesKey`] when the text has another length or alphabet.
    pub fn parse(text: &str) -> Result<Self, BadAesKey> {
        if text.len() != KEY_CHARACTERS {
            return Err(BadAesKey);
        }
        let bytes = BASE64.decode(format!("{text}=")).map_err(|_| BadAesKey)?;
        bytes.try_into().map(Self).map_err(|_| BadAesKey)
    }

    /// The initialisation vector is the key's first half (B2).
    fn vector(&self) -> [u8; CIPHER_BLOCK_BYTES] {
        let mut vector = [0; CIPHER_BLOCK_BYTES];
        vector.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        vector
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesKey(…)")
    }
}

/// SHA-1 in lower-case hex over the parts sorted by their bytes: of token, timestamp and nonce for `signature` (B1), and
/// the `Encrypt` text as well for `msg_signature` (B2).
#[must_use]
pub fn signature<const N: usize>(mut parts: [&str; N]) -> String {
    parts.sort_unstable();
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().fold(String::with_capacity(40), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether `given` is the signature of `parts`, in a time that does not tell how much of it is right.
#[must_use]
pub fn is_signed<const N: usize>(given: &str, parts: [&str; N]) -> bool {
    signature(parts).as_bytes().ct_eq(given.as_bytes()).into()
}

/// The message inside an `Encrypt` text (B2). The caller has verified `msg_signature` before.
///
/// # Errors
/// See [`DecryptError`].
pub fn decrypt(encrypt: &str, key: &AesKey, app_id: &str) -> Result<Vec<u8>, DecryptError> {
    let padded = decrypt_blocks(encrypt, key).ok_or(DecryptError::BadCiphertext)?;
    let (message, trailing) = open(&padded).ok_or(DecryptError::BadCiphertext)?;
    if trailing != app_id.as_bytes() {
        return Err(DecryptError::WrongAppId);
    }
    Ok(message.to_vec())
}

/// The `Encrypt` text of a message, for an encrypted answer (B2). `random` makes equal messages differ.
#[must_use]
pub fn encrypt(message: &[u8], key: &AesKey, app_id: &str, random: [u8; RANDOM_BYTES]) -> String {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut plain = [&random[..], &length.to_be_bytes(), message, app_id.as_bytes()].concat();
    let padding = PADDING_BLOCK_BYTES - plain.len() % PADDING_BLOCK_BYTES;
    plain.resize(plain.len() + padding, u8::try_from(padding).unwrap_or_default());
    let cipher = cbc::Encryptor::<Aes256>::new(&key.0.into(), &key.vector().into());
    BASE64.encode(cipher.encrypt_padded_vec_mut::<NoPadding>(&plain))
}

fn decrypt_blocks(encrypt: &str, key: &AesKey) -> Option<Vec<u8>> {
    let blocks = BASE64.decode(encrypt).ok()?;
    if blocks.is_empty() || blocks.len() % CIPHER_BLOCK_BYTES != 0 {
        return None;
    }
    let cipher = cbc::Decryptor::<Aes256>::new(&key.0.into(), &key.vector().into());
    cipher.decrypt_padded_vec_mut::<NoPadding>(&blocks).ok()
}

/// Splits 16 random bytes ‖ length ‖ message ‖ app id ‖ padding into message and app id.
fn open(padded: &[u8]) -> Option<(&[u8], &[u8])> {
    let plain = unpad(padded)?;
    let (_, rest) = plain.split_at_checked(RANDOM_BYTES)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Drops the padding: 1 to 32 bytes that all hold their own number (B2).
fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let last = *padded.last()?;
    let length = usize::from(last);
    if !(1..=PADDING_BLOCK_BYTES).contains(&length) {
        return None;
    }
    let (plain, padding) = padded.split_at_checked(padded.len().checked_sub(length)?)?;
    padding.iter().all(|byte| *byte == last).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::wechat::vectors::{Encrypted, Vectors};

    fn negative(name: &str) -> (Encrypted, String) {
        let vectors = Vectors::read();
        let negative = vectors.negative.iter().find(|negative| negative.name == name).unwrap();
        let mut vector = vectors.encrypted.first().unwrap().clone();
        assert_eq!(negative.based_on.as_deref().unwrap_or(&vector.name), vector.name);
        vector.msg_signature = negative.msg_signature.clone().unwrap_or(vector.msg_signature);
        vector.appid = negative.appid.clone().unwrap_or(vector.appid);
        vector.encoding_aes_key = negative.encoding_aes_key.clone().unwrap_or(vector.encoding_aes_key);
        vector.encrypt = negative.encrypt.clone().unwrap_or(vector.encrypt);
        (vector, negative.expect.clone())
    }

    fn is_message_signed(vector: &Encrypted) -> bool {
        is_signed(&vector.msg_signature, [&vector.token, &vector.timestamp, &vector.nonce, &vector.encrypt])
    }

    #[test]
    fn url_signatures_of_the_vectors() {
        let vectors = Vectors::read();
        assert_eq!(vectors.url_signature.len(), 3);
        for vector in vectors.url_signature {
            let parts = [vector.token.as_str(), &vector.timestamp, &vector.nonce];
            assert_eq!(signature(parts), vector.signature, "{}", vector.name);
            assert!(is_signed(&vector.signature, parts));
        }
    }

    #[test]
    fn message_signature_of_the_vector_without_key() {
        let vectors = Vectors::read();
        assert_eq!(vectors.msg_signature_only.len(), 1);
        for vector in vectors.msg_signature_only {
            let parts = [vector.token.as_str(), &vector.timestamp, &vector.nonce, &vector.encrypt];
            assert_eq!(signature(parts), vector.msg_signature, "{}", vector.name);
        }
    }

    #[test]
    fn encrypted_vectors_open_and_close() {
        let vectors = Vectors::read();
        assert_eq!(vectors.encrypted.len(), 17);
        for vector in vectors.encrypted {
            assert!(is_message_signed(&vector), "{}", vector.name);
            let key = AesKey::parse(&vector.encoding_aes_key).unwrap();
            let message = decrypt(&vector.encrypt, &key, &vector.appid).unwrap();
            assert_eq!(String::from_utf8(message).unwrap(), vector.plaintext, "{}", vector.name);
            let padded = decrypt_blocks(&vector.encrypt, &key).unwrap();
            assert_eq!(usize::from(*padded.last().unwrap()), vector.pad_len, "{}", vector.name);
            assert_eq!(padded.len(), vector.padded_len, "{}", vector.name);
            let closed = encrypt(vector.plaintext.as_bytes(), &key, &vector.appid, vector.random());
            assert_eq!(closed, vector.encrypt, "{}", vector.name);
        }
    }

    #[test]
    fn negative_vectors_are_refused() {
        assert_eq!(Vectors::read().negative.len(), 5);
        for name in ["wrong_msg_signature", "url_signature_used_instead", "truncated_ciphertext"] {
            let (vector, expect) = negative(name);
            assert!(!is_message_signed(&vector), "{name}: {expect}");
        }
        let (truncated, expect) = negative("truncated_ciphertext");
        let key = AesKey::parse(&truncated.encoding_aes_key).unwrap();
        let refused = decrypt(&truncated.encrypt, &key, &truncated.appid);
        assert_eq!(refused.unwrap_err(), DecryptError::BadCiphertext, "{expect}");
        let (other, expect) = negative("wrong_appid");
        assert!(is_message_signed(&other));
        assert_eq!(decrypt(&other.encrypt, &key, &other.appid).unwrap_err(), DecryptError::WrongAppId, "{expect}");
        let (short, expect) = negative("bad_aes_key_length");
        assert!(AesKey::parse(&short.encoding_aes_key).is_err(), "{expect}");
    }

    #[test]
    fn keys_with_trailing_bits_are_accepted_and_other_texts_refused() {
        let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
        assert!(AesKey::parse(key).is_ok(), "G leaves two bits set");
        assert_eq!(format!("{:?}", AesKey::parse(key).unwrap()), "AesKey(…)");
        for bad in ["", &key[1..], &format!("{key}="), &key.replace('a', "!"), &key.replace('a', "é")] {
            assert!(AesKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_flipped_bit_never_opens_as_the_same_message() {
        let vector = Vectors::read().encrypted.remove(0);
        let key = AesKey::parse(&vector.encoding_aes_key).unwrap();
        let cipher = BASE64.decode(&vector.encrypt).unwrap();
        for at in 0..cipher.len() {
            let mut tampered = cipher.clone();
            tampered[at] ^= 1;
            let text = BASE64.encode(tampered);
            assert!(!is_signed(&vector.msg_signature, [&vector.token, &vector.timestamp, &vector.nonce, &text]));
            // Without the signature CBC itself would let the random bytes be changed, nothing else.
            let opened = decrypt(&text, &key, &vector.appid);
            assert!(at < RANDOM_BYTES || opened.ok().as_deref() != Some(vector.plaintext.as_bytes()), "byte {at}");
        }
    }

    #[test]
    fn malformed_insides_are_bad_ciphertext() {
        let key = AesKey([7; 32]);
        let close = |plain: &[u8]| {
            let cipher = cbc::Encryptor::<Aes256>::new(&key.0.into(), &key.vector().into());
            BASE64.encode(cipher.encrypt_padded_vec_mut::<NoPadding>(plain))
        };
        let mut length_too_large = vec![0_u8; 31];
        length_too_large.extend([1]);
        length_too_large[16..20].copy_from_slice(&12_u32.to_be_bytes());
        let mut length_huge = length_too_large.clone();
        length_huge[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        let cases: [(&str, String); 8] = [
            ("empty", String::new()),
            ("not base64", "****".to_owned()),
            ("half a block", BASE64.encode([0; 8])),
            ("padding 0", close(&[0; 32])),
            ("padding 33", close(&[33; 64])),
            ("padding longer than the text", close(&[32; 16])),
            ("length past the end", close(&length_too_large)),
            ("length past any end", close(&length_huge)),
        ];
        for (name, text) in cases {
            assert_eq!(decrypt(&text, &key, "wx").unwrap_err(), DecryptError::BadCiphertext, "{name}");
        }
        let mut uneven = vec![2_u8; 32];
        uneven[30] = 1;
        assert_eq!(decrypt(&close(&uneven), &key, "wx").unwrap_err(), DecryptError::BadCiphertext);
    }
}
