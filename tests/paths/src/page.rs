//! Pages of 50 KB, each over a connection of its own: how long from the start to the last byte.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use slipwire_lab::tcp::Service;
use slipwire_worlds::path::Direction;

use super::{load::Load, program::Program, site::Site};

const PORT: u16 = 7001;
const REQUEST: usize = 100;
/// Bytes of a page.
pub const PAGE: usize = 50_000;
/// A page that takes longer is given up and counts as that.
const LIMIT: Duration = Duration::from_secs(8);
/// How long a download runs before pages are fetched beside it.
pub const RUN_UP: Duration = Duration::from_secs(2);
/// No more pages are asked for when all so far took longer than this.
const TOGETHER: Duration = Duration::from_secs(16);

/// How long pages took, over a path that was just renewed.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// The first one of a peer.
    pub first: Duration,
    /// The later ones.
    pub later: Vec<Duration>,
}

/// Fetches one page, and so many later ones.
pub fn run(site: &Site, later: usize) -> Result<Pages> {
    let program = site.program.clone();
    let _server = Service::start(&site.row().far, PORT, move |stream| serve(&program, &stream))?;
    let start = Instant::now();
    let mut pages = Pages { first: fetch(site), later: Vec::new() };
    while pages.later.len() < later && start.elapsed() < TOGETHER {
        pages.later.push(fetch(site));
    }
    Ok(pages)
}

/// Fetches pages one after the other for so long, beside a download of the same peer.
pub fn beside(site: &Site, time: Duration) -> Result<Vec<Duration>> {
    let program = site.program.clone();
    let _server = Service::start(&site.row().far, PORT, move |stream| serve(&program, &stream))?;
    let load = Load::start(site, Direction::Down, 1)?;
    thread::sleep(RUN_UP);
    let (start, mut pages) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        pages.push(fetch(site));
    }
    load.end()?;
    Ok(pages)
}

fn serve(program: &Program, mut stream: &TcpStream) -> Result<()> {
    program.prepare_sender(stream, Direction::Down)?;
    stream.read_exact(&mut [0; REQUEST])?;
    stream.write_all(&[0x5a; PAGE])?;
    stream.shutdown(Shutdown::Write)?;
    // Until the client has left.
    while stream.read(&mut [0; 1])? > 0 {}
    Ok(())
}

/// A page that does not come took as long as it was waited for.
fn fetch(site: &Site) -> Duration {
    let start = Instant::now();
    match try_fetch(site, start) {
        Ok(()) => start.elapsed(),
        Err(_) => LIMIT,
    }
}

fn try_fetch(site: &Site, start: Instant) -> Result<()> {
    let mut stream = site.connect(PORT)?;
    stream.write_all(&[0; REQUEST])?;
    let (mut page, mut length) = (vec![0; PAGE], 0);
    while length < PAGE {
        let left = LIMIT.checked_sub(start.elapsed()).context("it takes too long")?;
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let read = stream.read(&mut page[length..])?;
        anyhow::ensure!(read > 0, "it ends early");
        length += read;
    }
    Ok(())
}
