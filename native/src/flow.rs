//! What the data path keeps of a flow: its translation and its activity. `NativeFlow` in Python is built on it.
//!
//! It is read and written under the interpreter's lock alone, so a plain struct will do.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::checksum::word_sum;
use crate::headers::TCP;

pub const SYN_OUT: u32 = 1;
/// Seconds that a datagram flow may be idle before its owner is asked for again.
const OWNER_TRUST: f64 = 1.0;
/// Packets that a direct datagram flow sends before the kernel is told to stop showing it.
const BYPASS_AFTER_PACKETS: u64 = 32;

/// Where a flow goes: the numbers of `wiresock_py.flow.Route`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Direct,
    Tunnel,
    Block,
}

/// The bytes that name a flow in a packet: both addresses and both ports, 12 bytes in IPv4, 36 in IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    bytes: [u8; 36],
    length: u8,
}

impl Wire {
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 12 && bytes.len() != 36 {
            return None;
        }
        let mut wire = Self { bytes: [0; 36], length: bytes.len() as u8 };
        wire.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(wire)
    }

    pub fn all(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub fn addresses(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length) - 4]
    }

    pub fn ports(&self) -> &[u8] {
        &self.bytes[usize::from(self.length) - 4..usize::from(self.length)]
    }
}

/// How packets of one direction are rewritten: what they carry instead of their own addresses and ports, and by how
/// much the word sum grows, of the addresses alone and of all.
#[derive(Clone, Copy)]
pub struct Translation {
    pub wire: Wire,
    pub address_delta: i64,
    pub delta: i64,
}

impl Translation {
    fn new(old: &[u8], new: &[u8]) -> PyResult<Self> {
        let (Some(before), Some(wire)) = (Wire::new(old), Wire::new(new)) else {
            return Err(PyValueError::new_err("a wire key has 12 or 36 bytes"));
        };
        Ok(Self::between(&before, &wire))
    }

    pub fn between(old: &Wire, new: &Wire) -> Self {
        let grown = |new: &[u8], old: &[u8]| (word_sum(new) - word_sum(old)).rem_euclid(65_535);
        Self { wire: *new, address_delta: grown(new.addresses(), old.addresses()), delta: grown(new.all(), old.all()) }
    }
}

/// What a packet of one direction needs lies together, for the processor's cache.
#[pyclass(subclass, module = "wiresock_py._native")]
#[repr(C)]
pub struct FlowState {
    pub into: Translation,
    #[pyo3(get, set)]
    pub last_in: f64,
    #[pyo3(get, set)]
    pub packets_in: u64,
    #[pyo3(get, set)]
    pub bytes_in: u64,
    #[pyo3(get, set)]
    pub initial_sequence: i64,
    #[pyo3(get, set)]
    pub state: u32,
    pub protocol: u8,
    pub way: Route,
    #[pyo3(get)]
    pub peer: Py<PyAny>,
    pub out: Translation,
    #[pyo3(get, set)]
    pub last_out: f64,
    #[pyo3(get, set)]
    pub packets_out: u64,
    #[pyo3(get, set)]
    pub bytes_out: u64,
    #[pyo3(get, set)]
    pub sequence: i64,
    #[pyo3(get, set)]
    pub acknowledged: i64,
    #[pyo3(get, set)]
    pub mss: u32,
    #[pyo3(get, set)]
    pub mtu: u32,
}

impl FlowState {
    pub fn is_ipv6(&self) -> bool {
        self.out.wire.all().len() == 36
    }

    /// See `Flow.is_stale`.
    pub fn is_stale(&self, now: f64) -> bool {
        self.protocol != TCP && now - self.last_out > OWNER_TRUST
    }

    /// See `Flow.may_bypass`.
    pub fn may_bypass(&self) -> bool {
        self.protocol == TCP || self.packets_out > BYPASS_AFTER_PACKETS
    }

    /// See `Flow.begins`.
    pub fn begins(&mut self, sequence: u32) -> bool {
        if self.initial_sequence < 0 && self.packets_out == 0 {
            self.initial_sequence = i64::from(sequence);
        }
        self.initial_sequence == i64::from(sequence)
    }

    pub fn left(&mut self, packets: u64, bytes: usize) {
        self.packets_out += packets;
        self.bytes_out += bytes as u64;
    }

    pub fn arrived(&mut self, packets: u64, bytes: usize, now: f64) {
        self.packets_in += packets;
        self.bytes_in += bytes as u64;
        self.last_in = now;
    }
}

#[pymethods]
impl FlowState {
    /// `before` and `inner` are the flow's wire keys as its packets leave the stack and enter the tunnel, `answer` and
    /// `after` as they come out of the tunnel and enter the stack.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "called in one place, from NativeFlow")]
    pub fn new(
        protocol: u8,
        route: u8,
        now: f64,
        peer: Py<PyAny>,
        before: &[u8],
        inner: &[u8],
        answer: &[u8],
        after: &[u8],
    ) -> PyResult<Self> {
        Ok(Self {
            protocol,
            way: match route {
                0 => Route::Direct,
                1 => Route::Tunnel,
                _ => Route::Block,
            },
            peer,
            out: Translation::new(before, inner)?,
            into: Translation::new(answer, after)?,
            mss: 0,
            mtu: 0,
            last_out: now,
            last_in: now,
            packets_out: 0,
            bytes_out: 0,
            packets_in: 0,
            bytes_in: 0,
            state: 0,
            initial_sequence: -1,
            sequence: -1,
            acknowledged: -1,
        })
    }

    #[getter]
    fn out_wire<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.out.wire.all())
    }

    #[getter]
    fn in_wire<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.into.wire.all())
    }

    #[getter]
    fn out_address_delta(&self) -> i64 {
        self.out.address_delta
    }

    #[getter]
    fn out_delta(&self) -> i64 {
        self.out.delta
    }

    #[getter]
    fn out_addresses_sum(&self) -> i64 {
        word_sum(self.out.wire.addresses())
    }

    #[getter]
    fn in_address_delta(&self) -> i64 {
        self.into.address_delta
    }

    #[getter]
    fn in_delta(&self) -> i64 {
        self.into.delta
    }
}
