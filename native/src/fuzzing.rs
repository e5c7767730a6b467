//! What a fuzzer does with the parts that read and write packets: bytes become a case, and a broken promise panics.
//! `fuzz/` runs these with coverage and a sanitizer, the tests here on bytes of chance.

use std::collections::HashSet;
use std::sync::Mutex;

use pyo3::prelude::*;

use crate::aead::{Key, TAG};
use crate::checksum::word_sum;
use crate::cut::Cut;
use crate::flow::{FlowState, Translation, Wire};
use crate::headers::{ECHO_REPLIES, ECHO_REQUESTS, Ip, Plain, TCP, has_plain_transport, ip, plain, tcp_payload};
use crate::merge::{MAX_PACKET, Run, Segment};
use crate::open::{Drops, Sealed, decrypt};
use crate::queue::parse;
use crate::rewrite::{clamp_mss, complete, is_sound, rewrite};
use crate::seal::MESSAGE_HEADER;
use crate::window::{LIMIT, Window};

const OVERHEAD: usize = MESSAGE_HEADER + TAG;
const NONE: [u8; 36] = [0; 36];

/// Values off the front of a fuzzer's bytes; behind their end everything is zero.
struct Reader<'data>(&'data [u8]);

impl<'data> Reader<'data> {
    fn number(&mut self, size: usize) -> u64 {
        let taken = self.take(size);
        (0..size).fold(0, |value, at| value << 8 | u64::from(*taken.get(at).unwrap_or(&0)))
    }

    fn bytes(&mut self, most: usize) -> &'data [u8] {
        let size = (self.number(2) as usize).min(most);
        self.take(size)
    }

    /// At most `size` bytes.
    fn take(&mut self, size: usize) -> &'data [u8] {
        let (taken, rest) = self.0.split_at(size.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A whole packet with plain headers around the bytes that follow; one of TCP if `kind` is even.
    fn packet(&mut self, kind: u64) -> Vec<u8> {
        let (is_ipv6, protocol) = (kind & 2 != 0, if kind & 1 == 0 { TCP } else { self.number(1) as u8 });
        let start = if is_ipv6 { 40 } else { 20 };
        let mut packet = vec![0; start];
        packet.extend(self.bytes(2048));
        packet.resize((packet.len() + usize::from(self.number(2) as u16)).clamp(start + 20, MAX_PACKET - 64), 7);
        let size = packet.len();
        if is_ipv6 {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&((size - 40) as u16).to_be_bytes());
            packet[6] = protocol;
        } else {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(size as u16).to_be_bytes());
            packet[9] = protocol;
        }
        for (place, byte) in packet[if is_ipv6 { 8 } else { 12 }..start].iter_mut().enumerate() {
            *byte = place as u8 + 1;
        }
        if protocol == TCP {
            packet[start + 12] = packet[start + 12].clamp(0x50, 0xF0);
            let header = usize::from(packet[start + 12] >> 4) * 4;
            packet.resize(size.max(start + header), 0);
            let end = packet.len();
            let field = if is_ipv6 { (4, end - 40) } else { (2, end) };
            packet[field.0..field.0 + 2].copy_from_slice(&(field.1 as u16).to_be_bytes());
        }
        packet
    }
}

/// Whatever the bytes are, what is read out of them lies within them.
pub fn headers(data: &[u8]) {
    for echo in [ECHO_REQUESTS, ECHO_REPLIES] {
        if let Some(Plain { ip: found, key }) = plain(data, echo) {
            assert!(found.transport < found.end && found.end <= data.len());
            assert!(has_plain_transport(data, found, echo));
            assert_eq!(key.all().len(), if found.is_ipv6 { 36 } else { 12 });
        }
    }
    if let Some(segment) = Segment::read(data) {
        let ip = ip(data).expect("a segment is plain");
        assert_eq!((ip.transport, ip.end, ip.protocol), (segment.ip.transport, segment.ip.end, TCP));
        assert_eq!(tcp_payload(data, ip), Some(segment.header));
        assert!(segment.header < segment.ip.end);
        assert!(plain(data, ECHO_REPLIES).expect("a segment is plain").key == segment.key);
    }
}

/// A message of the kernel's queue names no packet outside itself.
pub fn queue(data: &[u8]) {
    if let Some((offset, length)) = parse(data).map(|packet| (packet.offset, packet.length)) {
        assert!(offset + length <= data.len());
    }
}

/// What was right stays right when it is translated, what was wrong stays wrong, and the way back leads back.
pub fn translate(data: &[u8]) {
    let mut reader = Reader(data);
    let kind = reader.number(1);
    let mut packet = reader.packet(kind);
    let Some(ip) = ip(&packet).filter(|&ip| has_plain_transport(&packet, ip, ECHO_REQUESTS)) else { return };
    if kind & 4 != 0 {
        put_right(&mut packet, ip);
    }
    let old = plain(&packet, ECHO_REQUESTS).expect("plain").key;
    let mut bytes = NONE;
    let size = old.all().len();
    for byte in &mut bytes[..size] {
        *byte = reader.number(1) as u8;
    }
    if ip.protocol != TCP && ip.protocol != 17 {
        bytes[size - 2..size].copy_from_slice(&[0, 0]); // the remote "port" of an echo
    }
    let new = Wire::new(&bytes[..size]).expect("a wire key");
    let was = (packet.clone(), ip.protocol == TCP && is_sound(&packet, ip));
    rewrite(&mut packet, ip, &Translation::between(&old, &new));
    assert!(plain(&packet, ECHO_REQUESTS).expect("plain still").key == new);
    assert_eq!(was.1, ip.protocol == TCP && is_sound(&packet, ip));
    rewrite(&mut packet, ip, &Translation::between(&new, &old));
    assert_eq!(packet.len(), was.0.len());
    let differing = (0..packet.len()).filter(|&place| packet[place] != was.0[place]).count();
    assert!(differing <= 4, "more than two checksums, which may come back as the other zero, differ");
    if ip.protocol == TCP {
        let sound = is_sound(&packet, ip);
        clamp_mss(&mut packet, ip.transport, reader.number(2) as i64);
        assert_eq!(sound, is_sound(&packet, ip));
    }
}

fn put_right(packet: &mut [u8], ip: Ip) {
    let addresses = word_sum(&packet[if ip.is_ipv6 { 8..40 } else { 12..20 }]);
    complete(packet, ip, addresses);
}

/// A packet cut in pieces: each is whole and right, and merged again they are the packet.
pub fn cut_and_merge(data: &[u8]) {
    let mut reader = Reader(data);
    let kind = reader.number(1) & 2;
    let mut packet = reader.packet(kind);
    let limit = 48 + (reader.number(2) as usize) % 9000;
    let (at, largest, most) = (reader.number(1) as usize, MAX_PACKET - reader.number(2) as usize, 1 + reader.number(1));
    let ip = ip(&packet).expect("a packet");
    let Some(header) = tcp_payload(&packet, ip).filter(|&header| header < ip.end) else { return };
    put_right(&mut packet, ip);
    let key = plain(&packet, ECHO_REPLIES).expect("plain").key;
    let cut = Cut::new(&packet, ip, header, limit, &key);
    let step = header + limit + OVERHEAD;
    let mut buffer = vec![0xEE; at + cut.count() * step];
    let mut segments = Vec::new();
    for number in 0..cut.count() {
        let start = at + number * step;
        let size = cut.write(number, &mut buffer[start..start + header + limit]);
        let piece = &buffer[start..start + size];
        let found = plain(piece, ECHO_REPLIES).expect("a piece is plain");
        assert!(found.key == key && found.ip.end == size && is_sound(piece, found.ip));
        let from = header + number * limit;
        assert_eq!(piece[header..], packet[from..from + size - header]);
        segments.extend(Segment::read(&buffer[start..start + header + limit]).map(|segment| (start, segment)));
    }
    merge(buffer, segments, &key, ip, largest, most as usize);
}

/// Merge `segments`, which begin at their places in `buffer`, as `open_datagrams` does.
fn merge(mut buffer: Vec<u8>, segments: Vec<(usize, Segment)>, key: &Wire, ip: Ip, largest: usize, most: usize) {
    let Some(header) = segments.first().map(|(_, segment)| segment.header) else { return };
    Python::initialize();
    Python::attach(|py| {
        let wire = key.all();
        let flow = FlowState::new(TCP, 1, 0.0, py.None(), wire, wire, wire, wire).expect("a flow");
        let flow = Bound::new(py, flow).expect("memory");
        let finish = |run: Run<'_>, payload: Vec<u8>, start: usize, buffer: &mut Vec<u8>| {
            run.finish(buffer, 1.0);
            let mut whole = buffer[start..start + header].to_vec();
            whole.extend(payload);
            let merged = plain(&whole, ECHO_REPLIES).expect("what is merged is plain");
            assert!(merged.ip.end == whole.len() && merged.ip.transport == ip.transport);
            assert!(is_sound(&whole, merged.ip), "the checksum of what is merged is right");
            assert!(ip.is_ipv6 || word_sum(&whole[..20]) % 65_535 == 0);
        };
        let mut current: Option<(Run<'_>, Vec<u8>, usize)> = None;
        for (start, segment) in segments {
            let payload = buffer[start + segment.header..start + segment.ip.end].to_vec();
            match &mut current {
                Some((run, merged, _)) if run.takes(&segment, start, &buffer) => {
                    run.add(&segment, most);
                    merged.extend(payload);
                }
                _ => {
                    if let Some((run, merged, start)) = current.take() {
                        finish(run, merged, start, &mut buffer);
                    }
                    current = Some((Run::new(flow.clone(), 0, start, segment, largest), payload, start));
                }
            }
        }
        if let Some((run, merged, start)) = current {
            finish(run, merged, start, &mut buffer);
        }
    });
}

/// The window accepts what a plain set of numbers does.
pub fn window(data: &[u8]) {
    let mut reader = Reader(data);
    let mut window = Window::new();
    let (mut seen, mut greatest) = (HashSet::new(), None::<u64>);
    while !reader.0.is_empty() {
        let near = greatest.unwrap_or(0);
        let counter = match reader.number(1) % 6 {
            0 => reader.number(8),
            1 => near.saturating_sub(reader.number(2)),
            2 => near.saturating_add(reader.number(2)),
            3 => near + 1,
            4 => LIMIT - reader.number(1),
            _ => near.saturating_sub(8000 + reader.number(1)),
        };
        let usable = greatest.is_none_or(|greatest| counter > greatest || greatest - counter <= 8192 - 64);
        let expected = counter < LIMIT && usable && !seen.contains(&counter);
        assert_eq!(window.check(counter), expected);
        assert_eq!(window.accept(counter), expected);
        if expected {
            seen.insert(counter);
            greatest = Some(greatest.map_or(counter, |greatest| greatest.max(counter)));
        }
        assert_eq!(window.greatest, greatest);
    }
}

/// Datagrams of a session, some genuine, some damaged: only what was sealed comes out, once, and the rest is counted.
pub fn open(data: &[u8]) {
    let mut reader = Reader(data);
    let key = Key::new(&[7; 32]).expect("a key");
    let window = Mutex::new(Window::new());
    let mut buffer = Vec::new();
    let mut datagrams = Vec::new();
    let mut texts = Vec::new();
    while !reader.0.is_empty() && datagrams.len() < 32 {
        let way = reader.number(1);
        let counter = if way & 1 == 0 { u64::from(reader.number(1) as u8) } else { LIMIT - 2 + reader.number(1) % 4 };
        let text = reader.bytes(300);
        let start = buffer.len();
        buffer.extend([0xEE; MESSAGE_HEADER]);
        buffer.extend(text);
        buffer.extend([0; TAG]);
        key.in_use().seal(counter, &mut buffer[start + MESSAGE_HEADER..]);
        if way & 2 != 0 {
            let place = start + MESSAGE_HEADER + (reader.number(2) as usize) % (text.len() + TAG);
            buffer[place] ^= (reader.number(1) as u8).max(1);
        }
        datagrams.push(Sealed { bytes: start..buffer.len(), counter });
        texts.push((start + MESSAGE_HEADER, counter, text, way & 2 == 0));
    }
    let mut drops = Drops::default();
    let mut starts = decrypt(&mut buffer, &key, &window, &datagrams, &mut drops).into_iter().peekable();
    let (mut model, mut expected) = (Window::new(), Drops::default());
    for (start, counter, text, genuine) in texts {
        if counter >= LIMIT {
            expected.counter_limit += 1;
        } else if !genuine {
            expected.forged += 1;
        } else if !model.accept(counter) {
            expected.replayed += 1;
        } else {
            assert_eq!(starts.next(), Some(start));
            assert_eq!(&buffer[start..start + text.len()], text);
        }
    }
    assert_eq!(starts.next(), None, "more came out than was sealed");
    let counted = |drops: &Drops| (drops.counter_limit, drops.forged, drops.replayed);
    assert_eq!(counted(&drops), counted(&expected));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::{SecureRandom, SystemRandom};

    fn on_bytes_of_chance(target: fn(&[u8])) {
        let chance = SystemRandom::new();
        let mut data = [0; 600];
        for size in 0..data.len() {
            chance.fill(&mut data[..size]).expect("randomness");
            target(&data[..size]);
            // most numbers small: lengths and kinds that make sense
            for byte in data[..size].iter_mut().step_by(2) {
                *byte %= 5;
            }
            target(&data[..size]);
        }
    }

    #[test]
    fn nothing_is_read_outside_a_packet() {
        on_bytes_of_chance(headers);
        on_bytes_of_chance(|data| headers(&Reader(data).packet(0)));
        on_bytes_of_chance(|data| headers(&Reader(data).packet(3)));
    }

    #[test]
    fn nothing_is_read_outside_a_message() {
        on_bytes_of_chance(queue);
    }

    #[test]
    fn translation_keeps_right_and_wrong() {
        on_bytes_of_chance(translate);
    }

    #[test]
    fn what_is_cut_is_right_and_merges_to_what_it_was() {
        on_bytes_of_chance(cut_and_merge);
    }

    #[test]
    fn the_window_is_a_set_of_numbers() {
        on_bytes_of_chance(window);
    }

    #[test]
    fn only_what_was_sealed_is_opened() {
        on_bytes_of_chance(open);
    }
}
