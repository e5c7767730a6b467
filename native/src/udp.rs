//! The UDP socket's system calls, many of them for one handover of the interpreter's lock. The twin of the loops of
//! `wiresock_py/engine/udp.py`, which opens, configures and closes the socket.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg, sendmsg,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::memory::{Lent, descriptor};

const MAX_DATAGRAM: usize = 65_535;
/// An address as Python keeps it: 4 or 16 bytes, the port, and of IPv6 the scope, all in network order.
const PACKED4: usize = 6;
const PACKED6: usize = 22;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    packed: [u8; PACKED6],
    length: usize,
}

impl Source {
    fn of(address: Option<SockaddrStorage>) -> Self {
        let mut source = Self { packed: [0; PACKED6], length: 0 };
        let Some(address) = address else { return source };
        if let Some(ipv6) = address.as_sockaddr_in6() {
            source.packed[..16].copy_from_slice(&ipv6.ip().octets());
            source.packed[16..18].copy_from_slice(&ipv6.port().to_be_bytes());
            source.packed[18..].copy_from_slice(&ipv6.scope_id().to_be_bytes());
            source.length = PACKED6;
        } else if let Some(ipv4) = address.as_sockaddr_in() {
            source.packed[..4].copy_from_slice(&ipv4.ip().octets());
            source.packed[4..6].copy_from_slice(&ipv4.port().to_be_bytes());
            source.length = PACKED4;
        }
        source
    }
}

fn unpack(packed: &[u8]) -> PyResult<SockaddrStorage> {
    let (address, rest) = packed.split_at(if packed.len() == PACKED4 { 4 } else { 16.min(packed.len()) });
    let number = |field: &[u8]| field.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    if let (Ok(address), [_, _]) = (<[u8; 4]>::try_from(address), rest) {
        return Ok(SocketAddrV4::new(Ipv4Addr::from(address), number(rest) as u16).into());
    }
    if let (Ok(address), [_, _, _, _, _, _]) = (<[u8; 16]>::try_from(address), rest) {
        let (port, scope) = rest.split_at(2);
        return Ok(SocketAddrV6::new(Ipv6Addr::from(address), number(port) as u16, 0, number(scope)).into());
    }
    Err(PyValueError::new_err("a packed address has 6 or 22 bytes"))
}

/// What one receive brought.
#[derive(Clone, Copy)]
struct Received {
    size: usize,
    segment: usize,
    source: Source,
}

/// Receives datagrams; keeps one that was read already and did not fit to the ones before it.
#[pyclass(module = "wiresock_py._native")]
#[derive(Default)]
pub struct UdpReader {
    ahead: Option<(Vec<u8>, Received)>,
}

#[pymethods]
impl UdpReader {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Wait up to `timeout` milliseconds for datagrams of the socket `number`, or until `wake` becomes readable.
    ///
    /// (bytes, size of each datagram but the last, packed source, 0), or (0, 0, None, error number, 0 for none): see
    /// `UdpSocket.receive_into`. An error behind other datagrams is in the number, too.
    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        number: i32,
        wake: i32,
        buffer: &Bound<'py, PyAny>,
        timeout: u16,
    ) -> PyResult<(usize, usize, Option<Bound<'py, PyBytes>>, i32)> {
        let mut buffer = Lent::writable(buffer)?;
        let descriptors = [descriptor(py, number)?, descriptor(py, wake)?];
        let found = py.detach(|| {
            let buffer = buffer.bytes_mut();
            let mut first = match self.ahead.take() {
                Some((data, received)) => {
                    buffer.get_mut(..data.len()).ok_or(Errno::ENOBUFS)?.copy_from_slice(&data);
                    Ok(received)
                }
                None => read(number, buffer),
            };
            if let Err(Errno::EAGAIN) = first {
                let mut watched = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
                let _ = poll(&mut watched, PollTimeout::from(timeout));
                if watched[1].any() == Some(true) {
                    return Err(Errno::EAGAIN);
                }
                first = read(number, buffer);
            }
            self.gather(number, buffer, first?)
        });
        Ok(match found {
            Ok((received, error)) => {
                let source = &received.source.packed[..received.source.length];
                (received.size, received.segment, Some(PyBytes::new(py, source)), error)
            }
            Err(Errno::EAGAIN) => (0, 0, None, 0),
            Err(error) => (0, 0, None, error as i32),
        })
    }
}

impl UdpReader {
    /// Put datagrams like the first ones behind them; what is unlike them and ends the run waits aside.
    fn gather(&mut self, number: i32, buffer: &mut [u8], first: Received) -> Result<(Received, i32), Errno> {
        let mut total = first;
        if first.size == 0 || first.size % first.segment != 0 {
            return Ok((total, 0)); // nothing can follow an empty datagram, or a shorter last one
        }
        while buffer.len() - total.size >= MAX_DATAGRAM {
            let following = match read(number, &mut buffer[total.size..]) {
                Ok(following) => following,
                Err(Errno::EAGAIN) => break,
                Err(error) => return Ok((total, error as i32)),
            };
            let single = following.segment == following.size;
            let alike = following.segment == first.segment || (single && following.size < first.segment);
            if following.source != first.source || !alike {
                let data = buffer[total.size..total.size + following.size].to_vec();
                self.ahead = Some((data, following));
                break;
            }
            total.size += following.size;
            if following.segment != first.segment || following.size % first.segment != 0 {
                break;
            }
        }
        Ok((total, 0))
    }
}

fn read(number: i32, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(number, &mut parts, Some(&mut control), MsgFlags::empty())?;
    let segment = message.cmsgs()?.find_map(|one| match one {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
        _ => None,
    });
    let size = message.bytes;
    Ok(Received { size, segment: segment.unwrap_or(size), source: Source::of(message.address) })
}

/// Send `runs` of `data` to `address`, each cut every so many bytes, until one fails.
///
/// How many runs were sent, and the number of the error that the next one met, 0 if all were.
#[pyfunction]
pub fn send_runs(
    py: Python<'_>,
    number: i32,
    data: &Bound<'_, PyAny>,
    runs: Vec<(usize, usize, usize)>,
    address: &[u8],
) -> PyResult<(usize, i32)> {
    let data = Lent::new(data)?;
    let number = descriptor(py, number)?.as_raw_fd();
    let address = unpack(address)?;
    py.detach(|| {
        for (index, &(start, end, segment)) in runs.iter().enumerate() {
            let Some(run) = data.bytes().get(start..end) else {
                return Err(PyValueError::new_err("a run lies outside its buffer"));
            };
            if let Err(error) = send(number, run, segment, &address) {
                return Ok((index, error as i32));
            }
        }
        Ok((runs.len(), 0))
    })
}

fn send<S: SockaddrLike>(number: i32, run: &[u8], segment: usize, address: &S) -> Result<usize, Errno> {
    let parts = [IoSlice::new(run)];
    let size = u16::try_from(segment).map_err(|_| Errno::EMSGSIZE)?;
    let cut = [ControlMessage::UdpGsoSegments(&size)];
    let control = if run.len() > segment { &cut[..] } else { &[] };
    sendmsg(number, &parts, control, MsgFlags::empty(), Some(address))
}
