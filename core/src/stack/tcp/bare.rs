//! Segments without data, as nobody's socket has to send them: resets, challenges, and answers for
//! connections that are over.

use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::stack::key::Ends;
use crate::stack::outlet::Exit;
use crate::stack::packet;
use crate::stack::tcp::guard::Standing;

/// Sends an acknowledgement (or, with `control`, a reset) of where a connection stands.
pub(crate) fn send_standing(
    ends: Ends,
    standing: Standing,
    control: TcpControl,
    exit: &mut Exit<'_>,
) {
    let acknowledgement = Some(standing.acknowledgement);
    send_bare(ends, standing.sequence, acknowledgement, standing.window, control, exit);
}

/// Sends a segment without data.
pub(super) fn send_bare(
    ends: Ends,
    sequence: TcpSeqNumber,
    acknowledgement: Option<TcpSeqNumber>,
    window: u16,
    control: TcpControl,
    exit: &mut Exit<'_>,
) {
    let segment = TcpRepr {
        src_port: ends.local.port(),
        dst_port: ends.remote.port(),
        control,
        seq_number: sequence,
        ack_number: acknowledgement,
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (source, destination) = (ends.local.ip(), ends.remote.ip());
    if let Some(len) = packet::write_tcp(exit.scratch, source, destination, &segment) {
        exit.outlet.send(ends.peer, exit.scratch, len);
    }
}
