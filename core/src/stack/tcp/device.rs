//! smoltcp's view of the tunnel: one packet in, packets out through the stack's outlet.

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant as EngineInstant;
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};

use crate::id::PeerId;
use crate::stack::outlet::Outlet;
use crate::stack::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::stack::tcp::guard::Guard;
use crate::time::Instant;

/// The device of one connection, for one call into smoltcp.
pub(crate) struct Device<'a> {
    pub(crate) peer: PeerId,
    /// The packet that arrived, until smoltcp takes it.
    pub(crate) received: Option<&'a [u8]>,
    /// Packets that may still be sent in this call.
    pub(crate) budget: usize,
    pub(crate) guard: &'a mut Guard,
    pub(crate) now: Instant,
    pub(crate) outlet: &'a mut dyn Outlet,
    /// Where packets are written before they are encrypted.
    pub(crate) scratch: &'a mut [u8],
}

/// What smoltcp is told of the tunnel. Checksums of what arrives have been verified before.
pub(crate) fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum.ipv4 = Checksum::Tx;
    capabilities.checksum.tcp = Checksum::Tx;
    capabilities
}

/// A device that only states its capabilities: all that a new interface asks.
pub(crate) struct Blueprint {
    pub(crate) mtu: usize,
}

impl phy::Device for Blueprint {
    type RxToken<'t> = Never;
    type TxToken<'t> = Never;

    fn receive(&mut self, _: EngineInstant) -> Option<(Never, Never)> {
        None
    }

    fn transmit(&mut self, _: EngineInstant) -> Option<Never> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// A token that is never made.
pub(crate) enum Never {}

impl phy::RxToken for Never {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, _: F) -> R {
        match self {}
    }
}

impl phy::TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self {}
    }
}

impl<'a> phy::Device for Device<'a> {
    type RxToken<'t>
        = Received<'a>
    where
        Self: 't;
    type TxToken<'t>
        = Sending<'t, 'a>
    where
        Self: 't;

    fn receive(&mut self, _: EngineInstant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Sending(self)))
    }

    fn transmit(&mut self, _: EngineInstant) -> Option<Self::TxToken<'_>> {
        (self.budget > 0 && self.outlet.has_room()).then_some(Sending(self))
    }

    /// Asked only when an interface is made, which [`Blueprint`] is for, and once in each call
    /// of `poll_egress`, which ignores the answer.
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(0)
    }
}

/// The packet that arrived.
pub(crate) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for one packet.
pub(crate) struct Sending<'t, 'a>(&'t mut Device<'a>);

impl phy::TxToken for Sending<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let device = self.0;
        let result = f(&mut device.scratch[..len]);
        device.budget = device.budget.saturating_sub(1);
        let header_len = match device.scratch[0] >> 4 {
            4 => IPV4_HEADER_LEN,
            _ => IPV6_HEADER_LEN,
        };
        // smoltcp writes neither IPv4 options nor extension headers.
        let (header, segment) = device.scratch[..len].split_at_mut(header_len);
        let mut segment = TcpPacket::new_unchecked(segment);
        if device.guard.mend_sent(&mut segment) {
            let (source, destination) = addresses(header);
            segment.fill_checksum(&source, &destination);
        }
        let segment = TcpPacket::new_unchecked(&device.scratch[header_len..len]);
        device.guard.handle_sent(&segment, device.now);
        device.outlet.send(device.peer, device.scratch, len);
        result
    }
}

/// The source and destination of a packet that smoltcp wrote.
fn addresses(header: &[u8]) -> (IpAddress, IpAddress) {
    match header[0] >> 4 {
        4 => {
            let packet = Ipv4Packet::new_unchecked(header);
            (packet.src_addr().into(), packet.dst_addr().into())
        }
        _ => {
            let packet = Ipv6Packet::new_unchecked(header);
            (packet.src_addr().into(), packet.dst_addr().into())
        }
    }
}
