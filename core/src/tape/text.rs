//! What is on a tape, in words.

use crate::id::FlowId;
use crate::stack::input::{Input, Reply};
use crate::tape::entry::{Entry, Output};
use crate::tape::summary::Summary;

/// An entry that is no input.
pub(crate) fn entry(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Input { input, .. } => self::input(input),
        Entry::Output(output) => self::output(output),
        Entry::Room { has_room: true, .. } => "the tunnel has room again".into(),
        Entry::Room { has_room: false, .. } => "the tunnel has no room".into(),
        Entry::PathMtu(path_mtu) => format!("packets may have {path_mtu} bytes"),
    }
}

fn packet(head: &[u8], len: usize) -> String {
    match Summary::of(head) {
        Some(summary) => format!("{summary}, {len} bytes"),
        None => format!("{len} bytes that are no packet"),
    }
}

/// An input.
pub(crate) fn input(input: &Input<'_>) -> String {
    match input {
        Input::Packet { peer, bytes } => {
            let bytes = bytes.as_slice();
            format!("{peer:?} sends {}", packet(bytes, bytes.len()))
        }
        Input::TrainEnd => "no more packets follow at once".into(),
        Input::Timeout => "time passes".into(),
        Input::Service => "flows have their turn".into(),
        Input::PathMtu(peer) => format!("packets of another size fit the way to {peer:?}"),
        Input::PeerMoved(peer) => format!("{peer:?} has another path"),
        Input::HostAddresses(addresses) => format!("the host has the addresses {addresses:?}"),
        Input::SocketLimit(sockets) => format!("the host has {sockets} sockets for flows"),
        Input::Rules(rules) => format!("there are {} new rules", rules.len()),
        Input::PeerAdded(member) => format!("{:?}, {}, is added", member.id, member.name),
        Input::PeersChanged(members) => {
            let ids: Vec<_> = members.iter().map(|member| member.id).collect();
            format!("{ids:?} have changed")
        }
        Input::PeerRemoved(peer) => format!("{peer:?} is removed"),
        Input::ShutDown => "the engine is shut down".into(),
        Input::Opened { flow, port: None } => format!("{flow:?} is connected"),
        Input::Opened { flow, port: Some(port) } => format!("{flow:?} has port {port}"),
        Input::Refused { flow, refusal } => format!("{flow:?} is refused: {refusal:?}"),
        Input::OpenTcp(target) => format!("a client opens tcp {target}"),
        Input::OpenUdp(target) => format!("a client opens udp {target}"),
        Input::Send { flow, bytes } => format!("{flow:?}: {} bytes from the host", bytes.len()),
        Input::Sent { flow, len } => format!("{flow:?}: {len} bytes of the host are in its ring"),
        Input::Receive { flow, len } => format!("{flow:?}: the host takes {len} bytes"),
        Input::RingsGivenBack(flow) => format!("{flow:?}: pages of its rings are given back"),
        Input::HostEnded(flow) => format!("{flow:?}: the host has ended"),
        Input::Aborted(flow) => format!("{flow:?}: the host has failed"),
        Input::Datagram { flow, remote, payload, .. } => {
            format!("{flow:?}: a datagram of {} bytes from {remote}", payload.len())
        }
        Input::Undelivered { flow, undelivered } => format!("{flow:?}: {undelivered:?}"),
    }
}

/// The flow that an input names.
pub(crate) const fn flow_of_input(input: &Input<'_>) -> Option<FlowId> {
    match input {
        Input::Opened { flow, .. }
        | Input::Refused { flow, .. }
        | Input::Send { flow, .. }
        | Input::Sent { flow, .. }
        | Input::Receive { flow, .. }
        | Input::RingsGivenBack(flow)
        | Input::HostEnded(flow)
        | Input::Aborted(flow)
        | Input::Datagram { flow, .. }
        | Input::Undelivered { flow, .. } => Some(*flow),
        Input::Packet { .. }
        | Input::TrainEnd
        | Input::Timeout
        | Input::Service
        | Input::PathMtu(_)
        | Input::PeerMoved(_)
        | Input::HostAddresses(_)
        | Input::SocketLimit(_)
        | Input::Rules(_)
        | Input::PeerAdded(_)
        | Input::PeersChanged(_)
        | Input::PeerRemoved(_)
        | Input::ShutDown
        | Input::OpenTcp(_)
        | Input::OpenUdp(_) => None,
    }
}

/// An output.
pub(crate) fn output(output: &Output<'_>) -> String {
    match output {
        Output::Packet { peer, len, head, digest } => {
            format!("to {peer:?}: {}, digest {digest:08x}", packet(head, *len as usize))
        }
        Output::Count(name) => format!("counts {name}"),
        Output::Reply(reply) => self::reply(*reply),
        Output::Room { room: None, .. } => "takes no bytes".into(),
        Output::Room { room: Some(room), .. } => format!("has room for {room} bytes"),
        Output::Received { len, digest, .. } => {
            format!("lends {len} bytes, digest of those taken {digest:08x}")
        }
        Output::Deadline(Some(at)) => format!("wakes at {} ns", at.as_nanos()),
        Output::Deadline(None) => "wants not to be woken".into(),
        Output::Action(Some(action)) => format!("asks for {action:?}"),
        Output::Action(None) => "asks for nothing more".into(),
        Output::Datagram(Some(datagram)) => format!(
            "{:?}: a datagram of {} bytes to {}, {:?}, digest {:08x}{}",
            datagram.flow,
            datagram.len,
            datagram.remote,
            datagram.travel,
            datagram.digest,
            if datagram.is_last { ", the last" } else { "" }
        ),
        Output::Datagram(None) => "has no more datagrams".into(),
    }
}

fn reply(reply: Reply) -> String {
    match reply {
        Reply::Done => "nothing to say".into(),
        Reply::Opened(Ok(flow)) => format!("opens {flow:?}"),
        Reply::Opened(Err(error)) => format!("opens nothing: {error}"),
        Reply::Taken(len) => format!("takes {len} bytes"),
        Reply::GivenBack(true) => "gives back the pages of its rings".into(),
        Reply::GivenBack(false) => "needs its rings".into(),
        Reply::Serviced { has_more: true } => "flows have more".into(),
        Reply::Serviced { has_more: false } => "flows are at rest".into(),
    }
}

/// The flow that an output names.
pub(crate) fn flow_of_output(output: &Output<'_>) -> Option<FlowId> {
    match output {
        Output::Reply(Reply::Opened(Ok(flow)))
        | Output::Room { flow, .. }
        | Output::Received { flow, .. } => Some(*flow),
        Output::Action(Some(action)) => action.flow(),
        Output::Datagram(Some(datagram)) => Some(datagram.flow),
        Output::Packet { .. }
        | Output::Count(_)
        | Output::Reply(_)
        | Output::Deadline(_)
        | Output::Action(None)
        | Output::Datagram(None) => None,
    }
}
