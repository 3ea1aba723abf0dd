//! Names of flows and peers, and who a peer is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::PublicKey;

/// Names a flow. It carries a generation, so that an id kept too long names nothing rather than
/// another flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl FlowId {
    /// The id as one number, unique for the life of an engine (until 2^32 flows shared a slot).
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// A small number, unique among the flows that live at the same time: an index for tables.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Reads what `Debug` writes, with or without the word: `flow 3.1` or `3.1`.
impl std::str::FromStr for FlowId {
    type Err = ParseFlowIdError;

    fn from_str(text: &str) -> Result<Self, ParseFlowIdError> {
        let numbers = text.strip_prefix("flow ").unwrap_or(text).split_once('.');
        let (slot, generation) = numbers.ok_or(ParseFlowIdError)?;
        let number = |text: &str| text.parse().map_err(|_| ParseFlowIdError);
        Ok(Self { slot: number(slot)?, generation: number(generation)? })
    }
}

/// It is no [`FlowId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseFlowIdError;

impl fmt::Display for ParseFlowIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flow is two numbers, as in 3.1")
    }
}

impl std::error::Error for ParseFlowIdError {}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {}.{}", self.slot, self.generation)
    }
}

/// Names a peer of an engine. It carries a generation, so that the id of a peer that was removed
/// names nobody rather than another peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PeerId {
    /// A small number, unique among the peers that there are at the same time: an index for tables.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// The first peer in a slot.
    #[cfg(test)]
    pub(crate) const fn first(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}.{}", self.slot, self.generation)
    }
}

/// Who a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// What people call it.
    pub name: String,
    /// Its WireGuard identity.
    pub public_key: PublicKey,
}
