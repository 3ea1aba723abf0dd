//! What the floor's two processes send each other: datagrams as large as WireGuard's data messages,
//! sealed with the same cipher.

use anyhow::{Result, anyhow};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Type, receiver and counter of a data message.
const HEADER: usize = 16;
/// The place of the inner headers, IPv4 and TCP.
const INNER_HEADERS: usize = 40;
const TAG: usize = 16;
/// Bytes before the payload.
const BEFORE: usize = HEADER + INNER_HEADERS;
/// Bytes beside the payload.
const AROUND: usize = BEFORE + TAG;
/// Bytes of a connection in each packet of 1420.
pub(super) const PAYLOAD: usize = 1380;
/// A whole datagram.
pub(super) const DATAGRAM: usize = PAYLOAD + AROUND;
/// Datagrams of one train: what fits into one IP packet, as GSO wants it.
pub(super) const SEGMENTS: usize = (65_535 - 28) / DATAGRAM;

/// The key of one direction, with its counter. Nobody is kept from anything here, so it is always
/// the same.
pub(super) struct Key {
    key: LessSafeKey,
    counter: u64,
}

impl Key {
    pub(super) fn new() -> Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| anyhow!("no key"))?;
        Ok(Self { key: LessSafeKey::new(key), counter: 0 })
    }

    /// Puts `text` into datagrams, the last one as short as it comes; how many bytes they take. No
    /// text takes one datagram too.
    pub(super) fn seal(&mut self, text: &[u8], train: &mut [u8]) -> Result<usize> {
        if text.is_empty() {
            return self.seal_one(text, train);
        }
        let mut length = 0;
        for payload in text.chunks(PAYLOAD) {
            length += self.seal_one(payload, &mut train[length..])?;
        }
        Ok(length)
    }

    fn seal_one(&mut self, payload: &[u8], datagram: &mut [u8]) -> Result<usize> {
        let counter = self.count();
        let end = BEFORE + payload.len();
        datagram[..8].copy_from_slice(&[4, 0, 0, 0, 1, 0, 0, 0]);
        datagram[8..HEADER].copy_from_slice(&counter.to_le_bytes());
        datagram[HEADER..BEFORE].fill(0x45);
        datagram[BEFORE..end].copy_from_slice(payload);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), &mut datagram[HEADER..end])
            .map_err(|_| anyhow!("sealing"))?;
        datagram[end..end + TAG].copy_from_slice(tag.as_ref());
        Ok(end + TAG)
    }

    /// Decrypts a datagram in place; how long its payload is, which begins at
    /// [`Self::PAYLOAD_START`].
    ///
    /// # Errors
    /// It is not the very next one: the floor loses nothing.
    pub(super) fn open(&mut self, datagram: &mut [u8]) -> Result<usize> {
        let sealed = datagram.get_mut(HEADER..).ok_or_else(|| anyhow!("a short datagram"))?;
        let counter = self.count();
        let opened = self
            .key
            .open_in_place(nonce(counter), Aad::empty(), sealed)
            .map_err(|_| anyhow!("datagram {counter} was lost or damaged"))?;
        opened.len().checked_sub(INNER_HEADERS).ok_or_else(|| anyhow!("a short packet"))
    }

    /// Where the payload of a datagram begins.
    pub(super) const PAYLOAD_START: usize = BEFORE;

    fn count(&mut self) -> u64 {
        let counter = self.counter;
        self.counter += 1;
        counter
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_order() {
        let text: Vec<u8> = (0..PAYLOAD + 100).map(|byte| byte as u8).collect();
        let mut train = vec![0; 2 * DATAGRAM];
        let length = Key::new().unwrap().seal(&text, &mut train).unwrap();
        assert_eq!(length, text.len() + 2 * AROUND);

        let mut key = Key::new().unwrap();
        let mut opened = Vec::new();
        for datagram in train[..length].chunks_mut(DATAGRAM) {
            let payload = key.open(datagram).unwrap();
            opened.extend_from_slice(&datagram[Key::PAYLOAD_START..][..payload]);
        }
        assert_eq!(opened, text);
    }

    #[test]
    fn a_lost_datagram_is_noticed() {
        let mut train = vec![0; 2 * DATAGRAM];
        Key::new().unwrap().seal(&[0; 2 * PAYLOAD], &mut train).unwrap();
        assert!(Key::new().unwrap().open(&mut train[DATAGRAM..]).is_err());
    }
}
