//! The hash of every table that outsiders put keys into.

use std::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

/// SipHash with a key that follows from the engine's seed: an outsider can't choose collisions,
/// and the same seed gives the same table.
#[derive(Clone, Copy)]
pub(crate) struct KeyedState((u64, u64));

impl KeyedState {
    pub(crate) const fn new(key: (u64, u64)) -> Self {
        Self(key)
    }
}

impl std::fmt::Debug for KeyedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedState(..)")
    }
}

impl BuildHasher for KeyedState {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(SipHasher13::new_with_keys(self.0.0, self.0.1))
    }
}

/// See [`KeyedState`].
pub(crate) struct KeyedHasher(SipHasher13);

impl Hasher for KeyedHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}
