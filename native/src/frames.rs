//! Frames in the memory that the Windows Packet Filter driver fills and takes them from: `INTERMEDIATE_BUFFER` after
//! `INTERMEDIATE_BUFFER`. The twins of `plain_lengths` in `filters/ndisapi/inbox.py` and of the loop in `Outbox.send`,
//! `outbox.py` beside it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PyTuple};

use crate::bytes::u16_at;
use crate::memory::Lent;

/// Where things are: of `INTERMEDIATE_BUFFER` m_dwDeviceFlags, m_Length, m_8021q and the frame, which begins with the
/// destination's MAC; of the frame its type and its packet; of the packet what tells a fragment.
const DIRECTION: usize = 16;
const LENGTH: usize = 20;
const TAG: usize = 28;
const FRAME: usize = 52;
const MAC: usize = 6;
const TYPE: usize = 12;
const ETHERNET_HEADER: usize = 14;
const FRAGMENT_FIELD: usize = 6;

const SEND: u32 = 1;
const MAX_ETHER_FRAME: usize = 1514;
const IPV4_TYPE: u16 = 0x0800;
const IPV6_TYPE: u16 = 0x86DD;
/// "Do not fragment", and the bit that is reserved.
const NOT_FRAGMENTED: u16 = 0x4000 | 0x8000;
const IPV6_FRAGMENT: u8 = 44;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// How long the IP packets in `frames` are, one frame every `stride` bytes, if all are of the ordinary kind: of one
/// adapter, on their way out to one of `routers`, untagged, whole. None if not.
#[pyfunction]
pub fn plain_lengths(
    frames: &Bound<'_, PyAny>,
    stride: usize,
    routers: &Bound<'_, PyFrozenSet>,
) -> PyResult<Option<Vec<usize>>> {
    let frames = Lent::new(frames)?;
    let mut lengths = Vec::with_capacity(frames.len() / stride);
    let (mut adapter, mut router) = (None, None);
    for slot in frames.bytes().chunks_exact(stride) {
        let Some(length) = plain(slot) else { return Ok(None) };
        if adapter.get_or_insert(&slot[..8]) != &&slot[..8] {
            return Ok(None);
        }
        let to = &slot[FRAME..FRAME + MAC];
        if router != Some(to) {
            if !routers.contains(PyBytes::new(routers.py(), to))? {
                return Ok(None);
            }
            router = Some(to);
        }
        lengths.push(length);
    }
    Ok(Some(lengths))
}

/// The length of its IP packet, if a frame by itself is of the ordinary kind.
fn plain(slot: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(slot.get(at..at + 4)?.try_into().ok()?));
    let length = number(LENGTH)? as usize;
    let frame = slot.get(FRAME..FRAME + length.min(MAX_ETHER_FRAME))?;
    if number(DIRECTION)? != SEND || number(TAG)? != 0 || length > MAX_ETHER_FRAME {
        return None;
    }
    let packet = frame.get(ETHERNET_HEADER..).filter(|packet| packet.len() >= IPV4_HEADER)?;
    let whole = match u16_at(frame, TYPE) {
        IPV4_TYPE => u16_at(packet, FRAGMENT_FIELD) & !NOT_FRAGMENTED == 0,
        IPV6_TYPE => packet[FRAGMENT_FIELD] != IPV6_FRAGMENT,
        _ => false,
    };
    whole.then_some(packet.len())
}

/// The destination of the packet that begins with `head`; None if `head` has no whole IP header.
fn destination(head: &[u8]) -> Option<&[u8]> {
    match head.first()? >> 4 {
        4 if head.len() >= IPV4_HEADER => Some(&head[16..20]),
        6 if head.len() >= IPV6_HEADER => Some(&head[24..40]),
        _ => None,
    }
}

/// A `Place` of `filters/ndisapi/outbox.py`, and for which destination it was looked up.
struct Place<'py> {
    destination: Vec<u8>,
    head: Bound<'py, PyBytes>,
    link: usize,
    mtu: usize,
}

impl<'py> Place<'py> {
    fn look_up(places: &Bound<'py, PyDict>, destination: &[u8]) -> PyResult<Option<Self>> {
        let Some(found) = places.get_item(PyBytes::new(places.py(), destination))? else { return Ok(None) };
        let (head, link, mtu) = found.cast::<PyTuple>()?.extract()?;
        Ok(Some(Self { destination: destination.to_vec(), head, link, mtu }))
    }
}

/// Fill the slots of `stride` bytes in `data` with `packets` (buffers that together are one) from number `first` on.
///
/// A slot is the head of the packet's place, with the frame's length at `length_at`, and the packet. How far it came,
/// how many slots are filled, and the numbers of packets that are left to Python: those without a place, or too large.
#[pyfunction]
pub fn put_frames(
    data: &Bound<'_, PyAny>,
    stride: usize,
    length_at: usize,
    packets: &Bound<'_, PyAny>,
    first: usize,
    places: &Bound<'_, PyDict>,
) -> PyResult<(usize, usize, Vec<usize>)> {
    let memory = Lent::new(data)?;
    let mut data = Lent::writable(data)?;
    let mut slots = data.bytes_mut().chunks_exact_mut(stride);
    let (mut next, mut count, mut left) = (first, 0, Vec::new());
    let mut place: Option<Place> = None;
    let mut parts = Vec::new();
    let end = packets.len()?;
    while next < end && slots.len() > 0 {
        parts.clear();
        for part in packets.get_item(next)?.try_iter()? {
            let part = Lent::new(&part?)?;
            if memory.overlaps(&part) {
                return Err(PyValueError::new_err("a packet lies in the frames' own memory"));
            }
            parts.push(part);
        }
        let to = parts.first().and_then(|head| destination(head.bytes()));
        if place.as_ref().map(|place| &place.destination[..]) != to {
            place = to.map_or(Ok(None), |to| Place::look_up(places, to))?;
        }
        let size = parts.iter().map(Lent::len).sum();
        match &place {
            Some(place) if size <= place.mtu => {
                let slot = slots.next().expect("there is one, see above");
                put(slot, length_at, place, &parts, size)
                    .ok_or_else(|| PyValueError::new_err("a frame does not fit into its slot"))?;
                count += 1;
            }
            _ => left.push(next),
        }
        next += 1;
    }
    Ok((next, count, left))
}

/// None if it does not fit.
fn put(slot: &mut [u8], length_at: usize, place: &Place, packet: &[Lent], size: usize) -> Option<()> {
    let head = place.head.as_bytes();
    let mut at = head.len();
    slot.get_mut(..at)?.copy_from_slice(head);
    let length = u32::try_from(place.link + size).ok()?;
    slot.get_mut(length_at..length_at + 4)?.copy_from_slice(&length.to_le_bytes());
    for part in packet {
        slot.get_mut(at..at + part.len())?.copy_from_slice(part.bytes());
        at += part.len();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_header_names_where_it_goes() {
        let mut ipv4 = [0x45; IPV4_HEADER];
        ipv4[16..].copy_from_slice(&[10, 0, 0, 7]);
        assert_eq!(destination(&ipv4), Some(&[10, 0, 0, 7][..]));
        let mut ipv6 = [0x60; IPV6_HEADER + 8];
        ipv6[24..40].copy_from_slice(&[7; 16]);
        assert_eq!(destination(&ipv6), Some(&[7; 16][..]));
        for head in [&[][..], &[0x45; IPV4_HEADER - 1], &[0x60; IPV6_HEADER - 1], &[0x05; 60]] {
            assert_eq!(destination(head), None);
        }
    }
}
