//! How long a small datagram takes there and back: alone, and beside what fills the path.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use slipwire_lab::udp;

use super::site::{ECHO_PORT, Site};

const INTERVAL: Duration = Duration::from_millis(20);
/// How many are sent to learn how long they take alone.
const ALONE: usize = 15;
/// How long the answers to the last ones are waited for.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The shortest time of a few pings, with nothing beside them.
pub fn alone(site: &Site) -> Result<Duration> {
    let socket = udp::connect(&site.row().near, site.target(ECHO_PORT))?;
    let times = ping(&socket, &AtomicBool::new(false), ALONE)?;
    times.into_iter().min().context("no ping was answered")
}

/// Pings until `stop`; how long those took that were answered.
pub fn beside(site: &Site, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let socket = udp::connect(&site.row().near, site.target(ECHO_PORT))?;
    ping(&socket, stop, usize::MAX)
}

fn ping(socket: &UdpSocket, stop: &AtomicBool, count: usize) -> Result<Vec<Duration>> {
    let (start, mut sent, mut times) = (Instant::now(), Vec::new(), Vec::new());
    while sent.len() < count && !stop.load(Ordering::Relaxed) {
        let number = u64::try_from(sent.len())?;
        sent.push(Instant::now());
        // What the socket can't take is lost, as on any path.
        let _ = socket.send(&number.to_be_bytes());
        let next = start + INTERVAL * u32::try_from(sent.len())?;
        take_answers(socket, next, &sent, &mut times)?;
    }
    take_answers(socket, Instant::now() + LAST_ANSWERS, &sent, &mut times)?;
    Ok(times)
}

fn take_answers(
    socket: &UdpSocket,
    until: Instant,
    sent: &[Instant],
    times: &mut Vec<Duration>,
) -> Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || times.len() == sent.len() {
            thread::sleep(left);
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        let mut number = [0; 8];
        match socket.recv(&mut number) {
            Ok(_) => {
                let number = usize::try_from(u64::from_be_bytes(number))?;
                let asked = sent.get(number).context("an answer to nothing")?;
                times.push(asked.elapsed());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The tunnel says that something is unreachable, and may say otherwise soon.
            Err(_) => thread::sleep(left.min(Duration::from_millis(1))),
        }
    }
}
