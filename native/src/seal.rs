//! From captured packets to sealed datagrams, in two steps: `plan` decides under the caller's lock what each packet
//! becomes, where it goes and which counters it takes; `encrypt` does the work, without any lock but the keys' own.
//! The twin of `wiresock_py/datapath/seal.py`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::aead::{InUse, Key, Sealer, TAG};
use crate::bytes::u32_at;
use crate::checksum::word_sum;
use crate::cut::Cut;
use crate::flow::{FlowState, Translation};
use crate::headers::{
    FIN_FLAG, ICMP, ICMPV6, Ip, RST_FLAG, SYN_FLAG, TCP, TCP_HEADER, UDP, UDP_LITE, URGENT_FLAG, ip, tcp_payload,
};
use crate::memory::Lent;
use crate::rewrite::{clamp_mss, complete, is_sound, mss_limit, rewrite};
use crate::window::LIMIT;

pub const MESSAGE_HEADER: usize = 16;
const OVERHEAD: usize = MESSAGE_HEADER + TAG;
const PADDING_MULTIPLE: usize = 16;
/// Linux' TCP_MIN_SND_MSS: a peer that announces less only wants to see us send headers.
const MIN_SEGMENT: i64 = 48;
const UNCUTTABLE: u8 = SYN_FLAG | RST_FLAG | URGENT_FLAG;
/// What one send with UDP_SEGMENT takes, see `wiresock_py/datapath/batch.py`.
const MAX_RUN_SEGMENTS: usize = 64;
const MAX_RUN_BYTES: usize = 65_507;
/// Bytes that are encrypted or decrypted sooner than the interpreter's lock is handed over and back.
pub const FEW: usize = 2048;
/// `PacketFlag.CHECKSUM_PARTIAL`
const PARTIAL: u32 = 1;

/// What becomes of one packet.
struct Job {
    /// Where it begins in its batch.
    start: usize,
    ip: Ip,
    way: Translation,
    counter: u64,
    /// Where its first datagram begins in the buffer.
    place: usize,
    kind: Kind,
}

enum Kind {
    Whole { partial: bool, is_syn: bool },
    Cut { header: usize, limit: usize },
}

/// The packets of one call of `plan`.
struct Batch {
    data: Lent,
    key: Arc<Key>,
    /// Type and receiver index: how each datagram begins.
    header: [u8; 8],
    mtu: u32,
    jobs: Vec<Job>,
}

/// What was planned and is to be encrypted.
#[pyclass(module = "wiresock_py._native")]
#[derive(Default)]
pub struct Sealing {
    batches: Vec<Batch>,
}

/// The outcome of `plan`: where the buffer's datagrams end now, how many were added, how many more the last run takes,
/// the next counter, indices of packets that are too large, how many were corrupt, and for how many no counter was left.
type Planned<'py> = (usize, usize, usize, u64, Bound<'py, PyList>, usize, usize);

#[pymethods]
impl Sealing {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Plan the packets `indices` of a batch, their datagrams from `end` of the buffer on, which are entered in `runs`.
    ///
    /// `track` is called with (`table`, flow, flags, sequence number, MTU) of every TCP packet with SYN, FIN or RST.
    /// None, with nothing changed, if a packet among them has no plain IP header: then Python has to seal them.
    #[expect(clippy::too_many_arguments, reason = "columns of three objects; called in one place")]
    fn plan<'py>(
        &mut self,
        data: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyList>,
        lengths: &Bound<'py, PyList>,
        flags: &Bound<'py, PyList>,
        indices: &Bound<'py, PyAny>,
        flows: &Bound<'py, PyAny>,
        sealer: &Bound<'py, Sealer>,
        header: &[u8],
        counter: u64,
        mtu: u32,
        now: f64,
        end: usize,
        room: usize,
        runs: &Bound<'py, PyList>,
        table: &Bound<'py, PyAny>,
        track: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Planned<'py>>> {
        let header = header.try_into().map_err(|_| PyValueError::new_err("a message begins with 8 bytes"))?;
        let data = Lent::new(data)?;
        let mut packets = Vec::with_capacity(indices.len()?);
        for i in indices.try_iter()? {
            let i: usize = i?.extract()?;
            let flow = flows.get_item(i)?;
            if flow.is_none() {
                continue;
            }
            let start: usize = offsets.get_item(i)?.extract()?;
            let length: usize = lengths.get_item(i)?.extract()?;
            let Some(packet) = data.bytes().get(start..).and_then(|rest| rest.get(..length)) else {
                return Err(PyValueError::new_err("a packet lies outside its batch"));
            };
            let Some(ip) = ip(packet).filter(|&ip| is_known(packet, ip)) else { return Ok(None) };
            let flow = flow.cast_into::<FlowState>()?;
            if flow.borrow().is_ipv6() != ip.is_ipv6 {
                return Err(PyValueError::new_err("a packet of another family than its flow"));
            }
            packets.push((i, start, ip, flow));
        }
        let jobs = Vec::with_capacity(packets.len());
        let mut plan = Plan { counter, mtu, now, place: end, groups: Vec::new(), jobs, corrupt: 0 };
        let oversized = PyList::empty(runs.py());
        let mut exhausted = 0;
        let table = Table { flows: table, track };
        for (i, start, ip, flow) in packets {
            let partial = flags.get_item(i)?.extract::<u32>()? & PARTIAL != 0;
            let packet = &data.bytes()[start..start + ip.end];
            let outcome = if ip.protocol == TCP {
                plan.tcp(packet, start, ip, &flow, partial, &table)?
            } else {
                plan.other(start, ip, &mut flow.borrow_mut(), partial)
            };
            match outcome {
                Outcome::Planned => {}
                Outcome::TooLarge => oversized.append(i)?,
                Outcome::Exhausted => exhausted += 1,
            }
        }
        let room = plan.groups.iter().try_fold((end, room), |(at, room), &(count, size)| {
            let room = enter(runs, at, room, count, size)?;
            PyResult::Ok((at + count * size, room))
        });
        let added = (plan.counter - counter) as usize;
        let planned = (plan.place, added, room?.1, plan.counter, oversized, plan.corrupt, exhausted);
        if !plan.jobs.is_empty() {
            self.batches.push(Batch { data, key: sealer.get().share(), header, mtu, jobs: plan.jobs });
        }
        Ok(Some(planned))
    }

    /// Write the datagrams planned since the last call into `buffer`.
    fn encrypt(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.batches);
        let mut buffer = Lent::writable(buffer)?;
        if batches.iter().any(|batch| batch.data.overlaps(&buffer)) {
            return Err(PyValueError::new_err("the buffer is the batch's own"));
        }
        let mut work = || {
            let out = buffer.bytes_mut();
            for batch in &batches {
                let key = batch.key.in_use();
                batch.jobs.iter().try_for_each(|job| batch.encrypt(job, &key, out))?;
            }
            Some(())
        };
        let size: usize = batches.iter().flat_map(|batch| &batch.jobs).map(|job| job.ip.end).sum();
        if size <= FEW { work() } else { py.detach(work) }
            .ok_or_else(|| PyValueError::new_err("the buffer is too small"))
    }

    /// Forget what was planned.
    fn clear(&mut self) {
        self.batches.clear();
    }
}

enum Outcome {
    Planned,
    TooLarge,
    Exhausted,
}

/// The flow table, and what notes in it that a connection begins or ends.
struct Table<'a, 'py> {
    flows: &'a Bound<'py, PyAny>,
    track: &'a Bound<'py, PyAny>,
}

struct Plan {
    counter: u64,
    mtu: u32,
    now: f64,
    place: usize,
    groups: Vec<(usize, usize)>,
    jobs: Vec<Job>,
    corrupt: usize,
}

impl Plan {
    /// A TCP packet, cut if need be.
    fn tcp(
        &mut self,
        packet: &[u8],
        start: usize,
        ip: Ip,
        flow: &Bound<'_, FlowState>,
        partial: bool,
        table: &Table<'_, '_>,
    ) -> PyResult<Outcome> {
        let Some(header) = tcp_payload(packet, ip) else { return Ok(Outcome::TooLarge) };
        let payload = ip.end - header;
        let sequence = u32_at(packet, ip.transport + 4);
        let flags = packet[ip.transport + 13];
        let mut state = flow.borrow_mut();
        state.last_out = self.now;
        state.sequence = i64::from(sequence) + payload as i64;
        state.acknowledged = i64::from(u32_at(packet, ip.transport + 8));
        if flags & (SYN_FLAG | FIN_FLAG | RST_FLAG) != 0 {
            drop(state);
            table.track.call1((table.flows, flow, flags, sequence, self.mtu))?;
            state = flow.borrow_mut();
        }
        let mut limit = i64::from(self.mtu) - header as i64;
        if state.mss != 0 {
            // the MSS does not count options, a segment does (RFC 6691)
            let options = (header - ip.transport - TCP_HEADER) as i64;
            limit = limit.min((i64::from(state.mss) - options).max(MIN_SEGMENT));
        }
        if payload as i64 <= limit {
            return Ok(self.whole(start, ip, &mut state, partial, flags & SYN_FLAG != 0));
        }
        if flags & UNCUTTABLE != 0 || limit < MIN_SEGMENT {
            return Ok(Outcome::TooLarge);
        }
        if !partial && !is_sound(packet, ip) {
            self.corrupt += 1; // cut segments get new checksums, and a wrong one must not be repaired by that
            return Ok(Outcome::Planned);
        }
        let limit = limit as usize;
        let count = payload.div_ceil(limit);
        if LIMIT.saturating_sub(self.counter) < count as u64 {
            return Ok(Outcome::Exhausted);
        }
        state.left(count as u64, payload + count * header);
        self.jobs.push(Job {
            start,
            ip,
            way: state.out,
            counter: self.counter,
            place: self.place,
            kind: Kind::Cut { header, limit },
        });
        self.enter(count - 1, padded(header + limit, self.mtu) + OVERHEAD);
        self.enter(1, padded(header + payload - (count - 1) * limit, self.mtu) + OVERHEAD);
        Ok(Outcome::Planned)
    }

    /// A packet of another protocol.
    fn other(&mut self, start: usize, ip: Ip, flow: &mut FlowState, partial: bool) -> Outcome {
        flow.last_out = self.now;
        if ip.end as u64 > u64::from(self.mtu) {
            return Outcome::TooLarge;
        }
        self.whole(start, ip, flow, partial, false)
    }

    fn whole(&mut self, start: usize, ip: Ip, flow: &mut FlowState, partial: bool, is_syn: bool) -> Outcome {
        if self.counter >= LIMIT {
            return Outcome::Exhausted;
        }
        flow.left(1, ip.end);
        self.jobs.push(Job {
            start,
            ip,
            way: flow.out,
            counter: self.counter,
            place: self.place,
            kind: Kind::Whole { partial, is_syn },
        });
        self.enter(1, padded(ip.end, self.mtu) + OVERHEAD);
        Outcome::Planned
    }

    fn enter(&mut self, count: usize, size: usize) {
        self.counter += count as u64;
        self.place += count * size;
        match self.groups.last_mut() {
            Some((before, same)) if *same == size => *before += count,
            _ if count > 0 => self.groups.push((count, size)),
            _ => {}
        }
    }
}

impl Batch {
    /// Write one packet's datagrams; None if the buffer ends before them.
    fn encrypt(&self, job: &Job, key: &InUse<'_>, out: &mut [u8]) -> Option<()> {
        let packet = &self.data.bytes()[job.start..job.start + job.ip.end];
        let mut out = out.get_mut(job.place..)?;
        match job.kind {
            Kind::Whole { partial, is_syn } => {
                let size = packet.len();
                let datagram = out.get_mut(..padded(size, self.mtu) + OVERHEAD)?;
                let body = &mut datagram[MESSAGE_HEADER..];
                body[..size].copy_from_slice(packet);
                rewrite(body, job.ip, &job.way);
                if partial {
                    complete(body, job.ip, word_sum(job.way.wire.addresses()));
                }
                if is_syn {
                    clamp_mss(body, job.ip.transport, mss_limit(self.mtu, job.ip.is_ipv6));
                }
                self.seal(datagram, size, job.counter, key);
            }
            Kind::Cut { header, limit } => {
                let cut = Cut::new(packet, job.ip, header, limit, &job.way.wire);
                for number in 0..cut.count() {
                    let room = (packet.len() - number * limit).min(header + limit);
                    let datagram;
                    (datagram, out) = out.split_at_mut_checked(padded(room, self.mtu) + OVERHEAD)?;
                    let size = cut.write(number, &mut datagram[MESSAGE_HEADER..]);
                    self.seal(datagram, size, job.counter + number as u64, key);
                }
            }
        }
        Some(())
    }

    /// Pad and encrypt the packet of `size` bytes in `datagram`.
    fn seal(&self, datagram: &mut [u8], size: usize, counter: u64, key: &InUse<'_>) {
        let end = datagram.len() - TAG;
        datagram[..8].copy_from_slice(&self.header);
        datagram[8..MESSAGE_HEADER].copy_from_slice(&counter.to_le_bytes());
        datagram[MESSAGE_HEADER + size..end].fill(0);
        key.seal(counter, &mut datagram[MESSAGE_HEADER..]);
    }
}

/// Enter `count` datagrams of `size` bytes each, which begin at `at`, in the runs that one UDP_SEGMENT send takes each;
/// `room` is how many more the last run takes, before and after. As `DatagramBuffer.enter` has it.
fn enter(runs: &Bound<'_, PyList>, mut at: usize, mut room: usize, mut count: usize, size: usize) -> PyResult<usize> {
    while count > 0 {
        let last = match runs.len() {
            number if number > 0 && room > 0 => Some(number - 1),
            _ => None,
        };
        let same = match last {
            Some(number) => {
                let (start, end, segment): (usize, usize, usize) = runs.get_item(number)?.extract()?;
                (size <= segment).then_some((number, start, end, segment))
            }
            None => None,
        };
        let taken = match same {
            Some((number, start, end, segment)) => {
                let taken = if size == segment { count.min(room) } else { 1 };
                room = if size == segment { room - taken } else { 0 };
                runs.set_item(number, (start, end + taken * size, segment))?;
                taken
            }
            None => {
                room = (MAX_RUN_BYTES / size).clamp(1, MAX_RUN_SEGMENTS);
                let taken = count.min(room);
                room -= taken;
                runs.append((at, at + taken * size, size))?;
                taken
            }
        };
        at += taken * size;
        count -= taken;
    }
    Ok(room)
}

/// The size of a packet with its padding, which the MTU may cut short.
fn padded(size: usize, mtu: u32) -> usize {
    size.next_multiple_of(PADDING_MULTIPLE).min(mtu as usize)
}

/// Whether the IP header leads at once to a transport header that is all there as far as it is rewritten.
fn is_known(packet: &[u8], ip: Ip) -> bool {
    let size = ip.end - ip.transport;
    match ip.protocol {
        TCP => tcp_payload(packet, ip).is_some(),
        UDP | UDP_LITE | ICMP | ICMPV6 => size >= 8,
        0 | 43 | 44 | 51 | 60 => !ip.is_ipv6, // extension headers
        _ => true,
    }
}
