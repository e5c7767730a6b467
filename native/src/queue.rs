//! Reading an NFQUEUE: many messages for one handover of the interpreter's lock. The twin of `Queue.fill` and
//! `parse_packet` in `filters/netfilter/queue.py`.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::memory::Lent;

/// The largest message, see `filters/netfilter/queue.py`.
const LARGEST_MESSAGE: usize = 66_048;
/// `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 20;
const PACKET: u16 = 0x300;
const NFQA_PACKET_HDR: u16 = 1;
const NFQA_MARK: u16 = 3;
const NFQA_IFINDEX_OUTDEV: u16 = 6;
const NFQA_PAYLOAD: u16 = 10;
const NFQA_CAP_LEN: u16 = 13;
const NFQA_SKB_INFO: u16 = 14;
/// `NFQA_SKB_CSUMNOTREADY` and `NFQA_SKB_GSO` are `PacketFlag.CHECKSUM_PARTIAL` and `.SUPER_PACKET`.
const INFO_MASK: u32 = 3;
/// `PacketFlag.TRUNCATED`
const TRUNCATED: u32 = 8;
/// `PacketFlag.FORWARDED`, and where in its attribute `NFQA_PACKET_HDR` has the hook that says so.
const FORWARDED: u32 = 16;
const HOOK_AT: usize = 10;
const NF_INET_FORWARD: u8 = 2;

/// A packet in the kernel's hands; `token` is its id with its mark above.
#[derive(Default)]
pub struct Packet {
    token: u64,
    flags: u32,
    adapter: u32,
    pub offset: usize,
    pub length: usize,
}

/// Append up to `limit` waiting packets to the columns of a batch, their bytes from `start` of `data` on, below `stop`.
///
/// Where the next byte may go, and how many times the socket overran, messages named no packet, packets were cut.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "columns of a batch; called in one place")]
pub fn fill(
    py: Python<'_>,
    number: i32,
    data: &Bound<'_, PyAny>,
    start: usize,
    stop: usize,
    limit: usize,
    offsets: &Bound<'_, PyList>,
    lengths: &Bound<'_, PyList>,
    flags: &Bound<'_, PyList>,
    adapters: &Bound<'_, PyList>,
    tokens: &Bound<'_, PyList>,
) -> PyResult<(usize, usize, usize, usize)> {
    let mut data = Lent::writable(data)?;
    if stop > data.len() {
        return Err(PyValueError::new_err("the batch ends before"));
    }
    let (mut at, mut overruns, mut refused, mut truncated) = (start, 0, 0, 0);
    let mut packets = Vec::with_capacity(limit);
    let failed = py.detach(|| {
        let data = &mut data.bytes_mut()[..stop];
        while packets.len() < limit && at + LARGEST_MESSAGE <= stop {
            let size = match recv(number, &mut data[at..], MsgFlags::MSG_DONTWAIT) {
                Ok(size) => size,
                Err(Errno::EAGAIN) => return None,
                Err(Errno::ENOBUFS) => {
                    overruns += 1;
                    continue;
                }
                Err(error) => return Some(error),
            };
            match parse(&data[at..at + size]) {
                Some(packet) => {
                    packets.push(Packet { offset: at + packet.offset, ..packet });
                    at = (at + size).next_multiple_of(8);
                }
                None => refused += 1, // also the answer to a verdict for a packet that is gone
            }
        }
        None
    });
    for packet in packets {
        truncated += usize::from(packet.flags & TRUNCATED != 0);
        offsets.append(packet.offset)?;
        lengths.append(packet.length)?;
        flags.append(packet.flags)?;
        adapters.append(packet.adapter)?;
        tokens.append(packet.token)?;
    }
    match failed {
        Some(error) => Err(PyOSError::new_err((error as i32, error.desc()))),
        None => Ok((at, overruns, refused, truncated)),
    }
}

/// The packet that a message is about; None if it names none.
pub fn parse(message: &[u8]) -> Option<Packet> {
    let native = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let network = |at: usize| Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?));
    if native(4)? != PACKET {
        return None;
    }
    let (mut id, mut mark, mut packet) = (None, 0, Packet::default());
    let mut at = HEADERS;
    while at + 8 <= message.len() {
        let (size, kind) = (usize::from(native(at)?), native(at + 2)?);
        if size < 4 {
            break;
        }
        match kind {
            NFQA_PAYLOAD => (packet.offset, packet.length) = (at + 4, size - 4),
            NFQA_PACKET_HDR => {
                id = network(at + 4);
                if size > HOOK_AT && message.get(at + HOOK_AT) == Some(&NF_INET_FORWARD) {
                    packet.flags |= FORWARDED;
                }
            }
            NFQA_IFINDEX_OUTDEV => packet.adapter = network(at + 4)?,
            NFQA_SKB_INFO => packet.flags |= network(at + 4)? & INFO_MASK,
            NFQA_MARK => mark = network(at + 4)?,
            NFQA_CAP_LEN => packet.flags |= TRUNCATED,
            _ => {}
        }
        at += size.next_multiple_of(4);
    }
    let id = u64::from(id?);
    if packet.length == 0 || packet.offset + packet.length > message.len() {
        return Some(Packet { token: id, flags: TRUNCATED, adapter: packet.adapter, offset: 0, length: 0 });
    }
    packet.token = id | u64::from(mark) << 32;
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; HEADERS];
        message[4..6].copy_from_slice(&PACKET.to_ne_bytes());
        for (kind, value) in parts {
            message.extend((value.len() as u16 + 4).to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(*value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        message
    }

    #[test]
    fn a_packet_message_is_read_whatever_the_order() {
        let header = [0, 0, 0, 7, 8, 0, 3];
        let parts: [(u16, &[u8]); 5] = [
            (NFQA_PAYLOAD, b"payload."),
            (NFQA_SKB_INFO, &[0, 0, 0, 3]),
            (NFQA_MARK, &[0, 0, 1, 0]),
            (NFQA_IFINDEX_OUTDEV, &[0, 0, 0, 2]),
            (NFQA_PACKET_HDR, &header),
        ];
        let message = message(&parts);
        let packet = parse(&message).expect("a packet");
        assert_eq!((packet.token, packet.flags, packet.adapter), (0x100_0000_0007, 3, 2));
        assert_eq!(&message[packet.offset..packet.offset + packet.length], b"payload.");
    }

    #[test]
    fn another_machines_packet_is_told_by_its_hook() {
        for (hook, flags) in [(NF_INET_FORWARD, FORWARDED), (3, 0)] {
            let message = message(&[(NFQA_PACKET_HDR, &[0, 0, 0, 7, 8, 0, hook]), (NFQA_PAYLOAD, &[1; 40])]);
            assert_eq!(parse(&message).expect("a packet").flags, flags);
        }
    }

    #[test]
    fn no_bytes_point_outside() {
        let whole = message(&[(NFQA_PACKET_HDR, &[0, 0, 0, 7, 8, 0, 3]), (NFQA_PAYLOAD, &[1; 40])]);
        for end in 0..whole.len() {
            if let Some(packet) = parse(&whole[..end]) {
                assert!(packet.offset + packet.length <= end);
            }
            for value in [0, 1, 4, 255] {
                let mut damaged = whole.clone();
                damaged[end] = value;
                if let Some(packet) = parse(&damaged) {
                    assert!(packet.offset + packet.length <= damaged.len());
                }
            }
        }
    }
}
