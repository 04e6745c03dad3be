//! The elements of which an encoded entry consists: numbers, texts, addresses.
//!
//! A number is in LEB128: 7 bits a byte, the lowest first, and the top bit set in all bytes but the
//! last. A text is its length and its bytes. Each value has one encoding only, and no length is
//! believed that exceeds the bytes which are there, so a hostile input cannot make the reader allocate
//! more than a small multiple of its own length.

use std::net::IpAddr;

/// The bytes are no encoded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Longest name in bytes, in any of its forms.
const NAME_MAX: usize = 1024;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An optional number: 0, or one more than the number.
pub(super) fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    put_number(out, number.map_or(0, |number| number.saturating_add(1)));
}

/// An address: the number of its bytes, and the bytes.
pub(super) fn put_address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => put_bytes(out, &[]),
        Some(IpAddr::V4(address)) => put_bytes(out, &address.octets()),
        Some(IpAddr::V6(address)) => put_bytes(out, &address.octets()),
    }
}

/// Reads values from the front of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// All bytes must have been read.
    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(self.number()?.checked_sub(1))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(count)
    }

    /// A name in one of its forms.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        match bytes.len() {
            0..=NAME_MAX => str::from_utf8(bytes).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    }

    pub(super) fn address(&mut self) -> Result<Option<IpAddr>, Malformed> {
        let bytes = self.bytes()?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Ok(Some(octets.into()));
        }
        match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => Ok(Some(octets.into())),
            Err(_) if bytes.is_empty() => Ok(None),
            Err(_) => Err(Malformed),
        }
    }

    /// A list: its length, and its elements, each of which has at least one byte.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count > self.0.len() {
            return Err(Malformed);
        }
        (0..count).map(|_| element(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_encoding() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.number(), Ok(number));
            assert_eq!(reader.end(), Ok(()));
        }
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for bytes in [&[0x80, 0][..], &[0x80], &[], &too_large] {
            assert_eq!(Reader::new(bytes).number(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn no_length_is_believed() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, u64::MAX);
        assert_eq!(Reader::new(&bytes).bytes(), Err(Malformed));
        let list = Reader::new(&bytes).list(|reader| reader.byte());
        assert_eq!(list, Err(Malformed));
    }
}
