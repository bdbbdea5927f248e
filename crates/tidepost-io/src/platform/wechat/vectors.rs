//! The recorded crypto vectors, for the tests of this folder.

use serde::Deserialize;

/// The whole fixture file; fields that no test reads are left out.
#[derive(Deserialize)]
pub struct Vectors {
    pub url_signature: Vec<UrlSignature>,
    pub encrypted: Vec<Encrypted>,
    pub negative: Vec<Negative>,
    pub msg_signature_only: Vec<MessageSignature>,
}

#[derive(Deserialize)]
pub struct UrlSignature {
    pub name: String,
    pub token: String,
    pub timestamp: String,
    pub nonce: String,
    pub signature: String,
    pub echostr: Option<String>,
    pub body: Option<serde_json::Value>,
}

#[derive(Clone, Deserialize)]
pub struct Encrypted {
    pub name: String,
    pub token: String,
    pub encoding_aes_key: String,
    pub appid: String,
    pub timestamp: String,
    pub nonce: String,
    pub encrypt: String,
    pub msg_signature: String,
    pub random16_hex: String,
    pub plaintext: String,
    pub pad_len: usize,
    pub padded_len: usize,
    pub format: String,
}

#[derive(Deserialize)]
pub struct Negative {
    pub name: String,
    pub based_on: Option<String>,
    pub msg_signature: Option<String>,
    pub appid: Option<String>,
    pub encoding_aes_key: Option<String>,
    pub encrypt: Option<String>,
    pub expect: String,
}

#[derive(Deserialize)]
pub struct MessageSignature {
    pub name: String,
    pub token: String,
    pub timestamp: String,
    pub nonce: String,
    pub encrypt: String,
    pub msg_signature: String,
}

impl Vectors {
    pub fn read() -> Self {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/wechat_crypto_vectors.json"));
        serde_json::from_str(text).unwrap()
    }

    pub fn encrypted(name: &str) -> Encrypted {
        Self::read().encrypted.into_iter().find(|vector| vector.name == name).unwrap()
    }
}

impl Encrypted {
    pub fn random(&self) -> [u8; 16] {
        let byte = |at: usize| u8::from_str_radix(&self.random16_hex[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    }
}
