//! Handing packets to the host's stack by raw sockets: a batch of them for one handover of the interpreter's lock. The
//! twin of `Injector.send` in `filters/netfilter/injection.py`, which opens and closes the sockets.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, SockaddrIn6, sendmsg};
use pyo3::prelude::*;

use crate::memory::Lent;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Where the packet that begins with `head` goes; None if it is not known from its header alone.
enum Destination {
    Ipv4(SockaddrIn),
    Ipv6(SockaddrIn6),
}

fn destination(head: &[u8]) -> Option<Destination> {
    match head.first()? >> 4 {
        4 if head.len() >= IPV4_HEADER => {
            let address = <[u8; 4]>::try_from(&head[16..20]).ok()?;
            Some(Destination::Ipv4(SocketAddrV4::new(Ipv4Addr::from(address), 0).into()))
        }
        6 if head.len() >= IPV6_HEADER => {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(&head[24..40]).ok()?);
            let on_link = address.is_unicast_link_local();
            (!on_link).then(|| Destination::Ipv6(SocketAddrV6::new(address, 0, 0, 0).into()))
        }
        _ => None,
    }
}

/// Send each of `packets` (buffers that together are one) by the raw socket of its family; `ipv6` is -1 without one.
///
/// (index, number of the error) of each that was not taken; the error is 0 where Python has to look at the packet: it is
/// malformed, or its destination a link's, which its header does not name.
#[pyfunction]
pub fn inject(py: Python<'_>, ipv4: RawFd, ipv6: RawFd, packets: &Bound<'_, PyAny>) -> PyResult<Vec<(usize, i32)>> {
    let mut lent: Vec<Vec<Lent>> = Vec::with_capacity(packets.len()?);
    for packet in packets.try_iter()? {
        lent.push(packet?.try_iter()?.map(|part| Lent::new(&part?)).collect::<PyResult<_>>()?);
    }
    Ok(py.detach(|| {
        let refused = lent.iter().enumerate().filter_map(|(index, packet)| match send(ipv4, ipv6, packet) {
            Ok(()) => None,
            Err(error) => Some((index, error.map_or(0, |error| error as i32))),
        });
        refused.collect()
    }))
}

fn send(ipv4: RawFd, ipv6: RawFd, packet: &[Lent]) -> Result<(), Option<Errno>> {
    let to = packet.first().and_then(|head| destination(head.bytes())).ok_or(None)?;
    let parts: Vec<_> = packet.iter().map(|part| IoSlice::new(part.bytes())).collect();
    // sending never waits, see FLAGS of `filters/netfilter/injection.py`
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = match to {
        Destination::Ipv4(address) => sendmsg(ipv4, &parts, &[], flags, Some(&address)),
        Destination::Ipv6(_) if ipv6 < 0 => Err(Errno::ENETUNREACH),
        Destination::Ipv6(address) => sendmsg(ipv6, &parts, &[], flags, Some(&address)),
    };
    sent.map(drop).map_err(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_header_names_where_it_goes() {
        let mut ipv4 = [0x45; IPV4_HEADER];
        ipv4[16..].copy_from_slice(&[10, 0, 0, 7]);
        let Some(Destination::Ipv4(address)) = destination(&ipv4) else { panic!("an address") };
        assert_eq!((address.ip(), address.port()), (Ipv4Addr::new(10, 0, 0, 7), 0));
        let mut ipv6 = [0x60; IPV6_HEADER];
        ipv6[24..].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let Some(Destination::Ipv6(address)) = destination(&ipv6) else { panic!("an address") };
        assert_eq!(address.ip(), Ipv6Addr::LOCALHOST);
    }

    #[test]
    fn what_is_left_to_python() {
        let mut on_link = [0x60; IPV6_HEADER];
        on_link[24..26].copy_from_slice(&[0xFE, 0x80]);
        for head in [&[][..], &[0x45; IPV4_HEADER - 1], &[0x60; IPV6_HEADER - 1], &[0x05; 60], &on_link] {
            assert!(destination(head).is_none(), "{head:?}");
        }
    }
}
