//! A gateway with a peer that behaves and one that does not.
//!
//! ```text
//!   near   10.1.0.2 ----+
//!    wireguard-go       mid ---- far      servers
//!   rogues 10.3.0.2 ----+         10.8.0.0/16   addresses that swallow every packet
//!    whatever the test sends
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use anyhow::Result;

use crate::{
    lab::Lab,
    net::{Host, link},
    peer::{Keys, Peer},
    raw_peer::RawPeer,
    row::{EVERYTHING, Row},
    slipwire::{Config, Slipwire},
    tcp::Service,
    tunnel::{WIREGUARD_PORT, owned},
    wireguard_go::{self, WireguardGo},
};

/// Where the gateway speaks WireGuard, as the rogue's host sees it.
const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 1), WIREGUARD_PORT);
/// The rogues' inner addresses: enough to look like many hosts.
const ROGUES_INNER: [&str; 2] = ["10.78.0.0/16", "10.79.0.0/16"];
const DEAD: &str = "10.8.0.0/16";

/// Its parts.
#[derive(Debug)]
pub struct Siege {
    /// The hosts.
    pub row: Row,
    /// The gateway.
    pub gateway: Slipwire,
    /// Where the rogue is.
    pub rogue_host: Host,
    /// The gateway's public key.
    pub gateway_key: String,
    rogue_keys: [Keys; 2],
    _peer: WireguardGo,
}

impl Siege {
    /// Starts the gateway and the peer that behaves. `tables` are added to the gateway's
    /// configuration; `wrapper` is what runs it.
    pub fn start(lab: &Lab, tables: &str, wrapper: &[&str]) -> Result<Self> {
        let row = Row::new(lab)?;
        let rogue_host = lab.host("rogue")?;
        link((&row.mid, "rogue", &["10.3.0.1/24"]), (&rogue_host, "out", &["10.3.0.2/24"]))?;
        // Connects hang there: the neighbour is one that never answers. The second route is to
        // more addresses of the rogue.
        row.mid.ip(&format!("route add {DEAD} via 10.2.0.119\nroute add 10.3.1.0/24 dev rogue"))?;
        let [gateway_keys, peer_keys] = [Keys::generate()?, Keys::generate()?];
        let rogue_keys = [Keys::generate()?, Keys::generate()?];
        let config = Config {
            listen_port: Some(WIREGUARD_PORT),
            address: owned(&["10.77.0.1/24"]),
            peers: vec![
                Peer::caller("near", &peer_keys, &["10.77.0.2/32"]),
                Peer::caller("rogue", &rogue_keys[0], &[ROGUES_INNER[0]]),
                Peer::caller("another", &rogue_keys[1], &[ROGUES_INNER[1]]),
            ],
            gateway: Some("default = \"relay\"".into()),
            tables: tables.to_owned(),
            wrapper: owned(wrapper),
            ..Config::default()
        };
        let gateway = Slipwire::start(lab, &row.mid, "gateway", &gateway_keys, &config)?;
        let config = wireguard_go::Config {
            listen_port: None,
            addresses: owned(&["10.77.0.2/24"]),
            routes: owned(&EVERYTHING[..1]),
            peers: vec![Peer {
                endpoint: Some(format!("10.1.0.1:{WIREGUARD_PORT}")),
                ..Peer::caller("", &gateway_keys, &EVERYTHING)
            }],
        };
        let _peer = WireguardGo::start(lab, &row.near, "near", &peer_keys, config)?;
        let gateway_key = gateway_keys.public;
        Ok(Self { row, gateway, rogue_host, gateway_key, rogue_keys, _peer })
    }

    /// A rogue, with a session.
    pub fn rogue(&self, which: Rogue) -> Result<RawPeer> {
        let keys = &self.rogue_keys[which as usize];
        RawPeer::connect(&self.rogue_host, GATEWAY.into(), keys, &self.gateway_key)
    }

    /// Where the gateway speaks WireGuard, as the rogue's host sees it.
    pub fn endpoint(&self) -> SocketAddr {
        GATEWAY.into()
    }

    /// A server of the far host that accepts and waits for the other end to close.
    pub fn open_server(&self, port: u16) -> Result<Service<()>> {
        Service::start(&self.row.far, port, |mut stream| {
            // How they end is the attacker's business.
            let _ = io::copy(&mut stream, &mut io::sink());
            Ok(())
        })
    }

    /// A server of the far host that sends as long as somebody takes it.
    pub fn endless_server(&self, port: u16) -> Result<Service<()>> {
        Service::start(&self.row.far, port, |mut stream| {
            let _ = io::copy(&mut io::repeat(0), &mut stream);
            Ok(())
        })
    }

    /// The gateway's memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.gateway.process().resident()
    }
}

/// A peer that does not behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rogue {
    /// One.
    First,
    /// And another.
    Second,
}

impl Rogue {
    /// Its inner end of flow number `number`: from another address after 60,000 ports.
    pub fn end(self, number: u32) -> SocketAddrV4 {
        let [.., high, low] = (number / 60_000 + 1).to_be_bytes();
        let address = Ipv4Addr::new(10, 78 + self as u8, high, low);
        SocketAddrV4::new(address, (number % 60_000) as u16 + 2_000)
    }
}

/// Dead address number `number`, of 65,024.
pub fn dead_end(number: u32) -> SocketAddrV4 {
    let [_, _, high, low] = (number % 65_024 + 256).to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(10, 8, high, low), 80)
}
