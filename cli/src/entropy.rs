//! Random bytes of the system.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// 32 bytes that no outsider may know: enough for a key or a seed.
pub(crate) fn secret_bytes() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(length) => filled += length,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Failure::system("no entropy from the system")(io::Error::from(error)));
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_alike() {
        assert_ne!(*secret_bytes().unwrap(), *secret_bytes().unwrap());
    }
}
