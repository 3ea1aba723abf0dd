//! WireGuard keys: parsed once at the edge, wiped from memory when dropped, never printed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes in a key of any kind.
pub const KEY_LEN: usize = 32;

/// Why a text is not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// The text is not padded standard base64 (RFC 4648).
    NotBase64,
    /// The text decodes to this many bytes instead of 32.
    WrongLength(usize),
    /// The point has a low order: a handshake with it protects nothing (RFC 7748, section 6.1).
    LowOrder,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBase64 => f.write_str("not base64: a key is 44 characters ending in '='"),
            Self::WrongLength(bytes) => write!(f, "{bytes} bytes long: a key has 32"),
            Self::LowOrder => f.write_str("a low-order point, with which nothing is secret"),
        }
    }
}

impl std::error::Error for KeyError {}

fn decode(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    let mut bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::NotBase64)?;
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
    let length = bytes.len();
    bytes.zeroize();
    key.map_err(|_| KeyError::WrongLength(length))
}

/// A Curve25519 private key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_LEN]);

impl PrivateKey {
    /// Makes a key of 32 random bytes, clamped as RFC 7748 asks.
    pub fn from_entropy(mut entropy: [u8; KEY_LEN]) -> Self {
        entropy[0] &= 248;
        entropy[31] = (entropy[31] & 127) | 64;
        Self(entropy)
    }

    /// The key as base64. The caller decides where the secret goes.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.secret()).to_bytes())
    }

    pub(crate) fn secret(&self) -> x25519::StaticSecret {
        x25519::StaticSecret::from(self.0)
    }
}

/// Reads a key from base64; white space around it is allowed.
impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A Curve25519 public key that is not a low-order point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; KEY_LEN]", into = "[u8; KEY_LEN]")]
pub struct PublicKey([u8; KEY_LEN]);

impl TryFrom<[u8; KEY_LEN]> for PublicKey {
    type Error = KeyError;

    fn try_from(bytes: [u8; KEY_LEN]) -> Result<Self, KeyError> {
        Self::from_bytes(bytes)
    }
}

impl From<PublicKey> for [u8; KEY_LEN] {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl PublicKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    /// [`KeyError::LowOrder`].
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Result<Self, KeyError> {
        // Every scalar is clamped to a multiple of the cofactor, so that any scalar at all tells.
        let probe = x25519::StaticSecret::from([1; KEY_LEN]);
        if probe.diffie_hellman(&x25519::PublicKey::from(bytes)).was_contributory() {
            Ok(Self(bytes))
        } else {
            Err(KeyError::LowOrder)
        }
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    pub(crate) fn point(&self) -> x25519::PublicKey {
        x25519::PublicKey::from(self.0)
    }
}

/// Reads a key from base64; white space around it is allowed.
impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(decode(text)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A symmetric key mixed into the handshake with one peer.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);

impl PresharedKey {
    /// Takes 32 random bytes.
    pub fn from_entropy(entropy: [u8; KEY_LEN]) -> Self {
        Self(entropy)
    }

    /// The key as base64. The caller decides where the secret goes.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    pub(crate) const fn bytes(&self) -> [u8; KEY_LEN] {
        self.0
    }
}

/// Reads a key from base64; white space around it is allowed.
impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair of RFC 7748, section 6.1 (Alice).
    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        let key = PRIVATE.parse::<PrivateKey>().unwrap();
        assert_eq!(key.public_key().to_string(), PUBLIC);
        assert_eq!(key.public_key(), PUBLIC.parse::<PublicKey>().unwrap());
    }

    #[test]
    fn bad_text_is_told_apart() {
        assert_eq!("no key".parse::<PublicKey>().unwrap_err(), KeyError::NotBase64);
        assert_eq!("AAAA".parse::<PublicKey>().unwrap_err(), KeyError::WrongLength(3));
        let unpadded = PUBLIC.trim_end_matches('=');
        assert_eq!(unpadded.parse::<PublicKey>().unwrap_err(), KeyError::NotBase64);
    }

    /// The points that WireGuard's own test script lists, among them zero, one and p - 1.
    #[test]
    fn low_order_points_are_refused() {
        let mut p_minus_1 = [0xff; KEY_LEN];
        p_minus_1[0] = 0xec;
        p_minus_1[31] = 0x7f;
        let mut one = [0; KEY_LEN];
        one[0] = 1;
        let order_8 = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ];
        for point in [[0; KEY_LEN], one, p_minus_1, order_8] {
            assert_eq!(PublicKey::from_bytes(point).unwrap_err(), KeyError::LowOrder);
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let private = PRIVATE.parse::<PrivateKey>().unwrap();
        let preshared = PRIVATE.parse::<PresharedKey>().unwrap();
        assert_eq!(format!("{private:?} {preshared:?}"), "PrivateKey(..) PresharedKey(..)");
    }
}
