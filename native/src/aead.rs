//! ChaCha20-Poly1305 with one key, which is overwritten when its owner lets it go, whoever else still has a share.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::memory::{Lent, Wiped};

pub const TAG: usize = 16;
const KEY: usize = 32;

pyo3::import_exception!(cryptography.exceptions, InvalidTag);

/// A key in use; for as long as it lives the key cannot be erased.
pub struct InUse<'key>(RwLockReadGuard<'key, Wiped<LessSafeKey>>);

impl InUse<'_> {
    /// Encrypt `packet`, whose last 16 bytes take the tag, where it lies.
    pub fn seal(&self, counter: u64, packet: &mut [u8]) {
        let (text, tag) = packet.split_at_mut(packet.len() - TAG);
        let sealed = self.0.get().seal_in_place_separate_tag(nonce_of(counter), Aad::empty(), text);
        // only a text beyond 256 GiB is refused, and no packet is
        tag.copy_from_slice(sealed.expect("a packet").as_ref());
    }

    /// Decrypt `packet`, tag included, where it lies; false if it is not authentic.
    pub fn open(&self, counter: u64, packet: &mut [u8]) -> bool {
        self.0.get().open_in_place(nonce_of(counter), Aad::empty(), packet).is_ok()
    }
}

/// The nonce of the transport: four zero bytes and the counter, little-endian.
fn nonce_of(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

pub struct Key(RwLock<Wiped<LessSafeKey>>);

impl Key {
    pub fn new(key: &[u8]) -> PyResult<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key)
            .map_err(|_| PyValueError::new_err(format!("a key has {KEY} bytes, not {}", key.len())))?;
        Ok(Self(RwLock::new(Wiped::new(LessSafeKey::new(key)))))
    }

    pub fn in_use(&self) -> InUse<'_> {
        InUse(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Put a random key in its place, once the batch that is being worked on is done.
    fn erase(&self) -> Result<(), ring::error::Unspecified> {
        let mut random = [0; KEY];
        SystemRandom::new().fill(&mut random)?;
        let nobodys = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &random)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Wiped::new(nobodys);
        Ok(())
    }
}

/// The owner's handle of a key that seals.
#[pyclass(frozen, module = "wiresock_py._native")]
pub struct Sealer(Arc<Key>);

/// The owner's handle of a key that opens.
#[pyclass(frozen, module = "wiresock_py._native")]
pub struct Opener(Arc<Key>);

impl Sealer {
    pub fn share(&self) -> Arc<Key> {
        Arc::clone(&self.0)
    }
}

impl Opener {
    pub fn share(&self) -> Arc<Key> {
        Arc::clone(&self.0)
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        let _ = self.0.erase();
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.erase();
    }
}

#[pymethods]
impl Sealer {
    #[new]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(Arc::new(Key::new(Lent::new(key)?.bytes())?)))
    }

    /// See `wiresock_py.crypto.ciphers.Sealer`. A nonce that does not begin with four zero bytes is refused.
    #[pyo3(signature = (nonce, data, associated_data, buf, /))]
    fn encrypt_into(
        &self,
        nonce: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        associated_data: Option<&Bound<'_, PyAny>>,
        buf: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let counter = counter_of(nonce, associated_data)?;
        let data = Lent::new(data)?;
        let mut out = Lent::writable(buf)?;
        if out.len() != data.len() + TAG {
            return Err(PyValueError::new_err("buf must have 16 bytes more than data"));
        }
        out.copy_from(&data, data.len())?;
        self.0.in_use().seal(counter, out.bytes_mut());
        Ok(out.len())
    }
}

#[pymethods]
impl Opener {
    #[new]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(Arc::new(Key::new(Lent::new(key)?.bytes())?)))
    }

    /// See `wiresock_py.crypto.ciphers.Opener`. A nonce that does not begin with four zero bytes is refused.
    #[pyo3(signature = (nonce, data, associated_data, buf, /))]
    fn decrypt_into(
        &self,
        nonce: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        associated_data: Option<&Bound<'_, PyAny>>,
        buf: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let counter = counter_of(nonce, associated_data)?;
        let data = Lent::new(data)?;
        let mut out = Lent::writable(buf)?;
        let Some(size) = data.len().checked_sub(TAG) else {
            return Err(InvalidTag::new_err(()));
        };
        if out.len() != size {
            return Err(PyValueError::new_err("buf must have 16 bytes less than data"));
        }
        let tag = Tag::try_from(&data.bytes()[size..]).map_err(|_| PyRuntimeError::new_err("the tag's size"))?;
        out.copy_from(&data, size)?;
        drop(data);
        let key = self.0.in_use();
        match key.0.get().open_in_place_separate_tag(nonce_of(counter), Aad::empty(), tag, out.bytes_mut(), 0..) {
            Ok(_) => Ok(size),
            Err(_) => Err(InvalidTag::new_err(())),
        }
    }
}

fn counter_of(nonce: &Bound<'_, PyAny>, associated_data: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let nonce = Lent::new(nonce)?;
    match (nonce.bytes(), associated_data) {
        ([0, 0, 0, 0, counter @ ..], None) if counter.len() == 8 => {
            Ok(u64::from_le_bytes(counter.try_into().expect("eight bytes")))
        }
        _ => Err(PyValueError::new_err("only a transport's nonces, and no associated data")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erased_key_opens_nothing_that_was_sealed_before() {
        let key = Key::new(&[7; KEY]).expect("a key");
        let mut packet = [0; 40];
        key.in_use().seal(3, &mut packet);
        let mut again = packet;
        assert!(key.in_use().open(3, &mut again));
        key.erase().expect("randomness");
        assert!(!key.in_use().open(3, &mut packet));
    }
}
