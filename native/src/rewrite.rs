//! Address and port translation of a plain packet in place (RFC 3022), with the checksums that cover them: adjusted,
//! never recomputed, so that what was wrong stays wrong. The twin of `wiresock_py/datapath/rewrite.py` and `tcp.py`.

use crate::bytes::{put_u16, u16_at};
use crate::checksum::{adjust, finish, never_zero, word_sum};
use crate::flow::Translation;
use crate::headers::{ICMP, ICMPV6, Ip, TCP, TCP_HEADER, UDP, UDP_LITE};

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Where the checksum lies in a transport header.
fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMPV6 => Some(2),
        _ => None,
    }
}

fn is_query(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        ICMP => matches!(icmp_type, 0 | 8 | 13..=18),
        ICMPV6 => matches!(icmp_type, 128 | 129),
        _ => false,
    }
}

/// Translate the packet that begins where `packet` does.
pub fn rewrite(packet: &mut [u8], ip: Ip, way: &Translation) {
    let wire = &way.wire;
    let transport = ip.transport;
    if ip.is_ipv6 {
        packet[8..40].copy_from_slice(wire.addresses());
    } else {
        let checksum = u16_at(packet, 10);
        put_u16(packet, 10, adjust(checksum, way.address_delta));
        packet[12..20].copy_from_slice(wire.addresses());
    }
    match ip.protocol {
        TCP => {
            packet[transport..transport + 4].copy_from_slice(wire.ports());
            let checksum = u16_at(packet, transport + 16);
            put_u16(packet, transport + 16, adjust(checksum, way.delta));
        }
        UDP => {
            packet[transport..transport + 4].copy_from_slice(wire.ports());
            adjust_udp(packet, transport + 6, way.delta);
        }
        UDP_LITE => adjust_udp(packet, transport + 6, way.address_delta),
        ICMP | ICMPV6 => rewrite_icmp(packet, ip, way),
        _ => {}
    }
}

fn rewrite_icmp(packet: &mut [u8], ip: Ip, way: &Translation) {
    let transport = ip.transport;
    // the remote "port" of a flow of queries that this end began is 0: its identifier is ours to translate
    let is_ours = is_query(ip.protocol, packet[transport]) && way.wire.ports()[2..] == [0, 0];
    if is_ours {
        packet[transport + 4..transport + 6].copy_from_slice(&way.wire.ports()[..2]);
    }
    let checksum = u16_at(packet, transport + 2);
    if ip.protocol == ICMPV6 {
        let delta = if is_ours { way.delta } else { way.address_delta };
        put_u16(packet, transport + 2, adjust(checksum, delta));
    } else if is_ours {
        // no pseudo-header keeps this sum from being all zero, where only 0xffff is right; elsewhere it is as good
        put_u16(packet, transport + 2, never_zero(adjust(checksum, way.delta - way.address_delta)));
    }
}

fn adjust_udp(packet: &mut [u8], place: usize, delta: i64) {
    let checksum = u16_at(packet, place);
    if checksum != 0 {
        put_u16(packet, place, never_zero(adjust(checksum, delta)));
    }
}

/// Compute the transport checksum, which offload left to the hardware, of a translated packet.
pub fn complete(packet: &mut [u8], ip: Ip, addresses_sum: i64) {
    let Some(offset) = checksum_offset(ip.protocol) else { return };
    let place = ip.transport + offset;
    let mut total = word_sum(&packet[ip.transport..ip.end]) - i64::from(u16_at(packet, place));
    if ip.protocol != ICMP {
        total += addresses_sum + i64::from(ip.protocol) + (ip.end - ip.transport) as i64;
    }
    let checksum = finish(total);
    put_u16(packet, place, if ip.protocol == TCP { checksum } else { never_zero(checksum) });
}

/// Whether the TCP checksum is right.
pub fn is_sound(packet: &[u8], ip: Ip) -> bool {
    let addresses = if ip.is_ipv6 { 8 } else { 12 };
    let total = word_sum(&packet[addresses..ip.transport])
        + i64::from(TCP)
        + (ip.end - ip.transport) as i64
        + word_sum(&packet[ip.transport..ip.end]);
    total % 65_535 == 0
}

/// Lower the MSS option of a SYN to `limit`; what it was, 0 if there is none.
pub fn clamp_mss(packet: &mut [u8], transport: usize, limit: i64) -> u16 {
    let mut position = transport + TCP_HEADER;
    let end = transport + usize::from(packet[transport + 12] >> 4) * 4;
    while position + 1 < end {
        let kind = packet[position];
        if kind == END_OF_OPTIONS {
            break;
        }
        if kind == NO_OPERATION {
            position += 1;
            continue;
        }
        let size = usize::from(packet[position + 1]);
        if size < 2 || position + size > end {
            break;
        }
        if kind == MAXIMUM_SEGMENT_SIZE && size == 4 {
            let mss = u16_at(packet, position + 2);
            if i64::from(mss) > limit {
                put_u16(packet, position + 2, limit as u16);
                let lowered = limit - i64::from(mss);
                let delta = if (position - transport) % 2 == 0 { lowered } else { lowered * 256 };
                let checksum = u16_at(packet, transport + 16);
                put_u16(packet, transport + 16, adjust(checksum, delta));
            }
            return mss;
        }
        position += size;
    }
    0
}

/// The largest segment that fits `mtu` with headers free of options (RFC 6691); negative where nothing does.
pub fn mss_limit(mtu: u32, is_ipv6: bool) -> i64 {
    i64::from(mtu) - TCP_HEADER as i64 - if is_ipv6 { 40 } else { 20 }
}
