//! From received datagrams to packets for the host's stack. The twin of `wiresock_py/datapath/open.py`, in three steps:
//! whose datagrams they are (under the interpreter's lock), decryption (without it), delivery (under it again).

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrayvec::ArrayVec;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice};

use crate::aead::{Key, Opener, TAG};
use crate::flow::{FlowState, SYN_OUT, Wire};
use crate::headers::{ACK_FLAG, ECHO_REPLIES, FIN_FLAG, Ip, Plain, RST_FLAG, SYN_FLAG, TCP, plain};
use crate::index::{Indices, TOGETHER};
use crate::memory::Lent;
use crate::merge::{MAX_PACKET, Run, Segment};
use crate::rewrite::{clamp_mss, mss_limit, rewrite};
use crate::seal::{FEW, MESSAGE_HEADER};
use crate::window::{LIMIT, ReplayWindow, Window, locked};

const SHORTEST: usize = MESSAGE_HEADER + TAG;
const TYPE_INITIATION: u32 = 1;
const TYPE_COOKIE_REPLY: u32 = 3;
const TYPE_TRANSPORT: u32 = 4;

/// How many were dropped; they go to Python by their places in `DROPS` in `wiresock_py/datapath/native.py`.
#[derive(Default)]
pub struct Drops {
    short: usize,
    unknown_type: usize,
    unknown_session: usize,
    pub counter_limit: usize,
    pub forged: usize,
    pub replayed: usize,
    foreign: usize,
    unexpected_syn: usize,
}

/// A datagram of a session.
pub struct Sealed {
    pub bytes: Range<usize>,
    pub counter: u64,
}

/// A part of the buffer that is a part of a packet for the stack.
struct Piece {
    start: usize,
    end: usize,
}

/// What a plain text is.
enum Text {
    /// A TCP segment that may be merged.
    Segment(Segment),
    /// Another plain packet.
    Single(Plain),
    /// Something else, which is left to Python.
    Other,
}

impl Text {
    fn read(bytes: &[u8]) -> Self {
        match Segment::read(bytes) {
            Some(segment) => Self::Segment(segment),
            None => plain(bytes, ECHO_REPLIES).map_or(Self::Other, Self::Single),
        }
    }

    /// What names its flow.
    fn name(&self) -> Option<(Ip, &Wire)> {
        match self {
            Self::Segment(Segment { ip, key, .. }) | Self::Single(Plain { ip, key }) => Some((*ip, key)),
            Self::Other => None,
        }
    }
}

/// Datagrams of one session that follow each other, those of no session between them left out.
struct Stretch<'py> {
    session: Bound<'py, PyAny>,
    key: Arc<Key>,
    window: Arc<Mutex<Window>>,
    datagrams: Vec<Sealed>,
}

/// Open the datagrams of `view`, one every `step` bytes, and append what they hold to the columns of `Opened`.
///
/// Returns the drops by kind, and (session, plain text) of packets without a flow or of no plain kind.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "columns of three objects; called in one place")]
#[expect(clippy::type_complexity, reason = "read in one place")]
pub fn open_datagrams<'py>(
    py: Python<'py>,
    view: &Bound<'py, PyAny>,
    step: usize,
    sessions: &Bound<'py, PyDict>,
    inbound4: &Bound<'py, PyDict>,
    inbound6: &Bound<'py, PyDict>,
    now: f64,
    largest: usize,
    most: usize,
    table: &Bound<'py, PyAny>,
    packets: &Bound<'py, PyList>,
    control: &Bound<'py, PyList>,
    received: &Bound<'py, PyList>,
) -> PyResult<(Vec<(usize, usize)>, Vec<(Bound<'py, PyAny>, Bound<'py, PyBytes>)>)> {
    let mut buffer = Lent::writable(view)?;
    let mut drops = Drops::default();
    let stretches = sort(buffer.bytes(), step, sessions, now, control, &mut drops)?;
    let size = buffer.len();
    let opened: Vec<Vec<usize>> = {
        let work: Vec<_> = stretches.iter().map(|one| (&*one.key, &*one.window, &one.datagrams[..])).collect();
        let bytes = buffer.bytes_mut();
        let drops = &mut drops;
        let work =
            || work.into_iter().map(|(key, window, datagrams)| decrypt(bytes, key, window, datagrams, drops)).collect();
        if size <= FEW { work() } else { py.detach(work) }
    };
    let mut inbound = Inbound {
        bytes: buffer.bytes_mut(),
        step,
        indices: Indices::new(inbound4, inbound6),
        now,
        largest,
        most,
        table,
        received,
        runs: Vec::new(),
        newest: None,
        packets: Vec::new(),
        left: Vec::new(),
        drops,
    };
    for (stretch, starts) in stretches.iter().zip(&opened) {
        inbound.deliver(&stretch.session, starts)?;
    }
    let (found, left, drops) = inbound.finish();
    for pieces in found {
        let list = PyList::empty(py);
        for piece in pieces {
            list.append(view.get_item(PySlice::new(py, piece.start as isize, piece.end as isize, 1))?)?;
        }
        packets.append(list)?;
    }
    let counts = [
        drops.short,
        drops.unknown_type,
        drops.unknown_session,
        drops.counter_limit,
        drops.forged,
        drops.replayed,
        drops.foreign,
        drops.unexpected_syn,
    ];
    let counts = counts.into_iter().enumerate().filter(|&(_, count)| count > 0).collect();
    Ok((counts, left))
}

/// Find each datagram's session; messages of the handshake are put aside.
fn sort<'py>(
    bytes: &[u8],
    step: usize,
    sessions: &Bound<'py, PyDict>,
    now: f64,
    control: &Bound<'py, PyList>,
    drops: &mut Drops,
) -> PyResult<Vec<Stretch<'py>>> {
    let py = sessions.py();
    let mut stretches: Vec<Stretch<'py>> = Vec::new();
    let mut current = None;
    for (number, datagram) in bytes.chunks(step).enumerate() {
        if datagram.len() < SHORTEST {
            drops.short += 1;
            continue;
        }
        let [kind, receiver] = [0, 4].map(|at| little(&datagram[at..at + 4]) as u32);
        if current != Some((kind, receiver)) {
            if kind != TYPE_TRANSPORT {
                if (TYPE_INITIATION..=TYPE_COOKIE_REPLY).contains(&kind) {
                    control.append(PyBytes::new(py, datagram))?;
                } else {
                    drops.unknown_type += 1;
                }
                continue;
            }
            let session = match sessions.get_item(receiver)? {
                Some(session) if !session.call_method1("expired", (now,))?.extract::<bool>()? => session,
                _ => {
                    drops.unknown_session += 1;
                    continue;
                }
            };
            let key = session.getattr("opener")?.cast::<Opener>()?.get().share();
            let window = session.getattr("replay")?.cast::<ReplayWindow>()?.get().share();
            stretches.push(Stretch { session, key, window, datagrams: Vec::new() });
            current = Some((kind, receiver));
        }
        if let Some(stretch) = stretches.last_mut() {
            let start = number * step;
            let counter = little(&datagram[8..MESSAGE_HEADER]);
            stretch.datagrams.push(Sealed { bytes: start..start + datagram.len(), counter });
        }
    }
    Ok(stretches)
}

fn little(field: &[u8]) -> u64 {
    field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Decrypt one session's datagrams where they lie; where the plain texts of the authentic and new ones begin.
///
/// The window is marked after all are decrypted, in their order: it is locked once, and not for the time that takes.
pub fn decrypt(
    bytes: &mut [u8],
    key: &Key,
    window: &Mutex<Window>,
    datagrams: &[Sealed],
    drops: &mut Drops,
) -> Vec<usize> {
    let mut authentic = Vec::with_capacity(datagrams.len());
    {
        let key = key.in_use();
        for Sealed { bytes: place, counter } in datagrams {
            if *counter >= LIMIT {
                drops.counter_limit += 1;
            } else if key.open(*counter, &mut bytes[place.start + MESSAGE_HEADER..place.end]) {
                authentic.push((place.start + MESSAGE_HEADER, *counter));
            } else {
                drops.forged += 1;
            }
        }
    }
    let mut window = locked(window);
    let before = authentic.len();
    authentic.retain(|&(_, counter)| window.accept(counter));
    drops.replayed += before - authentic.len();
    authentic.into_iter().map(|(start, _)| start).collect()
}

/// Decrypted packets on their way to the stack, with the TCP runs that are being merged.
struct Inbound<'a, 'py> {
    bytes: &'a mut [u8],
    step: usize,
    indices: Indices<'py>,
    now: f64,
    /// Bytes up to which TCP is merged.
    largest: usize,
    /// How many segments a run may have.
    most: usize,
    /// The flow table.
    table: &'a Bound<'py, PyAny>,
    received: &'a Bound<'py, PyList>,
    runs: Vec<Run<'py>>,
    /// The packet that the last delivered bytes belong to: what follows it may be moved up to it.
    newest: Option<usize>,
    /// The pieces of each packet for the stack.
    packets: Vec<Vec<Piece>>,
    left: Vec<(Bound<'py, PyAny>, Bound<'py, PyBytes>)>,
    drops: Drops,
}

type Finished<'py> = (Vec<Vec<Piece>>, Vec<(Bound<'py, PyAny>, Bound<'py, PyBytes>)>, Drops);

impl<'py> Inbound<'_, 'py> {
    /// Deliver the plain texts at `starts`, all out of one session's datagrams.
    fn deliver(&mut self, session: &Bound<'py, PyAny>, starts: &[usize]) -> PyResult<()> {
        let Some(&final_start) = starts.last() else { return Ok(()) };
        let largest = self.step.saturating_sub(SHORTEST);
        let end = self.bytes.len() - TAG;
        let last = largest.min(end - final_start);
        let data = match (last, largest) {
            (0, 0) => &[], // keepalives, all of them
            (0, _) => &starts[..starts.len() - 1],
            _ => starts,
        };
        let size = starts.len() * self.step - (largest - last);
        self.received.append((session, starts.len(), size, data.len()))?;
        let peer = session.getattr("peer")?;
        for starts in data.chunks(TOGETHER) {
            let mut texts: ArrayVec<(Range<usize>, Text), TOGETHER> = ArrayVec::new();
            for &start in starts {
                let until = start + largest.min(end - start);
                texts.push((start..until, Text::read(&self.bytes[start..until])));
            }
            let flows = self.indices.find(texts.iter().map(|(_, text)| text.name()))?;
            for ((place, text), flow) in texts.iter().zip(flows) {
                match (text, flow) {
                    (Text::Segment(segment), Some(flow)) => self.take(segment, flow, &peer, place.start),
                    (Text::Single(Plain { ip, .. }), Some(flow)) => self.take_single(*ip, flow, &peer, place.start)?,
                    (Text::Segment(Segment { ip, .. }) | Text::Single(Plain { ip, .. }), None) => {
                        self.leave(session, place.start, place.start + ip.end);
                    }
                    (Text::Other, _) => self.leave(session, place.start, place.end),
                }
            }
        }
        Ok(())
    }

    /// Deliver a TCP segment, which most often continues a run.
    fn take(&mut self, segment: &Segment, flow: Bound<'py, FlowState>, peer: &Bound<'py, PyAny>, start: usize) {
        let is_ours = flow.borrow_mut().peer.is(peer);
        if let Some(at) = self.runs.iter().position(|run| run.flow.is(&flow)) {
            let run = &mut self.runs[at];
            if is_ours && run.takes(segment, start, self.bytes) {
                run.add(segment, self.most);
                let packet = run.packet;
                self.append(packet, start + segment.header..start + segment.ip.end);
                return;
            }
            self.runs.swap_remove(at).finish(self.bytes, self.now);
        }
        if !is_ours {
            self.drops.foreign += 1;
            return;
        }
        self.newest = Some(self.packets.len());
        self.packets.push(vec![Piece { start, end: start + segment.ip.end }]);
        self.runs.push(Run::new(flow, self.packets.len() - 1, start, *segment, self.largest));
    }

    /// Put a payload behind those of its packet, moved up to them if nothing that counts lies between.
    fn append(&mut self, packet: usize, payload: Range<usize>) {
        let pieces = &mut self.packets[packet];
        match pieces.last_mut() {
            Some(piece) if self.newest == Some(packet) => {
                let end = piece.end;
                piece.end += payload.len();
                self.bytes.copy_within(payload, end);
            }
            _ => pieces.push(Piece { start: payload.start, end: payload.end }),
        }
        self.newest = Some(packet);
    }

    /// Deliver a packet that is not part of a run.
    fn take_single(
        &mut self,
        ip: Ip,
        flow: Bound<'py, FlowState>,
        peer: &Bound<'py, PyAny>,
        start: usize,
    ) -> PyResult<()> {
        let mut state = flow.borrow_mut();
        if !state.peer.is(peer) {
            self.drops.foreign += 1;
            return Ok(());
        }
        if ip.protocol == TCP {
            drop(state);
            if !self.follow_connection(&flow, start, ip)? {
                self.drops.unexpected_syn += 1;
                return Ok(());
            }
            state = flow.borrow_mut();
        }
        state.arrived(1, ip.end, self.now);
        rewrite(&mut self.bytes[start..start + ip.end], ip, &state.into);
        self.newest = Some(self.packets.len());
        self.packets.push(vec![Piece { start, end: start + ip.end }]);
        Ok(())
    }

    /// Note what a TCP packet that is no plain data says of its connection; false if it may not arrive.
    fn follow_connection(&mut self, flow: &Bound<'py, FlowState>, start: usize, ip: Ip) -> PyResult<bool> {
        if let Some(at) = self.runs.iter().position(|run| run.flow.is(flow)) {
            self.runs.swap_remove(at).finish(self.bytes, self.now);
        }
        let packet = &mut self.bytes[start..start + ip.end];
        let flags = packet[ip.transport + 13];
        if flags & (SYN_FLAG | FIN_FLAG | RST_FLAG) == 0 {
            return Ok(true);
        }
        {
            let mut state = flow.borrow_mut();
            if flags & (SYN_FLAG | ACK_FLAG) == SYN_FLAG && state.state != SYN_OUT {
                return Ok(false);
            }
            if flags & SYN_FLAG != 0 {
                let limit = match state.mtu {
                    0 => MAX_PACKET as i64,
                    mtu => mss_limit(mtu, state.is_ipv6()),
                };
                state.mss = u32::from(clamp_mss(packet, ip.transport, limit));
            }
        }
        let inbound = PyDict::new(flow.py());
        inbound.set_item("outbound", false)?;
        self.table.call_method("track", (flow, flags), Some(&inbound))?;
        Ok(true)
    }

    fn leave(&mut self, session: &Bound<'py, PyAny>, start: usize, until: usize) {
        let packet = PyBytes::new(session.py(), &self.bytes[start..until]);
        self.left.push((session.clone(), packet));
    }

    /// End all runs.
    fn finish(mut self) -> Finished<'py> {
        for run in self.runs.drain(..) {
            run.finish(self.bytes, self.now);
        }
        (self.packets, self.left, self.drops)
    }
}
