//! What a stack is made of: a configuration without keys and peers, which are the tunnel's.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Gateway, Interface, Mappings, Parts, Tcp};
use crate::key::{KEY_LEN, PrivateKey};
use crate::limits::Limits;

/// The part of a configuration that a stack looks at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) mtu: u16,
    pub(crate) tcp: Tcp,
    pub(crate) mappings: Mappings,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) limits: Limits,
}

impl Setup {
    /// The part of `config`.
    pub(crate) fn of(config: &Config) -> Self {
        let parts = config.parts();
        Self {
            addresses: parts.interface.addresses.clone(),
            mtu: parts.interface.mtu,
            tcp: parts.tcp.clone(),
            mappings: parts.mappings.clone(),
            gateway: parts.gateway.clone(),
            limits: parts.limits.clone(),
        }
    }

    /// Whether it is the part of some valid configuration.
    pub(crate) fn is_valid(&self) -> bool {
        // Any key will do: nothing here depends on it.
        let private_key = PrivateKey::from_entropy([1; KEY_LEN]);
        let addresses = self.addresses.iter().copied();
        let interface = Interface { mtu: self.mtu, ..Interface::new(private_key, addresses) };
        let parts = Parts {
            gateway: self.gateway.clone(),
            tcp: self.tcp.clone(),
            mappings: self.mappings.clone(),
            limits: self.limits.clone(),
            ..Parts::new(interface)
        };
        Config::new(parts).is_ok()
    }
}
