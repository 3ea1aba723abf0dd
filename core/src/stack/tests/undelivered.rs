//! What peers hear of their datagrams that were lost on the host's side.

use crate::config::Filtering;
use crate::datagram::{Loss, Undelivered};
use crate::flow::{NoFlow, ProxyProtocol, Refusal};
use crate::limits::{ICMP_ERRORS_BURST, ICMP_ERRORS_RATE};
use crate::rules::RedirectTarget;
use crate::stack::tests::*;

/// A client and a host of each IP version.
const PAIRS: [(&str, &str); 2] =
    [("10.0.0.2:5000", "192.0.2.1:1000"), ("[fd00::2]:5000", "[2001:db8::1]:1000")];
const HOPS: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];

const LOST: Loss = Loss::Refused(Refusal::Refused);

impl World {
    fn lose(&mut self, flow: FlowId, remote: &str, loss: Loss) -> Result<(), NoFlow> {
        let undelivered = Undelivered { remote: socket(remote), echo_sequence: Some(7), loss };
        self.stack.meta(flow).ok_or(NoFlow)?;
        self.undelivered(flow, undelivered);
        Ok(())
    }
}

/// Opens a UDP mapping by a datagram.
fn mapping(world: &mut World, client: &str, host: &str) -> FlowId {
    world.receive(ALICE, &udp(client, host, b"x"));
    world.offered()
}

/// The source of an error, its first eight bytes without the checksum, and its quote.
fn read(mut bytes: Vec<u8>) -> (String, [u8; 6], Vec<u8>) {
    let packet = Packet::parse(&mut bytes).unwrap();
    let message = packet.transport_bytes();
    let [kind, code, _, _, rest @ ..] = <[u8; 8]>::try_from(&message[..8]).unwrap();
    let head = [kind, code, rest[0], rest[1], rest[2], rest[3]];
    (packet.source.to_string(), head, message[8..].to_vec())
}

#[test]
fn every_loss_is_the_icmp_error_that_a_router_would_send() {
    let host = |at: usize| socket(PAIRS[at].1).ip().to_string();
    let router = |at: usize| [OWN_IP, "fd00::1"][at].to_owned();
    for (at, (client, remote)) in PAIRS.into_iter().enumerate() {
        let hop: IpAddr = HOPS[at].parse().unwrap();
        for (loss, heads, from) in [
            (LOST, [[3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]], host(at)),
            (
                Loss::Refused(Refusal::HostUnreachable),
                [[3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]],
                router(at),
            ),
            (
                Loss::Refused(Refusal::NetworkUnreachable),
                [[3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]],
                router(at),
            ),
            (
                Loss::Refused(Refusal::Prohibited),
                [[3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
                router(at),
            ),
            (
                Loss::TimeExceeded { hop },
                [[11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]],
                hop.to_string(),
            ),
            (Loss::TooBig { mtu: 1300 }, [[3, 4, 0, 0, 5, 20], [2, 0, 0, 0, 5, 20]], host(at)),
            // No link is that narrow (RFC 791, RFC 8200).
            (Loss::TooBig { mtu: 0 }, [[3, 4, 0, 0, 0, 68], [2, 0, 0, 0, 5, 0]], host(at)),
        ] {
            let mut world = World::new();
            let flow = mapping(&mut world, client, remote);
            world.lose(flow, remote, loss).unwrap();
            let (peer, bytes) = world.only_sent();
            let quote = udp(client, remote, &[]);
            assert_eq!((peer, read(bytes)), (ALICE, (from, heads[at], quote)), "{loss:?}");
        }
    }
}

/// A program that gets an error looks at what it quotes, and not at who says it.
#[test]
fn who_has_no_address_of_a_family_says_it_in_the_name_of_the_destination() {
    let mut world =
        World::with(|parts| parts.interface.addresses = vec!["10.0.0.1/24".parse().unwrap()]);
    let (client, remote) = PAIRS[1];
    let flow = mapping(&mut world, client, remote);
    world.lose(flow, remote, Loss::Refused(Refusal::NetworkUnreachable)).unwrap();
    let (source, ..) = read(world.only_sent().1);
    assert_eq!(source, socket(remote).ip().to_string());
}

#[test]
fn a_lost_echo_request_is_quoted_as_its_peer_wrote_it() {
    for (at, (from, to, request)) in
        [(ALICE_IP, "192.0.2.1", 8), ("fd00::2", "2001:db8::1", 128)].into_iter().enumerate()
    {
        let mut world = World::new();
        let head = [request, 0, 0, 0, 0xab, 0xcd, 0, 7];
        world.receive(ALICE, &icmp(from, to, head, b"payload"));
        let flow = world.offered();
        let remote = SocketAddr::new(to.parse().unwrap(), 0).to_string();
        let hop = HOPS[at].parse().unwrap();
        world.lose(flow, &remote, Loss::TimeExceeded { hop }).unwrap();
        let (_, bytes) = world.only_sent();
        let (source, _, quote) = read(bytes);
        assert_eq!((source, quote), (HOPS[at].to_owned(), icmp(from, to, head, &[])));

        let remote = socket(&remote);
        let unnamed = Undelivered { remote, echo_sequence: None, loss: LOST };
        world.undelivered(flow, unnamed);
        assert!(world.sent().is_empty(), "an error about no request in particular");
    }
}

#[test]
fn a_refused_echo_mapping_is_told_which_request_it_was() {
    let mut world = World::new();
    let packet = icmp(ALICE_IP, "192.0.2.1", [8, 0, 0, 0, 1, 2, 3, 4], &[]);
    world.receive(ALICE, &packet);
    let flow = world.offered();
    world.refused(flow, Refusal::Prohibited);
    let (_, bytes) = world.only_sent();
    assert_eq!(read(bytes), (OWN_IP.to_owned(), [3, 13, 0, 0, 0, 0], packet));
}

#[test]
fn a_redirect_to_the_other_ip_version_is_told_what_fits_its_own_packets() {
    for (at, target, fits) in [(0, "[2001:db8::53]:53", 1380), (1, "198.51.100.53:53", 1420)] {
        let mut world = World::with(|parts| {
            let target = RedirectTarget::Address(socket(target));
            let action = RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off };
            parts.gateway.as_mut().unwrap().rules = vec![Rule::any(action)];
        });
        let (client, destination) = PAIRS[at];
        let flow = mapping(&mut world, client, destination);
        world.lose(flow, target, Loss::TooBig { mtu: 1400 }).unwrap();
        let (_, head, quote) = read(world.only_sent().1);
        assert_eq!(u16::from_be_bytes([head[4], head[5]]), fits);
        assert_eq!(quote, udp(client, destination, &[]));
        let hop = HOPS[1 - at].parse().unwrap();
        world.lose(flow, target, Loss::TimeExceeded { hop }).unwrap();
        assert!(world.sent().is_empty(), "no packet has a source of the other version");
    }
}

#[test]
fn nobody_hears_of_a_host_that_it_never_wrote_to() {
    for filtering in [Filtering::EndpointIndependent, Filtering::Address, Filtering::AddressAndPort]
    {
        let mut world = World::with(|parts| parts.mappings.udp_filtering = filtering);
        let (client, host) = PAIRS[0];
        let flow = mapping(&mut world, client, host);
        for stranger in ["192.0.2.1:1001", "192.0.2.2:1000"] {
            world.lose(flow, stranger, LOST).unwrap();
        }
        assert!(world.sent().is_empty());
        assert_eq!(world.count(Counter::DropFiltered), 2);
        world.lose(flow, host, LOST).unwrap();
        world.only_sent();
    }
}

#[test]
fn no_hop_speaks_from_an_address_of_the_tunnel_or_of_a_link() {
    let mut world = World::new();
    for (at, hops) in [
        (
            0,
            &[OWN_IP, BOB_IP, "172.16.0.1", "127.0.0.1", "169.254.0.1", "224.0.0.1", "0.0.0.0"][..],
        ),
        (1, &["fd00::1", "fd00::2", "::1", "fe80::1", "ff02::1", "::"]),
    ] {
        let (client, host) = PAIRS[at];
        let flow = mapping(&mut world, client, host);
        for hop in hops {
            world.lose(flow, host, Loss::TimeExceeded { hop: hop.parse().unwrap() }).unwrap();
            assert!(world.sent().is_empty(), "{hop}");
        }
    }
}

#[test]
fn errors_about_lost_datagrams_are_limited_whatever_they_say() {
    let mut world = World::new();
    let (client, host) = PAIRS[0];
    let flow = mapping(&mut world, client, host);
    let hop = HOPS[0].parse().unwrap();
    let losses = [LOST, Loss::TimeExceeded { hop }, Loss::TooBig { mtu: 1300 }];
    for loss in losses.into_iter().cycle().take(1000) {
        world.lose(flow, host, loss).unwrap();
    }
    let errors = world.sent().len();
    assert!(errors <= (ICMP_ERRORS_BURST + ICMP_ERRORS_RATE) as usize / 2, "{errors}");
    assert_eq!(world.count(Counter::DropIcmpRate) as usize, 1000 - errors);
}

#[test]
fn a_flow_of_a_local_client_has_no_peer_to_tell() {
    let mut world = World::new();
    let target = "172.16.0.9:53";
    let flow = world.open_udp(socket(target)).unwrap();
    world.lose(flow, target, LOST).unwrap();
    assert!(world.sent().is_empty());
    world.aborted(flow);
    assert_eq!(world.lose(flow, target, LOST), Err(NoFlow));
}
