//! Runs [`slipwire_core`] on real sockets, with one thread and [mio](https://docs.rs/mio).
//!
//! The driver is thin: it turns core's actions into system calls, and readiness into core's
//! inputs. It decides nothing. File descriptors live here and only here.
//!
//! # A page inside the tunnel
//!
//! Two drivers: the first serves a page to its peers, the second leads a local port to it.
//!
//! ```
//! use std::io::Write;
//! use std::net::{Ipv4Addr, SocketAddr, TcpStream};
//! use std::time::Duration;
//! use slipwire_core::config::{Gateway, Interface, Parts, Peer};
//! use slipwire_core::rules::{Rule, RuleAction};
//! use slipwire_core::{Config, FlowMeta, PrivateKey};
//! use slipwire_driver::{Driver, Forward, ForwardProtocol, Page, Settings};
//!
//! let [server_key, client_key] = [1, 2].map(|end| PrivateKey::from_entropy([end; 32]));
//! let laptop = Peer::new(client_key.public_key()).with_name("laptop");
//! let mut gateway = Gateway::default();
//! gateway.rules.push(Rule::any(RuleAction::Serve)); // to whichever address and port
//! let server_id = server_key.public_key();
//! let mut parts = Parts::new(Interface::new(server_key, ["10.77.0.1/24".parse()?]));
//! parts.peers.push(laptop.with_allowed_ips(["10.77.0.2/32".parse()?]));
//! parts.gateway = Some(gateway);
//! let mut server = Driver::new(Config::new(parts)?, Settings::default(), [42; 32])?;
//! let page = |meta: &FlowMeta| format!("HTTP/1.0 200 OK\r\n\r\nhello {}", meta.peer.name).into();
//! server.serve_streams(80, Page::new(page))?;
//!
//! let port = server.local_addresses().next().ok_or("it listens nowhere")?.port();
//! let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
//! let server_peer = Peer::new(server_id).with_endpoint(endpoint);
//! let mut parts = Parts::new(Interface::new(client_key, ["10.77.0.2/32".parse()?]));
//! parts.peers.push(server_peer.with_allowed_ips(["10.77.0.1/32".parse()?]));
//! let (listen, to) = ("127.0.0.1:0".parse()?, "10.77.0.1:80".parse()?);
//! let mut settings = Settings::default();
//! settings.forwards.push(Forward::new(ForwardProtocol::Tcp, listen, to));
//! let mut client = Driver::new(Config::new(parts)?, settings, [43; 32])?;
//!
//! let (_, forward) = client.forwards().next().ok_or("no forward")?;
//! let mut browser = TcpStream::connect(forward.listen)?;
//! browser.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//! let answer = std::thread::spawn(move || std::io::read_to_string(browser));
//! while !answer.is_finished() {
//!     server.turn(Some(Duration::from_millis(1)))?;
//!     client.turn(Some(Duration::from_millis(1)))?;
//! }
//! assert!(answer.join().is_ok_and(|text| text.is_ok_and(|text| text.ends_with("hello laptop"))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What takes more than one answer is a [`StreamService`] of its own, and datagrams are for a
//! [`DatagramService`], which a closure can be: `driver/examples/whoami.rs` is a whole program.
//!
//! # The loop
//!
//! A [`Driver`] does nothing until [`turn`](Driver::turn) is called, again and again. A turn waits
//! until there is something to do, then
//!
//! 1. notes what epoll says, hands in names that have been resolved, and lets time pass,
//! 2. takes batches of datagrams from the WireGuard sockets, and after each batch carries out
//!    core's actions and sends its datagrams and trains,
//! 3. gives each host socket with something to do a turn, within a budget,
//! 4. accepts clients of forwards, and takes their datagrams,
//! 5. sends what has come of that.
//!
//! What core has to say is taken in the order that core asks for: actions until there are none,
//! then the datagrams that waited behind them, then trains. Trains that leave make room for flows
//! that wait, so after them actions are looked at once more, until nothing is left or it is enough
//! for one turn.
//!
//! Each step is bounded, so that no socket, flow or timer keeps the others waiting. With nothing to
//! do a turn blocks.
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Duration;
//! use slipwire_core::config::{Interface, Parts, Peer};
//! use slipwire_core::{Config, PrivateKey};
//! use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings};
//!
//! let interface = Interface::new(PrivateKey::from_entropy([7; 32]), ["10.77.0.2/32".parse()?]);
//! let config = Config::new(Parts::new(interface))?;
//! let (listen, to) = ("127.0.0.1:0".parse()?, "10.77.0.1:80".parse()?);
//! let mut settings = Settings::default();
//! settings.listen = vec!["127.0.0.1".parse::<IpAddr>()?.into()];
//! settings.forwards.push(Forward::new(ForwardProtocol::Tcp, listen, to).with_name("web"));
//! let mut driver = Driver::new(config, settings, [42; 32])?;
//! for (_, forward) in driver.forwards() {
//!     println!("{} listens at {}", forward.name, forward.listen);
//! }
//!
//! // Peers, rules and forwards can be changed between turns.
//! let peer = Peer::new("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse()?)
//!     .with_name("server")
//!     .with_allowed_ips(["10.77.0.1/32".parse()?]);
//! let id = driver.add_peer(&peer)?;
//! assert_eq!(driver.engine().peer(id).map(|peer| peer.identity.name.as_str()), Some("server"));
//!
//! # let mut turns = 0;
//! # let mut is_time_to_go = || { turns += 1; turns > 3 };
//! while !is_time_to_go() {
//!     // `None` waits as long as there is nothing to do.
//!     driver.turn(Some(Duration::from_millis(10)))?;
//! }
//! driver.shut_down();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Inside another loop
//!
//! There are two ways to run a driver beside other things in one thread:
//!
//! - The driver's loop is the outer one: whatever mio can watch (signals, a Unix socket for
//!   control) is added with [`Driver::add_wakeup`]. Its readiness ends a turn, after which the
//!   embedder looks at it, and reads it until it would block.
//! - The other loop is the outer one: a driver is a descriptor ([`AsFd`](std::os::fd::AsFd)) that
//!   is readable when there is something to do. The other loop waits for that, at most for
//!   [`Driver::next_timeout`], then calls `turn(Some(Duration::ZERO))`.
//!
//! # What can be seen
//!
//! Between turns [`Driver::peers`] and [`Driver::flows`] say what there is: where peers are, when
//! they last shook hands, what has moved and what was dropped and why, by peer; what each flow is
//! about, how far it is and what it has moved. An observer ([`Driver::set_observer`]) is told
//! instead, when peers come up or go down, when flows open and end, and when something is refused.
//!
//! # Beside boringtun
//!
//! A program that uses boringtun 0.7 itself finds its clock frozen: [`slipwire_core`] says why, and
//! what to do.
//!
//! # Threads
//!
//! There is one, but for names of endpoints: the system's resolver blocks, so each question gets a
//! thread that ends with its answer. A driver may be made in one thread and turned in another.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod addresses;
mod batch;
mod capture;
mod clock;
mod datagrams;
mod descriptors;
mod driver;
mod error;
mod host;
mod incidents;
mod listen;
mod netlink;
mod private_file;
mod refusal;
mod resolve;
mod settings;
mod socket_options;
mod socket_state;
mod tape_files;
mod token;
mod wireguard;

pub use capture::Capture;
pub use descriptors::OpenFiles;
pub use driver::Driver;
pub use error::{FileError, StartError, StartErrors};
pub use host::guard::is_this_host;
pub use host::proxy::{PROXY_PEER_NAME, PROXY_PUBLIC_KEY};
pub use host::service::ServiceId;
pub use host::service::datagrams::{DatagramService, PeerDatagrams};
pub use host::service::page::Page;
pub use host::service::ports::{Ports, PortsTaken};
pub use host::service::stream::{PeerStream, StreamEnd, StreamService};
pub use listen::table::ForwardId;
pub use settings::{CaptureFile, Forward, ForwardProtocol, ListenAddress, Settings, TapeFiles};
pub use wireguard::Offloads;

/// A driver may be made in one thread and turned in another.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Driver>();
    is_send::<Settings>();
};
