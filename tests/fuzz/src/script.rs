//! Bytes as a script: commands with numbers and bytes of their own. Any bytes are some script, and
//! where they end, so does it.

/// What is left of a script.
#[derive(Debug)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Two bytes, the low one first.
    pub(super) fn word(&mut self) -> Option<u16> {
        Some(u16::from(self.byte()?) | u16::from(self.byte()?) << 8)
    }

    /// A length below `end` as a word, and as many bytes, or those that are left.
    pub(super) fn bytes(&mut self, end: u16) -> Option<&'a [u8]> {
        let len = usize::from(self.word()? % end).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }
}
