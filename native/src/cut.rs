//! A TCP super-packet as segments, translated, each where its datagram is encrypted. The twin of
//! `wiresock_py/datapath/cut.py`.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::{finish, word_sum};
use crate::flow::Wire;
use crate::headers::{CONGESTION_WINDOW_REDUCED_FLAG, FIN_FLAG, Ip, PUSH_FLAG, TCP};

/// Segmentation keeps these on the last segment, respectively on the first; the rest is copied to all.
const LAST_ONLY: u8 = FIN_FLAG | PUSH_FLAG;
const FIRST_ONLY: u8 = CONGESTION_WINDOW_REDUCED_FLAG;
/// The longest headers of a plain packet: IPv6 and TCP with all its options.
const LONGEST: usize = 40 + 60;

/// A packet to be cut in pieces of `limit` bytes of payload each but the last.
pub struct Cut<'packet> {
    payload: &'packet [u8],
    limit: usize,
    /// The headers of every segment, but for what differs: lengths, identification, sequence number, flags, checksums.
    head: [u8; LONGEST],
    header: usize,
    ip: Ip,
    identification: u16,
    sequence: u32,
    flags: u8,
    /// The sums of all that a segment's checksums cover and that is the same in every segment.
    ip_base: i64,
    tcp_base: i64,
}

impl<'packet> Cut<'packet> {
    /// `packet` has its payload at `header`; its segments carry `wire`.
    pub fn new(packet: &'packet [u8], ip: Ip, header: usize, limit: usize, wire: &Wire) -> Self {
        let mut head = [0; LONGEST];
        head[..header].copy_from_slice(&packet[..header]);
        let tcp = ip.transport;
        let addresses = if ip.is_ipv6 { 8 } else { 12 };
        head[addresses..tcp + 4].copy_from_slice(wire.all());
        let identification = u16_at(&head, 4);
        let sequence = u32_at(&head, tcp + 4);
        let flags = head[tcp + 13];
        if ip.is_ipv6 {
            put_u16(&mut head, 4, 0);
        } else {
            put_u32(&mut head, 2, 0);
            put_u16(&mut head, 10, 0);
        }
        put_u32(&mut head, tcp + 4, 0);
        head[tcp + 13] = 0;
        put_u16(&mut head, tcp + 16, 0);
        let ip_base = if ip.is_ipv6 { 0 } else { word_sum(&head[..tcp]) };
        let tcp_base =
            word_sum(&head[addresses..tcp]) + word_sum(&head[tcp..header]) + i64::from(TCP) + (header - tcp) as i64;
        let payload = &packet[header..ip.end];
        Self { payload, limit, head, header, ip, identification, sequence, flags, ip_base, tcp_base }
    }

    pub fn count(&self) -> usize {
        self.payload.len().div_ceil(self.limit)
    }

    /// Write segment `number` where `place` begins; returns its size.
    pub fn write(&self, number: usize, place: &mut [u8]) -> usize {
        let from = number * self.limit;
        let until = (from + self.limit).min(self.payload.len());
        let payload = &self.payload[from..until];
        let length = self.header + payload.len();
        let tcp = self.ip.transport;
        place[..self.header].copy_from_slice(&self.head[..self.header]);
        place[self.header..length].copy_from_slice(payload);
        if self.ip.is_ipv6 {
            put_u16(place, 4, (length - tcp) as u16);
        } else {
            let identification = self.identification.wrapping_add(number as u16);
            put_u16(place, 2, length as u16);
            put_u16(place, 4, identification);
            put_u16(place, 10, finish(self.ip_base + length as i64 + i64::from(identification)));
        }
        let mut flags = self.flags;
        if number > 0 {
            flags &= !FIRST_ONLY;
        }
        if until < self.payload.len() {
            flags &= !LAST_ONLY;
        }
        let sequence = self.sequence.wrapping_add(from as u32);
        put_u32(place, tcp + 4, sequence);
        place[tcp + 13] = flags;
        let total = self.tcp_base + payload.len() as i64 + i64::from(sequence) + i64::from(flags) + word_sum(payload);
        put_u16(place, tcp + 16, finish(total));
        length
    }
}
