//! The only unsafe code: memory and descriptors that Python lends for a call, keys that are overwritten when they are let
//! go, and hints to the processor.
//!
//! What a `Lent` promises rests on its caller, as everything does that works on a buffer without the interpreter's lock
//! (`hashlib`, `zlib`, a socket's `recv_into`): whoever lends memory neither reads nor writes it until it is given back.
//! The data path's buffers each belong to one thread, which is inside the call. The exporter cannot free or resize them
//! meanwhile, because the buffer is held. Within a call nothing is read and written by two names: what is copied may
//! overlap, and elsewhere `overlaps` is asked first.
#![allow(unsafe_code)]

use std::mem::{ManuallyDrop, size_of};
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{Ordering, compiler_fence};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyClass, ffi};

/// Bytes of a Python object, contiguous, for as long as this value lives.
pub struct Lent(PyBuffer<u8>);

impl Lent {
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::<u8>::get(object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("the buffer is not contiguous"));
        }
        Ok(Self(buffer))
    }

    /// As `new`, of an object that may be written to.
    pub fn writable(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let lent = Self::new(object)?;
        if lent.0.readonly() {
            return Err(PyBufferError::new_err("the buffer is read-only"));
        }
        Ok(lent)
    }

    pub fn len(&self) -> usize {
        self.0.len_bytes()
    }

    pub fn bytes(&self) -> &[u8] {
        if self.len() == 0 {
            return &[];
        }
        // SAFETY: contiguous and held, see above; nobody writes it meanwhile, as the lender promises.
        unsafe { slice::from_raw_parts(self.0.buf_ptr().cast::<u8>(), self.len()) }
    }

    /// The bytes to write to; only of one that was made by `writable`.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(!self.0.readonly());
        if self.len() == 0 {
            return &mut [];
        }
        // SAFETY: contiguous, held and writable; nobody else uses it meanwhile, as the lender promises.
        unsafe { slice::from_raw_parts_mut(self.0.buf_ptr().cast::<u8>(), self.len()) }
    }

    /// Whether they share memory, so that the one must not be written to while the other is read.
    pub fn overlaps(&self, other: &Lent) -> bool {
        let [(start, end), (other_start, other_end)] = [self, other].map(|lent| {
            let start = lent.0.buf_ptr().addr();
            (start, start + lent.len())
        });
        start < other_end && other_start < end
    }

    /// Copy the first `count` bytes of `source`, which may be the same memory.
    pub fn copy_from(&mut self, source: &Lent, count: usize) -> PyResult<()> {
        if self.0.readonly() || self.len() < count || source.len() < count {
            return Err(PyValueError::new_err("the buffer is too small"));
        }
        // SAFETY: both are valid for `count` bytes; they may overlap.
        unsafe { ptr::copy(source.0.buf_ptr().cast::<u8>(), self.0.buf_ptr().cast::<u8>(), count) };
        Ok(())
    }
}

/// A value without outside parts whose memory is overwritten when it is let go. It does not move until then, so no copy
/// of it is left behind; of where it came from, the stack and Python's own objects, it knows nothing.
pub struct Wiped<T>(Box<ManuallyDrop<T>>);

impl<T> Wiped<T> {
    pub fn new(value: T) -> Self {
        Self(Box::new(ManuallyDrop::new(value)))
    }

    pub fn get(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        let place: *mut ManuallyDrop<T> = &mut *self.0;
        // SAFETY: the value is dropped once, here, and nothing reads it afterwards; the box frees plain bytes.
        unsafe {
            ManuallyDrop::drop(&mut *place);
            for at in 0..size_of::<T>() {
                ptr::write_volatile(place.cast::<u8>().add(at), 0);
            }
        }
        compiler_fence(Ordering::SeqCst);
    }
}

/// Begin to bring a value into the processor's cache.
pub fn prefetch<T>(value: &T) {
    fetch(ptr::from_ref(value).cast(), size_of::<T>());
}

/// Begin to bring an object of Python's into the processor's cache: its header, the value, and the flag of who borrows it.
pub fn prefetch_object<T: PyClass>(object: &Py<T>) {
    fetch(object.as_ptr().cast(), size_of::<ffi::PyObject>() + size_of::<T>() + size_of::<usize>());
}

/// Begin to bring `size` bytes into the processor's cache; stable Rust knows the instruction of one architecture only.
fn fetch(place: *const i8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        for line in 0..(place.addr() % LINE + size).div_ceil(LINE) {
            // SAFETY: a hint, which reads nothing that the program could notice and for which any address will do.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(line * LINE)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, size);
}

/// A file descriptor of Python's, for the call that `_py` stands for and no longer.
#[cfg(target_os = "linux")]
pub fn descriptor(_py: Python<'_>, number: i32) -> PyResult<BorrowedFd<'_>> {
    if number < 0 {
        return Err(PyValueError::new_err("the descriptor is closed"));
    }
    // SAFETY: it is not -1; the caller keeps it open during the call, and whatever else it might be, the system checks.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn what_is_wiped_is_dropped_once() {
        let owner = Rc::new(());
        let wiped = Wiped::new(Rc::clone(&owner));
        assert_eq!(Rc::strong_count(wiped.get()), 2);
        drop(wiped);
        assert_eq!(Rc::strong_count(&owner), 1);
    }
}
