//! Packets with plain headers: TCP, UDP or an ICMP echo message in an IP header without options, extensions or
//! fragments. Everything else is left to Python, see `wiresock_py/datapath/headers.py`.

use crate::bytes::u16_at;
use crate::flow::Wire;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const UDP_LITE: u8 = 136;

pub const IPV4_HEADER: usize = 20;
pub const IPV6_HEADER: usize = 40;
pub const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;
const FIRST_OF_PLAIN_IPV4: u8 = 0x45;
/// More fragments, and the fragment's offset.
const FRAGMENT: u16 = 0x3FFF;

pub const FIN_FLAG: u8 = 0x01;
pub const SYN_FLAG: u8 = 0x02;
pub const RST_FLAG: u8 = 0x04;
pub const PUSH_FLAG: u8 = 0x08;
pub const ACK_FLAG: u8 = 0x10;
pub const URGENT_FLAG: u8 = 0x20;
pub const CONGESTION_WINDOW_REDUCED_FLAG: u8 = 0x80;

/// The ICMP types that belong to a flow, in IPv4 and IPv6: a request only ever goes out, a reply only comes in.
pub const ECHO_REQUESTS: [u8; 2] = [8, 128];
pub const ECHO_REPLIES: [u8; 2] = [0, 129];

/// Where the transport header of a plain IP header starts, where the packet ends, and its protocol.
#[derive(Clone, Copy)]
pub struct Ip {
    pub is_ipv6: bool,
    pub protocol: u8,
    pub transport: usize,
    pub end: usize,
}

/// A plain packet; all lengths have been checked.
pub struct Plain {
    pub ip: Ip,
    pub key: Wire,
}

/// The IP header of a packet that begins where `packet` does, if it is plain and the packet is all there.
pub fn ip(packet: &[u8]) -> Option<Ip> {
    let first = *packet.first()?;
    let found = if first == FIRST_OF_PLAIN_IPV4 {
        if packet.len() < IPV4_HEADER || u16_at(packet, 6) & FRAGMENT != 0 {
            return None;
        }
        let end = usize::from(u16_at(packet, 2));
        Ip { is_ipv6: false, protocol: packet[9], transport: IPV4_HEADER, end }
    } else if first >> 4 == 6 {
        if packet.len() < IPV6_HEADER {
            return None;
        }
        let end = IPV6_HEADER + usize::from(u16_at(packet, 4));
        Ip { is_ipv6: true, protocol: packet[6], transport: IPV6_HEADER, end }
    } else {
        return None;
    };
    (found.transport <= found.end && found.end <= packet.len()).then_some(found)
}

/// Where the TCP payload starts, if the header is all there.
pub fn tcp_payload(packet: &[u8], ip: Ip) -> Option<usize> {
    if ip.end - ip.transport < TCP_HEADER {
        return None;
    }
    let header = usize::from(packet[ip.transport + 12] >> 4) * 4;
    (TCP_HEADER <= header && header <= ip.end - ip.transport).then_some(ip.transport + header)
}

/// Whether the transport header is all there, of a protocol that plain packets have.
pub fn has_plain_transport(packet: &[u8], ip: Ip, echo: [u8; 2]) -> bool {
    let size = ip.end - ip.transport;
    match ip.protocol {
        TCP => tcp_payload(packet, ip).is_some(),
        UDP => {
            size >= UDP_HEADER && {
                let length = usize::from(u16_at(packet, ip.transport + 4));
                UDP_HEADER <= length && length <= size
            }
        }
        ICMP | ICMPV6 => {
            size >= ICMP_HEADER
                && (ip.protocol == ICMPV6) == ip.is_ipv6
                && packet[ip.transport] == echo[usize::from(ip.is_ipv6)]
        }
        _ => false,
    }
}

/// Take a packet apart that begins where `packet` does; None if it is not plain. `echo` are the ICMP types that are.
pub fn plain(packet: &[u8], echo: [u8; 2]) -> Option<Plain> {
    let ip = ip(packet)?;
    if !has_plain_transport(packet, ip, echo) {
        return None;
    }
    let addresses = if ip.is_ipv6 { 8 } else { 12 };
    let mut key = [0; IPV6_HEADER];
    let size = ip.transport + 4 - addresses;
    if ip.protocol == TCP || ip.protocol == UDP {
        key[..size].copy_from_slice(&packet[addresses..ip.transport + 4]);
    } else {
        key[..size - 4].copy_from_slice(&packet[addresses..ip.transport]);
        key[size - 4..size - 2].copy_from_slice(&packet[ip.transport + 4..ip.transport + 6]);
    }
    Some(Plain { ip, key: Wire::new(&key[..size])? })
}
