//! The header of an ICMP echo message, as far as the host side looks at it.

/// Bytes of the header of an echo message.
pub(crate) const HEADER_LEN: usize = 8;

/// The sequence number of an echo message, of which at least the header must be there.
pub(crate) fn sequence(message: &[u8]) -> Option<u16> {
    let bytes = message.get(6..HEADER_LEN)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}
