//! The compiled data path of wiresock-py: what `wiresock_py/datapath` does in Python, packet by packet the same, but
//! without the interpreter's lock while it encrypts and decrypts. `wiresock_py/datapath/native.py` is its other half.

mod aead;
mod bytes;
mod checksum;
mod classify;
mod cut;
mod flow;
mod frames;
#[cfg(all(target_os = "linux", any(test, fuzzing)))]
pub mod fuzzing;
mod headers;
mod index;
#[cfg(target_os = "linux")]
mod injection;
mod memory;
mod merge;
mod open;
#[cfg(target_os = "linux")]
mod queue;
mod rewrite;
mod seal;
#[cfg(target_os = "linux")]
mod udp;
mod window;

#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::aead::{Opener, Sealer};
    #[pymodule_export]
    use crate::classify::classify;
    #[pymodule_export]
    use crate::flow::FlowState;
    #[pymodule_export]
    use crate::frames::{plain_lengths, put_frames};
    #[pymodule_export]
    use crate::index::FlowIndex;
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use crate::injection::inject;
    #[pymodule_export]
    use crate::open::open_datagrams;
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use crate::queue::fill;
    #[pymodule_export]
    use crate::seal::Sealing;
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use crate::udp::{UdpReader, send_runs};
    #[pymodule_export]
    use crate::window::ReplayWindow;
}
