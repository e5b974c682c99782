//! The shared key of Tomcat's `EncryptInterceptor`: the message in a frame is encrypted, its head and the heartbeats are not.
//!
//! An encrypted message is the initialization vector (16 bytes for CBC, 12 for GCM) and the ciphertext (with GCM's tag of 16 bytes at its
//! end). What is encrypted is the sender's time in milliseconds (8) and the message; Tomcats before they looked for replayed messages
//! leave the time out. Randomness and time are parameters.

mod replay;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::consts::U12;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};

pub use replay::{ReplayWindow, Seen};

/// Bytes of the largest initialization vector.
pub const IV_MAX: usize = 16;

/// Bytes of the time before the message.
const TIME: usize = 8;

/// Bytes of GCM's tag.
const TAG: usize = 16;

/// Bytes of a block, to which CBC fills up.
const BLOCK: usize = 16;

/// How it is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// `AES/GCM/NoPadding`: whoever has not got the key cannot change a message either. Tomcat's present default.
    #[default]
    Gcm,
    /// `AES/CBC/PKCS5Padding`: Tomcat's default before.
    Cbc,
}

impl Algorithm {
    /// As Java calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gcm => "AES/GCM/NoPadding",
            Self::Cbc => "AES/CBC/PKCS5Padding",
        }
    }

    /// By Java's name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = |algorithm: &Self| algorithm.name().eq_ignore_ascii_case(name);
        [Self::Gcm, Self::Cbc].into_iter().find(named)
    }

    /// Bytes of its initialization vector.
    pub const fn iv_len(self) -> usize {
        match self {
            Self::Gcm => 12,
            Self::Cbc => 16,
        }
    }
}

/// A message that is not encrypted with this key, or not in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not encrypted with this node's key and algorithm")]
pub struct DecryptError;

/// No key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 16, 24 or 32 bytes (32, 48 or 64 hexadecimal digits), and not {0}")]
pub struct KeyError(pub usize);

/// A key, ready for use.
pub struct Cipher {
    key: Key,
    timed: bool,
}

// Boxed: the expanded keys of GCM are large, and a channel has one.
enum Key {
    Cbc128(Box<Aes128>),
    Cbc192(Box<Aes192>),
    Cbc256(Box<Aes256>),
    Gcm128(Box<Aes128Gcm>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<Aes256Gcm>),
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

/// A message that was decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// When it was sent, if that is told.
    pub time: Option<u64>,
    /// The message.
    pub message: &'a [u8],
}

impl Cipher {
    /// A cipher with a key of 16, 24 or 32 bytes. `timed`: whether the time is encrypted with the message.
    pub fn new(algorithm: Algorithm, key: &[u8], timed: bool) -> Result<Self, KeyError> {
        let wrong = |_| KeyError(key.len());
        let key = match (algorithm, key.len()) {
            (Algorithm::Cbc, 16) => {
                Key::Cbc128(Box::new(Aes128::new_from_slice(key).map_err(wrong)?))
            }
            (Algorithm::Cbc, 24) => {
                Key::Cbc192(Box::new(Aes192::new_from_slice(key).map_err(wrong)?))
            }
            (Algorithm::Cbc, 32) => {
                Key::Cbc256(Box::new(Aes256::new_from_slice(key).map_err(wrong)?))
            }
            (Algorithm::Gcm, 16) => {
                Key::Gcm128(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?))
            }
            (Algorithm::Gcm, 24) => {
                Key::Gcm192(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?))
            }
            (Algorithm::Gcm, 32) => {
                Key::Gcm256(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?))
            }
            (_, len) => return Err(KeyError(len)),
        };
        Ok(Self { key, timed })
    }

    /// Bytes of a message once it is encrypted.
    pub fn encrypted_len(&self, message: usize) -> usize {
        let plain = message + if self.timed { TIME } else { 0 };
        match self.algorithm() {
            Algorithm::Gcm => Algorithm::Gcm.iv_len() + plain + TAG,
            Algorithm::Cbc => Algorithm::Cbc.iv_len() + plain + BLOCK - plain % BLOCK,
        }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Cbc128(_) | Key::Cbc192(_) | Key::Cbc256(_) => Algorithm::Cbc,
            Key::Gcm128(_) | Key::Gcm192(_) | Key::Gcm256(_) => Algorithm::Gcm,
        }
    }

    /// Appends the encrypted message. `iv` is random, and never the same for two messages; GCM uses its first 12 bytes.
    pub fn encrypt(&self, iv: [u8; IV_MAX], time: u64, message: &[u8], out: &mut Vec<u8>) {
        let iv = &iv[..self.algorithm().iv_len()];
        out.extend_from_slice(iv);
        let start = out.len();
        if self.timed {
            out.extend_from_slice(&time.to_be_bytes());
        }
        out.extend_from_slice(message);
        match &self.key {
            Key::Cbc128(aes) => {
                encrypt_cbc(cbc::Encryptor::inner_iv_slice_init(&**aes, iv), out, start);
            }
            Key::Cbc192(aes) => {
                encrypt_cbc(cbc::Encryptor::inner_iv_slice_init(&**aes, iv), out, start);
            }
            Key::Cbc256(aes) => {
                encrypt_cbc(cbc::Encryptor::inner_iv_slice_init(&**aes, iv), out, start);
            }
            Key::Gcm128(gcm) => encrypt_gcm(&**gcm, iv, out, start),
            Key::Gcm192(gcm) => encrypt_gcm(&**gcm, iv, out, start),
            Key::Gcm256(gcm) => encrypt_gcm(&**gcm, iv, out, start),
        }
    }

    /// The initialization vector of an encrypted message: it occurs once.
    pub fn iv<'a>(&self, encrypted: &'a [u8]) -> &'a [u8] {
        &encrypted[..self.algorithm().iv_len().min(encrypted.len())]
    }

    /// Decrypts a message; `work` is overwritten and holds it.
    pub fn decrypt<'a>(
        &self,
        encrypted: &[u8],
        work: &'a mut Vec<u8>,
    ) -> Result<Opened<'a>, DecryptError> {
        let split = encrypted.split_at_checked(self.algorithm().iv_len());
        let (iv, ciphertext) = split.ok_or(DecryptError)?;
        work.clear();
        work.extend_from_slice(ciphertext);
        let plain: &[u8] = match &self.key {
            Key::Cbc128(aes) => decrypt_cbc(cbc::Decryptor::inner_iv_slice_init(&**aes, iv), work)?,
            Key::Cbc192(aes) => decrypt_cbc(cbc::Decryptor::inner_iv_slice_init(&**aes, iv), work)?,
            Key::Cbc256(aes) => decrypt_cbc(cbc::Decryptor::inner_iv_slice_init(&**aes, iv), work)?,
            Key::Gcm128(gcm) => decrypt_gcm(&**gcm, iv, work)?,
            Key::Gcm192(gcm) => decrypt_gcm(&**gcm, iv, work)?,
            Key::Gcm256(gcm) => decrypt_gcm(&**gcm, iv, work)?,
        };
        if !self.timed {
            return Ok(Opened {
                time: None,
                message: plain,
            });
        }
        let (time, message) = plain.split_first_chunk().ok_or(DecryptError)?;
        Ok(Opened {
            time: Some(u64::from_be_bytes(*time)),
            message,
        })
    }
}

type Begun<T> = Result<T, aes::cipher::InvalidLength>;

fn encrypt_cbc(begun: Begun<impl BlockModeEncrypt>, out: &mut Vec<u8>, start: usize) {
    let encryptor = begun.expect("the vector has the length of a block");
    let len = out.len() - start;
    out.resize(start + len + BLOCK - len % BLOCK, 0);
    encryptor
        .encrypt_padded::<Pkcs7>(&mut out[start..], len)
        .expect("there is room up to the next block");
}

fn decrypt_cbc(
    begun: Begun<impl BlockModeDecrypt>,
    work: &mut [u8],
) -> Result<&[u8], DecryptError> {
    let decryptor = begun.map_err(|_| DecryptError)?;
    decryptor
        .decrypt_padded::<Pkcs7>(work)
        .map_err(|_| DecryptError)
}

fn encrypt_gcm(gcm: &impl AeadInOut<NonceSize = U12>, iv: &[u8], out: &mut Vec<u8>, start: usize) {
    let nonce = iv.try_into().expect("the vector has 12 bytes");
    let tag = gcm
        .encrypt_inout_detached(nonce, b"", (&mut out[start..]).into())
        .expect("a message is shorter than 64 GiB");
    out.extend_from_slice(&tag);
}

fn decrypt_gcm<'a>(
    gcm: &impl AeadInOut<NonceSize = U12>,
    iv: &[u8],
    work: &'a mut [u8],
) -> Result<&'a [u8], DecryptError> {
    let nonce = iv.try_into().map_err(|_| DecryptError)?;
    let len = work.len().checked_sub(TAG).ok_or(DecryptError)?;
    let (text, tag) = work.split_at_mut(len);
    let tag = (&*tag).try_into().map_err(|_| DecryptError)?;
    gcm.decrypt_inout_detached(nonce, b"", (&mut *text).into(), tag)
        .map_err(|_| DecryptError)?;
    Ok(text)
}
