use std::fs::{self, Permissions};
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt as _;

use pcap_file::pcapng::{Block, PcapNgReader};
use slipwire_core::config::{Endpoint, Interface, Parts, Peer};
use slipwire_core::{Action, Config, Engine, PrivateKey};
use tempfile::TempDir;

use super::*;

const START: Instant = Instant::from_nanos(5_000_000_000);

/// Peers as an engine names them: it asks for the addresses of each.
fn peers() -> Vec<(PeerId, Arc<Identity>)> {
    let key = |byte| PrivateKey::from_entropy([byte; 32]);
    let peer = |index: u8| {
        Peer::new(key(index).public_key())
            .with_name(format!("peer {index}"))
            .with_endpoint(Endpoint::Name { host: "host".into(), port: 1 })
            .with_persistent_keepalive(NonZeroU16::new(25))
    };
    let mut parts = Parts::new(Interface::new(key(9), []));
    parts.peers = vec![peer(1), peer(2)];
    let mut engine = Engine::new(&Config::new(parts).unwrap(), [0; 32], START);
    engine.handle_timeout(START);
    let mut peers = Vec::new();
    while let Some(action) = engine.poll_action() {
        let Action::Resolve(peer) = action else { panic!("{action:?}") };
        peers.push((peer, Arc::clone(engine.peer(peer).unwrap().identity)));
    }
    assert_eq!(peers.len(), 2);
    peers
}

struct Scene {
    directory: TempDir,
    capture: Capture,
    peers: Vec<(PeerId, Arc<Identity>)>,
}

impl Scene {
    fn new(size_max: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let to = CaptureFile { file: directory.path().join("a.pcap"), size_max };
        // What was there before: an older capture.
        let section = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a old";
        fs::write(&to.file, section).unwrap();
        fs::set_permissions(&to.file, Permissions::from_mode(0o644)).unwrap();
        Self { capture: Capture::create(to, START).unwrap(), directory, peers: peers() }
    }

    fn hear(&self, peer: usize, direction: Direction, packet: &[u8], now: Instant) {
        let (id, identity) = &self.peers[peer];
        self.capture.tap().packet(*id, identity, direction, packet, now);
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("a.pcap")
    }

    /// What is in the file: the peer, epb_flags, time and bytes of each packet.
    fn packets(&self) -> Vec<(String, u32, Duration, Vec<u8>)> {
        let bytes = fs::read(self.file()).unwrap();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut packets = Vec::new();
        let mut interfaces = 0;
        while let Some(block) = reader.next_block() {
            match block.unwrap().into_owned() {
                Block::InterfaceDescription(interface) => {
                    interfaces += 1;
                    assert_eq!(interface.linktype, DataLink::RAW);
                    assert_eq!(interface.options, [InterfaceDescriptionOption::IfTsResol(9)]);
                }
                Block::EnhancedPacket(packet) => {
                    let [EnhancedPacketOption::Comment(name), EnhancedPacketOption::Flags(flags)] =
                        &packet.options[..]
                    else {
                        panic!("{packet:?}");
                    };
                    packets.push((
                        name.to_string(),
                        *flags,
                        packet.timestamp,
                        packet.data.into_owned(),
                    ));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(interfaces, 1);
        packets
    }
}

#[test]
fn packets_have_their_peer_their_direction_and_the_wall_clocks_time() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let scene = Scene::new(1 << 20);
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    scene.hear(0, Direction::In, b"one", START + Duration::from_millis(1500));
    scene.hear(1, Direction::Out, b"other", START + Duration::from_secs(3));
    scene.hear(0, Direction::Out, b"last", START + Duration::from_secs(3));
    scene.capture.finish();
    let packets = scene.packets();
    let heard: Vec<_> =
        packets.iter().map(|(name, flags, _, data)| (&name[..], *flags, &data[..])).collect();
    assert_eq!(
        heard,
        [("peer 1", 1, &b"one"[..]), ("peer 2", 2, b"other"), ("peer 1", 2, b"last")]
    );
    let passed = Duration::from_millis(1500);
    assert!((before + passed..=after + passed).contains(&packets[0].2), "{packets:?}");
}

#[test]
fn only_its_owner_may_read_it_even_if_it_was_there() {
    let scene = Scene::new(1 << 20);
    assert_eq!(fs::metadata(scene.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(scene.packets(), []);
}

#[test]
fn a_packet_is_in_the_file_after_a_second() {
    let scene = Scene::new(1 << 20);
    assert_eq!(scene.capture.due(), None);
    scene.hear(0, Direction::In, b"one", START);
    let due = START + Duration::from_secs(1);
    assert_eq!(scene.capture.due(), Some(due));
    scene.capture.handle_timeout(due);
    assert_eq!(scene.packets().len(), 1);
    assert_eq!(scene.capture.due(), None);
}

#[test]
fn many_packets_do_not_wait() {
    let scene = Scene::new(1 << 20);
    for _ in 0..100 {
        scene.hear(0, Direction::In, &[1; 1400], START);
    }
    assert!(scene.packets().len() > 40);
}

#[test]
fn its_size_is_kept_and_what_is_in_it_whole() {
    let size_max = 100_000;
    let scene = Scene::new(size_max);
    for _ in 0..100 {
        scene.hear(0, Direction::In, &[1; 1400], START);
    }
    // A small one that would fit: there are no gaps in a capture that is full.
    scene.hear(0, Direction::In, b"small", START);
    scene.capture.finish();
    let len = fs::metadata(scene.file()).unwrap().len();
    assert!(len <= size_max && len > size_max - 4096, "{len} bytes");
    let packets = scene.packets();
    assert!(packets.iter().all(|(_, _, _, data)| data.len() == 1400));
    assert_eq!(scene.capture.writer().lost, 101 - packets.len() as u64);
}

#[test]
fn what_was_torn_is_cut_off_and_the_capture_goes_on() {
    let scene = Scene::new(1 << 20);
    scene.hear(0, Direction::In, b"one", START);
    scene.capture.handle_timeout(START + Duration::from_secs(1));
    {
        let mut writer = scene.capture.writer();
        writer.file.write_all(b"half a packet").unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        writer.take_back(&full);
        assert_eq!(writer.state, State::Failing);
    }
    scene.hear(1, Direction::In, b"two", START);
    scene.capture.finish();
    let names: Vec<_> = scene.packets().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["peer 1", "peer 2"]);
}

#[test]
fn what_is_no_file_is_refused() {
    for file in ["/dev/null", "/nowhere/a.pcap"] {
        let to = CaptureFile { file: file.into(), size_max: 1 << 20 };
        let error = Capture::create(to, START).unwrap_err();
        assert!(error.to_string().starts_with(file), "{error}");
    }
}
