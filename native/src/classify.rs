//! Sort a captured batch by the flow table. The twin of `wiresock_py/datapath/classify.py`, but for packets without a
//! flow or of no plain kind, which Python looks at.

use arrayvec::ArrayVec;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::bytes::u32_at;
use crate::flow::{FlowState, Route};
use crate::headers::{ACK_FLAG, ECHO_REQUESTS, Ip, Plain, SYN_FLAG, TCP, plain};
use crate::index::{Indices, TOGETHER};
use crate::memory::Lent;

/// `PacketFlag.TRUNCATED`
const TRUNCATED: u32 = 8;
/// `Verdict.PASS` and `Verdict.BYPASS`
const PASS: u8 = 1;
const BYPASS: u8 = 2;

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
    let mut outbound = Indices::new(outbound4, outbound6);
    let mut unknown = Vec::new();
    let mut last: Option<(Bound<'py, PyAny>, Bound<'py, PyList>)> = None;
    let count = offsets.len();
    for first in (0..count).step_by(TOGETHER) {
        let mut packets: ArrayVec<(&[u8], Option<Plain>), TOGETHER> = ArrayVec::new();
        for i in first..count.min(first + TOGETHER) {
            let start: usize = offsets.get_item(i)?.extract()?;
            let length: usize = lengths.get_item(i)?.extract()?;
            let Some(packet) = data.bytes().get(start..).and_then(|rest| rest.get(..length)) else {
                return Err(PyValueError::new_err("a packet lies outside its batch"));
            };
            let truncated = flags.get_item(i)?.extract::<u32>()? & TRUNCATED != 0;
            packets.push((packet, if truncated { None } else { plain(packet, ECHO_REQUESTS) }));
        }
        let keys = packets.iter().map(|(_, found)| found.as_ref().map(|found| (found.ip, &found.key)));
        let found = outbound.find(keys)?;
        for (i, ((packet, plain), found)) in (first..).zip(packets.iter().zip(found)) {
            let mut state = match (plain, &found) {
                (Some(plain), Some(found)) => Some((plain.ip, found.borrow_mut())),
                _ => None,
            };
            state.take_if(|(ip, state)| !belongs(packet, *ip, state, now));
            flow.append(state.as_ref().and(found.as_ref()))?;
            let Some((_, mut state)) = state else {
                unknown.push(i);
                continue;
            };
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
            state.left(1, packet.len());
            if state.way == Route::Direct {
                verdicts.set_item(i, if state.may_bypass() { BYPASS } else { PASS })?;
            } else {
                blocked.append(i)?;
            }
        }
    }
    Ok(unknown)
}

/// Whether a plain packet belongs to the flow that its key names.
fn belongs(packet: &[u8], ip: Ip, flow: &mut FlowState, now: f64) -> bool {
    if ip.protocol == TCP && packet[ip.transport + 13] & (SYN_FLAG | ACK_FLAG) == SYN_FLAG {
        flow.begins(u32_at(packet, ip.transport + 4))
    } else {
        !flow.is_stale(now)
    }
}
