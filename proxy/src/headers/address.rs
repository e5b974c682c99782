//! Addresses as text. Every request writes at least one, so the common kind goes without the formatting machinery.

use std::io::Write;
use std::net::IpAddr;

use http::HeaderValue;

/// Bytes of the longest address as text, with an IPv4 part and a scope.
const LONGEST: usize = 64;

/// The text of an address.
#[derive(Debug, Clone, Copy)]
pub struct AddressText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl AddressText {
    /// Of this address, as [`IpAddr`] displays it.
    pub fn new(address: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        text.push(b'.');
                    }
                    text.push_number(octet);
                }
            }
            IpAddr::V6(address) => {
                let mut rest = &mut text.bytes[..];
                let left = match write!(rest, "{address}") {
                    Ok(()) => rest.len(),
                    Err(_) => LONGEST,
                };
                text.length = LONGEST - left;
            }
        }
        text
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn push_number(&mut self, number: u8) {
        if number >= 100 {
            self.push(b'0' + number / 100);
        }
        if number >= 10 {
            self.push(b'0' + number / 10 % 10);
        }
        self.push(b'0' + number % 10);
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// It as the value of a field.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).expect("invariant: addresses are visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::AddressText;

    proptest! {
        #[test]
        fn the_same_as_the_standard_library(four: u32, six: u128, is_four: bool) {
            let address: IpAddr = if is_four {
                std::net::Ipv4Addr::from_bits(four).into()
            } else {
                std::net::Ipv6Addr::from_bits(six).into()
            };
            let text = AddressText::new(address);
            prop_assert_eq!(text.as_bytes().to_vec(), address.to_string().into_bytes());
        }
    }
}
