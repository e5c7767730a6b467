//! Consecutive TCP segments of a flow become one packet for the host's stack. The twin of
//! `wiresock_py/datapath/merge.py`: the kernel's own rule for GRO, and a checksum that comes out of the segments' own.
//!
//! Where nothing else lies between two segments their payloads are moved together, so that the packet is one piece.

use pyo3::prelude::*;

use crate::bytes::{put_u16, u16_at, u32_at};
use crate::checksum::word_sum;
use crate::flow::{FlowState, Translation, Wire};
use crate::headers::{ACK_FLAG, Ip, PUSH_FLAG, TCP, TCP_HEADER};
use crate::rewrite::rewrite;

pub const MAX_PACKET: usize = 65_535;
const PUSH: u32 = (PUSH_FLAG as u32) << 16;
const ACK: u32 = (ACK_FLAG as u32) << 16;
/// In the fourth word of a TCP header: reserved bits and flags.
const FLAGS: u32 = 0x0FFF_0000;

/// A data segment that may be merged, with nothing but ACK and PSH set; offsets count from its first byte.
#[derive(Clone, Copy)]
pub struct Segment {
    pub ip: Ip,
    pub key: Wire,
    pub header: usize,
    sequence: u32,
    word: u32,
    checksum: u32,
    signature: Signature,
}

/// What all segments of a run share, but for the options: type of service (in IPv6 with the flow label), TTL and
/// protocol, fragment field, acknowledgment, the fourth word of the TCP header with PSH set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Signature {
    kind: u32,
    hops: u16,
    fragment: u16,
    acknowledgment: u32,
    word: u32,
}

impl Segment {
    /// Read the plain text that `packet` is, padding included; None if it is no such segment.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (kind, total, fragment, hops, protocol, transport, is_ipv6) = if first == 0x45 && packet.len() >= 40 {
            let kind = u32::from(u16_at(packet, 0));
            let total = usize::from(u16_at(packet, 2));
            (kind, total, u16_at(packet, 6), u16_at(packet, 8), packet[9], 20, false)
        } else if first >> 4 == 6 && packet.len() >= 60 {
            let total = 40 + usize::from(u16_at(packet, 4));
            (u32_at(packet, 0), total, 0, u16_at(packet, 6), packet[6], 40, true)
        } else {
            return None;
        };
        let word = u32_at(packet, transport + 12);
        let header = transport + (word >> 28) as usize * 4;
        let is_data = protocol == TCP
            && word & (FLAGS ^ PUSH) == ACK
            && fragment & 0x3FFF == 0
            && transport + TCP_HEADER <= header
            && header < total
            && total <= packet.len();
        if !is_data {
            return None;
        }
        let addresses = if is_ipv6 { 8 } else { 12 };
        let acknowledgment = u32_at(packet, transport + 8);
        Some(Self {
            ip: Ip { is_ipv6, protocol, transport, end: total },
            key: Wire::new(&packet[addresses..transport + 4])?,
            header,
            sequence: u32_at(packet, transport + 4),
            word,
            checksum: u32_at(packet, transport + 16),
            signature: Signature { kind, hops, fragment, acknowledgment, word: word | PUSH },
        })
    }

    fn payload(&self) -> usize {
        self.ip.end - self.header
    }
}

/// Segments of one flow being merged.
pub struct Run<'py> {
    pub flow: Bound<'py, FlowState>,
    pub key: Wire,
    /// Its place among the packets for the stack.
    pub packet: usize,
    signature: Signature,
    /// Where the first segment begins in the buffer.
    start: usize,
    /// Of the first segment.
    ip: Ip,
    header: usize,
    count: usize,
    /// How many bytes were added to the first segment, and how many more may be.
    grown: usize,
    room: usize,
    expected: Option<u32>,
    sums: i64,
    pushed: bool,
}

impl<'py> Run<'py> {
    /// Begin with the segment that begins at `start` of the buffer; the packet grows up to `largest` bytes.
    pub fn new(flow: Bound<'py, FlowState>, packet: usize, start: usize, segment: Segment, largest: usize) -> Self {
        let size = segment.payload();
        Self {
            flow,
            key: segment.key,
            packet,
            signature: segment.signature,
            start,
            ip: segment.ip,
            header: segment.header,
            count: 1,
            grown: 0,
            room: largest.min(MAX_PACKET).saturating_sub(segment.ip.end),
            expected: (size % 2 == 0).then(|| segment.sequence.wrapping_add(size as u32)),
            sums: 0,
            pushed: segment.word & PUSH != 0,
        }
    }

    /// Whether the segment, which begins at `start` of `buffer`, continues this run.
    pub fn takes(&self, segment: &Segment, start: usize, buffer: &[u8]) -> bool {
        let options = self.ip.transport + TCP_HEADER;
        self.expected == Some(segment.sequence)
            && segment.payload() <= self.room
            && segment.signature == self.signature
            && segment.header == self.header
            && buffer[start + options..start + segment.header] == buffer[self.start + options..self.start + self.header]
    }

    /// Enter a segment that it takes, of at most `most` in all.
    pub fn add(&mut self, segment: &Segment, most: usize) {
        let size = segment.payload();
        self.count += 1;
        self.room -= size;
        self.grown += size;
        // after an odd number of bytes the next payload's sum would have to be shifted: rare enough to end the run
        self.expected = (size % 2 == 0 && self.count < most).then(|| segment.sequence.wrapping_add(size as u32));
        self.sums += size as i64 + i64::from(segment.sequence) + i64::from(segment.word) + i64::from(segment.checksum);
        self.pushed |= segment.word & PUSH != 0;
    }

    /// Translate the packet and make its headers say what it has become.
    pub fn finish(self, buffer: &mut [u8], now: f64) {
        let mut flow = self.flow.borrow_mut();
        let first = &mut buffer[self.start..self.start + self.ip.end];
        let transport = self.ip.transport;
        let total = self.ip.end + self.grown;
        if self.count == 1 {
            rewrite(first, self.ip, &flow.into);
        } else {
            // Over a right segment the words of pseudo-header, header, checksum and payload add up to zero. All but the
            // payload's sum is known, so that is the negative of the rest.
            let shared = word_sum(self.key.all())
                + i64::from(TCP)
                + (self.header - transport) as i64
                + i64::from(self.signature.acknowledgment)
                + word_sum(&first[transport + TCP_HEADER..self.header]);
            let payloads = -((self.count as i64 - 1) * shared + self.sums);
            let mut pushed = 0;
            if self.pushed && first[transport + 13] & PUSH_FLAG == 0 {
                first[transport + 13] |= PUSH_FLAG;
                pushed = i64::from(PUSH_FLAG);
            }
            let (place, length) = if self.ip.is_ipv6 { (4, total - transport) } else { (2, total) };
            put_u16(first, place, length as u16);
            let grown = self.grown as i64;
            let way = Translation {
                wire: flow.into.wire,
                address_delta: flow.into.address_delta + grown,
                delta: flow.into.delta + grown + payloads + pushed,
            };
            rewrite(first, self.ip, &way);
        }
        flow.arrived(self.count as u64, total + (self.count - 1) * self.header, now);
    }
}
