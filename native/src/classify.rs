//! Sort a captured batch by the flow table. The twin of `wiresock_py/datapath/classify.py`, but for packets without a
//! flow or of no plain kind, which Python looks at.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::bytes::u32_at;
use crate::flow::{FlowState, Route};
use crate::headers::{ACK_FLAG, ECHO_REQUESTS, Plain, SYN_FLAG, TCP, plain};
use crate::memory::Lent;

/// `PacketFlag.TRUNCATED`
const TRUNCATED: u32 = 8;
/// `Verdict.PASS` and `Verdict.BYPASS`
const PASS: u8 = 1;
const BYPASS: u8 = 2;

/// The dicts of a flow table that lead from wire keys to flows, by family and protocol.
pub struct Tables<'py> {
    ipv4: Bound<'py, PyDict>,
    ipv6: Bound<'py, PyDict>,
}

impl<'py> Tables<'py> {
    pub fn new(ipv4: &Bound<'py, PyDict>, ipv6: &Bound<'py, PyDict>) -> Self {
        Self { ipv4: ipv4.clone(), ipv6: ipv6.clone() }
    }

    pub fn find(&self, found: &Plain) -> PyResult<Option<Bound<'py, PyAny>>> {
        let family = if found.ip.is_ipv6 { &self.ipv6 } else { &self.ipv4 };
        let Some(by_key) = family.get_item(found.ip.protocol)? else { return Ok(None) };
        by_key.cast::<PyDict>()?.get_item(PyBytes::new(family.py(), found.key.all()))
    }
}

/// Sort the packets of a batch; the arguments are the columns of `PacketBatch` and `Classified`.
///
/// Returns the indices of packets without a flow, or of no plain kind; `flow` has None for them.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "columns of three objects; called in one place")]
pub fn classify<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyList>,
    lengths: &Bound<'py, PyList>,
    flags: &Bound<'py, PyList>,
    verdicts: &Bound<'py, PyList>,
    outbound4: &Bound<'py, PyDict>,
    outbound6: &Bound<'py, PyDict>,
    now: f64,
    tunnel: &Bound<'py, PyDict>,
    flow: &Bound<'py, PyList>,
    blocked: &Bound<'py, PyList>,
) -> PyResult<Vec<usize>> {
    let data = Lent::new(data)?;
    let tables = Tables::new(outbound4, outbound6);
    let mut unknown = Vec::new();
    let mut last: Option<(Bound<'py, PyAny>, Bound<'py, PyList>)> = None;
    for i in 0..offsets.len() {
        let start: usize = offsets.get_item(i)?.extract()?;
        let length: usize = lengths.get_item(i)?.extract()?;
        let Some(packet) = data.bytes().get(start..).and_then(|rest| rest.get(..length)) else {
            return Err(PyValueError::new_err("a packet lies outside its batch"));
        };
        let truncated = flags.get_item(i)?.extract::<u32>()? & TRUNCATED != 0;
        let found = if truncated { None } else { find(packet, &tables, now)? };
        let Some(found) = found else {
            flow.append(py.None())?;
            unknown.push(i);
            continue;
        };
        flow.append(&found)?;
        let mut state = found.cast::<FlowState>()?.borrow_mut();
        if state.way == Route::Tunnel {
            let peer = state.peer.bind(py);
            if !last.as_ref().is_some_and(|(before, _)| before.is(peer)) {
                let indices = match tunnel.get_item(peer)? {
                    Some(indices) => indices.cast_into::<PyList>()?,
                    None => {
                        let indices = PyList::empty(py);
                        tunnel.set_item(peer, &indices)?;
                        indices
                    }
                };
                last = Some((peer.clone(), indices));
            }
            if let Some((_, indices)) = &last {
                indices.append(i)?;
            }
            continue;
        }
        state.last_out = now;
        state.left(1, length);
        if state.way == Route::Direct {
            verdicts.set_item(i, if state.may_bypass() { BYPASS } else { PASS })?;
        } else {
            blocked.append(i)?;
        }
    }
    Ok(unknown)
}

fn find<'py>(packet: &[u8], tables: &Tables<'py>, now: f64) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(found) = plain(packet, ECHO_REQUESTS) else { return Ok(None) };
    let Some(flow) = tables.find(&found)? else { return Ok(None) };
    let mut state = flow.cast::<FlowState>()?.borrow_mut();
    let transport = found.ip.transport;
    let belongs = if found.ip.protocol == TCP && packet[transport + 13] & (SYN_FLAG | ACK_FLAG) == SYN_FLAG {
        state.begins(u32_at(packet, transport + 4))
    } else {
        !state.is_stale(now)
    };
    drop(state);
    Ok(belongs.then_some(flow))
}
