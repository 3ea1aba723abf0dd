//! Who calls, as services behind a redirect hear of it: by the PROXY protocol, read by HAProxy, by
//! nginx, and byte by byte.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use ppp::v2::{Header, TypeLengthValue};
use slipwire_core::PublicKey;
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    payload::{Payload, receive, send},
    process::Process,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
};

use crate::{
    common::{PORT, receive_from_source, send_to_sink},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);
/// Hosts that are nowhere: whoever answers for them was told of them.
const NOWHERE: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// Version 1 and version 2, over IPv4 and IPv6 on the host, to whoever listens on port 8001.
const RULES: &str = r#"
[[rule]]
protocol = ["tcp"]
port = [8001]
action = "redirect"
target = "127.0.0.1:8001"
proxy_protocol = "v1"

[[rule]]
protocol = ["tcp"]
port = [8002]
action = "redirect"
target = "[::1]:8001"
proxy_protocol = "v2"
"#;

/// To services of our own.
const OWN_RULES: &str = r#"
[[rule]]
protocol = ["tcp"]
port = [443]
action = "redirect"
target = "127.0.0.1:7000"
proxy_protocol = "v2"

[[rule]]
protocol = ["tcp"]
port = [80]
action = "redirect"
target = "127.0.0.1:7001"
proxy_protocol = "v2"
"#;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("gateway::haproxy_hears_who_calls", haproxy).with_tools(&["haproxy"]),
        Test::new("gateway::nginx_hears_who_calls", nginx).with_tools(&["nginx"]),
        Test::new("gateway::a_redirected_service_hears_the_peers_key_and_name", values),
    ]
}

fn tunnel(lab: &Lab, gateway: &'static str) -> Result<Tunnel> {
    Tunnel::start(lab, Plan { gateway, ..Plan::new(Job::Gateway) })
}

fn haproxy(lab: &Lab) -> Result<()> {
    const CONFIG: &str = r#"
global
    log stdout format raw local0 info

defaults
    mode http
    log global
    log-format "%ci %cp %fi %fp"
    timeout connect 5s
    timeout client 30s
    timeout server 30s

frontend introduced
    bind 127.0.0.1:8001 accept-proxy
    bind [::1]:8001 accept-proxy
    http-request return status 200 content-type text/plain lf-string "%ci %cp %fi %fp"
"#;
    let tunnel = tunnel(lab, RULES)?;
    let file = lab.directory("haproxy")?.join("haproxy.cfg");
    fs::write(&file, CONFIG)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let haproxy = tunnel.row.mid.spawn("haproxy", &mut command)?;
    hears_who_calls(&tunnel, &haproxy)
}

fn nginx(lab: &Lab) -> Result<()> {
    const CONFIG: &str = r#"
daemon off;
master_process off;
pid DIRECTORY/nginx.pid;
error_log stderr;
events {}
http {
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    log_format peer '$proxy_protocol_addr $proxy_protocol_port '
                    '$proxy_protocol_server_addr $proxy_protocol_server_port';
    access_log /dev/stdout peer;
    default_type text/plain;
    server {
        listen 127.0.0.1:8001 proxy_protocol;
        listen [::1]:8001 proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }
}
"#;
    let tunnel = tunnel(lab, RULES)?;
    let directory = lab.directory("nginx")?;
    let file = directory.join("nginx.conf");
    fs::write(&file, CONFIG.replace("DIRECTORY", &directory.display().to_string()))?;
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&file);
    let nginx = tunnel.row.mid.spawn("nginx", &mut command)?;
    hears_who_calls(&tunnel, &nginx)
}

/// Asks a server that answers with, and logs, the addresses that it was told.
fn hears_who_calls(tunnel: &Tunnel, server: &Process) -> Result<()> {
    for port in [8001, 8002] {
        for address in NOWHERE {
            let destination = SocketAddr::new(address.parse()?, port);
            // The server may still be starting.
            let told = eventually("answer", LIMIT, || ask(tunnel, destination))?;
            eventually("line in the log", LIMIT, || {
                let logged = server.stdout().count_lines(|line| line == told);
                ensure!(logged == 1, "{told:?} is not in the log:\n{}", server.stdout().text());
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// One request, whose answer must be the client's own address and port, and the destination's.
fn ask(tunnel: &Tunnel, destination: SocketAddr) -> Result<String> {
    let mut stream = tcp::connect(&tunnel.row.near, destination)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{answer:?}"))?;
    let source = stream.local_addr()?;
    let ends = [source, destination].map(|end| format!("{} {}", end.ip(), end.port()));
    ensure!(body == ends.join(" "), "{body:?} is not {ends:?}");
    Ok(body.to_owned())
}

fn values(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, OWN_RULES)?;
    let payload = Payload::mib(64, 30);
    let sink = Service::start(&tunnel.row.mid, PORT, |mut stream| {
        let header = read_header(&stream)?;
        let sum = receive(&mut stream)?;
        write!(stream, "{} bytes", sum.bytes)?;
        Ok((header, sum))
    })?;
    let source = Service::start(&tunnel.row.mid, PORT + 1, move |mut stream| {
        let header = read_header(&stream)?;
        let sum = send(&mut stream, payload)?;
        stream.shutdown(Shutdown::Write)?;
        tcp::expect_rest(&stream, b"thanks")?;
        Ok((header, sum))
    })?;
    for address in NOWHERE {
        let upload = SocketAddr::new(address.parse()?, 443);
        let stream = tcp::connect(&tunnel.row.near, upload)?;
        let sent = send_to_sink(&stream, payload)?;
        let (header, received) = sink.result()?;
        introduces(&tunnel, &header, stream.local_addr()?, upload)?;
        ensure!(sent == received, "other bytes arrived than were sent to {upload}");

        let download = SocketAddr::new(address.parse()?, 80);
        let stream = tcp::connect(&tunnel.row.near, download)?;
        let received = receive_from_source(&stream)?;
        let (header, sent) = source.result()?;
        introduces(&tunnel, &header, stream.local_addr()?, download)?;
        ensure!(sent == received, "other bytes arrived than {download} sent");
    }
    Ok(())
}

/// Reads a header of version 2 and not a byte more.
fn read_header(mut stream: &TcpStream) -> Result<Vec<u8>> {
    let mut header = vec![0; 16];
    stream.read_exact(&mut header)?;
    let rest = u16::from_be_bytes([header[14], header[15]]);
    header.resize(header.len() + usize::from(rest), 0);
    stream.read_exact(&mut header[16..])?;
    Ok(header)
}

/// Wants a header to say all there is to say about the peer.
fn introduces(
    tunnel: &Tunnel,
    header: &[u8],
    source: SocketAddr,
    destination: SocketAddr,
) -> Result<()> {
    let header = Header::try_from(header).map_err(|error| anyhow!("{error:?}"))?;
    ensure!(header.addresses == (source, destination).into(), "{:?}", header.addresses);
    let values: Result<Vec<_>, _> = header.tlvs().collect();
    let values = values.map_err(|error| anyhow!("{error:?}"))?;
    let [TypeLengthValue { kind: 0xe0, value: key }, TypeLengthValue { kind: 0xe1, value: name }] =
        &values[..]
    else {
        return Err(anyhow!("{values:?}"));
    };
    let key = PublicKey::from_bytes(key.as_ref().try_into()?)?.to_string();
    let end = tunnel.wireguard_go().context("no peer")?;
    ensure!(key == end.public_key(), "{key} is not the peer's key");
    ensure!(name.as_ref() == b"near", "{name:?} is not the peer's name");
    Ok(())
}
