//! Signing and encrypting of WeChat's message push, as the platform does it.
//!
//! Decrypting is here too: it lets a test prove the vectors both ways, and read what was pushed without using the
//! client's code.

use aes::Aes256;
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use sha1::{Digest, Sha1};

/// The padding's block, twice the cipher's own.
const PADDING_BLOCK_BYTES: usize = 32;
/// Random bytes and length in front of the message.
const HEADER_BYTES: usize = 20;

/// Why a key or a ciphertext was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The EncodingAESKey is not 43 characters of base64.
    #[error("the EncodingAESKey must be 43 base64 characters")]
    Key,
    /// The signature is not the one of these inputs.
    #[error("the signature does not match")]
    Signature,
    /// Not base64, or not whole cipher blocks.
    #[error("the ciphertext is not base64 of whole blocks")]
    Ciphertext,
    /// The padding is broken: a wrong key or a changed ciphertext.
    #[error("the padding is broken")]
    Padding,
    /// The length field points outside the plaintext.
    #[error("the length field is broken")]
    Length,
    /// Encrypted for another app.
    #[error("the message is for another app")]
    AppId,
}

/// The 32 bytes behind an EncodingAESKey.
#[derive(Clone)]
pub struct AesKey([u8; 32]);

impl AesKey {
    /// Decodes the 43 characters. The last one carries 2 bits too many, which the platform ignores.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the text is not 43 base64 characters.
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        if text.len() != 43 {
            return Err(CryptoError::Key);
        }
        let lenient = GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
        let bytes = lenient.decode(format!("{text}=")).map_err(|_| CryptoError::Key)?;
        bytes.try_into().map(Self).map_err(|_| CryptoError::Key)
    }

    fn iv(&self) -> [u8; 16] {
        let mut iv = [0; 16];
        iv.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        iv
    }
}

/// Lower-case hex of SHA-1 over the byte-wise sorted parts: 3 parts for `signature`, 4 for `msg_signature`.
#[must_use]
pub fn signature<const N: usize>(mut parts: [&str; N]) -> String {
    parts.sort_unstable();
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encrypts `message` for `app_id`; `random` fills the first 16 bytes.
#[must_use]
pub fn encrypt(key: &AesKey, app_id: &str, message: &str, random: [u8; 16]) -> String {
    let mut plain = Vec::with_capacity(HEADER_BYTES + message.len() + app_id.len() + PADDING_BLOCK_BYTES);
    plain.extend_from_slice(&random);
    // A message is at most a request body, far below 4 GiB; saturating keeps the function total.
    plain.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    plain.extend_from_slice(message.as_bytes());
    plain.extend_from_slice(app_id.as_bytes());
    let pad = PADDING_BLOCK_BYTES - plain.len() % PADDING_BLOCK_BYTES;
    plain.extend(std::iter::repeat_n(u8::try_from(pad).unwrap_or(0), pad));
    let cipher = cbc::Encryptor::<Aes256>::new(&key.0.into(), &key.iv().into());
    STANDARD.encode(cipher.encrypt_padded_vec_mut::<NoPadding>(&plain))
}

/// Checks `msg_signature` and returns the message meant for `app_id`.
///
/// # Errors
/// Any [`CryptoError`]: a forged, damaged or misdirected message is refused as a whole.
pub fn open(
    key: &AesKey,
    app_id: &str,
    [token, timestamp, nonce]: [&str; 3],
    encrypted: &str,
    msg_signature: &str,
) -> Result<String, CryptoError> {
    if signature([token, timestamp, nonce, encrypted]) != msg_signature {
        return Err(CryptoError::Signature);
    }
    let cipher = STANDARD.decode(encrypted).map_err(|_| CryptoError::Ciphertext)?;
    if cipher.is_empty() {
        return Err(CryptoError::Ciphertext);
    }
    let plain = cbc::Decryptor::<Aes256>::new(&key.0.into(), &key.iv().into())
        .decrypt_padded_vec_mut::<NoPadding>(&cipher)
        .map_err(|_| CryptoError::Ciphertext)?;
    let plain = unpad(&plain)?;
    let length_bytes =
        plain.get(16..HEADER_BYTES).and_then(|b| <[u8; 4]>::try_from(b).ok()).ok_or(CryptoError::Length)?;
    let length = usize::try_from(u32::from_be_bytes(length_bytes)).map_err(|_| CryptoError::Length)?;
    let end = HEADER_BYTES.checked_add(length).ok_or(CryptoError::Length)?;
    let message = plain.get(HEADER_BYTES..end).ok_or(CryptoError::Length)?;
    if plain.get(end..) != Some(app_id.as_bytes()) {
        return Err(CryptoError::AppId);
    }
    String::from_utf8(message.to_vec()).map_err(|_| CryptoError::Length)
}

fn unpad(plain: &[u8]) -> Result<&[u8], CryptoError> {
    let pad = plain.last().copied().ok_or(CryptoError::Padding)?;
    let count = usize::from(pad);
    if count == 0 || count > PADDING_BLOCK_BYTES || count > plain.len() {
        return Err(CryptoError::Padding);
    }
    let (kept, padding) = plain.split_at(plain.len() - count);
    if padding.iter().all(|byte| *byte == pad) { Ok(kept) } else { Err(CryptoError::Padding) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../../tests/fixtures/wechat_crypto_vectors.json")).unwrap()
    }

    fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap_or_else(|| panic!("{name} of {vector}"))
    }

    fn query(vector: &Value) -> [&str; 3] {
        [text(vector, "token"), text(vector, "timestamp"), text(vector, "nonce")]
    }

    #[test]
    fn url_signatures_match() {
        let all = vectors();
        let list = all["url_signature"].as_array().unwrap();
        assert_eq!(list.len(), 3);
        for vector in list {
            assert_eq!(signature(query(vector)), text(vector, "signature"), "{}", vector["name"]);
        }
        let only = match &all["msg_signature_only"] {
            Value::Array(list) => list[0].clone(),
            single => single.clone(),
        };
        let [token, timestamp, nonce] = query(&only);
        assert_eq!(signature([token, timestamp, nonce, text(&only, "encrypt")]), text(&only, "msg_signature"));
    }

    #[test]
    fn encrypted_vectors_open_and_are_reproduced_bit_for_bit() {
        let all = vectors();
        let list = all["encrypted"].as_array().unwrap();
        assert!(list.len() >= 16, "{}", list.len());
        for vector in list {
            let key = AesKey::parse(text(vector, "encoding_aes_key")).unwrap();
            let app_id = text(vector, "trailing_appid");
            let opened = open(&key, app_id, query(vector), text(vector, "encrypt"), text(vector, "msg_signature"));
            assert_eq!(opened.as_deref(), Ok(text(vector, "plaintext")), "{}", vector["name"]);
            let hex = text(vector, "random16_hex");
            let random: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
            let sealed = encrypt(&key, app_id, text(vector, "plaintext"), random.try_into().unwrap());
            assert_eq!(sealed, text(vector, "encrypt"), "{}", vector["name"]);
        }
    }

    #[test]
    fn negative_vectors_are_refused() {
        let all = vectors();
        let list = all["negative"].as_array().unwrap();
        assert_eq!(list.len(), 5);
        for negative in list {
            let base = all["encrypted"].as_array().unwrap().iter().find(|v| v["name"] == negative["based_on"]);
            let of = |name: &str| {
                negative
                    .get(name)
                    .or_else(|| base.and_then(|b| b.get(name)))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let opened = AesKey::parse(&of("encoding_aes_key")).and_then(|key| {
                open(
                    &key,
                    &of("appid"),
                    [&of("token"), &of("timestamp"), &of("nonce")],
                    &of("encrypt"),
                    &of("msg_signature"),
                )
            });
            let expected = match text(negative, "name") {
                "wrong_appid" => CryptoError::AppId,
                "bad_aes_key_length" => CryptoError::Key,
                _ => CryptoError::Signature,
            };
            assert_eq!(opened, Err(expected), "{}", negative["name"]);
        }
    }

    #[test]
    fn damage_behind_a_valid_signature_is_still_refused() {
        let key = AesKey::parse("Qm9vdHN0cmFwVGVzdEtleUZvclZlY3RvcnMwMTIzNDU").unwrap();
        let sealed = encrypt(&key, "wx1", "hello", [7; 16]);
        for damaged in ["", "????", "QUJD", &sealed[..sealed.len() - 24]] {
            let signed = signature(["t", "1", "n", damaged]);
            assert!(open(&key, "wx1", ["t", "1", "n"], damaged, &signed).is_err(), "{damaged}");
        }
    }
}
